//! Tells the time: milliseconds that never run back for decisions, and the wall clock for stamps.
//!
//! Invariant: `now` follows Tokio's clock, so a paused test moves it; a jump of the wall clock never moves it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Thirty years: no process waits longer, and adding it to an instant cannot overflow.
const FAR_MS: u64 = 30 * 365 * 24 * 3_600 * 1_000;

/// The clock of one process; copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall: Wall,
}

/// Where the wall clock comes from.
#[derive(Clone, Copy, Debug)]
enum Wall {
    /// The machine.
    System,
    /// A given time at the start, moved on by Tokio's clock: for simulations.
    From { unix_ms: u64 },
}

impl Clock {
    /// Starts a clock at zero, with the machine's wall clock.
    pub fn start() -> Self {
        Self { start: Instant::now(), wall: Wall::System }
    }

    /// Starts a clock at zero whose wall clock reads `unix_ms` and moves with Tokio's clock.
    pub fn start_at(unix_ms: u64) -> Self {
        Self { start: Instant::now(), wall: Wall::From { unix_ms } }
    }

    /// Milliseconds since the start; never runs back.
    pub fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }

    /// Milliseconds since 1970 by the wall clock; may jump either way.
    pub fn unix_ms(&self) -> u64 {
        match self.wall {
            Wall::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis),
            Wall::From { unix_ms } => unix_ms + self.now(),
        }
    }

    /// The instant at which `now` reads `moment_ms`; a moment beyond `FAR_MS` is as good as never.
    pub fn instant(&self, moment_ms: u64) -> Instant {
        self.start + Duration::from_millis(moment_ms.min(FAR_MS))
    }

    /// Ends when `now` reaches `deadline_ms`; without a deadline, never.
    pub async fn reach(&self, deadline_ms: Option<u64>) {
        match deadline_ms {
            Some(deadline_ms) => tokio::time::sleep_until(self.instant(deadline_ms)).await,
            None => std::future::pending().await,
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_moves_with_a_paused_runtime() {
        let clock = Clock::start();

        clock.reach(Some(1_500)).await;

        assert_eq!(clock.now(), 1_500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_given_wall_clock_moves_with_the_runtime() {
        let clock = Clock::start_at(1_000_000);

        clock.reach(Some(250)).await;

        assert_eq!(clock.unix_ms(), 1_000_250);
    }

    #[tokio::test(start_paused = true)]
    async fn no_deadline_is_never_reached() {
        let clock = Clock::start();

        let hour = Duration::from_secs(3_600);

        assert!(tokio::time::timeout(hour, clock.reach(None)).await.is_err());
        assert!(tokio::time::timeout(hour, clock.reach(Some(u64::MAX))).await.is_err());
    }

    #[tokio::test]
    async fn the_wall_clock_is_the_machines() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();

        let told = u128::from(Clock::start().unix_ms());

        assert!(told >= before && told < before + 60_000);
    }
}
