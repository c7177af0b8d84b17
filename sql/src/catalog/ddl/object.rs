//! Schemas, databases, roles, views and comments.

use base64::Engine;
use sqlparser::ast;

use super::alter::{sequence_text, view_column};
use super::names::{parts, quote};
use super::remove::kind_word;
use super::{DdlRun, sequence};
use crate::catalog::descriptor::*;
use crate::catalog::store::Descriptor;
use crate::error::{Result, SqlError, SqlState};
use crate::front::statement::{NameAction, Parsed, RoleOption};

/// Iterations of SCRAM's key derivation, PostgreSQL's default.
const SCRAM_ITERATIONS: u32 = 4096;

impl DdlRun<'_> {
    pub(super) async fn create_schema(&mut self, name: &ast::SchemaName, if_not_exists: bool) -> Result<()> {
        let (name, owner) = match name {
            ast::SchemaName::Simple(name) => (self.split_name(name)?.1, self.role),
            ast::SchemaName::UnnamedAuthorization(user) => (user.value.clone(), self.role_oid(&user.value)?),
            ast::SchemaName::NamedAuthorization(name, user) => (self.split_name(name)?.1, self.role_oid(&user.value)?),
        };
        if name.starts_with("pg_") {
            return Err(SqlError::new(SqlState::RESERVED_NAME, format!("unacceptable schema name \"{name}\""))
                .detail("The prefix \"pg_\" is reserved for system schemas."));
        }
        if self.catalog().schema_named(self.database, &name).is_some() {
            if if_not_exists {
                self.notice(SqlState::DUPLICATE_SCHEMA, format!("schema \"{name}\" already exists, skipping"));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::DUPLICATE_SCHEMA, format!("schema \"{name}\" already exists")));
        }
        let id = self.store.allocate_oid().await?;
        self.changes.put(Descriptor::Schema(SchemaDescriptor { id, database: self.database, name, owner, comment: None }));
        Ok(())
    }

    pub(super) fn alter_schema(&mut self, name: &str, action: &NameAction) -> Result<()> {
        let found = self.catalog().schemas.values().find(|s| s.database == self.database && s.name == name).cloned();
        let Some(schema) = found else {
            return Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist")));
        };
        let mut schema = schema.as_ref().clone();
        match action {
            NameAction::Rename(to) if self.catalog().schema_named(self.database, to).is_some() => {
                return Err(SqlError::new(SqlState::DUPLICATE_SCHEMA, format!("schema \"{to}\" already exists")));
            }
            NameAction::Rename(to) => {
                let inside: Vec<RelationDescriptor> =
                    self.catalog().relations.values().filter(|r| r.schema == schema.id).map(|r| r.as_ref().clone()).collect();
                for relation in &inside {
                    self.refuse_if_viewed(relation.id, "renaming the schema of", &relation.name)?;
                }
                let text = |schema: &str, r: &RelationDescriptor| sequence_text(&format!("{}.{}", quote(schema), quote(&r.name)));
                for sequence in inside.iter().filter(|r| matches!(r.kind, RelationKind::Sequence(_))) {
                    self.retarget_defaults(&text(name, sequence), &text(to, sequence));
                }
                schema.name.clone_from(to);
            }
            NameAction::Owner(owner) => schema.owner = self.role_oid(owner)?,
        }
        self.changes.put(Descriptor::Schema(schema));
        Ok(())
    }

    pub(super) async fn create_database(&mut self, name: &str, if_not_exists: bool, options: &[(String, String)]) -> Result<()> {
        let mut owner = self.role;
        for (option, value) in options {
            match (option.as_str(), value.to_ascii_lowercase().as_str()) {
                ("owner", _) => owner = self.role_oid(value)?,
                ("encoding", "utf8" | "utf-8" | "unicode" | "default") => {}
                ("template", "template0" | "template1" | "default") => {}
                ("lc_collate" | "lc_ctype" | "locale", "c" | "posix" | "c.utf-8" | "default") => {}
                ("connection limit" | "connection_limit", "-1") => {}
                _ => return Err(SqlError::unsupported(format!("CREATE DATABASE … {} = {value}", option.to_ascii_uppercase()))),
            }
        }
        if self.catalog().databases.values().any(|d| d.name == name) {
            if if_not_exists {
                self.notice(SqlState::DUPLICATE_DATABASE, format!("database \"{name}\" already exists, skipping"));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::DUPLICATE_DATABASE, format!("database \"{name}\" already exists")));
        }
        let (id, public) = (self.store.allocate_oid().await?, self.store.allocate_oid().await?);
        self.changes.put(Descriptor::Database(DatabaseDescriptor { id, name: name.to_owned(), owner, comment: None }));
        self.changes.put(Descriptor::Schema(SchemaDescriptor {
            id: public,
            database: id,
            name: "public".into(),
            owner,
            comment: Some("standard public schema".into()),
        }));
        Ok(())
    }

    pub(super) fn drop_database(&mut self, if_exists: bool, name: &str) -> Result<()> {
        let Some(database) = self.catalog().databases.values().find(|d| d.name == name).cloned() else {
            let message = format!("database \"{name}\" does not exist");
            if if_exists {
                self.notice(SqlState::INVALID_CATALOG_NAME, format!("{message}, skipping"));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, message));
        };
        if database.id == self.database {
            return Err(SqlError::new(SqlState::OBJECT_IN_USE, "cannot drop the currently open database"));
        }
        let relations: Vec<Oid> = self.catalog().relations.values().filter(|r| r.database == database.id).map(|r| r.id).collect();
        let schemas: Vec<Oid> = self.catalog().schemas.values().filter(|s| s.database == database.id).map(|s| s.id).collect();
        relations.into_iter().for_each(|r| self.changes.drop_relation(r));
        schemas.into_iter().for_each(|s| self.changes.drop_schema(s));
        self.changes.drop_database(database.id);
        Ok(())
    }

    pub(super) fn alter_database(&mut self, name: &str, action: &NameAction) -> Result<()> {
        let Some(database) = self.catalog().databases.values().find(|d| d.name == name).cloned() else {
            return Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist")));
        };
        let mut database = database.as_ref().clone();
        match action {
            NameAction::Rename(_) if database.id == self.database => {
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "current database cannot be renamed"));
            }
            NameAction::Rename(to) if self.catalog().databases.values().any(|d| d.name == *to) => {
                return Err(SqlError::new(SqlState::DUPLICATE_DATABASE, format!("database \"{to}\" already exists")));
            }
            NameAction::Rename(to) => database.name.clone_from(to),
            NameAction::Owner(owner) => database.owner = self.role_oid(owner)?,
        }
        self.changes.put(Descriptor::Database(database));
        Ok(())
    }

    /// A role's OID by name.
    pub(super) fn role_oid(&self, name: &str) -> Result<Oid> {
        if matches!(name, "current_user" | "current_role" | "session_user") {
            return Ok(self.role);
        }
        self.find_role(name).map(|r| r.id)
    }

    fn find_role(&self, name: &str) -> Result<RoleDescriptor> {
        let found = self.catalog().roles.values().find(|r| r.name == name);
        found
            .map(|r| r.as_ref().clone())
            .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist")))
    }

    pub(super) async fn create_role(&mut self, user: bool, name: &str, options: &[RoleOption]) -> Result<()> {
        if self.catalog().roles.values().any(|r| r.name == name) {
            return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, format!("role \"{name}\" already exists")));
        }
        if name.starts_with("pg_") {
            return Err(SqlError::new(SqlState::RESERVED_NAME, format!("role name \"{name}\" is reserved"))
                .detail("Role names starting with \"pg_\" are reserved."));
        }
        let id = self.store.allocate_oid().await?;
        let mut role = RoleDescriptor {
            id,
            name: name.to_owned(),
            superuser: false,
            create_db: false,
            create_role: false,
            login: user,
            verifier: None,
            connection_limit: -1,
        };
        apply_role_options(&mut role, options)?;
        self.changes.put(Descriptor::Role(role));
        Ok(())
    }

    pub(super) fn alter_role(&mut self, name: &str, options: &[RoleOption]) -> Result<()> {
        let mut role = self.find_role(name)?;
        apply_role_options(&mut role, options)?;
        self.changes.put(Descriptor::Role(role));
        Ok(())
    }

    pub(super) fn rename_role(&mut self, name: &str, to: &str) -> Result<()> {
        let mut role = self.find_role(name)?;
        if role.id == self.role {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "session user cannot be renamed"));
        }
        if self.find_role(to).is_ok() {
            return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, format!("role \"{to}\" already exists")));
        }
        to.clone_into(&mut role.name);
        self.changes.put(Descriptor::Role(role));
        Ok(())
    }

    pub(super) fn drop_roles(&mut self, if_exists: bool, names: &[String]) -> Result<()> {
        for name in names {
            let role = match self.find_role(name) {
                Ok(role) => role,
                Err(_) if if_exists => {
                    self.notice(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist, skipping"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            if role.id == self.role {
                return Err(SqlError::new(SqlState::OBJECT_IN_USE, "current user cannot be dropped"));
            }
            let owned = self.catalog().relations.values().filter(|r| r.owner == role.id);
            let owned: Vec<String> = owned.map(|r| format!("owner of {} {}", kind_word(&r.kind), self.shown(r))).collect();
            let owns = self.catalog().relations.values().any(|r| r.owner == role.id)
                || self.catalog().schemas.values().any(|s| s.owner == role.id)
                || self.catalog().databases.values().any(|d| d.owner == role.id);
            if owns || role.id == ROOT_ROLE_OID {
                let message = format!("role \"{name}\" cannot be dropped because some objects depend on it");
                let error = SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message);
                return Err(if owned.is_empty() { error } else { error.detail(owned.join("\n")) });
            }
            self.changes.drop_role(role.id);
        }
        Ok(())
    }

    pub(super) async fn create_view(&mut self, create: &ast::CreateView, query: Option<&Parsed>) -> Result<()> {
        if create.materialized {
            return Err(SqlError::unsupported("CREATE MATERIALIZED VIEW"));
        }
        if create.temporary {
            return Err(SqlError::unsupported("CREATE TEMPORARY VIEW"));
        }
        let query = query.ok_or_else(|| SqlError::internal("a view without its query"))?;
        let (schema, name) = self.creation_target(&create.name)?;
        let shape = self.analyzer.query(self.changes.snapshot(), query)?;
        if create.columns.len() > shape.columns.len() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "CREATE VIEW specifies more column names than columns"));
        }
        let mut columns: Vec<ColumnDescriptor> = vec![];
        for (position, (found, ty, typmod)) in shape.columns.into_iter().enumerate() {
            let name = create.columns.get(position).map_or(found, |c| c.name.value.clone());
            if columns.iter().any(|c| c.name == name) {
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once")));
            }
            let ty = if ty == crate::types::DataType::UNKNOWN { crate::types::DataType::TEXT } else { ty };
            columns.push(view_column(position as u32 + 1, name, ty, typmod));
        }
        let view = ViewDescriptor { columns, query: shape.text, depends_on: shape.depends_on };
        let existing = self.catalog().relation_named(schema, &name).cloned();
        if let Some(existing) = existing.filter(|_| create.or_replace) {
            return self.replace_view(&existing, view);
        }
        self.must_be_free(schema, &name)?;
        let id = self.store.allocate_oid().await?;
        self.changes.put_relation(RelationDescriptor {
            id,
            database: self.database,
            schema,
            name,
            owner: self.role,
            version: 0,
            comment: None,
            kind: RelationKind::View(view),
        });
        Ok(())
    }

    /// CREATE OR REPLACE VIEW: columns may be added at the end, not changed.
    fn replace_view(&mut self, existing: &RelationDescriptor, view: ViewDescriptor) -> Result<()> {
        let RelationKind::View(old) = &existing.kind else {
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a view", existing.name)));
        };
        if view.columns.len() < old.columns.len() {
            return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, "cannot drop columns from view"));
        }
        for (new, old) in view.columns.iter().zip(&old.columns) {
            if new.name != old.name {
                let message = format!("cannot change name of view column \"{}\" to \"{}\"", old.name, new.name);
                return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
            }
            if (new.ty, new.typmod) != (old.ty, old.typmod) {
                let show = |c: &ColumnDescriptor| crate::types::format_type(c.ty, c.typmod);
                let message = format!("cannot change data type of view column \"{}\" from {} to {}", old.name, show(old), show(new));
                return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
            }
        }
        let mut relation = existing.clone();
        relation.kind = RelationKind::View(view);
        self.changes.put_relation(relation);
        Ok(())
    }

    pub(super) fn comment(
        &mut self,
        object: &str,
        name: &ast::ObjectName,
        on: Option<&ast::ObjectName>,
        comment: Option<String>,
    ) -> Result<()> {
        match object {
            "table" | "view" | "sequence" => {
                let mut relation = self.relation(name)?;
                if kind_word(&relation.kind) != object {
                    return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a {object}", relation.name)));
                }
                relation.comment = comment;
                self.changes.put_relation(relation);
            }
            "column" => {
                let mut owner = name.clone();
                owner.0.pop();
                let column = parts(name)?.pop().unwrap_or_default();
                let mut relation = self.relation(&owner)?;
                let relation_name = relation.name.clone();
                let columns = match &mut relation.kind {
                    RelationKind::Table(table) => &mut table.columns,
                    RelationKind::View(view) => &mut view.columns,
                    RelationKind::Sequence(_) => return Err(sequence::undefined_column(&column, &relation_name)),
                };
                match columns.iter_mut().find(|c| c.name == column) {
                    Some(column) => column.comment = comment,
                    None => return Err(sequence::undefined_column(&column, &relation_name)),
                }
                self.changes.put_relation(relation);
            }
            "schema" => {
                let name = self.split_name(name)?.1;
                let found = self.catalog().schemas.values().find(|s| s.database == self.database && s.name == name).cloned();
                let Some(schema) = found else {
                    return Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist")));
                };
                self.changes.put(Descriptor::Schema(SchemaDescriptor { comment, ..schema.as_ref().clone() }));
            }
            "database" => {
                let name = self.split_name(name)?.1;
                let Some(database) = self.catalog().databases.values().find(|d| d.name == name).cloned() else {
                    return Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist")));
                };
                self.changes.put(Descriptor::Database(DatabaseDescriptor { comment, ..database.as_ref().clone() }));
            }
            other => {
                let on = on.map(|_| " ON table").unwrap_or_default();
                return Err(SqlError::unsupported(format!("COMMENT ON {}{on}", other.to_ascii_uppercase())));
            }
        }
        Ok(())
    }
}

