//! INSERT, with ON CONFLICT. Many rows without either of ON CONFLICT and RETURNING are loaded in bulk, as by COPY.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_txn::api::{Columns, Expect, Get, Got, LockStrength, LockWait, Locking};
use rustc_hash::{FxHashMap, FxHashSet};

use super::checks::check_row;
use super::writer::{Entry, TableWriter, UniqueKeys};
use crate::error::{Result, SqlError, SqlState};
use crate::exec::batch::RowBatch;
use crate::exec::context::{ExecContext, table_of};
use crate::exec::copy::{BULK_ROWS, BulkWriter};
use crate::exec::relational::basic::mismatch;
use crate::exec::{Operator, fk, subquery, walk};
use crate::plan::expr::Expr;
use crate::plan::node::{ConflictUpdate, Insert, Node, OnConflict, Plan};
use crate::types::Datum;

/// State of an `Insert`.
pub struct InsertOperator {
    source: Box<dyn Operator>,
    state: Option<State>,
    returning_suspends: bool,
}

struct State {
    writer: Arc<TableWriter>,
    /// Place of each source column in the row.
    ordinals: Vec<usize>,
    /// Batches read ahead.
    ahead: VecDeque<RowBatch>,
    source_done: bool,
    /// Leave uniqueness to the commit.
    blind: bool,
    /// Many rows: they are laid early.
    bulk: Option<BulkWriter>,
    /// Primary keys that this statement inserted or updated (ON CONFLICT DO UPDATE may not touch a row twice).
    touched: FxHashSet<Bytes>,
}

impl InsertOperator {
    /// Over a source.
    pub fn new(source: Box<dyn Operator>, insert: &Insert) -> Self {
        InsertOperator { source, state: None, returning_suspends: walk::any_suspends(insert.returning.iter().flatten()) }
    }

    async fn start(&mut self, insert: &Insert, cx: &mut ExecContext<'_>) -> Result<State> {
        let writer = insert.derived.get(|| TableWriter::new(&insert.table))?;
        let table = table_of(&insert.table)?;
        let ordinals = insert
            .columns
            .iter()
            .map(|id| {
                table.columns.iter().position(|c| c.id == *id).ok_or_else(|| SqlError::internal("INSERT names a column that is gone"))
            })
            .collect::<Result<Vec<_>>>()?;
        let (ahead, touched) = (VecDeque::new(), FxHashSet::default());
        let mut state = State { writer, ordinals, ahead, source_done: false, blind: false, bulk: None, touched };
        if insert.conflict.is_none() {
            while !state.source_done && state.ahead.iter().map(|batch| batch.len).sum::<usize>() < BULK_ROWS {
                match self.source.next(&insert.source, cx).await? {
                    None => state.source_done = true,
                    Some(batch) => state.ahead.push_back(batch),
                }
            }
            // Only a statement of one batch: duplicates within a longer one would have to be remembered.
            state.blind = cx.autocommit && state.source_done && state.ahead.len() <= 1;
            if !state.source_done && insert.returning.is_none() {
                state.bulk = Some(BulkWriter::new(&insert.table, Arc::new(insert.checks.clone()), cx.autocommit)?);
            }
        }
        Ok(state)
    }

    async fn next_source(&mut self, state: &mut State, insert: &Insert, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        if let Some(batch) = state.ahead.pop_front() {
            return Ok(Some(batch));
        }
        if state.source_done {
            return Ok(None);
        }
        self.source.next(&insert.source, cx).await
    }
}

#[async_trait]
impl Operator for InsertOperator {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Insert(insert) = &plan.node else { return Err(mismatch()) };
        let mut state = match self.state.take() {
            Some(state) => state,
            None => self.start(insert, cx).await?,
        };
        let Some(batch) = self.next_source(&mut state, insert, cx).await? else {
            if let Some(bulk) = state.bulk {
                bulk.finish(cx).await?;
            }
            return Ok(None);
        };
        cx.cancel.check()?;
        if let Some(bulk) = &mut state.bulk {
            for row in full_rows(&state.ordinals, insert, &batch)? {
                bulk.push(None, row, cx).await?;
            }
            cx.state.affected += batch.len as u64;
            self.state = Some(state);
            return Ok(Some(RowBatch::new(0)));
        }
        let rows = state.rows(insert, &batch, cx)?;
        let written = match &insert.conflict {
            None if state.blind => state.insert_blind(insert, rows, cx).await?,
            None => state.insert_checked(insert, rows, cx).await?,
            Some(conflict) => state.insert_or(insert, conflict, rows, cx).await?,
        };
        cx.state.affected += written.len as u64;
        self.state = Some(state);
        match &insert.returning {
            None => Ok(Some(RowBatch::new(0))),
            Some(exprs) => {
                let exprs: Vec<&Expr> = exprs.iter().collect();
                subquery::project(&exprs, self.returning_suspends, &written, cx).await.map(Some)
            }
        }
    }
}

