//! The binder as DDL, COPY, foreign keys and the session's small needs use it.

use std::sync::Arc;

use meridian_txn::api::KvError;
use sqlparser::ast;

use super::Session;
use super::api::ResultSink;
use crate::catalog::ddl::{Analyzer, Constant, QueryShape};
use crate::catalog::descriptor::{Oid, RelationDescriptor};
use crate::catalog::keys;
use crate::catalog::snapshot::CatalogSnapshot;
use crate::catalog::system::Lookup;
use crate::error::{Result, SqlError, SqlState};
use crate::exec::eval::{EvalCx, eval};
use crate::exec::{SystemTables, TableExpressions};
use crate::front::{IndexName, Parsed, Source};
use crate::functions::{CatalogLookup, EvalContext, SessionView, Volatility};
use crate::plan::PlanContext;
use crate::plan::bind::stored::{self, Purpose};
use crate::plan::bind::types;
use crate::plan::expr::Expr;
use crate::plan::logical::any;
use crate::plan::node::RowChecks;
use crate::types::{DataType, Datum, Io, to_text};

/// Binds for DDL, under a session's settings.
pub struct SessionAnalyzer {
    database: Oid,
    view: Arc<SessionView>,
}

impl SessionAnalyzer {
    /// For one statement.
    pub fn new(database: Oid, view: Arc<SessionView>) -> Self {
        SessionAnalyzer { database, view }
    }

    fn context<'a>(&'a self, catalog: &'a CatalogSnapshot, lookup: &'a Lookup) -> PlanContext<'a> {
        PlanContext {
            catalog,
            database: self.database,
            session: &self.view,
            lookup: Some(lookup),
            now: None,
            system: crate::catalog::system::find,
        }
    }

    fn lookup(&self, catalog: &CatalogSnapshot) -> Lookup {
        Lookup::new(Arc::new(catalog.clone()), self.database).for_session(&self.view)
    }
}

fn purpose(what: &str) -> Purpose {
    match what {
        "DEFAULT" => Purpose::Default,
        "CHECK" => Purpose::Check,
        "WHERE" => Purpose::Predicate,
        "USING" => Purpose::Other,
        _ => Purpose::Generated,
    }
}

impl SessionAnalyzer {
    /// A condition over a table's rows (COPY FROM … WHERE).
    pub(super) fn predicate(&self, catalog: &CatalogSnapshot, relation: &RelationDescriptor, expr: &ast::Expr) -> Result<Expr> {
        let lookup = self.lookup(catalog);
        let columns = relation.table().map(stored::columns_of).unwrap_or_default();
        stored::bind_ast(&self.context(catalog, &lookup), &Source::new(""), expr, &columns, Purpose::Predicate, None)
    }
}

impl Analyzer for SessionAnalyzer {
    fn data_type(&self, _catalog: &CatalogSnapshot, ty: &ast::DataType) -> Result<(DataType, i32)> {
        types::resolve(ty)
    }

    fn expression(
        &self,
        catalog: &CatalogSnapshot,
        table: Option<&RelationDescriptor>,
        expr: &ast::Expr,
        expected: DataType,
        typmod: i32,
        what: &str,
    ) -> Result<String> {
        let lookup = self.lookup(catalog);
        let columns = table.and_then(|t| t.table()).map(stored::columns_of).unwrap_or_default();
        let purpose = purpose(what);
        let expected = match purpose {
            Purpose::Check | Purpose::Predicate => None,
            _ => Some(("", expected, typmod)),
        };
        stored::bind_ast(&self.context(catalog, &lookup), &Source::new(""), expr, &columns, purpose, expected)?;
        Ok(expr.to_string())
    }

    fn constant(&self, catalog: &CatalogSnapshot, expr: &ast::Expr, ty: DataType, typmod: i32) -> Result<Constant> {
        let lookup = self.lookup(catalog);
        let cx = self.context(catalog, &lookup);
        let bound = stored::bind_ast(&cx, &Source::new(""), expr, &[], Purpose::Default, Some(("", ty, typmod)))?;
        let varies = any(&bound, &|e| match e {
            Expr::Call { function, .. } => function.0.volatility == Volatility::Volatile,
            Expr::ExecutorCall { .. } | Expr::Subquery { .. } => true,
            _ => false,
        });
        if varies {
            return Ok(Constant::Varies);
        }
        let value = evaluate(&bound, &self.view, &lookup)?;
        let io = Io { session: &self.view, now: None, catalog: Some(&lookup) };
        Ok(Constant::Value((!matches!(value, Datum::Null)).then(|| to_text(&value, ty, io))))
    }

