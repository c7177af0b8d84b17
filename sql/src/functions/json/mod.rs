//! JSON: building, taking apart, changing. `json` keeps its text; `jsonb` is a value in normal form.

use std::sync::Arc;

mod entries;

pub(super) use entries::{COMPARISON, ENTRIES};

use super::args::{array, err, invalid, jsonb, text, txt};
use crate::error::{Result, SqlError, SqlState};
use crate::types::json::{ops, raw, write_string};
use crate::types::{Array, DataType, Datum, Io, Jsonb, to_text};

fn jb(j: Jsonb) -> Datum {
    Datum::Jsonb(Arc::new(j))
}

pub(super) fn js(s: impl AsRef<str>) -> Datum {
    Datum::Json(Arc::from(s.as_ref()))
}

/// A `jsonb` value as `->>` gives it; JSON null is NULL.
fn as_text(j: &Jsonb) -> Datum {
    j.as_text().map_or(Datum::Null, txt)
}

fn json_text(value: Option<&str>) -> Datum {
    value.and_then(raw::as_text).map_or(Datum::Null, txt)
}

fn found(j: Option<&Jsonb>) -> Datum {
    j.map_or(Datum::Null, |v| jb(v.clone()))
}

/// The value as JSON text, as `to_json` makes it.
pub(super) fn write_json(io: Io<'_>, ty: DataType, d: &Datum, out: &mut String) {
    ops::write_json(d, ty, &io, out);
}

fn write_array(io: Io<'_>, a: &Array, out: &mut String, pretty: bool) {
    fn level(io: Io<'_>, a: &Array, dim: usize, at: &mut usize, out: &mut String, pretty: bool) {
        out.push('[');
        for i in 0..a.dims[dim].0 {
            if i > 0 {
                out.push_str(if pretty { ",\n " } else { "," });
            }
            if dim + 1 == a.dims.len() {
                write_json(io, a.element, &a.elements[*at], out);
                *at += 1;
            } else {
                level(io, a, dim + 1, at, out, false);
            }
        }
        out.push(']');
    }
    if a.dims.is_empty() {
        out.push_str("[]");
    } else {
        level(io, a, 0, &mut 0, out, pretty);
    }
}

/// A row without a row type of its own: fields are called f1, f2, ….
fn write_record(io: Io<'_>, fields: &[Datum], out: &mut String, pretty: bool) {
    out.push('{');
    for (i, f) in fields.iter().enumerate() {
        if i > 0 {
            out.push_str(if pretty { ",\n " } else { "," });
        }
        out.push_str(&format!("\"f{}\":", i + 1));
        write_json(io, f.natural_type(), f, out);
    }
    out.push('}');
}

/// The value as `jsonb`, as `to_jsonb` makes it.
pub(super) fn to_jsonb(io: Io<'_>, ty: DataType, d: &Datum) -> Result<Jsonb> {
    ops::to_jsonb(d, ty, &io)
}

fn type_at(types: &[DataType], i: usize) -> DataType {
    types.get(i).copied().unwrap_or(DataType::TEXT)
}

/// A key of `json_build_object` and `json_object_agg`.
pub(super) fn key(io: Io<'_>, ty: DataType, d: &Datum, position: Option<usize>) -> Result<String> {
    match d {
        Datum::Null => match position {
            Some(i) => Err(invalid(format!("argument {i} cannot be null")).hint("Object keys should be text.")),
            None => Err(invalid("field name must not be null")),
        },
        Datum::Array(_) | Datum::Record(_) | Datum::Json(_) | Datum::Jsonb(_) => {
            err(SqlState::INVALID_PARAMETER_VALUE, "key value must be scalar, not array, composite, or json")
        }
        Datum::Bool(b) => Ok(b.to_string()),
        d => Ok(to_text(d, ty, io)),
    }
}

fn even(x: &[Datum]) -> Result<()> {
    if x.len().is_multiple_of(2) {
        return Ok(());
    }
    Err(invalid("argument list must have even number of elements")
        .hint("The arguments of json_build_object() must consist of alternating keys and values."))
}

