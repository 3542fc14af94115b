//! Finds the members behind one name, such as that of a headless service: the name tells addresses, and the certificate
//! at each address tells whose it is.
//!
//! Invariant: no answer takes a member from the list; it adds one, or moves one to an address where it showed its number.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use landbridge_carrier::Carrier;
use landbridge_model::{MemberId, Region};
use landbridge_runtime::shutdown::Shutdown;
use tokio::{
    net::lookup_host,
    task::JoinSet,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{
    call::Calls,
    list::{Addresses, MEMBERS_MAX, Place},
    watch::targets,
};

/// How often the name is resolved; SIGHUP resolves it at once.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

/// How often while a member that is known by number has no address yet.
const RESOLVE_EVERY_AT_FIRST: Duration = Duration::from_secs(1);

/// How long an answer of the resolver may take.
const RESOLVED_WITHIN: Duration = Duration::from_secs(5);

/// An address whose number is known is asked again after this: another member may have been given it.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The most addresses of one answer that are asked; those beyond, in order, are left out.
const ADDRESSES_MAX: usize = 32;

/// How names and addresses are asked.
pub(crate) trait Ask: Send + Sync + 'static {
    /// The addresses behind a name.
    fn resolve(&self, name: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;

    /// Which member stands at a place.
    fn number(&self, place: &Place) -> impl Future<Output = Result<MemberId, String>> + Send;
}

/// The system's resolver, and certificates.
impl Ask for Calls {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let bare = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let found = timeout(RESOLVED_WITHIN, lookup_host((bare, 0))).await;
        Ok(found.map_err(|_| io::Error::other("no answer in time"))??.map(|address| address.ip()).collect())
    }

    async fn number(&self, place: &Place) -> Result<MemberId, String> {
        self.number_at(place).await
    }
}

/// Keeps the list and the dialled feeds as the name tells, until the process ends. A lookup that fails changes nothing.
pub(crate) async fn keep_found(
    (name, numbers): (Place, BTreeSet<MemberId>),
    addresses: Addresses,
    (me, region): (MemberId, Region),
    (calls, carrier): (Calls, Carrier),
    shutdown: Shutdown,
) {
    let mut reloads = shutdown.reloads();
    let mut search = Search::new(name, me, addresses.clone(), calls);
    let mut complained: Option<String> = None;
    loop {
        match search.look().await {
            Ok(moved) if moved.is_empty() => complained = None,
            Ok(moved) => {
                complained = None;
                for (member, place) in moved {
                    info!(event = "member_found", %member, %place, "by the name of all");
                }
                carrier.dial(targets(&addresses.all(), me, &region));
            }
            Err(why) if complained.as_ref() == Some(&why) => {}
            Err(why) => {
                warn!(event = "members_unresolved", name = %search.name, why, "the list stays as it was");
                complained = Some(why);
            }
        }
        let all = numbers.iter().all(|member| addresses.of(*member).is_some());
        let pause = if all { RESOLVE_EVERY } else { RESOLVE_EVERY_AT_FIRST };
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(pause) => {}
            Ok(()) = reloads.changed() => search.forget(),
        }
    }
}

/// Who was found at which address, and when it said so.
struct Search<A> {
    name: Place,
    me: MemberId,
    addresses: Addresses,
    ask: Arc<A>,
    found: BTreeMap<IpAddr, (MemberId, Instant)>,
}

impl<A: Ask> Search<A> {
    fn new(name: Place, me: MemberId, addresses: Addresses, ask: A) -> Self {
        Self { name, me, addresses, ask: Arc::new(ask), found: BTreeMap::new() }
    }

    /// Every address is asked again.
    fn forget(&mut self) {
        self.found.clear();
    }

    /// Resolves the name once and puts whom it finds in the list; tells who is new or elsewhere.
    async fn look(&mut self) -> Result<Vec<(MemberId, Place)>, String> {
        let answer = self.ask.resolve(&self.name.host).await.map_err(|error| error.to_string())?;
        let answer: BTreeSet<IpAddr> = answer.into_iter().collect();
        let answer: BTreeSet<IpAddr> = answer.into_iter().take(ADDRESSES_MAX).collect();
        self.found.retain(|ip, _| answer.contains(ip));
        self.ask_all(&answer).await;
        let (mut places, mut moved) = ((*self.addresses.all()).clone(), Vec::new());
        let others = self.found.iter().filter(|(_, (member, _))| *member != self.me);
        for (ip, (member, _)) in others {
            let place = self.name.at(*ip);
            let here = |place: &Place| {
                self.found.iter().any(|(ip, (at, _))| at == member && self.name.at(*ip) == *place)
            };
            // Two addresses of one member: the one in use stays as long as it answers.
            let stays = places.get(member).is_some_and(here);
            let full = places.len() >= MEMBERS_MAX && !places.contains_key(member);
            if !stays && !full {
                places.insert(*member, place.clone());
                moved.push((*member, place));
            }
        }
        self.addresses.read(places);
        Ok(moved)
    }

