//! Distances between regions, injected: a `--latency-matrix` file makes processes on one host behave as if they were continents apart.
//!
//! One line per pair of regions, `#` begins a comment:
//! ```text
//! # region     region      round trip in milliseconds
//! us-east      eu-west     75
//! us-east      ap-south    190.5
//! us-east      us-east     0.8
//! ```
//! A pair counts in both directions. Pairs that are not named have no injected delay. Each direction is delayed at its sender by
//! half of the round trip; what is delayed stays in order, and nothing is dropped.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// The longest round trip a matrix may name.
pub const ROUND_TRIP_MAX: Duration = Duration::from_secs(60);

/// Round trips between regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyMatrix {
    round_trips: BTreeMap<(String, String), Duration>,
}

/// A line of a latency matrix that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("latency matrix, line {line}: {reason}")]
pub struct LatencyMatrixError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl LatencyMatrix {
    /// No delay anywhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the round trip between two regions (which may be the same).
    pub fn set(&mut self, a: &str, b: &str, round_trip: Duration) {
        self.round_trips.insert(Self::pair(a, b), round_trip);
    }

    /// The round trip between two regions; zero if it is not named.
    pub fn round_trip(&self, a: &str, b: &str) -> Duration {
        self.round_trips.get(&Self::pair(a, b)).copied().unwrap_or_default()
    }

    /// The delay of one direction.
    pub fn one_way(&self, from: &str, to: &str) -> Duration {
        self.round_trip(from, to) / 2
    }

    /// Whether nothing is delayed.
    pub fn is_empty(&self) -> bool {
        self.round_trips.values().all(Duration::is_zero)
    }

    fn pair(a: &str, b: &str) -> (String, String) {
        if a <= b { (a.into(), b.into()) } else { (b.into(), a.into()) }
    }
}

impl FromStr for LatencyMatrix {
    type Err = LatencyMatrixError;

    fn from_str(text: &str) -> Result<Self, LatencyMatrixError> {
        let mut matrix = LatencyMatrix::new();
        for (index, line) in text.lines().enumerate() {
            let fail = |reason: String| LatencyMatrixError { line: index + 1, reason };
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            let [a, b, millis] = words[..] else {
                if words.is_empty() {
                    continue;
                }
                return Err(fail("expected: region region milliseconds".into()));
            };
            let millis: f64 = millis.parse().map_err(|_| fail(format!("{millis:?} is not a number of milliseconds")))?;
            if !(0.0..=ROUND_TRIP_MAX.as_secs_f64() * 1e3).contains(&millis) {
                return Err(fail(format!("a round trip lies between 0 and {} ms", ROUND_TRIP_MAX.as_millis())));
            }
            matrix.set(a, b, Duration::from_secs_f64(millis / 1e3));
        }
        Ok(matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_documented_format() {
        let matrix: LatencyMatrix = "# head\nus-east eu-west 75 # transatlantic\n\nus-east us-east 0.8\n".parse().unwrap();
        assert_eq!(matrix.round_trip("eu-west", "us-east"), Duration::from_millis(75));
        assert_eq!(matrix.one_way("us-east", "us-east"), Duration::from_micros(400));
        assert_eq!(matrix.one_way("us-east", "nowhere"), Duration::ZERO);
    }

    #[test]
    fn names_the_bad_line() {
        for (text, line) in [("a b", 1), ("a b 1\na b x", 2), ("a b -1", 1), ("a b nan", 1), ("a b 1 2", 1), ("a b 60001", 1)] {
            assert_eq!(text.parse::<LatencyMatrix>().unwrap_err().line, line, "{text}");
        }
    }
}
