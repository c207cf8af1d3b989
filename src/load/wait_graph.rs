//! The wait graph: which load waits for which, over all threads, tasks and caches of the process.
//! It refuses a wait that would close a cycle (R9).
//!
//! A load waits for what is got within it: for each load that was begun within it, and for each
//! load of another caller that a get within it joined. The graph knows loads by their numbers and
//! ids only.
//!
//! The library has two kinds of locks: one in each cache, and the lock of the graph. A thread that
//! holds the lock of a cache may take that of the graph. It takes no other lock while it holds one.

use super::outcome::Tell;
use super::within::{Kind, Node, Within, of_this_thread};
use crate::clock::{NEVER, Nanos};
use crate::error::{Elided, Error, Quoted, Status};
use crate::fork::{ForkMutex, Inherited};
use crate::sync::{Guard, process_wide};
use std::collections::{BTreeMap, VecDeque};
use std::iter::successors;
use std::mem::{forget, replace, take};
use std::sync::Arc;

/// The loads in progress.
///
/// A call looks for a cycle and begins to wait in one step, under the graph's lock. So of two calls
/// that would close a cycle together, the second one finds the wait of the first.
pub(crate) struct WaitGraph {
    /// By number.
    loads: BTreeMap<u64, InProgress>,
}

struct InProgress {
    node: Arc<Node>,
    /// The load that this one was begun within.
    within: Option<u64>,
    /// The loads that this one waits for.
    waits: Vec<Arc<Node>>,
    /// The asynchronous waits for this load, in the order in which they joined it.
    asynchronous: Vec<AsyncWait>,
}

/// A wait for a load that holds no thread: a call tells its outcome.
pub(crate) struct AsyncWait {
    pub(crate) within: Option<u64>,
    pub(crate) began_at: Nanos,
    pub(crate) limit: Nanos,
    pub(crate) tell: Tell,
}

impl AsyncWait {
    fn is_overdue(&self, now: Nanos) -> bool {
        self.limit != NEVER && now.wrapping_sub(self.began_at) >= self.limit
    }
}

process_wide! {
    static GRAPH: ForkMutex<WaitGraph> = ForkMutex::new(WaitGraph::new())
}

/// Locks the graph. In a forked child it begins empty: no thread there waits for a load of the
/// parent, and the asynchronous waits belong to the parent. They are leaked, as dropping them would
/// run code of the host under this lock.
pub(crate) fn lock() -> Guard<'static, WaitGraph> {
    GRAPH.lock(|inherited| match inherited {
        Inherited::Whole(graph) => {
            forget(replace(graph, WaitGraph::new()));
            None
        }
        Inherited::Torn => Some(WaitGraph::new()),
    })
}

impl WaitGraph {
    const fn new() -> Self {
        WaitGraph { loads: BTreeMap::new() }
    }

    /// Returns an error if the load `within`, or one that it is nested in, is a load of this
    /// plugin.
    pub(crate) fn refuse_nested(&self, within: Within, cache: u64, id: &str) -> Result<(), Error> {
        let is_same = |node: &Arc<Node>| node.cache == cache && *node.id == *id;
        let refuse = |nest: Vec<&Arc<Node>>| match nest.iter().position(|node| is_same(node)) {
            Some(at) => Err(cycle(nest[..=at].iter().rev().map(|node| &*node.id).collect())),
            None => Ok(()),
        };
        match within.kind() {
            Kind::Nothing => Ok(()),
            Kind::Thread => of_this_thread(|loads| refuse(loads.iter().rev().collect())),
            Kind::Load(node) => refuse(self.nest(node.number).collect()),
        }
    }

    /// A load and the loads that it is nested in, from the innermost to the outermost. One that has
    /// ended waits for nothing, so the nest ends there.
    fn nest(&self, innermost: u64) -> impl Iterator<Item = &Arc<Node>> {
        let outer = |load: &&InProgress| self.loads.get(&load.within?);
        successors(self.loads.get(&innermost), outer).map(|load| &load.node)
    }

    /// Adds a load, and the wait of `within` for it.
    pub(crate) fn begin(&mut self, within: Within, cache: u64, id: &str) -> Arc<Node> {
        let node = Arc::new(Node::new(cache, id));
        let outer = within.number();
        let load = InProgress {
            node: node.clone(),
            within: outer,
            waits: Vec::new(),
            asynchronous: Vec::new(),
        };
        self.loads.insert(node.number, load);
        self.add_wait(outer, &node);
        if let Kind::Thread = within.kind() {
            of_this_thread(|loads| loads.push(node.clone()));
        }
        node
    }

