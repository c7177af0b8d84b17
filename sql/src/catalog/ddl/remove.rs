//! DROP and TRUNCATE, with CASCADE.

use sqlparser::ast;

use super::names::display;
use super::{DdlRun, Job};
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};

impl DdlRun<'_> {
    pub(super) fn drop_objects(&mut self, kind: &ast::ObjectType, if_exists: bool, names: &[ast::ObjectName], cascade: bool) -> Result<String> {
        let word = match kind {
            ast::ObjectType::Table => "table",
            ast::ObjectType::View => "view",
            ast::ObjectType::Sequence => "sequence",
            ast::ObjectType::Index => "index",
            ast::ObjectType::Schema => "schema",
            other => return Err(SqlError::unsupported(format!("DROP {other}"))),
        };
        for name in names {
            match kind {
                ast::ObjectType::Schema => self.drop_schema(name, if_exists, cascade)?,
                ast::ObjectType::Index => self.drop_index(name, if_exists, cascade)?,
                _ => self.drop_named(word, name, if_exists, cascade)?,
            }
        }
        Ok(format!("DROP {}", word.to_ascii_uppercase()))
    }

    fn drop_named(&mut self, word: &str, name: &ast::ObjectName, if_exists: bool, cascade: bool) -> Result<()> {
        let last = self.split_name(name)?.1;
        let found = self.find(name)?.and_then(|oid| self.catalog().relations.get(&oid).cloned()).filter(|r| r.name == last);
        let Some(relation) = found else {
            let message = format!("{word} \"{}\" does not exist", display(name));
            if if_exists {
                self.notice(SqlState::UNDEFINED_TABLE, format!("{message}, skipping"));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
        };
        let actual = kind_word(&relation.kind);
        if actual != word {
            let message = format!("\"{}\" is not a {word}", relation.name);
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).hint(format!("Use DROP {} to remove a {actual}.", actual.to_ascii_uppercase())));
        }
        self.drop_one(relation.id, cascade)
    }

    /// Drops a relation and, with `cascade`, what depends on it.
    fn drop_one(&mut self, id: Oid, cascade: bool) -> Result<()> {
        let Some(relation) = self.catalog().relations.get(&id).cloned() else { return Ok(()) };
        let what = format!("{} {}", kind_word(&relation.kind), relation.name);
        let views: Vec<Oid> = self.viewers(id);
        if !views.is_empty() && !cascade {
            let detail = views.iter().filter_map(|v| self.catalog().relations.get(v)).map(|v| format!("view {} depends on {what}", v.name));
            return Err(dependents(&what, &detail.collect::<Vec<_>>().join("\n")));
        }
        for view in views {
            if let Some(view) = self.catalog().relations.get(&view).cloned() {
                self.notice(SqlState::SUCCESS, format!("drop cascades to view {}", view.name));
                self.drop_one(view.id, true)?;
            }
        }
        match &relation.kind {
            RelationKind::Table(table) => {
                for other in &table.referenced_by {
                    if *other != id {
                        self.drop_references(*other, id, None, cascade, &what)?;
                    }
                }
                for target in table.foreign_keys.iter().map(|f| f.referenced_table).filter(|t| *t != id) {
                    self.forget_reference(target, id);
                }
                for sequence in table.columns.iter().filter_map(|c| c.owned_sequence) {
                    self.changes.drop_relation(sequence);
                }
                let owned: Vec<Oid> = self.sequences_owned_by(id);
                for sequence in owned {
                    self.changes.drop_relation(sequence);
                }
            }
            RelationKind::Sequence(_) => self.drop_sequence_users(&relation, cascade)?,
            RelationKind::View(_) => {}
        }
        self.changes.drop_relation(id);
        Ok(())
    }

    fn sequences_owned_by(&self, table: Oid) -> Vec<Oid> {
        let owned = |r: &RelationDescriptor| matches!(&r.kind, RelationKind::Sequence(s) if s.owned_by.is_some_and(|(t, _)| t == table));
        self.catalog().relations.values().filter(|r| owned(r)).map(|r| r.id).collect()
    }

    fn drop_sequence_users(&mut self, sequence: &RelationDescriptor, cascade: bool) -> Result<()> {
        let users: Vec<RelationDescriptor> = self
            .catalog()
            .relations
            .values()
            .filter(|r| r.table().is_some_and(|t| t.columns.iter().any(|c| c.owned_sequence == Some(sequence.id))))
            .map(|r| r.as_ref().clone())
            .collect();
        for mut user in users {
            let what = format!("sequence {}", sequence.name);
            let user_name = user.name.clone();
            if let RelationKind::Table(table) = &mut user.kind {
                for column in table.columns.iter_mut().filter(|c| c.owned_sequence == Some(sequence.id)) {
                    if column.identity.is_some() {
                        let message = format!("cannot drop {what} because column {} of table {user_name} requires it", column.name);
                        let hint = format!("You can drop column {} of table {user_name} instead.", column.name);
                        return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message).hint(hint));
                    }
                    if !cascade {
                        let detail = format!("default value for column {} of table {user_name} depends on {what}", column.name);
                        return Err(dependents(&what, &detail));
                    }
                    column.owned_sequence = None;
                    column.default = None;
                }
            }
            self.changes.put_relation(user);
        }
        Ok(())
    }

    /// Views that read a relation.
    fn viewers(&self, id: Oid) -> Vec<Oid> {
        let reads = |r: &RelationDescriptor| matches!(&r.kind, RelationKind::View(v) if v.depends_on.contains(&id));
        self.catalog().relations.values().filter(|r| reads(r)).map(|r| r.id).collect()
    }

    /// View texts name what they read, so what they read keeps its name.
    pub(super) fn refuse_if_viewed(&self, id: Oid, what: &str, name: &str) -> Result<()> {
        match self.viewers(id).first().and_then(|v| self.catalog().relations.get(v)) {
            Some(view) => Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, format!("cannot {what} {name} because other objects depend on it"))
                .detail(format!("view {} depends on it", view.name))),
            None => Ok(()),
        }
    }

    /// Drops the foreign keys of `other` that refer to `target` (to one column of it, if given).
    pub(super) fn drop_references(&mut self, other: Oid, target: Oid, column: Option<u32>, cascade: bool, what: &str) -> Result<()> {
        self.drop_keys(other, target, cascade, what, &|f| column.is_none_or(|c| f.referenced_columns.contains(&c)))
    }

    /// Drops the foreign keys of `other` that need the unique key over `columns` of `target`.
    pub(super) fn drop_key_references(&mut self, other: Oid, target: Oid, columns: &[u32], cascade: bool, what: &str) -> Result<()> {
        let same = |f: &ForeignKeyDescriptor| f.referenced_columns.len() == columns.len() && f.referenced_columns.iter().all(|c| columns.contains(c));
        self.drop_keys(other, target, cascade, what, &same)
    }

    fn drop_keys(&mut self, other: Oid, target: Oid, cascade: bool, what: &str, affected: &dyn Fn(&ForeignKeyDescriptor) -> bool) -> Result<()> {
        let Some(relation) = self.catalog().relations.get(&other) else { return Ok(()) };
        let mut relation = relation.as_ref().clone();
        let name = relation.name.clone();
        let RelationKind::Table(table) = &mut relation.kind else { return Ok(()) };
        let gone: Vec<String> =
            table.foreign_keys.iter().filter(|f| f.referenced_table == target && affected(f)).map(|f| f.name.clone()).collect();
        if gone.is_empty() {
            return Ok(());
        }
        if !cascade {
            let detail = gone.iter().map(|g| format!("constraint {g} on table {name} depends on {what}")).collect::<Vec<_>>().join("\n");
            return Err(dependents(what, &detail));
        }
        table.foreign_keys.retain(|f| !(f.referenced_table == target && affected(f)));
        self.changes.put_relation(relation);
        for key in gone {
            self.notice(SqlState::SUCCESS, format!("drop cascades to constraint {key} on table {name}"));
        }
        Ok(())
    }

    fn forget_reference(&mut self, target: Oid, by: Oid) {
        let Some(relation) = self.catalog().relations.get(&target) else { return };
        let mut relation = relation.as_ref().clone();
        if let RelationKind::Table(table) = &mut relation.kind {
            table.referenced_by.retain(|t| *t != by);
            self.changes.put_relation(relation);
        }
    }

    fn drop_index(&mut self, name: &ast::ObjectName, if_exists: bool, cascade: bool) -> Result<()> {
        let last = self.split_name(name)?.1;
        let found = self.find(name)?.and_then(|oid| self.catalog().relations.get(&oid).cloned());
        let Some(relation) = found else {
            let message = format!("index \"{}\" does not exist", display(name));
            if if_exists {
                self.notice(SqlState::UNDEFINED_OBJECT, format!("{message}, skipping"));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
        };
        if relation.name == last {
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{last}\" is not an index")));
        }
        let mut relation = relation.as_ref().clone();
        let (id, table_name) = (relation.id, relation.name.clone());
        let RelationKind::Table(table) = &mut relation.kind else { return Ok(()) };
        let constrained = table.all_indexes().any(|i| i.name == last && i.constraint.is_some()) || table.primary.name == last;
        if constrained {
            let message = format!("cannot drop index {last} because constraint {last} on table {table_name} requires it");
            return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                .hint(format!("You can drop constraint {last} on table {table_name} instead.")));
        }
        let columns: Vec<u32> =
            table.indexes.iter().filter(|i| i.name == last && i.unique).flat_map(|i| i.keys.iter().map(|k| k.column)).collect();
        table.indexes.retain(|i| i.name != last);
        let referenced_by = table.referenced_by.clone();
        self.changes.put_relation(relation);
        for other in referenced_by.into_iter().filter(|_| !columns.is_empty()) {
            self.drop_key_references(other, id, &columns, cascade, &format!("index {last}"))?;
        }
        Ok(())
    }

    fn drop_schema(&mut self, name: &ast::ObjectName, if_exists: bool, cascade: bool) -> Result<()> {
        let last = self.split_name(name)?.1;
        let found = self.catalog().schemas.values().find(|s| s.database == self.database && s.name == last).cloned();
        let Some(schema) = found else {
            let message = format!("schema \"{last}\" does not exist");
            if if_exists {
                self.notice(SqlState::INVALID_SCHEMA_NAME, format!("{message}, skipping"));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, message));
        };
        let inside: Vec<Oid> = self.catalog().relations.values().filter(|r| r.schema == schema.id).map(|r| r.id).collect();
        if !inside.is_empty() && !cascade {
            let detail: Vec<String> = inside
                .iter()
                .filter_map(|id| self.catalog().relations.get(id))
                .map(|r| format!("{} {last}.{} depends on schema {last}", kind_word(&r.kind), r.name))
                .collect();
            return Err(dependents(&format!("schema {last}"), &detail.join("\n")));
        }
        if inside.len() > 1 {
            self.notice(SqlState::SUCCESS, format!("drop cascades to {} other objects", inside.len()));
        }
        for id in inside {
            self.drop_one(id, true)?;
        }
        self.changes.drop_schema(schema.id);
        Ok(())
    }

    pub(super) async fn truncate(&mut self, truncate: &ast::Truncate) -> Result<()> {
        let mut ids = vec![];
        for target in &truncate.table_names {
            let (relation, _) = self.table(&target.name)?;
            ids.push(relation.id);
        }
        let cascade = matches!(truncate.cascade, Some(ast::CascadeOption::Cascade));
        let mut at = 0;
        while at < ids.len() {
            let Some(relation) = self.catalog().relations.get(&ids[at]).cloned() else { break };
            for other in relation.table().map(|t| t.referenced_by.clone()).unwrap_or_default() {
                if ids.contains(&other) {
                    continue;
                }
                let name = self.catalog().relations.get(&other).map(|r| r.name.clone()).unwrap_or_default();
                if !cascade {
                    let message = "cannot truncate a table referenced in a foreign key constraint";
                    return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                        .detail(format!("Table \"{name}\" references \"{}\".", relation.name))
                        .hint(format!("Truncate table \"{name}\" at the same time, or use TRUNCATE ... CASCADE.")));
                }
                self.notice(SqlState::SUCCESS, format!("truncate cascades to table \"{name}\""));
                ids.push(other);
            }
            at += 1;
        }
        let restart = matches!(truncate.identity, Some(ast::TruncateIdentityOption::Restart));
        for id in ids {
            let storage = self.store.allocate_oid().await?;
            let Some(relation) = self.catalog().relations.get(&id) else { continue };
            let mut relation = relation.as_ref().clone();
            if let RelationKind::Table(table) = &mut relation.kind {
                self.changes.discard_storage(table.storage_id);
                table.storage_id = storage;
                if restart {
                    let sequences = table.columns.iter().filter_map(|c| c.owned_sequence);
                    self.jobs.extend(sequences.map(|sequence| Job::ResetSequence { sequence, last: None }));
                }
            }
            self.changes.put_relation(relation);
        }
        Ok(())
    }
}

fn kind_word(kind: &RelationKind) -> &'static str {
    match kind {
        RelationKind::Table(_) => "table",
        RelationKind::View(_) => "view",
        RelationKind::Sequence(_) => "sequence",
    }
}

fn dependents(what: &str, detail: &str) -> SqlError {
    SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, format!("cannot drop {what} because other objects depend on it"))
        .detail(detail)
        .hint("Use DROP ... CASCADE to drop the dependent objects too.")
}
