//! The catalog in KV, and its cache.
//!
//! ```text
//!   CATALOG ‖ 'v'                       → version, raised by every transaction that changes the catalog
//!   CATALOG ‖ 'd' ‖ kind ‖ be32 oid     → descriptor
//!   CATALOG ‖ 'o'                       → next free OID (taken in blocks, outside transactions)
//!   CATALOG ‖ 's' ‖ be32 oid            → rows of a table, as ANALYZE counted them
//!   CATALOG ‖ 't' ‖ be32 oid            → what ANALYZE found out about its columns
//!   CATALOG ‖ 'g' ‖ be32 storage id [‖ be32 index id]   → rows nobody refers to any more, to be deleted (`garbage`)
//! ```
//! **Consistency.** Every transaction that uses the catalog reads the version key in its own snapshot, and that read is in its
//! read set: a transaction that commits at `c` is therefore known to have used the schema of `c`, whatever DDL ran beside it.
//! All catalog changes write the version key, so they are serialised among themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use meridian_storage::mvcc::Direction;
use meridian_storage::{Key, Span};
use meridian_txn::api::{Columns, Expect, Get, Got, Kv, KvError, KvTxn, Scan, TxnOptions};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use super::descriptor::*;
use super::garbage::Garbage;
use super::keys::{CATALOG_STORAGE, table_prefix};
use super::snapshot::{CatalogSnapshot, ColumnStatistics};
use crate::error::{Result, SqlError, SqlState};

/// OIDs taken from the counter at once.
const OID_BLOCK: u32 = 64;
/// Tries of an internal transaction before its error is shown.
const INTERNAL_RETRIES: usize = 20;

/// One stored descriptor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Descriptor {
    /// A database.
    Database(DatabaseDescriptor),
    /// A schema.
    Schema(SchemaDescriptor),
    /// A relation.
    Relation(Box<RelationDescriptor>),
    /// A role.
    Role(RoleDescriptor),
}

impl Descriptor {
    fn key(&self) -> Key {
        match self {
            Descriptor::Database(d) => descriptor_key(b'd', d.id),
            Descriptor::Schema(d) => descriptor_key(b's', d.id),
            Descriptor::Relation(d) => descriptor_key(b'r', d.id),
            Descriptor::Role(d) => descriptor_key(b'u', d.id),
        }
    }
}

fn catalog_key(tail: &[u8]) -> Key {
    let mut key = table_prefix(CATALOG_STORAGE);
    key.extend_from_slice(tail);
    key.into()
}

fn descriptor_key(kind: u8, oid: Oid) -> Key {
    let mut tail = vec![b'd', kind];
    tail.extend_from_slice(&oid.to_be_bytes());
    catalog_key(&tail)
}

fn version_key() -> Key {
    catalog_key(b"v")
}

fn statistics_key(oid: Oid) -> Key {
    let mut tail = vec![b's'];
    tail.extend_from_slice(&oid.to_be_bytes());
    catalog_key(&tail)
}

fn column_statistics_key(oid: Oid) -> Key {
    let mut tail = vec![b't'];
    tail.extend_from_slice(&oid.to_be_bytes());
    catalog_key(&tail)
}

/// Where the notes of rows to be deleted stand.
pub(super) fn garbage_prefix() -> Key {
    catalog_key(b"g")
}

fn garbage_key(garbage: Garbage) -> Key {
    let mut tail = vec![b'g'];
    tail.extend(garbage.note());
    catalog_key(&tail)
}

fn decode<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|e| SqlError::new(SqlState::DATA_CORRUPTED, format!("stored {what} does not decode: {e}")))
}

fn encode<T: Serialize>(value: &T) -> Result<Bytes> {
    postcard::to_stdvec(value).map(Bytes::from).map_err(|e| SqlError::internal(format!("encoding for the catalog: {e}")))
}

/// What ANALYZE found out about a table.
#[derive(Clone, Debug)]
pub struct TableStatistics {
    /// Which.
    pub table: Oid,
    /// Its rows.
    pub rows: u64,
    /// Its columns by id.
    pub columns: BTreeMap<u32, ColumnStatistics>,
}

/// The catalog of one gateway. Shared by all its sessions.
#[derive(Debug)]
pub struct CatalogStore {
    kv: Arc<dyn Kv>,
    cached: RwLock<Arc<CatalogSnapshot>>,
    /// `[next, end)` of the OID block in hand.
    oids: Mutex<(Oid, Oid)>,
}

impl CatalogStore {
    /// A catalog over `kv`; nothing is read until it is used.
    pub fn new(kv: Arc<dyn Kv>) -> Self {
        CatalogStore { kv, cached: RwLock::new(Arc::new(CatalogSnapshot::default())), oids: Mutex::new((0, 0)) }
    }

