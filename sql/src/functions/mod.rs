//! Operators, scalar functions, aggregates and set-returning functions, with PostgreSQL's overload resolution.
//!
//! Everything callable is a [`FunctionDef`] in one static registry; an operator is a name for a function. The binder resolves
//! a call once; the executor then calls a plain `fn` pointer.

mod aggregate;
mod args;
mod arrays;
pub mod coerce;
mod compare;
mod datetime;
mod float;
mod format;
#[cfg(test)]
mod golden;
mod integer;
mod json;
pub mod like;
mod numeric;
pub mod order;
mod regexp;
pub mod registry;
pub mod resolve;
mod sets;
mod strings;
mod system;
mod text_basic;

pub use coerce::select_common_type;
pub use like::{like_escape, like_prefix};
pub use regexp::similar_to_regexp;
pub use registry::{
    ComparisonKind, OperatorDef, all_functions, all_operators, function_by_oid, functions_named, is_known_unsupported, operators_named,
};
pub use resolve::{ResolvedCall, ResolvedOperator, cast_by_function_name, packed_type, resolve_function, resolve_operator};
pub use sets::{LazyRows, ORDINALITY, lazy as lazy_rows};
pub use strings::{quote_ident, quote_literal};
pub use system::VERSION;

use crate::error::Result;
use crate::types::{DataType, Datum};

/// What a function may depend on beside its arguments. One per statement and executor task.
pub struct EvalContext<'a> {
    /// Start of the transaction, microseconds since 2000-01-01 UTC (`now()`).
    pub transaction_micros: i64,
    /// Start of the statement (`statement_timestamp()`).
    pub statement_micros: i64,
    /// Session state that functions show or obey.
    pub session: &'a SessionView,
    /// `random()`, `gen_random_uuid()`.
    pub rng: &'a mut meridian_clock::Rng,
    /// Names and ids of catalog objects, for `regclass`, `pg_get_*def`, `format_type`, `has_table_privilege`, ….
    pub catalog: &'a dyn CatalogLookup,
}

/// The session as functions see it. Serializable, because pushed-down programs carry it to the leaseholder.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct SessionView {
    /// `current_user`
    pub user: String,
    /// `session_user`
    pub session_user: String,
    /// `current_database()`
    pub database: String,
    /// The effective search path.
    pub search_path: Vec<String>,
    /// `TimeZone`
    pub timezone: String,
    /// `DateStyle` output style and field order, as PostgreSQL prints it, e.g. `ISO, MDY`.
    pub datestyle: String,
    /// `IntervalStyle`
    pub intervalstyle: String,
    /// `extra_float_digits`
    pub extra_float_digits: i32,
    /// `bytea_output` is `escape` instead of `hex`.
    pub bytea_escape: bool,
    /// `pg_backend_pid()`
    pub backend_pid: i32,
    /// All settings by name, for `current_setting`.
    pub settings: std::collections::BTreeMap<String, String>,
}

/// Catalog look-ups that functions and casts make.
pub trait CatalogLookup: Send + Sync {
    /// OID of a relation by possibly qualified name, as `regclass` input resolves it.
    fn relation_oid(&self, name: &str, search_path: &[String]) -> Option<u32>;
    /// The name `regclass` output prints (qualified when not in the search path).
    fn relation_name(&self, oid: u32, search_path: &[String]) -> Option<String>;
    /// OID of a schema.
    fn schema_oid(&self, name: &str) -> Option<u32>;
    /// Name of a schema.
    fn schema_name(&self, oid: u32) -> Option<String>;
    /// OID of a role.
    fn role_oid(&self, name: &str) -> Option<u32>;
    /// Name of a role.
    fn role_name(&self, oid: u32) -> Option<String>;
    /// A definition text: `pg_get_indexdef`, `pg_get_constraintdef`, `pg_get_viewdef`, `pg_get_expr`, …; `what` is the function's name,
    /// with `_ext` for the pretty form. `column`: `pg_get_indexdef`'s second argument.
    fn definition(&self, what: &str, oid: u32, column: i32) -> Option<String>;
    /// Anything else asked by name, e.g. `obj_description`, `pg_table_is_visible`, `pg_relation_size`: arguments as datums.
    fn system_function(&self, name: &str, args: &[Datum]) -> Option<Result<Datum>>;
}

/// How much a result may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volatility {
    /// Same arguments, same result, for ever.
    Immutable,
    /// Same within a statement.
    Stable,
    /// Any time.
    Volatile,
}

