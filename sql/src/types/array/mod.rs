//! Arrays: text forms, and the operations on them.

pub mod ops;

use super::text_io::{Io, parse_integer, parse_with, write_with};
use super::{Array, DataType, Datum};
use crate::error::{Result, SqlError, SqlState};

/// Most dimensions an array may have.
pub const MAX_DIMENSIONS: usize = 6;
/// Most elements an array may have (PostgreSQL's `MaxArraySize` for 64-bit datums).
pub const MAX_ELEMENTS: usize = 134_217_727;

impl Array {
    /// A one-dimensional array with lower bound 1; `{}` when there are no elements.
    pub fn vector(element: DataType, elements: Vec<Datum>) -> Array {
        let dims = if elements.is_empty() { vec![] } else { vec![(elements.len() as i32, 1)] };
        Array { element, dims, elements }
    }
    /// `{}`
    pub fn empty(element: DataType) -> Array {
        Array { element, dims: vec![], elements: vec![] }
    }
}

fn malformed(text: &str, detail: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\"")).detail(detail)
}

fn too_many_dimensions(n: usize) -> SqlError {
    SqlError::new(
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        format!("number of array dimensions ({n}) exceeds the maximum allowed ({MAX_DIMENSIONS})"),
    )
}

pub(crate) fn too_large() -> SqlError {
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("array size exceeds the maximum allowed ({MAX_ELEMENTS})"))
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

enum Item {
    Open,
    Close,
    Comma,
    Element(String),
    Null,
    End,
}

