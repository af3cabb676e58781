//! Flags of files (chattr(1)): what plyfs forbids and shows is what the kernel's overlay does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::support::*;
use plyfs_sys::attributes;
use plyfs_sys::mapping::Mapping;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, IFlags, Mode, OFlags, RenameFlags, Timespec,
    Timestamps, UTIME_NOW, XattrFlags,
};
use rustix::io::{Errno, Result};

/// What a file is given.
const PROTECTION: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);
/// What the kernel's overlay copies to the upper file itself.
const COPIED: IFlags = IFlags::SYNC.union(IFlags::NOATIME);
const PROTATTR: &str = "trusted.overlay.protattr";

fn open(path: &Path, flags: OFlags) -> Result<rustix::fd::OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
}

fn flags_of(path: &Path) -> IFlags {
    let file = open(path, OFlags::RDONLY).unwrap();
    rustix::fs::ioctl_getflags(&file).unwrap() & (PROTECTION | COPIED | IFlags::NODUMP)
}

fn set_flags(path: &Path, flags: IFlags) -> Result<()> {
    let file = open(path, OFlags::RDONLY)?;
    let others = rustix::fs::ioctl_getflags(&file)?.difference(PROTECTION);
    rustix::fs::ioctl_setflags(&file, others | flags)
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 64];
    let length = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    Some(value[..length].to_vec())
}

/// Why flags cannot be set on what is in the directories of a stack.
fn cannot_protect(stack: &Stack) -> Option<String> {
    let probe = stack.path("probe");
    put(&probe, "");
    let set =
        set_flags(&probe, IFlags::IMMUTABLE).and_then(|()| set_flags(&probe, IFlags::empty()));
    set.err()
        .map(|errno| format!("no immutable files here: {errno}"))
}

/// A stack whose layers hold protected files, which must lose their flags before it can be removed.
struct Protected(Stack);

/// Such a stack, or a skipped test.
fn protected(test: &str) -> Option<Protected> {
    let stack = Protected(Stack::new(1));
    match cannot_protect(&stack.0) {
        None => Some(stack),
        Some(why) => {
            skip(test, &why);
            None
        }
    }
}

impl Drop for Protected {
    fn drop(&mut self) {
        let layers = ["upper".to_owned()]
            .into_iter()
            .chain((0..2).map(|i| format!("lower{i}")));
        for layer in layers {
            release(&self.0.path(&layer));
        }
    }
}

fn release(path: &Path) {
    let Ok(kind) = fs::symlink_metadata(path).map(|meta| meta.file_type()) else {
        return;
    };
    if kind.is_dir() || kind.is_file() {
        set_flags(path, IFlags::empty()).ok();
    }
    if kind.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            release(&entry.unwrap().path());
        }
    }
}

/// A change of a file or directory at a path.
type Change = fn(&Path) -> Result<()>;

fn write_with(path: &Path, flags: OFlags) -> Result<()> {
    let file = open(path, OFlags::WRONLY | flags)?;
    rustix::io::write(file, b"new").map(drop)
}

fn times(atime: i64, mtime: i64) -> Timestamps {
    let at = |nanos| Timespec {
        tv_sec: 5,
        tv_nsec: nanos,
    };
    Timestamps {
        last_access: at(atime),
        last_modification: at(mtime),
    }
}

fn set_times(path: &Path, times: &Timestamps) -> Result<()> {
    rustix::fs::utimensat(CWD, path, times, AtFlags::empty())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    rustix::fs::rename(from, to)
}

fn make(path: &Path) -> Result<()> {
    rustix::fs::mknodat(CWD, path, FileType::RegularFile, Mode::RUSR, 0).map(drop)
}

/// An unprotected file outside.
fn outside(path: &Path) -> Result<PathBuf> {
    let other = beside(path, ".other");
    make(&other)?;
    Ok(other)
}

fn in_file(
    path: &Path,
    flags: OFlags,
    change: fn(&rustix::fd::OwnedFd) -> Result<()>,
) -> Result<()> {
    change(&open(path, OFlags::RDWR | flags)?)
}

fn set_no_dump(path: &Path) -> Result<()> {
    let file = open(path, OFlags::RDONLY)?;
    let flags = rustix::fs::ioctl_getflags(&file)?;
    rustix::fs::ioctl_setflags(&file, flags | IFlags::NODUMP)
}

