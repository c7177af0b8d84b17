//! The catalog: what objects exist.
//!
//! ```text
//!   descriptor     what an object is: databases, schemas, tables with columns, indexes and constraints, views, sequences, roles
//!   snapshot       all descriptors at one moment, immutable, shared by every statement planned at that moment
//!   store          descriptors in KV: layout, reading, writing within a transaction, versions
//!   keys           where rows and index entries of a table live in the key space
//!   garbage        rows that nobody refers to any more are deleted
//!   ddl            CREATE, ALTER, DROP, …
//!   system         pg_catalog and information_schema as virtual tables over a snapshot
//! ```

pub mod ddl;
pub mod descriptor;
pub mod garbage;
pub mod keys;
pub mod snapshot;
pub mod store;
pub mod system;
