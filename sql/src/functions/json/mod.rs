//! JSON: building, taking apart, changing. `json` keeps its text; `jsonb` is a value in normal form.

use std::sync::Arc;

mod entries;

pub(super) use entries::{COMPARISON, ENTRIES};

use super::args::{array, err, invalid, jsonb, text, txt};
use crate::error::{Result, SqlError, SqlState};
use crate::types::json::{parse, raw, write_string};
use crate::types::{Array, DataType, Datum, Io, Jsonb, datetime, to_text};

fn jb(j: Jsonb) -> Datum {
    Datum::Jsonb(Arc::new(j))
}

pub(super) fn js(s: impl AsRef<str>) -> Datum {
    Datum::Json(Arc::from(s.as_ref()))
}

/// A `jsonb` value as `->>` gives it; JSON null is NULL.
fn as_text(j: &Jsonb) -> Datum {
    match j {
        Jsonb::Null => Datum::Null,
        Jsonb::String(s) => txt(s),
        other => txt(other.to_string()),
    }
}

fn json_text(value: Option<&str>) -> Datum {
    value.and_then(raw::as_text).map_or(Datum::Null, txt)
}

fn found(j: Option<&Jsonb>) -> Datum {
    j.map_or(Datum::Null, |v| jb(v.clone()))
}

/// The value as JSON text, as `to_json` makes it.
pub(super) fn write_json(io: Io<'_>, ty: DataType, d: &Datum, out: &mut String) {
    match d {
        Datum::Null => out.push_str("null"),
        Datum::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_) => out.push_str(&to_text(d, ty, io)),
        Datum::Float4(_) | Datum::Float8(_) | Datum::Numeric(_) => {
            let v = to_text(d, ty, io);
            // NaN and infinities are not JSON numbers.
            if v.ends_with(|c: char| c.is_ascii_digit()) { out.push_str(&v) } else { write_string(out, &v) }
        }
        Datum::Json(v) => out.push_str(v),
        Datum::Jsonb(v) => v.write(out),
        Datum::Array(a) => write_array(io, a, out, false),
        Datum::Record(fields) => write_record(io, fields, out, false),
        Datum::Date(v) if datetime::is_finite_date(*v) => iso(out, |o| datetime::write_iso_date(o, *v)),
        Datum::Timestamp(v) if datetime::is_finite(*v) => iso(out, |o| datetime::write_iso_timestamp(o, *v)),
        Datum::TimestampTz(v) if datetime::is_finite(*v) => iso(out, |o| datetime::write_iso_timestamptz(o, *v, io.session)),
        _ => write_string(out, &to_text(d, ty, io)),
    }
}

fn iso(out: &mut String, write: impl FnOnce(&mut String)) {
    out.push('"');
    write(out);
    out.push('"');
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
    Ok(match d {
        Datum::Null => Jsonb::Null,
        Datum::Bool(b) => Jsonb::Bool(*b),
        Datum::Jsonb(v) => (**v).clone(),
        Datum::Text(v) => Jsonb::string(v),
        _ => {
            let mut out = String::new();
            write_json(io, ty, d, &mut out);
            parse(&out)?
        }
    })
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

fn follow<'a>(j: &'a Jsonb, path: &[String]) -> Option<&'a Jsonb> {
    path.iter().try_fold(j, |at, step| match at {
        Jsonb::Object(_) => at.get(step),
        Jsonb::Array(_) => step.trim().parse::<i32>().ok().and_then(|i| at.get_index(i.into())),
        _ => None,
    })
}

fn json_path(x: &[Datum]) -> Result<Option<&str>> {
    let Some(steps) = path(&x[1])? else { return Ok(None) };
    Ok(raw::get_path(text(&x[0])?, &steps))
}

fn jsonb_path(x: &[Datum]) -> Result<Option<&Jsonb>> {
    let Some(steps) = path(&x[1])? else { return Ok(None) };
    Ok(follow(jsonb(&x[0])?, &steps))
}

/// `@>`: every part of `b` is in `a`.
fn contains(a: &Jsonb, b: &Jsonb) -> bool {
    match (a, b) {
        (Jsonb::Object(_), Jsonb::Object(parts)) => parts.iter().all(|(k, v)| a.get(k).is_some_and(|have| contains(have, v))),
        (Jsonb::Array(have), Jsonb::Array(parts)) => parts
            .iter()
            .all(|p| have.iter().any(|h| if p.is_scalar() { h.is_scalar() && h == p } else { !h.is_scalar() && contains(h, p) })),
        (a, b) => a == b,
    }
}

/// At the top level only, an array contains a scalar.
fn contains_top(a: &Jsonb, b: &Jsonb) -> bool {
    match (a, b) {
        (Jsonb::Array(have), b) if b.is_scalar() => have.contains(b),
        _ => contains(a, b),
    }
}

fn exists(j: &Jsonb, key: &str) -> bool {
    match j {
        Jsonb::Object(_) => j.get(key).is_some(),
        Jsonb::Array(a) => a.iter().any(|e| matches!(e, Jsonb::String(s) if **s == *key)),
        Jsonb::String(s) => **s == *key,
        _ => false,
    }
}

fn keys(d: &Datum) -> Result<Vec<String>> {
    array(d)?.elements.iter().filter(|k| !matches!(k, Datum::Null)).map(|k| text(k).map(str::to_owned)).collect()
}

