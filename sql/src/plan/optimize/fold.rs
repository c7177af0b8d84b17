//! Constant folding: immutable calls and casts over constants are evaluated once, at planning.
//!
//! An error in folding is left to run time: the expression may never be reached (`CASE`), and PostgreSQL reports it then too.

use crate::error::Result;
use crate::functions::{EvalContext, FunctionBody, Volatility};
use crate::plan::PlanContext;
use crate::plan::expr::Expr;
use crate::plan::logical::children_mut;
use crate::types::casts::{CastContext, apply_cast, find_cast};
use crate::types::{Array, DataType, Datum};
use std::sync::Arc;

/// Longest array that is folded into a constant (longer ones are folded too, this bounds text results such as `repeat`).
const MAX_FOLDED_BYTES: usize = 1 << 20;

struct NoCatalog;

impl crate::functions::CatalogLookup for NoCatalog {
    fn relation_oid(&self, _: &str, _: &[String]) -> Option<u32> {
        None
    }
    fn relation_name(&self, _: u32, _: &[String]) -> Option<String> {
        None
    }
    fn schema_oid(&self, _: &str) -> Option<u32> {
        None
    }
    fn schema_name(&self, _: u32) -> Option<String> {
        None
    }
    fn role_oid(&self, _: &str) -> Option<u32> {
        None
    }
    fn role_name(&self, _: u32) -> Option<String> {
        None
    }
    fn definition(&self, _: &str, _: u32, _: i32) -> Option<String> {
        None
    }
    fn system_function(&self, _: &str, _: &[Datum]) -> Option<Result<Datum>> {
        None
    }
}

/// Folds an expression.
pub fn fold(mut expr: Expr, cx: &PlanContext<'_>) -> Expr {
    fold_in_place(&mut expr, cx);
    expr
}

fn constant(e: &Expr) -> Option<&Datum> {
    match e {
        Expr::Const { value, .. } => Some(value),
        _ => None,
    }
}

fn is_null(e: &Expr) -> bool {
    matches!(e, Expr::Const { value: Datum::Null, .. })
}

fn boolean(value: Option<bool>) -> Expr {
    Expr::Const { value: value.map_or(Datum::Null, Datum::Bool), ty: DataType::BOOL }
}

/// Whether a cast's result depends on nothing but its input: text forms of times depend on settings.
fn immutable_cast(from: DataType, to: DataType) -> bool {
    use DataType as T;
    let by_zone = |t: T| matches!(t, T::TIMESTAMPTZ | T::TIMETZ);
    let reg = |t: T| t.is_reg();
    if by_zone(from) != by_zone(to) || reg(from) || reg(to) {
        return false;
    }
    let datetime = |t: T| matches!(t, T::TIMESTAMP | T::TIMESTAMPTZ | T::DATE | T::TIME | T::TIMETZ | T::INTERVAL);
    // I/O conversions of dates and times go through DateStyle and IntervalStyle.
    let by_settings = datetime(from) && to.is_string() || from.is_string() && datetime(to);
    let in_arrays = from.element().is_some_and(datetime) || to.element().is_some_and(datetime);
    !by_settings && !in_arrays
}

/// Folds in place.
pub fn fold_in_place(expr: &mut Expr, cx: &PlanContext<'_>) {
    children_mut(expr, &mut |e| fold_in_place(e, cx));
    let folded = match expr {
        Expr::Call { function, args, ty } if function.0.volatility == Volatility::Immutable => {
            if function.0.strict && args.iter().any(is_null) {
                Some(Expr::Const { value: Datum::Null, ty: *ty })
            } else {
                call(function.0, args, cx).map(|value| Expr::Const { value, ty: *ty })
            }
        }
        Expr::Cast { input, from, to, typmod, explicit } => match constant(input) {
            Some(Datum::Null) => Some(Expr::Const { value: Datum::Null, ty: *to }),
            Some(value) if immutable_cast(*from, *to) => {
                let cast = find_cast(*from, *to, CastContext::Explicit);
                let result = cast.and_then(|c| with_context(cx, |ecx| apply_cast(&c, value.clone(), *typmod, *explicit, ecx)).ok());
                result.map(|value| Expr::Const { value, ty: *to })
            }
            _ => None,
        },
        Expr::And(args) => fold_logic(args, false),
        Expr::Or(args) => fold_logic(args, true),
        Expr::Not(input) => match constant(input) {
            Some(Datum::Null) => Some(boolean(None)),
            Some(Datum::Bool(b)) => Some(boolean(Some(!b))),
            _ => match &mut **input {
                Expr::Not(inner) => Some((**inner).clone()),
                Expr::IsNull { input, negated } => Some(Expr::IsNull { input: input.clone(), negated: !*negated }),
                _ => None,
            },
        },
        Expr::IsNull { input, negated } => match constant(input) {
            Some(Datum::Record(_)) => None,
            Some(value) => Some(boolean(Some(matches!(value, Datum::Null) != *negated))),
            None => None,
        },
        Expr::IsBool { input, value, negated } => match constant(input) {
            Some(Datum::Null) => Some(boolean(Some(value.is_none() != *negated))),
            Some(Datum::Bool(b)) => Some(boolean(Some((*value == Some(*b)) != *negated))),
            _ => None,
        },
        Expr::Array { elements, element, nested: false } if !elements.is_empty() && elements.iter().all(|e| constant(e).is_some()) => {
            let ty = element.array_of();
            let values: Vec<Datum> = elements.iter().filter_map(|e| constant(e).cloned()).collect();
            let dims = vec![(values.len() as i32, 1)];
            Some(Expr::Const { value: Datum::Array(Arc::new(Array { element: *element, dims, elements: values })), ty })
        }
        Expr::Array { elements, element, nested: false } if elements.is_empty() => {
            let value = Datum::Array(Arc::new(Array { element: *element, dims: Vec::new(), elements: Vec::new() }));
            Some(Expr::Const { value, ty: element.array_of() })
        }
        Expr::Case { branches, otherwise, ty } => fold_case(branches, otherwise, *ty),
        Expr::Coalesce { args, ty } => {
            args.retain(|a| !is_null(a));
            match args.first() {
                None => Some(Expr::Const { value: Datum::Null, ty: *ty }),
                Some(first) if constant(first).is_some() => Some(first.clone()),
                Some(first) if args.len() == 1 => Some(first.clone()),
                _ => None,
            }
        }
        _ => None,
    };
    if let Some(folded) = folded {
        *expr = folded;
    }
}

