//! An in-flight load, which has begun and not ended, and the waits for it (R7).
//!
//! A wait either holds its thread until the load ends, or is asynchronous: then a call tells the
//! outcome.

use super::outcome::{Outcome, Tell, call_all};
use super::wait_graph::{self, AsyncWait};
use super::within::{Node, Within};
use crate::clock::{Clock, NEVER, Nanos};
use crate::error::{Error, Quoted, Status};
use crate::sync::Condvar;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// A load that has begun.
pub(crate) struct InFlight {
    node: Arc<Node>,
    /// This and the next are changed only under the cache's lock.
    is_fenced: AtomicBool,
    has_timed_out: AtomicBool,
    outcome: OnceLock<Outcome>,
    /// Notified under the lock of the wait graph.
    ended: Condvar,
}

/// How a wait for another caller's load ended.
pub(crate) enum Waited {
    Ended(Outcome),
    /// The wait would have closed a cycle.
    Cycle(Error),
    TimedOut(Error),
}

/// How an asynchronous wait for another caller's load began.
pub(crate) enum Joined {
    /// The outcome will be told.
    Waits,
    /// The load has ended already. Nothing will be told.
    Ended(Outcome),
    /// The wait would have closed a cycle. Nothing will be told.
    Cycle(Error),
}

/// An asynchronous wait whose time is over, to be told so.
pub(crate) struct Overdue {
    pub(crate) error: Error,
    pub(crate) tell: Tell,
}

impl InFlight {
    pub(super) fn new(node: Arc<Node>) -> Self {
        InFlight {
            node,
            is_fenced: AtomicBool::new(false),
            has_timed_out: AtomicBool::new(false),
            outcome: OnceLock::new(),
            ended: Condvar::default(),
        }
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        self.node.id()
    }

    pub(super) fn fence(&self) {
        self.is_fenced.store(true, Relaxed);
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.is_fenced.load(Relaxed)
    }

    pub(super) fn can_be_joined(&self) -> bool {
        !self.is_fenced() && !self.has_timed_out.load(Relaxed)
    }

    pub(super) fn time_out(&self) {
        self.has_timed_out.store(true, Relaxed);
    }

    pub(super) fn wake(&self) {
        self.ended.notify_all(&wait_graph::lock());
    }

    /// Waits for another caller's load, for at most `limit` of awake time. `advanced` returns how
    /// far the cache's time was moved forward, which counts as awake time too.
    pub(crate) fn wait(
        self: &Arc<Self>,
        within: Within,
        clock: &Clock,
        limit: Nanos,
        advanced: impl Fn() -> Nanos,
    ) -> Waited {
        let mut graph = wait_graph::lock();
        let within = within.number();
        if self.outcome.get().is_none() {
            if let Err(cycle) = graph.join(within, &self.node) {
                return Waited::Cycle(cycle);
            }
        }
        let began_at = clock.awake_now().wrapping_add(advanced());
        let waited = loop {
            if let Some(outcome) = self.outcome.get() {
                break Waited::Ended(outcome.clone());
            }
            let now = clock.awake_now();
            let passed = now.wrapping_add(advanced()).wrapping_sub(began_at);
            let left = match limit {
                NEVER => NEVER,
                limit => limit.saturating_sub(passed),
            };
            if left == 0 {
                break Waited::TimedOut(timed_out(self.id()));
            }
            let load = self.clone();
            graph = clock.wait(&self.ended, graph, now, left, move || load.wake());
        };
        graph.leave(within, &self.node);
        waited
    }

    /// Waits for another caller's load without holding a thread: `tell` is called with the outcome
    /// when the load ends, or when the time is found to be over. `began_at` is now: the awake time
    /// and how far the cache's time was moved forward.
    pub(crate) fn wait_async(
        &self,
        within: Within,
        began_at: Nanos,
        limit: Nanos,
        tell: Tell,
    ) -> Joined {
        let mut graph = wait_graph::lock();
        if let Some(outcome) = self.outcome.get() {
            return Joined::Ended(outcome.clone());
        }
        let within = within.number();
        if let Err(cycle) = graph.join(within, &self.node) {
            return Joined::Cycle(cycle);
        }
        graph.tell_later(&self.node, AsyncWait { within, began_at, limit, tell });
        Joined::Waits
    }