    /// Removes a load that has ended, and returns the asynchronous waits for it. Returns none if
    /// the load is not here: it has ended before, or it began in the parent of this process.
    pub(crate) fn end(&mut self, node: &Node) -> Option<Vec<AsyncWait>> {
        node.set_ended();
        of_this_thread(|_| ());
        let ended = self.loads.remove(&node.number)?;
        self.remove_wait(ended.within, node);
        for wait in &ended.asynchronous {
            self.remove_wait(wait.within, node);
        }
        if self.loads.is_empty() {
            // A map that has become empty keeps memory, which would leak when the library is
            // unloaded.
            *self = WaitGraph::new();
        }
        Some(ended.asynchronous)
    }

    /// Adds the wait of `within` for `target`. Returns an error if `target` already waits for
    /// `within`, directly or through others.
    pub(crate) fn join(&mut self, within: Option<u64>, target: &Arc<Node>) -> Result<(), Error> {
        if let Some(path) = within.and_then(|within| self.path(target, within)) {
            return Err(cycle(path));
        }
        self.add_wait(within, target);
        Ok(())
    }

    /// Removes the wait that [`WaitGraph::join`] added.
    pub(crate) fn leave(&mut self, within: Option<u64>, target: &Node) {
        self.remove_wait(within, target);
    }

    /// Keeps an asynchronous wait for `target` that [`WaitGraph::join`] added.
    pub(crate) fn tell_later(&mut self, target: &Node, wait: AsyncWait) {
        if let Some(load) = self.loads.get_mut(&target.number) {
            load.asynchronous.push(wait);
        }
    }

    /// Removes the asynchronous waits for `target` whose time is over, and returns them.
    pub(crate) fn take_overdue(
        &mut self,
        target: &Node,
        now: impl FnOnce() -> Nanos,
    ) -> Vec<AsyncWait> {
        let Some(load) = self.loads.get_mut(&target.number) else { return Vec::new() };
        if load.asynchronous.is_empty() {
            return Vec::new();
        }
        let now = now();
        let all = take(&mut load.asynchronous).into_iter();
        let (overdue, rest): (Vec<_>, _) = all.partition(|wait| wait.is_overdue(now));
        load.asynchronous = rest;
        for wait in &overdue {
            self.remove_wait(wait.within, target);
        }
        overdue
    }

    /// Whether one load waits for another.
    #[cfg(test)]
    pub(crate) fn waits(&self, one: &Node, other: &Node) -> bool {
        let load = self.loads.get(&one.number);
        load.is_some_and(|load| load.waits.iter().any(|node| node.number == other.number))
    }

    fn add_wait(&mut self, from: Option<u64>, to: &Arc<Node>) {
        if let Some(load) = from.and_then(|from| self.loads.get_mut(&from)) {
            load.waits.push(to.clone());
        }
    }

    fn remove_wait(&mut self, from: Option<u64>, to: &Node) {
        if let Some(load) = from.and_then(|from| self.loads.get_mut(&from)) {
            if let Some(at) = load.waits.iter().position(|node| node.number == to.number) {
                load.waits.swap_remove(at);
            }
        }
    }

    /// The ids of the loads from `from` to `to`, if `from` waits for `to`, directly or through
    /// others. A load that has ended waits for nothing.
    ///
    /// The search does not recurse: loads may be nested too deeply for the stack of this thread.
    fn path<'a>(&'a self, from: &'a Node, to: u64) -> Option<Vec<&'a str>> {
        let mut reached_from: BTreeMap<u64, Option<&Node>> = BTreeMap::from([(from.number, None)]);
        let mut open = VecDeque::from([from]);
        while let Some(node) = open.pop_front() {
            if node.number == to {
                let back = successors(Some(node), |node| reached_from[&node.number]);
                let mut path: Vec<&str> = back.map(|node| &*node.id).collect();
                path.reverse();
                return Some(path);
            }
            let load = self.loads.get(&node.number);
            for next in load.into_iter().flat_map(|load| &load.waits) {
                reached_from.entry(next.number).or_insert_with(|| {
                    open.push_back(next);
                    Some(node)
                });
            }
        }
        None
    }
}

