//! One program that runs on both sides.

use super::*;

impl Running<'_> {
    /// The line that tells an actor to start.
    pub(super) fn begin_line(&self, side: usize, actor: u8, ids: bool) -> String {
        let ids = if ids { "ids" } else { "single" };
        format!("begin {actor} {ids} {}", path(self.dirs[side].cell()))
    }

    /// plyfs takes away what it makes on the way.
    pub(super) fn left_in_work(&self) -> Result<(), Difference> {
        let left = tree(path(&self.dirs[1].work().join("work")), Shown::Layer);
        // Removed files share a whiteout that is kept there, as in the kernel, and a volatile mount is marked.
        let stays = |line: &&str| line.contains(" rdev=0:0 ") || line.starts_with("/incompat");
        let lines = left.split(SEPARATOR).skip(1);
        let names: Vec<_> = lines.filter(|line| !stays(line)).collect();
        match names.is_empty() {
            true => Ok(()),
            false => {
                let sides = ["nothing".to_owned(), names.join("\n")];
                Err(self.difference("what plyfs left in the work directory", "work", sides))
            }
        }
    }

    pub(super) fn leave_free(&mut self, free: Option<(u32, u32)>) {
        self.free = free;
        self.dirs.iter().for_each(|dirs| dirs.leave_free(free));
    }

    pub(super) fn mount(&mut self, who: [Who; 2]) -> Result<(), Difference> {
        let [one, two] = [0, 1].map(|side| self.dirs[side].mount(who[side], self.set));
        let one = one.map_err(|said| self.failed(&said))?;
        let two = two.map_err(|said| self.failed(&said))?;
        self.mounts = Some([one, two]);
        Ok(())
    }

    /// Compares the answers to a step.
    pub(super) fn compare(&mut self, step: &Step, answers: [&str; 2]) -> Result<(), Difference> {
        let sides = match step.op {
            // The kernel lists the numbers of upper directories that were not copied up by itself.
            Op::List { .. } | Op::ListTwice { .. } => {
                let sides = self.fresh(answers);
                match self.program.is_of_several_file_systems() {
                    true => sides.map(|side| {
                        let side = known::without_numbers(&side);
                        known::without_numbers_below_mounts(self.program, &side)
                    }),
                    false => sides,
                }
            }
            _ => self.canonical(answers),
        };
        let verdict = match sides[0] == sides[1] {
            true => Verdict::Fine,
            false
                if !self.set.gathers()
                    && known::is_taken_for_a_write(&step.op, &sides[0], &sides[1]) =>
            {
                Verdict::Fine
            }
            false if self.program.has_equal_numbers() && sides[0] == known::TWO_PATHS => {
                Verdict::FineAndOver
            }
            false if known::is_by_an_unchecked_acl(self.program, &sides[0], &sides[1]) => {
                Verdict::FineAndOver
            }
            false => known::judge(&step.op, &sides[0], &sides[1]),
        };
        match verdict {
            Verdict::Fine => self.step += 1,
            Verdict::FineAndOver => self.over = true,
            Verdict::Bug => {
                let at = format!("{} {}", step.actor, step.op.show());
                return Err(self.difference(&at, step.op.name(), sides));
            }
        }
        Ok(())
    }

    /// Two answers with their file numbers as they can be compared.
    pub(super) fn canonical(&mut self, answers: [&str; 2]) -> [String; 2] {
        // On a disk the numbers of removed files are used again, at either side's pleasure.
        let keeps = self.set.keeps_numbers(is_initial_namespace(), self.program);
        if self.program.base == Base::Disk || !keeps {
            return self.fresh(answers);
        }
        let (set, program) = (self.set, self.program);
        let mut numbers = self.numbers.iter_mut();
        answers.map(|answer| {
            numbers.next().map_or_else(String::new, |n| {
                set.comparable(n.canonical(answer, false), program)
            })
        })
    }

    /// The same, for answers that share no numbers with those before.
    pub(super) fn fresh(&self, answers: [&str; 2]) -> [String; 2] {
        answers.map(|answer| {
            let several = self.program.is_of_several_file_systems();
            let answer = Numbers::default().canonical(answer, several);
            let answer = match self.program.has_equal_numbers() {
                true => known::without_numbers(&answer),
                false => answer,
            };
            let answer = self.set.comparable(answer, self.program);
            match self.program.base {
                Base::Disk => known::without_directory_times(&answer),
                Base::Memory => answer,
            }
        })
    }

    /// Kills the daemon. What is mounted stays, and answers nothing any more.
    pub(super) fn kill(&mut self) -> Result<(), Difference> {
        for mount in self.mounts.iter().flatten() {
            mount.kill().map_err(|said| self.failed(&said))?;
        }
        Ok(())
    }

    pub(super) fn unmount(&mut self, killed: bool) -> Result<(), Difference> {
        for mount in self.mounts.take().into_iter().flatten() {
            mount.unmount(killed).map_err(|said| self.failed(&said))?;
        }
        Ok(())
    }

    pub(super) fn difference(
        &self,
        at: &str,
        what: &str,
        [kernel, plyfs]: [String; 2],
    ) -> Difference {
        let signature = format!(
            "{what}: {}",
            super::super::compare::signature(&kernel, &plyfs)
        );
        Difference {
            at: at.to_owned(),
            step: self.step,
            kernel,
            plyfs,
            signature,
        }
    }

    /// A failure of the comparison itself.
    pub(super) fn failed(&self, said: &str) -> Difference {
        let signature: String = said.chars().filter(|c| !c.is_ascii_digit()).collect();
        Difference {
            at: "running the program".to_owned(),
            step: self.step,
            kernel: String::new(),
            plyfs: said.to_owned(),
            signature,
        }
    }

    pub(super) fn same_trees(
        &self,
        at: &str,
        [kernel, plyfs]: [&str; 2],
    ) -> Result<(), Difference> {
        if kernel == plyfs {
            return Ok(());
        }
        let sides = super::super::compare::differing_lines(kernel, plyfs, SEPARATOR);
        Err(self.difference(at, at, sides))
    }
}
