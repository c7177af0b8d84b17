//! Deleting rows that nobody refers to any more.
//!
//! DROP TABLE, TRUNCATE, DROP INDEX and rewrites only take rows out of the catalog's sight, and leave a note beside the descriptors:
//!
//! ```text
//!   CATALOG ‖ 'g' ‖ be32 storage id                     every row of a table
//!   CATALOG ‖ 'g' ‖ be32 storage id ‖ be32 index id     every entry of one index
//! ```
//!
//! Every node looks at the notes now and then and works on one at a time. A chunk is one short transaction that locks the note, deletes
//! some hundreds of keys and commits; a note that another node has locked is left to it. When nothing is left under the prefix the note
//! goes too.
//!
//! **Why it is safe at once.** Storage and index ids are never given out twice, so nothing new can come to live under a noted prefix. A
//! transaction that read the older catalog still sees the rows: it reads at an older timestamp, and versions stay until the GC TTL has
//! passed. One that would write there has the catalog version in its read set and cannot commit after the DROP.
//! **Why it is idempotent.** A chunk is deletes alone, and the note outlives them: a crash anywhere leaves work that is done again.

use std::sync::Arc;
use std::time::Duration;

use meridian_storage::mvcc::Direction;
use meridian_storage::{Key, Span};
use meridian_txn::api::{Columns, Get, Got, LockStrength, LockWait, Locking, Scan};

use super::descriptor::Oid;
use super::keys::{index_prefix, table_prefix};
use super::store::{CatalogStore, garbage_prefix};
use crate::error::Result;
use crate::session::Database;

/// How often a node looks for notes.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Keys deleted by one transaction.
const CHUNK_KEYS: u64 = 512;
/// Between two chunks, so that a large table leaves the disk to others.
const PAUSE: Duration = Duration::from_millis(20);
/// Notes read at once.
const NOTES: u64 = 64;

/// What is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// A table's storage.
    pub storage: Oid,
    /// One of its indexes; `None`: all.
    pub index: Option<u32>,
}

impl Garbage {
    /// The note's key tail after `'g'`.
    pub fn note(&self) -> Vec<u8> {
        let mut tail = self.storage.to_be_bytes().to_vec();
        tail.extend(self.index.iter().flat_map(|i| i.to_be_bytes()));
        tail
    }

    fn of_note(key: &[u8], prefix: usize) -> Option<Self> {
        let tail = key.get(prefix..)?;
        let word = |at: usize| tail.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        Some(Garbage { storage: word(0)?, index: word(4) })
    }

    fn span(&self) -> Span {
        Span::prefix(Key::from(match self.index {
            Some(index) => index_prefix(self.storage, index),
            None => table_prefix(self.storage),
        }))
    }
}

/// How a chunk ended.
enum Chunk {
    /// Somebody else has the note, or has finished with it.
    NotOurs,
    /// Keys deleted, and what is left to look at.
    Deleted(u64, Option<Span>),
}

/// Looks for garbage for as long as the node lives.
pub async fn run(database: Arc<Database>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match collect(&database.catalog).await {
            Ok(0) => {}
            Ok(keys) => tracing::info!(keys, "rows of dropped tables and indexes were deleted"),
            // The notes stay: the next look goes on.
            Err(error) => tracing::debug!(%error, "deleting rows of dropped tables was interrupted"),
        }
    }
}

