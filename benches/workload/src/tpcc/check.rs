//! The twelve consistency conditions (3.3.2), all in one snapshot, so that they may be asked while the mix runs.

use anyhow::{Context, Result};

use crate::frame::connect::Session;

/// Each: its number, what it says, and a query for what violates it.
const CONDITIONS: [(u32, &str, &str); 12] = [
    (
        1,
        "W_YTD = sum(D_YTD)",
        "select w_id from warehouse join (select d_w_id, sum(d_ytd) as ytd from district group by d_w_id) d on d_w_id = w_id where w_ytd <> ytd",
    ),
    (
        2,
        "D_NEXT_O_ID - 1 = max(O_ID) = max(NO_O_ID)",
        "select d_w_id, d_id from district join (select o_w_id, o_d_id, max(o_id) as o from orders group by o_w_id, o_d_id) o on o_w_id = d_w_id and o_d_id = d_id \
         left join (select no_w_id, no_d_id, max(no_o_id) as n from new_order group by no_w_id, no_d_id) n on no_w_id = d_w_id and no_d_id = d_id \
         where d_next_o_id - 1 <> o or o <> n",
    ),
    (
        3,
        "max(NO_O_ID) - min(NO_O_ID) + 1 = rows of NEW_ORDER",
        "select no_w_id, no_d_id from new_order group by no_w_id, no_d_id having max(no_o_id) - min(no_o_id) + 1 <> count(*)",
    ),
    (
        4,
        "sum(O_OL_CNT) = rows of ORDER_LINE",
        "select o_w_id, o_d_id from (select o_w_id, o_d_id, sum(o_ol_cnt) as c from orders group by o_w_id, o_d_id) o \
         full join (select ol_w_id, ol_d_id, count(*) as c from order_line group by ol_w_id, ol_d_id) l on ol_w_id = o_w_id and ol_d_id = o_d_id \
         where o.c is distinct from l.c",
    ),
    (
        5,
        "O_CARRIER_ID is null exactly for rows of NEW_ORDER",
        "select o_w_id, o_d_id, o_id from orders left join new_order on no_w_id = o_w_id and no_d_id = o_d_id and no_o_id = o_id \
         where (o_carrier_id is null) <> (no_o_id is not null)",
    ),
    (
        6,
        "O_OL_CNT = rows of ORDER_LINE of the order",
        "select o_w_id, o_d_id, o_id from orders left join (select ol_w_id, ol_d_id, ol_o_id, count(*) as c from order_line group by ol_w_id, ol_d_id, ol_o_id) l \
         on ol_w_id = o_w_id and ol_d_id = o_d_id and ol_o_id = o_id where o_ol_cnt is distinct from c",
    ),
    (
        7,
        "OL_DELIVERY_D is null exactly for orders without carrier",
        "select ol_w_id, ol_d_id, ol_o_id from order_line join orders on o_w_id = ol_w_id and o_d_id = ol_d_id and o_id = ol_o_id \
         where (ol_delivery_d is null) <> (o_carrier_id is null)",
    ),
    (
        8,
        "W_YTD = sum(H_AMOUNT)",
        "select w_id from warehouse join (select h_w_id, sum(h_amount) as a from history group by h_w_id) h on h_w_id = w_id where w_ytd <> a",
    ),
    (
        9,
        "D_YTD = sum(H_AMOUNT)",
        "select d_w_id, d_id from district join (select h_w_id, h_d_id, sum(h_amount) as a from history group by h_w_id, h_d_id) h \
         on h_w_id = d_w_id and h_d_id = d_id where d_ytd <> a",
    ),
    (
        10,
        "C_BALANCE = sum(OL_AMOUNT delivered) - sum(H_AMOUNT)",
        "select c_w_id, c_d_id, c_id from customer \
         left join (select o_w_id, o_d_id, o_c_id, sum(ol_amount) as a from orders join order_line on ol_w_id = o_w_id and ol_d_id = o_d_id and ol_o_id = o_id \
         where ol_delivery_d is not null group by o_w_id, o_d_id, o_c_id) o on o_w_id = c_w_id and o_d_id = c_d_id and o_c_id = c_id \
         left join (select h_c_w_id, h_c_d_id, h_c_id, sum(h_amount) as a from history group by h_c_w_id, h_c_d_id, h_c_id) h \
         on h_c_w_id = c_w_id and h_c_d_id = c_d_id and h_c_id = c_id where c_balance <> coalesce(o.a, 0) - coalesce(h.a, 0)",
    ),
    (
        11,
        "rows of ORDERS - rows of NEW_ORDER = 2100 + deliveries of the district",
        "select o_w_id, o_d_id from (select o_w_id, o_d_id, count(*) as c, count(o_carrier_id) as delivered from orders group by o_w_id, o_d_id) o \
         left join (select no_w_id, no_d_id, count(*) as c from new_order group by no_w_id, no_d_id) n on no_w_id = o_w_id and no_d_id = o_d_id \
         where o.c - coalesce(n.c, 0) <> delivered or delivered < 2100",
    ),
    (
        12,
        "C_BALANCE + C_YTD_PAYMENT = sum(OL_AMOUNT delivered)",
        "select c_w_id, c_d_id, c_id from customer \
         left join (select o_w_id, o_d_id, o_c_id, sum(ol_amount) as a from orders join order_line on ol_w_id = o_w_id and ol_d_id = o_d_id and ol_o_id = o_id \
         where ol_delivery_d is not null group by o_w_id, o_d_id, o_c_id) o on o_w_id = c_w_id and o_d_id = c_d_id and o_c_id = c_id \
         where c_balance + c_ytd_payment <> coalesce(o.a, 0)",
    ),
];

/// Asks all conditions in one read-only snapshot; prints each. Answers whether all hold.
pub async fn check(url: &str) -> Result<bool> {
    let session = Session::connect(url).await?;
    session.client.batch_execute("begin isolation level repeatable read read only").await?;
    let mut all = true;
    for (number, what, query) in CONDITIONS {
        let began = tokio::time::Instant::now();
        let rows = session.client.query(&format!("{query} limit 5"), &[]).await.with_context(|| format!("condition {number}"))?;
        let seconds = began.elapsed().as_secs_f64();
        if rows.is_empty() {
            println!("ok        {number:>2}  {what}  ({seconds:.1} s)");
            continue;
        }
        all = false;
        for row in rows {
            let keys: Vec<String> = (0..row.len()).map(|i| format!("{} = {}", row.columns()[i].name(), row.get::<_, i32>(i))).collect();
            println!("VIOLATED  {number:>2}  {what}: {}", keys.join(", "));
        }
    }
    session.client.batch_execute("commit").await?;
    Ok(all)
}
