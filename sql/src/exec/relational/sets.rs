//! Set-returning functions: in FROM, and in a select list.

use async_trait::async_trait;

use super::basic::mismatch;
use crate::error::{Result, SqlError};
use crate::exec::batch::{BATCH_ROWS, RowBatch};
use crate::exec::context::ExecContext;
use crate::exec::spill::RowStore;
use crate::exec::{Operator, sequence, subquery, walk};
use crate::functions::{FunctionBody, FunctionDef};
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
    rows: Option<RowStore>,
    suspends: bool,
}

impl FunctionScan {
    /// Not called yet.
    pub fn new(args: &[Expr]) -> Self {
        FunctionScan { rows: None, suspends: walk::any_suspends(args) }
    }
}

#[async_trait]
impl Operator for FunctionScan {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::FunctionScan { function, args, ordinality } = &plan.node else { return Err(mismatch()) };
        if self.rows.is_none() {
            let exprs: Vec<&Expr> = args.iter().collect();
            let unit = RowBatch { width: 0, len: 1, datums: Vec::new() };
            let values = subquery::project(&exprs, self.suspends, &unit, cx).await?.datums;
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
            self.rows = Some(store);
        }
        match &mut self.rows {
            Some(rows) => rows.take_next(),
            None => Ok(None),
        }
    }
}

/// Set-returning calls in a select list: as many rows as the longest set, the others padded with NULL.
pub struct ProjectSet {
    input: Box<dyn Operator>,
    current: Option<(RowBatch, usize)>,
    /// Rows of the present input row not handed out yet.
    expanded: std::vec::IntoIter<Vec<Datum>>,
    suspends: bool,
}

impl ProjectSet {
    /// Over an input.
    pub fn new(input: Box<dyn Operator>, exprs: &[ProjectSetExpr]) -> Self {
        let suspends = exprs.iter().any(|e| match e {
            ProjectSetExpr::Scalar(e) => walk::suspends(e),
            ProjectSetExpr::Set { args, .. } => walk::any_suspends(args),
        });
        ProjectSet { input, current: None, expanded: Vec::new().into_iter(), suspends }
    }

    async fn expand(suspends: bool, exprs: &[ProjectSetExpr], row: &[Datum], cx: &mut ExecContext<'_>) -> Result<Vec<Vec<Datum>>> {
        let input = RowBatch { width: row.len(), len: 1, datums: row.to_vec() };
        let mut columns: Vec<(bool, Vec<Datum>)> = Vec::with_capacity(exprs.len());
        let mut memory = cx.memory.reservation();
        for expr in exprs {
            match expr {
                ProjectSetExpr::Scalar(expr) => {
                    columns.push((false, subquery::project(&[expr], suspends, &input, cx).await?.datums));
                }
                ProjectSetExpr::Set { function, args, .. } => {
                    let args: Vec<&Expr> = args.iter().collect();
                    let args = subquery::project(&args, suspends, &input, cx).await?.datums;
                    let mut values = Vec::new();
                    call_set(function.0, &args, cx, &mut |mut row| {
                        let value = if row.len() == 1 { row.swap_remove(0) } else { Datum::Record(row.into()) };
                        memory.require(value.size(), "A set-returning function")?;
                        values.push(value);
                        Ok(())
                    })
                    .await?;
                    columns.push((true, values));
                }
            }
        }
        let rows = columns.iter().filter(|(set, _)| *set).map(|(_, values)| values.len()).max().unwrap_or(1);
        Ok((0..rows)
            .map(|at| {
                let cell = |(set, values): &(bool, Vec<Datum>)| values.get(if *set { at } else { 0 }).cloned().unwrap_or(Datum::Null);
                columns.iter().map(cell).collect()
            })
            .collect())
    }
}

#[async_trait]
impl Operator for ProjectSet {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::ProjectSet { input, exprs } = &plan.node else { return Err(mismatch()) };
        let mut out = RowBatch::new(exprs.len());
        while !out.is_full() {
            if let Some(row) = self.expanded.next() {
                out.push_owned(row);
                continue;
            }
            let (batch, at) = match self.current.take() {
                Some((batch, at)) if at < batch.len => (batch, at),
                _ => match self.input.next(input, cx).await? {
                    Some(batch) if batch.is_empty() => continue,
                    Some(batch) => (batch, 0),
                    None => break,
                },
            };
            self.expanded = Self::expand(self.suspends, exprs, batch.row(at), cx).await?.into_iter();
            self.current = Some((batch, at + 1));
        }
        Ok((!out.is_empty()).then_some(out))
    }
}
