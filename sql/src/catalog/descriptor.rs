//! Descriptors: what the catalog says of each object.
//!
//! Expressions (defaults, checks, views, generated columns) are stored as SQL text, fully qualified, and bound when used:
//! text survives changes of the plan format.

use serde::{Deserialize, Serialize};

use crate::types::DataType;

/// OID of any catalog object: one counter for all, as in PostgreSQL. User objects start at 16384.
pub type Oid = u32;
/// First OID of user objects.
pub const FIRST_USER_OID: Oid = 16384;
/// `pg_catalog`
pub const PG_CATALOG_OID: Oid = 11;
/// `public` of the default database.
pub const PUBLIC_SCHEMA_OID: Oid = 2200;
/// `information_schema`
pub const INFORMATION_SCHEMA_OID: Oid = 13000;
/// `root`, the superuser.
pub const ROOT_ROLE_OID: Oid = 10;
/// `defaultdb`
pub const DEFAULT_DATABASE_OID: Oid = 5;
/// `postgres`
pub const POSTGRES_DATABASE_OID: Oid = 6;

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseDescriptor {
    /// OID.
    pub id: Oid,
    /// Name.
    pub name: String,
    /// Owning role.
    pub owner: Oid,
    /// `COMMENT ON`.
    pub comment: Option<String>,
}

/// A schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaDescriptor {
    /// OID.
    pub id: Oid,
    /// Its database.
    pub database: Oid,
    /// Name.
    pub name: String,
    /// Owning role.
    pub owner: Oid,
    /// `COMMENT ON`.
    pub comment: Option<String>,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleDescriptor {
    /// OID.
    pub id: Oid,
    /// Name.
    pub name: String,
    /// `SUPERUSER`
    pub superuser: bool,
    /// `CREATEDB`
    pub create_db: bool,
    /// `CREATEROLE`
    pub create_role: bool,
    /// `LOGIN`
    pub login: bool,
    /// SCRAM-SHA-256 verifier in PostgreSQL's form `SCRAM-SHA-256$iter:salt$StoredKey:ServerKey`.
    pub verifier: Option<String>,
    /// `CONNECTION LIMIT`, −1 for none.
    pub connection_limit: i32,
}

/// Something in a schema: what `pg_class` has a row for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelationDescriptor {
    /// OID.
    pub id: Oid,
    /// Its database.
    pub database: Oid,
    /// Its schema.
    pub schema: Oid,
    /// Name.
    pub name: String,
    /// Owning role.
    pub owner: Oid,
    /// Raised by every change.
    pub version: u64,
    /// `COMMENT ON TABLE`.
    pub comment: Option<String>,
    /// What it is.
    pub kind: RelationKind,
}

/// The kinds of relation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RelationKind {
    /// An ordinary table.
    Table(TableDescriptor),
    /// A view.
    View(ViewDescriptor),
    /// A sequence.
    Sequence(SequenceDescriptor),
}

/// A table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableDescriptor {
    /// Columns that exist, in `attnum` order; dropped ones are gone from here, their ids are never reused.
    pub columns: Vec<ColumnDescriptor>,
    /// The id that the next column gets (`attnum`, from 1).
    pub next_column: u32,
    /// The index that holds the rows. Its key is the primary key, or a hidden `rowid` column (`hidden`, default `unique_rowid()`) if the
    /// user gave none.
    pub primary: IndexDescriptor,
    /// Secondary indexes, those being built included.
    pub indexes: Vec<IndexDescriptor>,
    /// The id that the next index of this table gets (1 is the first primary).
    pub next_index: u32,
    /// CHECK constraints.
    pub checks: Vec<CheckDescriptor>,
    /// Foreign keys of this table.
    pub foreign_keys: Vec<ForeignKeyDescriptor>,
    /// OIDs of tables with foreign keys to this one.
    pub referenced_by: Vec<Oid>,
    /// Rewritten (TRUNCATE): rows live under this id, which changes; the OID stays.
    pub storage_id: Oid,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDescriptor {
    /// `attnum`; also the column id in the stored row.
    pub id: u32,
    /// Name.
    pub name: String,
    /// Type.
    pub ty: DataType,
    /// Type modifier, −1 for none.
    pub typmod: i32,
    /// NOT NULL.
    pub not_null: bool,
    /// DEFAULT expression as SQL text.
    pub default: Option<String>,
    /// `GENERATED … AS IDENTITY`.
    pub identity: Option<Identity>,
    /// `GENERATED ALWAYS AS (…) STORED` expression.
    pub generated: Option<String>,
    /// The sequence that this column owns (serial, identity).
    pub owned_sequence: Option<Oid>,
    /// What rows written before `ALTER TABLE ADD COLUMN … DEFAULT` read: the value in text form. Rows with the column present do not use it.
    pub missing_value: Option<String>,
    /// Not shown to users (`rowid`).
    pub hidden: bool,
    /// `COMMENT ON COLUMN`.
    pub comment: Option<String>,
}

