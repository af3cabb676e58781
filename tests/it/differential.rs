//! plyfs against the kernel's overlayfs: random programs run on both, and everything they can see is
//! compared.
//!
//! - `PLYFS_DIFF_SECONDS`: how long random programs run.
//! - `PLYFS_DIFF_SEED`: the seed of the first program, or `random`. The one that fails is printed.
//! - `PLYFS_DIFF_PROGRAMS`: how many programs at most.
//! - `PLYFS_DIFF_STEPS`: how many operations each has.
//! - `PLYFS_DIFF_OPTIONS`: names of option sets (`tests/it/differential/options.rs`), with commas.
//! - `PLYFS_DIFF_WITH`: only programs with this text are run, as `disk small`, `bindfs`, ` bind,` or `/alone/`.
//! - `PLYFS_DIFF_PENDING`: runs the cases in `tests/it/differential/cases/pending`, too.
//! - `PLYFS_DIFF_CASE`: a file with a program, to be run instead of the saved ones, and made smaller if it fails.
//! - `PLYFS_DIFF_KEEP`: a directory for failures; programs go on after them, and each kind is kept once.

pub mod act;
pub mod compare;
pub mod generate;
pub mod known;
pub mod layers;
pub mod mounts;
pub mod options;
pub mod outside;
pub mod program;
pub mod run;
pub mod show;
pub mod shrink;
pub mod snapshot;
pub mod text;
pub mod worker;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::mounts::cannot_make;
use self::options::{OptionSet, SETS};
use self::program::Program;
use self::run::{Bench, Difference};
use crate::support::{inside, name_of};

/// Started as a process of its own, this test does what an actor of a program does.
#[test]
fn a_worker_serves_a_program() {
    if std::env::var_os(worker::WORKER).is_some() {
        worker::serve();
    }
}

#[test]
fn random_programs_see_what_the_kernel_shows() {
    inside(this_test!(), || {
        random_programs(5);
    });
}

/// There some capabilities belong to users that do not exist.
#[test]
fn random_programs_in_a_user_namespace_see_what_the_kernel_shows() {
    let name = this_test!();
    if outside::is_helped() {
        return random_programs(2);
    }
    if !crate::support::is_initial_namespace() || !rustix::process::geteuid().is_root() {
        return crate::support::skip(name, "only root can give files to users that do not exist");
    }
    if let Some(why) = crate::support::cannot_mount() {
        return crate::support::skip(name, &why);
    }
    let reports = outside::run_helped(name);
    let reports = reports.lines().filter(|line| {
        let text = ["REPORT", "SKIPPED", "#"];
        text.iter().any(|start| line.starts_with(start))
    });
    reports.for_each(|line| say(&format!("{line}\n")));
}

#[test]
fn saved_programs_see_what_the_kernel_shows() {
    inside(this_test!(), || {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/differential/cases");
        let mut paths = texts_in(&cases);
        if std::env::var_os("PLYFS_DIFF_PENDING").is_some() {
            paths.extend(texts_in(&cases.join("pending")));
        }
        let asked = std::env::var_os("PLYFS_DIFF_CASE").map(PathBuf::from);
        paths = asked.clone().map_or(paths, |path| vec![path]);
        let asked = asked.is_some();
        let mut bench = Bench::new(name_of(a_worker_serves_a_program));
        let mut failures = Vec::new();
        for path in paths {
            let text = std::fs::read_to_string(&path).unwrap();
            let program = Program::read(&text);
            let program = program.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let set = OptionSet::named(&program.options).unwrap();
            if !set.is_possible(crate::support::is_initial_namespace()) {
                let case = path.file_name().unwrap().to_string_lossy().into_owned();
                crate::support::skip(
                    &case,
                    "the kernel has these options for the superuser alone",
                );
                continue;
            }
            if let Some(why) = cannot_make(&program) {
                crate::support::skip(&path.display().to_string(), &why);
                continue;
            }
            if let Err(failure) = bench.run(&program) {
                let (program, failure) = match asked {
                    true => shrink::shrink(&mut bench, program, failure),
                    false => (program, failure),
                };
                failures.push(format!(
                    "{}:\n{}",
                    path.display(),
                    explain(&program, &failure)
                ));
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    });
}

#[test]
fn a_program_is_read_as_it_is_shown() {
    for seed in 0..50 {
        let program = generate::program(seed, "plain", 200);
        assert_eq!(Program::read(&program.show()).unwrap(), program);
    }
}

fn texts_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut texts: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    texts.sort();
    texts
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => default,
    }
}

