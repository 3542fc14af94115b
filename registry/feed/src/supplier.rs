//! What one stream's follower is given: recent steps, or a reconcile, or nothing while this side is behind.
//!
//! ```text
//! Waiting ──has, within the ring──▶ Live ──below the floor, or a newer view──▶ Rebuild
//!    │                               ▲                                        │  ▲ own copy jumped: Begin again
//!    └──has none, or too old─────────│────────────────────────────────────────▶  │
//!                                    └──────────────── End ───────────────────┘
//! ```
//! Invariant: without a copy, or behind the follower, it says nothing (R6, R8).
//! Invariant: nothing is queued here; with credit back, it says what holds then.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use landbridge_model::{FeedId, Position, RecordKey, View};

use crate::{
    copy::Copy,
    credit::Credit,
    lens::Lens,
    message::{BUCKETS, BucketContent, Digests, Message},
    settings::Limits,
    verify::Verification,
    weight,
};

/// What a supplier draws from.
pub(crate) struct Sources<'a> {
    pub copies: &'a BTreeMap<FeedId, Copy>,
    pub verifications: &'a BTreeMap<FeedId, Verification>,
    pub lens: &'a Lens,
    pub limits: &'a Limits,
}

/// The supplying side of one stream.
#[derive(Debug, Default)]
pub(crate) struct Supplier {
    wants: BTreeMap<FeedId, Serving>,
    /// The feeds of which there may be something to say.
    due: BTreeSet<FeedId>,
    /// Who had the last turn: with little credit the feeds take turns.
    last: Option<FeedId>,
}

#[derive(Debug)]
struct Serving {
    have: Option<(View, Position)>,
    digests: Option<Digests>,
    phase: Phase,
    /// The last verification passed on.
    verified: u64,
}

#[derive(Debug)]
enum Phase {
    Waiting,
    Live { view: View, at: Position },
    Rebuild(Rebuild),
}

#[derive(Debug)]
struct Rebuild {
    view: View,
    /// Up to where Live changes have been told; none before Begin.
    at: Option<Position>,
    swaps: u64,
    bucket: usize,
    after: Option<RecordKey>,
}

impl Supplier {
    /// A peer asks for a feed, for the first time or again; refused above the bound.
    pub fn want(
        &mut self,
        feed: &FeedId,
        have: Option<(View, Position)>,
        digests: Option<Digests>,
        limits: &Limits,
    ) -> Result<(), &'static str> {
        if self.wants.len() >= limits.wants_per_stream_max && !self.wants.contains_key(feed) {
            return Err("wants more feeds than one stream may");
        }
        let verified = self.wants.get(feed).map_or(0, |serving| serving.verified);
        let serving = Serving { have, digests, phase: Phase::Waiting, verified };
        self.wants.insert(feed.clone(), serving);
        self.due.insert(feed.clone());
        Ok(())
    }

    /// The peer asks for it no longer.
    pub fn unwant(&mut self, feed: &FeedId) {
        self.wants.remove(feed);
        self.due.remove(feed);
    }

    pub fn wants(&self) -> impl Iterator<Item = &FeedId> {
        self.wants.keys()
    }

    /// Whether the peer asks for this feed.
    pub fn is_asked(&self, feed: &FeedId) -> bool {
        self.wants.contains_key(feed)
    }

    /// The copy of a feed, or its verification, has moved.
    pub fn moved(&mut self, feed: &FeedId) {
        if self.wants.contains_key(feed) {
            self.due.insert(feed.clone());
        }
    }

    /// The lens may have changed.
    pub fn moved_all(&mut self) {
        self.due.extend(self.wants.keys().cloned());
    }

    /// Says what there is to say within the stream's credit, feed by feed in turns.
    pub fn produce(&mut self, sources: &Sources<'_>, credit: &mut Credit, said: &mut Vec<Message>) {
        while credit.is_open() {
            let Some(feed) = self.next() else { return };
            let serving = self.wants.get_mut(&feed);
            let more = match (serving, sources.copies.get(&feed)) {
                (Some(serving), Some(copy)) => serving.turn(&feed, copy, sources, &mut |message| {
                    credit.spend(&message);
                    said.push(message);
                }),
                (Some(_), None) | (None, _) => false,
            };
            if !more {
                self.due.remove(&feed);
            }
            self.last = Some(feed);
        }
    }

    fn next(&self) -> Option<FeedId> {
        let last = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.due.range((last, Bound::Unbounded)).next().or_else(|| self.due.first()).cloned()
    }
}

