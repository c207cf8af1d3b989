//! Loads in progress: one for each plugin (R7), fenced by taking it off the table (R8), waited for
//! without deadlock (R9).
//!
//! A cache has a [`Departures`] table under its lock: the flights that a get may join. A clear
//! takes flights off it, and what is off it stores nothing when it lands. Who waits for whom is
//! kept once for the whole process, as a circle can lead through several caches.

use crate::clock::{Clock, Nanos};
use crate::error::{Elided, Error, Quoted, Status};
use crate::manifest::Manifest;
use crate::sync::{Condvar, Mutex, ThreadId, process_wide, thread_id};
use foldhash::fast::FixedState;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// What a load comes to, for the call that led it and for all that waited.
pub(crate) type Outcome = Result<Got, Error>;

/// What a get brings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Got {
    /// The manifest.
    pub manifest: Manifest,
    /// If the manifest has expired and its reload failed: why.
    pub stale: Option<Error>,
}

impl From<Manifest> for Got {
    fn from(manifest: Manifest) -> Self {
        Got { manifest, stale: None }
    }
}

/// One load of one plugin.
pub(crate) struct Flight {
    cache: u64,
    id: Arc<str>,
    leader: ThreadId,
    /// The load further up the leader's stack that this one is nested in.
    outer: Option<Arc<Flight>>,
    outcome: OnceLock<Outcome>,
    landed: Condvar,
}

/// The flights of one cache that a get may still join: at most one for each plugin.
pub(crate) struct Departures {
    cache: u64,
    /// Too few at a time for colliding ids to matter, so the hash has no seed.
    flights: HashMap<Arc<str>, Arc<Flight>, FixedState>,
}

/// How a wait for another thread's load ended.
pub(crate) enum Waited {
    Landed(Outcome),
    /// It would have waited for itself.
    Circle(Error),
    TooLong(Error),
}

/// A call's part in a load.
pub(crate) enum Part {
    Lead(Arc<Flight>),
    Wait(Arc<Flight>),
}

impl Departures {
    pub(crate) fn new() -> Self {
        static CACHES: AtomicU64 = AtomicU64::new(0);
        Departures { cache: CACHES.fetch_add(1, Ordering::Relaxed), flights: HashMap::default() }
    }

    /// Joins the load of `id` or begins one; refuses if this very thread is loading `id` further up
    /// its stack.
    pub(crate) fn join_or_lead(&mut self, id: &str) -> Result<Part, Error> {
        let mut waits = WAITS.lock();
        // First: the flight on the table may be a newer one of another thread, behind a clear.
        waits.check_nest(self.cache, id)?;
        if let Some(flight) = self.flights.get(id) {
            return Ok(Part::Wait(flight.clone()));
        }
        let flight = waits.take_off(self.cache, id);
        self.flights.insert(flight.id.clone(), flight.clone());
        Ok(Part::Lead(flight))
    }

    /// Takes a flight off the table, if it is that very flight that is on it: else a clear came
    /// between.
    pub(crate) fn take(&mut self, flight: &Arc<Flight>) -> bool {
        let on_table = self.flights.get(&flight.id).is_some_and(|other| Arc::ptr_eq(other, flight));
        if on_table {
            self.flights.remove(&flight.id);
        }
        on_table
    }

    /// No later get joins the load of `id`, and it will store nothing.
    pub(crate) fn fence(&mut self, id: &str) {
        self.flights.remove(id);
    }

    /// The same for all loads of this cache.
    pub(crate) fn fence_all(&mut self) {
        self.flights.clear();
    }

    /// In a forked child: the loads of all other threads will never land.
    pub(crate) fn inherit(&mut self, survivor: ThreadId) {
        self.flights.retain(|_, flight| flight.leader == survivor);
    }
}

impl Flight {
    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Waits for another thread's load, at most until `deadline`.
    pub(crate) fn wait(self: &Arc<Self>, clock: &Clock, deadline: Nanos) -> Waited {
        let me = thread_id();
        let mut waits = WAITS.lock();
        if let Some(circle) = waits.circle(me, self) {
            return Waited::Circle(cycle(&circle));
        }
        waits.link(me, Some(self));
        let waited = loop {
            if let Some(outcome) = self.outcome.get() {
                break Waited::Landed(outcome.clone());
            }
            if clock.now() >= deadline {
                break Waited::TooLong(too_long(&self.id));
            }
            let flight = self.clone();
            waits = clock.wait_until(&self.landed, waits, deadline, move || {
                flight.landed.notify_all(&WAITS.lock());
            });
        };
        waits.link(me, None);
        waited
    }

    /// Ends the load, on the thread that led it: everyone waiting gets the outcome.
    pub(crate) fn land(&self, outcome: Outcome) {
        let mut waits = WAITS.lock();
        self.outcome.get_or_init(|| outcome);
        waits.touch_down(self);
        self.landed.notify_all(&waits);
    }
}

