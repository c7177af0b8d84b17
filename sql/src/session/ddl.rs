//! Schema changes of a session: the catalog part by `catalog::ddl`, then the work on rows, all in one transaction.
//!
//! CREATE INDEX outside a block is the exception: it runs online, in three steps of their own transactions. First the index appears as
//! write-only, so that every writer maintains it; then rows are indexed in chunks, each a short transaction that blocks nobody; then
//! readers may use it. A failure on the way removes the index.

use std::sync::Arc;

use meridian_storage::Span;
use meridian_txn::api::{Expect, KvError};

use super::Session;
use super::analyze::SessionAnalyzer;
use super::api::ResultSink;
use super::database::SqlCounters;
use super::run::Commit;
use crate::catalog::ddl::{DdlRun, Job, JobError, VALUES};
use crate::catalog::descriptor::{Oid, RelationKind};
use crate::catalog::keys;
use crate::catalog::snapshot::CatalogSnapshot;
use crate::catalog::store::CatalogChanges;
use crate::error::{Result, SqlError, SqlState};
use crate::exec::backfill::backfill_chunk;
use crate::exec::sequence::SequenceState;
use crate::exec::spill::DEFAULT_SPILL_BYTES;
use crate::exec::{MemoryBudget, SpillArea};
use crate::front::Ddl;
use crate::types::DataType;

/// Runs of a schema change inside the server before a serialization failure is shown.
const MAX_DDL_RETRIES: u32 = 30;

