//! The text of a query string, and positions in it.

use std::ops::Range;
use std::sync::Arc;

use sqlparser::tokenizer::{Location, Span, TokenWithSpan};

use crate::error::{SqlError, SqlState};

/// The text that statements came from; shared by all of them.
#[derive(Clone, Debug)]
pub struct Source {
    text: Arc<str>,
}

impl Source {
    /// Wraps a query string.
    pub fn new(text: &str) -> Source {
        Source { text: text.into() }
    }
    /// The whole text.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }
    /// Byte offset of a location; the end of the text if it is not in it.
    pub fn byte(&self, at: Location) -> usize {
        let mut start = 0;
        for _ in 1..at.line {
            match self.text[start..].find('\n') {
                Some(n) => start += n + 1,
                None => return self.text.len(),
            }
        }
        self.text[start..].char_indices().nth((at.column as usize).saturating_sub(1)).map_or(self.text.len(), |(n, _)| start + n)
    }
    /// The 1-based character offset of a location, as the `P` field of an error wants it. `None` for an empty span.
    pub fn position(&self, at: Location) -> Option<u32> {
        if at.line == 0 {
            return None;
        }
        let byte = self.byte(at);
        Some(self.text[..byte].chars().count() as u32 + 1)
    }
    /// The position of the operator that follows `left`: blanks and closing parentheses after it are skipped.
    pub fn position_after(&self, left: Span) -> Option<u32> {
        if left.end.line == 0 {
            return None;
        }
        let byte = self.byte(left.end);
        let skip = self.text[byte..].find(|c: char| !c.is_whitespace() && c != ')')?;
        Some(self.text[..byte + skip].chars().count() as u32 + 1)
    }
    /// Adds the position of a span's start to an error that has none.
    pub fn at(&self, error: SqlError, span: Span) -> SqlError {
        if error.more.as_ref().is_some_and(|m| m.position.is_some()) {
            return error;
        }
        match self.position(span.start) {
            Some(position) => error.position(position),
            None => error,
        }
    }
    /// `syntax error at or near "…"` at this token.
    pub fn syntax_error(&self, token: Option<&TokenWithSpan>) -> SqlError {
        match token {
            Some(token) if token.span.start.line > 0 => {
                let text = self.slice(token.span);
                // What PostgreSQL's grammar has and ours lacks is named, not called an error of the user's.
                let head = self.text[..self.byte(token.span.start)].trim_end().to_ascii_lowercase();
                let first = head.split_whitespace().next().unwrap_or_default();
                match text {
                    "" => self.syntax_error(None),
                    t if t.eq_ignore_ascii_case("exclude") && head.contains(" over ") => SqlError::unsupported("EXCLUDE in a window frame"),
                    "[" if first == "update" => SqlError::unsupported("assignment to an array element"),
                    t if t.eq_ignore_ascii_case("similar") && head.contains("substring") => SqlError::unsupported("SUBSTRING … SIMILAR"),
                    _ => self.near("syntax error", text, token.span.start),
                }
            }
            _ => SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at end of input").position(self.text.chars().count() as u32 + 1),
        }
    }
    /// `<what> at or near "…"`.
    pub fn near(&self, what: &str, text: &str, at: Location) -> SqlError {
        let error = SqlError::new(SqlState::SYNTAX_ERROR, format!("{what} at or near \"{text}\""));
        match self.position(at) {
            Some(position) => error.position(position),
            None => error,
        }
    }
    /// The text under a span.
    pub fn slice(&self, span: Span) -> &str {
        if span.start.line == 0 {
            return "";
        }
        let (start, end) = (self.byte(span.start), self.byte(span.end));
        self.text.get(start..end.max(start)).unwrap_or("")
    }
    /// The stretch of text that tokens cover.
    pub fn byte_range(&self, tokens: &[TokenWithSpan]) -> Range<usize> {
        match (tokens.first(), tokens.last()) {
            (Some(first), Some(last)) => self.byte(first.span.start)..self.byte(last.span.end),
            _ => 0..0,
        }
    }
}
