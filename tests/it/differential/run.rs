//! Running a program on both sides, and comparing what comes of it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags};

use super::known::{self, Verdict};
use super::layers::{Entry, What};
use super::mounts::{Dirs, Mount, Who};
use super::options::OptionSet;
use super::program::{ACTORS, Base, Company, Op, Program, Step};
use super::show::Shown;
use super::snapshot::{SEPARATOR, tree};
use super::text::Text;
use super::worker::Worker;
use crate::support::is_initial_namespace;

/// Where the sides differ.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The step, or what was compared after all of them.
    pub at: String,
    /// How many steps were done before.
    pub step: usize,
    pub kernel: String,
    pub plyfs: String,
    /// What it is about, to tell this failure from others while a program is made smaller.
    pub signature: String,
}

/// Runs programs. Workers live as long as it does.
pub struct Bench {
    entry: &'static str,
    base: tempfile::TempDir,
    /// For each actor, the worker of the kernel's side and that of plyfs.
    workers: Vec<[Worker; 2]>,
    /// Whether there are other ids than 0.
    ids: bool,
    /// For each side, a process that looks at what is there. An actor would lose the locks of what it reads.
    witnesses: [Worker; 2],
    /// For each side, a process that is going to be killed.
    victims: [Option<Worker>; 2],
    /// Operations done so far, on each side.
    pub operations: u64,
    /// How often what is rare happened.
    pub counts: BTreeMap<&'static str, u64>,
}

/// File numbers as they are compared: in the order in which they are first seen. Those of two devices are
/// never the same where layers lie on several.
#[derive(Default)]
struct Numbers(HashMap<String, usize>);

impl Numbers {
    fn canonical(&mut self, text: &str, several_devices: bool) -> String {
        let mut parts = text.split('#');
        let mut shown = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part
                .find(|c: char| !c.is_ascii_digit() && c != ':')
                .unwrap_or(part.len());
            let (number, rest) = part.split_at(end);
            let number = match several_devices {
                true => number,
                false => number.split(':').next().unwrap_or_default(),
            };
            let next = self.0.len();
            let index = self.0.entry(number.to_owned()).or_insert(next);
            shown.push_str(&format!("#{index}{rest}"));
        }
        shown
    }
}

/// Both sides of a running program.
struct Running<'p> {
    program: &'p Program,
    set: &'static OptionSet,
    dirs: [Dirs; 2],
    mounts: Option<[Mount; 2]>,
    numbers: [Numbers; 2],
    /// The actors that have begun.
    begun: [bool; ACTORS.len()],
    step: usize,
    /// Whether what comes next cannot be compared.
    over: bool,
    /// How many pages and inodes each operation finds free, if that is few.
    free: Option<(u32, u32)>,
    /// Whether one side had space where the other had none, and did what the other could not.
    parted: bool,
}

const SIDES: [Who; 2] = [Who::Kernel, Who::Plyfs];

