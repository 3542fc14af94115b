//! What one stream is asked for, and what it brings: steps, reconciles and verifications of copies.
//!
//! Invariant: a step is applied only where it leads on (R5); a reconcile is built aside and swapped in whole (R7), and
//! never takes a copy back (R6).
//! Invariant: what is not listed, or not asked of this stream, changes nothing (R2).

use std::collections::BTreeMap;

use landbridge_model::{Change, FeedId, Mutant, Position, Record, RecordKey, View, planted};

use crate::{
    check,
    credit::Credit,
    holdings::Holdings,
    lens,
    message::{BUCKETS, BucketContent, Digests, Message},
    settings::{Limits, Settings},
    shadow::Shadow,
};

/// The following side of one stream.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    wants: BTreeMap<FeedId, Wanted>,
    /// What is still to be said, when there is credit; the latest word per feed.
    unsaid: BTreeMap<FeedId, Ask>,
    /// What is only looked at; one feed at a time.
    looking: Option<Looking>,
}

#[derive(Debug)]
struct Looking {
    feed: FeedId,
    shadow: Option<Box<Shadow>>,
    /// Where its reconcile ended, once it is complete.
    end: Option<Position>,
}

#[derive(Debug, Default)]
struct Wanted {
    shadow: Option<Box<Shadow>>,
    /// Where the copy stood when its digests were last announced here.
    told: Option<(View, Position)>,
    /// Whether the digests were announced again since the last step or end: once is enough.
    renewed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Ask {
    /// Lead on from where the copy stands.
    On,
    /// Rebuild it, whatever its position says (R25).
    Anew,
    Nothing,
}

/// What a message has led to.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Nothing to tell.
    Ignored,
    /// The stream brings this feed on.
    Progress(FeedId),
    /// What is looked at is complete.
    Looked,
    /// The copy compared equal: pass this on.
    Verified(FeedId),
}

impl Follower {
    /// From now on this feed is asked of this stream.
    pub fn want(&mut self, feed: &FeedId) {
        self.wants.insert(feed.clone(), Wanted::default());
        self.ask(feed, Ask::On);
    }

    /// From now on it is not; a reconcile under way is forgotten.
    pub fn unwant(&mut self, feed: &FeedId) {
        if self.wants.remove(feed).is_some() {
            self.ask(feed, Ask::Nothing);
        }
    }

    /// What comes of this feed from here on is only looked at, until a reconcile of it is complete.
    pub fn look(&mut self, feed: &FeedId) {
        self.looked();
        self.looking = Some(Looking { feed: feed.clone(), shadow: None, end: None });
        self.unsaid.insert(feed.clone(), Ask::Anew);
    }

    /// Ends the look, and asks for the feed as before; what was told, if it was complete.
    pub fn looked(&mut self) -> Option<(FeedId, Position, Shadow)> {
        let Looking { feed, shadow, end } = self.looking.take()?;
        let ask = if self.wants.contains_key(&feed) { Ask::On } else { Ask::Nothing };
        self.unsaid.insert(feed.clone(), ask);
        Some((feed, end?, *shadow?))
    }

    /// Asks for a feed that is wanted here to be told whole.
    pub fn anew(&mut self, feed: &FeedId) {
        self.ask_again(feed, Ask::Anew);
    }

    /// Remembers what to say; of a feed that is looked at, the end of the look says what is due then.
    fn ask(&mut self, feed: &FeedId, ask: Ask) {
        if !self.looks_at(feed) {
            self.unsaid.insert(feed.clone(), ask);
        }
    }

    fn looks_at(&self, feed: &FeedId) -> bool {
        self.looking.as_ref().is_some_and(|looking| looking.feed == *feed)
    }

    /// Says what is unsaid, within the stream's credit.
    pub fn produce(&mut self, holdings: &Holdings, credit: &mut Credit, said: &mut Vec<Message>) {
        while let Some((feed, ask)) = self.unsaid.pop_first() {
            let copy = holdings.copies().get(&feed);
            let here = copy.map(|copy| (copy.view().clone(), copy.position()));
            let have = match ask {
                Ask::On => here.clone(),
                Ask::Anew | Ask::Nothing => None,
            };
            let message = match ask {
                Ask::On | Ask::Anew => {
                    let digests = copy.filter(|copy| !copy.is_empty()).map(|copy| copy.digests().clone());
                    if let Some(wanted) = self.wants.get_mut(&feed) {
                        wanted.told = here;
                    }
                    Message::Want { feed: feed.clone(), have, digests }
                }
                Ask::Nothing => Message::Unwant { feed: feed.clone() },
            };
            if !credit.has_room(&message) {
                self.unsaid.insert(feed, ask);
                return;
            }
            credit.spend(&message);
            said.push(message);
        }
    }

