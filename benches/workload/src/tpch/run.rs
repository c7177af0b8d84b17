//! Streams of queries. Each stream runs all chosen queries, in an order of its own, a number of times; a query is timed until its last row is here.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;
use tokio_postgres::SimpleQueryMessage;

use super::KINDS;
use crate::frame::client::{Done, seed_of};
use crate::frame::connect::{Session, error_name};
use crate::frame::outcome::{Outcome, server_name};
use crate::frame::stats::Stats;

const QUERIES: &str = include_str!("queries.sql");

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Gateways; streams are dealt to them in turn.
    pub urls: Vec<String>,
    /// Streams.
    pub connections: usize,
    /// How often each stream runs each query.
    pub rounds: usize,
    /// Numbers of the queries to run, from 1.
    pub queries: Vec<usize>,
    /// A query that takes longer is ended and counted as failed.
    pub timeout: Duration,
    /// The orders of the streams are functions of this; the first stream of one keeps the queries in their order.
    pub seed: u64,
    /// Where the answers of the first stream go, to be compared with those of another server.
    pub answers: Option<PathBuf>,
}

/// The text of each query.
fn queries() -> Vec<&'static str> {
    QUERIES.split(';').map(str::trim).filter(|text| !text.is_empty()).collect()
}

/// Runs the streams.
pub async fn measure(options: &Options) -> Result<Outcome> {
    ensure!(options.queries.iter().all(|n| (1..=KINDS.len()).contains(n)), "queries are numbered from 1 to {}", KINDS.len());
    let session = Session::connect(&options.urls[0]).await?;
    let server = server_name(&session).await?;
    let lines: i64 =
        session.client.query_one("select count(*) from lineitem", &[]).await.context("tables are made by: workload tpch init")?.get(0);
    let stats = Stats::new(&KINDS);
    stats.measure();
    let began = Instant::now();
    let streams = (0..options.connections).map(|n| tokio::spawn(stream(options.clone(), n, stats.clone())));
    for outcome in join_all(streams.collect::<Vec<_>>()).await {
        outcome??;
    }
    let mut summary = stats.summary(began.elapsed());
    summary.kinds.retain(|kind| kind.count + kind.failures() > 0);
    let settings = format!("{lines} lines, {} rounds of {} queries", options.rounds, options.queries.len());
    Ok(Outcome::new("tpch", server, settings, options.connections, options.urls.len(), summary))
}

async fn stream(options: Options, number: usize, stats: Stats) -> Result<()> {
    let session = Session::connect(&options.urls[number % options.urls.len()]).await?;
    session.client.batch_execute(&format!("set statement_timeout = {}", options.timeout.as_millis())).await?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed_of(options.seed, number));
    let mut answers = vec![String::new(); KINDS.len()];
    let texts = queries();
    for _ in 0..options.rounds {
        let mut order = options.queries.clone();
        if number > 0 {
            order.shuffle(&mut rng);
        }
        for query in order {
            let kind = query - 1;
            let began = Instant::now();
            let outcome = session.client.simple_query(texts[kind]).await;
            let took = began.elapsed();
            match &outcome {
                Ok(rows) => eprintln!("stream {number}: q{query} {:.3} s", rows_and(&mut answers[kind], rows, took)),
                Err(error) => {
                    let said = error.as_db_error().map_or_else(|| error.to_string(), |e| e.message().to_owned());
                    eprintln!("stream {number}: q{query} FAILED after {:.3} s: {} {said}", took.as_secs_f64(), error_name(error));
                }
            }
            stats.record(kind, took, outcome.map(|_| Done::Committed));
        }
    }
    if let (0, Some(path)) = (number, &options.answers) {
        let mut all = String::new();
        for query in &options.queries {
            let _ = write!(all, "-- q{query}\n{}", answers[query - 1]);
        }
        std::fs::write(path, all).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Keeps the rows as text, columns apart by `|`; answers the seconds.
fn rows_and(answer: &mut String, messages: &[SimpleQueryMessage], took: Duration) -> f64 {
    answer.clear();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let columns: Vec<&str> = (0..row.len()).map(|n| row.get(n).unwrap_or("null")).collect();
            let _ = writeln!(answer, "{}", columns.join("|"));
        }
    }
    took.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_queries_as_names() {
        assert_eq!(queries().len(), KINDS.len());
        assert!(queries().iter().all(|text| text.starts_with("select") || text.starts_with("with")));
    }
}
