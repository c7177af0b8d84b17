//! SET, SHOW, and transaction modes.

use sqlparser::tokenizer::Token;

use super::statement::*;
use super::tokens::Reader;
use crate::error::{Result, SqlError};

/// Transaction modes, separated by commas or nothing.
pub(super) fn modes(r: &mut Reader<'_>, may_be_empty: bool) -> Result<TransactionModes> {
    let mut out = TransactionModes::default();
    let mut first = true;
    while !r.done() {
        if !first {
            r.accept_token(&Token::Comma);
        }
        if r.accept(&["isolation", "level"]) {
            out.isolation = Some(if r.accept(&["serializable"]) {
                Isolation::Serializable
            } else if r.accept(&["repeatable", "read"]) {
                Isolation::RepeatableRead
            } else if r.accept(&["read", "committed"]) {
                Isolation::ReadCommitted
            } else if r.accept(&["read", "uncommitted"]) {
                Isolation::ReadUncommitted
            } else {
                return r.error();
            });
        } else if r.accept(&["read", "only"]) {
            out.read_only = Some(true);
        } else if r.accept(&["read", "write"]) {
            out.read_only = Some(false);
        } else if r.accept(&["deferrable"]) {
            out.deferrable = Some(true);
        } else if r.accept(&["not", "deferrable"]) {
            out.deferrable = Some(false);
        } else if r.accept(&["as", "of", "system", "time"]) {
            out.as_of = Some(r.expr()?);
        } else {
            return r.error();
        }
        first = false;
    }
    if first && !may_be_empty { r.error() } else { Ok(out) }
}

pub(super) fn setting_name(r: &mut Reader<'_>) -> Result<String> {
    if r.accept(&["time", "zone"]) {
        return Ok("timezone".into());
    }
    if r.accept(&["transaction", "isolation", "level"]) {
        return Ok("transaction_isolation".into());
    }
    if r.accept(&["session", "authorization"]) {
        return Ok("session_authorization".into());
    }
    let mut name = r.name()?;
    while r.accept_token(&Token::Period) {
        name.push('.');
        name.push_str(&r.name()?);
    }
    name.make_ascii_lowercase();
    Ok(name)
}

/// One value of SET: its plain text, and as it is stored in a list.
fn set_value(r: &mut Reader<'_>) -> Result<(String, String)> {
    let start = r.at;
    match r.peek() {
        Some(Token::Word(w)) => {
            r.at += 1;
            // on, off, true and names alike.
            let stored = if w.quote_style.is_some() { quote_identifier(&w.value) } else { w.value.clone() };
            Ok((w.value.clone(), stored))
        }
        Some(Token::Number(n, _)) => {
            r.at += 1;
            Ok((n.clone(), n.clone()))
        }
        Some(Token::Minus | Token::Plus) => {
            let negative = r.accept_token(&Token::Minus);
            if !negative {
                r.at += 1;
            }
            match r.peek() {
                Some(Token::Number(n, _)) => {
                    r.at += 1;
                    let text = if negative { format!("-{n}") } else { n.clone() };
                    Ok((text.clone(), text))
                }
                _ => r.error(),
            }
        }
        _ => {
            r.at = start;
            let text = r.string()?;
            Ok((text.clone(), quote_identifier(&text)))
        }
    }
}

/// Quotes an identifier where it needs it (PostgreSQL's `quote_identifier`, without the reserved words).
pub fn quote_identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

pub(super) fn set(r: &mut Reader<'_>) -> Result<Statement> {
    r.at += 1;
    let local = r.accept(&["local"]);
    if !local && r.word() == Some("session") && r.word_at(1) != Some("authorization") {
        r.at += 1;
        if r.accept(&["characteristics", "as", "transaction"]) {
            return Ok(Statement::Transaction(Transaction::SetDefaults(Box::new(modes(r, false)?))));
        }
    }
    if r.accept(&["transaction"]) {
        if r.accept(&["snapshot"]) {
            let modes = TransactionModes { snapshot: Some(r.string()?), ..TransactionModes::default() };
            return Ok(Statement::Transaction(Transaction::Set(Box::new(modes))));
        }
        return Ok(Statement::Transaction(Transaction::Set(Box::new(modes(r, false)?))));
    }
    if r.accept(&["constraints"]) {
        let names = if r.accept(&["all"]) { Vec::new() } else { r.object_names()? };
        let deferred = r.accept(&["deferred"]);
        if !deferred {
            r.expect(&["immediate"])?;
        }
        return Ok(Statement::Transaction(Transaction::SetConstraints { names, deferred }));
    }
    // Forms whose value follows without `=`.
    let special = match (r.word(), r.word_at(1)) {
        (Some("time"), Some("zone")) => Some(("timezone", 2)),
        (Some("names"), _) => Some(("client_encoding", 1)),
        (Some("schema"), _) => Some(("search_path", 1)),
        (Some("role"), next) if next != Some("to") => Some(("role", 1)),
        (Some("session"), Some("authorization")) => Some(("session_authorization", 2)),
        _ => None,
    };
    if let Some((name, words)) = special
        && !matches!(r.tokens.get(r.at + words).map(|t| &t.token), Some(Token::Eq))
    {
        r.at += words;
        if r.done() && name == "client_encoding" || r.accept(&["default"]) || (name == "timezone" && r.accept(&["local"])) {
            return Ok(Statement::Session(Session::Set { name: name.into(), value: None, items: Vec::new(), local }));
        }
        if name == "timezone" && r.word() == Some("interval") {
            return Err(SqlError::unsupported("SET TIME ZONE INTERVAL"));
        }
        let (text, stored) = set_value(r)?;
        let value = if name == "search_path" { stored } else { text.clone() };
        return Ok(Statement::Session(Session::Set { name: name.into(), value: Some(value), items: vec![text], local }));
    }
    let name = setting_name(r)?;
    if !r.accept(&["to"]) {
        r.expect_token(&Token::Eq)?;
    }
    if r.accept(&["default"]) {
        return Ok(Statement::Session(Session::Set { name, value: None, items: Vec::new(), local }));
    }
    let mut items = Vec::new();
    let mut stored = Vec::new();
    loop {
        let (item, text) = set_value(r)?;
        items.push(item);
        stored.push(text);
        if !r.accept_token(&Token::Comma) {
            break;
        }
    }
    let list = items.len() > 1 || name == "search_path";
    let value = if list { stored.join(", ") } else { items[0].clone() };
    Ok(Statement::Session(Session::Set { name, value: Some(value), items, local }))
}

pub(super) fn show(r: &mut Reader<'_>) -> Result<Statement> {
    r.at += 1;
    if r.accept(&["all"]) {
        return Ok(Statement::Session(Session::ShowAll));
    }
    if r.accept(&["ranges"]) {
        if r.done() {
            return Ok(Statement::ShowRanges { table: None, index: None });
        }
        r.expect(&["from"])?;
        let of_index = r.accept(&["index"]);
        if !of_index {
            r.accept(&["table"]);
        }
        let table = r.object_name()?;
        let index = if r.accept_token(&Token::AtSign) { Some(r.name()?) } else { None };
        if of_index && index.is_none() {
            return r.error();
        }
        return Ok(Statement::ShowRanges { table: Some(table), index });
    }
    Ok(Statement::Session(Session::Show(setting_name(r)?)))
}
