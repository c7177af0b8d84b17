//! TPC-C, revision 5.11, over any server that speaks PostgreSQL.
//!
//! ```text
//!   schema     nine tables, two indexes
//!   random     NURand, last names, the strings of the population rules
//!   load       the population, by COPY, one transaction a table and warehouse; what is there already is skipped
//!   mix        which transaction next, keying and think times
//!   new_order, payment, order_status, delivery, stock_level      the five transactions
//!   terminal   one emulated user: mix and times
//!   deferred   the queues of Delivery, and who runs what is queued
//!   check      the twelve consistency conditions
//! ```
//! Section numbers in comments are those of the specification.

pub mod check;
mod deferred;
mod delivery;
pub mod load;
mod mix;
mod new_order;
mod order_status;
mod payment;
mod random;
pub mod run;
mod schema;
mod stock_level;
mod terminal;

/// Kinds of transactions, in the order of the figures.
pub const KINDS: [&str; 6] = ["new-order", "payment", "order-status", "delivery", "stock-level", "deferred delivery"];
/// The number of the kind of a delivery that is run; that of the mix, `delivery`, only queues it (2.7.2).
const DEFERRED: usize = 5;
/// See [`DEFERRED`].
const QUEUED: usize = 3;

/// Districts of a warehouse (1.2.1).
pub const DISTRICTS: i32 = 10;
/// Customers of a district.
pub const CUSTOMERS: i32 = 3000;
/// Items.
pub const ITEMS: i32 = 100_000;
/// The first order of a district that is not delivered yet (4.3.3.1).
pub const FIRST_UNDELIVERED: i32 = 2101;