/// Works through the notes there are now. Answers how many keys were deleted.
pub async fn collect(store: &CatalogStore) -> Result<u64> {
    let mut keys = 0;
    for garbage in notes(store).await? {
        let mut rest = Some(garbage.span());
        while let Some(span) = rest {
            match chunk(store, garbage, span).await? {
                Chunk::NotOurs => break,
                Chunk::Deleted(n, left) => {
                    keys += n;
                    rest = left;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    Ok(keys)
}

async fn notes(store: &CatalogStore) -> Result<Vec<Garbage>> {
    let prefix = garbage_prefix();
    store
        .internal(move |txn| {
            let prefix = prefix.clone();
            Box::pin(async move {
                let length = prefix.len();
                let page = txn.scan(scan(Span::prefix(prefix), NOTES)).await?;
                Ok(page.rows.iter().filter_map(|(key, _)| Garbage::of_note(key, length)).collect())
            })
        })
        .await
}

/// One transaction's worth. The note goes with the last keys.
async fn chunk(store: &CatalogStore, garbage: Garbage, span: Span) -> Result<Chunk> {
    let mut note = garbage_prefix().to_vec();
    note.extend(garbage.note());
    let note = Key::from(note);
    store
        .internal(move |txn| {
            let (note, span) = (note.clone(), span.clone());
            Box::pin(async move {
                let lock = Some(Locking { strength: LockStrength::Update, wait: LockWait::SkipLocked });
                let got = txn.get(vec![Get { key: note.clone(), columns: Columns::Existence, lock }]).await?.pop();
                if !matches!(got, Some(Got::Value(Some(_)))) {
                    return Ok(Chunk::NotOurs);
                }
                let page = txn.scan(scan(span, CHUNK_KEYS)).await?;
                for (key, _) in &page.rows {
                    txn.delete(key.clone()).await?;
                }
                if page.resume.is_none() {
                    txn.delete(note).await?;
                }
                Ok(Chunk::Deleted(page.rows.len() as u64, page.resume))
            })
        })
        .await
}

fn scan(span: Span, limit_rows: u64) -> Scan {
    Scan { span, direction: Direction::Forward, columns: Columns::Existence, limit_rows, limit_bytes: 0, program: None, lock: None }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use meridian_clock::{Clock, Entropy, SimulatedClock, TaskGroup};
    use meridian_storage::memory::MemoryEngine;
    use meridian_txn::api::{Expect, Kv};
    use meridian_txn::solo;

    use super::*;

    async fn write(store: &CatalogStore, keys: Vec<Vec<u8>>) {
        store
            .internal(move |txn| {
                let keys = keys.clone();
                Box::pin(async move {
                    for key in keys {
                        txn.put(key.into(), Bytes::from_static(b"row"), Expect::AsRead).await?;
                    }
                    Ok(())
                })
            })
            .await
            .unwrap();
    }

    async fn count(store: &CatalogStore, prefix: Vec<u8>) -> usize {
        store
            .internal(move |txn| {
                let prefix = prefix.clone();
                Box::pin(async move { Ok(txn.scan(scan(Span::prefix(Key::from(prefix)), 0)).await?.rows.len()) })
            })
            .await
            .unwrap()
    }

    fn row(storage: Oid, index: u32, n: u32) -> Vec<u8> {
        let mut key = index_prefix(storage, index);
        key.extend(n.to_be_bytes());
        key
    }

    fn noted(garbage: Garbage) -> Vec<u8> {
        let mut key = garbage_prefix().to_vec();
        key.extend(garbage.note());
        key
    }

    #[tokio::test]
    async fn noted_rows_go_and_nothing_else() {
        let store = fixture();
        let table: Vec<_> = (0..1300).map(|n| row(200, 1, n)).collect();
        write(&store, table).await;
        write(&store, (0..10).flat_map(|n| [row(201, 1, n), row(201, 2, n), row(202, 1, n)]).collect()).await;
        write(&store, vec![noted(Garbage { storage: 200, index: None }), noted(Garbage { storage: 201, index: Some(2) })]).await;
        assert_eq!(collect(&store).await.unwrap(), 1310);
        assert_eq!(count(&store, table_prefix(200)).await, 0);
        assert_eq!(count(&store, index_prefix(201, 1)).await, 10);
        assert_eq!(count(&store, index_prefix(201, 2)).await, 0);
        assert_eq!(count(&store, table_prefix(202)).await, 10);
        // The notes are gone: there is nothing to do a second time.
        assert_eq!(count(&store, garbage_prefix().to_vec()).await, 0);
        assert_eq!(collect(&store).await.unwrap(), 0);
    }

    fn fixture() -> CatalogStore {
        let physical = Arc::new(SimulatedClock::new(tokio::time::Instant::now(), 1_750_000_000_000_000_000));
        let clock = Clock::new(physical).unwrap();
        CatalogStore::new(solo::start(Arc::new(MemoryEngine::new()), clock, &Entropy::seeded(7), TaskGroup::new()) as Arc<dyn Kv>)
    }
}
