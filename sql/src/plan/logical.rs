//! The bound logical tree: what the binder makes and the optimizer rewrites.
//!
//! Every column that any node produces has a number of its own within the statement ([`ColId`]); expressions are
//! [`Expr`]s whose `Column { ordinal }` is such a number. So a correlated reference is simply a column that the tree around
//! it does not produce, and moving expressions about never renumbers anything. Numbers become ordinals when the tree is
//! lowered to physical nodes.
//!
//! Subqueries in expressions live in a table beside the tree ([`Subquery`]); until lowering, an `Expr::Subquery` carries
//! its index there as a `CteScan` placeholder plan (`subquery_ref`).

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::expr::{Expr, FunctionRef, SubqueryKind};
use super::node::*;
use crate::catalog::descriptor::{Oid, RelationDescriptor};
use crate::types::DataType;

/// A column's number in the statement.
pub type ColId = usize;
/// A set of columns.
pub type ColSet = FxHashSet<ColId>;

/// What is known of a column.
#[derive(Clone, Debug)]
pub struct ColInfo {
    /// Name.
    pub name: String,
    /// Type.
    pub ty: DataType,
    /// Modifier.
    pub typmod: i32,
    /// Table column it is.
    pub origin: Option<(Oid, i16)>,
    /// Never NULL where it is produced (outer joins above may still pad it).
    pub not_null: bool,
}

/// A table in FROM, or a DML target.
#[derive(Clone, Debug)]
pub struct TableRel {
    /// Which.
    pub table: Arc<RelationDescriptor>,
    /// Alias, for EXPLAIN.
    pub alias: String,
    /// All columns in descriptor order: number and column id.
    pub cols: Vec<(ColId, u32)>,
    /// Conditions on them.
    pub filter: Vec<Expr>,
    /// Lock what passes.
    pub lock: Option<RowLock>,
}

/// Grouping.
#[derive(Clone, Debug)]
pub struct AggregateRel {
    /// What to group.
    pub input: Rel,
    /// Group columns. A plain column keeps its number unless there are grouping sets.
    pub groups: Vec<(ColId, Expr)>,
    /// Grouping sets over `groups`.
    pub sets: Vec<Vec<usize>>,
    /// Aggregates.
    pub calls: Vec<(ColId, AggregateCall)>,
    /// `GROUPING()` uses.
    pub grouping: Vec<(ColId, Vec<usize>)>,
}

/// A common table expression.
#[derive(Clone, Debug)]
pub struct CteRel {
    /// Unique in the statement.
    pub id: usize,
    /// Name.
    pub name: String,
    /// Its tree.
    pub rel: Rel,
    /// Its output.
    pub cols: Vec<ColId>,
    /// Data-modifying.
    pub modifies: bool,
    /// MATERIALIZED (true), NOT MATERIALIZED (false).
    pub materialized: Option<bool>,
}

/// A table locked by FOR UPDATE and its like.
#[derive(Clone, Debug)]
pub struct LockRel {
    /// Which.
    pub table: Arc<RelationDescriptor>,
    /// Its columns in the input.
    pub cols: Vec<(ColId, u32)>,
    /// How.
    pub lock: RowLock,
}

/// INSERT.
#[derive(Clone, Debug)]
pub struct InsertRel {
    /// Target.
    pub table: Arc<RelationDescriptor>,
    /// Source and its columns, in the order of `columns`.
    pub source: Rel,
    /// The columns of `source`.
    pub source_cols: Vec<ColId>,
    /// Target column ids.
    pub columns: Vec<u32>,
    /// The new row, all columns in descriptor order: what checks and RETURNING see, and `excluded`.
    pub new_row: Vec<ColId>,
    /// The row in the way, for ON CONFLICT.
    pub existing: Vec<ColId>,
    /// Checks over `new_row`.
    pub checks: RowChecks,
    /// ON CONFLICT; expressions over `existing` and `new_row`.
    pub conflict: Option<OnConflict>,
    /// RETURNING over `new_row`.
    pub returning: Option<Vec<(ColId, Expr)>>,
}

