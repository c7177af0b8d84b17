//! Loading: parts by several sessions at a time, each part one COPY in one transaction, with progress on the terminal.

use std::io::{IsTerminal, Write as _};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::SinkExt;
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio_postgres::Error;

use super::connect::Session;

/// Bytes sent at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Loads `parts`, in order, over `connections` sessions dealt to the gateways in turn; `load` loads one and answers its rows. Answers all rows.
pub async fn load_parts<P, L>(urls: &[String], connections: usize, mut parts: Vec<P>, load: L) -> Result<u64>
where
    P: std::fmt::Debug + Copy + Send + Sync + 'static,
    L: for<'a> Fn(&'a Session, P) -> BoxFuture<'a, Result<u64, Error>> + Clone + Send + Sync + 'static,
{
    parts.reverse();
    let (total, parts) = (parts.len(), Arc::new(Mutex::new(parts)));
    let (done, rows) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let started = tokio::time::Instant::now();
    let mut workers = Vec::new();
    for worker in 0..connections.clamp(1, total.max(1)) {
        let (parts, done, rows, load) = (parts.clone(), done.clone(), rows.clone(), load.clone());
        let url = urls[worker % urls.len()].clone();
        workers.push(tokio::spawn(async move {
            let session = Session::connect(&url).await?;
            loop {
                let Some(part) = parts.lock().await.pop() else { return anyhow::Ok(()) };
                let loaded = load(&session, part).await.with_context(|| format!("loading {part:?}"))?;
                let rows = rows.fetch_add(loaded, Ordering::Relaxed) + loaded;
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, total as u64, rows, started.elapsed().as_secs_f64());
            }
        }));
    }
    for worker in workers {
        worker.await??;
    }
    if std::io::stderr().is_terminal() && total > 0 {
        eprintln!();
    }
    Ok(rows.load(Ordering::Relaxed))
}

fn progress(done: u64, total: u64, rows: u64, seconds: f64) {
    let bar = (done * 30 / total.max(1)) as usize;
    let line = format!(
        "load {}{} {done}/{total} parts │ {rows} rows │ {:.0} rows/s",
        "█".repeat(bar),
        "░".repeat(30 - bar),
        rows as f64 / seconds.max(1e-3)
    );
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{line}");
        let _ = std::io::stderr().flush();
    } else if done == total {
        eprintln!("{line}");
    }
}

/// One `copy TABLE from stdin`; `write` appends the next row or rows, and answers whether there are more. Answers the number of rows.
pub async fn copy(session: &Session, table: &str, mut write: impl FnMut(&mut String) -> bool) -> Result<u64, Error> {
    let sink = session.client.copy_in::<_, Bytes>(&format!("copy {table} from stdin")).await?;
    let mut sink = pin!(sink);
    let mut out = String::new();
    loop {
        let more = write(&mut out);
        if out.len() >= CHUNK_BYTES || !more {
            sink.send(std::mem::take(&mut out).into()).await?;
        }
        if !more {
            return sink.as_mut().finish().await;
        }
    }
}

/// A part of a table whose rows are numbered.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The first number.
    pub from: u64,
    /// One beyond the last.
    pub to: u64,
}

/// `0..n` in parts of at most `size`.
pub fn number_parts(n: u64, size: u64) -> Vec<Numbers> {
    (0..n.div_ceil(size.max(1))).map(|part| Numbers { from: part * size, to: ((part + 1) * size).min(n) }).collect()
}
