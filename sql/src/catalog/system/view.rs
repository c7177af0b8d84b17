//! A snapshot as one database's system catalog sees it: what belongs to the database, and what is shown of it.
//!
//! **Hidden.** The `rowid` column of a table without a primary key, and the index over it, appear nowhere.

use std::sync::Arc;

use crate::catalog::descriptor::*;
use crate::catalog::snapshot::CatalogSnapshot;
use crate::functions::quote_ident;
use crate::types::{DataType, NO_TYPMOD};

use super::expression::Printer;
use super::fixed::{self, SystemRelation};

/// Shared by [`super::Lookup`] and the tables.
#[derive(Clone, Debug)]
pub struct View {
    /// The catalog.
    pub catalog: Arc<CatalogSnapshot>,
    /// The current database.
    pub database: Oid,
    /// The effective search path, `pg_catalog` included.
    pub search_path: Vec<String>,
}

/// What an OID of `pg_class` is.
#[derive(Clone, Copy, Debug)]
pub enum Class<'a> {
    /// A table, view or sequence.
    Relation(&'a RelationDescriptor),
    /// An index and its table.
    Index(&'a RelationDescriptor, &'a TableDescriptor, &'a IndexDescriptor),
    /// A system relation.
    System(&'static SystemRelation),
}

impl Class<'_> {
    /// Its schema.
    pub fn schema(&self) -> Oid {
        match self {
            Class::Relation(r) | Class::Index(r, ..) => r.schema,
            Class::System(r) => r.schema,
        }
    }
    /// Its own name.
    pub fn name(&self) -> &str {
        match self {
            Class::Relation(r) => &r.name,
            Class::Index(_, _, i) => &i.name,
            Class::System(r) => r.name,
        }
    }
}

/// A constraint of a table.
#[derive(Clone, Copy, Debug)]
pub enum Constraint<'a> {
    /// PRIMARY KEY or UNIQUE.
    Key(Oid, &'a IndexDescriptor, bool),
    /// CHECK.
    Check(&'a CheckDescriptor),
    /// FOREIGN KEY.
    Foreign(&'a ForeignKeyDescriptor),
}

impl<'a> Constraint<'a> {
    /// Its OID.
    pub fn oid(&self) -> Oid {
        match self {
            Constraint::Key(oid, ..) => *oid,
            Constraint::Check(c) => c.oid,
            Constraint::Foreign(f) => f.oid,
        }
    }
    /// Its name.
    pub fn name(&self) -> &'a str {
        match self {
            Constraint::Key(_, index, _) => &index.name,
            Constraint::Check(c) => &c.name,
            Constraint::Foreign(f) => &f.name,
        }
    }
}

/// Columns of a sequence, as a relation.
pub const SEQUENCE_COLUMNS: [(&str, DataType); 3] =
    [("last_value", DataType::INT8), ("log_cnt", DataType::INT8), ("is_called", DataType::BOOL)];

/// The indexes of a table that are shown.
pub fn shown_indexes(table: &TableDescriptor) -> impl Iterator<Item = &IndexDescriptor> {
    table.all_indexes().filter(|i| i.keys.iter().all(|k| table.column(k.column).is_some_and(|c| !c.hidden)))
}

/// The columns of a table or view that are shown.
pub fn shown_columns(relation: &RelationDescriptor) -> Vec<ColumnDescriptor> {
    match &relation.kind {
        RelationKind::Table(t) => t.columns.iter().filter(|c| !c.hidden).cloned().collect(),
        RelationKind::View(v) => v.columns.clone(),
        RelationKind::Sequence(_) => SEQUENCE_COLUMNS
            .iter()
            .zip(1..)
            .map(|((name, ty), id)| ColumnDescriptor {
                id,
                name: (*name).to_owned(),
                ty: *ty,
                typmod: NO_TYPMOD,
                not_null: true,
                default: None,
                identity: None,
                generated: None,
                owned_sequence: None,
                missing_value: None,
                hidden: false,
                comment: None,
            })
            .collect(),
    }
}

/// The constraints of a table: keys, checks, foreign keys.
pub fn constraints(table: &TableDescriptor) -> impl Iterator<Item = Constraint<'_>> {
    let keys = shown_indexes(table).filter_map(|i| match i.constraint? {
        ConstraintKind::Primary(oid) => Some(Constraint::Key(oid, i, true)),
        ConstraintKind::Unique(oid) => Some(Constraint::Key(oid, i, false)),
    });
    keys.chain(table.checks.iter().map(Constraint::Check)).chain(table.foreign_keys.iter().map(Constraint::Foreign))
}

/// The name of a sequence that a column owns, and whether the column's default is the sequence's own (`serial`, not identity).
pub fn column_name(table: &TableDescriptor, id: u32) -> String {
    table.column(id).map(|c| quote_ident(&c.name)).unwrap_or_default()
}

impl View {
    /// Relations of this database, by OID.
    pub fn relations(&self) -> impl Iterator<Item = &RelationDescriptor> {
        self.catalog.relations.values().map(Arc::as_ref).filter(|r| r.database == self.database)
    }

    /// Tables of this database.
    pub fn tables(&self) -> impl Iterator<Item = (&RelationDescriptor, &TableDescriptor)> {
        self.relations().filter_map(|r| Some((r, r.table()?)))
    }

    /// Views of this database.
    pub fn views(&self) -> impl Iterator<Item = (&RelationDescriptor, &ViewDescriptor)> {
        self.relations().filter_map(|r| match &r.kind {
            RelationKind::View(v) => Some((r, v)),
            _ => None,
        })
    }

    /// Sequences of this database.
    pub fn sequences(&self) -> impl Iterator<Item = (&RelationDescriptor, &SequenceDescriptor)> {
        self.relations().filter_map(|r| match &r.kind {
            RelationKind::Sequence(s) => Some((r, s)),
            _ => None,
        })
    }

    /// Schemas of this database: OID, name, owner, comment.
    pub fn schemas(&self) -> Vec<(Oid, &str, Oid, Option<&str>)> {
        let mut all = vec![
            (PG_CATALOG_OID, "pg_catalog", ROOT_ROLE_OID, Some("system catalog schema")),
            (INFORMATION_SCHEMA_OID, "information_schema", ROOT_ROLE_OID, None),
        ];
        let own = self.catalog.schemas.values().filter(|s| s.database == self.database);
        all.extend(own.map(|s| (s.id, s.name.as_str(), s.owner, s.comment.as_deref())));
        all
    }

    /// A schema's name.
    pub fn schema_name(&self, oid: Oid) -> Option<&str> {
        match oid {
            PG_CATALOG_OID => Some("pg_catalog"),
            INFORMATION_SCHEMA_OID => Some("information_schema"),
            _ => self.catalog.schemas.get(&oid).map(|s| s.name.as_str()),
        }
    }

    /// A role's name.
    pub fn role_name(&self, oid: Oid) -> Option<&str> {
        self.catalog.roles.get(&oid).map(|r| r.name.as_str())
    }

    /// The current database's name.
    pub fn database_name(&self) -> &str {
        self.catalog.databases.get(&self.database).map_or("", |d| d.name.as_str())
    }

    /// What an OID of `pg_class` is, in this database.
    pub fn class(&self, oid: Oid) -> Option<Class<'_>> {
        if oid < FIRST_USER_OID {
            return fixed::relation_by_oid(oid).map(Class::System);
        }
        if let Some(relation) = self.catalog.relations.get(&oid) {
            return (relation.database == self.database).then_some(Class::Relation(relation));
        }
        self.tables().find_map(|(r, t)| shown_indexes(t).find(|i| i.oid == oid).map(|i| Class::Index(r, t, i)))
    }

    /// The OID of a name in one schema.
    pub fn class_named(&self, schema: &str, name: &str) -> Option<Oid> {
        let schema = self.catalog.schema_named(self.database, schema)?;
        if matches!(schema, PG_CATALOG_OID | INFORMATION_SCHEMA_OID) {
            return fixed::relation_named(name).filter(|r| r.schema == schema).map(|r| r.oid);
        }
        let owner = self.catalog.relations.get(self.catalog.by_name.get(&(schema, name.to_owned()))?)?;
        if owner.name == name {
            return Some(owner.id);
        }
        owner.table()?.all_indexes().find(|i| i.name == name).map(|i| i.oid)
    }

    /// Whether a name alone finds the object: its schema is the first of the search path that has the name.
    pub fn is_visible(&self, class: &Class<'_>, oid: Oid) -> bool {
        self.search_path.iter().find_map(|s| self.class_named(s, class.name())) == Some(oid)
    }

    /// The name that finds the object: qualified only where it must be.
    pub fn shown_name(&self, oid: Oid) -> Option<String> {
        let class = self.class(oid)?;
        if self.is_visible(&class, oid) { Some(quote_ident(class.name())) } else { Some(self.qualified_name(&class)) }
    }

    /// `schema.name`
    pub fn qualified_name(&self, class: &Class<'_>) -> String {
        format!("{}.{}", quote_ident(self.schema_name(class.schema()).unwrap_or_default()), quote_ident(class.name()))
    }

    /// Looks a possibly qualified, possibly quoted name up.
    pub fn find(&self, text: &str) -> Option<Oid> {
        let parts = split_name(text)?;
        match parts.as_slice() {
            [name] => self.search_path.iter().find_map(|s| self.class_named(s, name)),
            [schema, name] => self.class_named(schema, name),
            [database, schema, name] if database == self.database_name() => self.class_named(schema, name),
            _ => None,
        }
    }

    /// The constraint with an OID, and its table.
    pub fn constraint(&self, oid: Oid) -> Option<(&RelationDescriptor, &TableDescriptor, Constraint<'_>)> {
        self.tables().find_map(|(r, t)| constraints(t).find(|c| c.oid() == oid).map(|c| (r, t, c)))
    }

    /// Gives expression text PostgreSQL's shape, over the columns of a table.
    pub fn print<T>(&self, columns: &[ColumnDescriptor], pretty: bool, with: impl FnOnce(&Printer<'_>) -> T) -> T {
        let relation = |name: &str| self.find(name).and_then(|oid| self.shown_name(oid)).unwrap_or_else(|| name.to_owned());
        with(&Printer { columns, pretty, relation: &relation })
    }

    /// A column's default or generation expression as PostgreSQL prints it.
    pub fn default_text(&self, table: &TableDescriptor, column: &ColumnDescriptor) -> Option<String> {
        match (&column.generated, &column.default) {
            (Some(text), _) => Some(self.print(&table.columns, false, |p| p.expression(text))),
            // An identity column's sequence is not its default.
            (None, Some(_)) if column.identity.is_some() => None,
            (None, Some(text)) => Some(self.print(&[], false, |p| p.default(text, column))),
            (None, None) => None,
        }
    }

    /// The index on the referenced table that makes a foreign key's target unique.
    pub fn referenced_index(&self, key: &ForeignKeyDescriptor) -> Option<&IndexDescriptor> {
        let wanted: std::collections::BTreeSet<u32> = key.referenced_columns.iter().copied().collect();
        let table = self.catalog.relations.get(&key.referenced_table)?.table()?;
        table.all_indexes().find(|i| i.unique && i.keys.iter().map(|k| k.column).collect::<std::collections::BTreeSet<_>>() == wanted)
    }
}

/// `a."B c".d` → its parts, folded; `None` if it is no name.
pub fn split_name(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![];
    let mut rest = text.trim();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next()? {
                    (_, '"') if chars.peek().is_some_and(|(_, c)| *c == '"') => {
                        chars.next();
                        name.push('"');
                    }
                    (i, '"') => break i + 1,
                    (_, c) => name.push(c),
                }
            };
            parts.push(name);
            rest = quoted[end..].trim_start();
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let name = rest[..end].trim();
            if name.is_empty() || name.contains(['"', ' ']) {
                return None;
            }
            parts.push(name.to_lowercase());
            rest = &rest[end..];
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None => return rest.is_empty().then_some(parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split_name;

    #[test]
    fn names_are_split_at_dots_outside_quotes() {
        let parts = |text| split_name(text).map(|p| p.join("|"));
        assert_eq!(parts("Public.\"A.\"\"b\""), Some("public|A.\"b".into()));
        assert_eq!(parts(" t "), Some("t".into()));
        assert_eq!(parts("a..b"), None);
        assert_eq!(parts("\"open"), None);
        assert_eq!(parts(""), None);
    }
}
