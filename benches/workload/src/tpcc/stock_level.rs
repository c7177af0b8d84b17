//! Stock-Level (2.8): how many of the items of the last twenty orders of a district are low.

use rand::Rng;
use tokio_postgres::Error;

use crate::frame::connect::Session;

const DISTRICT: &str = "select d_next_o_id from district where d_w_id = $1 and d_id = $2";
const LOW: &str = "select count(distinct s_i_id) from order_line join stock on s_w_id = $1 and s_i_id = ol_i_id \
     where ol_w_id = $1 and ol_d_id = $2 and ol_o_id >= $3::int4 - 20 and ol_o_id < $3::int4 and s_quantity < $4";

/// What the statements of this transaction are.
pub fn statements() -> Vec<&'static str> {
    vec![DISTRICT, LOW]
}

/// One question. A terminal asks about its own district, always the same (2.8.1.1).
#[derive(Clone, Debug)]
pub struct StockLevel {
    warehouse: i32,
    district: i32,
    threshold: i32,
}

impl StockLevel {
    /// Of a terminal of `district` in `warehouse`.
    pub fn generate(rng: &mut impl Rng, warehouse: i32, district: i32) -> Self {
        StockLevel { warehouse, district, threshold: rng.random_range(10..=20) }
    }

    /// Runs it.
    pub async fn run(&self, session: &Session) -> Result<(), Error> {
        session.client.batch_execute("begin read only").await?;
        let next: i32 = session.row(DISTRICT, &[&self.warehouse, &self.district]).await?.get(0);
        session.row(LOW, &[&self.warehouse, &self.district, &next, &self.threshold]).await?;
        session.client.batch_execute("commit").await
    }
}
