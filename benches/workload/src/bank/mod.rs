//! Bank: money moves between accounts, and none may be lost or made. A transfer reads two balances, computes the new ones here, and writes them: the
//! pattern of most applications, which loses money on a server that lets updates be lost (PostgreSQL below REPEATABLE READ), unless the rows are
//! locked when they are read (`--lock`). An audit adds everything up in one statement.

pub mod check;

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tokio_postgres::{Error, Row};

use crate::frame::RunOptions;
use crate::frame::client::{Done, User, clients};
use crate::frame::connect::Session;
use crate::frame::load::{Numbers, copy, load_parts, number_parts};
use crate::frame::outcome::{Outcome, server_name};
use crate::frame::run::run;
use crate::frame::stats::Stats;

/// Kinds of transactions, in the order of the figures.
pub const KINDS: [&str; 2] = ["transfer", "audit"];
/// What each account has at first.
const FIRST_BALANCE: i64 = 1_000;
/// The most that a transfer moves.
const AMOUNT_MAX: i64 = 100;
/// Accounts loaded by one COPY.
const PART: u64 = 10_000;

const READ: &str = "select id, balance from bank_accounts where id = any($1)";
const READ_AND_LOCK: &str = "select id, balance from bank_accounts where id = any($1) order by id for update";
const WRITE: &str = "update bank_accounts set balance = $2 where id = $1";
const TOTAL: &str = "select count(*), sum(balance)::int8 from bank_accounts";

/// Makes the accounts, unless they are there. Answers the rows loaded.
pub async fn init(urls: &[String], accounts: u64, connections: usize) -> Result<u64> {
    let session = Session::connect(&urls[0]).await?;
    let create = "create table if not exists bank_accounts (id int8 primary key, balance int8 not null); \
                  create table if not exists bank_total (accounts int8 primary key, total int8 not null)";
    session.client.batch_execute(create).await.context("creating the tables")?;
    let mut missing = Vec::new();
    for part in number_parts(accounts, PART) {
        let first = part.from as i64;
        if session.client.query_opt("select 1 from bank_accounts where id = $1", &[&first]).await?.is_none() {
            missing.push(part);
        }
    }
    let rows = load_parts(urls, connections, missing, |session, part| Box::pin(load(session, part))).await?;
    // The total is what was put in: a check needs to be told nothing. Written last, so that a load that was broken off has none.
    let (count, total) = (accounts as i64, accounts as i64 * FIRST_BALANCE);
    session.client.execute("insert into bank_total values ($1, $2) on conflict do nothing", &[&count, &total]).await?;
    let known = session.client.query("select accounts from bank_total", &[]).await?;
    ensure!(known.len() == 1, "the bank was made with another number of accounts before: drop bank_accounts and bank_total");
    Ok(rows)
}

async fn load(session: &Session, part: Numbers) -> Result<u64, Error> {
    let mut ids = part.from..part.to;
    copy(session, "bank_accounts", move |out| {
        if let Some(id) = ids.next() {
            out.push_str(&format!("{id}\t{FIRST_BALANCE}\n"));
        }
        !ids.is_empty()
    })
    .await
}

/// What a run does.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Audits of a hundred transactions.
    pub audit_percent: u32,
    /// Whether rows are locked when they are read.
    pub lock: bool,
}

/// Runs transfers and audits. An audit that finds another total is an error of this name in the figures.
pub async fn measure(run_options: &RunOptions, options: Options) -> Result<Outcome> {
    let urls = &run_options.urls;
    let session = Session::connect(&urls[0]).await?;
    let row =
        session.client.query_one("select accounts, total from bank_total", &[]).await.context("the bank is made by: workload bank init")?;
    let (accounts, total): (i64, i64) = (row.get(0), row.get(1));
    ensure!(accounts >= 2, "transfers need two accounts");
    let stats = Stats::new(&KINDS);
    let user = Banker { accounts, total, options };
    let tasks = clients(urls, run_options.connections, run_options.seed, &stats, |_| user);
    let summary = run(&stats, run_options.length, &KINDS, tasks).await?;
    let settings =
        format!("{accounts} accounts, {} % audits{}", options.audit_percent, if options.lock { ", rows locked when read" } else { "" });
    Ok(Outcome::new("bank", server_name(&session).await?, settings, run_options.connections, urls.len(), summary))
}

#[derive(Clone, Copy, Debug)]
struct Banker {
    accounts: i64,
    total: i64,
    options: Options,
}

#[derive(Debug)]
enum Work {
    Transfer { from: i64, to: i64, amount: i64 },
    Audit,
}

impl User for Banker {
    type Work = Work;

    fn statements(&self) -> Vec<&'static str> {
        vec![READ, READ_AND_LOCK, WRITE, TOTAL]
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> (usize, Work) {
        if rng.random_range(0..100) < self.options.audit_percent {
            return (1, Work::Audit);
        }
        let from = rng.random_range(0..self.accounts);
        let to = (from + rng.random_range(1..self.accounts)) % self.accounts;
        (0, Work::Transfer { from, to, amount: rng.random_range(1..=AMOUNT_MAX) })
    }

    async fn run(&self, work: &Work, session: &Session) -> Result<Done, Error> {
        match work {
            Work::Transfer { from, to, amount } => self.transfer(session, *from, *to, *amount).await,
            Work::Audit => {
                let row = session.row(TOTAL, &[]).await?;
                let found: (i64, Option<i64>) = (row.get(0), row.get(1));
                Ok(if found == (self.accounts, Some(self.total)) { Done::Committed } else { Done::Wrong("another total") })
            }
        }
    }
}

impl Banker {
    async fn transfer(&self, session: &Session, from: i64, to: i64, amount: i64) -> Result<Done, Error> {
        session.client.batch_execute("begin").await?;
        let rows = session.rows(if self.options.lock { READ_AND_LOCK } else { READ }, &[&vec![from, to]]).await?;
        let balance = |id: i64| rows.iter().find(|row: &&Row| row.get::<_, i64>(0) == id).map(|row| row.get::<_, i64>(1));
        let (Some(has), Some(gets)) = (balance(from), balance(to)) else {
            session.client.batch_execute("rollback").await?;
            return Ok(Done::Wrong("an account is missing"));
        };
        // Nobody is overdrawn. In one order over all transfers, so that two of them do not deadlock.
        let moved = amount.min(has);
        let mut changes = [(from, has - moved), (to, gets + moved)];
        changes.sort_unstable();
        for (id, balance) in changes {
            session.run(WRITE, &[&id, &balance]).await?;
        }
        session.client.batch_execute("commit").await?;
        Ok(Done::Committed)
    }
}
