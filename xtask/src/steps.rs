//! A run of several steps: each with a headline, all of them run, a table at the end.

use crate::Result;
use std::time::{Duration, Instant};

/// The result of a step that did not fail.
pub enum Done {
    /// It passed; the text, perhaps empty, says how much was checked.
    Passed(String),
    /// It had nothing to do, for this reason.
    Skipped(String),
}

impl From<()> for Done {
    fn from((): ()) -> Self {
        Self::Passed(String::new())
    }
}

/// The steps so far.
#[derive(Default)]
pub struct Steps(Vec<Step>);

struct Step {
    name: &'static str,
    took: Duration,
    result: Result<Done>,
}

impl Steps {
    /// Runs a step. A failure is printed and recorded, and the next step runs all the same: one round shows all
    /// failures.
    pub fn run<D: Into<Done>>(&mut self, name: &'static str, work: impl FnOnce() -> Result<D>) {
        println!("\n==> {name}");
        let begun = Instant::now();
        let result = work().map(Into::into);
        let step = Step { name, took: begun.elapsed(), result };
        match &step.result {
            Ok(Done::Passed(_)) => println!("    passed in {}", seconds(step.took)),
            Ok(Done::Skipped(why)) => println!("    skipped: {why}"),
            Err(why) => println!("    FAILED after {}: {why}", seconds(step.took)),
        }
        self.0.push(step);
    }

    /// Prints the table.
    ///
    /// # Errors
    /// If any step failed.
    pub fn finish(self) -> Result<()> {
        println!("\n==> summary");
        let widest = self.0.iter().map(|step| step.name.len()).max().unwrap_or(0);
        for step in &self.0 {
            let (word, remark) = match &step.result {
                Ok(Done::Passed(remark)) => ("passed", remark.as_str()),
                Ok(Done::Skipped(why)) => ("skipped", why.as_str()),
                Err(why) => ("FAILED", why.lines().next().unwrap_or_default()),
            };
            let line = format!("    {word:<8}{:<widest$}  {:>8}  {remark}", step.name, seconds(step.took));
            println!("{}", line.trim_end());
        }
        let failed = self.0.iter().filter(|step| step.result.is_err()).count();
        match failed {
            0 => Ok(()),
            _ => Err(format!("{failed} of {} steps failed", self.0.len())),
        }
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_runs_after_a_failure() {
        let mut steps = Steps::default();
        steps.run("first", || Err::<(), _>("broken".to_owned()));
        steps.run("second", || Ok(Done::Skipped("nothing to do".to_owned())));
        steps.run("third", || Ok(()));
        assert_eq!(steps.finish(), Err("1 of 3 steps failed".to_owned()));
    }

    #[test]
    fn skipped_steps_are_not_failures() {
        let mut steps = Steps::default();
        steps.run("only", || Ok(Done::Skipped("nothing to do".to_owned())));
        assert_eq!(steps.finish(), Ok(()));
    }
}
