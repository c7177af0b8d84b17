//! Expressions.

use sqlparser::ast::{self, AccessExpr, BinaryOperator as Op, Ident, Spanned, Subscript, UnaryOperator, Value};
use sqlparser::tokenizer::Span;

use super::{Binder, MAX_EXPR_DEPTH};
use crate::error::{Result, SqlError, SqlState};
use crate::functions::FunctionBody;
use crate::functions::resolve::resolve_operator;
use crate::plan::expr::{Expr, FunctionRef};
use crate::types::{DataType, Datum};

impl Binder<'_> {
    /// Binds an expression. Untyped literals stay `unknown` until something types them.
    pub(super) fn expr(&mut self, e: &ast::Expr) -> Result<Expr> {
        self.expr_depth += 1;
        let result = if self.expr_depth > MAX_EXPR_DEPTH {
            Err(crate::front::too_deep())
        } else {
            stacker::maybe_grow(256 << 10, 4 << 20, || self.expr_inner(e))
        };
        self.expr_depth -= 1;
        result
    }

    fn expr_inner(&mut self, e: &ast::Expr) -> Result<Expr> {
        use ast::Expr as E;
        match e {
            E::Identifier(ident) if ident.value == "current_schema" && ident.quote_style.is_none() => {
                self.call_bound("current_schema", Vec::new(), ident.span)
            }
            E::Identifier(ident) => self.unqualified(ident),
            E::CompoundIdentifier(parts) => match self.qualified(parts)? {
                Some(expr) => Ok(expr),
                None => Err(self.missing_from(&parts[parts.len().saturating_sub(2)])),
            },
            E::Nested(inner) => self.expr(inner),
            E::Value(value) => self.value(&value.value, value.span),
            E::BinaryOp { op: Op::And | Op::Or, .. } => self.logic(e),
            E::BinaryOp { left, op, right } => self.binary(left, op, right),
            E::UnaryOp { op, expr } => self.unary(op, expr, e.span()),
            E::IsNull(x) => self.null_test(x, false),
            E::IsNotNull(x) => self.null_test(x, true),
            E::IsTrue(x) => self.bool_test(x, Some(true), false, "IS TRUE"),
            E::IsNotTrue(x) => self.bool_test(x, Some(true), true, "IS NOT TRUE"),
            E::IsFalse(x) => self.bool_test(x, Some(false), false, "IS FALSE"),
            E::IsNotFalse(x) => self.bool_test(x, Some(false), true, "IS NOT FALSE"),
            E::IsUnknown(x) => self.bool_test(x, None, false, "IS UNKNOWN"),
            E::IsNotUnknown(x) => self.bool_test(x, None, true, "IS NOT UNKNOWN"),
            E::IsDistinctFrom(l, r) => self.distinct_from(l, r, false),
            E::IsNotDistinctFrom(l, r) => self.distinct_from(l, r, true),
            E::In { expr, target, negated, .. } => self.in_target(expr, target, *negated),
            E::Between { expr, negated, low, high } => self.between(expr, *negated, low, high),
            E::Like { negated, any: false, expr, pattern, escape_char: None } if all_of(pattern).is_some() => {
                let array = all_of(pattern).unwrap_or(pattern);
                self.any_all(expr, if *negated { &Op::PGNotLikeMatch } else { &Op::PGLikeMatch }, array, true)
            }
            E::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(if *negated { "!~~" } else { "~~" }, expr, pattern, escape_char.as_deref())
            }
            E::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(if *negated { "!~~*" } else { "~~*" }, expr, pattern, escape_char.as_deref())
            }
            E::Like { negated, any: true, expr, pattern, escape_char: None } => {
                self.any_all(expr, if *negated { &Op::PGNotLikeMatch } else { &Op::PGLikeMatch }, pattern, false)
            }
            E::ILike { negated, any: true, expr, pattern, escape_char: None } => {
                self.any_all(expr, if *negated { &Op::PGNotILikeMatch } else { &Op::PGILikeMatch }, pattern, false)
            }
            E::SimilarTo { negated, expr, pattern, escape_char } => self.similar_to(*negated, expr, pattern, escape_char.as_deref()),
            E::AnyOp { left, compare_op, right, .. } => self.any_all(left, compare_op, right, false),
            E::AllOp { left, compare_op, right } => self.any_all(left, compare_op, right, true),
            E::Cast { kind: ast::CastKind::Cast | ast::CastKind::DoubleColon, expr, data_type, format: None, .. } => {
                let (to, typmod) = super::types::resolve(data_type).map_err(|x| self.at(e.span(), x))?;
                let span = expr.span();
                // `ARRAY[]::int[]`: the elements take the type from outside.
                if let (E::Array(array), Some(element)) = (&**expr, to.element()) {
                    return self.array_of_type(&array.elem, to, element, typmod, span);
                }
                let input = self.expr(expr)?;
                self.cast(input, to, typmod, span)
            }
            E::TypedString(typed) => {
                let (to, typmod) = super::types::resolve(&typed.data_type).map_err(|x| self.at(e.span(), x))?;
                // `char 'abc'` has no length, unlike `'abc'::char`.
                let typmod =
                    if matches!(typed.data_type, ast::DataType::Char(None) | ast::DataType::Character(None)) { -1 } else { typmod };
                let text = string_value(&typed.value.value).ok_or_else(|| SqlError::unsupported("this literal"))?;
                let literal = Expr::Const { value: Datum::Text(text.into()), ty: DataType::UNKNOWN };
                self.cast(literal, to, typmod, typed.value.span)
            }
            E::Interval(interval) => self.interval(interval, e.span()),
            E::AtTimeZone { timestamp, time_zone } => self.named_call("timezone", &[time_zone, timestamp], e.span()),
            E::Extract { field, expr, .. } => self.extract(field, expr, e.span()),
            E::Position { expr, r#in } => self.named_call("position", &[r#in, expr], e.span()),
            E::Substring { expr, substring_from, substring_for, .. } => {
                self.substring(expr, substring_from.as_deref(), substring_for.as_deref(), e.span())
            }
            E::Trim { trim_where, trim_what, expr, trim_characters } => {
                self.trim(*trim_where, trim_what.as_deref(), expr, trim_characters.as_deref(), e.span())
            }
            E::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut args: Vec<&ast::Expr> = vec![expr, overlay_what, overlay_from];
                args.extend(overlay_for.as_deref());
                self.named_call("overlay", &args, e.span())
            }
            E::Ceil { expr, field } => self.rounding("ceil", expr, field, e.span()),
            E::Floor { expr, field } => self.rounding("floor", expr, field, e.span()),
            E::Collate { expr, collation } => self.collate(expr, collation),
            E::Function(f) => self.function(f),
            E::Case { operand, conditions, else_result, .. } => self.case(operand.as_deref(), conditions, else_result.as_deref()),
            E::Exists { subquery, negated } => self.exists(subquery, *negated),
            E::Subquery(query) => self.scalar_subquery(query),
            E::Array(array) => self.array(&array.elem, e.span()),
            E::Tuple(items) => self.row(items),
            E::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain),
            E::Wildcard(_) | E::QualifiedWildcard(..) => Err(self.source.near("syntax error", "*", e.span().start)),
            E::GroupingSets(_) | E::Cube(_) | E::Rollup(_) => self.unsupported(e.span(), "GROUPING SETS here"),
            E::IsJson { .. } => self.unsupported(e.span(), "IS JSON"),
            E::IsNormalized { expr, form, negated } => {
                let mut args = vec![self.expr(expr)?];
                if let Some(form) = form {
                    args.push(Expr::Const { value: Datum::text(form.to_string()), ty: DataType::TEXT });
                }
                let call = self.call_bound("is_normalized", args, e.span())?;
                Ok(if *negated { Expr::Not(Box::new(call)) } else { call })
            }
            other => self.unsupported(other.span(), format!("expression {}", other.to_string().chars().take(60).collect::<String>())),
        }
    }

    fn value(&mut self, value: &Value, span: Span) -> Result<Expr> {
        let unknown = |text: &str| Ok(Expr::Const { value: Datum::Text(text.into()), ty: DataType::UNKNOWN });
        match value {
            Value::Number(text, _) => self.number(text, false, span),
            Value::Null => Ok(Expr::Const { value: Datum::Null, ty: DataType::UNKNOWN }),
            Value::Boolean(b) => Ok(Expr::Const { value: Datum::Bool(*b), ty: DataType::BOOL }),
            Value::Placeholder(name) => self.placeholder(name, span),
            Value::SingleQuotedByteStringLiteral(_) | Value::HexStringLiteral(_) => self.unsupported(span, "type bit"),
            other => match string_value(other) {
                Some(text) => unknown(text),
                None => self.unsupported(span, "this literal"),
            },
        }
    }

    /// int4 if it fits, else int8, else numeric.
    pub(super) fn number(&mut self, text: &str, negative: bool, span: Span) -> Result<Expr> {
        let signed = if negative { format!("-{text}") } else { text.to_owned() };
        if text.bytes().all(|b| b.is_ascii_digit()) {
            if let Ok(n) = signed.parse::<i32>() {
                return Ok(Expr::Const { value: Datum::Int4(n), ty: DataType::INT4 });
            }
            if let Ok(n) = signed.parse::<i64>() {
                return Ok(Expr::Const { value: Datum::Int8(n), ty: DataType::INT8 });
            }
        }
        self.literal(&signed, DataType::NUMERIC, -1, span)
    }

    fn placeholder(&mut self, name: &str, span: Span) -> Result<Expr> {
        let Some(number) = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()).filter(|n| (1..=65_535).contains(n)) else {
            return self.fail(span, SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {name}"));
        };
        if self.view_depth > 0 {
            return self.fail(span, SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {name}"));
        }
        if self.params.len() < number {
            self.params.resize(number, None);
        }
        let ty = self.params[number - 1].unwrap_or(DataType::UNKNOWN);
        Ok(Expr::Param { index: number - 1, ty })
    }

    /// AND and OR: chains are flattened, so that their length is no depth.
    fn logic(&mut self, e: &ast::Expr) -> Result<Expr> {
        let ast::Expr::BinaryOp { op: top, .. } = e else { return self.expr(e) };
        let what = if matches!(top, Op::And) { "AND" } else { "OR" };
        let mut operands: Vec<&ast::Expr> = Vec::new();
        let mut todo = vec![e];
        while let Some(next) = todo.pop() {
            match next {
                ast::Expr::BinaryOp { left, op, right } if op == top => {
                    todo.push(right);
                    todo.push(left);
                }
                other => operands.push(other),
            }
        }
        let mut out = Vec::with_capacity(operands.len());
        for operand in operands {
            let bound = self.expr(operand)?;
            out.push(self.boolean(bound, what, operand.span())?);
        }
        Ok(if what == "AND" { Expr::And(out) } else { Expr::Or(out) })
    }

    fn binary(&mut self, left: &ast::Expr, op: &Op, right: &ast::Expr) -> Result<Expr> {
        let Some(name) = operator_name(op) else {
            return self.unsupported(left.span(), format!("operator {op}"));
        };
        if name == "overlaps" {
            return self.overlaps(left, right);
        }
        // Left-deep chains (`a + b + c …`) are walked in a loop by recursion on the left only: depth is counted there.
        let l = self.expr(left)?;
        let r = self.expr(right)?;
        self.operator(&name, l, r, left.span(), right.span())
    }

    /// An operator over bound operands.
    pub(super) fn operator(&mut self, name: &str, l: Expr, r: Expr, left: Span, right: Span) -> Result<Expr> {
        if let (Expr::Row { .. }, Expr::Row { .. }) = (&l, &r) {
            return self.row_comparison(name, l, r, left);
        }
        let resolved = match resolve_operator(name, Some(l.ty()), r.ty()) {
            Ok(resolved) => resolved,
            Err(error) => {
                let error = match self.source.position_after(left) {
                    Some(position) if self.view_depth == 0 => error.position(position),
                    _ => error,
                };
                return Err(error);
            }
        };
        let l = self.coerce(l, resolved.call.arg_types[0], left)?;
        let r = self.coerce(r, resolved.call.arg_types[1], right)?;
        Ok(call_expr(resolved.call.def, vec![l, r], resolved.call.returns))
    }

    fn unary(&mut self, op: &UnaryOperator, expr: &ast::Expr, span: Span) -> Result<Expr> {
        let name = match op {
            UnaryOperator::Not => {
                let bound = self.expr(expr)?;
                let bound = self.boolean(bound, "NOT", expr.span())?;
                return Ok(Expr::Not(Box::new(bound)));
            }
            UnaryOperator::Minus => {
                // The sign belongs to the literal: -2147483648 is an int4.
                if let ast::Expr::Value(v) = expr
                    && let Value::Number(text, _) = &v.value
                {
                    return self.number(text, true, v.span);
                }
                // `-a ^ b` is (-a) ^ b.
                if let ast::Expr::BinaryOp { left, op: Op::PGExp, right } = expr {
                    let base = self.unary(&UnaryOperator::Minus, left, left.span())?;
                    let power = self.expr(right)?;
                    return self.operator("^", base, power, left.span(), right.span());
                }
                "-"
            }
            UnaryOperator::Plus => "+",
            UnaryOperator::BitwiseNot => "~",
            UnaryOperator::PGAbs => "@",
            UnaryOperator::PGSquareRoot => "|/",
            UnaryOperator::PGCubeRoot => "||/",
            other => return self.unsupported(span, format!("operator {other}")),
        };
        let bound = self.expr(expr)?;
        let resolved = resolve_operator(name, None, bound.ty()).map_err(|x| self.at(span, x))?;
        let arg = self.coerce(bound, resolved.call.arg_types[0], expr.span())?;
        Ok(call_expr(resolved.call.def, vec![arg], resolved.call.returns))
    }

    fn null_test(&mut self, x: &ast::Expr, negated: bool) -> Result<Expr> {
        let input = self.expr(x)?;
        let input = self.settle(input)?;
        Ok(Expr::IsNull { input: Box::new(input), negated })
    }

    fn bool_test(&mut self, x: &ast::Expr, value: Option<bool>, negated: bool, what: &str) -> Result<Expr> {
        let input = self.expr(x)?;
        let input = self.boolean(input, what, x.span())?;
        Ok(Expr::IsBool { input: Box::new(input), value, negated })
    }

    fn distinct_from(&mut self, l: &ast::Expr, r: &ast::Expr, negated: bool) -> Result<Expr> {
        let left = self.expr(l)?;
        let right = self.expr(r)?;
        if let (Expr::Row { fields: a }, Expr::Row { fields: b }) = (&left, &right) {
            if a.len() != b.len() {
                return self.fail(l.span(), SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions");
            }
            let (Expr::Row { fields: a }, Expr::Row { fields: b }) = (left, right) else { return Err(SqlError::internal("rows")) };
            let mut parts = Vec::new();
            for (x, y) in a.into_iter().zip(b) {
                parts.push(self.distinct_pair(x, y, l.span(), r.span(), negated)?);
            }
            return Ok(if negated { Expr::And(parts) } else { Expr::Or(parts) });
        }
        self.distinct_pair(left, right, l.span(), r.span(), negated)
    }

    fn distinct_pair(&mut self, left: Expr, right: Expr, l: Span, r: Span, negated: bool) -> Result<Expr> {
        let resolved = resolve_operator("=", Some(left.ty()), right.ty()).map_err(|x| self.at(l, x))?;
        let left = self.coerce(left, resolved.call.arg_types[0], l)?;
        let right = self.coerce(right, resolved.call.arg_types[1], r)?;
        Ok(Expr::IsDistinct { left: Box::new(left), right: Box::new(right), negated })
    }

    /// CASE, inside which no function may return a set.
    fn case(&mut self, operand: Option<&ast::Expr>, conditions: &[ast::CaseWhen], otherwise: Option<&ast::Expr>) -> Result<Expr> {
        let saved = self.scopes.last_mut().map(|s| s.no_sets.replace("CASE"));
        let result = self.case_parts(operand, conditions, otherwise);
        if let (Some(scope), Some(saved)) = (self.scopes.last_mut(), saved) {
            scope.no_sets = saved;
        }
        result
    }

    fn case_parts(&mut self, operand: Option<&ast::Expr>, conditions: &[ast::CaseWhen], otherwise: Option<&ast::Expr>) -> Result<Expr> {
        let subject = match operand {
            Some(x) => {
                let bound = self.expr(x)?;
                Some((self.settle(bound)?, x.span()))
            }
            None => None,
        };
        let (mut whens, mut results, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        // PostgreSQL looks at ELSE first when it selects the type.
        if let Some(x) = otherwise {
            results.push(self.expr(x)?);
            spans.push(x.span());
        }
        for when in conditions {
            if let (Some(scope), None) = (self.scopes.last_mut(), &subject) {
                scope.no_sets = Some("CASE/WHEN");
            }
            let condition = self.expr(&when.condition)?;
            if let Some(scope) = self.scopes.last_mut() {
                scope.no_sets = Some("CASE");
            }
            whens.push(match &subject {
                Some((subject, span)) => self.operator("=", subject.clone(), condition, *span, when.condition.span())?,
                None => self.boolean(condition, "CASE/WHEN", when.condition.span())?,
            });
            results.push(self.expr(&when.result)?);
            spans.push(when.result.span());
        }
        let (mut results, ty) = self.unify(results, "CASE", &spans)?;
        let otherwise = if otherwise.is_some() { Some(Box::new(results.remove(0))) } else { None };
        Ok(Expr::Case { branches: whens.into_iter().zip(results).collect(), otherwise, ty })
    }

    pub(super) fn array(&mut self, elements: &[ast::Expr], span: Span) -> Result<Expr> {
        if elements.is_empty() {
            let error = SqlError::new(SqlState::INDETERMINATE_DATATYPE, "cannot determine type of empty array")
                .hint("Explicitly cast to the desired type, for example ARRAY[]::integer[].");
            return Err(self.at(span, error));
        }
        let spans: Vec<Span> = elements.iter().map(Spanned::span).collect();
        let bound = elements.iter().map(|e| self.expr(e)).collect::<Result<Vec<_>>>()?;
        let (elements, ty) = self.unify(bound, "ARRAY", &spans)?;
        match ty.element() {
            Some(inner) if ty != DataType::INT2VECTOR && ty != DataType::OIDVECTOR => {
                Ok(Expr::Array { elements, element: inner, nested: true })
            }
            _ => {
                if ty.array_type().is_none() {
                    return self.fail(span, SqlState::UNDEFINED_OBJECT, format!("could not find array type for data type {}", ty.name()));
                }
                Ok(Expr::Array { elements, element: ty, nested: false })
            }
        }
    }

    fn array_of_type(&mut self, elements: &[ast::Expr], array: DataType, element: DataType, typmod: i32, span: Span) -> Result<Expr> {
        let nested = elements.iter().any(|e| matches!(e, ast::Expr::Array(_)));
        let mut out = Vec::with_capacity(elements.len());
        for e in elements {
            out.push(match e {
                ast::Expr::Array(inner) if nested => self.array_of_type(&inner.elem, array, element, typmod, e.span())?,
                _ => {
                    let bound = self.expr(e)?;
                    if bound.ty().element().is_some() {
                        let whole = self.array(elements, span)?;
                        return self.cast(whole, array, typmod, span);
                    }
                    self.cast(bound, element, typmod, e.span())?
                }
            });
        }
        Ok(Expr::Array { elements: out, element, nested })
    }

    pub(super) fn row(&mut self, items: &[ast::Expr]) -> Result<Expr> {
        let fields = items.iter().map(|e| self.expr(e)).collect::<Result<Vec<_>>>()?;
        Ok(Expr::Row { fields })
    }

    /// `a[1]`, `a[1:2]`, `(r).f`, `t.a[1]`.
    fn access(&mut self, root: &ast::Expr, chain: &[AccessExpr]) -> Result<Expr> {
        let mut at = 0;
        // Names that sqlparser took for field accesses: `t.a[1]`.
        let mut names: Vec<Ident> = match strip(root) {
            ast::Expr::Identifier(ident) => vec![ident.clone()],
            ast::Expr::CompoundIdentifier(parts) => parts.clone(),
            _ => Vec::new(),
        };
        let mut value = None;
        if !names.is_empty() {
            while let Some(AccessExpr::Dot(ast::Expr::Identifier(ident))) = chain.get(at) {
                names.push(ident.clone());
                at += 1;
                if let Ok(Some(expr)) = self.qualified(&names) {
                    value = Some(expr);
                    break;
                }
            }
            if value.is_none() {
                at = 0;
            }
        }
        let mut value = match value {
            Some(value) => value,
            None => self.expr(root)?,
        };
        let mut indices = Vec::new();
        while at < chain.len() {
            match &chain[at] {
                AccessExpr::Subscript(Subscript::Index { index }) if indices.is_empty() && value.ty() == DataType::JSONB => {
                    value = self.jsonb_element(value, index)?;
                }
                AccessExpr::Subscript(subscript) => indices.push(self.subscript(subscript)?),
                AccessExpr::Dot(field) => {
                    value = self.subscripted(value, std::mem::take(&mut indices), root.span())?;
                    value = self.field(value, field)?;
                }
            }
            at += 1;
        }
        self.subscripted(value, indices, root.span())
    }

    fn subscript(&mut self, subscript: &Subscript) -> Result<(Option<Expr>, Option<Expr>, bool)> {
        let mut index = |e: &ast::Expr| -> Result<Expr> {
            let bound = self.expr(e)?;
            let ty = bound.ty();
            match self.try_coerce(bound, DataType::INT4, -1, crate::types::casts::CastContext::Assignment, e.span())? {
                Some(bound) => Ok(bound),
                None => {
                    self.fail(e.span(), SqlState::DATATYPE_MISMATCH, format!("array subscript must have type integer, not {}", ty.name()))
                }
            }
        };
        match subscript {
            Subscript::Index { index: i } => Ok((None, Some(index(i)?), false)),
            Subscript::Slice { lower_bound, upper_bound, stride: None } => {
                let lower = lower_bound.as_ref().map(&mut index).transpose()?;
                let upper = upper_bound.as_ref().map(&mut index).transpose()?;
                Ok((lower, upper, true))
            }
            Subscript::Slice { .. } => Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \":\"")),
        }
    }

    /// `jsonb[key]`: fetches as `->` does.
    fn jsonb_element(&mut self, input: Expr, key: &ast::Expr) -> Result<Expr> {
        let bound = self.expr(key)?;
        let wanted = if bound.ty() == DataType::UNKNOWN { DataType::TEXT } else { bound.ty() };
        let bound = self.coerce(bound, wanted, key.span())?;
        self.operator("->", input, bound, key.span(), key.span())
    }

    fn subscripted(&mut self, input: Expr, indices: Vec<(Option<Expr>, Option<Expr>, bool)>, span: Span) -> Result<Expr> {
        if indices.is_empty() {
            return Ok(input);
        }
        let ty = input.ty();
        if ty == DataType::JSONB {
            return self.unsupported(span, "jsonb subscripting");
        }
        let Some(element) = ty.element() else {
            return self.fail(
                span,
                SqlState::DATATYPE_MISMATCH,
                format!("cannot subscript type {} because it does not support subscripting", ty.name()),
            );
        };
        // One slice makes all of them slices; `[n]` beside a slice means `[1:n]`.
        let slice = indices.iter().any(|i| i.2);
        let indices = indices
            .into_iter()
            .map(|(lower, upper, is_slice)| {
                let one = || Some(Expr::Const { value: Datum::Int4(1), ty: DataType::INT4 });
                if slice && !is_slice { (one(), upper, true) } else { (lower, upper, is_slice) }
            })
            .collect();
        Ok(Expr::Subscript { input: Box::new(input), indices, ty: if slice { ty } else { element } })
    }

    fn field(&mut self, value: Expr, field: &ast::Expr) -> Result<Expr> {
        let ast::Expr::Identifier(name) = field else { return self.unsupported(field.span(), "this field access") };
        if let Expr::Row { fields } = &value {
            // ROW(…) has fields f1, f2, …; a whole-row reference the column names.
            for (n, f) in fields.iter().enumerate() {
                let named = matches!(f, Expr::Column { ordinal, .. } if self.cols[*ordinal].name == name.value);
                if named || name.value == format!("f{}", n + 1) {
                    return Ok(f.clone());
                }
            }
        }
        if let Expr::Column { ordinal, .. } = &value
            && let Some(fields) = self.records.get(ordinal)
            && let Some(index) = fields.iter().position(|f| f.0 == name.value)
        {
            return Ok(Expr::Field { ty: fields[index].1, input: Box::new(value), index });
        }
        if let Expr::Call { function, .. } = &value
            && let FunctionBody::Set { columns, .. } = function.0.body
            && let Some(index) = columns.iter().position(|c| c.0 == name.value)
        {
            return Ok(Expr::Field { ty: columns[index].1, input: Box::new(value), index });
        }
        if value.ty() == DataType::RECORD {
            return self.fail(
                name.span,
                SqlState::UNDEFINED_COLUMN,
                format!("could not identify column \"{}\" in record data type", name.value),
            );
        }
        let message = format!("column notation .{} applied to type {}, which is not a composite type", name.value, value.ty().name());
        self.fail(name.span, SqlState::WRONG_OBJECT_TYPE, message)
    }
}

