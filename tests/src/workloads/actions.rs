//! What one client does next, drawn from its seed, and how it is done in SQL.

use std::sync::atomic::{AtomicI64, Ordering};

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Workload;
use super::connection::{Failure, Rows, Session};
use crate::history::Op;

/// Lists, registers and pairs in use at a time.
const KEYS: i64 = 6;
/// Writes after which the clients turn to fresh keys, so that lists and scans stay short.
const GENERATION: i64 = 120;
/// Accounts of a bank.
const ACCOUNTS: i64 = 8;
/// What each of them holds in the beginning.
const OPENING: i64 = 100;
/// Rows of one group of the long fork.
const FORK: i64 = 3;

/// What the clients of one run share.
#[derive(Debug)]
pub struct Shared {
    /// Which workload.
    pub workload: Workload,
    /// Prefix of its tables.
    pub tag: String,
    /// Unique values.
    values: AtomicI64,
    /// Rows added.
    rows: AtomicI64,
}

#[derive(Clone, Debug)]
enum ListOp {
    Append(i64, i64),
    Read(i64),
}

#[derive(Clone, Debug)]
enum RegisterOp {
    Read(Vec<i64>),
    ReadForUpdate(i64),
    Write(i64, i64),
}

#[derive(Clone, Debug)]
enum RowOp {
    Insert { table: i64, group: i64, id: i64, value: i64 },
    Point { table: i64, group: i64, id: i64 },
    Scan { table: i64, group: i64 },
}

#[derive(Clone, Copy, Debug)]
enum Style {
    Read,
    ReadForUpdate,
    Blind,
}

#[derive(Clone, Debug)]
enum What {
    Lists(Vec<ListOp>),
    Registers(Vec<RegisterOp>),
    Rows(Vec<RowOp>),
    Transfer { from: i64, to: i64, amount: i64, style: Style, tags: (i64, i64) },
    Audit,
    Skew { pair: i64, write: i64, value: i64 },
    Phantom { group: i64, table: i64, id: i64, value: i64 },
    Increment { value: i64 },
    Look,
}

/// One transaction.
#[derive(Clone, Debug)]
pub struct Action {
    /// What sort.
    pub kind: &'static str,
    /// More than one statement.
    pub block: bool,
    what: What,
}

fn action(kind: &'static str, block: bool, what: What) -> Action {
    Action { kind, block, what }
}

fn number(text: Option<&String>) -> Option<i64> {
    text.and_then(|t| t.parse().ok())
}

fn list(text: &str) -> Vec<i64> {
    text.trim_matches(['{', '}']).split(',').filter_map(|part| part.parse().ok()).collect()
}

impl Shared {
    /// Of a run whose tables begin with `tag`.
    pub fn new(workload: Workload, tag: &str) -> Self {
        Shared { workload, tag: tag.to_owned(), values: AtomicI64::new(1), rows: AtomicI64::new(0) }
    }

    fn value(&self) -> i64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    fn row(&self) -> i64 {
        self.rows.fetch_add(1, Ordering::Relaxed)
    }

    /// A key of the present generation.
    fn hot(&self, rng: &mut ChaCha8Rng) -> i64 {
        self.values.load(Ordering::Relaxed) / GENERATION * KEYS + rng.random_range(0..KEYS)
    }

    fn table(&self, number: i64) -> String {
        format!("{}_{number}", self.tag)
    }

    /// The tables.
    pub fn schema(&self) -> Vec<String> {
        let (zero, one, two) = (self.table(0), self.table(1), self.table(2));
        let rows = |table: &str| format!("CREATE TABLE {table} (g int8, id int8, v int8 NOT NULL, PRIMARY KEY (g, id))");
        let values = |table: &str| format!("CREATE TABLE {table} (k int8 PRIMARY KEY, v int8 NOT NULL)");
        let bank = |table: &str| format!("CREATE TABLE {table} (k int8 PRIMARY KEY, balance int8 NOT NULL, v int8 NOT NULL)");
        match self.workload {
            Workload::ListAppend => vec![
                format!("CREATE TABLE {zero} (k int8 PRIMARY KEY, v text NOT NULL)"),
                format!("CREATE TABLE {one} (k int8 PRIMARY KEY, v int8[] NOT NULL)"),
                format!("CREATE TABLE {two} (k int8, n int8, v int8 NOT NULL, PRIMARY KEY (k, n))"),
            ],
            Workload::Register | Workload::WriteSkew | Workload::Monotonic => vec![values(&zero)],
            Workload::Bank => vec![bank(&zero)],
            Workload::BankAcrossTables => vec![bank(&zero), bank(&one)],
            Workload::LongFork | Workload::Sets | Workload::CausalReverse => vec![rows(&zero)],
            Workload::Sequential | Workload::Phantom => vec![rows(&zero), rows(&one)],
            Workload::Comments => vec![rows(&zero), rows(&one), rows(&two)],
        }
    }

