//! Steps that fail for want of space.

use super::*;

impl Bench {
    /// Does a step where there is hardly any space. What one side has no space for, the other may have: they
    /// take it at different times and give it back at different times.
    pub(super) fn short_of_space(
        &mut self,
        running: &mut Running<'_>,
        step: &Step,
    ) -> Result<(), Difference> {
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
    pub(super) fn forget_slot(
        &mut self,
        running: &mut Running<'_>,
        step: &Step,
    ) -> Result<(), Difference> {
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
    pub(super) fn what_stays(&mut self, running: &mut Running<'_>) -> Result<(), Difference> {
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
        let kernels = super::super::snapshot::tree(path(&running.dirs[1].merged()), Shown::Merged);
        running.unmount(false)?;
        let [kernels, again] = running.fresh([&kernels, &again]);
        let at = "what the kernel shows of what plyfs left on a full disk";
        running.same_trees(at, [&kernels, &again])
    }
}