fn concat(a: &Jsonb, b: &Jsonb) -> Jsonb {
    match (a, b) {
        (Jsonb::Object(x), Jsonb::Object(y)) => Jsonb::object(x.iter().chain(y).cloned().collect()),
        _ => {
            let list = |j: &Jsonb| match j {
                Jsonb::Array(v) => v.clone(),
                other => vec![other.clone()],
            };
            Jsonb::Array([list(a), list(b)].concat())
        }
    }
}

fn delete_keys(j: &Jsonb, gone: &[String]) -> Result<Jsonb> {
    Ok(match j {
        Jsonb::Object(o) => Jsonb::Object(o.iter().filter(|(k, _)| !gone.iter().any(|g| **g == **k)).cloned().collect()),
        Jsonb::Array(a) => {
            Jsonb::Array(a.iter().filter(|e| !matches!(e, Jsonb::String(s) if gone.iter().any(|g| **g == **s))).cloned().collect())
        }
        _ => return err(SqlState::INVALID_PARAMETER_VALUE, "cannot delete from scalar"),
    })
}

fn delete_index(j: &Jsonb, index: i32) -> Result<Jsonb> {
    match j {
        Jsonb::Object(_) => err(SqlState::INVALID_PARAMETER_VALUE, "cannot delete from object using integer index"),
        Jsonb::Array(a) => {
            let at = if index < 0 { a.len() as i64 + i64::from(index) } else { i64::from(index) };
            Ok(Jsonb::Array(a.iter().enumerate().filter(|(i, _)| *i as i64 != at).map(|(_, e)| e.clone()).collect()))
        }
        _ => err(SqlState::INVALID_PARAMETER_VALUE, "cannot delete from scalar"),
    }
}

/// What to do at the end of a path.
#[derive(Clone, Copy)]
enum Change<'a> {
    Delete,
    /// `jsonb_set`: replace, or create if allowed.
    Set {
        value: &'a Jsonb,
        create: bool,
    },
    /// `jsonb_insert`
    Insert {
        value: &'a Jsonb,
        after: bool,
    },
}

fn change(j: &Jsonb, path: &[String], depth: usize, what: Change<'_>) -> Result<Jsonb> {
    let Some(step) = path.get(depth) else { return Ok(j.clone()) };
    let last = depth + 1 == path.len();
    match j {
        Jsonb::Object(o) => {
            let have = j.get(step);
            let mut pairs = o.clone();
            let find = |pairs: &Vec<(Arc<str>, Jsonb)>| pairs.iter().position(|(k, _)| **k == **step);
            match (have, last, what) {
                (Some(inner), false, _) => {
                    let new = change(inner, path, depth + 1, what)?;
                    if let Some(i) = find(&pairs) {
                        pairs[i].1 = new;
                    }
                }
                (Some(_), true, Change::Delete) => pairs.retain(|(k, _)| **k != **step),
                (Some(_), true, Change::Set { value, .. }) => {
                    if let Some(i) = find(&pairs) {
                        pairs[i].1 = value.clone();
                    }
                }
                (Some(_), true, Change::Insert { .. }) => {
                    return Err(invalid("cannot replace existing key").hint("Try using the function jsonb_set to replace key value."));
                }
                (None, true, Change::Set { value, create: true } | Change::Insert { value, .. }) => {
                    pairs.push((Arc::from(step.as_str()), value.clone()));
                }
                (None, _, _) => {}
            }
            Ok(Jsonb::object(pairs))
        }
        Jsonb::Array(a) => {
            let index: i64 = step.trim().parse::<i32>().map(i64::from).map_err(|_| {
                SqlError::new(
                    SqlState::INVALID_TEXT_REPRESENTATION,
                    format!("path element at position {} is not an integer: \"{step}\"", depth + 1),
                )
            })?;
            let len = a.len() as i64;
            let at = if index < 0 { index + len } else { index };
            let mut items = a.clone();
            let inside = (0..len).contains(&at);
            match (inside, last, what) {
                (true, false, _) => items[at as usize] = change(&a[at as usize], path, depth + 1, what)?,
                (true, true, Change::Delete) => {
                    items.remove(at as usize);
                }
                (true, true, Change::Set { value, .. }) => items[at as usize] = value.clone(),
                (true, true, Change::Insert { value, after }) => items.insert(at as usize + usize::from(after), value.clone()),
                (false, true, Change::Set { value, create: true } | Change::Insert { value, .. }) => {
                    if at < 0 {
                        items.insert(0, value.clone());
                    } else {
                        items.push(value.clone());
                    }
                }
                (false, _, _) => {}
            }
            Ok(Jsonb::Array(items))
        }
        scalar => Ok(scalar.clone()),
    }
}

/// Applies a change from the top, with the errors scalars give.
fn changed(x: &[Datum], what: Change<'_>, verb: &str) -> Result<Datum> {
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
    change(j, &steps, 0, what).map(jb)
}

fn strip_nulls(j: &Jsonb) -> Jsonb {
    match j {
        Jsonb::Object(o) => {
            Jsonb::Object(o.iter().filter(|(_, v)| !matches!(v, Jsonb::Null)).map(|(k, v)| (k.clone(), strip_nulls(v))).collect())
        }
        Jsonb::Array(a) => Jsonb::Array(a.iter().map(strip_nulls).collect()),
        other => other.clone(),
    }
}

/// The same on text: `json_strip_nulls` drops white space too.
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
