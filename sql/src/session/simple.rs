//! Query strings, and the way of every kind of statement.

use std::sync::Arc;

use super::Session;
use super::api::{Format, ResultSink};
use super::extended::{Statement, plannable};
use super::run::{Commit, Ran, tag};
use crate::error::{Result, SqlError, SqlState};
use crate::front::{self, Parsed, Transaction};
use crate::types::{Datum, NO_TYPMOD};

impl Session {
    /// A Query message: any number of statements, in one implicit transaction unless they say otherwise.
    pub async fn simple_query(&mut self, sql: &str, sink: &mut dyn ResultSink) -> Result<()> {
        // PostgreSQL: a simple query drops the unnamed statement and portal.
        self.statements.remove("");
        self.portals.remove("");
        self.begin_activity(sql);
        let outcome = self.query_string(sql, sink).await.map_err(|e| self.explain_commit_error(e));
        if outcome.is_err() {
            self.statement_failed().await;
        }
        self.end_activity(outcome.as_ref().err());
        outcome
    }

    async fn query_string(&mut self, sql: &str, sink: &mut dyn ResultSink) -> Result<()> {
        let statements = front::parse(sql)?;
        if statements.is_empty() {
            return sink.empty().await;
        }
        let count = statements.len();
        for parsed in &statements {
            self.run_statement(parsed, count == 1, false, sink).await?;
        }
        if self.txn.as_ref().is_some_and(|t| !t.explicit) {
            self.commit().await?;
        }
        Ok(())
    }

    /// Runs one statement to its end and answers for it. `alone`: nothing else belongs to its implicit transaction. `described`: the fields
    /// have been sent already (extended protocol).
    pub(super) async fn run_statement(&mut self, parsed: &Parsed, alone: bool, described: bool, sink: &mut dyn ResultSink) -> Result<()> {
        let notices = parsed.notices.iter().map(|n| ("NOTICE", n.clone())).collect();
        self.send_notices(notices, sink).await?;
        if let front::Statement::Transaction(control) = &parsed.statement {
            return self.transaction_statement(control, sink).await;
        }
        self.check_usable()?;
        let implicit = !self.txn.as_ref().is_some_and(|t| t.explicit);
        let commit = if alone && implicit { Commit::WithStatement } else { Commit::Later };
        match &parsed.statement {
            front::Statement::Query { as_of: Some(expr), .. } => self.query_in_the_past(parsed, expr, sink).await,
            front::Statement::Query { .. } | front::Statement::Dml(_) => self.plan_and_run(parsed, commit, sink).await,
            front::Statement::Ddl(ddl) => self.ddl(ddl, alone, sink).await,
            front::Statement::Session(setting) => self.setting_statement(setting, sink).await,
            front::Statement::Prepare { name, types, statement } => {
                self.prepare_sql(name, types, statement, parsed.source.text().trim(), sink).await
            }
            front::Statement::Execute { name, args } => self.execute_sql(name, args, commit, sink).await,
            front::Statement::Deallocate(name) => self.deallocate(name.as_deref(), sink).await,
            front::Statement::Declare(declare) => self.declare(declare, parsed.source.text().trim(), sink).await,
            front::Statement::Fetch(fetch) => self.fetch(fetch, sink).await,
            front::Statement::Close(name) => self.close_cursor(name.as_deref(), sink).await,
            front::Statement::Copy(copy) => self.copy(copy, commit, sink).await,
            front::Statement::Explain(options, inner) => self.explain(options, inner, sink).await,
            front::Statement::LockTable { tables, .. } => self.lock_tables(tables).await,
            front::Statement::Vacuum { analyze, tables } => self.vacuum(*analyze, tables, alone, sink).await,
            front::Statement::Analyze { tables } => self.analyze(tables, sink).await,
            front::Statement::ShowRanges { table, index } => self.show_ranges(table.as_ref(), index.as_deref(), sink).await,
            front::Statement::Checkpoint => sink.complete("CHECKPOINT").await,
            front::Statement::Unlisten => sink.complete("UNLISTEN").await,
            front::Statement::Transaction(_) => Err(SqlError::internal("transaction control was handled above")),
        }?;
        let _ = described;
        // SET and SHOW look at no data: the transaction may still change its modes, or begin again.
        let looked = !matches!(parsed.statement, front::Statement::Session(_) | front::Statement::Unlisten | front::Statement::Checkpoint);
        if let Some(txn) = &mut self.txn
            && looked
        {
            txn.answered += 1;
        }
        Ok(())
    }

    async fn plan_and_run(&mut self, parsed: &Parsed, commit: Commit, sink: &mut dyn ResultSink) -> Result<()> {
        let planned = self.plan(parsed, &[], false).await?;
        if !planned.parameters.is_empty() {
            return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
        }
        let notices = planned.prepared.notices.iter().map(|n| ("NOTICE", n.clone())).collect();
        self.send_notices(notices, sink).await?;
        let fields = planned.fields.clone();
        match self.run_planned(&planned, Arc::from([]), fields.as_ref(), 0, commit, sink).await? {
            Ran::Complete(rows) => sink.complete(&tag(planned.prepared.command, rows)).await,
            Ran::Suspended(_) => Err(SqlError::internal("a statement without a row limit was suspended")),
        }
    }

