//! Operations on arrays, as plain methods for operators and functions.

use super::{MAX_DIMENSIONS, MAX_ELEMENTS, too_large};
use crate::error::{Result, SqlError, SqlState};
use crate::types::{Array, Datum, compare_typed};

fn incompatible(detail: &str) -> SqlError {
    SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "cannot concatenate incompatible arrays").detail(detail)
}

fn subscript_error(message: &str) -> SqlError {
    SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message)
}

impl Array {
    /// Whether it is `{}`.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }
    fn equal(&self, a: &Datum, b: &Datum) -> bool {
        compare_typed(self.element, a, b).is_eq()
    }
    /// Position in `elements` of a full set of subscripts; None if out of bounds.
    fn offset(&self, subscripts: &[i32]) -> Option<usize> {
        if subscripts.len() != self.dims.len() || subscripts.is_empty() {
            return None;
        }
        let mut at = 0usize;
        for ((length, lower), subscript) in self.dims.iter().zip(subscripts) {
            let i = i64::from(*subscript) - i64::from(*lower);
            if i < 0 || i >= i64::from(*length) {
                return None;
            }
            at = at * *length as usize + i as usize;
        }
        Some(at)
    }
    /// `a[i][j]…`: NULL when out of bounds or of another number of dimensions.
    pub fn get(&self, subscripts: &[i32]) -> Datum {
        self.offset(subscripts).map_or(Datum::Null, |at| self.elements[at].clone())
    }
    /// `a[l:u]…`: a missing bound is the array's own; a missing dimension is taken whole. The result's lower bounds are 1.
    pub fn slice(&self, bounds: &[(Option<i32>, Option<i32>)]) -> Array {
        if self.dims.is_empty() || bounds.len() > self.dims.len() {
            return Array::empty(self.element);
        }
        let mut ranges = Vec::with_capacity(self.dims.len());
        for (i, (length, lower)) in self.dims.iter().enumerate() {
            let (first, last) = (i64::from(*lower), i64::from(*lower) + i64::from(*length) - 1);
            let (l, u) = bounds.get(i).copied().unwrap_or((None, None));
            let from = l.map_or(first, |l| i64::from(l).max(first));
            let to = u.map_or(last, |u| i64::from(u).min(last));
            if from > to {
                return Array::empty(self.element);
            }
            ranges.push(((from - first) as usize, (to - from + 1) as usize));
        }
        let mut elements = Vec::with_capacity(ranges.iter().map(|r| r.1).product());
        self.collect(&ranges, 0, 0, &mut elements);
        Array { element: self.element, dims: ranges.iter().map(|r| (r.1 as i32, 1)).collect(), elements }
    }
    fn collect(&self, ranges: &[(usize, usize)], depth: usize, base: usize, out: &mut Vec<Datum>) {
        let (from, count) = ranges[depth];
        for i in from..from + count {
            let at = base * self.dims[depth].0 as usize + i;
            if depth + 1 == ranges.len() {
                out.push(self.elements[at].clone());
            } else {
                self.collect(ranges, depth + 1, at, out);
            }
        }
    }
    /// `SET a[i]… = value`: a one-dimensional array grows, with NULLs between; others must be hit inside.
    pub fn set(&self, subscripts: &[i32], value: Datum) -> Result<Array> {
        let mut out = self.clone();
        if out.dims.is_empty() {
            if subscripts.len() > MAX_DIMENSIONS {
                return Err(super::too_many_dimensions(subscripts.len()));
            }
            out.dims = subscripts.iter().map(|s| (1, *s)).collect();
            out.elements = vec![value];
            return Ok(out);
        }
        if subscripts.len() != out.dims.len() {
            return Err(subscript_error("wrong number of array subscripts"));
        }
        if let Some(at) = out.offset(subscripts) {
            out.elements[at] = value;
            return Ok(out);
        }
        if out.dims.len() != 1 {
            return Err(subscript_error("array subscript out of range"));
        }
        let (length, lower) = out.dims[0];
        let at = i64::from(subscripts[0]);
        let (first, end) = (i64::from(lower), i64::from(lower) + i64::from(length));
        let new_length = if at < first { end - at } else { at - first + 1 };
        if new_length > MAX_ELEMENTS as i64 {
            return Err(too_large());
        }
        if at < first {
            let mut elements = vec![value];
            elements.resize((first - at) as usize, Datum::Null);
            elements.append(&mut out.elements);
            out.elements = elements;
            out.dims[0] = (new_length as i32, subscripts[0]);
        } else {
            out.elements.resize((at - first) as usize, Datum::Null);
            out.elements.push(value);
            out.dims[0] = (new_length as i32, lower);
        }
        Ok(out)
    }
    /// `array || element`
    pub fn append(&self, value: Datum) -> Result<Array> {
        match self.dims[..] {
            [] => Ok(Array { element: self.element, dims: vec![(1, 1)], elements: vec![value] }),
            [(length, lower)] => {
                let mut out = self.clone();
                out.elements.push(value);
                out.dims[0] = (length.checked_add(1).ok_or_else(too_large)?, lower);
                Ok(out)
            }
            _ => Err(SqlError::new(SqlState("22000"), "argument must be empty or one-dimensional array")),
        }
    }
    /// `element || array`; the lower bound stays.
    pub fn prepend(&self, value: Datum) -> Result<Array> {
        let mut out = self.append(Datum::Null)?;
        out.elements.pop();
        out.elements.insert(0, value);
        Ok(out)
    }
    /// `array || array`
    pub fn concat(&self, other: &Array) -> Result<Array> {
        if self.dims.is_empty() {
            return Ok(other.clone());
        }
        if other.dims.is_empty() {
            return Ok(self.clone());
        }
        let (a, b) = (self.dims.len(), other.dims.len());
        let lengths = |dims: &[(i32, i32)]| dims.iter().map(|d| d.0).collect::<Vec<_>>();
        let elements = || {
            let mut all = self.elements.clone();
            all.extend(other.elements.iter().cloned());
            all
        };
        let add = |x: i32, y: i32| x.checked_add(y).ok_or_else(too_large);
        let dims = if a == b {
            if lengths(&self.dims[1..]) != lengths(&other.dims[1..]) {
                return Err(incompatible("Arrays with differing element dimensions are not compatible for concatenation."));
            }
            let mut dims = self.dims.clone();
            dims[0].0 = add(dims[0].0, other.dims[0].0)?;
            dims
        } else if a == b + 1 || b == a + 1 {
            let (outer, inner) = if a > b { (self, other) } else { (other, self) };
            if lengths(&outer.dims[1..]) != lengths(&inner.dims) {
                return Err(incompatible("Arrays with differing dimensions are not compatible for concatenation."));
            }
            let mut dims = outer.dims.clone();
            dims[0].0 = add(dims[0].0, 1)?;
            dims
        } else {
            return Err(incompatible(&format!("Arrays of {a} and {b} dimensions are not compatible for concatenation.")));
        };
        Ok(Array { element: self.element, dims, elements: elements() })
    }
    /// `array_position(a, value, start)`; NULL finds NULL. `0A000` for more than one dimension.
    pub fn position(&self, value: &Datum, start: Option<i32>) -> Result<Option<i32>> {
        let all = self.positions(value)?;
        Ok(all.into_iter().find(|p| start.is_none_or(|s| *p >= s)))
    }
    /// `array_positions(a, value)`
    pub fn positions(&self, value: &Datum) -> Result<Vec<i32>> {
        match self.dims[..] {
            [] => Ok(vec![]),
            [(_, lower)] => {
                let hit = |e: &Datum| if value.is_null() || e.is_null() { value.is_null() && e.is_null() } else { self.equal(e, value) };
                Ok(self.elements.iter().zip(lower..).filter(|(e, _)| hit(e)).map(|(_, i)| i).collect())
            }
            _ => Err(SqlError::unsupported("searching for elements in multidimensional arrays")),
        }
    }
    /// `a @> b`: every element of `b` is in `a`; a NULL in `b` is never found.
    pub fn contains(&self, other: &Array) -> bool {
        other.elements.iter().all(|b| !b.is_null() && self.elements.iter().any(|a| !a.is_null() && self.equal(a, b)))
    }
    /// `a && b`: some element is in both; NULLs do not count.
    pub fn overlaps(&self, other: &Array) -> bool {
        other.elements.iter().any(|b| !b.is_null() && self.elements.iter().any(|a| !a.is_null() && self.equal(a, b)))
    }
    /// `array_remove(a, value)`; one-dimensional.
    pub fn remove(&self, value: &Datum) -> Result<Array> {
        if self.dims.len() > 1 {
            return Err(SqlError::unsupported("removing elements from multidimensional arrays"));
        }
        let gone = |e: &Datum| if value.is_null() || e.is_null() { value.is_null() && e.is_null() } else { self.equal(e, value) };
        let elements: Vec<Datum> = self.elements.iter().filter(|e| !gone(e)).cloned().collect();
        if elements.is_empty() {
            return Ok(Array::empty(self.element));
        }
        let lower = self.dims.first().map_or(1, |d| d.1);
        Ok(Array { element: self.element, dims: vec![(elements.len() as i32, lower)], elements })
    }
    /// `array_replace(a, from, to)`
    pub fn replace(&self, from: &Datum, to: &Datum) -> Array {
        let hit = |e: &Datum| if from.is_null() || e.is_null() { from.is_null() && e.is_null() } else { self.equal(e, from) };
        let elements = self.elements.iter().map(|e| if hit(e) { to.clone() } else { e.clone() }).collect();
        Array { element: self.element, dims: self.dims.clone(), elements }
    }
    /// `array_lower(a, dim)`; dimensions count from 1.
    pub fn lower(&self, dim: i32) -> Option<i32> {
        self.dimension(dim).map(|d| d.1)
    }
    /// `array_upper(a, dim)`
    pub fn upper(&self, dim: i32) -> Option<i32> {
        self.dimension(dim).map(|d| d.1 + d.0 - 1)
    }
    /// `array_length(a, dim)`
    pub fn length(&self, dim: i32) -> Option<i32> {
        self.dimension(dim).map(|d| d.0)
    }
    fn dimension(&self, dim: i32) -> Option<(i32, i32)> {
        usize::try_from(dim).ok().and_then(|d| d.checked_sub(1)).and_then(|d| self.dims.get(d)).copied()
    }
    /// `array_dims(a)`: `[1:2][1:3]`; None for `{}`.
    pub fn dims_text(&self) -> Option<String> {
        let text: String =
            self.dims.iter().map(|(length, lower)| format!("[{}:{}]", lower, i64::from(*lower) + i64::from(*length) - 1)).collect();
        (!text.is_empty()).then_some(text)
    }
    /// `trim_array(a, n)`: without the last `n` elements of the first dimension.
    pub fn trim(&self, n: i32) -> Result<Array> {
        let length = self.dims.first().map_or(0, |d| d.0);
        if n < 0 || n > length {
            return Err(SqlError::new(SqlState("2202E"), format!("number of elements to trim must be between 0 and {length}")));
        }
        let Some((_, lower)) = self.dims.first() else { return Ok(self.clone()) };
        Ok(self.slice(&[(None, Some(lower + (length - n) - 1))]))
    }
    /// An array of arrays: `ARRAY[a, b]` over array values, all of one shape.
    pub fn nest(parts: &[&Array]) -> Result<Option<Array>> {
        let Some(first) = parts.first() else { return Ok(None) };
        if parts.iter().any(|p| p.dims != first.dims) {
            return Err(subscript_error("multidimensional arrays must have array expressions with matching dimensions"));
        }
        if first.dims.is_empty() {
            return Ok(Some(Array::empty(first.element)));
        }
        if first.dims.len() == MAX_DIMENSIONS {
            return Err(super::too_many_dimensions(MAX_DIMENSIONS + 1));
        }
        let mut dims = vec![(parts.len() as i32, 1)];
        dims.extend(&first.dims);
        Ok(Some(Array { element: first.element, dims, elements: parts.iter().flat_map(|p| p.elements.iter().cloned()).collect() }))
    }
}

/// `array_fill(value, lengths, lower bounds)`
pub fn fill(element: crate::types::DataType, value: &Datum, lengths: &[i32], lowers: Option<&[i32]>) -> Result<Array> {
    if lengths.len() > MAX_DIMENSIONS {
        return Err(super::too_many_dimensions(lengths.len()));
    }
    if lowers.is_some_and(|l| l.len() != lengths.len()) {
        return Err(subscript_error("wrong number of array subscripts").detail("Low bound array has different size than dimensions array."));
    }
    let mut count = usize::from(!lengths.is_empty());
    for length in lengths {
        let length = usize::try_from(*length).map_err(|_| too_large())?;
        count = count.checked_mul(length).filter(|n| *n <= MAX_ELEMENTS).ok_or_else(too_large)?;
    }
    if count == 0 {
        return Ok(Array::empty(element));
    }
    let dims = lengths.iter().enumerate().map(|(i, n)| (*n, lowers.map_or(1, |l| l[i]))).collect();
    Ok(Array { element, dims, elements: vec![value.clone(); count] })
}
