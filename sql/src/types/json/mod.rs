//! `json` and `jsonb`.
//!
//! `json` is text, validated and kept as given. `jsonb` is a value in PostgreSQL's normal form: an object's keys are unique (the
//! last one wins) and ordered by length, then bytes; numbers keep their display scale.

pub mod ops;
mod parse;
pub mod raw;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use parse::{MAX_DEPTH, parse, validate};

use super::Numeric;

/// A `jsonb` value.
#[derive(Clone, Debug)]
pub enum Jsonb {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number, never NaN or infinite.
    Number(Numeric),
    /// A string.
    String(Arc<str>),
    /// An array.
    Array(Vec<Jsonb>),
    /// An object; keys unique and ordered by [`key_order`].
    Object(Vec<(Arc<str>, Jsonb)>),
}

/// The order of keys inside an object: by length in bytes, then by bytes.
pub fn key_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

impl Jsonb {
    /// A string value.
    pub fn string(s: &str) -> Jsonb {
        Jsonb::String(Arc::from(s))
    }
    /// An object in normal form from pairs in the order they were given: the last of equal keys wins.
    pub fn object(mut pairs: Vec<(Arc<str>, Jsonb)>) -> Jsonb {
        pairs.sort_by(|a, b| key_order(&a.0, &b.0));
        let mut unique: Vec<(Arc<str>, Jsonb)> = Vec::with_capacity(pairs.len());
        for pair in pairs {
            match unique.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => unique.push(pair),
            }
        }
        Jsonb::Object(unique)
    }
    /// The value of an object's key.
    pub fn get(&self, key: &str) -> Option<&Jsonb> {
        match self {
            Jsonb::Object(pairs) => pairs.binary_search_by(|(k, _)| key_order(k, key)).ok().map(|i| &pairs[i].1),
            _ => None,
        }
    }
    /// An array's element; negative counts from the end.
    pub fn get_index(&self, index: i64) -> Option<&Jsonb> {
        match self {
            Jsonb::Array(elements) => {
                let index = if index < 0 { index + elements.len() as i64 } else { index };
                usize::try_from(index).ok().and_then(|i| elements.get(i))
            }
            Jsonb::Object(_) => None,
            // A scalar is stored as an array of one.
            scalar => (index == 0 || index == -1).then_some(scalar),
        }
    }
    /// `jsonb_typeof`
    pub fn type_name(&self) -> &'static str {
        match self {
            Jsonb::Null => "null",
            Jsonb::Bool(_) => "boolean",
            Jsonb::Number(_) => "number",
            Jsonb::String(_) => "string",
            Jsonb::Array(_) => "array",
            Jsonb::Object(_) => "object",
        }
    }
    /// Whether it is neither array nor object.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Jsonb::Array(_) | Jsonb::Object(_))
    }
    /// Approximate bytes held.
    pub fn size(&self) -> usize {
        size_of::<Jsonb>()
            + match self {
                Jsonb::Number(n) => n.size(),
                Jsonb::String(s) => s.len() + 16,
                Jsonb::Array(a) => a.iter().map(Jsonb::size).sum(),
                Jsonb::Object(o) => o.iter().map(|(k, v)| k.len() + 32 + v.size()).sum(),
                _ => 0,
            }
    }
    fn rank(&self) -> u8 {
        match self {
            Jsonb::Null => 0,
            Jsonb::String(_) => 1,
            Jsonb::Number(_) => 2,
            Jsonb::Bool(_) => 3,
            Jsonb::Array(_) => 4,
            Jsonb::Object(_) => 5,
        }
    }
    fn compare_inner(&self, other: &Jsonb) -> Ordering {
        match (self, other) {
            (Jsonb::Bool(a), Jsonb::Bool(b)) => a.cmp(b),
            (Jsonb::Number(a), Jsonb::Number(b)) => a.cmp(b),
            (Jsonb::String(a), Jsonb::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Jsonb::Array(a), Jsonb::Array(b)) => a
                .len()
                .cmp(&b.len())
                .then_with(|| a.iter().zip(b).map(|(x, y)| x.compare_inner(y)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)),
            (Jsonb::Object(a), Jsonb::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
                a.iter()
                    .zip(b)
                    .map(|((ka, va), (kb, vb))| ka.as_bytes().cmp(kb.as_bytes()).then_with(|| va.compare_inner(vb)))
                    .find(|o| o.is_ne())
                    .unwrap_or(Ordering::Equal)
            }),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl Ord for Jsonb {
    /// Object > array > boolean > number > string > null; longer above shorter. An empty array at the top sorts below every
    /// scalar: an accident of PostgreSQL's that has become part of the order.
    fn cmp(&self, other: &Self) -> Ordering {
        let empty = |j: &Jsonb| matches!(j, Jsonb::Array(a) if a.is_empty());
        match (self, other) {
            (a, b) if empty(a) && b.is_scalar() => Ordering::Less,
            (a, b) if a.is_scalar() && empty(b) => Ordering::Greater,
            (a, b) => a.compare_inner(b),
        }
    }
}

impl PartialOrd for Jsonb {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Jsonb {
    fn eq(&self, other: &Self) -> bool {
        self.compare_inner(other) == Ordering::Equal
    }
}

impl Eq for Jsonb {}

impl Hash for Jsonb {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Jsonb::Null => {}
            Jsonb::Bool(b) => b.hash(state),
            Jsonb::Number(n) => n.hash(state),
            Jsonb::String(s) => s.hash(state),
            Jsonb::Array(a) => a.hash(state),
            Jsonb::Object(o) => o.hash(state),
        }
    }
}

/// Appends a string as a JSON string literal, escaped as PostgreSQL's `escape_json` does.
pub fn write_string(out: &mut String, s: &str) {
    out.push('"');
    let mut clean = 0;
    for (i, b) in s.bytes().enumerate() {
        let escape = match b {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&s[clean..i]);
        clean = i + 1;
        if escape.is_empty() { out.push_str(&format!("\\u{b:04x}")) } else { out.push_str(escape) }
    }
    out.push_str(&s[clean..]);
    out.push('"');
}

impl Jsonb {
    /// Appends the text form: `{"a": 1, "b": [1, 2]}`.
    pub fn write(&self, out: &mut String) {
        match self {
            Jsonb::Null => out.push_str("null"),
            Jsonb::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Jsonb::Number(n) => out.push_str(&n.to_string()),
            Jsonb::String(s) => write_string(out, s),
            Jsonb::Array(a) => {
                out.push('[');
                for (i, element) in a.iter().enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    element.write(out);
                }
                out.push(']');
            }
            Jsonb::Object(o) => {
                out.push('{');
                for (i, (key, value)) in o.iter().enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    write_string(out, key);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
    /// `jsonb_pretty`
    pub fn write_pretty(&self, out: &mut String, indent: usize) {
        let line = |out: &mut String, indent: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * 4));
        };
        match self {
            Jsonb::Array(a) => {
                out.push('[');
                for (i, element) in a.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    line(out, indent + 1);
                    element.write_pretty(out, indent + 1);
                }
                line(out, indent);
                out.push(']');
            }
            Jsonb::Object(o) => {
                out.push('{');
                for (i, (key, value)) in o.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    line(out, indent + 1);
                    write_string(out, key);
                    out.push_str(": ");
                    value.write_pretty(out, indent + 1);
                }
                line(out, indent);
                out.push('}');
            }
            scalar => scalar.write(out),
        }
    }
}

impl fmt::Display for Jsonb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}
