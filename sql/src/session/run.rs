//! Running one planned statement: rows to the sink, and again inside the server when a retry is called for.
//!
//! A statement may be run again as long as nothing of its output has left. What is taken back with it depends on what it is part of:
//! an implicit transaction is restarted whole, as is a block whose first statement this is; a READ COMMITTED statement goes back to
//! its own beginning. Every other serialization failure is the client's to handle.

use std::sync::Arc;

use meridian_txn::api::{Isolation, KvError};

use super::api::{Field, Format, ResultSink};
use super::database::SqlCounters;
use super::plan_cache::{PlanKey, Planned};
use super::{Session, environment::Environment};
use crate::catalog::snapshot::CatalogSnapshot;
use crate::error::{Result, SqlError, SqlState};
use crate::exec::spill::DEFAULT_SPILL_BYTES;
use crate::exec::{self, ExecContext, Execution, MemoryBudget, RowBatch, SpillArea};
use crate::front::Parsed;
use crate::plan::{self, Command, PlanContext, Prepared};
use crate::types::{DataType, Datum, Io};

/// Runs inside the server before a serialization failure is shown.
const MAX_STATEMENT_RETRIES: u32 = 50;
/// Rows a statement of ours may give.
const INTERNAL_ROWS: usize = 10_000;

/// How a statement stands to the transaction's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The statement is the whole implicit transaction: it commits with it.
    WithStatement,
    /// Somebody commits later.
    Later,
}

/// What a run statement left behind.
pub enum Ran {
    /// It is done; rows affected or returned.
    Complete(u64),
    /// It has more rows; the execution goes on later.
    Suspended(Box<Running>),
}

/// An execution with what belongs to it.
pub struct Running {
    pub(super) execution: Execution,
    /// Rows pulled but not asked for yet.
    rest: Option<RowBatch>,
    memory: MemoryBudget,
    spill: SpillArea,
}

impl Session {
    /// Plans a query or DML statement, or finds its plan. `cache`: the text is worth remembering.
    pub(super) async fn plan(&mut self, parsed: &Parsed, declared: &[Option<DataType>], cache: bool) -> Result<Arc<Planned>> {
        let catalog = self.catalog().await?;
        let key = PlanKey {
            text: Arc::from(parsed.text()),
            declared: declared.to_vec(),
            version: catalog.version,
            environment: self.env.plan_environment.clone(),
        };
        if cache && let Some(planned) = self.db.plans.get(&key) {
            return Ok(planned);
        }
        SqlCounters::add(&self.db.counters.plans);
        let planned = Arc::new(self.plan_against(&catalog, parsed, declared)?);
        if cache {
            self.db.plans.insert(key, planned.clone());
        }
        Ok(planned)
    }

    pub(super) fn plan_against(&self, catalog: &Arc<CatalogSnapshot>, parsed: &Parsed, declared: &[Option<DataType>]) -> Result<Planned> {
        let lookup = self.lookup(catalog);
        let cx = PlanContext {
            catalog,
            database: self.database,
            session: &self.env.view,
            lookup: Some(&*lookup),
            now: self.txn.as_ref().map(|t| t.start_micros),
            system: crate::catalog::system::find,
        };
        let mut types = declared.to_vec();
        let prepared = plan::prepare(parsed, &cx, &mut types)?;
        let parameters = types.iter().enumerate().map(|(n, ty)| ty.ok_or_else(|| indeterminate(n))).collect::<Result<Vec<_>>>()?;
        let fields = prepared.returns_rows.then(|| fields_of(&prepared));
        Ok(Planned { prepared, parameters, fields, version: catalog.version, environment: self.env.plan_environment.clone() })
    }

