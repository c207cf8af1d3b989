//! The contestants: this library as a C host uses it, and the other caches behind the same six C
//! functions.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `mc_loader`, as in the header.
pub type Loader =
    unsafe extern "C" fn(id: *const c_char, load: *mut c_void, user_data: *mut c_void);

/// The type of `mc_put()`, as in the header.
pub type Put =
    unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, usize, *mut Error) -> i32;

/// The functions of the header that a hit, a load and a clear need.
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

/// `mc_error`, which a C host keeps on its stack.
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

// SAFETY: a handle of `dlopen` may be used on any thread.
unsafe impl Sync for Library {}

impl Library {
    pub fn open(path: &Path) -> Self {
        let name = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path has no NUL");
        // SAFETY: the initializers of the two libraries that the bench opens may run at any time.
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

    /// `mc_put()`; the other caches have no such function.
    pub fn put(&self) -> Put {
        // SAFETY: this is its type in the header.
        unsafe { self.function("mc_put") }
    }

    fn functions(&self, prefix: &str) -> Functions {
        let name = |function: &str| format!("{prefix}_{function}");
        // SAFETY: these are their types in the header and in peers.cpp.
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

/// This library.
pub fn ours(library: &Library) -> Contestant {
    Contestant { name: "manifest_cache", functions: library.functions("mc") }
}

/// The floor of a hit on one of many plugins; see peers.cpp.
pub fn two_misses(peers: &Library) -> Contestant {
    Contestant { name: "two_misses", functions: peers.functions("two_misses") }
}

/// All contestants. The first is this library, the second the floor, the third the algorithm of the
/// class that this library replaces.
pub fn all(library: &Library, peers: &Library) -> Vec<Contestant> {
    vec![
        ours(library),
        Contestant { name: "floor", functions: peers.functions("floor") },
        Contestant { name: "recursive_mutex", functions: peers.functions("recursive") },
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

/// Compiles the contestants in C++, and returns their shared library.
pub fn compile_peers() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    let object = program.with_file_name("libpeers.so");
    let flags = ["-std=c++17", "-pthread"];
    compile(&compiler("CXX", "c++"), &flags, "peers.cpp", &object, &[]);
    object
}

/// The compiler that the environment names, or else the usual one.
pub fn compiler(variable: &str, usual: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| usual.into())
}

/// Compiles a source of the bench to a shared library.
pub fn compile(compiler: &str, flags: &[&str], source: &str, object: &Path, libraries: &[&str]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/speed").join(source);
    let status = Command::new(compiler)
        .args(flags)
        .args(["-O2", "-Wall", "-shared", "-fPIC", "-o"])
        .args([object, &source])
        .args(libraries)
        .status();
    let source = source.display();
    assert!(status.is_ok_and(|status| status.success()), "{compiler} could not compile {source}");
}

/// A cache that is a Rust crate, as a Rust host would use it.
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
            // SAFETY: the loader passes the vector to `load_json` below, which expects one.
            unsafe { loader.expect("there is a loader")(id, (&raw mut json).cast(), user_data) };
            json
        };
        // SAFETY: the bench passes the pointer that `new` returned, and a C string.
        unsafe { (*cache.cast::<P>()).get(text(id), load) }
    }
    unsafe extern "C" fn load_json(load: *mut c_void, json: *const c_char, len: usize) -> i32 {
        // SAFETY: `load` is the vector of `get` above; the loader's text has `len` bytes.
        unsafe { *load.cast::<Vec<u8>>() = std::slice::from_raw_parts(json.cast(), len).to_vec() };
        0
    }
    unsafe extern "C" fn clear<P: Peer>(cache: *mut c_void, id: *const c_char) -> usize {
        // SAFETY: as for `get`.
        unsafe { (*cache.cast::<P>()).clear(text(id)) };
        1
    }
    unsafe extern "C" fn string_free(string: *const c_char) {
        // SAFETY: `owned_copy` allocated it.
        unsafe { libc::free(string.cast_mut().cast()) }
    }
    unsafe extern "C" fn free<P: Peer>(cache: *mut c_void) {
        // SAFETY: `new` returned it, and it is freed once.
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
    // SAFETY: the allocation has room for the text and the NUL after it.
    unsafe {
        let copy = libc::malloc(text.len() + 1).cast::<u8>();
        assert!(!copy.is_null());
        copy.copy_from_nonoverlapping(text.as_ptr(), text.len());
        copy.add(text.len()).write(0);
        copy.cast()
    }
}

type Text = std::sync::Arc<[u8]>;

/// moka with its own time to live and its own hasher, without a bound.
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

/// quick_cache has no time to live, so each value holds the time of its expiry, which is compared
/// with the coarse clock. The capacity is so large that it never evicts.
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
    // SAFETY: `time` is a live local variable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    time.tv_sec as u64
}

/// A cache of one contestant, with the text that its loader answers with.
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
        // SAFETY: any time to live is allowed.
        let cache = unsafe { (functions.new)(3_600_000) };
        Cache {
            functions,
            cache,
            source: Box::new(Source { load_json: functions.load_json, text: text.to_owned() }),
        }
    }

    /// A get and a free: a hit if the cache holds the plugin, else a miss.
    #[inline]
    pub fn hit(&self, id: *const c_char, error: &mut Error) {
        self.with(id, error, |_| ());
    }

    /// The same, with something that is done to the string in between.
    #[inline]
    pub fn with(&self, id: *const c_char, error: &mut Error, work: impl FnOnce(*const c_char)) {
        let user_data = (&raw const *self.source).cast_mut().cast();
        // SAFETY: `id` is a C string, the loader gets its own source, and the string is freed
        // once.
        unsafe {
            let string = (self.functions.get)(self.cache, id, Some(load), user_data, error);
            work(string);
            (self.functions.string_free)(string);
        }
    }

    pub fn clear(&self, id: *const c_char) {
        // SAFETY: `id` is a C string.
        unsafe { (self.functions.clear)(self.cache, id) };
    }

    /// Stores a manifest; `put` is this contestant's function.
    pub fn put(&self, put: Put, id: *const c_char, text: &str) {
        // SAFETY: `id` is a C string, and the length is that of the text.
        let status =
            unsafe { put(self.cache, id, text.as_ptr().cast(), text.len(), std::ptr::null_mut()) };
        assert_eq!(status, 0, "the text is a manifest");
    }

    /// Gets a report, such as the statistics, and frees it.
    ///
    /// # Safety
    /// `report` is a function of this contestant that takes its cache.
    pub unsafe fn report(&self, report: unsafe extern "C" fn(*mut c_void) -> *const c_char) {
        // SAFETY: the caller's promise; the string is freed once.
        unsafe { (self.functions.string_free)(report(self.cache)) }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // SAFETY: the cache is not used after this.
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
