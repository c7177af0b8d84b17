//! Expressions as bytes: a mirror of [`Expr`] that can be serialized.
//!
//! Functions travel by OID and name and are looked up at the other end; parameters and outer references have become constants. What cannot
//! travel (subqueries, executor calls, volatile functions, look-ups in the catalog) makes the conversion answer `None`: the expression stays here.

use serde::{Deserialize, Serialize};

use crate::error::{Result, SqlError};
use crate::exec::eval::{EvalCx, eval};
use crate::exec::value;
use crate::functions::{FunctionDef, Volatility};
use crate::plan::expr::{Expr, FunctionRef};
use crate::types::{DataType, Datum};

/// A function by identity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WireFunction(u32, String);

/// [`Expr`], serializable.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum WireExpr {
    Const(#[serde(with = "value::serde_datum")] Datum, DataType),
    Column(u32, DataType),
    Call(WireFunction, Vec<WireExpr>, DataType),
    Cast(Box<WireExpr>, DataType, DataType, i32, bool),
    And(Vec<WireExpr>),
    Or(Vec<WireExpr>),
    Not(Box<WireExpr>),
    IsNull(Box<WireExpr>, bool),
    IsBool(Box<WireExpr>, Option<bool>, bool),
    IsDistinct(Box<WireExpr>, Box<WireExpr>, bool),
    Case(Vec<(WireExpr, WireExpr)>, Option<Box<WireExpr>>, DataType),
    Coalesce(Vec<WireExpr>, DataType),
    MinMax(Vec<WireExpr>, bool, DataType),
    AnyAll(Box<WireExpr>, Box<WireExpr>, WireFunction, bool),
    Array(Vec<WireExpr>, DataType, bool),
    Subscript(Box<WireExpr>, Vec<(Option<WireExpr>, Option<WireExpr>, bool)>, DataType),
    Row(Vec<WireExpr>),
    Field(Box<WireExpr>, u32, DataType),
}

/// Whether what was converted depends on session or clock.
#[derive(Debug, Default)]
pub struct Needs {
    /// Stable functions or casts: the session travels along.
    pub session: bool,
}

/// Whether a function may run at a leaseholder: no state, no catalog.
pub fn pushable(function: &FunctionDef, needs: &mut Needs) -> bool {
    match function.volatility {
        Volatility::Immutable => true,
        Volatility::Volatile => false,
        Volatility::Stable => {
            needs.session = true;
            let name = function.name;
            let catalog = [
                "pg_",
                "has_",
                "to_reg",
                "obj_",
                "col_",
                "shobj_",
                "format_type",
                "reg",
                "row_security",
                "txid",
                "current_schema",
                "inet_",
            ];
            !catalog.iter().any(|prefix| name.starts_with(prefix))
                && !function.args.iter().any(|t| is_catalog_type(*t))
                && !is_catalog_type(function.returns)
        }
    }
}

/// Types whose text form is looked up in the catalog.
fn is_catalog_type(ty: DataType) -> bool {
    ty.is_reg() || ty.element().is_some_and(|e| e.is_reg())
}

impl WireFunction {
    /// The identity of a function.
    pub fn of(function: &FunctionDef) -> Self {
        WireFunction(function.oid, function.name.to_owned())
    }
    /// The function.
    pub fn resolve(&self) -> Result<FunctionRef> {
        crate::functions::registry::function_by_oid(self.0)
            .filter(|f| f.name == self.1)
            .map(FunctionRef)
            .ok_or_else(|| SqlError::internal(format!("no function {}#{}", self.1, self.0)))
    }
}

