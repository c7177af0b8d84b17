//! From bounds in SQL terms to stretches of keys.
//!
//! Bounds are in SQL order; a descending key column turns them around. A bound excludes NULLs, which stand at one end of the column's
//! stretch: an open side ends where the NULLs begin.

use bytes::Bytes;
use meridian_storage::key::{Span, prefix_end};

use super::layout::{IndexLayout, KeyPart};
use crate::error::{Result, SqlError};
use crate::exec::eval::{EvalCx, eval};
use crate::exec::value;
use crate::plan::node::IndexRange;
use crate::types::Datum;

/// A stretch of an index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stretch {
    /// The one entry with this key, if it is there.
    Point(Bytes),
    /// All entries in a span.
    Span(Span),
}

impl Stretch {
    /// Whether the key lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Stretch::Point(point) => point.as_ref() == key,
            Stretch::Span(span) => span.contains(key),
        }
    }
}

/// Appends the stretches of `range`, whose expressions see `row`; in key order.
pub fn stretches(layout: &IndexLayout, range: &IndexRange, row: &[Datum], cx: &mut EvalCx<'_>, out: &mut Vec<Stretch>) -> Result<()> {
    let mut prefix = layout.prefix.clone();
    let last = range.equal.len().checked_sub(1).filter(|_| range.any);
    for (at, expr) in range.equal.iter().enumerate() {
        let part = part(layout, at)?;
        let datum = eval(expr, row, cx)?;
        if Some(at) == last {
            let mut encoded = elements(&prefix, &datum, part)?;
            encoded.sort_unstable();
            encoded.dedup();
            for prefix in encoded {
                finish(layout, range, at + 1, prefix, false, row, cx, out)?;
            }
            return Ok(());
        }
        if matches!(datum, Datum::Null) && !range.null_equal.contains(&at) {
            return Ok(());
        }
        value::encode_key(&datum, part.ty, part.descending, part.nulls_first, &mut prefix)?;
    }
    let has_null = !range.null_equal.is_empty();
    finish(layout, range, range.equal.len(), prefix, has_null, row, cx, out)
}

fn part(layout: &IndexLayout, at: usize) -> Result<&KeyPart> {
    layout
        .keys
        .get(at)
        .or_else(|| layout.suffix.get(at - layout.keys.len()))
        .ok_or_else(|| SqlError::internal("more bounds than index columns"))
}

/// One key prefix per non-NULL element of the array.
fn elements(prefix: &[u8], array: &Datum, part: &KeyPart) -> Result<Vec<Vec<u8>>> {
    let Datum::Array(array) = array else { return Ok(Vec::new()) };
    let mut out = Vec::with_capacity(array.elements.len());
    for element in array.elements.iter().filter(|e| !matches!(e, Datum::Null)) {
        let mut key = prefix.to_vec();
        value::encode_key(element, part.ty, part.descending, part.nulls_first, &mut key)?;
        out.push(key);
    }
    Ok(out)
}

#[allow(clippy::too_many_arguments)]
fn finish(
    layout: &IndexLayout,
    range: &IndexRange,
    equal: usize,
    prefix: Vec<u8>,
    has_null: bool,
    row: &[Datum],
    cx: &mut EvalCx<'_>,
    out: &mut Vec<Stretch>,
) -> Result<()> {
    if range.lower.is_none() && range.upper.is_none() {
        if layout.unique && equal == layout.keys.len() && !has_null {
            out.push(Stretch::Point(prefix.into()));
        } else {
            out.push(Stretch::Span(Span::prefix(prefix)));
        }
        return Ok(());
    }
    let part = part(layout, equal)?;
    let mut bound = |side: &Option<(crate::plan::expr::Expr, bool)>| -> Result<Option<Option<(Datum, bool)>>> {
        match side {
            None => Ok(Some(None)),
            Some((expr, inclusive)) => {
                let datum = eval(expr, row, cx)?;
                // Nothing compares with NULL.
                Ok(if matches!(datum, Datum::Null) { None } else { Some(Some((datum, *inclusive))) })
            }
        }
    };
    let (Some(lower), Some(upper)) = (bound(&range.lower)?, bound(&range.upper)?) else { return Ok(()) };
    let (first, last) = if part.descending { (upper, lower) } else { (lower, upper) };
    let with = |datum: &Datum| -> Result<Vec<u8>> {
        let mut key = prefix.clone();
        value::encode_key(datum, part.ty, part.descending, part.nulls_first, &mut key)?;
        Ok(key)
    };
    let start: Bytes = match first {
        Some((datum, true)) => with(&datum)?.into(),
        Some((datum, false)) => prefix_end(&with(&datum)?),
        None if part.nulls_first => prefix_end(&with(&Datum::Null)?),
        None => prefix.clone().into(),
    };
    let end: Bytes = match last {
        Some((datum, true)) => prefix_end(&with(&datum)?),
        Some((datum, false)) => with(&datum)?.into(),
        None if part.nulls_first => prefix_end(&prefix),
        None => with(&Datum::Null)?.into(),
    };
    if start < end {
        out.push(Stretch::Span(Span { start, end }));
    }
    Ok(())
}

/// The whole index.
pub fn whole(layout: &IndexLayout) -> Stretch {
    Stretch::Span(Span::prefix(layout.prefix.clone()))
}