    /// The store below.
    pub fn kv(&self) -> &Arc<dyn Kv> {
        &self.kv
    }

    /// Writes the objects that every cluster begins with, if they are not there. Safe to run on every node at every start.
    pub async fn bootstrap(&self) -> Result<()> {
        self.internal(|txn| {
            Box::pin(async move {
                if read(txn, version_key()).await?.is_some() {
                    return Ok(());
                }
                for descriptor in initial_descriptors() {
                    txn.put(descriptor.key(), encode(&descriptor)?, Expect::AsRead).await?;
                }
                txn.put(catalog_key(b"o"), encode(&FIRST_USER_OID)?, Expect::AsRead).await?;
                txn.put(version_key(), encode(&1_u64)?, Expect::AsRead).await?;
                Ok(())
            })
        })
        .await
    }

    /// The catalog as `txn` sees it. Reads one key when the cache is current, everything when it is not.
    pub async fn snapshot(&self, txn: &mut dyn KvTxn) -> Result<Arc<CatalogSnapshot>> {
        let version: u64 = match read(txn, version_key()).await? {
            Some(bytes) => decode("catalog version", &bytes)?,
            None => return Err(SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the cluster has not been initialised")),
        };
        let cached = self.cached.read().clone();
        if cached.version == version {
            return Ok(cached);
        }
        let loaded = Arc::new(load(txn, version).await?);
        let mut slot = self.cached.write();
        if slot.version < version {
            *slot = loaded.clone();
        }
        Ok(loaded)
    }

    /// The newest catalog that this gateway has seen, for displays that need no consistency (metrics, messages).
    pub fn latest(&self) -> Arc<CatalogSnapshot> {
        self.cached.read().clone()
    }

    /// A fresh OID. Never given out twice; gaps are normal.
    pub async fn allocate_oid(&self) -> Result<Oid> {
        loop {
            {
                let mut block = self.oids.lock();
                if block.0 < block.1 {
                    block.0 += 1;
                    return Ok(block.0 - 1);
                }
            }
            let start: Oid = self
                .internal(|txn| {
                    Box::pin(async move {
                        let next: Oid = match read(txn, catalog_key(b"o")).await? {
                            Some(bytes) => decode("OID counter", &bytes)?,
                            None => FIRST_USER_OID,
                        };
                        txn.put(catalog_key(b"o"), encode(&(next + OID_BLOCK))?, Expect::AsRead).await?;
                        Ok(next)
                    })
                })
                .await?;
            *self.oids.lock() = (start, start + OID_BLOCK);
        }
    }

    /// Records what ANALYZE found out about tables. Raises the catalog version, so that plans are made anew.
    pub async fn set_statistics(&self, found: &[TableStatistics]) -> Result<()> {
        let found = found.to_vec();
        self.internal(move |txn| {
            let found = found.clone();
            Box::pin(async move {
                for table in found {
                    txn.put(statistics_key(table.table), encode(&table.rows)?, Expect::AsRead).await?;
                    txn.put(column_statistics_key(table.table), encode(&table.columns)?, Expect::AsRead).await?;
                }
                bump_version(txn).await
            })
        })
        .await
    }

    /// Sets a role's password verifier.
    pub async fn set_verifier(&self, user: &str, verifier: String) -> Result<()> {
        let user = user.to_owned();
        self.internal(move |txn| {
            let (user, verifier) = (user.clone(), verifier.clone());
            Box::pin(async move {
                let Some(bytes) = read(txn, version_key()).await? else { return Err(SqlError::internal("no catalog yet")) };
                let snapshot = load(txn, decode("catalog version", &bytes)?).await?;
                let Some(role) = snapshot.roles.values().find(|r| r.name == user) else {
                    return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{user}\" does not exist")));
                };
                let descriptor = Descriptor::Role(RoleDescriptor { verifier: Some(verifier), ..role.as_ref().clone() });
                txn.put(descriptor.key(), encode(&descriptor)?, Expect::AsRead).await?;
                bump_version(txn).await
            })
        })
        .await
    }

    /// Runs a transaction of our own, again while it meets retryable errors.
    pub async fn internal<T, F>(&self, mut work: F) -> Result<T>
    where
        F: for<'a> FnMut(&'a mut dyn KvTxn) -> futures::future::BoxFuture<'a, Result<T>> + Send,
        T: Send,
    {
        let mut txn = self.kv.begin(TxnOptions { description: "catalog".into(), ..TxnOptions::default() });
        let mut tries = 0;
        loop {
            let outcome = match work(txn.as_mut()).await {
                Ok(value) => txn.commit().await.map(|_| value).map_err(SqlError::from),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(value) => return Ok(value),
                Err(error) => {
                    tries += 1;
                    let again = matches!(error.kv(), Some(KvError::Retry { .. } | KvError::Deadlock { .. }));
                    if !again || tries > INTERNAL_RETRIES {
                        txn.rollback().await;
                        return Err(error);
                    }
                    txn.restart();
                }
            }
        }
    }
}

