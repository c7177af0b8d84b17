//! What clients do, and what must hold of it whatever happens.
//!
//! ```text
//!   bank       transfers between accounts                        the total of every audit is that of the beginning
//!   lists      reads of lists and appends to them                every list seen is a prefix of the last one
//!   registers  blind writes and reads of several keys            (the graph of all reads and writes: `checker`)
//!   pairs      two new rows in different ranges, once each       both or none; a row of one's own never exists already (C8)
//!   tickets    count the rows, add one that says the count       no two say the same: phantoms
//!   skew       read two rows, write one of them                  (the graph)
//!   fork       write one row alone, or read several              (the graph: long fork)
//!   comments   add a row, or read all rows                       (the graph, absent rows included: causal reverse)
//!   mixed      reads here, writes there                          (the graph, over several ranges)
//!   loads      rows in two places, laid early in portions        all or none; a row of one's own never exists already (C8)
//!   relay      a row that all look at, one of its own elsewhere  (the graph): what recovery does to a commit that is only late. A client of its own
//!   past       all rows of a workload as of some time ago        exactly what stands at that timestamp in the end (`notes`)
//! ```

use bytes::Bytes;
use meridian_clock::Rng;
use meridian_storage::{Key, Span};
use meridian_txn::api::{Expect, KvError, Locking};
use rand::Rng as _;
use rand::seq::SliceRandom as _;

use super::history::VersionId;
use super::session::{FOR_SHARE, FOR_UPDATE, Session};

/// What each account holds at the beginning.
pub const START_BALANCE: u64 = 1000;

/// Rows of the fork workload.
const FORKS: usize = 4;

/// The transactions of the workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Money from one account to another.
    Transfer,
    /// All accounts, read-only.
    Audit,
    /// Reads and appends.
    Lists,
    /// Blind writes and reads.
    Registers,
    /// Two rows, once.
    Pair,
    /// Count and add.
    Ticket,
    /// Read two, write one.
    Skew,
    /// Write one alone.
    ForkWrite,
    /// Read several, read-only.
    ForkRead,
    /// Add a row.
    Comment,
    /// Read all rows, read-only.
    Comments,
    /// Reads of some workloads' rows, writes of others'.
    Mixed,
    /// Many rows, laid early.
    Load,
    /// Read in the past.
    Past,
    /// Write a row that everybody looks at, and one that nobody else touches.
    Relay,
    /// Look at a row of the former.
    Glance,
    /// Write only a row that nobody else touches: nothing but a closed timestamp keeps it from landing where it began.
    Own,
}

impl Kind {
    /// One of them.
    pub fn draw(rng: &mut Rng) -> Kind {
        match rng.random_range(0..100) {
            0..25 => Kind::Transfer,
            25..40 => Kind::Audit,
            40..65 => Kind::Lists,
            65..80 => Kind::Registers,
            80..94 => Kind::Pair,
            _ => Kind::Ticket,
        }
    }

    /// One of them, of both generations.
    pub fn draw_wide(rng: &mut Rng) -> Kind {
        match rng.random_range(0..100) {
            0..41 => Kind::draw(rng),
            41..45 => Kind::Load,
            45..55 => Kind::Mixed,
            55..67 => Kind::Skew,
            67..75 => Kind::ForkWrite,
            75..83 => Kind::ForkRead,
            83..89 => Kind::Comment,
            89..95 => Kind::Comments,
            _ => Kind::Past,
        }
    }

    /// One of those of the additional client.
    pub fn draw_relay(rng: &mut Rng) -> Kind {
        match rng.random_range(0..100) {
            0..35 => Kind::Relay,
            35..65 => Kind::Glance,
            65..80 => Kind::Own,
            _ => Kind::Past,
        }
    }

    /// Whether it only reads, and says so.
    pub fn read_only(self) -> bool {
        matches!(self, Kind::Audit | Kind::ForkRead | Kind::Comments | Kind::Past | Kind::Glance)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Transfer => "transfer",
            Kind::Audit => "audit",
            Kind::Lists => "lists",
            Kind::Registers => "registers",
            Kind::Pair => "pair",
            Kind::Ticket => "ticket",
            Kind::Skew => "skew",
            Kind::ForkWrite => "fork-write",
            Kind::ForkRead => "fork-read",
            Kind::Comment => "comment",
            Kind::Comments => "comments",
            Kind::Mixed => "mixed",
            Kind::Load => "load",
            Kind::Past => "past",
            Kind::Relay => "relay",
            Kind::Glance => "glance",
            Kind::Own => "own",
        }
    }
}

