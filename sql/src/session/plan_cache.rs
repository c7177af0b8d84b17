//! Plans by statement text.
//!
//! An entry serves any session of this gateway for which everything that planning depended on is the same: text, declared parameter
//! types, catalog version, database, and the settings in [`PlanKey::environment`]. The cache is bounded; the oldest entries go first.

use std::sync::Arc;

use indexmap::IndexMap;
use parking_lot::Mutex;

use super::api::Field;
use crate::plan::Prepared;
use crate::types::DataType;

/// Plans kept per gateway.
const CAPACITY: usize = 2048;
/// Texts longer than this are planned each time: generated INSERTs of a million rows must not fill the cache.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// What a plan depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlanKey {
    /// Statement text.
    pub text: Arc<str>,
    /// Parameter types that the client declared.
    pub declared: Vec<Option<DataType>>,
    /// Catalog version.
    pub version: u64,
    /// Database, user, search path and the settings that literals are read by.
    pub environment: Arc<str>,
}

/// A statement ready to run.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub prepared: Prepared,
    /// Types of all parameters.
    pub parameters: Vec<DataType>,
    /// Result columns (formats are text; Bind sets its own), `None` if it returns no rows.
    pub fields: Option<Arc<[Field]>>,
    /// The catalog version it was made for.
    pub version: u64,
    /// The settings it was made under.
    pub environment: Arc<str>,
}

/// The cache.
#[derive(Debug, Default)]
pub struct PlanCache {
    entries: Mutex<IndexMap<PlanKey, Arc<Planned>, rustc_hash::FxBuildHasher>>,
}

impl PlanCache {
    /// The plan for `key`.
    pub fn get(&self, key: &PlanKey) -> Option<Arc<Planned>> {
        if key.text.len() > MAX_TEXT_BYTES {
            return None;
        }
        self.entries.lock().get(key).cloned()
    }

    /// Keeps a plan.
    pub fn insert(&self, key: PlanKey, planned: Arc<Planned>) {
        if key.text.len() > MAX_TEXT_BYTES || !planned.prepared.cacheable {
            return;
        }
        let mut entries = self.entries.lock();
        if entries.len() >= CAPACITY {
            // Insertion order: the oldest eighth goes. Plans in use live on in their sessions.
            entries.drain(..CAPACITY / 8);
        }
        entries.insert(key, planned);
    }

    /// Entries now.
    pub fn entries(&self) -> usize {
        self.entries.lock().len()
    }
}
