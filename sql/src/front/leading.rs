//! Dispatch on the leading words, and the statements that are mostly leading words.

use sqlparser::ast;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::lex;
use super::settings::{modes, set, setting_name, show};
use super::source::Source;
use super::statement::*;
use super::tokens::{Reader, parser, parser_error};
use super::{copy, schema};
use crate::error::{Result, SqlError, SqlState};

/// Parses the tokens of one statement; all of them must be used.
pub(super) fn statement(source: &Source, tokens: &[TokenWithSpan]) -> Result<Statement> {
    let mut reader = Reader::new(source, tokens);
    let statement = dispatch(&mut reader)?;
    reader.end()?;
    Ok(statement)
}

/// Parses tokens that are one expression.
pub(super) fn whole_expression(source: &Source, tokens: &[TokenWithSpan]) -> Result<ast::Expr> {
    let mut reader = Reader::new(source, tokens);
    let expr = reader.expr()?;
    reader.end()?;
    Ok(expr)
}

fn dispatch(r: &mut Reader<'_>) -> Result<Statement> {
    let Some(word) = r.word() else {
        return if r.peek() == Some(&Token::LParen) { query(r) } else { r.error() };
    };
    match word {
        "select" | "values" | "with" => query(r),
        "insert" | "update" | "delete" => {
            if let Some(n) = (1..r.rest().len())
                .find(|&n| r.word_at(n) == Some("current") && r.word_at(n + 1) == Some("of") && r.word_at(n - 1) == Some("where"))
            {
                return Err(r.source.at(SqlError::unsupported("WHERE CURRENT OF"), r.tokens[r.at + n].span));
            }
            tree(r).map(Statement::Dml)
        }
        "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" => transaction(r).map(Statement::Transaction),
        "set" => set(r),
        "show" => show(r),
        "reset" => {
            r.at += 1;
            if r.accept(&["all"]) {
                Ok(Statement::Session(Session::ResetAll))
            } else {
                Ok(Statement::Session(Session::Reset(setting_name(r)?)))
            }
        }
        "discard" => {
            r.at += 1;
            match r.name()?.as_str() {
                what @ ("all" | "plans" | "sequences" | "temp" | "temporary") => {
                    Ok(Statement::Session(Session::Discard(what.replace("temporary", "temp"))))
                }
                _ => {
                    r.at -= 1;
                    r.error()
                }
            }
        }
        "prepare" => prepare(r),
        "execute" => {
            r.at += 1;
            let name = r.name()?;
            let args = if r.peek() == Some(&Token::LParen) {
                r.at += 1;
                let args = r.with_parser(|p| p.parse_comma_separated(sqlparser::parser::Parser::parse_expr))?;
                r.expect_token(&Token::RParen)?;
                args
            } else {
                Vec::new()
            };
            Ok(Statement::Execute { name, args })
        }
        "deallocate" => {
            r.at += 1;
            r.accept(&["prepare"]);
            Ok(Statement::Deallocate(if r.accept(&["all"]) { None } else { Some(r.name()?) }))
        }
        "declare" => declare(r),
        "fetch" | "move" => fetch(r),
        "close" => {
            r.at += 1;
            Ok(Statement::Close(if r.accept(&["all"]) { None } else { Some(r.name()?) }))
        }
        "copy" => {
            r.at += 1;
            copy::copy(r)
        }
        "explain" => explain(r),
        "lock" => lock(r),
        "vacuum" => vacuum(r),
        "analyze" | "analyse" => {
            r.at += 1;
            r.accept(&["verbose"]);
            Ok(Statement::Analyze { tables: analyzed_tables(r)? })
        }
        "checkpoint" => {
            r.at += 1;
            Ok(Statement::Checkpoint)
        }
        "create" | "alter" | "drop" | "comment" | "truncate" | "grant" | "revoke" | "reassign" => schema::ddl(r),
        "unlisten" => {
            // Nobody listens, so there is nothing to stop; pools say it when they take a connection back.
            r.at += 1;
            if !r.accept_token(&Token::Mul) {
                r.name()?;
            }
            Ok(Statement::Unlisten)
        }
        "listen" | "notify" | "do" | "call" | "merge" | "refresh" | "reindex" | "cluster" | "security" | "import" | "load" => {
            Err(r.source.at(SqlError::unsupported(word.to_ascii_uppercase()), r.tokens[r.at].span))
        }
        _ => r.error(),
    }
}

