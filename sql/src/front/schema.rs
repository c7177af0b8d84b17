//! DDL: what sqlparser parses is left to it; roles, databases, sequences, comments, splits and some ALTER TABLE actions are parsed here.

use sqlparser::ast;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::leading::{statement, tree};
use super::statement::*;
use super::tokens::Reader;
use crate::error::{Result, SqlError, SqlState};

/// A statement that begins with CREATE, ALTER, DROP, COMMENT, TRUNCATE, GRANT, REVOKE or REASSIGN.
pub(super) fn ddl(r: &mut Reader<'_>) -> Result<Statement> {
    let ddl = match (r.word().unwrap_or(""), r.word_at(1).unwrap_or("")) {
        ("create", "user" | "role") if r.word_at(2) != Some("mapping") => create_role(r)?,
        ("create", "database") => create_database(r)?,
        ("create", "group") => return unsupported(r, "CREATE GROUP"),
        ("create", "unlogged") => return unsupported(r, "UNLOGGED tables"),
        ("create", _) => create(r)?,
        ("alter", "user" | "role") => alter_role(r)?,
        ("alter", "database") => {
            r.at += 2;
            let name = r.name()?;
            Ddl::AlterDatabase { name, action: name_action(r, "ALTER DATABASE")? }
        }
        ("alter", "schema") => {
            r.at += 2;
            let name = r.name()?;
            Ddl::AlterSchema { name, action: name_action(r, "ALTER SCHEMA")? }
        }
        ("alter", "table" | "index" | "view" | "sequence") => alter_relation(r)?,
        ("alter", what) => return unsupported(r, &format!("ALTER {}", what.to_uppercase())),
        ("drop", "user" | "role" | "group") => {
            r.at += 2;
            let if_exists = r.accept(&["if", "exists"]);
            Ddl::DropRole { if_exists, names: r.names()? }
        }
        ("drop", "database") => drop_database(r)?,
        ("drop", "owned") => return unsupported(r, "DROP OWNED"),
        ("drop", "index") if r.word_at(2) == Some("concurrently") => {
            let mut tokens = r.rest().to_vec();
            tokens.remove(2);
            let mut inner = Reader::new(r.source, &tokens);
            let ast = tree(&mut inner)?;
            inner.end()?;
            r.at = r.tokens.len();
            Ddl::Ast { ast, concurrently: true, query: None }
        }
        ("comment", _) => comment(r)?,
        ("reassign", _) => return unsupported(r, "REASSIGN OWNED"),
        _ => Ddl::Ast { ast: tree(r)?, concurrently: false, query: None },
    };
    Ok(Statement::Ddl(ddl))
}

fn unsupported<T>(r: &Reader<'_>, feature: &str) -> Result<T> {
    let error = SqlError::unsupported(feature);
    Err(match r.tokens.get(r.at) {
        Some(token) => r.source.at(error, token.span),
        None => error,
    })
}

/// CREATE TABLE/VIEW/INDEX/…: the query of a view or CREATE TABLE AS is kept as text of its own beside the tree.
fn create(r: &mut Reader<'_>) -> Result<Ddl> {
    let tokens = r.rest();
    let with_query = matches!(r.word_at(1), Some("view" | "table" | "temp" | "temporary" | "materialized" | "or" | "recursive"));
    let start = tokens.iter().enumerate().position(|(n, t)| {
        let is_as = matches!(&t.token, Token::Word(w) if w.quote_style.is_none() && w.value == "as");
        is_as
            && match tokens.get(n + 1).map(|t| &t.token) {
                Some(Token::Word(w)) => w.quote_style.is_none() && matches!(w.value.as_str(), "select" | "values" | "with" | "table"),
                Some(Token::LParen) => true,
                _ => false,
            }
    });
    let ast = tree(r)?;
    let query = match start {
        Some(start) if with_query && has_query(&ast) => {
            let end = r.at - (r.tokens.len() - tokens.len());
            let mut query = &tokens[start + 1..end.min(tokens.len())];
            // WITH [NO] DATA / WITH CHECK OPTION belongs to the outer statement.
            for tail in [&["with", "no", "data"][..], &["with", "data"]] {
                let n = query.len().saturating_sub(tail.len());
                if Reader::new(r.source, &query[n..]).accept(tail) {
                    query = &query[..n];
                }
            }
            Some(Parsed::inner(r.source, query, statement(r.source, query)?))
        }
        _ => None,
    };
    Ok(Ddl::Ast { ast, concurrently: false, query })
}

