//! The plain ones: one row, no row, literal rows, system tables, filter, project, append; and the wrapper that keeps figures.

use async_trait::async_trait;

use crate::error::{Result, SqlError};
use crate::exec::batch::{BATCH_ROWS, RowBatch};
use crate::exec::context::{ExecContext, node_id};
use crate::exec::{Operator, subquery, walk};
use crate::plan::expr::Expr;
use crate::plan::node::{Node, Plan};
use crate::types::Datum;

/// A plan node that its operator was not opened for: a bug.
pub fn mismatch() -> SqlError {
    SqlError::internal("an operator was given another plan node than it was opened for")
}

/// One row without columns.
#[derive(Default)]
pub struct OneRow {
    done: bool,
}

#[async_trait]
impl Operator for OneRow {
    async fn next(&mut self, _: &Plan, _: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        Ok(Some(RowBatch { width: 0, len: 1, datums: Vec::new() }))
    }
}

/// No row.
pub struct Empty;

#[async_trait]
impl Operator for Empty {
    async fn next(&mut self, _: &Plan, _: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        Ok(None)
    }
}

/// Literal rows.
pub struct Values {
    position: usize,
    suspends: bool,
}

impl Values {
    /// At the first row.
    pub fn new(rows: &[Vec<Expr>]) -> Self {
        Values { position: 0, suspends: walk::any_suspends(rows.iter().flatten()) }
    }
}

#[async_trait]
impl Operator for Values {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Values { rows } = &plan.node else { return Err(mismatch()) };
        let rows = &rows[self.position..];
        if rows.is_empty() {
            return Ok(None);
        }
        let rows = &rows[..rows.len().min(BATCH_ROWS)];
        self.position += rows.len();
        let mut out = RowBatch::with_capacity(plan.columns.len(), rows.len());
        let unit = RowBatch { width: 0, len: 1, datums: Vec::new() };
        for row in rows {
            let exprs: Vec<&Expr> = row.iter().collect();
            let mut computed = subquery::project(&exprs, self.suspends, &unit, cx).await?;
            out.datums.append(&mut computed.datums);
            out.len += 1;
        }
        Ok(Some(out))
    }
}

/// A table of `pg_catalog` or `information_schema`.
pub struct SystemScan {
    rows: Option<std::vec::IntoIter<Vec<Datum>>>,
    suspends: bool,
}

impl SystemScan {
    /// Nothing computed yet.
    pub fn new(filter: Option<&Expr>) -> Self {
        SystemScan { rows: None, suspends: filter.is_some_and(walk::suspends) }
    }
}

#[async_trait]
impl Operator for SystemScan {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::SystemScan { table, columns, filter } = &plan.node else { return Err(mismatch()) };
        if self.rows.is_none() {
            let (system, catalog, session) = (cx.system.clone(), cx.catalog.clone(), cx.session.clone());
            let rows = cx.cancel.run(system.rows(table, &catalog, &session)).await??;
            self.rows = Some(rows.into_iter());
        }
        let mut batch = RowBatch::new(columns.len());
        for row in self.rows.iter_mut().flatten().take(BATCH_ROWS) {
            batch.push_owned(columns.iter().map(|c| row.get(*c).cloned().unwrap_or(Datum::Null)));
        }
        if batch.is_empty() {
            return Ok(None);
        }
        if let Some(filter) = filter {
            subquery::filter(filter, self.suspends, &mut batch, cx).await?;
        }
        Ok(Some(batch))
    }
}

/// Rows that pass.
pub struct Filter {
    input: Box<dyn Operator>,
    suspends: bool,
}

impl Filter {
    /// Over an input.
    pub fn new(input: Box<dyn Operator>, predicate: &Expr) -> Self {
        Filter { input, suspends: walk::suspends(predicate) }
    }
}

#[async_trait]
impl Operator for Filter {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Filter { input, predicate } = &plan.node else { return Err(mismatch()) };
        loop {
            let Some(mut batch) = self.input.next(input, cx).await? else { return Ok(None) };
            subquery::filter(predicate, self.suspends, &mut batch, cx).await?;
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
            cx.cancel.check()?;
        }
    }
}

/// Computed columns.
pub struct Project {
    input: Box<dyn Operator>,
    suspends: bool,
    /// Each output is the input column of the same number.
    identity: bool,
}

impl Project {
    /// Over an input.
    pub fn new(input: Box<dyn Operator>, exprs: &[Expr]) -> Self {
        let identity = exprs.iter().enumerate().all(|(at, e)| matches!(e, Expr::Column { ordinal, .. } if *ordinal == at));
        Project { input, suspends: walk::any_suspends(exprs), identity }
    }
}

#[async_trait]
impl Operator for Project {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Project { input, exprs } = &plan.node else { return Err(mismatch()) };
        match self.input.next(input, cx).await? {
            None => Ok(None),
            Some(batch) if self.identity && batch.width == exprs.len() => Ok(Some(batch)),
            Some(batch) => {
                let exprs: Vec<&Expr> = exprs.iter().collect();
                subquery::project(&exprs, self.suspends, &batch, cx).await.map(Some)
            }
        }
    }
}

/// All rows of all inputs.
pub struct Append {
    inputs: Vec<Box<dyn Operator>>,
    position: usize,
}

impl Append {
    /// At the first input.
    pub fn new(inputs: Vec<Box<dyn Operator>>) -> Self {
        Append { inputs, position: 0 }
    }
}

#[async_trait]
impl Operator for Append {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Append { inputs } = &plan.node else { return Err(mismatch()) };
        while let Some(operator) = self.inputs.get_mut(self.position) {
            if let Some(batch) = operator.next(&inputs[self.position], cx).await? {
                return Ok(Some(batch));
            }
            self.position += 1;
        }
        Ok(None)
    }
}

/// Keeps the figures of a node for `EXPLAIN ANALYZE`.
pub struct Instrumented {
    inner: Box<dyn Operator>,
    started: bool,
}

impl Instrumented {
    /// Around an operator.
    pub fn new(inner: Box<dyn Operator>) -> Self {
        Instrumented { inner, started: false }
    }
}

#[async_trait]
impl Operator for Instrumented {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let before = cx.txn.stats();
        let start = tokio::time::Instant::now();
        let result = self.inner.next(plan, cx).await;
        let after = cx.txn.stats();
        let first = !std::mem::replace(&mut self.started, true);
        if let Some(stats) = &mut cx.state.stats {
            let id = node_id(plan);
            let stats = stats.entry(cx.state.aliases.get(&id).copied().unwrap_or(id)).or_default();
            stats.loops += u64::from(first);
            stats.micros += start.elapsed().as_micros() as u64;
            stats.local_batches += after.local_batches - before.local_batches;
            stats.remote_batches += after.remote_batches - before.remote_batches;
            stats.ranges = after.ranges;
            if let Ok(Some(batch)) = &result {
                stats.rows += batch.len as u64;
            }
        }
        result
    }
}