/// A key of a workload.
pub fn key(name: &str) -> Key {
    Key::from(format!("\x10{name}"))
}

/// The keys of a workload.
pub fn span(prefix: &str) -> Span {
    Span::prefix(key(prefix))
}

/// What a workload found wrong at once, or why an attempt ended.
#[derive(Debug)]
pub enum Stop {
    /// The store said so.
    Kv(KvError),
    /// An answer that must never be given.
    Wrong(String),
}

impl From<KvError> for Stop {
    fn from(error: KvError) -> Self {
        Stop::Kv(error)
    }
}

/// Parameters of one transaction, drawn before its first attempt so that a restart does the same again.
#[derive(Clone, Debug)]
pub struct Script {
    /// Which.
    pub kind: Kind,
    /// Where its own random choices come from.
    pub rng: Rng,
    /// Accounts, lists and registers each.
    pub keys: usize,
}

/// Writes the accounts.
pub async fn set_up(session: &mut Session, keys: usize) -> Result<(), KvError> {
    for account in 0..accounts(keys) {
        session.write(&account_key(account), &START_BALANCE.to_be_bytes(), Expect::Absent).await?;
    }
    Ok(())
}

fn accounts(keys: usize) -> usize {
    keys.max(2)
}

fn account_key(n: usize) -> Key {
    key(&format!("bank/{n:02}"))
}

fn balance(payload: Option<&Bytes>) -> Result<u64, Stop> {
    let bytes = payload.and_then(|p| p.as_ref().try_into().ok()).map(u64::from_be_bytes);
    bytes.ok_or_else(|| Stop::Wrong(format!("an account holds {payload:?}")))
}

/// Checks what an audit saw.
pub fn total(rows: &[(Key, Bytes)], keys: usize) -> Result<(), String> {
    let mut sum = 0;
    for (_, payload) in rows {
        sum += balance(Some(payload)).map_err(|stop| format!("{stop:?}"))?;
    }
    let expected = START_BALANCE * accounts(keys) as u64;
    if sum == expected && rows.len() == accounts(keys) {
        Ok(())
    } else {
        Err(format!("an audit found {sum} in {} accounts instead of {expected}: {rows:?}", rows.len()))
    }
}

impl Script {
    /// Everything but the commit. Returns what was read and must be right if the commit succeeds.
    pub async fn run(&self, session: &mut Session) -> Result<Checked, Stop> {
        let mut rng = self.rng.clone();
        match self.kind {
            Kind::Transfer => self.transfer(session, &mut rng).await,
            Kind::Audit => {
                let rows = session.scan(span("bank/"), rng.random_range(0..4)).await?;
                total(&rows, self.keys).map_err(Stop::Wrong)?;
                Ok(Checked)
            }
            Kind::Lists => self.lists(session, &mut rng).await,
            Kind::Registers => self.registers(session, &mut rng).await,
            Kind::Pair => pair(session).await,
            Kind::Ticket => {
                let rows = session.scan(span("ticket/"), 0).await?;
                let own = session.id();
                session.write(&key(&format!("ticket/{own:08}")), &(rows.len() as u64).to_be_bytes(), Expect::Absent).await?;
                Ok(Checked)
            }
            Kind::Skew => self.skew(session, &mut rng).await,
            Kind::ForkWrite => {
                let row = key(&format!("fork/{:02}", rng.random_range(0..FORKS)));
                session.write(&row, b"", Expect::AsRead).await?;
                Ok(Checked)
            }
            Kind::ForkRead => {
                let mut rows: Vec<Key> = (0..FORKS).map(|n| key(&format!("fork/{n:02}"))).collect();
                rows.shuffle(&mut rng);
                // One after the other: a snapshot must hold whatever happens in between.
                for row in &rows {
                    session.read(std::slice::from_ref(row), None).await?;
                }
                Ok(Checked)
            }
            Kind::Comment => {
                let own = session.id();
                // Spread over the key space, so that one scan meets several ranges.
                let row = key(&format!("comment/{:02}/{own:08}", rng.random_range(0..4)));
                session.write(&row, b"", Expect::Absent).await?;
                Ok(Checked)
            }
            Kind::Comments => {
                session.scan(span("comment/"), rng.random_range(0..6)).await?;
                Ok(Checked)
            }
            Kind::Mixed => self.mixed(session, &mut rng).await,
            Kind::Load => load(session, &mut rng).await,
            Kind::Relay => {
                session.write(&hot(&mut rng), b"", Expect::AsRead).await?;
                own(session).await
            }
            Kind::Own => own(session).await,
            Kind::Glance => {
                session.read(&[hot(&mut rng)], None).await?;
                Ok(Checked)
            }
            // It has no transaction of its own (`client`).
            Kind::Past => Ok(Checked),
        }
    }

