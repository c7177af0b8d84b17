//! Text input and output of every type: `typinput` and `typoutput`.
//!
//! What they depend on beside the value is an [`Io`]: session settings, the clock (`'now'::timestamp`) and the catalog (`regclass`).
//! A `&SessionView` converts to an `Io` without the last two, a `&EvalContext` to one with all.

use std::sync::Arc;

use super::casts::apply_typmod;
use super::{DataType, Datum, Jsonb, Numeric, array, bytes, datetime, float, interval, json};
use crate::error::{Result, SqlError, SqlState};
use crate::functions::{CatalogLookup, EvalContext, SessionView};

/// What text input and output depend on.
#[derive(Clone, Copy)]
pub struct Io<'a> {
    /// `TimeZone`, `DateStyle`, `IntervalStyle`, ….
    pub session: &'a SessionView,
    /// Start of the transaction, microseconds since 2000-01-01 UTC; None where no clock is at hand.
    pub now: Option<i64>,
    /// Names of catalog objects; without them the `reg…` types read and print numbers only.
    pub catalog: Option<&'a dyn CatalogLookup>,
}

impl<'a> From<&'a SessionView> for Io<'a> {
    fn from(session: &'a SessionView) -> Self {
        Io { session, now: None, catalog: None }
    }
}

impl<'b> From<&'b EvalContext<'_>> for Io<'b> {
    fn from(cx: &'b EvalContext<'_>) -> Self {
        Io { session: cx.session, now: Some(cx.transaction_micros), catalog: Some(cx.catalog) }
    }
}

impl<'b> From<&'b mut EvalContext<'_>> for Io<'b> {
    fn from(cx: &'b mut EvalContext<'_>) -> Self {
        Io::from(&*cx)
    }
}

/// `22P02 invalid input syntax for type …`
pub(super) fn bad_syntax(ty: &str, text: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type {ty}: \"{text}\""))
}

fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b')
}

/// Reads an integer of SQL type `ty`, as PostgreSQL's `pg_strtoint` does.
pub fn parse_integer<T: TryFrom<i64>>(text: &str, ty: &str) -> Result<T> {
    let trimmed = trim(text);
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad_syntax(ty, text));
    }
    trimmed
        .parse::<i64>()
        .ok()
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("value \"{text}\" is out of range for type {ty}")))
}

/// Reads a `bool`: any unambiguous prefix of true, false, yes, no, on, off, or 1, 0.
pub fn parse_bool(text: &str) -> Result<bool> {
    let word = trim(text).to_ascii_lowercase();
    let prefix_of = |full: &str, least: usize| word.len() >= least && full.starts_with(&word);
    if prefix_of("true", 1) || prefix_of("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(bad_syntax("boolean", text))
    }
}

fn parse_oid(text: &str, ty: &str) -> Result<u32> {
    let n: i64 = parse_integer(text, ty)?;
    if let Ok(oid) = u32::try_from(n) {
        return Ok(oid);
    }
    // As strtoul: a negative number that fits 32 bits wraps.
    i32::try_from(n)
        .map(|n| n as u32)
        .map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("value \"{text}\" is out of range for type {ty}")))
}

/// A `name`: cut to 63 bytes at a character boundary.
pub fn truncate_name(text: &str) -> &str {
    if text.len() < 64 {
        return text;
    }
    let mut end = 63;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Reads a value of type `ty` and applies its modifier as an input function does.
pub fn parse_text<'a>(ty: DataType, typmod: i32, text: &str, io: impl Into<Io<'a>>) -> Result<Datum> {
    parse_with(ty, typmod, text, &io.into())
}