/// AND (`absorbing` false) and OR (`absorbing` true): neutral constants go, an absorbing one decides, nested ones are flattened.
fn fold_logic(args: &mut Vec<Expr>, absorbing: bool) -> Option<Expr> {
    if args.iter().any(|a| matches!(constant(a), Some(Datum::Bool(b)) if *b == absorbing)) {
        return Some(boolean(Some(absorbing)));
    }
    let mut flat = Vec::with_capacity(args.len());
    for arg in args.drain(..) {
        match arg {
            Expr::Const { value: Datum::Bool(_), .. } => {}
            Expr::And(inner) if !absorbing => flat.extend(inner),
            Expr::Or(inner) if absorbing => flat.extend(inner),
            other => flat.push(other),
        }
    }
    *args = flat;
    match args.len() {
        0 => Some(boolean(Some(!absorbing))),
        1 => args.pop(),
        _ => None,
    }
}

fn fold_case(branches: &mut Vec<(Expr, Expr)>, otherwise: &mut Option<Box<Expr>>, ty: DataType) -> Option<Expr> {
    branches.retain(|(when, _)| !matches!(constant(when), Some(Datum::Null | Datum::Bool(false))));
    if let Some(at) = branches.iter().position(|(when, _)| matches!(constant(when), Some(Datum::Bool(true)))) {
        let (_, then) = branches.swap_remove(at);
        branches.truncate(at);
        *otherwise = Some(Box::new(then));
    }
    if branches.is_empty() {
        return Some(otherwise.take().map_or(Expr::Const { value: Datum::Null, ty }, |e| *e));
    }
    None
}

fn with_context<T>(cx: &PlanContext<'_>, work: impl FnOnce(&mut EvalContext<'_>) -> Result<T>) -> Result<T> {
    let mut rng = meridian_clock::Entropy::seeded(0).rng();
    let none = NoCatalog;
    let mut ecx =
        EvalContext { transaction_micros: 0, statement_micros: 0, session: cx.session, rng: &mut rng, catalog: cx.lookup.unwrap_or(&none) };
    work(&mut ecx)
}

fn call(def: &'static crate::functions::FunctionDef, args: &[Expr], cx: &PlanContext<'_>) -> Option<Datum> {
    let values: Vec<Datum> = args.iter().map(|a| constant(a).cloned()).collect::<Option<_>>()?;
    let result = with_context(cx, |ecx| match def.body {
        FunctionBody::Scalar(f) => f(ecx, &values),
        FunctionBody::Typed(f) => {
            let types: Vec<DataType> = args.iter().map(Expr::ty).collect();
            f(ecx, &types, &values)
        }
        _ => Err(crate::error::SqlError::internal("not foldable")),
    });
    result.ok().filter(|d| d.size() <= MAX_FOLDED_BYTES)
}

/// A constant of another type by an implicit or assignment cast, if that loses nothing.
pub fn convert(value: &Datum, from: DataType, to: DataType, cx: &PlanContext<'_>) -> Option<Datum> {
    if from == to || matches!(value, Datum::Null) {
        return Some(value.clone());
    }
    let cast = find_cast(from, to, CastContext::Assignment)?;
    with_context(cx, |ecx| apply_cast(&cast, value.clone(), -1, false, ecx)).ok()
}
