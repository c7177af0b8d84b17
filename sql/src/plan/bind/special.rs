//! Constructs with syntax of their own.

use sqlparser::ast::{self, BinaryOperator as Op, DateTimeField, InTarget, Spanned, TrimWhereField};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::expr::{call_expr, operator_name};
use crate::error::{Result, SqlError, SqlState};
use crate::functions::coerce::select_common_type;
use crate::functions::resolve::resolve_operator;
use crate::plan::expr::{Expr, FunctionRef, SubqueryKind};
use crate::plan::logical::*;
use crate::types::{DataType, Datum};

impl Binder<'_> {
    /// Binds arguments and calls a function by name.
    pub(super) fn named_call(&mut self, name: &str, args: &[&ast::Expr], span: Span) -> Result<Expr> {
        let args = args.iter().map(|a| self.expr(a)).collect::<Result<Vec<_>>>()?;
        self.call_bound(name, args, span)
    }

    pub(super) fn extract(&mut self, field: &DateTimeField, expr: &ast::Expr, span: Span) -> Result<Expr> {
        let name = match field {
            DateTimeField::Custom(ident) => ident.value.to_lowercase(),
            other => other.to_string().to_lowercase().replace(' ', ""),
        };
        let field = Expr::Const { value: Datum::text(name), ty: DataType::UNKNOWN };
        let source = self.expr(expr)?;
        self.call_bound("extract", vec![field, source], span).map_err(in_pg_catalog)
    }

    pub(super) fn substring(&mut self, expr: &ast::Expr, from: Option<&ast::Expr>, length: Option<&ast::Expr>, span: Span) -> Result<Expr> {
        let mut args = vec![self.expr(expr)?];
        match (from, length) {
            (Some(from), length) => {
                args.push(self.expr(from)?);
                if let Some(length) = length {
                    args.push(self.expr(length)?);
                }
            }
            (None, Some(length)) => {
                args.push(Expr::Const { value: Datum::Int4(1), ty: DataType::INT4 });
                args.push(self.expr(length)?);
            }
            (None, None) => {}
        }
        self.call_bound("substring", args, span).map_err(in_pg_catalog)
    }

    pub(super) fn trim(
        &mut self,
        place: Option<TrimWhereField>,
        what: Option<&ast::Expr>,
        expr: &ast::Expr,
        characters: Option<&[ast::Expr]>,
        span: Span,
    ) -> Result<Expr> {
        let name = match place {
            None | Some(TrimWhereField::Both) => "btrim",
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
        };
        let mut args = vec![self.expr(expr)?];
        if let Some(what) = what {
            args.push(self.expr(what)?);
        }
        for c in characters.unwrap_or(&[]) {
            args.push(self.expr(c)?);
        }
        self.call_bound(name, args, span)
    }

    pub(super) fn rounding(&mut self, name: &str, expr: &ast::Expr, field: &ast::CeilFloorKind, span: Span) -> Result<Expr> {
        if !matches!(field, ast::CeilFloorKind::DateTimeField(DateTimeField::NoDateTime)) {
            return self.fail(span, SqlState::UNDEFINED_FUNCTION, format!("function {name} with two arguments does not exist"));
        }
        self.named_call(name, &[expr], span)
    }

    pub(super) fn collate(&mut self, expr: &ast::Expr, collation: &ast::ObjectName) -> Result<Expr> {
        let input = self.expr(expr)?;
        let input = self.settle(input)?;
        let names = super::scope::idents(collation);
        match names.last().map(|i| i.value.as_str()) {
            // Text compares by code point everywhere.
            Some("C" | "POSIX" | "default" | "ucs_basic" | "C.utf8" | "C.UTF-8") => {}
            Some(other) => {
                let message = format!("collation \"{other}\" for encoding \"UTF8\" does not exist");
                return self.fail(expr.span(), SqlState::UNDEFINED_OBJECT, message);
            }
            None => return self.unsupported(expr.span(), "this collation"),
        }
        if !matches!(input.ty().category(), 'S') {
            let message = format!("collations are not supported by type {}", input.ty().name());
            return self.fail(expr.span(), SqlState::DATATYPE_MISMATCH, message);
        }
        Ok(input)
    }

    pub(super) fn interval(&mut self, interval: &ast::Interval, span: Span) -> Result<Expr> {
        use DateTimeField as D;
        use ast::IntervalFields as F;
        let fields = match (&interval.leading_field, &interval.last_field) {
            (None, _) => None,
            (Some(D::Year | D::Years), None) => Some(F::Year),
            (Some(D::Month | D::Months), None) => Some(F::Month),
            (Some(D::Day | D::Days), None) => Some(F::Day),
            (Some(D::Hour | D::Hours), None) => Some(F::Hour),
            (Some(D::Minute | D::Minutes), None) => Some(F::Minute),
            (Some(D::Second | D::Seconds), None) => Some(F::Second),
            (Some(D::Year), Some(D::Month)) => Some(F::YearToMonth),
            (Some(D::Day), Some(D::Hour)) => Some(F::DayToHour),
            (Some(D::Day), Some(D::Minute)) => Some(F::DayToMinute),
            (Some(D::Day), Some(D::Second)) => Some(F::DayToSecond),
            (Some(D::Hour), Some(D::Minute)) => Some(F::HourToMinute),
            (Some(D::Hour), Some(D::Second)) => Some(F::HourToSecond),
            (Some(D::Minute), Some(D::Second)) => Some(F::MinuteToSecond),
            _ => return self.fail(span, SqlState::SYNTAX_ERROR, "invalid interval fields"),
        };
        let precision = interval.leading_precision.or(interval.fractional_seconds_precision);
        let typmod = super::types::interval_typmod(fields.as_ref(), precision);
        // Only a literal may follow the word, as in PostgreSQL.
        let value = match &*interval.value {
            ast::Expr::Value(v) => v,
            other => return Err(self.source.near("syntax error", "interval", other.span().start)),
        };
        let Some(text) = super::expr::string_value(&value.value) else {
            return Err(self.source.near("syntax error", &value.value.to_string(), value.span.start));
        };
        self.literal(text, DataType::INTERVAL, typmod, value.span)
    }

    pub(super) fn like(&mut self, operator: &str, expr: &ast::Expr, pattern: &ast::Expr, escape: Option<&ast::Expr>) -> Result<Expr> {
        let subject = self.expr(expr)?;
        let mut bound = self.expr(pattern)?;
        if let Some(escape) = escape {
            let escape = self.expr(escape)?;
            bound = self.call_bound("like_escape", vec![bound, escape], pattern.span())?;
        }
        self.operator(operator, subject, bound, expr.span(), pattern.span())
    }

    pub(super) fn similar_to(&mut self, negated: bool, expr: &ast::Expr, pattern: &ast::Expr, escape: Option<&ast::Expr>) -> Result<Expr> {
        let subject = self.expr(expr)?;
        let mut args = vec![self.expr(pattern)?];
        if let Some(escape) = escape {
            args.push(self.expr(escape)?);
        }
        let regex = self.call_bound("similar_to_escape", args, pattern.span())?;
        self.operator(if negated { "!~" } else { "~" }, subject, regex, expr.span(), pattern.span())
    }

    pub(super) fn between(&mut self, expr: &ast::Expr, negated: bool, low: &ast::Expr, high: &ast::Expr) -> Result<Expr> {
        let subject = self.expr(expr)?;
        let (low_ast, symmetric) = symmetric(low);
        let lower = self.expr(low_ast.as_ref().unwrap_or(low))?;
        let upper = self.expr(high)?;
        let span = expr.span();
        let mut inside = |a: Expr, b: Expr| -> Result<Expr> {
            let from = self.operator(">=", subject.clone(), a, span, low.span())?;
            let to = self.operator("<=", subject.clone(), b, span, high.span())?;
            Ok(Expr::And(vec![from, to]))
        };
        let test =
            if symmetric { Expr::Or(vec![inside(lower.clone(), upper.clone())?, inside(upper, lower)?]) } else { inside(lower, upper)? };
        Ok(if negated { Expr::Not(Box::new(test)) } else { test })
    }

    /// `(a, b) op (c, d)`.
    pub(super) fn row_comparison(&mut self, name: &str, l: Expr, r: Expr, span: Span) -> Result<Expr> {
        let (Expr::Row { fields: a }, Expr::Row { fields: b }) = (l, r) else { return Err(SqlError::internal("rows")) };
        if a.len() != b.len() {
            return self.fail(span, SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions");
        }
        if a.is_empty() {
            return self.fail(span, SqlState::FEATURE_NOT_SUPPORTED, "cannot compare rows of zero length");
        }
        let pairs: Vec<(Expr, Expr)> = a.into_iter().zip(b).collect();
        match name {
            "=" => {
                let parts = pairs.into_iter().map(|(x, y)| self.operator("=", x, y, span, span)).collect::<Result<Vec<_>>>()?;
                Ok(conjunction(parts).unwrap_or(Expr::Const { value: Datum::Bool(true), ty: DataType::BOOL }))
            }
            "<>" => {
                let parts = pairs.into_iter().map(|(x, y)| self.operator("<>", x, y, span, span)).collect::<Result<Vec<_>>>()?;
                Ok(Expr::Or(parts))
            }
            "<" | "<=" | ">" | ">=" => {
                // (a, b) < (c, d)  ⇔  a < c OR a = c AND (b < d)
                let strict = &name[..1];
                let mut pairs = pairs.into_iter().rev();
                let Some((x, y)) = pairs.next() else { return Err(SqlError::internal("rows")) };
                let mut test = self.operator(name, x, y, span, span)?;
                for (x, y) in pairs {
                    let less = self.operator(strict, x.clone(), y.clone(), span, span)?;
                    let equal = self.operator("=", x, y, span, span)?;
                    test = Expr::Or(vec![less, Expr::And(vec![equal, test])]);
                }
                Ok(test)
            }
            other => self.fail(span, SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: record {other} record")),
        }
    }

    pub(super) fn overlaps(&mut self, left: &ast::Expr, right: &ast::Expr) -> Result<Expr> {
        let (l, r) = (self.expr(left)?, self.expr(right)?);
        match (l, r) {
            (Expr::Row { fields: a }, Expr::Row { fields: b }) if a.len() == 2 && b.len() == 2 => {
                self.call_bound("overlaps", a.into_iter().chain(b).collect(), left.span())
            }
            _ => self.fail(left.span(), SqlState::SYNTAX_ERROR, "wrong number of parameters on left side of OVERLAPS expression"),
        }
    }

    pub(super) fn in_target(&mut self, expr: &ast::Expr, target: &InTarget, negated: bool) -> Result<Expr> {
        let test = match target {
            InTarget::List(items) => self.in_list(expr, items)?,
            InTarget::Subquery(query) => {
                let left = self.expr(expr)?;
                self.quantified(left, "=", query, false, expr.span())?
            }
            _ => return self.unsupported(expr.span(), "this form of IN"),
        };
        Ok(if negated { Expr::Not(Box::new(test)) } else { test })
    }

    fn in_list(&mut self, expr: &ast::Expr, items: &[ast::Expr]) -> Result<Expr> {
        let span = expr.span();
        let left = self.expr(expr)?;
        if let ([ast::Expr::Subquery(query)], false) = (items, matches!(left, Expr::Row { .. })) {
            return self.quantified(left, "=", query, false, span);
        }
        let mut bound = Vec::with_capacity(items.len());
        for item in items {
            bound.push(self.expr(item)?);
        }
        let item_span = |n: usize| items[n].span();
        let types: Vec<DataType> = std::iter::once(left.ty()).chain(bound.iter().map(Expr::ty)).collect();
        let common = select_common_type(&types, "IN").ok().filter(|t| *t != DataType::RECORD && t.array_type().is_some());
        if bound.len() > 1
            && !matches!(left, Expr::Row { .. })
            && let Some(common) = common
            && let Ok(resolved) = resolve_operator("=", Some(if left.ty() == DataType::UNKNOWN { common } else { left.ty() }), common)
            && let (to, true) = (resolved.call.arg_types[1], resolved.call.arg_types[1].array_type().is_some())
        {
            let left = self.coerce(left, resolved.call.arg_types[0], span)?;
            let elements = bound.into_iter().enumerate().map(|(n, e)| self.coerce(e, to, item_span(n))).collect::<Result<Vec<_>>>()?;
            let array = Expr::Array { elements, element: to, nested: false };
            return Ok(Expr::AnyAll { left: Box::new(left), array: Box::new(array), function: FunctionRef(resolved.call.def), all: false });
        }
        let mut tests = Vec::with_capacity(bound.len());
        for (n, item) in bound.into_iter().enumerate() {
            tests.push(self.operator("=", left.clone(), item, span, item_span(n))?);
        }
        match tests.len() {
            1 => tests.pop().ok_or_else(|| SqlError::internal("IN list")),
            _ => Ok(Expr::Or(tests)),
        }
    }

    pub(super) fn any_all(&mut self, left: &ast::Expr, op: &Op, right: &ast::Expr, all: bool) -> Result<Expr> {
        let Some(name) = operator_name(op) else { return self.unsupported(left.span(), format!("operator {op}")) };
        let span = left.span();
        let l = self.expr(left)?;
        let mut inner = right;
        while let ast::Expr::Nested(e) = inner {
            inner = e;
        }
        if let ast::Expr::Subquery(query) = inner {
            return self.quantified(l, &name, query, all, span);
        }
        let r = self.expr(right)?;
        let element = match r.ty() {
            DataType::UNKNOWN => DataType::UNKNOWN,
            ty => match ty.element() {
                Some(element) => element,
                None => return self.fail(right.span(), SqlState::WRONG_OBJECT_TYPE, "op ANY/ALL (array) requires array on right side"),
            },
        };
        let resolved = resolve_operator(&name, Some(l.ty()), element).map_err(|e| self.at(span, e))?;
        if resolved.call.returns != DataType::BOOL {
            return self.fail(span, SqlState::WRONG_OBJECT_TYPE, "op ANY/ALL (array) requires operator to yield boolean");
        }
        let l = self.coerce(l, resolved.call.arg_types[0], span)?;
        let array = resolved.call.arg_types[1].array_type().ok_or_else(|| {
            SqlError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("could not find array type for data type {}", resolved.call.arg_types[1].name()),
            )
        })?;
        let r = if r.ty() == array { r } else { self.coerce(r, array, right.span())? };
        Ok(Expr::AnyAll { left: Box::new(l), array: Box::new(r), function: FunctionRef(resolved.call.def), all })
    }

    /// `left op ANY/ALL (query)`.
    fn quantified(&mut self, left: Expr, name: &str, query: &ast::Query, all: bool, span: Span) -> Result<Expr> {
        let (index, cols) = self.subquery(query)?;
        let types: Vec<DataType> = cols.iter().map(|c| self.cols[*c].ty).collect();
        let lefts = match left {
            Expr::Row { fields } => fields,
            one => vec![one],
        };
        if lefts.len() != types.len() {
            let message = if lefts.len() < types.len() { "subquery has too many columns" } else { "subquery has too few columns" };
            return self.fail(span, SqlState::SYNTAX_ERROR, message);
        }
        let mut functions = Vec::new();
        let mut coerced = Vec::new();
        let mut casts: Vec<(ColId, DataType)> = Vec::new();
        for (l, (ty, col)) in lefts.into_iter().zip(types.iter().zip(&cols)) {
            let resolved = resolve_operator(name, Some(l.ty()), *ty).map_err(|e| self.at(span, e))?;
            if resolved.call.returns != DataType::BOOL {
                return self.fail(span, SqlState::DATATYPE_MISMATCH, format!("operator {name} must return type boolean"));
            }
            coerced.push(self.coerce(l, resolved.call.arg_types[0], span)?);
            functions.push(FunctionRef(resolved.call.def));
            casts.push((*col, resolved.call.arg_types[1]));
        }
        self.cast_subquery(index, &casts, span)?;
        let correlated = !self.subqueries[index].free.is_empty();
        let kind = if coerced.len() == 1 {
            let (Some(left), Some(function)) = (coerced.pop(), functions.pop()) else { return Err(SqlError::internal("quantified")) };
            SubqueryKind::AnyAll { left: Box::new(left), function, all }
        } else if name == "=" && !all {
            SubqueryKind::RowIn { left: coerced, functions }
        } else {
            return self.unsupported(span, "row comparison with ANY/ALL other than = ANY");
        };
        Ok(subquery_expr(index, kind, correlated, DataType::BOOL))
    }

    /// Casts output columns of a subquery where the comparison needs another type.
    fn cast_subquery(&mut self, index: usize, casts: &[(ColId, DataType)], span: Span) -> Result<()> {
        if casts.iter().all(|(col, ty)| self.cols[*col].ty == *ty) {
            return Ok(());
        }
        let mut exprs = Vec::new();
        let mut cols = Vec::new();
        for (col, ty) in casts {
            let input = self.column_expr(*col);
            let cast = self.coerce(input, *ty, span)?;
            let id = self.column(self.cols[*col].name.clone(), *ty, -1);
            exprs.push((id, cast));
            cols.push(id);
        }
        let subquery = &mut self.subqueries[index];
        let rel = std::mem::replace(&mut subquery.rel, Rel::OneRow);
        subquery.rel = Rel::Project { input: Box::new(rel), exprs };
        subquery.cols = cols;
        Ok(())
    }

    /// Binds a query as a subquery of an expression; untyped output becomes text.
    pub(super) fn subquery(&mut self, query: &ast::Query) -> Result<(usize, Vec<ColId>)> {
        let (rel, output) = self.query(query)?;
        let cols: Vec<ColId> = output.iter().map(|o| o.0).collect();
        let free = rel.free(&self.subqueries);
        self.subqueries.push(Subquery { rel, cols: cols.clone(), free });
        Ok((self.subqueries.len() - 1, cols))
    }

    pub(super) fn exists(&mut self, query: &ast::Query, negated: bool) -> Result<Expr> {
        let (index, _) = self.subquery(query)?;
        let correlated = !self.subqueries[index].free.is_empty();
        let test = subquery_expr(index, SubqueryKind::Exists, correlated, DataType::BOOL);
        Ok(if negated { Expr::Not(Box::new(test)) } else { test })
    }

    pub(super) fn scalar_subquery(&mut self, query: &ast::Query) -> Result<Expr> {
        let (index, cols) = self.subquery(query)?;
        let [col] = cols[..] else {
            return self.fail(query.span(), SqlState::SYNTAX_ERROR, "subquery must return only one column");
        };
        let correlated = !self.subqueries[index].free.is_empty();
        Ok(subquery_expr(index, SubqueryKind::Scalar, correlated, self.cols[col].ty))
    }

    pub(super) fn array_subquery(&mut self, query: &ast::Query, span: Span) -> Result<Expr> {
        let (index, cols) = self.subquery(query)?;
        let [col] = cols[..] else {
            return self.fail(span, SqlState::SYNTAX_ERROR, "subquery must return only one column");
        };
        let element = self.cols[col].ty;
        let Some(ty) = element.array_type() else {
            return self.fail(span, SqlState::UNDEFINED_OBJECT, format!("could not find array type for data type {}", element.name()));
        };
        let correlated = !self.subqueries[index].free.is_empty();
        Ok(subquery_expr(index, SubqueryKind::Array { element }, correlated, ty))
    }

    /// COALESCE, NULLIF, GREATEST, LEAST: not functions, though they look it.
    pub(super) fn pseudo_function(&mut self, name: &str, args: &[&ast::Expr], span: Span) -> Result<Option<Expr>> {
        let spans: Vec<Span> = args.iter().map(|a| a.span()).collect();
        match name {
            "coalesce" | "greatest" | "least" => {
                if args.is_empty() {
                    return Err(self.source.near("syntax error", ")", span.end));
                }
                let bound = args.iter().map(|a| self.expr(a)).collect::<Result<Vec<_>>>()?;
                let (args, ty) = self.unify(bound, &name.to_uppercase(), &spans)?;
                Ok(Some(if name == "coalesce" {
                    Expr::Coalesce { args, ty }
                } else {
                    Expr::MinMax { args, greatest: name == "greatest", ty }
                }))
            }
            "nullif" => {
                let [a, b] = args else { return Err(self.source.near("syntax error", "nullif", span.start)) };
                let left = self.expr(a)?;
                let right = self.expr(b)?;
                let left = if right.ty() == DataType::UNKNOWN { self.settle(left)? } else { left };
                let resolved = resolve_operator("=", Some(left.ty()), right.ty()).map_err(|e| self.at(span, e))?;
                let l = self.coerce(left.clone(), resolved.call.arg_types[0], a.span())?;
                let r = self.coerce(right, resolved.call.arg_types[1], b.span())?;
                let kept = if left.ty() == DataType::UNKNOWN { l.clone() } else { left };
                let ty = kept.ty();
                let test = call_expr(resolved.call.def, vec![l, r], DataType::BOOL);
                Ok(Some(Expr::Case { branches: vec![(test, Expr::Const { value: Datum::Null, ty })], otherwise: Some(Box::new(kept)), ty }))
            }
            _ => Ok(None),
        }
    }
}

