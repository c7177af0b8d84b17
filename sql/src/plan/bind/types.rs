//! Type names: `numeric(10,2)`, `timestamp(3) with time zone`, `varchar(20)[]`.

use sqlparser::ast::{self, ArrayElemTypeDef, CharacterLength, ExactNumberInfo, TimezoneInfo};

use crate::error::{Result, SqlError, SqlState};
use crate::types::{DataType, NO_TYPMOD};

/// Longest declarable `varchar`/`char`.
const MAX_CHAR_LENGTH: u64 = 10_485_760;

fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// A type and its modifier. `serial` types are not types: DDL looks for them first.
///
/// # Errors
/// `42704` for a type that does not exist, `22023` for a modifier out of range, `0A000` for types we do not have.
pub fn resolve(ty: &ast::DataType) -> Result<(DataType, i32)> {
    use ast::DataType as A;
    let plain = |t| Ok((t, NO_TYPMOD));
    match ty {
        A::Bool | A::Boolean => plain(DataType::BOOL),
        A::SmallInt(None) | A::Int2(None) => plain(DataType::INT2),
        A::Int(None) | A::Integer(None) | A::Int4(None) => plain(DataType::INT4),
        A::BigInt(None) | A::Int8(None) => plain(DataType::INT8),
        A::Real | A::Float4 => plain(DataType::FLOAT4),
        A::DoublePrecision | A::Float8 => plain(DataType::FLOAT8),
        A::Float(ExactNumberInfo::None) => plain(DataType::FLOAT8),
        A::Float(ExactNumberInfo::Precision(p)) => match p {
            0 => Err(invalid("precision for type float must be at least 1 bit".into())),
            1..=24 => plain(DataType::FLOAT4),
            25..=53 => plain(DataType::FLOAT8),
            _ => Err(invalid("precision for type float must be less than 54 bits".into())),
        },
        A::Numeric(info) | A::Decimal(info) | A::Dec(info) => numeric(info),
        A::Text => plain(DataType::TEXT),
        A::String(None) => plain(DataType::TEXT),
        A::Varchar(length) | A::CharacterVarying(length) | A::CharVarying(length) => {
            character(DataType::VARCHAR, "varchar", length.as_ref())
        }
        A::Char(length) | A::Character(length) => match length {
            None => Ok((DataType::BPCHAR, 5)),
            some => character(DataType::BPCHAR, "char", some.as_ref()),
        },
        A::Bytea => plain(DataType::BYTEA),
        A::Date => plain(DataType::DATE),
        A::Time(p, zone) => time(if zoned(zone) { DataType::TIMETZ } else { DataType::TIME }, *p),
        A::Timestamp(p, zone) => time(if zoned(zone) { DataType::TIMESTAMPTZ } else { DataType::TIMESTAMP }, *p),
        A::Interval { fields, precision } => Ok((DataType::INTERVAL, interval_typmod(fields.as_ref(), *precision))),
        A::Uuid => plain(DataType::UUID),
        A::JSON => plain(DataType::JSON),
        A::JSONB => plain(DataType::JSONB),
        A::Regclass => plain(DataType::REGCLASS),
        A::Array(ArrayElemTypeDef::SquareBracket(inner, _) | ArrayElemTypeDef::Qualified(inner, _)) => {
            // Dimensions and sizes are not part of the type.
            let (element, typmod) = resolve(inner)?;
            if element.element().is_some() && element != DataType::INT2VECTOR && element != DataType::OIDVECTOR {
                return Ok((element, typmod));
            }
            let array = element.array_type().ok_or_else(|| missing(&ty.to_string()))?;
            Ok((array, typmod))
        }
        A::Custom(name, modifiers) => custom(name, modifiers),
        other => {
            let name = other.to_string().to_lowercase();
            match name.as_str() {
                "bit" | "bit varying" | "varbit" | "point" | "line" | "box" | "path" | "polygon" | "circle" | "lseg" | "tsvector"
                | "tsquery" => Err(SqlError::unsupported(format!("type {name}"))),
                _ => Err(missing(&name)),
            }
        }
    }
}

fn missing(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}

fn zoned(zone: &TimezoneInfo) -> bool {
    matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz)
}

fn numeric(info: &ExactNumberInfo) -> Result<(DataType, i32)> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok((DataType::NUMERIC, NO_TYPMOD)),
        ExactNumberInfo::Precision(p) => (*p as i64, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (*p as i64, *s),
    };
    if !(1..=1000).contains(&precision) {
        return Err(invalid(format!("NUMERIC precision {precision} must be between 1 and 1000")));
    }
    if !(-1000..=1000).contains(&scale) {
        return Err(invalid(format!("NUMERIC scale {scale} must be between -1000 and 1000")));
    }
    Ok((DataType::NUMERIC, (((precision << 16) | (scale & 0x7ff)) + 4) as i32))
}