    fn query(&self, catalog: &CatalogSnapshot, query: &Parsed) -> Result<QueryShape> {
        let lookup = self.lookup(catalog);
        let shape = stored::store_query(&self.context(catalog, &lookup), query)?;
        Ok(QueryShape { columns: shape.columns, text: shape.text, depends_on: shape.depends_on })
    }
}

/// The value of an expression that needs neither rows nor the store.
fn evaluate(expr: &Expr, view: &SessionView, lookup: &dyn CatalogLookup) -> Result<Datum> {
    // Constants of stored expressions do not depend on randomness: volatile ones were sorted out before.
    let mut rng = meridian_clock::Entropy::seeded(0).rng();
    let functions = EvalContext { transaction_micros: 0, statement_micros: 0, session: view, rng: &mut rng, catalog: lookup };
    eval(expr, &[], &mut EvalCx::new(functions, &[], &[]))
}

/// Bound expressions of tables that a statement does not name.
struct Expressions {
    analyzer: SessionAnalyzer,
    catalog: Arc<CatalogSnapshot>,
    lookup: Arc<Lookup>,
}

impl TableExpressions for Expressions {
    fn row_checks(&self, relation: &RelationDescriptor) -> Result<Arc<RowChecks>> {
        let cx = self.analyzer.context(&self.catalog, &self.lookup);
        let Some(table) = relation.table() else { return Err(SqlError::internal("row checks of no table")) };
        let columns = stored::columns_of(table);
        let mut checks = RowChecks::default();
        for (at, column) in table.columns.iter().enumerate() {
            if let Some(text) = &column.generated {
                let expected = Some((column.name.as_str(), column.ty, column.typmod));
                checks.generated.push((at, stored::bind_text(&cx, text, &columns, Purpose::Generated, expected)?));
            }
        }
        for check in &table.checks {
            checks.checks.push((check.name.clone(), stored::bind_text(&cx, &check.expression, &columns, Purpose::Check, None)?));
        }
        for index in &table.indexes {
            if let Some(text) = &index.predicate {
                checks.predicates.push((index.id, stored::bind_text(&cx, text, &columns, Purpose::Predicate, None)?));
            }
        }
        Ok(Arc::new(checks))
    }

    fn column_default(&self, relation: &RelationDescriptor, column: u32) -> Result<Expr> {
        let descriptor = relation.table().and_then(|t| t.column(column)).ok_or_else(|| SqlError::internal("a default of no column"))?;
        stored::bind_default(&self.analyzer.context(&self.catalog, &self.lookup), descriptor)
    }
}

impl Session {
    /// Names of catalog objects, for functions and `reg…` types.
    pub(super) fn lookup(&self, catalog: &Arc<CatalogSnapshot>) -> Arc<Lookup> {
        let mut kept = self.env.lookup.lock();
        match &*kept {
            Some((version, lookup)) if *version == catalog.version => lookup.clone(),
            _ => {
                let lookup = Arc::new(Lookup::new(catalog.clone(), self.database).for_session(&self.env.view));
                *kept = Some((catalog.version, lookup.clone()));
                lookup
            }
        }
    }

    /// The binder, as foreign key actions and COPY use it.
    pub(super) fn table_expressions(&self, catalog: &Arc<CatalogSnapshot>) -> Arc<dyn TableExpressions> {
        let analyzer = SessionAnalyzer::new(self.database, self.env.view.clone());
        Arc::new(Expressions { analyzer, catalog: catalog.clone(), lookup: self.lookup(catalog) })
    }

    /// Virtual tables.
    pub(super) fn system_tables(&self) -> Arc<dyn SystemTables> {
        self.db.system.clone()
    }