/// Everything that is left, as sqlparser's tree of one statement.
pub(super) fn tree(r: &mut Reader<'_>) -> Result<Ast<ast::Statement>> {
    let weight = lex::weight(r.rest());
    let tree = r.with_parser(|p| p.parse_statement())?;
    Ok(Ast::new(tree, weight))
}

/// A query, or a data-modifying statement under WITH.
pub(super) fn query(r: &mut Reader<'_>) -> Result<Statement> {
    let position = (0..r.rest().len()).find(|&n| {
        r.word_at(n) == Some("of")
            && n > 0
            && r.word_at(n - 1) == Some("as")
            && r.word_at(n + 1) == Some("system")
            && r.word_at(n + 2) == Some("time")
    });
    let (ast, as_of) = match position {
        None => (tree(r)?, None),
        Some(n) => {
            // Taken out of the middle: the expression is read by sqlparser, the rest is put together again.
            let tokens = r.rest();
            let mut inner = Reader::new(r.source, tokens);
            inner.at = n + 3;
            let as_of = inner.expr()?;
            let mut without = tokens[..n - 1].to_vec();
            without.extend_from_slice(&tokens[inner.at..]);
            let weight = lex::weight(&without);
            let mut p = parser(without.clone());
            let tree = p.parse_statement().map_err(|e| parser_error(r.source, &without, &p, &e))?;
            if p.index() < without.len() {
                return Err(r.source.syntax_error(without.get(p.index())));
            }
            r.at = r.tokens.len();
            (Ast::new(tree, weight), Some(Box::new(as_of)))
        }
    };
    match &*ast {
        ast::Statement::Query(q) => {
            let modifies = matches!(&*q.body, ast::SetExpr::Insert(_) | ast::SetExpr::Update(_) | ast::SetExpr::Delete(_));
            if modifies { Ok(Statement::Dml(ast)) } else { Ok(Statement::Query { ast, as_of }) }
        }
        _ => Ok(Statement::Dml(ast)),
    }
}

fn transaction(r: &mut Reader<'_>) -> Result<Transaction> {
    let word = r.name()?;
    Ok(match word.as_str() {
        "begin" => {
            let _ = r.accept(&["work"]) || r.accept(&["transaction"]);
            Transaction::Begin(Box::new(modes(r, true)?))
        }
        "start" => {
            r.expect(&["transaction"])?;
            Transaction::Begin(Box::new(TransactionModes { start: true, ..modes(r, true)? }))
        }
        "commit" | "end" => {
            if word == "commit" && r.word() == Some("prepared") {
                return Err(SqlError::unsupported("COMMIT PREPARED"));
            }
            let _ = r.accept(&["work"]) || r.accept(&["transaction"]);
            Transaction::Commit { chain: chain(r)? }
        }
        "rollback" | "abort" => {
            if r.word() == Some("prepared") {
                return Err(SqlError::unsupported("ROLLBACK PREPARED"));
            }
            let _ = r.accept(&["work"]) || r.accept(&["transaction"]);
            if word == "rollback" && r.accept(&["to"]) {
                r.accept(&["savepoint"]);
                Transaction::RollbackTo(r.name()?)
            } else {
                Transaction::Rollback { chain: chain(r)? }
            }
        }
        "savepoint" => Transaction::Savepoint(r.name()?),
        _ => {
            r.accept(&["savepoint"]);
            Transaction::Release(r.name()?)
        }
    })
}

fn chain(r: &mut Reader<'_>) -> Result<bool> {
    if !r.accept(&["and"]) {
        return Ok(false);
    }
    let no = r.accept(&["no"]);
    r.expect(&["chain"])?;
    Ok(!no)
}

fn prepare(r: &mut Reader<'_>) -> Result<Statement> {
    r.at += 1;
    if r.word() == Some("transaction") {
        return Err(SqlError::unsupported("PREPARE TRANSACTION"));
    }
    let name = r.name()?;
    let mut types = Vec::new();
    if r.accept_token(&Token::LParen) {
        types.push(r.data_type()?);
        while r.accept_token(&Token::Comma) {
            types.push(r.data_type()?);
        }
        r.expect_token(&Token::RParen)?;
    }
    r.expect(&["as"])?;
    let tokens = r.rest();
    if !matches!(r.word(), Some("select" | "values" | "with" | "insert" | "update" | "delete")) && r.peek() != Some(&Token::LParen) {
        return r.error();
    }
    let statement = Parsed::inner(r.source, tokens, statement(r.source, tokens)?);
    r.at = r.tokens.len();
    Ok(Statement::Prepare { name, types, statement })
}

