//! A cache and the history of the calls on it. Each get is made in one of the ways there are.

use crate::history::{ClearSeen, History, LoadSeen};
use manifest_cache::{Begun, Cache, CacheOption, Clock, Error, Fetched};
use manifest_cache::{Load, LoadGuard, Manifest, Stat, Status, Within};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::mpsc;
use shuttle::thread;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A cache and the history of the calls on it.
///
/// All threads of the checker run on one thread of the system. So the lock of the history is no
/// step for the checker and does not influence the order of events.
pub struct World {
    pub cache: Arc<Cache>,
    pub clock: Clock,
    history: Mutex<History>,
}

/// Where a get is made: outside of all loads, or within one.
#[derive(Clone, Copy)]
pub struct Place<'l> {
    load: Option<&'l Load>,
    /// Whether the load is the innermost one of this thread.
    is_of_thread: bool,
}

/// A load that was begun and not ended.
pub struct BegunLoad {
    pub id: &'static str,
    /// When the call began that began it.
    pub asked: u64,
    pub number: usize,
    pub load: LoadGuard,
}

pub const OUTSIDE: Place<'static> = Place { load: None, is_of_thread: true };

impl World {
    pub fn new() -> Arc<Self> {
        Self::with_ttl(Duration::from_secs(1))
    }

    pub fn with_ttl(ttl: Duration) -> Arc<Self> {
        let clock = Clock::manual();
        let cache = Arc::new(Cache::with_clock(ttl, clock.clone()));
        Arc::new(World { cache, clock, history: Mutex::default() })
    }

