//! Reads a sequence of calls from random bytes, and makes them on two caches through the C
//! functions. It checks what every caller may expect: a manifest is the text of a load of that
//! plugin, a string does not change until it is freed, each asynchronous wait is told once, and the
//! statistics add up.

use manifest_cache::capi::*;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const IDS: [&CStr; 6] = [c"", c"a", c"b", c"../a", c"\xC3\xA4", c"\xFF"];
const NOT_UTF8: usize = 5;

struct Script<'s> {
    bytes: &'s [u8],
    caches: [*mut mc_cache; 2],
    strings: Vec<(*const c_char, Vec<u8>)>,
    /// Calls of `mc_get` and `mc_begin` with valid arguments.
    gets: [u64; 2],
    depth: usize,
    /// The loads that have begun and not ended.
    begun: Vec<Begun>,
    /// The plugins whose loaders are running, each with its cache.
    loading: Vec<(usize, usize)>,
    /// For each asynchronous wait, how often it was told.
    waits: Vec<Arc<AtomicU32>>,
}

struct Begun {
    load: *mut mc_load,
    which: usize,
    id: usize,
}

/// So many loads are in progress at most.
const MOST_BEGUN: usize = 8;

pub fn check(bytes: &[u8]) {
    let caches = [mc_new(MC_TTL_DEFAULT), mc_new(if bytes.len() % 2 == 0 { 0 } else { u64::MAX })];
    let mut script = Script {
        bytes,
        caches,
        strings: Vec::new(),
        gets: [0; 2],
        depth: 0,
        begun: Vec::new(),
        loading: Vec::new(),
        waits: Vec::new(),
    };
    while !script.bytes.is_empty() {
        script.step();
    }
    for (cache, gets) in caches.into_iter().zip(script.gets) {
        let kinds = [
            MC_STAT_HITS,
            MC_STAT_STALE_HITS,
            MC_STAT_NEGATIVE_HITS,
            MC_STAT_MISSES,
            MC_STAT_WAITS,
        ];
        // SAFETY: the cache is live.
        let counted: u64 = unsafe { kinds.iter().map(|kind| mc_stat(cache, *kind)).sum() };
        assert_eq!(counted, gets);
        // SAFETY: `mc_new` returned it, and it is not used after this.
        unsafe { mc_free(cache) };
    }
    while !script.begun.is_empty() {
        // SAFETY: a load may end after its cache was freed.
        unsafe { script.end(0) };
    }
    assert!(script.waits.iter().all(|told| told.load(Relaxed) == 1));
    while let Some((string, copy)) = script.strings.pop() {
        free(string, &copy);
    }
}

