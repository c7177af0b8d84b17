//! Casts: PostgreSQL's `pg_cast` with its contexts, the conversions by way of text, array casts, and modifiers.
//!
//! A cast to a type with a modifier is two steps, as in PostgreSQL: the conversion, then [`apply_typmod`], which cuts or rounds
//! in an explicit cast and refuses (`22001`, `22003`) in an assignment.

use std::sync::Arc;

use super::cast_table::CASTS;
use super::text_io::{Io, parse_with, write_with};
use super::{Array, DataType, Datum, Jsonb, NO_TYPMOD, Numeric, datetime, float, interval, json};
use crate::error::{Result, SqlError, SqlState};
use crate::functions::EvalContext;

/// How much a cast was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CastContext {
    /// Anywhere in an expression.
    Implicit,
    /// Storing into a column.
    Assignment,
    /// `CAST(… AS …)`, `::`
    Explicit,
}

/// How a cast is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastMethod {
    /// The value stays as it is.
    Relabel,
    /// By a conversion of its own.
    Function,
    /// By way of text.
    InOut,
    /// Element by element.
    Array(ElementCast),
}

/// [`CastMethod`] of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementCast {
    /// The elements stay as they are.
    Relabel,
    /// By a conversion of its own.
    Function,
    /// By way of text.
    InOut,
}

/// A cast found by [`find_cast`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// Source type.
    pub from: DataType,
    /// Target type.
    pub to: DataType,
    /// How it is done.
    pub method: CastMethod,
}

/// The rows of `pg_cast`: source, target, context (`i`, `a`, `e`), method (`f`, `b`, `i`).
pub fn cast_rows() -> impl Iterator<Item = (DataType, DataType, char, char)> {
    CASTS.iter().map(|c| (DataType(c.0), DataType(c.1), c.2, c.3))
}

fn table(from: DataType, to: DataType) -> Option<(CastContext, CastMethod)> {
    let at = CASTS.binary_search_by_key(&(from.0, to.0), |c| (c.0, c.1)).ok()?;
    let (_, _, context, method) = CASTS[at];
    let context = match context {
        'i' => CastContext::Implicit,
        'a' => CastContext::Assignment,
        _ => CastContext::Explicit,
    };
    let method = match method {
        'b' => CastMethod::Relabel,
        'f' => CastMethod::Function,
        _ => CastMethod::InOut,
    };
    Some((context, method))
}

/// The cast from one type to another that is allowed in `context`; None if there is none. The same type gives a relabelling.
/// `unknown` (an untyped literal that has become a value) converts to anything by way of text.
pub fn find_cast(from: DataType, to: DataType, context: CastContext) -> Option<Cast> {
    let cast = |method| Some(Cast { from, to, method });
    if from == to {
        return cast(CastMethod::Relabel);
    }
    if let Some((least, method)) = table(from, to) {
        return if context >= least { cast(method) } else { None };
    }
    if from == DataType::UNKNOWN {
        return cast(CastMethod::InOut);
    }
    if let (Some(a), Some(b)) = (from.element(), to.element()) {
        let method = match find_cast(a, b, context)?.method {
            CastMethod::Relabel => ElementCast::Relabel,
            CastMethod::Function => ElementCast::Function,
            CastMethod::InOut => ElementCast::InOut,
            CastMethod::Array(_) => return None,
        };
        return cast(CastMethod::Array(method));
    }
    // I/O conversions: to a string type by assignment, from one explicitly (category S both ways).
    let (from_s, to_s) = (from.category() == 'S', to.category() == 'S');
    let plain = |t: DataType| t.info().is_some_and(|i| i.kind == 'b') || t == DataType::RECORD || t == DataType::CSTRING;
    if (to_s && context >= CastContext::Assignment && plain(from)) || (from_s && context == CastContext::Explicit && plain(to)) {
        return cast(CastMethod::InOut);
    }
    None
}

/// Carries out a cast to a type with a modifier. `explicit`: the cast was written, so lengths cut instead of refusing.
pub fn apply_cast(cast: &Cast, value: Datum, typmod: i32, explicit: bool, cx: &mut EvalContext<'_>) -> Result<Datum> {
    cast_with(cast, value, typmod, explicit, &Io::from(&*cx))
}