    /// `SELECT … AS OF SYSTEM TIME`: a read-only transaction of its own at that time.
    async fn query_in_the_past(&mut self, parsed: &Parsed, expr: &sqlparser::ast::Expr, sink: &mut dyn ResultSink) -> Result<()> {
        if self.txn.as_ref().is_some_and(|t| t.answered > 0) {
            let message = "AS OF SYSTEM TIME must be set before any query of a transaction";
            return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        let at = self.system_time(expr).await?;
        let options = super::transaction::BeginOptions { as_of: Some(at), ..Default::default() };
        self.replace_transaction(&options).await;
        self.plan_and_run(parsed, Commit::Later, sink).await
    }

    async fn transaction_statement(&mut self, control: &Transaction, sink: &mut dyn ResultSink) -> Result<()> {
        if !matches!(control, Transaction::Commit { .. } | Transaction::Rollback { .. } | Transaction::RollbackTo(_)) {
            self.check_usable()?;
        }
        let tag = match control {
            Transaction::Begin(modes) => {
                self.begin(modes, sink).await?;
                if modes.start { "START TRANSACTION" } else { "BEGIN" }
            }
            Transaction::Commit { chain } => self.commit_block(*chain, sink).await?,
            Transaction::Rollback { chain } => {
                self.rollback_block(*chain, sink).await?;
                "ROLLBACK"
            }
            Transaction::Savepoint(name) => {
                self.savepoint(name)?;
                "SAVEPOINT"
            }
            Transaction::Release(name) => {
                self.release(name)?;
                "RELEASE"
            }
            Transaction::RollbackTo(name) => {
                self.rollback_to(name).await?;
                "ROLLBACK"
            }
            Transaction::Set(modes) => {
                if !self.txn.as_ref().is_some_and(|t| t.explicit) {
                    let warning =
                        SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "SET TRANSACTION can only be used in transaction blocks");
                    self.send_notices(vec![("WARNING", warning)], sink).await?;
                }
                self.set_transaction(modes).await?;
                "SET"
            }
            Transaction::SetDefaults(modes) => {
                self.set_transaction_defaults(modes)?;
                "SET"
            }
            Transaction::SetConstraints { names, deferred } => {
                if !self.txn.as_ref().is_some_and(|t| t.explicit) {
                    let warning =
                        SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "SET CONSTRAINTS can only be used in transaction blocks");
                    self.send_notices(vec![("WARNING", warning)], sink).await?;
                }
                self.set_constraints(names, *deferred).await?;
                "SET CONSTRAINTS"
            }
        };
        sink.complete(tag).await
    }

    async fn prepare_sql(
        &mut self,
        name: &str,
        types: &[sqlparser::ast::DataType],
        inner: &Parsed,
        text: &str,
        sink: &mut dyn ResultSink,
    ) -> Result<()> {
        if self.statements.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
        }
        if !plannable(inner) {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "only queries and data modification can be prepared"));
        }
        let declared = types.iter().map(|ty| self.type_of(ty).map(|(ty, _)| Some(ty))).collect::<Result<Vec<_>>>()?;
        let statement = self.statement_from(Some(inner.clone()), declared).await?;
        self.keep_statement(name, statement, text, true)?;
        sink.complete("PREPARE").await
    }

    async fn execute_sql(&mut self, name: &str, args: &[sqlparser::ast::Expr], commit: Commit, sink: &mut dyn ResultSink) -> Result<()> {
        let statement: Arc<Statement> = self.statement_named(name)?;
        let Some(parsed) = &statement.parsed else { return sink.complete("EXECUTE").await };
        if !plannable(parsed) {
            return Err(SqlError::unsupported("EXECUTE of this kind of statement"));
        }
        let planned = self.planned(&statement).await?;
        if planned.parameters.len() != args.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let detail = format!("Expected {} parameters but got {}.", planned.parameters.len(), args.len());
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).detail(detail));
        }
        let mut values: Vec<Datum> = vec![];
        for (expr, ty) in args.iter().zip(&planned.parameters) {
            let ty_name = crate::types::format_type(*ty, NO_TYPMOD);
            let rows = self.internal(&format!("SELECT ({expr})::{ty_name}")).await?;
            values.push(rows.into_iter().next().and_then(|r| r.into_iter().next()).unwrap_or(Datum::Null));
        }
        let fields = planned.fields.clone().map(|f| f.iter().map(|x| super::api::Field { format: Format::Text, ..x.clone() }).collect());
        match self.run_planned(&planned, Arc::from(values), fields.as_ref(), 0, commit, sink).await? {
            Ran::Complete(rows) => sink.complete(&tag(planned.prepared.command, rows)).await,
            Ran::Suspended(_) => Err(SqlError::internal("a statement without a row limit was suspended")),
        }
    }

    async fn deallocate(&mut self, name: Option<&str>, sink: &mut dyn ResultSink) -> Result<()> {
        match name {
            None => {
                self.statements.clear();
                if let Some(entry) = self.db.sessions.lock().get_mut(&self.pid) {
                    entry.prepared.clear();
                }
                sink.complete("DEALLOCATE ALL").await
            }
            Some(name) => {
                self.statement_named(name)?;
                self.forget_statement(name);
                sink.complete("DEALLOCATE").await
            }
        }
    }
}
