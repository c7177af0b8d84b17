//! From plan to rows.
//!
//! ```text
//!   context        what an execution is lent and what it remembers; hooks to system tables, session functions, the binder
//!   batch cancel memory spill value      rows in bulk, stopping, limits, rows on disk, datums as hash keys and bytes
//!   eval subquery  expressions: the pure evaluator and its asynchronous driver
//!   program        scan programs: filter, projection and partial aggregates as bytes, run at the leaseholder
//!   scan           reading an index: key ranges, points, pages, primary rows
//!   relational     everything between scans and the client: sort, limit, aggregate, window, joins, set operations, CTEs
//!   dml            INSERT, UPDATE, DELETE: constraints, indexes, ON CONFLICT
//!   fk             foreign keys: checks, actions, deferral
//!   sequence       nextval and friends
//!   backfill copy  index building and validation; bulk loading
//! ```
//! An [`Operator`] is pure state. The plan node that it runs is handed to each `next` together with the context, so a cached plan is never
//! copied, and a portal can be suspended between two calls with nothing borrowed.
//!
//! A statement that writes runs to its end on the first call (PostgreSQL does the same for RETURNING and data-modifying CTEs): its rows are
//! kept, foreign keys are checked, and only then is the first row handed out.

pub mod backfill;
pub mod batch;
pub mod cancel;
pub mod context;
pub mod copy;
pub mod dml;
pub mod eval;
pub mod fk;
pub mod memory;
pub mod program;
pub mod relational;
pub mod scan;
pub mod sequence;
pub mod spill;
pub mod subquery;
pub mod value;
pub mod walk;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;

pub use batch::RowBatch;
pub use cancel::CancelToken;
pub use context::{ExecContext, ExecState, ExecutorFunctions, NodeStats, SystemTables, TableExpressions, node_id};
pub use memory::MemoryBudget;
pub use spill::SpillArea;

use crate::error::Result;
use crate::plan::node::{Node, Plan};
use spill::RowStore;

/// The state of one plan node in one execution.
#[async_trait]
pub trait Operator: Send {
    /// The next rows of `plan`, which is always the node that this operator was opened for. `None`: no more, ever. Batches may be empty.
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>>;
}

/// One run of one plan.
pub struct Execution {
    plan: Arc<Plan>,
    root: Box<dyn Operator>,
    state: ExecState,
    writes: bool,
    /// Of a statement that writes: its rows, once it has run.
    finished: Option<RowStore>,
    done: bool,
}

/// Begins to run a plan. Nothing happens until the first `next`.
pub fn open(plan: &Arc<Plan>) -> Execution {
    open_with(plan, false)
}

/// Begins to run a plan, keeping figures of every node for `EXPLAIN ANALYZE` if `analyze`.
pub fn open_with(plan: &Arc<Plan>, analyze: bool) -> Execution {
    let state = ExecState { stats: analyze.then(Default::default), ..ExecState::default() };
    Execution { plan: plan.clone(), root: open_node(plan, analyze), state, writes: walk::modifies(plan), finished: None, done: false }
}

impl Execution {
    /// The next rows; `None` at the end. Empty batches are not handed out.
    pub async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        if self.done {
            return Ok(None);
        }
        std::mem::swap(&mut cx.state, &mut self.state);
        let result = self.step(cx).await;
        std::mem::swap(&mut cx.state, &mut self.state);
        self.done = !matches!(result, Ok(Some(_)));
        result
    }

    async fn step(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        if self.writes && self.finished.is_none() {
            let mut store = RowStore::new(self.plan.columns.len(), &cx.memory, &cx.spill);
            while let Some(batch) = self.root.next(&self.plan, cx).await? {
                if !batch.is_empty() {
                    store.push(batch)?;
                }
            }
            fk::finish_statement(cx).await?;
            store.rewind()?;
            self.finished = Some(store);
        }
        loop {
            let next = match &mut self.finished {
                Some(store) => store.take_next()?,
                None => {
                    cx.cancel.check()?;
                    self.root.next(&self.plan, cx).await?
                }
            };
            match next {
                Some(batch) if batch.is_empty() => {}
                other => return Ok(other),
            }
        }
    }

    /// Rows that the statement proper inserted, updated or deleted, for the command tag.
    pub fn affected(&self) -> u64 {
        self.state.affected
    }
    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
    /// Figures of a node of the plan (by [`node_id`]), when the execution was opened to keep them.
    pub fn stats(&self, node: &Plan) -> Option<NodeStats> {
        self.state.stats.as_ref().and_then(|s| s.get(&node_id(node))).copied()
    }
}

