//! Long simulation campaigns; `simulate --help` lists the options.
//!
//! Stops at nothing: every seed runs, failures are made smaller and printed with the command that replays them, and the exit code is 1 if there was one.
//! A campaign that is interrupted goes on with the `--first` that its last line of progress names.

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use meridian_clock::controls::Control;
use meridian_tests::sim::{Fault, Overrides, Plan, Report, run, shrink, simulated_millis, watch_panics};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// A seed that takes longer than this in real time spins without virtual time moving.
const SEED_LIMIT: Duration = Duration::from_secs(240);

/// Seeds between two words of progress.
const PROGRESS_EVERY: u64 = 50;

const HELP: &str = "\
simulate [--seeds N] [--first S] [--threads T] [--until-found] [--no-shrink] [--verbose]
    runs N seeds (100) from S (1) on T threads (2)
simulate --seed S [--log FILTER] [--trace]
    one seed, with its story
Instead of what the seed says: --nodes N  --clients N  --keys N  --millis N  --slow SHARE  --ttl MILLIS  --faults A,B|none  --strikes 1,2|none
    --clock-error MILLIS  --narrow  --early
With a mechanism of the protocol taken out (debug builds): --without CONTROL (may be repeated)";

struct Options {
    seeds: u64,
    first: u64,
    threads: usize,
    trace: bool,
    log: Option<String>,
    verbose: bool,
    until_found: bool,
    shrink: bool,
    overrides: Overrides,
}

fn list<T>(words: &str, parse: impl Fn(&str) -> Option<T>) -> anyhow::Result<Vec<T>> {
    let words = if words == "none" { "" } else { words };
    words.split(',').filter(|w| !w.is_empty()).map(|word| parse(word).with_context(|| format!("there is no {word}"))).collect()
}

fn options() -> anyhow::Result<Option<Options>> {
    let mut options = Options {
        seeds: 100,
        first: 1,
        threads: 2,
        trace: false,
        log: None,
        verbose: false,
        until_found: false,
        shrink: true,
        overrides: Overrides::default(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| anyhow::anyhow!("{word} wants a value"));
        let plan = &mut options.overrides;
        match word.as_str() {
            "--seeds" => options.seeds = value()?.parse()?,
            "--first" => options.first = value()?.parse()?,
            "--seed" => (options.first, options.seeds, options.verbose) = (value()?.parse()?, 1, true),
            "--threads" => options.threads = value()?.parse()?,
            "--log" => options.log = Some(value()?),
            "--trace" => options.trace = true,
            "--verbose" => options.verbose = true,
            "--until-found" => options.until_found = true,
            "--no-shrink" => options.shrink = false,
            "--nodes" => plan.nodes = Some(value()?.parse()?),
            "--clients" => plan.clients = Some(value()?.parse()?),
            "--keys" => plan.keys = Some(value()?.parse()?),
            "--millis" => plan.millis = Some(value()?.parse()?),
            "--slow" => plan.slow = Some(value()?.parse()?),
            "--ttl" => plan.ttl = Some(value()?.parse()?),
            "--faults" => plan.faults = Some(list(&value()?, Fault::named)?),
            "--strikes" => plan.strikes = Some(list(&value()?, |word| word.parse().ok())?),
            "--clock-error" => plan.clock_error = Some(value()?.parse()?),
            "--narrow" => plan.narrow = true,
            "--early" => plan.early = true,
            "--without" => plan.controls.extend(list(&value()?, Control::named)?),
            "--help" => return Ok(None),
            other => anyhow::bail!("unknown option {other}\n{HELP}"),
        }
    }
    // One seed with its story is not made smaller: it is looked at.
    options.shrink &= options.log.is_none();
    anyhow::ensure!(options.overrides.controls.is_empty() || cfg!(debug_assertions), "a release build has no control switches");
    Ok(Some(options))
}

struct Virtual;

impl FormatTime for Virtual {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:>7}ms", simulated_millis())
    }
}

/// What a campaign has come to.
#[derive(Default)]
struct Totals {
    count: u64,
    simulated: Duration,
    committed: usize,
    failed: Vec<u64>,
    running: BTreeSet<u64>,
}

fn main() -> anyhow::Result<ExitCode> {
    let Some(options) = options()? else {
        println!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(filter) = &options.log {
        tracing_subscriber::fmt().with_env_filter(filter).with_timer(Virtual).with_ansi(false).with_writer(std::io::stderr).init();
    }
    watch_panics();
    let started = Instant::now();
    let (next, stop, totals) = (AtomicU64::new(options.first), AtomicBool::new(false), Mutex::new(Totals::default()));
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| work(&options, &next, &stop, &totals));
        }
    });
    let totals = totals.into_inner().unwrap_or_else(|e| e.into_inner());
    let real = started.elapsed().as_secs_f64();
    println!(
        "{} seeds from {}, {} failed{}{:?}; {} committed; {:.0} s simulated in {real:.0} s, {:.1} simulated seconds per second",
        totals.count,
        options.first,
        totals.failed.len(),
        if totals.failed.is_empty() { "" } else { ": " },
        totals.failed,
        totals.committed,
        totals.simulated.as_secs_f64(),
        totals.simulated.as_secs_f64() / real
    );
    Ok(if totals.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn work(options: &Options, next: &AtomicU64, stop: &AtomicBool, totals: &Mutex<Totals>) {
    let last = options.first + options.seeds;
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= last || stop.load(Ordering::Relaxed) {
            return;
        }
        totals.lock().unwrap_or_else(|e| e.into_inner()).running.insert(seed);
        let report = run_watched(seed, options);
        {
            let mut totals = totals.lock().unwrap_or_else(|e| e.into_inner());
            totals.running.remove(&seed);
            totals.count += 1;
            totals.simulated += report.simulated;
            totals.committed += report.attempts.0;
            if totals.count.is_multiple_of(PROGRESS_EVERY) {
                let resume = totals.running.first().copied().unwrap_or(seed + 1);
                eprintln!("{} seeds, failed so far {:?}; to go on from here: --first {resume}", totals.count, totals.failed);
            }
            if !report.wrong.is_empty() {
                totals.failed.push(seed);
            }
        }
        if options.verbose || !report.wrong.is_empty() {
            println!("{report}");
        }
        report.trace.iter().for_each(|line| println!("{line}"));
        if !report.wrong.is_empty() {
            println!("  replay: {}", report.plan.replay());
            if options.shrink {
                let small = shrink(report);
                println!("  smaller: {small}\n  strikes: {:?}\n  replay: {}", small.strikes, small.plan.replay());
            }
            stop.fetch_or(options.until_found, Ordering::Relaxed);
        }
    }
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
    let report = run(Plan::with(seed, options.overrides.clone()), options.trace);
    drop(done);
    let _ = watchdog.join();
    report
}
