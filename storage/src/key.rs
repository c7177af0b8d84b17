//! Keys, spans, and the map of the key space.
//!
//! ```text
//!   0x01 …            range addressing: end key of a range → its descriptor
//!   0x02 …            cluster: node registry, liveness, settings, id allocation
//!   0x03 …            locks of sessions (advisory locks)
//!   0x10 …            tables: encoded (table id, index id, columns …)
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A key of the one ordered key space that all ranges share.
pub type Key = Bytes;

/// The half-open interval `[start, end)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// First key inside.
    pub start: Key,
    /// First key outside.
    pub end: Key,
}

/// The lowest key.
pub const KEY_MIN: &[u8] = &[];
/// Above every key that is ever written.
pub const KEY_MAX: &[u8] = &[0xff, 0xff];
/// Prefix of range addressing.
pub const META_PREFIX: u8 = 0x01;
/// Prefix of cluster-wide state: registry, liveness, id allocation.
pub const CLUSTER_PREFIX: u8 = 0x02;
/// Prefix of locks that sessions hold.
pub const SESSION_PREFIX: u8 = 0x03;
/// Prefix of table data and of the SQL catalog, which is itself tables.
pub const TABLE_PREFIX: u8 = 0x10;

impl Span {
    /// The span of everything.
    pub fn all() -> Self {
        Span { start: Bytes::from_static(KEY_MIN), end: Bytes::from_static(KEY_MAX) }
    }
    /// The span `[start, end)`.
    pub fn new(start: impl Into<Key>, end: impl Into<Key>) -> Self {
        Span { start: start.into(), end: end.into() }
    }
    /// The span of exactly one key.
    pub fn point(key: impl Into<Key>) -> Self {
        let start: Key = key.into();
        let mut end = Vec::with_capacity(start.len() + 1);
        end.extend_from_slice(&start);
        end.push(0);
        Span { start, end: end.into() }
    }
    /// The span of all keys with this prefix.
    pub fn prefix(prefix: impl Into<Key>) -> Self {
        let start: Key = prefix.into();
        Span { end: prefix_end(&start), start }
    }
    /// Whether `key` lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_ref() <= key && key < self.end.as_ref()
    }
    /// Whether `other` lies wholly inside.
    pub fn covers(&self, other: &Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }
    /// Whether the two share a key.
    pub fn overlaps(&self, other: &Span) -> bool {
        self.start < other.end && other.start < self.end
    }
    /// The part that both share, if there is one.
    pub fn intersect(&self, other: &Span) -> Option<Span> {
        let start = self.start.clone().max(other.start.clone());
        let end = self.end.clone().min(other.end.clone());
        (start < end).then_some(Span { start, end })
    }
    /// Whether no key lies inside.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

/// The first key above all keys with this prefix.
pub fn prefix_end(prefix: &[u8]) -> Key {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last != 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(KEY_MAX)
}
