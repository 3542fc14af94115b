//! A map by service whose copies share everything that is the same in both: copying is free, a change costs its shelf.
//!
//! Entries stand in the order of their keys on shelves of a bounded length. A shelf that a copy shares is copied before it
//! is changed; so two maps, one made from the other, are compared by looking at the shelves they do not share.
//!
//! Invariant: no shelf is empty, none is longer than `SHELF_MAX`, and keys ascend over all of them.

use std::{cmp::Ordering, iter, sync::Arc};

use landbridge_model::ServiceKey;

/// Entries on one shelf; with thousands of services, about as many as there are shelves.
const SHELF_MAX: usize = 64;

type Entry<V> = (ServiceKey, V);

/// A map by service.
#[derive(Clone, Debug)]
pub struct Shelved<V> {
    shelves: Arc<Vec<Arc<Vec<Entry<V>>>>>,
    count: usize,
}

impl<V> Default for Shelved<V> {
    fn default() -> Self {
        Self { shelves: Arc::default(), count: 0 }
    }
}

impl<V> Shelved<V> {
    /// How many services it holds.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What it holds for a service.
    pub fn get(&self, key: &ServiceKey) -> Option<&V> {
        let shelf = self.shelves.get(self.shelf_of(key))?;
        let at = place(shelf, key).ok()?;
        Some(&shelf[at].1)
    }

    /// True if it holds something for a service.
    pub fn contains_key(&self, key: &ServiceKey) -> bool {
        self.get(key).is_some()
    }

    /// All of it, by keys.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceKey, &V)> {
        self.shelves.iter().flat_map(|shelf| shelf.iter().map(|(key, value)| (key, value)))
    }

    /// The services.
    pub fn keys(&self) -> impl Iterator<Item = &ServiceKey> {
        self.iter().map(|(key, _)| key)
    }

    /// What it holds for them.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The shelf on which a key stands, or belongs.
    fn shelf_of(&self, key: &ServiceKey) -> usize {
        self.shelves.partition_point(|shelf| shelf[0].0 <= *key).saturating_sub(1)
    }
}

fn place<V>(shelf: &[Entry<V>], key: &ServiceKey) -> Result<usize, usize> {
    shelf.binary_search_by(|(there, _)| there.cmp(key))
}

impl<V: Clone> Shelved<V> {
    /// Puts a value in; returns the one it replaces.
    pub fn insert(&mut self, key: ServiceKey, value: V) -> Option<V> {
        let number = self.shelf_of(&key);
        let shelves = Arc::make_mut(&mut self.shelves);
        let Some(shelf) = shelves.get_mut(number) else {
            shelves.push(Arc::new(vec![(key, value)]));
            self.count += 1;
            return None;
        };
        let shelf = Arc::make_mut(shelf);
        match place(shelf, &key) {
            Ok(at) => return Some(std::mem::replace(&mut shelf[at].1, value)),
            Err(at) => shelf.insert(at, (key, value)),
        }
        self.count += 1;
        if shelf.len() > SHELF_MAX {
            let upper = shelf.split_off(SHELF_MAX / 2);
            shelves.insert(number + 1, Arc::new(upper));
        }
        None
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &ServiceKey) -> Option<V> {
        let number = self.shelf_of(key);
        let at = place(self.shelves.get(number)?, key).ok()?;
        let shelves = Arc::make_mut(&mut self.shelves);
        let shelf = Arc::make_mut(&mut shelves[number]);
        let (_, value) = shelf.remove(at);
        self.count -= 1;
        if shelf.is_empty() {
            shelves.remove(number);
        } else {
            join(shelves, number);
        }
        Some(value)
    }
}

/// Joins a shelf with the next where the two are short.
fn join<V: Clone>(shelves: &mut Vec<Arc<Vec<Entry<V>>>>, number: usize) {
    if let [shelf, next, ..] = &shelves[number..]
        && shelf.len() + next.len() <= SHELF_MAX / 2
    {
        let next = shelves.remove(number + 1);
        Arc::make_mut(&mut shelves[number]).extend(next.iter().cloned());
    }
}

impl<V: PartialEq> Shelved<V> {
    /// What is new or another than `before`, with its value, and what is gone. What both share is not looked at.
    pub fn changed_since<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (&'a ServiceKey, Option<&'a V>)> {
        let (mut old, mut new) = (Cursor::new(before), Cursor::new(self));
        iter::from_fn(move || {
            loop {
                while old.shares(&new) {
                    old.skip();
                    new.skip();
                }
                let order = match (old.entry(), new.entry()) {
                    (None, None) => return None,
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some((old, _)), Some((new, _))) => old.cmp(new),
                };
                let was = if order.is_le() { old.next() } else { None };
                let is = if order.is_ge() { new.next() } else { None };
                match (was, is) {
                    (Some((key, _)), None) => return Some((key, None)),
                    (Some((_, was)), Some((_, is))) if was == is => {}
                    (_, Some((key, is))) => return Some((key, Some(is))),
                    (None, None) => return None,
                }
            }
        })
    }
}

