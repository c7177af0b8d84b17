//! CREATE TABLE.

use sqlparser::ast;

use super::names::{display, object_name, quote};
use super::{DdlRun, Job, MAX_COLUMNS};
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};
use crate::front::statement::{LikeClause, Parsed, SequenceOption};
use crate::types::{DataType, NO_TYPMOD};

/// The default of the hidden key of a table without a primary key.
pub const ROWID_DEFAULT: &str = "unique_rowid()";

impl DdlRun<'_> {
    pub(super) async fn create_table(
        &mut self,
        create: &ast::CreateTable,
        query: Option<&Parsed>,
        no_data: bool,
        likes: &[LikeClause],
    ) -> Result<String> {
        refuse_unsupported(create)?;
        let tag = if create.query.is_some() && !no_data {
            "SELECT"
        } else if create.query.is_some() {
            "CREATE TABLE AS"
        } else {
            "CREATE TABLE"
        };
        let (schema, name) = self.creation_target(&create.name)?;
        if create.if_not_exists && self.catalog().by_name.contains_key(&(schema, name.clone())) {
            self.notice(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists, skipping"));
            return Ok("CREATE TABLE".into());
        }
        self.must_be_free(schema, &name)?;
        let mut relation = self.empty_table(schema, name).await?;
        if let Some(query) = query {
            self.columns_of_query(&mut relation, create, query)?;
            if no_data {
                self.jobs.clear();
            }
        } else {
            for (position, definition) in create.columns.iter().enumerate() {
                for like in likes.iter().filter(|l| l.before == position) {
                    self.like_columns(&mut relation, like).await?;
                }
                self.add_column(&mut relation, definition).await?;
            }
            for like in likes.iter().filter(|l| l.before >= create.columns.len()) {
                self.like_columns(&mut relation, like).await?;
            }
        }
        let constraints = self.collect_constraints(&relation, &create.columns, &create.constraints)?;
        // Checks and keys first: foreign keys may refer to the table itself.
        self.add_constraints(&mut relation, &constraints).await?;
        for like in likes {
            self.like_constraints(&mut relation, like).await?;
        }
        self.finish_primary(&mut relation).await?;
        let id = relation.id;
        self.changes.put_relation(relation);
        self.add_foreign_keys(id, &constraints, false).await?;
        Ok(tag.into())
    }

    /// A table with no column yet.
    async fn empty_table(&mut self, schema: Oid, name: String) -> Result<RelationDescriptor> {
        let id = self.store.allocate_oid().await?;
        let primary = IndexDescriptor {
            id: 1,
            oid: 0,
            name: String::new(),
            unique: true,
            keys: vec![],
            include: vec![],
            predicate: None,
            state: IndexState::Public,
            constraint: None,
        };
        let table = TableDescriptor {
            columns: vec![],
            next_column: 1,
            primary,
            indexes: vec![],
            next_index: 2,
            checks: vec![],
            foreign_keys: vec![],
            referenced_by: vec![],
            storage_id: id,
        };
        Ok(RelationDescriptor {
            id,
            database: self.database,
            schema,
            name,
            owner: self.role,
            version: 0,
            comment: None,
            kind: RelationKind::Table(table),
        })
    }

    /// CREATE TABLE AS: columns of the query, rows by an INSERT afterwards.
    fn columns_of_query(&mut self, relation: &mut RelationDescriptor, create: &ast::CreateTable, query: &Parsed) -> Result<()> {
        let shape = self.analyzer.query(self.changes.snapshot(), query)?;
        if create.columns.len() > shape.columns.len() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "too many column names were specified"));
        }
        let RelationKind::Table(table) = &mut relation.kind else { return Ok(()) };
        for (position, (name, ty, typmod)) in shape.columns.iter().enumerate() {
            let name = create.columns.get(position).map_or(name, |c| &c.name.value);
            // PostgreSQL: an untyped literal becomes text.
            let ty = if *ty == DataType::UNKNOWN { DataType::TEXT } else { *ty };
            push_column(&relation.name, table, plain_column(name.clone(), ty, *typmod))?;
        }
        let target = format!("{}.{}", quote(&self.schema_name(relation.schema)), quote(&relation.name));
        let columns: Vec<String> = table.columns.iter().map(|c| quote(&c.name)).collect();
        self.jobs.push(Job::Run(format!("INSERT INTO {target} ({}) {}", columns.join(", "), shape.text)));
        Ok(())
    }

    /// Adds a column: type, default, identity, serial, generated expression, NOT NULL. Constraints come by [`DdlRun::collect_constraints`].
    pub(super) async fn add_column(&mut self, relation: &mut RelationDescriptor, definition: &ast::ColumnDef) -> Result<u32> {
        let name = definition.name.value.clone();
        let serial = serial_type(&definition.data_type);
        let (ty, typmod) = match serial {
            Some(ty) => (ty, NO_TYPMOD),
            None => self.analyzer.data_type(self.changes.snapshot(), &definition.data_type)?,
        };
        let mut column = plain_column(name.clone(), ty, typmod);
        let mut sequence_options = None;
        let mut null = false;
        for option in &definition.options {
            match &option.option {
                ast::ColumnOption::Null => null = true,
                ast::ColumnOption::NotNull => column.not_null = true,
                ast::ColumnOption::Default(_) if column.default.is_some() || serial.is_some() => {
                    let message = format!("multiple default values specified for column \"{name}\" of table \"{}\"", relation.name);
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
                }
                ast::ColumnOption::Default(expr) => {
                    let bound = self.analyzer.expression(self.changes.snapshot(), None, expr, ty, typmod, "DEFAULT");
                    column.default = Some(bound.map_err(no_column_in_default)?);
                }
                ast::ColumnOption::Generated { generated_as, sequence_options: options, generation_expr, generation_expr_mode, .. } => {
                    match generation_expr {
                        None => {
                            let always = matches!(generated_as, ast::GeneratedAs::Always);
                            column.identity = Some(if always { Identity::Always } else { Identity::ByDefault });
                            column.not_null = true;
                            sequence_options = Some(self.options_from_ast(options.as_deref().unwrap_or(&[]))?);
                        }
                        Some(expr) => {
                            if matches!(generation_expr_mode, Some(ast::GeneratedExpressionMode::Virtual)) {
                                return Err(SqlError::unsupported("a virtual generated column"));
                            }
                            // Bound when all columns are known: kept as written until then.
                            column.generated = Some(expr.to_string());
                        }
                    }
                }
                ast::ColumnOption::PrimaryKey(_)
                | ast::ColumnOption::Unique(_)
                | ast::ColumnOption::ForeignKey(_)
                | ast::ColumnOption::Check(_) => {}
                ast::ColumnOption::Collation(collation) => self.accept_collation(collation)?,
                other => return Err(SqlError::unsupported(format!("column option {other}"))),
            }
        }
        if null && (column.not_null || serial.is_some()) {
            let message = format!("conflicting NULL/NOT NULL declarations for column \"{name}\" of table \"{}\"", relation.name);
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        if column.identity.is_some() && column.default.is_some() {
            let message = format!("both default and identity specified for column \"{name}\" of table \"{}\"", relation.name);
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        if column.identity.is_some() && !matches!(ty, DataType::INT2 | DataType::INT4 | DataType::INT8) {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "identity column type must be smallint, integer, or bigint"));
        }
        column.not_null |= serial.is_some();
        let RelationKind::Table(table) = &mut relation.kind else { return Err(SqlError::internal("a column of no table")) };
        let id = push_column(&relation.name, table, column)?;
        if serial.is_some() || sequence_options.is_some() {
            self.own_sequence(relation, id, ty, &sequence_options.unwrap_or_default()).await?;
        }
        Ok(id)
    }

    /// Makes the sequence behind a serial or identity column, and the column's default.
    pub(super) async fn own_sequence(
        &mut self,
        relation: &mut RelationDescriptor,
        column: u32,
        ty: DataType,
        options: &[SequenceOption],
    ) -> Result<()> {
        let schema = self.schema_name(relation.schema);
        let (table_name, relation_id, schema_id) = (relation.name.clone(), relation.id, relation.schema);
        let RelationKind::Table(table) = &mut relation.kind else { return Ok(()) };
        let Some(descriptor) = table.columns.iter_mut().find(|c| c.id == column) else { return Ok(()) };
        let name = self.choose_name(schema_id, &table_name, &descriptor.name, "seq", &[]);
        let sequence = self.new_sequence(schema_id, name.clone(), ty, options, Some((relation_id, column))).await?;
        descriptor.owned_sequence = Some(sequence);
        descriptor.default = Some(format!("nextval('{}.{}'::regclass)", quote(&schema), quote(&name)).replace("''", "'"));
        Ok(())
    }

    /// Gives a table without a primary key its hidden one, and every index its OID.
    pub(super) async fn finish_primary(&mut self, relation: &mut RelationDescriptor) -> Result<()> {
        self.bind_generated(relation)?;
        let name = relation.name.clone();
        let RelationKind::Table(table) = &mut relation.kind else { return Ok(()) };
        if table.primary.keys.is_empty() {
            let mut rowid = plain_column(free_column_name(table), DataType::INT8, NO_TYPMOD);
            (rowid.not_null, rowid.hidden, rowid.default) = (true, true, Some(ROWID_DEFAULT.into()));
            let column = push_column(&name, table, rowid)?;
            table.primary.keys = vec![IndexKey { column, descending: false, nulls_first: false }];
            table.primary.name = object_name(&name, "", "rowid_key");
            table.primary.oid = self.store.allocate_oid().await?;
        }
        Ok(())
    }

    /// Binds generated columns' expressions against the finished column list.
    fn bind_generated(&self, relation: &mut RelationDescriptor) -> Result<()> {
        let frozen = relation.clone();
        let RelationKind::Table(table) = &mut relation.kind else { return Ok(()) };
        for column in &mut table.columns {
            if let Some(text) = &column.generated {
                let expr = crate::front::parse_expression(text)?.1;
                let bound = self.analyzer.expression(
                    self.changes.snapshot(),
                    Some(&frozen),
                    &expr,
                    column.ty,
                    column.typmod,
                    "GENERATED ALWAYS AS",
                )?;
                column.generated = Some(bound);
            }
        }
        Ok(())
    }

    fn accept_collation(&self, name: &ast::ObjectName) -> Result<()> {
        match display(name).as_str() {
            "C" | "POSIX" | "default" | "pg_catalog.default" | "pg_catalog.C" => Ok(()),
            other => Err(SqlError::unsupported(format!("collation \"{other}\""))),
        }
    }
}

