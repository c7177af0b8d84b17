//! `string_agg`, `array_agg`, ordered-set aggregates. They keep what they are given, so they are not sent to leaseholders in parts
//! (the order between parts would be lost): `partial` types are empty.
//!
//! An ordered-set aggregate (`percentile_cont(0.5) WITHIN GROUP (ORDER BY x)`) gets its direct arguments before the ordered ones in
//! every row; see [`crate::functions::ordered_set_direct_arguments`].

use std::sync::Arc;

use super::agg;
use crate::error::{Result, SqlError, SqlState};
use crate::functions::Accumulator;
use crate::functions::args::{Entry, array, bytes, err, f8, one_dimension, text};
use crate::functions::order::order;
use crate::types::{Array, DataType, Datum, Interval};

fn not_mergeable<T>() -> Result<T> {
    Err(SqlError::internal("this aggregate has no partial form"))
}

#[derive(Default)]
struct StringAgg(Option<String>);

impl Accumulator for StringAgg {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        if let Datum::Null = args[0] {
            return Ok(());
        }
        let value = text(&args[0])?;
        match &mut self.0 {
            None => self.0 = Some(value.to_owned()),
            Some(all) => {
                if !matches!(args[1], Datum::Null) {
                    all.push_str(text(&args[1])?);
                }
                all.push_str(value);
                crate::functions::text_basic::check_length(all.len())?;
            }
        }
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        not_mergeable()
    }
    fn merge(&mut self, _: &[Datum]) -> Result<()> {
        not_mergeable()
    }
    fn finish(&self) -> Result<Datum> {
        Ok(self.0.as_deref().map_or(Datum::Null, crate::functions::args::txt))
    }
    fn size(&self) -> usize {
        24 + self.0.as_ref().map_or(0, String::capacity)
    }
}

#[derive(Default)]
struct BytesAgg(Option<Vec<u8>>);

impl Accumulator for BytesAgg {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        if let Datum::Null = args[0] {
            return Ok(());
        }
        let value = bytes(&args[0])?;
        match &mut self.0 {
            None => self.0 = Some(value.to_vec()),
            Some(all) => {
                if !matches!(args[1], Datum::Null) {
                    all.extend_from_slice(bytes(&args[1])?);
                }
                all.extend_from_slice(value);
                crate::functions::text_basic::check_length(all.len())?;
            }
        }
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        not_mergeable()
    }
    fn merge(&mut self, _: &[Datum]) -> Result<()> {
        not_mergeable()
    }
    fn finish(&self) -> Result<Datum> {
        Ok(self.0.as_deref().map_or(Datum::Null, |b| Datum::Bytea(b.into())))
    }
    fn size(&self) -> usize {
        24 + self.0.as_ref().map_or(0, Vec::capacity)
    }
}

/// `array_agg` of scalars; NULLs are elements.
struct ArrayAgg {
    element: DataType,
    items: Vec<Datum>,
    bytes: usize,
}

impl Accumulator for ArrayAgg {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        self.bytes += args[0].size();
        self.items.push(args[0].clone());
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        not_mergeable()
    }
    fn merge(&mut self, _: &[Datum]) -> Result<()> {
        not_mergeable()
    }
    fn finish(&self) -> Result<Datum> {
        // No rows give NULL, not an empty array.
        Ok(if self.items.is_empty() { Datum::Null } else { one_dimension(self.element, self.items.clone()) })
    }
    fn size(&self) -> usize {
        48 + self.bytes
    }
}

/// `array_agg` of arrays: one more dimension.
struct ArrayOfArrays {
    parts: Vec<Arc<Array>>,
    bytes: usize,
}

impl Accumulator for ArrayOfArrays {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        let bad = |m: &str| err(SqlState::ARRAY_SUBSCRIPT_ERROR, m);
        if let Datum::Null = args[0] {
            return err(SqlState::NULL_VALUE_NOT_ALLOWED, "cannot accumulate null arrays");
        }
        let part = array(&args[0])?;
        if part.elements.is_empty() {
            return bad("cannot accumulate empty arrays");
        }
        if let Some(first) = self.parts.first()
            && first.dims != part.dims
        {
            return bad("cannot accumulate arrays of different dimensionality");
        }
        self.bytes += args[0].size();
        self.parts.push(part.clone());
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        not_mergeable()
    }
    fn merge(&mut self, _: &[Datum]) -> Result<()> {
        not_mergeable()
    }
    fn finish(&self) -> Result<Datum> {
        let Some(first) = self.parts.first() else { return Ok(Datum::Null) };
        let mut dims = vec![(i32::try_from(self.parts.len()).unwrap_or(i32::MAX), 1)];
        dims.extend(first.dims.iter().copied());
        let elements = self.parts.iter().flat_map(|p| p.elements.iter().cloned()).collect();
        Ok(Datum::Array(Arc::new(Array { element: first.element, dims, elements })))
    }
    fn size(&self) -> usize {
        48 + self.bytes
    }
}

#[derive(Clone, Copy, PartialEq)]
enum OrderedSet {
    Continuous,
    Discrete,
    Mode,
}

/// `percentile_cont`, `percentile_disc`, `mode`.
struct Ordered {
    kind: OrderedSet,
    fraction: Datum,
    element: DataType,
    items: Vec<Datum>,
    bytes: usize,
}