/// Which threads lead which flights, and what each of them waits for meanwhile.
///
/// Testing for a circle and joining the queue is one step under this lock, so that of two calls
/// that would close a circle together one sees the other.
pub(crate) struct Waits(BTreeMap<ThreadId, Leader>);

process_wide! {
    static WAITS: Mutex<Waits> = Mutex::new(Waits(BTreeMap::new()))
}

/// A thread that leads a load. Nobody waits for other threads, so only these can be part of a
/// circle.
struct Leader {
    /// Its latest flight; those it is nested in follow by `outer`.
    innermost: Arc<Flight>,
    waits_for: Option<Arc<Flight>>,
}

impl Waits {
    /// Refuses what this very thread is loading already.
    fn check_nest(&self, cache: u64, id: &str) -> Result<(), Error> {
        let innermost = self.0.get(&thread_id()).map(|leader| &leader.innermost);
        match nest(innermost).find(|flight| flight.cache == cache && *flight.id == *id) {
            Some(first) => Err(cycle(&circle_within(innermost, first))),
            None => Ok(()),
        }
    }

    fn take_off(&mut self, cache: u64, id: &str) -> Arc<Flight> {
        let leader = thread_id();
        let outer = self.0.get(&leader).map(|leader| leader.innermost.clone());
        let flight = Arc::new(Flight {
            cache,
            id: id.into(),
            leader,
            outer,
            outcome: OnceLock::new(),
            landed: Condvar::default(),
        });
        self.0.insert(leader, Leader { innermost: flight.clone(), waits_for: None });
        flight
    }

    fn touch_down(&mut self, flight: &Flight) {
        match (&flight.outer, self.0.get_mut(&flight.leader)) {
            (Some(outer), Some(leader)) => leader.innermost = outer.clone(),
            _ => drop(self.0.remove(&flight.leader)),
        }
        if self.0.is_empty() {
            // An emptied map keeps memory, which unloading the library would leak.
            self.0 = BTreeMap::new();
        }
    }

    /// In a forked child: the other threads are not there.
    pub(crate) fn inherit(&mut self, survivor: ThreadId) {
        self.0.retain(|leader, _| *leader == survivor);
    }

    fn link(&mut self, thread: ThreadId, flight: Option<&Arc<Flight>>) {
        if let Some(leader) = self.0.get_mut(&thread) {
            leader.waits_for = flight.cloned();
        }
    }

    /// The plugins from `me` by way of `target` back to `me`, if `me` must not wait for `target`.
    fn circle<'a>(&'a self, me: ThreadId, target: &'a Arc<Flight>) -> Option<Vec<&'a str>> {
        let mut hops: Vec<&str> = Vec::new();
        let mut next = target;
        // A flight that has landed holds nobody up, even if those who waited for it have not woken
        // yet.
        while next.outcome.get().is_none() {
            let leader = self.0.get(&next.leader)?;
            if next.leader == me {
                let mut circle = circle_within(Some(&leader.innermost), next);
                circle.pop();
                circle.extend(hops);
                circle.push(&next.id);
                return Some(circle);
            }
            let waiting_in = circle_within(Some(&leader.innermost), next);
            hops.extend(&waiting_in[..waiting_in.len() - 1]);
            next = leader.waits_for.as_ref()?;
        }
        None
    }
}

/// A flight and those it is nested in, inside out.
fn nest(innermost: Option<&Arc<Flight>>) -> impl Iterator<Item = &Arc<Flight>> {
    std::iter::successors(innermost, |flight| flight.outer.as_ref())
}

/// The plugins from `first` in to the innermost flight of its thread, and `first` once more.
fn circle_within<'a>(innermost: Option<&'a Arc<Flight>>, first: &'a Arc<Flight>) -> Vec<&'a str> {
    let mut ids: Vec<&str> = nest(innermost)
        .take_while(|flight| !Arc::ptr_eq(flight, first))
        .map(|flight| &*flight.id)
        .collect();
    ids.push(&first.id);
    ids.reverse();
    ids.push(&first.id);
    ids
}

fn cycle(circle: &[&str]) -> Error {
    let last = circle.last().copied().unwrap_or_default();
    let chain: Vec<String> = circle.iter().map(|id| Elided(id).to_string()).collect();
    Error::new(
        Status::LoadCycle,
        format!(
            "plugin {}: its load needs itself: {}; break the circle in the loader",
            Quoted(last),
            chain.join(" -> ")
        ),
    )
}

