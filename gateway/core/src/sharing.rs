//! How the gateways of a region share their limits: each has the part of a limit that is asked of it.
//!
//! In rounds each tells the others what is asked of it, and counts on that only as far as all others took note: they
//! hold at least what it counts on, so their parts together are never more than the limit, whatever is lost or late.
//!
//! ```text
//! together ── one took note of nothing for `kept_ms` ──▶ alone: at most the even part
//!    ▲                                                      │ twice as long again
//!    └── all took note ◀─────────────────────────────── even: the even part
//! ```
//! Invariant: the parts of gateways that know of each other are together at most 1, and `FLOOR` for newcomers.
//! Invariant: nobody's part is less than `FLOOR` of its even part.

use std::collections::BTreeMap;

use ecow::EcoString;
use landbridge_model::Moment;

/// This share of a limit is given evenly, so that whoever was asked nothing can begin.
pub const FLOOR: f64 = 0.1;

/// Others that are known at once; what further ones say is not heard.
pub const PEERS_MAX: usize = 64;

/// How many times `kept_ms` one is alone before it has its even part: by then everybody has at most that.
const EVEN_AFTER: u64 = 2;

/// What is asked of a gateway, by limit and key, in calls a second.
pub type Demands = BTreeMap<EcoString, f64>;

/// What one gateway tells the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// Who says it.
    pub from: EcoString,
    /// Which of its lives, so that a restart is known.
    pub life: u64,
    /// Which of its rounds.
    pub round: u64,
    /// It misses somebody: nobody may have more than the even part.
    pub alone: bool,
    /// What is asked of it; what is missing is nothing.
    pub demands: Demands,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Together,
    Alone { since: Moment },
    Even { since: Moment },
}

/// Another gateway as this one knows it.
#[derive(Debug)]
struct Peer {
    listed: bool,
    /// Its newest word.
    word: Option<Word>,
    heard_at: Moment,
    /// Our newest round of which it took note, or 0.
    noted: u64,
    noted_at: Moment,
}

/// What one gateway knows of the others, and counts on.
#[derive(Debug)]
pub struct Sharing {
    name: EcoString,
    life: u64,
    round: u64,
    /// What was told in the newest round; at least what is counted on.
    offered: Demands,
    /// What all others took note of.
    counted: Demands,
    peers: BTreeMap<EcoString, Peer>,
    standing: Standing,
}

impl Sharing {
    /// A gateway that knows of no other. `life` is another after each restart.
    pub fn new(name: EcoString, life: u64) -> Self {
        Self {
            name,
            life,
            round: 0,
            offered: Demands::new(),
            counted: Demands::new(),
            peers: BTreeMap::new(),
            standing: Standing::Together,
        }
    }

    /// What it is called among gateways.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes note of who there is. True if there is somebody new. A list without this gateway itself, an empty one too,
    /// says who has come and not who has gone: else an empty table would leave the whole limit to everybody.
    pub fn list(&mut self, now: Moment, names: impl IntoIterator<Item = EcoString>) -> bool {
        let before = self.peers.len();
        let names: Vec<EcoString> = names.into_iter().collect();
        if names.contains(&self.name) {
            for peer in self.peers.values_mut() {
                peer.listed = false;
            }
        }
        for name in names {
            if let Some(peer) = self.peer(now, name) {
                peer.listed = true;
            }
        }
        self.peers.len() > before
    }

    fn peer(&mut self, now: Moment, name: EcoString) -> Option<&mut Peer> {
        let room = self.peers.len() < PEERS_MAX || self.peers.contains_key(&name);
        let fresh = || Peer { listed: false, word: None, heard_at: now, noted: 0, noted_at: now };
        (room && name != self.name).then(|| self.peers.entry(name).or_insert_with(fresh))
    }