impl Bench {
    pub fn new(entry: &'static str) -> Self {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let ids = map.lines().any(|line| {
            let count = line.split_whitespace().nth(2);
            count
                .and_then(|count| count.parse().ok())
                .is_some_and(|count: u64| count > 5000)
        });
        let start = |_| [Worker::start(entry), Worker::start(entry)];
        Self {
            entry,
            base: tempfile::tempdir().unwrap(),
            workers: (0..ACTORS.len()).map(start).collect(),
            ids,
            witnesses: start(0),
            victims: [None, None],
            operations: 0,
            counts: BTreeMap::new(),
        }
    }

    /// Runs a program; an error is where plyfs differs from the kernel.
    pub fn run(&mut self, program: &Program) -> Result<(), Difference> {
        let base = self.base.path().to_owned();
        if program.base == Base::Memory {
            let flags = MountFlags::empty();
            rustix::mount::mount("tmpfs", &base, "tmpfs", flags, None).unwrap();
        }
        let result = self.run_in(&base, program);
        if result.is_err() {
            // A worker may hang, or keep the mount busy: replace all of them.
            let start = |_| [Worker::start(self.entry), Worker::start(self.entry)];
            self.workers = (0..ACTORS.len()).map(start).collect();
            self.witnesses = start(0);
            self.victims = [None, None];
        }
        match program.base {
            Base::Memory => rustix::mount::unmount(&base, UnmountFlags::DETACH).unwrap(),
            Base::Disk => ["k", "p"].iter().for_each(|side| {
                std::fs::remove_dir_all(base.join(side)).unwrap();
            }),
        }
        result
    }

    fn run_in(&mut self, base: &Path, program: &Program) -> Result<(), Difference> {
        let set = OptionSet::named(&program.options).expect("an option set of this name");
        let opaque = match set.userxattr(is_initial_namespace()) {
            true => "user.overlay.opaque",
            false => "trusted.overlay.opaque",
        };
        let dirs = ["k", "p"].map(|name| Dirs::make(base, name, program, opaque));
        let leave = dirs.clone();
        self.count_program(program);
        let result = self.run_with(program, set, dirs);
        leave.iter().for_each(Dirs::leave);
        result
    }

    fn count_program(&mut self, program: &Program) {
        let is = |wanted: fn(&What) -> bool| program.entries.iter().any(|e| wanted(&e.what));
        let capability = |entry: &Entry| {
            let mut xattrs = entry.xattrs.iter();
            xattrs.any(|(name, value)| name.0 == b"security.capability" && value.0.len() > 20)
        };
        for (happens, what) in [
            (program.small, "programs on a small disk"),
            (program.has_equal_numbers(), "programs with bindfs"),
            (
                program.is_of_several_file_systems() && !program.has_equal_numbers(),
                "programs with layers on several file systems",
            ),
            (
                is(|what| matches!(what, What::Bind(_) | What::Mount)),
                "programs with mounts inside of layers",
            ),
            (
                is(|what| matches!(what, What::Hard(_))),
                "programs with hard links in layers",
            ),
            (
                is(|what| *what == What::Fifo),
                "programs with fifos in layers",
            ),
            (
                program.entries.iter().any(capability),
                "programs with foreign capabilities in layers",
            ),
            (
                program.steps.iter().any(|step| step.kill.is_some()),
                "programs with kills",
            ),
        ] {
            if happens {
                self.count(what);
            }
        }
    }

    fn run_with(
        &mut self,
        program: &Program,
        set: &'static OptionSet,
        dirs: [Dirs; 2],
    ) -> Result<(), Difference> {
        let lowers_before = dirs.each_ref().map(layer_trees);
        let mut running = Running {
            program,
            set,
            dirs,
            mounts: None,
            numbers: Default::default(),
            begun: Default::default(),
            step: 0,
            over: false,
            free: None,
            parted: false,
        };
        running.mount(SIDES)?;
        self.steps(&mut running)?;
        let mut last = String::new();
        if running.parted {
            return self.what_stays(&mut running);
        }
        running.leave_free(None);
        if !running.over {
            running.step = program.steps.len();
            last = self.tree(&mut running, "the tree at the end")?;
        }
        if running.over {
            self.tell(&mut running, "release")?;
            return running.unmount(false);
        }
        self.tell(&mut running, "release")?;
        running.unmount(false)?;
        running.left_in_work()?;
        let lowers_after = running.dirs.each_ref().map(layer_trees);
        for (before, after) in lowers_before.iter().zip(&lowers_after) {
            running.same_trees("lower layers before and after", [before, after])?;
        }
        let uppers = running
            .dirs
            .each_ref()
            .map(|dirs| layer_tree(&dirs.upper()));
        let [kernels, plyfs] = super::compare::leftovers(&uppers[0], &uppers[1], SEPARATOR);
        if set.leaves_the_same() && !known::may_leave_directories(program) {
            running.same_trees("what is left in the upper layer", [&kernels, &plyfs])?;
        }
        // Each side reads what the other wrote.
        running.mount([Who::Plyfs, Who::Kernel])?;
        let crossed = running
            .dirs
            .each_ref()
            .map(|dirs| tree(path(&dirs.merged()), Shown::Merged));
        running.unmount(false)?;
        let [kernels, _] = running.fresh([&last, &last]);
        let [by_plyfs, by_kernel] = running.fresh([&crossed[0], &crossed[1]]);
        let at = "what plyfs shows of the kernel's upper layer";
        running.same_trees(at, [&kernels, &by_plyfs])?;
        let at = "what the kernel shows of plyfs' upper layer";
        running.same_trees(at, [&kernels, &by_kernel])
    }

    fn steps(&mut self, running: &mut Running<'_>) -> Result<(), Difference> {
        let steps = &running.program.steps;
        let mut start = 0;
        while let Some(step) = steps.get(start).filter(|_| !running.over) {
            running.step = start;
            match step.op {
                Op::Tree {} => {
                    self.tree(running, "tree")?;
                    start += 1;
                }
                Op::Remount {} | Op::Crash {} => {
                    // The kernel's overlay mounts nothing where it cannot make its own directories.
                    running.leave_free(None);
                    self.remount(running, step.op == Op::Crash {})?;
                    start += 1;
                }
                Op::Fill { pages, inodes } => {
                    running.leave_free(Some((pages, inodes)));
                    start += 1;
                }
                Op::Free {} => {
                    running.leave_free(None);
                    start += 1;
                }
                _ if step.kill.is_some() => {
                    self.killed(running, step)?;
                    start += 1;
                }
                _ if running.free.is_some() => {
                    self.short_of_space(running, step)?;
                    start += 1;
                }
                _ if known::may_be_refused(&step.op) => {
                    self.unless_refused(running, step)?;
                    start += 1;
                }
                _ => {
                    // Those of one actor in one go: waiting for each would take longer than doing it.
                    let alike = |next: &&Step| {
                        let alone = known::may_be_refused(&next.op) || next.op.is_of_the_bench();
                        next.actor == step.actor && next.kill.is_none() && !alone
                    };
                    let count = steps[start..].iter().take_while(alike).count();
                    self.batch(running, &steps[start..start + count])?;
                    start += count;
                }
            }
        }
        Ok(())
    }

    fn batch(&mut self, running: &mut Running<'_>, steps: &[Step]) -> Result<(), Difference> {
        let actor = steps[0].actor;
        self.begin(running, actor)?;
        let workers = &mut self.workers[usize::from(actor)];
        for worker in &mut *workers {
            for step in steps {
                worker.send(&step.op.show());
            }
            worker.flush();
        }
        let mut answers = [Vec::new(), Vec::new()];
        for (side, worker) in workers.iter_mut().enumerate() {
            for step in steps {
                let answer = worker.receive().map_err(|error| {
                    let mut sides = ["ok".to_owned(), "ok".to_owned()];
                    sides[side] = format!("no answer: {error}");
                    running.difference(&step.op.show(), step.op.name(), sides)
                })?;
                answers[side].push(answer);
            }
        }
        self.operations += steps.len() as u64;
        let [kernels, plyfs] = &answers;
        for (step, (kernel, plyfs)) in steps.iter().zip(kernels.iter().zip(plyfs)) {
            running.compare(step, [kernel, plyfs])?;
            if running.over {
                break;
            }
        }
        Ok(())
    }

    /// Does a step, but only on the kernel's side if that refuses to move a directory (`known::REFUSED`).
    fn unless_refused(&mut self, running: &mut Running<'_>, step: &Step) -> Result<(), Difference> {
        self.begin(running, step.actor)?;
        let [kernel, plyfs] = &mut self.workers[usize::from(step.actor)];
        let line = step.op.show();
        let mut sides = ["ok".to_owned(), "ok".to_owned()];
        for (side, worker) in [kernel, plyfs].into_iter().enumerate() {
            sides[side] = worker
                .ask(&line)
                .map_err(|error| running.failed(&error.to_string()))?;
            if sides[0] == known::REFUSED {
                running.step += 1;
                return Ok(());
            }
        }
        self.operations += 1;
        running.compare(step, [&sides[0], &sides[1]])
    }

    /// Has an actor start, if it did not yet.
    fn begin(&mut self, running: &mut Running<'_>, actor: u8) -> Result<(), Difference> {
        let number = usize::from(actor);
        if running.begun[number] {
            return Ok(());
        }
        running.begun[number] = true;
        for (side, worker) in self.workers[number].iter_mut().enumerate() {
            let line = running.begin_line(side, actor, self.ids);
            worker
                .ask(&line)
                .map_err(|error| running.failed(&error.to_string()))?;
        }
        Ok(())
    }

    /// Sends a line to every actor that has begun.
    fn tell(&mut self, running: &mut Running<'_>, what: &str) -> Result<(), Difference> {
        for (workers, begun) in self.workers.iter_mut().zip(running.begun) {
            for worker in workers.iter_mut().filter(|_| begun) {
                let told = worker.ask(what);
                told.map_err(|error| running.failed(&format!("{what}: {error}")))?;
            }
        }
        Ok(())
    }

    /// Does a step where there is hardly any space. What one side has no space for, the other may have: they
    /// take it at different times and give it back at different times.
    fn short_of_space(&mut self, running: &mut Running<'_>, step: &Step) -> Result<(), Difference> {
        self.begin(running, step.actor)?;
        running.leave_free(running.free);
        let tree = Op::Tree {}.show();
        let before = self.witness(running, 1, &tree)?;
        let line = step.op.show();
        let kernel = self.ask(running, 0, step.actor, &line)?;
        if kernel == known::REFUSED && known::may_be_refused(&step.op) {
            running.step += 1;
            return Ok(());
        }
        let plyfs = self.ask(running, 1, step.actor, &line)?;
        self.operations += 1;
        let refused = plyfs == known::NO_SPACE;
        let mut changed = false;
        match (kernel == known::NO_SPACE, refused) {
            (true, true) => self.count("operations that neither had space for"),
            (true, false) => self.count("operations that the kernel had no space for"),
            (false, true) => self.count("operations that plyfs had no space for"),
            (false, false) => {}
        }
        if refused || kernel == known::NO_SPACE {
            let after = self.witness(running, 1, &tree)?;
            let [before, after] = running
                .fresh([&before, &after])
                .map(|side| known::without_what_goes_first(&step.op, side));
            changed = before != after;
            if refused && !known::may_be_done_in_part(&step.op) {
                let at = format!("what is shown before and after {line} failed");
                running.same_trees(&at, [&before, &after])?;
            }
        }
        let unlike = kernel != plyfs || matches!(step.op, Op::RemoveTree { .. });
        if unlike && known::is_about_space(&step.op, &kernel, &plyfs) {
            if known::only_opens(&step.op) && !refused && !changed {
                // What the kernel copies up to open it, plyfs copies up to change it.
                return self.forget_slot(running, step);
            }
            (running.over, running.parted) = (true, true);
            return Ok(());
        }
        running.compare(step, [&kernel, &plyfs])
    }

    /// Has both sides close what one of them opened.
    fn forget_slot(&mut self, running: &mut Running<'_>, step: &Step) -> Result<(), Difference> {
        if let Op::Open { slot, .. } = step.op {
            let line = Op::Close { slot }.show();
            for side in 0..2 {
                self.ask(running, side, step.actor, &line)?;
            }
        }
        running.step += 1;
        Ok(())
    }

    /// What plyfs shows stays so when the disk has space again, over a remount, and for the kernel.
    fn what_stays(&mut self, running: &mut Running<'_>) -> Result<(), Difference> {
        self.count("programs that ended since one side had space");
        let tree = Op::Tree {}.show();
        self.tell(running, "release")?;
        let full = self.witness(running, 1, &tree)?;
        running.leave_free(None);
        running.unmount(false)?;
        running.mount(SIDES)?;
        let again = self.witness(running, 1, &tree)?;
        let [full, again] = running.fresh([&full, &again]);
        let at = "what plyfs shows of a full disk and after a remount";
        running.same_trees(at, [&full, &again])?;
        running.unmount(false)?;
        running.left_in_work()?;
        running.mount([Who::Plyfs, Who::Kernel])?;
        let kernels = super::snapshot::tree(path(&running.dirs[1].merged()), Shown::Merged);
        running.unmount(false)?;
        let [kernels, again] = running.fresh([&kernels, &again]);
        let at = "what the kernel shows of what plyfs left on a full disk";
        running.same_trees(at, [&kernels, &again])
    }

    /// Has a process begin a step, kills it, and does the step.
    fn killed(&mut self, running: &mut Running<'_>, step: &Step) -> Result<(), Difference> {
        let Some(kill) = step.kill else {
            return Ok(());
        };
        self.begin(running, step.actor)?;
        let line = step.op.show();
        let look = format!("look {}", known::of_one_path(&step.op).unwrap_or_default());
        let mut answers = [String::new(), String::new()];
        let mut looks = [String::new(), String::new()];
        for side in 0..2 {
            let before = self.witness(running, side, &look)?;
            let victim = self.victims[side].take();
            let mut victim = victim.unwrap_or_else(|| Worker::start(self.entry));
            let begin = running.begin_line(side, step.actor, self.ids);
            victim
                .ask(&begin)
                .map_err(|error| running.failed(&format!("victim: {error}")))?;
            victim.send(&line);
            victim.flush();
            let worker = &mut self.workers[usize::from(step.actor)][side];
            if kill.company == Company::Beside {
                worker.send(&line);
                worker.flush();
            }
            std::thread::sleep(Duration::from_micros(kill.microseconds));
            let ended = victim.kill();
            ended.map_err(|error| running.failed(&format!("a killed process: {error}")))?;
            self.victims[side] = Some(Worker::start(self.entry));
            let mut between = None;
            if kill.company == Company::Alone {
                between = Some(self.witness(running, side, &look)?);
                let worker = &mut self.workers[usize::from(step.actor)][side];
                worker.send(&line);
                worker.flush();
            }
            let worker = &mut self.workers[usize::from(step.actor)][side];
            answers[side] = worker
                .receive()
                .map_err(|error| running.failed(&error.to_string()))?;
            looks[side] = self.witness(running, side, &look)?;
            let compared = |look: &str| {
                let look = Numbers::default().canonical(look, false);
                let look = running.set.comparable(look, running.program);
                known::without_what_goes_first(&step.op, known::without_copy_up(&look))
            };
            let [old, new] = [&before, &looks[side]].map(|look| compared(look));
            let between = between.map(|look| compared(&look));
            match between {
                Some(between)
                    if side == 1
                        && between != old
                        && known::has_lost_capabilities_alone(&step.op, &old, &between) =>
                {
                    self.count("kills within a change of owner");
                }
                Some(between) if between != old && between != new => {
                    let sides = [format!("{old}\n{new}"), between];
                    return Err(running.difference("neither old nor new", "killed", sides));
                }
                // The kernel's side is not what is counted.
                _ if side == 0 || old == new => {}
                Some(between) if between == old => self.count("kills before a change"),
                Some(_) => self.count("kills after a change"),
                None => self.count("kills beside a change"),
            }
        }
        self.operations += 1;
        let sides = running.fresh([&looks[0], &looks[1]]);
        running.same_trees(&format!("what {line} left"), [&sides[0], &sides[1]])?;
        running.compare(step, [&answers[0], &answers[1]])
    }

    /// Has the witness of a side look at something, and let go of the mount.
    fn witness(
        &mut self,
        running: &Running<'_>,
        side: usize,
        line: &str,
    ) -> Result<String, Difference> {
        let begin = running.begin_line(side, 0, self.ids);
        let witness = &mut self.witnesses[side];
        let mut ask = |line: &str| {
            let answer = witness.ask(line);
            answer.map_err(|error| running.failed(&format!("{line}: {error}")))
        };
        ask(&begin)?;
        let answer = ask(line)?;
        ask("release")?;
        Ok(answer)
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Has an actor of one side do something.
    fn ask(
        &mut self,
        running: &Running<'_>,
        side: usize,
        actor: u8,
        line: &str,
    ) -> Result<String, Difference> {
        let answer = self.workers[usize::from(actor)][side].ask(line);
        answer.map_err(|error| running.failed(&format!("{line}: {error}")))
    }

    fn remount(&mut self, running: &mut Running<'_>, crash: bool) -> Result<(), Difference> {
        if crash {
            self.tell(running, "settle")?;
            running.kill()?;
        }
        self.tell(running, "release")?;
        running.unmount(crash)?;
        running.mount(SIDES)?;
        self.tell(running, "enter")
    }

    /// Compares all there is, and returns what the kernel shows.
    fn tree(&mut self, running: &mut Running<'_>, at: &str) -> Result<String, Difference> {
        self.begin(running, 0)?;
        let op = Op::Tree {}.show();
        let mut trees = Vec::new();
        for worker in &mut self.workers[0] {
            worker.send(&op);
            worker.flush();
        }
        for worker in &mut self.workers[0] {
            let tree = worker.receive();
            trees.push(tree.map_err(|error| running.failed(&format!("tree: {error}")))?);
        }
        self.operations += 1;
        let sides = running.canonical([&trees[0], &trees[1]]);
        match known::judge(&Op::Tree {}, &sides[0], &sides[1]) {
            Verdict::FineAndOver => running.over = true,
            _ => running.same_trees(at, [&sides[0], &sides[1]])?,
        }
        Ok(trees.swap_remove(0))
    }
}

