//! Physical plan nodes: what the executor runs, and all it runs.
//!
//! Every node yields rows of `columns.len()` datums. Conventions:
//! * an expression in a node sees the node's input row; a join's residual sees `left ++ right`;
//! * semi and anti joins yield left rows only; outer joins pad with NULLs;
//! * estimates are for EXPLAIN and for choosing, never for correctness.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use meridian_txn::api::{LockStrength, LockWait};

use super::expr::{Expr, FunctionRef};
use crate::catalog::descriptor::{Oid, RelationDescriptor};
use crate::error::Result;
use crate::types::DataType;

/// One output column.
#[derive(Clone, Debug)]
pub struct OutputColumn {
    /// Name as the client sees it.
    pub name: String,
    /// Type.
    pub ty: DataType,
    /// Modifier, −1 for none.
    pub typmod: i32,
    /// The table column it is, for RowDescription: (table OID, attnum).
    pub origin: Option<(Oid, i16)>,
}

/// A plan node.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it does.
    pub node: Node,
    /// What it yields.
    pub columns: Vec<OutputColumn>,
    /// Estimated rows.
    pub rows: f64,
    /// Estimated total cost, in PostgreSQL-like units.
    pub cost: f64,
}

impl Plan {
    /// How deep operators are nested, this one included. (Subqueries in expressions start anew.)
    pub fn depth(&self) -> usize {
        let one = |input: &Plan| stacker::maybe_grow(128 << 10, 1 << 20, || input.depth());
        let below = match &self.node {
            Node::OneRow
            | Node::Empty
            | Node::Values { .. }
            | Node::Scan(_)
            | Node::SystemScan { .. }
            | Node::FunctionScan { .. }
            | Node::CteScan { .. }
            | Node::WorkTable { .. } => 0,
            Node::Filter { input, .. }
            | Node::Project { input, .. }
            | Node::ProjectSet { input, .. }
            | Node::Sort { input, .. }
            | Node::Limit { input, .. }
            | Node::Distinct { input }
            | Node::DistinctOn { input, .. }
            | Node::Window { input, .. }
            | Node::LockRows { input, .. } => one(input),
            Node::Aggregate(aggregate) => one(&aggregate.input),
            Node::HashJoin { left, right, .. } | Node::MergeJoin { left, right, .. } | Node::SetOp { left, right, .. } => {
                one(left).max(one(right))
            }
            Node::NestedLoop { left, right, .. } => one(left).max(one(right)),
            Node::LookupJoin { left, .. } => one(left),
            Node::Append { inputs } => inputs.iter().map(one).max().unwrap_or(0),
            Node::With { body, .. } => one(body),
            Node::RecursiveUnion { base, .. } => one(base),
            Node::Insert(insert) => one(&insert.source),
            Node::Update(update) => one(&update.source),
            Node::Delete(delete) => one(&delete.source),
        };
        below + 1
    }
}

