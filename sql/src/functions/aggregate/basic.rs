//! `count`, `min`, `max`, boolean and bit aggregates.

use super::agg;
use crate::error::Result;
use crate::functions::Accumulator;
use crate::functions::args::{Entry, boolean, i8};
use crate::functions::order::order;
use crate::types::{DataType, Datum};

#[derive(Default)]
struct Count(i64);

impl Accumulator for Count {
    #[inline]
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        if !matches!(args.first(), Some(Datum::Null)) {
            self.0 += 1;
        }
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        Ok(vec![Datum::Int8(self.0)])
    }
    fn merge(&mut self, partial: &[Datum]) -> Result<()> {
        self.0 += i8(&partial[0])?;
        Ok(())
    }
    fn finish(&self) -> Result<Datum> {
        Ok(Datum::Int8(self.0))
    }
    fn size(&self) -> usize {
        16
    }
}

/// `min` and `max` of any ordered type.
struct Extreme {
    best: Datum,
    want: std::cmp::Ordering,
}

impl Accumulator for Extreme {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        let value = &args[0];
        if !matches!(value, Datum::Null) && (matches!(self.best, Datum::Null) || order(value, &self.best)? == self.want) {
            self.best = value.clone();
        }
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        Ok(vec![self.best.clone()])
    }
    fn merge(&mut self, partial: &[Datum]) -> Result<()> {
        self.update(partial)
    }
    fn finish(&self) -> Result<Datum> {
        Ok(self.best.clone())
    }
    fn size(&self) -> usize {
        64
    }
}

/// One value combined with each next by a function: `bool_and`, `bit_or`, ….
struct Fold {
    value: Datum,
    combine: fn(&Datum, &Datum) -> Result<Datum>,
}

impl Accumulator for Fold {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        if matches!(args[0], Datum::Null) {
            return Ok(());
        }
        self.value = if matches!(self.value, Datum::Null) { args[0].clone() } else { (self.combine)(&self.value, &args[0])? };
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        Ok(vec![self.value.clone()])
    }
    fn merge(&mut self, partial: &[Datum]) -> Result<()> {
        self.update(partial)
    }
    fn finish(&self) -> Result<Datum> {
        Ok(self.value.clone())
    }
    fn size(&self) -> usize {
        40
    }
}

fn count(_: &[DataType]) -> Box<dyn Accumulator> {
    Box::<Count>::default()
}
fn max(_: &[DataType]) -> Box<dyn Accumulator> {
    Box::new(Extreme { best: Datum::Null, want: std::cmp::Ordering::Greater })
}
fn min(_: &[DataType]) -> Box<dyn Accumulator> {
    Box::new(Extreme { best: Datum::Null, want: std::cmp::Ordering::Less })
}
fn bool_and(_: &[DataType]) -> Box<dyn Accumulator> {
    Box::new(Fold { value: Datum::Null, combine: |a, b| Ok(Datum::Bool(boolean(a)? && boolean(b)?)) })
}
fn bool_or(_: &[DataType]) -> Box<dyn Accumulator> {
    Box::new(Fold { value: Datum::Null, combine: |a, b| Ok(Datum::Bool(boolean(a)? || boolean(b)?)) })
}

/// Applies a bit operation in the width of its operands.
fn bits(a: &Datum, b: &Datum, op: fn(i64, i64) -> i64) -> Result<Datum> {
    let v = op(i8(a)?, i8(b)?);
    // Sign extension commutes with and, or, xor: the truncation is exact.
    Ok(match a {
        Datum::Int2(_) => Datum::Int2(v as i16),
        Datum::Int4(_) => Datum::Int4(v as i32),
        _ => Datum::Int8(v),
    })
}
fn bit_and(_: &[DataType]) -> Box<dyn Accumulator> {
    Box::new(Fold { value: Datum::Null, combine: |a, b| bits(a, b, |x, y| x & y) })
}
fn bit_or(_: &[DataType]) -> Box<dyn Accumulator> {
    Box::new(Fold { value: Datum::Null, combine: |a, b| bits(a, b, |x, y| x | y) })
}
fn bit_xor(_: &[DataType]) -> Box<dyn Accumulator> {
    Box::new(Fold { value: Datum::Null, combine: |a, b| bits(a, b, |x, y| x ^ y) })
}

macro_rules! extremes {
    ($($t:literal = $ty:ident),*) => { &[$(
        agg(concat!("max(", $t, ")"), max, &[DataType::$ty]),
        agg(concat!("min(", $t, ")"), min, &[DataType::$ty]),
    )*] };
}

pub(super) const EXTREMES: &[Entry] = extremes!(
    "int8" = INT8,
    "int4" = INT4,
    "int2" = INT2,
    "oid" = OID,
    "float4" = FLOAT4,
    "float8" = FLOAT8,
    "date" = DATE,
    "time" = TIME,
    "timetz" = TIMETZ,
    "timestamp" = TIMESTAMP,
    "timestamptz" = TIMESTAMPTZ,
    "interval" = INTERVAL,
    "text" = TEXT,
    "numeric" = NUMERIC,
    "bpchar" = BPCHAR,
    "anyarray" = ANYARRAY
);

pub(super) const ENTRIES: &[Entry] = &[
    agg("count()", count, &[DataType::INT8]),
    agg("count(any)", count, &[DataType::INT8]),
    agg("bool_and(bool)", bool_and, &[DataType::BOOL]),
    agg("every(bool)", bool_and, &[DataType::BOOL]),
    agg("bool_or(bool)", bool_or, &[DataType::BOOL]),
    agg("bit_and(int2)", bit_and, &[DataType::INT2]),
    agg("bit_and(int4)", bit_and, &[DataType::INT4]),
    agg("bit_and(int8)", bit_and, &[DataType::INT8]),
    agg("bit_or(int2)", bit_or, &[DataType::INT2]),
    agg("bit_or(int4)", bit_or, &[DataType::INT4]),
    agg("bit_or(int8)", bit_or, &[DataType::INT8]),
    agg("bit_xor(int2)", bit_xor, &[DataType::INT2]),
    agg("bit_xor(int4)", bit_xor, &[DataType::INT4]),
    agg("bit_xor(int8)", bit_xor, &[DataType::INT8]),
];