/// Converts, replacing parameters and outer references by their values.
pub fn to_wire(expr: &Expr, cx: &mut EvalCx<'_>, needs: &mut Needs) -> Result<Option<WireExpr>> {
    macro_rules! one {
        ($e:expr) => {
            match to_wire($e, cx, needs)? {
                Some(wire) => wire,
                None => return Ok(None),
            }
        };
    }
    macro_rules! boxed {
        ($e:expr) => {
            Box::new(one!($e))
        };
    }
    macro_rules! many {
        ($e:expr) => {{
            let mut out = Vec::with_capacity($e.len());
            for e in $e {
                out.push(one!(e));
            }
            out
        }};
    }
    Ok(Some(match expr {
        Expr::Const { value, ty } => WireExpr::Const(value.clone(), *ty),
        Expr::Param { ty, .. } | Expr::Outer { ty, .. } => WireExpr::Const(eval(expr, &[], cx)?, *ty),
        Expr::Column { ordinal, ty } => WireExpr::Column(*ordinal as u32, *ty),
        Expr::Call { function, args, ty } => {
            if !pushable(function.0, needs) || !matches!(function.0.body, crate::functions::FunctionBody::Scalar(_)) {
                return Ok(None);
            }
            WireExpr::Call(WireFunction::of(function.0), many!(args), *ty)
        }
        Expr::Cast { input, from, to, typmod, explicit } => {
            if is_catalog_type(*from) || is_catalog_type(*to) {
                return Ok(None);
            }
            needs.session = true;
            WireExpr::Cast(boxed!(input), *from, *to, *typmod, *explicit)
        }
        Expr::And(args) => WireExpr::And(many!(args)),
        Expr::Or(args) => WireExpr::Or(many!(args)),
        Expr::Not(input) => WireExpr::Not(boxed!(input)),
        Expr::IsNull { input, negated } => WireExpr::IsNull(boxed!(input), *negated),
        Expr::IsBool { input, value, negated } => WireExpr::IsBool(boxed!(input), *value, *negated),
        Expr::IsDistinct { left, right, negated } => WireExpr::IsDistinct(boxed!(left), boxed!(right), *negated),
        Expr::Case { branches, otherwise, ty } => {
            let mut out = Vec::with_capacity(branches.len());
            for (condition, result) in branches {
                out.push((one!(condition), one!(result)));
            }
            let otherwise = match otherwise {
                Some(e) => Some(boxed!(e)),
                None => None,
            };
            WireExpr::Case(out, otherwise, *ty)
        }
        Expr::Coalesce { args, ty } => WireExpr::Coalesce(many!(args), *ty),
        Expr::MinMax { args, greatest, ty } => WireExpr::MinMax(many!(args), *greatest, *ty),
        Expr::AnyAll { left, array, function, all } => {
            if !pushable(function.0, needs) {
                return Ok(None);
            }
            WireExpr::AnyAll(boxed!(left), boxed!(array), WireFunction::of(function.0), *all)
        }
        Expr::Array { elements, element, nested } => WireExpr::Array(many!(elements), *element, *nested),
        Expr::Subscript { input, indices, ty } => {
            let mut out = Vec::with_capacity(indices.len());
            for (lower, upper, slice) in indices {
                let lower = match lower {
                    Some(e) => Some(one!(e)),
                    None => None,
                };
                let upper = match upper {
                    Some(e) => Some(one!(e)),
                    None => None,
                };
                out.push((lower, upper, *slice));
            }
            WireExpr::Subscript(boxed!(input), out, *ty)
        }
        Expr::Row { fields } => WireExpr::Row(many!(fields)),
        Expr::Field { input, index, ty } => WireExpr::Field(boxed!(input), *index as u32, *ty),
        Expr::Subquery { .. } | Expr::ExecutorCall { .. } => return Ok(None),
    }))
}

/// Converts back.
pub fn from_wire(wire: WireExpr) -> Result<Expr> {
    let boxed = |e: Box<WireExpr>| from_wire(*e).map(Box::new);
    let many = |es: Vec<WireExpr>| es.into_iter().map(from_wire).collect::<Result<Vec<_>>>();
    Ok(match wire {
        WireExpr::Const(value, ty) => Expr::Const { value, ty },
        WireExpr::Column(ordinal, ty) => Expr::Column { ordinal: ordinal as usize, ty },
        WireExpr::Call(function, args, ty) => Expr::Call { function: function.resolve()?, args: many(args)?, ty },
        WireExpr::Cast(input, from, to, typmod, explicit) => Expr::Cast { input: boxed(input)?, from, to, typmod, explicit },
        WireExpr::And(args) => Expr::And(many(args)?),
        WireExpr::Or(args) => Expr::Or(many(args)?),
        WireExpr::Not(input) => Expr::Not(boxed(input)?),
        WireExpr::IsNull(input, negated) => Expr::IsNull { input: boxed(input)?, negated },
        WireExpr::IsBool(input, value, negated) => Expr::IsBool { input: boxed(input)?, value, negated },
        WireExpr::IsDistinct(left, right, negated) => Expr::IsDistinct { left: boxed(left)?, right: boxed(right)?, negated },
        WireExpr::Case(branches, otherwise, ty) => Expr::Case {
            branches: branches.into_iter().map(|(c, r)| Ok((from_wire(c)?, from_wire(r)?))).collect::<Result<Vec<_>>>()?,
            otherwise: otherwise.map(boxed).transpose()?,
            ty,
        },
        WireExpr::Coalesce(args, ty) => Expr::Coalesce { args: many(args)?, ty },
        WireExpr::MinMax(args, greatest, ty) => Expr::MinMax { args: many(args)?, greatest, ty },
        WireExpr::AnyAll(left, array, function, all) => {
            Expr::AnyAll { left: boxed(left)?, array: boxed(array)?, function: function.resolve()?, all }
        }
        WireExpr::Array(elements, element, nested) => Expr::Array { elements: many(elements)?, element, nested },
        WireExpr::Subscript(input, indices, ty) => Expr::Subscript {
            input: boxed(input)?,
            indices: indices
                .into_iter()
                .map(|(l, u, s)| Ok((l.map(from_wire).transpose()?, u.map(from_wire).transpose()?, s)))
                .collect::<Result<Vec<_>>>()?,
            ty,
        },
        WireExpr::Row(fields) => Expr::Row { fields: many(fields)? },
        WireExpr::Field(input, index, ty) => Expr::Field { input: boxed(input)?, index: index as usize, ty },
    })
}
