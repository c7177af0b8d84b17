//! KV: reads and writes of keys, one or a batch at a time, each statement a transaction of its own. The simplest load there is, to see what a
//! statement costs.

use anyhow::{Context, Result, ensure};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio_postgres::Error;

use crate::frame::RunOptions;
use crate::frame::client::{Done, User, clients};
use crate::frame::connect::Session;
use crate::frame::load::{Numbers, copy, load_parts, number_parts};
use crate::frame::outcome::{Outcome, server_name};
use crate::frame::random::{Chooser, Distribution};
use crate::frame::run::run;
use crate::frame::stats::Stats;

/// Kinds of transactions, in the order of the figures.
pub const KINDS: [&str; 2] = ["read", "write"];
/// Keys loaded by one COPY.
const PART: u64 = 10_000;

const READ: &str = "select v from kv where k = $1";
const READ_BATCH: &str = "select k, v from kv where k = any($1)";
const WRITE: &str = "insert into kv (k, v) values ($1, $2) on conflict (k) do update set v = excluded.v";
const WRITE_BATCH: &str =
    "insert into kv (k, v) select * from unnest($1::int8[], $2::bytea[]) on conflict (k) do update set v = excluded.v";

/// Loads keys `0..keys`, unless they are there. Answers the rows loaded.
pub async fn init(urls: &[String], keys: u64, value_bytes: usize, connections: usize, seed: u64) -> Result<u64> {
    let session = Session::connect(&urls[0]).await?;
    session
        .client
        .batch_execute("create table if not exists kv (k int8 primary key, v bytea not null)")
        .await
        .context("creating the table")?;
    let mut missing = Vec::new();
    for part in number_parts(keys, PART) {
        // The last of a part: the first may have been written by a run over fewer keys.
        let last = part.to as i64 - 1;
        if session.client.query_opt("select 1 from kv where k = $1", &[&last]).await?.is_none() {
            missing.push(part);
        }
    }
    load_parts(urls, connections, missing, move |session, part| Box::pin(load(session, part, value_bytes, seed))).await
}

async fn load(session: &Session, part: Numbers, value_bytes: usize, seed: u64) -> Result<u64, Error> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ part.from);
    let mut keys = part.from..part.to;
    copy(session, "kv", move |out| {
        if let Some(key) = keys.next() {
            let hex: String = value(&mut rng, value_bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            out.push_str(&format!("{key}\t\\\\x{hex}\n"));
        }
        !keys.is_empty()
    })
    .await
}

fn value(rng: &mut ChaCha8Rng, bytes: usize) -> Vec<u8> {
    let mut value = vec![0; bytes];
    rng.fill_bytes(&mut value);
    value
}

/// What a run does.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Keys `0..keys` are used.
    pub keys: u64,
    /// Reads of a hundred transactions.
    pub read_percent: u32,
    /// How keys are chosen.
    pub distribution: Distribution,
    /// Size of what is written.
    pub value_bytes: usize,
    /// Keys of a transaction.
    pub batch: usize,
}

/// Runs reads and writes.
pub async fn measure(run_options: &RunOptions, options: Options) -> Result<Outcome> {
    ensure!(options.keys > 0 && (1..=options.keys).contains(&(options.batch as u64)), "a batch has between one and all keys");
    let urls = &run_options.urls;
    let session = Session::connect(&urls[0]).await?;
    let stats = Stats::new(&KINDS);
    let user = Reader { options, keys: Chooser::new(options.distribution, options.keys) };
    let tasks = clients(urls, run_options.connections, run_options.seed, &stats, |_| user.clone());
    let summary = run(&stats, run_options.length, &KINDS, tasks).await?;
    let settings = format!(
        "{} keys, {} % reads, {:?}, values of {} bytes, {} a transaction",
        options.keys, options.read_percent, options.distribution, options.value_bytes, options.batch
    );
    Ok(Outcome::new("kv", server_name(&session).await?, settings.to_lowercase(), run_options.connections, urls.len(), summary))
}

#[derive(Clone, Debug)]
struct Reader {
    options: Options,
    keys: Chooser,
}

#[derive(Debug)]
enum Work {
    Read(Vec<i64>),
    Write(Vec<i64>, Vec<Vec<u8>>),
}

impl Reader {
    /// Different keys, in ascending order, so that two batches do not deadlock.
    fn batch(&mut self, rng: &mut ChaCha8Rng) -> Vec<i64> {
        let mut keys = std::collections::BTreeSet::new();
        while keys.len() < self.options.batch {
            let key = self.keys.next(rng, self.options.keys) as i64;
            if !keys.insert(key) {
                // A batch of more keys than are popular would not come to an end.
                keys.insert(rng.random_range(0..self.options.keys) as i64);
            }
        }
        keys.into_iter().take(self.options.batch).collect()
    }
}

impl User for Reader {
    type Work = Work;

    fn statements(&self) -> Vec<&'static str> {
        if self.options.batch == 1 { vec![READ, WRITE] } else { vec![READ_BATCH, WRITE_BATCH] }
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> (usize, Work) {
        let keys = self.batch(rng);
        if rng.random_range(0..100) < self.options.read_percent {
            return (0, Work::Read(keys));
        }
        let values = keys.iter().map(|_| value(rng, self.options.value_bytes)).collect();
        (1, Work::Write(keys, values))
    }

    async fn run(&self, work: &Work, session: &Session) -> Result<Done, Error> {
        let found = match work {
            Work::Read(keys) if self.options.batch == 1 => session.rows(READ, &[&keys[0]]).await?.len(),
            Work::Read(keys) => session.rows(READ_BATCH, &[keys]).await?.len(),
            Work::Write(keys, values) if self.options.batch == 1 => session.run(WRITE, &[&keys[0], &values[0]]).await? as usize,
            Work::Write(keys, values) => session.run(WRITE_BATCH, &[keys, values]).await? as usize,
        };
        // All keys were loaded, and none is ever deleted.
        Ok(if found == self.options.batch { Done::Committed } else { Done::Wrong("keys are missing") })
    }
}