/// The node kinds.
#[derive(Clone, Debug)]
pub enum Node {
    /// One row without columns.
    OneRow,
    /// No row.
    Empty,
    /// Literal rows.
    Values { rows: Vec<Vec<Expr>> },
    /// Rows of a stored table through one of its indexes.
    Scan(Box<Scan>),
    /// A pg_catalog / information_schema table, by name.
    SystemScan { table: &'static str, columns: Vec<usize>, filter: Option<Expr> },
    /// A set-returning function in FROM; `columns` are its outputs, plus ordinality as int8 if asked.
    FunctionScan { function: FunctionRef, args: Vec<Expr>, ordinality: bool },
    /// Rows that pass.
    Filter { input: Box<Plan>, predicate: Expr },
    /// Computed columns.
    Project { input: Box<Plan>, exprs: Vec<Expr> },
    /// Computed columns of which some are set-returning calls (`SELECT unnest(a)`); shorter sets are padded with NULL.
    ProjectSet { input: Box<Plan>, exprs: Vec<ProjectSetExpr> },
    /// Ordered rows. Spills.
    Sort { input: Box<Plan>, keys: Vec<SortKey>, limit: Option<Expr> },
    /// LIMIT / OFFSET. `with_ties` keeps peers of the last row by these keys of the (sorted) input.
    Limit { input: Box<Plan>, limit: Option<Expr>, offset: Option<Expr>, with_ties: Option<Vec<SortKey>> },
    /// DISTINCT over all columns, by hashing (spills).
    Distinct { input: Box<Plan> },
    /// DISTINCT ON: the first row of each run of equal keys; the input is sorted by them.
    DistinctOn { input: Box<Plan>, keys: Vec<Expr> },
    /// Grouping. Output: group expressions (of `groups`), then aggregates, then, with grouping sets, one int4 bit mask per `GROUPING()` use.
    Aggregate(Box<Aggregate>),
    /// Window functions: output is input ++ one column per call. The input is sorted by partition and order keys.
    Window { input: Box<Plan>, partition: Vec<Expr>, order: Vec<SortKey>, calls: Vec<WindowCall> },
    /// Hash join: builds on the right, probes with the left. Spills.
    HashJoin { left: Box<Plan>, right: Box<Plan>, kind: JoinKind, left_keys: Vec<Expr>, right_keys: Vec<Expr>, residual: Option<Expr> },
    /// Merge join of inputs sorted by their keys.
    MergeJoin {
        left: Box<Plan>,
        right: Box<Plan>,
        kind: JoinKind,
        left_keys: Vec<SortKey>,
        right_keys: Vec<SortKey>,
        residual: Option<Expr>,
    },
    /// For every batch of left rows, fetches the matching entries of an index in one KV round. Kinds: Inner, Left, Semi, Anti. The bounds
    /// of `lookup` are over the left row (`Column`); its filter is over its own row; `residual` over `left ++ lookup.columns`.
    LookupJoin { left: Box<Plan>, kind: JoinKind, lookup: Box<Scan>, residual: Option<Expr> },
    /// For each left row, the whole right side. `lateral`: the right side refers to the left row as `Outer { depth: 1 }`; otherwise
    /// it is materialised once.
    NestedLoop { left: Box<Plan>, right: Box<Plan>, kind: JoinKind, predicate: Option<Expr>, lateral: bool },
    /// All rows of all inputs, in order (UNION ALL).
    Append { inputs: Vec<Plan> },
    /// UNION / INTERSECT / EXCEPT with SQL's duplicate rules.
    SetOp { left: Box<Plan>, right: Box<Plan>, kind: SetOpKind, all: bool },
    /// Evaluates CTEs once each, lazily, then the body. Data-modifying CTEs run to the end whether read or not.
    With { ctes: Vec<Cte>, body: Box<Plan> },
    /// Reads a CTE of an enclosing `With`, by its id.
    CteScan { cte: usize },
    /// Recursive CTE: `base`, then `step` over the previous round's rows (`WorkTable` with this id) until no more come. `distinct`: UNION.
    RecursiveUnion { id: usize, base: Box<Plan>, step: Box<Plan>, distinct: bool },
    /// The previous round's rows.
    WorkTable { id: usize },
    /// `SELECT … FOR UPDATE/SHARE`: locks rows of the input by their primary keys, re-reads and re-checks them. Used when locking could not be
    /// pushed into the scan.
    LockRows { input: Box<Plan>, targets: Vec<LockTarget> },
    /// INSERT.
    Insert(Box<Insert>),
    /// UPDATE.
    Update(Box<Update>),
    /// DELETE.
    Delete(Box<Delete>),
}

/// What the executor works out from a node alone, once, and keeps there for every later run of a cached plan. What it is, the plan does not know.
#[derive(Default)]
pub struct Derived(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Derived {
    /// It, worked out now if it has not been.
    pub fn get<T: Any + Send + Sync>(&self, work_out: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        if let Some(Ok(known)) = self.0.get().map(|known| known.clone().downcast()) {
            return Ok(known);
        }
        let new = Arc::new(work_out()?);
        let _ = self.0.set(new.clone());
        Ok(new)
    }
}

/// A copy may be changed, so it works it out anew.
impl Clone for Derived {
    fn clone(&self) -> Self {
        Derived::default()
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Derived")
    }
}

/// A read of one index of one table.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The table.
    pub table: Arc<RelationDescriptor>,
    /// Index id within the table.
    pub index: u32,
    /// The stretches of the index to read; several are read in the given order. Empty means: the whole index.
    pub ranges: Vec<IndexRange>,
    /// Descending key order.
    pub reverse: bool,
    /// Column ids to yield, in output order. `tableoid` and friends are projected above.
    pub columns: Vec<u32>,
    /// If the index does not hold every needed column: fetch the row from the primary index.
    pub fetch_primary: bool,
    /// Over the output row (`columns`); evaluated at the leaseholder when it is pushable.
    pub filter: Option<Expr>,
    /// Stop after this many rows that pass (a constant, parameter, or outer reference).
    pub limit: Option<Expr>,
    /// Partial aggregation at the leaseholder: the scan yields `groups ++ partial states`, for an Aggregate in `Final` phase above.
    pub aggregate: Option<PartialAggregate>,
    /// Lock what passes.
    pub lock: Option<RowLock>,
    /// The executor's.
    pub derived: Derived,
}

/// Bounds on the key columns of an index: `equal` for the leading ones, then a range on the next.
#[derive(Clone, Debug, Default)]
pub struct IndexRange {
    /// Values of the leading key columns, coerced to the column types. NULL matches nothing unless `null_safe`.
    pub equal: Vec<Expr>,
    /// Lower bound in SQL order (not key order) of the next column, and whether it is included.
    pub lower: Option<(Expr, bool)>,
    /// Upper bound in SQL order of the next column, and whether it is included.
    pub upper: Option<(Expr, bool)>,
    /// Positions in `equal` that mean `IS NULL`.
    pub null_equal: Vec<usize>,
    /// The last of `equal` is an array: one stretch per distinct non-NULL element (`IN`, `= ANY`).
    pub any: bool,
}

/// Grouping pushed into a scan.
#[derive(Clone, Debug)]
pub struct PartialAggregate {
    /// Group expressions over the scan's columns.
    pub groups: Vec<Expr>,
    /// Aggregates with partial forms.
    pub calls: Vec<AggregateCall>,
}

/// A row lock.
#[derive(Clone, Copy, Debug)]
pub struct RowLock {
    /// How strong.
    pub strength: LockStrength,
    /// What to do if held; `Block(None)` is replaced by the session's `lock_timeout`.
    pub wait: LockWait,
}

/// A table whose rows `LockRows` locks.
#[derive(Clone, Debug)]
pub struct LockTarget {
    /// The table.
    pub table: Arc<RelationDescriptor>,
    /// Ordinals of its primary key columns in the input row. All NULL (outer join): nothing to lock.
    pub key: Vec<usize>,
    /// Ordinals of this table's columns in the input row, with column ids: refreshed from the locked version.
    pub columns: Vec<(usize, u32)>,
    /// Re-checked over the refreshed row.
    pub recheck: Option<Expr>,
    /// The lock.
    pub lock: RowLock,
}

/// One column of a `ProjectSet`.
#[derive(Clone, Debug)]
pub enum ProjectSetExpr {
    /// An ordinary expression.
    Scalar(Expr),
    /// A set-returning call.
    Set { function: FunctionRef, args: Vec<Expr>, ty: DataType },
}

/// A sort key.
#[derive(Clone, Debug)]
pub struct SortKey {
    /// What to sort by.
    pub expr: Expr,
    /// DESC.
    pub descending: bool,
    /// NULLS FIRST.
    pub nulls_first: bool,
}

/// Join kinds. Right joins are turned around by the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Matching pairs.
    Inner,
    /// And unmatched left rows.
    Left,
    /// And unmatched rows of both sides.
    Full,
    /// Left rows with a match.
    Semi,
    /// Left rows without a match.
    Anti,
}

