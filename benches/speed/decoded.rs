//! What a host pays for a decoded manifest: when it reads and decodes each time, with a map of its
//! own, and with this library.

use crate::contestants::{self, Cache, Error, Library, compile, compiler, library};
use crate::measured::{Measured, ratio, short, size};
use crate::report::Table;
use crate::workloads::{
    Directory, Hit, Lengths, Series, Threads, Trace, Turn, ids, manifest, quiet_hits, rounds,
};
use crate::{Effort, filled};
use std::ffi::{CStr, CString, c_char, c_void};
use std::hint::black_box;
use std::process::{Command, Stdio};

const PLUGINS: usize = 30;
const SIZES: [usize; 4] = [300, 1024, 5120, 32_768];
const THREADS: [Threads; 2] = [Threads::One, Threads::Two];

/// The ways to get a manifest, in the order of the columns.
const WAYS: [&str; 5] =
    ["read, decode", "our text, decode", "map of its own", "with value", "without value"];
const READ: usize = 0;
const OWN_MAP: usize = 2;
const WITH_VALUE: usize = 3;
const WITHOUT_VALUE: usize = 4;

type Decode = unsafe extern "C" fn(text: *const c_char, len: usize) -> *mut c_void;
type Destroy = unsafe extern "C" fn(value: *mut c_void);

/// A JSON library.
#[derive(Clone, Copy)]
struct Decoder {
    name: &'static str,
    decode: Decode,
    destroy: Destroy,
}

impl Decoder {
    /// # Safety
    /// The text has that many bytes.
    unsafe fn decode(&self, text: *const c_char, len: usize) -> *mut c_void {
        // SAFETY: the caller's promise.
        let value = unsafe { (self.decode)(text, len) };
        assert!(!value.is_null(), "{} does not decode this manifest", self.name);
        value
    }

    /// # Safety
    /// The text has that many bytes.
    unsafe fn decode_and_destroy(&self, text: *const c_char, len: usize) {
        // SAFETY: the caller's promise; the value is destroyed once.
        unsafe { (self.destroy)(black_box(self.decode(text, len))) }
    }
}

/// The source of a decoder in C or C++, and what it needs.
struct Source {
    name: &'static str,
    file: &'static str,
    /// The variable that names the compiler, the usual compiler, and its name of the language.
    compiler: (&'static str, &'static str, &'static str),
    header: &'static str,
    libraries: &'static [&'static str],
    package: &'static str,
}

const SOURCES: [Source; 2] = [
    Source {
        name: "nlohmann-json",
        file: "nlohmann.cpp",
        compiler: ("CXX", "c++", "c++"),
        header: "nlohmann/json.hpp",
        libraries: &[],
        package: "nlohmann-json3-dev",
    },
    Source {
        name: "jansson",
        file: "jansson.c",
        compiler: ("CC", "cc", "c"),
        header: "jansson.h",
        libraries: &["-ljansson"],
        package: "libjansson-dev",
    },
];

impl Source {
    /// Compiles the decoder, unless its header is missing.
    fn decoder(&self) -> Option<Decoder> {
        let (variable, usual, language) = self.compiler;
        let compiler = compiler(variable, usual);
        let has_header = Command::new(&compiler)
            .args(["-M", "-include", self.header, "-x", language, "/dev/null"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !has_header {
            return None;
        }
        let object = library().with_file_name(format!("libdecode_{}.so", self.name));
        compile(&compiler, &[], self.file, &object, self.libraries);
        let object = Library::open(&object);
        // SAFETY: these are their types in the source.
        let (decode, destroy) = unsafe { (object.function("decode"), object.function("destroy")) };
        Some(Decoder { name: self.name, decode, destroy })
    }
}

fn serde_json() -> Decoder {
    unsafe extern "C" fn decode(text: *const c_char, len: usize) -> *mut c_void {
        // SAFETY: the caller's promise.
        let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
        let value: serde_json::Value = serde_json::from_slice(text).expect("it is a manifest");
        Box::into_raw(Box::new(value)).cast()
    }
    unsafe extern "C" fn destroy(value: *mut c_void) {
        // SAFETY: `decode` returned it, and it is destroyed once.
        drop(unsafe { Box::from_raw(value.cast::<serde_json::Value>()) });
    }
    Decoder { name: "serde_json", decode, destroy }
}

/// The functions of the header for values.
#[derive(Clone, Copy)]
struct Values {
    len: unsafe extern "C" fn(*const c_char) -> usize,
    value: unsafe extern "C" fn(*const c_char, *const c_void) -> *mut c_void,
    attach: unsafe extern "C" fn(*const c_char, *const c_void, *mut c_void, Destroy) -> *mut c_void,
}

/// Its address stands for the type of the values.
static TYPE: u8 = 0;

fn value_type() -> *const c_void {
    (&raw const TYPE).cast()
}

/// Reads the file and decodes it, each time.
struct Read<'a> {
    directory: &'a Directory,
    decoder: Decoder,
}

impl Hit for Read<'_> {
    const AT_ONCE: usize = 1;