/// As [`apply_cast`], with an [`Io`].
pub fn cast_with(cast: &Cast, value: Datum, typmod: i32, explicit: bool, io: &Io<'_>) -> Result<Datum> {
    if value.is_null() {
        return Ok(value);
    }
    let converted = match cast.method {
        // Integers are the same bits as oids in PostgreSQL, another value here.
        CastMethod::Relabel => match value {
            Datum::Int4(n) if cast.to.is_oid_like() => Datum::Oid(n as u32),
            value => value,
        },
        CastMethod::Function => convert(value, cast.from, cast.to, io)?,
        CastMethod::InOut => return in_out(value, cast, typmod, explicit, io),
        CastMethod::Array(method) => {
            let (Datum::Array(array), Some(from), Some(to)) = (&value, cast.from.element(), cast.to.element()) else {
                return Err(SqlError::internal("array cast of something else"));
            };
            let method = match method {
                ElementCast::Relabel => CastMethod::Relabel,
                ElementCast::Function => CastMethod::Function,
                ElementCast::InOut => CastMethod::InOut,
            };
            let element = Cast { from, to, method };
            let elements = array.elements.iter().map(|e| cast_with(&element, e.clone(), typmod, explicit, io)).collect::<Result<_>>()?;
            return Ok(Datum::Array(Arc::new(Array { element: to, dims: array.dims.clone(), elements })));
        }
    };
    if typmod == NO_TYPMOD { Ok(converted) } else { apply_typmod(cast.to, typmod, converted, explicit) }
}

fn in_out(value: Datum, cast: &Cast, typmod: i32, explicit: bool, io: &Io<'_>) -> Result<Datum> {
    let mut text = String::new();
    write_with(&value, cast.from, io, &mut text);
    if cast.to == DataType::INTERVAL {
        // Interval input reads fields by its modifier (`interval '1' year`).
        return parse_with(cast.to, typmod, &text, io);
    }
    let parsed = parse_with(cast.to, NO_TYPMOD, &text, io)?;
    if typmod == NO_TYPMOD { Ok(parsed) } else { apply_typmod(cast.to, typmod, parsed, explicit) }
}

fn out_of_range(ty: DataType) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{} out of range", ty.name()))
}

fn integer(to: DataType, n: i64) -> Result<Datum> {
    let oid = |n: i64| u32::try_from(n).map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "OID out of range"));
    Ok(match to {
        DataType::INT2 => Datum::Int2(n.try_into().map_err(|_| out_of_range(to))?),
        DataType::INT4 => Datum::Int4(n.try_into().map_err(|_| out_of_range(to))?),
        DataType::INT8 => Datum::Int8(n),
        DataType::FLOAT4 => Datum::Float4(n as f32),
        DataType::FLOAT8 => Datum::Float8(n as f64),
        DataType::NUMERIC => Datum::Numeric(Arc::new(Numeric::from(n))),
        DataType::BOOL => Datum::Bool(n != 0),
        DataType::CHAR_INTERNAL => {
            let n = i8::try_from(n).map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "\"char\" out of range"))?;
            Datum::Char(n as u8)
        }
        _ if to.is_oid_like() => Datum::Oid(oid(n)?),
        _ => return Err(no_conversion("integer", to)),
    })
}

fn no_conversion(from: &str, to: DataType) -> SqlError {
    SqlError::new(SqlState::CANNOT_COERCE, format!("cannot cast type {from} to {}", to.name()))
}

fn float_to(value: f64, single: bool, to: DataType) -> Result<Datum> {
    Ok(match to {
        DataType::INT2 => Datum::Int2(float::to_integer(value, "smallint")?),
        DataType::INT4 => Datum::Int4(float::to_integer(value, "integer")?),
        DataType::INT8 => Datum::Int8(float::to_integer(value, "bigint")?),
        DataType::FLOAT4 => Datum::Float4(float::to_f32(value)?),
        DataType::FLOAT8 => Datum::Float8(value),
        DataType::NUMERIC => Datum::Numeric(Arc::new(if single { Numeric::from_f32(value as f32) } else { Numeric::from_f64(value) })),
        _ => return Err(no_conversion("double precision", to)),
    })
}

