//! Expressions and queries that the catalog stores as text: what DDL needs of the binder.

use std::sync::Arc;

use sqlparser::ast::{self, Ident, ObjectName, ObjectNamePart};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::scope::{Found, RelEntry, Scope, ScopeCol};
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};
use crate::front::{Parsed, Source, Statement};
use crate::functions::Volatility;
use crate::plan::PlanContext;
use crate::plan::expr::Expr;
use crate::plan::logical::{any, has_subquery};
use crate::types::{DataType, NO_TYPMOD};

/// A column that a stored expression may name; the bound expression's `Column { ordinal }` is its place in the slice.
pub type Named<'a> = (&'a str, DataType, i32);

/// What a stored expression is for: decides what it may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// DEFAULT: no columns.
    Default,
    /// CHECK.
    Check,
    /// GENERATED … STORED: immutable.
    Generated,
    /// Partial index predicate: immutable.
    Predicate,
    /// Anything: `ALTER … USING`, COPY … WHERE, SPLIT AT values, EXECUTE arguments.
    Other,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Purpose::Default => "DEFAULT expressions",
            Purpose::Check => "check constraints",
            Purpose::Generated => "column generation expressions",
            Purpose::Predicate => "index predicates",
            Purpose::Other => "this expression",
        }
    }
}

/// Binds a scalar expression given as text. `expected`: assigned to a column of this name, type and modifier; `None` keeps its own type
/// (untyped literals become text).
///
/// # Errors
/// As for any expression; `42P17` for a function that is not immutable where it must be.
pub fn bind_text(cx: &PlanContext<'_>, text: &str, columns: &[Named<'_>], purpose: Purpose, expected: Option<Named<'_>>) -> Result<Expr> {
    let (source, expr) = crate::front::parse_expression(text)?;
    bind_ast(cx, &source, &expr, columns, purpose, expected)
}

