//! Set-returning functions: in FROM, and in a select list.
//!
//! A series is computed as far as rows are wanted and never held ([`crate::functions::lazy_rows`]); the rows of every other function come all at
//! once: in FROM they are kept where they may spill, in a select list under the query's memory limit.

use async_trait::async_trait;

use super::basic::mismatch;
use crate::error::{Result, SqlError};
use crate::exec::batch::{BATCH_ROWS, RowBatch};
use crate::exec::context::ExecContext;
use crate::exec::memory::Reservation;
use crate::exec::spill::RowStore;
use crate::exec::{Operator, sequence, subquery, walk};
use crate::functions::{FunctionBody, FunctionDef, LazyRows, ORDINALITY, lazy_rows};
use crate::plan::expr::Expr;
use crate::plan::node::{Node, Plan, ProjectSetExpr};
use crate::types::Datum;

/// Calls a function as a set: `emit` gets each row, in columns. A scalar function is a set of one.
async fn call_set(
    function: &'static FunctionDef,
    args: &[Datum],
    cx: &mut ExecContext<'_>,
    emit: &mut (dyn FnMut(Vec<Datum>) -> Result<()> + Send),
) -> Result<()> {
    let null = function.strict && args.iter().any(|a| matches!(a, Datum::Null));
    match function.body {
        FunctionBody::Set { rows, .. } => {
            if null {
                return Ok(());
            }
            let cancel = cx.cancel.clone();
            let mut count = 0u64;
            rows(&mut cx.eval().functions, args, &mut |row| {
                count += 1;
                if count.is_multiple_of(BATCH_ROWS as u64) {
                    cancel.check()?;
                }
                emit(row)
            })
        }
        FunctionBody::Scalar(body) => {
            let value = if null { Datum::Null } else { body(&mut cx.eval().functions, args)? };
            emit(vec![value])
        }
        FunctionBody::Executor => {
            let value = if null { Datum::Null } else { sequence::call(function, args, cx).await? };
            emit(vec![value])
        }
        _ => Err(SqlError::unsupported(format!("calling {}() in FROM", function.name))),
    }
}

/// The rows of a series; `None` for any other function.
fn lazy(function: &'static FunctionDef, args: &[Datum], cx: &ExecContext<'_>) -> Result<Option<LazyRows>> {
    if !matches!(function.body, FunctionBody::Set { .. }) || args.iter().any(|a| matches!(a, Datum::Null)) {
        return Ok(None);
    }
    lazy_rows(function, args, &cx.session.timezone)
}

/// Makes a row of `width` columns: a single record value is taken apart when more are wanted.
fn spread(mut row: Vec<Datum>, width: usize) -> Vec<Datum> {
    if row.len() == 1
        && width > 1
        && let Datum::Record(fields) = &row[0]
    {
        row = fields.to_vec();
    }
    row.resize(width, Datum::Null);
    row
}

/// A function in FROM.
pub struct FunctionScan {
    rows: Option<FunctionRows>,
    suspends: bool,
}

enum FunctionRows {
    Stored(Box<RowStore>),
    /// A series, and how many of its rows were given.
    Lazy(LazyRows, i64),
}

impl FunctionScan {
    /// Not called yet.
    pub fn new(args: &[Expr]) -> Self {
        FunctionScan { rows: None, suspends: walk::any_suspends(args) }
    }

    async fn call(suspends: bool, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<FunctionRows> {
        let Node::FunctionScan { function, args, ordinality } = &plan.node else { return Err(mismatch()) };
        let exprs: Vec<&Expr> = args.iter().collect();
        let unit = RowBatch { width: 0, len: 1, datums: Vec::new() };
        let values = subquery::project(&exprs, suspends, &unit, cx).await?.datums;
        if let Some(series) = lazy(function.0, &values, cx)? {
            return Ok(FunctionRows::Lazy(series, 0));
        }
        let width = plan.columns.len();
        let outputs = width - usize::from(*ordinality);
        let mut store = RowStore::new(width, &cx.memory, &cx.spill);
        let mut batch = RowBatch::new(width);
        let mut count = 0;
        call_set(function.0, &values, cx, &mut |row| {
            count += 1;
            let row = spread(row, outputs);
            batch.push_owned(row.into_iter().chain(ordinality.then_some(Datum::Int8(count))));
            if batch.is_full() {
                store.push(std::mem::replace(&mut batch, RowBatch::new(width)))?;
            }
            Ok(())
        })
        .await?;
        store.push(batch)?;
        store.rewind()?;
        Ok(FunctionRows::Stored(Box::new(store)))
    }
}

#[async_trait]
impl Operator for FunctionScan {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::FunctionScan { ordinality, .. } = &plan.node else { return Err(mismatch()) };
        if self.rows.is_none() {
            self.rows = Some(Self::call(self.suspends, plan, cx).await?);
        }
        match &mut self.rows {
            None => Ok(None),
            Some(FunctionRows::Stored(rows)) => rows.take_next(),
            Some(FunctionRows::Lazy(series, given)) => {
                cx.cancel.check()?;
                let mut batch = RowBatch::new(plan.columns.len());
                while !batch.is_full()
                    && let Some(value) = series.next()
                {
                    *given += 1;
                    batch.push_owned([value?].into_iter().chain(ordinality.then_some(Datum::Int8(*given))));
                }
                Ok((!batch.is_empty()).then_some(batch))
            }
        }
    }
}