/// The error of a call that names its schema, as `pg_catalog.f(…)` and the special syntax (EXTRACT, SUBSTRING … FROM) do.
pub(super) fn in_pg_catalog(mut error: SqlError) -> SqlError {
    if error.code == SqlState::UNDEFINED_FUNCTION || error.code == SqlState::AMBIGUOUS_FUNCTION {
        error.message = error.message.replacen("function ", "function pg_catalog.", 1);
    }
    error
}

/// `BETWEEN SYMMETRIC a + 1 AND b` arrives as `!! a + 1`: finds and drops the marker on the left edge.
fn symmetric(low: &ast::Expr) -> (Option<ast::Expr>, bool) {
    fn strip(e: &mut ast::Expr) -> bool {
        match e {
            ast::Expr::UnaryOp { op: ast::UnaryOperator::PGPrefixFactorial, expr } => {
                let inner = std::mem::replace(&mut **expr, ast::Expr::Value(ast::Value::Null.with_empty_span()));
                *e = inner;
                true
            }
            ast::Expr::BinaryOp { left, .. } => strip(left),
            ast::Expr::Cast { expr, .. } | ast::Expr::Collate { expr, .. } => strip(expr),
            ast::Expr::CompoundFieldAccess { root, .. } => strip(root),
            ast::Expr::AtTimeZone { timestamp, .. } => strip(timestamp),
            _ => false,
        }
    }
    fn marked(e: &ast::Expr) -> bool {
        match e {
            ast::Expr::UnaryOp { op, .. } => matches!(op, ast::UnaryOperator::PGPrefixFactorial),
            ast::Expr::BinaryOp { left, .. } => marked(left),
            ast::Expr::Cast { expr, .. } | ast::Expr::Collate { expr, .. } => marked(expr),
            ast::Expr::CompoundFieldAccess { root, .. } => marked(root),
            ast::Expr::AtTimeZone { timestamp, .. } => marked(timestamp),
            _ => false,
        }
    }
    if !marked(low) {
        return (None, false);
    }
    let mut copy = low.clone();
    let found = strip(&mut copy);
    (Some(copy), found)
}
