//! Function calls.
//!
//! Aggregate, window and set-returning calls are taken out of the expression: they are collected in the scope of the query
//! that computes them, and a column of that query's Aggregate, Window or ProjectSet node stands in their place.

use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Spanned};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::expr::call_expr;
use super::scope::{PendingWindow, idents, name_span};
use super::special::in_pg_catalog;
use crate::error::{Result, SqlError, SqlState};
use crate::functions::registry::functions_named;
use crate::functions::resolve::{ResolvedCall, resolve_function};
use crate::functions::{FunctionBody, FunctionDef};
use crate::plan::expr::{Expr, FunctionRef};
use crate::plan::logical::*;
use crate::plan::node::*;
use crate::types::casts::CastContext;
use crate::types::{DataType, Datum};

/// The place that refuses window and set-returning calls with words of its own.
const AGGREGATE_ARGUMENTS: &str = "aggregate arguments";

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Scalar,
    Aggregate,
    Window,
    Set,
}

fn kind_of(def: &FunctionDef) -> Kind {
    match def.body {
        FunctionBody::Aggregate { .. } => Kind::Aggregate,
        FunctionBody::Window => Kind::Window,
        FunctionBody::Set { .. } => Kind::Set,
        FunctionBody::Scalar(_) | FunctionBody::Typed(_) | FunctionBody::Executor => Kind::Scalar,
    }
}

struct Args<'e> {
    exprs: Vec<&'e ast::Expr>,
    star: bool,
    distinct: bool,
    order: Vec<&'e ast::OrderByExpr>,
}

/// The helper functions that PostgreSQL keeps in information_schema, and that are found there only.
pub(super) fn in_information_schema(schema: &str, name: &str) -> bool {
    schema == "information_schema" && name.starts_with("_pg_")
}

/// The output columns of a set-returning function that has several, with the types that they have in this call.
pub(super) fn set_columns(call: &ResolvedCall) -> Vec<(&'static str, DataType)> {
    let FunctionBody::Set { columns, .. } = call.def.body else { return Vec::new() };
    let element = call.arg_types.first().and_then(|ty| ty.element());
    let concrete = |ty: DataType| if ty == DataType::ANYELEMENT { element.unwrap_or(ty) } else { ty };
    columns.iter().map(|(name, ty)| (*name, concrete(*ty))).collect()
}

