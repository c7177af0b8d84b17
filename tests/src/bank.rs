//! The load under which nodes are killed, and the proof afterwards that nothing was lost, halved or made up.
//!
//! Each transaction of a [`Bank`] client inserts one row with a fresh id into `a` and one into `b` (with an index of its own), moves
//! money between two accounts, and writes its id into the client's own row of `clients`. Its outcome is *acknowledged*, *refused*
//! (an error before or instead of the commit) or *unknown* (the connection broke at COMMIT, or the server said that it does not know).
//!
//! [`Bank::verify`] then holds: every acknowledged id is in `a` and in `b`; no refused id is; what is in `a` is in `b` and in b's
//! index, and the other way round; the total of the balances never changes; and no client's row lies behind its last acknowledged id.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error, NoTls};

/// Accounts, each opened with [`OPENING`].
const ACCOUNTS: i64 = 200;
const OPENING: i64 = 1000;
/// Nothing may take longer than this to be answered: a gateway that hangs is an error too.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Pause of a client whose gateway refuses connections.
const RECONNECT: Duration = Duration::from_millis(20);

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// COMMIT was answered.
    Acknowledged,
    /// It certainly did not commit.
    Refused,
    /// The connection was lost at COMMIT.
    Unknown,
}

/// One transaction as its client saw it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id, which rises with each client's transactions.
    pub id: i64,
    /// Which client.
    pub client: usize,
    /// Which gateway (index into the URLs).
    pub gateway: usize,
    /// When it began.
    pub began: Instant,
    /// When its answer came.
    pub ended: Instant,
    /// What became of it.
    pub outcome: Outcome,
    /// SQLSTATE, or `connection`, if it was not acknowledged.
    pub error: Option<String>,
}

/// A running load.
pub struct Bank {
    urls: Vec<String>,
    ledger: Arc<Mutex<Vec<Entry>>>,
    go: watch::Sender<bool>,
    clients: Vec<JoinHandle<()>>,
    in_flight: Arc<std::sync::atomic::AtomicUsize>,
}

/// Connects, with a limit on the answer.
pub async fn connect(url: &str) -> Result<Client, String> {
    let mut config: Config = url.parse().map_err(|e: Error| e.to_string())?;
    config.connect_timeout(Duration::from_secs(3));
    let connecting =
        tokio::time::timeout(ANSWER_LIMIT, config.connect(NoTls)).await.map_err(|_| "no answer to the startup message".to_owned())?;
    let (client, connection) = connecting.map_err(|e| describe(&e))?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(client)
}

fn describe(error: &Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => "connection".to_owned(),
    }
}

impl Bank {
    /// Makes the tables through the first gateway.
    pub async fn create(url: &str) -> Result<()> {
        let client = connect(url).await.map_err(anyhow::Error::msg)?;
        client
            .batch_execute(
                "CREATE TABLE accounts (id int8 PRIMARY KEY, balance int8 NOT NULL);
                 CREATE TABLE clients (id int8 PRIMARY KEY, last int8 NOT NULL);
                 CREATE TABLE a (id int8 PRIMARY KEY, client int8 NOT NULL, note text NOT NULL);
                 CREATE TABLE b (id int8 PRIMARY KEY, mirror int8 NOT NULL, UNIQUE (mirror));",
            )
            .await
            .context("making the tables")?;
        client
            .batch_execute(&format!("INSERT INTO accounts SELECT g, {OPENING} FROM generate_series(0, {}) AS g", ACCOUNTS - 1))
            .await
            .context("opening the accounts")?;
        Ok(())
    }