    pub fn history<R>(&self, use_history: impl FnOnce(&mut History) -> R) -> R {
        use_history(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn get(&self, id: &'static str) -> Result<Manifest, Error> {
        self.get_by(id, |_| Reply::Manifest)
    }

    /// Gets a plugin. If that begins a load, calls `inside` and then answers with the number of the
    /// load.
    pub fn get_by(
        &self,
        id: &'static str,
        inside: impl FnOnce(Place) -> Reply + Send,
    ) -> Result<Manifest, Error> {
        self.get_in(OUTSIDE, id, inside)
    }

    /// The same within a load. It draws how: with a loader, or with a begin and an end, which may be
    /// on another thread.
    pub fn get_in(
        &self,
        place: Place,
        id: &'static str,
        inside: impl FnOnce(Place) -> Reply + Send,
    ) -> Result<Manifest, Error> {
        let asked = self.history(History::tick);
        let is_of_thread = place.is_of_thread && thread_rng().gen_bool(0.7);
        let mut own = None;
        let got = if is_of_thread && thread_rng().gen_bool(0.5) {
            self.cache.fetch(id, |load| {
                let number = self.history(|history| history.load_begins(id, asked));
                own = self.bring(number, load, true, inside);
            })
        } else {
            let within = match is_of_thread {
                true => Within::THREAD,
                false => place.load.map_or(Within::NOTHING, Load::within),
            };
            match self.begin(id, within) {
                Ok(Begun::Load(load)) => {
                    let begun = self.begun(id, asked, load);
                    let outcome;
                    (own, outcome) = match thread_rng().gen_bool(0.3) {
                        true => elsewhere(|| self.end(begun, false, inside)),
                        false => self.end(begun, is_of_thread, inside),
                    };
                    outcome
                }
                Ok(Begun::Ready(fetched)) => Ok(fetched),
                Ok(Begun::Pending) => unreachable!("begin waits"),
                Err(error) => Err(error),
            }
        };
        self.history(|history| history.check(id, asked, own, &got));
        got.map(|fetched| fetched.manifest)
    }

    /// Begins a get. It draws how it waits for the load of another caller.
    pub fn begin(&self, id: &str, within: Within) -> Result<Begun, Error> {
        if thread_rng().gen_bool(0.5) {
            return self.cache.begin(id, within);
        }
        let (tell, told) = mpsc::channel();
        match begin_async(&self.cache, id, within, move |outcome| tell.send(outcome).unwrap())? {
            Begun::Pending => {
                let outcome = told.recv().expect("an asynchronous wait is told the outcome");
                assert!(told.recv().is_err(), "it is told once");
                outcome.map(Begun::Ready)
            }
            begun => Ok(begun),
        }
    }

    /// Begins a load of a plugin that nobody is loading. [`World::finish`] or [`World::drop_load`]
    /// ends it.
    pub fn begin_load(&self, id: &'static str, within: Within) -> BegunLoad {
        let asked = self.history(History::tick);
        match self.cache.begin(id, within) {
            Ok(Begun::Load(load)) => self.begun(id, asked, load),
            _ => panic!("the load of {id} must begin here"),
        }
    }

    /// Records that a load has begun, in a call that began when it `asked`.
    pub fn begun(&self, id: &'static str, asked: u64, load: LoadGuard) -> BegunLoad {
        let number = self.history(|history| history.load_begins(id, asked));
        BegunLoad { id, asked, number, load }
    }

    /// Answers a load that was begun, and ends it.
    pub fn finish(&self, begun: BegunLoad, reply: Reply) -> Result<Manifest, Error> {
        let (id, asked) = (begun.id, begun.asked);
        let (own, got) = self.end(begun, false, |_| reply);
        self.history(|history| history.check(id, asked, own, &got));
        got.map(|fetched| fetched.manifest)
    }

    /// Drops a load that was begun.
    pub fn drop_load(&self, begun: BegunLoad) {
        drop(Ended(self, begun.number));
        drop(begun);
        self.history(|history| history.got += 1);
    }

    /// Answers a load that was begun, and ends it. Returns its number if it takes effect.
    fn end(
        &self,
        mut begun: BegunLoad,
        is_of_thread: bool,
        inside: impl FnOnce(Place) -> Reply,
    ) -> (Option<usize>, Result<Fetched, Error>) {
        let own = self.bring(begun.number, &mut begun.load, is_of_thread, inside);
        (own, begun.load.end())
    }

    /// Answers a load. Returns its number if it takes effect.
    fn bring(
        &self,
        number: usize,
        load: &mut Load,
        is_of_thread: bool,
        inside: impl FnOnce(Place) -> Reply,
    ) -> Option<usize> {
        let _ended = Ended(self, number);
        let reply = inside(Place { load: Some(load), is_of_thread });
        let takes_effect = matches!(reply, Reply::Manifest | Reply::Empty | Reply::NotFound);
        match reply {
            Reply::Manifest => load.json(format!("{{\"load\":{number}}}")).unwrap(),
            Reply::Empty => load.json("{}").unwrap(),
            // Without an expired manifest this is a failure.
            Reply::Unchanged => drop(load.unchanged()),
            Reply::NotFound => load.not_found(),
            Reply::Failure => load.fail(number as i32, "on purpose"),
            Reply::Panic => resume_unwind(Box::new("on purpose")),
        }
        takes_effect.then_some(number)
    }

    pub fn clear(&self, id: Option<&'static str>) {
        self.fence(id, |cache| match id {
            Some(id) => drop(cache.clear(id)),
            None => drop(cache.clear_all()),
        });
    }

    /// Closes the cache, as `mc_free` does. That fences all loads too.
    pub fn close(&self) {
        self.fence(None, Cache::close);
    }

    /// Records a clear of one or all plugins.
    fn fence(&self, id: Option<&'static str>, clear: impl FnOnce(&Cache)) {
        let number = self.history(|history| {
            let began = history.tick();
            history.clears.push(ClearSeen { id, began, ended: None });
            history.clears.len() - 1
        });
        clear(&self.cache);
        self.history(|history| history.clears[number].ended = Some(history.tick()));
    }

    /// Records a put as a clear and a load. It stores the manifest at some time before its end, so
    /// only a clear that begins later is known to remove it.
    pub fn put(&self, id: &'static str) {
        let (load, clear) = self.history(|history| {
            let now = history.tick();
            history.clears.push(ClearSeen { id: Some(id), began: now, ended: None });
            history.loads.push(LoadSeen {
                id,
                asked: now,
                began: u64::MAX,
                ended: Some(now),
                took_effect: None,
            });
            history.puts += 1;
            (history.loads.len() - 1, history.clears.len() - 1)
        });
        self.cache.put(id, format!("{{\"load\":{load}}}")).unwrap();
        self.history(|history| {
            let ended = history.tick();
            history.loads[load].began = ended;
            history.clears[clear].ended = Some(ended);
        });
    }

    /// Does one random step.
    pub fn anything(&self) {
        let mut rng = thread_rng();
        let id = ["a", "b"][rng.gen_range(0..2)];
        match rng.gen_range(0..10) {
            0 => self.clear(Some(id)),
            1 => self.clear(None),
            2 => self.put(id),
            3 if self.history(|history| history.has_time_outs) && rng.gen_bool(0.5) => {
                self.clock.advance(Duration::from_secs(31));
            }
            3 => self.clock.advance(Duration::from_millis(1_100)),
            4 => drop(self.cache.purge()),
            5 => drop(self.get_by(id, |_| Reply::Failure)),
            6 => drop(self.get_by(id, |_| Reply::NotFound)),
            7 => drop(self.get_by(id, |_| Reply::Unchanged)),
            _ => drop(self.get(id)),
        }
        let stats = self.cache.stats();
        let bound = self.bound();
        assert!(bound == 0 || stats.get(Stat::TotalEntries) <= bound, "{stats:?}");
    }

    /// The value that was set for the option `MaxEntries`.
    pub fn bound(&self) -> u64 {
        self.history(|history| history.bound)
    }

    pub fn loads(&self) -> usize {
        self.history(|history| history.loads.len())
    }

    /// Checks what must hold when all threads have ended.
    pub fn check_at_end(&self) {
        let stats = self.cache.stats();
        let (got, puts) = self.history(|history| (history.got, history.puts));
        let kinds = [Stat::Hits, Stat::StaleHits, Stat::NegativeHits, Stat::Misses, Stat::Waits];
        assert_eq!(kinds.map(|kind| stats.get(kind)).iter().sum::<u64>(), got as u64, "{stats:?}");
        assert_eq!(stats.get(Stat::Loads), (self.loads() - puts) as u64);
        self.cache.set(CacheOption::NegativeTtlMs, 0).unwrap();
        self.clock.advance(Duration::from_secs(1));
        // No load is left in the table: a get of each plugin is a hit or begins a load at once.
        for id in ["a", "b", "c"] {
            self.get(id).unwrap();
        }
    }
}

/// Calls `work` on another thread and waits for it. A panic passes through, because a thread of the
/// checker that panics ends the whole run.
fn elsewhere<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let caught =
        thread::scope(|scope| scope.spawn(|| catch_unwind(AssertUnwindSafe(work))).join().unwrap());
    caught.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Begins a get that never waits, and checks that `done` is not called before this returns on its
/// own thread.
pub fn begin_async(
    cache: &Arc<Cache>,
    id: &str,
    within: Within,
    done: impl FnOnce(Result<Fetched, Error>) + Send + 'static,
) -> Result<Begun, Error> {
    let (joiner, has_returned) = (thread::current().id(), Arc::new(AtomicBool::new(false)));
    let returned = has_returned.clone();
    let begun = cache.begin_async(id, within, move |outcome| {
        let is_elsewhere = thread::current().id() != joiner;
        assert!(is_elsewhere || returned.load(SeqCst), "told before the call returned");
        done(outcome);
    });
    has_returned.store(true, SeqCst);
    begun
}

pub enum Reply {
    Manifest,
    Unchanged,
    Empty,
    NotFound,
    Failure,
    /// The loader panics; a load that was begun is dropped by that.
    Panic,
}

/// Records the end of a load, also by a panic.
struct Ended<'w>(&'w World, usize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.history(|history| history.loads[self.1].ended = Some(history.tick()));
    }
}

/// Runs each body on its own thread, and then checks what must hold at the end.
pub fn threads<R: Send + 'static>(world: &Arc<World>, bodies: Vec<fn(&World) -> R>) -> Vec<R> {
    let run = |body: fn(&World) -> R| {
        let world = world.clone();
        thread::spawn(move || body(&world))
    };
    let threads: Vec<_> = bodies.into_iter().map(run).collect();
    let results = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    world.check_at_end();
    results
}

pub fn status<T>(result: &Result<T, Error>) -> Option<Status> {
    result.as_ref().err().map(Error::status)
}