impl Session {
    /// Runs a schema change and answers for it.
    pub(super) async fn ddl(&mut self, ddl: &Ddl, alone: bool, sink: &mut dyn ResultSink) -> Result<()> {
        if let Ddl::SplitAt { relation, index, rows } = ddl {
            return self.split_at(relation, index.as_ref(), rows, sink).await;
        }
        let whole = alone && !self.txn.as_ref().is_some_and(|t| t.explicit || t.answered > 0);
        if matches!(ddl, Ddl::CreateDatabase { .. } | Ddl::DropDatabase { .. }) && !whole {
            let word = if matches!(ddl, Ddl::CreateDatabase { .. }) { "CREATE DATABASE" } else { "DROP DATABASE" };
            let message = format!("{word} cannot run inside a transaction block");
            return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        if self.transaction().read_only {
            let message = format!("cannot execute {} in a read-only transaction", words(ddl));
            return Err(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
        }
        sink.mark();
        let mut tries = 0;
        loop {
            let outcome = self.ddl_once(ddl, whole).await;
            match outcome {
                Ok((tag, notices)) => {
                    self.send_notices(notices, sink).await?;
                    return sink.complete(&tag).await;
                }
                Err(error) => {
                    tries += 1;
                    let again = whole && matches!(error.kv(), Some(KvError::Retry { .. } | KvError::Deadlock { .. }));
                    if !again || tries > MAX_DDL_RETRIES || self.txn.is_none() {
                        return Err(self.explain_commit_error(error));
                    }
                    self.db.counters.retried(&error);
                    if let Some(txn) = &mut self.txn {
                        txn.kv.restart();
                        (txn.catalog, txn.changes) = (None, None);
                    }
                }
            }
        }
    }

    async fn ddl_once(&mut self, ddl: &Ddl, whole: bool) -> Result<(String, Vec<(&'static str, SqlError)>)> {
        let is_index = matches!(ddl, Ddl::Ast { ast, .. } if matches!(&**ast, sqlparser::ast::Statement::CreateIndex(_)));
        let (tag, notices, jobs) = self.change_catalog(Change::Statement(ddl)).await?;
        if whole && is_index {
            // Every writer must maintain the index before the first row is indexed.
            self.commit_kv().await?;
            self.finish_transaction(true);
            for job in jobs {
                if let Job::Backfill { table, index } = job {
                    self.fill_online(table, index).await?;
                }
            }
            return Ok((tag, notices));
        }
        let mut rows = 0;
        for job in jobs {
            rows += self.job(job).await?;
        }
        if whole {
            self.commit_kv().await?;
            SqlCounters::add(&self.db.counters.commits);
            self.finish_transaction(true);
        }
        let tag = if tag == "SELECT" { format!("SELECT {rows}") } else { tag };
        Ok((tag, notices))
    }

    /// Changes the catalog, and writes what was changed into the open transaction.
    async fn change_catalog(&mut self, change: Change<'_>) -> Result<(String, Vec<(&'static str, SqlError)>, Vec<Job>)> {
        let catalog = self.catalog().await?;
        let analyzer = SessionAnalyzer::new(self.database, self.env.view.clone());
        let db = self.db.clone();
        let (database, role, view) = (self.database, self.env.role, self.env.view.clone());
        let txn = self.transaction();
        let mut changes = txn.changes.clone().unwrap_or_else(|| CatalogChanges::new(&catalog));
        let mut run = DdlRun {
            changes: &mut changes,
            store: &db.catalog,
            analyzer: &analyzer,
            database,
            search_path: &view.search_path,
            role,
            notices: vec![],
            jobs: vec![],
        };
        let tag = match change {
            Change::Statement(ddl) => run.execute(ddl).await?,
            Change::Adopt { table, scratch } => {
                run.adopt(table, scratch)?;
                String::new()
            }
            Change::Publish { table, index } => {
                run.publish_index(table, index);
                String::new()
            }
            Change::RemoveUnfilled { table, index } => {
                run.remove_unfilled_index(table, index);
                String::new()
            }
        };
        let (notices, jobs) = (run.notices, run.jobs);
        let snapshot = changes.flush(txn.kv.as_mut()).await?;
        (txn.catalog, txn.changes) = (Some(snapshot), Some(changes));
        Ok((tag, notices, jobs))
    }

    /// One piece of work on rows, inside the open transaction; answers how many rows a statement of ours wrote.
    async fn job(&mut self, job: Job) -> Result<u64> {
        match job {
            Job::Backfill { table, index } => {
                let mut rest = self.whole_table(table).await?;
                while let Some(span) = rest {
                    rest = self.fill_chunk(table, index, span).await?;
                }
                self.change_catalog(Change::Publish { table, index }).await?;
            }
            Job::MustBeEmpty { query, error } => {
                if let Some(row) = self.internal(&query).await?.into_iter().next() {
                    let values = row.iter().map(|d| crate::types::to_text(d, DataType::TEXT, self.io())).collect::<Vec<_>>().join(", ");
                    return Err(job_error(*error, &values, &*self.catalog().await?));
                }
            }
            Job::Run(sql) => return self.internal_write(&sql).await,
            Job::Rewrite { sql, table, scratch } => {
                let outcome = self.internal_write(&sql).await;
                let catalog = self.catalog().await?;
                return outcome.map_err(|error| of_the_original(error, &catalog, table, scratch));
            }
            Job::Adopt { table, scratch } => _ = self.change_catalog(Change::Adopt { table, scratch }).await?,
            Job::ResetSequence { sequence, last } => {
                let catalog = self.catalog().await?;
                let Some(relation) = catalog.relations.get(&sequence) else { return Ok(0) };
                let RelationKind::Sequence(descriptor) = &relation.kind else { return Ok(0) };
                let state = SequenceState { last: last.unwrap_or(descriptor.start), called: false };
                self.env.sequences.discard();
                let txn = self.transaction();
                txn.kv.put(keys::sequence_key(sequence), state.encode()?, Expect::AsRead).await?;
            }
        }
        Ok(0)
    }

    /// All rows of a table, as what is left to index at the beginning.
    async fn whole_table(&mut self, table: Oid) -> Result<Option<Span>> {
        let catalog = self.catalog().await?;
        let relation = catalog.relations.get(&table).ok_or_else(|| SqlError::internal("the table vanished"))?;
        crate::exec::backfill::table_span(relation).map(Some)
    }

    /// Indexes one chunk of rows in the open transaction; answers what is left.
    async fn fill_chunk(&mut self, table: Oid, index: u32, span: Span) -> Result<Option<Span>> {
        let catalog = self.catalog().await?;
        let relation = catalog.relations.get(&table).cloned().ok_or_else(|| SqlError::internal("the table vanished"))?;
        self.transaction().kv.begin_statement();
        let memory = MemoryBudget::new(self.env.settings.work_mem_bytes());
        let spill = SpillArea::new(self.db.spill_dir.clone(), DEFAULT_SPILL_BYTES);
        let mut cx = self.exec_context(Arc::from([]), Commit::Later, memory, spill).await?;
        let checks = cx.expressions.row_checks(&relation)?;
        let predicate = checks.predicates.iter().find(|(id, _)| *id == index).map(|(_, e)| e);
        backfill_chunk(&relation, index, predicate, span, &mut cx).await
    }

    /// The second and third step of an online CREATE INDEX.
    async fn fill_online(&mut self, table: Oid, index: u32) -> Result<()> {
        let outcome = self.fill_in_chunks(table, index).await;
        if let Err(error) = outcome {
            self.abandon().await;
            self.in_own_transaction(&Step::Remove { table, index }).await?;
            return Err(error);
        }
        Ok(())
    }

    async fn fill_in_chunks(&mut self, table: Oid, index: u32) -> Result<()> {
        let mut rest = self.in_own_transaction(&Step::Begin { table }).await?;
        while let Some(span) = rest {
            rest = self.in_own_transaction(&Step::Chunk { table, index, span }).await?;
        }
        self.in_own_transaction(&Step::Publish { table, index }).await.map(|_| ())
    }

    async fn step(&mut self, step: &Step) -> Result<Option<Span>> {
        match step {
            Step::Begin { table } => self.whole_table(*table).await,
            Step::Chunk { table, index, span } => self.fill_chunk(*table, *index, span.clone()).await,
            Step::Publish { table, index } => self.change_catalog(Change::Publish { table: *table, index: *index }).await.map(|_| None),
            Step::Remove { table, index } => {
                self.change_catalog(Change::RemoveUnfilled { table: *table, index: *index }).await.map(|_| None)
            }
        }
    }

    /// Takes a step in a transaction of its own, again while it meets conflicts.
    async fn in_own_transaction(&mut self, step: &Step) -> Result<Option<Span>> {
        let mut tries = 0;
        loop {
            self.transaction();
            let outcome = match self.step(step).await {
                Ok(value) => self.commit_kv().await.map(|()| value),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(value) => {
                    self.finish_transaction(true);
                    return Ok(value);
                }
                Err(error) => {
                    tries += 1;
                    let again = matches!(error.kv(), Some(KvError::Retry { .. } | KvError::Deadlock { .. }));
                    let error = self.explain_commit_error(error);
                    self.abandon().await;
                    if !again || tries > MAX_DDL_RETRIES {
                        return Err(error);
                    }
                }
            }
        }
    }
}

/// What changes the catalog.
enum Change<'a> {
    /// A statement.
    Statement(&'a Ddl),
    /// The end of a rewrite.
    Adopt { table: Oid, scratch: Oid },
    /// An index has been filled.
    Publish { table: Oid, index: u32 },
    /// Filling an index has failed.
    RemoveUnfilled { table: Oid, index: u32 },
}

/// One transaction of an online CREATE INDEX.
enum Step {
    /// Find out what there is to index.
    Begin { table: Oid },
    /// Index some of it.
    Chunk { table: Oid, index: u32, span: Span },
    /// Open the index to readers.
    Publish { table: Oid, index: u32 },
    /// Remove the index.
    Remove { table: Oid, index: u32 },
}

/// A rewrite's error, told of the table the user knows instead of the copy.
fn of_the_original(error: SqlError, catalog: &CatalogSnapshot, table: Oid, scratch: Oid) -> SqlError {
    let Some(relation) = catalog.relations.get(&table) else { return error };
    if error.code != SqlState::UNIQUE_VIOLATION {
        return error;
    }
    let fields = error.more.unwrap_or_default();
    let copy = fields.constraint.unwrap_or_default();
    let index = copy.strip_suffix(&format!("_{scratch}")).unwrap_or(&copy).to_owned();
    let detail = fields.detail.unwrap_or_default().replace("already exists.", "is duplicated.");
    SqlError::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{index}\""))
        .detail(detail)
        .of_relation(catalog, relation)
        .constraint(index)
}

