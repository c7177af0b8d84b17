//! The population, each part of a table one COPY in one transaction, so that a load that was broken off goes on where it stopped.

use anyhow::{Context, Result, ensure};

use super::generate::{Generator, Table, order_key};
use super::schema;
use crate::frame::connect::Session;
use crate::frame::load::{Numbers, copy, load_parts, number_parts};

/// Numbers loaded by one COPY.
const PART: u64 = 20_000;
/// The smallest scale: below, a part has no four different suppliers.
const SCALE_MIN: f64 = 0.001;
/// The largest: keys of parts and customers are 32 bits.
const SCALE_MAX: f64 = 1_000.0;

/// Rows at this scale, of a table that has `at_one` at scale 1.
fn scaled(at_one: u64, scale: f64) -> u64 {
    (at_one as f64 * scale).round() as u64
}

/// Makes the schema and loads what is missing. Answers the rows loaded.
pub async fn init(urls: &[String], scale: f64, connections: usize, seed: u64) -> Result<u64> {
    ensure!((SCALE_MIN..=SCALE_MAX).contains(&scale), "a scale is between {SCALE_MIN} and {SCALE_MAX}");
    let session = Session::connect(&urls[0]).await?;
    for statement in schema::CREATE {
        session.client.batch_execute(statement).await.with_context(|| statement.to_owned())?;
    }
    let rows_of = |table: Table| match table {
        Table::Region => 5,
        Table::Nation => 25,
        _ => scaled(table.facts().2, scale),
    };
    let generator =
        Generator { suppliers: rows_of(Table::Supplier), parts: rows_of(Table::Part), customers: rows_of(Table::Customer), seed };
    let mut missing = Vec::new();
    for table in Table::ALL {
        for part in number_parts(rows_of(table), PART) {
            if !is_loaded(&session, table, part).await? {
                missing.push((table, part));
            }
        }
    }
    let rows = load_parts(urls, connections, missing, move |session, (table, part)| {
        Box::pin(async move {
            let mut numbers = part.from..part.to;
            copy(session, table.facts().0, move |out| {
                if let Some(number) = numbers.next() {
                    generator.write(out, table, number + 1);
                }
                !numbers.is_empty()
            })
            .await
        })
    })
    .await?;
    session.client.batch_execute("analyze").await.context("analyze")?;
    Ok(rows)
}

async fn is_loaded(session: &Session, table: Table, part: Numbers) -> Result<bool> {
    let (name, column, _) = table.facts();
    let key = match table {
        Table::Region | Table::Nation => part.from,
        Table::Orders | Table::Lineitem => order_key(part.from + 1),
        _ => part.from + 1,
    };
    Ok(session.client.query_opt(&format!("select 1 from {name} where {column} = {key} limit 1"), &[]).await?.is_some())
}
