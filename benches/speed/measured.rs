//! Measured values, and how they are printed.

use crate::workloads::Series;

/// A measured value: the median of all rounds, with the least and the greatest value. Rounds that
/// measured nothing (NaN) do not count.
#[derive(Clone, Copy)]
pub struct Measured {
    pub median: f64,
    least: f64,
    most: f64,
}

impl From<&Series> for Measured {
    fn from(series: &Series) -> Self {
        let mut sorted: Series = series.iter().copied().filter(|value| !value.is_nan()).collect();
        if sorted.is_empty() {
            return Measured { median: f64::NAN, least: f64::NAN, most: f64::NAN };
        }
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        };
        Measured { median, least: sorted[0], most: sorted[sorted.len() - 1] }
    }
}

/// The ratio of one series to another, computed for each round.
pub fn ratio(one: &Series, other: &Series) -> Measured {
    Measured::from(&one.iter().zip(other).map(|(one, other)| one / other).collect::<Series>())
}

impl Measured {
    pub fn with_spread(&self) -> String {
        format!("{} ({} to {})", short(self.median), short(self.least), short(self.most))
    }
}

/// Three significant digits, and fewer below one.
pub fn short(value: f64) -> String {
    match value {
        _ if value > 0.0 && value < 0.01 => format!("{value:.4}"),
        _ if value >= 99.95 => format!("{value:.0}"),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub fn size(bytes: usize) -> String {
    if bytes % 1024 == 0 { format!("{} KiB", bytes / 1024) } else { format!("{bytes} B") }
}

pub fn count(n: usize) -> String {
    if n >= 1000 { format!("{} {:03}", n / 1000, n % 1000) } else { n.to_string() }
}
