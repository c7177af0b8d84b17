//! Order-Status (2.6).

use futures::future::try_join;
use rand::Rng;
use tokio_postgres::Error;

use super::DISTRICTS;
use super::payment::{BY_NAME, Who};
use crate::frame::connect::Session;

const CUSTOMER: &str =
    "select (c_balance * 100)::int8, c_first, c_middle, c_last from customer where c_w_id = $1 and c_d_id = $2 and c_id = $3";
const ORDER: &str =
    "select o_id, o_entry_d, o_carrier_id from orders where o_w_id = $1 and o_d_id = $2 and o_c_id = $3 order by o_id desc limit 1";
const LINES: &str = "select ol_supply_w_id, ol_i_id, ol_quantity, (ol_amount * 100)::int8, ol_delivery_d from order_line \
     where ol_w_id = $1 and ol_d_id = $2 and ol_o_id = $3";

/// What the statements of this transaction are.
pub fn statements() -> Vec<&'static str> {
    vec![BY_NAME, CUSTOMER, ORDER, LINES]
}

/// One question.
#[derive(Clone, Debug)]
pub struct OrderStatus {
    warehouse: i32,
    district: i32,
    who: Who,
}

impl OrderStatus {
    /// Of a terminal of `warehouse`.
    pub fn generate(rng: &mut impl Rng, warehouse: i32) -> Self {
        OrderStatus { warehouse, district: rng.random_range(1..=DISTRICTS), who: Who::generate(rng) }
    }

    /// Runs it.
    pub async fn run(&self, session: &Session) -> Result<(), Error> {
        let (w, d) = (self.warehouse, self.district);
        session.client.batch_execute("begin read only").await?;
        if let Some(id) = self.who.find(session, w, d).await? {
            let (_, order) = try_join(session.row(CUSTOMER, &[&w, &d, &id]), session.rows(ORDER, &[&w, &d, &id])).await?;
            if let Some(order) = order.first() {
                session.rows(LINES, &[&w, &d, &order.get::<_, i32>(0)]).await?;
            }
        }
        session.client.batch_execute("commit").await
    }
}
