//! YCSB's six core workloads, over a table of ten fields of a hundred bytes:
//!
//! ```text
//!   A   50 % reads, 50 % updates           zipfian        session store
//!   B   95 % reads,  5 % updates           zipfian        tags of photos
//!   C  100 % reads                         zipfian        profiles
//!   D   95 % reads,  5 % inserts           latest         status messages
//!   E   95 % scans,  5 % inserts           zipfian        threads; a scan has 1 to 100 records, uniformly
//!   F   50 % reads, 50 % read-modify-write zipfian        user records
//! ```
//! Keys are `user` and the scattered number of the record, as YCSB's own. A read-modify-write is one transaction here; its read takes the lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use crate::frame::RunOptions;
use crate::frame::client::{Done, User, clients};
use crate::frame::connect::Session;
use crate::frame::load::{Numbers, copy, load_parts, number_parts};
use crate::frame::outcome::{Outcome, server_name};
use crate::frame::random::{Chooser, Distribution, scatter};
use crate::frame::run::run;
use crate::frame::stats::Stats;

/// Kinds of transactions, in the order of the figures.
pub const KINDS: [&str; 5] = ["read", "update", "insert", "scan", "read-modify-write"];
/// Fields of a record.
const FIELDS: usize = 10;
/// Characters of a field.
const FIELD_CHARS: usize = 100;
/// Records of a scan at most.
const SCAN_MAX: i64 = 100;
/// Records loaded by one COPY.
const PART: u64 = 5_000;

const READ: &str = "select * from usertable where ycsb_key = $1";
const READ_AND_LOCK: &str = "select * from usertable where ycsb_key = $1 for update";
const SCAN: &str = "select * from usertable where ycsb_key >= $1 order by ycsb_key limit $2";
const INSERT: &str = "insert into usertable values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const UPDATE: [&str; FIELDS] = [
    "update usertable set field0 = $2 where ycsb_key = $1",
    "update usertable set field1 = $2 where ycsb_key = $1",
    "update usertable set field2 = $2 where ycsb_key = $1",
    "update usertable set field3 = $2 where ycsb_key = $1",
    "update usertable set field4 = $2 where ycsb_key = $1",
    "update usertable set field5 = $2 where ycsb_key = $1",
    "update usertable set field6 = $2 where ycsb_key = $1",
    "update usertable set field7 = $2 where ycsb_key = $1",
    "update usertable set field8 = $2 where ycsb_key = $1",
    "update usertable set field9 = $2 where ycsb_key = $1",
];

/// Which of the six.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Letter {
    A,
    B,
    C,
    D,
    E,
    F,
}

impl Letter {
    /// Shares of [`KINDS`] in percent, and how keys are chosen.
    fn mix(self) -> ([u32; KINDS.len()], Distribution) {
        match self {
            Letter::A => ([50, 50, 0, 0, 0], Distribution::Zipfian),
            Letter::B => ([95, 5, 0, 0, 0], Distribution::Zipfian),
            Letter::C => ([100, 0, 0, 0, 0], Distribution::Zipfian),
            Letter::D => ([95, 0, 5, 0, 0], Distribution::Latest),
            Letter::E => ([0, 0, 5, 95, 0], Distribution::Zipfian),
            Letter::F => ([50, 0, 0, 0, 50], Distribution::Zipfian),
        }
    }
}

/// The key of record `number`.
fn key(number: u64) -> String {
    format!("user{:020}", scatter(number))
}

fn field(rng: &mut impl Rng) -> String {
    (0..FIELD_CHARS).map(|_| rng.random_range(b'!'..=b'[') as char).collect()
}

/// Loads records `0..records`, unless they are there. Answers the rows loaded.
pub async fn init(urls: &[String], records: u64, connections: usize, seed: u64) -> Result<u64> {
    let session = Session::connect(&urls[0]).await?;
    let fields: String = (0..FIELDS).map(|n| format!(", field{n} text")).collect();
    let create = format!("create table if not exists usertable (ycsb_key text primary key{fields})");
    session.client.batch_execute(&create).await.context("creating the table")?;
    let mut missing = Vec::new();
    for part in number_parts(records, PART) {
        if session.client.query_opt(READ, &[&key(part.from)]).await?.is_none() {
            missing.push(part);
        }
    }
    load_parts(urls, connections, missing, move |session, part| Box::pin(load(session, part, seed))).await
}

async fn load(session: &Session, part: Numbers, seed: u64) -> Result<u64, Error> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ part.from);
    let mut numbers = part.from..part.to;
    copy(session, "usertable", move |out| {
        if let Some(number) = numbers.next() {
            out.push_str(&key(number));
            for _ in 0..FIELDS {
                // Nothing in a field has a meaning in COPY but the backslash, which does not occur below `[`.
                out.push('\t');
                out.push_str(&field(&mut rng));
            }
            out.push('\n');
        }
        !numbers.is_empty()
    })
    .await
}