    /// Value input and output under this session's settings, without the catalog.
    pub(super) fn io(&self) -> Io<'_> {
        Io::from(&*self.env.view)
    }

    /// A type by its syntax.
    pub(super) fn type_of(&self, ty: &ast::DataType) -> Result<(DataType, i32)> {
        types::resolve(ty)
    }

    /// The float that a constant query gives.
    pub(super) fn constant_float(&self, catalog: &Arc<CatalogSnapshot>, sql: &str) -> Result<f64> {
        let text = sql.strip_prefix("SELECT ").unwrap_or(sql);
        let lookup = self.lookup(catalog);
        let cx = PlanContext {
            catalog,
            database: self.database,
            session: &self.env.view,
            lookup: Some(&*lookup),
            now: Some(self.env.now_micros(&self.db)),
            system: crate::catalog::system::find,
        };
        let bound = stored::bind_text(&cx, text, &[], Purpose::Other, Some(("", DataType::FLOAT8, -1)))?;
        let mut rng = meridian_clock::Entropy::seeded(0).rng();
        let now = self.env.now_micros(&self.db);
        let functions =
            EvalContext { transaction_micros: now, statement_micros: now, session: &self.env.view, rng: &mut rng, catalog: &*lookup };
        match eval(&bound, &[], &mut EvalCx::new(functions, &[], &[]))? {
            Datum::Float8(value) => Ok(value),
            _ => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "not a time")),
        }
    }

    /// SET CONSTRAINTS.
    pub(super) async fn set_constraints(&mut self, names: &[ast::ObjectName], deferred: bool) -> Result<()> {
        let catalog = self.catalog().await?;
        let database = self.database;
        let txn = self.transaction();
        if names.is_empty() {
            txn.deferred.set_all(deferred);
        }
        for name in names {
            let wanted = name.0.last().map(|p| p.to_string().trim_matches('"').to_owned()).unwrap_or_default();
            let tables = catalog.relations.values().filter(|r| r.database == database).filter_map(|r| r.table());
            let keys: Vec<_> = tables.flat_map(|t| &t.foreign_keys).filter(|k| k.name == wanted).collect();
            if keys.is_empty() {
                let message = format!("constraint \"{wanted}\" does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
            }
            for key in keys {
                if !key.deferrable {
                    let message = format!("constraint \"{wanted}\" is not deferrable");
                    return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
                }
                txn.deferred.set(key.oid, deferred);
            }
        }
        if !deferred {
            self.run_deferred_checks(true).await?;
        }
        Ok(())
    }

    /// ALTER TABLE/INDEX … SPLIT AT VALUES.
    pub(super) async fn split_at(
        &mut self,
        relation: &ast::ObjectName,
        index: Option<&IndexName>,
        rows: &[Vec<ast::Expr>],
        sink: &mut dyn ResultSink,
    ) -> Result<()> {
        let catalog = self.catalog().await?;
        let (table, wanted) = match index {
            Some(IndexName::Itself) => {
                let name = relation.0.last().map(|p| p.to_string().trim_matches('"').to_owned()).unwrap_or_default();
                let owner = catalog
                    .relations
                    .values()
                    .find(|r| r.database == self.database && r.table().is_some_and(|t| t.all_indexes().any(|i| i.name == name)));
                let missing = || SqlError::new(SqlState::UNDEFINED_OBJECT, format!("index \"{name}\" does not exist"));
                (owner.cloned().ok_or_else(missing)?, Some(name))
            }
            Some(IndexName::OfTable(name)) => (self.relation(relation).await?, Some(name.clone())),
            None => (self.relation(relation).await?, None),
        };
        let Some(descriptor) = table.table() else {
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a table", table.name)));
        };
        let index = match &wanted {
            None => &descriptor.primary,
            Some(name) => descriptor
                .all_indexes()
                .find(|i| i.name == *name)
                .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, format!("index \"{name}\" does not exist")))?,
        };
        let lookup = self.lookup(&catalog);
        let analyzer = SessionAnalyzer::new(self.database, self.env.view.clone());
        let cx = analyzer.context(&catalog, &lookup);
        for row in rows {
            if row.is_empty() || row.len() > index.keys.len() {
                let message = format!("SPLIT AT takes 1 to {} values for index \"{}\"", index.keys.len(), index.name);
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
            }
            let mut key = keys::index_prefix(descriptor.storage_id, index.id);
            for (expr, part) in row.iter().zip(&index.keys) {
                let Some(column) = descriptor.column(part.column) else { continue };
                let expected = Some((column.name.as_str(), column.ty, column.typmod));
                let bound = stored::bind_ast(&cx, &Source::new(""), expr, &[], Purpose::Other, expected)?;
                let value = evaluate(&bound, &self.env.view, &*lookup)?;
                crate::types::codec::encode_key(column.ty, &value, part.descending, part.nulls_first, &mut key)?;
            }
            self.db.kv.split_at(key.into()).await.map_err(|e: KvError| SqlError::from(e))?;
        }
        sink.complete("ALTER TABLE").await
    }
}
