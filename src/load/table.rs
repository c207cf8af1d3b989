//! The table of a cache's in-flight loads (R7). It is used under the cache's lock.
//!
//! The table keeps the loads of a plugin in the order in which they began. A get joins the last of
//! them, which means that it waits for it.
//!
//! Usually a plugin has at most one load. It can have several for two reasons:
//!
//! - A clear or a put *fences* the loads before it: no get joins a fenced load, and it stores
//!   nothing when it ends (R8).
//! - After a wait for a load has timed out, no get joins that load any more. It still stores its
//!   manifest, unless a load that began later has taken effect before.

use super::in_flight::{InFlight, Overdue};
use super::wait_graph;
use super::within::Within;
use crate::clock::Nanos;
use crate::error::Error;
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;

/// The in-flight loads of one cache.
pub(crate) struct InFlightLoads {
    cache: u64,
    /// The hash has no random seed: there are too few loads at a time for collisions to matter.
    loads: HashMap<Arc<str>, Vec<Arc<InFlight>>, FixedState>,
}

/// What a call that needs a load does.
pub(crate) enum Part {
    /// It begins the load and brings the manifest.
    Begin(Arc<InFlight>),
    /// It waits for a load that another call began.
    Join(Arc<InFlight>),
}

impl InFlightLoads {
    /// An empty table for the cache with this number.
    pub(crate) fn new(cache: u64) -> Self {
        InFlightLoads { cache, loads: HashMap::default() }
    }

    /// Joins the load of `id` or begins one. Returns an error if this call is made within a load
    /// of `id`.
    pub(crate) fn join_or_begin(&mut self, id: &str, within: Within) -> Result<Part, Error> {
        let mut graph = wait_graph::lock();
        // This is checked first, because after a clear the last load in the table may be a newer
        // one of another caller.
        graph.refuse_nested(within, self.cache, id)?;
        if let Some(last) = self.loads.get(id).and_then(|loads| loads.last()) {
            if last.can_be_joined() {
                return Ok(Part::Join(last.clone()));
            }
        }
        let load = Arc::new(InFlight::new(graph.begin(within, self.cache, id)));
        self.loads.entry(load.id().clone()).or_default().push(load.clone());
        Ok(Part::Begin(load))
    }

    /// Ends the asynchronous waits for loads of `id` whose time is over, and returns them. No get
    /// joins these loads any more.
    pub(crate) fn take_overdue(&self, id: &str, now: impl Fn() -> Nanos) -> Vec<Overdue> {
        self.loads.get(id).into_iter().flatten().flat_map(|load| load.take_overdue(&now)).collect()
    }

    /// The same for all plugins.
    pub(crate) fn take_all_overdue(&self, now: impl Fn() -> Nanos) -> Vec<Overdue> {
        self.loads.values().flatten().flat_map(|load| load.take_overdue(&now)).collect()
    }

    /// Removes a load that ends. Returns whether it may change the store: a fenced load may not. If
    /// the load `takes_effect` and is not fenced, it fences the loads that began before it.
    pub(crate) fn end(&mut self, load: &Arc<InFlight>, takes_effect: bool) -> bool {
        // In a forked child the table is empty: loads of the thread that forked count as fenced.
        let Some(loads) = self.loads.get_mut(load.id()) else { return false };
        let Some(at) = loads.iter().position(|other| Arc::ptr_eq(other, load)) else {
            return false;
        };
        let is_fenced = loads.remove(at).is_fenced();
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
        load.time_out();
    }

    /// Takes all loads out of the table, as fenced ones, for a cache that is closed.
    pub(crate) fn take_all(&mut self) -> Vec<Arc<InFlight>> {
        self.fence_all();
        take(&mut self.loads).into_values().flatten().collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, NEVER};
    use crate::error::Status;
    use crate::load::in_flight::Waited;
    use crate::load::outcome::{Fetched, Outcome};
    use crate::manifest::Manifest;
    use std::thread;

    fn begin(loads: &mut InFlightLoads, id: &str) -> Arc<InFlight> {
        match loads.join_or_begin(id, Within::THREAD) {
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

    #[test]
    fn a_second_call_joins_the_load_and_shares_its_outcome() {
        let mut loads = InFlightLoads::new(0);
        let load = begin(&mut loads, "a");
        let waiting = thread::spawn(move || match loads.join_or_begin("a", Within::THREAD) {
            Ok(Part::Join(same)) => same.wait(Within::THREAD, &Clock::system(), NEVER, || 0),
            _ => panic!("there is a load to join"),
        });
        let outcome = end(&load).unwrap();
        match waiting.join().unwrap() {
            Waited::Ended(Ok(got)) => {
                assert_eq!(got.manifest.revision(), outcome.manifest.revision());
            }
            _ => panic!("the load ended with a manifest"),
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
        let error = loads.join_or_begin("b", Within::THREAD).err().unwrap();
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
}