/// Full rows from source rows; columns that the statement does not name are null.
fn full_rows(ordinals: &[usize], insert: &Insert, batch: &RowBatch) -> Result<Vec<Vec<Datum>>> {
    let width = table_of(&insert.table)?.columns.len();
    let full = |source: &[Datum]| {
        let mut row = vec![Datum::Null; width];
        for (ordinal, datum) in ordinals.iter().zip(source) {
            row[*ordinal] = datum.clone();
        }
        row
    };
    Ok(batch.rows().map(full).collect())
}

impl State {
    /// Full rows from source rows, checked.
    fn rows(&self, insert: &Insert, batch: &RowBatch, cx: &mut ExecContext<'_>) -> Result<Vec<Vec<Datum>>> {
        let mut rows = full_rows(&self.ordinals, insert, batch)?;
        rows.iter_mut().try_for_each(|row| check_row(&insert.table, &insert.checks, row, cx))?;
        Ok(rows)
    }

    async fn insert_blind(&mut self, insert: &Insert, rows: Vec<Vec<Datum>>, cx: &mut ExecContext<'_>) -> Result<RowBatch> {
        let mut written = RowBatch::new(self.writer.reader.width);
        let mut seen: FxHashSet<Bytes> = FxHashSet::default();
        for row in rows {
            for entry in self.writer.entries(&row, &insert.checks, cx)? {
                if entry.unique && !seen.insert(entry.key.clone()) {
                    return Err(self.writer.violation(&entry, &row, cx));
                }
                let expect = if entry.unique { Expect::Absent } else { Expect::AsRead };
                if let Err(error) = cx.txn.put(entry.key.clone(), entry.value.clone(), expect).await {
                    return Err(match error {
                        meridian_txn::api::KvError::KeyExists { .. } => self.writer.violation(&entry, &row, cx),
                        other => crate::exec::context::kv_error(other),
                    });
                }
            }
            fk::note_insert(&insert.table, &row, cx)?;
            written.push_owned(row);
        }
        Ok(written)
    }

    async fn insert_checked(&mut self, insert: &Insert, rows: Vec<Vec<Datum>>, cx: &mut ExecContext<'_>) -> Result<RowBatch> {
        let mut entries = Vec::with_capacity(rows.len());
        let mut keys = Vec::new();
        for row in &rows {
            let of_row = self.writer.entries(row, &insert.checks, cx)?;
            keys.extend(of_row.iter().filter(|e| self.is_checked(e)).map(|e| e.key.clone()));
            entries.push(of_row);
        }
        let mut known = UniqueKeys::default();
        self.writer.learn(keys, &mut known, cx).await?;
        let mut written = RowBatch::with_capacity(self.writer.reader.width, rows.len());
        for (row, entries) in rows.into_iter().zip(entries) {
            self.writer.insert(&row, entries, &mut known, cx).await?;
            fk::note_insert(&insert.table, &row, cx)?;
            written.push_owned(row);
        }
        Ok(written)
    }

    fn is_checked(&self, entry: &Entry) -> bool {
        entry.unique && !(entry.layout == 0 && self.writer.hidden_key)
    }

    /// ON CONFLICT: the keys of all rows are read in one round, the rows behind conflicting secondary entries in another, and then rows are
    /// taken one by one.
    async fn insert_or(
        &mut self,
        insert: &Insert,
        conflict: &OnConflict,
        rows: Vec<Vec<Datum>>,
        cx: &mut ExecContext<'_>,
    ) -> Result<RowBatch> {
        let mut known = UniqueKeys::default();
        let mut entries = Vec::with_capacity(rows.len());
        let mut keys = Vec::new();
        for row in &rows {
            let of_row = self.writer.entries(row, &insert.checks, cx)?;
            keys.extend(of_row.iter().filter(|e| self.is_checked(e)).map(|e| e.key.clone()));
            entries.push(of_row);
        }
        self.writer.learn(keys, &mut known, cx).await?;
        let mut existing = FxHashMap::default();
        if conflict.update.is_some() {
            existing = self.existing_rows(conflict, &entries, &known, cx).await?;
        }
        let mut written = RowBatch::new(self.writer.reader.width);
        for (row, entries) in rows.into_iter().zip(entries) {
            let is_arbiter = |e: &Entry| {
                let layout = &self.writer.layouts[e.layout];
                e.unique && (conflict.arbiters.is_empty() || conflict.arbiters.contains(&layout.id))
            };
            let met = entries.iter().find(|e| is_arbiter(e) && matches!(known.get(&e.key), Some(Some(_)))).cloned();
            match (met, &conflict.update) {
                (None, _) => {
                    self.touched.insert(self.writer.primary_key(&row)?);
                    self.writer.insert(&row, entries, &mut known, cx).await?;
                    fk::note_insert(&insert.table, &row, cx)?;
                    written.push_owned(row);
                }
                (Some(_), None) => {}
                (Some(entry), Some(update)) => {
                    let old = existing.get(&entry.key).cloned();
                    if let Some(new) = self.update_existing(insert, update, old, &row, &mut known, cx).await? {
                        written.push_owned(new);
                    }
                }
            }
        }
        Ok(written)
    }

