//! Interleaved sessions: scripts that say which session does what in which order, run at each isolation level.
//!
//! ```text
//!   tests/isolation/NAME.spec ──▶ steps ──▶ Meridian     ──▶ compared with tests/isolation/NAME.out
//!                                    └────▶ PostgreSQL 15 ──▶ kept in the same file where it differs (on request)
//! ```
//! A spec is lines of `setup SQL` and `A SQL`, `B SQL`, …; every session begins its transaction at the level under test before the first step.
//! A step that has to wait for another session is told by `pg_blocking_pids`, never by time: the transcript says `waits`, the script goes on,
//! and the step's answer is printed once a later step has let it through.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::differential::client::{Answer, Client};

/// The levels that every script runs at.
pub const LEVELS: [&str; 3] = ["read committed", "repeatable read", "serializable"];
/// How often a step is looked at before it counts as stuck, and how long between two looks.
const LOOKS_MAX: u32 = 15_000;
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A script.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// What it shows.
    pub about: Vec<String>,
    /// Before the sessions.
    pub setup: Vec<String>,
    /// Session and statement.
    pub steps: Vec<(char, String)>,
}

/// Reads a script.
pub fn parse(text: &str) -> anyhow::Result<Spec> {
    let mut spec = Spec::default();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "#" => spec.about.push(rest.to_owned()),
            "setup" => spec.setup.push(rest.to_owned()),
            _ => match word.chars().collect::<Vec<_>>()[..] {
                [session @ 'A'..='Z'] => spec.steps.push((session, rest.to_owned())),
                _ => bail!("neither setup nor a session: {line}"),
            },
        }
    }
    Ok(spec)
}

/// A session on a thread of its own, so that it can wait.
struct Actor {
    orders: Sender<String>,
    answers: Receiver<std::io::Result<Answer>>,
    pid: String,
    /// The step that waits.
    waiting: Option<String>,
}

impl Actor {
    fn start(port: u16, user: &str, database: &str) -> anyhow::Result<Self> {
        let mut client = Client::connect(port, user, database)?;
        let pid = client.simple("SELECT pg_backend_pid()")?;
        let pid = pid.rows.first().and_then(|r| r.first().cloned().flatten()).context("no process id")?;
        let (orders, to_do) = channel::<String>();
        let (done, answers) = channel();
        thread::spawn(move || {
            while let Ok(sql) = to_do.recv() {
                if done.send(client.simple(&sql)).is_err() {
                    return;
                }
            }
        });
        Ok(Actor { orders, answers, pid, waiting: None })
    }
}

/// Runs a script at one level; answers with the transcript.
pub fn run(port: u16, user: &str, database: &str, spec: &Spec, level: &str) -> anyhow::Result<String> {
    let mut watcher = Client::connect(port, user, database)?;
    for sql in &spec.setup {
        if let Some(error) = watcher.simple(sql)?.error {
            bail!("{sql}: {} {}", error.sqlstate, error.message);
        }
    }
    let mut actors: BTreeMap<char, Actor> = BTreeMap::new();
    let mut out = String::new();
    for (session, _) in &spec.steps {
        if !actors.contains_key(session) {
            let actor = Actor::start(port, user, database)?;
            actor.orders.send(format!("BEGIN ISOLATION LEVEL {level}"))?;
            actor.answers.recv()??;
            actors.insert(*session, actor);
        }
    }
    for (session, sql) in &spec.steps {
        settle(&mut actors, Some(*session), &mut watcher, &mut out).with_context(|| format!("{session} is to run {sql}"))?;
        let actor = actors.get_mut(session).context("a session without an actor")?;
        actor.orders.send(sql.clone())?;
        match answer(actor, &mut watcher)? {
            Some(answer) => out.push_str(&format!("{session} {sql}\n{}", shown(&answer))),
            None => {
                actor.waiting = Some(sql.clone());
                out.push_str(&format!("{session} {sql}\n  waits\n"));
            }
        }
    }
    settle(&mut actors, None, &mut watcher, &mut out).context("at the end of the script")?;
    Ok(out)
}

/// Waits until a session (`None`: every session) waits no more, which may take the search for deadlocks, and prints what all that have waited
/// have answered by then, in the sessions' order.
fn settle(actors: &mut BTreeMap<char, Actor>, session: Option<char>, watcher: &mut Client, out: &mut String) -> anyhow::Result<()> {
    let mut answered: BTreeMap<char, String> = BTreeMap::new();
    let mut looks = 0;
    loop {
        let free = !actors.iter().any(|(name, actor)| actor.waiting.is_some() && session.is_none_or(|s| s == *name));
        for (name, actor) in actors.iter_mut() {
            let Some(sql) = actor.waiting.clone() else { continue };
            if let Some(answer) = answer(actor, watcher)? {
                actor.waiting = None;
                answered.insert(*name, format!("{name} … {sql}\n{}", shown(&answer)));
            }
        }
        // One more look after the session was free: what it had in its hands may have let others go on.
        if free {
            out.extend(answered.into_values());
            return Ok(());
        }
        looks += 1;
        if looks > LOOKS_MAX {
            bail!("a session waits for ever:\n{out}");
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// The answer to what the actor was told, or `None` while it waits for somebody.
fn answer(actor: &mut Actor, watcher: &mut Client) -> anyhow::Result<Option<Answer>> {
    let blocked = format!("SELECT cardinality(pg_blocking_pids({})) > 0", actor.pid);
    for _ in 0..LOOKS_MAX {
        match actor.answers.try_recv() {
            Ok(answer) => return Ok(Some(answer?)),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => bail!("a session ended"),
        }
        let asked = watcher.simple(&blocked)?;
        if asked.rows == [[Some("t".to_owned())]] {
            // It may have been let through between the two looks.
            match actor.answers.try_recv() {
                Ok(answer) => return Ok(Some(answer?)),
                _ => return Ok(None),
            }
        }
    }
    bail!("a step neither ends nor waits for anybody")
}

fn shown(answer: &Answer) -> String {
    let mut out = String::new();
    for row in &answer.rows {
        let cells: Vec<&str> = row.iter().map(|c| c.as_deref().unwrap_or("NULL")).collect();
        out.push_str(&format!("  {}\n", cells.join(" | ")));
    }
    match &answer.error {
        Some(error) => out.push_str(&format!("  ERROR {}: {}\n", error.sqlstate, error.message)),
        None => out.push_str(&format!("  {}\n", answer.tags.join("; "))),
    }
    out
}
