//! How ingress asks the core: an order with a ticket, and an answer or a reason why there is none.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use landbridge_model::Position;
use landbridge_registry_core::{Input, Outcome, Refusal, Reply, Ticket};
use tokio::sync::{mpsc, oneshot};

use crate::metrics;

/// What an order came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answered {
    /// The core answered.
    Core(Outcome),
    /// Raft applied the command at this position.
    Raft(Position, Reply),
    /// All that Raft had applied here when it was asked is shown.
    Seen,
}

/// Why an order came to nothing, named by who can mend it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failed {
    /// The core turned it away.
    Refused(Refusal),
    /// More orders wait than `limits.core_queue_max`; the caller tries again later.
    Overloaded,
    /// A disk has too little room for the region's decisions; an operator frees space.
    Full(String),
    /// Raft could not decide; the operator's to mend, unless it passes.
    Undecided(String),
    /// The process is ending.
    Stopping,
}

/// Whom to answer.
pub(crate) type Asker = oneshot::Sender<Result<Answered, Failed>>;

/// One input for the core, and whom to answer.
pub(crate) struct Order {
    /// None: nothing is to be done, but for showing what was decided before.
    pub(crate) input: Option<Input>,
    pub(crate) asker: Option<(Ticket, Asker)>,
}

/// The way to the core.
#[derive(Clone)]
pub(crate) struct Orders {
    queue: mpsc::Sender<Order>,
    next_ticket: Arc<AtomicU64>,
}

impl Orders {
    /// A way to the core that holds at most `core_queue_max` orders, and its other end.
    pub(crate) fn new(core_queue_max: usize) -> (Self, mpsc::Receiver<Order>) {
        let (queue, orders) = mpsc::channel(core_queue_max);
        (Self { queue, next_ticket: Arc::new(AtomicU64::new(1)) }, orders)
    }

    /// Asks the core and waits for the answer.
    pub(crate) async fn ask(&self, input: impl FnOnce(Ticket) -> Input) -> Result<Answered, Failed> {
        self.put(|ticket| Some(input(ticket))).await
    }

    /// Waits until everything is shown that Raft has applied here.
    pub(crate) async fn seen(&self) -> Result<Answered, Failed> {
        self.put(|_| None).await
    }

    async fn put(&self, input: impl FnOnce(Ticket) -> Option<Input>) -> Result<Answered, Failed> {
        let ticket = Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        let (asker, answer) = oneshot::channel();
        let order = Order { input: input(ticket), asker: Some((ticket, asker)) };
        self.queue.try_send(order).map_err(|refused| {
            metrics::refused("core_queue");
            match refused {
                mpsc::error::TrySendError::Full(_) => Failed::Overloaded,
                mpsc::error::TrySendError::Closed(_) => Failed::Stopping,
            }
        })?;
        answer.await.unwrap_or(Err(Failed::Stopping))
    }

    /// Tells the core what must not get lost, such as the end of a connection: waits while the queue is full.
    pub(crate) async fn tell(&self, input: Input) {
        // A closed queue means that the process is ending, and that is the end of all connections.
        let _ = self.queue.send(Order { input: Some(input), asker: None }).await;
    }

    /// How many orders wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}