/// Changes of files.
const OF_FILES: &[(&str, Change)] = &[
    ("write", |path| write_with(path, OFlags::empty())),
    ("append", |path| write_with(path, OFlags::APPEND)),
    ("open-truncate", |path| write_with(path, OFlags::TRUNC)),
    ("truncate", |path| {
        let file = open(path, OFlags::WRONLY)?;
        rustix::fs::ftruncate(file, 1)
    }),
    ("truncate-appending", |path| {
        in_file(path, OFlags::APPEND, |file| rustix::fs::ftruncate(file, 1))
    }),
    ("allocate", |path| {
        in_file(path, OFlags::APPEND, |file| {
            rustix::fs::fallocate(file, FallocateFlags::empty(), 0, 100_000)
        })
    }),
    ("allocate-keep-size", |path| {
        in_file(path, OFlags::APPEND, |file| {
            rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, 100_000)
        })
    }),
    ("punch", |path| {
        in_file(path, OFlags::APPEND, |file| {
            let punch = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE;
            rustix::fs::fallocate(file, punch, 0, 1)
        })
    }),
    ("copy-range", |path| {
        let other = outside(path)?;
        fs::write(&other, "other").unwrap();
        let (from, to) = (open(&other, OFlags::RDONLY)?, open(path, OFlags::WRONLY)?);
        rustix::fs::copy_file_range(from, None, to, None, 3).map(drop)
    }),
    ("hard-link", |path| {
        rustix::fs::link(path, beside(path, ".link"))
    }),
    ("hard-link-again", |path| {
        rustix::fs::link(path, beside(path, ".link"))?;
        rustix::fs::unlink(path)
    }),
];

/// Changes of files and directories.
const OF_ALL: &[(&str, Change)] = &[
    ("chmod", |path| rustix::fs::chmod(path, Mode::RWXU)),
    ("chown", |path| {
        rustix::fs::chown(path, None, Some(rustix::fs::Gid::from_raw(5)))
    }),
    ("touch", |path| {
        set_times(path, &times(UTIME_NOW, UTIME_NOW))
    }),
    ("set-times", |path| set_times(path, &times(7, 7))),
    ("set-one-time", |path| set_times(path, &times(UTIME_NOW, 7))),
    ("set-attribute", |path| {
        rustix::fs::lsetxattr(path, "user.new", b"x", XattrFlags::empty())
    }),
    ("remove-attribute", |path| {
        rustix::fs::lremovexattr(path, "user.note")
    }),
    ("set-flag", set_no_dump),
    ("unprotect", |path| set_flags(path, IFlags::empty())),
    ("make-immutable", |path| set_flags(path, IFlags::IMMUTABLE)),
    ("rename", |path| rename(path, &beside(path, ".moved"))),
    ("rename-noreplace", |path| {
        let to = beside(path, ".moved");
        rustix::fs::renameat_with(CWD, path, CWD, to, RenameFlags::NOREPLACE)
    }),
    ("exchange", |path| {
        let flags = RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(CWD, outside(path)?, CWD, path, flags)
    }),
    ("exchange-first", |path| {
        let flags = RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(CWD, path, CWD, outside(path)?, flags)
    }),
    ("replace", |path| match path.is_dir() {
        true => {
            let other = beside(path, ".other");
            rustix::fs::mkdir(&other, Mode::RWXU)?;
            rename(&other, path)
        }
        false => rename(&outside(path)?, path),
    }),
    ("remove", |path| match path.is_dir() {
        true => rustix::fs::rmdir(path),
        false => rustix::fs::unlink(path),
    }),
];

