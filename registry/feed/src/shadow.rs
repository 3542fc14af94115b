//! A copy being rebuilt beside the served one, for one stream (R7).
//!
//! Invariant: it holds the supplier's buckets as they were when said, and every change told since; nothing of it is shown
//! before End.

use landbridge_model::{Change, Record, RecordKey, View};

use crate::{body::Body, copy::Copy, digest};

/// A reconcile in progress.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub view: View,
    pub body: Body,
    /// The lowest bucket that may be said next.
    next: usize,
    /// Whether a run of that bucket has been said and more runs follow.
    open: bool,
}

impl Shadow {
    pub fn new(view: View) -> Self {
        Self { view, body: Body::new(), next: 0, open: false }
    }

    /// Changes told while the reconcile runs.
    ///
    /// Those of a bucket still to be said are harmless: its first run replaces them. Those of a bucket that is never said,
    /// because it was empty, cancel out up to the moment it was passed over, and count from then on.
    pub fn live(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.body.put(&change.key, change.record);
        }
    }

    /// One run of a bucket's records.
    pub fn records(
        &mut self,
        bucket: usize,
        records: Vec<(RecordKey, Record)>,
        last: bool,
    ) -> Result<(), &'static str> {
        if bucket < self.next || self.open && bucket != self.next {
            return Err("a bucket out of order");
        }
        if !self.open {
            self.body.replace(bucket, None, 0);
        }
        for (key, record) in records {
            if digest::bucket_of(&key) != bucket {
                return Err("a record in a bucket that is not its own");
            }
            self.body.put(&key, Some(record));
        }
        self.next = bucket + usize::from(last);
        self.open = !last;
        Ok(())
    }

    /// A bucket that is as the follower announced it; tells whether its own copy still is.
    pub fn same(&mut self, bucket: usize, digest: u64, copy: Option<&Copy>) -> Result<bool, &'static str> {
        if bucket < self.next || self.open {
            return Err("a bucket out of order");
        }
        let Some(copy) = copy.filter(|copy| copy.digests().0[bucket] == digest) else { return Ok(false) };
        self.body.replace(bucket, copy.body.bucket(bucket).clone(), digest);
        self.next = bucket + 1;
        Ok(true)
    }
}
