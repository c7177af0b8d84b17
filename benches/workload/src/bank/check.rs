//! Whether all the money is there: everything read in one snapshot, so that it may be asked while transfers go on.

use anyhow::{Context, Result};

use crate::frame::connect::Session;

/// What a snapshot of the bank shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// Accounts that were made.
    pub accounts_made: i64,
    /// Money that was put in.
    pub total_made: i64,
    /// Accounts that are there.
    pub accounts: i64,
    /// Money that is there.
    pub total: i64,
    /// Accounts with less than nothing, which no transfer makes.
    pub overdrawn: i64,
}

impl Books {
    /// What is wrong; empty if nothing is.
    pub fn findings(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.accounts != self.accounts_made {
            found.push(format!("{} accounts, of {} that were made", self.accounts, self.accounts_made));
        }
        match self.total - self.total_made {
            0 => {}
            more @ 1.. => found.push(format!("{more} more than the {} that were put in", self.total_made)),
            less => found.push(format!("{} of the {} that were put in are lost", -less, self.total_made)),
        }
        if self.overdrawn != 0 {
            found.push(format!("{} accounts are overdrawn", self.overdrawn));
        }
        found
    }
}

/// Reads the books and prints what is wrong. Answers whether nothing is.
pub async fn check(url: &str) -> Result<bool> {
    let session = Session::connect(url).await?;
    session.client.batch_execute("begin isolation level repeatable read read only").await?;
    let made =
        session.client.query_one("select accounts, total from bank_total", &[]).await.context("the bank is made by: workload bank init")?;
    let there = "select count(*), coalesce(sum(balance), 0)::int8, count(*) filter (where balance < 0) from bank_accounts";
    let there = session.client.query_one(there, &[]).await?;
    session.client.batch_execute("commit").await?;
    let books =
        Books { accounts_made: made.get(0), total_made: made.get(1), accounts: there.get(0), total: there.get(1), overdrawn: there.get(2) };
    let findings = books.findings();
    for finding in &findings {
        println!("WRONG  {finding}");
    }
    if findings.is_empty() {
        println!("ok     {} accounts, {} in all", books.accounts, books.total);
    }
    Ok(findings.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_made_and_owed_money_is_found() {
        let right = Books { accounts_made: 10, total_made: 10_000, accounts: 10, total: 10_000, overdrawn: 0 };
        assert!(right.findings().is_empty());
        assert_eq!(Books { total: 9_999, ..right }.findings(), ["1 of the 10000 that were put in are lost"]);
        assert_eq!(Books { total: 10_005, ..right }.findings(), ["5 more than the 10000 that were put in"]);
        assert_eq!(
            Books { accounts: 9, overdrawn: 1, ..right }.findings(),
            ["9 accounts, of 10 that were made", "1 accounts are overdrawn"]
        );
    }
}