async fn read(txn: &mut dyn KvTxn, key: Key) -> Result<Option<Bytes>> {
    match txn.get(vec![Get { key, columns: Columns::All, lock: None }]).await?.pop() {
        Some(Got::Value(value)) => Ok(value),
        _ => Err(SqlError::internal("a read without a lock was skipped")),
    }
}

/// Raises the version within `txn`.
async fn bump_version(txn: &mut dyn KvTxn) -> Result<()> {
    let version: u64 = match read(txn, version_key()).await? {
        Some(bytes) => decode("catalog version", &bytes)?,
        None => 0,
    };
    Ok(txn.put(version_key(), encode(&(version + 1))?, Expect::AsRead).await?)
}

async fn load(txn: &mut dyn KvTxn, version: u64) -> Result<CatalogSnapshot> {
    let mut snapshot = CatalogSnapshot { version, ..CatalogSnapshot::default() };
    for tail in [b"d", b"s", b"t"] {
        let mut span = Some(Span::prefix(catalog_key(tail)));
        while let Some(rest) = span {
            let page = txn
                .scan(Scan {
                    span: rest,
                    direction: Direction::Forward,
                    columns: Columns::All,
                    limit_rows: 0,
                    limit_bytes: 0,
                    program: None,
                    lock: None,
                })
                .await?;
            for (key, value) in &page.rows {
                if tail == b"d" {
                    snapshot.insert(decode("descriptor", value)?);
                } else if let Some(oid) = key.len().checked_sub(4).and_then(|at| key[at..].try_into().ok()) {
                    let oid = u32::from_be_bytes(oid);
                    if tail == b"s" {
                        snapshot.row_counts.insert(oid, decode("statistics", value)?);
                    } else {
                        snapshot.column_statistics.insert(oid, decode("column statistics", value)?);
                    }
                }
            }
            span = page.resume;
        }
    }
    Ok(snapshot)
}

fn initial_descriptors() -> Vec<Descriptor> {
    let database = |id, name: &str| Descriptor::Database(DatabaseDescriptor { id, name: name.into(), owner: ROOT_ROLE_OID, comment: None });
    let schema = |id, database, name: &str, comment: &str| {
        Descriptor::Schema(SchemaDescriptor { id, database, name: name.into(), owner: ROOT_ROLE_OID, comment: Some(comment.into()) })
    };
    vec![
        database(DEFAULT_DATABASE_OID, "defaultdb"),
        database(POSTGRES_DATABASE_OID, "postgres"),
        schema(PUBLIC_SCHEMA_OID, DEFAULT_DATABASE_OID, "public", "standard public schema"),
        schema(PUBLIC_SCHEMA_OID + 1, POSTGRES_DATABASE_OID, "public", "standard public schema"),
        Descriptor::Role(RoleDescriptor {
            id: ROOT_ROLE_OID,
            name: "root".into(),
            superuser: true,
            create_db: true,
            create_role: true,
            login: true,
            verifier: None,
            connection_limit: -1,
        }),
    ]
}

impl CatalogSnapshot {
    /// Adds or replaces a descriptor, keeping the name index true.
    pub fn insert(&mut self, descriptor: Descriptor) {
        match descriptor {
            Descriptor::Database(d) => drop(self.databases.insert(d.id, Arc::new(d))),
            Descriptor::Schema(d) => drop(self.schemas.insert(d.id, Arc::new(d))),
            Descriptor::Role(d) => drop(self.roles.insert(d.id, Arc::new(d))),
            Descriptor::Relation(d) => {
                self.remove_relation(d.id);
                self.by_name.insert((d.schema, d.name.clone()), d.id);
                if let Some(table) = d.table() {
                    for index in table.all_indexes() {
                        self.by_name.insert((d.schema, index.name.clone()), d.id);
                    }
                }
                self.relations.insert(d.id, Arc::new(*d));
            }
        }
    }

    /// Removes a relation and its names.
    pub fn remove_relation(&mut self, oid: Oid) {
        if self.relations.remove(&oid).is_some() {
            self.by_name.retain(|_, owner| *owner != oid);
        }
    }
}

