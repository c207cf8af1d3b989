//! Reads a sequence of calls from random bytes, and makes them on two caches through the C
//! functions. It checks what every caller may expect: a manifest is the text of a load of that
//! plugin, a string does not change until it is freed, and the statistics add up.

use manifest_cache::capi::*;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};

const IDS: [&CStr; 6] = [c"", c"a", c"b", c"../a", c"\xC3\xA4", c"\xFF"];
const NOT_UTF8: usize = 5;

struct Script<'s> {
    bytes: &'s [u8],
    caches: [*mut mc_cache; 2],
    strings: Vec<(*const c_char, Vec<u8>)>,
    /// Calls of `mc_get` with valid arguments.
    gets: [u64; 2],
    depth: usize,
}

pub fn check(bytes: &[u8]) {
    let caches = [mc_new(MC_TTL_DEFAULT), mc_new(if bytes.len() % 2 == 0 { 0 } else { u64::MAX })];
    let mut script = Script { bytes, caches, strings: Vec::new(), gets: [0; 2], depth: 0 };
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
        let (what, which, id) = (self.next() % 12, self.next() % 2, self.next() % IDS.len());
        let cache = self.caches[which];
        // SAFETY: the caches are live, the ids are C strings, and each string is freed once.
        unsafe {
            match what {
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
                _ => self.misuse(cache),
            }
        }
    }

    unsafe fn get(&mut self, which: usize, id: usize) {
        // SAFETY: the fields of an error are integers, for which zero is valid.
        let mut error: mc_error = unsafe { std::mem::zeroed() };
        self.gets[which] += u64::from(id != NOT_UTF8);
        let loader: mc_loader = if self.next() % 16 == 0 { None } else { Some(load) };
        let cache = self.caches[which];
        // SAFETY: as in `step`; the loader gets this script and uses it only during the call.
        unsafe {
            let user_data = (&raw mut *self).cast::<c_void>();
            let string = mc_get(cache, IDS[id].as_ptr(), loader, user_data, &mut error);
            assert_eq!(string.is_null(), error.status != MC_OK && error.status != MC_STALE);
            if !string.is_null() {
                let copy = CStr::from_ptr(string).to_bytes().to_vec();
                assert!(copy == b"{}" || copy.starts_with(b"{\"of\":"), "{copy:?}");
                assert_eq!(mc_string_len(string), copy.len());
                assert!(mc_string_revision(string) != 0);
                self.strings.push((string, copy));
            } else {
                assert!(error.message[0] != 0);
            }
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

    unsafe fn misuse(&self, cache: *mut mc_cache) {
        // SAFETY: NULL is allowed everywhere.
        unsafe {
            assert!(mc_get(null_mut(), IDS[1].as_ptr(), None, null_mut(), null_mut()).is_null());
            assert!(mc_get(cache, null(), Some(load), null_mut(), null_mut()).is_null());
            assert_eq!(mc_clear(null_mut(), null()), 0);
            assert!(mc_stats(null()).is_null());
            assert_eq!(mc_load_json(null_mut(), null(), 3), MC_INVALID_ARGUMENT);
            mc_string_free(null());
            mc_free(null_mut());
        }
    }
}

/// Answers any number of times, and may run a step of the script before that.
unsafe extern "C-unwind" fn load(_id: *const c_char, load: *mut mc_load, script: *mut c_void) {
    // SAFETY: `get` passed its script, and does not use it until this function returns.
    let script = unsafe { &mut *script.cast::<Script>() };
    if script.depth < 4 && script.next() % 4 == 0 {
        script.depth += 1;
        script.step();
        script.depth -= 1;
    }
    for _ in 0..script.next() % 3 {
        // SAFETY: the load is live, and each length is that of its text.
        unsafe {
            match script.next() % 11 {
                8 => mc_load_ttl(load, script.next() as u64),
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
                        format!("{{\"of\":\"{}\"}}", "x".repeat(script.next() * script.next()));
                    let status = mc_load_json(load, text.as_ptr().cast(), text.len());
                    assert!(status == MC_OK || status == MC_INVALID_MANIFEST);
                }
            }
        }
    }
}

fn free(string: *const c_char, copy: &[u8]) {
    // SAFETY: the script owns the string, and does not use it after this.
    unsafe {
        assert_eq!(CStr::from_ptr(string).to_bytes(), copy, "a returned string never changes");
        mc_string_free(string);
    }
}
