//! A holder: all copies of one process, its streams, and what they mean together.
//!
//! Invariant: each step ends with everything said that there was credit to say; nothing waits for a timer but heartbeats,
//! verifications and the choice of suppliers.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use landbridge_model::{
    Change, FeedId, Heartbeat, Moment, Mutant, Position, Record, RecordKey, Region, ServiceKey, View, planted,
};

use crate::{
    body::Body,
    check,
    choice::Choice,
    credit::Credit,
    follower::Outcome,
    holdings::Holdings,
    input::{Effect, Input, Loss, Peer, Role, StreamId},
    lens::{self, Lens},
    look::Look,
    message::Message,
    settings::Settings,
    stream::{Reach, Stream},
    supplier::Sources,
    verify::Verification,
    weight,
};

/// Follows, holds and supplies feeds, and joins what it holds.
#[derive(Debug)]
pub struct Holder {
    pub(crate) settings: Settings,
    pub(crate) holdings: Holdings,
    pub(crate) now: Moment,
    /// The wall clock as of the last tick, and when that was.
    pub(crate) wall: (u64, Moment),
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    pub(crate) choice: Choice,
    /// The latest look at each origin: bounded by the regions that operators ask for, of those that have a stream.
    pub(crate) looks: BTreeMap<Region, Look>,
    pub(crate) verifications: BTreeMap<FeedId, Verification>,
    /// Who wants what: the way from a copy that moved to the streams that must hear of it.
    wanted_by: BTreeMap<FeedId, BTreeSet<StreamId>>,
    /// Streams on which there may be something to say.
    pub(crate) hot: BTreeSet<StreamId>,
    /// Whether suppliers must be chosen anew.
    unsettled: bool,
    /// What other regions lost in the last step.
    pub(crate) lost: Vec<Loss>,
    said: Vec<(StreamId, Message)>,
    refused: Vec<(StreamId, &'static str)>,
}

impl Holder {
    /// A holder of nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            holdings: Holdings::new(&settings),
            choice: Choice::new(&settings),
            settings,
            now: Moment::default(),
            wall: (0, Moment::default()),
            streams: BTreeMap::new(),
            looks: BTreeMap::new(),
            verifications: BTreeMap::new(),
            wanted_by: BTreeMap::new(),
            hot: BTreeSet::new(),
            unsettled: false,
            lost: Vec::new(),
            said: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Takes one input and appends what follows from it to `effects`.
    pub fn step(&mut self, now: Moment, input: Input, effects: &mut Vec<Effect>) {
        self.now = now;
        match input {
            Input::Tick { unix_ms } => self.tick(unix_ms),
            Input::Opened { stream, peer } => self.open(stream, peer),
            Input::Received { stream, message } => self.receive(stream, message),
            Input::Drained { stream, bytes } => {
                if let Some(held) = self.streams.get_mut(&stream) {
                    held.credit.refill(bytes);
                    self.hot.insert(stream);
                }
            }
            Input::Closed { stream } => self.close(stream),
            Input::RaftBeat { n, unix_ms } => self.raft_beat(n, unix_ms),
            Input::Applied { position, changes } => self.applied(position, changes),
            Input::Installed { position, records } => self.installed(position, records),
            Input::Begun { feed, records } => self.begun(feed, records),
            Input::Ended => {
                self.holdings.leave();
                self.unsettled = true;
            }
            Input::Wrote { changes } => self.wrote(changes),
            Input::Named { id } => self.choice.name(id),
            Input::Look { region } => self.look(region),
            Input::Resync { region } => self.resync(&region),
            Input::Loaded { feed, view, position, records } => self.load(feed, view, position, records),
        }
        self.settle(effects);
    }

    /// The feeds that a stream's peer asks for.
    pub fn wants_on(&self, stream: StreamId) -> Vec<FeedId> {
        self.streams.get(&stream).into_iter().flat_map(|held| held.supplier.wants().cloned()).collect()
    }

    fn tick(&mut self, unix_ms: u64) {
        let (_, before) = mem::replace(&mut self.wall, (unix_ms, self.now));
        let ticks = if planted(Mutant::PausesCount) { self.now.since(before) / 1000 } else { 1 };
        self.holdings.tick(ticks);
        self.holdings.expire(self.now);
        if let Some(own) = self.holdings.own().cloned()
            && let Some(copy) = self.holdings.copies().get(&own)
        {
            let position = copy.position();
            let tick = self.holdings.beats.ticks();
            if tick.is_multiple_of(self.settings.limits.verify_ticks) && !planted(Mutant::NoVerify) {
                self.verifications.insert(own.clone(), Verification::of(copy, tick));
                self.holdings.news.moved.insert(own.clone());
            }
            self.holdings.beats.beat(self.now, &own, position, unix_ms);
        }
        self.choice.tick(&self.holdings);
        self.unsettled = true;
        self.tell_all();
    }

