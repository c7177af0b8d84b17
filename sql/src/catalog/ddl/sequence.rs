//! Sequences: CREATE and ALTER SEQUENCE, serial columns, identity columns.

use sqlparser::ast;

use super::{DdlRun, Job, names};
use crate::catalog::descriptor::*;
use crate::catalog::store::Descriptor;
use crate::error::{Result, SqlError, SqlState};
use crate::front::statement::SequenceOption;
use crate::types::DataType;

impl DdlRun<'_> {
    pub(super) async fn create_sequence(
        &mut self,
        if_not_exists: bool,
        name: &ast::ObjectName,
        options: &[ast::SequenceOptions],
    ) -> Result<()> {
        let (schema, last) = self.creation_target(name)?;
        if if_not_exists && self.catalog().by_name.contains_key(&(schema, last.clone())) {
            self.notice(SqlState::DUPLICATE_TABLE, format!("relation \"{last}\" already exists, skipping"));
            return Ok(());
        }
        let options = self.options_from_ast(options)?;
        let ty = options.iter().rev().find_map(|o| if let SequenceOption::As(ty) = o { Some(ty.clone()) } else { None });
        let ty = match ty {
            Some(ty) => self.analyzer.data_type(self.catalog(), &ty)?.0,
            None => DataType::INT8,
        };
        let oid = self.new_sequence(schema, last, ty, &options, None).await?;
        for option in &options {
            if let SequenceOption::OwnedBy(owner) = option {
                self.set_owner(oid, owner.as_ref())?;
            }
        }
        Ok(())
    }

    /// Adds a sequence to the catalog.
    pub(super) async fn new_sequence(
        &mut self,
        schema: Oid,
        name: String,
        ty: DataType,
        options: &[SequenceOption],
        owned_by: Option<(Oid, u32)>,
    ) -> Result<Oid> {
        self.must_be_free(schema, &name)?;
        let mut sequence = SequenceDescriptor { ty, start: 0, increment: 1, min: 0, max: 0, cache: 1, cycle: false, owned_by };
        apply_options(&mut sequence, options, true)?;
        let id = self.store.allocate_oid().await?;
        self.changes.put_relation(RelationDescriptor {
            id,
            database: self.database,
            schema,
            name,
            owner: self.role,
            version: 0,
            comment: None,
            kind: RelationKind::Sequence(sequence),
        });
        Ok(id)
    }

    pub(super) fn alter_sequence(&mut self, if_exists: bool, name: &ast::ObjectName, options: &[SequenceOption]) -> Result<()> {
        if if_exists && self.find(name)?.is_none() {
            self.notice(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist, skipping", names::display(name)));
            return Ok(());
        }
        let mut relation = self.relation(name)?;
        let id = relation.id;
        let RelationKind::Sequence(sequence) = &mut relation.kind else {
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a sequence", relation.name)));
        };
        if let Some(SequenceOption::As(ty)) = options.iter().find(|o| matches!(o, SequenceOption::As(_))) {
            sequence.ty = self.analyzer.data_type(self.changes.snapshot(), ty)?.0;
        }
        apply_options(sequence, options, false)?;
        let start = sequence.start;
        self.changes.put_relation(relation);
        for option in options {
            match option {
                SequenceOption::Restart(at) => {
                    let job = Job::ResetSequence { sequence: id, last: at.filter(|at| *at != start) };
                    self.jobs.push(job);
                }
                SequenceOption::OwnedBy(owner) => self.set_owner(id, owner.as_ref())?,
                _ => {}
            }
        }
        Ok(())
    }

    fn set_owner(&mut self, sequence: Oid, owner: Option<&ast::ObjectName>) -> Result<()> {
        let owned_by = match owner {
            None => None,
            Some(name) => {
                let mut parts = name.clone();
                let column = parts.0.pop().map(|p| p.to_string()).unwrap_or_default();
                let column = column.trim_matches('"').to_owned();
                if parts.0.is_empty() {
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, "invalid OWNED BY option")
                        .hint("Specify OWNED BY table.column or OWNED BY NONE."));
                }
                let (relation, table) = self.table(&parts)?;
                let column = table.column_named(&column).ok_or_else(|| undefined_column(&column, &relation.name))?;
                Some((relation.id, column.id))
            }
        };
        let Some(relation) = self.catalog().relations.get(&sequence) else { return Ok(()) };
        let mut relation = relation.as_ref().clone();
        if let RelationKind::Sequence(s) = &mut relation.kind {
            s.owned_by = owned_by;
        }
        self.changes.put(Descriptor::Relation(Box::new(relation)));
        Ok(())
    }

    /// sqlparser's sequence options as ours.
    pub(super) fn options_from_ast(&self, options: &[ast::SequenceOptions]) -> Result<Vec<SequenceOption>> {
        options
            .iter()
            .map(|option| {
                Ok(match option {
                    ast::SequenceOptions::IncrementBy(e, _) => SequenceOption::Increment(integer(e)?),
                    ast::SequenceOptions::MinValue(e) => SequenceOption::Min(e.as_ref().map(integer).transpose()?),
                    ast::SequenceOptions::MaxValue(e) => SequenceOption::Max(e.as_ref().map(integer).transpose()?),
                    ast::SequenceOptions::StartWith(e, _) => SequenceOption::Start(integer(e)?),
                    ast::SequenceOptions::Cache(e) => SequenceOption::Cache(integer(e)?),
                    ast::SequenceOptions::DataType(ty) => SequenceOption::As(ty.clone()),
                    ast::SequenceOptions::OwnedBy(name) => SequenceOption::OwnedBy(name.clone()),
                    // sqlparser: the flag is true for NO CYCLE.
                    ast::SequenceOptions::Cycle(no) => SequenceOption::Cycle(!*no),
                })
            })
            .collect()
    }
}