fn strip(e: &ast::Expr) -> &ast::Expr {
    match e {
        ast::Expr::Nested(inner) => strip(inner),
        other => other,
    }
}

/// The text of a string literal of any spelling.
pub(super) fn string_value(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(s)
        | Value::EscapedStringLiteral(s)
        | Value::UnicodeStringLiteral(s)
        | Value::NationalStringLiteral(s) => Some(s),
        Value::DollarQuotedString(s) => Some(&s.value),
        _ => None,
    }
}

/// PostgreSQL's name of a binary operator.
/// The array of `LIKE ALL (array)`, which the parser takes for a call of a function `all`.
fn all_of(pattern: &ast::Expr) -> Option<&ast::Expr> {
    let ast::Expr::Function(f) = pattern else { return None };
    let ast::FunctionArguments::List(list) = &f.args else { return None };
    match &list.args[..] {
        [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(e))] if f.name.to_string() == "all" => Some(e),
        _ => None,
    }
}

pub(super) fn operator_name(op: &Op) -> Option<String> {
    Some(match op {
        Op::NotEq => "<>".into(),
        Op::Xor => return None,
        Op::PGBitwiseXor | Op::BitwiseXor if op.to_string() == "#" => "#".into(),
        Op::PGExp => "^".into(),
        Op::Overlaps => "overlaps".into(),
        Op::PGCustomBinaryOperator(parts) => match parts.split_last() {
            Some((last, schema)) if schema.iter().all(|s| s == "pg_catalog") => last.clone(),
            _ => return None,
        },
        Op::Custom(name) => name.clone(),
        other => other.to_string(),
    })
}

/// A call of a scalar or executor function.
pub(super) fn call_expr(def: &'static crate::functions::FunctionDef, args: Vec<Expr>, ty: DataType) -> Expr {
    let function = FunctionRef(def);
    match def.body {
        FunctionBody::Executor => Expr::ExecutorCall { function, args, ty },
        _ => Expr::Call { function, args, ty },
    }
}
