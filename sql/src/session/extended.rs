//! The extended protocol: Parse, Bind, Describe, Execute, Close, Sync.

use std::sync::Arc;

use bytes::Bytes;

use super::api::{Executed, Field, Format, ResultSink, StatementDescription};
use super::plan_cache::Planned;
use super::run::{Commit, Ran, Running, indeterminate, tag};
use super::{Session, show};
use crate::catalog::system::extras::PreparedStatement;
use crate::error::{Result, SqlError, SqlState};
use crate::front::{self, Parsed};
use crate::types::{DataType, Datum, NO_TYPMOD};

/// Prepared statements and portals a session may hold.
const MAX_NAMED: usize = 100_000;

/// What an execution is refused with whose result has other columns than the client was told.
pub const RESULT_TYPE_CHANGED: &str = "cached plan must not change result type";

/// A prepared statement.
pub struct Statement {
    /// `None`: the empty query.
    pub parsed: Option<Parsed>,
    /// Types that the client declared.
    pub declared: Vec<Option<DataType>>,
    /// The plan of the last use, kept beside the shared cache so that a hit costs one comparison.
    planned: parking_lot::Mutex<Option<Arc<Planned>>>,
}

/// A portal: a statement bound to its parameters, perhaps part-way through its rows. Cursors are portals too.
pub struct Portal {
    /// The statement; `None`: the empty query.
    pub(super) parsed: Option<Arc<Statement>>,
    pub(super) planned: Option<Arc<Planned>>,
    pub(super) params: Arc<[Datum]>,
    pub(super) fields: Option<Arc<[Field]>>,
    pub(super) state: PortalState,
    /// What a cursor remembers beyond a portal.
    pub(super) cursor: Option<super::cursor::CursorState>,
}

/// Where a portal stands.
pub(super) enum PortalState {
    /// Not begun.
    Ready,
    /// Part-way.
    Running(Box<Running>),
    /// At its end.
    Done,
}

impl Portal {
    /// Whether it lives on after the transaction: WITH HOLD.
    pub(super) fn held(&self) -> bool {
        self.cursor.as_ref().is_some_and(super::cursor::CursorState::held)
    }
}

fn same_columns(a: Option<&[Field]>, b: Option<&[Field]>) -> bool {
    let shape = |fields: Option<&[Field]>| fields.map(|f| f.iter().map(|x| (x.name.clone(), x.ty)).collect::<Vec<_>>());
    shape(a) == shape(b)
}

