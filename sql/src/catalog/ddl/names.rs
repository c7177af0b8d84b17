//! Names in DDL: where an unqualified name goes, and the names PostgreSQL makes up.

use sqlparser::ast;

use super::DdlRun;
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};

/// Longest identifier in bytes (PostgreSQL: NAMEDATALEN − 1).
pub const MAX_IDENTIFIER_BYTES: usize = 63;

/// The parts of a name; the front has folded them already.
pub fn parts(name: &ast::ObjectName) -> Result<Vec<String>> {
    name.0
        .iter()
        .map(|p| match p {
            ast::ObjectNamePart::Identifier(ident) => Ok(ident.value.clone()),
            ast::ObjectNamePart::Function(_) => Err(SqlError::unsupported("a computed object name")),
        })
        .collect()
}

/// The name as the user wrote it, for messages.
pub fn display(name: &ast::ObjectName) -> String {
    parts(name).map(|p| p.join(".")).unwrap_or_else(|_| name.to_string())
}

impl DdlRun<'_> {
    /// Schema (if given) and last part of a name, checking the database part.
    pub(super) fn split_name(&self, name: &ast::ObjectName) -> Result<(Option<String>, String)> {
        let mut parts = parts(name)?;
        let last = parts.pop().ok_or_else(|| SqlError::new(SqlState::SYNTAX_ERROR, "empty object name"))?;
        let schema = parts.pop();
        if let Some(database) = parts.pop() {
            let current = self.catalog().databases.get(&self.database).map(|d| d.name.clone()).unwrap_or_default();
            if database != current {
                let message = format!("cross-database references are not implemented: \"{}\"", display(name));
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
            }
        }
        Ok((schema, last))
    }

    /// Where a new object of this name goes: schema OID and name.
    pub(super) fn creation_target(&self, name: &ast::ObjectName) -> Result<(Oid, String)> {
        let (schema, last) = self.split_name(name)?;
        let oid = match schema {
            Some(schema) => self.schema_oid(&schema)?,
            None => self
                .search_path
                .iter()
                .find_map(|s| self.catalog().schema_named(self.database, s).filter(|oid| *oid != PG_CATALOG_OID))
                .ok_or_else(|| SqlError::new(SqlState::INVALID_SCHEMA_NAME, "no schema has been selected to create in"))?,
        };
        if matches!(oid, PG_CATALOG_OID | INFORMATION_SCHEMA_OID) {
            let message = format!("permission denied to create \"{}\"", display(name));
            return Err(
                SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message).detail("System catalog modifications are currently disallowed.")
            );
        }
        Ok((oid, last))
    }

    /// A schema's OID by name.
    pub(super) fn schema_oid(&self, name: &str) -> Result<Oid> {
        self.catalog()
            .schema_named(self.database, name)
            .ok_or_else(|| SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist")))
    }

    /// A schema's name by OID.
    pub(super) fn schema_name(&self, oid: Oid) -> String {
        match oid {
            PG_CATALOG_OID => "pg_catalog".into(),
            INFORMATION_SCHEMA_OID => "information_schema".into(),
            _ => self.catalog().schemas.get(&oid).map(|s| s.name.clone()).unwrap_or_default(),
        }
    }

    /// The relation that owns `name` (a table also owns its indexes' names), looking along the search path.
    pub(super) fn find(&self, name: &ast::ObjectName) -> Result<Option<Oid>> {
        let (schema, last) = self.split_name(name)?;
        let lookup = |schema: &str| {
            let schema = self.catalog().schema_named(self.database, schema)?;
            self.catalog().by_name.get(&(schema, last.clone())).copied()
        };
        Ok(match schema {
            Some(schema) => lookup(&schema),
            None => self.search_path.iter().find_map(|s| lookup(s)),
        })
    }

    /// A relation by its own name; `42P01` if there is none.
    pub(super) fn relation(&self, name: &ast::ObjectName) -> Result<RelationDescriptor> {
        let (_, last) = self.split_name(name)?;
        match self.find(name)?.and_then(|oid| self.catalog().relations.get(&oid)) {
            Some(relation) if relation.name == last => Ok(relation.as_ref().clone()),
            Some(_) => Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{last}\" is an index"))),
            None => Err(SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", display(name)))),
        }
    }

    /// A table by name, and its descriptor's parts.
    pub(super) fn table(&self, name: &ast::ObjectName) -> Result<(RelationDescriptor, TableDescriptor)> {
        let relation = self.relation(name)?;
        match relation.table().cloned() {
            Some(table) => Ok((relation, table)),
            None => Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a table", relation.name))),
        }
    }

    /// `42P07` if the name is taken in the schema.
    pub(super) fn must_be_free(&self, schema: Oid, name: &str) -> Result<()> {
        if self.catalog().by_name.contains_key(&(schema, name.to_owned())) {
            return Err(SqlError::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
        }
        Ok(())
    }

    /// PostgreSQL's `ChooseRelationName`: `name1_name2_label`, shortened to fit, numbered until free.
    pub(super) fn choose_name(&self, schema: Oid, table: &str, columns: &str, label: &str, also_taken: &[String]) -> String {
        for attempt in 0_u32.. {
            let label = if attempt == 0 { label.to_owned() } else { format!("{label}{attempt}") };
            let name = object_name(table, columns, &label);
            if !self.catalog().by_name.contains_key(&(schema, name.clone())) && !also_taken.contains(&name) {
                return name;
            }
        }
        unreachable!("there are more names than objects")
    }
}

/// PostgreSQL's `makeObjectName`: the longer of the first two parts is cut until all fits.
pub fn object_name(first: &str, second: &str, label: &str) -> String {
    let overhead = label.len() + 1 + usize::from(!second.is_empty());
    let room = MAX_IDENTIFIER_BYTES.saturating_sub(overhead);
    let (mut a, mut b) = (first.len(), second.len());
    while a + b > room {
        if a > b { a -= 1 } else { b -= 1 }
    }
    let (first, second) = (cut(first, a), cut(second, b));
    if second.is_empty() { format!("{first}_{label}") } else { format!("{first}_{second}_{label}") }
}

fn cut(text: &str, mut bytes: usize) -> &str {
    while !text.is_char_boundary(bytes) {
        bytes -= 1;
    }
    &text[..bytes]
}

/// An identifier as SQL text.
pub fn quote(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$')
        && !sqlparser::keywords::ALL_KEYWORDS.contains(&name.to_ascii_uppercase().as_str());
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_are_postgresql_s() {
        assert_eq!(object_name("t", "", "pkey"), "t_pkey");
        assert_eq!(object_name("orders", "customer_id", "fkey"), "orders_customer_id_fkey");
        let long = object_name(&"t".repeat(80), &"c".repeat(20), "key");
        assert_eq!((long.len(), long.ends_with(&format!("_{}_key", "c".repeat(20)))), (63, true));
    }
}