impl Script<'_> {
    fn next(&mut self) -> usize {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        usize::from(*first)
    }

    fn step(&mut self) {
        let (what, which, id) = (self.next() % 12, self.next(), self.next() % IDS.len());
        let (which, variant) = (which % 2, which / 2 % 4);
        let cache = self.caches[which];
        // SAFETY: the caches are live, the ids are C strings, and each string is freed once.
        unsafe {
            match what {
                0..=2 if variant >= 2 => self.begin(which, id),
                0..=3 => self.get(which, id),
                4 => assert!(mc_clear(cache, IDS[id].as_ptr()) <= 1),
                5 if self.next() % 8 == 0 => drop(mc_clear(cache, null())),
                6 if !self.strings.is_empty() => {
                    let at = self.next() % self.strings.len();
                    let (string, copy) = self.strings.swap_remove(at);
                    free(string, &copy);
                }
                7 => self.put(which, id),
                8 => {
                    let (option, mut value) = (self.next() as i32 % 12, self.next() as u64 * 5);
                    let known = (MC_OPT_TTL_MS..=MC_OPT_FAILURE_TTL_MS).contains(&option);
                    let possible = match option {
                        MC_OPT_MAX_MANIFEST_BYTES => value > 0,
                        MC_OPT_SYNTAX => {
                            value %= 4;
                            value <= MC_SYNTAX_JSONC
                        }
                        _ => true,
                    };
                    assert_eq!(mc_set_option(cache, option, value) == MC_OK, known && possible);
                }
                9 => {
                    let revision = mc_revision(cache, IDS[id].as_ptr());
                    self.gets[which] += u64::from(revision != 0);
                    assert!(id != NOT_UTF8 || revision == 0);
                }
                10 => {
                    if variant == 3 {
                        mc_advance(cache, 40_000); // more than the default of MC_OPT_WAIT_MS
                    }
                    assert!(mc_purge(cache) <= IDS.len());
                    let entries = mc_entries(cache);
                    let list: serde_json::Value =
                        serde_json::from_str(CStr::from_ptr(entries).to_str().unwrap()).unwrap();
                    assert_eq!(
                        list.as_array().unwrap().len() as u64,
                        mc_stat(cache, MC_STAT_TOTAL_ENTRIES)
                    );
                    mc_string_free(entries);
                }
                _ if variant == 0 || self.begun.is_empty() => self.misuse(cache),
                _ => {
                    let at = self.next() % self.begun.len();
                    if variant == 1 {
                        self.answer(self.begun[at].load);
                    } else {
                        self.end(at);
                    }
                }
            }
        }
    }

    unsafe fn get(&mut self, which: usize, id: usize) {
        // SAFETY: the fields of an error are integers, for which zero is valid.
        let mut error: mc_error = unsafe { std::mem::zeroed() };
        let loader: mc_loader = if self.next() % 16 == 0 { None } else { Some(load) };
        if loader.is_some() && self.has_begun(which, id) {
            // The only thread must not wait for a load that it is to end.
            // SAFETY: the caller's promise.
            return unsafe { self.begin(which, id) };
        }
        self.gets[which] += u64::from(id != NOT_UTF8);
        let cache = self.caches[which];
        // SAFETY: as in `step`; the loader gets this script and uses it only during the call.
        unsafe {
            self.loading.push((which, id));
            let user_data = (&raw mut *self).cast::<c_void>();
            let string = mc_get(cache, IDS[id].as_ptr(), loader, user_data, &mut error);
            self.loading.pop();
            self.keep(string, &error);
        }
    }

    /// Keeps what a get returned.
    unsafe fn keep(&mut self, string: *const c_char, error: &mc_error) {
        assert_eq!(string.is_null(), error.status != MC_OK && error.status != MC_STALE);
        assert_eq!(error.message[0] == 0, error.status == MC_OK);
        if !string.is_null() {
            // SAFETY: a get returned it to this script.
            self.strings.push((string, unsafe { copy_of(string) }));
        }
    }

    fn has_begun(&self, which: usize, id: usize) -> bool {
        self.begun.iter().any(|begun| begun.which == which && begun.id == id)
    }

    /// Begins a load, and waits only if no load of this thread can be waited for.
    unsafe fn begin(&mut self, which: usize, id: usize) {
        let choice = self.next();
        if self.begun.len() == MOST_BEGUN {
            // SAFETY: the caller's promise.
            return unsafe { self.end(choice % MOST_BEGUN) };
        }
        let within = match choice % 4 {
            0 => std::ptr::without_provenance_mut(1), // MC_THREAD
            1 if !self.begun.is_empty() => self.begun[choice / 8 % self.begun.len()].load,
            _ => null_mut(),
        };
        let must_not_wait = self.has_begun(which, id) || self.loading.contains(&(which, id));
        self.gets[which] += u64::from(id != NOT_UTF8);
        let told = Arc::new(AtomicU32::new(0));
        let (mut load, mut string) = (null_mut(), null());
        // SAFETY: the fields of an error are integers, for which zero is valid.
        let mut error: mc_error = unsafe { std::mem::zeroed() };
        let (cache, id_text) = (self.caches[which], IDS[id].as_ptr());
        // SAFETY: as in `step`; `told` stays where it is until the wait was told.
        unsafe {
            let status = if must_not_wait || choice % 8 >= 4 {
                let user_data = Arc::as_ptr(&told).cast_mut().cast();
                mc_begin_async(
                    cache,
                    id_text,
                    within,
                    Some(tell),
                    user_data,
                    &mut load,
                    &mut string,
                    &mut error,
                )
            } else {
                mc_begin(cache, id_text, within, &mut load, &mut string, &mut error)
            };
            assert_eq!(load.is_null(), status != MC_BEGUN);
            assert_eq!(told.load(Relaxed), 0);
            match status {
                MC_BEGUN => self.begun.push(Begun { load, which, id }),
                MC_PENDING => self.waits.push(told),
                _ => return self.keep(string, &error),
            }
            assert!(string.is_null() && error.status == MC_OK);
        }
    }

    unsafe fn end(&mut self, at: usize) {
        let mut load = self.begun.swap_remove(at).load;
        // SAFETY: the fields of an error are integers, for which zero is valid.
        let mut error: mc_error = unsafe { std::mem::zeroed() };
        // SAFETY: the load has begun, and this script alone has it.
        unsafe {
            let string = mc_end(&mut load, &mut error);
            assert!(load.is_null());
            self.keep(string, &error);
        }
    }

    unsafe fn put(&mut self, which: usize, id: usize) {
        let text = format!("{{\"of\":\"{}\"}}", "p".repeat(self.next()));
        // SAFETY: the cache is live, and the length is that of the text.
        let status = unsafe {
            mc_put(
                self.caches[which],
                IDS[id].as_ptr(),
                text.as_ptr().cast(),
                text.len(),
                null_mut(),
            )
        };
        assert!(status == MC_OK || status == MC_INVALID_MANIFEST || id == NOT_UTF8, "{status}");
    }

    /// Answers a load any number of times.
    unsafe fn answer(&mut self, load: *mut mc_load) {
        for _ in 0..self.next() % 3 {
            // SAFETY: the load is live, and each length is that of its text.
            unsafe {
                match self.next() % 11 {
                    8 => mc_load_ttl(load, self.next() as u64),
                    9 => {
                        let cached = mc_load_cached(load);
                        assert_eq!(mc_load_unchanged(load) == MC_OK, !cached.is_null());
                    }
                    0 => mc_load_not_found(load),
                    1 => mc_load_fail(load, 7, c"on \xFF purpose\n".as_ptr()),
                    2 => drop(mc_load_json(load, c"{}".as_ptr(), 2)),
                    3 => assert_eq!(mc_load_json(load, c"{]".as_ptr(), 2), MC_INVALID_MANIFEST),
                    4 => drop(mc_load_directory(load, c"/nowhere".as_ptr())),
                    5 => assert_eq!(mc_load_file(load, c"/".as_ptr()), MC_LOAD_FAILED),
                    _ => {
                        let text =
                            format!("{{\"of\":\"{}\"}}", "x".repeat(self.next() * self.next()));
                        let status = mc_load_json(load, text.as_ptr().cast(), text.len());
                        assert!(status == MC_OK || status == MC_INVALID_MANIFEST);
                    }
                }
            }
        }
    }

    unsafe fn misuse(&self, cache: *mut mc_cache) {
        // SAFETY: NULL is allowed everywhere.
        unsafe {
            assert!(mc_get(null_mut(), IDS[1].as_ptr(), None, null_mut(), null_mut()).is_null());
            assert!(mc_get(cache, null(), Some(load), null_mut(), null_mut()).is_null());
            assert_eq!(mc_clear(null_mut(), null()), 0);
            assert!(mc_stats(null()).is_null());
            let (mut load, mut string) = (null_mut(), null());
            let id = IDS[1].as_ptr();
            let status = mc_begin(null_mut(), id, null_mut(), &mut load, &mut string, null_mut());
            assert_eq!(status, MC_INVALID_ARGUMENT);
            let status = mc_begin(cache, id, null_mut(), null_mut(), &mut string, null_mut());
            assert_eq!(status, MC_INVALID_ARGUMENT);
            assert!(load.is_null() && string.is_null());
            assert!(mc_end(&mut load, null_mut()).is_null());
            assert!(mc_end(null_mut(), null_mut()).is_null());
            assert_eq!(mc_load_json(null_mut(), null(), 3), MC_INVALID_ARGUMENT);
            mc_string_free(null());
            mc_free(null_mut());
        }
    }
}