fn too_long(id: &str) -> Error {
    Error::new(
        Status::Timeout,
        format!(
            "plugin {}: another thread's load did not end in time; \
             look for a loader that hangs or that waits for a thread of its own",
            Quoted(id)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{NEVER, from_millis};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    fn lead(departures: &mut Departures, id: &str) -> Arc<Flight> {
        match departures.join_or_lead(id) {
            Ok(Part::Lead(flight)) => flight,
            _ => panic!("{id} is to be led here"),
        }
    }

    fn joined(departures: &mut Departures, id: &str) -> Option<Arc<Flight>> {
        match departures.join_or_lead(id) {
            Ok(Part::Wait(flight)) => Some(flight),
            _ => None,
        }
    }

    fn lands(flight: &Flight) -> Outcome {
        let outcome = Ok(Got::from(Manifest::new(flight.id(), "{}")));
        flight.land(outcome.clone());
        outcome
    }

    fn message(waited: Waited) -> String {
        match waited {
            Waited::Circle(error) | Waited::TooLong(error) => error.to_string(),
            Waited::Landed(outcome) => format!("{outcome:?}"),
        }
    }

    #[test]
    fn a_second_call_joins_the_flight_and_shares_its_outcome() {
        let mut departures = Departures::new();
        let flight = lead(&mut departures, "a");
        let join_and_wait =
            move || joined(&mut departures, "a").map(|same| same.wait(&Clock::system(), NEVER));
        let waiting = thread::spawn(join_and_wait);
        let outcome = lands(&flight).unwrap();
        match waiting.join().unwrap().expect("there is a flight to join") {
            Waited::Landed(Ok(got)) => {
                assert_eq!(got.manifest.revision(), outcome.manifest.revision())
            }
            other => panic!("{}", message(other)),
        }
    }

    #[test]
    fn a_fenced_flight_is_joined_by_nobody_and_takes_no_newer_one_off_the_table() {
        let mut departures = Departures::new();
        let old = lead(&mut departures, "a");
        departures.fence("a");
        let newer =
            thread::scope(|scope| scope.spawn(|| lead(&mut departures, "a")).join().unwrap());
        assert!(!departures.take(&old));
        assert!(departures.take(&newer));
        lands(&old).unwrap();
        lands(&newer).unwrap();
    }

    #[test]
    fn a_nested_load_of_the_same_plugin_is_a_cycle_even_behind_a_fence() {
        let mut departures = Departures::new();
        let flights = ["a", "b", "c"].map(|id| lead(&mut departures, id));
        departures.fence_all();
        let error = departures.join_or_lead("b").err().unwrap();
        assert_eq!(error.status(), Status::LoadCycle);
        assert!(error.message().contains("b -> c -> b"), "{error}");
        flights.iter().rev().for_each(|flight| drop(lands(flight)));
        lands(&lead(&mut departures, "b")).unwrap();
    }

    #[test]
    fn plugins_of_other_caches_are_other_plugins() {
        let (mut one, mut two) = (Departures::new(), Departures::new());
        let flights = [lead(&mut one, "a"), lead(&mut two, "a")];
        flights.iter().rev().for_each(|flight| drop(lands(flight)));
    }

    #[test]
    fn a_circle_over_threads_names_each_plugin_on_the_way() {
        let mut departures = Departures::new();
        let outermost = lead(&mut departures, "outside");
        let a = lead(&mut departures, "a");
        let inner = lead(&mut departures, "inner");
        let (tell, told) = mpsc::channel();
        let theirs = a.clone();
        let other = thread::spawn(move || {
            let mut departures = Departures::new();
            let b = lead(&mut departures, "b");
            let deep = lead(&mut departures, "deep");
            tell.send(b.clone()).unwrap();
            let waited = theirs.wait(&Clock::system(), NEVER);
            lands(&deep).unwrap();
            lands(&b).unwrap();
            waited
        });
        let b = told.recv().unwrap();
        while WAITS.lock().0.get(&b.leader).is_none_or(|leader| leader.waits_for.is_none()) {
            thread::yield_now();
        }
        let circle = message(b.wait(&Clock::system(), NEVER));
        assert!(circle.contains(": a -> inner -> b -> deep -> a;"), "{circle}");
        [inner, a, outermost].iter().for_each(|flight| drop(lands(flight)));
        assert!(
            matches!(other.join().unwrap(), Waited::Landed(Ok(_))),
            "only the one that closes the circle is refused"
        );
    }

    #[test]
    fn waiting_for_what_has_landed_is_no_circle() {
        let mut departures = Departures::new();
        let flight = lead(&mut departures, "a");
        let other =
            thread::scope(|scope| scope.spawn(|| lead(&mut departures, "b")).join().unwrap());
        // The other thread still seems to wait for a flight of ours that is over.
        WAITS.lock().link(other.leader, Some(&flight));
        lands(&flight).unwrap();
        let again = lead(&mut departures, "c");
        assert!(WAITS.lock().circle(again.leader, &other).is_none());
        lands(&again).unwrap();
        lands(&other).unwrap();
    }

    #[test]
    fn a_wait_ends_at_its_deadline_by_the_clock_it_was_given() {
        let clock = Clock::manual();
        let flight = lead(&mut Departures::new(), "a");
        let (theirs, their_clock) = (flight.clone(), clock.clone());
        let waiting = thread::spawn(move || theirs.wait(&their_clock, from_millis(30_000)));
        clock.advance(Duration::from_millis(29_999));
        assert!(!waiting.is_finished());
        clock.advance(Duration::from_millis(1));
        assert!(
            matches!(waiting.join().unwrap(), Waited::TooLong(error) if error.status() == Status::Timeout)
        );
        lands(&flight).unwrap();
    }
}