/// What a transaction changed in the catalog: its own snapshot, and what is still to be written to KV.
///
/// Mutations are in memory; [`CatalogChanges::flush`] puts them into the transaction's buffer. Cloning it is how a savepoint remembers it.
#[derive(Clone, Debug)]
pub struct CatalogChanges {
    /// The catalog with the changes, under a version that no committed catalog has.
    snapshot: CatalogSnapshot,
    base_version: u64,
    puts: Vec<Descriptor>,
    deletes: Vec<Key>,
    garbage: Vec<Garbage>,
}

/// Versions of uncommitted catalogs have this bit, so that a plan cached for one is never used for a committed one.
const UNCOMMITTED: u64 = 1 << 63;

impl CatalogChanges {
    /// Nothing changed yet.
    pub fn new(base: &CatalogSnapshot) -> Self {
        let mut snapshot = base.clone();
        snapshot.version |= UNCOMMITTED;
        CatalogChanges { snapshot, base_version: base.version, puts: vec![], deletes: vec![], garbage: vec![] }
    }

    /// The catalog with the changes.
    pub fn snapshot(&self) -> &CatalogSnapshot {
        &self.snapshot
    }

    /// Adds or replaces an object.
    pub fn put(&mut self, descriptor: Descriptor) {
        self.snapshot.insert(descriptor.clone());
        self.puts.retain(|p| p.key() != descriptor.key());
        self.deletes.retain(|k| *k != descriptor.key());
        self.puts.push(descriptor);
    }

    /// Adds or replaces a relation, raising its version.
    pub fn put_relation(&mut self, mut relation: RelationDescriptor) {
        relation.version += 1;
        self.put(Descriptor::Relation(Box::new(relation)));
    }

    /// Removes a relation; the rows of a table become garbage.
    pub fn drop_relation(&mut self, oid: Oid) {
        if let Some(relation) = self.snapshot.relations.get(&oid) {
            if let Some(table) = relation.table() {
                self.garbage.push(Garbage { storage: table.storage_id, index: None });
            }
            self.snapshot.remove_relation(oid);
        }
        self.delete(descriptor_key(b'r', oid));
    }

    /// Removes a relation whose rows another one has taken over.
    pub fn forget_relation(&mut self, oid: Oid) {
        self.snapshot.remove_relation(oid);
        self.delete(descriptor_key(b'r', oid));
    }

    /// Removes a schema (its relations must be gone).
    pub fn drop_schema(&mut self, oid: Oid) {
        self.snapshot.schemas.remove(&oid);
        self.delete(descriptor_key(b's', oid));
    }

    /// Removes a database (its schemas must be gone).
    pub fn drop_database(&mut self, oid: Oid) {
        self.snapshot.databases.remove(&oid);
        self.delete(descriptor_key(b'd', oid));
    }

    /// Removes a role.
    pub fn drop_role(&mut self, oid: Oid) {
        self.snapshot.roles.remove(&oid);
        self.delete(descriptor_key(b'u', oid));
    }

    /// Leaves the rows under `storage` to the garbage job.
    pub fn discard_storage(&mut self, storage: Oid) {
        self.garbage.push(Garbage { storage, index: None });
    }

    /// Leaves the entries of one index to the garbage job.
    pub fn discard_index(&mut self, storage: Oid, index: u32) {
        self.garbage.push(Garbage { storage, index: Some(index) });
    }

    fn delete(&mut self, key: Key) {
        self.puts.retain(|p| p.key() != key);
        self.deletes.push(key);
    }

    /// Puts what changed since the last flush into the buffer of `txn`, and gives the new snapshot a version of its own.
    pub async fn flush(&mut self, txn: &mut dyn KvTxn) -> Result<Arc<CatalogSnapshot>> {
        for descriptor in std::mem::take(&mut self.puts) {
            txn.put(descriptor.key(), encode(&descriptor)?, Expect::AsRead).await?;
        }
        for key in std::mem::take(&mut self.deletes) {
            txn.delete(key).await?;
        }
        for garbage in std::mem::take(&mut self.garbage) {
            txn.put(garbage_key(garbage), Bytes::new(), Expect::AsRead).await?;
        }
        txn.put(version_key(), encode(&(self.base_version + 1))?, Expect::AsRead).await?;
        // The snapshot's address-free identity: base version, the uncommitted bit, and a counter of flushes in between.
        self.snapshot.version = UNCOMMITTED | (next_uncommitted() << 1);
        Ok(Arc::new(self.snapshot.clone()))
    }
}

/// Process-wide, so that two sessions' uncommitted catalogs never share a version.
fn next_uncommitted() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) & ((1 << 62) - 1)
}
