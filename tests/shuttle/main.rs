//! Runs the cache under a model checker: each scenario in 100 000 random orders of events, and in
//! 10 000 orders chosen by PCT, which finds rare orders with a known probability.
//!
//!     RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle
//!
//! A failure prints its schedule, the order of events. REPLAY=<schedule> with the name of the test
//! runs that schedule again. SCHEDULES=<number> replaces the number 100 000. The checker finds
//! deadlocks. The tests record a history of calls and check the rules on it. Most of them draw how
//! each get is made: with a loader, or with a begin and an end, on any thread.
#![cfg(shuttle)]

mod clearing;
mod closing;
mod history;
mod nesting;
mod sharing;
mod tasks;
mod telling;
mod values;
mod waits;
mod world;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

/// Runs a scenario under all schedules.
fn check(scenario: fn()) {
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = Config::new();
        config.silence_warnings = true;
        Runner::new(scheduler, config).run(scenario)
    };
    if let Ok(schedule) = std::env::var("REPLAY") {
        run(Box::new(ReplayScheduler::new_from_encoded(&schedule)));
        return;
    }
    let schedules = std::env::var("SCHEDULES")
        .map_or(100_000, |number| number.parse().expect("SCHEDULES is a number"));
    assert_eq!(run(Box::new(RandomScheduler::new(schedules))), schedules);
    assert_eq!(run(Box::new(PctScheduler::new(3, schedules / 10))), schedules / 10);
}