/// What a schema change is called where it is refused.
fn words(ddl: &Ddl) -> String {
    let Ddl::Ast { ast, query, .. } = ddl else {
        return match ddl {
            Ddl::AlterTable { .. } => "ALTER TABLE",
            Ddl::AlterSequence { .. } => "ALTER SEQUENCE",
            Ddl::CreateRole { .. } => "CREATE ROLE",
            Ddl::AlterRole { .. } | Ddl::RenameRole { .. } => "ALTER ROLE",
            Ddl::DropRole { .. } => "DROP ROLE",
            Ddl::AlterSchema { .. } => "ALTER SCHEMA",
            Ddl::AlterDatabase { .. } => "ALTER DATABASE",
            Ddl::Comment { .. } => "COMMENT",
            _ => "a schema change",
        }
        .into();
    };
    use sqlparser::ast::Statement as S;
    match &**ast {
        S::CreateTable(_) if query.is_some() => "CREATE TABLE AS".into(),
        S::CreateTable(_) => "CREATE TABLE".into(),
        S::CreateIndex(_) => "CREATE INDEX".into(),
        S::CreateView(_) => "CREATE VIEW".into(),
        S::CreateSequence { .. } => "CREATE SEQUENCE".into(),
        S::CreateSchema { .. } => "CREATE SCHEMA".into(),
        S::Drop { object_type, .. } => format!("DROP {object_type}"),
        S::Truncate(_) => "TRUNCATE TABLE".into(),
        _ => "a schema change".into(),
    }
}

fn job_error(error: JobError, values: &str, catalog: &CatalogSnapshot) -> SqlError {
    let mut out = SqlError::new(SqlState(error.code), error.message);
    if let Some(relation) = catalog.relations.get(&error.table) {
        out = out.of_relation(catalog, relation);
    }
    if let Some(detail) = error.detail {
        out = out.detail(detail.replace(VALUES, values));
    }
    let fields = out.more.get_or_insert_default();
    (fields.constraint, fields.column) = (error.constraint, error.column);
    out
}
