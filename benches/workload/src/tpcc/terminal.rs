//! One emulated user: takes a card, types, has the transaction run, thinks.

use std::time::Duration;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use tokio_postgres::Error;

use super::deferred::Queue;
use super::delivery::Delivery;
use super::mix::{Deck, keying, think};
use super::new_order::{self, NewOrder};
use super::order_status::{self, OrderStatus};
use super::payment::{self, Payment};
use super::stock_level::{self, StockLevel};
use crate::frame::client::{Done, User};
use crate::frame::connect::Session;

/// Where a terminal stands and what it does.
#[derive(Debug)]
pub struct Terminal {
    /// Its warehouse.
    pub warehouse: i32,
    /// Its district, for Stock-Level.
    pub district: i32,
    /// Warehouses in all.
    pub warehouses: i32,
    /// Keying and think times.
    pub paced: bool,
    /// Where its deliveries go.
    pub deliveries: Queue,
    /// Its cards.
    pub deck: Deck,
}

/// A transaction and its parameters.
#[derive(Debug)]
pub enum Work {
    NewOrder(NewOrder),
    Payment(Payment),
    OrderStatus(OrderStatus),
    Delivery(Delivery),
    StockLevel(StockLevel),
}

impl User for Terminal {
    type Work = Work;

    fn statements(&self) -> Vec<&'static str> {
        [new_order::statements(), payment::statements(), order_status::statements(), stock_level::statements()].concat()
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> (usize, Work) {
        let kind = self.deck.next(rng);
        let work = match kind {
            0 => Work::NewOrder(NewOrder::generate(rng, self.warehouse, self.warehouses)),
            1 => Work::Payment(Payment::generate(rng, self.warehouse, self.warehouses)),
            2 => Work::OrderStatus(OrderStatus::generate(rng, self.warehouse)),
            3 => Work::Delivery(Delivery::generate(rng, self.warehouse)),
            _ => Work::StockLevel(StockLevel::generate(rng, self.warehouse, self.district)),
        };
        (kind, work)
    }

    async fn run(&self, work: &Work, session: &Session) -> Result<Done, Error> {
        match work {
            Work::NewOrder(work) => return work.run(session).await.map(|back| if back { Done::RolledBack } else { Done::Committed }),
            Work::Payment(work) => work.run(session).await?,
            Work::OrderStatus(work) => work.run(session).await?,
            // The terminal is told that the delivery is queued (2.7.2.1).
            Work::Delivery(work) => self.deliveries.push(work.clone()).await,
            Work::StockLevel(work) => work.run(session).await?,
        }
        Ok(Done::Committed)
    }

    fn keying(&self, kind: usize) -> Duration {
        if self.paced { keying(kind) } else { Duration::ZERO }
    }

    fn think(&self, rng: &mut ChaCha8Rng, kind: usize) -> Duration {
        if self.paced { think(rng, kind) } else { Duration::ZERO }
    }
}