    /// Runs a planned statement from its beginning. `max_rows` 0: all.
    pub(super) async fn run_planned(
        &mut self,
        planned: &Arc<Planned>,
        params: Arc<[Datum]>,
        fields: Option<&Arc<[Field]>>,
        max_rows: u64,
        commit: Commit,
        sink: &mut dyn ResultSink,
    ) -> Result<Ran> {
        self.check_writable(&planned.prepared)?;
        sink.mark();
        let mut tries = 0;
        loop {
            let txn = self.transaction();
            let savepoint = txn.kv.savepoint();
            let first = txn.answered == 0;
            txn.kv.begin_statement();
            if commit == Commit::WithStatement && planned.prepared.read_only && !txn.explicit {
                txn.kv.only_reads();
            }
            let locks = self.env.functions.advisory.mark();
            let mut running = self.running(&planned.prepared.plan, false);
            if let Some(fields) = fields {
                sink.begin(fields).await?;
            }
            let outcome = match self.pull(&mut running, params.clone(), max_rows, commit, sink).await {
                Ok((rows, true)) if commit == Commit::WithStatement => self.commit_kv().await.map(|()| (rows, true)),
                other => other,
            };
            let error = match outcome {
                Ok((_, false)) => return Ok(Ran::Suspended(Box::new(running))),
                Ok((rows, true)) => {
                    if commit == Commit::WithStatement {
                        SqlCounters::add(&self.db.counters.commits);
                        self.env.functions.advisory.rollback_to(0).await;
                        self.finish_transaction(true);
                    } else if let Some(txn) = &mut self.txn {
                        txn.answered += 1;
                    }
                    let writes = planned.prepared.command != Command::Select;
                    return Ok(Ran::Complete(if writes { running.execution.affected() } else { rows }));
                }
                Err(error) => error,
            };
            tries += 1;
            if tries > MAX_STATEMENT_RETRIES || !self.may_retry(&error, first, commit) || !sink.rewind() {
                return Err(self.explain_commit_error(error));
            }
            self.db.counters.retried(&error);
            self.take_back(savepoint, first)?;
            self.env.functions.advisory.take_back(&locks).await?;
        }
    }

    /// Whether this error calls for running the statement again, and taking back what it is part of is possible.
    fn may_retry(&self, error: &SqlError, first: bool, commit: Commit) -> bool {
        let Some(txn) = &self.txn else { return false };
        let whole = (!txn.explicit && commit == Commit::WithStatement) || first;
        match error.kv() {
            Some(KvError::Retry { .. }) => whole || txn.isolation == Isolation::ReadCommitted,
            // PostgreSQL shows a deadlock to a block; a statement on its own simply goes again.
            Some(KvError::Deadlock { .. }) => !txn.explicit && whole,
            _ => false,
        }
    }

    fn take_back(&mut self, savepoint: meridian_txn::api::Savepoint, first: bool) -> Result<()> {
        let Some(txn) = &mut self.txn else { return Err(SqlError::internal("no transaction to take back")) };
        if !first && txn.isolation == Isolation::ReadCommitted {
            return Ok(txn.kv.rollback_to(savepoint)?);
        }
        txn.kv.restart();
        txn.catalog = None;
        txn.deferred = Default::default();
        Ok(())
    }

    /// Pulls rows until the end or `max_rows`; answers with their number and whether it was the end.
    pub(super) async fn pull(
        &mut self,
        running: &mut Running,
        params: Arc<[Datum]>,
        max_rows: u64,
        commit: Commit,
        sink: &mut dyn ResultSink,
    ) -> Result<(u64, bool)> {
        let mut rows = 0;
        loop {
            let room = if max_rows == 0 { u64::MAX } else { max_rows - rows };
            let batch = self.next_rows(running, params.clone(), room, commit).await?;
            let warnings = self.env.functions.take_warnings();
            if !warnings.is_empty() {
                self.send_notices(warnings.into_iter().map(|w| ("WARNING", w)).collect(), sink).await?;
            }
            let Some(batch) = batch else { return Ok((rows, true)) };
            rows += batch.len as u64;
            self.give(&batch, sink).await?;
            if max_rows > 0 && rows >= max_rows {
                return Ok((rows, false));
            }
        }
    }

