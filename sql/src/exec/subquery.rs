//! The asynchronous side of expression evaluation: runs subqueries and executor calls that `eval` stopped for.
//!
//! A subquery that refers to nothing around it runs once per execution (PostgreSQL's InitPlan). A correlated one runs per outer row, unless the
//! outer columns that it reads are those of its last run.

use std::sync::Arc;

use super::batch::RowBatch;
use super::context::{ExecContext, node_id};
use super::eval::{EvalCx, Pending, Slot, SubRows, eval};
use super::{open_node, sequence, value, walk};
use crate::error::Result;
use crate::plan::expr::Expr;
use crate::plan::node::{Node, Plan};
use crate::types::Datum;

/// What is remembered of a subquery.
pub struct SubqueryState {
    /// The outer columns that it reads: (depth, ordinal), 1 being the row it is evaluated over.
    reads: Vec<(usize, usize)>,
    /// Whether its rows may be used again for equal outer columns.
    reusable: bool,
    /// The outer columns of the last run, and its rows.
    last: Option<(Vec<Datum>, Arc<SubRows>)>,
}

impl SubqueryState {
    fn new(plan: &Plan, correlated: bool) -> Self {
        let mut reads = Vec::new();
        if correlated {
            walk::outer_references(plan, 0, &mut reads);
        }
        // A work table changes under the subquery; volatile calls and executor calls are to be made every time.
        let reusable = !walk::any_node(plan, &mut |p| match &p.node {
            Node::WorkTable { .. } => true,
            _ if correlated => {
                let mut volatile = false;
                walk::for_each_expr(p, &mut |e| volatile |= walk::any(e, &mut is_volatile));
                volatile
            }
            _ => false,
        });
        SubqueryState { reads, reusable, last: None }
    }
}

fn is_volatile(expr: &Expr) -> bool {
    match expr {
        Expr::ExecutorCall { .. } => true,
        Expr::Call { function, .. } => function.0.volatility == crate::functions::Volatility::Volatile,
        _ => false,
    }
}

/// The value of an expression that may contain subqueries and executor calls.
pub async fn eval_suspending(expr: &Expr, row: &[Datum], cx: &mut ExecContext<'_>) -> Result<Datum> {
    let mut slots = Vec::new();
    loop {
        let pending = {
            let mut ecx: EvalCx<'_> = cx.eval();
            ecx.slots = std::mem::take(&mut slots);
            let result = eval(expr, row, &mut ecx);
            slots = std::mem::take(&mut ecx.slots);
            match ecx.pending.take() {
                None => return result,
                Some(pending) => pending,
            }
        };
        slots.push(resolve(pending, row, cx).await?);
    }
}

async fn resolve(pending: Pending, row: &[Datum], cx: &mut ExecContext<'_>) -> Result<(usize, Slot)> {
    match pending {
        Pending::Call { slot, function, args } => Ok((slot, Slot::Value(sequence::call(function, &args, cx).await?))),
        Pending::Subquery { slot, plan, correlated, rows_max, hashed } => {
            let rows = subquery_rows(&plan, correlated, rows_max, hashed, row, cx).await?;
            Ok((slot, Slot::Rows(rows)))
        }
    }
}

async fn subquery_rows(
    plan: &Arc<Plan>,
    correlated: bool,
    rows_max: usize,
    hashed: bool,
    row: &[Datum],
    cx: &mut ExecContext<'_>,
) -> Result<Arc<SubRows>> {
    let id = node_id(plan);
    let state = cx.state.subqueries.entry(id).or_insert_with(|| SubqueryState::new(plan, correlated));
    let reads: Vec<Datum> = state
        .reads
        .iter()
        .map(|(depth, ordinal)| match depth {
            1 => row.get(*ordinal).cloned().unwrap_or(Datum::Null),
            // The nearest row of `outer` is one further away once `row` is put before it.
            _ => cx.state.outer.len().checked_sub(depth - 1).and_then(|i| cx.state.outer[i].get(*ordinal)).cloned().unwrap_or(Datum::Null),
        })
        .collect();
    if state.reusable
        && let Some((last, rows)) = &state.last
        && value::identical_rows(last, &reads)
    {
        return Ok(rows.clone());
    }
    let rows = Arc::new(run(plan, rows_max, hashed, row, cx).await?);
    if let Some(state) = cx.state.subqueries.get_mut(&id) {
        state.last = Some((reads, rows.clone()));
    }
    Ok(rows)
}

async fn run(plan: &Plan, rows_max: usize, hashed: bool, row: &[Datum], cx: &mut ExecContext<'_>) -> Result<SubRows> {
    cx.state.outer.push(row.to_vec().into());
    let result = collect(plan, rows_max, cx).await;
    cx.state.outer.pop();
    let mut rows = result?;
    if hashed && rows.len > 8 {
        let mut set = value::DatumSet::default();
        let mut has_null = false;
        for datum in rows.datums.iter().step_by(rows.width.max(1)) {
            if matches!(datum, Datum::Null) {
                has_null = true;
            } else {
                set.insert(datum.clone());
            }
        }
        rows.set = Some((set, has_null));
    }
    Ok(rows)
}

/// Runs a plan and keeps at most `rows_max` rows.
async fn collect(plan: &Plan, rows_max: usize, cx: &mut ExecContext<'_>) -> Result<SubRows> {
    let mut operator = open_node(plan, cx.state.stats.is_some());
    let mut rows = SubRows { width: plan.columns.len(), ..SubRows::default() };
    let mut memory = cx.memory.reservation();
    while rows.len < rows_max {
        let Some(mut batch) = operator.next(plan, cx).await? else { break };
        batch.truncate(rows_max - rows.len);
        memory.require(batch.datums.iter().map(value::size).sum(), "A subquery")?;
        rows.len += batch.len;
        rows.datums.append(&mut batch.datums);
    }
    Ok(rows)
}

/// Evaluates `exprs` over every row of a batch. `suspending` says whether any of them may stop for a subquery.
pub async fn project(exprs: &[&Expr], suspending: bool, input: &RowBatch, cx: &mut ExecContext<'_>) -> Result<RowBatch> {
    let mut out = RowBatch::with_capacity(exprs.len(), input.len);
    if suspending {
        for row in input.rows() {
            for expr in exprs {
                let value = eval_suspending(expr, row, cx).await?;
                out.datums.push(value);
            }
            out.len += 1;
        }
        return Ok(out);
    }
    let mut ecx = cx.eval();
    for row in input.rows() {
        for expr in exprs {
            out.datums.push(eval(expr, row, &mut ecx)?);
        }
        out.len += 1;
    }
    Ok(out)
}

/// Keeps the rows of a batch for which `predicate` is true.
pub async fn filter(predicate: &Expr, suspending: bool, batch: &mut RowBatch, cx: &mut ExecContext<'_>) -> Result<()> {
    let mut keep = Vec::with_capacity(batch.len);
    if suspending {
        for row in batch.rows() {
            keep.push(matches!(eval_suspending(predicate, row, cx).await?, Datum::Bool(true)));
        }
    } else {
        let mut ecx = cx.eval();
        for row in batch.rows() {
            keep.push(super::eval::eval_bool(predicate, row, &mut ecx)?);
        }
    }
    if keep.iter().any(|k| !k) {
        batch.retain(&keep);
    }
    Ok(())
}
