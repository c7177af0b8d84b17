//! Comparison functions and operators of every type.
//!
//! The everyday types have monomorphic bodies of a few instructions; the rest go through one total order of their type.

use std::cmp::Ordering;

use super::args::{Entry, boolean, bytes, chr, date, f4, f8, i2, i4, i8, mismatch, oid, s, text, time, timestamp, uuid};
use crate::types::Datum;

/// Order of floats: NaN equals itself and is above everything, as in PostgreSQL.
#[inline]
pub(super) fn float_order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// `bpchar` ignores trailing blanks.
#[inline]
fn padded(s: &str) -> &str {
    s.trim_end_matches(' ')
}

macro_rules! six {
    ($($eq:literal $ne:literal $lt:literal $le:literal $gt:literal $ge:literal: |$x:ident| $order:expr;)*) => {
        &[$(
            s($eq, |_, $x| Ok(Datum::Bool($order.is_eq()))),
            s($ne, |_, $x| Ok(Datum::Bool($order.is_ne()))),
            s($lt, |_, $x| Ok(Datum::Bool($order.is_lt()))),
            s($le, |_, $x| Ok(Datum::Bool($order.is_le()))),
            s($gt, |_, $x| Ok(Datum::Bool($order.is_gt()))),
            s($ge, |_, $x| Ok(Datum::Bool($order.is_ge()))),
        )*]
    };
}
pub(super) use six;

/// Types with a flat representation.
pub(super) const FLAT: &[Entry] = six! {
    "booleq" "boolne" "boollt" "boolle" "boolgt" "boolge": |x| boolean(&x[0])?.cmp(&boolean(&x[1])?);
    "int2eq" "int2ne" "int2lt" "int2le" "int2gt" "int2ge": |x| i2(&x[0])?.cmp(&i2(&x[1])?);
    "int4eq" "int4ne" "int4lt" "int4le" "int4gt" "int4ge": |x| i4(&x[0])?.cmp(&i4(&x[1])?);
    "int8eq" "int8ne" "int8lt" "int8le" "int8gt" "int8ge": |x| i8(&x[0])?.cmp(&i8(&x[1])?);
    "int24eq" "int24ne" "int24lt" "int24le" "int24gt" "int24ge": |x| i4(&x[0])?.cmp(&i4(&x[1])?);
    "int42eq" "int42ne" "int42lt" "int42le" "int42gt" "int42ge": |x| i4(&x[0])?.cmp(&i4(&x[1])?);
    "int28eq" "int28ne" "int28lt" "int28le" "int28gt" "int28ge": |x| i8(&x[0])?.cmp(&i8(&x[1])?);
    "int82eq" "int82ne" "int82lt" "int82le" "int82gt" "int82ge": |x| i8(&x[0])?.cmp(&i8(&x[1])?);
    "int48eq" "int48ne" "int48lt" "int48le" "int48gt" "int48ge": |x| i8(&x[0])?.cmp(&i8(&x[1])?);
    "int84eq" "int84ne" "int84lt" "int84le" "int84gt" "int84ge": |x| i8(&x[0])?.cmp(&i8(&x[1])?);
    "float4eq" "float4ne" "float4lt" "float4le" "float4gt" "float4ge": |x| float_order(f4(&x[0])?.into(), f4(&x[1])?.into());
    "float8eq" "float8ne" "float8lt" "float8le" "float8gt" "float8ge": |x| float_order(f8(&x[0])?, f8(&x[1])?);
    "float48eq" "float48ne" "float48lt" "float48le" "float48gt" "float48ge": |x| float_order(f8(&x[0])?, f8(&x[1])?);
    "float84eq" "float84ne" "float84lt" "float84le" "float84gt" "float84ge": |x| float_order(f8(&x[0])?, f8(&x[1])?);
    "chareq" "charne" "charlt" "charle" "chargt" "charge": |x| chr(&x[0])?.cmp(&chr(&x[1])?);
    "oideq" "oidne" "oidlt" "oidle" "oidgt" "oidge": |x| oid(&x[0])?.cmp(&oid(&x[1])?);
    "texteq" "textne" "text_lt" "text_le" "text_gt" "text_ge": |x| text(&x[0])?.cmp(text(&x[1])?);
    "nameeq" "namene" "namelt" "namele" "namegt" "namege": |x| text(&x[0])?.cmp(text(&x[1])?);
    "nameeqtext" "namenetext" "namelttext" "nameletext" "namegttext" "namegetext": |x| text(&x[0])?.cmp(text(&x[1])?);
    "texteqname" "textnename" "textltname" "textlename" "textgtname" "textgename": |x| text(&x[0])?.cmp(text(&x[1])?);
    "bpchareq" "bpcharne" "bpcharlt" "bpcharle" "bpchargt" "bpcharge": |x| padded(text(&x[0])?).cmp(padded(text(&x[1])?));
    "byteaeq" "byteane" "bytealt" "byteale" "byteagt" "byteage": |x| bytes(&x[0])?.cmp(bytes(&x[1])?);
    "date_eq" "date_ne" "date_lt" "date_le" "date_gt" "date_ge": |x| date(&x[0])?.cmp(&date(&x[1])?);
    "time_eq" "time_ne" "time_lt" "time_le" "time_gt" "time_ge": |x| time(&x[0])?.cmp(&time(&x[1])?);
    "timestamp_eq" "timestamp_ne" "timestamp_lt" "timestamp_le" "timestamp_gt" "timestamp_ge": |x| timestamp(&x[0])?.cmp(&timestamp(&x[1])?);
    "uuid_eq" "uuid_ne" "uuid_lt" "uuid_le" "uuid_gt" "uuid_ge": |x| uuid(&x[0])?.cmp(uuid(&x[1])?);
};