    /// The next rows, `room` of them at most; what the executor gave beyond that waits for the next call.
    pub(super) async fn next_rows(
        &mut self,
        running: &mut Running,
        params: Arc<[Datum]>,
        room: u64,
        commit: Commit,
    ) -> Result<Option<RowBatch>> {
        let Some(mut batch) = self.next_batch(running, params, commit).await? else { return Ok(None) };
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if batch.len > room {
            let mut rest = batch.clone();
            rest.skip(room);
            batch.truncate(room);
            running.rest = Some(rest);
        }
        Ok(Some(batch))
    }

    /// Hands rows to the client once the clock allows (T3, C10).
    pub(super) async fn give(&mut self, batch: &RowBatch, sink: &mut dyn ResultSink) -> Result<()> {
        if let Some(txn) = &mut self.txn {
            self.cancel.run(txn.kv.wait_reply()).await?;
        }
        if batch.width == 0 {
            return sink.empty_rows(batch.len).await;
        }
        let catalog = self.txn.as_ref().and_then(|t| t.catalog.clone()).unwrap_or_else(|| self.db.catalog.latest());
        let lookup = self.lookup(&catalog);
        sink.rows(&batch.datums, Io { session: &self.env.view, now: None, catalog: Some(&*lookup) }).await
    }

    /// An execution about to begin, with its memory and disk allowances.
    pub(super) fn running(&self, plan: &Arc<plan::node::Plan>, analyze: bool) -> Running {
        Running {
            execution: exec::open_with(plan, analyze),
            rest: None,
            memory: MemoryBudget::new(self.env.settings.work_mem_bytes()),
            spill: SpillArea::new(self.db.spill_dir.clone(), DEFAULT_SPILL_BYTES),
        }
    }

    /// The next batch of an execution.
    pub(super) async fn next_batch(&mut self, running: &mut Running, params: Arc<[Datum]>, commit: Commit) -> Result<Option<RowBatch>> {
        if let Some(rest) = running.rest.take() {
            return Ok(Some(rest));
        }
        let (memory, spill) = (running.memory.clone(), running.spill.clone());
        let mut cx = self.exec_context(params, commit, memory, spill).await?;
        let batch = running.execution.next(&mut cx).await;
        drop(cx);
        self.apply_function_effects()?;
        batch
    }

