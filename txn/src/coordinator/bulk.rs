//! Bulk loading: rows whose keys must be new are laid as intents while the statement still runs.
//!
//! ```text
//!   lay      portions of ascending new keys ─▶ intents (Landing::Fresh, numbered), a few portions on their way at a time
//!   commit   the other writes are laid too, then the record alone decides (too many keys for a staging record)
//!   behind   intents become versions span by span
//! ```
//! Nothing is locked, read or listed per row, so the costs of a row are its bytes. What a lock and a read would have shown, that the key is free, is checked
//! in the step in which the portion lands (C4), and from then on the intent keeps it so. A portion that is sent again recognises its own
//! intents by the number of the portion; another row of the transaction with the same key has another number, and is a duplicate (C8).

use std::collections::VecDeque;

use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_storage::{Key, Span};
use tokio::sync::oneshot;

use super::commit::Written;
use super::{Txn, check_size};
use crate::api::KvError;
use crate::request::{Header, Landing, Request, Response, Write};
use crate::router::{Backoff, Router, SendError, unexpected};

/// Portions on their way at a time.
const PORTIONS_MAX: usize = 4;

/// What a transaction has laid early.
pub(super) struct Bulk {
    /// Where its record will stand: below all rows of the first index, so that it is never among the intents.
    pub anchor: Key,
    /// One for each index.
    pub spans: Vec<Span>,
    /// The highest timestamp of an intent.
    pub highest: Timestamp,
    portions: u32,
    /// Each answers with the highest timestamp of the portion.
    under_way: VecDeque<oneshot::Receiver<Result<Timestamp, KvError>>>,
}

impl Txn {
    pub(super) async fn lay_portion(&mut self, within: &Span, rows: Vec<(Key, Bytes)>, keep: bool) -> Result<(), KvError> {
        let (Some((first, _)), Some((last, _))) = (rows.first(), rows.last()) else { return Ok(()) };
        rows.iter().try_for_each(|(key, value)| check_size(key.len() + value.len()))?;
        let covered = Span { start: first.clone(), end: Span::point(last.clone()).end };
        self.enter();
        self.wrote_bulk = true;
        let bulk = self.bulk.get_or_insert_with(|| Bulk {
            anchor: within.start.clone(),
            spans: Vec::new(),
            highest: Timestamp::ZERO,
            portions: 0,
            under_way: VecDeque::new(),
        });
        match bulk.spans.iter_mut().find(|s| within.covers(s)) {
            Some(span) => {
                *span = Span { start: span.start.clone().min(covered.start), end: span.end.clone().max(covered.end) };
            }
            None => bulk.spans.push(covered),
        }
        bulk.portions += 1;
        let (anchor, portion) = (bulk.anchor.clone(), bulk.portions);
        if keep {
            if self.buffer.bytes() > self.gateway.config.buffer_bytes_max {
                let max = self.gateway.config.buffer_bytes_max >> 20;
                return Err(KvError::LimitExceeded(format!("the transaction has written more than {max} MiB; split it into smaller ones")));
            }
            rows.iter().for_each(|(key, value)| self.buffer.keep_laid(key.clone(), value.clone()));
        }
        let writes = rows.into_iter().map(|(key, value)| Write { key, value: Some(value), landing: Landing::Fresh(portion) }).collect();
        let (answer, answered) = oneshot::channel();
        let (router, header) = (self.gateway.router.clone(), self.header());
        self.gateway.router.tasks.spawn(async move {
            let _ = answer.send(send_portion(&router, &header, &anchor, writes).await);
        });
        if let Some(bulk) = &mut self.bulk {
            bulk.under_way.push_back(answered);
        }
        self.land_portions(PORTIONS_MAX - 1).await
    }

    /// Waits until at most `left` portions are under way. A portion counts as under way until it has answered, whatever happens to this wait: what it
    /// lays would otherwise be forgotten.
    pub(super) async fn land_portions(&mut self, left: usize) -> Result<(), KvError> {
        let (Some(bulk), Some(live)) = (&mut self.bulk, &self.live) else { return Ok(()) };
        while bulk.under_way.len() > left
            && let Some(answered) = bulk.under_way.front_mut()
        {
            let landed = tokio::select! {
                biased;
                verdict = live.condemned() => return Err(verdict),
                landed = answered => landed,
            };
            bulk.under_way.pop_front();
            self.gateway.router.registry.goes_on(self.attempt);
            let landed = landed.unwrap_or_else(|_| Err(KvError::Unavailable("the node is shutting down".into())))?;
            bulk.highest = bulk.highest.max(landed);
        }
        Ok(())
    }

    /// The load will not be committed: its intents go, behind the caller's back.
    pub(super) fn abandon_bulk(&mut self) {
        let Some(bulk) = self.bulk.take() else { return };
        self.finish_behind(bulk.anchor, Written { keys: Vec::new(), spans: bulk.spans, under_way: bulk.under_way.into() }, None);
    }
}

/// Sends one portion until all of it has landed; answers the highest timestamp.
async fn send_portion(router: &Router, header: &Header, anchor: &Key, writes: Vec<Write>) -> Result<Timestamp, KvError> {
    let (mut pending, mut highest, mut backoff) = (writes, header.read_ts, Backoff::new());
    loop {
        let groups = router.group(&pending.iter().map(|w| &w.key).collect::<Vec<_>>()).await?;
        let mut again = Vec::new();
        let whole = groups.len() == 1;
        for (route, of_range) in groups {
            let part: Vec<Write> =
                if whole { std::mem::take(&mut pending) } else { of_range.iter().map(|i| pending[*i].clone()).collect() };
            let request = Request::Intents { at: header.read_ts, anchor: anchor.clone(), writes: part.clone(), stage: None };
            match router.send(&route, header, request).await {
                Ok(Response::Landed) => {}
                Ok(Response::Pushed(to)) => highest = highest.max(to),
                Ok(other) => return Err(unexpected(&other)),
                Err(SendError::Kv(KvError::Overloaded(_)) | SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_)) => {
                    again.extend(part);
                }
                Err(SendError::Kv(e)) => return Err(e),
            }
        }
        if again.is_empty() {
            return Ok(highest);
        }
        pending = again;
        backoff.pause(router, "a range does not answer").await?;
    }
}
