//! A child forked at any moment has caches that work (R12).
//!
//! The forking thread takes every lock of the library first, so that the child inherits in order
//! what they guard. In the child it gives up the loads of the threads that were not copied, and
//! lets go of the locks.
//!
//! What those threads held is never freed there: their references to manifests and lists, and the
//! loads they led.

use crate::load::wait_graph::{GRAPH, WaitGraph};
use crate::sync::{Guard, Mutex, ThreadId, thread_id};
use std::cell::UnsafeCell;
use std::sync::{Arc, Weak};

/// What a lock guards that a child inherits.
pub(crate) trait Inherit: Send {
    /// Only the `survivor` of all threads goes on in the child.
    fn inherit(&mut self, survivor: ThreadId);
}

type Inherited = Mutex<dyn Inherit>;

struct Registry {
    handlers_installed: bool,
    caches: Vec<Weak<Inherited>>,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { handlers_installed: false, caches: Vec::new() });

/// Remembers a cache's lock for the next fork.
pub(crate) fn register(cache: &Arc<Mutex<impl Inherit + 'static>>) {
    if cfg!(shuttle) {
        return;
    }
    let mut registry = REGISTRY.lock();
    if !registry.handlers_installed {
        // SAFETY: the handlers are functions of this library, and unloading it takes them off
        // again. Should there be no memory to note them, a child works unless the fork came at a
        // bad moment.
        unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
        registry.handlers_installed = true;
    }
    let cache: Arc<Inherited> = cache.clone();
    registry.caches.push(Arc::downgrade(&cache));
}

/// Forgets a cache's lock; with the last one, nothing is left that unloading the library would
/// leak.
pub(crate) fn forget<T>(cache: &Arc<Mutex<T>>) {
    if cfg!(shuttle) {
        return;
    }
    let mut registry = REGISTRY.lock();
    registry.caches.retain(|known| !std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(cache)));
    if registry.caches.is_empty() {
        registry.caches = Vec::new();
    }
}

/// Everything that is locked during a fork, in the order of its release.
struct Locked {
    graph: Guard<'static, WaitGraph>,
    caches: Vec<(Guard<'static, dyn Inherit>, Arc<Inherited>)>,
    _registry: Guard<'static, Registry>,
}

struct DuringFork(UnsafeCell<Option<Locked>>);

// SAFETY: only the thread that holds the registry's lock, from `before` to `after`, uses what is
// inside.
unsafe impl Sync for DuringFork {}

static DURING_FORK: DuringFork = DuringFork(UnsafeCell::new(None));

extern "C" fn before() {
    let registry = REGISTRY.lock();
    let lock = |cache: Arc<Inherited>| {
        // SAFETY: the guard does not outlive its lock, as the two are kept together and the guard
        // is dropped first.
        let guard: Guard<'static, dyn Inherit> = unsafe { std::mem::transmute(cache.lock()) };
        (guard, cache)
    };
    let caches = registry.caches.iter().filter_map(Weak::upgrade).map(lock).collect();
    let locked = Locked { graph: GRAPH.lock(), caches, _registry: registry };
    // SAFETY: we hold the registry's lock.
    unsafe { *DURING_FORK.0.get() = Some(locked) };
}

extern "C" fn after_in_parent() {
    // SAFETY: `before` ran on this thread and took the registry's lock.
    drop(unsafe { (*DURING_FORK.0.get()).take() });
}

extern "C" fn after_in_child() {
    // SAFETY: as in the parent; this is now the only thread.
    let Some(mut locked) = (unsafe { (*DURING_FORK.0.get()).take() }) else { return };
    let survivor = thread_id();
    locked.graph.inherit(survivor);
    locked.caches.iter_mut().for_each(|(cache, _)| cache.inherit(survivor));
}
