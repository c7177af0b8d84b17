//! The primitives behind `jsonb` operators and functions, and values of every type as JSON.

use std::sync::Arc;

use super::{Jsonb, key_order, parse, write_string};
use crate::error::{Result, SqlError, SqlState};
use crate::types::text_io::{Io, write_with};
use crate::types::{Array, DataType, Datum, Numeric, datetime};

fn invalid(message: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// What [`Jsonb::set_path`] does at the end of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// `jsonb_set(…, create_if_missing)`
    Set {
        /// Add what is missing.
        create: bool,
    },
    /// `jsonb_insert(…, insert_after)`
    Insert {
        /// Behind the element rather than before it.
        after: bool,
    },
}

/// A path step that must be an array index; `position` counts from 1.
fn index_step(step: &str, position: usize) -> Result<i64> {
    step.trim().parse::<i32>().map(i64::from).map_err(|_| {
        SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("path element at position {position} is not an integer: \"{step}\""))
    })
}

impl Jsonb {
    /// `#>`: the value at a path of keys and indexes.
    pub fn get_path<S: AsRef<str>>(&self, path: &[S]) -> Option<&Jsonb> {
        path.iter().try_fold(self, |at, step| match at {
            Jsonb::Object(_) => at.get(step.as_ref()),
            Jsonb::Array(_) => at.get_index(step.as_ref().trim().parse().ok()?),
            _ => None,
        })
    }
    /// `->>`, `#>>`: a string without quotes, anything else as JSON; None for null.
    pub fn as_text(&self) -> Option<String> {
        match self {
            Jsonb::Null => None,
            Jsonb::String(s) => Some(s.to_string()),
            other => Some(other.to_string()),
        }
    }
    /// `?`: a key of an object, a string element of an array, or the string itself.
    pub fn exists(&self, key: &str) -> bool {
        match self {
            Jsonb::Object(_) => self.get(key).is_some(),
            Jsonb::Array(elements) => elements.iter().any(|e| matches!(e, Jsonb::String(s) if **s == *key)),
            Jsonb::String(s) => **s == *key,
            _ => false,
        }
    }
    /// `@>`
    pub fn contains(&self, other: &Jsonb) -> bool {
        match (self, other) {
            // Only at the top may an array contain a bare scalar.
            (Jsonb::Array(elements), scalar) if scalar.is_scalar() => elements.contains(scalar),
            _ => self.contains_inner(other),
        }
    }
    fn contains_inner(&self, other: &Jsonb) -> bool {
        match (self, other) {
            (Jsonb::Object(_), Jsonb::Object(wanted)) => wanted.iter().all(|(k, v)| self.get(k).is_some_and(|mine| mine.contains_inner(v))),
            (Jsonb::Array(mine), Jsonb::Array(wanted)) => wanted.iter().all(|w| mine.iter().any(|m| m.contains_inner(w))),
            (a, b) => a.is_scalar() && b.is_scalar() && a == b,
        }
    }
    /// `||`
    pub fn concat(&self, other: &Jsonb) -> Jsonb {
        match (self, other) {
            (Jsonb::Object(a), Jsonb::Object(b)) => Jsonb::object(a.iter().chain(b).cloned().collect()),
            (a, b) => {
                let list = |j: &Jsonb| match j {
                    Jsonb::Array(elements) => elements.clone(),
                    single => vec![single.clone()],
                };
                let mut all = list(a);
                all.extend(list(b));
                Jsonb::Array(all)
            }
        }
    }
    /// `- key`: removes a key, or the equal strings of an array.
    pub fn delete_key(&self, key: &str) -> Result<Jsonb> {
        match self {
            Jsonb::Object(pairs) => Ok(Jsonb::Object(pairs.iter().filter(|(k, _)| **k != *key).cloned().collect())),
            Jsonb::Array(elements) => {
                Ok(Jsonb::Array(elements.iter().filter(|e| !matches!(e, Jsonb::String(s) if **s == *key)).cloned().collect()))
            }
            _ => Err(invalid("cannot delete from scalar")),
        }
    }
    /// `- index`; negative counts from the end.
    pub fn delete_index(&self, index: i64) -> Result<Jsonb> {
        match self {
            Jsonb::Object(_) => Err(invalid("cannot delete from object using integer index")),
            Jsonb::Array(elements) => {
                let at = if index < 0 { index + elements.len() as i64 } else { index };
                let mut elements = elements.clone();
                if let Some(at) = usize::try_from(at).ok().filter(|at| *at < elements.len()) {
                    elements.remove(at);
                }
                Ok(Jsonb::Array(elements))
            }
            _ => Err(invalid("cannot delete from scalar")),
        }
    }
    /// `#-`
    pub fn delete_path<S: AsRef<str>>(&self, path: &[S]) -> Result<Jsonb> {
        if self.is_scalar() {
            return Err(invalid("cannot delete path in scalar"));
        }
        let mut out = self.clone();
        if !path.is_empty() {
            out.delete_at(path, 0)?;
        }
        Ok(out)
    }
    fn delete_at<S: AsRef<str>>(&mut self, path: &[S], depth: usize) -> Result<()> {
        let step = path[depth].as_ref();
        let last = depth + 1 == path.len();
        match self {
            Jsonb::Object(pairs) => {
                if let Ok(at) = pairs.binary_search_by(|(k, _)| key_order(k, step)) {
                    if last {
                        pairs.remove(at);
                    } else {
                        pairs[at].1.delete_at(path, depth + 1)?;
                    }
                }
            }
            Jsonb::Array(elements) => {
                let index = index_step(step, depth + 1)?;
                let at = if index < 0 { index + elements.len() as i64 } else { index };
                if let Some(at) = usize::try_from(at).ok().filter(|at| *at < elements.len()) {
                    if last {
                        elements.remove(at);
                    } else {
                        elements[at].delete_at(path, depth + 1)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
    /// `jsonb_set` and `jsonb_insert`.
    pub fn set_path<S: AsRef<str>>(&self, path: &[S], value: &Jsonb, change: PathChange) -> Result<Jsonb> {
        if self.is_scalar() {
            return Err(invalid("cannot set path in scalar"));
        }
        let mut out = self.clone();
        if !path.is_empty() {
            out.set_at(path, 0, value, change)?;
        }
        Ok(out)
    }
    fn set_at<S: AsRef<str>>(&mut self, path: &[S], depth: usize, value: &Jsonb, change: PathChange) -> Result<()> {
        let step = path[depth].as_ref();
        let last = depth + 1 == path.len();
        let create = !matches!(change, PathChange::Set { create: false });
        match self {
            Jsonb::Object(pairs) => match pairs.binary_search_by(|(k, _)| key_order(k, step)) {
                Ok(at) if !last => pairs[at].1.set_at(path, depth + 1, value, change)?,
                Ok(_) if matches!(change, PathChange::Insert { .. }) => {
                    return Err(invalid("cannot replace existing key").hint("Try using the function jsonb_set to replace key value."));
                }
                Ok(at) => pairs[at].1 = value.clone(),
                Err(at) if last && create => pairs.insert(at, (Arc::from(step), value.clone())),
                Err(_) => {}
            },
            Jsonb::Array(elements) => {
                let index = index_step(step, depth + 1)?;
                let length = elements.len() as i64;
                let at = if index < 0 { index + length } else { index };
                if !last {
                    if let Some(element) = usize::try_from(at).ok().and_then(|at| elements.get_mut(at)) {
                        element.set_at(path, depth + 1, value, change)?;
                    }
                    return Ok(());
                }
                if (0..length).contains(&at) {
                    match change {
                        PathChange::Set { .. } => elements[at as usize] = value.clone(),
                        PathChange::Insert { after } => elements.insert(at as usize + usize::from(after), value.clone()),
                    }
                } else if create {
                    // Outside the array: at the end it lies nearest to.
                    elements.insert(if at < 0 { 0 } else { elements.len() }, value.clone());
                }
            }
            _ => {}
        }
        Ok(())
    }
    /// `jsonb_strip_nulls`: removes object fields that are null, at every depth.
    pub fn strip_nulls(&self) -> Jsonb {
        match self {
            Jsonb::Object(pairs) => {
                Jsonb::Object(pairs.iter().filter(|(_, v)| !matches!(v, Jsonb::Null)).map(|(k, v)| (k.clone(), v.strip_nulls())).collect())
            }
            Jsonb::Array(elements) => Jsonb::Array(elements.iter().map(Jsonb::strip_nulls).collect()),
            other => other.clone(),
        }
    }
}

/// How a value of a type becomes JSON.
fn text_form(value: &Datum, ty: DataType, io: &Io<'_>) -> String {
    let mut text = String::new();
    match value {
        Datum::Date(d) => datetime::write_iso_date(&mut text, *d),
        Datum::Timestamp(t) => datetime::write_iso_timestamp(&mut text, *t),
        Datum::TimestampTz(t) => datetime::write_iso_timestamptz(&mut text, *t, io.session),
        _ => write_with(value, ty, io, &mut text),
    }
    text
}

/// `to_jsonb(value)`
pub fn to_jsonb(value: &Datum, ty: DataType, io: &Io<'_>) -> Result<Jsonb> {
    Ok(match value {
        Datum::Null => Jsonb::Null,
        Datum::Bool(b) => Jsonb::Bool(*b),
        Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_) => Jsonb::Number(Numeric::from(value.as_i64().unwrap_or(0))),
        Datum::Float4(f) if f.is_finite() => Jsonb::Number(Numeric::parse(&text_form(value, ty, io))?),
        Datum::Float8(f) if f.is_finite() => Jsonb::Number(Numeric::parse(&text_form(value, ty, io))?),
        Datum::Numeric(n) if n.is_finite() => Jsonb::Number((**n).clone()),
        Datum::Json(s) => parse(s)?,
        Datum::Jsonb(j) => (**j).clone(),
        Datum::Array(a) if !matches!(ty, DataType::INT2VECTOR | DataType::OIDVECTOR) => array_to_jsonb(a, 0, 0, a.elements.len(), io)?,
        Datum::Record(fields) => {
            let pairs = fields.iter().enumerate().map(|(i, f)| Ok((Arc::from(format!("f{}", i + 1)), to_jsonb(f, f.natural_type(), io)?)));
            Jsonb::object(pairs.collect::<Result<_>>()?)
        }
        _ => Jsonb::string(&text_form(value, ty, io)),
    })
}

fn array_to_jsonb(a: &Array, depth: usize, from: usize, count: usize, io: &Io<'_>) -> Result<Jsonb> {
    let Some((length, _)) = a.dims.get(depth) else { return Ok(Jsonb::Array(vec![])) };
    let length = *length as usize;
    let step = count.checked_div(length).unwrap_or(0);
    let last = depth + 1 == a.dims.len();
    let element = |i: usize| {
        if last { to_jsonb(&a.elements[from + i], a.element, io) } else { array_to_jsonb(a, depth + 1, from + i * step, step, io) }
    };
    Ok(Jsonb::Array((0..length).map(element).collect::<Result<_>>()?))
}

/// `to_json(value)`: appends JSON text; `json` values are kept as they are, arrays and records have no blanks.
pub fn write_json(value: &Datum, ty: DataType, io: &Io<'_>, out: &mut String) {
    match value {
        Datum::Null => out.push_str("null"),
        Datum::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_) => write_with(value, ty, io, out),
        Datum::Float4(f) if f.is_finite() => write_with(value, ty, io, out),
        Datum::Float8(f) if f.is_finite() => write_with(value, ty, io, out),
        Datum::Numeric(n) if n.is_finite() => write_with(value, ty, io, out),
        Datum::Json(s) => out.push_str(s),
        Datum::Jsonb(j) => j.write(out),
        Datum::Array(a) if !matches!(ty, DataType::INT2VECTOR | DataType::OIDVECTOR) => {
            write_json_array(a, 0, 0, a.elements.len(), io, out)
        }
        Datum::Record(fields) => {
            let names: Vec<String> = (1..=fields.len()).map(|i| format!("f{i}")).collect();
            let types: Vec<DataType> = fields.iter().map(Datum::natural_type).collect();
            write_json_row(names.iter().map(String::as_str).zip(types).zip(fields.iter()), io, out);
        }
        _ => write_string(out, &text_form(value, ty, io)),
    }
}

/// `row_to_json`: an object of named columns.
pub fn write_json_row<'a>(columns: impl Iterator<Item = ((&'a str, DataType), &'a Datum)>, io: &Io<'_>, out: &mut String) {
    out.push('{');
    for (i, ((name, ty), value)) in columns.enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(out, name);
        out.push(':');
        write_json(value, ty, io, out);
    }
    out.push('}');
}

fn write_json_array(a: &Array, depth: usize, from: usize, count: usize, io: &Io<'_>, out: &mut String) {
    out.push('[');
    if let Some((length, _)) = a.dims.get(depth) {
        let length = *length as usize;
        let step = count.checked_div(length).unwrap_or(0);
        for i in 0..length {
            if i > 0 {
                out.push(',');
            }
            if depth + 1 == a.dims.len() {
                write_json(&a.elements[from + i], a.element, io, out);
            } else {
                write_json_array(a, depth + 1, from + i * step, step, io, out);
            }
        }
    }
    out.push(']');
}
