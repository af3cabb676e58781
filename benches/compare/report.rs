//! The results as a table and as JSON.

use std::fmt::Write as _;
use std::process::Command;

use serde::Serialize;

use super::measure::Row;
use super::peers::Peer;

/// Everything a run has found, as it is written to JSON.
#[derive(Debug, Serialize)]
pub struct Report {
    pub date: String,
    pub machine: Machine,
    pub quick: bool,
    pub rounds: usize,
    /// The peers and what they say of themselves.
    pub peers: Vec<(String, String)>,
    /// The load average before it began, and at its end.
    pub load: (f64, f64),
    /// How often the caches of the machine were emptied meanwhile; the memory workload does so, too.
    pub cache_drops: u64,
    /// What was not measured, and why.
    pub skipped: Vec<String>,
    pub rows: Vec<Line>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub kernel: String,
    pub processor: String,
    pub processors: usize,
    pub memory_mib: u64,
    /// How long idle processors of a virtual machine look for work before they halt, in nanoseconds.
    /// `None` where they are no haltpoll driver's.
    pub halt_poll_ns: Option<u64>,
}

/// A row with what is calculated from it.
#[derive(Debug, Serialize)]
pub struct Line {
    #[serde(flatten)]
    pub row: Row,
    pub medians: Vec<(String, f64)>,
    pub ratio_to_kernel: Option<f64>,
}

impl Machine {
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let memory: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            processors: std::thread::available_parallelism().map_or(0, Into::into),
            memory_mib: memory / 1024,
            halt_poll_ns: (read("/sys/devices/system/cpu/cpuidle/current_driver").trim()
                == "haltpoll")
                .then(|| read("/sys/module/haltpoll/parameters/guest_halt_poll_ns"))
                .and_then(|time| time.trim().parse().ok()),
        }
    }
}

/// How many processes wanted a processor in the last minute.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// What else there is to know of a run.
#[derive(Debug)]
pub struct Circumstances {
    pub quick: bool,
    pub rounds: usize,
    pub load_before: f64,
    pub cache_drops: u64,
    pub skipped: Vec<String>,
}

/// Today, as `YYYY-MM-DD`.
pub fn today() -> String {
    let output = Command::new("date").args(["-u", "+%F"]).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

impl Report {
    pub fn new(run: Circumstances, peers: &[Peer], rows: Vec<Row>) -> Self {
        let ratio = |row: &Row| {
            let other = row.against.as_ref().unwrap_or(&row.workload);
            let place = |row: &Row| (row.file_system.clone(), row.user.clone());
            let kernel = rows
                .iter()
                .find(|found| found.workload == *other && place(found) == place(row))?;
            Some(row.median("plyfs")? / kernel.median("kernel")?)
        };
        let ratios: Vec<Option<f64>> = rows.iter().map(ratio).collect();
        let line = |(row, ratio_to_kernel): (Row, Option<f64>)| Line {
            medians: peers
                .iter()
                .filter_map(|peer| Some((peer.name.to_owned(), row.median(peer.name)?)))
                .collect(),
            ratio_to_kernel,
            row,
        };
        Self {
            date: today(),
            machine: Machine::here(),
            quick: run.quick,
            rounds: run.rounds,
            load: (run.load_before, load()),
            cache_drops: run.cache_drops,
            peers: peers
                .iter()
                .map(|peer| (peer.name.to_owned(), peer.version.clone()))
                .collect(),
            skipped: run.skipped,
            rows: rows.into_iter().zip(ratios).map(line).collect(),
        }
    }

    /// The table, as Markdown: medians, and in brackets how often the kernel's.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let machine = &self.machine;
        let quick = if self.quick { ", quick" } else { "" };
        line(
            &mut text,
            format_args!(
                "{}: Linux {}, {} x {}, {} MiB; medians of {} rounds{quick}",
                self.date,
                machine.kernel,
                machine.processors,
                machine.processor,
                machine.memory_mib,
                self.rounds
            ),
        );
        line(
            &mut text,
            format_args!(
                "- load average {} before, {} after; caches emptied {} times",
                self.load.0, self.load.1, self.cache_drops
            ),
        );
        if let Some(time) = machine.halt_poll_ns {
            line(&mut text, format_args!("- guest_halt_poll_ns={time}"));
        }
        for (name, version) in &self.peers {
            line(&mut text, format_args!("- {name}: {version}"));
        }
        for what in &self.skipped {
            line(&mut text, format_args!("- SKIPPED {what}"));
        }
        let mut last = (String::new(), String::new());
        for found in &self.rows {
            let row = &found.row;
            let section = (row.file_system.clone(), row.user.clone());
            if section != last {
                self.head(&mut text, &section);
                last = section;
            }
            self.row(&mut text, row, found.ratio_to_kernel);
        }
        self.missing(&mut text);
        text
    }

    fn head(&self, text: &mut String, (file_system, user): &(String, String)) {
        line(text, format_args!("\n## {file_system}, {user}\n"));
        let names: Vec<&str> = self.peers.iter().map(|(name, _)| name.as_str()).collect();
        line(
            text,
            format_args!(
                "| workload | one operation | {} | plyfs / kernel | at most |",
                names.join(" | ")
            ),
        );
        line(
            text,
            format_args!("|---|---|{}---|---|", "---:|".repeat(names.len())),
        );
    }

    fn row(&self, text: &mut String, row: &Row, ratio: Option<f64>) {
        let cells: Vec<String> = self
            .peers
            .iter()
            .map(|(name, _)| match row.median(name) {
                Some(median) => format!("{} {}", figure(median), row.unit),
                None => "-".to_owned(),
            })
            .collect();
        let missed = matches!((ratio, row.mark), (Some(ratio), Some(mark)) if ratio > mark);
        line(
            text,
            format_args!(
                "| {} | {} | {} | {}{} | {} |",
                row.workload,
                row.about,
                cells.join(" | "),
                ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
                if missed { " **missed**" } else { "" },
                row.mark.map_or_else(String::new, |mark| mark.to_string())
            ),
        );
    }

    fn missing(&self, text: &mut String) {
        let mut said = Vec::new();
        for Line { row, .. } in &self.rows {
            for (peer, why) in &row.missing {
                said.push(format!(
                    "- {} ({}, {}) on {peer}: {}",
                    row.workload,
                    row.file_system,
                    row.user,
                    why.trim()
                ));
            }
        }
        if !said.is_empty() {
            line(text, format_args!("\nNot measured:\n{}", said.join("\n")));
        }
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let written = writeln!(text, "{what}");
    debug_assert!(written.is_ok());
}

/// Three digits that count.
pub fn figure(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
