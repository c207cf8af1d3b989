//! Within which load a call is made (R9).

use crate::sync::each_thread;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A load as the graph knows it.
pub(crate) struct Node {
    pub(super) number: u64,
    pub(super) cache: u64,
    pub(super) id: Arc<str>,
    /// Changed only under the lock of the graph.
    has_ended: AtomicBool,
}

impl Node {
    pub(super) fn new(cache: u64, id: &str) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Relaxed);
        Node { number, cache, id: id.into(), has_ended: AtomicBool::new(false) }
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The caller holds the lock of the graph.
    pub(super) fn set_ended(&self) {
        self.has_ended.store(true, Relaxed);
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Relaxed)
    }
}

/// The load that waits for what a call gets (R9).
#[derive(Clone, Copy)]
pub struct Within<'a>(Kind<'a>);

#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    Nothing,
    Thread,
    Load(&'a Arc<Node>),
}

impl<'a> Within<'a> {
    /// No load waits for it. A call that joins another load can then close no cycle, so this is
    /// also right for a get that a loader starts but does not wait for.
    pub const NOTHING: Self = Within(Kind::Nothing);

    /// The innermost load of this thread: of the loads that were begun here with `THREAD` and have
    /// not ended, the last one. A load that this call begins is the innermost one from now on.
    /// [`Cache::get`](crate::Cache::get) uses this.
    pub const THREAD: Self = Within(Kind::Thread);

    pub(super) fn load(node: Option<&'a Arc<Node>>) -> Self {
        node.map_or(Self::NOTHING, |node| Within(Kind::Load(node)))
    }

    pub(super) fn kind(self) -> Kind<'a> {
        self.0
    }

    /// The number of the load, unless it has ended.
    pub(super) fn number(self) -> Option<u64> {
        match self.0 {
            Kind::Nothing => None,
            Kind::Thread => of_this_thread(|loads| loads.last().map(|node| node.number)),
            Kind::Load(node) => (!node.has_ended()).then_some(node.number),
        }
    }
}

each_thread! {
    /// The loads that this thread began with [`Within::THREAD`]. It has no destructor, so that it
    /// can be used in destructors that run at thread exit.
    static OF_THIS_THREAD: Cell<ManuallyDrop<Vec<Arc<Node>>>> =
        Cell::new(ManuallyDrop::new(Vec::new()))
}

/// Calls `use_loads` with the loads that this thread began with [`Within::THREAD`] and that have
/// not ended, in the order in which they began.
pub(super) fn of_this_thread<R>(use_loads: impl FnOnce(&mut Vec<Arc<Node>>) -> R) -> R {
    OF_THIS_THREAD.with(|cell| {
        let mut loads = ManuallyDrop::into_inner(cell.replace(ManuallyDrop::new(Vec::new())));
        loads.retain(|node| !node.has_ended());
        let result = use_loads(&mut loads);
        if !loads.is_empty() {
            cell.set(ManuallyDrop::new(loads));
        }
        result
    })
}

/// A thread owns one of these. When the thread exits, it forgets the loads that it began and that
/// other threads will end.
pub(crate) struct ForgetLoads;

impl Drop for ForgetLoads {
    fn drop(&mut self) {
        // The model checker may have dropped the loads before, which the system never does.
        let _ = OF_THIS_THREAD.try_with(|loads| drop(ManuallyDrop::into_inner(loads.take())));
    }
}