fn declare(r: &mut Reader<'_>) -> Result<Statement> {
    r.at += 1;
    let name = r.name()?;
    let (mut binary, mut scroll, mut hold) = (false, None, false);
    loop {
        if r.accept(&["binary"]) {
            binary = true;
        } else if r.accept(&["insensitive"]) || r.accept(&["asensitive"]) {
        } else if r.accept(&["no", "scroll"]) {
            scroll = Some(false);
        } else if r.accept(&["scroll"]) {
            scroll = Some(true);
        } else {
            break;
        }
    }
    r.expect(&["cursor"])?;
    if r.accept(&["with", "hold"]) {
        hold = true;
    } else {
        r.accept(&["without", "hold"]);
    }
    r.expect(&["for"])?;
    let tokens = r.rest();
    if !matches!(r.word(), Some("select" | "values" | "with")) && r.peek() != Some(&Token::LParen) {
        return r.error();
    }
    let query = Parsed::inner(r.source, tokens, statement(r.source, tokens)?);
    if !matches!(query.statement, Statement::Query { .. }) {
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "DECLARE CURSOR must not contain data-modifying statements in WITH"));
    }
    r.at = r.tokens.len();
    Ok(Statement::Declare(Declare { name, binary, scroll, hold, query }))
}

fn fetch(r: &mut Reader<'_>) -> Result<Statement> {
    let move_only = r.name()? == "move";
    let count = |r: &mut Reader<'_>| -> Result<i64> {
        if r.accept(&["all"]) {
            return Ok(i64::MAX);
        }
        match r.peek() {
            Some(Token::Number(..) | Token::Minus | Token::Plus) => r.integer(),
            _ => Ok(1),
        }
    };
    let direction = match r.word() {
        // `FETCH next` with nothing after it fetches from a cursor of that name.
        Some(_) if r.at + 1 == r.tokens.len() => FetchDirection::Forward(1),
        Some("next") => {
            r.at += 1;
            FetchDirection::Forward(1)
        }
        Some("prior") => {
            r.at += 1;
            FetchDirection::Backward(1)
        }
        Some("first") => {
            r.at += 1;
            FetchDirection::Absolute(1)
        }
        Some("last") => {
            r.at += 1;
            FetchDirection::Absolute(-1)
        }
        Some("absolute") => {
            r.at += 1;
            FetchDirection::Absolute(r.integer()?)
        }
        Some("relative") => {
            r.at += 1;
            FetchDirection::Relative(r.integer()?)
        }
        Some("forward") => {
            r.at += 1;
            signed(count(r)?, true)
        }
        Some("backward") => {
            r.at += 1;
            signed(count(r)?, false)
        }
        Some("all") => {
            r.at += 1;
            FetchDirection::Forward(i64::MAX)
        }
        _ => match r.peek() {
            Some(Token::Number(..) | Token::Minus | Token::Plus) => signed(r.integer()?, true),
            _ => FetchDirection::Forward(1),
        },
    };
    let _ = r.accept(&["from"]) || r.accept(&["in"]);
    Ok(Statement::Fetch(Fetch { cursor: r.name()?, direction, move_only }))
}

/// A negative count goes the other way.
fn signed(count: i64, forward: bool) -> FetchDirection {
    if forward == (count >= 0) { FetchDirection::Forward(count.saturating_abs()) } else { FetchDirection::Backward(count.saturating_abs()) }
}