/// UPDATE.
#[derive(Clone, Debug)]
pub struct UpdateRel {
    /// Target.
    pub table: Arc<RelationDescriptor>,
    /// Yields `target` and `others`.
    pub source: Rel,
    /// The target's columns before.
    pub target: Vec<ColId>,
    /// Columns of FROM.
    pub others: Vec<ColId>,
    /// Assignments over the source.
    pub assignments: Vec<(u32, Expr)>,
    /// The target's columns after.
    pub new_row: Vec<ColId>,
    /// Checks over `new_row`.
    pub checks: RowChecks,
    /// RETURNING over `new_row` and `others`.
    pub returning: Option<Vec<(ColId, Expr)>>,
}

/// DELETE.
#[derive(Clone, Debug)]
pub struct DeleteRel {
    /// Target.
    pub table: Arc<RelationDescriptor>,
    /// Yields `target` and `others`.
    pub source: Rel,
    /// The target's columns.
    pub target: Vec<ColId>,
    /// Columns of USING.
    pub others: Vec<ColId>,
    /// RETURNING over the source.
    pub returning: Option<Vec<(ColId, Expr)>>,
}

/// A logical node.
#[derive(Clone, Debug)]
pub enum Rel {
    /// One row, no columns.
    OneRow,
    /// No rows; these columns.
    Empty { cols: Vec<ColId> },
    /// Literal rows.
    Values { cols: Vec<ColId>, rows: Vec<Vec<Expr>> },
    /// A table.
    Table(Box<TableRel>),
    /// A system table.
    System { table: &'static str, cols: Vec<(ColId, usize)>, filter: Vec<Expr> },
    /// A function in FROM.
    Function { function: FunctionRef, args: Vec<Expr>, cols: Vec<ColId>, ordinality: bool },
    /// Rows that pass all.
    Filter { input: Box<Rel>, preds: Vec<Expr> },
    /// Exactly these columns.
    Project { input: Box<Rel>, exprs: Vec<(ColId, Expr)> },
    /// Input columns and set-returning calls.
    ProjectSet { input: Box<Rel>, sets: Vec<(ColId, FunctionRef, Vec<Expr>, DataType)> },
    /// A join. A right side that refers to the left is lateral.
    Join { left: Box<Rel>, right: Box<Rel>, kind: JoinKind, on: Vec<Expr> },
    /// Grouping.
    Aggregate(Box<AggregateRel>),
    /// Input columns and window calls.
    Window { input: Box<Rel>, partition: Vec<Expr>, order: Vec<SortKey>, calls: Vec<(ColId, WindowCall)> },
    /// Sorted rows.
    Sort { input: Box<Rel>, keys: Vec<SortKey> },
    /// LIMIT / OFFSET.
    Limit { input: Box<Rel>, limit: Option<Expr>, offset: Option<Expr>, with_ties: Option<Vec<SortKey>> },
    /// DISTINCT over these columns, which are all there are.
    Distinct { input: Box<Rel>, cols: Vec<ColId> },
    /// DISTINCT ON over sorted input.
    DistinctOn { input: Box<Rel>, keys: Vec<Expr> },
    /// UNION, INTERSECT, EXCEPT.
    SetOp { kind: SetOpKind, all: bool, cols: Vec<ColId>, left: Box<Rel>, left_cols: Vec<ColId>, right: Box<Rel>, right_cols: Vec<ColId> },
    /// WITH.
    With { ctes: Vec<CteRel>, body: Box<Rel> },
    /// A CTE's rows, by position.
    CteScan { cte: usize, cols: Vec<ColId> },
    /// A recursive CTE.
    Recursive { id: usize, cols: Vec<ColId>, base: Box<Rel>, base_cols: Vec<ColId>, step: Box<Rel>, step_cols: Vec<ColId>, distinct: bool },
    /// The rows of the previous round.
    WorkTable { id: usize, cols: Vec<ColId> },
    /// FOR UPDATE.
    Lock { input: Box<Rel>, targets: Vec<LockRel> },
    /// INSERT.
    Insert(Box<InsertRel>),
    /// UPDATE.
    Update(Box<UpdateRel>),
    /// DELETE.
    Delete(Box<DeleteRel>),
}

/// A subquery of an expression.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// Its tree.
    pub rel: Rel,
    /// Its output columns.
    pub cols: Vec<ColId>,
    /// Columns of enclosing queries that it uses.
    pub free: Vec<ColId>,
}

