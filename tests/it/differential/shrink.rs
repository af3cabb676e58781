//! Making a program that fails smaller, as long as it fails in the same way.

use std::time::{Duration, Instant};

use super::program::{Op, Program};
use super::run::{Bench, Difference};
use super::text::Flags;

/// How long making one program smaller may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Removes steps, layers and entries that do not matter, and returns how the smaller one fails.
pub fn shrink(bench: &mut Bench, program: Program, failure: Difference) -> (Program, Difference) {
    let mut shrinker = Shrinker {
        bench,
        end: Instant::now() + PATIENCE,
        best: program,
        failure,
    };
    // What comes after the first difference was not compared.
    let done = shrinker.failure.step + 1;
    let mut cut = shrinker.best.clone();
    cut.steps.truncate(done);
    shrinker.attempt(cut);
    let mut size = usize::MAX;
    while shrinker.size() < size && !shrinker.is_over() {
        size = shrinker.size();
        shrinker.pieces(|program| &mut program.steps);
        shrinker.pieces(|program| &mut program.entries);
        shrinker.pieces(|program| &mut program.places);
        shrinker.details();
    }
    (shrinker.best, shrinker.failure)
}

struct Shrinker<'b> {
    bench: &'b mut Bench,
    end: Instant,
    best: Program,
    failure: Difference,
}

impl Shrinker<'_> {
    fn size(&self) -> usize {
        self.best.show().len()
    }

    fn is_over(&self) -> bool {
        Instant::now() > self.end
    }

    /// Keeps a program if it fails as the one before.
    fn attempt(&mut self, program: Program) -> bool {
        if program == self.best || self.is_over() {
            return false;
        }
        match self.bench.run(&program) {
            Err(failure) if failure.signature == self.failure.signature => {
                self.best = program;
                self.failure = failure;
                true
            }
            _ => false,
        }
    }

    /// Leaves out pieces of a list, halves first.
    fn pieces<T>(&mut self, list: impl Fn(&mut Program) -> &mut Vec<T>) {
        let mut size = list(&mut self.best).len().div_ceil(2);
        while size > 0 {
            // From the end: what comes later depends on what comes before.
            let mut end = list(&mut self.best).len();
            while end > 0 && !self.is_over() {
                let start = end.saturating_sub(size);
                let mut without = self.best.clone();
                list(&mut without).drain(start..end);
                self.attempt(without);
                end = start;
            }
            size /= 2;
        }
    }

    /// Makes what is left plainer.
    fn details(&mut self) {
        let mut roomy = self.best.clone();
        roomy.small = false;
        self.attempt(roomy);
        while self.best.lowers > 1 {
            let mut fewer = self.best.clone();
            fewer.lowers -= 1;
            if fewer
                .entries
                .iter()
                .any(|entry| entry.layer == Some(fewer.lowers))
                || !self.attempt(fewer)
            {
                break;
            }
        }
        for index in 0..self.best.entries.len() {
            let changes: [fn(&mut super::layers::Entry); 4] = [
                |entry| entry.xattrs.clear(),
                |entry| entry.mode = if entry.is_dir() { 0o755 } else { 0o644 },
                |entry| (entry.uid, entry.gid) = (0, 0),
                |entry| entry.layer = entry.layer.map(|_| 0),
            ];
            for change in changes {
                let mut plainer = self.best.clone();
                change(&mut plainer.entries[index]);
                self.attempt(plainer);
            }
        }
        for index in 0..self.best.steps.len() {
            let mut by_root = self.best.clone();
            by_root.steps[index].actor = 0;
            self.attempt(by_root);
            let mut undisturbed = self.best.clone();
            undisturbed.steps[index].kill = None;
            self.attempt(undisturbed);
            let mut plainer = self.best.clone();
            if let Op::Open { flags, mode, .. } = &mut plainer.steps[index].op {
                let bits = flags.bits;
                mode.0 = 0o644;
                self.attempt(plainer.clone());
                for bit in (2..32).map(|bit| 1 << bit).filter(|bit| bits & bit != 0) {
                    let mut fewer = self.best.clone();
                    if let Op::Open { flags, .. } = &mut fewer.steps[index].op {
                        *flags = Flags::new(flags.bits & !bit);
                    }
                    self.attempt(fewer);
                }
            }
        }
    }
}