fn refuse_unsupported(create: &ast::CreateTable) -> Result<()> {
    let refusals = [
        (create.temporary, "CREATE TEMPORARY TABLE"),
        (create.partition_by.is_some() || create.partition_of.is_some(), "table partitioning"),
        (create.inherits.is_some(), "table inheritance"),
        (create.like.is_some() || create.clone.is_some(), "CREATE TABLE LIKE"),
        (create.on_commit.is_some(), "ON COMMIT"),
        (create.or_replace, "CREATE OR REPLACE TABLE"),
        (create.external, "CREATE EXTERNAL TABLE"),
    ];
    match refusals.iter().find(|(there, _)| *there) {
        Some((_, feature)) => Err(SqlError::unsupported(feature)),
        None => Ok(()),
    }
}

/// A default sees no columns: PostgreSQL says so instead of not finding them.
fn no_column_in_default(error: SqlError) -> SqlError {
    match error.code {
        SqlState::UNDEFINED_COLUMN => SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "cannot use column reference in DEFAULT expression"),
        _ => error,
    }
}

/// A column with nothing but name and type.
pub(super) fn plain_column(name: String, ty: DataType, typmod: i32) -> ColumnDescriptor {
    ColumnDescriptor {
        id: 0,
        name,
        ty,
        typmod,
        not_null: false,
        default: None,
        identity: None,
        generated: None,
        owned_sequence: None,
        missing_value: None,
        hidden: false,
        comment: None,
    }
}

