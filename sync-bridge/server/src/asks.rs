//! What operators ask of a running bridge, and how what it finds is told.

use std::time::Duration;

use landbridge_feed::{Difference, Differs, Look};
use landbridge_model::{RecordKey, Region};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// Asks that wait for the loop; one more is turned away.
const ASKS_MAX: usize = 16;

/// An answer that takes longer than this is given up: a feed of which the far side has no copy is never told.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Rebuild all copies of a region.
    Resync,
    /// Compare them with what the region says, and change nothing.
    Diff,
}

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Self::Resync => "link resync",
            Self::Diff => "link diff",
        }
    }
}

/// One ask and whom to answer.
pub(crate) struct Ask {
    pub verb: Verb,
    pub region: Region,
    pub answer: oneshot::Sender<Result<Answer, Failed>>,
}

/// What an ask came to.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Resync { region: String, feeds: usize, records: usize },
    Diff(Report),
}

/// Why it came to nothing, named by who can mend it.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The region is no peer of this bridge.
    Unknown(String),
    /// It does not go with how things stand.
    Conflict(String),
    /// The loop or the far side does not answer.
    Silent(String),
}

impl Failed {
    pub fn why(&self) -> &str {
        match self {
            Self::Unknown(why) | Self::Conflict(why) | Self::Silent(why) => why,
        }
    }
}

/// What differs between an origin's word and what is held of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    region: String,
    feeds: Vec<FeedRow>,
    rows: Vec<KeyRow>,
    /// How many differing keys are counted above and not named.
    unnamed: usize,
}

#[derive(Debug, Serialize)]
struct FeedRow {
    feed: String,
    held: Option<String>,
    told: Option<String>,
    missing: usize,
    extra: usize,
    changed: usize,
}

#[derive(Debug, Serialize)]
struct KeyRow {
    differs: &'static str,
    feed: String,
    service: Option<String>,
    key: String,
}

impl Report {
    pub fn of(region: &Region, look: &Look) -> Self {
        let found = look.found();
        let keys = found.iter().flat_map(|found| found.keys.iter().map(move |key| (&found.feed, key)));
        let rows: Vec<_> =
            keys.map(|(feed, (differs, key))| key_row(feed.to_string(), *differs, key)).collect();
        let all: usize = found.iter().map(|found| found.missing + found.extra + found.changed).sum();
        let unnamed = all - rows.len();
        Self { region: region.to_string(), feeds: found.iter().map(feed_row).collect(), rows, unnamed }
    }
}

fn feed_row(found: &Difference) -> FeedRow {
    let Difference { feed, held, told, missing, extra, changed, keys: _ } = found;
    FeedRow {
        feed: feed.to_string(),
        held: held.map(|at| at.to_string()),
        told: told.map(|at| at.to_string()),
        missing: *missing,
        extra: *extra,
        changed: *changed,
    }
}

fn key_row(feed: String, differs: Differs, key: &RecordKey) -> KeyRow {
    let differs = match differs {
        Differs::Missing => "missing",
        Differs::Extra => "extra",
        Differs::Changed => "changed",
    };
    let text = match key {
        RecordKey::Instance(_, instance) => format!("instance {}:{}", instance.ip.as_str(), instance.port),
        RecordKey::Persistent(_, instance) => {
            format!("persistent {}:{}", instance.ip.as_str(), instance.port)
        }
        RecordKey::Overlay(_, instance) => format!("overlay {}:{}", instance.ip.as_str(), instance.port),
        RecordKey::Definition(_) => "definition".to_owned(),
        RecordKey::Directory(listed) => format!("directory {listed}"),
        RecordKey::Policy(peer) => format!("policy {peer}"),
        RecordKey::Bridge(id) => format!("bridge {id}"),
        RecordKey::Link(region) => format!("link {region}"),
        RecordKey::Import(region) => format!("import {region}"),
        RecordKey::Settling => "settling".to_owned(),
        RecordKey::Port(_) => "service port".to_owned(),
    };
    let service = key.service().map(|service| {
        format!(
            "{}/{}/{}",
            service.namespace().as_str(),
            service.group().as_str(),
            service.service().as_str()
        )
    });
    KeyRow { differs, feed, service, key: text }
}

/// The way to the loop.
#[derive(Clone)]
pub(crate) struct Asks(mpsc::Sender<Ask>);

impl Asks {
    pub fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (sender, asks) = mpsc::channel(ASKS_MAX);
        (Self(sender), asks)
    }

    /// Asks the loop and waits for the answer, within a bound.
    pub async fn ask(&self, verb: Verb, region: &str) -> Result<Answer, Failed> {
        let region = Region::parse(region).map_err(|invalid| Failed::Unknown(invalid.to_string()))?;
        let (sender, answer) = oneshot::channel();
        let ask = Ask { verb, region, answer: sender };
        self.0.try_send(ask).map_err(|_| Failed::Silent("too many asks wait: try again".to_owned()))?;
        match tokio::time::timeout(ANSWER_MAX, answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err(Failed::Silent("the bridge is ending".to_owned())),
            Err(_) => Err(Failed::Silent(format!("no answer in {} s", ANSWER_MAX.as_secs()))),
        }
    }
}
