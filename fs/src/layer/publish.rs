//! Moves into and out of the upper layer, on file systems that can do them in one step, and on others.
//!
//! Three flags of renameat2(2) publish changes in one step. NFS, overlays, and most file systems that are served
//! through FUSE lack some of them. Then a change takes several steps, in an order that never leaves data without a
//! name in the upper layer, since the work directory is emptied by the next mount. What a crash in between can
//! leave instead stands at each.
//!
//! Where whiteouts may be files ([`UpperLayer::archive_names`](crate::UpperLayer)), one stands guard meanwhile: it
//! says nothing as long as the name is there, and hides what lies below while it is not.

use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use plyfs_format::whiteout;
use rustix::fs::{AtFlags, RenameFlags};

use crate::disk::calls::{stat_name, stat_of_absent};
use crate::disk::owner_mode;
use crate::error::{Errno, Result};
use crate::layer::whiteout::is_whiteout;
use crate::layer::work::Work;

/// A name in a directory of the upper layer.
pub(crate) type NameIn<'n> = (BorrowedFd<'n>, &'n OsStr);

/// A whiteout in the form of a file that hides a name while it is not there.
struct Guard<'g> {
    dir: BorrowedFd<'g>,
    name: Vec<u8>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Err(errno) = rustix::fs::unlinkat(self.dir, &*self.name, AtFlags::empty()) {
            log::debug!("a whiteout stays beside what it hid: {errno}");
        }
    }
}

/// A directory of the upper layer that was moved to the work directory to make way for another. Where whiteouts may
/// be files, one hides what is below its name meanwhile.
///
/// After a crash meanwhile the other still has its former name, and the next mount removes this one with all that is
/// left in the work directory. It held nothing but whiteouts. Without a whiteout in the form of a file, its name then
/// shows what the layers below have.
pub(crate) struct Aside<'a> {
    work: &'a Work,
    name: OsString,
    at: NameIn<'a>,
    _guard: Option<Guard<'a>>,
}

impl Aside<'_> {
    /// Removes the directory if there is another in its place, and else puts it back.
    pub(crate) fn end(self, is_replaced: bool) {
        if is_replaced {
            self.work.discard(&self.name)
        } else {
            self.work.put_back(&self.name, self.at)
        }
    }
}

impl Work {
    /// Moves a directory of the upper layer aside.
    ///
    /// # Errors
    /// Those of renameat2(2) and of making a whiteout.
    pub(crate) fn set_aside<'a>(&'a self, at: NameIn<'a>) -> Result<Aside<'a>> {
        let guard = self.guard(at)?;
        let name = self.temp_name();
        owner_mode::rename(at, (self.dir(), &name), RenameFlags::empty())?;
        Ok(Aside {
            work: self,
            name,
            at,
            _guard: guard,
        })
    }