impl Session {
    /// Parse.
    pub async fn parse(&mut self, name: &str, sql: &str, types: &[u32]) -> Result<()> {
        self.pipeline_begins();
        if !name.is_empty() && self.statements.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
        }
        let statement = self.prepare_statement(sql, types).await?;
        self.keep_statement(name, statement, sql, false)
    }

    pub(super) fn keep_statement(&mut self, name: &str, statement: Statement, text: &str, from_sql: bool) -> Result<()> {
        if self.statements.len() >= MAX_NAMED {
            return Err(SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, format!("more than {MAX_NAMED} prepared statements")));
        }
        if !name.is_empty()
            && let Some(entry) = self.db.sessions.lock().get_mut(&self.pid)
        {
            let parameters = statement.planned.lock().as_ref().map(|p| p.parameters.clone()).unwrap_or_default();
            let prepared = Some(self.env.statement_micros);
            let row = PreparedStatement { name: name.to_owned(), statement: text.to_owned(), prepared, parameters, from_sql };
            entry.prepared.insert(name.to_owned(), row);
        }
        self.statements.insert(name.to_owned(), Arc::new(statement));
        Ok(())
    }

    async fn prepare_statement(&mut self, sql: &str, types: &[u32]) -> Result<Statement> {
        let parsed = front::parse_one(sql)?;
        let declared = types.iter().map(|t| Some(DataType(*t)).filter(|t| t.0 != 0 && *t != DataType::UNKNOWN)).collect();
        self.statement_from(parsed, declared).await
    }

    /// A statement, planned once to find errors and parameter types early.
    pub(super) async fn statement_from(&mut self, parsed: Option<Parsed>, declared: Vec<Option<DataType>>) -> Result<Statement> {
        let statement = Statement { parsed, declared, planned: parking_lot::Mutex::new(None) };
        if let Some(parsed) = &statement.parsed {
            let ends_block = matches!(parsed.statement, front::Statement::Transaction(_));
            if !ends_block {
                self.check_usable()?;
            }
            if plannable(parsed) {
                self.planned(&statement).await?;
            }
        }
        Ok(statement)
    }

    /// The statement's plan for the present catalog and settings.
    pub(super) async fn planned(&mut self, statement: &Statement) -> Result<Arc<Planned>> {
        let Some(parsed) = &statement.parsed else { return Err(SqlError::internal("the empty query has no plan")) };
        let version = self.catalog().await?.version;
        let last = statement.planned.lock().clone();
        if let Some(planned) = &last
            && planned.version == version
            && planned.prepared.cacheable
            && planned.environment == self.env.plan_environment
        {
            return Ok(planned.clone());
        }
        let planned = self.plan(parsed, &statement.declared, true).await?;
        // The client was told the columns when it prepared the statement.
        if let Some(last) = last
            && !same_columns(last.fields.as_deref(), planned.fields.as_deref())
        {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, RESULT_TYPE_CHANGED));
        }
        *statement.planned.lock() = Some(planned.clone());
        Ok(planned)
    }

    pub(super) fn forget_statement(&mut self, name: &str) {
        self.statements.remove(name);
        if let Some(entry) = self.db.sessions.lock().get_mut(&self.pid) {
            entry.prepared.remove(name);
        }
    }

    pub(super) fn statement_named(&self, name: &str) -> Result<Arc<Statement>> {
        self.statements.get(name).cloned().ok_or_else(|| {
            let shown = if name.is_empty() {
                "unnamed prepared statement does not exist".into()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            SqlError::new(SqlState::INVALID_SQL_STATEMENT_NAME, shown)
        })
    }

    /// Describe of a statement.
    pub async fn describe_statement(&mut self, name: &str) -> Result<StatementDescription> {
        self.pipeline_begins();
        let statement = self.statement_named(name)?;
        let Some(parsed) = &statement.parsed else { return Ok(StatementDescription { parameters: vec![], fields: None }) };
        if let front::Statement::Execute { name, .. } = &parsed.statement {
            self.check_usable()?;
            // One that does not exist (yet) has no columns to tell of: the error is EXECUTE's own.
            let fields = match self.statement_named(name) {
                Ok(target) => match &target.parsed {
                    Some(inner) if plannable(inner) => self.plan(inner, &target.declared, true).await?.fields.clone(),
                    _ => None,
                },
                Err(_) => None,
            };
            return Ok(StatementDescription { parameters: vec![], fields });
        }
        if !plannable(parsed) {
            use front::Transaction::{Commit, Rollback, RollbackTo};
            if !matches!(parsed.statement, front::Statement::Transaction(Commit { .. } | Rollback { .. } | RollbackTo(_))) {
                self.check_usable()?;
            }
            let parameters =
                statement.declared.iter().enumerate().map(|(n, t)| t.ok_or_else(|| indeterminate(n))).collect::<Result<_>>()?;
            return Ok(StatementDescription { parameters, fields: self.fields_without_plan(parsed).await? });
        }
        self.check_usable()?;
        let planned = self.planned(&statement).await?;
        Ok(StatementDescription { parameters: planned.parameters.clone(), fields: planned.fields.clone() })
    }

    /// The result columns of a statement that does not run from its own plan.
    async fn fields_without_plan(&mut self, parsed: &Parsed) -> Result<Option<Arc<[Field]>>> {
        match &parsed.statement {
            front::Statement::Query { .. } => {
                self.check_usable()?;
                Ok(self.plan(parsed, &[], false).await?.fields.clone())
            }
            front::Statement::Execute { name, .. } => {
                self.check_usable()?;
                let statement = self.statement_named(name)?;
                match &statement.parsed {
                    Some(inner) if plannable(inner) => Ok(self.planned(&statement).await?.fields.clone()),
                    _ => Ok(None),
                }
            }
            _ => Ok(show::fields(self, parsed)),
        }
    }

    /// Bind.
    pub async fn bind(
        &mut self,
        portal: &str,
        statement: &str,
        formats: &[i16],
        values: &[Option<Bytes>],
        result_formats: &[i16],
    ) -> Result<()> {
        self.pipeline_begins();
        let name = statement;
        let statement = self.statement_named(name)?;
        if !portal.is_empty() && self.portals.contains_key(portal) {
            return Err(SqlError::new(SqlState::DUPLICATE_CURSOR, format!("cursor \"{portal}\" already exists")));
        }
        if self.portals.len() >= MAX_NAMED {
            return Err(SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, format!("more than {MAX_NAMED} portals")));
        }
        let mut bound = Portal {
            parsed: Some(statement.clone()),
            planned: None,
            params: Arc::from([]),
            fields: None,
            state: PortalState::Ready,
            cursor: None,
        };
        let expected = match &statement.parsed {
            Some(parsed) if plannable(parsed) => {
                self.check_usable()?;
                let planned = self.planned(&statement).await?;
                bound.fields = planned.fields.clone();
                bound.planned = Some(planned.clone());
                planned.parameters.clone()
            }
            Some(parsed) => {
                bound.fields = self.fields_without_plan(parsed).await?;
                vec![]
            }
            None => vec![],
        };
        if expected.len() != values.len() {
            let message =
                format!("bind message supplies {} parameters, but prepared statement \"{name}\" requires {}", values.len(), expected.len());
            return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, message));
        }
        bound.params = self.parameters(&expected, formats, values)?;
        if let Some(fields) = &bound.fields {
            bound.fields = Some(with_formats(fields, result_formats)?);
        }
        self.portals.insert(portal.to_owned(), bound);
        Ok(())
    }

    fn parameters(&self, types: &[DataType], formats: &[i16], values: &[Option<Bytes>]) -> Result<Arc<[Datum]>> {
        let format = |n: usize| match formats {
            [] => 0,
            [one] => *one,
            many => many.get(n).copied().unwrap_or(0),
        };
        let decode = |(n, (ty, value)): (usize, (&DataType, &Option<Bytes>))| {
            let Some(bytes) = value else { return Ok(Datum::Null) };
            match format(n) {
                0 => {
                    let text = std::str::from_utf8(bytes)
                        .map_err(|_| SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\""))?;
                    if text.contains('\0') {
                        let message = "invalid byte sequence for encoding \"UTF8\": 0x00";
                        return Err(SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message));
                    }
                    crate::types::parse_text(*ty, NO_TYPMOD, text, self.io())
                }
                1 => crate::types::parse_binary(*ty, NO_TYPMOD, bytes),
                other => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unsupported format code: {other}"))),
            }
        };
        types.iter().zip(values).enumerate().map(decode).collect::<Result<Vec<_>>>().map(Arc::from)
    }

    /// Describe of a portal.
    pub fn describe_portal(&self, name: &str) -> Result<Option<Arc<[Field]>>> {
        Ok(self.portal_named(name)?.fields.clone())
    }

    fn portal_named(&self, name: &str) -> Result<&Portal> {
        self.portals.get(name).ok_or_else(|| SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist")))
    }

    /// Execute. `max_rows` 0: all. `last`: Sync follows directly, so the statement is the whole implicit transaction.
    pub async fn execute(&mut self, name: &str, max_rows: u32, last: bool, sink: &mut dyn ResultSink) -> Result<Executed> {
        let portal = self.portal_named(name)?;
        let Some(statement) = portal.parsed.clone() else {
            self.begin_activity("");
            let outcome = self.execute_cursor(name, max_rows, sink).await;
            self.end_activity(outcome.as_ref().err());
            return outcome;
        };
        let Some(parsed) = &statement.parsed else {
            sink.empty().await?;
            return Ok(Executed::Complete);
        };
        self.begin_activity(parsed.text());
        let outcome = self.execute_portal(name, &statement, parsed, max_rows, last, sink).await.map_err(|e| self.explain_commit_error(e));
        self.end_activity(outcome.as_ref().err());
        outcome
    }

    async fn execute_portal(
        &mut self,
        name: &str,
        statement: &Arc<Statement>,
        parsed: &Parsed,
        max_rows: u32,
        last: bool,
        sink: &mut dyn ResultSink,
    ) -> Result<Executed> {
        if !plannable(parsed) {
            self.run_statement(parsed, last, true, sink).await?;
            return Ok(Executed::Complete);
        }
        self.check_usable()?;
        // The portal is taken out while it runs: a statement cannot reach its own portal.
        let Some(mut portal) = self.portals.remove(name) else { return Err(SqlError::internal("the portal vanished")) };
        // DDL since Bind: the plan speaks of objects that may be gone.
        let current = self.planned(statement).await?;
        let planned = match (&portal.planned, &portal.state) {
            (Some(planned), PortalState::Ready) if planned.version != current.version => current,
            (Some(planned), _) => planned.clone(),
            (None, _) => current,
        };
        let command = planned.prepared.command;
        let implicit = !self.txn.as_ref().is_some_and(|t| t.explicit || t.answered > 0);
        let commit = if last && implicit && max_rows == 0 { Commit::WithStatement } else { Commit::Later };
        let fields = portal.fields.clone();
        let ran = match std::mem::replace(&mut portal.state, PortalState::Done) {
            PortalState::Ready => {
                self.run_planned(&planned, portal.params.clone(), fields.as_ref(), u64::from(max_rows), commit, sink).await?
            }
            PortalState::Running(execution) => {
                if let Some(fields) = &fields {
                    sink.begin(fields).await?;
                }
                self.go_on(execution, portal.params.clone(), u64::from(max_rows), sink).await?
            }
            PortalState::Done => {
                if command != crate::plan::Command::Select {
                    let message = format!("portal \"{name}\" cannot be run");
                    return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
                }
                Ran::Complete(0)
            }
        };
        match ran {
            Ran::Complete(rows) => {
                sink.complete(&tag(command, rows)).await?;
                if self.txn.is_some() {
                    self.portals.insert(name.to_owned(), portal);
                }
                Ok(Executed::Complete)
            }
            Ran::Suspended(execution) => {
                portal.state = PortalState::Running(execution);
                self.portals.insert(name.to_owned(), portal);
                Ok(Executed::Suspended)
            }
        }
    }

    /// More rows of a suspended execution.
    async fn go_on(&mut self, mut running: Box<Running>, params: Arc<[Datum]>, max_rows: u64, sink: &mut dyn ResultSink) -> Result<Ran> {
        let (rows, end) = self.pull(&mut running, params, max_rows, Commit::Later, sink).await?;
        Ok(if end { Ran::Complete(rows) } else { Ran::Suspended(running) })
    }

    /// Close of a statement; no error if there is none.
    pub fn close_statement(&mut self, name: &str) {
        self.forget_statement(name);
    }

    /// Close of a portal; no error if there is none.
    pub fn close_portal(&mut self, name: &str) {
        self.portals.remove(name);
    }

    /// The first message after a Sync: a cancel request that came while the session was idle has nothing to cancel.
    fn pipeline_begins(&mut self) {
        if !std::mem::replace(&mut self.in_pipeline, true) {
            self.cancel.reset();
            self.cancel.deadline = None;
        }
    }

    /// Sync: the end of an implicit transaction.
    pub async fn sync(&mut self, _sink: &mut dyn ResultSink) -> Result<()> {
        self.in_pipeline = false;
        if self.txn.as_ref().is_some_and(|t| !t.explicit) {
            self.cancel.reset();
            self.cancel.deadline = None;
            return self.commit().await;
        }
        Ok(())
    }

    /// An extended-protocol message failed: the block fails, or the implicit transaction is gone.
    pub async fn extended_failed(&mut self) {
        self.statement_failed().await;
    }
}

/// Whether the statement runs from a plan.
pub(super) fn plannable(parsed: &Parsed) -> bool {
    matches!(parsed.statement, front::Statement::Query { as_of: None, .. } | front::Statement::Dml(_))
}

fn with_formats(fields: &Arc<[Field]>, formats: &[i16]) -> Result<Arc<[Field]>> {
    if formats.len() > 1 && formats.len() != fields.len() {
        let message = format!("bind message has {} result formats but query has {} columns", formats.len(), fields.len());
        return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, message));
    }
    if formats.iter().all(|f| *f == 0) {
        return Ok(fields.clone());
    }
    fields
        .iter()
        .enumerate()
        .map(|(n, field)| {
            let code = if formats.len() == 1 { formats[0] } else { formats[n] };
            let format = match code {
                0 => Format::Text,
                1 => Format::Binary,
                other => return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unsupported format code: {other}"))),
            };
            Ok(Field { format, ..field.clone() })
        })
        .collect::<Result<Vec<_>>>()
        .map(Arc::from)
}