    /// Begins a round with what is asked of this gateway, and returns the word for all others.
    pub fn begin(&mut self, now: Moment, kept_ms: u64, demands: Demands) -> Word {
        self.settle(now, kept_ms);
        self.round += 1;
        // What falls is counted on at once; what rises once all others took note.
        self.counted.retain(|key, counted| {
            *counted = counted.min(demands.get(key).copied().unwrap_or(0.0));
            *counted > 0.0
        });
        self.offered = demands;
        self.count_on();
        self.word()
    }

    /// What this gateway tells in this round; also its answer to the words of others.
    pub fn word(&self) -> Word {
        Word {
            from: self.name.clone(),
            life: self.life,
            round: self.round,
            alone: self.standing != Standing::Together,
            demands: self.offered.clone(),
        }
    }

    /// Hears another gateway. A word that was overtaken by a newer one says nothing.
    pub fn hear(&mut self, now: Moment, kept_ms: u64, mut word: Word) {
        word.demands.retain(|_, demand| demand.is_finite() && *demand > 0.0);
        if let Some(peer) = self.peer(now, word.from.clone()) {
            let known = peer.word.as_ref();
            if known.is_none_or(|known| known.life != word.life || known.round <= word.round) {
                peer.word = Some(word);
            }
            peer.heard_at = now;
        }
        self.settle(now, kept_ms);
    }

    /// Another gateway took note of a round.
    pub fn noted(&mut self, now: Moment, kept_ms: u64, name: &str, round: u64) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.noted = peer.noted.max(round);
            peer.noted_at = now;
        }
        self.settle(now, kept_ms);
    }

    /// Forgets who is gone, and sees who is missed.
    fn settle(&mut self, now: Moment, kept_ms: u64) {
        self.peers.retain(|_, peer| peer.listed || now < peer.heard_at.after(kept_ms));
        let missed = self.peers.values().any(|peer| now >= peer.noted_at.after(kept_ms));
        self.standing = match (missed, self.standing) {
            (false, _) => Standing::Together,
            (true, Standing::Together) => Standing::Alone { since: now },
            (true, Standing::Alone { since } | Standing::Even { since }) => {
                let even = now >= since.after(EVEN_AFTER * kept_ms);
                if even { Standing::Even { since } } else { Standing::Alone { since } }
            }
        };
        self.count_on();
    }

    fn count_on(&mut self) {
        if self.peers.values().all(|peer| peer.noted >= self.round) {
            self.counted.clone_from(&self.offered);
        }
    }

    /// How many others there are, and how many of them took note of something lately.
    pub fn others(&self, now: Moment, kept_ms: u64) -> (usize, usize) {
        let reached = |peer: &&Peer| peer.noted > 0 && now < peer.noted_at.after(kept_ms);
        (self.peers.len(), self.peers.values().filter(reached).count())
    }

    /// The keys of which anybody has said anything.
    pub fn keys(&self) -> impl Iterator<Item = &EcoString> {
        let theirs = self.peers.values().filter_map(|peer| peer.word.as_ref());
        theirs.flat_map(|word| word.demands.keys()).chain(self.offered.keys())
    }

    /// This gateway's part of the limit of a key, above 0 and at most 1.
    pub fn part(&self, key: &str) -> f64 {
        let even = 1.0 / (self.peers.len() + 1) as f64;
        let mut alone = match self.standing {
            Standing::Even { .. } => return even,
            Standing::Alone { .. } => true,
            Standing::Together => false,
        };
        let mut strangers = false;
        let mut others = 0.0;
        for peer in self.peers.values() {
            strangers |= peer.noted == 0 || peer.word.is_none();
            if let Some(word) = &peer.word {
                alone |= word.alone;
                others += word.demands.get(key).copied().unwrap_or(0.0);
            }
        }
        let own = self.counted.get(key).copied().unwrap_or(0.0);
        let by_demand = if own > 0.0 {
            own / (own + others)
        } else if others > 0.0 || strangers {
            0.0
        } else {
            even
        };
        let part = FLOOR * even + (1.0 - FLOOR) * by_demand;
        if strangers || alone { part.min(even) } else { part }
    }
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
