//! Coercions. Untyped literals are read by the type's input function here; untyped parameters get their type; everything
//! else becomes an explicit [`Expr::Cast`].

use sqlparser::tokenizer::Span;

use super::Binder;
use crate::error::{Result, SqlError, SqlState};
use crate::functions::coerce::select_common_type;
use crate::plan::expr::Expr;
use crate::types::casts::{CastContext, CastMethod, find_cast};
use crate::types::text_io::{Io, parse_text};
use crate::types::{DataType, Datum, NO_TYPMOD};

impl Binder<'_> {
    fn io(&self) -> Io<'_> {
        Io { session: self.cx.session, now: self.cx.now, catalog: self.cx.lookup }
    }

    /// Reads a literal as a value of a type.
    pub(super) fn literal(&mut self, text: &str, ty: DataType, typmod: i32, span: Span) -> Result<Expr> {
        let by_settings = matches!(
            ty,
            DataType::TIMESTAMPTZ
                | DataType::TIMESTAMP
                | DataType::DATE
                | DataType::TIME
                | DataType::TIMETZ
                | DataType::REGCLASS
                | DataType::REGTYPE
        );
        if by_settings
            && text.bytes().any(|b| b.is_ascii_alphabetic() && b != b'T' && b != b'Z')
            && !matches!(ty, DataType::REGCLASS | DataType::REGTYPE)
        {
            // 'now', 'today': a constant of this statement only.
            self.cacheable = false;
        }
        match parse_text(ty, typmod, text, self.io()) {
            Ok(value) => Ok(Expr::Const { value, ty }),
            Err(error) => Err(self.at(span, error)),
        }
    }

    /// The expression as `to`, if a cast exists in this context.
    pub(super) fn try_coerce(&mut self, expr: Expr, to: DataType, typmod: i32, context: CastContext, span: Span) -> Result<Option<Expr>> {
        let from = expr.ty();
        let explicit = context == CastContext::Explicit;
        if matches!(to, DataType::ANY) {
            return Ok(Some(expr));
        }
        if from == DataType::UNKNOWN && to != DataType::UNKNOWN {
            match expr {
                Expr::Const { value: Datum::Null, .. } => return Ok(Some(Expr::Const { value: Datum::Null, ty: to })),
                Expr::Const { value: Datum::Text(text), .. } => {
                    // A literal is read without its modifier first: an explicit cast then cuts, an assignment refuses. Intervals need theirs.
                    let early = if to == DataType::INTERVAL { typmod } else { NO_TYPMOD };
                    let read = self.literal(&text, to, early, span)?;
                    return Ok(Some(with_typmod(read, to, typmod, explicit)));
                }
                Expr::Param { index, .. } => {
                    self.params[index] = Some(to);
                    return Ok(Some(with_typmod(Expr::Param { index, ty: to }, to, typmod, explicit)));
                }
                other => {
                    return Ok(Some(Expr::Cast { input: Box::new(other), from, to, typmod, explicit }));
                }
            }
        }
        if from == to {
            return Ok(Some(with_typmod(expr, to, typmod, explicit)));
        }
        if from == DataType::RECORD && crate::functions::coerce::is_polymorphic(to) {
            return Ok(Some(expr));
        }
        match find_cast(from, to, context) {
            Some(cast) => {
                // Relabelling a constant is done here: `'a'::varchar` compares as text without a cast at run time.
                if cast.method == CastMethod::Relabel
                    && typmod == NO_TYPMOD
                    && let Expr::Const { value, .. } = expr
                {
                    let value = match value {
                        Datum::Int4(n) if to.is_oid_like() => Datum::Oid(n as u32),
                        value => value,
                    };
                    return Ok(Some(Expr::Const { value, ty: to }));
                }
                Ok(Some(Expr::Cast { input: Box::new(expr), from, to, typmod, explicit }))
            }
            None => Ok(None),
        }
    }

    /// A coercion that resolution has already found possible.
    pub(super) fn coerce(&mut self, expr: Expr, to: DataType, span: Span) -> Result<Expr> {
        let from = expr.ty();
        match self.try_coerce(expr, to, NO_TYPMOD, CastContext::Implicit, span)? {
            Some(expr) => Ok(expr),
            None => self.fail(span, SqlState::DATATYPE_MISMATCH, format!("cannot convert type {} to {}", from.name(), to.name())),
        }
    }

    /// `CAST(expr AS to)`
    pub(super) fn cast(&mut self, expr: Expr, to: DataType, typmod: i32, span: Span) -> Result<Expr> {
        let from = expr.ty();
        match self.try_coerce(expr, to, typmod, CastContext::Explicit, span)? {
            Some(expr) => Ok(expr),
            None => self.fail(span, SqlState::CANNOT_COERCE, format!("cannot cast type {} to {}", from.name(), to.name())),
        }
    }

    /// The value as a column stores it.
    pub(super) fn assign(&mut self, expr: Expr, column: &str, to: DataType, typmod: i32, span: Span) -> Result<Expr> {
        let from = expr.ty();
        match self.try_coerce(expr, to, typmod, CastContext::Assignment, span)? {
            Some(expr) => Ok(expr),
            None => {
                let message = format!("column \"{column}\" is of type {} but expression is of type {}", to.name(), from.name());
                let error = SqlError::new(SqlState::DATATYPE_MISMATCH, message).hint("You will need to rewrite or cast the expression.");
                Err(self.at(span, error))
            }
        }
    }

    /// A condition: boolean, or an untyped literal that becomes one.
    pub(super) fn boolean(&mut self, expr: Expr, what: &str, span: Span) -> Result<Expr> {
        let from = expr.ty();
        match self.try_coerce(expr, DataType::BOOL, NO_TYPMOD, CastContext::Assignment, span)? {
            Some(expr) if from == DataType::BOOL || from == DataType::UNKNOWN => Ok(expr),
            _ => self.fail(span, SqlState::DATATYPE_MISMATCH, format!("argument of {what} must be type boolean, not type {}", from.name())),
        }
    }

    /// Untyped literals and parameters that nothing else typed become text.
    pub(super) fn settle(&mut self, expr: Expr) -> Result<Expr> {
        if expr.ty() == DataType::UNKNOWN { self.coerce(expr, DataType::TEXT, Span::empty()) } else { Ok(expr) }
    }

    /// Brings expressions to their common type.
    pub(super) fn unify(&mut self, exprs: Vec<Expr>, context: &str, spans: &[Span]) -> Result<(Vec<Expr>, DataType)> {
        let types: Vec<DataType> = exprs.iter().map(Expr::ty).collect();
        let span = |n: usize| spans.get(n).copied().unwrap_or_else(Span::empty);
        let ty = match select_common_type(&types, context) {
            Ok(ty) => ty,
            Err(error) => {
                // At the first one that does not fit what came before.
                let n = (1..types.len()).find(|n| select_common_type(&types[..=*n], context).is_err()).unwrap_or(0);
                return Err(self.at(span(n), error));
            }
        };
        let exprs = exprs.into_iter().enumerate().map(|(n, e)| self.coerce(e, ty, span(n))).collect::<Result<Vec<_>>>()?;
        Ok((exprs, ty))
    }
}

/// Applies a length or precision to a value that has the type already.
fn with_typmod(expr: Expr, ty: DataType, typmod: i32, explicit: bool) -> Expr {
    let matters = typmod != NO_TYPMOD && !matches!(expr, Expr::Const { value: Datum::Null, .. });
    let applied = ty == DataType::INTERVAL && matches!(expr, Expr::Const { .. });
    if matters && !applied { Expr::Cast { input: Box::new(expr), from: ty, to: ty, typmod, explicit } } else { expr }
}
