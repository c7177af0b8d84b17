//! The statements: `tests/differential/*.sql`, one scenario a file, and the list of known differences.
//!
//! A statement ends with a `;` at the end of a line. Comment lines are ignored, except for the directives, which hold for
//! the next statement only (`session` holds until the next one):
//!
//! ```text
//!   -- params: 1 | two | \N      run with the extended protocol and these text parameters
//!   -- session: b                run in another session of the same database
//! ```
//!
//! `KNOWN.txt` lists differences: a block is a `reason:` line, then statements in the same form as in the files.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};

/// One statement of the corpus.
#[derive(Debug, Clone)]
pub struct Statement {
    pub line: usize,
    pub sql: String,
    pub session: String,
    pub parameters: Option<Vec<Option<String>>>,
}

/// Cuts a file's text into statements.
pub fn statements(text: &str) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut session = "main".to_string();
    let mut parameters = None;
    let mut sql = String::new();
    let mut start = 0;
    for (index, line) in text.lines().enumerate() {
        if sql.is_empty() {
            if let Some(rest) = line.strip_prefix("-- params:") {
                parameters = Some(parse_parameters(rest));
            } else if let Some(rest) = line.strip_prefix("-- session:") {
                session = rest.trim().to_string();
            }
            if line.trim().is_empty() || line.starts_with("--") {
                continue;
            }
            start = index + 1;
        } else {
            sql.push('\n');
        }
        sql.push_str(line);
        if let Some(body) = sql.trim_end().strip_suffix(';') {
            let sql_text = body.to_string();
            found.push(Statement { line: start, sql: sql_text, session: session.clone(), parameters: parameters.take() });
            sql.clear();
        }
    }
    found
}

fn parse_parameters(text: &str) -> Vec<Option<String>> {
    text.split('|').map(str::trim).map(|value| (value != "\\N").then(|| value.to_string())).collect()
}

/// Reads `KNOWN.txt`: the statement's text to the reason why its answers may differ.
pub fn known_differences(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut known = BTreeMap::new();
    let mut reason = String::new();
    let mut block = String::new();
    for line in text.lines().chain(["reason: end"]) {
        if let Some(next) = line.strip_prefix("reason:") {
            for statement in statements(&block) {
                if reason.is_empty() {
                    bail!("{}: a statement stands without its reason: {}", path.display(), statement.sql);
                }
                known.insert(statement.sql, reason.clone());
            }
            block.clear();
            reason = next.trim().to_string();
        } else {
            block.push_str(line);
            block.push('\n');
        }
    }
    Ok(known)
}

/// Whether the statement orders its result at the top level (an ORDER BY inside parentheses orders something else).
pub fn is_ordered(sql: &str) -> bool {
    let lower = sql.to_lowercase();
    let bytes = lower.as_bytes();
    let mut depth = 0_i32;
    let mut quoted = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'(' | b'[' if !quoted => depth += 1,
            b')' | b']' if !quoted => depth -= 1,
            b'o' if !quoted && depth == 0 && bytes[at..].starts_with(b"order by") => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_line_ends() {
        let found = statements("-- a comment\nselect ';',\n  2;\n-- params: 1 | \\N\n-- session: b\nselect $1, $2;\n");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].line, found[0].sql.as_str(), found[0].session.as_str()), (2, "select ';',\n  2", "main"));
        assert_eq!(found[1].parameters, Some(vec![Some("1".into()), None]));
        assert_eq!(found[1].session, "b");
    }

    #[test]
    fn order_inside_parentheses_is_no_order() {
        assert!(is_ordered("select a from t ORDER BY a"));
        assert!(!is_ordered("select array_agg(a order by a) from t"));
        assert!(!is_ordered("select 'order by'"));
    }
}