impl Running<'_> {
    /// The line that tells an actor to start.
    fn begin_line(&self, side: usize, actor: u8, ids: bool) -> String {
        let ids = if ids { "ids" } else { "single" };
        format!("begin {actor} {ids} {}", path(self.dirs[side].cell()))
    }

    /// plyfs takes away what it makes on the way.
    fn left_in_work(&self) -> Result<(), Difference> {
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

    fn leave_free(&mut self, free: Option<(u32, u32)>) {
        self.free = free;
        self.dirs.iter().for_each(|dirs| dirs.leave_free(free));
    }

    fn mount(&mut self, who: [Who; 2]) -> Result<(), Difference> {
        let [one, two] = [0, 1].map(|side| self.dirs[side].mount(who[side], self.set));
        let one = one.map_err(|said| self.failed(&said))?;
        let two = two.map_err(|said| self.failed(&said))?;
        self.mounts = Some([one, two]);
        Ok(())
    }

    /// Compares the answers to a step.
    fn compare(&mut self, step: &Step, answers: [&str; 2]) -> Result<(), Difference> {
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
    fn canonical(&mut self, answers: [&str; 2]) -> [String; 2] {
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
    fn fresh(&self, answers: [&str; 2]) -> [String; 2] {
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
    fn kill(&mut self) -> Result<(), Difference> {
        for mount in self.mounts.iter().flatten() {
            mount.kill().map_err(|said| self.failed(&said))?;
        }
        Ok(())
    }

    fn unmount(&mut self, killed: bool) -> Result<(), Difference> {
        for mount in self.mounts.take().into_iter().flatten() {
            mount.unmount(killed).map_err(|said| self.failed(&said))?;
        }
        Ok(())
    }

    fn difference(&self, at: &str, what: &str, [kernel, plyfs]: [String; 2]) -> Difference {
        let signature = format!("{what}: {}", super::compare::signature(&kernel, &plyfs));
        Difference {
            at: at.to_owned(),
            step: self.step,
            kernel,
            plyfs,
            signature,
        }
    }

    /// A failure of the comparison itself.
    fn failed(&self, said: &str) -> Difference {
        let signature: String = said.chars().filter(|c| !c.is_ascii_digit()).collect();
        Difference {
            at: "running the program".to_owned(),
            step: self.step,
            kernel: String::new(),
            plyfs: said.to_owned(),
            signature,
        }
    }

    fn same_trees(&self, at: &str, [kernel, plyfs]: [&str; 2]) -> Result<(), Difference> {
        if kernel == plyfs {
            return Ok(());
        }
        let sides = super::compare::differing_lines(kernel, plyfs, SEPARATOR);
        Err(self.difference(at, at, sides))
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn layer_tree(root: &Path) -> String {
    tree(path(root), Shown::Layer)
}

fn layer_trees(dirs: &Dirs) -> String {
    let trees: Vec<_> = dirs.lowers().map(|lower| layer_tree(&lower)).collect();
    trees.join(&SEPARATOR.to_string())
}
