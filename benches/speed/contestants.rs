//! Who takes part: this library as a C host sees it, and its peers behind the same six C functions.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A loader as in the library's header.
pub type Loader =
    unsafe extern "C" fn(id: *const c_char, load: *mut c_void, user_data: *mut c_void);

/// `mc_put` as in the library's header.
pub type Put =
    unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, usize, *mut Error) -> i32;

/// The functions of the library's header that a hit, a load and a clear need.
#[derive(Clone, Copy)]
pub struct Functions {
    pub new: unsafe extern "C" fn(ttl_ms: u64) -> *mut c_void,
    pub get: unsafe extern "C" fn(
        *mut c_void,
        *const c_char,
        Option<Loader>,
        *mut c_void,
        *mut Error,
    ) -> *const c_char,
    pub load_json: unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> i32,
    pub clear: unsafe extern "C" fn(*mut c_void, *const c_char) -> usize,
    pub string_free: unsafe extern "C" fn(*const c_char),
    pub free: unsafe extern "C" fn(*mut c_void),
}

/// `mc_error`, which a C host has on its stack.
#[repr(C, align(8))]
pub struct Error([u8; 512]);

impl Error {
    pub const fn new() -> Self {
        Error([0; 512])
    }
}

/// A shared object that stays loaded.
#[derive(Clone, Copy)]
pub struct Library(*mut c_void);

// SAFETY: the dynamic linker's handle may be used on any thread.
unsafe impl Sync for Library {}

impl Library {
    pub fn open(path: &Path) -> Self {
        let name = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path has no NUL");
        // SAFETY: both libraries that the bench opens may be initialized at any time.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "cannot load {}", path.display());
        Library(handle)
    }

    /// # Safety
    /// `F` is the type of the function of that name.
    pub unsafe fn function<F: Copy>(&self, name: &str) -> F {
        assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
        let c_name = CString::new(name).expect("a name has no NUL");
        // SAFETY: the handle is live.
        let address = unsafe { libc::dlsym(self.0, c_name.as_ptr()) };
        assert!(!address.is_null(), "{name} is missing");
        // SAFETY: the caller's promise.
        unsafe { std::mem::transmute_copy(&address) }
    }

    /// `mc_put`, which only this library has.
    pub fn put(&self) -> Put {
        // SAFETY: the header declares it so.
        unsafe { self.function("mc_put") }
    }

    fn functions(&self, prefix: &str) -> Functions {
        let name = |function: &str| format!("{prefix}_{function}");
        // SAFETY: the header and peers.cpp declare them so.
        unsafe {
            Functions {
                new: self.function(&name("new")),
                get: self.function(&name("get")),
                load_json: self.function(&name("load_json")),
                clear: self.function(&name("clear")),
                string_free: self.function(&name("string_free")),
                free: self.function(&name("free")),
            }
        }
    }
}

#[derive(Clone, Copy)]
pub struct Contestant {
    pub name: &'static str,
    pub functions: Functions,
}

/// All contestants; this library is the first, the floor the second, the seed's algorithm the
/// third.
pub fn all(ours: &Library, peers: &Library) -> Vec<Contestant> {
    vec![
        Contestant { name: "manifest_cache", functions: ours.functions("mc") },
        Contestant { name: "floor", functions: peers.functions("floor") },
        Contestant { name: "seed in C++", functions: peers.functions("seed") },
        Contestant { name: "shared_mutex", functions: peers.functions("shared") },
        Contestant { name: "moka", functions: functions_of::<Moka>() },
        Contestant { name: "quick_cache", functions: functions_of::<QuickCache>() },
    ]
}

/// The library that `cargo bench` built beside this program.
pub fn library() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    program.with_file_name("libmanifest_cache.so")
}

/// The peers in C++, compiled now.
pub fn compile_peers() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    let object = program.with_file_name("libpeers.so");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/speed/peers.cpp");
    let status = Command::new(&compiler)
        .args(["-std=c++17", "-O2", "-Wall", "-shared", "-fPIC", "-pthread", "-o"])
        .args([object.as_path(), Path::new(source)])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{compiler} could not compile {source}");
    object
}

/// A cache from crates.io, as a Rust host would use it.
trait Peer: Sized + Sync {
    fn new(ttl_ms: u64) -> Self;
    fn get(&self, id: &str, load: impl FnOnce() -> Vec<u8>) -> *const c_char;
    fn clear(&self, id: &str);
}

fn functions_of<P: Peer>() -> Functions {
    /// # Safety
    /// `id` is a C string that lives as long as the call.
    unsafe fn text<'a>(id: *const c_char) -> &'a str {
        // SAFETY: the caller's promise.
        unsafe { CStr::from_ptr(id) }.to_str().expect("ids are UTF-8")
    }
    unsafe extern "C" fn new<P: Peer>(ttl_ms: u64) -> *mut c_void {
        Box::into_raw(Box::new(P::new(ttl_ms))).cast()
    }
    unsafe extern "C" fn get<P: Peer>(
        cache: *mut c_void,
        id: *const c_char,
        loader: Option<Loader>,
        user_data: *mut c_void,
        _error: *mut Error,
    ) -> *const c_char {
        let load = || {
            let mut json = Vec::<u8>::new();
            // SAFETY: `load_json` below is what the loader answers with.
            unsafe { loader.expect("there is a loader")(id, (&raw mut json).cast(), user_data) };
            json
        };
        // SAFETY: the bench passes what `new` returned, and a C string.
        unsafe { (*cache.cast::<P>()).get(text(id), load) }
    }
    unsafe extern "C" fn load_json(load: *mut c_void, json: *const c_char, len: usize) -> i32 {
        // SAFETY: `load` is the vector above; the loader's text is `len` long.
        unsafe { *load.cast::<Vec<u8>>() = std::slice::from_raw_parts(json.cast(), len).to_vec() };
        0
    }
    unsafe extern "C" fn clear<P: Peer>(cache: *mut c_void, id: *const c_char) -> usize {
        // SAFETY: as for `get`.
        unsafe { (*cache.cast::<P>()).clear(text(id)) };
        1
    }
    unsafe extern "C" fn string_free(string: *const c_char) {
        // SAFETY: `owned_copy` made it.
        unsafe { libc::free(string.cast_mut().cast()) }
    }
    unsafe extern "C" fn free<P: Peer>(cache: *mut c_void) {
        // SAFETY: `new` made it.
        drop(unsafe { Box::from_raw(cache.cast::<P>()) });
    }
    Functions {
        new: new::<P>,
        get: get::<P>,
        load_json,
        clear: clear::<P>,
        string_free,
        free: free::<P>,
    }
}