    /// What must be there before the clients begin: one transaction.
    pub fn first_rows(&self) -> Option<(String, Vec<Op>)> {
        match self.workload {
            Workload::Bank | Workload::BankAcrossTables => {
                let (mut statements, mut ops) = (String::new(), Vec::new());
                for account in 0..ACCOUNTS {
                    let tag = self.value();
                    statements += &format!("INSERT INTO {} VALUES ({account}, {OPENING}, {tag});", self.account_table(account));
                    ops.push(Op::Write(self.account_key(account), tag));
                }
                Some((statements, ops))
            }
            Workload::Monotonic => {
                let value = self.value();
                Some((format!("INSERT INTO {} VALUES (0, {value})", self.table(0)), vec![Op::Write("counter".into(), value)]))
            }
            _ => None,
        }
    }

    /// What the balances add up to, by bank.
    pub fn total(&self) -> Option<(String, i64)> {
        matches!(self.workload, Workload::Bank | Workload::BankAcrossTables).then(|| ("bank".to_owned(), ACCOUNTS * OPENING))
    }

    /// A statement that cuts one of the tables at a random place.
    pub fn split(&self, rng: &mut ChaCha8Rng) -> String {
        let key = match self.workload {
            Workload::Bank | Workload::BankAcrossTables | Workload::Monotonic => rng.random_range(0..ACCOUNTS),
            Workload::ListAppend | Workload::Register | Workload::WriteSkew => self.hot(rng),
            _ => self.rows.load(Ordering::Relaxed) / GENERATION + rng.random_range(0..2),
        };
        let table = rng.random_range(0..self.schema().len() as i64);
        format!("ALTER TABLE {} SPLIT AT VALUES ({key})", self.table(table))
    }

    /// Reads of everything of the last generations, for after the load.
    pub fn last_reads(&self) -> Vec<Action> {
        let hot = (self.values.load(Ordering::Relaxed) / GENERATION + 1) * KEYS;
        let groups = self.rows.load(Ordering::Relaxed) / GENERATION;
        let keys: Vec<i64> = ((hot - 8 * KEYS).max(0)..hot).collect();
        let what = match self.workload {
            Workload::ListAppend => What::Lists(keys.into_iter().map(ListOp::Read).collect()),
            Workload::Register => What::Registers(vec![RegisterOp::Read(keys)]),
            Workload::Bank | Workload::BankAcrossTables => What::Audit,
            Workload::Monotonic => What::Look,
            Workload::WriteSkew => What::Registers(vec![RegisterOp::Read(keys.iter().flat_map(|pair| [pair * 2, pair * 2 + 1]).collect())]),
            _ => {
                let tables = self.schema().len() as i64;
                let scans = ((groups - 20).max(0)..=groups).flat_map(|group| (0..tables).map(move |table| RowOp::Scan { table, group }));
                What::Rows(scans.collect())
            }
        };
        vec![action("last read", true, what)]
    }