    fn open(&mut self, stream: StreamId, peer: Peer) {
        if self.streams.len() >= self.settings.limits.streams_max {
            self.refused.push((stream, "more streams than a holder keeps"));
            return;
        }
        match Stream::open(&self.settings, peer.clone()) {
            Ok(opened) => {
                self.streams.insert(stream, opened);
                self.choice.opened(stream, peer);
                self.tell_beats(stream);
            }
            Err(why) => self.refused.push((stream, why)),
        }
    }

    fn close(&mut self, stream: StreamId) {
        let Some(closed) = self.streams.remove(&stream) else { return };
        for feed in closed.supplier.wants() {
            if let Some(streams) = self.wanted_by.get_mut(feed) {
                streams.remove(&stream);
            }
        }
        self.hot.remove(&stream);
        self.choice.closed(stream);
        self.look_away(stream);
        self.unsettled = true;
    }

    fn receive(&mut self, stream: StreamId, message: Message) {
        let outcome = self.take(stream, message);
        match outcome {
            Ok(Outcome::Ignored) => {}
            Ok(Outcome::Looked) => self.looked(stream),
            Ok(Outcome::Progress(feed) | Outcome::Verified(feed)) => {
                self.choice.progressed(&feed, stream, self.holdings.beats.ticks());
                self.hot.insert(stream);
            }
            Err(why) => {
                self.refused.push((stream, why));
                self.close(stream);
            }
        }
    }

    fn take(&mut self, id: StreamId, message: Message) -> Result<Outcome, &'static str> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(Outcome::Ignored) };
        let (settings, holdings) = (&self.settings, &mut self.holdings);
        match message {
            Message::Want { feed, have, digests } => {
                stream.may_ask(&settings.region, &settings.role, &feed)?;
                stream.supplier.want(&feed, have, digests, &settings.limits)?;
                self.unsettled |= self.choice.asked(&feed) == Some(id);
                self.wanted_by.entry(feed).or_default().insert(id);
                self.hot.insert(id);
                Ok(Outcome::Ignored)
            }
            Message::Unwant { feed } => {
                stream.supplier.unwant(&feed);
                if let Some(streams) = self.wanted_by.get_mut(&feed) {
                    streams.remove(&id);
                }
                Ok(Outcome::Ignored)
            }
            Message::Batch { feed, view, from, to, changes } => {
                stream.may_bring(&feed)?;
                stream.follower.batch(settings, holdings, feed, (view, from, to), changes)
            }
            Message::Begin { feed, view } => {
                stream.may_bring(&feed)?;
                stream.follower.begin(settings, holdings, feed, view)
            }
            Message::Live { feed, changes } => {
                stream.may_bring(&feed)?;
                stream.follower.live(settings, feed, changes)
            }
            Message::Bucket { feed, bucket, content } => {
                stream.may_bring(&feed)?;
                stream.follower.bucket(settings, holdings, feed, bucket, content)
            }
            Message::End { feed, view, position } => {
                stream.may_bring(&feed)?;
                stream.follower.end(settings, holdings, feed, view, position)
            }
            Message::Beats { beats, hears, .. } => self.hear(id, beats, hears),
            Message::Verify { feed, view, position, digests, n } => {
                stream.may_bring(&feed)?;
                let at = (view.clone(), position);
                let outcome = stream.follower.verify(settings, holdings, feed.clone(), at, &digests)?;
                let is_new = self.verifications.get(&feed).is_none_or(|known| known.n < n);
                if is_new && outcome == Outcome::Verified(feed.clone()) {
                    holdings.news.moved.insert(feed.clone());
                    self.verifications.insert(feed, Verification { n, view, position, digests });
                }
                Ok(outcome)
            }
        }
    }