/// An expression that stands for a subquery of the table.
pub fn subquery_expr(index: usize, kind: SubqueryKind, correlated: bool, ty: DataType) -> Expr {
    let plan = Plan { node: Node::CteScan { cte: index }, columns: Vec::new(), rows: 0.0, cost: 0.0 };
    Expr::Subquery { plan: Arc::new(plan), kind, correlated, ty }
}

/// The index of a subquery placeholder.
pub fn subquery_ref(plan: &Plan) -> usize {
    match plan.node {
        Node::CteScan { cte } => cte,
        _ => usize::MAX,
    }
}

/// Calls `f` on each direct child expression.
pub fn children<'a>(expr: &'a Expr, f: &mut dyn FnMut(&'a Expr)) {
    match expr {
        Expr::Const { .. } | Expr::Column { .. } | Expr::Outer { .. } | Expr::Param { .. } => {}
        Expr::Call { args, .. } | Expr::ExecutorCall { args, .. } | Expr::Coalesce { args, .. } | Expr::MinMax { args, .. } => {
            args.iter().for_each(f)
        }
        Expr::And(args) | Expr::Or(args) => args.iter().for_each(f),
        Expr::Cast { input, .. }
        | Expr::Not(input)
        | Expr::IsNull { input, .. }
        | Expr::IsBool { input, .. }
        | Expr::Field { input, .. } => f(input),
        Expr::IsDistinct { left, right, .. } => {
            f(left);
            f(right);
        }
        Expr::Case { branches, otherwise, .. } => {
            for (when, then) in branches {
                f(when);
                f(then);
            }
            if let Some(e) = otherwise {
                f(e);
            }
        }
        Expr::AnyAll { left, array, .. } => {
            f(left);
            f(array);
        }
        Expr::Array { elements, .. } => elements.iter().for_each(f),
        Expr::Subscript { input, indices, .. } => {
            f(input);
            for (a, b, _) in indices {
                a.iter().for_each(&mut *f);
                b.iter().for_each(&mut *f);
            }
        }
        Expr::Row { fields } => fields.iter().for_each(f),
        Expr::Subquery { kind, .. } => match kind {
            SubqueryKind::AnyAll { left, .. } => f(left),
            SubqueryKind::RowIn { left, .. } => left.iter().for_each(f),
            _ => {}
        },
    }
}

/// Calls `f` on each direct child expression, to change it.
pub fn children_mut(expr: &mut Expr, f: &mut dyn FnMut(&mut Expr)) {
    match expr {
        Expr::Const { .. } | Expr::Column { .. } | Expr::Outer { .. } | Expr::Param { .. } => {}
        Expr::Call { args, .. } | Expr::ExecutorCall { args, .. } | Expr::Coalesce { args, .. } | Expr::MinMax { args, .. } => {
            args.iter_mut().for_each(f)
        }
        Expr::And(args) | Expr::Or(args) => args.iter_mut().for_each(f),
        Expr::Cast { input, .. }
        | Expr::Not(input)
        | Expr::IsNull { input, .. }
        | Expr::IsBool { input, .. }
        | Expr::Field { input, .. } => f(input),
        Expr::IsDistinct { left, right, .. } => {
            f(left);
            f(right);
        }
        Expr::Case { branches, otherwise, .. } => {
            for (when, then) in branches {
                f(when);
                f(then);
            }
            if let Some(e) = otherwise {
                f(e);
            }
        }
        Expr::AnyAll { left, array, .. } => {
            f(left);
            f(array);
        }
        Expr::Array { elements, .. } => elements.iter_mut().for_each(f),
        Expr::Subscript { input, indices, .. } => {
            f(input);
            for (a, b, _) in indices {
                a.iter_mut().for_each(&mut *f);
                b.iter_mut().for_each(&mut *f);
            }
        }
        Expr::Row { fields } => fields.iter_mut().for_each(f),
        Expr::Subquery { kind, .. } => match kind {
            SubqueryKind::AnyAll { left, .. } => f(left),
            SubqueryKind::RowIn { left, .. } => left.iter_mut().for_each(f),
            _ => {}
        },
    }
}

/// Adds every column an expression uses, those that its subqueries take from outside included.
pub fn columns_of(expr: &Expr, subqueries: &[Subquery], out: &mut ColSet) {
    match expr {
        Expr::Column { ordinal, .. } => {
            out.insert(*ordinal);
        }
        Expr::Subquery { plan, .. } => {
            if let Some(subquery) = subqueries.get(subquery_ref(plan)) {
                out.extend(subquery.free.iter().copied());
            }
        }
        _ => {}
    }
    children(expr, &mut |e| columns_of(e, subqueries, out));
}

