//! The population (4.3.3). Each table of each warehouse is one COPY in one transaction, so it is there whole or not at all, and a load that was
//! broken off goes on where it stopped.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio_postgres::Error;

use super::random::{data, decimal, digits, fixed, loaded_last_name, text, zip};
use super::{CUSTOMERS, DISTRICTS, FIRST_UNDELIVERED, ITEMS, schema};
use crate::frame::connect::Session;
use crate::frame::load::{copy, load_parts};

/// One COPY.
#[derive(Clone, Copy, Debug)]
struct Part {
    table: &'static str,
    /// 0: the table belongs to no warehouse.
    warehouse: i32,
}

/// Makes the schema and loads what is missing, over `connections` sessions. Answers the number of rows loaded.
pub async fn init(urls: &[String], warehouses: i32, connections: usize, seed: u64) -> Result<u64> {
    let session = Session::connect(&urls[0]).await?;
    for statement in schema::CREATE {
        session.client.batch_execute(statement).await.with_context(|| statement.to_owned())?;
    }
    let mut parts = Vec::new();
    for table in schema::TABLES {
        let of: Vec<i32> = if table == "item" { vec![0] } else { (1..=warehouses).collect() };
        for warehouse in of {
            if !is_loaded(&session, table, warehouse).await? {
                parts.push(Part { table, warehouse });
            }
        }
    }
    let rows = load_parts(urls, connections, parts, move |session, part| Box::pin(load(session, part, seed))).await?;
    session.client.batch_execute("analyze").await.context("analyze")?;
    Ok(rows)
}

async fn is_loaded(session: &Session, table: &str, warehouse: i32) -> Result<bool> {
    let condition = match table {
        "item" => String::new(),
        "warehouse" => format!("where w_id = {warehouse}"),
        "district" => format!("where d_w_id = {warehouse}"),
        "customer" => format!("where c_w_id = {warehouse}"),
        "history" => format!("where h_w_id = {warehouse}"),
        "orders" => format!("where o_w_id = {warehouse}"),
        "new_order" => format!("where no_w_id = {warehouse}"),
        "order_line" => format!("where ol_w_id = {warehouse}"),
        _ => format!("where s_w_id = {warehouse}"),
    };
    let row = session.client.query_opt(&format!("select 1 from {table} {condition} limit 1"), &[]).await?;
    Ok(row.is_some())
}

async fn load(session: &Session, part: Part, seed: u64) -> Result<u64, Error> {
    // The same whatever else is loaded, and in whatever order.
    let table = schema::TABLES.iter().position(|t| *t == part.table).unwrap_or(0) as u64;
    let mut rows = Rows { rng: ChaCha8Rng::seed_from_u64(seed ^ (part.warehouse as u64) << 8 ^ table), out: String::new() };
    let mut units = units(part, &mut rows);
    copy(session, part.table, move |out| {
        if let Some(unit) = units.pop() {
            rows.write(part, unit);
            out.push_str(&rows.out);
            rows.out.clear();
        }
        !units.is_empty()
    })
    .await
}

/// What is generated at a time: an item, a customer, an order…, in descending order, to be popped.
#[derive(Clone, Copy)]
struct Unit {
    district: i32,
    id: i32,
    /// The customer of an order.
    customer: i32,
}

fn units(part: Part, rows: &mut Rows) -> Vec<Unit> {
    let unit = |district, id, customer| Unit { district, id, customer };
    let mut all = Vec::new();
    match part.table {
        "item" | "stock" => all.extend((1..=ITEMS).map(|id| unit(0, id, 0))),
        "warehouse" => all.push(unit(0, part.warehouse, 0)),
        "district" => all.extend((1..=DISTRICTS).map(|id| unit(id, id, 0))),
        "customer" | "history" => all.extend((1..=DISTRICTS).flat_map(|d| (1..=CUSTOMERS).map(move |id| unit(d, id, 0)))),
        _ => {
            for district in 1..=DISTRICTS {
                let mut customers: Vec<i32> = (1..=CUSTOMERS).collect();
                customers.shuffle(&mut rows.rng);
                let first = if part.table == "new_order" { FIRST_UNDELIVERED } else { 1 };
                all.extend((first..=CUSTOMERS).map(|id| unit(district, id, customers[(id - 1) as usize])));
            }
        }
    }
    all.reverse();
    all
}