/// May run a step of the script, and then answers any number of times.
unsafe extern "C-unwind" fn load(_id: *const c_char, load: *mut mc_load, script: *mut c_void) {
    // SAFETY: `get` passed its script, and does not use it until this function returns.
    let script = unsafe { &mut *script.cast::<Script>() };
    if script.depth < 4 && script.next() % 4 == 0 {
        script.depth += 1;
        script.step();
        script.depth -= 1;
    }
    // SAFETY: the load is live.
    unsafe { script.answer(load) };
}

/// Is told the outcome of an asynchronous wait.
unsafe extern "C-unwind" fn tell(string: *const c_char, error: *const mc_error, told: *mut c_void) {
    // SAFETY: `begin` passed a counter that lives as long as the script; the string is owned.
    unsafe {
        assert_eq!((*told.cast::<AtomicU32>()).fetch_add(1, Relaxed), 0);
        let status = (*error).status;
        assert_eq!(string.is_null(), status != MC_OK && status != MC_STALE);
        if !string.is_null() {
            free(string, &copy_of(string));
        }
    }
}

/// The text of a manifest, which is as the loads of this script bring them.
unsafe fn copy_of(string: *const c_char) -> Vec<u8> {
    // SAFETY: the caller owns the string.
    unsafe {
        let copy = CStr::from_ptr(string).to_bytes().to_vec();
        assert!(copy == b"{}" || copy.starts_with(b"{\"of\":"), "{copy:?}");
        assert_eq!(mc_string_len(string), copy.len());
        assert!(mc_string_revision(string) != 0);
        copy
    }
}

fn free(string: *const c_char, copy: &[u8]) {
    // SAFETY: the script owns the string, and does not use it after this.
    unsafe {
        assert_eq!(CStr::from_ptr(string).to_bytes(), copy, "a returned string never changes");
        mc_string_free(string);
    }
}