/// The columns of one expression.
pub fn columns(expr: &Expr, subqueries: &[Subquery]) -> ColSet {
    let mut out = ColSet::default();
    columns_of(expr, subqueries, &mut out);
    out
}

/// Whether `f` holds for the expression or anything in it (not inside subqueries).
pub fn any(expr: &Expr, f: &dyn Fn(&Expr) -> bool) -> bool {
    if f(expr) {
        return true;
    }
    let mut found = false;
    children(expr, &mut |e| found = found || any(e, f));
    found
}

/// Whether it calls something volatile.
pub fn volatile(expr: &Expr) -> bool {
    any(expr, &|e| match e {
        Expr::Call { function, .. } | Expr::ExecutorCall { function, .. } => {
            function.0.volatility == crate::functions::Volatility::Volatile
        }
        _ => false,
    })
}

/// Whether it has a subquery.
pub fn has_subquery(expr: &Expr) -> bool {
    any(expr, &|e| matches!(e, Expr::Subquery { .. }))
}

/// Replaces columns by expressions, where `f` has one.
pub fn substitute(expr: &mut Expr, f: &dyn Fn(ColId) -> Option<Expr>) {
    if let Expr::Column { ordinal, .. } = expr {
        if let Some(new) = f(*ordinal) {
            *expr = new;
        }
        return;
    }
    children_mut(expr, &mut |e| substitute(e, f));
}

/// Splits conjunctions. What every branch of an OR asks for is a condition of its own: `(a AND x) OR (a AND y)` is `a AND (x OR y)`, in three-valued
/// logic too, and `a` may be what joins two tables.
pub fn conjuncts(expr: Expr, out: &mut Vec<Expr>) {
    match expr {
        Expr::And(args) => args.into_iter().for_each(|a| conjuncts(a, out)),
        Expr::Or(branches) if branches.len() > 1 && branches.iter().any(|b| matches!(b, Expr::And(_))) => factor(branches, out),
        other => out.push(other),
    }
}

/// Takes out what all of `branches` have in common.
fn factor(branches: Vec<Expr>, out: &mut Vec<Expr>) {
    let mut split: Vec<Vec<Expr>> = Vec::with_capacity(branches.len());
    for branch in branches {
        let mut parts = Vec::new();
        conjuncts(branch, &mut parts);
        split.push(parts);
    }
    let mut common: BTreeSet<String> = split[0].iter().filter(|e| !volatile(e) && !has_subquery(e)).map(|e| format!("{e:?}")).collect();
    for branch in &split[1..] {
        if common.is_empty() {
            break;
        }
        let here: BTreeSet<String> = branch.iter().map(|e| format!("{e:?}")).collect();
        common.retain(|e| here.contains(e));
    }
    let mut once = common.clone();
    let mut rest = Vec::with_capacity(split.len());
    for branch in split {
        let (shared, own): (Vec<Expr>, Vec<Expr>) = branch.into_iter().partition(|e| common.contains(&format!("{e:?}")));
        out.extend(shared.into_iter().filter(|e| once.remove(&format!("{e:?}"))));
        rest.push(own);
    }
    // A branch that asks for nothing more makes the others idle.
    if rest.iter().all(|own| !own.is_empty()) {
        out.push(Expr::Or(rest.into_iter().filter_map(conjunction).collect()));
    }
}

/// Puts conditions together; `None` for none.
pub fn conjunction(mut preds: Vec<Expr>) -> Option<Expr> {
    match preds.len() {
        0 => None,
        1 => preds.pop(),
        _ => Some(Expr::And(preds)),
    }
}

/// Structural equality of expressions. By their printed form: exact, and only used where grouping or ordering asks.
pub fn same(a: &Expr, b: &Expr) -> bool {
    match (a, b) {
        (Expr::Column { ordinal: x, .. }, Expr::Column { ordinal: y, .. }) => x == y,
        (Expr::Column { .. }, _) | (_, Expr::Column { .. }) => false,
        _ => std::mem::discriminant(a) == std::mem::discriminant(b) && format!("{a:?}") == format!("{b:?}"),
    }
}