struct Rows {
    rng: ChaCha8Rng,
    out: String,
}

/// The moment of the load, as far as rows tell it.
const LOADED: &str = "2020-01-01 00:00:00";

impl Rows {
    fn write(&mut self, part: Part, unit: Unit) {
        let (w, Unit { district: d, id, customer }) = (part.warehouse, unit);
        let line = match part.table {
            "item" => self.item(id),
            "stock" => self.stock(w, id),
            "warehouse" => format!("{w}\t{}\t{}\t{}\t300000.00", self.text(6, 10), self.address(), decimal(&mut self.rng, 0, 2000, 4)),
            "district" => {
                format!("{w}\t{d}\t{}\t{}\t{}\t30000.00\t3001", self.text(6, 10), self.address(), decimal(&mut self.rng, 0, 2000, 4))
            }
            "customer" => self.customer(w, d, id),
            "history" => format!("{id}\t{d}\t{w}\t{d}\t{w}\t{LOADED}\t10.00\t{}", self.text(12, 24)),
            "new_order" => format!("{w}\t{d}\t{id}"),
            "orders" => {
                let carrier = if id < FIRST_UNDELIVERED { self.rng.random_range(1..=10).to_string() } else { "\\N".into() };
                format!("{w}\t{d}\t{id}\t{customer}\t{LOADED}\t{carrier}\t{}\t1", lines_of(w, d, id))
            }
            _ => return self.order_lines(w, d, id),
        };
        self.out.push_str(&line);
        self.out.push('\n');
    }

    fn text(&mut self, min: usize, max: usize) -> String {
        text(&mut self.rng, min, max)
    }

    fn address(&mut self) -> String {
        format!("{}\t{}\t{}\t{}\t{}", self.text(10, 20), self.text(10, 20), self.text(10, 20), self.text(2, 2), zip(&mut self.rng))
    }

    fn item(&mut self, id: i32) -> String {
        let image = self.rng.random_range(1..=10_000);
        format!("{id}\t{image}\t{}\t{}\t{}", self.text(14, 24), decimal(&mut self.rng, 100, 10_000, 2), data(&mut self.rng))
    }

    fn stock(&mut self, w: i32, id: i32) -> String {
        let mut line = format!("{w}\t{id}\t{}", self.rng.random_range(10..=100));
        for _ in 0..10 {
            line.push('\t');
            line.push_str(&self.text(24, 24));
        }
        let _ = write!(line, "\t0\t0\t0\t{}", data(&mut self.rng));
        line
    }

    fn customer(&mut self, w: i32, d: i32, id: i32) -> String {
        let credit = if self.rng.random_range(0..10) == 0 { "BC" } else { "GC" };
        format!(
            "{w}\t{d}\t{id}\t{}\tOE\t{}\t{}\t{}\t{LOADED}\t{credit}\t50000.00\t{}\t-10.00\t10.00\t1\t0\t{}",
            self.text(8, 16),
            loaded_last_name(&mut self.rng, id),
            self.address(),
            digits(&mut self.rng, 16),
            decimal(&mut self.rng, 0, 5000, 4),
            self.text(300, 500),
        )
    }

    fn order_lines(&mut self, w: i32, d: i32, order: i32) {
        for number in 1..=lines_of(w, d, order) {
            let delivered = order < FIRST_UNDELIVERED;
            let amount = if delivered { fixed(0, 2) } else { decimal(&mut self.rng, 1, 999_999, 2) };
            let date = if delivered { LOADED } else { "\\N" };
            let item = self.rng.random_range(1..=ITEMS);
            let info = self.text(24, 24);
            let _ = writeln!(self.out, "{w}\t{d}\t{order}\t{number}\t{item}\t{w}\t{date}\t5\t{amount}\t{info}");
        }
    }
}

/// Lines of an order that is loaded, 5 to 15: the same in ORDERS and ORDER_LINE, which are loaded apart.
fn lines_of(w: i32, d: i32, order: i32) -> i32 {
    let seed = (w as u64) << 40 | (d as u64) << 32 | order as u64;
    ChaCha8Rng::seed_from_u64(seed).random_range(5..=15)
}