fn has_query(ast: &ast::Statement) -> bool {
    match ast {
        ast::Statement::CreateView(_) => true,
        ast::Statement::CreateTable(t) => t.query.is_some(),
        _ => false,
    }
}

fn role_options(r: &mut Reader<'_>) -> Result<Vec<RoleOption>> {
    r.accept(&["with"]);
    let mut out = Vec::new();
    while let Some(word) = r.word() {
        r.at += 1;
        out.push(match word {
            "superuser" => RoleOption::Superuser(true),
            "nosuperuser" => RoleOption::Superuser(false),
            "createdb" => RoleOption::CreateDb(true),
            "nocreatedb" => RoleOption::CreateDb(false),
            "createrole" => RoleOption::CreateRole(true),
            "nocreaterole" => RoleOption::CreateRole(false),
            "login" => RoleOption::Login(true),
            "nologin" => RoleOption::Login(false),
            "encrypted" if r.word() == Some("password") => continue,
            "password" => RoleOption::Password(if r.accept(&["null"]) { None } else { Some(r.string()?) }),
            "connection" => {
                r.expect(&["limit"])?;
                RoleOption::ConnectionLimit(i32::try_from(r.integer()?).unwrap_or(-1))
            }
            "inherit" | "noinherit" | "replication" | "noreplication" | "bypassrls" | "nobypassrls" => {
                RoleOption::Other(word.to_uppercase())
            }
            "valid" => {
                r.expect(&["until"])?;
                r.string()?;
                RoleOption::Other("VALID UNTIL".into())
            }
            "in" | "role" | "admin" | "user" => {
                let _ = r.accept(&["role"]) || r.accept(&["group"]);
                r.names()?;
                RoleOption::Other(word.to_uppercase())
            }
            _ => {
                r.at -= 1;
                return r.error();
            }
        });
    }
    Ok(out)
}

fn create_role(r: &mut Reader<'_>) -> Result<Ddl> {
    let user = r.word_at(1) == Some("user");
    r.at += 2;
    let name = r.name()?;
    Ok(Ddl::CreateRole { user, name, options: role_options(r)? })
}

fn alter_role(r: &mut Reader<'_>) -> Result<Ddl> {
    r.at += 2;
    let name = r.name()?;
    if r.accept(&["rename", "to"]) {
        return Ok(Ddl::RenameRole { name, to: r.name()? });
    }
    if matches!(r.word(), Some("set" | "reset" | "in")) {
        return unsupported(r, "ALTER ROLE … SET");
    }
    Ok(Ddl::AlterRole { name, options: role_options(r)? })
}

fn create_database(r: &mut Reader<'_>) -> Result<Ddl> {
    r.at += 2;
    let if_not_exists = r.accept(&["if", "not", "exists"]);
    let name = r.name()?;
    r.accept(&["with"]);
    let mut options = Vec::new();
    while !r.done() {
        let mut option = r.name()?;
        if option == "connection" {
            r.expect(&["limit"])?;
            option = "connection limit".into();
        }
        r.accept_token(&Token::Eq);
        let value = match r.peek() {
            Some(Token::Number(n, _)) => {
                r.at += 1;
                n.clone()
            }
            Some(Token::Minus) => r.integer()?.to_string(),
            Some(Token::Word(_)) => r.name()?,
            _ => r.string()?,
        };
        options.push((option, value));
    }
    Ok(Ddl::CreateDatabase { name, if_not_exists, options })
}

fn drop_database(r: &mut Reader<'_>) -> Result<Ddl> {
    r.at += 2;
    let if_exists = r.accept(&["if", "exists"]);
    let name = r.name()?;
    r.accept(&["with"]);
    let mut force = false;
    if r.accept_token(&Token::LParen) {
        r.expect(&["force"])?;
        r.expect_token(&Token::RParen)?;
        force = true;
    }
    Ok(Ddl::DropDatabase { if_exists, name, force })
}

