//! What a follower and a supplier say to each other on one stream (feeds specification, section 2).
//!
//! A stream is first in, first out and belongs to two holders; each may follow and supply on it. Records flow from the
//! supplier; only wants and refusals travel back.

use landbridge_model::{Change, FeedId, Heartbeat, Position, Record, RecordKey, Region, View};

/// Into how many parts a reconcile cuts a feed, by key hash.
pub const BUCKETS: usize = 256;

/// One summary per bucket: the wrapping sum of its records' hashes, so a change updates it in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests(pub Box<[u64; BUCKETS]>);

/// What a reconcile says of one bucket.
#[derive(Clone, Debug, PartialEq)]
pub enum BucketContent {
    /// Equal to what the follower's digest announced.
    Same {
        /// That digest, so that the follower takes its own bucket only while it still is the one meant.
        digest: u64,
    },
    /// A run of its records, in key order; `last` closes the bucket.
    Records {
        /// The records of this run.
        records: Vec<(RecordKey, Record)>,
        /// Whether the bucket is complete with them.
        last: bool,
    },
}

/// One message of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Follower: supply this feed from where I stand; said again whenever the directory changes.
    Want {
        /// Which feed.
        feed: FeedId,
        /// The view and position of the follower's copy, none without one.
        have: Option<(View, Position)>,
        /// Summary of the follower's copy, where a reconcile may be needed.
        digests: Option<Digests>,
    },
    /// Follower: supply this feed no longer.
    Unwant {
        /// Which feed.
        feed: FeedId,
    },
    /// Supplier: the latest change per key in `(from, to]`.
    Batch {
        /// Which feed.
        feed: FeedId,
        /// Under which view.
        view: View,
        /// Applied only to a copy that has reached this.
        from: Position,
        /// Where the copy stands afterwards.
        to: Position,
        /// Latest change per key; may be empty under a filter.
        changes: Vec<Change>,
    },
    /// Supplier: a reconcile starts, or starts over.
    Begin {
        /// Which feed.
        feed: FeedId,
        /// Under which view.
        view: View,
    },
    /// Supplier: what changed while a reconcile runs.
    Live {
        /// Which feed.
        feed: FeedId,
        /// Latest change per key.
        changes: Vec<Change>,
    },
    /// Supplier: one bucket, or a run of it, cut at the supplier's present position.
    Bucket {
        /// Which feed.
        feed: FeedId,
        /// Which bucket, below [`BUCKETS`].
        bucket: u16,
        /// What it holds.
        content: BucketContent,
    },
    /// Supplier: the reconcile is complete at this position.
    End {
        /// Which feed.
        feed: FeedId,
        /// Under which view.
        view: View,
        /// The position of the content.
        position: Position,
    },
    /// Supplier, once a second: the newest heartbeat known per feed, own and relayed.
    Beats {
        /// The sender's wall clock, unix milliseconds; for the clock offset of `lastRefTime`.
        unix_ms: u64,
        /// Newest per feed.
        beats: Vec<(FeedId, Heartbeat)>,
        /// From a bridge to its own region: the origins of which it hears a bridge itself.
        hears: Vec<Region>,
    },
    /// Supplier: digests made by the writer, passed on by holders that compared equal (R25).
    Verify {
        /// Which feed.
        feed: FeedId,
        /// Under which view.
        view: View,
        /// At which position.
        position: Position,
        /// What the content must sum to.
        digests: Digests,
        /// Counts up per writer, so that each holder passes a verification on once.
        n: u64,
    },
}