/// Walks a map from shelf to shelf.
struct Cursor<'a, V> {
    shelves: &'a [Arc<Vec<Entry<V>>>],
    at: usize,
}

impl<'a, V> Cursor<'a, V> {
    fn new(map: &'a Shelved<V>) -> Self {
        Self { shelves: &map.shelves, at: 0 }
    }

    /// True if both stand before the very same shelf.
    fn shares(&self, other: &Self) -> bool {
        match (self.shelves.first(), other.shelves.first()) {
            (Some(here), Some(there)) => self.at == 0 && other.at == 0 && Arc::ptr_eq(here, there),
            (None, _) | (_, None) => false,
        }
    }

    fn skip(&mut self) {
        (self.shelves, self.at) = (&self.shelves[1..], 0);
    }

    fn entry(&self) -> Option<&'a Entry<V>> {
        self.shelves.first()?.get(self.at)
    }

    fn next(&mut self) -> Option<&'a Entry<V>> {
        let shelf = self.shelves.first()?;
        let entry = &shelf[self.at];
        self.at += 1;
        if self.at == shelf.len() {
            self.skip();
        }
        Some(entry)
    }
}

impl<V: PartialEq> PartialEq for Shelved<V> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.changed_since(other).next().is_none()
    }
}

impl<V: Clone> FromIterator<Entry<V>> for Shelved<V> {
    fn from_iter<I: IntoIterator<Item = Entry<V>>>(entries: I) -> Self {
        let mut map = Self::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<V: Clone, const N: usize> From<[Entry<V>; N]> for Shelved<V> {
    fn from(entries: [Entry<V>; N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<'a, V> IntoIterator for &'a Shelved<V> {
    type Item = (&'a ServiceKey, &'a V);
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn key(number: u32) -> ServiceKey {
        ServiceKey::parse("", "", &format!("s{number:05}")).unwrap()
    }

    fn filled(numbers: impl IntoIterator<Item = u32>) -> Shelved<u32> {
        numbers.into_iter().map(|number| (key(number), number)).collect()
    }

    /// A generator of numbers that is the same in every run (xorshift).
    fn numbers(mut state: u64) -> impl FnMut(u32) -> u32 {
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % u64::from(below)) as u32
        }
    }

    fn is_in_order(map: &Shelved<u32>) {
        let all: Vec<_> = map.keys().cloned().collect();
        assert!(all.is_sorted() && all.len() == map.len());
        assert!(map.shelves.iter().all(|shelf| (1..=SHELF_MAX).contains(&shelf.len())));
    }

    #[test]
    fn it_holds_what_a_plain_map_holds_whatever_is_done_to_both() {
        for seed in 1..8 {
            let (mut dice, mut plain, mut map) = (numbers(seed), BTreeMap::new(), Shelved::default());
            for step in 0..3_000 {
                let (key, growing) = (key(dice(500)), step / 700 % 2 == 0);
                if dice(10) < if growing { 8 } else { 2 } {
                    assert_eq!(map.insert(key.clone(), step), plain.insert(key, step));
                } else {
                    assert_eq!(map.remove(&key), plain.remove(&key));
                }
            }

            is_in_order(&map);
            assert!(map.iter().eq(plain.iter()));
            assert!((0..500).all(|number| map.get(&key(number)) == plain.get(&key(number))));
        }
    }

    #[test]
    fn what_changed_since_a_copy_is_told_and_nothing_else() {
        for seed in 1..40 {
            let mut dice = numbers(seed);
            let before = filled((0..2_000).filter(|_| dice(3) > 0));
            let (mut after, mut plain) = (before.clone(), BTreeMap::new());
            plain.extend(before.iter().map(|(key, value)| (key.clone(), *value)));
            for _ in 0..dice(400) {
                let key = key(dice(2_000));
                match dice(3) {
                    0 => drop((after.remove(&key), plain.remove(&key))),
                    value => drop((after.insert(key.clone(), value), plain.insert(key, value))),
                }
            }

            let told: BTreeMap<_, _> = after.changed_since(&before).collect();

            let all = before.keys().chain(after.keys());
            let expected: BTreeMap<_, _> = all
                .filter(|key| before.get(key) != plain.get(*key))
                .map(|key| (key, plain.get(key)))
                .collect();
            assert_eq!(told, expected, "seed {seed}");
            assert_eq!(before == after, expected.is_empty());
        }
    }

    #[test]
    fn a_change_leaves_all_other_shelves_to_both() {
        let before = filled(0..5_000);
        let mut after = before.clone();

        after.insert(key(2_500), 0);
        after.remove(&key(4_999));

        let shared = |shelf: &&Arc<Vec<_>>| before.shelves.iter().any(|old| Arc::ptr_eq(shelf, old));
        assert_eq!(after.shelves.iter().filter(shared).count(), before.shelves.len() - 2);
        assert_eq!(before.get(&key(2_500)), Some(&2_500), "a copy is not changed with its original");
    }
}
