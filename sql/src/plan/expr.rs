//! Bound expressions: every name resolved, every type known, every coercion explicit.

use std::sync::Arc;

use crate::functions::FunctionDef;
use crate::plan::node::Plan;
use crate::types::{DataType, Datum};

/// A function definition by reference, compared by identity.
#[derive(Clone, Copy)]
pub struct FunctionRef(pub &'static FunctionDef);

impl std::fmt::Debug for FunctionRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.0.name, self.0.oid)
    }
}
impl PartialEq for FunctionRef {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

/// A bound expression over an input row (`Column` is an ordinal in it).
#[derive(Clone, Debug)]
pub enum Expr {
    /// A value.
    Const { value: Datum, ty: DataType },
    /// A column of the input row.
    Column { ordinal: usize, ty: DataType },
    /// A column of an enclosing query's row: `depth` 1 is the nearest. Set in [`ExecContext`]'s outer rows by Apply nodes and subplans.
    Outer { depth: usize, ordinal: usize, ty: DataType },
    /// A statement parameter, from 0.
    Param { index: usize, ty: DataType },
    /// A function or operator call. NULL handling by `FunctionDef::strict`.
    Call { function: FunctionRef, args: Vec<Expr>, ty: DataType },
    /// A cast found by the binder (see `types::casts`); `explicit` matters to typmod coercion.
    Cast { input: Box<Expr>, from: DataType, to: DataType, typmod: i32, explicit: bool },
    /// `AND`, three-valued.
    And(Vec<Expr>),
    /// `OR`, three-valued.
    Or(Vec<Expr>),
    /// `NOT`
    Not(Box<Expr>),
    /// `IS NULL` (`IS NOT NULL` when negated); row-wise for records as PostgreSQL's.
    IsNull { input: Box<Expr>, negated: bool },
    /// `IS [NOT] TRUE/FALSE/UNKNOWN`: `Some(b)` tests for a value, `None` for unknown.
    IsBool { input: Box<Expr>, value: Option<bool>, negated: bool },
    /// `IS [NOT] DISTINCT FROM`, by the type's `=`.
    IsDistinct { left: Box<Expr>, right: Box<Expr>, negated: bool },
    /// Searched CASE (simple CASE is rewritten with `=`).
    Case { branches: Vec<(Expr, Expr)>, otherwise: Option<Box<Expr>>, ty: DataType },
    /// `COALESCE`
    Coalesce { args: Vec<Expr>, ty: DataType },
    /// `GREATEST` / `LEAST`
    MinMax { args: Vec<Expr>, greatest: bool, ty: DataType },
    /// `x op ANY/ALL (array)`; `IN (list)` of constants becomes `= ANY(const array)`.
    AnyAll { left: Box<Expr>, array: Box<Expr>, function: FunctionRef, all: bool },
    /// `ARRAY[…]`
    Array { elements: Vec<Expr>, element: DataType, nested: bool },
    /// `a[i]`, `a[l:u]`
    Subscript { input: Box<Expr>, indices: Vec<(Option<Expr>, Option<Expr>, bool)>, ty: DataType },
    /// `ROW(…)`
    Row { fields: Vec<Expr> },
    /// A field of a record.
    Field { input: Box<Expr>, index: usize, ty: DataType },
    /// A subquery. Its plan refers to the rows around it by `Outer`.
    Subquery { plan: Arc<Plan>, kind: SubqueryKind, correlated: bool, ty: DataType },
    /// The next value of a column default that the executor must compute (`nextval`, advisory locks, …): FunctionBody::Executor by name.
    ExecutorCall { function: FunctionRef, args: Vec<Expr>, ty: DataType },
}

/// What a subquery expression yields.
#[derive(Clone, Debug)]
pub enum SubqueryKind {
    /// One value; more than one row is `21000`.
    Scalar,
    /// `EXISTS`
    Exists,
    /// `left op ANY/ALL (query)`; `function` compares left with each row's first column.
    AnyAll { left: Box<Expr>, function: FunctionRef, all: bool },
    /// Row-wise `(a, b) IN (query)`: each pair compared by its function.
    RowIn { left: Vec<Expr>, functions: Vec<FunctionRef> },
    /// `ARRAY(query)`
    Array { element: DataType },
}

impl Expr {
    /// The type of the value.
    pub fn ty(&self) -> DataType {
        match self {
            Expr::Const { ty, .. }
            | Expr::Column { ty, .. }
            | Expr::Outer { ty, .. }
            | Expr::Param { ty, .. }
            | Expr::Call { ty, .. }
            | Expr::Case { ty, .. }
            | Expr::Coalesce { ty, .. }
            | Expr::MinMax { ty, .. }
            | Expr::Subscript { ty, .. }
            | Expr::Field { ty, .. }
            | Expr::Subquery { ty, .. }
            | Expr::ExecutorCall { ty, .. } => *ty,
            Expr::Cast { to, .. } => *to,
            Expr::And(_)
            | Expr::Or(_)
            | Expr::Not(_)
            | Expr::IsNull { .. }
            | Expr::IsBool { .. }
            | Expr::IsDistinct { .. }
            | Expr::AnyAll { .. } => DataType::BOOL,
            Expr::Array { element, .. } => element.array_of(),
            Expr::Row { .. } => DataType::RECORD,
        }
    }
}
