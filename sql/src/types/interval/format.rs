//! Text output of intervals in the four styles of `IntervalStyle`.

use super::Interval;
use crate::types::datetime::{split_micros, write_fraction};

/// Appends an interval in a style: `postgres`, `postgres_verbose`, `sql_standard`, `iso_8601`.
pub fn write_interval(out: &mut String, i: &Interval, style: &str) {
    let parts = Parts::of(i);
    match style {
        "sql_standard" => parts.sql_standard(out),
        "iso_8601" => parts.iso_8601(out),
        "postgres_verbose" => parts.verbose(out),
        _ => parts.postgres(out),
    }
}

/// All fields carry their own sign.
struct Parts {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
    micros: i64,
}

impl Parts {
    fn of(i: &Interval) -> Parts {
        let (hours, minutes, seconds, micros) = split_micros(i.micros);
        Parts {
            years: i64::from(i.months / 12),
            months: i64::from(i.months % 12),
            days: i64::from(i.days),
            hours,
            minutes,
            seconds,
            micros,
        }
    }
    fn has_time(&self) -> bool {
        self.hours != 0 || self.minutes != 0 || self.seconds != 0 || self.micros != 0
    }
    fn time_negative(&self) -> bool {
        self.hours < 0 || self.minutes < 0 || self.seconds < 0 || self.micros < 0
    }
    /// `ss.ffffff`, absolute, at least `width` digits.
    fn seconds_text(&self, width: usize) -> String {
        let mut text = format!("{:0width$}", self.seconds.abs());
        write_fraction(&mut text, self.micros.abs());
        text
    }
    fn clock(&self) -> String {
        format!("{:02}:{:02}:{}", self.hours.abs(), self.minutes.abs(), self.seconds_text(2))
    }

    /// `1 year 2 mons -3 days +04:05:06`
    fn postgres(&self, out: &mut String) {
        let mut first = true;
        let mut before_negative = false;
        for (n, unit) in [(self.years, "year"), (self.months, "mon"), (self.days, "day")] {
            if n == 0 {
                continue;
            }
            let sign = if before_negative && n > 0 { "+" } else { "" };
            let plural = if n != 1 { "s" } else { "" };
            out.push_str(&format!("{}{sign}{n} {unit}{plural}", if first { "" } else { " " }));
            before_negative = n < 0;
            first = false;
        }
        if first || self.has_time() {
            let sign = if self.time_negative() {
                "-"
            } else if before_negative {
                "+"
            } else {
                ""
            };
            out.push_str(&format!("{}{sign}{}", if first { "" } else { " " }, self.clock()));
        }
    }

    /// `@ 1 year 2 mons 3 days 4 hours 5 mins 6 secs ago`
    fn verbose(&self, out: &mut String) {
        out.push('@');
        let mut first = true;
        let mut ago = false;
        let fields = [(self.years, "year"), (self.months, "mon"), (self.days, "day"), (self.hours, "hour"), (self.minutes, "min")];
        for (n, unit) in fields {
            if n == 0 {
                continue;
            }
            let n = if first {
                ago = n < 0;
                n.abs()
            } else if ago {
                -n
            } else {
                n
            };
            out.push_str(&format!(" {n} {unit}{}", if n != 1 { "s" } else { "" }));
            first = false;
        }
        if self.seconds != 0 || self.micros != 0 {
            let negative = self.seconds < 0 || self.micros < 0;
            if first {
                ago = negative;
            }
            let sign = if negative != ago { "-" } else { "" };
            let plural = if self.seconds.abs() != 1 || self.micros != 0 { "s" } else { "" };
            out.push_str(&format!(" {sign}{} sec{plural}", self.seconds_text(1)));
            first = false;
        }
        if first {
            out.push_str(" 0");
        }
        if ago {
            out.push_str(" ago");
        }
    }

    /// `P1Y2M3DT4H5M6S`
    fn iso_8601(&self, out: &mut String) {
        let date = self.years != 0 || self.months != 0 || self.days != 0;
        if !date && !self.has_time() {
            return out.push_str("PT0S");
        }
        out.push('P');
        for (n, unit) in [(self.years, 'Y'), (self.months, 'M'), (self.days, 'D')] {
            if n != 0 {
                out.push_str(&format!("{n}{unit}"));
            }
        }
        if self.has_time() {
            out.push('T');
            for (n, unit) in [(self.hours, 'H'), (self.minutes, 'M')] {
                if n != 0 {
                    out.push_str(&format!("{n}{unit}"));
                }
            }
            if self.seconds != 0 || self.micros != 0 {
                let sign = if self.seconds < 0 || self.micros < 0 { "-" } else { "" };
                out.push_str(&format!("{sign}{}S", self.seconds_text(1)));
            }
        }
    }

    /// `1-2 3 4:05:06`, one sign for all or a sign on each part.
    fn sql_standard(&self, out: &mut String) {
        let fields = [self.years, self.months, self.days, self.hours, self.minutes, self.seconds, self.micros];
        let negative = fields.iter().any(|n| *n < 0);
        let positive = fields.iter().any(|n| *n > 0);
        let has_year_month = self.years != 0 || self.months != 0;
        let has_day_time = self.days != 0 || self.has_time();
        let has_day = self.days != 0;
        let standard = !(negative && positive || has_year_month && has_day_time);
        if !negative && !positive {
            return out.push('0');
        }
        if standard {
            if negative {
                out.push('-');
            }
            let (y, m, d) = (self.years.abs(), self.months.abs(), self.days.abs());
            let time = format!("{}:{:02}:{}", self.hours.abs(), self.minutes.abs(), self.seconds_text(2));
            if has_year_month {
                out.push_str(&format!("{y}-{m}"));
            } else if has_day {
                out.push_str(&format!("{d} {time}"));
            } else {
                out.push_str(&time);
            }
            return;
        }
        let sign = |n: bool| if n { '-' } else { '+' };
        out.push_str(&format!(
            "{}{}-{} {}{} {}{}:{:02}:{}",
            sign(self.years < 0 || self.months < 0),
            self.years.abs(),
            self.months.abs(),
            sign(self.days < 0),
            self.days.abs(),
            sign(self.time_negative()),
            self.hours.abs(),
            self.minutes.abs(),
            self.seconds_text(2)
        ));
    }
}
