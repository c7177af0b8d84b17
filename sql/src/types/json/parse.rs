//! JSON text: validation, and reading into [`Jsonb`], with PostgreSQL's messages.

use std::sync::Arc;

use super::Jsonb;
use crate::error::{Result, SqlError, SqlState};
use crate::types::Numeric;

/// Deepest nesting accepted; beyond it `54001`.
pub const MAX_DEPTH: usize = 1500;

/// Checks `json` input.
pub fn validate(text: &str) -> Result<()> {
    Parser { text, at: 0, token: 0, depth: 0, build: false }.document().map(|_| ())
}

/// Reads `jsonb` input into normal form.
pub fn parse(text: &str) -> Result<Jsonb> {
    Parser { text, at: 0, token: 0, depth: 0, build: true }.document()
}

struct Parser<'a> {
    text: &'a str,
    /// Next byte to read.
    at: usize,
    /// Start of the token being read, for messages.
    token: usize,
    depth: usize,
    /// Whether values are wanted, or validity only.
    build: bool,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.token = self.at;
        bytes.get(self.at).copied()
    }

    fn error(&self, code: SqlState, message: &str, detail: String, end: usize) -> SqlError {
        // The line up to the offending token, at most about 50 bytes of it.
        let line_start = self.text[..self.token].rfind('\n').map_or(0, |i| i + 1);
        let line = self.text[..self.token].matches('\n').count() + 1;
        let end = self.ceil_boundary(end);
        let mut start = line_start;
        while end - start >= 50 {
            start += self.text[start..].chars().next().map_or(1, char::len_utf8);
        }
        // "..." would be no shorter than what it stands for.
        if start - line_start <= 3 {
            start = line_start;
        }
        let prefix = if start > line_start { "..." } else { "" };
        let suffix = match self.text.as_bytes().get(end) {
            None | Some(b'\n' | b'\r') => "",
            _ => "...",
        };
        let mut error = SqlError::new(code, message).detail(detail);
        if let Some(more) = error.more.as_mut() {
            more.context = Some(format!("JSON data, line {line}: {prefix}{}{suffix}", &self.text[start..end]));
        }
        error
    }

    fn ceil_boundary(&self, mut at: usize) -> usize {
        at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at += 1;
        }
        at
    }

    fn syntax(&self, detail: String, end: usize) -> SqlError {
        self.error(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json", detail, end)
    }

    /// End of the run of letters, digits, `_` and non-ASCII bytes at the token: what PostgreSQL calls a bad token.
    fn word_end(&self) -> usize {
        let bytes = self.text.as_bytes();
        let mut end = self.token;
        while bytes.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80) {
            end += 1;
        }
        end.max(self.ceil_boundary((self.token + 1).min(bytes.len())))
    }

    fn expected(&mut self, what: &str) -> SqlError {
        let Some(first) = self.peek() else { return self.syntax("The input string ended unexpectedly.".into(), self.text.len()) };
        // A token that is itself malformed is reported as such.
        let end = match first {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => self.token + 1,
            b'"' => match self.string() {
                Ok(_) => self.at,
                Err(e) => return e,
            },
            b'-' | b'0'..=b'9' => match self.number() {
                Ok(_) => self.at,
                Err(e) => return e,
            },
            _ => {
                let end = self.word_end();
                if !matches!(&self.text[self.token..end], "true" | "false" | "null") {
                    return self.invalid_token(end);
                }
                end
            }
        };
        self.syntax(format!("Expected {what}, but found \"{}\".", &self.text[self.token..end]), end)
    }

    fn invalid_token(&self, end: usize) -> SqlError {
        self.syntax(format!("Token \"{}\" is invalid.", &self.text[self.token..end]), end)
    }

    fn document(mut self) -> Result<Jsonb> {
        let value = self.value("JSON value")?;
        if self.peek().is_some() {
            return Err(self.expected("end of input"));
        }
        Ok(value)
    }

    fn value(&mut self, what: &str) -> Result<Jsonb> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => {
                let s = self.string()?;
                Ok(if self.build { Jsonb::String(Arc::from(s)) } else { Jsonb::Null })
            }
            Some(b'-' | b'0'..=b'9') => {
                let text = self.number()?;
                Ok(if self.build { Jsonb::Number(Numeric::parse(text)?) } else { Jsonb::Null })
            }
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..) => {
                let end = self.word_end();
                let value = match &self.text[self.token..end] {
                    "true" => Jsonb::Bool(true),
                    "false" => Jsonb::Bool(false),
                    "null" => Jsonb::Null,
                    _ => return Err(self.invalid_token(end)),
                };
                self.at = end;
                Ok(value)
            }
            _ => Err(self.expected(what)),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Jsonb>) -> Result<Jsonb> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
                .hint(format!("JSON values may be nested at most {MAX_DEPTH} deep.")));
        }
        self.at += 1;
        let value = inner(self);
        self.depth -= 1;
        value
    }

    fn array(&mut self) -> Result<Jsonb> {
        let mut elements = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Jsonb::Array(elements));
        }
        loop {
            let what = if elements.is_empty() { "array element or \"]\"" } else { "JSON value" };
            let element = self.value(what)?;
            if self.build {
                elements.push(element);
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Jsonb::Array(elements));
                }
                _ => return Err(self.expected("\",\" or \"]\"")),
            }
        }
    }

    fn object(&mut self) -> Result<Jsonb> {
        let mut pairs = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Jsonb::Object(pairs));
        }
        let mut what = "string or \"}\"";
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.expected(what));
            }
            what = "string";
            let key = self.string()?;
            if self.peek() != Some(b':') {
                return Err(self.expected("\":\""));
            }
            self.at += 1;
            let value = self.value("JSON value")?;
            if self.build {
                pairs.push((Arc::from(key), value));
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(if self.build { Jsonb::object(pairs) } else { Jsonb::Null });
                }
                _ => return Err(self.expected("\",\" or \"}\"")),
            }
        }
    }

    fn number(&mut self) -> Result<&'a str> {
        let bytes = self.text.as_bytes();
        let start = self.token;
        let mut i = start + usize::from(bytes[start] == b'-');
        let digits = |mut i: usize| {
            while bytes.get(i).is_some_and(u8::is_ascii_digit) {
                i += 1;
            }
            i
        };
        let mut ok = true;
        i = match bytes.get(i) {
            Some(b'0') => i + 1,
            Some(b'1'..=b'9') => digits(i),
            _ => {
                ok = false;
                i
            }
        };
        if bytes.get(i) == Some(&b'.') {
            let end = digits(i + 1);
            ok &= end > i + 1;
            i = end;
        }
        if matches!(bytes.get(i), Some(b'e' | b'E')) {
            let sign = i + 1 + usize::from(matches!(bytes.get(i + 1), Some(b'+' | b'-')));
            let end = digits(sign);
            ok &= end > sign;
            i = end;
        }
        // Letters or digits glued on make the whole a bad token.
        let glued = i;
        while bytes.get(i).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80) {
            i += 1;
        }
        if !ok || i > glued {
            let end = self.ceil_boundary(i.max(start + 1));
            return Err(self.invalid_token(end));
        }
        self.at = i;
        Ok(&self.text[start..i])
    }

    /// Reads the string at the token; empty when only validity is wanted.
    fn string(&mut self) -> Result<String> {
        let bytes = self.text.as_bytes();
        let mut out = String::new();
        let mut i = self.token + 1;
        let mut clean = i;
        let mut high: Option<u32> = None;
        let surrogate = |detail: &str| (SqlState::INVALID_TEXT_REPRESENTATION, detail.to_owned());
        loop {
            let Some(&b) = bytes.get(i) else {
                return Err(self.invalid_token(self.text.len()));
            };
            if b != b'\\' && high.is_some() {
                let (_, detail) = surrogate("Unicode low surrogate must follow a high surrogate.");
                return Err(self.syntax(detail, i));
            }
            match b {
                b'"' => break,
                0..=0x1f => return Err(self.syntax(format!("Character with value 0x{b:02x} must be escaped."), i)),
                b'\\' => {
                    if self.build {
                        out.push_str(&self.text[clean..i]);
                    }
                    let Some(&e) = bytes.get(i + 1) else { return Err(self.invalid_token(self.text.len())) };
                    i += 2;
                    if high.is_some() && e != b'u' {
                        return Err(self.syntax("Unicode low surrogate must follow a high surrogate.".into(), i));
                    }
                    let c = match e {
                        b'u' => {
                            let hex = self.text.get(i..i + 4).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
                            let Some(hex) = hex else {
                                let end = self.ceil_boundary(i + 1);
                                return Err(self.syntax("\"\\u\" must be followed by four hexadecimal digits.".into(), end));
                            };
                            i += 4;
                            let unit = u32::from_str_radix(hex, 16).unwrap_or(0);
                            if self.build { self.unicode(unit, &mut high, i)? } else { None }
                        }
                        b'"' | b'\\' | b'/' => Some(e as char),
                        b'b' => Some('\u{8}'),
                        b'f' => Some('\u{c}'),
                        b'n' => Some('\n'),
                        b'r' => Some('\r'),
                        b't' => Some('\t'),
                        _ => {
                            let end = self.ceil_boundary(i);
                            return Err(self.syntax(format!("Escape sequence \"{}\" is invalid.", &self.text[i - 2..end]), end));
                        }
                    };
                    if let (Some(c), true) = (c, self.build) {
                        out.push(c);
                    }
                    clean = i;
                    continue;
                }
                _ => {}
            }
            i += 1;
        }
        if self.build {
            out.push_str(&self.text[clean..i]);
        }
        self.at = i + 1;
        Ok(out)
    }

    /// One `\uXXXX` unit: a character, or the first half of a pair.
    fn unicode(&self, unit: u32, high: &mut Option<u32>, end: usize) -> Result<Option<char>> {
        let bad = |detail: &str| Err(self.syntax(detail.to_owned(), end));
        match (unit, high.take()) {
            (0xd800..=0xdbff, None) => {
                *high = Some(unit);
                Ok(None)
            }
            (0xd800..=0xdbff, Some(_)) => bad("Unicode high surrogate must not follow a high surrogate."),
            (0xdc00..=0xdfff, Some(h)) => Ok(char::from_u32(0x10000 + ((h - 0xd800) << 10) + (unit - 0xdc00))),
            (0xdc00..=0xdfff, None) | (_, Some(_)) => bad("Unicode low surrogate must follow a high surrogate."),
            (0, None) => Err(self.error(
                SqlState::UNTRANSLATABLE_CHARACTER,
                "unsupported Unicode escape sequence",
                "\\u0000 cannot be converted to text.".into(),
                end,
            )),
            (_, None) => Ok(char::from_u32(unit)),
        }
    }
}