    /// What a client does next: one transaction, or several, one after the other.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Vec<Action> {
        match self.workload {
            Workload::ListAppend => {
                let ops: Vec<ListOp> = (0..rng.random_range(1..=4))
                    .map(|_| {
                        let key = self.hot(rng);
                        if rng.random_bool(0.5) { ListOp::Append(key, self.value()) } else { ListOp::Read(key) }
                    })
                    .collect();
                vec![action("lists", ops.len() > 1, What::Lists(ops))]
            }
            Workload::Register => {
                let ops: Vec<RegisterOp> = (0..rng.random_range(1..=4))
                    .map(|_| match rng.random_range(0..10) {
                        0..4 => RegisterOp::Read((0..rng.random_range(1..3)).map(|_| self.hot(rng)).collect()),
                        4 => RegisterOp::ReadForUpdate(self.hot(rng)),
                        _ => RegisterOp::Write(self.hot(rng), self.value()),
                    })
                    .collect();
                vec![action("registers", ops.len() > 1, What::Registers(ops))]
            }
            Workload::Bank | Workload::BankAcrossTables if rng.random_bool(0.3) => vec![action("audit", rng.random_bool(0.7), What::Audit)],
            Workload::Bank | Workload::BankAcrossTables => {
                let from = rng.random_range(0..ACCOUNTS);
                let to = (from + rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
                let style = [Style::Read, Style::Read, Style::ReadForUpdate, Style::Blind][rng.random_range(0..4)];
                let what = What::Transfer { from, to, amount: rng.random_range(1..10), style, tags: (self.value(), self.value()) };
                vec![action("transfer", true, what)]
            }
            Workload::Monotonic => match rng.random_range(0..10) {
                0..4 => vec![action("increment", true, What::Increment { value: self.value() })],
                _ => vec![action("look", false, What::Look)],
            },
            Workload::WriteSkew => {
                let pair = self.hot(rng);
                vec![action("skew", true, What::Skew { pair, write: pair * 2 + rng.random_range(0..2), value: self.value() })]
            }
            Workload::Phantom => {
                let id = self.row();
                let (group, table) = (id / 4, rng.random_range(0..2));
                vec![action("look and add", true, What::Phantom { group, table, id, value: self.value() })]
            }
            _ => self.draw_rows(rng),
        }
    }

    /// The workloads whose rows are written once.
    fn draw_rows(&self, rng: &mut ChaCha8Rng) -> Vec<Action> {
        let group = |id: i64| id / GENERATION;
        let newest = self.rows.load(Ordering::Relaxed);
        let insert = |table, id| What::Rows(vec![RowOp::Insert { table, group: group(id), id, value: self.value() }]);
        let writes = rng.random_bool(0.5);
        match self.workload {
            Workload::LongFork if !writes => {
                let base = (newest - rng.random_range(0..6)).max(0) / FORK * FORK;
                let mut points: Vec<RowOp> = (base..base + FORK).map(|id| RowOp::Point { table: 0, group: group(id), id }).collect();
                points.shuffle(rng);
                vec![action("read group", true, What::Rows(points))]
            }
            Workload::Sets | Workload::CausalReverse if !writes => {
                vec![action("read all", false, What::Rows(vec![RowOp::Scan { table: 0, group: group(newest) }]))]
            }
            Workload::Comments if !writes => {
                let mut scans: Vec<RowOp> = (0..3).map(|table| RowOp::Scan { table, group: group(newest) }).collect();
                scans.shuffle(rng);
                vec![action("read all", true, What::Rows(scans))]
            }
            Workload::Sequential if !writes => {
                let id = (newest - rng.random_range(0..4)).max(0);
                let point = |table| What::Rows(vec![RowOp::Point { table, group: group(id), id }]);
                vec![action("read second", false, point(1)), action("read first", false, point(0))]
            }
            Workload::Sequential => {
                let id = self.row();
                vec![action("write first", false, insert(0, id)), action("write second", false, insert(1, id))]
            }
            Workload::Comments => {
                let id = self.row();
                vec![action("comment", false, insert(id % 3, id))]
            }
            Workload::Sets if rng.random_bool(0.3) => {
                let row = |id| RowOp::Insert { table: 0, group: group(id), id, value: self.value() };
                vec![action("add two", true, What::Rows(vec![row(self.row()), row(self.row())]))]
            }
            _ => {
                let id = self.row();
                vec![action("add", false, insert(0, id))]
            }
        }
    }