fn explain(r: &mut Reader<'_>) -> Result<Statement> {
    r.at += 1;
    let mut options = ExplainOptions::default();
    let list = r.peek() == Some(&Token::LParen)
        && !matches!(r.word_at(1), Some("select" | "values" | "with" | "table"))
        && r.tokens.get(r.at + 1).map(|t| &t.token) != Some(&Token::LParen);
    if list {
        r.at += 1;
        loop {
            let at = r.at;
            let name = r.name()?;
            if name == "format" {
                let format = match r.peek() {
                    Some(Token::Word(_)) => r.name()?,
                    _ => r.string()?,
                };
                options.json = match format.as_str() {
                    "text" => false,
                    "json" => true,
                    "xml" | "yaml" => return Err(SqlError::unsupported(format!("EXPLAIN (FORMAT {})", format.to_uppercase()))),
                    _ => {
                        return Err(SqlError::new(
                            SqlState::INVALID_PARAMETER_VALUE,
                            format!("unrecognized value for EXPLAIN option \"format\": \"{format}\""),
                        ));
                    }
                };
            } else {
                let on = match r.peek() {
                    Some(Token::Word(w)) => {
                        r.at += 1;
                        match w.value.as_str() {
                            "on" | "true" => true,
                            "off" | "false" => false,
                            _ => return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("{name} requires a Boolean value"))),
                        }
                    }
                    Some(Token::Number(n, _)) => {
                        r.at += 1;
                        n != "0"
                    }
                    _ => true,
                };
                match name.as_str() {
                    "analyze" | "analyse" => options.analyze = on,
                    "verbose" => options.verbose = on,
                    "costs" => options.costs = on,
                    "timing" => options.timing = on,
                    "summary" => options.summary = Some(on),
                    "buffers" | "wal" | "settings" => options.buffers = on,
                    _ => {
                        let error = SqlError::new(SqlState::SYNTAX_ERROR, format!("unrecognized EXPLAIN option \"{name}\""));
                        return Err(r.source.at(error, r.tokens[at].span));
                    }
                }
            }
            if r.accept_token(&Token::RParen) {
                break;
            }
            r.expect_token(&Token::Comma)?;
        }
    } else {
        options.analyze = r.accept(&["analyze"]) || r.accept(&["analyse"]);
        options.verbose = r.accept(&["verbose"]);
    }
    let tokens = r.rest();
    let explainable =
        matches!(r.word(), Some("select" | "values" | "with" | "insert" | "update" | "delete" | "execute" | "declare" | "create"))
            || r.peek() == Some(&Token::LParen);
    if !explainable {
        return r.error();
    }
    let inner = Parsed::inner(r.source, tokens, statement(r.source, tokens)?);
    r.at = r.tokens.len();
    Ok(Statement::Explain(options, inner))
}

fn lock(r: &mut Reader<'_>) -> Result<Statement> {
    r.at += 1;
    r.accept(&["table"]);
    r.accept(&["only"]);
    let tables = r.object_names()?;
    let mut mode = "access exclusive".to_owned();
    if r.accept(&["in"]) {
        let mut words = Vec::new();
        while let Some(word) = r.word() {
            if word == "mode" {
                break;
            }
            words.push(word);
            r.at += 1;
        }
        mode = words.join(" ");
        let known = [
            "access share",
            "row share",
            "row exclusive",
            "share update exclusive",
            "share",
            "share row exclusive",
            "exclusive",
            "access exclusive",
        ];
        if !known.contains(&mode.as_str()) {
            return r.error();
        }
        r.expect(&["mode"])?;
    }
    let nowait = r.accept(&["nowait"]);
    Ok(Statement::LockTable { tables, mode, nowait })
}

fn analyzed_tables(r: &mut Reader<'_>) -> Result<Vec<ast::ObjectName>> {
    let mut tables = Vec::new();
    while !r.done() {
        tables.push(r.object_name()?);
        if r.peek() == Some(&Token::LParen) {
            r.parenthesised()?;
        }
        if !r.accept_token(&Token::Comma) {
            break;
        }
    }
    Ok(tables)
}

fn vacuum(r: &mut Reader<'_>) -> Result<Statement> {
    r.at += 1;
    let mut analyze = false;
    if r.peek() == Some(&Token::LParen) {
        let options = r.parenthesised()?;
        analyze = options.iter().any(|t| matches!(&t.token, Token::Word(w) if w.value == "analyze"));
    } else {
        while let Some(word) = r.word() {
            match word {
                "full" | "freeze" | "verbose" => {}
                "analyze" | "analyse" => analyze = true,
                _ => break,
            }
            r.at += 1;
        }
    }
    Ok(Statement::Vacuum { analyze, tables: analyzed_tables(r)? })
}
