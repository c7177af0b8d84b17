//! Long simulation campaigns: `simulate --seeds N --first S [--nodes 3|5] [--threads T] [--trace] [--log FILTER]`.
//!
//! Stops at nothing: every seed runs, failures are printed with the command that replays them, and the exit code is 1 if there was one.

use std::fmt;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meridian_tests::sim::{Plan, Report, run, simulated_millis, watch_panics};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// A seed that takes longer than this in real time spins without virtual time moving.
const SEED_LIMIT: Duration = Duration::from_secs(240);

/// Seeds between two words of progress.
const PROGRESS_EVERY: u64 = 50;

struct Options {
    seeds: u64,
    first: u64,
    nodes: Option<usize>,
    threads: usize,
    trace: bool,
    log: Option<String>,
    verbose: bool,
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options { seeds: 100, first: 1, nodes: None, threads: 1, trace: false, log: None, verbose: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| anyhow::anyhow!("{word} wants a value"));
        match word.as_str() {
            "--seeds" => options.seeds = value()?.parse()?,
            "--first" => options.first = value()?.parse()?,
            "--seed" => (options.first, options.seeds) = (value()?.parse()?, 1),
            "--nodes" => options.nodes = Some(value()?.parse()?),
            "--threads" => options.threads = value()?.parse()?,
            "--log" => options.log = Some(value()?),
            "--trace" => options.trace = true,
            "--verbose" => options.verbose = true,
            other => anyhow::bail!(
                "unknown option {other}; there are --seeds N --first S --seed S --nodes N --threads T --trace --log FILTER --verbose"
            ),
        }
    }
    Ok(options)
}

struct Virtual;

impl FormatTime for Virtual {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:>7}ms", simulated_millis())
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let options = options()?;
    if let Some(filter) = &options.log {
        tracing_subscriber::fmt().with_env_filter(filter).with_timer(Virtual).with_ansi(false).with_writer(std::io::stderr).init();
    }
    watch_panics();
    let started = Instant::now();
    let next = AtomicU64::new(options.first);
    let last = options.first + options.seeds;
    let totals = Mutex::new((0u64, Duration::ZERO, Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        return;
                    }
                    let report = run_watched(seed, &options);
                    let mut totals = totals.lock().unwrap_or_else(|e| e.into_inner());
                    totals.0 += 1;
                    totals.1 += report.simulated;
                    if totals.0.is_multiple_of(PROGRESS_EVERY) {
                        eprintln!("{} seeds, {} failed so far", totals.0, totals.2.len());
                    }
                    if !report.wrong.is_empty() {
                        totals.2.push(seed);
                    }
                    if options.verbose || !report.wrong.is_empty() {
                        println!("{report}");
                    }
                    report.trace.iter().for_each(|line| println!("{line}"));
                    if !report.wrong.is_empty() {
                        let nodes = options.nodes.map(|n| format!(" --nodes {n}")).unwrap_or_default();
                        println!("  replay: scripts/verify simulate --seed {seed}{nodes} --log info");
                    }
                }
            });
        }
    });
    let (count, simulated, failed) = totals.into_inner().unwrap_or_else(|e| e.into_inner());
    let real = started.elapsed().as_secs_f64();
    println!(
        "{count} seeds, {} failed{}{:?}; {:.0} s simulated in {real:.0} s, {:.1} simulated seconds per second",
        failed.len(),
        if failed.is_empty() { "" } else { ": " },
        failed,
        simulated.as_secs_f64(),
        simulated.as_secs_f64() / real
    );
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a seed; names it and ends the process if it never comes to an end.
fn run_watched(seed: u64, options: &Options) -> Report {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(SEED_LIMIT) {
            eprintln!("seed {seed} spins: no end after {SEED_LIMIT:?} of real time");
            std::process::exit(2);
        }
    });
    let report = run(Plan::of(seed, options.nodes), options.trace);
    drop(done);
    let _ = watchdog.join();
    report
}
