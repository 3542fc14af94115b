//! How long one try may take: its time runs while its endpoint is awaited, and stands while the caller is.
//!
//! Invariant: a caller that is slow with its body never uses up the time of an endpoint.

use std::{rc::Rc, time::Duration};

use landbridge_gateway_core::Haste;
use tokio::time::Instant;

use crate::payload::Upload;

/// What holds for all tries of one call.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    /// When the call began.
    pub(crate) called: Instant,
    /// To the first byte of the answer, all tries together.
    pub(crate) overall: Duration,
    /// The same for one try.
    pub(crate) one_try: Duration,
    /// When waiting means more than waiting.
    pub(crate) haste: Haste,
    /// The caller said so itself, at its own risk: an endpoint that takes longer is not to blame.
    pub(crate) told: bool,
    /// The caller's body, if there is one.
    pub(crate) upload: Option<Rc<Upload>>,
}

/// A look at a waiting call that comes so much later than planned tells of us: answers may lie unread.
const STALL_MS: u64 = 50;

/// After such a look we read what lies there, and then look once more, whatever the time.
pub(crate) const GRACE: Duration = Duration::from_millis(25);

/// True if this core stood still, because a look that was `planned` comes only at `now`.
pub(crate) fn stalled(planned: Instant, now: Instant) -> bool {
    now.saturating_duration_since(planned) > Duration::from_millis(STALL_MS)
}

impl Patience {
    /// Since when, as seen at `now`, the endpoint of a try has owed its answer.
    pub(crate) fn since(&self, begun: Instant, now: Instant) -> Instant {
        self.upload.as_ref().map_or(begun, |upload| upload.since(begun, now))
    }

    /// When the call is over, as seen at `now`.
    pub(crate) fn end(&self, now: Instant) -> Instant {
        self.since(self.called, now) + self.overall
    }

    /// When a try is over, as seen at `now`.
    pub(crate) fn end_of_try(&self, begun: Instant, now: Instant) -> Instant {
        (self.since(begun, now) + self.one_try).min(self.end(now))
    }

    /// When the silence of the endpoint counts, after it `counted` last or its try began.
    pub(crate) fn next_strike(&self, counted: Instant, now: Instant) -> Option<Instant> {
        let silence = Duration::from_millis(self.haste.silence_ms?);
        Some(self.since(counted, now) + silence)
    }

    /// True once the endpoint has, or could have, all it needs for an answer.
    pub(crate) fn answer_is_owed(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.is_whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(upload: Option<Rc<Upload>>) -> Patience {
        let haste = Haste { delay_ms: Some(50), usual_ms: 50, far_ms: Some(250), silence_ms: Some(250) };
        let (overall, one_try) = (Duration::from_secs(30), Duration::from_secs(5));
        Patience { called: Instant::now(), overall, one_try, haste, told: false, upload }
    }

    #[test]
    fn time_runs_for_the_endpoint_and_stands_for_the_caller() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let upload = Rc::new(Upload::begin(begun));
        let patience = patience(Some(upload.clone()));

        upload.owe();
        assert_eq!(patience.end_of_try(begun, after(40)), after(45));
        assert!(!patience.answer_is_owed());

        upload.come(after(40), true);
        assert_eq!(patience.end_of_try(begun, after(44)), after(45));
        assert_eq!(patience.next_strike(after(42), after(44)), Some(after(42) + Duration::from_millis(250)));
        assert!(patience.answer_is_owed());
    }

    #[test]
    fn a_look_that_comes_late_tells_that_we_stood_still() {
        let planned = Instant::now();

        assert!(!stalled(planned, planned + Duration::from_millis(50)));
        assert!(stalled(planned, planned + Duration::from_millis(51)));
    }

    #[test]
    fn an_endpoint_that_takes_no_bytes_uses_up_its_own_time() {
        let begun = Instant::now();
        let upload = Rc::new(Upload::begin(begun));
        let patience = patience(Some(upload.clone()));

        upload.come(begun, false);

        let later = begun + Duration::from_secs(4);
        assert_eq!(patience.end_of_try(begun, later), begun + patience.one_try);
    }
}
