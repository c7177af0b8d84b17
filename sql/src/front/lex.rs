//! Text → tokens.
//!
//! sqlparser's tokenizer does the cutting. On top of it: identifiers are folded and cut to 63 bytes, adjacent string literals are
//! joined, statements are separated, and these spellings are rewritten to what sqlparser parses:
//!
//! | PostgreSQL | becomes | understood by |
//! |---|---|---|
//! | `TABLE t` | `SELECT * FROM t` | nobody needs to |
//! | `BETWEEN SYMMETRIC a AND b` | `BETWEEN !! a AND b` | binder (`!!` is no operator of PostgreSQL 15) |
//! | `FOR NO KEY UPDATE OF t, u` | `FOR UPDATE OF "!nokeyupdate".t.u` | binder; every locking clause is written like this |
//! | `ROWS FROM (f(1), g(2))` | `"!rowsfrom"(f(1), g(2))` | binder |
//! | `x IS NOT NULL` as `x NOTNULL`, `x ISNULL` | the long form | nobody needs to |

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError, Whitespace, Word};

use super::source::Source;
use super::{MAX_IDENTIFIER, MAX_TOKENS};
use crate::error::{Result, SqlError, SqlState};

/// The dialect everything is parsed with.
pub static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// First character of the names that stand for things sqlparser cannot say. Users' names never start with it: it is refused here.
pub const MARKER: char = '\u{1}';

/// What `ROWS FROM` becomes: a function of that name.
pub const ROWS_FROM: &str = "\u{1}rowsfrom";

/// The statements of a text, as tokens without blanks. Empty statements are left out.
pub fn statements(source: &Source, notices: &mut Vec<SqlError>) -> Result<Vec<Vec<TokenWithSpan>>> {
    let mut raw = Vec::new();
    if let Err(error) = Tokenizer::new(&DIALECT, source.text()).tokenize_with_location_into_buf(&mut raw) {
        return Err(tokenizer_error(source, &error));
    }
    if raw.len() > MAX_TOKENS {
        return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("statement has more than {MAX_TOKENS} tokens")));
    }
    let mut out = Vec::new();
    let mut current: Vec<TokenWithSpan> = Vec::with_capacity(raw.len() / 2 + 1);
    let mut newline = false;
    for mut token in raw {
        match &mut token.token {
            Token::Whitespace(space) => {
                newline |= matches!(space, Whitespace::Newline | Whitespace::SingleLineComment { .. });
                continue;
            }
            Token::SemiColon => {
                if !current.is_empty() {
                    out.push(rewrite(std::mem::take(&mut current)));
                }
                continue;
            }
            Token::EOF => continue,
            Token::Word(word) => fold(source, word, &token.span, notices)?,
            Token::SingleQuotedString(text) if newline => {
                // 'a' 'b' on two lines is one literal.
                if let Some(TokenWithSpan { token: Token::SingleQuotedString(before) | Token::EscapedStringLiteral(before), span }) =
                    current.last_mut()
                {
                    before.push_str(text);
                    span.end = token.span.end;
                    continue;
                }
            }
            _ => {}
        }
        newline = false;
        current.push(token);
    }
    if !current.is_empty() {
        out.push(rewrite(current));
    }
    Ok(out)
}

/// Folds an unquoted identifier to lower case (ASCII letters only, as PostgreSQL does in UTF-8), cuts both kinds to 63 bytes.
fn fold(source: &Source, word: &mut Word, span: &sqlparser::tokenizer::Span, notices: &mut Vec<SqlError>) -> Result<()> {
    if word.quote_style.is_none() {
        word.value.make_ascii_lowercase();
    } else if word.value.is_empty() {
        return Err(source.near("zero-length delimited identifier", "\"\"", span.start));
    }
    if word.value.starts_with(MARKER) {
        return Err(source.near("syntax error", &word.value[1..], span.start));
    }
    if word.value.len() > MAX_IDENTIFIER {
        let mut end = MAX_IDENTIFIER;
        while !word.value.is_char_boundary(end) {
            end -= 1;
        }
        let shown: String = word.value.chars().take(400).collect();
        let kept = word.value[..end].to_owned();
        if notices.len() < 16 {
            notices.push(SqlError::new(SqlState::NAME_TOO_LONG, format!("identifier \"{shown}\" will be truncated to \"{kept}\"")));
        }
        word.value = kept;
    }
    Ok(())
}