/// As [`bind_text`], from syntax.
pub fn bind_ast(
    cx: &PlanContext<'_>,
    source: &Source,
    expr: &ast::Expr,
    columns: &[Named<'_>],
    purpose: Purpose,
    expected: Option<Named<'_>>,
) -> Result<Expr> {
    let mut params = Vec::new();
    let mut binder = Binder::new(cx, source, &mut params);
    let mut cols = Vec::new();
    for (name, ty, typmod) in columns {
        let id = binder.column(*name, *ty, *typmod);
        cols.push(ScopeCol { name: (*name).to_owned(), id });
    }
    let place = purpose.name();
    let entry = RelEntry { name: String::new(), schema: None, oid: None, cols: cols.clone(), scalar: false, table: None };
    binder.scopes.push(Scope {
        entries: vec![entry],
        star: cols,
        no_aggregates: Some(place),
        no_windows: Some(place),
        no_sets: Some(place),
        ..Scope::default()
    });
    let bound = match binder.expr(expr) {
        Err(error) if purpose == Purpose::Default && error.code == SqlState::UNDEFINED_COLUMN => {
            return Err(SqlError {
                message: "cannot use column reference in DEFAULT expression".into(),
                code: SqlState::FEATURE_NOT_SUPPORTED,
                ..error
            });
        }
        bound => bound?,
    };
    if has_subquery(&bound) {
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot use subquery in {}", place.trim_end_matches('s'))));
    }
    if any(&bound, &|e| matches!(e, Expr::Param { .. })) && purpose != Purpose::Other {
        return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
    }
    if matches!(purpose, Purpose::Generated | Purpose::Predicate) {
        let changing = any(&bound, &|e| match e {
            Expr::Call { function, .. } | Expr::ExecutorCall { function, .. } => function.0.volatility != Volatility::Immutable,
            _ => false,
        });
        if changing {
            let message = match purpose {
                Purpose::Generated => "generation expression is not immutable",
                _ => "functions in index predicate must be marked IMMUTABLE",
            };
            return Err(SqlError::new(SqlState::INVALID_OBJECT_DEFINITION, message));
        }
    }
    let bound = match (expected, purpose) {
        (Some((name, ty, typmod)), Purpose::Default) => {
            let from = bound.ty();
            match binder.try_coerce(bound, ty, typmod, crate::types::casts::CastContext::Assignment, Span::empty())? {
                Some(e) => e,
                None => {
                    let message = format!("column \"{name}\" is of type {} but default expression is of type {}", ty.name(), from.name());
                    return Err(
                        SqlError::new(SqlState::DATATYPE_MISMATCH, message).hint("You will need to rewrite or cast the expression.")
                    );
                }
            }
        }
        (Some((name, ty, typmod)), _) => binder.assign(bound, name, ty, typmod, Span::empty())?,
        (None, Purpose::Check) => binder.boolean(bound, "CHECK", Span::empty())?,
        (None, Purpose::Predicate) => binder.boolean(bound, "WHERE", Span::empty())?,
        (None, _) => binder.settle(bound)?,
    };
    Ok(crate::plan::optimize::fold::fold(bound, cx))
}

/// The default of a column (its expression, or the next value of its identity sequence), coerced to it.
pub fn bind_default(cx: &PlanContext<'_>, column: &ColumnDescriptor) -> Result<Expr> {
    let source = Source::new("");
    let mut params = Vec::new();
    let mut binder = Binder::new(cx, &source, &mut params);
    let expr = binder.default_value(column)?;
    Ok(crate::plan::optimize::fold::fold(expr, cx))
}

/// A view's query, checked and written down.
#[derive(Clone, Debug)]
pub struct StoredQuery {
    /// The query with every relation qualified.
    pub text: String,
    /// Its output: name, type, modifier.
    pub columns: Vec<(String, DataType, i32)>,
    /// Relations it reads.
    pub depends_on: Vec<Oid>,
}

/// Binds a view's query and qualifies the names of relations in it, so that it means the same under any search path.
///
/// # Errors
/// As for the query; `42P16` when two output columns have one name.
pub fn store_query(cx: &PlanContext<'_>, parsed: &Parsed) -> Result<StoredQuery> {
    let Statement::Query { ast: tree, as_of: None } = &parsed.statement else {
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "views must not contain data-modifying statements in WITH"));
    };
    if parsed.parameters > 0 {
        return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
    }
    crate::front::with_stack(parsed.depth, || {
        let mut params = Vec::new();
        let mut binder = Binder::new(cx, &parsed.source, &mut params);
        binder.stars = Some(Vec::new());
        let bound = binder.statement(tree)?;
        let mut columns: Vec<(String, DataType, i32)> = Vec::new();
        for (id, name) in &bound.output {
            // Names that occur twice are the business of whoever makes columns of them: a column list may rename them.
            let info = &binder.cols[*id];
            columns.push((name.clone(), info.ty, info.typmod));
        }
        let mut copy: ast::Statement = (**tree).clone();
        // `*` means the columns there are now, not those added later.
        let _ = sqlparser::ast::VisitMut::visit(&mut copy, &mut Stars(binder.stars.take().unwrap_or_default()));
        qualify(cx, &mut copy)?;
        let mut depends_on = std::mem::take(&mut binder.relations);
        depends_on.sort_unstable();
        depends_on.dedup();
        Ok(StoredQuery { text: copy.to_string(), columns, depends_on })
    })
}

/// Qualifies relation names; names of CTEs stay.
fn qualify(cx: &PlanContext<'_>, statement: &mut ast::Statement) -> Result<()> {
    use std::ops::ControlFlow;
    let mut ctes: Vec<String> = Vec::new();
    let _: ControlFlow<()> = ast::visit_relations(&*statement, |_| ControlFlow::Continue(()));
    collect_ctes(statement, &mut ctes);
    let source = Source::new("");
    let mut params = Vec::new();
    let mut binder = Binder::new(cx, &source, &mut params);
    let mut failure = None;
    let _: ControlFlow<()> = ast::visit_relations_mut(statement, |name: &mut ObjectName| {
        let [ObjectNamePart::Identifier(ident)] = &name.0[..] else { return ControlFlow::Continue(()) };
        if ctes.contains(&ident.value) {
            return ControlFlow::Continue(());
        }
        match binder.relation(name) {
            Ok(Found::Relation(_, schema) | Found::System(_, schema)) => {
                name.0.insert(0, ObjectNamePart::Identifier(quoted(&schema)));
                if let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut() {
                    *last = quoted(&last.value);
                }
                ControlFlow::Continue(())
            }
            // A function in FROM is visited too: it has no schema to add.
            Err(e) if e.code == SqlState::UNDEFINED_TABLE => ControlFlow::Continue(()),
            Err(e) => {
                failure = Some(e);
                ControlFlow::Break(())
            }
        }
    });
    match failure {
        Some(e) => Err(e),
        None => Ok(()),
    }
}

