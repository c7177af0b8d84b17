//! Equality, order and hash of values, as PostgreSQL's default operator classes define them.
//!
//! Order is that of `btree`: NaN above every number, −0 equal to 0, arrays element by element and then by shape, intervals by
//! their length with months of 30 days, `jsonb` by PostgreSQL's odd but documented rules, text by its bytes (collation `C`).
//! Values of one type only are ever compared, except that the three integer types compare with each other.
//! NULLs sort last here; operators and `NULLS FIRST` are the caller's business. Equal values hash alike.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{Array, DataType, Datum};

impl Datum {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }
    /// A `text` value.
    pub fn text(s: impl AsRef<str>) -> Datum {
        Datum::Text(Arc::from(s.as_ref()))
    }
    /// An `int2`, `int4` or `int8` as `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Datum::Int2(n) => Some(i64::from(*n)),
            Datum::Int4(n) => Some(i64::from(*n)),
            Datum::Int8(n) => Some(*n),
            _ => None,
        }
    }
    /// A `bool`.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Datum::Bool(b) => Some(*b),
            _ => None,
        }
    }
    /// The text of a string value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Datum::Text(s) | Datum::Json(s) => Some(s),
            _ => None,
        }
    }
    /// An `oid`.
    pub fn as_oid(&self) -> Option<u32> {
        match self {
            Datum::Oid(o) => Some(*o),
            _ => None,
        }
    }
    /// A `float4` or `float8` as `f64`.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Datum::Float4(f) => Some(f64::from(*f)),
            Datum::Float8(f) => Some(*f),
            _ => None,
        }
    }
    /// The type a value has when nothing else is known (fields of records): text for all strings, oid for the `reg…` types.
    pub fn natural_type(&self) -> DataType {
        match self {
            Datum::Null | Datum::Text(_) => DataType::TEXT,
            Datum::Bool(_) => DataType::BOOL,
            Datum::Int2(_) => DataType::INT2,
            Datum::Int4(_) => DataType::INT4,
            Datum::Int8(_) => DataType::INT8,
            Datum::Float4(_) => DataType::FLOAT4,
            Datum::Float8(_) => DataType::FLOAT8,
            Datum::Numeric(_) => DataType::NUMERIC,
            Datum::Char(_) => DataType::CHAR_INTERNAL,
            Datum::Bytea(_) => DataType::BYTEA,
            Datum::Date(_) => DataType::DATE,
            Datum::Time(_) => DataType::TIME,
            Datum::TimeTz(..) => DataType::TIMETZ,
            Datum::Timestamp(_) => DataType::TIMESTAMP,
            Datum::TimestampTz(_) => DataType::TIMESTAMPTZ,
            Datum::Interval(_) => DataType::INTERVAL,
            Datum::Uuid(_) => DataType::UUID,
            Datum::Json(_) => DataType::JSON,
            Datum::Jsonb(_) => DataType::JSONB,
            Datum::Array(a) => a.element.array_of(),
            Datum::Oid(_) => DataType::OID,
            Datum::Record(_) => DataType::RECORD,
            Datum::Void => DataType::VOID,
        }
    }
    /// Approximate bytes held, for memory limits.
    pub fn size(&self) -> usize {
        let heap = match self {
            Datum::Text(s) | Datum::Json(s) => s.len() + 16,
            Datum::Bytea(b) => b.len() + 16,
            Datum::Numeric(n) => n.size() + 16,
            Datum::Uuid(_) => 32,
            Datum::Jsonb(j) => j.size() + 16,
            Datum::Array(a) => 64 + a.elements.iter().map(Datum::size).sum::<usize>(),
            Datum::Record(r) => 16 + r.iter().map(Datum::size).sum::<usize>(),
            _ => 0,
        };
        size_of::<Datum>() + heap
    }

    /// The order of two values of one type; NULL above everything.
    pub fn compare(&self, other: &Datum) -> Ordering {
        use Datum::*;
        match (self, other) {
            (Int4(a), Int4(b)) => a.cmp(b),
            (Int8(a), Int8(b)) => a.cmp(b),
            (Text(a), Text(b)) | (Json(a), Json(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Bool(a), Bool(b)) => a.cmp(b),
            (Int2(a), Int2(b)) => a.cmp(b),
            (Float8(a), Float8(b)) => compare_floats(*a, *b),
            (Float4(a), Float4(b)) => compare_floats(f64::from(*a), f64::from(*b)),
            (Numeric(a), Numeric(b)) => a.cmp(b),
            (Char(a), Char(b)) => a.cmp(b),
            (Bytea(a), Bytea(b)) => a.cmp(b),
            (Date(a), Date(b)) => a.cmp(b),
            (Time(a), Time(b)) | (Timestamp(a), Timestamp(b)) | (TimestampTz(a), TimestampTz(b)) => a.cmp(b),
            (TimeTz(a, za), TimeTz(b, zb)) => timetz_key(*a, *za).cmp(&timetz_key(*b, *zb)),
            (Interval(a), Interval(b)) => a.cmp(b),
            (Uuid(a), Uuid(b)) => a.cmp(b),
            (Jsonb(a), Jsonb(b)) => a.cmp(b),
            (Array(a), Array(b)) => compare_arrays(a, b),
            (Oid(a), Oid(b)) => a.cmp(b),
            (Record(a), Record(b)) => compare_all(a, b).then(a.len().cmp(&b.len())),
            (Null, Null) | (Void, Void) => Ordering::Equal,
            (Null, _) => Ordering::Greater,
            (_, Null) => Ordering::Less,
            _ => match (self.as_i64(), other.as_i64()) {
                (Some(a), Some(b)) => a.cmp(&b),
                // Not a question SQL can ask; an order all the same, so that nothing downstream misbehaves.
                _ => self.natural_type().cmp(&other.natural_type()),
            },
        }
    }
}

