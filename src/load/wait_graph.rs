//! The wait graph: which load waits for which, over all threads and caches of the process. It
//! refuses a wait that would close a cycle (R9).
//!
//! A load waits for each load that its loader needs: those that the loader's calls begin, and those
//! of other threads that they join. The graph knows loads by their numbers and ids only.
//!
//! The library has two kinds of locks: one in each cache, and the lock of the graph. A thread that
//! holds the lock of a cache may take that of the graph. It takes no other lock while it holds one.

use crate::error::{Elided, Error, Quoted, Status};
use crate::fork::ForkMutex;
use crate::sync::{Guard, each_thread, process_wide};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::iter::successors;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A load as the graph knows it.
pub(crate) struct Node {
    number: u64,
    cache: u64,
    id: Arc<str>,
    /// The load whose loader made the call that began this one.
    within: Option<Arc<Node>>,
    /// Changed only under the lock of the graph.
    has_ended: AtomicBool,
}

impl Node {
    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }
}

/// The loads in progress.
///
/// A call looks for a cycle and begins to wait in one step, under the graph's lock. So of two calls
/// that would close a cycle together, the second one finds the wait of the first.
pub(crate) struct WaitGraph {
    /// The loads that each load waits for, by its number.
    waits: BTreeMap<u64, Vec<Arc<Node>>>,
}

process_wide! {
    static GRAPH: ForkMutex<WaitGraph> = ForkMutex::new(WaitGraph::new())
}

/// Locks the graph. In a forked child it begins empty: no thread there waits for a load of the
/// parent.
pub(crate) fn lock() -> Guard<'static, WaitGraph> {
    GRAPH.lock(|_| Some(WaitGraph::new()))
}

each_thread! {
    /// The load that this thread began last. It has no destructor, so that it can be used in
    /// destructors that run at thread exit. It is empty when the thread's last load has ended.
    static INNERMOST: Cell<Option<ManuallyDrop<Arc<Node>>>> = Cell::new(None)
}

/// The innermost load of this thread: the one whose loader makes the current call. If loaders run
/// on coroutines, loads can end in another order than they began; loads that have ended are
/// skipped.
pub(crate) fn innermost() -> Option<Arc<Node>> {
    INNERMOST.with(|innermost| {
        let last = innermost.take();
        let node = nest(last.as_deref()).next().cloned();
        innermost.set(last);
        node
    })
}

fn set_innermost(node: Option<Arc<Node>>) {
    let before = INNERMOST.with(|innermost| innermost.replace(node.map(ManuallyDrop::new)));
    drop(before.map(ManuallyDrop::into_inner));
}

impl WaitGraph {
    const fn new() -> Self {
        WaitGraph { waits: BTreeMap::new() }
    }

    /// Returns an error if `within`, or a load that it is nested in, is a load of this plugin.
    pub(crate) fn refuse_nested(
        &self,
        within: Option<&Arc<Node>>,
        cache: u64,
        id: &str,
    ) -> Result<(), Error> {
        let is_same = |node: &&Arc<Node>| node.cache == cache && *node.id == *id;
        let Some(first) = nest(within).find(is_same) else { return Ok(()) };
        let mut chain: Vec<&str> = nest(within)
            .take_while(|node| node.number != first.number)
            .map(|node| &**node.id())
            .collect();
        chain.push(&first.id);
        chain.reverse();
        Err(cycle(chain))
    }