/// Set operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOpKind {
    /// UNION
    Union,
    /// INTERSECT
    Intersect,
    /// EXCEPT
    Except,
}

/// Grouping.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// What to group.
    pub input: Plan,
    /// Group expressions.
    pub groups: Vec<Expr>,
    /// With GROUPING SETS / ROLLUP / CUBE: the sets, as ordinals into `groups`; empty means one set of all.
    pub sets: Vec<Vec<usize>>,
    /// Aggregates.
    pub calls: Vec<AggregateCall>,
    /// `GROUPING(…)` uses, as ordinals into `groups`.
    pub grouping: Vec<Vec<usize>>,
    /// Whether the input arrives sorted by the groups (stream) or not (hash, spills).
    pub sorted: bool,
    /// Whole, or the final phase over partial states (input: `groups ++ partial state columns of each call in turn`).
    pub phase: AggregatePhase,
}

/// Where in a two-phase aggregation a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregatePhase {
    /// Rows in, results out.
    Complete,
    /// Partial states in, results out.
    Final,
}

/// One aggregate call.
#[derive(Clone, Debug)]
pub struct AggregateCall {
    /// The aggregate.
    pub function: FunctionRef,
    /// Arguments over the input row; empty for `count(*)`.
    pub args: Vec<Expr>,
    /// DISTINCT.
    pub distinct: bool,
    /// ORDER BY inside the call (and WITHIN GROUP).
    pub order: Vec<SortKey>,
    /// FILTER.
    pub filter: Option<Expr>,
    /// Result type.
    pub ty: DataType,
}