/// `42703`
pub(super) fn undefined_column(column: &str, table: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{column}\" of relation \"{table}\" does not exist"))
}

fn integer(expr: &ast::Expr) -> Result<i64> {
    let text = expr.to_string().replace(' ', "");
    text.parse().map_err(|_| SqlError::new(SqlState::SYNTAX_ERROR, format!("invalid sequence option value: {text}")))
}

/// Applies options in PostgreSQL's order of dependence and checks the result (`sequence.c`, `init_params`).
fn apply_options(sequence: &mut SequenceDescriptor, options: &[SequenceOption], new: bool) -> Result<()> {
    let invalid = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let (low, high) = match sequence.ty {
        DataType::INT2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DataType::INT4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        DataType::INT8 => (i64::MIN, i64::MAX),
        _ => return Err(invalid("sequence type must be smallint, integer, or bigint".into())),
    };
    let (mut min, mut max, mut start) = (None, None, None);
    for option in options {
        match option {
            SequenceOption::Increment(0) => return Err(invalid("INCREMENT must not be zero".into())),
            SequenceOption::Increment(by) => sequence.increment = *by,
            SequenceOption::Min(value) => min = Some(*value),
            SequenceOption::Max(value) => max = Some(*value),
            SequenceOption::Start(value) => start = Some(*value),
            SequenceOption::Cache(n) if *n <= 0 => return Err(invalid(format!("CACHE ({n}) must be greater than zero"))),
            SequenceOption::Cache(n) => sequence.cache = *n,
            SequenceOption::Cycle(cycle) => sequence.cycle = *cycle,
            SequenceOption::As(_) | SequenceOption::Restart(_) | SequenceOption::OwnedBy(_) => {}
        }
    }
    let up = sequence.increment > 0;
    if new || min.is_some() {
        sequence.min = min.flatten().unwrap_or(if up { 1 } else { low });
    }
    if new || max.is_some() {
        sequence.max = max.flatten().unwrap_or(if up { high } else { -1 });
    }
    if new || start.is_some() {
        sequence.start = start.unwrap_or(if up { sequence.min } else { sequence.max });
    }
    let ty = crate::types::format_type(sequence.ty, crate::types::NO_TYPMOD);
    if sequence.max > high || sequence.max < low {
        return Err(invalid(format!("MAXVALUE ({}) is out of range for sequence data type {ty}", sequence.max)));
    }
    if sequence.min < low || sequence.min > high {
        return Err(invalid(format!("MINVALUE ({}) is out of range for sequence data type {ty}", sequence.min)));
    }
    if sequence.min >= sequence.max {
        return Err(invalid(format!("MINVALUE ({}) must be less than MAXVALUE ({})", sequence.min, sequence.max)));
    }
    if sequence.start < sequence.min {
        return Err(invalid(format!("START value ({}) cannot be less than MINVALUE ({})", sequence.start, sequence.min)));
    }
    if sequence.start > sequence.max {
        return Err(invalid(format!("START value ({}) cannot be greater than MAXVALUE ({})", sequence.start, sequence.max)));
    }
    Ok(())
}
