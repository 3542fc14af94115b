//! How a disk comes to have a part in its group: with others that have none it founds the group, else the leader admits it.
//!
//! ```text
//! Fresh ──enough others are strangers too, and know this disk──▶ Founder ──a majority with the same list──▶ the log begins
//! Fresh, Joining ──the leader admits──▶ Member: a learner that is refilled, then a voter again
//! ```
//!
//! Invariant: without a part a disk neither votes nor holds what others count on: its member may have promised something on
//! a disk that is lost.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use landbridge_model::MemberId;
use landbridge_registry_core::Command;
use tokio::time::Instant;

use crate::{
    aside,
    disk::{DiskSays, Part},
    failure::StoreError,
    refill::{Admitted, Noted},
    rpc::{AdmitAnswer, DiskCall, Roll},
    store::{Store, roll_number},
    transport::Rpc,
};

/// Between two tries of what needs other members.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Between two looks whether this disk still has the part it had.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Founders wait so long for those that are not there yet; who comes later is admitted by the leader.
const COMPANY_WITHIN: Duration = Duration::from_secs(1);
/// How long a member may take to tell its roll.
const ROLL_WITHIN: Duration = Duration::from_secs(1);
/// After so long without a part, and again and again, the log says what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// What a disk without a part has seen so far.
struct Search {
    begun: Instant,
    /// Since when there are enough to found a group.
    company: Option<Instant>,
    said: Option<Instant>,
    refused: bool,
    /// Whether a leader has said, since the start, that this disk has the part it thinks it has.
    confirmed: bool,
}

impl Store {
    /// Sees to it that this disk has a part in the group, for as long as the store lives.
    pub(crate) async fn belong(self) {
        let mut search =
            Search { begun: Instant::now(), company: None, said: None, refused: false, confirmed: false };
        loop {
            let rest = if *self.inner.admitted.borrow() {
                self.look(&mut search).await
            } else {
                self.search(&mut search).await
            };
            tokio::time::sleep(rest).await;
        }
    }

    /// One look of a disk that has a part; says when to look again.
    async fn look(&self, search: &mut Search) -> Duration {
        let me = self.inner.config.member;
        let says = self.inner.disk.says();
        // Who has voted counts as initialized before its log has come: it has lost nothing, and must not ask to be refilled.
        let blank = says.part == Part::Founder && self.members().voters.is_empty();
        if blank || !self.inner.raft.is_initialized().await.unwrap_or(true) {
            if says.part == Part::Founder {
                self.found_with(&self.call_roll().await).await;
            }
            return AGAIN_AFTER;
        }
        search.confirmed |= self.standing().borrow().leading;
        let unconfirmed = !search.confirmed && self.noted(me).is_some();
        if unconfirmed || !self.members().voters.contains(&me) {
            // A learner, or one that was removed: the leader says which, and promotes whoever is refilled.
            let rest = self.ask_for_a_part(search).await;
            let waits = self.noted(me).is_some_and(|noted| noted.is(says.number) && !noted.votes);
            return if waits { LOOK_EVERY } else { rest };
        }
        match self.noted(me) {
            Some(noted) if noted.is(says.number) => LOOK_EVERY,
            None => {
                let (name, text) = Noted { disk: says.number, out: false, votes: true }.note(me);
                // It is proposed again at the next look if nobody decides now.
                let _ = self.propose(&Command::Note { name, text: Some(text) }).await;
                AGAIN_AFTER
            }
            // The leader knows better: what is noted here may be older, or another disk has taken this one's place.
            Some(_) => self.ask_for_a_part(search).await,
        }
    }

    /// One try of a disk without a part; says when to try again.
    async fn search(&self, search: &mut Search) -> Duration {
        let rolls = self.call_roll().await;
        for (peer, roll) in rolls.iter().filter(|(_, roll)| !roll.admitted && roll.disk != 0) {
            self.meet(*peer, roll.disk);
        }
        if self.inner.disk.says().part == Part::Fresh && self.may_found(&rolls, search) {
            self.take_part(Part::Founder, 0);
            self.found_with(&rolls).await;
            return AGAIN_AFTER;
        }
        let rest = self.ask_for_a_part(search).await;
        if !*self.inner.admitted.borrow() && search.due() {
            let (waited_s, heard) = (search.begun.elapsed().as_secs(), rolls.len());
            tracing::warn!(
                event = "raft_waits_for_a_part",
                waited_s,
                heard,
                "this disk is empty and no leader has admitted it: a majority of the other members must run; if they are \
                 lost, `landbridge restore` starts the region anew from a backup or from one of them"
            );
        }
        rest
    }