impl Rel {
    /// The columns it yields. The order means nothing but for reading.
    pub fn outputs(&self) -> Vec<ColId> {
        match self {
            Rel::OneRow => Vec::new(),
            Rel::Empty { cols }
            | Rel::Values { cols, .. }
            | Rel::Distinct { cols, .. }
            | Rel::SetOp { cols, .. }
            | Rel::CteScan { cols, .. } => cols.clone(),
            Rel::Recursive { cols, .. } | Rel::WorkTable { cols, .. } | Rel::Function { cols, .. } => cols.clone(),
            Rel::Table(t) => t.cols.iter().map(|c| c.0).collect(),
            Rel::System { cols, .. } => cols.iter().map(|c| c.0).collect(),
            Rel::Filter { input, .. }
            | Rel::Sort { input, .. }
            | Rel::Limit { input, .. }
            | Rel::DistinctOn { input, .. }
            | Rel::Lock { input, .. } => input.outputs(),
            Rel::Project { exprs, .. } => exprs.iter().map(|e| e.0).collect(),
            Rel::ProjectSet { input, sets } => input.outputs().into_iter().chain(sets.iter().map(|s| s.0)).collect(),
            Rel::Join { left, right, kind, .. } => match kind {
                JoinKind::Semi | JoinKind::Anti => left.outputs(),
                _ => left.outputs().into_iter().chain(right.outputs()).collect(),
            },
            Rel::Aggregate(a) => {
                a.groups.iter().map(|g| g.0).chain(a.calls.iter().map(|c| c.0)).chain(a.grouping.iter().map(|g| g.0)).collect()
            }
            Rel::Window { input, calls, .. } => input.outputs().into_iter().chain(calls.iter().map(|c| c.0)).collect(),
            Rel::With { body, .. } => body.outputs(),
            Rel::Insert(i) => i.returning.iter().flatten().map(|r| r.0).collect(),
            Rel::Update(u) => u.returning.iter().flatten().map(|r| r.0).collect(),
            Rel::Delete(d) => d.returning.iter().flatten().map(|r| r.0).collect(),
        }
    }

    /// Calls `f` on each child node.
    pub fn inputs<'a>(&'a self, f: &mut dyn FnMut(&'a Rel)) {
        match self {
            Rel::OneRow | Rel::Empty { .. } | Rel::Values { .. } | Rel::Table(_) | Rel::System { .. } | Rel::Function { .. } => {}
            Rel::CteScan { .. } | Rel::WorkTable { .. } => {}
            Rel::Filter { input, .. }
            | Rel::Project { input, .. }
            | Rel::ProjectSet { input, .. }
            | Rel::Window { input, .. }
            | Rel::Sort { input, .. }
            | Rel::Limit { input, .. }
            | Rel::Distinct { input, .. }
            | Rel::DistinctOn { input, .. }
            | Rel::Lock { input, .. } => f(input),
            Rel::Join { left, right, .. } | Rel::SetOp { left, right, .. } => {
                f(left);
                f(right);
            }
            Rel::Recursive { base, step, .. } => {
                f(base);
                f(step);
            }
            Rel::Aggregate(a) => f(&a.input),
            Rel::With { ctes, body } => {
                ctes.iter().for_each(|c| f(&c.rel));
                f(body);
            }
            Rel::Insert(i) => f(&i.source),
            Rel::Update(u) => f(&u.source),
            Rel::Delete(d) => f(&d.source),
        }
    }

