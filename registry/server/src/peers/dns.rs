//! Finds the members behind one name, such as that of a headless service: the name tells addresses, and the certificate
//! at each address tells whose it is.
//!
//! ```text
//! unknown ──an address shows its number──▶ listed ──neither the name nor its own place tells of it──▶ missed
//!                                            ▲ └──another address shows it──▶ listed there              │
//!                                            └───────────────── told of again ──────────────────────────┤
//!                                                                    unknown ◀──for FORGOTTEN_AFTER─────┘
//! ```
//!
//! Invariant: a lookup that fails changes nothing, and no single answer takes a member from the list; who belongs to the Raft group
//! stays in it.

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
use landbridge_store::{Members, Store};
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

/// A member that the name has not told of for so long, and that does not answer at its place either, is dialled no more: long
/// enough for any restart of a process or a machine, and what replaced it finds a place in the list.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

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
    (calls, carrier, store): (Calls, Carrier, Store),
    shutdown: Shutdown,
) {
    let mut reloads = shutdown.reloads();
    let mut search = Search::new(name, me, addresses.clone(), calls);
    let mut complained: Option<String> = None;
    loop {
        let Members { voters, learners } = store.members();
        match search.look(&voters.into_iter().chain(learners).collect()).await {
            Ok(seen) => {
                complained = None;
                for (member, place) in &seen.moved {
                    info!(event = "member_found", %member, %place, "by the name of all");
                }
                for (member, place) in &seen.gone {
                    info!(event = "member_forgotten", %member, %place, "the name tells of it no more");
                }
                if !seen.moved.is_empty() || !seen.gone.is_empty() {
                    carrier.dial(targets(&addresses.all(), me, &region));
                }
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

/// What one look at the name has changed.
#[derive(Debug, Default)]
struct Seen {
    /// Who is new, or elsewhere.
    moved: Vec<(MemberId, Place)>,
    /// Who is listed no more.
    gone: Vec<(MemberId, Place)>,
}

/// Who was found at which address, and when it said so.
struct Search<A> {
    name: Place,
    me: MemberId,
    addresses: Addresses,
    ask: Arc<A>,
    found: BTreeMap<IpAddr, (MemberId, Instant)>,
    /// Listed members of whom nothing tells, and since when.
    missed: BTreeMap<MemberId, Instant>,
}

impl<A: Ask> Search<A> {
    fn new(name: Place, me: MemberId, addresses: Addresses, ask: A) -> Self {
        Self { name, me, addresses, ask: Arc::new(ask), found: BTreeMap::new(), missed: BTreeMap::new() }
    }

    /// Every address is asked again.
    fn forget(&mut self) {
        self.found.clear();
    }

    /// Resolves the name once, puts whom it finds in the list and takes out of whom nothing has told for long, unless it is kept:
    /// who belongs to the Raft group is asked for its vote wherever it was last, for nobody else can give it.
    async fn look(&mut self, kept: &BTreeSet<MemberId>) -> Result<Seen, String> {
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
        let gone = self.forgotten(&mut places, kept).await;
        self.addresses.read(places);
        Ok(Seen { moved, gone })
    }

    /// Takes out of whom neither the name nor its own place has told for long.
    async fn forgotten(
        &mut self,
        places: &mut BTreeMap<MemberId, Place>,
        kept: &BTreeSet<MemberId>,
    ) -> Vec<(MemberId, Place)> {
        let (now, mut gone) = (Instant::now(), Vec::new());
        let named: BTreeSet<MemberId> = self.found.values().map(|(member, _)| *member).collect();
        self.missed.retain(|member, _| places.contains_key(member) && !named.contains(member));
        let unnamed: Vec<(MemberId, Place)> = places
            .iter()
            .filter(|(member, _)| **member != self.me && !named.contains(member) && !kept.contains(member))
            .map(|(member, place)| (*member, place.clone()))
            .collect();
        let answering = self.answering(&unnamed).await;
        for (member, place) in unnamed {
            if answering.contains(&member) {
                self.missed.remove(&member);
                continue;
            }
            let since = *self.missed.entry(member).or_insert(now);
            if now.duration_since(since) >= FORGOTTEN_AFTER {
                self.missed.remove(&member);
                places.remove(&member);
                gone.push((member, place));
            }
        }
        gone
    }

    /// Which of these members answer where they are listed.
    async fn answering(&self, listed: &[(MemberId, Place)]) -> BTreeSet<MemberId> {
        let mut asked = JoinSet::new();
        for (member, place) in listed.iter().cloned() {
            let ask = Arc::clone(&self.ask);
            asked.spawn(async move { (ask.number(&place).await == Ok(member)).then_some(member) });
        }
        let mut answering = BTreeSet::new();
        while let Some(said) = asked.join_next().await {
            // A question that panicked is a missing answer like any other.
            answering.extend(said.ok().flatten());
        }
        answering
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
        let _ = search.look(&BTreeSet::new()).await;
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
        assert!(search.look(&BTreeSet::new()).await.is_err_and(|why| why.contains("no such name")));
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

        assert_eq!(search.look(&BTreeSet::new()).await.expect("resolved").moved.len(), 1);
        assert_eq!(looked(&mut search).await, at(&[(1, 1), (2, 2), (3, 7)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_nothing_has_told_of_for_long_is_taken_from_the_list() {
        let (mut search, net) = search();
        net.say(&[(1, 1), (2, 2), (3, 3)]);
        looked(&mut search).await;

        net.say(&[(1, 1), (2, 2)]);
        looked(&mut search).await;
        tokio::time::advance(FORGOTTEN_AFTER - Duration::from_secs(1)).await;
        assert_eq!(looked(&mut search).await, at(&[(1, 1), (2, 2), (3, 3)]));
        tokio::time::advance(Duration::from_secs(1)).await;

        let seen = search.look(&BTreeSet::new()).await.expect("resolved");
        assert_eq!(seen.gone.iter().map(|(member, _)| member.0).collect::<Vec<_>>(), [3]);
        assert_eq!(looked(&mut search).await, at(&[(1, 1), (2, 2)]));
        net.say(&[(1, 1), (2, 2), (8, 3)]);
        assert_eq!(looked(&mut search).await, at(&[(1, 1), (2, 2), (3, 8)]), "it may come back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_of_the_raft_group_stays_in_the_list_however_long_nothing_tells_of_it() {
        let (mut search, net) = search();
        net.say(&[(1, 1), (2, 2), (3, 3)]);
        let all = looked(&mut search).await;

        net.say(&[(1, 1), (2, 2)]);
        for _ in 0..3 {
            let seen = search.look(&BTreeSet::from([MemberId(3)])).await.expect("resolved");
            assert!(seen.gone.is_empty(), "a voter was forgotten: {seen:?}");
            tokio::time::advance(FORGOTTEN_AFTER).await;
        }

        assert_eq!(looked(&mut search).await, all, "its time begins when it has left the group");
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_the_name_leaves_out_stays_while_it_answers_or_the_lookup_fails() {
        let (mut search, net) = search();
        net.say(&[(1, 1), (2, 2), (3, 3)]);
        let all = looked(&mut search).await;

        net.0.lock().answer = Some(vec![1, 2]);
        for _ in 0..3 {
            tokio::time::advance(FORGOTTEN_AFTER).await;
            assert_eq!(looked(&mut search).await, all, "it answers at its place");
        }
        net.0.lock().answer = None;
        for _ in 0..3 {
            tokio::time::advance(FORGOTTEN_AFTER).await;
            assert_eq!(looked(&mut search).await, all, "nothing was learnt");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_replaced_a_forgotten_member_finds_a_place_though_the_list_was_full() {
        let (mut search, net) = search();
        let full: Vec<(u8, u16)> = (1..=MEMBERS_MAX as u8).map(|last| (last, u16::from(last))).collect();
        net.say(&full);
        assert_eq!(looked(&mut search).await.len(), MEMBERS_MAX);

        let mut next = full.clone();
        next[8] = (40, 40);
        net.say(&next);
        assert!(looked(&mut search).await.iter().all(|(member, _)| *member != 40), "there is no room");
        tokio::time::advance(FORGOTTEN_AFTER).await;
        looked(&mut search).await;

        assert!(looked(&mut search).await.iter().any(|(member, _)| *member == 40));
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
