//! A cache with a manual clock, and loaders for it.

use manifest_cache::{Cache, Clock, Error, Load, Manifest};
use std::time::Duration;

pub const TTL: Duration = Duration::from_millis(1000);
pub const MANIFEST: &str = r#"{"name":"Weather"}"#;

pub fn with_clock() -> (Cache, Clock) {
    let clock = Clock::manual();
    (Cache::with_clock(TTL, clock.clone()), clock)
}

pub fn answer(json: &str) -> impl FnOnce(&mut Load) {
    move |load| drop(load.json(json))
}

pub fn unexpected(_: &mut Load) {
    panic!("the loader must not be called");
}

pub fn get(cache: &Cache, id: &str) -> Result<Manifest, Error> {
    cache.get(id, answer(MANIFEST))
}
