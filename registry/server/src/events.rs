//! What happened here, one line each: to the log, and to whoever listens on `/landbridge/v1/events`.

use landbridge_feed::Standing;
use landbridge_model::{FeedId, Region, ServiceKey};
use landbridge_registry_core::{Phase, ServiceView};
use serde::Serialize;
use tokio::sync::broadcast;
use tracing::{info, warn};

/// The most lines a slow listener may be behind; it is told how many it missed.
const LISTENER_LINES_MAX: usize = 1_024;

/// One line of what happened.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    /// Stable name of the kind of event.
    pub(crate) event: &'static str,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<String>,
    /// The service, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    /// What is so from here on.
    pub(crate) what: String,
}

/// Tells what happens.
pub(crate) struct Events(broadcast::Sender<Line>);

impl Events {
    /// Nobody listens yet.
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(LISTENER_LINES_MAX).0)
    }

    /// Listens from here on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Line> {
        self.0.subscribe()
    }

    /// A service's view changed; told to listeners only.
    pub(crate) fn view_changed(&self, service: &ServiceKey, view: Option<&ServiceView>) {
        if self.0.receiver_count() == 0 {
            return;
        }
        let what = match view {
            Some(view) => {
                let healthy = view.hosts.iter().filter(|host| host.instance.healthy).count();
                let away = view.hosts.iter().filter(|host| host.origin.is_some()).count();
                format!("{} instances, {healthy} healthy, {away} of other regions", view.hosts.len())
            }
            None => "gone".to_owned(),
        };
        self.tell(Line { event: "service_changed", origin: None, service: Some(service.to_string()), what });
    }

    /// An origin's link stands differently.
    pub(crate) fn standing_changed(&self, region: &Region, standing: Standing) {
        let what = match standing {
            Standing::Live => "live",
            Standing::Suspect => "suspect",
            Standing::Frozen => "frozen",
        };
        match standing {
            Standing::Live => info!(event = "origin_standing", origin = %region, standing = what),
            Standing::Suspect | Standing::Frozen => {
                warn!(event = "origin_standing", origin = %region, standing = what);
            }
        }
        self.region("origin_standing", region, what.to_owned());
    }

    /// A region's directory, need, settling or policies differ.
    pub(crate) fn directory_changed(&self, region: &Region) {
        info!(event = "directory_changed", origin = %region);
        self.region("directory_changed", region, "directory, need or policies differ".to_owned());
    }

    /// The own feed is open.
    pub(crate) fn feed_opened(&self, feed: &FeedId) {
        info!(event = "feed_opened", feed = %feed);
        self.region("feed_opened", feed.region(), feed.to_string());
    }

    /// A copy was dropped: its feed is closed and every need is reached.
    pub(crate) fn feed_dropped(&self, feed: &FeedId) {
        info!(event = "feed_dropped", feed = %feed);
        self.region("feed_dropped", feed.region(), feed.to_string());
    }

    /// A verification found a copy that differs; it is repaired.
    pub(crate) fn feed_doubted(&self, feed: &FeedId) {
        warn!(event = "feed_doubted", feed = %feed);
        self.region("feed_doubted", feed.region(), feed.to_string());
    }

    /// The member's phase changed.
    pub(crate) fn phase_changed(&self, phase: Phase) {
        let what = format!("{phase:?}").to_lowercase();
        info!(event = "phase_changed", phase = what);
        self.tell(Line { event: "phase_changed", origin: None, service: None, what });
    }

    /// A mass lapse is held back, or the hold is over.
    pub(crate) fn held(&self, origin: &Region, held: usize) {
        warn!(event = "lapse_held", %origin, held);
        self.region("lapse_held", origin, held.to_string());
    }

    fn region(&self, event: &'static str, region: &Region, what: String) {
        self.tell(Line { event, origin: Some(region.to_string()), service: None, what });
    }

    fn tell(&self, line: Line) {
        // Nobody listening is no error.
        let _ = self.0.send(line);
    }
}
