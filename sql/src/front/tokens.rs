//! A reader over tokens, for the statements we parse ourselves.

use sqlparser::ast::{self, Ident, ObjectName, ObjectNamePart};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::lex::DIALECT;
use super::source::Source;
use super::{MAX_DEPTH, too_deep};
use crate::error::Result;

/// Tokens of one statement and a place in them. All words given to its methods are lower case.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub source: &'a Source,
    pub tokens: &'a [TokenWithSpan],
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a Source, tokens: &'a [TokenWithSpan]) -> Self {
        Reader { source, tokens, at: 0 }
    }
    pub fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|t| &t.token)
    }
    /// The unquoted word `n` tokens ahead.
    pub fn word_at(&self, n: usize) -> Option<&'a str> {
        match self.tokens.get(self.at + n).map(|t| &t.token) {
            Some(Token::Word(w)) if w.quote_style.is_none() => Some(w.value.as_str()),
            _ => None,
        }
    }
    pub fn word(&self) -> Option<&'a str> {
        self.word_at(0)
    }
    pub fn rest(&self) -> &'a [TokenWithSpan] {
        self.tokens.get(self.at..).unwrap_or(&[])
    }
    pub fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }
    /// Takes these words if they come next.
    pub fn accept(&mut self, words: &[&str]) -> bool {
        if words.iter().enumerate().all(|(n, w)| self.word_at(n) == Some(w)) {
            self.at += words.len();
            return true;
        }
        false
    }
    pub fn accept_token(&mut self, token: &Token) -> bool {
        if self.peek() == Some(token) {
            self.at += 1;
            return true;
        }
        false
    }
    /// The syntax error at the next token.
    pub fn error<T>(&self) -> Result<T> {
        Err(self.source.syntax_error(self.tokens.get(self.at)))
    }
    pub fn expect(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.accept(&[word]) {
                return self.error();
            }
        }
        Ok(())
    }
    pub fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.accept_token(token) { Ok(()) } else { self.error() }
    }
    pub fn end(&self) -> Result<()> {
        if self.done() { Ok(()) } else { self.error() }
    }
    pub fn name(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(w)) => {
                self.at += 1;
                Ok(w.value.clone())
            }
            _ => self.error(),
        }
    }
    pub fn names(&mut self) -> Result<Vec<String>> {
        let mut out = vec![self.name()?];
        while self.accept_token(&Token::Comma) {
            out.push(self.name()?);
        }
        Ok(out)
    }
    pub fn object_name(&mut self) -> Result<ObjectName> {
        let mut parts = Vec::new();
        loop {
            match self.tokens.get(self.at) {
                Some(TokenWithSpan { token: Token::Word(w), span }) => {
                    self.at += 1;
                    parts.push(ObjectNamePart::Identifier(Ident { value: w.value.clone(), quote_style: w.quote_style, span: *span }));
                }
                _ => return self.error(),
            }
            if !self.accept_token(&Token::Period) {
                return Ok(ObjectName(parts));
            }
        }
    }
    pub fn object_names(&mut self) -> Result<Vec<ObjectName>> {
        let mut out = vec![self.object_name()?];
        while self.accept_token(&Token::Comma) {
            out.push(self.object_name()?);
        }
        Ok(out)
    }
    pub fn string(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s) | Token::UnicodeStringLiteral(s)) => {
                self.at += 1;
                Ok(s.clone())
            }
            Some(Token::DollarQuotedString(s)) => {
                self.at += 1;
                Ok(s.value.clone())
            }
            _ => self.error(),
        }
    }
    /// A signed integer.
    pub fn integer(&mut self) -> Result<i64> {
        let start = self.at;
        let negative = self.accept_token(&Token::Minus);
        if !negative {
            self.accept_token(&Token::Plus);
        }
        if let Some(Token::Number(text, _)) = self.peek() {
            // As one text: i64::MIN has no positive counterpart.
            let signed = if negative { format!("-{text}") } else { text.clone() };
            if let Ok(value) = signed.parse() {
                self.at += 1;
                return Ok(value);
            }
        }
        self.at = start;
        self.error()
    }
    /// The tokens of a parenthesised list whose `(` is next, without the parentheses.
    pub fn parenthesised(&mut self) -> Result<&'a [TokenWithSpan]> {
        self.expect_token(&Token::LParen)?;
        let start = self.at;
        let mut depth = 1;
        while let Some(token) = self.peek() {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(&self.tokens[start..self.at - 1]);
            }
        }
        self.error()
    }
    /// Hands the tokens from here on to sqlparser; moves past what it used.
    pub fn with_parser<T>(&mut self, parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>) -> Result<T> {
        let mut parser = parser(self.rest().to_vec());
        let result = parse(&mut parser);
        match result {
            Ok(value) => {
                self.at += parser.index().min(self.rest().len());
                Ok(value)
            }
            Err(error) => Err(parser_error(self.source, self.rest(), &parser, &error)),
        }
    }
    pub fn expr(&mut self) -> Result<ast::Expr> {
        self.with_parser(|p| p.parse_expr())
    }
    pub fn data_type(&mut self) -> Result<ast::DataType> {
        self.with_parser(|p| p.parse_data_type())
    }
}

pub(super) fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    // Each level of nesting takes several guarded calls; the depth itself was checked before.
    Parser::new(&DIALECT).with_recursion_limit(MAX_DEPTH * 12).with_tokens_with_locations(tokens)
}

/// sqlparser's words → PostgreSQL's.
pub(super) fn parser_error(source: &Source, tokens: &[TokenWithSpan], parser: &Parser<'_>, error: &ParserError) -> crate::error::SqlError {
    let message = match error {
        ParserError::RecursionLimitExceeded => return too_deep(),
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
    };
    if message.contains("found: EOF") {
        return source.syntax_error(None);
    }
    // "Expected: …, found: x at Line: 1, Column: 5"
    let number = |key: &str| {
        message.rsplit_once(key).and_then(|(_, rest)| rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok())
    };
    let token = match (number("Line:"), number("Column:")) {
        (Some(line), Some(column)) => tokens.iter().find(|t| t.span.start.line == line && t.span.start.column == column),
        _ => tokens.get(parser.index().saturating_sub(1)),
    };
    source.syntax_error(token.or_else(|| tokens.get(parser.index())))
}
