//! All descriptors at one moment.
//!
//! A statement is planned against one immutable snapshot; plans are cached by its version. A transaction that did DDL sees a
//! snapshot of its own (`version` is then unique to it).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::descriptor::*;

/// What ANALYZE found out about a column. Estimates: plans depend on them, answers never.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnStatistics {
    /// How many different values it has, NULL aside.
    pub distinct: u64,
    /// The share of NULLs, 0 to 1.
    pub null_share: f32,
}

/// The whole catalog. Immutable; maps are by OID, names are looked up through `by_name`.
#[derive(Clone, Debug, Default)]
pub struct CatalogSnapshot {
    /// Changes whenever anything in the catalog does.
    pub version: u64,
    /// Databases.
    pub databases: BTreeMap<Oid, Arc<DatabaseDescriptor>>,
    /// Schemas of all databases.
    pub schemas: BTreeMap<Oid, Arc<SchemaDescriptor>>,
    /// Relations of all databases.
    pub relations: BTreeMap<Oid, Arc<RelationDescriptor>>,
    /// Roles.
    pub roles: BTreeMap<Oid, Arc<RoleDescriptor>>,
    /// (schema, name) → relation. Indexes are here too, naming their table's OID.
    pub by_name: BTreeMap<(Oid, String), Oid>,
    /// Table statistics for the planner: row counts by table.
    pub row_counts: BTreeMap<Oid, u64>,
    /// Table statistics for the planner: columns by table and column id.
    pub column_statistics: BTreeMap<Oid, BTreeMap<u32, ColumnStatistics>>,
}

impl CatalogSnapshot {
    /// A schema by name in a database. `pg_catalog` and `information_schema` are in every database.
    pub fn schema_named(&self, database: Oid, name: &str) -> Option<Oid> {
        match name {
            "pg_catalog" => Some(PG_CATALOG_OID),
            "information_schema" => Some(INFORMATION_SCHEMA_OID),
            _ => self.schemas.values().find(|s| s.database == database && s.name == name).map(|s| s.id),
        }
    }

    /// A relation by schema and name.
    pub fn relation_named(&self, schema: Oid, name: &str) -> Option<&Arc<RelationDescriptor>> {
        self.by_name.get(&(schema, name.to_owned())).and_then(|oid| self.relations.get(oid)).filter(|r| r.name == name)
    }
}