impl Serving {
    /// Says the next thing; tells whether there is more.
    fn turn(
        &mut self,
        feed: &FeedId,
        copy: &Copy,
        sources: &Sources<'_>,
        say: &mut impl FnMut(Message),
    ) -> bool {
        let view = sources.lens.view(copy);
        match &mut self.phase {
            Phase::Waiting => self.begin(copy, view),
            Phase::Live { view: under, .. } if *under > view => false,
            Phase::Live { view: under, at } if *under < view || copy.ring.floor() > *at => {
                self.phase = Phase::Rebuild(Rebuild::new(view));
                true
            }
            Phase::Live { view, at } => match copy.ring.after(*at, sources.limits.bulk_bytes_max) {
                Some(step) => {
                    *at = step.to;
                    let seen = step.changes.into_iter().filter_map(|(k, r)| sources.lens.change(k, r));
                    let (view, from, to, changes) = (view.clone(), step.from, step.to, seen.collect());
                    say(Message::Batch { feed: feed.clone(), view, from, to, changes });
                    self.digests = None;
                    true
                }
                None => {
                    self.pass_on(feed, copy, sources, say);
                    false
                }
            },
            Phase::Rebuild(rebuild) => {
                let end = rebuild.turn(feed, copy, view, self.digests.as_ref(), sources, say);
                if let Some((view, at)) = end {
                    self.digests = None;
                    self.phase = Phase::Live { view, at };
                }
                true
            }
        }
    }

    /// Decides how to start; behind the follower it waits (R6).
    fn begin(&mut self, copy: &Copy, view: View) -> bool {
        self.phase = match &self.have {
            Some((theirs, at)) if view < *theirs || copy.position() < *at => return false,
            Some((theirs, at)) if view == *theirs && copy.ring.floor() <= *at => {
                Phase::Live { view, at: *at }
            }
            Some(_) | None => Phase::Rebuild(Rebuild::new(view)),
        };
        true
    }

    /// R25: passes a verification on behind the steps up to its position, once, and only while the copy stands there.
    fn pass_on(&mut self, feed: &FeedId, copy: &Copy, sources: &Sources<'_>, say: &mut impl FnMut(Message)) {
        let (Some(verification), Phase::Live { view, at }) = (sources.verifications.get(feed), &self.phase)
        else {
            return;
        };
        let is_here = verification.position == *at
            && verification.position == copy.position()
            && verification.view == *copy.view();
        if is_here && verification.n > self.verified {
            self.verified = verification.n;
            say(Message::Verify {
                feed: feed.clone(),
                view: view.clone(),
                position: *at,
                digests: sources.lens.digests(copy, &verification.digests),
                n: verification.n,
            });
        }
    }
}

impl Rebuild {
    fn new(view: View) -> Self {
        Self { view, at: None, swaps: 0, bucket: 0, after: None }
    }

    /// Says the next part of a reconcile (R7); at the end tells under which view and where it ended.
    fn turn(
        &mut self,
        feed: &FeedId,
        copy: &Copy,
        view: View,
        announced: Option<&Digests>,
        sources: &Sources<'_>,
        say: &mut impl FnMut(Message),
    ) -> Option<(View, Position)> {
        let at =
            self.at.filter(|at| view == self.view && self.swaps == copy.swaps && copy.ring.floor() <= *at);
        let Some(at) = at else {
            say(Message::Begin { feed: feed.clone(), view: view.clone() });
            *self = Self { at: Some(copy.position()), swaps: copy.swaps, ..Self::new(view) };
            return None;
        };
        if let Some(step) = copy.ring.after(at, sources.limits.bulk_bytes_max) {
            self.at = Some(step.to);
            let seen = step.changes.into_iter().filter_map(|(k, r)| sources.lens.change(k, r));
            say(Message::Live { feed: feed.clone(), changes: seen.collect() });
            return None;
        }
        if let Some((bucket, content)) = self.next_bucket(copy, announced, sources) {
            say(Message::Bucket { feed: feed.clone(), bucket, content });
            return None;
        }
        let view = self.view.clone();
        say(Message::End { feed: feed.clone(), view: view.clone(), position: at });
        Some((view, at))
    }

    /// The next bucket, or run of one, as the copy stands now; empty ones need no word.
    fn next_bucket(
        &mut self,
        copy: &Copy,
        announced: Option<&Digests>,
        sources: &Sources<'_>,
    ) -> Option<(u16, BucketContent)> {
        while self.bucket < BUCKETS {
            let at = self.bucket;
            let theirs = announced.map(|digests| digests.0[at]);
            let held = copy.body.bucket(at);
            if self.after.is_none() {
                let digest = if held.is_some() { sources.lens.bucket_digest(copy, at) } else { 0 };
                if theirs == Some(digest) && digest != 0 {
                    self.bucket += 1;
                    return Some((at as u16, BucketContent::Same { digest }));
                }
            }
            let lower = self.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let rest = held.iter().flat_map(|held| held.range((lower, Bound::Unbounded)));
            let (mut records, mut bytes, mut last) = (Vec::new(), 0, true);
            for (key, record) in rest {
                let Some(record) = sources.lens.record(key, record) else { continue };
                bytes += weight::of_entry(key, &record);
                if bytes > sources.limits.bulk_bytes_max && !records.is_empty() {
                    last = false;
                    break;
                }
                records.push((key.clone(), record));
            }
            let started = self.after.is_some();
            self.after = if last { None } else { records.last().map(|(key, _)| key.clone()) };
            self.bucket += usize::from(last);
            if started || !records.is_empty() {
                return Some((at as u16, BucketContent::Records { records, last }));
            }
        }
        None
    }
}
