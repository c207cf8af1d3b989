//! The tables that the bench prints, and the page and plots that it makes of them.

use crate::measured::{Measured, count, ratio, short, size};
use crate::plot::Plot;
use crate::workloads::{Series, Threads};
use std::fmt::Write;
use std::path::Path;

/// One workload of hits, with the time of each contestant in each round.
pub struct Hits {
    pub plugins: usize,
    pub bytes: usize,
    pub threads: Threads,
    pub series: Vec<Series>,
}

/// A target of the library, and the measured value.
pub struct Figure {
    pub what: &'static str,
    pub measured: Measured,
    pub unit: &'static str,
    pub limit: f64,
}

/// A table besides those of figures and hits.
pub struct Table {
    pub title: &'static str,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn print(&self) -> String {
        format!("## {}\n\n{}", self.title, markdown(&self.columns, &self.rows))
    }
}

pub struct Report {
    pub contestants: Vec<&'static str>,
    pub hits: Vec<Hits>,
    pub tables: Vec<Table>,
    pub figures: Vec<Figure>,
    pub machine: String,
}

impl Report {
    pub fn hits(&self, plugins: usize, bytes: usize, threads: Threads) -> &Hits {
        let same =
            |hits: &&Hits| (hits.plugins, hits.bytes, hits.threads) == (plugins, bytes, threads);
        self.hits.iter().find(same).expect("this workload was measured")
    }

    /// Everything measured, as Markdown.
    pub fn print(&self) -> String {
        let mut text = format!("{}\n\n## Figures\n\n{}", self.machine, self.figures_table());
        write!(text, "\n## Hits\n\n{}", self.hits_table()).expect("a string takes everything");
        for table in &self.tables {
            write!(text, "\n{}", table.print()).expect("as above");
        }
        text
    }

    fn figures_table(&self) -> String {
        let columns = ["figure", "at most", "measured", ""].map(str::to_owned);
        let rows = self.figures.iter().map(|figure| {
            let limit = format!("{} {}", short(figure.limit), figure.unit);
            let measured = format!("{} {}", figure.measured.with_spread(), figure.unit);
            let reached = if figure.measured.median <= figure.limit { "reached" } else { "missed" };
            vec![figure.what.to_owned(), limit, measured, reached.to_owned()]
        });
        markdown(&columns, &rows.collect::<Vec<_>>())
    }

    fn hits_table(&self) -> String {
        let mut columns = ["plugins", "manifest", "threads"].map(str::to_owned).to_vec();
        columns.extend(self.contestants.iter().map(|name| (*name).to_owned()));
        let row = |hits: &Hits| {
            let mut row =
                vec![count(hits.plugins), size(hits.bytes), hits.threads.name().to_owned()];
            let ours = &hits.series[0];
            row.extend(hits.series.iter().enumerate().map(|(at, series)| match at {
                0 => format!("{} ns", short(Measured::from(series).median)),
                _ => format!(
                    "{} ns, {}",
                    short(Measured::from(series).median),
                    ratio(ours, series).with_spread()
                ),
            }));
            row
        };
        markdown(&columns, &self.hits.iter().map(row).collect::<Vec<_>>())
    }

    /// The workloads in which another cache was faster than this library.
    fn lost(&self) -> String {
        let mut text = String::new();
        for hits in &self.hits {
            let faster: Vec<String> = (2..hits.series.len())
                .map(|at| (self.contestants[at], ratio(&hits.series[0], &hits.series[at]).median))
                .filter(|(_, ratio)| *ratio > 1.0)
                .map(|(name, ratio)| format!("{name} ({} times)", short(ratio)))
                .collect();
            if !faster.is_empty() {
                let (plugins, size, threads) =
                    (count(hits.plugins), size(hits.bytes), hits.threads.name());
                writeln!(
                    text,
                    "- plugins {plugins}, manifest {size}, threads {threads}: {}",
                    faster.join(", ")
                )
                .expect("a string takes everything");
            }
        }
        if text.is_empty() { "None in this run.\n".to_owned() } else { text }
    }

    fn plot(&self, title: &'static str, workloads: &[(String, &Hits)]) -> String {
        let lines = self.contestants.iter().enumerate().map(|(at, name)| {
            let values = workloads.iter().map(|(_, hits)| Measured::from(&hits.series[at]).median);
            (*name, values.collect())
        });
        let labels = workloads.iter().map(|(label, _)| label.clone()).collect();
        Plot { title, unit: "ns per hit and thread", labels, lines: lines.collect() }.svg()
    }