fn character(ty: DataType, name: &str, length: Option<&CharacterLength>) -> Result<(DataType, i32)> {
    match length {
        None => Ok((ty, NO_TYPMOD)),
        Some(CharacterLength::IntegerLength { length, .. }) => {
            if *length == 0 {
                return Err(invalid(format!("length for type {name} must be at least 1")));
            }
            if *length > MAX_CHAR_LENGTH {
                return Err(invalid(format!("length for type {name} cannot exceed {MAX_CHAR_LENGTH}")));
            }
            Ok((ty, *length as i32 + 4))
        }
        Some(CharacterLength::Max) => Err(missing("max")),
    }
}

fn time(ty: DataType, precision: Option<u64>) -> Result<(DataType, i32)> {
    // PostgreSQL reduces larger precisions to 6 with a warning.
    Ok((ty, precision.map_or(NO_TYPMOD, |p| p.min(6) as i32)))
}

/// PostgreSQL's INTERVAL_TYPMOD: fields in the upper half, precision in the lower.
pub(super) fn interval_typmod(fields: Option<&ast::IntervalFields>, precision: Option<u64>) -> i32 {
    use ast::IntervalFields as F;
    const MONTH: i32 = 1 << 1;
    const YEAR: i32 = 1 << 2;
    const DAY: i32 = 1 << 3;
    const HOUR: i32 = 1 << 10;
    const MINUTE: i32 = 1 << 11;
    const SECOND: i32 = 1 << 12;
    let precision_bits = precision.map_or(0xFFFF, |p| p.min(6) as i32);
    let range = match fields {
        None => {
            if precision.is_none() {
                return NO_TYPMOD;
            }
            0x7FFF
        }
        Some(F::Year) => YEAR,
        Some(F::Month) => MONTH,
        Some(F::Day) => DAY,
        Some(F::Hour) => HOUR,
        Some(F::Minute) => MINUTE,
        Some(F::Second) => SECOND,
        Some(F::YearToMonth) => YEAR | MONTH,
        Some(F::DayToHour) => DAY | HOUR,
        Some(F::DayToMinute) => DAY | HOUR | MINUTE,
        Some(F::DayToSecond) => DAY | HOUR | MINUTE | SECOND,
        Some(F::HourToMinute) => HOUR | MINUTE,
        Some(F::HourToSecond) => HOUR | MINUTE | SECOND,
        Some(F::MinuteToSecond) => MINUTE | SECOND,
    };
    (range << 16) | precision_bits
}

fn custom(name: &ast::ObjectName, modifiers: &[ast::TypeModifier]) -> Result<(DataType, i32)> {
    let mut parts: Vec<&ast::Ident> = name.0.iter().filter_map(|p| p.as_ident()).collect();
    if parts.len() == 2 && parts[0].value == "pg_catalog" {
        parts.remove(0);
    }
    let [ident] = parts[..] else { return Err(missing(&name.to_string())) };
    let lower = ident.value.as_str();
    // `"char"` in quotes is the one-byte type.
    let found = match lower {
        "char" if ident.quote_style.is_some() => Some(DataType::CHAR_INTERNAL),
        "name" => Some(DataType::NAME),
        "varchar" | "bpchar" if !modifiers.is_empty() => {
            let length = modifiers[0].to_string().parse().map_err(|_| invalid("invalid type modifier".into()))?;
            let ty = if lower == "varchar" { DataType::VARCHAR } else { DataType::BPCHAR };
            return character(ty, lower, Some(&CharacterLength::IntegerLength { length, unit: None }));
        }
        "numeric" if !modifiers.is_empty() => {
            let number = |n: usize| modifiers.get(n).and_then(|m| m.to_string().parse::<i64>().ok());
            let info = match (number(0), number(1)) {
                (Some(p), Some(s)) => ExactNumberInfo::PrecisionAndScale(p.max(0) as u64, s),
                (Some(p), None) => ExactNumberInfo::Precision(p.max(0) as u64),
                _ => return Err(invalid("invalid type modifier".into())),
            };
            return numeric(&info);
        }
        "timestamp" | "timestamptz" | "time" | "timetz" if !modifiers.is_empty() => {
            let ty = DataType::from_name(lower).ok_or_else(|| missing(lower))?;
            return time(ty, modifiers[0].to_string().parse().ok());
        }
        _ => DataType::from_name(lower),
    };
    match found {
        Some(_) if !modifiers.is_empty() => {
            Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("type modifier is not allowed for type \"{lower}\"")))
        }
        Some(ty) => Ok((ty, NO_TYPMOD)),
        None => match lower {
            "money" | "xml" | "inet" | "cidr" | "macaddr" | "macaddr8" | "txid_snapshot" | "pg_snapshot" | "jsonpath" | "bit"
            | "varbit" | "int4range" | "int8range" | "numrange" | "tsrange" | "tstzrange" | "daterange" | "tid" | "xid8" => {
                Err(SqlError::unsupported(format!("type {lower}")))
            }
            _ => Err(missing(lower)),
        },
    }
}