    /// Calls `f` on each expression of this node (not of its children).
    pub fn exprs<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        match self {
            Rel::OneRow | Rel::Empty { .. } | Rel::Distinct { .. } | Rel::SetOp { .. } | Rel::With { .. } | Rel::CteScan { .. } => {}
            Rel::Recursive { .. } | Rel::WorkTable { .. } | Rel::Lock { .. } => {}
            Rel::Values { rows, .. } => rows.iter().flatten().for_each(f),
            Rel::Table(t) => t.filter.iter().for_each(f),
            Rel::System { filter, .. } => filter.iter().for_each(f),
            Rel::Function { args, .. } => args.iter().for_each(f),
            Rel::Filter { preds, .. } => preds.iter().for_each(f),
            Rel::Project { exprs, .. } => exprs.iter().for_each(|e| f(&e.1)),
            Rel::ProjectSet { sets, .. } => sets.iter().flat_map(|s| &s.2).for_each(f),
            Rel::Join { on, .. } => on.iter().for_each(f),
            Rel::Aggregate(a) => {
                a.groups.iter().for_each(|g| f(&g.1));
                for (_, call) in &a.calls {
                    call.args.iter().for_each(&mut *f);
                    call.order.iter().for_each(|k| f(&k.expr));
                    call.filter.iter().for_each(&mut *f);
                }
            }
            Rel::Window { partition, order, calls, .. } => {
                partition.iter().for_each(&mut *f);
                order.iter().for_each(|k| f(&k.expr));
                for (_, call) in calls {
                    call.args.iter().for_each(&mut *f);
                    call.filter.iter().for_each(&mut *f);
                    for bound in [&call.frame.start, &call.frame.end] {
                        if let FrameBound::Preceding(e) | FrameBound::Following(e) = bound {
                            f(e);
                        }
                    }
                }
            }
            Rel::Sort { keys, .. } => keys.iter().for_each(|k| f(&k.expr)),
            Rel::Limit { limit, offset, with_ties, .. } => {
                limit.iter().for_each(&mut *f);
                offset.iter().for_each(&mut *f);
                with_ties.iter().flatten().for_each(|k| f(&k.expr));
            }
            Rel::DistinctOn { keys, .. } => keys.iter().for_each(f),
            Rel::Insert(i) => {
                i.returning.iter().flatten().for_each(|r| f(&r.1));
                if let Some(OnConflict { update: Some(u), .. }) = &i.conflict {
                    u.assignments.iter().for_each(|a| f(&a.1));
                    u.predicate.iter().for_each(f);
                }
            }
            Rel::Update(u) => {
                u.assignments.iter().for_each(|a| f(&a.1));
                u.returning.iter().flatten().for_each(|r| f(&r.1));
            }
            Rel::Delete(d) => d.returning.iter().flatten().for_each(|r| f(&r.1)),
        }
    }

    fn defined(&self, out: &mut ColSet) {
        out.extend(self.outputs());
        match self {
            Rel::Insert(i) => {
                out.extend(i.new_row.iter().copied());
                out.extend(i.existing.iter().copied());
            }
            Rel::Update(u) => out.extend(u.new_row.iter().copied()),
            _ => {}
        }
        self.inputs(&mut |i| i.defined(out));
    }

    fn used(&self, subqueries: &[Subquery], out: &mut ColSet) {
        self.exprs(&mut |e| columns_of(e, subqueries, out));
        self.inputs(&mut |i| i.used(subqueries, out));
    }

    /// Columns it uses but does not produce: references to enclosing queries. Sorted.
    pub fn free(&self, subqueries: &[Subquery]) -> Vec<ColId> {
        let (mut used, mut defined) = (ColSet::default(), ColSet::default());
        self.used(subqueries, &mut used);
        if used.is_empty() {
            return Vec::new();
        }
        self.defined(&mut defined);
        let mut free: Vec<ColId> = used.into_iter().filter(|c| !defined.contains(c)).collect();
        free.sort_unstable();
        free
    }

    /// Whether rows of it never have NULL in this column.
    pub fn not_null(&self, col: ColId, infos: &[ColInfo]) -> bool {
        match self {
            Rel::Table(t) => t.cols.iter().any(|c| c.0 == col) && infos[col].not_null,
            Rel::Filter { input, .. } | Rel::Sort { input, .. } | Rel::Limit { input, .. } | Rel::Distinct { input, .. } => {
                input.not_null(col, infos)
            }
            Rel::Project { input, exprs } => exprs.iter().any(|(c, e)| {
                *c == col
                    && match e {
                        Expr::Column { ordinal, .. } => input.not_null(*ordinal, infos),
                        Expr::Const { value, .. } => !matches!(value, crate::types::Datum::Null),
                        _ => false,
                    }
            }),
            Rel::Join { left, right, kind, .. } => match kind {
                JoinKind::Inner => left.not_null(col, infos) || right.not_null(col, infos),
                JoinKind::Left | JoinKind::Semi | JoinKind::Anti => left.not_null(col, infos),
                JoinKind::Full => false,
            },
            _ => false,
        }
    }
}
