//! The first pages of many scans at once.
//!
//! Two callers have different needs. A lookup join asks for a few rows each of hundreds of spans: those of one range travel in one request,
//! instead of a round each. An aggregation over a large table asks for a few long parts of one span ([`Txn::parts_of`]): each is a task of its own,
//! so that as many cores read as there are parts. Either way what comes back is taken into the read set page by page, like pages of single
//! scans, which is also what happens to whatever does not fit: locks, own writes in between, reads in the past, ranges that moved meanwhile.

use futures::future::join_all;
use meridian_storage::Span;

use super::Txn;
use super::fetch::{PAGE_BYTES, range_scan};
use crate::api::{KvError, Page, Scan};
use crate::leaseholder::covered;
use crate::request::{RangeScan, Request, Response, ScanReply};
use crate::router::{Route, SendError, unexpected};
use meridian_clock::Timestamp;

/// Scans of one request.
const SCANS_MAX: usize = 256;

impl Txn {
    /// See `KvTxn::scan_parts`.
    pub(super) fn parts_of(&self, span: &Span) -> Vec<Span> {
        let tasks = self.gateway.config.scan_tasks;
        let router = &self.gateway.router;
        let here = router.route_now(&span.start).filter(|route| route.is_local() && route.span.covers(span));
        if tasks < 2 || here.is_none() || !self.is_plain(span) {
            return vec![span.clone()];
        }
        let mut parts = Vec::with_capacity(tasks);
        let mut start = span.start.clone();
        for cut in router.leaseholders().cuts(span, tasks) {
            parts.push(Span { start: std::mem::replace(&mut start, cut.clone()), end: cut });
        }
        parts.push(Span { start, end: span.end.clone() });
        parts
    }

    /// Whether a scan of `span` without a lock gives just what the leaseholders answer.
    fn is_plain(&self, span: &Span) -> bool {
        self.options.as_of.is_none() && self.forced_lock().is_none() && !self.buffer.overlaps(span, false)
    }

    pub(super) async fn fetch_pages(&mut self, scans: Vec<Scan>) -> Result<Vec<Page>, KvError> {
        let plain = scans.len() > 1 && scans.iter().all(|s| s.lock.is_none() && self.is_plain(&s.span));
        let found = match (plain, scans.iter().all(|s| s.program.is_some())) {
            (false, _) => Vec::new(),
            (true, true) => self.in_parallel(&scans).await?,
            (true, false) => self.in_batches(&scans).await?,
        };
        let mut pages = Vec::with_capacity(scans.len());
        let mut found = found.into_iter();
        for scan in scans {
            pages.push(match found.next().flatten() {
                Some(page) => page,
                None => self.fetch_page(scan).await?,
            });
        }
        Ok(pages)
    }

    /// One task a scan. `None` where the long way is needed.
    async fn in_parallel(&mut self, scans: &[Scan]) -> Result<Vec<Option<Page>>, KvError> {
        let (router, header) = (self.gateway.router.clone(), self.header());
        let mut asked = Vec::with_capacity(scans.len());
        let mut tasks = Vec::with_capacity(scans.len());
        for scan in scans.iter().take(self.gateway.config.scan_tasks) {
            let Some((route, request)) = self.whole(scan).filter(|(route, _)| route.is_local()) else { break };
            self.count(&route);
            asked.push(request.clone());
            let of_task = router.clone();
            tasks.push(router.tasks.spawn(async move { of_task.send(&route, &header, Request::Scan(request)).await }));
        }
        let answers = self.guarded(async { Ok(join_all(tasks).await) }).await?;
        let mut pages = Vec::with_capacity(scans.len());
        for (request, answer) in asked.into_iter().zip(answers) {
            pages.push(match answer {
                Ok(Ok(Response::Page(reply))) => Some(self.page(&request, reply)?),
                Ok(Ok(other)) => return Err(unexpected(&other)),
                Ok(Err(SendError::Kv(e))) => return Err(e),
                Ok(Err(SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_))) => None,
                Err(_) => return Err(KvError::Unavailable("the node is stopping".into())),
            });
        }
        Ok(pages)
    }

    /// One request a range and round. `None` where the long way is needed.
    async fn in_batches(&mut self, scans: &[Scan]) -> Result<Vec<Option<Page>>, KvError> {
        let mut pages: Vec<Option<Page>> = vec![None; scans.len()];
        let mut groups: Vec<(Route, Vec<(usize, RangeScan)>)> = Vec::new();
        for (n, scan) in scans.iter().enumerate() {
            let Some((route, request)) = self.whole(scan) else { continue };
            // Lookups mostly come sorted: the last group first.
            match groups.iter_mut().rev().find(|(of, _)| of.range == route.range) {
                Some((_, group)) => group.push((n, request)),
                None => groups.push((route, vec![(n, request)])),
            }
        }
        while !groups.is_empty() {
            let (router, header) = (self.gateway.router.clone(), self.header());
            groups.iter().for_each(|(route, _)| self.count(route));
            let first =
                |group: &[(usize, RangeScan)]| Request::Scans { scans: group.iter().take(SCANS_MAX).map(|(_, s)| s.clone()).collect() };
            let sent = groups.iter().map(|(route, group)| (route, first(group)));
            let answers =
                self.guarded(async { Ok(join_all(sent.map(|(route, request)| router.send(route, &header, request))).await) }).await?;
            let mut left = Vec::new();
            for ((route, mut group), answer) in groups.into_iter().zip(answers) {
                match answer {
                    Ok(Response::Pages(replies)) if !replies.is_empty() && replies.len() <= group.len() => {
                        let rest = group.split_off(replies.len());
                        for ((n, request), reply) in group.into_iter().zip(replies) {
                            pages[n] = Some(self.page(&request, reply)?);
                        }
                        if !rest.is_empty() {
                            left.push((route, rest));
                        }
                    }
                    Ok(other) => return Err(unexpected(&other)),
                    Err(SendError::Kv(e)) => return Err(e),
                    Err(SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_)) => {}
                }
            }
            groups = left;
        }
        Ok(pages)
    }

    /// What to ask for a scan, and where, if one known range has all of it.
    fn whole(&self, scan: &Scan) -> Option<(Route, RangeScan)> {
        let route = self.gateway.router.route_now(&scan.span.start)?;
        let bytes = if scan.limit_bytes == 0 { PAGE_BYTES } else { scan.limit_bytes };
        let request = RangeScan { recorded: self.records_reads(), ..range_scan(scan, &scan.span, None, false, 0, bytes) };
        (!scan.span.is_empty() && route.span.covers(&scan.span)).then_some((route, request))
    }

    /// Takes an answer into the read set and makes it the page of its scan.
    fn page(&mut self, request: &RangeScan, reply: ScanReply) -> Result<Page, KvError> {
        let resume = reply.resume.clone();
        let stretch = covered(&request.span, request.direction, resume.as_ref());
        // Without locks nothing moves the snapshot.
        let mut moved_to = Timestamp::ZERO;
        let rows = self.take_page(request, &stretch, reply, &mut moved_to)?;
        Ok(Page { rows, resume })
    }
}
