//! Payment (2.5).

use futures::future::try_join;
use rand::Rng;
use tokio_postgres::Error;

use super::DISTRICTS;
use super::new_order::other;
use super::random::{customer, last_name};
use crate::frame::connect::Session;

const WAREHOUSE: &str =
    "update warehouse set w_ytd = w_ytd + $2::int8 * 0.01 where w_id = $1 returning w_name, w_street_1, w_street_2, w_city, w_state, w_zip";
const DISTRICT: &str = "update district set d_ytd = d_ytd + $3::int8 * 0.01 where d_w_id = $1 and d_id = $2 \
     returning d_name, d_street_1, d_street_2, d_city, d_state, d_zip";
/// Customers of a name by first name, for the one in the middle (2.5.2.2). Order-Status asks the same.
pub const BY_NAME: &str = "select c_id from customer where c_w_id = $1 and c_d_id = $2 and c_last = $3 order by c_first";
const CUSTOMER: &str = "update customer set c_balance = c_balance - $4::int8 * 0.01, c_ytd_payment = c_ytd_payment + $4::int8 * 0.01, \
     c_payment_cnt = c_payment_cnt + 1, \
     c_data = case when c_credit = 'BC' then left(c_id::text || ' ' || c_d_id::text || ' ' || c_w_id::text || ' ' || $5::int4::text || ' ' || $6::int4::text || ' ' || \
     ($4::int8 * 0.01)::text || '|' || c_data, 500) else c_data end \
     where c_w_id = $1 and c_d_id = $2 and c_id = $3 \
     returning c_first, c_middle, c_last, c_street_1, c_street_2, c_city, c_state, c_zip, c_phone, c_since, c_credit, (c_balance * 100)::int8";
const HISTORY: &str = "insert into history (h_c_id, h_c_d_id, h_c_w_id, h_d_id, h_w_id, h_date, h_amount, h_data) \
     values ($1, $2, $3, $4, $5, localtimestamp, $6::int8 * 0.01, $7)";

/// What the statements of this transaction are.
pub fn statements() -> Vec<&'static str> {
    vec![WAREHOUSE, DISTRICT, BY_NAME, CUSTOMER, HISTORY]
}

/// How a customer is named.
#[derive(Clone, Debug)]
pub enum Who {
    /// By number.
    Id(i32),
    /// By last name: the one in the middle.
    Name(String),
}

impl Who {
    /// 60 % by name (2.5.1.2).
    pub fn generate(rng: &mut impl Rng) -> Self {
        if rng.random_range(0..100) < 60 { Who::Name(last_name(rng)) } else { Who::Id(customer(rng)) }
    }

    /// The customer's number; `None` if nobody has the name.
    pub async fn find(&self, session: &Session, warehouse: i32, district: i32) -> Result<Option<i32>, Error> {
        match self {
            Who::Id(id) => Ok(Some(*id)),
            Who::Name(name) => {
                let rows = session.rows(BY_NAME, &[&warehouse, &district, name]).await?;
                Ok(rows.get(rows.len().saturating_sub(1) / 2).map(|row| row.get(0)))
            }
        }
    }
}

/// One payment, as its user typed it.
#[derive(Clone, Debug)]
pub struct Payment {
    warehouse: i32,
    district: i32,
    customer_warehouse: i32,
    customer_district: i32,
    who: Who,
    cents: i64,
}

impl Payment {
    /// Of a terminal of `warehouse`, of so many: 15 % are of a customer from elsewhere (2.5.1.2).
    pub fn generate(rng: &mut impl Rng, warehouse: i32, warehouses: i32) -> Self {
        let district = rng.random_range(1..=DISTRICTS);
        let remote = warehouses > 1 && rng.random_range(0..100) < 15;
        let (customer_warehouse, customer_district) =
            if remote { (other(rng, warehouse, warehouses), rng.random_range(1..=DISTRICTS)) } else { (warehouse, district) };
        Payment {
            warehouse,
            district,
            customer_warehouse,
            customer_district,
            who: Who::generate(rng),
            cents: rng.random_range(100..=500_000),
        }
    }

    /// Runs it.
    pub async fn run(&self, session: &Session) -> Result<(), Error> {
        let (w, d, cw, cd) = (self.warehouse, self.district, self.customer_warehouse, self.customer_district);
        session.client.batch_execute("begin").await?;
        let id = self.who.find(session, cw, cd).await?;
        let (warehouse, district) =
            try_join(session.row(WAREHOUSE, &[&w, &self.cents]), session.row(DISTRICT, &[&w, &d, &self.cents])).await?;
        if let Some(id) = id {
            let data = format!("{}    {}", warehouse.get::<_, &str>(0), district.get::<_, &str>(0));
            try_join(
                session.row(CUSTOMER, &[&cw, &cd, &id, &self.cents, &d, &w]),
                session.run(HISTORY, &[&id, &cd, &cw, &d, &w, &self.cents, &data]),
            )
            .await?;
            session.client.batch_execute("commit").await
        } else {
            // The population has every name that is asked for, but a part of it might be missing: then nothing must change.
            session.client.batch_execute("rollback").await
        }
    }
}