    /// Adds a load that this thread begins, and the wait of `within` for it.
    pub(crate) fn begin(&mut self, within: Option<Arc<Node>>, cache: u64, id: &str) -> Arc<Node> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let has_ended = AtomicBool::new(false);
        let node = Arc::new(Node { number, cache, id: id.into(), within, has_ended });
        self.waits.insert(number, Vec::new());
        self.add_wait(node.within.as_deref(), &node);
        set_innermost(Some(node.clone()));
        node
    }

    /// Removes a load that has ended.
    pub(crate) fn end(&mut self, node: &Node) {
        self.remove_wait(node.within.as_deref(), node);
        self.waits.remove(&node.number);
        node.has_ended.store(true, Ordering::Relaxed);
        set_innermost(innermost());
        if self.waits.is_empty() {
            // A map that has become empty keeps memory, which would leak when the library is
            // unloaded.
            *self = WaitGraph::new();
        }
    }

    /// Adds the wait of `within` for `target`. Returns an error if `target` already waits for
    /// `within`, directly or through others.
    pub(crate) fn join(&mut self, within: Option<&Node>, target: &Arc<Node>) -> Result<(), Error> {
        if let Some(within) = within {
            if let Some(path) = self.path(target, within) {
                return Err(cycle(path));
            }
        }
        self.add_wait(within, target);
        Ok(())
    }

    /// Removes the wait that [`WaitGraph::join`] added.
    pub(crate) fn leave(&mut self, within: Option<&Node>, target: &Node) {
        self.remove_wait(within, target);
    }

    /// Whether one load waits for another.
    #[cfg(test)]
    pub(crate) fn waits(&self, one: &Node, other: &Node) -> bool {
        let waits = self.waits.get(&one.number);
        waits.is_some_and(|waits| waits.iter().any(|node| node.number == other.number))
    }

    fn add_wait(&mut self, from: Option<&Node>, to: &Arc<Node>) {
        if let Some(waits) = from.and_then(|from| self.waits.get_mut(&from.number)) {
            waits.push(to.clone());
        }
    }

    fn remove_wait(&mut self, from: Option<&Node>, to: &Node) {
        if let Some(waits) = from.and_then(|from| self.waits.get_mut(&from.number)) {
            if let Some(at) = waits.iter().position(|node| node.number == to.number) {
                waits.swap_remove(at);
            }
        }
    }

    /// The ids of the loads from `from` to `to`, if `from` waits for `to`, directly or through
    /// others. A load that has ended waits for nothing.
    ///
    /// The search does not recurse: loads of one thread may be nested too deeply for the stack of
    /// another.
    fn path<'a>(&'a self, from: &'a Node, to: &'a Node) -> Option<Vec<&'a str>> {
        let mut reached_from: BTreeMap<u64, Option<&Node>> = BTreeMap::from([(from.number, None)]);
        let mut open = VecDeque::from([from]);
        while let Some(node) = open.pop_front() {
            if node.number == to.number {
                let back = successors(Some(node), |node| reached_from[&node.number]);
                let mut path: Vec<&str> = back.map(|node| &*node.id).collect();
                path.reverse();
                return Some(path);
            }
            for next in self.waits.get(&node.number).into_iter().flatten() {
                reached_from.entry(next.number).or_insert_with(|| {
                    open.push_back(next);
                    Some(node)
                });
            }
        }
        None
    }
}

/// A load and the loads that it is nested in, from the innermost to the outermost, without those
/// that have ended.
fn nest(innermost: Option<&Arc<Node>>) -> impl Iterator<Item = &Arc<Node>> {
    successors(innermost, |node| node.within.as_ref())
        .filter(|node| !node.has_ended.load(Ordering::Relaxed))
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

    #[test]
    fn a_load_that_has_ended_waits_for_nothing_though_a_load_within_it_goes_on() {
        let mut graph = WaitGraph::new();
        let outer = graph.begin(None, 0, "outer");
        let inner = graph.begin(Some(outer.clone()), 0, "inner");
        assert!(graph.join(Some(&inner), &outer).is_err());
        graph.end(&outer);
        assert!(graph.join(Some(&inner), &outer).is_ok());
    }

    #[test]
    fn a_load_that_has_ended_waits_for_no_other() {
        let mut graph = WaitGraph::new();
        let a = graph.begin(None, 0, "a");
        let b = std::thread::scope(|s| s.spawn(|| graph.begin(None, 0, "b")).join().unwrap());
        graph.join(Some(&b), &a).unwrap();
        assert!(graph.join(Some(&a), &b).is_err(), "b waits for a");
        // The thread that waits for a has not woken yet, so its wait is still in the graph.
        graph.end(&a);
        let c = graph.begin(None, 0, "c");
        graph.join(Some(&c), &b).unwrap();
        assert!(graph.join(Some(&b), &a).is_ok());
    }

    #[test]
    fn two_paths_to_the_same_load_are_no_cycle() {
        let mut graph = WaitGraph::new();
        let [a, b, c] = ["a", "b", "c"].map(|id| graph.begin(None, 0, id));
        graph.join(Some(&a), &b).unwrap();
        graph.join(Some(&a), &c).unwrap();
        graph.join(Some(&b), &c).unwrap();
        assert!(graph.join(Some(&c), &a).unwrap_err().message().contains(": a -> c -> a;"));
    }

    #[test]
    fn loads_of_one_thread_may_end_in_any_order() {
        let mut graph = WaitGraph::new();
        let outer = graph.begin(None, 0, "outer");
        let inner = graph.begin(innermost(), 0, "inner");
        graph.end(&outer);
        assert!(graph.refuse_nested(innermost().as_ref(), 0, "inner").is_err());
        assert!(graph.refuse_nested(innermost().as_ref(), 0, "outer").is_ok());
        graph.end(&inner);
        assert!(innermost().is_none());
    }

    #[test]
    fn loads_nested_deeper_than_the_stack_of_the_joining_thread_are_searched() {
        let mut graph = WaitGraph::new();
        let mut nest: Vec<Arc<Node>> = Vec::new();
        for n in 0..10_000 {
            nest.push(graph.begin(nest.last().cloned(), 0, &n.to_string()));
        }
        let (outermost, deepest) = (&nest[0], &nest[nest.len() - 1]);
        std::thread::scope(|scope| {
            let join = || {
                let other = graph.begin(None, 0, "other");
                graph.join(Some(deepest), &other).unwrap();
                let joined = graph.join(Some(&other), outermost);
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
}