    /// Starts `per_gateway` clients on each gateway.
    pub fn start(urls: Vec<String>, per_gateway: usize, seed: u64) -> Bank {
        let (go, _) = watch::channel(true);
        let mut bank = Bank { urls, ledger: Arc::default(), go, clients: vec![], in_flight: Arc::default() };
        for number in 0..per_gateway * bank.urls.len() {
            let gateway = number % bank.urls.len();
            let worker = Worker {
                number,
                gateway,
                url: bank.urls[gateway].clone(),
                ledger: bank.ledger.clone(),
                rng: ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1000).wrapping_add(number as u64)),
                in_flight: bank.in_flight.clone(),
            };
            bank.clients.push(tokio::spawn(worker.run(bank.go.subscribe())));
        }
        bank
    }

    /// Holds the clients back, and waits until none has a transaction under way.
    pub async fn pause(&self) {
        self.go.send_replace(false);
        while self.in_flight.load(std::sync::atomic::Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets them go on.
    pub fn resume(&self) {
        self.go.send_replace(true);
    }

    /// Everything so far.
    pub async fn ledger(&self) -> Vec<Entry> {
        self.ledger.lock().await.clone()
    }

    /// How many were acknowledged so far.
    pub async fn acknowledged(&self) -> usize {
        self.ledger.lock().await.iter().filter(|e| e.outcome == Outcome::Acknowledged).count()
    }

    /// Waits for an acknowledged transaction that began after `since` at one of these gateways: the time from `since` to its answer.
    pub async fn next_commit(&self, since: Instant, gateways: &[usize], limit: Duration) -> Result<Duration> {
        loop {
            {
                let ledger = self.ledger.lock().await;
                let first = ledger
                    .iter()
                    .rev()
                    .take_while(|e| e.ended > since)
                    .filter(|e| e.outcome == Outcome::Acknowledged && e.began >= since && gateways.contains(&e.gateway))
                    .map(|e| e.ended)
                    .min();
                if let Some(at) = first {
                    return Ok(at - since);
                }
            }
            ensure!(since.elapsed() < limit, "no transaction committed at gateways {gateways:?} within {limit:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Checks the tables against the ledger. Call it while the load is paused. `url` says whom to ask.
    pub async fn verify(&self, url: &str) -> Result<Tally> {
        let ledger = self.ledger.lock().await.clone();
        let client = connect(url).await.map_err(anyhow::Error::msg)?;
        let ids = |sql: &'static str| {
            let client = &client;
            async move {
                let rows = tokio::time::timeout(ANSWER_LIMIT, client.query(sql, &[])).await.with_context(|| format!("no answer: {sql}"))?;
                let rows = rows.with_context(|| sql.to_owned())?;
                let ids: Vec<i64> = rows.iter().map(|r| r.get(0)).collect();
                let set: BTreeSet<i64> = ids.iter().copied().collect();
                ensure!(set.len() == ids.len(), "{sql}: a row comes twice");
                Ok(set)
            }
        };
        let a = ids("SELECT id FROM a").await?;
        let b = ids("SELECT id FROM b").await?;
        let mirror = ids("SELECT mirror FROM b ORDER BY mirror").await?;
        for entry in &ledger {
            match entry.outcome {
                Outcome::Acknowledged => {
                    ensure!(a.contains(&entry.id), "acknowledged, but not in a: {entry:?}");
                    ensure!(b.contains(&entry.id), "acknowledged, but not in b: {entry:?}");
                }
                Outcome::Refused => ensure!(!a.contains(&entry.id) && !b.contains(&entry.id), "refused, but there: {entry:?}"),
                Outcome::Unknown => {}
            }
        }
        ensure!(
            a == b,
            "half transactions: only in a {:?}, only in b {:?}",
            a.difference(&b).collect::<Vec<_>>(),
            b.difference(&a).collect::<Vec<_>>()
        );
        ensure!(a == mirror, "the index of b differs: {:?}", a.symmetric_difference(&mirror).collect::<Vec<_>>());
        let known: BTreeSet<i64> = ledger.iter().map(|e| e.id).collect();
        ensure!(a.is_subset(&known), "made up: {:?}", a.difference(&known).collect::<Vec<_>>());
        let row = client.query_one("SELECT sum(balance)::int8, count(*) FROM accounts", &[]).await?;
        ensure!(row.get::<_, i64>(0) == ACCOUNTS * OPENING && row.get::<_, i64>(1) == ACCOUNTS, "the balances do not add up: {row:?}");
        for row in client.query("SELECT id, last FROM clients", &[]).await? {
            let (number, last): (i64, i64) = (row.get(0), row.get(1));
            let acknowledged =
                ledger.iter().filter(|e| e.client as i64 == number && e.outcome == Outcome::Acknowledged).map(|e| e.id).max();
            ensure!(acknowledged.is_none_or(|id| id <= last), "client {number} wrote {acknowledged:?}, its row says {last}");
            ensure!(a.contains(&last), "client {number}'s row says {last}, which is not in a");
        }
        let count = |o: Outcome| ledger.iter().filter(|e| e.outcome == o).count();
        let unknown_there = ledger.iter().filter(|e| e.outcome == Outcome::Unknown && a.contains(&e.id)).count();
        Ok(Tally {
            acknowledged: count(Outcome::Acknowledged),
            refused: count(Outcome::Refused),
            unknown: count(Outcome::Unknown),
            unknown_there,
        })
    }

    /// Ends the clients.
    pub async fn stop(self) -> Vec<Entry> {
        self.pause().await;
        for client in &self.clients {
            client.abort();
        }
        Arc::try_unwrap(self.ledger).map_or_else(|shared| shared.try_lock().map(|l| l.clone()).unwrap_or_default(), Mutex::into_inner)
    }
}

/// What a verification counted.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// Acknowledged, and there.
    pub acknowledged: usize,
    /// Refused, and not there.
    pub refused: usize,
    /// Unknown to the client.
    pub unknown: usize,
    /// Of those, committed.
    pub unknown_there: usize,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { acknowledged, refused, unknown, unknown_there } = self;
        write!(
            f,
            "{acknowledged} acknowledged (all there, whole), {refused} refused (none there), {unknown} unknown ({unknown_there} of them committed)"
        )
    }
}

struct Worker {
    number: usize,
    gateway: usize,
    url: String,
    ledger: Arc<Mutex<Vec<Entry>>>,
    rng: ChaCha8Rng,
    in_flight: Arc<std::sync::atomic::AtomicUsize>,
}

impl Worker {
    async fn run(mut self, mut go: watch::Receiver<bool>) {
        let mut connection: Option<Client> = None;
        let mut sequence = 0i64;
        loop {
            if go.wait_for(|go| *go).await.is_err() {
                return;
            }
            self.in_flight.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            if *go.borrow() {
                self.turn(&mut connection, &mut sequence).await;
            }
            self.in_flight.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            if connection.is_none() {
                tokio::time::sleep(RECONNECT).await;
            }
        }
    }

    async fn turn(&mut self, connection: &mut Option<Client>, sequence: &mut i64) {
        if connection.as_ref().is_none_or(Client::is_closed) {
            *connection = connect(&self.url).await.ok();
        }
        let Some(client) = connection else { return };
        *sequence += 1;
        let id = (self.number as i64) << 40 | *sequence;
        let began = Instant::now();
        let from = self.rng.random_range(0..ACCOUNTS);
        let to = (from + self.rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        let mut at_commit = false;
        let work = transaction(client, self.number as i64, id, (from, to), self.rng.random_range(1..10), &mut at_commit);
        let (outcome, error) = match tokio::time::timeout(ANSWER_LIMIT, work).await {
            Ok(Ok(())) => (Outcome::Acknowledged, None),
            Ok(Err(error)) => (failure(&error, at_commit), Some(describe(&error))),
            Err(_) => (Outcome::Unknown, Some(format!("no answer within {ANSWER_LIMIT:?}"))),
        };
        if outcome != Outcome::Acknowledged {
            // After any error the session is done with: whether ROLLBACK works is another test's matter.
            *connection = None;
        }
        let entry = Entry { id, client: self.number, gateway: self.gateway, began, ended: Instant::now(), outcome, error };
        self.ledger.lock().await.push(entry);
    }
}

fn failure(error: &Error, at_commit: bool) -> Outcome {
    match error.as_db_error() {
        // 40003 statement_completion_unknown, 08007 transaction_resolution_unknown: the server says that it does not know. 57P01: it goes away.
        Some(db) if at_commit && matches!(db.code().code(), "40003" | "08007" | "57P01") => Outcome::Unknown,
        Some(_) => Outcome::Refused,
        None if at_commit => Outcome::Unknown,
        None => Outcome::Refused,
    }
}

async fn transaction(
    client: &Client,
    number: i64,
    id: i64,
    (from, to): (i64, i64),
    amount: i64,
    at_commit: &mut bool,
) -> Result<(), Error> {
    client.batch_execute("BEGIN").await?;
    client.batch_execute(&format!("INSERT INTO a VALUES ({id}, {number}, 'note of {id}')")).await?;
    client.batch_execute(&format!("UPDATE accounts SET balance = balance - {amount} WHERE id = {from}")).await?;
    client.batch_execute(&format!("UPDATE accounts SET balance = balance + {amount} WHERE id = {to}")).await?;
    client.batch_execute(&format!("INSERT INTO clients VALUES ({number}, {id}) ON CONFLICT (id) DO UPDATE SET last = {id}")).await?;
    client.batch_execute(&format!("INSERT INTO b VALUES ({id}, {id})")).await?;
    *at_commit = true;
    client.batch_execute("COMMIT").await
}