fn name_action(r: &mut Reader<'_>, what: &str) -> Result<NameAction> {
    if r.accept(&["rename", "to"]) {
        return Ok(NameAction::Rename(r.name()?));
    }
    if r.accept(&["owner", "to"]) {
        return Ok(NameAction::Owner(r.name()?));
    }
    if matches!(r.word(), Some("set" | "reset" | "with" | "connection" | "refresh")) {
        return unsupported(r, &format!("{what} … {}", r.word().unwrap_or("").to_uppercase()));
    }
    r.error()
}

fn alter_relation(r: &mut Reader<'_>) -> Result<Ddl> {
    let object = match r.word_at(1) {
        Some("table") => RelationWord::Table,
        Some("index") => RelationWord::Index,
        Some("view") => RelationWord::View,
        _ => RelationWord::Sequence,
    };
    r.at += 2;
    let if_exists = r.accept(&["if", "exists"]);
    if object == RelationWord::Table {
        r.accept(&["only"]);
    }
    let name = r.object_name()?;
    let of_table = if object == RelationWord::Index && r.accept_token(&Token::AtSign) { Some(r.name()?) } else { None };
    if r.accept(&["split", "at"]) {
        let index = match (object, of_table) {
            (RelationWord::Table, _) => None,
            (RelationWord::Index, Some(index)) => Some(IndexName::OfTable(index)),
            (RelationWord::Index, None) => Some(IndexName::Itself),
            _ => return r.error(),
        };
        return Ok(Ddl::SplitAt { relation: name, index, rows: split_rows(r)? });
    }
    let renames = matches!(r.word(), Some("rename" | "set" | "owner")) && r.word_at(1) != Some("by");
    if object == RelationWord::Sequence && !renames {
        return Ok(Ddl::AlterSequence { if_exists, name, options: sequence_options(r)? });
    }
    let mut actions = Vec::new();
    for part in split_actions(r)? {
        let mut inner = Reader::new(r.source, part);
        let action = alter_action(&mut inner)?;
        if inner.done() {
            actions.push(action);
        } else {
            return inner.error();
        }
    }
    if actions.is_empty() {
        return r.error();
    }
    Ok(Ddl::AlterTable { object, if_exists, name, actions })
}

/// The comma-separated actions that are left.
fn split_actions<'a>(r: &mut Reader<'a>) -> Result<Vec<&'a [TokenWithSpan]>> {
    let rest = r.rest();
    let (mut out, mut depth, mut start) = (Vec::new(), 0i64, 0);
    for (n, token) in rest.iter().enumerate() {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth -= 1,
            Token::Comma if depth == 0 => {
                out.push(&rest[start..n]);
                start = n + 1;
            }
            _ => {}
        }
    }
    out.push(&rest[start..]);
    r.at = r.tokens.len();
    Ok(out)
}

fn alter_action(r: &mut Reader<'_>) -> Result<AlterAction> {
    if r.accept(&["set", "schema"]) {
        return Ok(AlterAction::SetSchema(r.name()?));
    }
    if r.accept(&["owner", "to"]) {
        return Ok(AlterAction::OwnerTo(r.name()?));
    }
    if r.accept(&["rename", "to"]) {
        return Ok(AlterAction::RenameTo(r.name()?));
    }
    if r.accept(&["alter", "constraint"]) {
        let name = r.name()?;
        let mut deferrable = false;
        let mut initially_deferred = false;
        while !r.done() {
            if r.accept(&["deferrable"]) {
                deferrable = true;
            } else if r.accept(&["not", "deferrable"]) {
                deferrable = false;
            } else if r.accept(&["initially", "deferred"]) {
                deferrable = true;
                initially_deferred = true;
            } else {
                r.expect(&["initially", "immediate"])?;
                initially_deferred = false;
            }
        }
        return Ok(AlterAction::AlterConstraint { name, deferrable, initially_deferred });
    }
    if r.word() == Some("alter") {
        let start = r.at;
        r.at += 1;
        r.accept(&["column"]);
        let column = r.name()?;
        if r.accept(&["drop", "identity"]) {
            return Ok(AlterAction::DropIdentity { column, if_exists: r.accept(&["if", "exists"]) });
        }
        if r.word() == Some("set") && matches!(r.word_at(1), Some("statistics" | "storage" | "compression")) {
            let what = format!("ALTER COLUMN … SET {}", r.word_at(1).unwrap_or("").to_uppercase());
            r.at = r.tokens.len();
            return Ok(AlterAction::Harmless(what));
        }
        r.at = start;
    }
    if r.word() == Some("cluster") || r.word() == Some("set") && matches!(r.word_at(1), Some("logged" | "without")) {
        let what = r.word().unwrap_or("").to_uppercase();
        r.at = r.tokens.len();
        return Ok(AlterAction::Harmless(what));
    }
    if let (Some(first @ ("enable" | "disable" | "force" | "inherit" | "attach" | "detach" | "replica")), second) = (r.word(), r.word_at(1))
    {
        return unsupported(r, &format!("ALTER TABLE … {} {}", first.to_uppercase(), second.unwrap_or("").to_uppercase()));
    }
    r.with_parser(|p| p.parse_alter_table_operation()).map(|op| AlterAction::Ast(Box::new(op)))
}