/// The option sets to run with.
fn option_sets() -> Vec<&'static OptionSet> {
    match std::env::var("PLYFS_DIFF_OPTIONS") {
        Ok(names) => names
            .split(',')
            .map(|name| OptionSet::named(name).unwrap_or_else(|| panic!("no option set {name}")))
            .collect(),
        Err(_) => {
            let initial = crate::support::is_initial_namespace();
            let sets = SETS.iter().filter(|set| set.ready);
            sets.filter(|set| set.is_possible(initial)).collect()
        }
    }
}

fn random_programs(seconds: u64) {
    let end = Instant::now() + Duration::from_secs(number("PLYFS_DIFF_SECONDS", seconds));
    let seed = match std::env::var("PLYFS_DIFF_SEED").as_deref() {
        Ok("random") => fastrand::u64(..1 << 40),
        _ => number("PLYFS_DIFF_SEED", 1),
    };
    let most = number("PLYFS_DIFF_PROGRAMS", u64::MAX);
    let steps = number("PLYFS_DIFF_STEPS", 250) as usize;
    let with = std::env::var("PLYFS_DIFF_WITH").unwrap_or_default();
    let keep = std::env::var_os("PLYFS_DIFF_KEEP").map(PathBuf::from);
    let sets = option_sets();
    let mut bench = Bench::new(name_of(a_worker_serves_a_program));
    let mut failures: BTreeMap<String, u64> = BTreeMap::new();
    let mut skipped: BTreeMap<String, u64> = BTreeMap::new();
    let (mut programs, mut next, start) = (0, seed, Instant::now());
    while Instant::now() < end && programs < most {
        let this = next;
        next += 1;
        let set = sets[(this % sets.len() as u64) as usize];
        let program = generate::program(this, set.name, steps);
        if !with.is_empty() && !program.show().contains(&with) {
            continue;
        }
        if let Some(why) = cannot_make(&program) {
            *skipped.entry(why).or_default() += 1;
            continue;
        }
        programs += 1;
        let Err(failure) = bench.run(&program) else {
            continue;
        };
        let count = failures.entry(failure.signature.clone()).or_default();
        *count += 1;
        if *count > 1 {
            continue;
        }
        let (operations, counts) = (bench.operations, bench.counts.clone());
        let (small, failure) = shrink::shrink(&mut bench, program, failure);
        (bench.operations, bench.counts) = (operations, counts);
        let text = format!("# seed {this}\n{}", explain(&small, &failure));
        let Some(keep) = &keep else {
            panic!(
                "PLYFS_DIFF_SEED={this} PLYFS_DIFF_OPTIONS={}\n{text}",
                set.name
            );
        };
        say(&text);
        let name: String = failure.signature.chars().map(plain).take(100).collect();
        std::fs::write(keep.join(format!("{name}.txt")), text).unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    say(&format!(
        "REPORT differential: {programs} programs, {} operations on each side, {:.0} a second, seeds from {seed}\n",
        bench.operations,
        bench.operations as f64 / seconds
    ));
    for (why, count) in &skipped {
        crate::support::skip(&format!("{count} random programs"), why);
    }
    for (what, count) in &bench.counts {
        say(&format!("REPORT {count:6} {what}\n"));
    }
    for (signature, count) in failures {
        say(&format!("REPORT {count:6} {signature}\n"));
    }
}

fn plain(c: char) -> char {
    if c.is_ascii_alphanumeric() { c } else { '-' }
}

/// A failing program, to be read and to be saved.
fn explain(program: &Program, failure: &Difference) -> String {
    let comment = |text: &str| text.replace('\n', "\n# ");
    format!(
        "# {} (step {})\n# kernel: {}\n# plyfs:  {}\n{}",
        failure.at,
        failure.step,
        comment(&failure.kernel),
        comment(&failure.plyfs),
        program.show()
    )
}

/// Writes past the test harness, which keeps back what is printed.
fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}