    /// The rows that conflicting arbiter entries stand for, locked, by entry key.
    async fn existing_rows(
        &self,
        conflict: &OnConflict,
        entries: &[Vec<Entry>],
        known: &UniqueKeys,
        cx: &mut ExecContext<'_>,
    ) -> Result<FxHashMap<Bytes, Vec<Datum>>> {
        let table = table_of(&self.writer.relation)?;
        let pk: Vec<u32> = table.primary.keys.iter().map(|k| k.column).collect();
        let mut rows = FxHashMap::default();
        let mut fetch: Vec<(Bytes, Bytes)> = Vec::new();
        for entry in entries.iter().flatten().filter(|e| conflict.arbiters.contains(&self.writer.layouts[e.layout].id)) {
            let Some(Some(value)) = known.get(&entry.key) else { continue };
            if entry.layout == 0 {
                rows.insert(entry.key.clone(), self.writer.decode(&entry.key, value)?);
                continue;
            }
            let mut key = Vec::new();
            self.writer.layouts[entry.layout].reader(table, &pk)?.read(&entry.key, value, &mut key)?;
            fetch.push((entry.key.clone(), self.writer.layouts[0].key_of_values(&key)?));
        }
        let lock = Some(Locking { strength: LockStrength::Update, wait: cx.lock_wait(LockWait::Block(None)) });
        let gets = fetch.iter().map(|(_, key)| Get { key: key.clone(), columns: Columns::All, lock }).collect();
        let got = cx.get(gets).await?;
        for ((entry, key), got) in fetch.into_iter().zip(got) {
            if let Got::Value(Some(value)) = got {
                rows.insert(entry, self.writer.decode(&key, &value)?);
            }
        }
        Ok(rows)
    }

    async fn update_existing(
        &mut self,
        insert: &Insert,
        update: &ConflictUpdate,
        old: Option<Vec<Datum>>,
        excluded: &[Datum],
        known: &mut UniqueKeys,
        cx: &mut ExecContext<'_>,
    ) -> Result<Option<Vec<Datum>>> {
        let twice = || {
            SqlError::new(SqlState::CARDINALITY_VIOLATION, "ON CONFLICT DO UPDATE command cannot affect row a second time")
                .hint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values.")
        };
        // A key without an existing row was put there by this very statement.
        let Some(old) = old else { return Err(twice()) };
        let mut both = old.clone();
        both.extend_from_slice(excluded);
        if let Some(predicate) = &update.predicate
            && !matches!(subquery::eval_suspending(predicate, &both, cx).await?, Datum::Bool(true))
        {
            return Ok(None);
        }
        if !self.touched.insert(self.writer.primary_key(&old)?) {
            return Err(twice());
        }
        let table = table_of(&insert.table)?;
        let mut new = old.clone();
        for (column, expr) in &update.assignments {
            let Some(ordinal) = table.columns.iter().position(|c| c.id == *column) else { continue };
            new[ordinal] = subquery::eval_suspending(expr, &both, cx).await?;
        }
        check_row(&insert.table, &insert.checks, &mut new, cx)?;
        let before = self.writer.entries(&old, &insert.checks, cx)?;
        let after = self.writer.entries(&new, &insert.checks, cx)?;
        self.writer.learn(TableWriter::moved_keys(&before, &after), known, cx).await?;
        self.writer.change(&before, &new, after, known, cx).await?;
        self.touched.insert(self.writer.primary_key(&new)?);
        fk::note_update(&insert.table, &old, &new, cx)?;
        Ok(Some(new))
    }
}