    /// Asks every address whose number is not known, or has not been said for long.
    async fn ask_all(&mut self, answer: &BTreeSet<IpAddr>) {
        let now = Instant::now();
        let fresh = |(_, at): &(MemberId, Instant)| now.duration_since(*at) < ASK_AGAIN_AFTER;
        let mut asked = JoinSet::new();
        for ip in answer.iter().copied().filter(|ip| !self.found.get(ip).is_some_and(fresh)) {
            let (ask, place) = (Arc::clone(&self.ask), self.name.at(ip));
            asked.spawn(async move { (ip, ask.number(&place).await) });
        }
        while let Some(said) = asked.join_next().await {
            match said {
                Ok((ip, Ok(member))) => {
                    self.found.insert(ip, (member, now));
                }
                // Not there yet, or no longer: whoever has an address keeps it until it is found elsewhere.
                Ok((ip, Err(_))) => {
                    self.found.remove(&ip);
                }
                // A question that panicked is a missing answer like any other.
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::peers::parse_name;

    /// What the resolver and the addresses say at the moment.
    #[derive(Clone, Default)]
    struct Net(Arc<Mutex<Said>>);

    #[derive(Default)]
    struct Said {
        /// None: the resolver fails.
        answer: Option<Vec<u8>>,
        numbers: BTreeMap<String, u16>,
        asked: usize,
    }

    impl Ask for Net {
        async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
            assert_eq!(name, "registry.east.svc");
            let said = self.0.lock();
            let answer = said.answer.as_ref().ok_or_else(|| io::Error::other("no such name"))?;
            Ok(answer.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect())
        }

        async fn number(&self, place: &Place) -> Result<MemberId, String> {
            let mut said = self.0.lock();
            said.asked += 1;
            said.numbers
                .get(&place.raft())
                .map(|number| MemberId(*number))
                .ok_or_else(|| "refused".to_owned())
        }
    }

    impl Net {
        /// From here on the name stands for these addresses, at each of which a member answers, or nobody (0).
        fn say(&self, there: &[(u8, u16)]) {
            let mut said = self.0.lock();
            said.answer = Some(there.iter().map(|(last, _)| *last).collect());
            let numbers = there.iter().filter(|(_, number)| *number != 0);
            said.numbers = numbers.map(|(last, number)| (format!("10.0.0.{last}:7848"), *number)).collect();
        }
    }

    fn search() -> (Search<Net>, Net) {
        let (name, net) = (parse_name("registry.east.svc:8848").expect("a name"), Net::default());
        let me = BTreeMap::from([(MemberId(1), name.at([10, 0, 0, 1].into()))]);
        (Search::new(name, MemberId(1), Addresses::new(me), net.clone()), net)
    }

    /// Where everybody is, after one more look.
    async fn looked(search: &mut Search<Net>) -> Vec<(u16, String)> {
        let _ = search.look().await;
        search.addresses.all().iter().map(|(member, place)| (member.0, place.http())).collect()
    }

    fn at(places: &[(u16, u8)]) -> Vec<(u16, String)> {
        places.iter().map(|(member, last)| (*member, format!("10.0.0.{last}:8848"))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_tells_its_number_and_who_is_not_up_yet_is_found_later() {
        let (mut search, net) = search();

        net.say(&[(1, 1), (9, 3), (5, 0)]);
        assert_eq!(looked(&mut search).await, at(&[(1, 1), (3, 9)]));
        net.say(&[(1, 1), (9, 3), (5, 2)]);
        assert_eq!(looked(&mut search).await, at(&[(1, 1), (2, 5), (3, 9)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_lookup_changes_nothing_and_a_shorter_answer_takes_nobody_away() {
        let (mut search, net) = search();
        net.say(&[(1, 1), (2, 2), (3, 3)]);
        let all = looked(&mut search).await;

        net.0.lock().answer = None;
        assert!(search.look().await.is_err_and(|why| why.contains("no such name")));
        assert_eq!(looked(&mut search).await, all);
        net.say(&[(2, 2)]);
        assert_eq!(looked(&mut search).await, all);
        net.say(&[]);
        assert_eq!(looked(&mut search).await, all);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_comes_back_elsewhere_is_found_there() {
        let (mut search, net) = search();
        net.say(&[(1, 1), (2, 2), (3, 3)]);
        looked(&mut search).await;

        net.say(&[(1, 1), (2, 2), (7, 3)]);

        assert_eq!(search.look().await.expect("resolved").len(), 1);
        assert_eq!(looked(&mut search).await, at(&[(1, 1), (2, 2), (3, 7)]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_another_member_was_given_is_found_out_in_time() {
        let (mut search, net) = search();
        net.say(&[(1, 1), (2, 2), (3, 3)]);
        looked(&mut search).await;

        net.say(&[(1, 1), (2, 3), (3, 2)]);
        assert_eq!(
            looked(&mut search).await,
            at(&[(1, 1), (2, 2), (3, 3)]),
            "who was asked lately is not asked"
        );
        tokio::time::advance(ASK_AGAIN_AFTER).await;
        assert_eq!(looked(&mut search).await, at(&[(1, 1), (2, 3), (3, 2)]));
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_addresses_of_one_member_the_one_in_use_stays_while_it_answers() {
        let (mut search, net) = search();
        net.say(&[(6, 2)]);
        looked(&mut search).await;

        net.say(&[(4, 2), (6, 2)]);
        assert_eq!(looked(&mut search).await, at(&[(1, 1), (2, 6)]));
        net.say(&[(4, 2), (6, 0)]);
        tokio::time::advance(ASK_AGAIN_AFTER).await;
        assert_eq!(looked(&mut search).await, at(&[(1, 1), (2, 4)]));
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_beyond_the_most_and_this_members_own_are_left_alone() {
        let (mut search, net) = search();
        let many: Vec<(u8, u16)> = (20..60).map(|last| (last, u16::from(last) - 18)).collect();
        net.say(&many);

        assert_eq!(looked(&mut search).await.len(), MEMBERS_MAX);
        assert_eq!(net.0.lock().asked, ADDRESSES_MAX);
        let (mut other, net) = self::search();
        net.say(&[(8, 1)]);
        assert_eq!(looked(&mut other).await, at(&[(1, 1)]), "another place with my number is not where I am");
    }
}