/// Changes of directories, which have a file `f` and a directory `d`.
const OF_DIRECTORIES: &[(&str, Change)] = &[
    ("create", |path| make(&path.join("new"))),
    ("create-by-open", |path| {
        let flags = OFlags::CREATE | OFlags::WRONLY;
        rustix::fs::open(path.join("new"), flags, Mode::RUSR).map(drop)
    }),
    ("mkdir", |path| {
        rustix::fs::mkdir(path.join("new"), Mode::RWXU)
    }),
    ("symlink", |path| rustix::fs::symlink("x", path.join("new"))),
    ("fifo", |path| {
        rustix::fs::mknodat(CWD, path.join("new"), FileType::Fifo, Mode::RWXU, 0)
    }),
    ("link-into", |path| {
        rustix::fs::link(outside(path)?, path.join("new"))
    }),
    ("move-into", |path| {
        rename(&outside(path)?, &path.join("new"))
    }),
    ("move-over", |path| rename(&outside(path)?, &path.join("f"))),
    ("move-out", |path| {
        rename(&path.join("f"), &beside(path, ".moved"))
    }),
    ("move-directory-out", |path| {
        rename(&path.join("d"), &beside(path, ".moved"))
    }),
    ("move-within", |path| {
        rename(&path.join("f"), &path.join("g"))
    }),
    ("unlink", |path| rustix::fs::unlink(path.join("f"))),
    ("rmdir", |path| rustix::fs::rmdir(path.join("d"))),
    ("write-to-one", |path| {
        write_with(&path.join("f"), OFlags::empty())
    }),
    ("chmod-of-one", |path| {
        rustix::fs::chmod(path.join("f"), Mode::RWXU)
    }),
];

/// What only opening shows.
const OF_OPENING: &[(&str, Change)] = &[
    ("open-for-writing", |path| {
        open(path, OFlags::WRONLY).map(drop)
    }),
    ("open-for-both", |path| open(path, OFlags::RDWR).map(drop)),
    ("open-for-appending", |path| {
        open(path, OFlags::WRONLY | OFlags::APPEND).map(drop)
    }),
    ("open-for-reading", |path| {
        open(path, OFlags::RDONLY).map(drop)
    }),
];

/// In which layer something is protected, and how.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    /// By chattr(1) on the mount, of a file that is in the upper layer or is copied up for it.
    Mount { lower: bool },
    /// In the lower layer.
    Lower,
}

/// Names in the order in which they are made, with the changes to make of each.
fn cases(opening: bool) -> Vec<(String, Where, IFlags, bool, Change)> {
    let mut cases = Vec::new();
    for (place, at) in [
        ("upper", Where::Mount { lower: false }),
        ("copied", Where::Mount { lower: true }),
        ("lower", Where::Lower),
    ] {
        for (letter, flags) in [
            ("i", IFlags::IMMUTABLE),
            ("a", IFlags::APPEND),
            ("ia", PROTECTION),
        ] {
            let mut add = |kind: &str, is_dir, changes: &[(&str, Change)]| {
                for (name, change) in changes {
                    let name = format!("{place}-{letter}-{kind}-{name}");
                    cases.push((name, at, flags, is_dir, *change));
                }
            };
            add("file", false, OF_FILES);
            add("file", false, OF_ALL);
            add("dir", true, OF_ALL);
            add("dir", true, OF_DIRECTORIES);
            if opening {
                add("file", false, OF_OPENING);
            }
        }
    }
    cases
}

fn make_one(path: &Path, is_dir: bool) {
    match is_dir {
        true => {
            fs::create_dir_all(path.join("d")).unwrap();
            put(&path.join("f"), "content");
        }
        false => put(path, "content"),
    }
    rustix::fs::lsetxattr(path, "user.note", b"x", XattrFlags::empty()).unwrap();
}

/// What came of each change, and which flags were left.
type Results = BTreeMap<String, (std::result::Result<(), Errno>, Option<IFlags>)>;

/// Makes all changes, each of a file of its own, on a mount that `mount` makes.
fn changes(stack: &mut Stack, opening: bool, mount: impl FnOnce(&mut Stack)) -> Results {
    let cases = cases(opening);
    for (name, at, flags, is_dir, _) in &cases {
        if *at != (Where::Mount { lower: false }) {
            make_one(&stack.lower(0, name), *is_dir);
        }
        if *at == Where::Lower {
            set_flags(&stack.lower(0, name), *flags).unwrap();
        }
    }
    mount(stack);
    let mut results = Results::new();
    for (name, at, flags, is_dir, change) in &cases {
        let path = stack.merged(name);
        if *at == (Where::Mount { lower: false }) {
            make_one(&path, *is_dir);
        }
        if *at != Where::Lower {
            set_flags(&path, *flags).unwrap();
        }
        assert_eq!(flags_of(&path) & PROTECTION, *flags, "{name}");
        let result = change(&path);
        let left = path.exists().then(|| flags_of(&path));
        results.insert(name.clone(), (result, left));
    }
    results
}