    /// Both rows say who may write: two of these at the same time would each see the other's row as it was.
    async fn skew(&self, session: &mut Session, rng: &mut Rng) -> Result<Checked, Stop> {
        let pair = rng.random_range(0..self.keys.div_ceil(2));
        let rows = [key(&format!("skew/a{pair:02}")), key(&format!("skew/z{pair:02}"))];
        let (lock, own) = (if rng.random_bool(0.25) { FOR_UPDATE } else { None }, rng.random_range(0..2));
        if rng.random_bool(0.5) {
            session.read(&rows, lock).await?;
        } else {
            session.read(&rows[1 - own..2 - own], lock).await?;
        }
        session.write(&rows[own], b"", Expect::AsRead).await?;
        Ok(Checked)
    }

    async fn mixed(&self, session: &mut Session, rng: &mut Rng) -> Result<Checked, Stop> {
        let any = |rng: &mut Rng| match rng.random_range(0..3) {
            0 => key(&format!("register/{:02}", rng.random_range(0..self.keys))),
            1 => key(&format!("fork/{:02}", rng.random_range(0..FORKS))),
            _ => key(&format!("skew/{}{:02}", if rng.random_bool(0.5) { 'a' } else { 'z' }, rng.random_range(0..self.keys.div_ceil(2)))),
        };
        for _ in 0..rng.random_range(0..=2) {
            let (row, lock) = (any(rng), if rng.random_bool(0.2) { FOR_UPDATE } else { None });
            session.read(&[row], lock).await?;
        }
        for _ in 0..rng.random_range(1..=3) {
            let row = any(rng);
            session.write(&row, b"", Expect::AsRead).await?;
        }
        Ok(Checked)
    }

    fn lock(rng: &mut Rng) -> Option<Locking> {
        if rng.random_bool(0.5) { FOR_UPDATE } else { None }
    }

    async fn transfer(&self, session: &mut Session, rng: &mut Rng) -> Result<Checked, Stop> {
        let count = accounts(self.keys);
        let from = rng.random_range(0..count);
        let to = (from + rng.random_range(1..count)) % count;
        let lock = Self::lock(rng);
        let (from, to) = (account_key(from), account_key(to));
        let (first, second) = if rng.random_bool(0.5) {
            let both = session.read(&[from.clone(), to.clone()], lock).await?;
            (balance(both[0].as_ref())?, balance(both[1].as_ref())?)
        } else {
            let first = session.read(std::slice::from_ref(&from), lock).await?;
            let second = session.read(std::slice::from_ref(&to), lock).await?;
            (balance(first[0].as_ref())?, balance(second[0].as_ref())?)
        };
        let amount = rng.random_range(0..=first.min(50));
        if rng.random_bool(0.2) {
            session.write_and_take_back(&from).await?;
        }
        session.write(&from, &(first - amount).to_be_bytes(), Expect::AsRead).await?;
        session.write(&to, &(second + amount).to_be_bytes(), Expect::AsRead).await?;
        Ok(Checked)
    }

    async fn lists(&self, session: &mut Session, rng: &mut Rng) -> Result<Checked, Stop> {
        for _ in 0..rng.random_range(1..=4) {
            let list = key(&format!("list/{:02}", rng.random_range(0..self.keys)));
            let append = rng.random_bool(0.5);
            let lock = match (append, rng.random_range(0..4)) {
                (true, 0..2) => FOR_UPDATE,
                (false, 0) => FOR_SHARE,
                (false, 1) => FOR_UPDATE,
                _ => None,
            };
            let seen = session.read(std::slice::from_ref(&list), lock).await?.pop().flatten().unwrap_or_default();
            if append {
                let mut longer = seen.to_vec();
                longer.extend_from_slice(&session.next_version().0.to_be_bytes());
                session.write(&list, &longer, Expect::AsRead).await?;
            }
        }
        Ok(Checked)
    }