    fn hit(&self, id: *const c_char, _: &mut Error) {
        // SAFETY: the trace has C strings.
        let id = unsafe { CStr::from_ptr(id) }.to_str().expect("ids are UTF-8");
        let file = self.directory.root.join(id).join("manifest.json");
        let text = std::fs::read(file).expect("the file was written");
        // SAFETY: the length is that of the text.
        unsafe { self.decoder.decode_and_destroy(text.as_ptr().cast(), text.len()) }
    }
}

/// Gets the text from this library, and decodes it each time.
struct TextAndDecode<'a> {
    cache: &'a Cache,
    values: Values,
    decoder: Decoder,
}

impl Hit for TextAndDecode<'_> {
    const AT_ONCE: usize = 1;

    fn hit(&self, id: *const c_char, error: &mut Error) {
        // SAFETY: the library says how long its string is.
        self.cache.with(id, error, |text| unsafe {
            self.decoder.decode_and_destroy(text, (self.values.len)(text));
        });
    }
}

/// Keeps decoded values in a map behind a shared mutex; see peers.cpp.
struct OwnMap {
    map: *mut c_void,
    hit: unsafe extern "C" fn(*mut c_void, *const c_char),
    free: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: the map has a lock, and its values are only read.
unsafe impl Sync for OwnMap {}

impl OwnMap {
    fn filled(peers: &Library, ids: &[CString], text: &str, decoder: &Decoder) -> Self {
        type Put = unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_void, Destroy);
        type New = unsafe extern "C" fn() -> *mut c_void;
        // SAFETY: these are their types in peers.cpp; the length is that of the text.
        unsafe {
            let map = peers.function::<New>("decoded_new")();
            let put: Put = peers.function("decoded_put");
            for id in ids {
                let value = decoder.decode(text.as_ptr().cast(), text.len());
                put(map, id.as_ptr(), value, decoder.destroy);
            }
            let (hit, free) = (peers.function("decoded_hit"), peers.function("decoded_free"));
            OwnMap { map, hit, free }
        }
    }
}

impl Hit for OwnMap {
    #[inline]
    fn hit(&self, id: *const c_char, _: &mut Error) {
        // SAFETY: the map is live, and the id is a C string.
        unsafe { (self.hit)(self.map, id) }
    }
}

impl Drop for OwnMap {
    fn drop(&mut self) {
        // SAFETY: the map is not used after this.
        unsafe { (self.free)(self.map) }
    }
}

/// Gets the manifest and its value from this library.
struct WithValue {
    cache: Cache,
    values: Values,
}

impl WithValue {
    fn filled(cache: Cache, ids: &[CString], values: Values, decoder: &Decoder) -> Self {
        for id in ids {
            // SAFETY: the library says how long its string is, and takes the value over.
            cache.with(id.as_ptr(), &mut Error::new(), |text| unsafe {
                let value = decoder.decode(text, (values.len)(text));
                let attached = (values.attach)(text, value_type(), value, decoder.destroy);
                assert_eq!(attached, value, "the manifest had no value");
            });
        }
        WithValue { cache, values }
    }
}

impl Hit for WithValue {
    #[inline]
    fn hit(&self, id: *const c_char, error: &mut Error) {
        // SAFETY: the string is the library's.
        self.cache.with(id, error, |text| unsafe {
            black_box((self.values.value)(text, value_type()));
        });
    }
}

/// One decoder and one size, with all that its ways need.
struct Host<'a> {
    decoder: &'static str,
    bytes: usize,
    read: Read<'a>,
    text: TextAndDecode<'a>,
    own_map: OwnMap,
    with_value: WithValue,
}

impl Host<'_> {
    /// A turn of each way, in the order of [`WAYS`].
    fn turns<'a>(&'a self, trace: &Trace, threads: Threads, effort: &Effort) -> Vec<Turn<'a>> {
        // Two threads are running when a turn begins, and on a busy machine not for long.
        let lengths = match threads {
            Threads::One => Lengths::of(effort.turn),
            _ => Lengths { warm_up: effort.turn / 2, turn: effort.turn / 5 },
        };
        fn turn<'a>(
            hit: &'a impl Hit,
            trace: &Trace,
            threads: Threads,
            lengths: Lengths,
        ) -> Turn<'a> {
            let mut trace = trace.clone();
            Box::new(move || quiet_hits([hit; 2], &mut trace, threads, lengths))
        }
        vec![
            turn(&self.read, trace, threads, lengths),
            turn(&self.text, trace, threads, lengths),
            turn(&self.own_map, trace, threads, lengths),
            turn(&self.with_value, trace, threads, lengths),
            turn(self.text.cache, trace, threads, lengths),
        ]
    }
}