fn assert_agree(ours: &Results, kernels: &Results) {
    let differ = |(name, result): (&String, &_)| {
        let kernels = kernels.get(name);
        (kernels != Some(result)).then(|| format!("{name}: {result:?}, the kernel {kernels:?}"))
    };
    let differences: Vec<_> = ours.iter().filter_map(differ).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(ours.len(), kernels.len());
    let refused = ours
        .values()
        .filter(|(result, _)| *result == Err(Errno::PERM))
        .count();
    let allowed = ours.values().filter(|(result, _)| result.is_ok()).count();
    assert!(
        refused > 100 && allowed > 30,
        "{refused} refused, {allowed} allowed"
    );
}

#[test]
fn protection_forbids_what_the_kernel_forbids() {
    let name = this_test!();
    inside(name, || {
        for (options, opening) in [("", false), (",copy_up=open", true), (",index=on", false)] {
            let Some(mut kernel) = protected(name) else {
                return;
            };
            let kernels = changes(&mut kernel.0, opening, Stack::mount_kernel);
            let mut plyfs = Protected(Stack::new(1));
            let ours = changes(&mut plyfs.0, opening, |stack| stack.mount_with(options));
            assert_agree(&ours, &kernels);
        }
    });
}

#[test]
fn protection_is_what_the_kernel_reads_and_writes() {
    let name = this_test!();
    inside(name, || {
        let Some(mut stack) = protected(name) else {
            return;
        };
        let stack = &mut stack.0;
        let files = [
            ("immutable", IFlags::IMMUTABLE, &b"i"[..]),
            ("appended", IFlags::APPEND, b"a"),
            ("both", PROTECTION, b"ai"),
        ];
        for (name, _, _) in files {
            put(&stack.lower(0, name), "content");
            put(&stack.lower(0, &format!("{name}.d/f")), "content");
        }
        let unmount = |stack: &mut Stack| {
            let flags = rustix::mount::UnmountFlags::empty();
            rustix::mount::unmount(stack.merged(""), flags).unwrap();
        };
        let check = |stack: &Stack| {
            for (name, flags, value) in files {
                for name in [name, &format!("{name}.d")] {
                    assert_eq!(flags_of(&stack.merged(name)), flags, "{name}");
                    let on_disk = flags_of(&stack.upper(name));
                    assert_eq!(on_disk, IFlags::empty(), "{name} has a record, and no flag");
                    assert_eq!(
                        xattr(&stack.upper(name), PROTATTR).unwrap(),
                        value,
                        "{name}"
                    );
                    assert_eq!(xattr(&stack.merged(name), PROTATTR), None, "{name}");
                    let refused = rustix::fs::chmod(stack.merged(name), Mode::RWXU);
                    assert_eq!(refused, Err(Errno::PERM), "{name}");
                }
            }
        };
        let set = |stack: &Stack, protect: bool| {
            for (name, flags, _) in files {
                for name in [name, &format!("{name}.d")] {
                    let flags = if protect { flags } else { IFlags::empty() };
                    set_flags(&stack.merged(name), flags).unwrap();
                }
            }
        };
        stack.mount();
        set(stack, true);
        check(stack);
        stack.unmount();
        stack.mount_kernel();
        check(stack);
        set(stack, false);
        set(stack, true);
        unmount(stack);
        stack.mount();
        check(stack);
        set(stack, false);
        stack.unmount();
        for (name, _, _) in files {
            assert_eq!(xattr(&stack.upper(name), PROTATTR), None, "{name}");
        }
        stack.mount_kernel();
        for (name, _, _) in files {
            assert_eq!(flags_of(&stack.merged(name)), IFlags::empty(), "{name}");
            rustix::fs::chmod(stack.merged(name), Mode::RWXU).unwrap();
        }
    });
}

