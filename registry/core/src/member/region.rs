//! What the holder and Raft say, and what follows for the own feed (R1, R9) and for the phase (R14).

use landbridge_feed::{Message, Standing, StreamId};
use landbridge_model::{
    Change, Era, Moment, Mutant, Position, Record, RecordKey, Region, ServiceKey, planted,
};

use super::Member;
use crate::{
    input::{Effect, Phase},
    open::Turn,
    ready,
};

impl Member {
    pub(super) fn receive(
        &mut self,
        now: Moment,
        stream: StreamId,
        message: Message,
        effects: &mut Vec<Effect>,
    ) {
        if let Message::Beats { unix_ms, .. } = &message
            && self.members.contains(&stream)
        {
            self.reference.told(now, stream, *unix_ms);
        }
        self.tell(now, landbridge_feed::Input::Received { stream, message }, effects);
        if self.phase == Phase::Starting {
            self.rephase(effects);
        }
    }

    /// Passes on what the holder says.
    pub(super) fn pass_on(&mut self, effect: landbridge_feed::Effect, effects: &mut Vec<Effect>) {
        use landbridge_feed::Effect as Feed;
        match effect {
            Feed::Send { stream, message } => effects.push(Effect::Send { stream, message }),
            Feed::Refuse { stream, why } => effects.push(Effect::Refuse { stream, why }),
            Feed::Touched { region, service } => {
                if region == self.settings.region {
                    self.suspect(&service);
                } else {
                    self.imports.told_of(&region, &service, &self.holder);
                }
                self.touch(&service, effects);
            }
            Feed::DirectoryChanged { region } => effects.push(Effect::DirectoryChanged { region }),
            Feed::StandingChanged { region, standing } => {
                self.stand(&region, standing, effects);
                effects.push(Effect::StandingChanged { region, standing });
            }
            Feed::Dropped { feed } => effects.push(Effect::Dropped { feed }),
            Feed::Doubted { feed } => effects.push(Effect::Doubted { feed }),
        }
    }

    fn stand(&mut self, region: &Region, standing: Standing, effects: &mut Vec<Effect>) {
        let before = self.standings.insert(region.clone(), standing);
        let frozen = |standing| standing == Some(Standing::Frozen);
        if frozen(before) != frozen(Some(standing)) {
            let held = self.imports.services(region).cloned();
            let services: Vec<_> = self.holder.services(region).chain(held).collect();
            for service in services {
                self.touch(&service, effects);
            }
        }
    }

    /// The service's view may differ; said once until the view is read.
    pub(super) fn touch(&mut self, service: &ServiceKey, effects: &mut Vec<Effect>) {
        if self.services.state(service).is_none() {
            // One that comes and goes between two looks has existed all the same.
            self.look(service);
        }
        if self.services.touch(service) && !planted(Mutant::StaleView) {
            effects.push(Effect::Touched { service: service.clone() });
            self.touch_doors(service, effects);
        }
    }

    pub(super) fn installed(
        &mut self,
        now: Moment,
        position: Position,
        records: Vec<(RecordKey, Record)>,
        effects: &mut Vec<Effect>,
    ) {
        self.persistent.clear();
        self.doors.forget();
        self.overlays.forget();
        for (key, record) in &records {
            self.note_persistent(key, true);
            self.doors.note(key, Some(record));
            self.overlays.note(key, Some(record));
        }
        self.founded = position.era != Era(0);
        self.tell(now, landbridge_feed::Input::Installed { position, records }, effects);
        self.read_directory(now, effects);
    }

    pub(super) fn applied(
        &mut self,
        now: Moment,
        position: Position,
        changes: Vec<Change>,
        effects: &mut Vec<Effect>,
    ) {
        for change in &changes {
            self.note_persistent(&change.key, change.record.is_some());
            self.doors.note(&change.key, change.record.as_ref());
            self.overlays.note(&change.key, change.record.as_ref());
        }
        self.founded = position.era != Era(0);
        self.tell(now, landbridge_feed::Input::Applied { position, changes }, effects);
        self.read_directory(now, effects);
    }

    fn note_persistent(&mut self, key: &RecordKey, there: bool) {
        let RecordKey::Persistent(service, key) = key else { return };
        let keys = self.persistent.entry(service.clone()).or_default();
        if there {
            keys.insert(key.clone())
        } else {
            keys.remove(key)
        };
        if keys.is_empty() {
            self.persistent.remove(service);
        }
    }

    fn read_directory(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self.own.read(self.holder.directory(&self.settings.region)) {
            Turn::Same => {}
            Turn::Lost if self.drain.is_some() => self.depart(effects),
            Turn::Lost => {}
            Turn::Opened(feed) => {
                let records = self.claims.records().collect();
                let begun = landbridge_feed::Input::Begun { feed: feed.clone(), records };
                self.tell(now, begun, effects);
                effects.push(Effect::FeedOpened { feed });
            }
        }
        self.ask(effects);
        self.rephase(effects);
    }

    /// Asks for an own feed where there is none.
    pub(super) fn ask(&mut self, effects: &mut Vec<Effect>) {
        let gives_up = planted(Mutant::NoReopen) && self.phase == Phase::Ready;
        if self.founded
            && self.drain.is_none()
            && !gives_up
            && let Some(command) = self.own.ask(self.tick, self.settings.limits.reopen_ticks)
        {
            effects.push(Effect::Propose { ticket: None, command });
        }
    }

    /// Looks at how far this member is.
    pub(super) fn rephase(&mut self, effects: &mut Vec<Effect>) {
        let waited_enough = self.tick >= self.settings.limits.warmup_ticks;
        let phase = match (self.drain, self.phase) {
            (Some(_), _) => Phase::Draining,
            (None, Phase::Starting | Phase::Degraded) if self.complete() => Phase::Ready,
            (None, Phase::Starting) if waited_enough => Phase::Degraded,
            (None, same) => same,
        };
        if phase != self.phase {
            let started = std::mem::replace(&mut self.phase, phase) == Phase::Starting;
            if started {
                self.open_to_others(effects);
            }
            effects.push(Effect::PhaseChanged { phase });
        }
    }

    fn complete(&self) -> bool {
        let lone = self.settings.members <= 1;
        let (region, limits) = (&self.settings.region, &self.settings.limits);
        let is_complete = || ready::complete(&self.holder, region, self.own.feed(), lone, limits);
        self.caught_up && (is_complete() || planted(Mutant::ReadyAtOnce))
    }
}
