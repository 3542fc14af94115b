//! What other tasks may know of the core without asking it: its phase, its origins and the size of things.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering},
    },
};

use arc_swap::ArcSwap;
use landbridge_feed::{RegionStatus, Standing};
use landbridge_model::{
    ExportPolicy, FeedId, ImportPolicy, LinkOrder, MemberId, Moment, Record, RecordKey, Region,
};
use landbridge_registry_core::{Member, Phase};
use landbridge_runtime::pages::Health;
use metrics::{counter, gauge};

use crate::{ingress::freshness::Fences, metrics as names, probes::Touched};

/// The name of the readiness check that follows the core's phase.
const READINESS: &str = "naming";

/// Where nothing has been heard of the leader.
const NEVER: i64 = i64::MIN;

/// One open feed of the own region, as the directory lists it.
#[derive(Clone, Debug)]
pub(crate) struct OpenFeed {
    pub(crate) feed: FeedId,
    pub(crate) member: MemberId,
    pub(crate) address: String,
    pub(crate) silent: bool,
}

/// What was last seen of the core.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    pub(crate) origins: Vec<RegionStatus>,
    pub(crate) feeds: Vec<OpenFeed>,
    pub(crate) policies: Vec<(Region, Arc<ExportPolicy>)>,
    pub(crate) imports: Vec<(Region, Arc<ImportPolicy>)>,
    /// Regions of which nothing shows because they have been silent for too long.
    pub(crate) expired: BTreeSet<Region>,
    pub(crate) links: Vec<(Region, LinkOrder)>,
    /// How much of which region's mass lapse is held back.
    pub(crate) holds: Vec<(Region, usize)>,
}

/// The core's state for readers.
pub(crate) struct State {
    /// Whether the own feed is open: registrations are taken.
    pub(crate) open: AtomicBool,
    /// Services of which the prober must hear.
    pub(crate) touched: Touched,
    /// The linearizable reads that wait.
    pub(crate) fences: Fences,
    phase: AtomicU8,
    /// When what is shown of the region's decisions was all there was, by this process's moments; it may have been before
    /// the first of them.
    whole_at_ms: AtomicI64,
    sight: ArcSwap<Sight>,
    health: Health,
}

impl State {
    /// A core that has just started.
    pub(crate) fn new(health: Health) -> Self {
        health.fail(READINESS, "starting");
        let (open, phase, whole_at_ms) = (AtomicBool::new(false), AtomicU8::new(0), AtomicI64::new(NEVER));
        let (touched, sight) = (Touched::default(), ArcSwap::default());
        let fences = Fences::default();
        Self { open, touched, fences, phase, whole_at_ms, sight, health }
    }

    /// Whether queries, lists and subscriptions are answered.
    pub(crate) fn answers(&self) -> bool {
        self.phase.load(Ordering::Acquire) != number(Phase::Starting)
    }

    /// Whether registrations are taken.
    pub(crate) fn registers(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// How far the member is, as a word.
    pub(crate) fn phase(&self) -> &'static str {
        match self.phase.load(Ordering::Acquire) {
            1 => "degraded",
            2 => "ready",
            3 => "draining",
            _ => "starting",
        }
    }

    /// How old what is shown of the region's decisions may be, as far as its leader is heard; none before it ever was.
    pub(crate) fn staleness_ms(&self, now_ms: u64) -> Option<u64> {
        let whole_at_ms = Some(self.whole_at_ms.load(Ordering::Acquire)).filter(|at| *at != NEVER)?;
        Some(signed(now_ms).saturating_sub(whole_at_ms).max(0).unsigned_abs())
    }

    /// What was last seen of the core.
    pub(crate) fn sight(&self) -> Arc<Sight> {
        self.sight.load_full()
    }