/// `GENERATED … AS IDENTITY`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// `ALWAYS`
    Always,
    /// `BY DEFAULT`
    ByDefault,
}

/// An index. The primary index holds the rows: its value is all columns that its key does not hold exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexDescriptor {
    /// Number within the table; part of the key.
    pub id: u32,
    /// Its own OID in `pg_class`.
    pub oid: Oid,
    /// Name.
    pub name: String,
    /// Whether two rows may not share a key (NULLs are distinct).
    pub unique: bool,
    /// Key columns.
    pub keys: Vec<IndexKey>,
    /// INCLUDE columns, by column id.
    pub include: Vec<u32>,
    /// Partial index predicate as SQL text.
    pub predicate: Option<String>,
    /// What may be done with it.
    pub state: IndexState,
    /// The constraint it implements.
    pub constraint: Option<ConstraintKind>,
}

/// One key column of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexKey {
    /// Column id.
    pub column: u32,
    /// Descending.
    pub descending: bool,
    /// NULLS FIRST (PostgreSQL's default: with DESC).
    pub nulls_first: bool,
}

/// Online schema change: what a statement may do with an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexState {
    /// Readers and writers use it.
    Public,
    /// Being built: every writer maintains it, no reader uses it, uniqueness is enforced for new rows.
    WriteOnly,
}

/// Which constraint an index stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConstraintKind {
    /// PRIMARY KEY, with the constraint's OID.
    Primary(Oid),
    /// UNIQUE, with the constraint's OID.
    Unique(Oid),
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckDescriptor {
    /// OID.
    pub oid: Oid,
    /// Name.
    pub name: String,
    /// Boolean expression as SQL text.
    pub expression: String,
    /// Whether existing rows are known to satisfy it.
    pub validated: bool,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKeyDescriptor {
    /// OID.
    pub oid: Oid,
    /// Name.
    pub name: String,
    /// Referencing column ids.
    pub columns: Vec<u32>,
    /// Referenced table.
    pub referenced_table: Oid,
    /// Referenced column ids, in the order of `columns`.
    pub referenced_columns: Vec<u32>,
    /// ON DELETE.
    pub on_delete: ReferentialAction,
    /// ON UPDATE.
    pub on_update: ReferentialAction,
    /// MATCH FULL instead of SIMPLE.
    pub match_full: bool,
    /// DEFERRABLE.
    pub deferrable: bool,
    /// INITIALLY DEFERRED.
    pub initially_deferred: bool,
    /// Whether existing rows are known to satisfy it.
    pub validated: bool,
}

/// What happens to referencing rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReferentialAction {
    /// Error, checked at the end of the statement (or transaction if deferred).
    NoAction,
    /// Error at once.
    Restrict,
    /// Delete or update them too.
    Cascade,
    /// Set the columns to NULL.
    SetNull,
    /// Set the columns to their defaults.
    SetDefault,
}

/// A view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDescriptor {
    /// Column names and types (`ColumnDescriptor` with neither default nor constraint).
    pub columns: Vec<ColumnDescriptor>,
    /// The query as SQL text with every name qualified.
    pub query: String,
    /// Relations it reads: these may not be dropped without CASCADE.
    pub depends_on: Vec<Oid>,
}

/// A sequence. Its state is a key of its own, changed outside transactions as in PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceDescriptor {
    /// int2, int4 or int8.
    pub ty: DataType,
    /// START.
    pub start: i64,
    /// INCREMENT.
    pub increment: i64,
    /// MINVALUE.
    pub min: i64,
    /// MAXVALUE.
    pub max: i64,
    /// CACHE: values a session takes at once.
    pub cache: i64,
    /// CYCLE.
    pub cycle: bool,
    /// OWNED BY: table and column id.
    pub owned_by: Option<(Oid, u32)>,
}

impl RelationDescriptor {
    /// The table, if it is one.
    pub fn table(&self) -> Option<&TableDescriptor> {
        match &self.kind {
            RelationKind::Table(table) => Some(table),
            _ => None,
        }
    }
}

impl TableDescriptor {
    /// A column by id.
    pub fn column(&self, id: u32) -> Option<&ColumnDescriptor> {
        self.columns.iter().find(|c| c.id == id)
    }
    /// A column by name.
    pub fn column_named(&self, name: &str) -> Option<&ColumnDescriptor> {
        self.columns.iter().find(|c| c.name == name)
    }
    /// The primary index and the secondary ones.
    pub fn all_indexes(&self) -> impl Iterator<Item = &IndexDescriptor> {
        std::iter::once(&self.primary).chain(&self.indexes)
    }
}