    /// Whether no earlier disk of this member can have promised anything: enough others have no part either, or had none
    /// when they met this disk, and nobody knows another one.
    fn may_found(&self, rolls: &BTreeMap<MemberId, Roll>, search: &mut Search) -> bool {
        let (own, disk) = (roll_number(&self.inner.config), self.inner.disk.says().number);
        let voters = self.inner.config.voters.len();
        let harmless = |roll: &Roll| roll.known == disk && (!roll.admitted || roll.early);
        let strangers = rolls.values().filter(|roll| roll.voters == own && harmless(roll)).count();
        if !rolls.values().all(harmless) || strangers < voters / 2 {
            search.company = None;
            return false;
        }
        let since = *search.company.get_or_insert_with(Instant::now);
        1 + strangers == voters || since.elapsed() >= COMPANY_WITHIN
    }

    /// Begins the log if a majority was started with the same voters, unless some member's log has begun.
    async fn found_with(&self, rolls: &BTreeMap<MemberId, Roll>) {
        let own = roll_number(&self.inner.config);
        let voters = self.inner.config.voters.len();
        let same = 1 + rolls.values().filter(|roll| roll.voters == own).count();
        for (peer, roll) in rolls.iter().filter(|(_, roll)| roll.voters != own) {
            tracing::warn!(event = "raft_roll_differs", %peer, begun = roll.begun, "started with other voters");
        }
        if same <= voters / 2 || rolls.values().any(|roll| roll.begun) {
            return;
        }
        if let Err(error) = self.initialize().await {
            tracing::warn!(event = "raft_not_begun", %error, "the group did not begin");
        }
    }

    pub(crate) async fn call_roll(&self) -> BTreeMap<MemberId, Roll> {
        let me = self.inner.config.member;
        let call = DiskCall { member: me.0.into(), disk: self.inner.disk.says().number };
        let mut rolls = BTreeMap::new();
        for peer in self.inner.config.voters.keys().filter(|peer| **peer != me) {
            let roll = self.inner.network.call(*peer, Rpc::Roll, &call, ROLL_WITHIN).await;
            if let Ok(roll) = roll {
                rolls.insert(*peer, roll);
            }
        }
        rolls
    }

    /// Asks every other member for a part, until one leads.
    async fn ask_for_a_part(&self, search: &mut Search) -> Duration {
        let me = self.inner.config.member;
        let call = DiskCall { member: me.0.into(), disk: self.inner.disk.says().number };
        for peer in self.inner.config.voters.keys().filter(|peer| **peer != me) {
            let answer = self.inner.network.call(*peer, Rpc::Admit, &call, self.inner.patience()).await;
            let answer: Result<AdmitAnswer, _> = answer;
            let Ok(answer) = answer else { continue };
            if answer.line != self.inner.network.line.load(Ordering::Acquire) && *self.inner.admitted.borrow()
            {
                self.superseded(answer.line);
                continue;
            }
            match Admitted::of(answer) {
                Admitted::NotByMe => {}
                Admitted::NotYet => return AGAIN_AFTER,
                Admitted::Yes => {
                    self.take_part(Part::Member, answer.line);
                    search.refused = false;
                    search.confirmed = true;
                    return AGAIN_AFTER;
                }
                Admitted::NoMember => {
                    if !std::mem::replace(&mut search.refused, true) {
                        tracing::warn!(
                            event = "raft_not_a_member",
                            "this member is not in the Raft group: `landbridge raft add {me}` admits it"
                        );
                    }
                    return LOOK_EVERY;
                }
            }
        }
        AGAIN_AFTER
    }

    /// Remembers under which disk another member was met.
    pub(crate) fn meet(&self, member: MemberId, disk: u64) {
        let met = self.inner.disk.change(|says| {
            says.met.entry(member).or_insert(disk);
        });
        if let Err(error) = met {
            self.inner.disk_failed("noting another member's disk", error);
        }
    }

    /// The region was started anew while this disk was away: what it holds is of the line before, and counts no more.
    fn superseded(&self, line: u64) {
        let own = self.inner.network.line.load(Ordering::Acquire);
        if line <= own {
            return;
        }
        match aside::lose(&self.inner.config.dir) {
            Ok(()) => self.inner.failed.set(StoreError::Superseded { era: line }),
            Err(error) => self.inner.disk_failed("giving up what the region has left behind", error),
        }
    }

    fn take_part(&self, part: Part, line: u64) {
        if self.inner.disk.says().part.admitted() {
            return;
        }
        let change = |says: &mut DiskSays| {
            says.part = part;
            says.line = line;
        };
        match self.inner.disk.change(change) {
            Ok(()) => {
                self.inner.network.line.store(line, Ordering::Release);
                tracing::info!(event = "raft_disk_admitted", founder = part == Part::Founder);
                self.inner.admitted.send_replace(true);
                metrics::gauge!("landbridge_store_admitted").set(1.0);
            }
            Err(error) => self.inner.disk_failed("noting this disk's part", error),
        }
    }
}

impl Search {
    /// Whether to say again what is waited for.
    fn due(&mut self) -> bool {
        let due = self.said.unwrap_or(self.begun).elapsed() >= SAY_EVERY;
        if due {
            self.said = Some(Instant::now());
        }
        due
    }
}