    fn hear(
        &mut self,
        id: StreamId,
        beats: Vec<(FeedId, Heartbeat)>,
        hears: Vec<Region>,
    ) -> Result<Outcome, &'static str> {
        if hears.len() > self.settings.limits.regions_max {
            return Err("more regions than a holder keeps");
        }
        if beats.len() > self.settings.limits.beats_max {
            return Err("more heartbeats than one message may bring");
        }
        let Some(stream) = self.streams.get(&id) else { return Ok(Outcome::Ignored) };
        beats.iter().try_for_each(|(feed, _)| stream.may_bring(feed))?;
        let tick = self.holdings.beats.ticks();
        self.choice.says_it_hears(id, hears);
        for (feed, beat) in beats {
            let is_ours = self.holdings.own() == Some(&feed);
            let is_listed = !feed.is_raft() && self.holdings.lists(&feed);
            let is_known = is_listed || self.holdings.copies().contains_key(&feed);
            self.unsettled |= self.choice.heard(id, &feed, beat.n, tick);
            let is_shut_out = self.holdings.shuts_out(feed.region());
            if beat.n > 0
                && is_known
                && !is_ours
                && !is_shut_out
                && self.holdings.beats.hear(self.now, &feed, beat)
            {
                self.holdings.touch_feed(&feed);
            }
        }
        Ok(Outcome::Ignored)
    }

    fn raft_beat(&mut self, n: u64, unix_ms: u64) {
        let feed = FeedId::Raft(self.settings.region.clone());
        if let Some(copy) = self.holdings.copies().get(&feed) {
            let beat = Heartbeat { n, position: copy.position(), unix_ms };
            self.holdings.beats.hear(self.now, &feed, beat);
        }
    }

    fn applied(&mut self, position: Position, changes: Vec<Change>) {
        let feed = FeedId::Raft(self.settings.region.clone());
        match self.holdings.copies().get(&feed).map(|copy| copy.position()) {
            Some(at) if at < position => self.holdings.advance(&feed, position, changes),
            Some(_) => {}
            None => {
                let records = changes.into_iter().filter_map(|change| Some((change.key, change.record?)));
                self.installed(position, records.collect());
            }
        }
    }

    fn installed(&mut self, position: Position, records: Vec<(RecordKey, Record)>) {
        let feed = FeedId::Raft(self.settings.region.clone());
        if self.holdings.copies().get(&feed).is_none_or(|copy| copy.position() < position) {
            self.holdings.swap(&feed, View::WHOLE, position, body_of(records));
        }
    }

    fn begun(&mut self, feed: FeedId, records: Vec<(RecordKey, Record)>) {
        let FeedId::Member { era, .. } = feed else { return };
        self.holdings.leave();
        let seq = if planted(Mutant::StartsAtZero) { 0 } else { 1 };
        self.holdings.begin(feed, Position { era, seq }, body_of(records));
        self.unsettled = true;
    }

    fn wrote(&mut self, changes: Vec<Change>) {
        let Some(own) = self.holdings.own().cloned().filter(|_| !changes.is_empty()) else { return };
        let Some(at) = self.holdings.copies().get(&own).map(|copy| copy.position()) else { return };
        self.holdings.advance(&own, Position { seq: at.seq + 1, ..at }, changes);
    }

    /// R18: loads a copy that the loaded directory can know; any other is forgotten on disk.
    fn load(&mut self, feed: FeedId, view: View, position: Position, records: Vec<(RecordKey, Record)>) {
        let directory = self.holdings.copies().get(&FeedId::Raft(feed.region().clone()));
        let is_known = match &feed {
            FeedId::Raft(region) => {
                !matches!(self.settings.role, Role::Member(_)) || *region != self.settings.region
            }
            FeedId::Member { era, index, .. } => {
                let opened = Position { era: *era, seq: *index };
                let knows =
                    |raft: &crate::Copy| opened <= raft.position() || planted(Mutant::CheckpointTooNew);
                directory.is_some_and(knows)
            }
        };
        let is_evicted = self.holdings.evicts(feed.region());
        let is_sound = check::records(&feed, &records).is_ok()
            && check::position(&feed, position).is_ok()
            && lens::is_meant_for(&self.settings.region, &feed, &view);
        if self.holdings.copies().contains_key(&feed) || planted(Mutant::CheckpointSkipped) {
            return;
        }
        if !is_known || !is_sound || is_evicted {
            self.holdings.news.dropped.push(feed);
            return;
        }
        self.holdings.swap(&feed, view, position, body_of(records));
    }

    fn tell_all(&mut self) {
        let streams: Vec<_> = self.streams.keys().copied().collect();
        for stream in streams {
            self.tell_beats(stream);
        }
    }

    /// A peer is to be told the newest heartbeats of what this holder may supply it with, its own and relayed ones (R20).
    fn tell_beats(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if self.settings.role == Role::Gateway {
            return;
        }
        let near = &self.settings.region;
        let listed = self.holdings.origin(near).into_iter().flat_map(|o| o.directory.entries().keys());
        let known = listed.chain(self.holdings.copies().keys());
        let may_hear = |feed: &&FeedId| stream.reach == Reach::Near || feed.region() == near;
        let is_told =
            |feed: &&FeedId| !planted(Mutant::BeatsNotRelayed) || self.holdings.own() == Some(*feed);
        stream.pulse.owe(known.filter(may_hear).filter(is_told).cloned().collect());
        self.hot.insert(id);
    }

    /// Draws the consequences of a step and hands out what there is to tell.
    fn settle(&mut self, effects: &mut Vec<Effect>) {
        self.holdings.release();
        if self.unsettled || !self.holdings.news.directories.is_empty() {
            self.unsettled = false;
            let streams = &self.streams;
            let asks = |stream: StreamId, feed: &FeedId| {
                streams.get(&stream).is_some_and(|held| held.supplier.is_asked(feed))
            };
            for turn in self.choice.refresh(&self.holdings, &asks) {
                for (stream, wants) in [(turn.from, false), (turn.to, true)] {
                    let Some(held) = stream.and_then(|stream| self.streams.get_mut(&stream)) else {
                        continue;
                    };
                    if wants {
                        held.follower.want(&turn.feed);
                    } else {
                        held.follower.unwant(&turn.feed);
                    }
                    self.hot.extend(stream);
                }
            }
        }
        let mut news = mem::take(&mut self.holdings.news);
        self.lost = mem::take(&mut news.lost);
        for region in &news.arrived {
            self.holdings.beats.watch(self.now, region);
        }
        if !news.arrived.is_empty() {
            self.tell_all();
        }
        self.alert(&news.moved);
        self.produce();
        effects.extend(self.refused.drain(..).map(|(stream, why)| Effect::Refuse { stream, why }));
        effects.extend(
            mem::take(&mut news.directories).into_iter().map(|region| Effect::DirectoryChanged { region }),
        );
        effects.extend(mem::take(&mut news.doubted).into_iter().map(|feed| Effect::Doubted { feed }));
        effects.extend(mem::take(&mut news.dropped).into_iter().map(|feed| Effect::Dropped { feed }));
        let standings = mem::take(&mut news.standings).into_iter();
        effects.extend(standings.map(|(region, standing)| Effect::StandingChanged { region, standing }));
        let touched = news.touched.iter().flat_map(|(region, service)| {
            let names = self.holdings.local_names(&news, region, service);
            names.into_iter().map(|name| (region.clone(), name))
        });
        let touched: BTreeSet<(Region, ServiceKey)> = touched.collect();
        effects.extend(touched.into_iter().map(|(region, service)| Effect::Touched { region, service }));
        effects.extend(self.said.drain(..).map(|(stream, message)| Effect::Send { stream, message }));
    }

    /// Tells the streams that want them which copies moved.
    fn alert(&mut self, moved: &BTreeSet<FeedId>) {
        for feed in moved {
            if !self.holdings.copies().contains_key(feed) {
                self.verifications.remove(feed);
            }
            for id in self.wanted_by.get(feed).into_iter().flatten() {
                if let Some(stream) = self.streams.get_mut(id) {
                    let is_lens = feed.is_raft() && stream.reach == Reach::Far;
                    if is_lens {
                        stream.supplier.moved_all()
                    } else {
                        stream.supplier.moved(feed)
                    }
                    self.hot.insert(*id);
                }
            }
        }
        self.wanted_by.retain(|_, streams| !streams.is_empty());
    }

    fn produce(&mut self) {
        let near = self.holdings.copies().get(&FeedId::Raft(self.settings.region.clone()));
        for id in mem::take(&mut self.hot) {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let mut said = Vec::new();
            let credit: &mut Credit = &mut stream.credit;
            let hears = if stream.reach == Reach::Near { self.choice.afar() } else { &[] };
            let beats = (self.wall.0, self.settings.limits.bulk_bytes_max / weight::BEAT_BYTES, hears);
            if !stream.pulse.produce(&self.holdings.beats, beats, credit, &mut said) {
                self.said.extend(said.into_iter().map(|message| (id, message)));
                continue;
            }
            stream.follower.produce(&self.holdings, credit, &mut said);
            let lens = match (stream.reach, near) {
                (Reach::Near, _) => Some(Lens::Whole),
                (Reach::Far, near) => near.map(|raft| Lens::toward(&stream.peer.region, raft)),
            };
            if let Some(lens) = lens {
                let sources = Sources {
                    copies: self.holdings.copies(),
                    verifications: &self.verifications,
                    lens: &lens,
                    limits: &self.settings.limits,
                };
                stream.supplier.produce(&sources, credit, &mut said);
            }
            self.said.extend(said.into_iter().map(|message| (id, message)));
        }
    }
}

fn body_of(records: Vec<(RecordKey, Record)>) -> Body {
    let mut body = Body::new();
    for (key, record) in records {
        body.put(&key, Some(record));
    }
    body
}
