//! The log messages of a cache, and the function of the host that receives them.

use crate::sync::each_thread;
use arc_swap::ArcSwapOption;
use std::cell::Cell;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicI32,
    Ordering::{Relaxed, SeqCst},
};

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// No messages at all.
    Off = 0,
    /// A load failed.
    Error = 1,
    /// Warnings, such as a wait that timed out.
    Warn = 2,
    /// Something was cleared.
    Info = 3,
    /// Hits, loads, cached manifests and expired entries.
    Debug = 4,
}

impl Level {
    /// The level with this number in the C header.
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        [Level::Off, Level::Error, Level::Warn, Level::Info, Level::Debug]
            .into_iter()
            .find(|level| *level as i32 == number)
    }
}

/// The function that receives the messages.
type Sink = Box<dyn Fn(Level, &str) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Logger {
    /// The level of `target`, or of the target before it. It is read first because that is cheaper.
    level: AtomicI32,
    target: ArcSwapOption<Target>,
}

/// A sink and its level, which are replaced together.
struct Target {
    level: Level,
    sink: Sink,
}

impl Logger {
    pub(crate) fn set(&self, level: Level, sink: Option<Sink>) {
        self.target.store(sink.map(|sink| Arc::new(Target { level, sink })));
        // Another thread may store another target at the same time. The loop ends when `level` is
        // that of the target stored last.
        loop {
            let target = self.target.load();
            let level = target.as_ref().map_or(Level::Off, |target| target.level);
            self.level.store(level as i32, SeqCst);
            let now = self.target.load();
            if now.as_ref().map(Arc::as_ptr) == target.as_ref().map(Arc::as_ptr) {
                return;
            }
        }
    }

    #[inline]
    pub(crate) fn wants(&self, level: Level) -> bool {
        self.level.load(Relaxed) >= level as i32
    }

    /// The caller must not hold a lock, because the sink may call the cache. Messages about calls
    /// that the sink makes are dropped, because each would cause another one.
    pub(crate) fn log(&self, level: Level, message: impl Display) {
        each_thread!(static IS_LOGGING: Cell<bool> = Cell::new(false));
        if !self.wants(level) || IS_LOGGING.with(|logging| logging.replace(true)) {
            return;
        }
        struct Done;
        impl Drop for Done {
            fn drop(&mut self) {
                IS_LOGGING.with(|logging| logging.set(false));
            }
        }
        let _done = Done;
        if let Some(target) = self.target.load_full().filter(|target| target.level >= level) {
            (target.sink)(level, &message.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_sink_receives_messages_up_to_its_level_and_none_about_its_own_calls() {
        let (logger, heard) = (Arc::new(Logger::default()), Arc::new(Mutex::new(Vec::new())));
        logger.log(Level::Error, "before anyone listens");
        let (from_within, hears) = (logger.clone(), heard.clone());
        let sink = move |level, message: &str| {
            hears.lock().unwrap().push((level, message.to_owned()));
            from_within.log(Level::Error, "from within");
        };
        logger.set(Level::Info, Some(Box::new(sink)));
        for (level, message) in
            [(Level::Debug, "one"), (Level::Info, "two"), (Level::Error, "three")]
        {
            logger.log(level, message);
        }
        logger.set(Level::Debug, None);
        logger.log(Level::Error, "after");
        let told = [(Level::Info, "two".to_owned()), (Level::Error, "three".to_owned())];
        assert_eq!(*heard.lock().unwrap(), told);
    }

    #[test]
    fn a_new_sink_receives_no_message_above_its_level_that_the_sink_before_it_wanted() {
        let (logger, heard) = (Logger::default(), Arc::new(Mutex::new(0)));
        let hears = heard.clone();
        logger.set(Level::Error, Some(Box::new(move |_, _| *hears.lock().unwrap() += 1)));
        // A thread may still see the level of a sink that has just been replaced.
        logger.level.store(Level::Debug as i32, Relaxed);
        logger.log(Level::Debug, "for the one before");
        assert_eq!(*heard.lock().unwrap(), 0);
        logger.log(Level::Error, "for both");
        assert_eq!(*heard.lock().unwrap(), 1);
    }
}