    /// Everything of a transaction but its begin and end.
    pub async fn run(&self, action: &Action, session: &mut Session<'_>) -> Result<(), Failure> {
        match &action.what {
            What::Lists(ops) => self.lists(ops, session).await,
            What::Registers(ops) => self.registers(ops, session).await,
            What::Rows(ops) => self.rows(ops, session).await,
            What::Transfer { from, to, amount, style, tags } => self.transfer(*from, *to, *amount, *style, *tags, session).await,
            What::Audit => self.audit(action.block, session).await,
            What::Skew { pair, write, value } => {
                for k in [pair * 2, pair * 2 + 1] {
                    self.read_registers(&[k], "", session).await?;
                }
                self.write_register(*write, *value, session).await
            }
            What::Phantom { group, table, id, value } => {
                let scans = [RowOp::Scan { table: 0, group: *group }, RowOp::Scan { table: 1, group: *group }];
                self.rows(&scans, session).await?;
                let empty = session.ops.iter().all(|op| matches!(op, Op::Scan(_, rows) if rows.is_empty()));
                if empty {
                    self.rows(&[RowOp::Insert { table: *table, group: *group, id: *id, value: *value }], session).await?;
                }
                Ok(())
            }
            What::Look => self.look(session).await,
            What::Increment { value } => {
                self.look(session).await?;
                let sql = format!("UPDATE {} SET v = {value} WHERE k = 0", self.table(0));
                session.write(&sql, [Op::Write("counter".into(), *value)]).await
            }
        }
    }

    async fn look(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        let rows = session.read(&format!("SELECT v::text FROM {} WHERE k = 0", self.table(0))).await?;
        session.ops.push(Op::Read("counter".into(), rows.first().and_then(|row| number(row[0].as_ref()))));
        Ok(())
    }

    async fn lists(&self, ops: &[ListOp], session: &mut Session<'_>) -> Result<(), Failure> {
        for op in ops {
            let (key, append) = match op {
                ListOp::Append(key, value) => (*key, Some(*value)),
                ListOp::Read(key) => (*key, None),
            };
            let (kind, name) = (key % 3, format!("list {key}"));
            let table = self.table(kind);
            if let Some(value) = append {
                let sql = match kind {
                    0 => format!("INSERT INTO {table} VALUES ({key}, '{value}') ON CONFLICT (k) DO UPDATE SET v = {table}.v || ',{value}'"),
                    1 if value % 2 == 0 => format!(
                        "INSERT INTO {table} VALUES ({key}, ARRAY[{value}]::int8[]) ON CONFLICT (k) DO UPDATE SET v = array_append({table}.v, {value}::int8)"
                    ),
                    1 => format!(
                        "INSERT INTO {table} VALUES ({key}, ARRAY[{value}]::int8[]) ON CONFLICT (k) DO UPDATE SET v = {table}.v || ARRAY[{value}]::int8[]"
                    ),
                    _ => format!("INSERT INTO {table} SELECT {key}, coalesce(max(n), 0) + 1, {value} FROM {table} WHERE k = {key}"),
                };
                session.write(&sql, [Op::Append(name, value)]).await?;
            } else {
                let order = if kind == 2 { " ORDER BY n" } else { "" };
                let rows = session.read(&format!("SELECT v::text FROM {table} WHERE k = {key}{order}")).await?;
                let values = rows.iter().filter_map(|row| row[0].as_deref()).flat_map(list).collect();
                session.ops.push(Op::List(name, values));
            }
        }
        Ok(())
    }

    async fn registers(&self, ops: &[RegisterOp], session: &mut Session<'_>) -> Result<(), Failure> {
        for op in ops {
            match op {
                RegisterOp::Read(keys) => self.read_registers(keys, "", session).await?,
                RegisterOp::ReadForUpdate(key) => self.read_registers(&[*key], " FOR UPDATE", session).await?,
                RegisterOp::Write(key, value) => self.write_register(*key, *value, session).await?,
            }
        }
        Ok(())
    }

    async fn read_registers(&self, keys: &[i64], lock: &str, session: &mut Session<'_>) -> Result<(), Failure> {
        let list: Vec<String> = keys.iter().map(i64::to_string).collect();
        let rows = session.read(&format!("SELECT k::text, v::text FROM {} WHERE k IN ({}){lock}", self.table(0), list.join(", "))).await?;
        for key in keys {
            let row = rows.iter().find(|row| number(row[0].as_ref()) == Some(*key));
            session.ops.push(Op::Read(format!("register {key}"), row.and_then(|row| number(row[1].as_ref()))));
        }
        Ok(())
    }