    /// Writes the page, its plots, and the excerpt between the marks in the README.
    pub fn write(&self, root: &Path) {
        let docs = root.join("docs");
        let save = |path: &Path, text: &str| {
            std::fs::write(path, text).expect("the documentation is writable")
        };
        let hot = |bytes| (size(bytes), self.hits(1, bytes, Threads::One));
        let by_size = self.plot(
            "One plugin, one thread: the time of a hit by the size of the manifest",
            &[300, 1024, 5120, 65_536].map(hot),
        );
        let threads = ["1 thread", "2 threads", "2, one clears and reloads"];
        let mut threads = threads.into_iter().zip(Threads::ALL);
        let by_threads = std::array::from_fn::<_, 3, _>(|_| threads.next().expect("three"));
        let by_threads =
            by_threads.map(|(label, threads)| (label.to_owned(), self.hits(1, 1024, threads)));
        let by_threads = self
            .plot("One plugin of 1 KiB: the time of a hit by the number of threads", &by_threads);
        let by_entries = [1, 1000, 100_000].map(|n| (count(n), self.hits(n, 1024, Threads::One)));
        let by_entries = self.plot(
            "Manifests of 1 KiB, one thread: the time of a hit by the number of plugins",
            &by_entries,
        );
        save(&docs.join("hit-by-size.svg"), &by_size);
        save(&docs.join("hit-by-threads.svg"), &by_threads);
        save(&docs.join("hit-by-entries.svg"), &by_entries);

        let mut page = include_str!("performance.md").to_owned();
        for (mark, text) in [
            ("{machine}", self.machine.clone()),
            ("{figures}", self.figures_table()),
            ("{hits}", self.hits_table()),
            ("{lost}", self.lost()),
        ] {
            page = page.replace(mark, text.trim_end());
        }
        for table in &self.tables {
            page = page.replace(
                &format!("{{{}}}", table.title),
                markdown(&table.columns, &table.rows).trim_end(),
            );
        }
        save(&docs.join("performance.md"), &page);

        let readme = root.join("README.md");
        let text = std::fs::read_to_string(&readme).unwrap_or_default();
        if let Some((before, (_, after))) = text
            .split_once("<!-- speed -->\n")
            .and_then(|(before, rest)| Some((before, rest.split_once("<!-- /speed -->")?)))
        {
            let excerpt = self.excerpt();
            save(&readme, &format!("{before}<!-- speed -->\n{excerpt}<!-- /speed -->{after}"));
        }
    }

    /// One plot and three figures.
    fn excerpt(&self) -> String {
        let hot = self.hits(1, 1024, Threads::One);
        let ours = short(Measured::from(&hot.series[0]).median);
        let against =
            |hits: &Hits, at: usize| short(1.0 / ratio(&hits.series[0], &hits.series[at]).median);
        let (mutex, moka) = (against(hot, 2), against(hot, 4));
        let two = against(self.hits(1, 1024, Threads::Two), 2);
        format!(
            "A hit is `mc_get()` and `mc_string_free()`. For a manifest of 1 KiB on one thread it \
             takes {ours} ns.\n\
             moka takes {moka} times as long, and a map behind a recursive mutex in C++ takes \
             {mutex} times as long.\n\
             When two threads get one plugin, that map takes {two} times as long.\n\
             Nothing is copied, so the size of the manifest does not matter:\n\n\
             ![The time of a hit by the size of the manifest](docs/hit-by-size.svg)\n"
        )
    }
}

fn markdown(columns: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = line(&vec!["---".to_owned(); columns.len()]);
    line(columns) + &rule + &rows.iter().map(|row| line(row)).collect::<String>()
}

/// The machine, the compilers and the number of rounds.
pub fn machine(rounds: usize) -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("?", |(_, m)| m);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let run = |command: &str, argument| {
        let output = std::process::Command::new(command).arg(argument).output();
        output
            .map(|o| String::from_utf8_lossy(&o.stdout).lines().next().unwrap_or("?").to_owned())
            .unwrap_or_default()
    };
    let (rust, cxx) = (
        run("rustc", "--version"),
        run(&std::env::var("CXX").unwrap_or("c++".into()), "--version"),
    );
    format!("{model}, {cores} cores; Linux {}; {rust}; {cxx}; {rounds} rounds.", kernel.trim())
}
