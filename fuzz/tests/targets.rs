//! Every fuzz target for a moment, on stable: over its seeds, then over mutations of them.
//!
//! `PLYFS_FUZZ_SECONDS` is how long each target runs, half a second otherwise. `PLYFS_FUZZ_SEED` is the number of
//! the first input; the same number gives the same inputs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and says with which input"
)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use plyfs_fuzz::{Mutator, TARGETS, Target};

/// A run that takes longer hangs.
const HANGS: Duration = Duration::from_secs(120);

#[test]
fn tar_reader() {
    run("tar_reader");
}

#[test]
fn unpack() {
    run("unpack");
}

#[test]
fn documents() {
    run("documents");
}

#[test]
fn records() {
    run("records");
}

#[test]
fn mount_options() {
    run("mount_options");
}

#[test]
fn layers() {
    run("layers");
}

#[test]
fn decompression() {
    run("decompression");
}

#[test]
fn every_target_has_a_test_and_a_libfuzzer_binary() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = include_str!("targets.rs");
    for target in TARGETS {
        assert!(tests.contains(&format!("fn {}() {{", target.name)));
        let binary = dir.join(format!("libfuzzer/fuzz_targets/{}.rs", target.name));
        let binary = fs::read_to_string(binary).unwrap();
        assert!(binary.contains(&format!("\"{}\"", target.name)));
    }
}

#[test]
fn the_same_number_gives_the_same_input() {
    let seeds = [b"one line\n".to_vec(), b"another".to_vec()];
    let words = ["word"];
    let (first, second) = (Mutator::new(&seeds, &words), Mutator::new(&seeds, &words));
    let inputs: Vec<_> = (0..200).map(|number| first.input(number)).collect();
    assert!((0..200).all(|number| second.input(number) == inputs[number as usize]));
    let different: std::collections::BTreeSet<_> = inputs.iter().collect();
    assert!(different.len() > 100, "{} inputs", different.len());
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = seeds(name);
    let (send, receive) = channel();
    let watch = std::thread::spawn({
        let name = name.to_owned();
        move || watch(&name, &receive)
    });
    let once = |what: &str, input: &[u8]| {
        send.send(input.to_vec()).unwrap();
        let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
        if let Err(panic) = ran {
            let path = keep(target.name, input);
            eprintln!(
                "{name} failed with {what}; the input is in {}",
                path.display()
            );
            resume_unwind(panic);
        }
    };
    let contents: Vec<Vec<u8>> = seeds.iter().map(|path| fs::read(path).unwrap()).collect();
    for (path, seed) in seeds.iter().zip(&contents) {
        once(&path.display().to_string(), seed);
    }
    mutate(target, &contents, &once);
    drop(send);
    watch.join().unwrap();
}

fn mutate(target: &Target, seeds: &[Vec<u8>], once: &dyn Fn(&str, &[u8])) {
    let first = variable("PLYFS_FUZZ_SEED").unwrap_or_else(seed_of_now);
    let seconds = variable("PLYFS_FUZZ_SECONDS").unwrap_or(0.5);
    println!("{}: PLYFS_FUZZ_SEED={first}", target.name);
    let words = target.words.concat();
    let mutator = Mutator::new(seeds, &words);
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed().as_secs_f64() < seconds {
        let number = first.wrapping_add(count);
        once(&format!("PLYFS_FUZZ_SEED={number}"), &mutator.input(number));
        count += 1;
    }
    println!("{}: {count} inputs", target.name);
}

/// A number that differs from run to run.
fn seed_of_now() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_micros() as u64
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    let read = value.parse().ok();
    Some(read.unwrap_or_else(|| panic!("{name} takes a number, not {value:?}")))
}

fn seeds(name: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(name);
    let entries = fs::read_dir(&dir).unwrap();
    let mut seeds: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} has no seeds", dir.display());
    seeds
}

/// Ends the process if an input takes too long.
fn watch(name: &str, inputs: &Receiver<Vec<u8>>) {
    let mut last = Vec::new();
    loop {
        match inputs.recv_timeout(HANGS) {
            Ok(input) => last = input,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let path = keep(name, &last);
                eprintln!("{name} hangs; the input is in {}", path.display());
                std::process::exit(1);
            }
        }
    }
}

/// Keeps an input that failed, to be repeated and perhaps to become a seed.
fn keep(name: &str, input: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
    fs::write(&path, input).unwrap();
    path
}
