//! Datums as the executor handles them in bulk: compared, hashed, sized, and turned into bytes. The rules are `types`'; this is the one place that names
//! its codecs.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use crate::error::{Result, SqlError, SqlState};
use crate::functions::{EvalContext, SessionView};
use crate::types::{DataType, Datum};

mod codec;
pub use codec::*;

/// The order of two values of one type; NULL above everything.
pub fn compare(a: &Datum, b: &Datum) -> Ordering {
    a.compare(b)
}

/// Whether two values are equal (NULL to NULL too).
pub fn equal(a: &Datum, b: &Datum) -> bool {
    a.compare(b).is_eq()
}

/// Whether two rows are equal, NULL to NULL.
pub fn equal_rows(a: &[Datum], b: &[Datum]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| equal(x, y))
}

/// Whether two rows are the same to the byte: `1.0` and `1.00` are equal but not identical.
pub fn identical_rows(a: &[Datum], b: &[Datum]) -> bool {
    if !equal_rows(a, b) {
        return false;
    }
    let plain = |d: &Datum| matches!(d, Datum::Null | Datum::Bool(_) | Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_) | Datum::Text(_));
    if a.iter().all(plain) {
        return true;
    }
    let (mut x, mut y) = (Vec::new(), Vec::new());
    encode_spill(a, &mut x);
    encode_spill(b, &mut y);
    x == y
}

/// Approximate bytes held.
pub fn size(datum: &Datum) -> usize {
    datum.size()
}

/// Approximate bytes held by a row.
pub fn row_size(row: &[Datum]) -> usize {
    row.iter().map(size).sum()
}

/// A hash of a row; `seed` makes independent ones for nested partitioning.
pub fn hash_row(row: &[Datum], seed: u64) -> u64 {
    let mut hasher = FxHasher::default();
    seed.hash(&mut hasher);
    for datum in row {
        datum.hash(&mut hasher);
    }
    // The low bits choose partitions, and Fx leaves them weak.
    let hash = hasher.finish();
    hash ^ (hash >> 32)
}

/// A set of values. Never iterated.
pub type DatumSet = FxHashSet<Datum>;

/// Distinct rows with numbers in order of arrival.
#[derive(Debug, Default)]
pub struct KeyMap {
    /// Datums a key.
    width: usize,
    /// First key of each hash.
    heads: FxHashMap<u64, u32>,
    /// Next key of the same hash, plus one; 0 at the end.
    next: Vec<u32>,
    keys: Vec<Datum>,
}

impl KeyMap {
    /// Keys of `width` datums.
    pub fn new(width: usize) -> Self {
        KeyMap { width, ..KeyMap::default() }
    }
    /// How many.
    pub fn len(&self) -> usize {
        self.next.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }
    /// A key by number.
    pub fn key(&self, number: usize) -> &[Datum] {
        &self.keys[number * self.width..(number + 1) * self.width]
    }
    /// The number of a key.
    pub fn find(&self, hash: u64, key: &[Datum]) -> Option<usize> {
        let mut at = *self.heads.get(&hash)? as usize + 1;
        while at != 0 {
            if equal_rows(self.key(at - 1), key) {
                return Some(at - 1);
            }
            at = self.next[at - 1] as usize;
        }
        None
    }
    /// Adds a key that is not there.
    pub fn add(&mut self, hash: u64, key: &[Datum]) -> usize {
        let number = self.next.len();
        let head = self.heads.insert(hash, number as u32);
        self.next.push(head.map_or(0, |h| h + 1));
        self.keys.extend_from_slice(key);
        number
    }
    /// The number of a key, and whether it is new.
    pub fn insert(&mut self, hash: u64, key: &[Datum]) -> (usize, bool) {
        match self.find(hash, key) {
            Some(number) => (number, false),
            None => (self.add(hash, key), true),
        }
    }
}

/// A session with PostgreSQL's defaults, for values stored in text form and for messages.
pub fn neutral_session() -> &'static SessionView {
    static SESSION: LazyLock<SessionView> = LazyLock::new(|| SessionView {
        user: String::new(),
        session_user: String::new(),
        database: String::new(),
        search_path: Vec::new(),
        timezone: "UTC".into(),
        datestyle: "ISO, MDY".into(),
        intervalstyle: "postgres".into(),
        extra_float_digits: 1,
        bytea_escape: false,
        backend_pid: 0,
        settings: Default::default(),
    });
    &SESSION
}

/// A value stored in text form (`missing_value`).
pub fn from_text(text: &str, ty: DataType, typmod: i32) -> Result<Datum> {
    crate::types::parse_text(ty, typmod, text, neutral_session())
}

/// A value as messages show it.
pub fn to_text(datum: &Datum, ty: DataType, session: &SessionView) -> String {
    match datum {
        Datum::Null => "null".into(),
        _ => crate::types::to_text(datum, ty, session),
    }
}

/// A cast that the binder found.
pub fn cast(value: Datum, from: DataType, to: DataType, typmod: i32, explicit: bool, cx: &mut EvalContext<'_>) -> Result<Datum> {
    if from == to {
        return crate::types::apply_typmod(to, typmod, value, explicit);
    }
    let cast = crate::types::find_cast(from, to, crate::types::CastContext::Explicit)
        .ok_or_else(|| SqlError::new(SqlState::CANNOT_COERCE, format!("cannot cast type {} to {}", from.name(), to.name())))?;
    crate::types::apply_cast(&cast, value, typmod, explicit, cx)
}
