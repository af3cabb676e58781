//! Taking samples: every workload on every peer, in turn, several times.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layers::{Scale, Store};
use super::peers::{Kind, Peer, Stack};
use super::workloads::{Place, Unit, Watch, Workload};

/// One line of the table: a figure of one workload, for each peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub file_system: String,
    pub user: String,
    pub workload: String,
    /// What one operation is, or what the figure is.
    pub about: String,
    pub unit: String,
    /// What the ratio of plyfs to the kernel is to be at most.
    pub mark: Option<f64>,
    /// The workload of the kernel that it is compared with, if not the same.
    pub against: Option<String>,
    /// Samples of each peer.
    pub samples: BTreeMap<String, Vec<f64>>,
    /// Why there are none of a peer.
    pub missing: BTreeMap<String, String>,
}

impl Row {
    /// The median of a peer's samples.
    pub fn median(&self, peer: &str) -> Option<f64> {
        let mut samples = self.samples.get(peer)?.clone();
        samples.sort_by(f64::total_cmp);
        let middle = samples.len() / 2;
        match samples.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(samples[middle]),
            _ => Some(f64::midpoint(samples[middle - 1], samples[middle])),
        }
    }

    /// How often longer a peer takes than another.
    pub fn ratio(&self, peer: &str, other: &str) -> Option<f64> {
        Some(self.median(peer)? / self.median(other)?)
    }
}

/// What to measure.
#[derive(Debug)]
pub struct Course<'c> {
    pub file_system: &'c str,
    /// A directory on that file system.
    pub dir: &'c Path,
    pub is_root: bool,
    pub peers: &'c [Peer],
    pub workloads: &'c [Workload],
    pub rounds: usize,
    /// As many of what takes long.
    pub long_rounds: usize,
    pub scale: Scale,
}

impl Course<'_> {
    /// Takes all samples.
    ///
    /// # Errors
    /// If the lower layers cannot be made. A failure of a peer is in its row.
    pub fn run(&self) -> std::io::Result<Vec<Row>> {
        let store = Store::new(self.dir.to_owned(), self.scale);
        let beside = self.dir.join("beside");
        fs::create_dir_all(&beside)?;
        let mut rows: Vec<Row> = Vec::new();
        let mut serial = 0;
        for round in 0..self.rounds {
            for (number, workload) in self.workloads.iter().enumerate() {
                if workload.is_long && round >= self.long_rounds {
                    continue;
                }
                let lowers = match store.get(workload.layers) {
                    Ok(lowers) => lowers,
                    Err(error) => {
                        self.note_all_missing(&mut rows, workload, &error.to_string());
                        continue;
                    }
                };
                progress(&format!(
                    "{} of {}: {:20}",
                    round + 1,
                    self.rounds,
                    workload.id
                ));
                for turn in 0..self.peers.len() {
                    let peer = &self.peers[(round + number + turn) % self.peers.len()];
                    let unfit = peer.kind == Kind::Floor && !workload.needs_no_layers;
                    if unfit || is_missing(&rows, workload, peer) {
                        continue;
                    }
                    serial += 1;
                    let stack = Stack {
                        lowers: &lowers,
                        dir: self.dir.join(format!("s{serial}")),
                        options: workload.options,
                        userxattr: !self.is_root,
                    };
                    match self.undisturbed(workload, peer, &stack, &beside) {
                        Ok(watch) => self.add(&mut rows, workload, peer, watch),
                        Err(why) => {
                            let row = self.row(&mut rows, workload, None, Unit::Micros);
                            row.missing.insert(peer.name.to_owned(), why);
                        }
                    }
                }
            }
        }
        progress("");
        Ok(rows)
    }

    /// Takes a sample, and another if the caches of the machine were emptied meanwhile.
    fn undisturbed(
        &self,
        workload: &Workload,
        peer: &Peer,
        stack: &Stack<'_>,
        beside: &Path,
    ) -> Result<Watch, String> {
        const TRIES: usize = 5;
        for _ in 1..TRIES {
            let before = cache_drops();
            let watch = self.sample(workload, peer, stack, beside)?;
            if workload.drops_caches || cache_drops() == before {
                return Ok(watch);
            }
        }
        self.sample(workload, peer, stack, beside)
    }

    fn sample(
        &self,
        workload: &Workload,
        peer: &Peer,
        stack: &Stack<'_>,
        beside: &Path,
    ) -> Result<Watch, String> {
        // What others left to be written is not to be written during this.
        let text = |error: std::io::Error| error.to_string();
        let dir = fs::File::open(self.dir).map_err(text)?;
        rustix::fs::syncfs(dir).map_err(|error| text(error.into()))?;
        let mounted = peer.mount(stack)?;
        let place = Place {
            mounted: &mounted,
            is_root: self.is_root,
            scale: self.scale,
            beside,
        };
        let mut watch = Watch::default();
        (workload.run)(&place, &mut watch).map_err(text)?;
        Ok(watch)
    }

    fn row<'r>(
        &self,
        rows: &'r mut Vec<Row>,
        workload: &Workload,
        name: Option<&str>,
        unit: Unit,
    ) -> &'r mut Row {
        let id = name.unwrap_or(workload.id);
        let at = rows.iter().position(|row| row.workload == id);
        let at = at.unwrap_or_else(|| {
            rows.push(Row {
                file_system: self.file_system.to_owned(),
                user: if self.is_root { "root" } else { "user" }.to_owned(),
                workload: id.to_owned(),
                about: workload.about.to_owned(),
                unit: unit.name().to_owned(),
                mark: workload.mark,
                against: workload.against.map(str::to_owned),
                samples: BTreeMap::new(),
                missing: BTreeMap::new(),
            });
            rows.len() - 1
        });
        &mut rows[at]
    }

    fn add(&self, rows: &mut Vec<Row>, workload: &Workload, peer: &Peer, watch: Watch) {
        for (name, value, unit) in watch.figures {
            let row = self.row(rows, workload, name, unit);
            row.samples
                .entry(peer.name.to_owned())
                .or_default()
                .push(value);
        }
    }

    fn note_all_missing(&self, rows: &mut Vec<Row>, workload: &Workload, why: &str) {
        for peer in self.peers {
            let row = self.row(rows, workload, None, Unit::Micros);
            row.missing.insert(peer.name.to_owned(), why.to_owned());
        }
    }
}

/// How often a process emptied the caches of the machine (`/proc/sys/vm/drop_caches`).
pub fn cache_drops() -> u64 {
    let counters = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let drops = counters
        .lines()
        .filter_map(|line| line.strip_prefix("drop_"));
    drops
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

/// Says where it is, to who is watching.
fn progress(what: &str) {
    use std::io::IsTerminal;
    if std::io::stderr().is_terminal() {
        eprint!("\r{what:40}\r");
    }
}

fn is_missing(rows: &[Row], workload: &Workload, peer: &Peer) -> bool {
    rows.iter()
        .filter(|row| row.workload == workload.id)
        .any(|row| row.missing.contains_key(peer.name))
}

/// Reads rows that another process has measured.
///
/// # Errors
/// If it has written none.
pub fn read(path: &PathBuf) -> std::io::Result<Vec<Row>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
