//! The statement front: text → statements.
//!
//! ```text
//!   source         positions: a token's line and column → the 1-based character offset that errors carry
//!   lex            text → tokens, folded, cut at semicolons; PostgreSQL spellings that sqlparser lacks are rewritten here
//!   statement      what a statement is
//!   tokens         a reader over tokens for the parts we parse ourselves
//!   leading        transaction control, settings, cursors, prepared statements, EXPLAIN, …: dispatch on the leading words
//!   settings       SET, SHOW, transaction modes
//!   copy           COPY
//!   schema         DDL that sqlparser does not parse
//! ```
//! sqlparser (PostgreSqlDialect) parses queries, DML and most DDL. What it cannot parse is either recognised by its leading words,
//! or rewritten on the token level to something it can, with a marker that the binder understands (`lex::rewrite`).
//!
//! Promises: never panics, whatever the input; every syntax error is `42601` in PostgreSQL's words with a position; nesting beyond
//! [`MAX_DEPTH`] is `54001`; unquoted identifiers are folded to lower case and all are cut to 63 bytes, with a notice.

mod copy;
mod leading;
pub mod lex;
mod schema;
mod settings;
pub mod source;
pub mod statement;
mod tokens;

pub use settings::quote_identifier;
pub use source::Source;
pub use statement::*;

use crate::error::{Result, SqlError, SqlState};

/// Nesting of parentheses, CASE, subqueries and the like above which a statement is refused.
pub const MAX_DEPTH: usize = 600;
/// Tokens in one statement above which it is refused.
pub const MAX_TOKENS: usize = 8_000_000;
/// Longest identifier, in bytes (PostgreSQL's NAMEDATALEN − 1).
pub const MAX_IDENTIFIER: usize = 63;

/// Parses everything in a query string. An empty string, or one of comments only, gives no statement.
pub fn parse(text: &str) -> Result<Vec<Parsed>> {
    let source = Source::new(text);
    let mut out = Vec::new();
    let mut notices = Vec::new();
    for tokens in lex::statements(&source, &mut notices)? {
        let depth = lex::depth(&tokens);
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let statement = with_stack(depth, || leading::statement(&source, &tokens))?;
        out.push(Parsed {
            parameters: lex::parameters(&tokens),
            source: source.clone(),
            range: source.byte_range(&tokens),
            depth: lex::weight(&tokens),
            notices: std::mem::take(&mut notices),
            statement,
        });
    }
    Ok(out)
}

/// Parses exactly one statement, as the extended protocol's Parse message carries. `None`: the empty query.
pub fn parse_one(text: &str) -> Result<Option<Parsed>> {
    let mut all = parse(text)?;
    if all.len() > 1 {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "cannot insert multiple commands into a prepared statement"));
    }
    Ok(all.pop())
}

/// Parses one scalar expression: a stored DEFAULT, CHECK or index predicate.
pub fn parse_expression(text: &str) -> Result<(Source, sqlparser::ast::Expr)> {
    let source = Source::new(text);
    let mut notices = Vec::new();
    let tokens = lex::statements(&source, &mut notices)?.into_iter().next().unwrap_or_default();
    let depth = lex::depth(&tokens);
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    let expr = with_stack(depth, || leading::whole_expression(&source, &tokens))?;
    Ok((source, expr))
}

pub(crate) fn too_deep() -> SqlError {
    SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
        .hint("The statement is nested too deeply. Simplify it, for instance by replacing nested expressions by lists.")
}

/// Runs recursive work over a syntax tree on a stack that is large enough for its depth.
pub fn with_stack<T>(depth: usize, work: impl FnOnce() -> T) -> T {
    // Unoptimised sqlparser frames take up to 100 kB for each nesting level (measured); the pages are only touched when needed.
    let bytes = (depth + 8) * (128 << 10);
    if depth <= 4 { stacker::maybe_grow(1 << 20, 4 << 20, work) } else { stacker::maybe_grow(bytes, bytes + (1 << 20), work) }
}

#[cfg(test)]
mod tests;
