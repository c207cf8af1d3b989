//! In-flight loads: those that have begun and not ended, one for each plugin (R7).
//!
//! A cache has an [`InFlightLoads`] table under its lock: the loads that a get may join. A clear
//! fences loads by taking them off the table (R8): what is not on it stores nothing when it ends.

use super::outcome::Outcome;
use super::wait_graph::{GRAPH, Node};
use crate::clock::{Clock, Nanos};
use crate::error::{Error, Quoted, Status};
use crate::sync::{Condvar, ThreadId};
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A load that has begun.
pub(crate) struct InFlight {
    node: Arc<Node>,
    outcome: OnceLock<Outcome>,
    /// Notified under the lock of the wait graph.
    ended: Condvar,
}

/// The loads of one cache that a get may still join: at most one for each plugin.
pub(crate) struct InFlightLoads {
    cache: u64,
    /// Too few at a time for colliding ids to matter, so the hash has no seed.
    loads: HashMap<Arc<str>, Arc<InFlight>, FixedState>,
}

/// How a wait for another thread's load ended.
pub(crate) enum Waited {
    Ended(Outcome),
    /// It would have waited for itself.
    Cycle(Error),
    TimedOut(Error),
}

/// A call's part in a load.
pub(crate) enum Part {
    /// It begins the load and runs its loader.
    Begin(Arc<InFlight>),
    /// It waits for the load of another call.
    Join(Arc<InFlight>),
}

impl InFlightLoads {
    pub(crate) fn new() -> Self {
        static CACHES: AtomicU64 = AtomicU64::new(0);
        InFlightLoads { cache: CACHES.fetch_add(1, Ordering::Relaxed), loads: HashMap::default() }
    }

    /// Joins the load of `id` or begins one; refuses if this very thread is loading `id` already.
    pub(crate) fn join_or_begin(&mut self, id: &str) -> Result<Part, Error> {
        let mut graph = GRAPH.lock();
        let within = graph.innermost();
        // First, as after a clear the load on the table may be a newer one of another thread.
        graph.refuse_nested(within.as_ref(), self.cache, id)?;
        if let Some(load) = self.loads.get(id) {
            return Ok(Part::Join(load.clone()));
        }
        let node = graph.begin(within, self.cache, id);
        let load = Arc::new(InFlight { node, outcome: OnceLock::new(), ended: Condvar::default() });
        self.loads.insert(load.id().clone(), load.clone());
        Ok(Part::Begin(load))
    }

    /// Takes a load off the table; says whether it was there, or had been fenced.
    pub(crate) fn remove(&mut self, load: &Arc<InFlight>) -> bool {
        let is_there = self.loads.get(load.id()).is_some_and(|other| Arc::ptr_eq(other, load));
        if is_there {
            self.loads.remove(load.id());
        }
        is_there
    }

    /// Fences the load of `id`: no later get joins it, and it stores nothing.
    pub(crate) fn fence(&mut self, id: &str) {
        self.loads.remove(id);
    }

    /// Fences all loads of this cache.
    pub(crate) fn fence_all(&mut self) {
        self.loads.clear();
    }

    /// In a forked child: the loads of all other threads will never end.
    pub(crate) fn inherit(&mut self, survivor: ThreadId) {
        self.loads.retain(|_, load| load.node.thread() == survivor);
    }
}

impl InFlight {
    pub(crate) fn id(&self) -> &Arc<str> {
        self.node.id()
    }

    /// Waits for another thread's load, at most until `deadline`.
    pub(crate) fn wait(self: &Arc<Self>, clock: &Clock, deadline: Nanos) -> Waited {
        let mut graph = GRAPH.lock();
        let within = graph.innermost();
        let within = within.as_deref();
        if self.outcome.get().is_none() {
            if let Err(cycle) = graph.join(within, &self.node) {
                return Waited::Cycle(cycle);
            }
        }
        let waited = loop {
            if let Some(outcome) = self.outcome.get() {
                break Waited::Ended(outcome.clone());
            }
            if clock.now() >= deadline {
                break Waited::TimedOut(timed_out(self.id()));
            }
            let load = self.clone();
            graph = clock.wait_until(&self.ended, graph, deadline, move || {
                load.ended.notify_all(&GRAPH.lock());
            });
        };
        graph.leave(within, &self.node);
        waited
    }

    /// Ends the load: all who wait get the outcome.
    pub(crate) fn end(&self, outcome: Outcome) {
        let mut graph = GRAPH.lock();
        self.outcome.get_or_init(|| outcome);
        graph.end(&self.node);
        self.ended.notify_all(&graph);
    }
}

