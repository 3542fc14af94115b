//! The tries of one call that run beside each other: the first good answer wins, the others are heard out aside.
//!
//! A try that lost is not dropped at once: whether its endpoint answers late or not at all tells the slow from the
//! dead. It is given up, and its connection with it, when that is known.
//!
//! Invariant: a call has at most `TRIES_MAX` tries, and a core at most `LOSERS_MAX` for which nobody waits.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::task::spawn_local;

use super::TRIES_MAX;

/// Tries of one core that lost and are heard out; further ones are dropped at once.
const LOSERS_MAX: u32 = 1_000;

/// No try that lost is heard out for longer.
const LOSER_MS_MAX: u64 = 5_000;

/// The tries of one call that run.
pub(super) struct Race<F> {
    running: [Option<Racer<F>>; TRIES_MAX],
}

struct Racer<F> {
    going: Pin<Box<F>>,
    beside: bool,
}

impl<F: Future + 'static> Race<F> {
    pub(super) fn new() -> Self {
        Self { running: [const { None }; TRIES_MAX] }
    }

    /// Adds a try; `beside` one that waits.
    pub(super) fn start(&mut self, going: F, beside: bool) {
        let free = self.running.iter_mut().find(|place| place.is_none());
        let free = free.expect("a call has no more tries than there are places");
        *free = Some(Racer { going: Box::pin(going), beside });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.iter().all(Option::is_none)
    }

    /// The next try that ends, and whether it was beside another.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<(F::Output, bool)> {
        for place in &mut self.running {
            if let Some(racer) = place
                && let Poll::Ready(output) = racer.going.as_mut().poll(cx)
            {
                let beside = racer.beside;
                *place = None;
                return Poll::Ready((output, beside));
            }
        }
        Poll::Pending
    }

    /// Hears the others out for so long; they learn by themselves what there is to learn.
    pub(super) fn hear_out(self, losers: &Rc<Cell<u32>>, wait_ms: u64) {
        for racer in self.running.into_iter().flatten() {
            if losers.get() >= LOSERS_MAX || wait_ms == 0 {
                return;
            }
            losers.set(losers.get() + 1);
            let (losers, wait) = (losers.clone(), Duration::from_millis(wait_ms.min(LOSER_MS_MAX)));
            spawn_local(async move {
                // Its answer is dropped, and what it was is reported by the layer that asked.
                let _ = tokio::time::timeout(wait, racer.going).await;
                losers.set(losers.get() - 1);
            });
        }
    }
}
