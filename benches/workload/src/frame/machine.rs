//! What servers on this machine take while a run goes on: CPU and disk by second, read from /proc, of a process with all its descendants. So PostgreSQL's backends count
//! with their postmaster.

use std::collections::HashMap;
use std::fs::read_to_string;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Ticks of /proc a second: Linux says 100 on every platform that this runs on.
const TICKS: f64 = 100.0;

/// A server to watch, as `NAME=PID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    name: String,
    pid: u32,
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('=').and_then(|(name, pid)| Some(Watched { name: name.to_owned(), pid: pid.parse().ok()? }));
        parsed.filter(|w| !w.name.is_empty()).ok_or_else(|| format!("{text:?} is not NAME=PID"))
    }
}

/// What one server took, by second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerFigures {
    /// As it was called.
    pub name: String,
    /// Of one core.
    pub cpu_percent: Vec<f64>,
    /// Read and written.
    pub disk_mib: Vec<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    ticks: u64,
    disk_bytes: u64,
}

/// Watches until it is told that the run is over.
pub struct Watch {
    over: oneshot::Sender<()>,
    task: JoinHandle<Vec<Vec<Taken>>>,
    watched: Vec<Watched>,
}

impl Watch {
    /// Begins.
    pub fn start(watched: Vec<Watched>) -> Self {
        let (over, mut ended) = oneshot::channel();
        let names = watched.clone();
        let task = tokio::spawn(async move {
            let mut samples = Vec::new();
            let mut seconds = interval(Duration::from_secs(1));
            seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !names.is_empty() {
                tokio::select! { biased; _ = &mut ended => break, _ = seconds.tick() => {} }
                samples.push(taken(&names));
            }
            samples
        });
        Watch { over, task, watched }
    }

    /// Ends. Figures of the last `seconds`, which were those of the measurement.
    pub async fn finish(self, seconds: f64) -> Vec<ServerFigures> {
        let _ = self.over.send(());
        let samples = self.task.await.unwrap_or_default();
        let measured = &samples[samples.len().saturating_sub(seconds as usize + 1)..];
        let figures = |(n, watched): (usize, &Watched)| {
            let between = |what: fn(&Taken) -> u64, unit: f64| -> Vec<f64> {
                measured.windows(2).map(|pair| what(&pair[1][n]).saturating_sub(what(&pair[0][n])) as f64 / unit).collect()
            };
            ServerFigures {
                name: watched.name.clone(),
                cpu_percent: between(|t| t.ticks, TICKS / 100.0),
                disk_mib: between(|t| t.disk_bytes, 1_048_576.0),
            }
        };
        self.watched.iter().enumerate().map(figures).collect()
    }
}

/// What each has taken since it began.
fn taken(watched: &[Watched]) -> Vec<Taken> {
    let (mut parents, mut own) = (HashMap::new(), HashMap::new());
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that ends while it is looked at is not there any more.
        let Some((parent, ticks)) = read_to_string(entry.path().join("stat")).ok().and_then(|stat| parent_and_ticks(&stat)) else {
            continue;
        };
        parents.insert(pid, parent);
        own.insert(pid, Taken { ticks, disk_bytes: 0 });
    }
    let of = |server: u32| {
        let mut sum = Taken::default();
        for (pid, taken) in &own {
            let mut at = *pid;
            while at != server && at > 1 {
                at = parents.get(&at).copied().unwrap_or(0);
            }
            if at == server {
                sum.ticks += taken.ticks;
                sum.disk_bytes += read_to_string(format!("/proc/{pid}/io")).map_or(0, |io| disk_bytes(&io));
            }
        }
        sum
    };
    watched.iter().map(|w| of(w.pid)).collect()
}

fn parent_and_ticks(stat: &str) -> Option<(u32, u64)> {
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((number(1)? as u32, number(11)? + number(12)?))
}

fn disk_bytes(io: &str) -> u64 {
    let of = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)).and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0);
    of("read_bytes:") + of("write_bytes:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_is_understood() {
        let stat = "17 (a name) with) S 4 17 17 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(parent_and_ticks(stat), Some((4, 300)));
        assert_eq!(disk_bytes("rchar: 9\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n"), 12_288);
        assert_eq!("n1=42".parse(), Ok(Watched { name: "n1".into(), pid: 42 }));
        assert!("n1".parse::<Watched>().is_err() && "=4".parse::<Watched>().is_err());
    }

    #[tokio::test]
    async fn this_process_takes_cpu() {
        let watch = Watch::start(vec![Watched { name: "me".into(), pid: std::process::id() }]);
        let until = std::time::Instant::now() + Duration::from_millis(2500);
        let mut sum = 0_u64;
        while std::time::Instant::now() < until {
            (0..100_000_u64).for_each(|n| sum = sum.wrapping_add(std::hint::black_box(n)));
            tokio::task::yield_now().await;
        }
        let figures = watch.finish(2.0).await;
        assert_eq!(figures[0].name, "me");
        assert!(figures[0].cpu_percent.iter().sum::<f64>() > 1.0, "{figures:?}");
        assert_eq!(figures[0].cpu_percent.len(), figures[0].disk_mib.len());
    }
}
