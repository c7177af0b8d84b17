//! Cursors: DECLARE, FETCH, MOVE, CLOSE.
//!
//! A cursor pulls rows from its plan as they are fetched, and keeps those it has seen to go back over them: a SCROLL or WITH HOLD cursor all
//! of them, within the query's memory limit; one that says neither while they are few; NO SCROLL none. WITH HOLD reads the rest when it
//! is declared and lives on after the transaction.

use std::sync::Arc;

use super::Session;
use super::api::{Executed, Field, Format, ResultSink};
use super::extended::{Portal, PortalState, plannable};
use super::run::Commit;
use crate::catalog::system::extras::Cursor;
use crate::error::{Result, SqlError, SqlState};
use crate::exec::RowBatch;
use crate::front::{Declare, Fetch, FetchDirection};
use crate::types::Datum;

/// What a cursor remembers beyond a portal.
pub struct CursorState {
    hold: bool,
    /// It can go back: it keeps what it has seen.
    scroll: bool,
    /// It was promised to go back; otherwise it stops keeping rows when they get many.
    must_scroll: bool,
    /// Rows seen, for going back; empty unless `scroll`.
    seen: Vec<Datum>,
    seen_bytes: usize,
    width: usize,
    /// Rows pulled from the plan so far.
    pulled: usize,
    /// Position: 0 is before the first row, n is on row n.
    position: usize,
    /// Rows of the current batch not yet given (without `scroll`).
    pending: Vec<Datum>,
    exhausted: bool,
    /// Its row of `pg_cursors`.
    listed: Cursor,
}

impl CursorState {
    /// Whether it lives on after the transaction.
    pub fn held(&self) -> bool {
        self.hold && self.exhausted
    }
}

