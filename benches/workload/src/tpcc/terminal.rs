//! One emulated user: takes a card, types, runs the transaction until it is through, thinks.

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;
use tokio_postgres::Error;

use super::delivery::{self, Delivery};
use super::mix::{Deck, keying, think};
use super::new_order::{self, NewOrder};
use super::order_status::{self, OrderStatus};
use super::payment::{self, Payment};
use super::stock_level::{self, StockLevel};
use crate::frame::connect::{Session, error_name, is_retry};
use crate::frame::run::{Stop, pause, stopped};
use crate::frame::stats::Stats;

/// Where a terminal stands and what it does.
#[derive(Clone, Debug)]
pub struct Terminal {
    /// Its gateway.
    pub url: String,
    /// Its warehouse.
    pub warehouse: i32,
    /// Its district, for Stock-Level.
    pub district: i32,
    /// Warehouses in all.
    pub warehouses: i32,
    /// Keying and think times.
    pub paced: bool,
    /// Its randomness.
    pub seed: u64,
}

enum Work {
    NewOrder(NewOrder),
    Payment(Payment),
    OrderStatus(OrderStatus),
    Delivery(Delivery),
    StockLevel(StockLevel),
}

impl Work {
    /// Answers whether it was rolled back on purpose.
    async fn run(&self, session: &Session) -> Result<bool, Error> {
        match self {
            Work::NewOrder(work) => work.run(session).await,
            Work::Payment(work) => work.run(session).await.map(|()| false),
            Work::OrderStatus(work) => work.run(session).await.map(|()| false),
            Work::Delivery(work) => work.run(session).await.map(|_| false),
            Work::StockLevel(work) => work.run(session).await.map(|()| false),
        }
    }
}

impl Terminal {
    /// Works until told to stop. A connection that is lost is made anew; the transaction counts as failed.
    pub async fn work(self, stats: Stats, mut stop: Stop) -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut deck = Deck::default();
        let mut session: Option<Session> = None;
        while !stopped(&stop) {
            let kind = deck.next(&mut rng);
            if self.paced {
                pause(&mut stop, keying(kind)).await;
                if stopped(&stop) {
                    break;
                }
            }
            let connected = match session.take().filter(|s| !s.is_closed()) {
                Some(session) => session,
                None => self.connect().await?,
            };
            let work = self.generate(&mut rng, kind);
            let began = Instant::now();
            match self.until_through(&work, kind, &connected, &stats).await {
                Ok(rolled_back) => stats.done(kind, began.elapsed(), rolled_back),
                Err(error) => stats.failed(kind, &error_name(&error)),
            }
            session = Some(connected);
            if self.paced {
                pause(&mut stop, think(&mut rng, kind)).await;
            }
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Session> {
        let mut session = Session::connect(&self.url).await?;
        let all =
            [new_order::statements(), payment::statements(), order_status::statements(), delivery::statements(), stock_level::statements()];
        session.prepare(&all.concat()).await.context("preparing the statements of TPC-C")?;
        Ok(session)
    }

    fn generate(&self, rng: &mut ChaCha8Rng, kind: usize) -> Work {
        match kind {
            0 => Work::NewOrder(NewOrder::generate(rng, self.warehouse, self.warehouses)),
            1 => Work::Payment(Payment::generate(rng, self.warehouse, self.warehouses)),
            2 => Work::OrderStatus(OrderStatus::generate(rng, self.warehouse)),
            3 => Work::Delivery(Delivery::generate(rng, self.warehouse)),
            _ => Work::StockLevel(StockLevel::generate(rng, self.warehouse, self.district)),
        }
    }

    /// The same transaction until it is through: what the server could not serialize begins again, and is counted.
    async fn until_through(&self, work: &Work, kind: usize, session: &Session, stats: &Stats) -> Result<bool, Error> {
        loop {
            match work.run(session).await {
                Ok(rolled_back) => return Ok(rolled_back),
                Err(error) if session.is_closed() => return Err(error),
                Err(error) => {
                    session.client.batch_execute("rollback").await?;
                    if !is_retry(&error) {
                        return Err(error);
                    }
                    stats.retried(kind, &error_name(&error));
                }
            }
        }
    }
}