fn quoted(name: &str) -> Ident {
    if crate::front::quote_identifier(name) == name { Ident::new(name) } else { Ident::with_quote('"', name) }
}

struct Stars(Vec<super::Star>);

impl ast::VisitorMut for Stars {
    type Break = ();
    fn pre_visit_select(&mut self, select: &mut ast::Select) -> std::ops::ControlFlow<()> {
        let mut out = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            let options = match &item {
                ast::SelectItem::Wildcard(options) | ast::SelectItem::QualifiedWildcard(_, options) => options,
                _ => {
                    out.push(item);
                    continue;
                }
            };
            let at = options.wildcard_token.0.span.start;
            match self.0.iter().find(|s| s.0 == at) {
                Some((_, columns)) => out.extend(columns.iter().map(|(table, column)| {
                    let parts: Vec<Ident> = table.iter().map(|t| quoted(t)).chain([quoted(column)]).collect();
                    ast::SelectItem::UnnamedExpr(if parts.len() == 1 {
                        ast::Expr::Identifier(quoted(column))
                    } else {
                        ast::Expr::CompoundIdentifier(parts)
                    })
                })),
                None => out.push(item),
            }
        }
        select.projection = out;
        std::ops::ControlFlow::Continue(())
    }
}

struct CteNames<'a>(&'a mut Vec<String>);

impl ast::Visitor for CteNames<'_> {
    type Break = ();
    fn pre_visit_query(&mut self, query: &ast::Query) -> std::ops::ControlFlow<()> {
        for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
            self.0.push(cte.alias.name.value.clone());
        }
        std::ops::ControlFlow::Continue(())
    }
}

fn collect_ctes(statement: &ast::Statement, out: &mut Vec<String>) {
    use sqlparser::ast::Visit;
    let _ = statement.visit(&mut CteNames(out));
}

/// Columns of a table for [`bind_text`], in descriptor order.
pub fn columns_of(table: &TableDescriptor) -> Vec<Named<'_>> {
    table.columns.iter().map(|c| (c.name.as_str(), c.ty, c.typmod)).collect()
}

/// Finds a relation as statements do: for DDL. `Ok(None)`: there is none of this name.
pub fn find_relation(cx: &PlanContext<'_>, name: &ObjectName) -> Result<Option<Arc<RelationDescriptor>>> {
    let source = Source::new("");
    let mut params = Vec::new();
    let mut binder = Binder::new(cx, &source, &mut params);
    match binder.relation(name) {
        Ok(Found::Relation(relation, _)) => Ok(Some(relation)),
        Ok(Found::System(..)) => Ok(None),
        Err(e) if e.code == SqlState::UNDEFINED_TABLE => Ok(None),
        Err(e) => Err(e),
    }
}

