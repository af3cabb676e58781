//! Steps in which a client is killed.

use super::*;

impl Bench {
    /// Has a process begin a step, kills it, and does the step.
    pub(super) fn killed(
        &mut self,
        running: &mut Running<'_>,
        step: &Step,
    ) -> Result<(), Difference> {
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
    pub(super) fn witness(
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
}
