//! Where a cache tells what it does, if anyone wants to know.

use crate::sync::each_thread;
use arc_swap::ArcSwapOption;
use std::cell::Cell;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// No messages at all.
    Off = 0,
    /// A load failed.
    Error = 1,
    /// Something is not as it should be, and the cache helped itself.
    Warn = 2,
    /// Something was cleared.
    Info = 3,
    /// Everything: hits, loads, what is cached and what expired.
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

type Sink = Box<dyn Fn(Level, &str) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Logger {
    level: AtomicI32,
    sink: ArcSwapOption<Sink>,
}

impl Logger {
    pub(crate) fn set(&self, level: Level, sink: Option<Sink>) {
        let level = if sink.is_some() { level } else { Level::Off };
        self.sink.store(sink.map(Arc::new));
        self.level.store(level as i32, Relaxed);
    }

    #[inline]
    pub(crate) fn wants(&self, level: Level) -> bool {
        self.level.load(Relaxed) >= level as i32
    }

    /// Never to be called with a lock held: the sink may call the cache. What it logs by that is
    /// dropped, lest it log for ever.
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
        if let Some(sink) = self.sink.load_full() {
            sink(level, &message.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn only_what_is_wanted_is_told_and_a_message_from_within_is_dropped() {
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
}
