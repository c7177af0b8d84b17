//! Ramp, measurement, the view on the terminal.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::{BoxFuture, join_all};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::stats::{Stats, Summary};

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// Before anything counts.
    pub ramp: Duration,
    /// What counts.
    pub duration: Duration,
}

/// Ramp and measurement from two durations.
pub fn length(ramp: Duration, duration: Duration) -> Length {
    Length { ramp, duration }
}

/// What works during a run: told when to stop, it comes to an end.
pub type Task = Box<dyn FnOnce(Stop) -> BoxFuture<'static, Result<()>> + Send>;

/// Told to terminals when the run is over.
pub type Stop = watch::Receiver<bool>;

/// Whether the run is over.
pub fn stopped(stop: &Stop) -> bool {
    *stop.borrow()
}

/// Sleeps, but not beyond the end of the run.
pub async fn pause(stop: &mut Stop, time: Duration) {
    if time.is_zero() {
        return;
    }
    tokio::select! {
        biased;
        _ = stop.wait_for(|over| *over) => {}
        () = sleep(time) => {}
    }
}

/// Runs tasks for `length`, or until this process is interrupted (SIGINT); each is told when to stop. Answers the figures, of what was measured.
pub async fn run(stats: &Stats, length: Length, names: &[&'static str], tasks: Vec<Task>) -> Result<Summary> {
    let (over, stop) = watch::channel(false);
    let handles: Vec<_> = tasks.into_iter().map(|task| tokio::spawn(task(stop.clone()))).collect();
    let view = tokio::spawn(view(stats.clone(), length, names.iter().map(|n| (*n).to_owned()).collect(), stop));
    let mut interrupted = Box::pin(tokio::signal::ctrl_c());
    tokio::select! { biased; _ = &mut interrupted => bail!("interrupted before anything was measured"), () = sleep(length.ramp) => {} }
    stats.measure();
    let began = Instant::now();
    tokio::select! { biased; _ = &mut interrupted => {}, () = sleep_until(began + length.duration) => {} }
    let measured = began.elapsed();
    let summary = stats.summary(measured);
    let _ = over.send(true);
    let _ = view.await;
    for outcome in join_all(handles).await {
        outcome??;
    }
    Ok(summary)
}

/// One line a second on a terminal (rewritten), one in ten seconds otherwise.
async fn view(stats: Stats, length: Length, names: Vec<String>, mut stop: Stop) {
    let live = std::io::stderr().is_terminal();
    let total = (length.ramp + length.duration).as_secs().max(1);
    let every = if live { 1 } else { 10 };
    let mut next = every;
    while !stopped(&stop) {
        pause(&mut stop, Duration::from_secs(1)).await;
        let second = stats.elapsed().as_secs();
        if second < next {
            continue;
        }
        next = second + every;
        let summary = stats.summary(stats.elapsed().saturating_sub(length.ramp).max(Duration::from_millis(1)));
        let rates = stats.last_second();
        let (errors, retries) = summary.kinds.iter().fold((0, 0), |(e, r), k| (e + k.failures(), r + k.restarts()));
        let parts: Vec<String> = names
            .iter()
            .zip(&rates)
            .zip(&summary.kinds)
            .map(|((name, rate), kind)| format!("{name} {rate}/s p50 {:.1} p99 {:.1} ms", kind.p50_ms, kind.p99_ms))
            .collect();
        let done = (second * 20 / total).min(20) as usize;
        let bar = format!("{}{}", "█".repeat(done), "░".repeat(20 - done));
        let phase = if second < length.ramp.as_secs() { "ramp" } else { "run " };
        let line = format!("{phase} {bar} {second:>4} s │ {} │ errors {errors}, retries {retries}", parts.join(" │ "));
        if live {
            eprint!("\r\x1b[2K{line}");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }
    if live {
        eprintln!();
    }
}