    /// The core changed its phase.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(number(phase), Ordering::Release);
        match phase {
            Phase::Ready => self.health.pass(READINESS),
            Phase::Degraded => {
                self.health.fail(READINESS, "answering with what is here: the warm-up took too long");
            }
            Phase::Starting => self.health.fail(READINESS, "starting"),
            Phase::Draining => self.health.fail(READINESS, "draining"),
        }
        gauge!(names::READY).set(f64::from(u8::from(phase == Phase::Ready)));
    }

    /// Looks at the core, once a tick.
    pub(crate) fn observe(&self, member: &Member, now_ms: u64) {
        let holder = member.holder();
        let origins: Vec<RegionStatus> =
            holder.regions().filter_map(|region| holder.status(region)).collect();
        let own = holder.settings().region.clone();
        let feeds = holder.directory(&own).iter().map(|(feed, entry)| OpenFeed {
            feed: feed.clone(),
            member: entry.member,
            address: entry.address.to_string(),
            silent: holder.own() != Some(feed) && holder.unverified(feed),
        });
        let feeds = feeds.collect();
        let raft_feed = FeedId::Raft(own);
        let raft = holder.copy(&raft_feed);
        if let Some(raft) = raft {
            gauge!(names::RAFT_APPLIED).set(raft.position().seq as f64);
        }
        if let Some(age_ms) = member.decided_age_ms(Moment(now_ms)) {
            self.whole_at_ms.store(signed(now_ms) - signed(age_ms), Ordering::Release);
        }
        let policies = raft.map(policies).unwrap_or_default();
        let imports = raft.map(imports).unwrap_or_default();
        let links = raft.map(links).unwrap_or_default();
        let regions = origins.iter().map(|origin| &origin.region);
        let expired = regions.filter(|region| holder.expired(region)).cloned().collect::<BTreeSet<_>>();
        for origin in &origins {
            let region = origin.region.to_string();
            gauge!(names::ORIGIN_AGE_SECONDS, "origin" => region.clone()).set(origin.age_ms as f64 / 1000.0);
            gauge!(names::ORIGIN_STANDING, "origin" => region.clone()).set(standing(origin.standing));
            let is = |holds: bool| f64::from(u8::from(holds));
            let policy = holder.import(&origin.region).is_some();
            gauge!(names::ORIGIN_EXPIRED, "origin" => region.clone())
                .set(is(expired.contains(&origin.region)));
            gauge!(names::ORIGIN_POLICY, "origin" => region.clone()).set(is(policy));
            gauge!(names::ORIGIN_LAG_SEQS, "origin" => region.clone()).set(origin.lag_seqs as f64);
            gauge!(names::ORIGIN_RECORDS, "origin" => region.clone()).set(origin.records as f64);
            if let Some(lag_ms) = origin.lag_ms {
                gauge!(names::ORIGIN_LAG_SECONDS, "origin" => region).set(lag_ms as f64 / 1000.0);
            }
        }
        counter!(names::LAPSES).absolute(member.counts().lapses);
        let holds = member.holds();
        self.sight.store(Arc::new(Sight { origins, feeds, policies, imports, expired, links, holds }));
    }
}

/// The export policies that a copy of the own Raft feed holds.
fn policies(raft: &landbridge_feed::Copy) -> Vec<(Region, Arc<ExportPolicy>)> {
    let held = raft.records().filter_map(|(key, record)| match (key, record) {
        (RecordKey::Policy(peer), Record::Policy(policy)) => Some((peer.clone(), policy.clone())),
        _ => None,
    });
    held.collect()
}

/// The import policies that it holds.
fn imports(raft: &landbridge_feed::Copy) -> Vec<(Region, Arc<ImportPolicy>)> {
    let held = raft.records().filter_map(|(key, record)| match (key, record) {
        (RecordKey::Import(region), Record::Import(policy)) => Some((region.clone(), policy.clone())),
        _ => None,
    });
    held.collect()
}

/// The operators' orders that it holds.
fn links(raft: &landbridge_feed::Copy) -> Vec<(Region, LinkOrder)> {
    let held = raft.records().filter_map(|(key, record)| match (key, record) {
        (RecordKey::Link(region), Record::Link(order)) => Some((region.clone(), *order)),
        _ => None,
    });
    held.collect()
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX / 2)
}

fn number(phase: Phase) -> u8 {
    match phase {
        Phase::Starting => 0,
        Phase::Degraded => 1,
        Phase::Ready => 2,
        Phase::Draining => 3,
    }
}

fn standing(standing: Standing) -> f64 {
    match standing {
        Standing::Live => 0.0,
        Standing::Suspect => 1.0,
        Standing::Frozen => 2.0,
    }
}
