//! `pg_catalog` and `information_schema`: virtual tables over a snapshot, and what functions ask the catalog.
//!
//! ```text
//!   view                a snapshot as one database sees it: names, visibility, what is hidden
//!   fixed data/         which system relations there are; rows about built-in objects, taken from PostgreSQL 15
//!   classes attributes constraints types roles objects activity    pg_catalog by topic
//!   information_schema  its views
//!   definitions expression   pg_get_indexdef and its kin; expression text as PostgreSQL prints it
//!   lookup privileges   the CatalogLookup of functions and casts
//!   extras              what only the session layer knows
//!   cells               rows written as plain values
//! ```
//! Column lists, types and OIDs are PostgreSQL 15's. A table without rows is one whose feature does not exist here (enum types, triggers,
//! publications, …). System relations that would show facts of a PostgreSQL server process are not there at all.
//! Every table is made whole when it is read: catalogs are small, and the executor filters.

mod activity;
mod attributes;
pub(crate) mod cells;
mod classes;
mod constraints;
mod definitions;
mod expression;
pub mod extras;
mod fixed;
mod information_schema;
mod lookup;
mod objects;
mod privileges;
mod roles;
#[cfg(test)]
mod tests;
mod types;
mod view;

use std::sync::Arc;

pub use extras::SystemExtras;
pub use lookup::Lookup;

use super::snapshot::CatalogSnapshot;
use crate::error::{Result, SqlError, SqlState};
use crate::exec::SystemTables;
use crate::functions::SessionView;
use crate::plan::SystemTable;
use crate::types::DataType;
use cells::Row;
pub(crate) use cells::array;
use view::View;

/// The table that the binder reads a sequence through: all sequences' states by OID. Not a relation that anybody can name otherwise.
const SEQUENCE_STATES: SystemTable = SystemTable {
    name: "pg_sequence_state",
    oid: 0,
    columns: &[("seqrelid", DataType::OID), ("last_value", DataType::INT8), ("log_cnt", DataType::INT8), ("is_called", DataType::BOOL)],
};

/// Finds a table of `pg_catalog` or `information_schema`.
pub fn find(schema: &str, name: &str) -> Option<SystemTable> {
    if (schema, name) == ("pg_catalog", SEQUENCE_STATES.name) {
        return Some(SEQUENCE_STATES);
    }
    let relation = fixed::relation_named(name)?;
    let schema_oid = match schema {
        "pg_catalog" => super::descriptor::PG_CATALOG_OID,
        "information_schema" => super::descriptor::INFORMATION_SCHEMA_OID,
        _ => return None,
    };
    (relation.schema == schema_oid).then_some(SystemTable { name: relation.name, oid: relation.oid, columns: relation.columns })
}

/// What a table is made from.
pub(crate) struct Cx<'a> {
    view: View,
    lookup: Lookup,
    session: &'a SessionView,
    extras: &'a dyn SystemExtras,
}

/// The rows of system tables.
#[derive(Clone)]
pub struct SystemCatalog {
    extras: Arc<dyn SystemExtras>,
}

impl std::fmt::Debug for SystemCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SystemCatalog")
    }
}

impl SystemCatalog {
    /// With what the session layer knows.
    pub fn new(extras: Arc<dyn SystemExtras>) -> Self {
        SystemCatalog { extras }
    }

    /// All rows of a system table, all its columns in order.
    ///
    /// # Errors
    /// `42P01` for a name that [`find`] does not give; errors of the store for sequences' states.
    pub async fn table_rows(&self, table: &str, catalog: &Arc<CatalogSnapshot>, session: &SessionView) -> Result<Vec<Row>> {
        let database = catalog.databases.values().find(|d| d.name == session.database).map_or(0, |d| d.id);
        let lookup = Lookup::new(catalog.clone(), database).for_session(session);
        let cx = Cx { view: lookup.view.clone(), lookup, session, extras: &*self.extras };
        match table {
            "pg_sequences" => return classes::pg_sequences(&cx).await,
            "pg_locks" => return Ok(activity::locks(&cx).await),
            "pg_sequence_state" => return classes::sequence_states(&cx).await,
            _ => {}
        }
        let topics: [fn(&Cx<'_>, &str) -> Option<Vec<Row>>; 8] = [
            classes::rows,
            attributes::rows,
            constraints::rows,
            types::rows,
            roles::rows,
            objects::rows,
            activity::rows,
            information_schema::rows,
        ];
        if let Some(rows) = topics.iter().find_map(|topic| topic(&cx, table)) {
            return Ok(rows);
        }
        match fixed::rows(table) {
            Some(rows) => Ok(rows.to_vec()),
            // What is left is about features that do not exist.
            None if fixed::relation_named(table).is_some() => Ok(vec![]),
            None => Err(SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{table}\" does not exist"))),
        }
    }
}

#[async_trait::async_trait]
impl SystemTables for SystemCatalog {
    async fn rows(&self, table: &'static str, catalog: &Arc<CatalogSnapshot>, session: &SessionView) -> Result<Vec<Row>> {
        self.table_rows(table, catalog, session).await
    }
}