    /// R5: a step, applied wherever it leads on from, also from a stream that was asked before.
    pub fn batch(
        &mut self,
        settings: &Settings,
        holdings: &mut Holdings,
        feed: FeedId,
        (view, from, to): (View, Position, Position),
        changes: Vec<Change>,
    ) -> Result<Outcome, &'static str> {
        check::changes(&feed, &changes)?;
        check::position(&feed, to)?;
        is_for_us(settings, &feed, &view)?;
        if self.looks_at(&feed) {
            return Ok(Outcome::Ignored);
        }
        let accepts = |copy: &crate::Copy| copy.accepts(&view, from, to);
        let copy = holdings.copies().get(&feed).filter(|copy| accepts(copy));
        let Some(copy) = copy.filter(|_| takes(settings, holdings, &feed)) else {
            return Ok(Outcome::Ignored);
        };
        is_within(&settings.limits, copy.len() + changes.len())?;
        let lists =
            |change: &&Change| matches!(change.key, RecordKey::Directory(_)) && change.record.is_some();
        let listed = holdings.origin(feed.region()).map_or(0, |o| o.directory.entries().len());
        is_listable(&settings.limits, listed + changes.iter().filter(lists).count())?;
        holdings.advance(&feed, to, changes);
        if let Some(wanted) = self.wants.get_mut(&feed) {
            wanted.renewed = false;
        }
        Ok(Outcome::Progress(feed))
    }

    /// R7: a reconcile starts, or starts over.
    pub fn begin(
        &mut self,
        settings: &Settings,
        holdings: &Holdings,
        feed: FeedId,
        view: View,
    ) -> Result<Outcome, &'static str> {
        is_for_us(settings, &feed, &view)?;
        if let Some(looking) = self.looking.as_mut().filter(|looking| looking.feed == feed) {
            looking.shadow = Some(Box::new(Shadow::new(view)));
            return Ok(Outcome::Ignored);
        }
        let Some(wanted) = self.wants.get_mut(&feed).filter(|_| takes(settings, holdings, &feed)) else {
            return Ok(Outcome::Ignored);
        };
        let here = holdings.copies().get(&feed).filter(|copy| !copy.is_empty());
        let is_told = here.is_none_or(|copy| {
            wanted.told.as_ref().is_some_and(|(view, at)| view == copy.view() && *at == copy.position())
        });
        wanted.shadow = None;
        if !is_told && !wanted.renewed {
            wanted.renewed = true;
            self.unsaid.insert(feed.clone(), Ask::On);
        } else {
            wanted.shadow = Some(Box::new(Shadow::new(view)));
        }
        Ok(Outcome::Progress(feed))
    }

    /// R7: changes while the reconcile runs.
    pub fn live(
        &mut self,
        settings: &Settings,
        feed: FeedId,
        changes: Vec<Change>,
    ) -> Result<Outcome, &'static str> {
        check::changes(&feed, &changes)?;
        let Some(shadow) = self.shadow(&feed) else { return Ok(Outcome::Ignored) };
        if !planted(Mutant::LiveChangesLost) {
            shadow.live(changes);
        }
        is_within(&settings.limits, shadow.body.len())?;
        Ok(Outcome::Progress(feed))
    }

    /// R7: a bucket, or a run of one.
    pub fn bucket(
        &mut self,
        settings: &Settings,
        holdings: &Holdings,
        feed: FeedId,
        bucket: u16,
        content: BucketContent,
    ) -> Result<Outcome, &'static str> {
        let bucket = usize::from(bucket);
        if bucket >= BUCKETS {
            return Err("a bucket that does not exist");
        }
        if let BucketContent::Records { records, .. } = &content {
            check::records(&feed, records)?;
        }
        let Some(shadow) = self.shadow(&feed) else { return Ok(Outcome::Ignored) };
        let fits = match content {
            BucketContent::Records { records, last } => shadow.records(bucket, records, last).map(|()| true),
            BucketContent::Same { digest } => shadow.same(bucket, digest, holdings.copies().get(&feed)),
        }?;
        is_within(&settings.limits, shadow.body.len())?;
        if !fits {
            self.ask_again(&feed, Ask::On);
        }
        Ok(Outcome::Progress(feed))
    }

    /// R6 and R7: the reconcile is complete and takes the copy's place, unless that would take it back.
    pub fn end(
        &mut self,
        settings: &Settings,
        holdings: &mut Holdings,
        feed: FeedId,
        view: View,
        position: Position,
    ) -> Result<Outcome, &'static str> {
        check::position(&feed, position)?;
        is_for_us(settings, &feed, &view)?;
        if let Some(looking) = self.looking.as_mut().filter(|looking| looking.feed == feed) {
            let is_whole = looking.shadow.as_ref().is_some_and(|shadow| shadow.view == view);
            looking.end = is_whole.then_some(position);
            return Ok(if is_whole { Outcome::Looked } else { Outcome::Ignored });
        }
        let Some(wanted) = self.wants.get_mut(&feed) else { return Ok(Outcome::Ignored) };
        wanted.renewed = false;
        let shadow = wanted.shadow.take().filter(|shadow| shadow.view == view);
        let Some(shadow) = shadow.filter(|_| takes(settings, holdings, &feed)) else {
            return Ok(Outcome::Ignored);
        };
        if feed.is_raft() {
            let lists = |(key, _): &(&RecordKey, &Record)| matches!(key, RecordKey::Directory(_));
            is_listable(&settings.limits, shadow.body.records().filter(lists).count())?;
        }
        if holdings.copies().get(&feed).is_none_or(|copy| copy.yields_to(&view, position)) {
            holdings.swap(&feed, view, position, shadow.body);
        }
        Ok(Outcome::Progress(feed))
    }

    /// R25: compares at equal view and position; a copy that differs is doubted, served on, and rebuilt.
    pub fn verify(
        &mut self,
        settings: &Settings,
        holdings: &mut Holdings,
        feed: FeedId,
        (view, position): (View, Position),
        digests: &Digests,
    ) -> Result<Outcome, &'static str> {
        is_for_us(settings, &feed, &view)?;
        if self.looks_at(&feed) || !self.wants.contains_key(&feed) || !takes(settings, holdings, &feed) {
            return Ok(Outcome::Ignored);
        }
        let copy = holdings.copy_mut(&feed);
        let Some(copy) = copy.filter(|copy| *copy.view() == view && copy.position() == position) else {
            return Ok(Outcome::Ignored);
        };
        if copy.verify(digests) {
            return Ok(Outcome::Verified(feed));
        }
        self.ask_again(&feed, Ask::Anew);
        holdings.news.doubted.push(feed.clone());
        Ok(Outcome::Progress(feed))
    }

    fn shadow(&mut self, feed: &FeedId) -> Option<&mut Shadow> {
        if let Some(looking) = self.looking.as_mut().filter(|looking| looking.feed == *feed) {
            return looking.shadow.as_deref_mut();
        }
        self.wants.get_mut(feed)?.shadow.as_deref_mut()
    }

    fn ask_again(&mut self, feed: &FeedId, ask: Ask) {
        if let Some(looking) = self.looking.as_mut().filter(|looking| looking.feed == *feed) {
            looking.shadow = None;
            self.unsaid.insert(feed.clone(), Ask::Anew);
            return;
        }
        if let Some(wanted) = self.wants.get_mut(feed) {
            wanted.shadow = None;
            self.unsaid.insert(feed.clone(), ask);
        }
    }
}

/// R2: whether news of this feed may change anything here.
fn takes(settings: &Settings, holdings: &Holdings, feed: &FeedId) -> bool {
    let comes_from_within = feed.is_raft()
        && *feed.region() == settings.region
        && matches!(settings.role, crate::Role::Member(_));
    let is_listed = holdings.lists(feed) || planted(Mutant::UnlistedTaken);
    is_listed && holdings.own() != Some(feed) && !comes_from_within && !holdings.shuts_out(feed.region())
}

fn is_for_us(settings: &Settings, feed: &FeedId, view: &View) -> Result<(), &'static str> {
    if lens::is_meant_for(&settings.region, feed, view) { Ok(()) } else { Err("a view meant for others") }
}

fn is_within(limits: &Limits, records: usize) -> Result<(), &'static str> {
    if records <= limits.feed_records_max { Ok(()) } else { Err("more records than a feed may bring") }
}

fn is_listable(limits: &Limits, feeds: usize) -> Result<(), &'static str> {
    if feeds <= limits.directory_max { Ok(()) } else { Err("more feeds than a directory may list") }
}