fn owned_copy(text: &[u8]) -> *const c_char {
    // SAFETY: there is room for the text and the NUL after it.
    unsafe {
        let copy = libc::malloc(text.len() + 1).cast::<u8>();
        assert!(!copy.is_null());
        copy.copy_from_nonoverlapping(text.as_ptr(), text.len());
        copy.add(text.len()).write(0);
        copy.cast()
    }
}

type Text = std::sync::Arc<[u8]>;

/// With its own time to live and its own hasher, unbounded.
struct Moka(moka::sync::Cache<String, Text>);

impl Peer for Moka {
    fn new(ttl_ms: u64) -> Self {
        let ttl = std::time::Duration::from_millis(ttl_ms);
        Moka(moka::sync::Cache::builder().time_to_live(ttl).build())
    }

    fn get(&self, id: &str, load: impl FnOnce() -> Vec<u8>) -> *const c_char {
        match self.0.get(id) {
            Some(text) => owned_copy(&text),
            None => owned_copy(&self.0.get_with_by_ref(id, || load().into())),
        }
    }

    fn clear(&self, id: &str) {
        self.0.invalidate(id);
    }
}

/// It knows no time to live, so each value has its own end, compared with the coarse clock. Its
/// capacity is such that it never evicts.
struct QuickCache {
    cache: quick_cache::sync::Cache<String, (Text, u64)>,
    ttl_s: u64,
}

impl Peer for QuickCache {
    fn new(ttl_ms: u64) -> Self {
        QuickCache { cache: quick_cache::sync::Cache::new(200_000), ttl_s: ttl_ms / 1000 }
    }

    fn get(&self, id: &str, load: impl FnOnce() -> Vec<u8>) -> *const c_char {
        let now = coarse_seconds();
        match self.cache.get(id) {
            Some((text, expires_at)) if now <= expires_at => owned_copy(&text),
            _ => {
                let text: Text = load().into();
                self.cache.insert(id.to_owned(), (text.clone(), now + self.ttl_s));
                owned_copy(&text)
            }
        }
    }

    fn clear(&self, id: &str) {
        self.cache.remove(id);
    }
}

fn coarse_seconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    time.tv_sec as u64
}

/// A cache of one contestant's, with the loader and the text that it answers with.
pub struct Cache {
    functions: Functions,
    cache: *mut c_void,
    source: Box<Source>,
}

struct Source {
    load_json: unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> i32,
    text: String,
}

// SAFETY: every contestant's functions may be called from any thread.
unsafe impl Sync for Cache {}

impl Cache {
    pub fn new(contestant: &Contestant, text: &str) -> Self {
        let functions = contestant.functions;
        // SAFETY: any time to live will do.
        let cache = unsafe { (functions.new)(3_600_000) };
        Cache {
            functions,
            cache,
            source: Box::new(Source { load_json: functions.load_json, text: text.to_owned() }),
        }
    }

    /// A get and a free: a hit, if the plugin is there.
    #[inline]
    pub fn hit(&self, id: *const c_char, error: &mut Error) {
        let user_data = (&raw const *self.source).cast_mut().cast();
        // SAFETY: `id` is a C string of the bench's, the loader and its data are made for each
        // other, and the string is given back once.
        unsafe {
            let string = (self.functions.get)(self.cache, id, Some(load), user_data, error);
            (self.functions.string_free)(string);
        }
    }

    pub fn clear(&self, id: *const c_char) {
        // SAFETY: `id` is a C string of the bench's.
        unsafe { (self.functions.clear)(self.cache, id) };
    }

    /// Stores a manifest; `put` is this contestant's.
    pub fn put(&self, put: Put, id: *const c_char, text: &str) {
        // SAFETY: `id` is a C string of the bench's, and the text is as long as that.
        let status =
            unsafe { put(self.cache, id, text.as_ptr().cast(), text.len(), std::ptr::null_mut()) };
        assert_eq!(status, 0, "the text is a manifest");
    }

    /// A report, such as statistics, and a free.
    ///
    /// # Safety
    /// `report` is a function of this contestant's that takes its cache.
    pub unsafe fn report(&self, report: unsafe extern "C" fn(*mut c_void) -> *const c_char) {
        // SAFETY: the caller's promise; the string is given back once.
        unsafe { (self.functions.string_free)(report(self.cache)) }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // SAFETY: nobody uses it any more.
        unsafe { (self.functions.free)(self.cache) }
    }
}

unsafe extern "C" fn load(_id: *const c_char, load: *mut c_void, user_data: *mut c_void) {
    // SAFETY: `Cache::hit` passes its source.
    unsafe {
        let source = &*user_data.cast::<Source>();
        (source.load_json)(load, source.text.as_ptr().cast(), source.text.len());
    }
}