/// The body of a scalar function. Strict functions are never called with a NULL.
pub type ScalarFn = fn(&mut EvalContext<'_>, &[Datum]) -> Result<Datum>;

/// The body of a scalar function that also needs the types of its arguments: those after coercion, one for each given argument.
pub type TypedFn = fn(&mut EvalContext<'_>, &[DataType], &[Datum]) -> Result<Datum>;

/// One group's running state of an aggregate.
pub trait Accumulator: Send {
    /// Feeds one row's arguments (already filtered, and de-duplicated for DISTINCT).
    fn update(&mut self, args: &[Datum]) -> Result<()>;
    /// The state as datums, to be merged elsewhere by [`Accumulator::merge`]: partial aggregation at the leaseholder.
    fn partial(&self) -> Result<Vec<Datum>>;
    /// Merges another accumulator's `partial`.
    fn merge(&mut self, partial: &[Datum]) -> Result<()>;
    /// The result.
    fn finish(&self) -> Result<Datum>;
    /// Approximate bytes held, for memory limits.
    fn size(&self) -> usize;
}

/// What a [`FunctionDef`] does.
#[derive(Clone, Copy)]
pub enum FunctionBody {
    /// One value from one row.
    Scalar(ScalarFn),
    /// As `Scalar`, told the types of its arguments (`pg_typeof`, `concat`, `format`, `to_json`, `array_append`, …).
    Typed(TypedFn),
    /// One value from a group. The argument types are those after coercion.
    Aggregate {
        /// Makes a fresh accumulator.
        new: fn(&[DataType]) -> Box<dyn Accumulator>,
        /// Types of [`Accumulator::partial`], or empty if the aggregate is not partial-able.
        partial: &'static [DataType],
    },
    /// Rows from one row (`generate_series`, `unnest`, …): each row has `columns` datums.
    Set {
        /// Computes all rows; `emit` answers an error to stop.
        rows: fn(&mut EvalContext<'_>, &[Datum], &mut dyn FnMut(Vec<Datum>) -> Result<()>) -> Result<()>,
        /// Output column names and types; empty: one column named after the function, typed by `returns`.
        columns: &'static [(&'static str, DataType)],
    },
    /// A window function (`row_number`, `rank`, `lag`, …), evaluated by the executor's window operator by name.
    Window,
    /// Needs the executor (sequences, advisory locks, `pg_sleep`, `set_config`): evaluated there by name.
    Executor,
}

/// One callable signature.
#[derive(Clone, Copy)]
pub struct FunctionDef {
    /// OID in `pg_proc` where the same function has one there; ours start at 60000.
    pub oid: u32,
    /// Name, lower case.
    pub name: &'static str,
    /// Argument types; pseudo-types (`ANY`, `ANYELEMENT`, `ANYARRAY`, `ANYCOMPATIBLE`, …) are polymorphic.
    pub args: &'static [DataType],
    /// Whether the last argument may repeat.
    pub variadic: bool,
    /// How many trailing arguments are optional (separate defaults are filled in by the body).
    pub optional: usize,
    /// Result type; polymorphic ones are derived from the arguments.
    pub returns: DataType,
    /// NULL in, NULL out.
    pub strict: bool,
    /// See [`Volatility`].
    pub volatility: Volatility,
    /// What it does.
    pub body: FunctionBody,
}

/// A call resolved by the binder.
#[derive(Clone, Copy)]
pub struct Resolved {
    /// What to call.
    pub def: &'static FunctionDef,
    /// The concrete result type.
    pub returns: DataType,
}

/// Every topic's bodies; the registry joins them with PostgreSQL's signatures.
fn topics() -> Vec<&'static [args::Entry]> {
    let mut all = vec![
        json::COMPARISON,
        json::ENTRIES,
        datetime::MIXED,
        datetime::COMPARISON,
        datetime::ARITHMETIC,
        datetime::FUNCTIONS,
        arrays::COMPARISON,
        arrays::ENTRIES,
        sets::ENTRIES,
        system::CASTS,
        system::ENTRIES,
        system::ASKED,
        system::EXECUTOR,
        system::WINDOW,
        compare::FLAT,
        compare::OTHER,
        float::ARITHMETIC,
        float::MATH,
        integer::ARITHMETIC,
        integer::UNARY,
        integer::OTHER,
        like::ENTRIES,
        numeric::BINARY,
        numeric::COMPARISON,
        numeric::OTHER,
        regexp::ENTRIES,
        strings::ENTRIES,
        text_basic::ENTRIES,
    ];
    all.extend(aggregate::TOPICS);
    all.extend(format::TOPICS);
    all
}

/// How many direct arguments an ordered-set aggregate takes before its `WITHIN GROUP` ones; None for any other function.
pub fn ordered_set_direct_arguments(def: &FunctionDef) -> Option<usize> {
    match def.name {
        "percentile_cont" | "percentile_disc" => Some(1),
        "mode" => Some(0),
        _ => None,
    }
}

/// Aggregates see no session, so what a `timestamptz` looks like in JSON must be settled before: the binder wraps that argument of
/// `json_agg`, `jsonb_agg`, `json_object_agg` and `jsonb_object_agg` in the answered function.
pub fn json_aggregate_wrapper(def: &FunctionDef, argument: DataType) -> Option<&'static str> {
    match (def.name, argument) {
        ("json_agg" | "json_object_agg", DataType::TIMESTAMPTZ | DataType::TIMESTAMPTZ_ARRAY) => Some("to_json"),
        ("jsonb_agg" | "jsonb_object_agg", DataType::TIMESTAMPTZ | DataType::TIMESTAMPTZ_ARRAY) => Some("to_jsonb"),
        _ => None,
    }
}