fn build_object(io: Io<'_>, types: &[DataType], x: &[Datum]) -> Result<Datum> {
    even(x)?;
    let mut out = String::from("{");
    for (i, pair) in x.chunks(2).enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        write_string(&mut out, &key(io, type_at(types, i * 2), &pair[0], Some(i * 2 + 1))?);
        out.push_str(" : ");
        write_json(io, type_at(types, i * 2 + 1), &pair[1], &mut out);
    }
    out.push('}');
    Ok(js(out))
}

/// A row of a table as `row_to_json` shows it; the arguments alternate between column names and values.
fn row_object(io: Io<'_>, types: &[DataType], x: &[Datum]) -> Datum {
    let mut out = String::from("{");
    for (i, pair) in x.chunks_exact(2).enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(&mut out, pair[0].as_str().unwrap_or_default());
        out.push(':');
        write_json(io, type_at(types, i * 2 + 1), &pair[1], &mut out);
    }
    out.push('}');
    js(out)
}

fn build_object_b(io: Io<'_>, types: &[DataType], x: &[Datum]) -> Result<Datum> {
    even(x).map_err(|e| e.hint("The arguments of jsonb_build_object() must consist of alternating keys and values."))?;
    let mut pairs = Vec::with_capacity(x.len() / 2);
    for (i, pair) in x.chunks(2).enumerate() {
        let name = match &pair[0] {
            Datum::Null => return err(SqlState::INVALID_PARAMETER_VALUE, format!("argument {}: key must not be null", i * 2 + 1)),
            d => key(io, type_at(types, i * 2), d, None)?,
        };
        pairs.push((Arc::from(name), to_jsonb(io, type_at(types, i * 2 + 1), &pair[1])?));
    }
    Ok(jb(Jsonb::object(pairs)))
}

fn build_array(io: Io<'_>, types: &[DataType], x: &[Datum]) -> Datum {
    let mut out = String::from("[");
    for (i, d) in x.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        write_json(io, type_at(types, i), d, &mut out);
    }
    out.push(']');
    js(out)
}

/// `json_object(text[])` and `json_object(keys, values)` as pairs.
fn text_pairs(x: &[Datum]) -> Result<Vec<(String, Option<String>)>> {
    let strings = |a: &Array| -> Result<Vec<Option<String>>> {
        a.elements.iter().map(|d| if matches!(d, Datum::Null) { Ok(None) } else { text(d).map(|v| Some(v.to_owned())) }).collect()
    };
    let bad = |m: &str| SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, m);
    let first = array(&x[0])?;
    let pairs: Vec<(Option<String>, Option<String>)> = if let Some(second) = x.get(1) {
        let second = array(second)?;
        if first.dims.len() > 1 || second.dims.len() > 1 {
            return Err(bad("wrong number of array subscripts"));
        }
        if first.elements.len() != second.elements.len() {
            return Err(bad("mismatched array dimensions"));
        }
        strings(first)?.into_iter().zip(strings(second)?).collect()
    } else {
        match first.dims.len() {
            0 => {}
            1 if first.elements.len() % 2 == 1 => return Err(bad("array must have even number of elements")),
            2 if first.dims[1].0 != 2 => return Err(bad("array must have two columns")),
            1 | 2 => {}
            _ => return Err(bad("wrong number of array subscripts")),
        }
        strings(first)?.chunks(2).map(|p| (p[0].clone(), p[1].clone())).collect()
    };
    pairs
        .into_iter()
        .map(|(k, v)| Ok((k.ok_or_else(|| SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "null value not allowed for object key"))?, v)))
        .collect()
}

fn object_from_text(x: &[Datum]) -> Result<Datum> {
    let mut out = String::from("{");
    for (i, (k, v)) in text_pairs(x)?.into_iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        write_string(&mut out, &k);
        out.push_str(" : ");
        match v {
            Some(v) => write_string(&mut out, &v),
            None => out.push_str("null"),
        }
    }
    out.push('}');
    Ok(js(out))
}

fn object_from_text_b(x: &[Datum]) -> Result<Datum> {
    let pairs = text_pairs(x)?.into_iter().map(|(k, v)| (Arc::from(k), v.map_or(Jsonb::Null, |v| Jsonb::string(&v)))).collect();
    Ok(jb(Jsonb::object(pairs)))
}

