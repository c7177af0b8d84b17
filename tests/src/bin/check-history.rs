//! `check-history FILE…`: checks recorded histories, and tells what is wrong with them. Exit code 1 if anything is.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use meridian_tests::history::{History, check};

fn main() -> Result<ExitCode> {
    let mut clean = true;
    for file in std::env::args().skip(1) {
        let history = History::load(Path::new(&file)).with_context(|| file.clone())?;
        let verdict = check(&history);
        let (ok, failed, unknown) = history.outcomes();
        println!("{file}: {}, {ok} acknowledged, {failed} refused, {unknown} unknown, {} edges", history.header.workload, verdict.edges);
        print!("{}", if verdict.clean() { "nothing wrong\n".to_owned() } else { verdict.to_string() });
        clean &= verdict.clean();
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
