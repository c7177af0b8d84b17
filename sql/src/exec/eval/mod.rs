//! Evaluation of bound expressions over a row.
//!
//! [`eval`] is synchronous and is all that scan programs use. Two things in an expression need more than the row: subqueries and
//! executor calls (`nextval`). Meeting one, `eval` looks into [`EvalCx::slots`]; if the answer is not there it notes
//! what it needs in [`EvalCx::pending`] and gives up with a marker error. The asynchronous driver (`subquery::eval_suspending`) fetches the answer,
//! puts it into a slot and evaluates again. So CASE, AND, OR and COALESCE stay lazy, and there is one evaluator, not two.

mod fast;
mod special;

use std::sync::Arc;

use smallvec::SmallVec;

use super::value;
use crate::error::{Result, SqlError};
use crate::functions::{EvalContext, FunctionBody, FunctionDef};
use crate::plan::expr::Expr;
use crate::plan::node::Plan;
use crate::types::{DataType, Datum};

/// Nesting at which the stack is checked.
const DEPTH_STEP: u32 = 32;

/// What expressions are evaluated with.
pub struct EvalCx<'a> {
    /// For functions.
    pub functions: EvalContext<'a>,
    /// Statement parameters.
    pub params: &'a [Datum],
    /// Rows of enclosing queries, the nearest last.
    pub outer: &'a [Arc<[Datum]>],
    /// Answers to subqueries and executor calls of the row at hand, by address of their expression.
    pub slots: Vec<(usize, Slot)>,
    /// What evaluation stopped for.
    pub pending: Option<Pending>,
    depth: u32,
}

/// An answer that was computed outside the evaluator.
#[derive(Clone, Debug)]
pub enum Slot {
    /// Of an executor call.
    Value(Datum),
    /// Of a subquery.
    Rows(Arc<SubRows>),
}

/// The rows of a subquery, as far as its kind needs them.
#[derive(Debug, Default)]
pub struct SubRows {
    /// Datums a row.
    pub width: usize,
    /// Rows, flattened.
    pub datums: Vec<Datum>,
    /// How many.
    pub len: usize,
    /// For `= ANY` over many rows: the first column's values by hash, and whether a NULL is among them.
    pub set: Option<(value::DatumSet, bool)>,
}

/// What evaluation stopped for.
#[derive(Clone, Debug)]
pub enum Pending {
    /// A subquery's rows.
    Subquery { slot: usize, plan: Arc<Plan>, correlated: bool, rows_max: usize, hashed: bool },
    /// An executor call with these arguments.
    Call { slot: usize, function: &'static FunctionDef, args: Vec<Datum> },
}

impl std::fmt::Debug for FunctionDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.name, self.oid)
    }
}

impl<'a> EvalCx<'a> {
    /// Ready to evaluate.
    pub fn new(functions: EvalContext<'a>, params: &'a [Datum], outer: &'a [Arc<[Datum]>]) -> Self {
        EvalCx { functions, params, outer, slots: Vec::new(), pending: None, depth: 0 }
    }

    fn slot(&self, id: usize) -> Option<&Slot> {
        self.slots.iter().find(|(slot, _)| *slot == id).map(|(_, value)| value)
    }

    fn suspend<T>(&mut self, pending: Pending) -> Result<T> {
        self.pending = Some(pending);
        Err(SqlError::internal("expression evaluation was suspended where nothing could resume it"))
    }
}

/// The value of `expr` over `row`.
pub fn eval(expr: &Expr, row: &[Datum], cx: &mut EvalCx<'_>) -> Result<Datum> {
    match expr {
        Expr::Column { ordinal, .. } => Ok(row[*ordinal].clone()),
        Expr::Const { value, .. } => Ok(value.clone()),
        Expr::Param { index, .. } => param(*index, cx).cloned(),
        Expr::Outer { depth, ordinal, .. } => outer(*depth, *ordinal, cx).cloned(),
        _ => {
            cx.depth += 1;
            let result = if cx.depth.is_multiple_of(DEPTH_STEP) {
                stacker::maybe_grow(128 * 1024, 1024 * 1024, || eval_node(expr, row, cx))
            } else {
                eval_node(expr, row, cx)
            };
            cx.depth -= 1;
            result
        }
    }
}

/// Whether a condition holds: NULL does not.
pub fn eval_bool(expr: &Expr, row: &[Datum], cx: &mut EvalCx<'_>) -> Result<bool> {
    Ok(matches!(eval(expr, row, cx)?, Datum::Bool(true)))
}

fn param<'c>(index: usize, cx: &'c EvalCx<'_>) -> Result<&'c Datum> {
    cx.params
        .get(index)
        .ok_or_else(|| SqlError::new(crate::error::SqlState::UNDEFINED_PARAMETER, format!("there is no parameter ${}", index + 1)))
}

fn outer<'c>(depth: usize, ordinal: usize, cx: &'c EvalCx<'_>) -> Result<&'c Datum> {
    cx.outer
        .len()
        .checked_sub(depth)
        .and_then(|i| cx.outer[i].get(ordinal))
        .ok_or_else(|| SqlError::internal(format!("no outer row at depth {depth}, column {ordinal}")))
}

/// A leaf by reference, without cloning it.
fn leaf<'c>(expr: &'c Expr, row: &'c [Datum], cx: &'c EvalCx<'_>) -> Result<Option<&'c Datum>> {
    match expr {
        Expr::Column { ordinal, .. } => Ok(Some(&row[*ordinal])),
        Expr::Const { value, .. } => Ok(Some(value)),
        Expr::Param { index, .. } => param(*index, cx).map(Some),
        Expr::Outer { depth, ordinal, .. } => outer(*depth, *ordinal, cx).map(Some),
        _ => Ok(None),
    }
}