pub fn tables(ours: &Library, peers: &Library, effort: &Effort) -> Vec<Table> {
    let contestant = contestants::ours(ours);
    // SAFETY: these are their types in the header.
    let values = unsafe {
        Values {
            len: ours.function("mc_string_len"),
            value: ours.function("mc_string_value"),
            attach: ours.function("mc_string_attach"),
        }
    };
    let (mut decoders, mut missing) = (Vec::new(), Vec::new());
    for source in SOURCES {
        match source.decoder() {
            Some(decoder) => decoders.push(decoder),
            None => missing.push(source),
        }
    }
    decoders.push(serde_json());

    let ids = ids(PLUGINS);
    // An odd number of times all plugins, so that two threads begin with different ones.
    let trace = Trace::new(ids.iter().cycle().take(101 * PLUGINS).map(|id| id.as_ptr()).collect());
    let sources = SIZES.map(|bytes| {
        let directory = Directory::of_sizes(&bytes.to_string(), PLUGINS, |_| bytes);
        (bytes, directory, filled(&contestant, &ids, bytes))
    });
    let mut hosts = Vec::new();
    for decoder in decoders {
        for (bytes, directory, cache) in &sources {
            let text = manifest(*bytes);
            hosts.push(Host {
                decoder: decoder.name,
                bytes: *bytes,
                read: Read { directory, decoder },
                text: TextAndDecode { cache, values, decoder },
                own_map: OwnMap::filled(peers, &ids, &text, &decoder),
                with_value: WithValue::filled(
                    filled(&contestant, &ids, *bytes),
                    &ids,
                    values,
                    &decoder,
                ),
            });
        }
    }
    let workloads = || hosts.iter().flat_map(|host| THREADS.map(|threads| (host, threads)));
    let turns = workloads().flat_map(|(host, threads)| host.turns(&trace, threads, effort));
    let series = rounds(effort.rounds, turns.collect());
    let measured: Vec<Workload> = workloads()
        .zip(series.chunks(WAYS.len()))
        .map(|((host, threads), ways)| Workload {
            decoder: host.decoder,
            bytes: host.bytes,
            threads,
            ways,
        })
        .collect();
    vec![targets(&measured), times(&measured, &missing)]
}

/// What was measured of one decoder, one size and so many threads.
struct Workload<'a> {
    decoder: &'static str,
    bytes: usize,
    threads: Threads,
    /// In the order of [`WAYS`].
    ways: &'a [Series],
}

/// A hit with a value compared with the other ways. What depends neither on the decoder nor on the
/// size is the median over all of them.
fn targets(measured: &[Workload]) -> Table {
    let row = |what: String, way: usize, limit: f64, is_one: &dyn Fn(&Workload) -> bool| {
        let all = |way: usize| -> Series {
            let these = measured.iter().filter(|workload| is_one(workload));
            these.flat_map(|workload| workload.ways[way].iter().copied()).collect()
        };
        let measured = ratio(&all(WITH_VALUE), &all(way));
        let reached = match measured.median {
            median if median.is_nan() => "not measured",
            median if median <= limit => "reached",
            _ => "missed",
        };
        vec![what, measured.with_spread(), short(limit), reached.to_owned()]
    };
    let one_thread = |workload: &Workload| workload.threads == Threads::One;
    let mut rows = Vec::new();
    for (way, threads, limit) in [
        (WITHOUT_VALUE, Threads::One, 1.1),
        (OWN_MAP, Threads::One, 0.4),
        (OWN_MAP, Threads::Two, 0.12),
    ] {
        let what = format!("{}, threads: {}", WAYS[way], threads.name());
        rows.push(row(what, way, limit, &|workload| workload.threads == threads));
    }
    for workload in measured.iter().filter(|it| one_thread(it) && it.bytes == 1024) {
        let what = format!("{}, 1 KiB, {}, threads: 1", WAYS[READ], workload.decoder);
        rows.push(row(what, READ, 0.01, &|other| std::ptr::eq(other, workload)));
    }
    let columns =
        ["a hit with a value compared with", "measured", "at most", ""].map(str::to_owned);
    Table { title: "What a host pays: targets", columns: columns.into(), rows }
}

/// The time of each way.
fn times(measured: &[Workload], missing: &[Source]) -> Table {
    let mut columns = ["decoder", "manifest", "threads"].map(str::to_owned).to_vec();
    columns.extend(WAYS.map(str::to_owned));
    let row = |workload: &Workload| {
        let threads = workload.threads.name().to_owned();
        let mut row = vec![workload.decoder.to_owned(), size(workload.bytes), threads];
        let time = |series| match Measured::from(series).median {
            median if median.is_nan() => "interrupted".to_owned(),
            median => format!("{} ns", short(median)),
        };
        row.extend(workload.ways.iter().map(time));
        row
    };
    let missing = missing.iter().map(|source| {
        let mut row = vec![format!("{}: install {}", source.name, source.package)];
        row.resize(columns.len(), String::new());
        row
    });
    let rows = measured.iter().map(row).chain(missing).collect();
    Table { title: "What a host pays", columns, rows }
}
