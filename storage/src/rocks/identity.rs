//! What a directory must say of itself before it is opened as a store.
//!
//! ```text
//!   DIR/STORE     meridian-store            what it is
//!                 format 1                  the version of everything below
//!                 id 9f0c…                  this store, for ever
//!                 state ready               `creating` until the database was opened once
//!                 crc32 5d1e…               of the lines above
//!   DIR/rocks/    the database
//! ```
//! The file is written to a temporary name, synced and renamed, the directory synced. Never a guess: an unknown format, a
//! checksum that does not hold, a database without its file or a finished file without its database are refused.

use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use meridian_clock::Entropy;
use rand::Rng;

use crate::engine::{Result, StorageError};

/// The format that this version writes, and the newest it reads.
pub const STORE_FORMAT: u32 = 1;

pub(super) const DATABASE_DIR: &str = "rocks";
const IDENTITY_FILE: &str = "STORE";
const TEMPORARY_FILE: &str = "STORE.tmp";
const MAGIC: &str = "meridian-store";

/// Names a store for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(pub u128);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How far a store has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its database has never been opened.
    Creating,
    /// It has.
    Ready,
}

/// Reads the identity of the store in `dir`, or gives one to an empty directory. A [`State::Creating`] store may still lack its database.
pub(super) fn open_or_create(dir: &Path) -> Result<(StoreId, State)> {
    fs::create_dir_all(dir).map_err(|e| io("creating", dir, &e))?;
    let path = dir.join(IDENTITY_FILE);
    let has_database = dir.join(DATABASE_DIR).exists();
    match fs::read(&path) {
        Ok(bytes) => {
            let (id, state) = parse(&bytes).map_err(|refusal| refusal.at(&path))?;
            if state == State::Ready && !has_database {
                return Err(StorageError::Corruption(format!(
                    "{} names a store, but its database {DATABASE_DIR}/ is missing",
                    path.display()
                )));
            }
            Ok((id, state))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut names: Vec<_> = fs::read_dir(dir)
                .and_then(|entries| entries.map(|e| e.map(|e| e.file_name())).collect::<std::io::Result<Vec<_>>>())
                .map_err(|e| io("listing", dir, &e))?;
            // What a crash during the very first start may leave, and what file systems put into their root.
            names.retain(|name| name != TEMPORARY_FILE && name != "lost+found");
            if names.iter().any(|name| name == DATABASE_DIR) {
                return Err(StorageError::Format(format!(
                    "{} holds a database but no {IDENTITY_FILE} file: refusing to guess whose it is",
                    dir.display()
                )));
            }
            let id = StoreId(Entropy::from_os().rng().random());
            write(dir, id, State::Creating)?;
            Ok((id, State::Creating))
        }
        Err(error) => Err(io("reading", &path, &error)),
    }
}

/// Notes that the database of a new store is there.
pub(super) fn seal(dir: &Path, id: StoreId) -> Result<()> {
    let path = dir.join(IDENTITY_FILE);
    let bytes = fs::read(&path).map_err(|e| io("reading", &path, &e))?;
    match parse(&bytes).map_err(|refusal| refusal.at(&path))? {
        (_, State::Ready) => Ok(()),
        (_, State::Creating) => write(dir, id, State::Ready),
    }
}

fn render(id: StoreId, state: State) -> String {
    let state = match state {
        State::Creating => "creating",
        State::Ready => "ready",
    };
    let body = format!("{MAGIC}\nformat {STORE_FORMAT}\nid {id}\nstate {state}\n");
    let crc = crc32fast::hash(body.as_bytes());
    format!("{body}crc32 {crc:08x}\n")
}

fn write(dir: &Path, id: StoreId, state: State) -> Result<()> {
    let temporary = dir.join(TEMPORARY_FILE);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(render(id, state).as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(IDENTITY_FILE))?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|e| io("writing", &temporary, &e))
}

enum Refusal {
    Format(String),
    Damaged(&'static str),
}

impl Refusal {
    fn at(self, path: &Path) -> StorageError {
        match self {
            Refusal::Format(what) => StorageError::Format(format!("{}: {what}", path.display())),
            Refusal::Damaged(what) => StorageError::Corruption(format!("{}: {what}", path.display())),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<(StoreId, State), Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::Damaged("not text"))?;
    let mut lines = text.lines();
    if lines.next() != Some(MAGIC) {
        return Err(Refusal::Format("not a Meridian store".into()));
    }
    // The format is read before the checksum: a newer version may compute that in another way.
    let format = field(lines.next(), "format").and_then(|v| v.parse::<u32>().ok()).ok_or(Refusal::Damaged("no format line"))?;
    if format > STORE_FORMAT {
        let what = format!("the store has format {format}, this version reads up to {STORE_FORMAT}: run a newer version");
        return Err(Refusal::Format(what));
    }
    let id = field(lines.next(), "id").and_then(|v| u128::from_str_radix(v, 16).ok()).ok_or(Refusal::Damaged("no id line"))?;
    let state = match field(lines.next(), "state") {
        Some("creating") => State::Creating,
        Some("ready") => State::Ready,
        _ => return Err(Refusal::Damaged("no state line")),
    };
    let crc = field(lines.next(), "crc32").and_then(|v| u32::from_str_radix(v, 16).ok()).ok_or(Refusal::Damaged("no checksum"))?;
    let body = text.rfind("crc32 ").unwrap_or(0);
    if crc32fast::hash(&bytes[..body]) != crc || lines.next().is_some() {
        return Err(Refusal::Damaged("the checksum does not hold"));
    }
    Ok((StoreId(id), state))
}

fn field<'a>(line: Option<&'a str>, name: &str) -> Option<&'a str> {
    line?.strip_prefix(name)?.strip_prefix(' ')
}

fn io(doing: &str, path: &Path, error: &std::io::Error) -> StorageError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        StorageError::DiskFull(format!("{doing} {}: {error}", path.display()))
    } else {
        StorageError::Io(format!("{doing} {}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_keeps_its_identity_and_refuses_what_is_not_one() {
        let dir = tempfile::tempdir().unwrap();
        let (id, _) = open_or_create(dir.path()).unwrap();
        assert_eq!(open_or_create(dir.path()).unwrap(), (id, State::Creating), "a crash before the first opening");
        fs::create_dir(dir.path().join(DATABASE_DIR)).unwrap();
        seal(dir.path(), id).unwrap();
        assert_eq!(open_or_create(dir.path()).unwrap(), (id, State::Ready));

        let file = dir.path().join(IDENTITY_FILE);
        let good = fs::read_to_string(&file).unwrap();
        fs::write(&file, good.replace("format 1", "format 2")).unwrap();
        assert!(matches!(open_or_create(dir.path()), Err(StorageError::Format(m)) if m.contains("newer version")));
        for (at, byte) in good.bytes().enumerate() {
            let mut bad = good.clone().into_bytes();
            bad[at] = byte ^ 1;
            fs::write(&file, &bad).unwrap();
            assert!(open_or_create(dir.path()).is_err(), "byte {at} flipped");
        }
        for cut in 0..good.len() - 1 {
            fs::write(&file, &good[..cut]).unwrap();
            assert!(open_or_create(dir.path()).is_err(), "cut at {cut}");
        }
        fs::remove_file(&file).unwrap();
        assert!(matches!(open_or_create(dir.path()), Err(StorageError::Format(_))), "a database without its file");
        fs::write(&file, &good).unwrap();
        fs::remove_dir(dir.path().join(DATABASE_DIR)).unwrap();
        assert!(matches!(open_or_create(dir.path()), Err(StorageError::Corruption(_))), "a file without its database");
    }
}
