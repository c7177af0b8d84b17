//! Range addressing: `META_PREFIX ‖ end key` → descriptor, itself in ranges. The first range, where addressing begins, comes from the directory.
//!
//! A lookup reads one page of one range at the present time. What it finds may be outdated a moment later; the cache heals.

use meridian_replication::api::RangeDescriptor;
use meridian_storage::Span;
use meridian_storage::key::META_PREFIX;
use meridian_storage::mvcc::Direction;

use super::{Backoff, Route, Router, SendError, Target, unexpected, voters};
use crate::api::{Columns, KvError};
use crate::request::{RangeScan, Request, Response};

/// Descriptors read at once.
const PAGE: u64 = 1000;

impl Router {
    /// The descriptor of the range that holds `key`, as range addressing has it.
    pub(super) async fn lookup(&self, key: &[u8]) -> Result<Option<RangeDescriptor>, KvError> {
        let first = self.directory.first_range();
        if let Some(first) = &first
            && (first.span.contains(key) || key.first().is_none_or(|b| *b <= META_PREFIX))
        {
            return Ok(Some((**first).clone()));
        }
        let mut after = vec![META_PREFIX];
        after.extend_from_slice(key);
        after.push(0);
        self.lookup_from(after).await
    }

    /// The descriptor of the range that holds the keys right below `end`.
    pub(super) async fn lookup_below(&self, end: &[u8]) -> Result<Option<RangeDescriptor>, KvError> {
        if let Some(first) = self.directory.first_range()
            && first.span.start[..] < *end
            && *end <= first.span.end[..]
        {
            return Ok(Some((*first).clone()));
        }
        let mut from = vec![META_PREFIX];
        from.extend_from_slice(end);
        self.lookup_from(from).await
    }

    /// The first descriptor at or after an addressing key.
    async fn lookup_from(&self, after: Vec<u8>) -> Result<Option<RangeDescriptor>, KvError> {
        Ok(self.page_from(after, 1).await?.into_iter().next())
    }

    /// Takes all that range addressing has of `span` into the cache, where what is newer stays.
    pub(super) async fn look_up_all(&self, span: &Span) -> Result<(), KvError> {
        let mut from = span.start.to_vec();
        loop {
            let page = self.page_from([&[META_PREFIX], &from[..], &[0]].concat(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            from = last.span.end.to_vec();
            page.iter().for_each(|descriptor| self.cache.lock().insert(descriptor));
            if from[..] >= span.end[..] {
                return Ok(());
            }
        }
    }

    /// Some descriptors from an addressing key on.
    async fn page_from(&self, after: Vec<u8>, limit: u64) -> Result<Vec<RangeDescriptor>, KvError> {
        let span = Span::new(after, vec![META_PREFIX + 1]);
        let scan = RangeScan {
            span: span.clone(),
            direction: Direction::Forward,
            columns: Columns::All,
            limit_rows: limit,
            limit_bytes: u64::MAX,
            program: None,
            lock: None,
            snapshot: false,
            recorded: false,
        };
        let header = self.system_header();
        let mut backoff = Backoff::new();
        loop {
            let Some(route) = self.addressing_route(&span) else { return Ok(Vec::new()) };
            let mut scan = scan.clone();
            scan.span = match span.intersect(&route.span) {
                Some(part) => part,
                None => return Ok(Vec::new()),
            };
            match self.send(&route, &header, Request::Scan(scan)).await {
                Ok(Response::Page(page)) => {
                    let decode = |(_, value): &(_, bytes::Bytes)| postcard::from_bytes(value);
                    return page
                        .rows
                        .iter()
                        .map(decode)
                        .collect::<Result<_, _>>()
                        .map_err(|e| KvError::Corruption(format!("range addressing: {e}")));
                }
                Ok(other) => return Err(unexpected(&other)),
                Err(SendError::Kv(e)) => return Err(e),
                Err(SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_)) => {
                    backoff.pause_at(self, &span.start, "range addressing does not answer").await?
                }
            }
        }
    }

    /// The route to range addressing without a lookup: served here, cached, or where the directory says it begins.
    fn addressing_route(&self, span: &Span) -> Option<Route> {
        if let Some(route) = self.route_now(&span.start) {
            return Some(route);
        }
        let first = self.directory.first_range()?;
        let node = *voters(&first).first()?;
        self.cache.lock().insert(&first);
        self.route_now(&span.start).or(Some(Route { range: first.id, span: first.span.clone(), target: Target::Remote(node) }))
    }
}