pub(super) fn parse_with(ty: DataType, typmod: i32, text: &str, io: &Io<'_>) -> Result<Datum> {
    let value = match ty {
        DataType::INT4 => Datum::Int4(parse_integer(text, "integer")?),
        DataType::INT8 => Datum::Int8(parse_integer(text, "bigint")?),
        DataType::INT2 => Datum::Int2(parse_integer(text, "smallint")?),
        DataType::TEXT
        | DataType::VARCHAR
        | DataType::BPCHAR
        | DataType::UNKNOWN
        | DataType::CSTRING
        | DataType::ACLITEM
        | DataType::PG_NODE_TREE => Datum::text(text),
        DataType::NAME => Datum::text(truncate_name(text)),
        DataType::BOOL => Datum::Bool(parse_bool(text)?),
        DataType::FLOAT8 => Datum::Float8(float::parse_f64(text)?),
        DataType::FLOAT4 => Datum::Float4(float::parse_f32(text)?),
        DataType::NUMERIC => Datum::Numeric(Arc::new(Numeric::parse(text)?)),
        DataType::CHAR_INTERNAL => Datum::Char(text.bytes().next().unwrap_or(0)),
        DataType::BYTEA => Datum::Bytea(bytes::parse_bytea(text)?.into()),
        DataType::DATE => Datum::Date(datetime::parse_date(text, io)?),
        DataType::TIME => Datum::Time(datetime::parse_time(text, io)?),
        DataType::TIMETZ => {
            let (micros, zone) = datetime::parse_timetz(text, io)?;
            Datum::TimeTz(micros, zone)
        }
        DataType::TIMESTAMP => Datum::Timestamp(datetime::parse_timestamp(text, io)?),
        DataType::TIMESTAMPTZ => Datum::TimestampTz(datetime::parse_timestamptz(text, io)?),
        DataType::INTERVAL => return Ok(Datum::Interval(interval::parse_interval(text, typmod, io.session)?)),
        DataType::UUID => Datum::Uuid(Arc::new(bytes::parse_uuid(text)?)),
        DataType::JSON => {
            json::validate(text)?;
            Datum::Json(Arc::from(text))
        }
        DataType::JSONB => Datum::Jsonb(Arc::new(json::parse(text)?)),
        DataType::OID => Datum::Oid(parse_oid(text, "oid")?),
        DataType::XID | DataType::CID => Datum::Oid(parse_oid(text, ty.typname())?),
        DataType::VOID => Datum::Void,
        DataType::INT2VECTOR | DataType::OIDVECTOR => array::parse_vector(ty, text)?,
        DataType::RECORD => return Err(SqlError::unsupported("input of anonymous composite types")),
        _ if ty.is_reg() => Datum::Oid(parse_reg(ty, text, io)?),
        _ => match ty.element() {
            Some(element) => return Ok(Datum::Array(Arc::new(array::parse_array(element, typmod, text, io)?))),
            None => return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot accept a value of type {}", ty.name()))),
        },
    };
    if typmod < 0 { Ok(value) } else { apply_typmod(ty, typmod, value, false) }
}

/// Appends the text of a value (which must not be NULL) of type `ty`.
pub fn write_text<'a>(value: &Datum, ty: DataType, io: impl Into<Io<'a>>, out: &mut String) {
    write_with(value, ty, &io.into(), out);
}

/// The text of a value of type `ty`; empty for NULL.
pub fn to_text<'a>(value: &Datum, ty: DataType, io: impl Into<Io<'a>>) -> String {
    let mut out = String::new();
    write_with(value, ty, &io.into(), &mut out);
    out
}

fn write_display(out: &mut String, value: impl std::fmt::Display) {
    use std::fmt::Write;
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}

pub(super) fn write_with(value: &Datum, ty: DataType, io: &Io<'_>, out: &mut String) {
    match value {
        Datum::Null | Datum::Void => {}
        Datum::Bool(b) => out.push(if *b { 't' } else { 'f' }),
        Datum::Int2(n) => write_display(out, n),
        Datum::Int4(n) => write_display(out, n),
        Datum::Int8(n) => write_display(out, n),
        Datum::Float4(f) => float::write_f32(out, *f, io.session.extra_float_digits),
        Datum::Float8(f) => float::write_f64(out, *f, io.session.extra_float_digits),
        Datum::Numeric(n) => write_display(out, n),
        Datum::Text(s) | Datum::Json(s) => out.push_str(s),
        Datum::Char(0) => {}
        Datum::Char(c) if c.is_ascii() => out.push(*c as char),
        Datum::Char(c) => write_display(out, format_args!("\\{c:03o}")),
        Datum::Bytea(b) => bytes::write_bytea(out, b, io.session.bytea_escape),
        Datum::Date(d) => datetime::write_date(out, *d, io.session),
        Datum::Time(t) => datetime::write_time(out, *t),
        Datum::TimeTz(t, zone) => datetime::write_timetz(out, *t, *zone),
        Datum::Timestamp(t) => datetime::write_timestamp(out, *t, io.session),
        Datum::TimestampTz(t) => datetime::write_timestamptz(out, *t, io.session),
        Datum::Interval(i) => interval::write_interval(out, i, &io.session.intervalstyle),
        Datum::Uuid(u) => bytes::write_uuid(out, u),
        Datum::Jsonb(j) => Jsonb::write(j, out),
        Datum::Array(a) if matches!(ty, DataType::INT2VECTOR | DataType::OIDVECTOR) => array::write_vector(out, a),
        Datum::Array(a) => array::write_array(out, a, io),
        Datum::Oid(oid) if ty.is_reg() => write_reg(out, ty, *oid, io),
        Datum::Oid(oid) => write_display(out, oid),
        Datum::Record(fields) => write_record(out, fields, io),
    }
}