/// Runs one of the six.
pub async fn measure(run_options: &RunOptions, letter: Letter) -> Result<Outcome> {
    let urls = &run_options.urls;
    let session = Session::connect(&urls[0]).await?;
    let count: i64 =
        session.client.query_one("select count(*) from usertable", &[]).await.context("the table is made by: workload ycsb init")?.get(0);
    ensure!(count > 0, "the table is empty: workload ycsb init loads it");
    let records = first_free(&session, count as u64).await?;
    let (shares, distribution) = letter.mix();
    let kinds: Vec<(usize, u32)> = shares.into_iter().enumerate().filter(|(_, share)| *share > 0).collect();
    let names: Vec<&'static str> = kinds.iter().map(|(kind, _)| KINDS[*kind]).collect();
    let stats = Stats::new(&names);
    let user = Customer {
        kinds,
        keys: Chooser::new(distribution, records),
        next: Arc::new(AtomicU64::new(records)),
        inserted: Arc::new(AtomicU64::new(records)),
    };
    let tasks = clients(urls, run_options.connections, run_options.seed, &stats, |_| user.clone());
    let summary = run(&stats, run_options.length, &names, tasks).await?;
    let settings = format!("workload {letter:?}, {records} records");
    Ok(Outcome::new("ycsb", server_name(&session).await?, settings, run_options.connections, urls.len(), summary))
}

/// A number from which no record is there: inserts that failed leave holes, so that the count alone does not tell.
async fn first_free(session: &Session, count: u64) -> Result<u64> {
    const AHEAD: u64 = 1_000;
    let mut from = count;
    loop {
        let keys: Vec<String> = (from..from + AHEAD).map(key).collect();
        let taken: i64 = session.client.query_one("select count(*) from usertable where ycsb_key = any($1)", &[&keys]).await?.get(0);
        if taken == 0 {
            return Ok(from);
        }
        from += AHEAD;
    }
}

#[derive(Clone, Debug)]
struct Customer {
    /// Those of [`KINDS`] that this workload has, and the share of each in percent. The figures have only these.
    kinds: Vec<(usize, u32)>,
    keys: Chooser,
    /// The number of the next record to insert; all users share it.
    next: Arc<AtomicU64>,
    /// Records that are there, as far as reads go by it.
    inserted: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Work {
    Read(String),
    Update(String, usize, String),
    Insert(String, Vec<String>),
    Scan(String, i64),
    ReadModifyWrite(String, usize, String),
}

impl User for Customer {
    type Work = Work;

    fn statements(&self) -> Vec<&'static str> {
        [READ, READ_AND_LOCK, SCAN, INSERT].into_iter().chain(UPDATE).collect()
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> (usize, Work) {
        let mut card = rng.random_range(0..100);
        let drawn = self.kinds.iter().position(|(_, share)| {
            let mine = card < *share;
            card = card.saturating_sub(*share);
            mine
        });
        let drawn = drawn.unwrap_or_default();
        let kind = self.kinds[drawn].0;
        if kind == 2 {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            return (drawn, Work::Insert(key(number), (0..FIELDS).map(|_| field(rng)).collect()));
        }
        let key = key(self.keys.next(rng, self.inserted.load(Ordering::Relaxed)));
        let work = match kind {
            0 => Work::Read(key),
            1 => Work::Update(key, rng.random_range(0..FIELDS), field(rng)),
            3 => Work::Scan(key, rng.random_range(1..=SCAN_MAX)),
            _ => Work::ReadModifyWrite(key, rng.random_range(0..FIELDS), field(rng)),
        };
        (drawn, work)
    }

    async fn run(&self, work: &Work, session: &Session) -> Result<Done, Error> {
        match work {
            // A record whose insert is not through yet may be asked for: YCSB lets that pass, too.
            Work::Read(key) => session.rows(READ, &[key]).await.map(drop)?,
            Work::Update(key, n, text) => session.run(UPDATE[*n], &[key, text]).await.map(drop)?,
            Work::Insert(key, fields) => {
                let mut params: Vec<&(dyn ToSql + Sync)> = vec![key];
                params.extend(fields.iter().map(|f| f as &(dyn ToSql + Sync)));
                session.run(INSERT, &params).await?;
                self.inserted.fetch_add(1, Ordering::Relaxed);
            }
            Work::Scan(key, limit) => session.rows(SCAN, &[key, limit]).await.map(drop)?,
            Work::ReadModifyWrite(key, n, text) => {
                session.client.batch_execute("begin").await?;
                session.rows(READ_AND_LOCK, &[key]).await?;
                session.run(UPDATE[*n], &[key, text]).await?;
                session.client.batch_execute("commit").await?;
            }
        }
        Ok(Done::Committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_letter_has_its_mix() {
        for letter in [Letter::A, Letter::B, Letter::C, Letter::D, Letter::E, Letter::F] {
            let (shares, distribution) = letter.mix();
            assert_eq!(shares.iter().sum::<u32>(), 100, "{letter:?}");
            let mut user = Customer {
                kinds: shares.into_iter().enumerate().filter(|(_, share)| *share > 0).collect(),
                keys: Chooser::new(distribution, 1_000),
                next: Arc::new(AtomicU64::new(1_000)),
                inserted: Arc::new(AtomicU64::new(1_000)),
            };
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            let mut counts = [0i64; KINDS.len()];
            for _ in 0..10_000 {
                let (drawn, work) = user.next(&mut rng);
                counts[user.kinds[drawn].0] += 1;
                if let Work::Scan(_, limit) = work {
                    assert!((1..=SCAN_MAX).contains(&limit));
                }
            }
            for (count, share) in counts.iter().zip(shares) {
                assert!((count - i64::from(share) * 100).abs() < 250, "{letter:?}: {counts:?} for {shares:?}");
            }
        }
    }

    #[test]
    fn keys_are_apart_and_of_one_length() {
        let keys: std::collections::BTreeSet<String> = (0..10_000).map(key).collect();
        assert_eq!(keys.len(), 10_000);
        assert!(keys.iter().all(|k| k.len() == 24));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert!((0..100).all(|_| !field(&mut rng).contains('\\')));
    }
}