fn tokenizer_error(source: &Source, error: &TokenizerError) -> SqlError {
    let message = error.message.as_str();
    let what = if message.contains("Unterminated string literal") || message.contains("Unterminated encoded string") {
        "unterminated quoted string"
    } else if message.contains("dollar-quoted") || message.contains("dollar quoted") || message.contains("Unterminated dollar") {
        "unterminated dollar-quoted string"
    } else if message.contains("close delimiter") {
        "unterminated quoted identifier"
    } else if message.contains("comment") {
        "unterminated /* comment"
    } else {
        "syntax error"
    };
    let mut at = error.location;
    // The tokenizer reports an unclosed identifier or comment where the text ends; PostgreSQL where it began. The start is not known then.
    let byte = source.byte(at);
    let mut text = source.text()[byte..].trim_end();
    if text.is_empty() {
        let opening = match what {
            "unterminated quoted identifier" => source.text().rfind('"'),
            "unterminated /* comment" => source.text().find("/*"),
            "unterminated quoted string" => source.text().rfind('\''),
            _ => None,
        };
        match opening {
            Some(start) => {
                text = &source.text()[start..];
                let before = &source.text()[..start];
                at.line = before.matches('\n').count() as u64 + 1;
                at.column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) as u64 + 1;
            }
            None => return source.syntax_error(None),
        }
    }
    let text: String = if what == "syntax error" { text.chars().take(1).collect() } else { text.chars().take(1000).collect() };
    source.near(what, &text, at)
}

fn keyword(token: Option<&TokenWithSpan>) -> Option<&str> {
    match token.map(|t| &t.token) {
        Some(Token::Word(w)) if w.quote_style.is_none() => Some(w.value.as_str()),
        _ => None,
    }
}

fn word(value: &str, keyword: Keyword, like: &TokenWithSpan) -> TokenWithSpan {
    TokenWithSpan { token: Token::Word(Word { value: value.into(), quote_style: None, keyword }), span: like.span }
}

/// See the module's table. Most statements have nothing to rewrite: one pass over the keywords decides.
fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let needed = tokens.iter().enumerate().any(|(i, t)| match &t.token {
        Token::Word(w) if w.quote_style.is_none() => match w.keyword {
            Keyword::FOR => matches!(keyword(tokens.get(i + 1)), Some("update" | "share" | "no" | "key")),
            Keyword::TABLE => i == 0 || !matches!(keyword(tokens.get(i - 1)), Some("create" | "alter" | "drop" | "temp" | "temporary")),
            Keyword::ROWS => rows_from(&tokens, i),
            _ => matches!(w.value.as_str(), "symmetric" | "isnull" | "notnull"),
        },
        _ => false,
    });
    if !needed {
        return tokens;
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 8);
    let mut i = 0;
    while i < tokens.len() {
        let token = &tokens[i];
        match keyword(Some(token)) {
            Some("table") if table_command(out.last(), &tokens, i) => {
                out.push(word("select", Keyword::SELECT, token));
                out.push(TokenWithSpan { token: Token::Mul, span: token.span });
                out.push(word("from", Keyword::FROM, token));
            }
            Some("symmetric") if keyword(out.last()) == Some("between") => {
                out.push(TokenWithSpan { token: Token::DoubleExclamationMark, span: token.span });
            }
            Some("isnull") if !matches!(keyword(out.last()), Some("as") | None) || operand(out.last()) => {
                out.push(word("is", Keyword::IS, token));
                out.push(word("null", Keyword::NULL, token));
            }
            Some("notnull") if operand(out.last()) => {
                out.push(word("is", Keyword::IS, token));
                out.push(word("not", Keyword::NOT, token));
                out.push(word("null", Keyword::NULL, token));
            }
            Some("for") => {
                if let Some(next) = locking(&tokens, i, &mut out) {
                    i = next;
                    continue;
                }
                out.push(token.clone());
            }
            Some("rows") if rows_from(&tokens, i) => {
                let name = Word { value: ROWS_FROM.into(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
                out.push(TokenWithSpan { token: Token::Word(name), span: token.span });
                i += 1;
            }
            _ => out.push(token.clone()),
        }
        i += 1;
    }
    out
}

/// Whether `ROWS FROM (` with a function call begins at `at`, where a FROM item may (`rows` can be a column's name, too).
fn rows_from(tokens: &[TokenWithSpan], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|n| tokens.get(n));
    let place = matches!(keyword(before), Some("from" | "join" | "lateral")) || before.is_some_and(|t| t.token == Token::Comma);
    let is = |n: usize, token: &Token| tokens.get(at + n).is_some_and(|t| t.token == *token);
    let word = |n: usize| matches!(tokens.get(at + n).map(|t| &t.token), Some(Token::Word(_)));
    let call = |n: usize| word(n) && is(n + 1, &Token::LParen);
    place
        && keyword(tokens.get(at + 1)) == Some("from")
        && is(2, &Token::LParen)
        && (call(3) || word(3) && is(4, &Token::Period) && call(5))
}

