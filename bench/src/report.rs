//! The table of figures, with their ratios to a floor.

use std::fmt;
use std::time::Duration;

/// The counts of a measurement.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// Requests, or whole flows.
    pub operations: u64,
    /// The time it took.
    pub elapsed: Duration,
    /// The kernel's CPU time of the server process.
    pub cpu: Duration,
}

impl Figure {
    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// Returns the CPU milliseconds per operation, which is CPU seconds per 1,000.
    pub fn cpu_ms(&self) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / self.operations as f64
    }
}

/// The floor of each figure, and the goal for their ratio.
const GOALS: &[(&str, &str, f64)] = &[
    ("start", "bare handler, one durable row (group commit)", 1.8),
    ("whole flow", "the flow's reads, writes and calls, bare", 2.5),
    ("status, no connection", "bare handler", 1.7),
    ("status, connected", "bare handler", 1.7),
];

/// All figures of one run.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<(&'static str, Figure)>,
    notes: Vec<String>,
}

impl Report {
    pub fn add(&mut self, name: &'static str, figure: Figure) {
        self.figures.push((name, figure));
    }

    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn find(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|(known, _)| *known == name).map(|(_, figure)| figure)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<46} {:>10} {:>14} {:>8}", "on one core", "per second", "CPU s / 1,000", "x bare")?;
        let bare = self.find("bare handler").map_or(f64::NAN, Figure::cpu_ms);
        for (name, figure) in &self.figures {
            let ratio = figure.cpu_ms() / bare;
            writeln!(f, "{name:<46} {:>10.0} {:>14.4} {ratio:>8.2}", figure.per_second(), figure.cpu_ms())?;
        }
        writeln!(f)?;
        for (name, floor, goal) in GOALS {
            if let (Some(figure), Some(floor_figure)) = (self.find(name), self.find(floor)) {
                let ratio = figure.cpu_ms() / floor_figure.cpu_ms();
                let verdict = if ratio <= *goal { "met" } else { "MISSED" };
                writeln!(f, "{name}: {ratio:.2} x \"{floor}\" (goal {goal}, {verdict})")?;
            }
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}