impl Binder<'_> {
    /// A call, as the syntax has it.
    pub(super) fn function(&mut self, f: &ast::Function) -> Result<Expr> {
        let parts = idents(&f.name);
        let span = name_span(&f.name);
        let name = match parts[..] {
            [name] => name.value.as_str(),
            [schema, name] if schema.value == "pg_catalog" || in_information_schema(&schema.value, &name.value) => name.value.as_str(),
            [schema, name] => {
                return self.fail(span, SqlState::UNDEFINED_FUNCTION, format!("function {}.{}() does not exist", schema.value, name.value));
            }
            _ => return self.fail(span, SqlState::SYNTAX_ERROR, "improper qualified name"),
        };
        if parts.len() == 1 && in_information_schema("information_schema", name) {
            return self.fail(span, SqlState::UNDEFINED_FUNCTION, format!("function {name}() does not exist"));
        }
        if let FunctionArguments::Subquery(query) = &f.args {
            return if name == "array" { self.array_subquery(query, span) } else { self.unsupported(span, "a query as an argument") };
        }
        if f.null_treatment.is_some() {
            return self.unsupported(span, "RESPECT NULLS / IGNORE NULLS");
        }
        if matches!(f.args, FunctionArguments::None) && parts.len() == 1 {
            return self.value_function(name, span);
        }
        let args = self.arguments(f, span)?;
        let plain =
            f.over.is_none() && f.filter.is_none() && f.within_group.is_empty() && !args.distinct && !args.star && args.order.is_empty();
        if plain && parts.len() == 1 {
            if let Some(expr) = self.pseudo_function(name, &args.exprs, span)? {
                return Ok(expr);
            }
            match name {
                "row" => {
                    let fields = args.exprs.iter().map(|e| self.expr(e)).collect::<Result<Vec<_>>>()?;
                    return Ok(Expr::Row { fields });
                }
                "grouping" => return self.grouping_call(&args.exprs, span),
                "current_timestamp" | "localtimestamp" | "current_time" | "localtime" if args.exprs.len() == 1 => {
                    let precision = args.exprs[0].to_string().parse::<i32>().ok().filter(|p| (0..=6).contains(p));
                    let value = self.value_function(name, span)?;
                    let ty = value.ty();
                    return self.cast(value, ty, precision.unwrap_or(6), span);
                }
                _ => {}
            }
        }
        let kind = functions_named(name).first().map_or(Kind::Scalar, kind_of);
        if f.over.is_some() {
            return self.window_call(name, f, &args, kind, span);
        }
        match kind {
            Kind::Aggregate => self.aggregate_call(name, f, &args, span),
            Kind::Window => self.fail(span, SqlState::WRONG_OBJECT_TYPE, format!("window function {name} requires an OVER clause")),
            _ => {
                let not_aggregate = |what: &str| format!("{what} specified, but {name} is not an aggregate function");
                if args.distinct {
                    return self.fail(span, SqlState::WRONG_OBJECT_TYPE, not_aggregate("DISTINCT"));
                }
                if args.star {
                    return self.fail(
                        span,
                        SqlState::WRONG_OBJECT_TYPE,
                        format!("{name}(*) specified, but {name} is not an aggregate function"),
                    );
                }
                if !args.order.is_empty() {
                    return self.fail(span, SqlState::WRONG_OBJECT_TYPE, not_aggregate("ORDER BY"));
                }
                if f.filter.is_some() {
                    return self.fail(span, SqlState::WRONG_OBJECT_TYPE, not_aggregate("FILTER"));
                }
                let bound = self.argument_values(name, &args.exprs)?;
                if let ("row_to_json", [row]) = (name, &bound[..])
                    && row.ty() == DataType::JSON
                {
                    return Ok(row.clone());
                }
                let call = self.call_bound(name, bound, span);
                if parts.len() == 2 { call.map_err(in_pg_catalog) } else { call }
            }
        }
    }

    /// Binds arguments. JSON functions see the column names of a whole row, which records do not carry: it arrives as JSON.
    fn argument_values(&mut self, name: &str, exprs: &[&ast::Expr]) -> Result<Vec<Expr>> {
        const ROW_READERS: [&str; 11] = [
            "row_to_json",
            "to_json",
            "to_jsonb",
            "json_agg",
            "jsonb_agg",
            "json_build_object",
            "jsonb_build_object",
            "json_build_array",
            "jsonb_build_array",
            "json_object_agg",
            "jsonb_object_agg",
        ];
        let mut out = Vec::with_capacity(exprs.len());
        for e in exprs {
            let bound = self.expr(e)?;
            out.push(match (&bound, e) {
                (Expr::Row { fields }, ast::Expr::Identifier(_))
                    if ROW_READERS.contains(&name) && (name != "row_to_json" || exprs.len() == 1) =>
                {
                    let mut pairs = Vec::with_capacity(fields.len() * 2);
                    for field in fields {
                        let Expr::Column { ordinal, .. } = field else {
                            return exprs.iter().map(|e| self.expr(e)).collect::<Result<_>>();
                        };
                        pairs.push(Expr::Const { value: Datum::text(&self.cols[*ordinal].name), ty: DataType::TEXT });
                        pairs.push(field.clone());
                    }

                    self.call_bound("json_of_row", pairs, e.span())?
                }
                _ => bound,
            });
        }
        Ok(out)
    }

    fn arguments<'e>(&self, f: &'e ast::Function, span: Span) -> Result<Args<'e>> {
        let mut out = Args { exprs: Vec::new(), star: false, distinct: false, order: Vec::new() };
        if let FunctionArguments::List(list) = &f.args {
            out.distinct = matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct));
            for arg in &list.args {
                match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => out.exprs.push(e),
                    FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => out.star = true,
                    FunctionArg::Unnamed(_) => return self.unsupported(span, "t.* as a function argument"),
                    _ => return self.unsupported(span, "named arguments"),
                }
            }
            for clause in &list.clauses {
                match clause {
                    FunctionArgumentClause::OrderBy(keys) => out.order.extend(keys),
                    other => return self.unsupported(span, format!("{other} in a function call")),
                }
            }
        }
        if out.exprs.len() > 100 && functions_named(&f.name.to_string()).is_empty() {
            return self.fail(span, SqlState::TOO_MANY_ARGUMENTS, "cannot pass more than 100 arguments to a function");
        }
        Ok(out)
    }

    /// CURRENT_DATE and the others that are called without parentheses.
    fn value_function(&mut self, name: &str, span: Span) -> Result<Expr> {
        let to = match name {
            "current_timestamp" => return self.call_bound("now", Vec::new(), span),
            "current_date" => DataType::DATE,
            "current_time" => DataType::TIMETZ,
            "localtime" => DataType::TIME,
            "localtimestamp" => DataType::TIMESTAMP,
            "user" | "current_role" => return self.call_bound("current_user", Vec::new(), span),
            "current_catalog" => return self.call_bound("current_database", Vec::new(), span),
            other => return self.call_bound(other, Vec::new(), span),
        };
        let now = self.call_bound("now", Vec::new(), span)?;
        self.cast(now, to, -1, span)
    }

    /// A call of an ordinary or set-returning function over bound arguments.
    pub(super) fn call_bound(&mut self, name: &str, args: Vec<Expr>, span: Span) -> Result<Expr> {
        let types: Vec<DataType> = args.iter().map(Expr::ty).collect();
        let call = match resolve_function(name, &types, false) {
            Ok(call) => call,
            Err(error) => {
                // `int4(x)`, `date(x)`: a type's name is a cast.
                if error.code == SqlState::UNDEFINED_FUNCTION
                    && args.len() == 1
                    && let Some(ty) = DataType::from_typname(name)
                    && let Some(arg) = args.into_iter().next()
                    && let Some(cast) = self.try_coerce(arg, ty, -1, CastContext::Explicit, span)?
                {
                    return Ok(cast);
                }
                return Err(self.at(span, error));
            }
        };
        let args = self.call_args(&call, args, span)?;
        match kind_of(call.def) {
            Kind::Set => self.set_call(&call, args, span),
            Kind::Aggregate | Kind::Window => self.fail(span, SqlState::WRONG_OBJECT_TYPE, format!("{name} cannot be called here")),
            Kind::Scalar => Ok(call_expr(call.def, args, call.returns)),
        }
    }

    /// Coerces arguments; packs variadic ones into an array.
    pub(super) fn call_args(&mut self, call: &ResolvedCall, args: Vec<Expr>, span: Span) -> Result<Vec<Expr>> {
        let mut out = Vec::with_capacity(args.len());
        for (arg, ty) in args.into_iter().zip(&call.arg_types) {
            let arg = if *ty == DataType::ANY && call.def.name != "pg_typeof" { self.settle(arg)? } else { arg };
            out.push(self.coerce(arg, *ty, span)?);
        }
        if let Some(from) = call.pack_from
            && from <= out.len()
        {
            let elements = out.split_off(from);
            let element = call.arg_types.get(from).copied().unwrap_or(DataType::TEXT);
            out.push(Expr::Array { elements, element, nested: false });
        }
        Ok(out)
    }

    fn set_call(&mut self, call: &ResolvedCall, args: Vec<Expr>, span: Span) -> Result<Expr> {
        let Some(scope) = self.scopes.last() else {
            return self.fail(span, SqlState::FEATURE_NOT_SUPPORTED, "set-returning functions are not allowed here");
        };
        if let Some(place) = scope.no_sets {
            if place == "CASE/WHEN" {
                return self.fail(span, SqlState::DATATYPE_MISMATCH, "argument of CASE/WHEN must not return a set");
            }
            let message = match place {
                AGGREGATE_ARGUMENTS => "aggregate function calls cannot contain set-returning function calls".to_owned(),
                _ => format!("set-returning functions are not allowed in {place}"),
            };
            return self.fail(span, SqlState::FEATURE_NOT_SUPPORTED, message);
        }
        let multi = matches!(call.def.body, FunctionBody::Set { columns, .. } if columns.len() > 1);
        let ty = if multi { DataType::RECORD } else { call.returns };
        let id = self.column(call.def.name, ty, -1);
        if multi {
            self.records.insert(id, set_columns(call));
        }
        if let Some(scope) = self.scopes.last_mut() {
            scope.sets.push((id, FunctionRef(call.def), args, ty));
        }
        Ok(self.column_expr(id))
    }

    fn aggregate_call(&mut self, name: &str, f: &ast::Function, args: &Args<'_>, span: Span) -> Result<Expr> {
        let Some(level) = self.scopes.len().checked_sub(1) else {
            return self.fail(span, SqlState::GROUPING_ERROR, "aggregate functions are not allowed here");
        };
        if self.scopes[level].in_aggregate {
            return self.fail(span, SqlState::GROUPING_ERROR, "aggregate function calls cannot be nested");
        }
        self.scopes[level].in_aggregate = true;
        let saved_windows = self.scopes[level].no_windows.replace(AGGREGATE_ARGUMENTS);
        let saved_sets = self.scopes[level].no_sets.replace(AGGREGATE_ARGUMENTS);
        let call = self.aggregate_parts(name, f, args, span);
        let scope = &mut self.scopes[level];
        scope.in_aggregate = false;
        scope.no_windows = saved_windows;
        scope.no_sets = saved_sets;
        let call = call?;
        // It belongs to the innermost query whose columns it uses.
        let mut used = ColSet::default();
        for e in call.args.iter().chain(&call.filter).chain(call.order.iter().map(|k| &k.expr)) {
            columns_of(e, &self.subqueries, &mut used);
        }
        let owner = (0..=level)
            .rev()
            .find(|n| self.scopes[*n].entries.iter().any(|e| e.cols.iter().any(|c| used.contains(&c.id))))
            .unwrap_or(level);
        if let Some(place) = self.scopes[owner].no_aggregates {
            return self.fail(span, SqlState::GROUPING_ERROR, format!("aggregate functions are not allowed in {place}"));
        }
        // The same aggregate twice is computed once.
        let printed = format!("{call:?}");
        if let Some((id, _)) = self.scopes[owner].aggregates.iter().find(|(_, c)| format!("{c:?}") == printed) {
            let id = *id;
            return Ok(self.column_expr(id));
        }
        let id = self.column(name, call.ty, -1);
        self.scopes[owner].aggregates.push((id, call));
        Ok(self.column_expr(id))
    }

    fn aggregate_parts(&mut self, name: &str, f: &ast::Function, args: &Args<'_>, span: Span) -> Result<AggregateCall> {
        let mut bound = self.argument_values(name, &args.exprs)?;
        let mut order_asts: Vec<&ast::OrderByExpr> = args.order.clone();
        let within = !f.within_group.is_empty();
        if within {
            order_asts = f.within_group.iter().collect();
        }
        let mut order = Vec::new();
        for key in &order_asts {
            let expr = self.expr(&key.expr)?;
            let expr = self.settle(expr)?;
            if within {
                bound.push(expr.clone());
            }
            order.push(self.sort_key(expr, &key.options, key.expr.span())?);
        }
        if args.star && name != "count" {
            return self.fail(span, SqlState::UNDEFINED_FUNCTION, format!("function {name}() does not exist"));
        }
        let types: Vec<DataType> = bound.iter().map(Expr::ty).collect();
        if !args.star && types.is_empty() && name == "count" {
            return self.fail(span, SqlState::WRONG_OBJECT_TYPE, "count(*) must be used to call a parameterless aggregate function");
        }
        let call = resolve_function(name, &types, false).map_err(|e| self.at(span, e))?;
        let bound = self.call_args(&call, bound, span)?;
        if within {
            // The sort keys see the coerced values.
            let direct = bound.len() - order.len();
            for (key, arg) in order.iter_mut().zip(&bound[direct..]) {
                key.expr = arg.clone();
            }
        }
        if args.distinct
            && let Some(key) = order.iter().find(|k| !bound.iter().any(|a| same(a, &k.expr)))
        {
            let _ = key;
            let message = "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
            return self.fail(span, SqlState::INVALID_COLUMN_REFERENCE, message);
        }
        let filter = match &f.filter {
            Some(filter) => {
                let bound = self.expr(filter)?;
                Some(self.boolean(bound, "FILTER", filter.span())?)
            }
            None => None,
        };
        Ok(AggregateCall { function: FunctionRef(call.def), args: bound, distinct: args.distinct, order, filter, ty: call.returns })
    }

    fn grouping_call(&mut self, args: &[&ast::Expr], span: Span) -> Result<Expr> {
        let bound = args.iter().map(|e| self.expr(e)).collect::<Result<Vec<_>>>()?;
        let id = self.column("grouping", DataType::INT4, -1);
        match self.scopes.last_mut() {
            Some(scope) if scope.no_aggregates.is_none() => scope.grouping.push((id, bound)),
            _ => return self.fail(span, SqlState::GROUPING_ERROR, "grouping operations are not allowed here"),
        }
        Ok(self.column_expr(id))
    }

    fn window_call(&mut self, name: &str, f: &ast::Function, args: &Args<'_>, kind: Kind, span: Span) -> Result<Expr> {
        let Some(level) = self.scopes.len().checked_sub(1) else {
            return self.fail(span, SqlState::WINDOWING_ERROR, "window functions are not allowed here");
        };
        if let Some(place) = self.scopes[level].no_windows {
            if place == AGGREGATE_ARGUMENTS {
                return self.fail(span, SqlState::GROUPING_ERROR, "aggregate function calls cannot contain window function calls");
            }
            return self.fail(span, SqlState::WINDOWING_ERROR, format!("window functions are not allowed in {place}"));
        }
        if !matches!(kind, Kind::Window | Kind::Aggregate) {
            if functions_named(name).is_empty() {
                let bound = args.exprs.iter().map(|e| self.expr(e)).collect::<Result<Vec<_>>>()?;
                return self.call_bound(name, bound, span);
            }
            let message = format!("OVER specified, but {name} is not a window function nor an aggregate function");
            return self.fail(span, SqlState::WRONG_OBJECT_TYPE, message);
        }
        if args.distinct {
            return self.fail(span, SqlState::FEATURE_NOT_SUPPORTED, "DISTINCT is not implemented for window functions");
        }
        if !args.order.is_empty() || !f.within_group.is_empty() {
            return self.unsupported(span, "aggregate ORDER BY for window functions");
        }
        if f.filter.is_some() && kind == Kind::Window {
            return self.unsupported(span, "FILTER for non-aggregate window functions");
        }
        let saved = self.scopes[level].no_windows.replace("window function arguments");
        let result = self.window_parts(name, f, args, span);
        self.scopes[level].no_windows = saved;
        let (partition, order, call) = result?;
        let id = self.column(name, call.ty, -1);
        self.scopes[level].windows.push(PendingWindow { col: id, partition, order, call });
        Ok(self.column_expr(id))
    }

    fn window_parts(
        &mut self,
        name: &str,
        f: &ast::Function,
        args: &Args<'_>,
        span: Span,
    ) -> Result<(Vec<Expr>, Vec<SortKey>, WindowCall)> {
        let bound = args.exprs.iter().map(|e| self.expr(e)).collect::<Result<Vec<_>>>()?;
        let types: Vec<DataType> = bound.iter().map(Expr::ty).collect();
        let call = resolve_function(name, &types, false).map_err(|e| self.at(span, e))?;
        let bound = self.call_args(&call, bound, span)?;
        let filter = match &f.filter {
            Some(filter) => {
                let bound = self.expr(filter)?;
                Some(self.boolean(bound, "FILTER", filter.span())?)
            }
            None => None,
        };
        let spec = match &f.over {
            Some(ast::WindowType::WindowSpec(spec)) => spec.clone(),
            Some(ast::WindowType::NamedWindow(ident)) => self.named_window(ident, true)?,
            None => return Err(SqlError::internal("no OVER")),
        };
        let spec = self.inherit_window(spec)?;
        let mut partition = Vec::new();
        for e in &spec.partition_by {
            let bound = self.expr(e)?;
            partition.push(self.settle(bound)?);
        }
        let mut order = Vec::new();
        for key in &spec.order_by {
            let bound = self.expr(&key.expr)?;
            let bound = self.settle(bound)?;
            order.push(self.sort_key(bound, &key.options, key.expr.span())?);
        }
        let frame = self.frame(spec.window_frame.as_ref(), &order, span)?;
        Ok((partition, order, WindowCall { function: FunctionRef(call.def), args: bound, filter, frame, ty: call.returns }))
    }

    fn named_window(&self, ident: &ast::Ident, _whole: bool) -> Result<ast::WindowSpec> {
        let found = self.scopes.last().and_then(|s| s.named_windows.iter().find(|w| w.0 == ident.value));
        match found {
            Some((_, spec)) => Ok(spec.clone()),
            None => self.fail(ident.span, SqlState::UNDEFINED_OBJECT, format!("window \"{}\" does not exist", ident.value)),
        }
    }

    /// `OVER (w ORDER BY …)`: the base window's clauses.
    fn inherit_window(&self, mut spec: ast::WindowSpec) -> Result<ast::WindowSpec> {
        let mut limit = 0;
        while let Some(base) = spec.window_name.take() {
            limit += 1;
            let parent = self.named_window(&base, false)?;
            if limit > 32 {
                return self.fail(base.span, SqlState::WINDOWING_ERROR, "windows refer to each other");
            }
            if !spec.partition_by.is_empty() {
                return self.fail(
                    base.span,
                    SqlState::WINDOWING_ERROR,
                    format!("cannot override PARTITION BY clause of window \"{}\"", base.value),
                );
            }
            if !spec.order_by.is_empty() && !parent.order_by.is_empty() {
                return self.fail(
                    base.span,
                    SqlState::WINDOWING_ERROR,
                    format!("cannot override ORDER BY clause of window \"{}\"", base.value),
                );
            }
            if parent.window_frame.is_some() {
                let message = format!("cannot copy window \"{}\" because it has a frame clause", base.value);
                return self.fail(base.span, SqlState::WINDOWING_ERROR, message);
            }
            spec.partition_by = parent.partition_by;
            if spec.order_by.is_empty() {
                spec.order_by = parent.order_by;
            }
            spec.window_name = parent.window_name;
        }
        Ok(spec)
    }

    fn frame(&mut self, frame: Option<&ast::WindowFrame>, order: &[SortKey], span: Span) -> Result<Frame> {
        let Some(frame) = frame else {
            return Ok(Frame { unit: FrameUnit::Range, start: FrameBound::UnboundedPreceding, end: FrameBound::CurrentRow });
        };
        let unit = match frame.units {
            ast::WindowFrameUnits::Rows => FrameUnit::Rows,
            ast::WindowFrameUnits::Range => FrameUnit::Range,
            ast::WindowFrameUnits::Groups => FrameUnit::Groups,
        };
        if unit == FrameUnit::Groups && order.is_empty() {
            return self.fail(span, SqlState::WINDOWING_ERROR, "GROUPS mode requires an ORDER BY clause");
        }
        let start = self.bound(&frame.start_bound, unit, order, span)?;
        let end = match &frame.end_bound {
            Some(bound) => self.bound(bound, unit, order, span)?,
            None => FrameBound::CurrentRow,
        };
        let message = match (&start, &end) {
            (FrameBound::UnboundedFollowing, _) => Some("frame start cannot be UNBOUNDED FOLLOWING"),
            (_, FrameBound::UnboundedPreceding) => Some("frame end cannot be UNBOUNDED PRECEDING"),
            (FrameBound::CurrentRow, FrameBound::Preceding(_)) => Some("frame starting from current row cannot have preceding rows"),
            (FrameBound::Following(_), FrameBound::CurrentRow | FrameBound::Preceding(_)) => {
                Some("frame starting from following row cannot have preceding rows")
            }
            _ => None,
        };
        match message {
            Some(message) => self.fail(span, SqlState::WINDOWING_ERROR, message),
            None => Ok(Frame { unit, start, end }),
        }
    }

    fn bound(&mut self, bound: &ast::WindowFrameBound, unit: FrameUnit, order: &[SortKey], span: Span) -> Result<FrameBound> {
        let (offset, preceding) = match bound {
            ast::WindowFrameBound::CurrentRow => return Ok(FrameBound::CurrentRow),
            ast::WindowFrameBound::Preceding(None) => return Ok(FrameBound::UnboundedPreceding),
            ast::WindowFrameBound::Following(None) => return Ok(FrameBound::UnboundedFollowing),
            ast::WindowFrameBound::Preceding(Some(e)) => (e, true),
            ast::WindowFrameBound::Following(Some(e)) => (e, false),
        };
        let expr = self.expr(offset)?;
        let ty = match unit {
            FrameUnit::Rows | FrameUnit::Groups => DataType::INT8,
            FrameUnit::Range => {
                let [key] = order else {
                    let message = "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column";
                    return self.fail(span, SqlState::WINDOWING_ERROR, message);
                };
                match key.expr.ty() {
                    DataType::INT2 | DataType::INT4 | DataType::INT8 => DataType::INT8,
                    DataType::FLOAT4 | DataType::FLOAT8 => DataType::FLOAT8,
                    DataType::NUMERIC => DataType::NUMERIC,
                    DataType::DATE
                    | DataType::TIME
                    | DataType::TIMETZ
                    | DataType::TIMESTAMP
                    | DataType::TIMESTAMPTZ
                    | DataType::INTERVAL => DataType::INTERVAL,
                    other => {
                        let message = format!("RANGE with offset PRECEDING/FOLLOWING is not supported for column type {}", other.name());
                        return self.fail(span, SqlState::FEATURE_NOT_SUPPORTED, message);
                    }
                }
            }
        };
        let from = expr.ty();
        let expr = match self.try_coerce(expr, ty, -1, CastContext::Implicit, offset.span())? {
            Some(expr) => expr,
            None => {
                let message = format!("argument of {unit:?} must be type {}, not type {}", ty.name(), from.name()).replace("Rows", "ROWS");
                return self.fail(offset.span(), SqlState::DATATYPE_MISMATCH, message);
            }
        };
        Ok(if preceding { FrameBound::Preceding(expr) } else { FrameBound::Following(expr) })
    }

    /// A sort key from an expression and its options.
    pub(super) fn sort_key(&mut self, expr: Expr, options: &ast::OrderByOptions, span: Span) -> Result<SortKey> {
        let descending = match &options.sort {
            None | Some(ast::OrderBySort::Asc) => false,
            Some(ast::OrderBySort::Desc) => true,
            Some(ast::OrderBySort::Using(name)) => match name.to_string().as_str() {
                "<" => false,
                ">" => true,
                _ => return self.unsupported(span, "ORDER BY … USING"),
            },
        };
        if matches!(expr.ty(), DataType::JSON) {
            let error = SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("could not identify an ordering operator for type {}", expr.ty().name()),
            )
            .hint("Use an explicit ordering operator or modify the query.");
            return Err(self.at(span, error));
        }
        Ok(SortKey { expr, descending, nulls_first: options.nulls_first.unwrap_or(descending) })
    }

    /// A NULL of a type.
    pub(super) fn null(ty: DataType) -> Expr {
        Expr::Const { value: Datum::Null, ty }
    }
}