fn split_rows(r: &mut Reader<'_>) -> Result<Vec<Vec<ast::Expr>>> {
    r.expect(&["values"])?;
    let mut rows = Vec::new();
    loop {
        r.expect_token(&Token::LParen)?;
        rows.push(r.with_parser(|p| p.parse_comma_separated(sqlparser::parser::Parser::parse_expr))?);
        r.expect_token(&Token::RParen)?;
        if !r.accept_token(&Token::Comma) {
            return Ok(rows);
        }
    }
}

fn sequence_options(r: &mut Reader<'_>) -> Result<Vec<SequenceOption>> {
    let mut out = Vec::new();
    while !r.done() {
        out.push(if r.accept(&["as"]) {
            SequenceOption::As(r.data_type()?)
        } else if r.accept(&["increment"]) {
            r.accept(&["by"]);
            SequenceOption::Increment(r.integer()?)
        } else if r.accept(&["minvalue"]) {
            SequenceOption::Min(Some(r.integer()?))
        } else if r.accept(&["no", "minvalue"]) {
            SequenceOption::Min(None)
        } else if r.accept(&["maxvalue"]) {
            SequenceOption::Max(Some(r.integer()?))
        } else if r.accept(&["no", "maxvalue"]) {
            SequenceOption::Max(None)
        } else if r.accept(&["start"]) {
            r.accept(&["with"]);
            SequenceOption::Start(r.integer()?)
        } else if r.accept(&["restart"]) {
            let with = r.accept(&["with"]);
            let number = with || matches!(r.peek(), Some(Token::Number(..) | Token::Minus));
            SequenceOption::Restart(if number { Some(r.integer()?) } else { None })
        } else if r.accept(&["cache"]) {
            SequenceOption::Cache(r.integer()?)
        } else if r.accept(&["cycle"]) {
            SequenceOption::Cycle(true)
        } else if r.accept(&["no", "cycle"]) {
            SequenceOption::Cycle(false)
        } else if r.accept(&["owned", "by"]) {
            SequenceOption::OwnedBy(if r.accept(&["none"]) { None } else { Some(r.object_name()?) })
        } else {
            return r.error();
        });
    }
    if out.is_empty() { r.error() } else { Ok(out) }
}

fn comment(r: &mut Reader<'_>) -> Result<Ddl> {
    r.at += 1;
    r.expect(&["on"])?;
    let object = r.name()?;
    match object.as_str() {
        "table" | "column" | "index" | "view" | "sequence" | "schema" | "database" | "constraint" | "role" => {}
        _ => return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("COMMENT ON {} is not supported", object.to_uppercase()))),
    }
    let name = r.object_name()?;
    let on = if object == "constraint" {
        r.expect(&["on"])?;
        Some(r.object_name()?)
    } else {
        None
    };
    r.expect(&["is"])?;
    let comment = if r.accept(&["null"]) { None } else { Some(r.string()?) };
    Ok(Ddl::Comment { object, name, on, comment })
}
