//! ALTER TABLE, and the forms that other relations share with it.

use sqlparser::ast;

use super::constraint::{ConstraintSpec, constraint_names, constraint_spec};
use super::names::{display, quote};
use super::sequence::undefined_column;
use super::table::plain_column;
use super::{Constant, DdlRun, Job, JobError};
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};
use crate::front::statement::{AlterAction, RelationWord};
use crate::types::DataType;
use crate::types::casts::{CastContext, find_cast};

impl DdlRun<'_> {
    pub(super) async fn alter_relation(
        &mut self,
        word: RelationWord,
        if_exists: bool,
        name: &ast::ObjectName,
        actions: &[AlterAction],
    ) -> Result<()> {
        let Some(id) = self.find(name)? else {
            if if_exists {
                self.notice(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist, skipping", display(name)));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", display(name))));
        };
        let last = self.split_name(name)?.1;
        let is_index = self.catalog().relations.get(&id).is_some_and(|r| r.name != last);
        if is_index {
            return self.alter_index(id, &last, actions);
        }
        if word == RelationWord::Index {
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{last}\" is not an index")));
        }
        for action in actions {
            self.alter(id, action).await?;
        }
        Ok(())
    }

    fn alter_index(&mut self, table: Oid, name: &str, actions: &[AlterAction]) -> Result<()> {
        for action in actions {
            match action {
                AlterAction::RenameTo(to) => {
                    let mut relation = self.current(table)?;
                    self.must_be_free(relation.schema, to)?;
                    if let RelationKind::Table(t) = &mut relation.kind {
                        for index in std::iter::once(&mut t.primary).chain(&mut t.indexes).filter(|i| i.name == name) {
                            index.name.clone_from(to);
                        }
                    }
                    self.changes.put_relation(relation);
                }
                AlterAction::Harmless(what) => self.harmless(what),
                _ => return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a table"))),
            }
        }
        Ok(())
    }

    fn harmless(&mut self, what: &str) {
        self.notice(SqlState::WARNING, format!("{what} has no effect here"));
    }

    /// The relation as changed so far.
    fn current(&self, id: Oid) -> Result<RelationDescriptor> {
        self.catalog().relations.get(&id).map(|r| r.as_ref().clone()).ok_or_else(|| SqlError::internal("the relation vanished"))
    }

    async fn alter(&mut self, id: Oid, action: &AlterAction) -> Result<()> {
        match action {
            AlterAction::Ast(operation) => self.operate(id, operation).await,
            AlterAction::SetSchema(schema) => {
                let schema = self.schema_oid(schema)?;
                let mut relation = self.current(id)?;
                self.must_be_free(schema, &relation.name)?;
                self.refuse_if_viewed(id, "moving", &relation.name)?;
                let owned: Vec<Oid> =
                    relation.table().map(|t| t.columns.iter().filter_map(|c| c.owned_sequence).collect()).unwrap_or_default();
                let old = sequence_text(&self.qualified(&relation));
                relation.schema = schema;
                let new = sequence_text(&self.qualified(&relation));
                self.changes.put_relation(relation);
                self.retarget_defaults(&old, &new);
                // As in PostgreSQL, a column's own sequence moves with its table.
                for sequence in owned {
                    Box::pin(self.alter(sequence, action)).await?;
                }
                Ok(())
            }
            AlterAction::OwnerTo(owner) => {
                let mut relation = self.current(id)?;
                relation.owner = self.role_oid(owner)?;
                self.changes.put_relation(relation);
                Ok(())
            }
            AlterAction::RenameTo(to) => {
                let mut relation = self.current(id)?;
                self.must_be_free(relation.schema, to)?;
                self.refuse_if_viewed(id, "renaming", &relation.name)?;
                let old = sequence_text(&self.qualified(&relation));
                relation.name.clone_from(to);
                let new = sequence_text(&self.qualified(&relation));
                self.changes.put_relation(relation);
                self.retarget_defaults(&old, &new);
                Ok(())
            }
            AlterAction::AlterConstraint { name, deferrable, initially_deferred } => {
                let mut relation = self.current(id)?;
                let table_name = relation.name.clone();
                let RelationKind::Table(table) = &mut relation.kind else { return Err(not_a_table(&table_name)) };
                let Some(key) = table.foreign_keys.iter_mut().find(|f| f.name == *name) else {
                    return Err(undefined_constraint(name, &table_name));
                };
                (key.deferrable, key.initially_deferred) = (*deferrable, *initially_deferred);
                self.changes.put_relation(relation);
                Ok(())
            }
            AlterAction::SetIdentity { column, always } => self.set_identity(id, column, *always),
            AlterAction::DropIdentity { column, if_exists } => self.drop_identity(id, column, *if_exists),
            AlterAction::Harmless(what) => {
                self.harmless(what);
                Ok(())
            }
        }
    }

    /// Defaults name their sequence: they follow when it gets another name.
    pub(super) fn retarget_defaults(&mut self, old: &str, new: &str) {
        let uses = |r: &RelationDescriptor| {
            r.table().is_some_and(|t| t.columns.iter().any(|c| c.default.as_deref().is_some_and(|d| d.contains(old))))
        };
        let users: Vec<RelationDescriptor> = self.catalog().relations.values().filter(|r| uses(r)).map(|r| r.as_ref().clone()).collect();
        for mut user in users {
            if let RelationKind::Table(table) = &mut user.kind {
                for default in table.columns.iter_mut().filter_map(|c| c.default.as_mut()) {
                    *default = default.replace(old, new);
                }
            }
            self.changes.put_relation(user);
        }
    }

    async fn operate(&mut self, id: Oid, operation: &ast::AlterTableOperation) -> Result<()> {
        use ast::AlterTableOperation as Op;
        self.refuse_on_view(id, operation)?;
        match operation {
            Op::AddColumn { if_not_exists, column_def, .. } => self.alter_add_column(id, *if_not_exists, column_def).await,
            Op::DropColumn { column_names, if_exists, drop_behavior, .. } => {
                let cascade = matches!(drop_behavior, Some(ast::DropBehavior::Cascade));
                for column in column_names {
                    self.drop_column(id, &column.value, *if_exists, cascade)?;
                }
                Ok(())
            }
            Op::RenameColumn { old_column_name, new_column_name } => self.rename_column(id, &old_column_name.value, &new_column_name.value),
            Op::RenameTable { table_name: ast::RenameTableNameKind::To(to) | ast::RenameTableNameKind::As(to) } => {
                let to = self.split_name(to)?.1;
                Box::pin(self.alter(id, &AlterAction::RenameTo(to))).await
            }
            Op::RenameConstraint { old_name, new_name } => self.rename_constraint(id, &old_name.value, &new_name.value),
            Op::AddConstraint { constraint, not_valid } => self.add_constraint(id, constraint, *not_valid).await,
            Op::DropConstraint { if_exists, name, drop_behavior } => {
                let cascade = matches!(drop_behavior, Some(ast::DropBehavior::Cascade));
                self.drop_constraint(id, &name.value, *if_exists, cascade).await
            }
            Op::ValidateConstraint { name } => self.validate_constraint(id, &name.value),
            Op::AlterColumn { column_name, op } => self.alter_column(id, &column_name.value, op).await,
            Op::OwnerTo { new_owner } => {
                let owner = new_owner.to_string().trim_matches('"').to_owned();
                Box::pin(self.alter(id, &AlterAction::OwnerTo(owner))).await
            }
            other => Err(SqlError::unsupported(format!("ALTER TABLE {other}"))),
        }
    }

    /// What PostgreSQL says of a table's action on a view.
    fn refuse_on_view(&self, id: Oid, operation: &ast::AlterTableOperation) -> Result<()> {
        use ast::AlterTableOperation as Op;
        let relation = self.current(id)?;
        let kind = match &relation.kind {
            RelationKind::View(_) => "views",
            RelationKind::Sequence(_) => "sequences",
            RelationKind::Table(_) => return Ok(()),
        };
        let action = match operation {
            Op::AddColumn { .. } => "ADD COLUMN",
            Op::DropColumn { .. } => "DROP COLUMN",
            Op::AddConstraint { .. } => "ADD CONSTRAINT",
            Op::DropConstraint { .. } => "DROP CONSTRAINT",
            Op::ValidateConstraint { .. } => "VALIDATE CONSTRAINT",
            Op::AlterColumn { op: ast::AlterColumnOperation::SetNotNull, .. } => "ALTER COLUMN ... SET NOT NULL",
            Op::AlterColumn { op: ast::AlterColumnOperation::DropNotNull, .. } => "ALTER COLUMN ... DROP NOT NULL",
            Op::AlterColumn { op: ast::AlterColumnOperation::SetDataType { .. }, .. } => "ALTER COLUMN ... TYPE",
            _ => return Ok(()),
        };
        let message = format!("ALTER action {action} cannot be performed on relation \"{}\"", relation.name);
        Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).detail(format!("This operation is not supported for {kind}.")))
    }

    async fn alter_add_column(&mut self, id: Oid, if_not_exists: bool, definition: &ast::ColumnDef) -> Result<()> {
        let mut relation = self.current(id)?;
        let name = &definition.name.value;
        if relation.table().is_some_and(|t| t.column_named(name).is_some()) {
            let message = format!("column \"{name}\" of relation \"{}\" already exists", relation.name);
            if if_not_exists {
                self.notice(SqlState::DUPLICATE_COLUMN, format!("{message}, skipping"));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
        }
        let column = self.add_column(&mut relation, definition).await?;
        let specs = self.collect_constraints(&relation, std::slice::from_ref(definition), &[])?;
        if specs.iter().any(|s| matches!(s, ConstraintSpec::Key { primary: true, .. })) {
            return Err(SqlError::unsupported("ADD COLUMN … PRIMARY KEY (add the column, then the key)"));
        }
        let rewrite = self.missing_value(&mut relation, column, definition)?;
        for spec in &specs {
            match spec {
                ConstraintSpec::Key { name, columns, include, .. } => {
                    let index = self.add_key(&mut relation, name.clone(), false, columns, include).await?;
                    self.hide_until_filled(&mut relation, index);
                }
                ConstraintSpec::Check { name, expr, column } => {
                    self.add_check(&mut relation, name.clone(), expr, column.as_deref(), true).await?;
                    let check = relation.table().and_then(|t| t.checks.last().cloned());
                    self.changes.put_relation(relation.clone());
                    self.jobs.extend(check.map(|c| self.check_rows(&relation, &c)));
                }
                ConstraintSpec::Foreign { .. } => {}
            }
        }
        let not_null = relation.table().and_then(|t| t.column(column)).is_some_and(|c| c.not_null);
        self.changes.put_relation(relation.clone());
        if let Some(assignment) = rewrite {
            self.jobs.insert(0, Job::Run(format!("UPDATE {} SET {} = {assignment}", self.qualified(&relation), quote(name))));
        }
        if not_null {
            self.jobs.push(self.not_null_rows(&relation, name));
        }
        self.add_foreign_keys(id, &specs, true).await
    }

    /// What rows written before the column was there read in it: a constant kept in the catalog, or (volatile, serial, generated) a rewrite.
    fn missing_value(&mut self, relation: &mut RelationDescriptor, column: u32, definition: &ast::ColumnDef) -> Result<Option<String>> {
        let default = definition.options.iter().find_map(|o| match &o.option {
            ast::ColumnOption::Default(expr) => Some(expr),
            _ => None,
        });
        let frozen = relation.clone();
        let RelationKind::Table(table) = &mut relation.kind else { return Ok(None) };
        let Some(descriptor) = table.columns.iter_mut().find(|c| c.id == column) else { return Ok(None) };
        if let Some(text) = &descriptor.generated {
            let expr = crate::front::parse_expression(text)?.1;
            let bound =
                self.analyzer.expression(self.changes.snapshot(), Some(&frozen), &expr, descriptor.ty, descriptor.typmod, "GENERATED")?;
            descriptor.generated = Some(bound);
            return Ok(Some("DEFAULT".into()));
        }
        if descriptor.owned_sequence.is_some() {
            return Ok(Some("DEFAULT".into()));
        }
        let Some(default) = default else { return Ok(None) };
        match self.analyzer.constant(self.changes.snapshot(), default, descriptor.ty, descriptor.typmod)? {
            Constant::Value(value) => {
                descriptor.missing_value = value;
                Ok(None)
            }
            Constant::Varies => Ok(Some("DEFAULT".into())),
        }
    }

    /// An index on a table with rows is filled before readers use it.
    fn hide_until_filled(&mut self, relation: &mut RelationDescriptor, index: u32) {
        if let RelationKind::Table(table) = &mut relation.kind
            && let Some(descriptor) = table.indexes.iter_mut().find(|i| i.id == index)
        {
            descriptor.state = IndexState::WriteOnly;
        }
        self.jobs.push(Job::Backfill { table: relation.id, index });
    }

    pub(super) fn qualified(&self, relation: &RelationDescriptor) -> String {
        format!("{}.{}", quote(&self.schema_name(relation.schema)), quote(&relation.name))
    }

    fn check_rows(&self, relation: &RelationDescriptor, check: &CheckDescriptor) -> Job {
        Job::MustBeEmpty {
            query: format!("SELECT 1 FROM {} WHERE NOT ({}) LIMIT 1", self.qualified(relation), check.expression),
            error: Box::new(JobError {
                code: SqlState::CHECK_VIOLATION.0,
                message: format!("check constraint \"{}\" of relation \"{}\" is violated by some row", check.name, relation.name),
                detail: None,
                table: relation.id,
                constraint: Some(check.name.clone()),
                column: None,
            }),
        }
    }

    fn not_null_rows(&self, relation: &RelationDescriptor, column: &str) -> Job {
        Job::MustBeEmpty {
            query: format!("SELECT 1 FROM {} WHERE {} IS NULL LIMIT 1", self.qualified(relation), quote(column)),
            error: Box::new(JobError {
                code: SqlState::NOT_NULL_VIOLATION.0,
                message: format!("column \"{column}\" of relation \"{}\" contains null values", relation.name),
                detail: None,
                table: relation.id,
                constraint: None,
                column: Some(column.to_owned()),
            }),
        }
    }

    fn drop_column(&mut self, id: Oid, name: &str, if_exists: bool, cascade: bool) -> Result<()> {
        self.drop_column_viewers(id, name, cascade)?;
        let mut relation = self.current(id)?;
        let table_name = relation.name.clone();
        let RelationKind::Table(table) = &mut relation.kind else { return Err(not_a_table(&table_name)) };
        let Some(column) = table.column_named(name).filter(|c| !c.hidden).cloned() else {
            if if_exists {
                self.notice(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" of relation \"{table_name}\" does not exist, skipping"));
                return Ok(());
            }
            return Err(undefined_column(name, &table_name));
        };
        if table.primary.keys.iter().any(|k| k.column == column.id) {
            return Err(SqlError::unsupported("dropping a column of the primary key"));
        }
        let keyed = |i: &IndexDescriptor| i.keys.iter().any(|k| k.column == column.id) || i.include.contains(&column.id);
        // As in PostgreSQL, the column's own indexes and constraints go with it; what other tables have on it needs CASCADE.
        for index in table.indexes.iter().filter(|i| keyed(i)) {
            self.changes.discard_index(table.storage_id, index.id);
        }
        table.indexes.retain(|i| !keyed(i));
        table.foreign_keys.retain(|f| !f.columns.contains(&column.id));
        table.checks.retain(|c| !mentions(&c.expression, name));
        table.columns.retain(|c| c.id != column.id);
        let referenced_by = table.referenced_by.clone();
        for other in referenced_by {
            self.drop_references(other, id, Some(column.id), cascade, &format!("column {name} of table {table_name}"))?;
        }
        if let Some(sequence) = column.owned_sequence {
            self.changes.drop_relation(sequence);
        }
        self.changes.put_relation(relation);
        Ok(())
    }

    fn rename_column(&mut self, id: Oid, old: &str, new: &str) -> Result<()> {
        let mut relation = self.current(id)?;
        let table_name = relation.name.clone();
        let frozen = relation.clone();
        let columns = match &mut relation.kind {
            RelationKind::Table(table) => &mut table.columns,
            RelationKind::View(view) => &mut view.columns,
            RelationKind::Sequence(_) => return Err(not_a_table(&table_name)),
        };
        if columns.iter().any(|c| c.name == new) {
            let message = format!("column \"{new}\" of relation \"{table_name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
        }
        let Some(column) = columns.iter_mut().find(|c| c.name == old && !c.hidden) else {
            return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{old}\" does not exist")));
        };
        column.name = new.to_owned();
        let in_text = frozen.table().is_some_and(|t| {
            t.checks.iter().any(|c| mentions(&c.expression, old))
                || t.columns.iter().any(|c| c.generated.as_deref().is_some_and(|g| mentions(g, old)))
                || t.indexes.iter().any(|i| i.predicate.as_deref().is_some_and(|p| mentions(p, old)))
        });
        if in_text {
            return Err(SqlError::unsupported("renaming a column that a check, generated column or index predicate uses"));
        }
        if !self.viewers_of_column(id, old).is_empty() {
            self.refuse_if_viewed(id, "renaming a column of", &table_name)?;
        }
        self.changes.put_relation(relation);
        Ok(())
    }

    fn rename_constraint(&mut self, id: Oid, old: &str, new: &str) -> Result<()> {
        let mut relation = self.current(id)?;
        let table_name = relation.name.clone();
        if constraint_names(&relation).iter().any(|n| n == new) {
            let message = format!("constraint \"{new}\" for relation \"{table_name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, message));
        }
        let RelationKind::Table(table) = &mut relation.kind else { return Err(not_a_table(&table_name)) };
        let keys = std::iter::once(&mut table.primary).chain(&mut table.indexes).filter(|i| i.constraint.is_some()).map(|i| &mut i.name);
        let checks = table.checks.iter_mut().map(|c| &mut c.name);
        let foreign = table.foreign_keys.iter_mut().map(|f| &mut f.name);
        match keys.chain(checks).chain(foreign).find(|n| *n == old) {
            Some(name) => *name = new.to_owned(),
            None => {
                let message = format!("constraint \"{old}\" for table \"{table_name}\" does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
            }
        }
        self.changes.put_relation(relation);
        Ok(())
    }

    async fn add_constraint(&mut self, id: Oid, constraint: &ast::TableConstraint, not_valid: bool) -> Result<()> {
        let mut relation = self.current(id)?;
        match constraint_spec(constraint)? {
            ConstraintSpec::Key { name, primary: false, columns, include } => {
                let index = self.add_key(&mut relation, name, false, &columns, &include).await?;
                self.hide_until_filled(&mut relation, index);
                self.changes.put_relation(relation);
                Ok(())
            }
            ConstraintSpec::Key { name, primary: true, columns, .. } => self.change_primary(relation, name, &columns).await,
            ConstraintSpec::Check { name, expr, column } => {
                self.add_check(&mut relation, name, &expr, column.as_deref(), !not_valid).await?;
                let check = relation.table().and_then(|t| t.checks.last().cloned());
                self.changes.put_relation(relation.clone());
                if !not_valid {
                    self.jobs.extend(check.map(|c| self.check_rows(&relation, &c)));
                }
                Ok(())
            }
            ConstraintSpec::Foreign { name, columns, key } => {
                self.add_foreign_key(id, name, &columns, &key, !not_valid).await?;
                let mut relation = self.current(id)?;
                if let RelationKind::Table(table) = &mut relation.kind
                    && let Some(key) = table.foreign_keys.last_mut()
                {
                    key.validated = !not_valid;
                }
                self.changes.put_relation(relation);
                Ok(())
            }
        }
    }

    /// A new primary key moves every row to a new key: the table is filled anew beside itself, then takes over the copy's storage.
    async fn change_primary(&mut self, mut relation: RelationDescriptor, name: Option<String>, columns: &[String]) -> Result<()> {
        let table = relation.table().cloned().ok_or_else(|| not_a_table(&relation.name))?;
        if matches!(table.primary.constraint, Some(ConstraintKind::Primary(_))) {
            let message = format!("multiple primary keys for table \"{}\" are not allowed", relation.name);
            return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
        }
        for column in columns {
            self.jobs.push(self.not_null_rows(&relation, column));
        }
        let original = relation.clone();
        self.add_key(&mut relation, name, true, columns, &[]).await?;
        if let RelationKind::Table(t) = &mut relation.kind {
            t.columns.retain(|c| !c.hidden);
        }
        self.rewrite(&original, relation, None).await
    }

    /// Fills a scratch table of the new definition from the old one, and lets the old one adopt it. `cast`: a column's new value.
    async fn rewrite(&mut self, old: &RelationDescriptor, new: RelationDescriptor, cast: Option<(&str, String)>) -> Result<()> {
        let scratch = self.store.allocate_oid().await?;
        let mut copy = new;
        copy.id = scratch;
        copy.name = format!("meridian_rewrite_{scratch}");
        if let RelationKind::Table(table) = &mut copy.kind {
            table.storage_id = scratch;
            table.foreign_keys.clear();
            table.referenced_by.clear();
            for index in std::iter::once(&mut table.primary).chain(&mut table.indexes) {
                index.name = format!("{}_{scratch}", index.name);
                index.state = IndexState::Public;
            }
        }
        let visible: Vec<&ColumnDescriptor> =
            copy.table().map(|t| t.columns.iter().filter(|c| !c.hidden && c.generated.is_none()).collect()).unwrap_or_default();
        let targets: Vec<String> = visible.iter().map(|c| quote(&c.name)).collect();
        let values: Vec<String> = visible
            .iter()
            .map(|c| match &cast {
                Some((column, expression)) if *column == c.name => expression.clone(),
                _ => quote(&c.name),
            })
            .collect();
        let insert = format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}",
            self.qualified(&copy),
            targets.join(", "),
            values.join(", "),
            self.qualified(old)
        );
        self.changes.put_relation(copy);
        self.jobs.push(Job::Rewrite { sql: insert, table: old.id, scratch });
        self.jobs.push(Job::Adopt { table: old.id, scratch });
        Ok(())
    }

    /// After a rewrite: the table takes over columns, indexes and storage of the scratch table, and keeps its names and references.
    pub fn adopt(&mut self, table: Oid, scratch: Oid) -> Result<()> {
        let copy = self.current(scratch)?;
        let mut relation = self.current(table)?;
        let (RelationKind::Table(own), RelationKind::Table(new)) = (&mut relation.kind, copy.kind) else {
            return Err(SqlError::internal("a rewrite of no table"));
        };
        let old_storage = own.storage_id;
        let suffix = format!("_{scratch}");
        let rename = |mut index: IndexDescriptor| {
            if let Some(name) = index.name.strip_suffix(&suffix) {
                index.name = name.to_owned();
            }
            index
        };
        own.columns = new.columns;
        own.next_column = new.next_column;
        own.primary = rename(new.primary);
        own.indexes = new.indexes.into_iter().map(rename).collect();
        own.next_index = new.next_index;
        own.checks = new.checks;
        own.storage_id = new.storage_id;
        self.changes.forget_relation(scratch);
        self.changes.discard_storage(old_storage);
        self.changes.put_relation(relation);
        Ok(())
    }

    async fn drop_constraint(&mut self, id: Oid, name: &str, if_exists: bool, cascade: bool) -> Result<()> {
        let mut relation = self.current(id)?;
        let table_name = relation.name.clone();
        let frozen = relation.clone();
        let RelationKind::Table(table) = &mut relation.kind else { return Err(not_a_table(&table_name)) };
        if let Some(at) = table.indexes.iter().position(|i| i.name == name && i.constraint.is_some()) {
            let columns: Vec<u32> = table.indexes[at].keys.iter().map(|k| k.column).collect();
            self.changes.discard_index(table.storage_id, table.indexes[at].id);
            table.indexes.remove(at);
            for other in table.referenced_by.clone() {
                self.drop_key_references(other, id, &columns, cascade, &format!("constraint {name} on table {table_name}"))?;
            }
        } else if table.primary.name == name && matches!(table.primary.constraint, Some(ConstraintKind::Primary(_))) {
            let columns: Vec<u32> = table.primary.keys.iter().map(|k| k.column).collect();
            for other in table.referenced_by.clone() {
                self.drop_key_references(other, id, &columns, cascade, &format!("constraint {name} on table {table_name}"))?;
            }
            table.primary.keys.clear();
            table.primary.constraint = None;
            self.finish_primary(&mut relation).await?;
            return self.rewrite(&frozen, relation, None).await;
        } else if table.checks.iter().any(|c| c.name == name) {
            table.checks.retain(|c| c.name != name);
        } else if table.foreign_keys.iter().any(|f| f.name == name) {
            table.foreign_keys.retain(|f| f.name != name);
        } else if if_exists {
            self.notice(SqlState::UNDEFINED_OBJECT, format!("constraint \"{name}\" of relation \"{table_name}\" does not exist, skipping"));
            return Ok(());
        } else {
            return Err(undefined_constraint(name, &table_name));
        }
        self.changes.put_relation(relation);
        Ok(())
    }

    fn validate_constraint(&mut self, id: Oid, name: &str) -> Result<()> {
        let mut relation = self.current(id)?;
        let frozen = relation.clone();
        let RelationKind::Table(table) = &mut relation.kind else { return Err(not_a_table(&frozen.name)) };
        if let Some(check) = table.checks.iter_mut().find(|c| c.name == name) {
            check.validated = true;
            let check = check.clone();
            self.jobs.push(self.check_rows(&frozen, &check));
        } else if let Some(key) = table.foreign_keys.iter_mut().find(|f| f.name == name) {
            key.validated = true;
            let key = key.clone();
            let target = self.current(key.referenced_table)?;
            if let (Some(own), Some(other)) = (frozen.table(), target.table()) {
                let job = self.foreign_key_check(&frozen, own, &target, other, &key);
                self.jobs.push(job);
            }
        } else {
            return Err(undefined_constraint(name, &frozen.name));
        }
        self.changes.put_relation(relation);
        Ok(())
    }

    async fn alter_column(&mut self, id: Oid, name: &str, operation: &ast::AlterColumnOperation) -> Result<()> {
        let mut relation = self.current(id)?;
        let frozen = relation.clone();
        let RelationKind::Table(table) = &mut relation.kind else { return Err(not_a_table(&frozen.name)) };
        let in_primary = |table: &TableDescriptor, id: u32| table.primary.keys.iter().any(|k| k.column == id);
        let Some(column) = table.columns.iter_mut().find(|c| c.name == name && !c.hidden) else {
            return Err(undefined_column(name, &frozen.name));
        };
        match operation {
            ast::AlterColumnOperation::SetNotNull => {
                column.not_null = true;
                self.jobs.push(self.not_null_rows(&frozen, name));
            }
            ast::AlterColumnOperation::DropNotNull => {
                column.not_null = false;
                if column.identity.is_some() {
                    let message = format!("column \"{name}\" of relation \"{}\" is an identity column", frozen.name);
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
                }
                let id = column.id;
                if in_primary(table, id) {
                    return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, format!("column \"{name}\" is in a primary key")));
                }
            }
            ast::AlterColumnOperation::SetDefault { value } => {
                let text = self.analyzer.expression(self.changes.snapshot(), None, value, column.ty, column.typmod, "DEFAULT")?;
                column.default = Some(text);
            }
            ast::AlterColumnOperation::DropDefault => column.default = None,
            ast::AlterColumnOperation::SetDataType { data_type, using, .. } => {
                return self.change_type(frozen, name, data_type, using.as_ref()).await;
            }
            ast::AlterColumnOperation::AddGenerated { generated_as, sequence_options } => {
                if column.identity.is_some() || column.default.is_some() {
                    let message = format!("column \"{name}\" of relation \"{}\" already has a default value", frozen.name);
                    return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
                }
                let always = matches!(generated_as, Some(ast::GeneratedAs::Always));
                column.identity = Some(if always { Identity::Always } else { Identity::ByDefault });
                column.not_null = true;
                let (id, ty) = (column.id, column.ty);
                let options = self.options_from_ast(sequence_options.as_deref().unwrap_or(&[]))?;
                self.own_sequence(&mut relation, id, ty, &options).await?;
            }
            ast::AlterColumnOperation::GenericOptions { .. } => return Err(SqlError::unsupported("ALTER COLUMN OPTIONS")),
        }
        self.changes.put_relation(relation);
        Ok(())
    }

    /// ALTER COLUMN TYPE: in the catalog alone when stored values stay as they are, otherwise by a rewrite.
    async fn change_type(&mut self, old: RelationDescriptor, name: &str, ty: &ast::DataType, using: Option<&ast::Expr>) -> Result<()> {
        let (ty, typmod) = self.analyzer.data_type(self.catalog(), ty)?;
        if let Some(view) = self.viewers_of_column(old.id, name).first() {
            let message = "cannot alter type of a column used by a view or rule";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                .detail(format!("rule _RETURN on view {} depends on column \"{name}\"", self.shown(view))));
        }
        let mut new = old.clone();
        let RelationKind::Table(table) = &mut new.kind else { return Err(not_a_table(&old.name)) };
        let Some(column) = table.columns.iter_mut().find(|c| c.name == name) else { return Err(undefined_column(name, &old.name)) };
        let by_assignment = |to| find_cast(column.ty, to, CastContext::Assignment).is_some();
        if using.is_none() && !by_assignment(ty) {
            let target = crate::types::format_type(ty, typmod);
            let message = format!("column \"{name}\" cannot be cast automatically to type {}", crate::types::format_type(ty, -1));
            return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message)
                .hint(format!("You might need to specify \"USING {}::{target}\".", quote(name))));
        }
        if column.default.is_some() && !by_assignment(ty) {
            let message =
                format!("default for column \"{name}\" cannot be cast automatically to type {}", crate::types::format_type(ty, -1));
            return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message));
        }
        let widened = using.is_none() && stored_alike(column.ty, column.typmod, ty, typmod);
        (column.ty, column.typmod) = (ty, typmod);
        if widened {
            self.changes.put_relation(new);
            return Ok(());
        }
        if let Some(value) = column.missing_value.take() {
            // The rewrite stores it in every row.
            column.default.get_or_insert(format!("'{}'", value.replace('\'', "''")));
        }
        let target = crate::types::format_type(ty, typmod);
        let expression = match using {
            Some(expr) => format!("({expr})::{target}"),
            None => format!("{}::{target}", quote(name)),
        };
        self.rewrite(&old, new, Some((name, expression))).await
    }

    fn set_identity(&mut self, id: Oid, name: &str, always: bool) -> Result<()> {
        let mut relation = self.current(id)?;
        let table_name = relation.name.clone();
        let RelationKind::Table(table) = &mut relation.kind else { return Err(not_a_table(&table_name)) };
        let Some(column) = table.columns.iter_mut().find(|c| c.name == name) else { return Err(undefined_column(name, &table_name)) };
        if column.identity.is_none() {
            let message = format!("column \"{name}\" of relation \"{table_name}\" is not an identity column");
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        column.identity = Some(if always { Identity::Always } else { Identity::ByDefault });
        self.changes.put_relation(relation);
        Ok(())
    }

    fn drop_identity(&mut self, id: Oid, name: &str, if_exists: bool) -> Result<()> {
        let mut relation = self.current(id)?;
        let table_name = relation.name.clone();
        let RelationKind::Table(table) = &mut relation.kind else { return Err(not_a_table(&table_name)) };
        let Some(column) = table.columns.iter_mut().find(|c| c.name == name) else { return Err(undefined_column(name, &table_name)) };
        if column.identity.take().is_none() {
            let message = format!("column \"{name}\" of relation \"{table_name}\" is not an identity column");
            if if_exists {
                self.notice(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, format!("{message}, skipping"));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        column.default = None;
        if let Some(sequence) = column.owned_sequence.take() {
            self.changes.drop_relation(sequence);
        }
        self.changes.put_relation(relation);
        Ok(())
    }
}

pub(super) fn not_a_table(name: &str) -> SqlError {
    SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a table"))
}

fn undefined_constraint(name: &str, table: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("constraint \"{name}\" of relation \"{table}\" does not exist"))
}

/// How a default names a sequence.
pub(super) fn sequence_text(qualified: &str) -> String {
    format!("'{qualified}'::regclass")
}

/// Whether an expression's text uses a column name: as a whole word, outside string literals. May say yes too often, never too seldom.
pub(super) fn mentions(text: &str, column: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(column).any(|(at, found)| !text[..at].ends_with(word) && !text[at + found.len()..].starts_with(word))
}

/// Whether values of the old type are stored exactly as values of the new one, in rows and in keys.
fn stored_alike(old: DataType, old_mod: i32, new: DataType, new_mod: i32) -> bool {
    let text = |ty| matches!(ty, DataType::TEXT | DataType::VARCHAR);
    if text(old) && text(new) {
        return new_mod == -1 || (old_mod != -1 && old_mod <= new_mod);
    }
    old == new && (new_mod == -1 || old_mod == new_mod)
}

/// A view's or table's column with only what DDL by query knows.
pub(super) fn view_column(id: u32, name: String, ty: DataType, typmod: i32) -> ColumnDescriptor {
    ColumnDescriptor { id, ..plain_column(name, ty, typmod) }
}
