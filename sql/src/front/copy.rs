//! COPY, both option syntaxes.

use sqlparser::tokenizer::Token;

use super::leading;
use super::statement::*;
use super::tokens::Reader;
use crate::error::{Result, SqlError, SqlState};

/// `COPY` has been read.
pub(super) fn copy(r: &mut Reader<'_>) -> Result<Statement> {
    let mut options = CopyOptions::default();
    if r.accept(&["binary"]) {
        options.format = CopyFormat::Binary;
    }
    let source = if r.peek() == Some(&Token::LParen) {
        let inner = r.parenthesised()?;
        CopySource::Query(Parsed::inner(r.source, inner, leading::statement(r.source, inner)?))
    } else {
        let name = r.object_name()?;
        let mut columns = Vec::new();
        if r.accept_token(&Token::LParen) {
            columns = r.names()?;
            r.expect_token(&Token::RParen)?;
        }
        CopySource::Table(name, columns)
    };
    let from = match r.word() {
        Some("from") => true,
        Some("to") => false,
        _ => return r.error(),
    };
    if from && matches!(source, CopySource::Query(_)) {
        return r.error();
    }
    r.at += 1;
    let end = match r.word() {
        Some("stdin" | "stdout") => {
            r.at += 1;
            CopyEnd::Client
        }
        Some("program") => {
            r.at += 1;
            CopyEnd::Program(r.string()?)
        }
        _ => CopyEnd::File(r.string()?),
    };
    if r.accept(&["using"]) {
        r.expect(&["delimiters"])?;
        options.delimiter = Some(r.string()?);
    }
    r.accept(&["with"]);
    if r.accept_token(&Token::LParen) {
        loop {
            generic_option(r, &mut options)?;
            if r.accept_token(&Token::RParen) {
                break;
            }
            r.expect_token(&Token::Comma)?;
        }
    } else {
        while let Some(word) = r.word() {
            if word == "where" {
                break;
            }
            legacy_option(r, &mut options)?;
        }
    }
    let filter = if r.accept(&["where"]) {
        if !from {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "WHERE clause not allowed with COPY TO"));
        }
        Some(r.expr()?)
    } else {
        None
    };
    Ok(Statement::Copy(Box::new(Copy { source, from, end, options, filter })))
}

fn boolean(r: &mut Reader<'_>) -> Result<bool> {
    Ok(match r.peek() {
        Some(Token::Comma | Token::RParen) | None => true,
        Some(Token::Number(n, _)) if n == "0" || n == "1" => {
            let value = n == "1";
            r.at += 1;
            value
        }
        Some(Token::SingleQuotedString(_)) | Some(Token::Word(_)) => {
            let text = text(r)?;
            match text.to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" => true,
                "false" | "off" | "no" => false,
                _ => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "option requires a Boolean value")),
            }
        }
        _ => return r.error(),
    })
}

fn text(r: &mut Reader<'_>) -> Result<String> {
    match r.peek() {
        Some(Token::Word(w)) => {
            r.at += 1;
            Ok(w.value.clone())
        }
        _ => r.string(),
    }
}

fn columns(r: &mut Reader<'_>) -> Result<CopyColumns> {
    if r.accept_token(&Token::Mul) {
        return Ok(CopyColumns::All);
    }
    r.expect_token(&Token::LParen)?;
    let names = r.names()?;
    r.expect_token(&Token::RParen)?;
    Ok(CopyColumns::List(names))
}

fn format(r: &mut Reader<'_>) -> Result<CopyFormat> {
    let name = text(r)?;
    match name.as_str() {
        "text" => Ok(CopyFormat::Text),
        "csv" => Ok(CopyFormat::Csv),
        "binary" => Ok(CopyFormat::Binary),
        _ => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("COPY format \"{name}\" not recognized"))),
    }
}

fn generic_option(r: &mut Reader<'_>, options: &mut CopyOptions) -> Result<()> {
    let at = r.at;
    let name = r.name()?;
    match name.as_str() {
        "format" => options.format = format(r)?,
        "freeze" => options.freeze = boolean(r)?,
        "delimiter" => options.delimiter = Some(text(r)?),
        "null" => options.null = Some(text(r)?),
        "header" => {
            if r.accept(&["match"]) {
                options.header = true;
                options.header_match = true;
            } else {
                options.header = boolean(r)?;
            }
        }
        "quote" => options.quote = Some(text(r)?),
        "escape" => options.escape = Some(text(r)?),
        "force_quote" => options.force_quote = Some(columns(r)?),
        "force_not_null" => options.force_not_null = Some(columns(r)?),
        "force_null" => options.force_null = Some(columns(r)?),
        "encoding" => options.encoding = Some(text(r)?),
        _ => {
            let error = SqlError::new(SqlState::SYNTAX_ERROR, format!("option \"{name}\" not recognized"));
            return Err(r.source.at(error, r.tokens[at].span));
        }
    }
    Ok(())
}

fn legacy_option(r: &mut Reader<'_>, options: &mut CopyOptions) -> Result<()> {
    let at = r.at;
    let name = r.name()?;
    match name.as_str() {
        "binary" => options.format = CopyFormat::Binary,
        "csv" => options.format = CopyFormat::Csv,
        "freeze" => options.freeze = true,
        "header" => options.header = true,
        "delimiter" | "null" | "quote" | "escape" => {
            r.accept(&["as"]);
            let value = Some(r.string()?);
            match name.as_str() {
                "delimiter" => options.delimiter = value,
                "null" => options.null = value,
                "quote" => options.quote = value,
                _ => options.escape = value,
            }
        }
        "encoding" => options.encoding = Some(r.string()?),
        "force" => {
            let list = |r: &mut Reader<'_>| {
                if r.accept_token(&Token::Mul) { Ok(CopyColumns::All) } else { r.names().map(CopyColumns::List) }
            };
            if r.accept(&["quote"]) {
                options.force_quote = Some(list(r)?);
            } else if r.accept(&["not", "null"]) {
                options.force_not_null = Some(list(r)?);
            } else if r.accept(&["null"]) {
                options.force_null = Some(list(r)?);
            } else {
                return r.error();
            }
        }
        _ => {
            r.at = at;
            return r.error();
        }
    }
    Ok(())
}
