//! FOR UPDATE, FOR SHARE and their kin: which tables are locked, and how.

use sqlparser::ast;

use super::Binder;
use super::scope::idents;
use crate::error::{Result, SqlState};
use crate::front::lex::MARKER;
use crate::plan::logical::LockRel;
use crate::plan::node::RowLock;
use meridian_txn::api::{LockStrength, LockWait};

impl Binder<'_> {
    pub(super) fn lock_targets(&mut self, clauses: &[ast::LockClause]) -> Result<Vec<LockRel>> {
        self.writes = true;
        let mut out: Vec<LockRel> = Vec::new();
        for clause in clauses {
            let names = clause.of.as_ref().map(idents).unwrap_or_default();
            let (strength, names) = match names.split_first() {
                Some((first, rest)) => (first.value.trim_start_matches(MARKER).to_owned(), rest.to_vec()),
                None => ("update".to_owned(), Vec::new()),
            };
            let strength = match strength.as_str() {
                "share" => LockStrength::Share,
                "keyshare" => LockStrength::KeyShare,
                "nokeyupdate" => LockStrength::NoKeyUpdate,
                _ => LockStrength::Update,
            };
            let wait = match clause.nonblock {
                None => LockWait::Block(None),
                Some(ast::NonBlock::Nowait) => LockWait::NoWait,
                Some(ast::NonBlock::SkipLocked) => LockWait::SkipLocked,
            };
            let entries = self.scope()?.entries.clone();
            let chosen: Vec<_> = if names.is_empty() {
                entries.iter().filter(|e| e.table.is_some()).collect()
            } else {
                let mut chosen = Vec::new();
                for name in &names {
                    match entries.iter().find(|e| e.name == name.value) {
                        Some(entry) if entry.table.is_some() => chosen.push(entry),
                        Some(_) => return self.unsupported(name.span, format!("FOR UPDATE of \"{}\", which is not a table,", name.value)),
                        None => {
                            let message = format!("relation \"{}\" in FOR UPDATE clause not found in FROM clause", name.value);
                            return self.fail(name.span, SqlState::UNDEFINED_TABLE, message);
                        }
                    }
                }
                chosen
            };
            for entry in chosen {
                let Some((table, cols)) = &entry.table else { continue };
                let lock = RowLock { strength, wait };
                match out.iter_mut().find(|l| l.cols.first().map(|c| c.0) == cols.first().map(|c| c.0)) {
                    // Named twice: the stronger lock.
                    Some(existing) => {
                        if rank(strength) > rank(existing.lock.strength) {
                            existing.lock.strength = strength;
                        }
                    }
                    None => out.push(LockRel { table: table.clone(), cols: cols.clone(), lock }),
                }
            }
        }
        Ok(out)
    }
}

fn rank(strength: LockStrength) -> u8 {
    match strength {
        LockStrength::KeyShare => 0,
        LockStrength::Share => 1,
        LockStrength::NoKeyUpdate => 2,
        LockStrength::Update => 3,
    }
}