/// `(1,"a b",)`
fn write_record(out: &mut String, fields: &[Datum], io: &Io<'_>) {
    out.push('(');
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        if field.is_null() {
            continue;
        }
        let mut text = String::new();
        write_with(field, field.natural_type(), io, &mut text);
        let quote =
            text.is_empty() || text.bytes().any(|b| matches!(b, b'"' | b'\\' | b'(' | b')' | b',') || b.is_ascii_whitespace() || b == 0x0b);
        if quote {
            out.push('"');
        }
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                out.push(c);
            }
            out.push(c);
        }
        if quote {
            out.push('"');
        }
    }
    out.push(')');
}

fn need_catalog<'a>(io: &Io<'a>, ty: DataType) -> Result<&'a dyn CatalogLookup> {
    io.catalog.ok_or_else(|| SqlError::unsupported(format!("a name as input of type {} here", ty.name())))
}

/// A plain unquoted identifier folds to lower case; a quoted one is taken as it is.
fn identifier(text: &str) -> String {
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => text.to_lowercase(),
    }
}

fn parse_reg(ty: DataType, text: &str, io: &Io<'_>) -> Result<u32> {
    let text = trim(text);
    if text == "-" {
        return Ok(0);
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return parse_oid(text, "oid");
    }
    let missing = |code, what: &str| SqlError::new(code, format!("{what} \"{text}\" does not exist"));
    match ty {
        DataType::REGCLASS => {
            need_catalog(io, ty)?.relation_oid(text, &io.session.search_path).ok_or_else(|| missing(SqlState::UNDEFINED_TABLE, "relation"))
        }
        DataType::REGTYPE => {
            let lower = if text.contains('"') { text.to_owned() } else { text.to_lowercase() };
            // Modifiers are allowed and ignored: `varchar(10)`, `timestamp(3) with time zone`.
            let bare = match (lower.find('('), lower.find(')')) {
                (Some(open), Some(close)) if open < close => format!("{}{}", lower[..open].trim_end(), &lower[close + 1..]),
                _ => lower,
            };
            DataType::from_name(&bare).map(|t| t.0).ok_or_else(|| missing(SqlState::UNDEFINED_OBJECT, "type"))
        }
        DataType::REGNAMESPACE => {
            need_catalog(io, ty)?.schema_oid(&identifier(text)).ok_or_else(|| missing(SqlState::INVALID_SCHEMA_NAME, "schema"))
        }
        DataType::REGROLE => need_catalog(io, ty)?.role_oid(&identifier(text)).ok_or_else(|| missing(SqlState::UNDEFINED_OBJECT, "role")),
        _ => {
            // Functions and operators are looked up by whoever owns their registry.
            let looked_up = need_catalog(io, ty)?.system_function(&format!("{}in", ty.typname()), &[Datum::text(text)]);
            match looked_up {
                Some(Ok(Datum::Oid(oid))) => Ok(oid),
                Some(Err(e)) => Err(e),
                _ if matches!(ty, DataType::REGOPER | DataType::REGOPERATOR) => {
                    Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {text}")))
                }
                _ => Err(missing(SqlState::UNDEFINED_FUNCTION, "function")),
            }
        }
    }
}

fn write_reg(out: &mut String, ty: DataType, oid: u32, io: &Io<'_>) {
    if oid == 0 {
        return out.push('-');
    }
    let name = match (ty, io.catalog) {
        (DataType::REGTYPE, _) => DataType(oid).info().map(|_| DataType(oid).name()),
        (DataType::REGCLASS, Some(c)) => c.relation_name(oid, &io.session.search_path),
        (DataType::REGNAMESPACE, Some(c)) => c.schema_name(oid).map(|n| quote_identifier(&n)),
        (DataType::REGROLE, Some(c)) => c.role_name(oid).map(|n| quote_identifier(&n)),
        (_, Some(c)) => match c.system_function(&format!("{}out", ty.typname()), &[Datum::Oid(oid)]) {
            Some(Ok(Datum::Text(name))) => Some(name.to_string()),
            _ => None,
        },
        (_, None) => None,
    };
    match name {
        Some(name) => out.push_str(&name),
        None => write_display(out, oid),
    }
}

/// An identifier, in quotes if it is not plain lower case (keywords are not looked at).
fn quote_identifier(name: &str) -> String {
    let plain = name.bytes().enumerate().all(|(i, b)| b.is_ascii_lowercase() || b == b'_' || (i > 0 && b.is_ascii_digit()));
    if plain && !name.is_empty() { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