#[test]
fn a_copy_has_the_flags_that_the_kernel_copies() {
    let name = this_test!();
    inside(name, || {
        let all = PROTECTION | COPIED | IFlags::NODUMP;
        let touch = |stack: &Stack| {
            // What may be done to what is append-only, and to what is below something immutable.
            set_times(&stack.merged("a"), &times(UTIME_NOW, UTIME_NOW)).unwrap();
            rustix::fs::chmod(stack.merged("plain"), Mode::RWXU).unwrap();
            fs::write(stack.merged("i.d/f"), "changed").unwrap();
            ["a", "plain", "i.d"].map(|name| {
                let protattr = xattr(&stack.upper(name), PROTATTR);
                (
                    flags_of(&stack.merged(name)),
                    flags_of(&stack.upper(name)),
                    protattr,
                )
            })
        };
        let prepare = |stack: &Stack| {
            put(&stack.lower(0, "a"), "content");
            put(&stack.lower(0, "plain"), "content");
            put(&stack.lower(0, "i.d/f"), "content");
            set_flags(&stack.lower(0, "a"), all.difference(IFlags::IMMUTABLE)).unwrap();
            set_flags(&stack.lower(0, "plain"), COPIED | IFlags::NODUMP).unwrap();
            set_flags(&stack.lower(0, "i.d"), all.difference(IFlags::APPEND)).unwrap();
        };
        let Some(mut kernel) = protected(name) else {
            return;
        };
        prepare(&kernel.0);
        kernel.0.mount_kernel();
        let kernels = touch(&kernel.0);
        let mut plyfs = Protected(Stack::new(1));
        prepare(&plyfs.0);
        plyfs.0.mount();
        assert_eq!(touch(&plyfs.0), kernels);
        assert_eq!(kernels[0].2.as_deref(), Some(&b"a"[..]));
        assert_eq!(kernels[0].1, COPIED);
    });
}

#[test]
fn attributes_of_xfs_io_are_read_and_set() {
    let name = this_test!();
    inside(name, || {
        let Some(mut stack) = protected(name) else {
            return;
        };
        let stack = &mut stack.0;
        put(&stack.lower(0, "f"), "content");
        stack.mount();
        let file = File::open(stack.merged("f")).unwrap();
        let mut found = attributes::get(file.as_fd()).unwrap();
        // FS_XFLAG_IMMUTABLE and FS_XFLAG_NODUMP.
        let flags: u32 = 0x8 | 0x80;
        found[..4].copy_from_slice(&flags.to_ne_bytes());
        attributes::set(file.as_fd(), found).unwrap();
        let now = attributes::get(file.as_fd()).unwrap();
        assert_eq!(now[..4], flags.to_ne_bytes());
        let shown = flags_of(&stack.merged("f"));
        assert_eq!(shown, IFlags::IMMUTABLE | IFlags::NODUMP);
        assert_eq!(flags_of(&stack.upper("f")), IFlags::NODUMP);
        assert_eq!(
            fs::remove_file(stack.merged("f"))
                .unwrap_err()
                .raw_os_error(),
            Some(1)
        );
    });
}

#[test]
fn what_was_written_before_a_file_is_protected_is_kept() {
    let name = this_test!();
    inside(name, || {
        for options in ["", ",writeback=1"] {
            let Some(mut stack) = protected(name) else {
                return;
            };
            let stack = &mut stack.0;
            put(&stack.lower(0, "f"), "content");
            stack.mount_with(options);
            let path = stack.merged("f");
            for flags in [IFlags::IMMUTABLE, IFlags::APPEND] {
                let mut file = File::options().write(true).open(&path).unwrap();
                file.write_all(b"written").unwrap();
                set_flags(&path, flags).unwrap();
                file.sync_all().unwrap();
                assert_eq!(fs::read(stack.upper("f")).unwrap(), b"written", "{options}");
                set_flags(&path, IFlags::empty()).unwrap();
                fs::write(&path, "content").unwrap();
            }
        }
    });
}

#[test]
fn a_record_that_cannot_be_parsed_goes_with_the_next_change() {
    let name = this_test!();
    inside(name, || {
        let Some(mut stack) = protected(name) else {
            return;
        };
        let stack = &mut stack.0;
        let stored = stack.upper("f");
        put(&stored, "content");
        rustix::fs::lsetxattr(&stored, PROTATTR, b"?", XattrFlags::empty()).unwrap();
        stack.mount();
        let path = stack.merged("f");
        assert_eq!(flags_of(&path), IFlags::empty());
        set_flags(&path, IFlags::empty()).unwrap();
        assert_eq!(xattr(&stored, PROTATTR), None);
    });
}

