//! Delivery (2.7): the oldest order of each district, all in one transaction.

use futures::future::try_join3;
use rand::Rng;
use tokio_postgres::Error;

use super::DISTRICTS;
use crate::frame::connect::Session;

const OLDEST: &str = "select no_o_id from new_order where no_w_id = $1 and no_d_id = $2 order by no_o_id limit 1 for update";
const TAKE: &str = "delete from new_order where no_w_id = $1 and no_d_id = $2 and no_o_id = $3";
const ORDER: &str = "update orders set o_carrier_id = $4 where o_w_id = $1 and o_d_id = $2 and o_id = $3 returning o_c_id";
const LINES: &str = "update order_line set ol_delivery_d = localtimestamp where ol_w_id = $1 and ol_d_id = $2 and ol_o_id = $3 returning (ol_amount * 100)::int8";
const CUSTOMER: &str = "update customer set c_balance = c_balance + $4::int8 * 0.01, c_delivery_cnt = c_delivery_cnt + 1 \
     where c_w_id = $1 and c_d_id = $2 and c_id = $3";

/// What the statements of this transaction are.
pub fn statements() -> Vec<&'static str> {
    vec![OLDEST, TAKE, ORDER, LINES, CUSTOMER]
}

/// One delivery.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Where.
    pub warehouse: i32,
    /// Who brings it.
    pub carrier: i32,
}

impl Delivery {
    /// Of a terminal of `warehouse`.
    pub fn generate(rng: &mut impl Rng, warehouse: i32) -> Self {
        Delivery { warehouse, carrier: rng.random_range(1..=10) }
    }

    /// Runs it. Answers the order delivered in each district; none where there was nothing to deliver (2.7.4.2).
    pub async fn run(&self, session: &Session) -> Result<[Option<i32>; DISTRICTS as usize], Error> {
        let w = self.warehouse;
        let mut delivered = [None; DISTRICTS as usize];
        session.client.batch_execute("begin").await?;
        for d in 1..=DISTRICTS {
            let oldest = session.rows(OLDEST, &[&w, &d]).await?;
            let Some(order) = oldest.first().map(|row| row.get::<_, i32>(0)) else {
                continue;
            };
            delivered[(d - 1) as usize] = Some(order);
            let (_, taken, lines) = try_join3(
                session.run(TAKE, &[&w, &d, &order]),
                session.row(ORDER, &[&w, &d, &order, &self.carrier]),
                session.rows(LINES, &[&w, &d, &order]),
            )
            .await?;
            let total: i64 = lines.iter().map(|row| row.get::<_, i64>(0)).sum();
            session.run(CUSTOMER, &[&w, &d, &taken.get::<_, i32>(0), &total]).await?;
        }
        session.client.batch_execute("commit").await?;
        Ok(delivered)
    }
}
