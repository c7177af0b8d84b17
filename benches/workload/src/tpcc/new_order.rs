//! New-Order (2.4): the transaction that counts.

use futures::future::{try_join, try_join_all, try_join3};
use rand::Rng;
use tokio_postgres::Error;

use super::random::{customer, item};
use super::{DISTRICTS, ITEMS};
use crate::frame::connect::Session;

const CUSTOMER: &str = "select (w_tax * 10000)::int8, (c_discount * 10000)::int8, c_last, c_credit from warehouse, customer \
     where w_id = $1 and c_w_id = $1 and c_d_id = $2 and c_id = $3";
const DISTRICT: &str =
    "update district set d_next_o_id = d_next_o_id + 1 where d_w_id = $1 and d_id = $2 returning d_next_o_id - 1, (d_tax * 10000)::int8";
const ITEMS_READ: &str = "select i_id, (i_price * 100)::int8, i_name, i_data from item where i_id = any($1::int4[])";
const ORDER: &str = "insert into orders (o_w_id, o_d_id, o_id, o_c_id, o_entry_d, o_carrier_id, o_ol_cnt, o_all_local) values ($1, $2, $3, $4, localtimestamp, null, $5, $6)";
const NEW_ORDER: &str = "insert into new_order (no_w_id, no_d_id, no_o_id) values ($1, $2, $3)";
const LINE: &str = "insert into order_line (ol_w_id, ol_d_id, ol_o_id, ol_number, ol_i_id, ol_supply_w_id, ol_delivery_d, ol_quantity, ol_amount, ol_dist_info) \
     values ($1, $2, $3, $4, $5, $6, null, $7, $8::int8 * 0.01, $9)";

macro_rules! stock {
    ($($district:literal)*) => {
        [$(concat!(
            "update stock set s_quantity = case when s_quantity >= $3 + 10 then s_quantity - $3 else s_quantity - $3 + 91 end, s_ytd = s_ytd + $3, \
             s_order_cnt = s_order_cnt + 1, s_remote_cnt = s_remote_cnt + $4 where s_w_id = $1 and s_i_id = $2 returning s_quantity, s_data, s_dist_",
            $district
        )),*]
    };
}
/// By district.
const STOCK: [&str; 10] = stock!("01" "02" "03" "04" "05" "06" "07" "08" "09" "10");

/// What the statements of this transaction are.
pub fn statements() -> Vec<&'static str> {
    [CUSTOMER, DISTRICT, ITEMS_READ, ORDER, NEW_ORDER, LINE].into_iter().chain(STOCK).collect()
}

#[derive(Clone, Copy, Debug)]
struct Line {
    item: i32,
    supplier: i32,
    quantity: i32,
}

/// One order, as its user typed it: kept over restarts.
#[derive(Clone, Debug)]
pub struct NewOrder {
    warehouse: i32,
    district: i32,
    customer: i32,
    lines: Vec<Line>,
}

impl NewOrder {
    /// Of a terminal of `warehouse`, of so many (2.4.1).
    pub fn generate(rng: &mut impl Rng, warehouse: i32, warehouses: i32) -> Self {
        let count = rng.random_range(5..=15);
        let wrong = rng.random_range(0..100) == 0;
        let mut lines: Vec<Line> = (0..count)
            .map(|_| {
                let remote = warehouses > 1 && rng.random_range(0..100) == 0;
                let supplier = if remote { other(rng, warehouse, warehouses) } else { warehouse };
                Line { item: item(rng), supplier, quantity: rng.random_range(1..=10) }
            })
            .collect();
        // One order in a hundred has an item that nobody sells, and is rolled back (2.4.1.4).
        if wrong && let Some(last) = lines.last_mut() {
            last.item = ITEMS + 1;
        }
        NewOrder { warehouse, district: rng.random_range(1..=DISTRICTS), customer: customer(rng), lines }
    }

    /// Runs it. Answers whether it was rolled back on purpose.
    pub async fn run(&self, session: &Session) -> Result<bool, Error> {
        let (w, d) = (self.warehouse, self.district);
        let count = self.lines.len() as i32;
        let all_local = i32::from(self.lines.iter().all(|l| l.supplier == w));
        let ids: Vec<i32> = self.lines.iter().map(|l| l.item).collect();
        session.client.batch_execute("begin").await?;
        // What needs no answer of another goes together. The district last: its row is the busiest, and held to the end.
        let (customer, items, district) = try_join3(
            session.row(CUSTOMER, &[&w, &d, &self.customer]),
            session.rows(ITEMS_READ, &[&ids]),
            session.row(DISTRICT, &[&w, &d]),
        )
        .await?;
        let (w_tax, discount): (i64, i64) = (customer.get(0), customer.get(1));
        let (order, d_tax): (i32, i64) = (district.get(0), district.get(1));
        let price = |id: i32| items.iter().find(|row| row.get::<_, i32>(0) == id).map(|row| row.get::<_, i64>(1));
        let (_, _) =
            try_join(session.run(ORDER, &[&w, &d, &order, &self.customer, &count, &all_local]), session.run(NEW_ORDER, &[&w, &d, &order]))
                .await?;
        if ids.iter().any(|id| price(*id).is_none()) {
            session.client.batch_execute("rollback").await?;
            return Ok(true);
        }
        // In one order over all transactions, so that two that share items do not deadlock.
        let mut by_item: Vec<(usize, &Line)> = self.lines.iter().enumerate().collect();
        by_item.sort_by_key(|(_, l)| (l.supplier, l.item));
        let stock = STOCK[(d - 1) as usize];
        let remote: Vec<i32> = by_item.iter().map(|(_, l)| i32::from(l.supplier != w)).collect();
        let updates = by_item.iter().zip(&remote).map(|((at, line), remote)| async move {
            session.row(stock, &[&line.supplier, &line.item, &line.quantity, remote]).await.map(|row| (*at, row))
        });
        let stocks = try_join_all(updates).await?;
        let mut lines = Vec::with_capacity(stocks.len());
        let mut total = 0;
        for (at, row) in &stocks {
            let line = &self.lines[*at];
            let amount = price(line.item).unwrap_or_default() * i64::from(line.quantity);
            total += amount;
            lines.push((*at as i32 + 1, line, amount, row.get::<_, String>(2)));
        }
        try_join_all(lines.iter().map(|(number, line, amount, info)| async move {
            session.run(LINE, &[&w, &d, &order, number, &line.item, &line.supplier, &line.quantity, amount, info]).await
        }))
        .await?;
        // What the screen shows (2.4.3.3), in hundredths of a cent.
        let _shown = total * (10_000 - discount) / 10_000 * (10_000 + w_tax + d_tax) / 10_000;
        session.client.batch_execute("commit").await?;
        Ok(false)
    }
}

/// A warehouse other than this one.
pub fn other(rng: &mut impl Rng, warehouse: i32, warehouses: i32) -> i32 {
    let other = rng.random_range(1..warehouses);
    if other >= warehouse { other + 1 } else { other }
}