/// Byte-wise comparison operators, `xid` equality, three-way comparison functions.
pub(super) const OTHER: &[Entry] = &[
    s("text_pattern_lt", |_, x| Ok(Datum::Bool(text(&x[0])? < text(&x[1])?))),
    s("text_pattern_le", |_, x| Ok(Datum::Bool(text(&x[0])? <= text(&x[1])?))),
    s("text_pattern_gt", |_, x| Ok(Datum::Bool(text(&x[0])? > text(&x[1])?))),
    s("text_pattern_ge", |_, x| Ok(Datum::Bool(text(&x[0])? >= text(&x[1])?))),
    s("xideq", |_, x| Ok(Datum::Bool(transaction_id(&x[0])? == transaction_id(&x[1])?))),
    s("xidneq", |_, x| Ok(Datum::Bool(transaction_id(&x[0])? != transaction_id(&x[1])?))),
    s("btint4cmp", |_, x| Ok(three_way(i4(&x[0])?.cmp(&i4(&x[1])?)))),
    s("btint8cmp", |_, x| Ok(three_way(i8(&x[0])?.cmp(&i8(&x[1])?)))),
    s("btint2cmp", |_, x| Ok(three_way(i2(&x[0])?.cmp(&i2(&x[1])?)))),
    s("btfloat8cmp", |_, x| Ok(three_way(float_order(f8(&x[0])?, f8(&x[1])?)))),
    s("bttextcmp", |_, x| Ok(three_way(text(&x[0])?.cmp(text(&x[1])?)))),
    s("text_larger", |_, x| Ok(if text(&x[0])? > text(&x[1])? { x[0].clone() } else { x[1].clone() })),
    s("text_smaller", |_, x| Ok(if text(&x[0])? < text(&x[1])? { x[0].clone() } else { x[1].clone() })),
];

fn transaction_id(d: &Datum) -> crate::error::Result<i64> {
    match d {
        Datum::Oid(v) => Ok(i64::from(*v)),
        Datum::Int4(v) => Ok(i64::from(*v as u32)),
        other => Err(mismatch("xid", other)),
    }
}

/// -1, 0 or 1 as `int4`.
pub(super) fn three_way(o: Ordering) -> Datum {
    Datum::Int4(o as i32)
}