    /// Ends the asynchronous waits whose time is over, and returns them. No get joins this load any
    /// more.
    pub(super) fn take_overdue(
        &self,
        now: impl FnOnce() -> Nanos,
    ) -> impl Iterator<Item = Overdue> {
        let overdue = wait_graph::lock().take_overdue(&self.node, now);
        if !overdue.is_empty() {
            self.time_out();
        }
        let error = || timed_out(self.id());
        overdue.into_iter().map(move |wait| Overdue { error: error(), tell: wait.tell })
    }

    /// Ends the load: all waiting calls get the outcome. First the waiting threads wake, then the
    /// asynchronous waits are told, in the order in which they joined.
    pub(crate) fn end(&self, outcome: Outcome) {
        let mut graph = wait_graph::lock();
        // In a forked child nobody waits for a load of the parent, and a thread of the parent may
        // have been setting its outcome: setting it here would wait for that thread for ever.
        let Some(waits) = graph.end(&self.node) else { return };
        let outcome = self.outcome.get_or_init(|| outcome);
        self.ended.notify_all(&graph);
        drop(graph);
        call_all(waits.into_iter().map(|wait| || (wait.tell)(outcome.clone())));
    }
}

fn timed_out(id: &str) -> Error {
    let what = format!(
        "plugin {}: another caller's load did not end within MC_OPT_WAIT_MS; \
         look for a loader that hangs or that waits for another thread",
        Quoted(id)
    );
    Error::new(Status::Timeout, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::from_millis;
    use crate::load::outcome::Fetched;
    use crate::manifest::Manifest;
    use std::cell::Cell;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    fn begin(cache: u64, id: &str) -> Arc<InFlight> {
        Arc::new(InFlight::new(wait_graph::lock().begin(Within::THREAD, cache, id)))
    }

    fn end(load: &InFlight) -> Outcome {
        let outcome = Ok(Fetched::from(Manifest::new(load.id(), "{}")));
        load.end(outcome.clone());
        outcome
    }

    fn wait(load: &Arc<InFlight>) -> Waited {
        load.wait(Within::THREAD, &Clock::system(), NEVER, || 0)
    }

    fn message(waited: Waited) -> String {
        match waited {
            Waited::Cycle(error) | Waited::TimedOut(error) => error.to_string(),
            Waited::Ended(outcome) => format!("{outcome:?}"),
        }
    }

    #[test]
    fn a_cycle_over_threads_names_each_plugin_in_it() {
        let outermost = begin(0, "outside");
        let a = begin(0, "a");
        let inner = begin(0, "inner");
        let (tell, told) = mpsc::channel();
        let theirs = a.clone();
        let other = thread::spawn(move || {
            let b = begin(1, "b");
            let deep = begin(1, "deep");
            tell.send((b.clone(), deep.clone())).unwrap();
            let waited = wait(&theirs);
            end(&deep).unwrap();
            end(&b).unwrap();
            waited
        });
        let (b, deep) = told.recv().unwrap();
        while !wait_graph::lock().waits(&deep.node, &a.node) {
            thread::yield_now();
        }
        let cycle = message(wait(&b));
        assert!(cycle.contains(": b -> deep -> a -> inner -> b;"), "{cycle}");
        [inner, a, outermost].iter().for_each(|load| drop(end(load)));
        assert!(
            matches!(other.join().unwrap(), Waited::Ended(Ok(_))),
            "only the call that closes the cycle is refused"
        );
    }

    #[test]
    fn a_wait_ends_at_its_deadline_by_the_clock_it_was_given() {
        let clock = Clock::manual();
        let load = begin(0, "a");
        let (theirs, their_clock) = (load.clone(), clock.clone());
        let waiting = thread::spawn(move || {
            theirs.wait(Within::THREAD, &their_clock, from_millis(30_000), || 0)
        });
        let await_sleeper = || {
            while clock.sleepers() == 0 {
                thread::yield_now();
            }
        };
        await_sleeper();
        clock.advance(Duration::from_millis(29_999));
        // The other thread checks the time and waits again.
        await_sleeper();
        clock.advance(Duration::from_millis(1));
        let waited = waiting.join().unwrap();
        assert!(matches!(waited, Waited::TimedOut(error) if error.status() == Status::Timeout));
        end(&load).unwrap();
    }

    #[test]
    fn a_wait_ends_in_time_even_if_the_advanced_time_wraps_around() {
        let load = begin(0, "a");
        let (theirs, (tell, told)) = (load.clone(), mpsc::channel());
        thread::spawn(move || {
            let advanced = Cell::new(Nanos::MAX - 5);
            let advance = || advanced.replace(advanced.get().wrapping_add(10));
            tell.send(theirs.wait(Within::THREAD, &Clock::manual(), 10, advance))
        });
        let waited = told.recv_timeout(Duration::from_secs(10));
        end(&load).unwrap();
        assert!(matches!(waited, Ok(Waited::TimedOut(_))));
    }

    /// Begins an asynchronous wait of at most 10 ns. The channel receives what is told.
    fn wait_async(load: &InFlight, within: Within) -> (Joined, mpsc::Receiver<Outcome>) {
        let (tell, told) = mpsc::channel();
        let joined =
            load.wait_async(within, 0, 10, Box::new(move |outcome| tell.send(outcome).unwrap()));
        (joined, told)
    }

    #[test]
    fn an_asynchronous_wait_is_told_once_when_the_load_ends() {
        let load = begin(0, "a");
        let (joined, told) = wait_async(&load, Within::NOTHING);
        assert!(matches!(joined, Joined::Waits) && told.try_recv().is_err());
        end(&load).unwrap();
        assert!(told.recv().unwrap().is_ok());
        assert!(load.take_overdue(|| 10).next().is_none());
        assert!(told.recv().is_err());
    }

    #[test]
    fn an_asynchronous_wait_whose_time_is_over_is_ended_and_its_load_joined_no_more() {
        let load = begin(0, "a");
        let (_, told) = wait_async(&load, Within::NOTHING);
        assert!(load.take_overdue(|| 9).next().is_none() && load.can_be_joined());
        let overdue: Vec<Overdue> = load.take_overdue(|| 10).collect();
        assert!(overdue.len() == 1 && overdue[0].error.status() == Status::Timeout);
        assert!(!load.can_be_joined());
        end(&load).unwrap();
        drop(overdue);
        assert!(told.recv().is_err(), "the end of the load tells it nothing");
    }

    #[test]
    fn an_asynchronous_wait_that_would_close_a_cycle_or_comes_too_late_is_told_nothing() {
        let node = |id| wait_graph::lock().begin(Within::NOTHING, 0, id);
        let [a, b] = ["a", "b"].map(|id| InFlight::new(node(id)));
        let within = |load| Within::load(Some(load));
        let (_, b_told) = wait_async(&b, within(&a.node));
        let (joined, told) = wait_async(&a, within(&b.node));
        assert!(
            matches!(&joined, Joined::Cycle(error) if error.message().contains(": a -> b -> a;"))
        );
        assert!(told.recv().is_err());
        end(&b).unwrap();
        assert!(b_told.recv().unwrap().is_ok());
        let (joined, told) = wait_async(&b, within(&a.node));
        assert!(matches!(joined, Joined::Ended(Ok(_))) && told.recv().is_err());
        end(&a).unwrap();
    }

    #[test]
    fn a_load_that_the_graph_of_a_child_does_not_have_ends_though_a_thread_was_setting_its_outcome()
    {
        let load = begin(0, "a");
        let ((tell, told), theirs) = (mpsc::channel(), load.clone());
        let outcome = || Err(Error::new(Status::LoadFailed, "no"));
        load.outcome.get_or_init(|| {
            wait_graph::lock().end(&load.node);
            thread::spawn(move || {
                theirs.end(outcome());
                tell.send(()).unwrap();
            });
            told.recv_timeout(Duration::from_secs(10)).expect("it must not wait");
            outcome()
        });
    }

    #[test]
    fn all_asynchronous_waits_are_told_in_their_order_even_if_one_panics() {
        let load = begin(0, "a");
        let (tell, told) = mpsc::channel();
        for n in 0..3 {
            let tell = tell.clone();
            let tell = Box::new(move |_| {
                tell.send(n).unwrap();
                assert_ne!(n, 1, "this panic must not keep the others from being told");
            });
            load.wait_async(Within::NOTHING, 0, NEVER, tell);
        }
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| end(&load)));
        assert!(panicked.is_err());
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