/// The path elements of a `text[]`; None if one is NULL.
fn path(d: &Datum) -> Result<Option<Vec<String>>> {
    array(d)?.elements.iter().map(|p| if matches!(p, Datum::Null) { Ok(None) } else { text(p).map(|v| Some(v.to_owned())) }).collect()
}

fn json_path(x: &[Datum]) -> Result<Option<&str>> {
    let Some(steps) = path(&x[1])? else { return Ok(None) };
    Ok(raw::get_path(text(&x[0])?, &steps))
}

fn jsonb_path(x: &[Datum]) -> Result<Option<&Jsonb>> {
    let Some(steps) = path(&x[1])? else { return Ok(None) };
    Ok(jsonb(&x[0])?.get_path(&steps))
}

fn keys(d: &Datum) -> Result<Vec<String>> {
    array(d)?.elements.iter().filter(|k| !matches!(k, Datum::Null)).map(|k| text(k).map(str::to_owned)).collect()
}

/// The path of a change, with the errors that scalars and NULL steps give.
fn steps(x: &[Datum], verb: &str) -> Result<Vec<String>> {
    let j = jsonb(&x[0])?;
    if array(&x[1])?.dims.len() > 1 {
        return err(SqlState::ARRAY_SUBSCRIPT_ERROR, "wrong number of array subscripts");
    }
    if j.is_scalar() {
        return Err(invalid(format!("cannot {verb} scalar")));
    }
    let mut steps = Vec::new();
    for (i, p) in array(&x[1])?.elements.iter().enumerate() {
        if matches!(p, Datum::Null) {
            return err(SqlState::NULL_VALUE_NOT_ALLOWED, format!("path element at position {} is null", i + 1));
        }
        steps.push(text(p)?.to_owned());
    }
    Ok(steps)
}

/// `json_strip_nulls`, on text: drops white space too.
fn strip_nulls_text(v: &str, out: &mut String) {
    if let Some(members) = raw::members(v) {
        out.push('{');
        let mut first = true;
        for (k, m) in members.iter().filter(|(_, m)| raw::type_name(m) != "null") {
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            write_string(out, k);
            out.push(':');
            strip_nulls_text(m, out);
        }
        out.push('}');
    } else if let Some(elements) = raw::elements(v) {
        out.push('[');
        for (i, e) in elements.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            strip_nulls_text(e, out);
        }
        out.push(']');
    } else {
        out.push_str(v.trim());
    }
}

fn wrong<T>(message: String) -> Result<T> {
    Err(invalid(message))
}

fn elements<'a>(v: &'a str, function: &str) -> Result<Vec<&'a str>> {
    match raw::type_name(v) {
        "array" => Ok(raw::elements(v).unwrap_or_default()),
        "object" => wrong(format!("cannot call {function} on a non-array")),
        _ => wrong(format!("cannot call {function} on a scalar")),
    }
}

fn members<'a>(v: &'a str, function: &str) -> Result<Vec<(String, &'a str)>> {
    match raw::type_name(v) {
        "object" => Ok(raw::members(v).unwrap_or_default()),
        "array" => wrong(format!("cannot call {function} on an array")),
        _ => wrong(format!("cannot call {function} on a scalar")),
    }
}

fn elements_b<'a>(j: &'a Jsonb, what: &str) -> Result<&'a [Jsonb]> {
    match j {
        Jsonb::Array(a) => Ok(a),
        Jsonb::Object(_) => wrong(format!("cannot {what} an object")),
        _ => wrong(format!("cannot {what} a scalar")),
    }
}

fn members_b<'a>(j: &'a Jsonb, function: &str) -> Result<&'a [(Arc<str>, Jsonb)]> {
    match j {
        Jsonb::Object(o) => Ok(o),
        Jsonb::Array(_) if function == "jsonb_object_keys" => wrong(format!("cannot call {function} on an array")),
        _ if function == "jsonb_object_keys" => wrong(format!("cannot call {function} on a scalar")),
        _ => wrong(format!("cannot call {function} on a non-object")),
    }
}
