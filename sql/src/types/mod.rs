//! Types and values.
//!
//! A [`DataType`] is a PostgreSQL type by OID (user-defined types come later with OIDs of their own); modifiers travel beside
//! it as PostgreSQL's `typmod`. A [`Datum`] is a value. Submodules: text and binary wire forms, casts, comparison,
//! arithmetic of each kind, key and row codecs.

pub mod array;
pub mod binary_io;
pub mod bytes;
mod cast_table;
pub mod casts;
pub mod codec;
pub mod data_type;
pub mod datetime;
mod datum;
pub mod float;
#[cfg(test)]
mod golden;
pub mod interval;
pub mod json;
pub mod numeric;
pub mod text_io;
mod type_table;

use std::sync::Arc;

pub use binary_io::{parse_binary, write_binary};
pub use casts::{Cast, CastContext, CastMethod, apply_cast, apply_typmod, find_cast};
pub use data_type::{TypeInfo, all_types, format_type};
pub use datum::compare_typed;
pub use interval::Interval;
pub use json::Jsonb;
pub use numeric::Numeric;
pub use text_io::{Io, parse_text, to_text, write_text};

/// A type, by its OID in `pg_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct DataType(pub u32);

macro_rules! types {
    ($($name:ident = $oid:literal;)*) => {
        impl DataType { $(#[doc = concat!("OID ", stringify!($oid))] pub const $name: DataType = DataType($oid);)* }
    };
}

types! {
    BOOL = 16; BYTEA = 17; CHAR_INTERNAL = 18; NAME = 19; INT8 = 20; INT2 = 21; INT2VECTOR = 22; INT4 = 23; REGPROC = 24; TEXT = 25; OID = 26;
    XID = 28; CID = 29; OIDVECTOR = 30; JSON = 114; FLOAT4 = 700; FLOAT8 = 701; UNKNOWN = 705; BPCHAR = 1042; VARCHAR = 1043; DATE = 1082; TIME = 1083;
    TIMESTAMP = 1114; TIMESTAMPTZ = 1184; INTERVAL = 1186; TIMETZ = 1266; NUMERIC = 1700; REGPROCEDURE = 2202; REGOPER = 2203; REGOPERATOR = 2204; REGCLASS = 2205; REGTYPE = 2206;
    RECORD = 2249; CSTRING = 2275; ANY = 2276; ANYARRAY = 2277; VOID = 2278; TRIGGER = 2279; INTERNAL = 2281; ANYELEMENT = 2283; ANYNONARRAY = 2776; UUID = 2950;
    PG_LSN = 3220; ANYENUM = 3500; JSONB = 3802; REGNAMESPACE = 4089; REGROLE = 4096; ANYCOMPATIBLE = 5077; ANYCOMPATIBLEARRAY = 5078;
    ANYCOMPATIBLENONARRAY = 5079; PG_NODE_TREE = 194; ACLITEM = 1033; INT2VECTOR_ARRAY = 1006; OIDVECTOR_ARRAY = 1013; REGPROC_ARRAY = 1008; XID_ARRAY = 1011;
    CID_ARRAY = 1012; PG_LSN_ARRAY = 3221; REGNAMESPACE_ARRAY = 4090; REGROLE_ARRAY = 4097; REGPROCEDURE_ARRAY = 2207; REGOPER_ARRAY = 2208; REGOPERATOR_ARRAY = 2209;
    BOOL_ARRAY = 1000; BYTEA_ARRAY = 1001; CHAR_INTERNAL_ARRAY = 1002; NAME_ARRAY = 1003; INT2_ARRAY = 1005; INT4_ARRAY = 1007; TEXT_ARRAY = 1009; BPCHAR_ARRAY = 1014;
    VARCHAR_ARRAY = 1015; INT8_ARRAY = 1016; FLOAT4_ARRAY = 1021; FLOAT8_ARRAY = 1022; OID_ARRAY = 1028; ACLITEM_ARRAY = 1034; TIMESTAMP_ARRAY = 1115; DATE_ARRAY = 1182;
    TIME_ARRAY = 1183; TIMESTAMPTZ_ARRAY = 1185; INTERVAL_ARRAY = 1187; NUMERIC_ARRAY = 1231; TIMETZ_ARRAY = 1270; REGCLASS_ARRAY = 2210; REGTYPE_ARRAY = 2211; UUID_ARRAY = 2951;
    JSON_ARRAY = 199; JSONB_ARRAY = 3807; RECORD_ARRAY = 2287; CSTRING_ARRAY = 1263;
}

/// "No modifier."
pub const NO_TYPMOD: i32 = -1;

/// A value. NULL is a value of every type; the type of a value is known from its context, as in PostgreSQL.
#[derive(Clone, Debug)]
pub enum Datum {
    /// NULL
    Null,
    /// `bool`
    Bool(bool),
    /// `int2`
    Int2(i16),
    /// `int4`
    Int4(i32),
    /// `int8`
    Int8(i64),
    /// `float4`
    Float4(f32),
    /// `float8`
    Float8(f64),
    /// `numeric`
    Numeric(Arc<Numeric>),
    /// `text`, `varchar`, `bpchar` (blank-padded to its length), `name`, `unknown`
    Text(Arc<str>),
    /// `"char"`: one byte
    Char(u8),
    /// `bytea`
    Bytea(Arc<[u8]>),
    /// `date`: days since 2000-01-01; `i32::MIN`/`MAX` are ∓infinity
    Date(i32),
    /// `time`: microseconds since midnight
    Time(i64),
    /// `timetz`: microseconds since midnight, and seconds *west* of UTC, as PostgreSQL stores it
    TimeTz(i64, i32),
    /// `timestamp`: microseconds since 2000-01-01; `i64::MIN`/`MAX` are ∓infinity
    Timestamp(i64),
    /// `timestamptz`: microseconds since 2000-01-01 UTC
    TimestampTz(i64),
    /// `interval`
    Interval(Interval),
    /// `uuid`
    Uuid(Arc<[u8; 16]>),
    /// `json`: the text as it was given
    Json(Arc<str>),
    /// `jsonb`: in PostgreSQL's normal form
    Jsonb(Arc<Jsonb>),
    /// An array of any element type
    Array(Arc<Array>),
    /// `oid` and the `reg…` types
    Oid(u32),
    /// A row value
    Record(Arc<[Datum]>),
    /// `void`
    Void,
}

/// An array with PostgreSQL's dimensions and lower bounds; elements in row-major order.
#[derive(Clone, Debug)]
pub struct Array {
    /// Element type.
    pub element: DataType,
    /// Length and lower bound of each dimension; empty for `{}`.
    pub dims: Vec<(i32, i32)>,
    /// The elements.
    pub elements: Vec<Datum>,
}
