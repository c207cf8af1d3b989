//! Asynchronous waits, and what they were told.

use crate::history::History;
use crate::world::{BegunLoad, World, begin_async};
use manifest_cache::{Begun, Error, Fetched, Status, Within};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The asynchronous waits of one scenario, in the order in which their calls began.
#[derive(Default)]
pub struct Waits(Mutex<Vec<Wait>>);

/// A call that may have begun an asynchronous wait. The times are positions in the history.
#[derive(Clone, Debug)]
pub struct Wait {
    asked: u64,
    /// When the call returned.
    returned: Option<u64>,
    is_pending: bool,
    /// When the outcome was told, and the outcome.
    pub told: Option<(u64, Result<Fetched, Error>)>,
}

impl Wait {
    pub fn status(&self) -> Option<Status> {
        self.told.as_ref().and_then(|(_, outcome)| outcome.as_ref().err()).map(Error::status)
    }

    /// Waits for one load have one source.
    fn source(&self) -> Option<(u64, i32)> {
        self.told.as_ref().map(|(_, outcome)| match outcome {
            Ok(fetched) => (fetched.manifest.revision(), 0),
            Err(error) => (0, error.code()),
        })
    }
}

/// What a call of [`Waits::begin`] began.
pub enum Began {
    Load(BegunLoad),
    Wait,
    /// It got an outcome at once.
    Nothing(Result<Fetched, Error>),
}

impl Waits {
    pub fn seen(&self) -> MutexGuard<'_, Vec<Wait>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a get that does not wait. When an outcome is told, calls `then`.
    pub fn begin(
        self: &Arc<Self>,
        world: &Arc<World>,
        id: &'static str,
        within: Within,
        then: impl FnOnce(&Result<Fetched, Error>) + Send + 'static,
    ) -> Began {
        let asked = world.history(History::tick);
        let number = {
            let mut waits = self.seen();
            waits.push(Wait { asked, returned: None, is_pending: false, told: None });
            waits.len() - 1
        };
        let (waits, there) = (self.clone(), world.clone());
        let begun = begin_async(&world.cache, id, within, move |outcome| {
            let told = there.history(|history| {
                history.check(id, asked, None, &outcome);
                history.tick()
            });
            let before = waits.seen()[number].told.replace((told, outcome.clone()));
            assert!(before.is_none(), "told twice: {before:?}");
            then(&outcome);
        });
        let wait = &mut self.seen()[number];
        wait.returned = Some(world.history(History::tick));
        wait.is_pending = matches!(begun, Ok(Begun::Pending));
        let outcome = match begun {
            Ok(Begun::Pending) => return Began::Wait,
            Ok(Begun::Load(load)) => return Began::Load(world.begun(id, asked, load)),
            Ok(Begun::Ready(fetched)) => Ok(fetched),
            Err(error) => Err(error),
        };
        world.history(|history| history.check(id, asked, None, &outcome));
        Began::Nothing(outcome)
    }

    /// Checks that what is pending was told, and nothing else.
    pub fn check_that_each_was_told_once(&self) {
        for wait in &*self.seen() {
            assert_eq!(wait.told.is_some(), wait.is_pending, "{wait:?}");
        }
    }

    /// Checks that waits for one load were told in the order in which they joined it.
    pub fn check_the_order(&self) {
        let waits = self.seen();
        for one in &*waits {
            for other in waits.iter().filter(|other| other.source() == one.source()) {
                let (Some((one_told, _)), Some((other_told, _))) = (&one.told, &other.told) else {
                    continue;
                };
                if one.returned < Some(other.asked) {
                    assert!(one_told < other_told, "told out of order: {one:?}, {other:?}");
                }
            }
        }
    }
}
