//! Garbage collection: versions that no read may ask for any more, and records of transactions that nobody needs.
//!
//! A background task per node walks the ranges that it holds the lease of, one page at a time. What it removes lies below the horizon (TTL before
//! now, never above a protected timestamp: `protect`), where reads are refused, so it needs no latches: removal and reads do not meet.
//!
//! Records: a committed one is forgotten by its coordinator once every intent is resolved; if the coordinator died before, it stays, for an intent
//! of it may be anywhere. An aborted or abandoned one goes an hour after its last change: an intent of it that was overlooked finds no record and
//! is aborted anyway, and no replay of its requests is under way any more.

use std::sync::Arc;
use std::time::Duration;

use meridian_clock::Timestamp;
use meridian_replication::api::SystemKv;
use meridian_storage::mvcc::{self, AttemptId, CollectLimits};
use meridian_storage::{Batch, Key, Span};

use super::range::RangeState;
use super::{Leaseholders, span_of};
use crate::protect::{self, Protection};
use crate::record::{Record, Status};

/// A final or abandoned record is kept this long.
const RECORDS_KEPT: Duration = Duration::from_secs(3600);
/// Records removed per proposal.
const RECORDS_MAX: usize = 1000;
/// Pause between two pages, so that collection never competes with work.
const PAGE_PAUSE: Duration = Duration::from_millis(20);

impl Leaseholders {
    /// Collects for ever. `period`: how often each range is walked.
    pub(crate) async fn collect_garbage(self: Arc<Self>, period: Duration, protection: Arc<Protection>, kv: Arc<dyn SystemKv>) {
        loop {
            tokio::time::sleep(period).await;
            let ranges = self.all();
            if ranges.is_empty() {
                continue;
            }
            let (horizon, lapsed) = match protection.horizon(&*kv, &self.clock).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "nothing is collected this time: what open transactions read is not known");
                    continue;
                }
            };
            for state in ranges {
                if let Err(error) = self.collect_range(&state, horizon).await {
                    tracing::debug!(range = %state.id, ?error, "garbage collection goes on later");
                }
            }
            if let Err(error) = protect::remove(&*kv, lapsed).await {
                tracing::debug!(%error, "protections that have lapsed are removed later");
            }
        }
    }

    async fn collect_range(&self, state: &Arc<RangeState>, horizon: Timestamp) -> Result<(), crate::request::Refusal> {
        let mut span = span_of(state);
        state.note_collected(horizon);
        while !span.is_empty() {
            let Ok(lease) = state.lease_at(Timestamp::ZERO) else { return Ok(()) };
            // A split may have taken some of it away, and the lease was looked at first.
            let Some(still) = span.intersect(&span_of(state)) else { break };
            span = still;
            let mut batch = Batch::new();
            let collected = mvcc::collect(self.reader(), &span, horizon, CollectLimits::default(), &mut batch)?;
            if !batch.is_empty() {
                self.propose_plain(state, lease, batch).await?;
            }
            let Some(resume) = collected.resume else { break };
            span = Span { start: resume, end: span.end };
            tokio::time::sleep(PAGE_PAUSE).await;
        }
        self.sweep_records(state).await
    }

    /// Aborted and abandoned records go by age. (Committed ones are forgotten by their coordinator once resolved; one whose coordinator died is kept
    /// as long as an intent of it might be anywhere.)
    async fn sweep_records(&self, state: &Arc<RangeState>) -> Result<(), crate::request::Refusal> {
        // The lease before the span, for its span epoch.
        let Ok(lease) = state.lease_at(Timestamp::ZERO) else { return Ok(()) };
        let (now, mut old): (Timestamp, Vec<(Key, AttemptId)>) = (self.clock.now().latest, Vec::new());
        mvcc::records(self.reader(), &span_of(state), &mut |anchor, attempt, bytes| {
            let Ok(record) = Record::decode(&bytes) else { return true };
            if matches!(record.status, Status::Aborted | Status::Pending) && now.since(record.heartbeat) > RECORDS_KEPT {
                old.push((Key::copy_from_slice(anchor), attempt));
            }
            old.len() < RECORDS_MAX
        })?;
        if old.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for (anchor, attempt) in old {
            mvcc::delete_record(&mut batch, &anchor, attempt);
        }
        self.propose_plain(state, lease, batch).await
    }
}
