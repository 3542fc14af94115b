//! How many bytes are on their way on one stream.

use crate::{message::Message, settings::Limits};

/// The credit of one stream.
#[derive(Debug)]
pub(crate) struct Credit {
    outstanding: usize,
    credit_bytes: usize,
    bulk_bytes_max: usize,
}

impl Credit {
    pub fn new(limits: &Limits) -> Self {
        Self { outstanding: 0, credit_bytes: limits.credit_bytes, bulk_bytes_max: limits.bulk_bytes_max }
    }

    /// Whether one more message of records may be said. Room for another stays free for small ones: heartbeats must
    /// not wait until a long reconcile is over.
    pub fn is_open(&self) -> bool {
        self.outstanding == 0 || self.outstanding + 2 * self.bulk_bytes_max <= self.credit_bytes
    }

    /// Whether a small message may be said.
    pub fn has_room(&self, message: &Message) -> bool {
        self.outstanding == 0 || self.outstanding + message.weight_bytes() <= self.credit_bytes
    }

    pub fn spend(&mut self, message: &Message) {
        self.outstanding += message.weight_bytes();
    }

    /// So many bytes have left the outbox.
    pub fn refill(&mut self, bytes: usize) {
        self.outstanding = self.outstanding.saturating_sub(bytes);
    }
}
