//! The changes that flags may forbid, tried on plyfs and on the kernel.

use super::*;

/// A change of a file or directory at a path.
pub(super) type Change = fn(&Path) -> Result<()>;

pub(super) fn write_with(path: &Path, flags: OFlags) -> Result<()> {
    let file = open(path, OFlags::WRONLY | flags)?;
    rustix::io::write(file, b"new").map(drop)
}

pub(super) fn times(atime: i64, mtime: i64) -> Timestamps {
    let at = |nanos| Timespec {
        tv_sec: 5,
        tv_nsec: nanos,
    };
    Timestamps {
        last_access: at(atime),
        last_modification: at(mtime),
    }
}

pub(super) fn set_times(path: &Path, times: &Timestamps) -> Result<()> {
    rustix::fs::utimensat(CWD, path, times, AtFlags::empty())
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    rustix::fs::rename(from, to)
}

pub(super) fn make(path: &Path) -> Result<()> {
    rustix::fs::mknodat(CWD, path, FileType::RegularFile, Mode::RUSR, 0).map(drop)
}

/// An unprotected file outside.
pub(super) fn outside(path: &Path) -> Result<PathBuf> {
    let other = beside(path, ".other");
    make(&other)?;
    Ok(other)
}

pub(super) fn in_file(
    path: &Path,
    flags: OFlags,
    change: fn(&rustix::fd::OwnedFd) -> Result<()>,
) -> Result<()> {
    change(&open(path, OFlags::RDWR | flags)?)
}

pub(super) fn set_no_dump(path: &Path) -> Result<()> {
    let file = open(path, OFlags::RDONLY)?;
    let flags = rustix::fs::ioctl_getflags(&file)?;
    rustix::fs::ioctl_setflags(&file, flags | IFlags::NODUMP)
}

/// Changes of files.
pub(super) const OF_FILES: &[(&str, Change)] = &[
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
pub(super) const OF_ALL: &[(&str, Change)] = &[
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
pub(super) const OF_DIRECTORIES: &[(&str, Change)] = &[
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
pub(super) const OF_OPENING: &[(&str, Change)] = &[
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
pub(super) enum Where {
    /// By chattr(1) on the mount, of a file that is in the upper layer or is copied up for it.
    Mount { lower: bool },
    /// In the lower layer.
    Lower,
}

/// Names in the order in which they are made, with the changes to make of each.
pub(super) fn cases(opening: bool) -> Vec<(String, Where, IFlags, bool, Change)> {
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

pub(super) fn make_one(path: &Path, is_dir: bool) {
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
pub(super) type Results = BTreeMap<String, (std::result::Result<(), Errno>, Option<IFlags>)>;

/// Makes all changes, each of a file of its own, on a mount that `mount` makes.
pub(super) fn changes(stack: &mut Stack, opening: bool, mount: impl FnOnce(&mut Stack)) -> Results {
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

pub(super) fn assert_agree(ours: &Results, kernels: &Results) {
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