impl Ordered {
    fn boxed(kind: OrderedSet, types: &[DataType]) -> Box<dyn Accumulator> {
        let element = types.last().copied().unwrap_or(DataType::TEXT);
        Box::new(Ordered { kind, fraction: Datum::Null, element, items: vec![], bytes: 0 })
    }
    fn sorted(&self) -> Result<Vec<Datum>> {
        let mut items = self.items.clone();
        let mut failed = Ok(());
        items.sort_by(|a, b| {
            order(a, b).unwrap_or_else(|e| {
                failed = Err(e);
                std::cmp::Ordering::Equal
            })
        });
        failed.map(|()| items)
    }
    fn at(&self, sorted: &[Datum], fraction: &Datum) -> Result<Datum> {
        if sorted.is_empty() || matches!(fraction, Datum::Null) {
            return Ok(Datum::Null);
        }
        let p = f8(fraction)?;
        if !(0.0..=1.0).contains(&p) {
            return err(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                format!("percentile value {} is not between 0 and 1", crate::types::float::f64_to_text(p)),
            );
        }
        let n = sorted.len();
        if self.kind == OrderedSet::Discrete {
            let row = (p * n as f64).ceil() as usize;
            return Ok(sorted[row.max(1) - 1].clone());
        }
        let exact = p * (n - 1) as f64;
        let (lo, hi) = (exact.floor() as usize, exact.ceil() as usize);
        if lo == hi {
            return Ok(sorted[lo].clone());
        }
        interpolate(&sorted[lo], &sorted[hi], exact - exact.floor())
    }
}

fn interpolate(lo: &Datum, hi: &Datum, part: f64) -> Result<Datum> {
    match (lo, hi) {
        (Datum::Interval(a), Datum::Interval(b)) => {
            let micros = |i: &Interval| (i.months as f64 * 30.0 + i.days as f64) * 86_400e6 + i.micros as f64;
            let difference = micros(b) - micros(a);
            Ok(Datum::Interval(Interval { months: a.months, days: a.days, micros: a.micros + (difference * part).round() as i64 }))
        }
        _ => {
            let (a, b) = (f8(lo)?, f8(hi)?);
            Ok(Datum::Float8(a + part * (b - a)))
        }
    }
}

impl Accumulator for Ordered {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        let [direct @ .., value] = args else { return Ok(()) };
        if let Some(fraction) = direct.first() {
            self.fraction = fraction.clone();
        }
        if !matches!(value, Datum::Null) {
            self.bytes += value.size();
            self.items.push(value.clone());
        }
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        not_mergeable()
    }
    fn merge(&mut self, _: &[Datum]) -> Result<()> {
        not_mergeable()
    }
    fn finish(&self) -> Result<Datum> {
        let sorted = self.sorted()?;
        if self.kind == OrderedSet::Mode {
            let mut best: Option<(usize, &Datum)> = None;
            let mut i = 0;
            while i < sorted.len() {
                let mut j = i + 1;
                while j < sorted.len() && order(&sorted[i], &sorted[j])?.is_eq() {
                    j += 1;
                }
                if best.is_none_or(|(n, _)| j - i > n) {
                    best = Some((j - i, &sorted[i]));
                }
                i = j;
            }
            return Ok(best.map_or(Datum::Null, |(_, v)| v.clone()));
        }
        if let Datum::Array(fractions) = &self.fraction {
            if sorted.is_empty() {
                return Ok(Datum::Null);
            }
            let elements = fractions.elements.iter().map(|f| self.at(&sorted, f)).collect::<Result<_>>()?;
            return Ok(Datum::Array(Arc::new(Array { element: self.element, dims: fractions.dims.clone(), elements })));
        }
        self.at(&sorted, &self.fraction)
    }
    fn size(&self) -> usize {
        96 + self.bytes
    }
}

fn array_agg(types: &[DataType]) -> Box<dyn Accumulator> {
    let element = types.first().copied().unwrap_or(DataType::TEXT);
    Box::new(ArrayAgg { element, items: vec![], bytes: 0 })
}

pub(super) const ENTRIES: &[Entry] = &[
    agg("string_agg(text,text)", |_| Box::<StringAgg>::default(), &[]),
    agg("string_agg(bytea,bytea)", |_| Box::<BytesAgg>::default(), &[]),
    agg("array_agg(anynonarray)", array_agg, &[]),
    agg("array_agg(anyarray)", |_| Box::new(ArrayOfArrays { parts: vec![], bytes: 0 }), &[]),
    agg("percentile_cont(float8,float8)", |t| Ordered::boxed(OrderedSet::Continuous, t), &[]),
    agg("percentile_cont(float8,interval)", |t| Ordered::boxed(OrderedSet::Continuous, t), &[]),
    agg("percentile_cont(_float8,float8)", |t| Ordered::boxed(OrderedSet::Continuous, t), &[]),
    agg("percentile_cont(_float8,interval)", |t| Ordered::boxed(OrderedSet::Continuous, t), &[]),
    agg("percentile_disc(float8,anyelement)", |t| Ordered::boxed(OrderedSet::Discrete, t), &[]),
    agg("percentile_disc(_float8,anyelement)", |t| Ordered::boxed(OrderedSet::Discrete, t), &[]),
    agg("mode(anyelement)", |t| Ordered::boxed(OrderedSet::Mode, t), &[]),
];