/// The error for a call that would close this cycle. `chain` begins with the plugin that the call
/// would get.
fn cycle(chain: Vec<&str>) -> Error {
    let first = chain[0];
    let chain: Vec<String> =
        chain.iter().chain([&first]).map(|id| Elided(id).to_string()).collect();
    let what = format!(
        "plugin {}: its load would wait for itself: {}; remove the cycle from the loaders",
        Quoted(first),
        chain.join(" -> ")
    );
    Error::new(Status::LoadCycle, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(node: &Arc<Node>) -> Within<'_> {
        Within::load(Some(node))
    }

    fn join(graph: &mut WaitGraph, within: &Node, target: &Arc<Node>) -> Result<(), Error> {
        graph.join(Some(within.number), target)
    }

    #[test]
    fn a_load_that_has_ended_waits_for_nothing_though_a_load_within_it_goes_on() {
        let mut graph = WaitGraph::new();
        let outer = graph.begin(Within::NOTHING, 0, "outer");
        let inner = graph.begin(within(&outer), 0, "inner");
        assert!(join(&mut graph, &inner, &outer).is_err());
        graph.end(&outer);
        assert!(join(&mut graph, &inner, &outer).is_ok());
        assert!(graph.refuse_nested(within(&inner), 0, "outer").is_ok());
    }

    #[test]
    fn a_load_that_has_ended_waits_for_no_other() {
        let mut graph = WaitGraph::new();
        let [a, b] = ["a", "b"].map(|id| graph.begin(Within::NOTHING, 0, id));
        join(&mut graph, &b, &a).unwrap();
        assert!(join(&mut graph, &a, &b).is_err(), "b waits for a");
        // The thread that waits for a has not woken yet, so its wait is still in the graph.
        graph.end(&a);
        let c = graph.begin(Within::NOTHING, 0, "c");
        join(&mut graph, &c, &b).unwrap();
        assert!(join(&mut graph, &b, &a).is_ok());
    }

    #[test]
    fn two_paths_to_the_same_load_are_no_cycle() {
        let mut graph = WaitGraph::new();
        let [a, b, c] = ["a", "b", "c"].map(|id| graph.begin(Within::NOTHING, 0, id));
        join(&mut graph, &a, &b).unwrap();
        join(&mut graph, &a, &c).unwrap();
        join(&mut graph, &b, &c).unwrap();
        let error = join(&mut graph, &c, &a).unwrap_err();
        assert!(error.message().contains(": a -> c -> a;"), "{error}");
    }

    #[test]
    fn a_load_that_waits_for_several_is_in_the_cycles_of_all() {
        let mut graph = WaitGraph::new();
        let a = graph.begin(Within::NOTHING, 0, "a");
        let fan = ["b", "c", "d"].map(|id| graph.begin(within(&a), 0, id));
        for load in &fan {
            assert!(graph.refuse_nested(within(load), 0, "a").is_err());
            assert!(join(&mut graph, load, &a).is_err());
            graph.end(load);
            assert!(!graph.waits(&a, load));
        }
    }

    #[test]
    fn loads_of_one_thread_may_end_in_any_order_and_on_any_thread() {
        let mut graph = WaitGraph::new();
        let [first, second, third] =
            ["first", "second", "third"].map(|id| graph.begin(Within::THREAD, 0, id));
        assert_eq!(Within::THREAD.number(), Some(third.number));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(Within::THREAD.number(), None, "they began on another thread");
                graph.end(&third);
            });
        });
        assert_eq!(Within::THREAD.number(), Some(second.number));
        graph.end(&first);
        assert!(graph.refuse_nested(Within::THREAD, 0, "second").is_err());
        assert!(graph.refuse_nested(Within::THREAD, 0, "first").is_ok());
        graph.end(&second);
        assert_eq!(Within::THREAD.number(), None);
    }

    #[test]
    fn loads_nested_deeper_than_the_stack_of_the_joining_thread_are_searched() {
        let mut graph = WaitGraph::new();
        let mut nest = vec![graph.begin(Within::NOTHING, 0, "outermost")];
        for n in 0..10_000 {
            nest.push(graph.begin(within(&nest[n]), 0, &n.to_string()));
        }
        let (outermost, deepest) = (&nest[0], &nest[nest.len() - 1]);
        std::thread::scope(|scope| {
            let join = || {
                let other = graph.begin(Within::NOTHING, 0, "other");
                join(&mut graph, deepest, &other).unwrap();
                let joined = join(&mut graph, &other, outermost);
                graph.end(&other);
                joined
            };
            let thread = std::thread::Builder::new().stack_size(64 * 1024);
            assert!(thread.spawn_scoped(scope, join).unwrap().join().unwrap().is_err());
        });
        while let Some(node) = nest.pop() {
            graph.end(&node);
        }
    }

    #[test]
    fn a_thread_that_exits_forgets_the_loads_that_others_will_end() {
        let mut graph = WaitGraph::new();
        let node = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                crate::local::try_with(|_| ());
                graph.begin(Within::THREAD, 0, "a")
            });
            thread.join().unwrap()
        });
        graph.end(&node);
        assert_eq!(Arc::strong_count(&node), 1);
    }
}