impl Session {
    pub(super) async fn declare(&mut self, declare: &Declare, text: &str, sink: &mut dyn ResultSink) -> Result<()> {
        let explicit = self.txn.as_ref().is_some_and(|t| t.explicit);
        if !explicit && !declare.hold {
            return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "DECLARE CURSOR can only be used in transaction blocks"));
        }
        if self.portals.contains_key(&declare.name) {
            return Err(SqlError::new(SqlState::DUPLICATE_CURSOR, format!("cursor \"{}\" already exists", declare.name)));
        }
        if !plannable(&declare.query) {
            return Err(SqlError::new(SqlState::INVALID_CURSOR_DEFINITION, "a cursor needs a query"));
        }
        let planned = self.plan(&declare.query, &[], false).await?;
        let Some(fields) = &planned.fields else {
            return Err(SqlError::new(SqlState::INVALID_CURSOR_DEFINITION, "a cursor needs a query that returns rows"));
        };
        let format = if declare.binary { Format::Binary } else { Format::Text };
        let fields: Arc<[Field]> = fields.iter().map(|f| Field { format, ..f.clone() }).collect();
        if let Some(txn) = &mut self.txn {
            txn.kv.begin_statement();
        }
        let cursor = CursorState {
            hold: declare.hold,
            scroll: declare.scroll != Some(false) || declare.hold,
            must_scroll: declare.scroll == Some(true) || declare.hold,
            seen: vec![],
            seen_bytes: 0,
            width: fields.len(),
            pulled: 0,
            position: 0,
            pending: vec![],
            exhausted: false,
            listed: Cursor {
                name: declare.name.clone(),
                statement: text.to_owned(),
                hold: declare.hold,
                binary: declare.binary,
                scroll: declare.scroll == Some(true),
                created: Some(self.env.statement_micros),
            },
        };
        let portal = Portal {
            parsed: None,
            planned: Some(planned.clone()),
            params: Arc::from([]),
            fields: Some(fields),
            state: PortalState::Running(Box::new(self.running(&planned.prepared.plan, false))),
            cursor: Some(cursor),
        };
        self.portals.insert(declare.name.clone(), portal);
        if declare.hold {
            // Its rows must outlive the snapshot: they are read now.
            let Some(mut portal) = self.portals.remove(&declare.name) else { return Ok(()) };
            while self.pull_cursor(&mut portal).await? {}
            self.portals.insert(declare.name.clone(), portal);
        }
        self.list_cursors();
        sink.complete("DECLARE CURSOR").await
    }

    /// Tells `pg_cursors` what cursors there are.
    pub(super) fn list_cursors(&self) {
        if let Some(entry) = self.db.sessions.lock().get_mut(&self.pid) {
            let cursors = self.portals.iter().filter_map(|(name, portal)| portal.cursor.as_ref().map(|c| (name.clone(), c.listed.clone())));
            entry.cursors = cursors.collect();
        }
    }

    pub(super) async fn fetch(&mut self, fetch: &Fetch, sink: &mut dyn ResultSink) -> Result<()> {
        let missing = || SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{}\" does not exist", fetch.cursor));
        let mut portal = self.portals.remove(&fetch.cursor).ok_or_else(missing)?;
        let outcome = self.fetch_from(&mut portal, fetch, sink).await;
        self.portals.insert(fetch.cursor.clone(), portal);
        let rows = outcome?;
        let word = if fetch.move_only { "MOVE" } else { "FETCH" };
        sink.complete(&format!("{word} {rows}")).await
    }

    /// The protocol's Execute of a cursor made by DECLARE: the rows from where it stands, all of them (`max_rows` 0) or so many.
    pub(super) async fn execute_cursor(&mut self, name: &str, max_rows: u32, sink: &mut dyn ResultSink) -> Result<Executed> {
        self.check_usable()?;
        let missing = || SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"));
        let mut portal = self.portals.remove(name).ok_or_else(missing)?;
        let count = if max_rows == 0 { i64::MAX } else { i64::from(max_rows) };
        let fetch = Fetch { cursor: name.to_owned(), direction: FetchDirection::Forward(count), move_only: false };
        let outcome = self.fetch_from(&mut portal, &fetch, sink).await;
        self.portals.insert(name.to_owned(), portal);
        let rows = outcome?;
        if max_rows > 0 && rows as u64 >= u64::from(max_rows) {
            return Ok(Executed::Suspended);
        }
        sink.complete(&format!("SELECT {rows}")).await?;
        Ok(Executed::Complete)
    }

    async fn fetch_from(&mut self, portal: &mut Portal, fetch: &Fetch, sink: &mut dyn ResultSink) -> Result<usize> {
        let fields = portal.fields.clone().unwrap_or_else(|| Arc::from([]));
        if !fetch.move_only {
            sink.begin(&fields).await?;
        }
        if portal.cursor.is_none() {
            return self.fetch_from_portal(portal, fetch, sink).await;
        }
        let positions = self.positions(portal, fetch.direction).await?;
        let width = fields.len();
        let mut count = 0;
        for position in positions {
            let Some(row) = self.row_at(portal, position).await? else { break };
            count += 1;
            if !fetch.move_only {
                self.give(&RowBatch { width, len: 1, datums: row }, sink).await?;
            }
        }
        Ok(count)
    }

    /// FETCH or MOVE on a portal that the protocol made with Bind: forward only, going on where the last Execute stopped.
    async fn fetch_from_portal(&mut self, portal: &mut Portal, fetch: &Fetch, sink: &mut dyn ResultSink) -> Result<usize> {
        let wanted = match fetch.direction {
            FetchDirection::Forward(n) | FetchDirection::Relative(n) if n > 0 => n.unsigned_abs(),
            _ => return Err(forward_only()),
        };
        let (Some(planned), state) = (portal.planned.clone(), std::mem::replace(&mut portal.state, PortalState::Done)) else {
            return Err(SqlError::new(SqlState::INVALID_CURSOR_STATE, format!("portal \"{}\" returns no rows", fetch.cursor)));
        };
        let mut running = match state {
            PortalState::Done => return Ok(0),
            PortalState::Running(running) => running,
            PortalState::Ready if planned.prepared.command == crate::plan::Command::Select => {
                self.transaction().kv.begin_statement();
                Box::new(self.running(&planned.prepared.plan, false))
            }
            PortalState::Ready => return Err(SqlError::unsupported("FETCH from a portal of a statement that writes")),
        };
        let mut count = 0;
        while count < wanted {
            let batch = self.next_rows(&mut running, portal.params.clone(), wanted - count, Commit::Later).await?;
            let Some(batch) = batch else { return Ok(count as usize) };
            count += batch.len as u64;
            if !fetch.move_only {
                self.give(&batch, sink).await?;
            }
        }
        portal.state = PortalState::Running(running);
        Ok(count as usize)
    }

    /// The rows (from 1) that a direction visits, and where the cursor stands afterwards.
    async fn positions(&mut self, portal: &mut Portal, direction: FetchDirection) -> Result<Vec<usize>> {
        let Some(cursor) = &portal.cursor else { return Err(SqlError::internal("a portal without a cursor")) };
        let here = cursor.position;
        let step = |by: i64| usize::try_from(here as i64 + by).unwrap_or(0);
        let backward = match direction {
            FetchDirection::Forward(n) => n < 0,
            FetchDirection::Backward(n) => n >= 0,
            FetchDirection::Absolute(n) => n <= here as i64,
            FetchDirection::Relative(n) => n <= 0,
        };
        if backward && !cursor.scroll {
            return Err(forward_only());
        }
        match direction {
            FetchDirection::Forward(0) | FetchDirection::Backward(0) | FetchDirection::Relative(0) => Ok(vec![here]),
            FetchDirection::Forward(n) if n > 0 => self.forward(portal, n).await,
            FetchDirection::Forward(n) | FetchDirection::Backward(n) => {
                let n = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
                let low = here.saturating_sub(n);
                let visited: Vec<usize> = (low.max(1)..here).rev().collect();
                if let Some(cursor) = &mut portal.cursor {
                    cursor.position = low;
                }
                Ok(visited)
            }
            FetchDirection::Absolute(n) if n < 0 => {
                let end = self.end(portal).await?;
                self.go_to(portal, (end + 1).saturating_sub(n.unsigned_abs() as usize)).await
            }
            FetchDirection::Absolute(n) => self.go_to(portal, n as usize).await,
            FetchDirection::Relative(n) => self.go_to(portal, step(n)).await,
        }
    }

    async fn forward(&mut self, portal: &mut Portal, n: i64) -> Result<Vec<usize>> {
        let here = portal.cursor.as_ref().map_or(0, |c| c.position);
        let wanted = here.saturating_add(usize::try_from(n).unwrap_or(usize::MAX));
        let mut visited = vec![];
        for position in here + 1..=wanted {
            if !self.has_row(portal, position).await? {
                break;
            }
            visited.push(position);
            // A cursor that cannot go back hands rows on in batches of what it holds.
            if !portal.cursor.as_ref().is_some_and(|c| c.scroll) && visited.len() >= 10_000_000 {
                break;
            }
        }
        if let Some(cursor) = &mut portal.cursor {
            // Beyond the last row when fewer came than asked for.
            cursor.position = visited.last().map_or(here, |p| *p) + usize::from((visited.len() as i64) < n);
        }
        Ok(visited)
    }

    async fn go_to(&mut self, portal: &mut Portal, position: usize) -> Result<Vec<usize>> {
        let there = position > 0 && self.has_row(portal, position).await?;
        if let Some(cursor) = &mut portal.cursor {
            cursor.position = position.min(cursor.pulled + 1);
        }
        Ok(if there { vec![position] } else { vec![] })
    }

    async fn end(&mut self, portal: &mut Portal) -> Result<usize> {
        while self.pull_cursor(portal).await? {}
        Ok(portal.cursor.as_ref().map_or(0, |c| c.pulled))
    }

    async fn has_row(&mut self, portal: &mut Portal, position: usize) -> Result<bool> {
        while portal.cursor.as_ref().is_some_and(|c| c.pulled < position) {
            if !self.pull_cursor(portal).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn row_at(&mut self, portal: &mut Portal, position: usize) -> Result<Option<Vec<Datum>>> {
        if position == 0 || !self.has_row(portal, position).await? {
            return Ok(None);
        }
        let Some(cursor) = &mut portal.cursor else { return Ok(None) };
        let rows = if cursor.scroll { &cursor.seen } else { &cursor.pending };
        let first = if cursor.scroll { 1 } else { cursor.pulled + 1 - cursor.pending.len() / cursor.width.max(1) };
        let at = (position - first) * cursor.width;
        Ok(rows.get(at..at + cursor.width).map(<[Datum]>::to_vec))
    }

    /// One more batch from the plan; `false` at the end.
    async fn pull_cursor(&mut self, portal: &mut Portal) -> Result<bool> {
        let PortalState::Running(execution) = &mut portal.state else { return Ok(false) };
        let batch = self.next_batch(execution, portal.params.clone(), Commit::Later).await?;
        let limit = self.env.settings.work_mem_bytes();
        let Some(cursor) = &mut portal.cursor else { return Ok(false) };
        let Some(batch) = batch else {
            cursor.exhausted = true;
            portal.state = PortalState::Done;
            return Ok(false);
        };
        cursor.pulled += batch.len;
        if cursor.scroll {
            cursor.seen_bytes += batch.datums.len() * size_of::<Datum>();
            if !cursor.must_scroll && cursor.seen_bytes > limit / 8 {
                // From here on forward only, as PostgreSQL's cursors over plans that cannot run backward.
                cursor.scroll = false;
                cursor.pending = std::mem::take(&mut cursor.seen);
                cursor.pending.extend_from_slice(&batch.datums);
                return Ok(true);
            }
            if cursor.seen_bytes > limit {
                let message = "the rows of a SCROLL or WITH HOLD cursor do not fit in work_mem";
                return Err(SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
            }
            cursor.seen.extend_from_slice(&batch.datums);
        } else {
            // Rows before the position are never asked for again.
            let first = cursor.pulled - batch.len + 1 - cursor.pending.len() / cursor.width.max(1);
            let keep_from = (cursor.position + 1).saturating_sub(first) * cursor.width;
            cursor.pending.drain(..keep_from.min(cursor.pending.len()));
            cursor.pending.extend_from_slice(&batch.datums);
        }
        Ok(true)
    }

    pub(super) async fn close_cursor(&mut self, name: Option<&str>, sink: &mut dyn ResultSink) -> Result<()> {
        match name {
            None => {
                self.portals.retain(|_, p| p.cursor.is_none());
                self.list_cursors();
                sink.complete("CLOSE CURSOR ALL").await
            }
            Some(name) => {
                if self.portals.remove(name).is_none() {
                    return Err(SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist")));
                }
                self.list_cursors();
                sink.complete("CLOSE CURSOR").await
            }
        }
    }
}

fn forward_only() -> SqlError {
    SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "cursor can only scan forward")
        .hint("Declare it with SCROLL option to enable backward scan.")
}