/// Whether a postfix operator may follow this token.
fn operand(token: Option<&TokenWithSpan>) -> bool {
    match token.map(|t| &t.token) {
        Some(Token::Word(w)) => {
            w.quote_style.is_some()
                || matches!(w.keyword, Keyword::NoKeyword | Keyword::NULL | Keyword::TRUE | Keyword::FALSE | Keyword::END)
        }
        Some(Token::RParen | Token::RBracket | Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_)) => true,
        _ => false,
    }
}

fn table_command(before: Option<&TokenWithSpan>, tokens: &[TokenWithSpan], at: usize) -> bool {
    let starts = match before.map(|t| &t.token) {
        None | Some(Token::LParen) => true,
        Some(Token::Word(w)) => {
            w.quote_style.is_none()
                && (matches!(w.value.as_str(), "union" | "intersect" | "except" | "explain" | "analyze" | "verbose")
                    || matches!(w.value.as_str(), "all" | "distinct")
                        && at >= 2
                        && matches!(keyword(tokens.get(at - 2)), Some("union" | "intersect" | "except")))
        }
        _ => false,
    };
    starts && matches!(tokens.get(at + 1).map(|t| &t.token), Some(Token::Word(_)))
}

/// Rewrites one `FOR … [OF …] [NOWAIT | SKIP LOCKED]` whose FOR is at `at`; answers where it ends.
fn locking(tokens: &[TokenWithSpan], at: usize, out: &mut Vec<TokenWithSpan>) -> Option<usize> {
    let kw = |n: usize| keyword(tokens.get(at + n));
    let (strength, mut i) = match (kw(1), kw(2), kw(3)) {
        (Some("update"), _, _) => ("update", at + 2),
        (Some("share"), _, _) => ("share", at + 2),
        (Some("no"), Some("key"), Some("update")) => ("nokeyupdate", at + 4),
        (Some("key"), Some("share"), _) => ("keyshare", at + 3),
        _ => return None,
    };
    let like = &tokens[at];
    out.push(word("for", Keyword::FOR, like));
    out.push(word("update", Keyword::UPDATE, like));
    out.push(word("of", Keyword::OF, like));
    let quoted = |value: String| Token::Word(Word { value, quote_style: Some('"'), keyword: Keyword::NoKeyword });
    out.push(TokenWithSpan { token: quoted(format!("{MARKER}{strength}")), span: like.span });
    if keyword(tokens.get(i)) == Some("of") {
        i += 1;
        while let Some(TokenWithSpan { token: Token::Word(w), span }) = tokens.get(i) {
            out.push(TokenWithSpan { token: Token::Period, span: *span });
            out.push(TokenWithSpan { token: quoted(w.value.clone()), span: *span });
            i += 1;
            if !matches!(tokens.get(i).map(|t| &t.token), Some(Token::Comma)) {
                break;
            }
            i += 1;
        }
    }
    Some(i)
}

/// How deeply the statement nests: parentheses, brackets, CASE, and runs of prefix operators.
pub fn depth(tokens: &[TokenWithSpan]) -> usize {
    let (mut depth, mut max, mut run) = (0usize, 0usize, 0usize);
    // A chain of casts is parsed in a loop, but in time that grows with the square of its length.
    let mut casts = 0usize;
    for (i, token) in tokens.iter().enumerate() {
        match &token.token {
            // An infix operator does not nest: chains are parsed in a loop.
            Token::Minus | Token::Plus if i > 0 && operand(tokens.get(i - 1)) => {}
            Token::LParen | Token::LBracket | Token::LBrace => {
                depth += 1;
                run += 1;
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                depth = depth.saturating_sub(1);
                run = 0;
            }
            Token::Word(w) if w.quote_style.is_none() => match w.keyword {
                Keyword::CASE => depth += 1,
                Keyword::END => depth = depth.saturating_sub(1),
                Keyword::NOT
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::JOIN
                | Keyword::INTERVAL
                | Keyword::PRIOR => run += 1,
                _ => {}
            },
            Token::Minus
            | Token::Plus
            | Token::Tilde
            | Token::ExclamationMark
            | Token::DoubleExclamationMark
            | Token::AtSign
            | Token::PGSquareRoot
            | Token::PGCubeRoot => run += 1,
            Token::Comma => (run, casts) = (0, 0),
            Token::DoubleColon => casts += 1,
            _ => {}
        }
        max = max.max(depth + run / 2).max(casts / 8);
    }
    max
}

/// How deep a tree the statement may become, chains of operators included: what dropping and walking it takes.
pub fn weight(tokens: &[TokenWithSpan]) -> usize {
    depth(tokens) + tokens.len() / 64
}

/// The highest `$n` used.
pub fn parameters(tokens: &[TokenWithSpan]) -> usize {
    tokens
        .iter()
        .filter_map(|t| match &t.token {
            Token::Placeholder(p) => p.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()),
            _ => None,
        })
        .max()
        .unwrap_or(0)
}