    async fn registers(&self, session: &mut Session, rng: &mut Rng) -> Result<Checked, Stop> {
        let register = |rng: &mut Rng| key(&format!("register/{:02}", rng.random_range(0..self.keys)));
        let reads: Vec<Key> = (0..rng.random_range(0..=3)).map(|_| register(rng)).collect();
        if !reads.is_empty() {
            session.read(&reads, None).await?;
        }
        for _ in 0..rng.random_range(0..=2) {
            let register = register(rng);
            session.write(&register, b"", Expect::AsRead).await?;
        }
        if rng.random_bool(0.3) {
            session.scan(span("register/"), 2).await?;
        }
        Ok(Checked)
    }
}

/// A row that everybody looks at. It comes before those of `own/`, so the record of a transaction that writes both lies in its range.
fn hot(rng: &mut Rng) -> Key {
    key(&format!("hot/{:02}", rng.random_range(0..2)))
}

/// What a script saw was right.
#[derive(Clone, Copy, Debug)]
pub struct Checked;

async fn own(session: &mut Session) -> Result<Checked, Stop> {
    session.write(&key(&format!("own/{:08}", session.id())), b"", Expect::Absent).await?;
    Ok(Checked)
}

async fn pair(session: &mut Session) -> Result<Checked, Stop> {
    let own = session.id();
    for half in ["pair/", "riap/"] {
        session.write(&key(&format!("{half}{own:08}")), b"", Expect::Absent).await?;
    }
    Ok(Checked)
}

/// Portions long enough to be checked as a whole, here and there, sometimes read, changed and deleted before the commit.
async fn load(session: &mut Session, rng: &mut Rng) -> Result<Checked, Stop> {
    let own = session.id();
    let row = |half: &str, n: usize| key(&format!("{half}/{own:08}/{n:02}"));
    if rng.random_bool(0.3) {
        session.scan(span("load/"), 0).await?;
    }
    let keep = rng.random_bool(0.5);
    for portion in 0..rng.random_range(1..=3) {
        for half in ["load", "daol"] {
            let rows: Vec<Key> = (0..20).map(|n| row(half, portion * 20 + n)).collect();
            session.lay(&span(&format!("{half}/")), &rows, keep).await?;
        }
    }
    session.settle_laid().await?;
    if keep && rng.random_bool(0.5) {
        session.read(&[row("load", 3), row("daol", 4)], if rng.random_bool(0.5) { FOR_UPDATE } else { None }).await?;
        session.write(&row("load", 3), b"", Expect::AsRead).await?;
    }
    Ok(Checked)
}

/// Checks the rows that are there at the end: lists are what was appended in order, tickets are all different, pairs are whole.
pub fn check_final(rows: &[(Key, Bytes)], keys: usize, order: impl Fn(&Key) -> Vec<VersionId>) -> Vec<String> {
    let mut wrong = Vec::new();
    let of = |prefix: &str| {
        let span = span(prefix);
        rows.iter().filter(move |(key, _)| span.contains(key)).cloned().collect::<Vec<_>>()
    };
    wrong.extend(total(&of("bank/"), keys).err());
    for (key, payload) in of("list/") {
        let listed: Vec<VersionId> =
            payload.chunks_exact(8).filter_map(|c| c.try_into().ok()).map(|c| VersionId(u64::from_be_bytes(c))).collect();
        // Of a transaction that appended twice, only the last version is stored.
        let stored = order(&key);
        let last_of_each: Vec<VersionId> =
            listed.iter().enumerate().filter(|(i, v)| listed.get(i + 1).is_none_or(|n| n.txn() != v.txn())).map(|(_, v)| *v).collect();
        if last_of_each != stored {
            wrong.push(format!("list {key:?} holds {listed:?}, but its versions are {stored:?}"));
        }
    }
    let mut counts: Vec<u64> = of("ticket/").iter().filter_map(|(_, p)| p.as_ref().try_into().ok()).map(u64::from_be_bytes).collect();
    counts.sort_unstable();
    if counts.iter().enumerate().any(|(i, count)| *count != i as u64) {
        wrong.push(format!("phantoms: the tickets say {counts:?}"));
    }
    wrong
}