    /// What the executor is lent for one call.
    pub(super) async fn exec_context(
        &mut self,
        params: Arc<[Datum]>,
        commit: Commit,
        memory: MemoryBudget,
        spill: SpillArea,
    ) -> Result<ExecContext<'_>> {
        // The catalog that the statement was planned against, also for READ COMMITTED, which reads it anew for the next one.
        let known = self.txn.as_ref().and_then(|t| t.catalog.clone());
        let catalog = match known {
            Some(catalog) => catalog,
            None => self.catalog().await?,
        };
        let lookup = self.lookup(&catalog);
        let expressions = self.table_expressions(&catalog);
        let system = self.system_tables();
        let lock_timeout = self.env.settings.timeout("lock_timeout");
        let Some(txn) = &mut self.txn else { return Err(SqlError::internal("no transaction")) };
        let Environment { view, sequences, rng, statement_micros, functions, .. } = &mut self.env;
        Ok(ExecContext {
            txn: txn.kv.as_mut(),
            kv: self.db.kv.clone(),
            params,
            session: view.clone(),
            catalog,
            lookup,
            system,
            functions,
            expressions,
            sequences,
            deferred: &mut txn.deferred,
            rng,
            cancel: self.cancel.clone(),
            memory,
            spill,
            transaction_micros: txn.start_micros,
            statement_micros: *statement_micros,
            lock_timeout,
            autocommit: commit == Commit::WithStatement,
            state: Default::default(),
        })
    }

    /// `set_config` and the like take effect once the executor has let go of the session.
    fn apply_function_effects(&mut self) -> Result<()> {
        for (name, value, local) in self.env.functions.take_changes() {
            self.apply_setting(&name, Some(&value), local)?;
        }
        Ok(())
    }

    /// Checks put off to commit.
    pub(super) async fn run_deferred_checks(&mut self, only_immediate: bool) -> Result<()> {
        if self.txn.as_ref().is_none_or(|t| t.deferred.is_empty()) {
            return Ok(());
        }
        let memory = MemoryBudget::new(self.env.settings.work_mem_bytes());
        let spill = SpillArea::new(self.db.spill_dir.clone(), DEFAULT_SPILL_BYTES);
        let mut cx = self.exec_context(Arc::from([]), Commit::Later, memory, spill).await?;
        exec::fk::run_deferred(only_immediate, &mut cx).await
    }

    fn check_writable(&mut self, prepared: &Prepared) -> Result<()> {
        let command = match prepared.command {
            Command::Insert => "INSERT",
            Command::Update => "UPDATE",
            Command::Delete => "DELETE",
            Command::Select => "SELECT",
        };
        if !prepared.read_only && self.transaction().read_only {
            let command = if prepared.command == Command::Select { "SELECT FOR UPDATE" } else { command };
            let message = format!("cannot execute {command} in a read-only transaction");
            return Err(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
        }
        Ok(())
    }

    /// Runs a query of ours inside the open transaction and gives back its rows.
    pub(super) async fn internal(&mut self, sql: &str) -> Result<Vec<Vec<Datum>>> {
        let mut running = self.begin_internal(sql).await?;
        let mut rows = vec![];
        while let Some(batch) = self.next_batch(&mut running, Arc::from([]), Commit::Later).await? {
            rows.extend(batch.rows().map(<[Datum]>::to_vec));
            if rows.len() > INTERNAL_ROWS {
                return Err(SqlError::internal("a statement of ours gave too many rows"));
            }
        }
        Ok(rows)
    }

    /// Runs a writing statement of ours inside the open transaction; answers how many rows it wrote.
    pub(super) async fn internal_write(&mut self, sql: &str) -> Result<u64> {
        let mut running = self.begin_internal(sql).await?;
        while self.next_batch(&mut running, Arc::from([]), Commit::Later).await?.is_some() {}
        Ok(running.execution.affected())
    }

    pub(super) async fn begin_internal(&mut self, sql: &str) -> Result<Running> {
        let parsed = crate::front::parse_one(sql)?.ok_or_else(|| SqlError::internal("an empty statement of ours"))?;
        let catalog = self.catalog().await?;
        let planned = self.plan_against(&catalog, &parsed, &[])?;
        if let Some(txn) = &mut self.txn {
            txn.kv.begin_statement();
        }
        Ok(self.running(&planned.prepared.plan, false))
    }

    /// Names table and key of an error that the KV layer could name only by bytes.
    pub(super) fn explain_commit_error(&self, error: SqlError) -> SqlError {
        let catalog = self.txn.as_ref().and_then(|t| t.catalog.clone()).unwrap_or_else(|| self.db.catalog.latest());
        super::conflict::explain(error, &catalog)
    }
}

/// `42P18`
pub(super) fn indeterminate(parameter: usize) -> SqlError {
    let message = format!("could not determine data type of parameter ${}", parameter + 1);
    SqlError::new(SqlState::INDETERMINATE_DATATYPE, message)
}

/// Result columns in text format.
pub(super) fn fields_of(prepared: &Prepared) -> Arc<[Field]> {
    let field = |c: &plan::node::OutputColumn| Field {
        name: c.name.clone(),
        table: c.origin.map_or(0, |o| o.0),
        column: c.origin.map_or(0, |o| o.1),
        // PostgreSQL: what is still an unknown literal goes out as text.
        ty: if c.ty == DataType::UNKNOWN { DataType::TEXT } else { c.ty },
        typmod: c.typmod,
        format: Format::Text,
    };
    prepared.plan.columns.iter().map(field).collect()
}

/// CommandComplete's tag.
pub(super) fn tag(command: Command, rows: u64) -> String {
    match command {
        Command::Select => format!("SELECT {rows}"),
        Command::Insert => format!("INSERT 0 {rows}"),
        Command::Update => format!("UPDATE {rows}"),
        Command::Delete => format!("DELETE {rows}"),
    }
}
