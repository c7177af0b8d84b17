//! The reserve of free space below which a store refuses to write.
//!
//! Asking the file system costs a system call, so an answer is good for a part of the space it found: the nearer the reserve,
//! the more often it is asked. While writes are refused every one of them asks, so recovery is immediate.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::engine::{Result, StorageError};

/// What an answer of the file system is good for at most, in bytes written.
const CREDIT_MAX: u64 = 16 << 20;
/// The same for proposals, in bytes proposed: they are the door, and should close in time.
const PROPOSAL_CREDIT_MAX: u64 = 64 << 10;

/// What is about to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Something new, before it is in any log: down to the whole reserve. Refused here, it has not happened.
    Propose,
    /// New log records: down to three quarters, so that what was let in is also written.
    Append,
    /// Applied state, which carries out what the log accepted: down to half of it.
    Apply,
    /// Log records that only delete: down to a quarter.
    AppendDeletes,
}

#[derive(Debug)]
pub(super) struct SpaceGuard {
    dir: PathBuf,
    c_dir: CString,
    min_free: AtomicU64,
    /// Bytes that may be written before the file system is asked again.
    credit: AtomicI64,
    /// Bytes that may be proposed before.
    proposal_credit: AtomicI64,
    full: AtomicBool,
    refused: AtomicU64,
}

impl SpaceGuard {
    pub(super) fn new(dir: &Path, min_free: u64) -> Result<Self> {
        let c_dir = CString::new(dir.as_os_str().as_bytes()).map_err(|_| StorageError::Io("a path with a zero byte".into()))?;
        Ok(SpaceGuard {
            dir: dir.to_owned(),
            c_dir,
            min_free: AtomicU64::new(min_free),
            credit: AtomicI64::new(0),
            proposal_credit: AtomicI64::new(0),
            full: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        })
    }

    pub(super) fn set_min_free_bytes(&self, bytes: u64) {
        self.min_free.store(bytes, Ordering::SeqCst);
        self.credit.store(0, Ordering::SeqCst);
        self.proposal_credit.store(0, Ordering::SeqCst);
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Lets `bytes` pass, or refuses them.
    pub(super) fn admit(&self, bytes: u64, kind: Admission) -> Result<()> {
        let (lent, lent_max) = match kind {
            Admission::Propose => (&self.proposal_credit, PROPOSAL_CREDIT_MAX),
            _ => (&self.credit, CREDIT_MAX),
        };
        if lent.fetch_sub(bytes as i64, Ordering::Relaxed) > bytes as i64 {
            return Ok(());
        }
        let free = self.free_bytes()?;
        let reserve = self.min_free.load(Ordering::SeqCst);
        let threshold = match kind {
            Admission::Propose => reserve,
            Admission::Append => reserve - reserve / 4,
            Admission::Apply => reserve / 2,
            Admission::AppendDeletes => reserve / 4,
        };
        if free < threshold.saturating_add(bytes) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            if !self.full.swap(true, Ordering::Relaxed) {
                tracing::warn!(dir = %self.dir.display(), free, reserve, "the disk is nearly full: writes are refused, reads go on");
            }
            return Err(StorageError::DiskFull(format!(
                "{} has {free} bytes free, fewer than its reserve of {threshold}",
                self.dir.display()
            )));
        }
        if free >= reserve && self.full.swap(false, Ordering::Relaxed) {
            tracing::info!(dir = %self.dir.display(), free, "there is space again: writes go on");
        }
        // Only what lies above the whole reserve is lent, whoever asked.
        let credit = (free.saturating_sub(reserve) / 8).min(lent_max);
        lent.store(credit as i64, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes that the file system has free for this process.
    #[allow(unsafe_code)]
    pub(super) fn free_bytes(&self) -> Result<u64> {
        // SAFETY: `statvfs` is plain old data, the path is a C string that outlives the call, and the kernel only writes into the struct.
        let (answer, stat) = unsafe {
            let mut stat: libc::statvfs = std::mem::zeroed();
            (libc::statvfs(self.c_dir.as_ptr(), &mut stat), stat)
        };
        if answer != 0 {
            return Err(StorageError::Io(format!("statvfs {}: {}", self.dir.display(), std::io::Error::last_os_error())));
        }
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