fn eval_node(expr: &Expr, row: &[Datum], cx: &mut EvalCx<'_>) -> Result<Datum> {
    match expr {
        Expr::Column { .. } | Expr::Const { .. } | Expr::Param { .. } | Expr::Outer { .. } => eval(expr, row, cx),
        Expr::Call { function, args, .. } => call(function.0, args, row, cx),
        Expr::Cast { input, from, to, typmod, explicit } => {
            let value = eval(input, row, cx)?;
            value::cast(value, *from, *to, *typmod, *explicit, &mut cx.functions)
        }
        Expr::And(args) => junction(args, false, row, cx),
        Expr::Or(args) => junction(args, true, row, cx),
        Expr::Not(arg) => Ok(match eval(arg, row, cx)? {
            Datum::Bool(b) => Datum::Bool(!b),
            _ => Datum::Null,
        }),
        Expr::IsNull { input, negated } => special::is_null(input, *negated, row, cx),
        Expr::IsBool { input, value, negated } => {
            let found = match eval(input, row, cx)? {
                Datum::Bool(b) => Some(b),
                _ => None,
            };
            Ok(Datum::Bool((found == *value) != *negated))
        }
        Expr::IsDistinct { left, right, negated } => {
            let (left, right) = (eval(left, row, cx)?, eval(right, row, cx)?);
            let distinct = match (&left, &right) {
                (Datum::Null, Datum::Null) => false,
                (Datum::Null, _) | (_, Datum::Null) => true,
                _ => !value::equal(&left, &right),
            };
            Ok(Datum::Bool(distinct != *negated))
        }
        Expr::Case { branches, otherwise, .. } => {
            for (condition, result) in branches {
                if eval_bool(condition, row, cx)? {
                    return eval(result, row, cx);
                }
            }
            otherwise.as_ref().map_or(Ok(Datum::Null), |e| eval(e, row, cx))
        }
        Expr::Coalesce { args, .. } => {
            for arg in args {
                let value = eval(arg, row, cx)?;
                if !matches!(value, Datum::Null) {
                    return Ok(value);
                }
            }
            Ok(Datum::Null)
        }
        Expr::MinMax { args, greatest, .. } => special::min_max(args, *greatest, row, cx),
        Expr::AnyAll { left, array, function, all } => special::any_all(left, array, function.0, *all, row, cx),
        Expr::Array { elements, element, nested } => special::array(elements, *element, *nested, row, cx),
        Expr::Subscript { input, indices, .. } => special::subscript(input, indices, row, cx),
        Expr::Row { fields } => {
            let fields = fields.iter().map(|f| eval(f, row, cx)).collect::<Result<Vec<_>>>()?;
            Ok(Datum::Record(fields.into()))
        }
        Expr::Field { input, index, .. } => match eval(input, row, cx)? {
            Datum::Record(fields) => fields.get(*index).cloned().ok_or_else(|| SqlError::internal(format!("record has no field {index}"))),
            Datum::Null => Ok(Datum::Null),
            other => Err(SqlError::internal(format!("field {index} of {other:?}, which is not a record"))),
        },
        Expr::Subquery { .. } => special::subquery(expr, row, cx),
        Expr::ExecutorCall { .. } => special::executor_call(expr, row, cx),
    }
}

/// AND (`dominant` false) and OR (`dominant` true): the dominant value decides at once, otherwise NULL beats the rest.
fn junction(args: &[Expr], dominant: bool, row: &[Datum], cx: &mut EvalCx<'_>) -> Result<Datum> {
    let mut unknown = false;
    for arg in args {
        match eval(arg, row, cx)? {
            Datum::Bool(b) if b == dominant => return Ok(Datum::Bool(dominant)),
            Datum::Bool(_) => {}
            _ => unknown = true,
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(!dominant) })
}

fn call(function: &'static FunctionDef, args: &[Expr], row: &[Datum], cx: &mut EvalCx<'_>) -> Result<Datum> {
    if let [left, right] = args
        && let Some(operation) = fast::operation(function.oid)
    {
        if let (Some(a), Some(b)) = (leaf(left, row, cx)?, leaf(right, row, cx)?)
            && let Some(result) = fast::apply(operation, a, b)
        {
            return result;
        }
        let (a, b) = (eval(left, row, cx)?, eval(right, row, cx)?);
        return match fast::apply(operation, &a, &b) {
            Some(result) => result,
            None => invoke(function, &[a, b], cx),
        };
    }
    let mut values: SmallVec<[Datum; 4]> = SmallVec::with_capacity(args.len());
    for arg in args {
        values.push(eval(arg, row, cx)?);
    }
    match function.body {
        FunctionBody::Typed(_) if function.strict && values.iter().any(Datum::is_null) => Ok(Datum::Null),
        FunctionBody::Typed(body) => {
            let types: SmallVec<[DataType; 4]> = args.iter().map(Expr::ty).collect();
            body(&mut cx.functions, &types, &values)
        }
        _ => invoke(function, &values, cx),
    }
}

/// Calls a scalar function on values, minding strictness.
pub fn invoke(function: &'static FunctionDef, args: &[Datum], cx: &mut EvalCx<'_>) -> Result<Datum> {
    if function.strict && args.iter().any(|a| matches!(a, Datum::Null)) {
        return Ok(Datum::Null);
    }
    match function.body {
        FunctionBody::Scalar(body) => body(&mut cx.functions, args),
        _ => Err(SqlError::unsupported(format!("calling {}() in this place", function.name))),
    }
}
