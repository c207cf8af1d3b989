//! In-flight loads: those that have begun and not ended (R7).
//!
//! Each cache has a table of them, [`InFlightLoads`], under its lock. The table keeps the loads of
//! a plugin in the order in which they began. A get joins the last of them, which means that it
//! waits for it.
//!
//! Usually a plugin has at most one load. It can have several for two reasons:
//!
//! - A clear or a put *fences* the loads before it: no get joins a fenced load, and it stores
//!   nothing when it ends (R8).
//! - After a wait for a load has timed out, no get joins that load any more. It still stores its
//!   manifest, unless a load that began later has taken effect before.

use super::outcome::Outcome;
use super::wait_graph::{self, Node};
use crate::clock::{Clock, NEVER, Nanos};
use crate::error::{Error, Quoted, Status};
use crate::sync::Condvar;
use foldhash::fast::FixedState;
use std::collections::HashMap;
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

/// The in-flight loads of one cache.
pub(crate) struct InFlightLoads {
    cache: u64,
    /// The hash has no random seed: there are too few loads at a time for collisions to matter.
    loads: HashMap<Arc<str>, Vec<Arc<InFlight>>, FixedState>,
}

/// How a wait for another thread's load ended.
pub(crate) enum Waited {
    Ended(Outcome),
    /// The wait would have closed a cycle.
    Cycle(Error),
    TimedOut(Error),
}

/// What a call that needs a load does.
pub(crate) enum Part {
    /// It begins the load and runs its loader.
    Begin(Arc<InFlight>),
    /// It waits for a load that another call began.
    Join(Arc<InFlight>),
}

impl InFlightLoads {
    /// An empty table for the cache with this number.
    pub(crate) fn new(cache: u64) -> Self {
        InFlightLoads { cache, loads: HashMap::default() }
    }

    /// Joins the load of `id` or begins one. Returns an error if this thread is already loading
    /// `id`.
    pub(crate) fn join_or_begin(&mut self, id: &str) -> Result<Part, Error> {
        let mut graph = wait_graph::lock();
        let within = wait_graph::innermost();
        // This is checked first, because after a clear the last load in the table may be a newer
        // one of another thread.
        graph.refuse_nested(within.as_ref(), self.cache, id)?;
        if let Some(last) = self.loads.get(id).and_then(|loads| loads.last()) {
            if last.can_be_joined() {
                return Ok(Part::Join(last.clone()));
            }
        }
        let load = Arc::new(InFlight::new(graph.begin(within, self.cache, id)));
        self.loads.entry(load.id().clone()).or_default().push(load.clone());
        Ok(Part::Begin(load))
    }

    /// Removes a load that ends. Returns whether it may change the store: a fenced load may not. If
    /// the load `takes_effect` and is not fenced, it fences the loads that began before it.
    pub(crate) fn end(&mut self, load: &Arc<InFlight>, takes_effect: bool) -> bool {
        // In a forked child the table is empty: loads of the thread that forked count as fenced.
        let Some(loads) = self.loads.get_mut(load.id()) else { return false };
        let Some(at) = loads.iter().position(|other| Arc::ptr_eq(other, load)) else {
            return false;
        };
        let is_fenced = loads.remove(at).is_fenced.load(Relaxed);
        if takes_effect && !is_fenced {
            loads[..at].iter().for_each(|before| before.fence());
        }
        if loads.is_empty() {
            self.loads.remove(load.id());
        }
        !is_fenced
    }

    /// Fences the loads of `id`.
    pub(crate) fn fence(&mut self, id: &str) {
        self.loads.get(id).into_iter().flatten().for_each(|load| load.fence());
    }

    /// Fences all loads of this cache.
    pub(crate) fn fence_all(&mut self) {
        self.loads.values().flatten().for_each(|load| load.fence());
    }

    /// Notes that a wait for this load has timed out, so that no get joins it any more.
    pub(crate) fn time_out(&mut self, load: &InFlight) {
        load.has_timed_out.store(true, Relaxed);
    }

    /// Wakes all waiting calls, so that they check their time limits again.
    pub(crate) fn wake_all(&self) {
        self.loads.values().flatten().for_each(|load| load.wake());
    }

    /// Empties the table in a forked child, because loads that began in the parent end there.
    pub(crate) fn forget_all(&mut self) {
        self.loads.clear();
    }
}

impl InFlight {
    fn new(node: Arc<Node>) -> Self {
        InFlight {
            node,
            is_fenced: AtomicBool::new(false),
            has_timed_out: AtomicBool::new(false),
            outcome: OnceLock::new(),
            ended: Condvar::default(),
        }
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        self.node.id()
    }

    fn fence(&self) {
        self.is_fenced.store(true, Relaxed);
    }

    fn can_be_joined(&self) -> bool {
        !self.is_fenced.load(Relaxed) && !self.has_timed_out.load(Relaxed)
    }

    fn wake(&self) {
        self.ended.notify_all(&wait_graph::lock());
    }