/// One window function call.
#[derive(Clone, Debug)]
pub struct WindowCall {
    /// A window function or an aggregate.
    pub function: FunctionRef,
    /// Arguments over the input row.
    pub args: Vec<Expr>,
    /// FILTER (aggregates).
    pub filter: Option<Expr>,
    /// The frame.
    pub frame: Frame,
    /// Result type.
    pub ty: DataType,
}

/// A window frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// ROWS, RANGE or GROUPS.
    pub unit: FrameUnit,
    /// Where it begins.
    pub start: FrameBound,
    /// Where it ends.
    pub end: FrameBound,
}

/// Frame units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameUnit {
    /// Rows.
    Rows,
    /// Values.
    Range,
    /// Peer groups.
    Groups,
}

/// Frame bounds.
#[derive(Clone, Debug)]
pub enum FrameBound {
    /// UNBOUNDED PRECEDING
    UnboundedPreceding,
    /// n PRECEDING
    Preceding(Expr),
    /// CURRENT ROW
    CurrentRow,
    /// n FOLLOWING
    Following(Expr),
    /// UNBOUNDED FOLLOWING
    UnboundedFollowing,
}

/// A common table expression.
#[derive(Clone, Debug)]
pub struct Cte {
    /// Unique in the statement.
    pub id: usize,
    /// Name, for EXPLAIN.
    pub name: String,
    /// Its plan.
    pub plan: Plan,
    /// INSERT/UPDATE/DELETE: must run to the end.
    pub modifies: bool,
}

/// INSERT.
#[derive(Clone, Debug)]
pub struct Insert {
    /// Target.
    pub table: Arc<RelationDescriptor>,
    /// Yields one value per target column of `columns`, coerced to the column type, defaults of omitted columns already filled in.
    pub source: Plan,
    /// Column ids that `source` gives, in order: always all stored columns except generated ones.
    pub columns: Vec<u32>,
    /// Row checks and generated columns over the full new row (table columns in descriptor order).
    pub checks: RowChecks,
    /// ON CONFLICT.
    pub conflict: Option<OnConflict>,
    /// RETURNING over the full new row.
    pub returning: Option<Vec<Expr>>,
    /// The executor's.
    pub derived: Derived,
}

/// ON CONFLICT.
#[derive(Clone, Debug)]
pub struct OnConflict {
    /// Arbiter index ids; empty: any unique index (DO NOTHING only).
    pub arbiters: Vec<u32>,
    /// DO UPDATE; `None` is DO NOTHING. Expressions see `existing row ++ excluded row`, both all columns in descriptor order.
    pub update: Option<ConflictUpdate>,
}

/// DO UPDATE SET … WHERE ….
#[derive(Clone, Debug)]
pub struct ConflictUpdate {
    /// Column id and its new value.
    pub assignments: Vec<(u32, Expr)>,
    /// WHERE.
    pub predicate: Option<Expr>,
}

/// UPDATE.
#[derive(Clone, Debug)]
pub struct Update {
    /// Target.
    pub table: Arc<RelationDescriptor>,
    /// Yields `all columns of the target row in descriptor order ++ columns of FROM tables`, rows locked. A target row met twice is updated once.
    pub source: Plan,
    /// Column id and its new value, over the source row.
    pub assignments: Vec<(u32, Expr)>,
    /// Over the full new row.
    pub checks: RowChecks,
    /// RETURNING over `new row ++ FROM columns`.
    pub returning: Option<Vec<Expr>>,
    /// The executor's.
    pub derived: Derived,
}

/// DELETE.
#[derive(Clone, Debug)]
pub struct Delete {
    /// Target.
    pub table: Arc<RelationDescriptor>,
    /// As for UPDATE.
    pub source: Plan,
    /// RETURNING over the source row.
    pub returning: Option<Vec<Expr>>,
    /// The executor's.
    pub derived: Derived,
}

/// What every new version of a row must pass. Expressions see the full row in descriptor order.
#[derive(Clone, Debug, Default)]
pub struct RowChecks {
    /// Generated columns: ordinal and expression, computed first.
    pub generated: Vec<(usize, Expr)>,
    /// CHECK constraints by name.
    pub checks: Vec<(String, Expr)>,
    /// Partial index predicates by index id.
    pub predicates: Vec<(u32, Expr)>,
}