/// Appends a column, giving it its id.
pub(super) fn push_column(table_name: &str, table: &mut TableDescriptor, mut column: ColumnDescriptor) -> Result<u32> {
    const SYSTEM: [&str; 6] = ["tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"];
    if SYSTEM.contains(&column.name.as_str()) {
        let message = format!("column name \"{}\" conflicts with a system column name", column.name);
        return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
    }
    if table.column_named(&column.name).is_some() {
        let message = format!("column \"{}\" specified more than once", column.name);
        return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
    }
    if matches!(
        column.ty,
        DataType::UNKNOWN | DataType::VOID | DataType::RECORD | DataType::ANY | DataType::ANYELEMENT | DataType::ANYARRAY
    ) {
        let ty = crate::types::format_type(column.ty, NO_TYPMOD);
        let message = format!("column \"{}\" has pseudo-type {ty}", column.name);
        return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    }
    if table.columns.len() >= MAX_COLUMNS {
        return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, format!("table \"{table_name}\" can have at most {MAX_COLUMNS} columns")));
    }
    column.id = table.next_column;
    table.next_column += 1;
    table.columns.push(column);
    Ok(table.next_column - 1)
}

fn free_column_name(table: &TableDescriptor) -> String {
    let mut name = "rowid".to_owned();
    while table.column_named(&name).is_some() {
        name.push('_');
    }
    name
}

fn serial_type(ty: &ast::DataType) -> Option<DataType> {
    match ty.to_string().to_ascii_lowercase().as_str() {
        "smallserial" | "serial2" => Some(DataType::INT2),
        "serial" | "serial4" => Some(DataType::INT4),
        "bigserial" | "serial8" => Some(DataType::INT8),
        _ => None,
    }
}