    /// Waits for another thread's load, for at most `limit` of awake time. `advanced` returns how
    /// far the cache's time was moved forward, which counts as awake time too.
    pub(crate) fn wait(
        self: &Arc<Self>,
        clock: &Clock,
        limit: Nanos,
        advanced: impl Fn() -> Nanos,
    ) -> Waited {
        let mut graph = wait_graph::lock();
        let within = wait_graph::innermost();
        let within = within.as_deref();
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

    /// Ends the load: all waiting calls get the outcome.
    pub(crate) fn end(&self, outcome: Outcome) {
        let mut graph = wait_graph::lock();
        self.outcome.get_or_init(|| outcome);
        graph.end(&self.node);
        self.ended.notify_all(&graph);
    }
}

fn timed_out(id: &str) -> Error {
    let what = format!(
        "plugin {}: another thread's load did not end within MC_OPT_WAIT_MS; \
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

    fn begin(loads: &mut InFlightLoads, id: &str) -> Arc<InFlight> {
        match loads.join_or_begin(id) {
            Ok(Part::Begin(load)) => load,
            _ => panic!("the load of {id} must begin here"),
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
        load.wait(&Clock::system(), NEVER, || 0)
    }

    fn message(waited: Waited) -> String {
        match waited {
            Waited::Cycle(error) | Waited::TimedOut(error) => error.to_string(),
            Waited::Ended(outcome) => format!("{outcome:?}"),
        }
    }

    #[test]
    fn a_second_call_joins_the_load_and_shares_its_outcome() {
        let mut loads = InFlightLoads::new(0);
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
    fn no_call_joins_a_fenced_load_and_it_may_not_change_the_store() {
        let mut loads = InFlightLoads::new(0);
        let old = begin(&mut loads, "a");
        loads.fence("a");
        let newer = begin_on_another_thread(&mut loads, "a");
        assert!(!loads.end(&old, true));
        assert!(loads.end(&newer, true));
        end(&old).unwrap();
        end(&newer).unwrap();
    }

    #[test]
    fn after_a_time_out_no_call_joins_the_load_but_it_may_change_the_store() {
        let mut loads = InFlightLoads::new(0);
        let slow = begin(&mut loads, "a");
        loads.time_out(&slow);
        let newer = begin_on_another_thread(&mut loads, "a");
        assert!(loads.end(&slow, true));
        assert!(loads.end(&newer, true));
        end(&slow).unwrap();
        end(&newer).unwrap();
    }

    #[test]
    fn a_load_that_takes_effect_fences_the_loads_that_began_before_it_and_no_others() {
        for takes_effect in [true, false] {
            let mut loads = InFlightLoads::new(0);
            let [first, second, third] = [(); 3].map(|()| {
                let load = begin_on_another_thread(&mut loads, "a");
                loads.time_out(&load);
                load
            });
            assert!(loads.end(&second, takes_effect));
            assert_eq!(loads.end(&first, true), !takes_effect);
            assert!(loads.end(&third, true));
            [first, second, third].iter().for_each(|load| drop(end(load)));
        }
    }

    #[test]
    fn a_nested_load_of_the_same_plugin_is_a_cycle_even_behind_a_fence() {
        let mut loads = InFlightLoads::new(0);
        let nested = ["a", "b", "c"].map(|id| begin(&mut loads, id));
        loads.fence_all();
        let error = loads.join_or_begin("b").err().unwrap();
        assert_eq!(error.status(), Status::LoadCycle);
        assert!(error.message().contains(": b -> c -> b;"), "{error}");
        nested.iter().rev().for_each(|load| drop(end(load)));
        end(&begin(&mut loads, "b")).unwrap();
    }

    #[test]
    fn the_same_id_in_another_cache_is_another_plugin() {
        let (mut one, mut two) = (InFlightLoads::new(1), InFlightLoads::new(2));
        let nested = [begin(&mut one, "a"), begin(&mut two, "a")];
        nested.iter().rev().for_each(|load| drop(end(load)));
    }

    #[test]
    fn a_cycle_over_threads_names_each_plugin_in_it() {
        let mut loads = InFlightLoads::new(0);
        let outermost = begin(&mut loads, "outside");
        let a = begin(&mut loads, "a");
        let inner = begin(&mut loads, "inner");
        let (tell, told) = mpsc::channel();
        let theirs = a.clone();
        let other = thread::spawn(move || {
            let mut loads = InFlightLoads::new(1);
            let b = begin(&mut loads, "b");
            let deep = begin(&mut loads, "deep");
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
        let load = begin(&mut InFlightLoads::new(0), "a");
        let (theirs, their_clock) = (load.clone(), clock.clone());
        let waiting = thread::spawn(move || theirs.wait(&their_clock, from_millis(30_000), || 0));
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
        let load = begin(&mut InFlightLoads::new(0), "a");
        let (theirs, (tell, told)) = (load.clone(), mpsc::channel());
        thread::spawn(move || {
            let advanced = Cell::new(Nanos::MAX - 5);
            let advance = || advanced.replace(advanced.get().wrapping_add(10));
            tell.send(theirs.wait(&Clock::manual(), 10, advance))
        });
        let waited = told.recv_timeout(Duration::from_secs(10));
        end(&load).unwrap();
        assert!(matches!(waited, Ok(Waited::TimedOut(_))));
    }
}