    async fn write_register(&self, key: i64, value: i64, session: &mut Session<'_>) -> Result<(), Failure> {
        let sql = format!("INSERT INTO {} VALUES ({key}, {value}) ON CONFLICT (k) DO UPDATE SET v = {value}", self.table(0));
        session.write(&sql, [Op::Write(format!("register {key}"), value)]).await
    }

    async fn rows(&self, ops: &[RowOp], session: &mut Session<'_>) -> Result<(), Failure> {
        let prefix = |table: i64, group: i64| format!("rows{table}/{group}/");
        for op in ops {
            match *op {
                RowOp::Insert { table, group, id, value } => {
                    let sql = format!("INSERT INTO {} VALUES ({group}, {id}, {value})", self.table(table));
                    session.write(&sql, [Op::Write(format!("{}{id}", prefix(table, group)), value)]).await?;
                }
                RowOp::Point { table, group, id } => {
                    let rows = session.read(&format!("SELECT v::text FROM {} WHERE g = {group} AND id = {id}", self.table(table))).await?;
                    let seen = rows.first().and_then(|row| number(row[0].as_ref()));
                    session.ops.push(Op::Read(format!("{}{id}", prefix(table, group)), seen));
                }
                RowOp::Scan { table, group } => {
                    let rows = session.read(&format!("SELECT id::text, v::text FROM {} WHERE g = {group}", self.table(table))).await?;
                    let prefix = prefix(table, group);
                    let rows = rows.iter().filter_map(|row| Some((format!("{prefix}{}", row[0].as_ref()?), number(row[1].as_ref())?)));
                    let rows = rows.collect();
                    session.ops.push(Op::Scan(prefix, rows));
                }
            }
        }
        Ok(())
    }

    fn account_table(&self, account: i64) -> String {
        self.table(if self.workload == Workload::BankAcrossTables { account % 2 } else { 0 })
    }

    fn account_key(&self, account: i64) -> String {
        format!("account {account}")
    }

    async fn transfer(
        &self,
        from: i64,
        to: i64,
        amount: i64,
        style: Style,
        tags: (i64, i64),
        session: &mut Session<'_>,
    ) -> Result<(), Failure> {
        let lock = if let Style::ReadForUpdate = style { " FOR UPDATE" } else { "" };
        for (account, change, tag) in [(from, -amount, tags.0), (to, amount, tags.1)] {
            let table = self.account_table(account);
            let balance = if let Style::Blind = style {
                format!("balance + {change}")
            } else {
                let rows = session.read(&format!("SELECT balance::text, v::text FROM {table} WHERE k = {account}{lock}")).await?;
                let row = rows.first().cloned().unwrap_or_default();
                session.ops.push(Op::Read(self.account_key(account), row.get(1).and_then(|v| number(v.as_ref()))));
                (row.first().and_then(|v| number(v.as_ref())).unwrap_or(0) + change).to_string()
            };
            let sql = format!("UPDATE {table} SET balance = {balance}, v = {tag} WHERE k = {account}");
            session.write(&sql, [Op::Write(self.account_key(account), tag)]).await?;
        }
        Ok(())
    }

    async fn audit(&self, block: bool, session: &mut Session<'_>) -> Result<(), Failure> {
        let two = self.workload == Workload::BankAcrossTables;
        let all = |table: i64, rest: &str| format!("SELECT k::text, balance::text, v::text FROM {}{rest}", self.table(table));
        let statements = match (two, block) {
            (true, true) => vec![all(0, ""), all(1, "")],
            (true, false) => vec![format!("{} UNION ALL {}", all(0, ""), all(1, ""))],
            (false, true) => vec![all(0, " WHERE k < 4"), all(0, " WHERE k >= 4")],
            (false, false) => vec![all(0, "")],
        };
        let mut rows: Rows = Vec::new();
        for sql in statements {
            rows.extend(session.read(&sql).await?);
        }
        let mut balances = Vec::new();
        for row in &rows {
            let (Some(account), Some(balance), tag) = (number(row[0].as_ref()), number(row[1].as_ref()), number(row[2].as_ref())) else {
                continue;
            };
            session.ops.push(Op::Read(self.account_key(account), tag));
            balances.push((self.account_key(account), balance));
        }
        session.ops.push(Op::Balances("bank".into(), balances));
        Ok(())
    }
}