    fn guard<'g>(&self, (dir, name): NameIn<'g>) -> Result<Option<Guard<'g>>> {
        if !self.reads_files() {
            return Ok(None);
        }
        self.make_file(dir, name)?;
        let name = [whiteout::PREFIX, name.as_bytes()].concat();
        Ok(Some(Guard { dir, name }))
    }

    /// Gives a staged object a name that does not exist.
    ///
    /// # Errors
    /// `EXIST` if it does, and those of renameat2(2).
    pub(crate) fn publish(&self, staged: &OsStr, (dir, name): NameIn<'_>) -> Result<()> {
        let from = (self.dir(), staged);
        if self.moves().noreplace {
            return owner_mode::rename(from, (dir, name), RenameFlags::NOREPLACE);
        }
        // Only this mount makes names in the upper layer, and the caller has locked this one.
        match stat_of_absent(stat_name(dir, name.as_bytes()))? {
            Some(_) => Err(Errno::EXIST),
            None => owner_mode::rename(from, (dir, name), RenameFlags::empty()),
        }
    }

    /// Gives a staged object that is no directory the name of a whiteout or of another such object.
    ///
    /// # Errors
    /// Those of renameat(2).
    pub(crate) fn replace(&self, staged: &OsStr, to: NameIn<'_>) -> Result<()> {
        owner_mode::rename((self.dir(), staged), to, RenameFlags::empty())
    }

    /// Gives a staged directory the name of a whiteout, over which no directory can be renamed.
    ///
    /// Without exchange a crash in between can show what the whiteout hid.
    ///
    /// # Errors
    /// Those of renameat2(2) and unlinkat(2).
    pub(crate) fn replace_whiteout(&self, staged: &OsStr, to: NameIn<'_>) -> Result<()> {
        let from = (self.dir(), staged);
        if self.moves().exchange {
            owner_mode::rename(from, to, RenameFlags::EXCHANGE)?;
            self.discard(staged);
            return Ok(());
        }
        let (dir, name) = to;
        let _guard = self.guard(to)?;
        let whiteout = self.temp_name();
        owner_mode::rename(to, (self.dir(), &whiteout), RenameFlags::empty())?;
        let moved = owner_mode::rename(from, to, RenameFlags::empty());
        match moved {
            Ok(()) => self.discard(&whiteout),
            Err(_) => self.put_back(&whiteout, (dir, name)),
        }
        moved
    }

    /// Replaces a directory that shows nothing by a whiteout, and removes it.
    ///
    /// Without exchange a crash in between can show what the directory hid.
    ///
    /// # Errors
    /// Those of renameat2(2) and of making a whiteout.
    pub(crate) fn replace_by_whiteout(&self, at: NameIn<'_>) -> Result<()> {
        let staged = self.stage_whiteout()?;
        let replaced = self.exchange_for_whiteout(&staged, at);
        // The directory, or the whiteout that did not get there.
        self.discard(&staged);
        replaced
    }

    fn exchange_for_whiteout(&self, staged: &OsStr, at: NameIn<'_>) -> Result<()> {
        let whiteout = (self.dir(), staged);
        if self.moves().exchange {
            return owner_mode::rename(whiteout, at, RenameFlags::EXCHANGE);
        }
        let _guard = self.guard(at)?;
        let aside = self.temp_name();
        owner_mode::rename(at, (self.dir(), &aside), RenameFlags::empty())?;
        let moved = owner_mode::rename(whiteout, at, RenameFlags::empty());
        match moved {
            Ok(()) => self.discard(&aside),
            Err(_) => self.put_back(&aside, at),
        }
        moved
    }

    /// Takes a name from a directory of the upper layer, and removes it with all that is in it.
    ///
    /// # Errors
    /// Those of renameat(2).
    pub(crate) fn take_away(&self, at: NameIn<'_>) -> Result<()> {
        let aside = self.temp_name();
        owner_mode::rename(at, (self.dir(), &aside), RenameFlags::empty())?;
        self.discard(&aside);
        Ok(())
    }

    /// Moves an object and leaves a whiteout at its old name. What was at the new name, if anything, is replaced;
    /// `is_shown` says that the new name shows something, maybe of a lower layer.
    ///
    /// Without `RENAME_WHITEOUT` an exchange does it in one step where the new name shows nothing. Else a crash in
    /// between can show what lies below the old name, besides the object at its new name.
    ///
    /// # Errors
    /// Those of renameat2(2) and of making a whiteout. Nothing was moved then.
    pub(crate) fn leave_whiteout(
        &self,
        from: NameIn<'_>,
        to: NameIn<'_>,
        is_shown: bool,
    ) -> Result<()> {
        if self.moves().whiteout {
            return owner_mode::rename(from, to, RenameFlags::WHITEOUT);
        }
        // A whiteout must not be at a name that shows something, not even for a moment.
        if self.moves().exchange
            && !is_shown
            && let Some(made) = self.whiteout_at(to)?
        {
            let exchanged = owner_mode::rename(from, to, RenameFlags::EXCHANGE);
            if exchanged.is_err() && made {
                self.take_back(to);
            }
            return exchanged;
        }
        // It is made before anything moves, since that may fail for want of space.
        let whiteout = self.stage_whiteout()?;
        let moved = self.guard(from).and_then(|guard| {
            owner_mode::rename(from, to, RenameFlags::empty())?;
            Ok(guard)
        });
        match moved {
            Ok(guard) => {
                self.hide_old_name(&whiteout, from, guard);
                Ok(())
            }
            Err(errno) => {
                self.discard(&whiteout);
                Err(errno)
            }
        }
    }

    /// Puts a staged whiteout where an object was moved from. The move is done, and what it replaced is gone: so
    /// it has not failed, whatever becomes of the whiteout.
    fn hide_old_name(&self, staged: &OsStr, from: NameIn<'_>, guard: Option<Guard<'_>>) {
        let Err(errno) = owner_mode::rename((self.dir(), staged), from, RenameFlags::empty())
        else {
            return;
        };
        self.discard(staged);
        if self.make_whiteout(from.0, from.1).is_ok() {
            return;
        }
        // Where one stands guard, it stays.
        let is_hidden = guard.is_some();
        std::mem::forget(guard);
        if !is_hidden {
            let name = from.1.display();
            log::error!(
                "cannot make a whiteout of {name}, which was moved; what lower layers have there is shown: {errno}"
            );
        }
    }

    /// Moves a directory to where a whiteout is, without exchange. With `leaves_whiteout` there is one at its old
    /// name then. A crash in between can show what the whiteout at the new name hid.
    ///
    /// # Errors
    /// Those of renameat2(2) and of making a whiteout.
    pub(crate) fn move_over_whiteout(
        &self,
        from: NameIn<'_>,
        to: NameIn<'_>,
        leaves_whiteout: bool,
    ) -> Result<()> {
        let _guard = self.guard(to)?;
        let aside = self.temp_name();
        owner_mode::rename(to, (self.dir(), &aside), RenameFlags::empty())?;
        let moved = if leaves_whiteout {
            self.leave_whiteout(from, to, false)
        } else {
            owner_mode::rename(from, to, RenameFlags::empty())
        };
        match moved {
            Ok(()) => self.discard(&aside),
            Err(_) => self.put_back(&aside, to),
        }
        moved
    }

    /// Makes sure that there is a whiteout at a name that shows nothing. Returns whether it was made; `None` if
    /// there is something else.
    fn whiteout_at(&self, (dir, name): NameIn<'_>) -> Result<Option<bool>> {
        match self.make_whiteout(dir, name) {
            Ok(()) => Ok(Some(true)),
            Err(Errno::EXIST) => {
                let there = stat_name(dir, name.as_bytes())?;
                Ok(is_whiteout(&there).then_some(false))
            }
            Err(errno) => Err(errno),
        }
    }

    /// Removes a whiteout that was made in vain.
    fn take_back(&self, (dir, name): NameIn<'_>) {
        if let Err(errno) = rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            log::debug!("a whiteout that hides nothing stays: {errno}");
        }
    }

    /// Undoes a first step after the second one failed.
    fn put_back(&self, aside: &OsStr, at: NameIn<'_>) {
        if let Err(errno) = owner_mode::rename((self.dir(), aside), at, RenameFlags::empty()) {
            log::error!(
                "cannot restore {} in the upper layer: {errno}",
                at.1.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;

    use rustix::fs::Mode;

    use super::*;
    use crate::config::Volatile;
    use crate::layer::rename_flags::Moves;

    const NONE: Moves = Moves {
        noreplace: false,
        exchange: false,
        whiteout: false,
    };

    /// A work directory and a directory of the upper layer, on a file system that knows these flags.
    fn with(moves: Moves, test: impl Fn(&Work, &std::path::Path, BorrowedFd<'_>)) {
        let tmp = tempfile::tempdir().unwrap();
        let (upper, work) = (tmp.path().join("upper"), tmp.path().join("work"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let mut work = Work::open(&work, Volatile::No, false).unwrap();
        work.pretend(moves);
        test(&work, &upper, File::open(&upper).unwrap().as_fd());
    }

    fn all_combinations() -> impl Iterator<Item = Moves> {
        (0..8).map(|bits| Moves {
            noreplace: bits & 1 != 0,
            exchange: bits & 2 != 0,
            whiteout: bits & 4 != 0,
        })
    }

    fn is_whiteout_at(path: &std::path::Path) -> bool {
        let meta = fs::symlink_metadata(path);
        meta.is_ok_and(|meta| meta.file_type().is_char_device())
    }

    #[test]
    fn a_move_leaves_a_whiteout_with_any_flags() {
        for moves in all_combinations() {
            for target in [None, Some("old"), Some("whiteout")] {
                with(moves, |work, upper, dir| {
                    fs::write(upper.join("a"), "a").unwrap();
                    match target {
                        Some("old") => fs::write(upper.join("b"), "b").unwrap(),
                        Some(_) => work.make_whiteout(dir, "b".as_ref()).unwrap(),
                        None => {}
                    }
                    let (from, to) = ((dir, "a".as_ref()), (dir, "b".as_ref()));
                    work.leave_whiteout(from, to, target == Some("old"))
                        .unwrap();
                    assert!(is_whiteout_at(&upper.join("a")), "{moves:?} {target:?}");
                    assert_eq!(fs::read_to_string(upper.join("b")).unwrap(), "a");
                });
            }
        }
    }

    #[test]
    fn directories_and_whiteouts_replace_each_other_with_any_flags() {
        for moves in all_combinations() {
            with(moves, |work, upper, dir| {
                fs::create_dir_all(upper.join("d/x")).unwrap();
                let name = "d".as_ref();
                work.replace_by_whiteout((dir, name)).unwrap();
                assert!(is_whiteout_at(&upper.join("d")), "{moves:?}");
                let staged = work.temp_name();
                rustix::fs::mkdirat(work.dir(), &staged, Mode::RWXU).unwrap();
                work.replace_whiteout(&staged, (dir, name)).unwrap();
                assert!(upper.join("d").is_dir(), "{moves:?}");
                assert_eq!(fs::read_dir(upper).unwrap().count(), 1);
            });
        }
    }

    #[test]
    fn nothing_is_published_over_something() {
        for moves in all_combinations() {
            with(moves, |work, upper, dir| {
                fs::write(upper.join("a"), "old").unwrap();
                work.make_whiteout(work.dir(), "staged".as_ref()).unwrap();
                let name = "a".as_ref();
                let refused = work.publish("staged".as_ref(), (dir, name));
                assert_eq!(refused, Err(Errno::EXIST), "{moves:?}");
                assert_eq!(fs::read_to_string(upper.join("a")).unwrap(), "old");
            });
        }
    }

    #[test]
    fn an_object_whose_move_fails_keeps_its_name() {
        with(NONE, |work, upper, dir| {
            fs::create_dir(upper.join("d")).unwrap();
            let into = upper.join("not there/d");
            let missing = (dir, into.as_os_str());
            let name: &OsStr = "d".as_ref();
            let moved = work.leave_whiteout((dir, name), missing, false);
            assert_eq!(moved, Err(Errno::NOENT));
            assert!(upper.join("d").is_dir());
        });
    }

    #[test]
    fn a_directory_that_was_set_aside_comes_back() {
        with(NONE, |work, upper, dir| {
            fs::create_dir(upper.join("d")).unwrap();
            work.make_whiteout(dir, "d/x".as_ref()).unwrap();
            let aside = work.set_aside((dir, "d".as_ref())).unwrap();
            assert!(!upper.join("d").exists());
            aside.end(false);
            assert!(is_whiteout_at(&upper.join("d/x")));
            let aside = work.set_aside((dir, "d".as_ref())).unwrap();
            aside.end(true);
            assert_eq!(fs::read_dir(upper).unwrap().count(), 0);
        });
    }

    /// A lower file that is to be replaced stays visible until it is.
    #[test]
    fn a_move_that_fails_hides_nothing() {
        for moves in all_combinations() {
            for is_shown in [false, true] {
                with(moves, |work, upper, dir| {
                    let (from, to) = ((dir, "not there".as_ref()), (dir, "b".as_ref()));
                    let moved = work.leave_whiteout(from, to, is_shown);
                    assert_eq!(moved, Err(Errno::NOENT), "{moves:?}");
                    assert_eq!(fs::read_dir(upper).unwrap().count(), 0, "{moves:?}");
                });
            }
        }
    }

    #[test]
    fn an_object_that_was_moved_leaves_a_whiteout_though_the_staged_one_is_lost() {
        with(NONE, |work, upper, dir| {
            work.hide_old_name("lost".as_ref(), (dir, "a".as_ref()), None);
            assert!(is_whiteout_at(&upper.join("a")));
        });
    }
}