/// As [`Datum::compare`], but knowing the type: `bpchar` ignores trailing blanks.
pub fn compare_typed(ty: DataType, a: &Datum, b: &Datum) -> Ordering {
    match (ty, a, b) {
        (DataType::BPCHAR, Datum::Text(a), Datum::Text(b)) => a.trim_end_matches(' ').as_bytes().cmp(b.trim_end_matches(' ').as_bytes()),
        _ => a.compare(b),
    }
}

/// PostgreSQL's order of floats.
pub fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn timetz_key(micros: i64, zone: i32) -> (i64, i32) {
    (micros + i64::from(zone) * 1_000_000, zone)
}

fn compare_all(a: &[Datum], b: &[Datum]) -> Ordering {
    a.iter().zip(b).map(|(x, y)| x.compare(y)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

fn compare_arrays(a: &Array, b: &Array) -> Ordering {
    let elements = if a.element == DataType::BPCHAR {
        a.elements.iter().zip(&b.elements).map(|(x, y)| compare_typed(a.element, x, y)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    } else {
        compare_all(&a.elements, &b.elements)
    };
    elements
        .then_with(|| a.elements.len().cmp(&b.elements.len()))
        .then_with(|| a.dims.len().cmp(&b.dims.len()))
        .then_with(|| a.dims.iter().map(|d| d.0).cmp(b.dims.iter().map(|d| d.0)))
        .then_with(|| a.dims.iter().map(|d| d.1).cmp(b.dims.iter().map(|d| d.1)))
}

impl PartialEq for Datum {
    fn eq(&self, other: &Self) -> bool {
        self.compare(other) == Ordering::Equal
    }
}

impl Eq for Datum {}

impl PartialOrd for Datum {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Datum {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare(other)
    }
}

fn float_bits(f: f64) -> u64 {
    if f.is_nan() { f64::NAN.to_bits() } else { (f + 0.0).to_bits() }
}

impl Hash for Datum {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Datum::Null | Datum::Void => state.write_u8(0),
            Datum::Bool(b) => b.hash(state),
            Datum::Int2(n) => i64::from(*n).hash(state),
            Datum::Int4(n) => i64::from(*n).hash(state),
            Datum::Int8(n) | Datum::Time(n) | Datum::Timestamp(n) | Datum::TimestampTz(n) => n.hash(state),
            Datum::Float4(f) => float_bits(f64::from(*f)).hash(state),
            Datum::Float8(f) => float_bits(*f).hash(state),
            Datum::Numeric(n) => n.hash(state),
            // Blanks at the end count only for text; leaving them out lets one hash serve `bpchar` too.
            Datum::Text(s) => s.trim_end_matches(' ').hash(state),
            Datum::Json(s) => s.hash(state),
            Datum::Char(c) => c.hash(state),
            Datum::Bytea(b) => b.hash(state),
            Datum::Date(d) => d.hash(state),
            Datum::TimeTz(t, z) => timetz_key(*t, *z).hash(state),
            Datum::Interval(i) => i.hash(state),
            Datum::Uuid(u) => u.hash(state),
            Datum::Jsonb(j) => j.hash(state),
            Datum::Array(a) => {
                a.dims.hash(state);
                a.elements.hash(state);
            }
            Datum::Oid(o) => o.hash(state),
            Datum::Record(r) => r.hash(state),
        }
    }
}