impl Reader<'_> {
    fn skip(&mut self) {
        while self.text.as_bytes().get(self.at).is_some_and(|b| is_space(*b)) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Result<Item> {
        self.skip();
        let bytes = self.text.as_bytes();
        let Some(&first) = bytes.get(self.at) else { return Ok(Item::End) };
        let single = match first {
            b'{' => Item::Open,
            b'}' => Item::Close,
            b',' => Item::Comma,
            b'"' => return self.quoted(),
            _ => return self.bare(),
        };
        self.at += 1;
        Ok(single)
    }

    fn quoted(&mut self) -> Result<Item> {
        let bytes = self.text.as_bytes();
        let mut out = Vec::new();
        self.at += 1;
        loop {
            match bytes.get(self.at) {
                None => return Err(malformed(self.text, "Unexpected end of input.")),
                Some(b'"') => break,
                Some(b'\\') => {
                    let Some(&escaped) = bytes.get(self.at + 1) else { return Err(malformed(self.text, "Unexpected end of input.")) };
                    out.push(escaped);
                    self.at += 2;
                }
                Some(&b) => {
                    out.push(b);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        self.skip();
        match bytes.get(self.at) {
            None | Some(b',' | b'}') => Ok(Item::Element(String::from_utf8_lossy(&out).into_owned())),
            Some(_) => Err(malformed(self.text, "Incorrectly quoted array element.")),
        }
    }

    fn bare(&mut self) -> Result<Item> {
        let bytes = self.text.as_bytes();
        let mut out = Vec::new();
        let mut keep = 0;
        let mut escaped_any = false;
        loop {
            match bytes.get(self.at) {
                None => return Err(malformed(self.text, "Unexpected end of input.")),
                Some(b',' | b'}') => break,
                Some(b'{') => return Err(malformed(self.text, "Unexpected \"{\" character.")),
                Some(b'"') => return Err(malformed(self.text, "Incorrectly quoted array element.")),
                Some(b'\\') => {
                    let Some(&b) = bytes.get(self.at + 1) else { return Err(malformed(self.text, "Unexpected end of input.")) };
                    out.push(b);
                    keep = out.len();
                    escaped_any = true;
                    self.at += 2;
                }
                Some(&b) => {
                    out.push(b);
                    if !is_space(b) {
                        keep = out.len();
                    }
                    self.at += 1;
                }
            }
        }
        out.truncate(keep);
        let text = String::from_utf8_lossy(&out).into_owned();
        Ok(if !escaped_any && text.eq_ignore_ascii_case("null") { Item::Null } else { Item::Element(text) })
    }

    /// `[l:u]…=` in front of the braces.
    fn bounds(&mut self) -> Result<Option<Vec<(i32, i32)>>> {
        let mut dims = Vec::new();
        loop {
            self.skip();
            if self.text.as_bytes().get(self.at) != Some(&b'[') {
                break;
            }
            if dims.len() == MAX_DIMENSIONS {
                return Err(too_many_dimensions(dims.len() + 1));
            }
            let Some(close) = self.text[self.at..].find(']').map(|i| i + self.at) else {
                return Err(malformed(self.text, "Missing \"]\" after array dimensions."));
            };
            let inner = &self.text[self.at + 1..close];
            let bound = |s: &str| {
                s.trim().parse::<i32>().map_err(|_| malformed(self.text, "\"[\" must introduce explicitly-specified array dimensions."))
            };
            let (lower, upper) = match inner.split_once(':') {
                Some((l, u)) => (bound(l)?, bound(u)?),
                None => (1, bound(inner)?),
            };
            if upper < lower {
                return Err(SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "upper bound cannot be less than lower bound"));
            }
            let length = i64::from(upper) - i64::from(lower) + 1;
            dims.push((i32::try_from(length).map_err(|_| too_large())?, lower));
            self.at = close + 1;
        }
        if dims.is_empty() {
            return Ok(None);
        }
        if self.text.as_bytes().get(self.at) != Some(&b'=') {
            return Err(malformed(self.text, "Missing \"=\" after array dimensions."));
        }
        self.at += 1;
        Ok(Some(dims))
    }
}

/// Reads the text form of an array of `element`.
pub fn parse_array(element: DataType, typmod: i32, text: &str, io: &Io<'_>) -> Result<Array> {
    let mut reader = Reader { text, at: 0 };
    let given = reader.bounds()?;
    reader.skip();
    if text.as_bytes().get(reader.at) != Some(&b'{') {
        return Err(malformed(
            text,
            if given.is_some() {
                "Array contents must start with \"{\"."
            } else {
                "Array value must start with \"{\" or dimension information."
            },
        ));
    }
    let mut elements = Vec::new();
    // Length of each level once known, and the count inside each open brace.
    let mut lengths: Vec<Option<i32>> = Vec::new();
    let mut counts: Vec<i32> = Vec::new();
    let mut leaf_depth: Option<usize> = None;
    let mut after_item = false;
    let mut after_comma = false;
    let mismatch = || malformed(text, "Multidimensional arrays must have sub-arrays with matching dimensions.");
    loop {
        let item = reader.next()?;
        match item {
            Item::Open => {
                if after_item {
                    return Err(malformed(text, "Unexpected \"{\" character."));
                }
                if leaf_depth.is_some_and(|d| counts.len() + 1 > d) {
                    return Err(mismatch());
                }
                if counts.len() == MAX_DIMENSIONS {
                    return Err(too_many_dimensions(counts.len() + 1));
                }
                counts.push(0);
                if lengths.len() < counts.len() {
                    lengths.push(None);
                }
                after_comma = false;
            }
            Item::Close => {
                if after_comma {
                    return Err(malformed(text, "Unexpected \"}\" character."));
                }
                if counts.len() > 1 && counts.last() == Some(&0) {
                    return Err(malformed(text, "Unexpected \"}\" character."));
                }
                let Some(count) = counts.pop() else { return Err(malformed(text, "Unexpected \"}\" character.")) };
                let level = counts.len();
                match lengths[level] {
                    Some(length) if length != count => return Err(mismatch()),
                    _ => lengths[level] = Some(count),
                }
                match counts.last_mut() {
                    Some(outer) => *outer += 1,
                    None => break,
                }
                after_item = true;
            }
            Item::Comma => {
                if !after_item {
                    return Err(malformed(text, "Unexpected \",\" character."));
                }
                after_item = false;
                after_comma = true;
            }
            Item::Element(_) | Item::Null => {
                if after_item {
                    return Err(malformed(text, "Unexpected array element."));
                }
                match leaf_depth {
                    Some(depth) if depth != counts.len() => return Err(mismatch()),
                    _ => leaf_depth = Some(counts.len()),
                }
                if elements.len() >= MAX_ELEMENTS {
                    return Err(too_large());
                }
                elements.push(match item {
                    Item::Element(s) => parse_with(element, typmod, &s, io)?,
                    _ => Datum::Null,
                });
                if let Some(count) = counts.last_mut() {
                    *count += 1;
                }
                after_item = true;
                after_comma = false;
            }
            Item::End => return Err(malformed(text, "Unexpected end of input.")),
        }
    }
    reader.skip();
    if reader.at < text.len() {
        return Err(malformed(text, "Junk after closing right brace."));
    }
    if elements.is_empty() {
        return Ok(Array::empty(element));
    }
    let lengths: Vec<i32> = lengths.into_iter().map(|l| l.unwrap_or(0)).collect();
    let dims = match given {
        None => lengths.into_iter().map(|n| (n, 1)).collect(),
        Some(given) => {
            if given.iter().map(|d| d.0).ne(lengths) {
                return Err(malformed(text, "Specified array dimensions do not match array contents."));
            }
            given
        }
    };
    Ok(Array { element, dims, elements })
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case("null")
        || text.bytes().any(|b| matches!(b, b'"' | b'\\' | b'{' | b'}' | b',') || is_space(b))
}

/// Appends the text form of an array.
pub fn write_array(out: &mut String, array: &Array, io: &Io<'_>) {
    if array.elements.is_empty() {
        return out.push_str("{}");
    }
    if array.dims.iter().any(|d| d.1 != 1) {
        for (length, lower) in &array.dims {
            out.push_str(&format!("[{}:{}]", lower, i64::from(*lower) + i64::from(*length) - 1));
        }
        out.push('=');
    }
    let lengths: Vec<usize> = array.dims.iter().map(|d| d.0 as usize).collect();
    let mut text = String::new();
    for (i, element) in array.elements.iter().enumerate() {
        // Braces open where an index of that depth is at its start, and close where it is at its end.
        let mut stride = 1;
        let opened = lengths
            .iter()
            .rev()
            .take_while(|n| {
                stride *= **n;
                i % stride == 0
            })
            .count();
        if i > 0 {
            out.push(',');
        }
        out.extend(std::iter::repeat_n('{', opened));
        if element.is_null() {
            out.push_str("NULL");
        } else {
            text.clear();
            write_with(element, array.element, io, &mut text);
            if needs_quotes(&text) {
                out.push('"');
                for c in text.chars() {
                    if matches!(c, '"' | '\\') {
                        out.push('\\');
                    }
                    out.push(c);
                }
                out.push('"');
            } else {
                out.push_str(&text);
            }
        }
        let mut stride = 1;
        let closed = lengths
            .iter()
            .rev()
            .take_while(|n| {
                stride *= **n;
                (i + 1) % stride == 0
            })
            .count();
        out.extend(std::iter::repeat_n('}', closed));
    }
}

/// Reads `int2vector` or `oidvector`: numbers with blanks between; the lower bound is 0.
pub fn parse_vector(ty: DataType, text: &str) -> Result<Datum> {
    let mut elements = Vec::new();
    for word in text.split_ascii_whitespace() {
        elements.push(if ty == DataType::INT2VECTOR {
            Datum::Int2(parse_integer(word, "smallint")?)
        } else {
            Datum::Oid(parse_integer::<u32>(word, "oid")?)
        });
    }
    let element = if ty == DataType::INT2VECTOR { DataType::INT2 } else { DataType::OID };
    let dims = vec![(elements.len() as i32, 0)];
    Ok(Datum::Array(std::sync::Arc::new(Array { element, dims, elements })))
}

/// Appends an `int2vector` or `oidvector`.
pub fn write_vector(out: &mut String, array: &Array) {
    for (i, element) in array.elements.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        match element {
            Datum::Int2(n) => out.push_str(&n.to_string()),
            Datum::Oid(n) => out.push_str(&n.to_string()),
            _ => {}
        }
    }
}
