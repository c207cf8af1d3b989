//! The history of the calls on a cache, and the rules that are checked on it.

use manifest_cache::{Error, Fetched};

#[derive(Default)]
pub struct History {
    pub now: u64,
    pub loads: Vec<LoadSeen>,
    pub clears: Vec<ClearSeen>,
    pub puts: usize,
    pub got: usize,
    pub bound: u64,
    /// Whether waits can time out. After a time-out a plugin can have several loads.
    pub has_time_outs: bool,
}

/// A load. All times here are positions in the order of events.
#[derive(Debug)]
pub struct LoadSeen {
    pub id: &'static str,
    /// When the get that runs it began. From then on a clear can fence it.
    pub asked: u64,
    /// When its caller began to bring the manifest.
    pub began: u64,
    pub ended: Option<u64>,
    /// When the get that ran it returned, or its end did, if the answer was a new manifest or "not
    /// found". From then on no get may return anything from a load that began before this one.
    pub took_effect: Option<u64>,
}

/// A clear, or a put, which fences loads as a clear does.
#[derive(Debug)]
pub struct ClearSeen {
    /// None for a clear of all plugins.
    pub id: Option<&'static str>,
    pub began: u64,
    pub ended: Option<u64>,
}

impl ClearSeen {
    fn concerns(&self, id: &str) -> bool {
        self.id.is_none_or(|cleared| cleared == id)
    }
}

impl History {
    pub fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// Records that a load begins, which a get of `id` runs.
    pub fn load_begins(&mut self, id: &'static str, asked: u64) -> usize {
        self.check_that_one_load_is_unfenced(id, asked);
        let began = self.tick();
        self.loads.push(LoadSeen { id, asked, began, ended: None, took_effect: None });
        self.loads.len() - 1
    }

    /// Checks what a get of `id` returned. `own` is the load that it ran, if that took effect.
    pub fn check(
        &mut self,
        id: &str,
        asked: u64,
        own: Option<usize>,
        got: &Result<Fetched, Error>,
    ) {
        self.got += 1;
        if let Some(number) = own {
            self.loads[number].took_effect = Some(self.tick());
        }
        match got {
            Ok(Fetched { manifest, .. }) if manifest.as_str() != "{}" => {
                let number = manifest[8..manifest.len() - 1].parse().unwrap();
                self.check_that_nothing_is_older_than_a_clear(id, asked, number);
                self.check_that_nothing_is_older_than_a_later_load(id, asked, number);
            }
            Err(error) if error.message().contains("on purpose") => {
                self.check_that_nothing_is_older_than_a_clear(id, asked, error.code() as usize);
            }
            _ => {}
        }
    }

    /// R7: two loads of a plugin may run at the same time only if a clear has fenced one of them or
    /// a wait has timed out.
    fn check_that_one_load_is_unfenced(&self, id: &str, asked: u64) {
        if self.has_time_outs {
            return;
        }
        for other in self.loads.iter().filter(|load| load.id == id && load.ended.is_none()) {
            let since = asked.min(other.asked);
            let fences = |clear: &ClearSeen| {
                clear.concerns(id) && clear.ended.is_none_or(|ended| ended > since)
            };
            assert!(
                self.clears.iter().any(fences),
                "two unfenced loads of {id}: {:?}, {:?}",
                self.loads,
                self.clears
            );
        }
    }

    /// R8: a get that began after a clear had returned does not return anything from a load that
    /// began before that clear.
    fn check_that_nothing_is_older_than_a_clear(&self, id: &str, asked: u64, load: usize) {
        let load_began = self.loads[load].began;
        for clear in self.clears.iter().filter(|clear| clear.concerns(id)) {
            let over = clear.ended.is_some_and(|ended| ended < asked);
            assert!(
                !(over && load_began < clear.began),
                "a get of {id} saw a load from before a clear"
            );
        }
    }

    /// R8: a load that takes effect fences those that began before it.
    fn check_that_nothing_is_older_than_a_later_load(&self, id: &str, asked: u64, load: usize) {
        let load_began = self.loads[load].began;
        for later in self.loads.iter().filter(|later| later.id == id) {
            let is_over = later.took_effect.is_some_and(|returned| returned < asked);
            assert!(
                !(is_over && load_began < later.asked),
                "a get of {id} saw a load from before one that took effect: {:?}",
                self.loads
            );
        }
    }
}