fn apply_role_options(role: &mut RoleDescriptor, options: &[RoleOption]) -> Result<()> {
    for option in options {
        match option {
            RoleOption::Superuser(on) => role.superuser = *on,
            RoleOption::CreateDb(on) => role.create_db = *on,
            RoleOption::CreateRole(on) => role.create_role = *on,
            RoleOption::Login(on) => role.login = *on,
            RoleOption::ConnectionLimit(limit) => role.connection_limit = *limit,
            RoleOption::Password(None) => role.verifier = None,
            RoleOption::Password(Some(password)) => role.verifier = Some(scram_verifier(password)),
            RoleOption::Other(word) => return Err(SqlError::unsupported(format!("role option {word}"))),
        }
    }
    Ok(())
}

/// The SCRAM-SHA-256 verifier of a password in PostgreSQL's form; one that is given in that form already is kept.
pub fn scram_verifier(password: &str) -> String {
    use hmac::{KeyInit, Mac};
    use sha2::Digest;
    if password.starts_with("SCRAM-SHA-256$") {
        return password.to_owned();
    }
    // A salt is no secret and needs no seam: it never influences what a simulated cluster does.
    let salt = *uuid::Uuid::new_v4().as_bytes();
    let mac = |key: &[u8], parts: &[&[u8]]| -> Vec<u8> {
        match hmac::Hmac::<sha2::Sha256>::new_from_slice(key) {
            Ok(mut mac) => {
                parts.iter().for_each(|p| mac.update(p));
                mac.finalize().into_bytes().to_vec()
            }
            // HMAC takes keys of any length.
            Err(_) => unreachable!("HMAC keys have no invalid length"),
        }
    };
    // RFC 5802, Hi(): PBKDF2 with HMAC, one block.
    let mut block = mac(password.as_bytes(), &[&salt, &[0, 0, 0, 1]]);
    let mut salted = block.clone();
    for _ in 1..SCRAM_ITERATIONS {
        block = mac(password.as_bytes(), &[&block]);
        salted.iter_mut().zip(&block).for_each(|(s, b)| *s ^= b);
    }
    let stored = sha2::Sha256::digest(mac(&salted, &[b"Client Key"]));
    let server = mac(&salted, &[b"Server Key"]);
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("SCRAM-SHA-256${SCRAM_ITERATIONS}:{}${}:{}", encode(&salt), encode(&stored), encode(&server))
}
