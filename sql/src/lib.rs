//! SQL: PostgreSQL's semantics over an ordered, strictly serializable key-value store.
//!
//! ```text
//!   error          one error type with SQLSTATE, detail, hint, position
//!   types          DataType, Datum: values, text and binary forms, casts, comparison, key and row codecs
//!   functions      operators, scalar functions, aggregates, set-returning functions, with overload resolution
//!   catalog        descriptors, the catalog in KV and its cache, DDL, pg_catalog and information_schema
//!   front          statement text → AST (sqlparser behind a front of our own)
//!   plan           AST → bound, typed plan: binder, rewrites, physical planner
//!   exec           plan → batches of rows: operators, expression evaluation, DML, scan programs
//!   session        one client's state: transactions, prepared statements, portals, settings; what `server` talks to
//! ```
//! Data passes in that order; each module knows only those above it in this list (session knows all).

pub mod catalog;
pub mod error;
pub mod exec;
pub mod front;
pub mod functions;
pub mod plan;
pub mod session;
pub mod types;
