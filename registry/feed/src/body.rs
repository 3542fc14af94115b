//! Records by bucket with their digests: what a copy holds, and what a shadow builds.
//!
//! Invariant: the digest of a bucket is the sum of its records' hashes, kept up to date by one step per change.

use std::{collections::BTreeMap, sync::Arc};

use landbridge_model::{Record, RecordKey};

use crate::{
    digest,
    message::{BUCKETS, Digests},
};

/// The records of one bucket in key order, shared between a copy and its shadows; an empty bucket is none.
pub(crate) type Bucket = Option<Arc<BTreeMap<RecordKey, Record>>>;

/// Records by bucket.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    buckets: Box<[Bucket]>,
    digests: Digests,
    len: usize,
}

impl Body {
    pub fn new() -> Self {
        Self { buckets: vec![None; BUCKETS].into(), digests: Digests::empty(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    pub fn bucket(&self, at: usize) -> &Bucket {
        &self.buckets[at]
    }

    pub fn record(&self, key: &RecordKey) -> Option<&Record> {
        self.buckets[digest::bucket_of(key)].as_ref()?.get(key)
    }

    /// All records; the order is the same at every holder.
    pub fn records(&self) -> impl Iterator<Item = (&RecordKey, &Record)> {
        self.buckets.iter().flatten().flat_map(|bucket| bucket.iter())
    }

    /// Sets or removes the record of a key; tells what stood there.
    pub fn put(&mut self, key: &RecordKey, record: Option<Record>) -> Option<Record> {
        let at = digest::bucket_of(key);
        let bucket = &mut self.buckets[at];
        let (added, old) = match record {
            Some(record) => {
                let hash = digest::hash_of(key, &record);
                let held = Arc::make_mut(bucket.get_or_insert_default());
                (Some(hash), held.insert(key.clone(), record))
            }
            None => {
                let held = bucket.as_mut().filter(|held| held.contains_key(key));
                (None, held.and_then(|held| Arc::make_mut(held).remove(key)))
            }
        };
        if bucket.as_ref().is_some_and(|held| held.is_empty()) {
            *bucket = None;
        }
        if let Some(hash) = added {
            self.digests.add(at, hash);
            self.len += 1;
        }
        if let Some(old) = &old {
            self.digests.subtract(at, digest::hash_of(key, old));
            self.len -= 1;
        }
        old
    }

    /// Replaces a whole bucket by one whose digest is known.
    pub fn replace(&mut self, at: usize, bucket: Bucket, digest: u64) {
        self.len -= self.buckets[at].as_ref().map_or(0, |held| held.len());
        self.len += bucket.as_ref().map_or(0, |held| held.len());
        self.buckets[at] = bucket;
        self.digests.0[at] = digest;
    }

    /// Changes a record as faulty memory would: the digests know nothing of it.
    #[cfg(test)]
    pub fn corrupt(&mut self, key: &RecordKey, record: Record) {
        if let Some(held) = &mut self.buckets[digest::bucket_of(key)] {
            Arc::make_mut(held).insert(key.clone(), record);
        }
    }

    /// Sums the digests up again from what is really held, in case the two have come apart.
    pub fn recount(&mut self) {
        self.digests = summed(self.records());
    }

    /// Every key whose record differs in `next`, with the record here and the one there.
    pub fn differences<'a>(
        &'a self,
        next: &'a Self,
    ) -> impl Iterator<Item = (&'a RecordKey, Option<&'a Record>, Option<&'a Record>)> {
        self.buckets.iter().zip(&next.buckets).filter(|(old, new)| !same(old, new)).flat_map(|(old, new)| {
            let left = old.iter().flat_map(|bucket| bucket.iter());
            let right = new.iter().flat_map(|bucket| bucket.iter());
            let gone_or_changed = left.filter_map(move |(key, record)| {
                let now = new.as_ref().and_then(|bucket| bucket.get(key));
                (now != Some(record)).then_some((key, Some(record), now))
            });
            let come = right
                .filter(move |(key, _)| old.as_ref().is_none_or(|bucket| !bucket.contains_key(key)))
                .map(|(key, record)| (key, None, Some(record)));
            gone_or_changed.chain(come)
        })
    }
}

fn same(old: &Bucket, new: &Bucket) -> bool {
    match (old, new) {
        (None, None) => true,
        (Some(old), Some(new)) => Arc::ptr_eq(old, new),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The digests of a set of records.
pub(crate) fn summed<'a>(records: impl Iterator<Item = (&'a RecordKey, &'a Record)>) -> Digests {
    let mut digests = Digests::empty();
    for (key, record) in records {
        digests.add(digest::bucket_of(key), digest::hash_of(key, record));
    }
    digests
}