fn timed_out(id: &str) -> Error {
    let what = format!(
        "plugin {}: another thread's load did not end in time; \
         look for a loader that hangs or that waits for a thread of its own",
        Quoted(id)
    );
    Error::new(Status::Timeout, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{NEVER, from_millis};
    use crate::load::outcome::Fetched;
    use crate::manifest::Manifest;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    fn begin(loads: &mut InFlightLoads, id: &str) -> Arc<InFlight> {
        match loads.join_or_begin(id) {
            Ok(Part::Begin(load)) => load,
            _ => panic!("the load of {id} is to begin here"),
        }
    }

    fn begin_on_another_thread(loads: &mut InFlightLoads, id: &str) -> Arc<InFlight> {
        thread::scope(|scope| scope.spawn(|| begin(loads, id)).join().unwrap())
    }

    fn end(load: &InFlight) -> Outcome {
        let outcome = Ok(Fetched::from(Manifest::new(load.id(), "{}")));
        load.end(outcome.clone());
        outcome
    }

    fn wait(load: &Arc<InFlight>) -> Waited {
        load.wait(&Clock::system(), NEVER)
    }

    fn message(waited: Waited) -> String {
        match waited {
            Waited::Cycle(error) | Waited::TimedOut(error) => error.to_string(),
            Waited::Ended(outcome) => format!("{outcome:?}"),
        }
    }

    #[test]
    fn a_second_call_joins_the_load_and_shares_its_outcome() {
        let mut loads = InFlightLoads::new();
        let load = begin(&mut loads, "a");
        let waiting = thread::spawn(move || match loads.join_or_begin("a") {
            Ok(Part::Join(same)) => wait(&same),
            _ => panic!("there is a load to join"),
        });
        let outcome = end(&load).unwrap();
        match waiting.join().unwrap() {
            Waited::Ended(Ok(got)) => {
                assert_eq!(got.manifest.revision(), outcome.manifest.revision());
            }
            other => panic!("{}", message(other)),
        }
    }

    #[test]
    fn a_fenced_load_is_joined_by_nobody_and_takes_no_newer_one_off_the_table() {
        let mut loads = InFlightLoads::new();
        let old = begin(&mut loads, "a");
        loads.fence("a");
        let newer = begin_on_another_thread(&mut loads, "a");
        assert!(!loads.remove(&old));
        assert!(loads.remove(&newer));
        end(&old).unwrap();
        end(&newer).unwrap();
    }

    #[test]
    fn a_nested_load_of_the_same_plugin_is_a_cycle_even_behind_a_fence() {
        let mut loads = InFlightLoads::new();
        let nested = ["a", "b", "c"].map(|id| begin(&mut loads, id));
        loads.fence_all();
        let error = loads.join_or_begin("b").err().unwrap();
        assert_eq!(error.status(), Status::LoadCycle);
        assert!(error.message().contains(": b -> c -> b;"), "{error}");
        nested.iter().rev().for_each(|load| drop(end(load)));
        end(&begin(&mut loads, "b")).unwrap();
    }

    #[test]
    fn plugins_of_other_caches_are_other_plugins() {
        let (mut one, mut two) = (InFlightLoads::new(), InFlightLoads::new());
        let nested = [begin(&mut one, "a"), begin(&mut two, "a")];
        nested.iter().rev().for_each(|load| drop(end(load)));
    }

    #[test]
    fn a_cycle_over_threads_names_each_plugin_on_the_way() {
        let mut loads = InFlightLoads::new();
        let outermost = begin(&mut loads, "outside");
        let a = begin(&mut loads, "a");
        let inner = begin(&mut loads, "inner");
        let (tell, told) = mpsc::channel();
        let theirs = a.clone();
        let other = thread::spawn(move || {
            let mut loads = InFlightLoads::new();
            let b = begin(&mut loads, "b");
            let deep = begin(&mut loads, "deep");
            tell.send((b.clone(), deep.clone())).unwrap();
            let waited = wait(&theirs);
            end(&deep).unwrap();
            end(&b).unwrap();
            waited
        });
        let (b, deep) = told.recv().unwrap();
        while !GRAPH.lock().waits(&deep.node, &a.node) {
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
        let load = begin(&mut InFlightLoads::new(), "a");
        let (theirs, their_clock) = (load.clone(), clock.clone());
        let waiting = thread::spawn(move || theirs.wait(&their_clock, from_millis(30_000)));
        clock.advance(Duration::from_millis(29_999));
        assert!(!waiting.is_finished());
        clock.advance(Duration::from_millis(1));
        assert!(
            matches!(waiting.join().unwrap(), Waited::TimedOut(error) if error.status() == Status::Timeout)
        );
        end(&load).unwrap();
    }
}
