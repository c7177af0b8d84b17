//! The names PostgreSQL gives to output columns without one.

use sqlparser::ast::{self, SelectItem};

use super::scope::idents;

/// A name for an expression and how good it is (PostgreSQL's FigureColname).
pub(super) fn name_of(e: &ast::Expr) -> Option<(String, u8)> {
    use ast::Expr as E;
    let strong = |s: &str| Some((s.to_owned(), 2));
    match e {
        E::Identifier(i) => strong(&i.value),
        E::CompoundIdentifier(parts) => parts.last().and_then(|i| strong(&i.value)),
        E::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|a| match a {
                ast::AccessExpr::Dot(E::Identifier(i)) => Some(i.value.clone()),
                _ => None,
            });
            field.map(|f| (f, 2)).or_else(|| name_of(root))
        }
        E::Nested(inner) => name_of(inner),
        E::Collate { expr, .. } => name_of(expr),
        E::Function(f) => idents(&f.name).last().and_then(|i| strong(&i.value)),
        E::Cast { expr, data_type, .. } => match name_of(expr) {
            Some((name, 2)) => Some((name, 2)),
            _ => type_column_name(data_type).map(|n| (n, 1)),
        },
        E::TypedString(t) => type_column_name(&t.data_type).map(|n| (n, 1)),
        E::Interval(_) => Some(("interval".into(), 1)),
        E::Value(v) => match v.value {
            ast::Value::Boolean(_) => Some(("bool".into(), 1)),
            _ => None,
        },
        E::Case { else_result, .. } => match else_result.as_deref().and_then(name_of) {
            Some((name, 2)) => Some((name, 2)),
            _ => Some(("case".into(), 1)),
        },
        E::Exists { negated: false, .. } => strong("exists"),
        E::Array(_) => strong("array"),
        E::Tuple(_) => strong("row"),
        E::Extract { .. } => strong("extract"),
        E::Position { .. } => strong("position"),
        E::Substring { .. } => strong("substring"),
        E::Trim { trim_where, .. } => strong(match trim_where {
            Some(ast::TrimWhereField::Leading) => "ltrim",
            Some(ast::TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        E::Overlay { .. } => strong("overlay"),
        E::Ceil { .. } => strong("ceil"),
        E::Floor { .. } => strong("floor"),
        E::AtTimeZone { .. } => strong("timezone"),
        E::Subquery(q) => subquery_name(&q.body),
        _ => None,
    }
}

fn subquery_name(body: &ast::SetExpr) -> Option<(String, u8)> {
    match body {
        ast::SetExpr::Select(s) => match s.projection.first() {
            Some(SelectItem::ExprWithAlias { alias, .. }) => Some((alias.value.clone(), 2)),
            Some(SelectItem::UnnamedExpr(e)) => name_of(e),
            _ => None,
        },
        ast::SetExpr::Query(q) => subquery_name(&q.body),
        ast::SetExpr::Values(_) => Some(("column1".into(), 2)),
        _ => None,
    }
}

fn type_column_name(ty: &ast::DataType) -> Option<String> {
    let (resolved, _) = super::types::resolve(ty).ok()?;
    let element = resolved.element().unwrap_or(resolved);
    Some(element.typname().to_owned())
}
