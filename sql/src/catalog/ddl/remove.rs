//! DROP and TRUNCATE, with CASCADE.

use sqlparser::ast;

use super::alter::mentions;
use super::names::display;
use super::{DdlRun, Job};
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};

impl DdlRun<'_> {
    pub(super) fn drop_objects(
        &mut self,
        kind: &ast::ObjectType,
        if_exists: bool,
        names: &[ast::ObjectName],
        cascade: bool,
    ) -> Result<String> {
        let word = match kind {
            ast::ObjectType::Table => "table",
            ast::ObjectType::View => "view",
            ast::ObjectType::Sequence => "sequence",
            ast::ObjectType::Index => "index",
            ast::ObjectType::Schema => "schema",
            other => return Err(SqlError::unsupported(format!("DROP {other}"))),
        };
        let mut roots = vec![];
        for name in names {
            match kind {
                ast::ObjectType::Schema => self.drop_schema(name, if_exists, cascade)?,
                ast::ObjectType::Index => self.drop_index(name, if_exists, cascade)?,
                _ => roots.extend(self.relation_to_drop(word, name, if_exists)?),
            }
        }
        let what = match roots.as_slice() {
            [one] => self.catalog().relations.get(one).map(|r| self.described(r)).unwrap_or_default(),
            _ => "desired object(s)".into(),
        };
        self.drop_relations(&roots, &what, cascade, None)?;
        Ok(format!("DROP {}", word.to_ascii_uppercase()))
    }

    /// The relation that a DROP names; `None` when it may be absent and is.
    fn relation_to_drop(&mut self, word: &str, name: &ast::ObjectName, if_exists: bool) -> Result<Option<Oid>> {
        let (schema, last) = self.split_name(name)?;
        let found = self.find(name)?.and_then(|oid| self.catalog().relations.get(&oid).cloned());
        let Some(relation) = found else {
            if let (true, Some(schema)) = (if_exists, &schema)
                && self.catalog().schema_named(self.database, schema).is_none()
            {
                self.notice(SqlState::SUCCESS, format!("schema \"{schema}\" does not exist, skipping"));
                return Ok(None);
            }
            let message = format!("{word} \"{}\" does not exist", display(name));
            if if_exists {
                self.notice(SqlState::SUCCESS, format!("{message}, skipping"));
                return Ok(None);
            }
            return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
        };
        let actual = if relation.name == last { kind_word(&relation.kind) } else { "index" };
        if actual != word {
            let message = format!("\"{last}\" is not a {word}");
            let hint =
                format!("Use DROP {} to remove {} {actual}.", actual.to_ascii_uppercase(), if actual == "index" { "an" } else { "a" });
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).hint(hint));
        }
        Ok(Some(relation.id))
    }

    /// Drops relations and, with `cascade`, what depends on them. `schema`: they go because this schema goes, and are told like dependents.
    fn drop_relations(&mut self, roots: &[Oid], what: &str, cascade: bool, schema: Option<&str>) -> Result<()> {
        let mut found = Dependents { roots: roots.to_vec(), gone: vec![], lines: vec![] };
        let because = schema.map(|s| format!("schema {s}"));
        // A schema's contents are its dependents, and dependents are looked at newest first.
        let ordered: Vec<Oid> = if schema.is_some() { roots.iter().rev().copied().collect() } else { roots.to_vec() };
        for root in ordered {
            self.gather(root, because.as_deref(), schema.is_some(), &mut found);
        }
        // Gathered leaves first; told roots first.
        found.lines.reverse();
        if !cascade && !found.lines.is_empty() {
            let detail: Vec<String> = found.lines.iter().map(|(object, on)| format!("{object} depends on {on}")).collect();
            return Err(dependents(what, &detail.join("\n")));
        }
        self.tell_cascade(found.lines.iter().map(|(object, _)| object.clone()).collect());
        // Only now, with the whole set known, anything is changed.
        for id in &found.gone {
            self.drop_keys_onto(*id, &found.gone);
        }
        // Tables take their own sequences with them; a sequence that is left is dropped for itself.
        let is_sequence = |id: &Oid| self.catalog().relations.get(id).is_some_and(|r| matches!(r.kind, RelationKind::Sequence(_)));
        let (sequences, others): (Vec<Oid>, Vec<Oid>) = found.gone.into_iter().partition(is_sequence);
        for id in others.into_iter().chain(sequences) {
            self.drop_one(id, cascade)?;
        }
        Ok(())
    }

    /// "drop cascades to …", one line or many, as PostgreSQL says it.
    fn tell_cascade(&mut self, objects: Vec<String>) {
        match objects.as_slice() {
            [] => {}
            [one] => self.notice(SqlState::SUCCESS, format!("drop cascades to {one}")),
            many => {
                let detail = many.iter().map(|o| format!("drop cascades to {o}")).collect::<Vec<_>>().join("\n");
                let message = format!("drop cascades to {} other objects", many.len());
                self.notices.push(("NOTICE", SqlError::new(SqlState::SUCCESS, message).detail(detail)));
            }
        }
    }

    /// Collects `id` and what depends on it, dependents before what they depend on (PostgreSQL's `findDependentObjects`).
    fn gather(&self, id: Oid, because: Option<&str>, told: bool, found: &mut Dependents) {
        if found.gone.contains(&id) {
            return;
        }
        let Some(relation) = self.catalog().relations.get(&id) else { return };
        let own = self.described(relation);
        // Marked before its dependents are looked at: references may go round in a circle.
        found.gone.push(id);
        let place = found.gone.len() - 1;
        let viewers = self.viewers(id);
        let reads = |view: &Oid, other: &Oid| {
            let relation = self.catalog().relations.get(view);
            matches!(relation.map(|r| &r.kind), Some(RelationKind::View(v)) if v.depends_on.contains(other))
        };
        // A view over views lists all they read: it is reached through the nearest one.
        let mut users: Vec<Oid> = viewers.iter().filter(|v| !viewers.iter().any(|w| w != *v && reads(v, w))).copied().collect();
        users.extend(relation.table().map(|t| t.referenced_by.clone()).unwrap_or_default());
        users.sort_unstable();
        users.dedup();
        for user in users.into_iter().rev().filter(|u| *u != id) {
            let Some(other) = self.catalog().relations.get(&user) else { continue };
            match &other.kind {
                RelationKind::View(_) => self.gather(user, Some(&own), !found.roots.contains(&user), found),
                RelationKind::Table(table) if !found.roots.contains(&user) => {
                    for key in table.foreign_keys.iter().rev().filter(|f| f.referenced_table == id) {
                        found.lines.push((format!("constraint {} on table {}", key.name, self.shown(other)), own.clone()));
                    }
                }
                _ => {}
            }
        }
        let moved = found.gone.remove(place);
        found.gone.push(moved);
        if told && let Some(because) = because {
            // An owned sequence goes silently with its table.
            let owned = matches!(&relation.kind, RelationKind::Sequence(s) if s.owned_by.is_some_and(|(t, _)| found.roots.contains(&t)));
            if !owned {
                found.lines.push((own, because.to_owned()));
            }
        }
    }

    /// Drops the foreign keys of tables that stay onto a table that goes.
    fn drop_keys_onto(&mut self, id: Oid, gone: &[Oid]) {
        let Some(table) = self.catalog().relations.get(&id).and_then(|r| r.table()) else { return };
        let staying: Vec<Oid> = table.referenced_by.iter().copied().filter(|other| !gone.contains(other)).collect();
        for other in staying {
            let Some(relation) = self.catalog().relations.get(&other) else { continue };
            let mut relation = relation.as_ref().clone();
            if let RelationKind::Table(table) = &mut relation.kind {
                table.foreign_keys.retain(|f| f.referenced_table != id);
            }
            self.changes.put_relation(relation);
        }
    }

    /// Drops one relation, whose dependents are dealt with.
    fn drop_one(&mut self, id: Oid, cascade: bool) -> Result<()> {
        let Some(relation) = self.catalog().relations.get(&id).cloned() else { return Ok(()) };
        match &relation.kind {
            RelationKind::Table(table) => {
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

    /// A relation's name in messages: qualified unless the search path leads to it.
    pub(super) fn shown(&self, relation: &RelationDescriptor) -> String {
        let first = self.search_path.iter().find_map(|s| {
            let schema = self.catalog().schema_named(self.database, s)?;
            self.catalog().by_name.get(&(schema, relation.name.clone())).copied()
        });
        if first == Some(relation.id) { relation.name.clone() } else { format!("{}.{}", self.schema_name(relation.schema), relation.name) }
    }

    fn described(&self, relation: &RelationDescriptor) -> String {
        format!("{} {}", kind_word(&relation.kind), self.shown(relation))
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
                    if !cascade && column.default.is_some() {
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
            Some(view) => Err(SqlError::unsupported(format!("{what} \"{name}\", which a view reads,"))
                .detail(format!("View {} reads it by this name.", self.shown(view)))),
            None => Ok(()),
        }
    }

    /// Views whose text mentions a column of a relation.
    pub(super) fn viewers_of_column(&self, id: Oid, column: &str) -> Vec<RelationDescriptor> {
        let reads = |r: &RelationDescriptor| matches!(&r.kind, RelationKind::View(v) if mentions(&v.query, column));
        self.viewers(id).iter().filter_map(|v| self.catalog().relations.get(v)).filter(|r| reads(r)).map(|r| r.as_ref().clone()).collect()
    }

    /// Before a column goes: views that read it go with CASCADE, or keep it.
    pub(super) fn drop_column_viewers(&mut self, id: Oid, column: &str, cascade: bool) -> Result<()> {
        let views = self.viewers_of_column(id, column);
        if views.is_empty() {
            return Ok(());
        }
        let table = self.catalog().relations.get(&id).map(|r| self.shown(r)).unwrap_or_default();
        let what = format!("column {column} of table {table}");
        if !cascade {
            let detail: Vec<String> = views.iter().map(|v| format!("view {} depends on {what}", self.shown(v))).collect();
            return Err(dependents(&what, &detail.join("\n")));
        }
        let ids: Vec<Oid> = views.iter().map(|v| v.id).collect();
        self.tell_cascade(views.iter().map(|v| format!("view {}", self.shown(v))).collect());
        self.drop_relations(&ids, &what, true, None)
    }

    /// Drops the foreign keys of `other` that refer to `target` (to one column of it, if given).
    pub(super) fn drop_references(&mut self, other: Oid, target: Oid, column: Option<u32>, cascade: bool, what: &str) -> Result<()> {
        self.drop_keys(other, target, cascade, what, &|f| column.is_none_or(|c| f.referenced_columns.contains(&c)))
    }

    /// Drops the foreign keys of `other` that need the unique key over `columns` of `target`.
    pub(super) fn drop_key_references(&mut self, other: Oid, target: Oid, columns: &[u32], cascade: bool, what: &str) -> Result<()> {
        let same = |f: &ForeignKeyDescriptor| {
            f.referenced_columns.len() == columns.len() && f.referenced_columns.iter().all(|c| columns.contains(c))
        };
        self.drop_keys(other, target, cascade, what, &same)
    }

    fn drop_keys(
        &mut self,
        other: Oid,
        target: Oid,
        cascade: bool,
        what: &str,
        affected: &dyn Fn(&ForeignKeyDescriptor) -> bool,
    ) -> Result<()> {
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
            let actual = kind_word(&relation.kind);
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{last}\" is not an index"))
                .hint(format!("Use DROP {} to remove a {actual}.", actual.to_ascii_uppercase())));
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
        let gone: Vec<u32> = table.indexes.iter().filter(|i| i.name == last).map(|i| i.id).collect();
        table.indexes.retain(|i| i.name != last);
        gone.into_iter().for_each(|index| self.changes.discard_index(table.storage_id, index));
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
        self.drop_relations(&inside, &format!("schema {last}"), cascade, Some(&last))?;
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

/// What a DROP takes with it.
struct Dependents {
    /// What the statement names.
    roots: Vec<Oid>,
    /// Relations to drop, dependents before what they depend on.
    gone: Vec<Oid>,
    /// Objects the statement does not name, and what each depends on.
    lines: Vec<(String, String)>,
}

pub(super) fn kind_word(kind: &RelationKind) -> &'static str {
    match kind {
        RelationKind::Table(_) => "table",
        RelationKind::View(_) => "view",
        RelationKind::Sequence(_) => "sequence",
    }
}

fn dependents(what: &str, detail: &str) -> SqlError {
    let them = if what.starts_with("desired") { "them" } else { "it" };
    SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, format!("cannot drop {what} because other objects depend on {them}"))
        .detail(detail)
        .hint("Use DROP ... CASCADE to drop the dependent objects too.")
}