/// The state for a node and its inputs.
pub fn open_node(plan: &Plan, analyze: bool) -> Box<dyn Operator> {
    use relational::*;
    let open = |plan: &Plan| open_node(plan, analyze);
    let operator: Box<dyn Operator> = match &plan.node {
        Node::OneRow => Box::new(basic::OneRow::default()),
        Node::Empty => Box::new(basic::Empty),
        Node::Values { rows } => Box::new(basic::Values::new(rows)),
        Node::Scan(scan) => Box::new(scan::ScanOperator::new(scan)),
        Node::SystemScan { filter, .. } => Box::new(basic::SystemScan::new(filter.as_ref())),
        Node::FunctionScan { args, .. } => Box::new(sets::FunctionScan::new(args)),
        Node::Filter { input, predicate } => Box::new(basic::Filter::new(open(input), predicate)),
        Node::Project { input, exprs } => Box::new(basic::Project::new(open(input), exprs)),
        Node::ProjectSet { input, exprs } => Box::new(sets::ProjectSet::new(open(input), exprs)),
        Node::Sort { input, .. } => Box::new(sort::Sort::new(open(input))),
        Node::Limit { input, .. } => Box::new(limit::Limit::new(open(input))),
        Node::Distinct { input } => Box::new(distinct::Distinct::new(open(input))),
        Node::DistinctOn { input, .. } => Box::new(distinct::DistinctOn::new(open(input))),
        Node::Aggregate(aggregate) => aggregate::open(open(&aggregate.input), aggregate),
        Node::Window { input, .. } => Box::new(window::Window::new(open(input))),
        Node::HashJoin { left, right, .. } => Box::new(hash_join::HashJoin::new(open(left), open(right))),
        Node::MergeJoin { left, right, .. } => Box::new(merge_join::MergeJoin::new(open(left), open(right))),
        Node::LookupJoin { left, lookup, .. } => Box::new(lookup_join::LookupJoin::new(open(left), lookup)),
        Node::NestedLoop { left, .. } => Box::new(nested_loop::NestedLoop::new(open(left), analyze)),
        Node::Append { inputs } => Box::new(basic::Append::new(inputs.iter().map(open).collect())),
        Node::SetOp { left, right, .. } => Box::new(set_op::SetOp::new(open(left), open(right))),
        Node::With { body, .. } => Box::new(cte::With::new(open(body))),
        Node::CteScan { .. } => Box::new(cte::CteScan::default()),
        Node::RecursiveUnion { base, .. } => Box::new(cte::RecursiveUnion::new(open(base), analyze)),
        Node::WorkTable { .. } => Box::new(cte::WorkTable::default()),
        Node::LockRows { input, .. } => Box::new(lock_rows::LockRows::new(open(input))),
        Node::Insert(insert) => Box::new(dml::insert::InsertOperator::new(open(&insert.source), insert)),
        Node::Update(update) => Box::new(dml::update::UpdateOperator::new(open(&update.source), update)),
        Node::Delete(delete) => Box::new(dml::delete::DeleteOperator::new(open(&delete.source), delete)),
    };
    if analyze { Box::new(basic::Instrumented::new(operator)) } else { operator }
}