/// Set-returning calls in a select list, and `ROWS FROM`: as many rows as the longest set, the others padded with NULL.
pub struct ProjectSet {
    input: Box<dyn Operator>,
    current: Option<(RowBatch, usize)>,
    /// The present input row, taken apart.
    expanding: Option<Expanding>,
    suspends: bool,
}

/// One input row's columns, as far as their sets have been read.
struct Expanding {
    columns: Vec<Column>,
    /// Without a set the row stands for itself, once.
    once: bool,
    given: i64,
    /// What the collected sets take of the query's memory.
    _memory: Reservation,
}

enum Column {
    Scalar(Datum),
    Collected(std::vec::IntoIter<Datum>),
    Lazy(LazyRows),
    /// The number of the row (`WITH ORDINALITY` over several functions).
    Ordinality,
}

impl Expanding {
    /// The next output row; `None` when every set is at its end.
    fn next(&mut self) -> Result<Option<Vec<Datum>>> {
        let mut any = std::mem::take(&mut self.once);
        self.given += 1;
        let mut row = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            let value = match column {
                Column::Scalar(value) => Some(value.clone()),
                Column::Ordinality => Some(Datum::Int8(self.given)),
                Column::Collected(values) => values.next().inspect(|_| any = true),
                Column::Lazy(series) => series.next().transpose()?.inspect(|_| any = true),
            };
            row.push(value.unwrap_or(Datum::Null));
        }
        Ok(any.then_some(row))
    }
}

impl ProjectSet {
    /// Over an input.
    pub fn new(input: Box<dyn Operator>, exprs: &[ProjectSetExpr]) -> Self {
        let suspends = exprs.iter().any(|e| match e {
            ProjectSetExpr::Scalar(e) => walk::suspends(e),
            ProjectSetExpr::Set { args, .. } => walk::any_suspends(args),
        });
        ProjectSet { input, current: None, expanding: None, suspends }
    }

    async fn expand(suspends: bool, exprs: &[ProjectSetExpr], row: &[Datum], cx: &mut ExecContext<'_>) -> Result<Expanding> {
        let input = RowBatch { width: row.len(), len: 1, datums: row.to_vec() };
        let mut columns: Vec<Column> = Vec::with_capacity(exprs.len());
        let mut memory = cx.memory.reservation();
        for expr in exprs {
            match expr {
                ProjectSetExpr::Scalar(expr) => {
                    let value = subquery::project(&[expr], suspends, &input, cx).await?.datums.pop();
                    columns.push(Column::Scalar(value.unwrap_or(Datum::Null)));
                }
                ProjectSetExpr::Set { function, .. } if std::ptr::eq(function.0, &ORDINALITY) => columns.push(Column::Ordinality),
                ProjectSetExpr::Set { function, args, .. } => {
                    let args: Vec<&Expr> = args.iter().collect();
                    let args = subquery::project(&args, suspends, &input, cx).await?.datums;
                    if let Some(series) = lazy(function.0, &args, cx)? {
                        columns.push(Column::Lazy(series));
                        continue;
                    }
                    let mut values = Vec::new();
                    call_set(function.0, &args, cx, &mut |mut row| {
                        let value = if row.len() == 1 { row.swap_remove(0) } else { Datum::Record(row.into()) };
                        memory.require(value.size(), "A set-returning function")?;
                        values.push(value);
                        Ok(())
                    })
                    .await?;
                    columns.push(Column::Collected(values.into_iter()));
                }
            }
        }
        let once = columns.iter().all(|c| matches!(c, Column::Scalar(_)));
        Ok(Expanding { columns, once, given: 0, _memory: memory })
    }
}

#[async_trait]
impl Operator for ProjectSet {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::ProjectSet { input, exprs } = &plan.node else { return Err(mismatch()) };
        cx.cancel.check()?;
        let mut out = RowBatch::new(exprs.len());
        while !out.is_full() {
            if let Some(expanding) = &mut self.expanding {
                match expanding.next()? {
                    Some(row) => {
                        out.push_owned(row);
                        continue;
                    }
                    None => self.expanding = None,
                }
            }
            let (batch, at) = match self.current.take() {
                Some((batch, at)) if at < batch.len => (batch, at),
                _ => match self.input.next(input, cx).await? {
                    Some(batch) if batch.is_empty() => continue,
                    Some(batch) => (batch, 0),
                    None => break,
                },
            };
            self.expanding = Some(Self::expand(self.suspends, exprs, batch.row(at), cx).await?);
            self.current = Some((batch, at + 1));
        }
        Ok((!out.is_empty()).then_some(out))
    }
}