fn numeric_to(n: &Numeric, to: DataType) -> Result<Datum> {
    let name = to.name();
    let finite_range = |infinite: bool, ty: &str| {
        if infinite && n.is_finite() {
            return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("\"{n}\" is out of range for type {ty}")));
        }
        Ok(())
    };
    Ok(match to {
        DataType::INT2 => Datum::Int2(n.to_integer(&name)?),
        DataType::INT4 => Datum::Int4(n.to_integer(&name)?),
        DataType::INT8 => Datum::Int8(n.to_integer(&name)?),
        DataType::FLOAT8 => {
            let f = n.to_f64();
            finite_range(f.is_infinite() || (f == 0.0 && !n.is_zero()), "double precision")?;
            Datum::Float8(f)
        }
        DataType::FLOAT4 => {
            let f = match n {
                Numeric::Finite(..) => float::parse_f32(&n.to_string())?,
                _ => n.to_f64() as f32,
            };
            Datum::Float4(f)
        }
        _ => return Err(no_conversion("numeric", to)),
    })
}

fn jsonb_to(j: &Jsonb, to: DataType) -> Result<Datum> {
    let cannot = || {
        let kind = match j {
            Jsonb::Null => "null",
            Jsonb::Bool(_) => "boolean",
            Jsonb::Number(_) => "numeric",
            Jsonb::String(_) => "string",
            Jsonb::Array(_) => "array",
            Jsonb::Object(_) => "object",
        };
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("cannot cast jsonb {kind} to type {}", to.name()))
    };
    match (j, to) {
        (Jsonb::Bool(b), DataType::BOOL) => Ok(Datum::Bool(*b)),
        (_, DataType::BOOL) => Err(cannot()),
        (Jsonb::Number(n), DataType::NUMERIC) => Ok(Datum::Numeric(Arc::new(n.clone()))),
        (Jsonb::Number(n), _) => numeric_to(n, to),
        _ => Err(cannot()),
    }
}

/// The conversions that `pg_cast` names a function for.
fn convert(value: Datum, from: DataType, to: DataType, io: &Io<'_>) -> Result<Datum> {
    let zone = &io.session.timezone;
    Ok(match value {
        Datum::Int2(n) => integer(to, i64::from(n))?,
        Datum::Int4(n) => integer(to, i64::from(n))?,
        Datum::Int8(n) => integer(to, n)?,
        Datum::Oid(n) => match to {
            DataType::INT4 => Datum::Int4(n as i32),
            DataType::INT8 => Datum::Int8(i64::from(n)),
            _ => Datum::Oid(n),
        },
        Datum::Float4(f) => float_to(f64::from(f), true, to)?,
        Datum::Float8(f) => float_to(f, false, to)?,
        Datum::Numeric(n) => numeric_to(&n, to)?,
        Datum::Bool(b) if to == DataType::INT4 => Datum::Int4(i32::from(b)),
        Datum::Bool(b) => Datum::text(if b { "true" } else { "false" }),
        Datum::Char(c) if to == DataType::INT4 => Datum::Int4(i32::from(c as i8)),
        Datum::Char(_) => {
            let mut text = String::new();
            write_with(&value, from, io, &mut text);
            Datum::text(text)
        }
        Datum::Text(ref s) => match to {
            DataType::CHAR_INTERNAL | DataType::NAME => parse_with(to, NO_TYPMOD, trimmed_if_bpchar(s, from), io)?,
            DataType::REGCLASS => parse_with(to, NO_TYPMOD, s, io)?,
            // `bpchar` loses its padding on the way to `text`.
            DataType::TEXT | DataType::VARCHAR => Datum::text(trimmed_if_bpchar(s, from)),
            _ => value,
        },
        Datum::Jsonb(j) => jsonb_to(&j, to)?,
        Datum::Date(d) if to == DataType::TIMESTAMP => Datum::Timestamp(datetime::date_to_timestamp(d)?),
        Datum::Date(d) => Datum::TimestampTz(datetime::timestamp_to_timestamptz(datetime::date_to_timestamp(d)?, zone)?),
        Datum::Time(t) if to == DataType::INTERVAL => Datum::Interval(interval::Interval { months: 0, days: 0, micros: t }),
        Datum::Time(t) if to == DataType::TIMETZ => Datum::TimeTz(t, datetime::current_zone_offset(io)?),
        Datum::TimeTz(t, _) if to == DataType::TIME => Datum::Time(t),
        Datum::Interval(i) if to == DataType::TIME => Datum::Time(i.micros.rem_euclid(datetime::MICROS_PER_DAY)),
        Datum::Timestamp(t) => match to {
            DataType::DATE => Datum::Date(datetime::timestamp_to_date(t)?),
            DataType::TIME => timestamp_to_time(t),
            DataType::TIMESTAMPTZ => Datum::TimestampTz(datetime::timestamp_to_timestamptz(t, zone)?),
            _ => value,
        },
        Datum::TimestampTz(t) => match to {
            DataType::DATE => Datum::Date(datetime::timestamp_to_date(datetime::timestamptz_to_timestamp(t, zone)?)?),
            DataType::TIME => timestamp_to_time(datetime::timestamptz_to_timestamp(t, zone)?),
            DataType::TIMETZ if !datetime::is_finite(t) => Datum::Null,
            DataType::TIMETZ => {
                let local = datetime::timestamptz_to_timestamp(t, zone)?;
                Datum::TimeTz(local.rem_euclid(datetime::MICROS_PER_DAY), ((t - local) / 1_000_000) as i32)
            }
            DataType::TIMESTAMP => Datum::Timestamp(datetime::timestamptz_to_timestamp(t, zone)?),
            _ => value,
        },
        Datum::Json(ref s) if to == DataType::JSONB => Datum::Jsonb(Arc::new(json::parse(s)?)),
        other => other,
    })
}