/// `NO_TYPMOD`, for callers that have no modifier.
pub const ANY_TYPMOD: i32 = NO_TYPMOD;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::snapshot::CatalogSnapshot;
    use crate::functions::SessionView;

    fn with_context<T>(work: impl FnOnce(&PlanContext<'_>) -> T) -> T {
        let mut catalog = CatalogSnapshot::default();
        let schema = SchemaDescriptor { id: 2200, database: 5, name: "public".into(), owner: 10, comment: None };
        catalog.schemas.insert(2200, Arc::new(schema));
        let column = |id: u32, name: &str, ty| ColumnDescriptor {
            id,
            name: name.into(),
            ty,
            typmod: -1,
            not_null: false,
            default: None,
            identity: None,
            generated: None,
            owned_sequence: None,
            missing_value: None,
            hidden: false,
            comment: None,
        };
        let primary = IndexDescriptor {
            id: 1,
            oid: 101,
            name: "T_pkey".into(),
            unique: true,
            keys: vec![IndexKey { column: 1, descending: false, nulls_first: false }],
            include: Vec::new(),
            predicate: None,
            state: IndexState::Public,
            constraint: None,
        };
        let table = TableDescriptor {
            columns: vec![column(1, "a", DataType::INT4), column(2, "B c", DataType::TEXT)],
            next_column: 3,
            primary,
            indexes: Vec::new(),
            next_index: 2,
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            referenced_by: Vec::new(),
            storage_id: 100,
        };
        let kind = RelationKind::Table(table);
        let relation =
            RelationDescriptor { id: 100, database: 5, schema: 2200, name: "T".into(), owner: 10, version: 1, comment: None, kind };
        catalog.by_name.insert((2200, "T".into()), 100);
        catalog.relations.insert(100, Arc::new(relation));
        let session = SessionView {
            user: "root".into(),
            session_user: "root".into(),
            database: "defaultdb".into(),
            search_path: vec!["public".into()],
            timezone: "UTC".into(),
            datestyle: "ISO, MDY".into(),
            intervalstyle: "postgres".into(),
            extra_float_digits: 1,
            bytea_escape: false,
            backend_pid: 1,
            settings: Default::default(),
        };
        let system = crate::plan::no_system_tables;
        work(&PlanContext { catalog: &catalog, database: 5, session: &session, lookup: None, now: None, system })
    }

    #[test]
    fn stored_queries_are_qualified_and_stars_expanded() {
        with_context(|cx| {
            let store = |sql: &str| {
                let parsed = crate::front::parse_one(sql).unwrap().unwrap();
                let stored = store_query(cx, &parsed).unwrap();
                // What was stored means the same when it is read again.
                let again = crate::front::parse_one(&stored.text).unwrap().unwrap();
                assert_eq!(store_query(cx, &again).unwrap().columns, stored.columns);
                (stored.text, stored.depends_on)
            };
            assert_eq!(store("select * from \"T\"").0, "SELECT \"T\".a, \"T\".\"B c\" FROM public.\"T\"");
            assert_eq!(store("select x.* from \"T\" x where exists (select * from \"T\")").0.matches("public.\"T\"").count(), 2);
            let (text, depends_on) = store("with \"T\" as (select 1 as one) select * from \"T\"");
            assert_eq!(text, "WITH \"T\" AS (SELECT 1 AS one) SELECT \"T\".one FROM \"T\"");
            assert!(depends_on.is_empty());
        });
    }

    #[test]
    fn scalars() {
        with_context(|cx| {
            let columns: &[Named<'_>] = &[("a", DataType::INT4, -1), ("b", DataType::TEXT, -1)];
            let code = |text, purpose, expected| bind_text(cx, text, columns, purpose, expected).map(|e| e.ty()).map_err(|e| e.code.0);
            assert_eq!(code("a > 1", Purpose::Check, None), Ok(DataType::BOOL));
            assert_eq!(code("a + 1", Purpose::Check, None), Err("42804"));
            assert_eq!(code("'5'", Purpose::Default, Some(("x", DataType::INT8, -1))), Ok(DataType::INT8));
            assert_eq!(code("true", Purpose::Default, Some(("x", DataType::INT8, -1))), Err("42804"));
            assert_eq!(code("random() > a", Purpose::Predicate, None), Err("42P17"));
            assert_eq!(code("(select 1)", Purpose::Default, None), Err("0A000"));
            assert_eq!(code("count(*)", Purpose::Check, None), Err("42803"));
            let bound = bind_text(cx, "b", columns, Purpose::Other, None).unwrap();
            assert!(matches!(bound, Expr::Column { ordinal: 1, .. }));
        });
    }
}