/// Takes the space that ext4 has for attributes of a file; `false` where there is no such limit.
fn fill_attributes(path: &Path) -> bool {
    let mut length = 4096;
    for number in 0..200 {
        let name = format!("user.{number}");
        while rustix::fs::lsetxattr(path, &name, &vec![b'x'; length], XattrFlags::empty()).is_err()
        {
            if length == 0 {
                return true;
            }
            length /= 2;
        }
    }
    false
}

#[test]
fn a_file_whose_record_cannot_be_written_keeps_its_own_flags() {
    let name = this_test!();
    inside(name, || {
        let Some(mut stack) = protected(name) else {
            return;
        };
        let stack = &mut stack.0;
        let stored = stack.upper("f");
        put(&stored, "content");
        if !fill_attributes(&stored) {
            return skip(name, "the attributes of a file have no limit here");
        }
        set_flags(&stored, IFlags::APPEND).unwrap();
        stack.mount();
        let path = stack.merged("f");
        assert_eq!(set_flags(&path, PROTECTION), Err(Errno::NOSPC));
        assert_eq!(flags_of(&stored), IFlags::APPEND);
        assert_eq!(flags_of(&path), IFlags::APPEND);
    });
}

#[test]
fn an_append_only_file_keeps_what_it_has() {
    let name = this_test!();
    inside(name, || {
        for options in ["", ",writeback=1"] {
            let Some(mut stack) = protected(name) else {
                return;
            };
            let stack = &mut stack.0;
            put(&stack.lower(0, "f"), "content\n");
            stack.mount_with(options);
            let (path, stored) = (stack.merged("f"), stack.upper("f"));
            set_flags(&path, IFlags::APPEND).unwrap();
            let mut file = File::options().read(true).append(true).open(&path).unwrap();
            for line in ["one\n", "two\n"] {
                file.write_all(line.as_bytes()).unwrap();
                file.sync_all().unwrap();
            }
            let mut mapping = Mapping::new(&file, 16, true).unwrap();
            mapping.store(2, b"LOST").unwrap();
            file.sync_all().unwrap_err();
            drop(mapping);
            file.write_all(b"three\n").unwrap();
            file.sync_all().ok();
            let kept = "content\none\ntwo\nthree\n";
            assert_eq!(fs::read_to_string(&stored).unwrap(), kept, "{options}");
            // A descriptor that stops appending.
            rustix::fs::fcntl_setfl(&file, OFlags::empty()).unwrap();
            let written = rustix::io::pwrite(&file, b"LOST", 0).map(drop);
            let synced = rustix::fs::fsync(&file);
            assert_eq!(written.and(synced), Err(Errno::PERM), "{options}");
            assert_eq!(fs::read_to_string(&stored).unwrap(), kept, "{options}");
        }
    });
}

#[test]
fn an_upper_file_with_the_flags_itself_is_protected_as_in_the_kernel() {
    let name = this_test!();
    inside(name, || {
        let Some(mut stack) = protected(name) else {
            return;
        };
        let stack = &mut stack.0;
        for (name, flags) in [("i", IFlags::IMMUTABLE), ("a", IFlags::APPEND)] {
            put(&stack.upper(name), "content\n");
            set_flags(&stack.upper(name), flags).unwrap();
        }
        stack.mount_with(",copy_up=open");
        for name in ["i", "a"] {
            let path = stack.merged(name);
            assert_eq!(
                open(&path, OFlags::WRONLY).map(drop),
                Err(Errno::PERM),
                "{name}"
            );
            assert_eq!(rustix::fs::unlink(&path), Err(Errno::PERM), "{name}");
        }
        write_with(&stack.merged("i"), OFlags::APPEND).unwrap_err();
        let (path, stored) = (stack.merged("a"), stack.upper("a"));
        write_with(&path, OFlags::APPEND).unwrap();
        write_with(&path, OFlags::APPEND).unwrap();
        assert_eq!(fs::read_to_string(&stored).unwrap(), "content\nnewnew");
        // A descriptor that can only append does not stay.
        set_flags(&path, IFlags::empty()).unwrap();
        write_with(&path, OFlags::empty()).unwrap();
        assert_eq!(fs::read_to_string(&stored).unwrap(), "newtent\nnewnew");
        set_flags(&path, IFlags::IMMUTABLE).unwrap();
        assert_eq!(flags_of(&stored), IFlags::empty());
        assert_eq!(xattr(&stored, PROTATTR).as_deref(), Some(&b"i"[..]));
    });
}