fn timestamp_to_time(t: i64) -> Datum {
    if datetime::is_finite(t) { Datum::Time(t.rem_euclid(datetime::MICROS_PER_DAY)) } else { Datum::Null }
}

fn trimmed_if_bpchar(s: &str, from: DataType) -> &str {
    if from == DataType::BPCHAR { s.trim_end_matches(' ') } else { s }
}

/// Applies a modifier to a value already of the type. `explicit`: cut to length instead of refusing.
pub fn apply_typmod(ty: DataType, typmod: i32, value: Datum, explicit: bool) -> Result<Datum> {
    if typmod < 0 || value.is_null() {
        return Ok(value);
    }
    Ok(match (ty, value) {
        (DataType::VARCHAR, Datum::Text(s)) => Datum::Text(limit_length(s, typmod - 4, explicit, "character varying")?),
        (DataType::BPCHAR, Datum::Text(s)) => Datum::Text(pad(limit_length(s, typmod - 4, explicit, "character")?, typmod - 4)),
        (DataType::NUMERIC, Datum::Numeric(n)) => {
            let n = Arc::unwrap_or_clone(n);
            Datum::Numeric(Arc::new(n.apply_typmod(typmod)?))
        }
        (DataType::TIME, Datum::Time(t)) => Datum::Time(datetime::round_micros(t, typmod)),
        (DataType::TIMETZ, Datum::TimeTz(t, zone)) => Datum::TimeTz(datetime::round_micros(t, typmod), zone),
        (DataType::TIMESTAMP, Datum::Timestamp(t)) => Datum::Timestamp(datetime::round_timestamp(t, typmod)?),
        (DataType::TIMESTAMPTZ, Datum::TimestampTz(t)) => Datum::TimestampTz(datetime::round_timestamp(t, typmod)?),
        (DataType::INTERVAL, Datum::Interval(i)) => Datum::Interval(interval::apply_typmod(i, typmod)?),
        (_, Datum::Array(a)) if ty.element().is_some() => {
            let elements = a.elements.iter().map(|e| apply_typmod(a.element, typmod, e.clone(), explicit)).collect::<Result<_>>()?;
            Datum::Array(Arc::new(Array { element: a.element, dims: a.dims.clone(), elements }))
        }
        (_, value) => value,
    })
}

fn limit_length(s: Arc<str>, limit: i32, explicit: bool, ty: &str) -> Result<Arc<str>> {
    let limit = limit.max(0) as usize;
    if s.len() <= limit {
        return Ok(s);
    }
    let Some((end, _)) = s.char_indices().nth(limit) else { return Ok(s) };
    if !explicit && !s[end..].bytes().all(|b| b == b' ') {
        return Err(SqlError::new(SqlState::STRING_DATA_RIGHT_TRUNCATION, format!("value too long for type {ty}({limit})")));
    }
    Ok(Arc::from(&s[..end]))
}

fn pad(s: Arc<str>, length: i32) -> Arc<str> {
    let missing = (length.max(0) as usize).saturating_sub(s.chars().count());
    if missing == 0 { s } else { Arc::from(format!("{s}{}", " ".repeat(missing))) }
}
