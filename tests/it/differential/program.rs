//! What a program is: layers, actors, and operations.

use std::fmt::Write as _;

use rustix::fs::{FallocateFlags, OFlags, RenameFlags};

use super::layers::Entry;
use super::text::{
    Acl, Bytes, Flags, MapSlot, Named, Object, Octal, Path, Slot, Text, Time, words,
};

impl Op {
    /// Whether no actor does it, or what it answers is compared on its own.
    pub fn is_of_the_bench(&self) -> bool {
        let own = [
            Self::Tree {},
            Self::Remount {},
            Self::Crash {},
            Self::Free {},
        ];
        own.contains(self) || matches!(self, Self::Fill { .. })
    }
}

/// The flags of open(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenNames;

impl Named for OpenNames {
    const NAMES: &'static [(&'static str, u32)] = &[
        ("tmpfile", OFlags::TMPFILE.bits()),
        ("rdwr", OFlags::RDWR.bits()),
        ("wronly", OFlags::WRONLY.bits()),
        ("creat", OFlags::CREATE.bits()),
        ("excl", OFlags::EXCL.bits()),
        ("trunc", OFlags::TRUNC.bits()),
        ("append", OFlags::APPEND.bits()),
        ("directory", OFlags::DIRECTORY.bits()),
        ("nofollow", OFlags::NOFOLLOW.bits()),
        ("path", OFlags::PATH.bits()),
        ("noatime", OFlags::NOATIME.bits()),
        ("sync", OFlags::SYNC.bits()),
        ("direct", OFlags::DIRECT.bits()),
    ];
}

/// The flags of renameat2(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenameNames;

impl Named for RenameNames {
    const NAMES: &'static [(&'static str, u32)] = &[
        ("noreplace", RenameFlags::NOREPLACE.bits()),
        ("exchange", RenameFlags::EXCHANGE.bits()),
        ("whiteout", RenameFlags::WHITEOUT.bits()),
    ];
}

/// The flags of fallocate(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FallocateNames;

impl Named for FallocateNames {
    const NAMES: &'static [(&'static str, u32)] = &[
        ("keep_size", FallocateFlags::KEEP_SIZE.bits()),
        ("punch_hole", FallocateFlags::PUNCH_HOLE.bits()),
        ("collapse_range", FallocateFlags::COLLAPSE_RANGE.bits()),
        ("zero_range", FallocateFlags::ZERO_RANGE.bits()),
        ("insert_range", FallocateFlags::INSERT_RANGE.bits()),
    ];
}

/// The flags of setxattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XattrNames;

impl Named for XattrNames {
    const NAMES: &'static [(&'static str, u32)] = &[("create", 1), ("replace", 2)];
}

/// The rights that access(2) asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessNames;

impl Named for AccessNames {
    const NAMES: &'static [(&'static str, u32)] = &[("r", 4), ("w", 2), ("x", 1)];
}

words! {
    /// Where lseek(2) counts from, or what it looks for.
    Whence { Set "set", Current "cur", End "end", Data "data", Hole "hole" }
}
words! {
    /// What mknod(2) makes.
    NodeKind { Fifo "fifo", Socket "socket", Char "char", Block "block", Regular "regular" }
}
words! {
    /// A lock: flock(2) or fcntl(2), shared or not, or none.
    Lock { Shared "shared", Exclusive "exclusive", None "none" }
}
words! {
    /// Which ACL of a file.
    AclKind { Access "access", Default "default" }
}
words! {
    /// What a mapping may be used for.
    MapKind { Read "ro", Write "rw" }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident $name:literal { $($field:ident: $type:ty),* $(,)? })*) => {
        /// Something a program does.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Op { $($(#[$doc])* $variant { $($field: $type),* }),* }

        impl Op {
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name),* }
            }
        }

        impl Text for Op {
            fn show(&self) -> String {
                match self {
                    $(Self::$variant { $($field),* } => {
                        #[allow(unused_mut, reason = "some operations have no arguments")]
                        let mut line = String::from($name);
                        $(line.push(' '); line.push_str(&$field.show());)*
                        line
                    })*
                }
            }
            fn read(line: &str) -> Option<Self> {
                let mut words = line.split_ascii_whitespace();
                let op = match words.next()? {
                    $($name => Self::$variant { $($field: Text::read(words.next()?)?),* },)*
                    _ => return None,
                };
                words.next().is_none().then_some(op)
            }
        }
    };
}

operations! {
    Open "open" { slot: Slot, path: Path, flags: Flags<OpenNames>, mode: Octal }
    Close "close" { slot: Slot }
    Dup "dup" { from: Slot, to: Slot }
    Read "read" { slot: Slot, length: u32 }
    Pread "pread" { slot: Slot, offset: u64, length: u32 }
    Write "write" { slot: Slot, length: u32, seed: u64 }
    Pwrite "pwrite" { slot: Slot, offset: u64, length: u32, seed: u64 }
    Seek "lseek" { slot: Slot, whence: Whence, offset: i64 }
    Truncate "truncate" { what: Object, size: u64 }
    Fallocate "fallocate" { slot: Slot, mode: Flags<FallocateNames>, offset: u64, length: u64 }
    /// Offsets below zero are those of the descriptors.
    CopyRange "copy_file_range" { from: Slot, from_offset: i64, to: Slot, to_offset: i64, length: u32 }
    Fsync "fsync" { slot: Slot }
    Fdatasync "fdatasync" { slot: Slot }
    Syncfs "syncfs" { slot: Slot }
    Mmap "mmap" { map: MapSlot, slot: Slot, length: u32, kind: MapKind }
    MapStore "mstore" { map: MapSlot, offset: u32, length: u32, seed: u64 }
    MapLoad "mload" { map: MapSlot, offset: u32, length: u32 }
    Msync "msync" { map: MapSlot }
    Munmap "munmap" { map: MapSlot }
    Mkdir "mkdir" { path: Path, mode: Octal }
    Rmdir "rmdir" { path: Path }
    Unlink "unlink" { path: Path }
    /// An object that is a descriptor is given its first or another name.
    Link "link" { old: Object, new: Path }
    Symlink "symlink" { target: Bytes, path: Path }
    Readlink "readlink" { path: Path }
    Mknod "mknod" { path: Path, kind: NodeKind, mode: Octal, major: u32, minor: u32 }
    Rename "rename" { old: Path, new: Path, flags: Flags<RenameNames> }
    Chmod "chmod" { what: Object, mode: Octal }
    /// Ids below zero stay as they are.
    Chown "chown" { what: Object, uid: i64, gid: i64 }
    Utimens "utimens" { what: Object, atime: Time, mtime: Time }
    Setxattr "setxattr" { what: Object, name: Bytes, value: Bytes, flags: Flags<XattrNames> }
    Getxattr "getxattr" { what: Object, name: Bytes, room: u32 }
    Listxattr "listxattr" { what: Object, room: u32 }
    Removexattr "removexattr" { what: Object, name: Bytes }
    Setacl "setacl" { what: Object, kind: AclKind, acl: Acl }
    Stat "stat" { what: Object }
    Access "access" { path: Path, rights: Flags<AccessNames> }
    /// Reads a directory as a whole, by a descriptor from its start.
    List "list" { what: Object }
    /// Reads some entries, then the others, goes back and reads the others again.
    ListTwice "list_twice" { path: Path, first: u32 }
    /// Removes what a directory lists, while it is listed, and what is below it.
    RemoveTree "remove_tree" { path: Path }
    Statfs "statfs" { what: Object }
    Flock "flock" { slot: Slot, lock: Lock }
    Fcntl "fcntl_lock" { slot: Slot, lock: Lock }
    Chdir "chdir" { what: Object }
    Getcwd "getcwd" {}
    Umask "umask" { mask: Octal }
    /// All there is below the mount.
    Tree "tree" {}
    /// Everybody lets go of the mount; it is unmounted and mounted again.
    Remount "remount" {}
    /// Everything open is synced, then the daemon is killed, and the mount made again.
    Crash "crash" {}
    /// Leaves so many free pages and inodes on the disk of the layers. From then on each operation finds as
    /// many, whatever those before it took or gave back.
    Fill "fill" { pages: u32, inodes: u32 }
    /// Ends that.
    Free "free" {}
}

/// Who does something: ids, groups and a descriptor table of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    pub uid: u32,
    pub gid: u32,
    pub group: u32,
}

/// Those that a program can use. The first is privileged; the second process is, too.
pub const ACTORS: [Actor; 4] = [
    Actor {
        uid: 0,
        gid: 0,
        group: 0,
    },
    Actor {
        uid: 1000,
        gid: 1000,
        group: 2000,
    },
    Actor {
        uid: 1001,
        gid: 1000,
        group: 1001,
    },
    Actor {
        uid: 0,
        gid: 0,
        group: 2000,
    },
];

words! {
    /// What the actor does while another process of the same ids does the operation and is killed.
    Company { Alone "alone", Beside "beside" }
}

/// The operation is begun by another process, which is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    pub company: Company,
    /// How long after the operation was begun.
    pub microseconds: u64,
}

/// An operation and who does it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub actor: u8,
    pub kill: Option<Kill>,
    pub op: Op,
}

impl Step {
    /// `0 chmod f 600`; `0/alone/300 chmod f 600` where a process that does it before is killed.
    pub fn show(&self) -> String {
        let kill = self.kill.map(|kill| {
            let Kill {
                company,
                microseconds,
            } = kill;
            format!("/{}/{microseconds}", company.show())
        });
        let kill = kill.unwrap_or_default();
        format!("{}{kill} {}", self.actor, self.op.show())
    }

    fn read(first: &str, rest: &str) -> Option<Self> {
        let (actor, kill) = first.split_once('/').unwrap_or((first, ""));
        let kill = match kill {
            "" => None,
            kill => {
                let (company, microseconds) = kill.split_once('/')?;
                Some(Kill {
                    company: Company::read(company)?,
                    microseconds: microseconds.parse().ok()?,
                })
            }
        };
        let actor = actor.parse().ok()?;
        (usize::from(actor) < ACTORS.len()).then_some(Self {
            actor,
            kill,
            op: Op::read(rest)?,
        })
    }
}

words! {
    /// Where layers are.
    Base { Memory "memory", Disk "disk" }
}

words! {
    /// What a lower layer lies on, if not on what the others lie on.
    Place {
        /// A file system of its own: its files have the numbers of others.
        Own "own",
        /// bindfs, which shows what is mounted inside as its own, under the numbers it has there: one file
        /// system that gives two files one number, and one file two paths.
        Bindfs "bindfs",
    }
}

/// A whole program.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// The name of an option set.
    pub options: String,
    /// Where the layers are: in memory, or on a disk, whose file system can do more.
    pub base: Base,
    /// Whether the layers of each side lie on a disk (in memory) that can be filled.
    pub small: bool,
    /// How many lower layers there are.
    pub lowers: u8,
    /// Those that do not lie where the others do.
    pub places: Vec<(u8, Place)>,
    /// What is in the layers.
    pub entries: Vec<Entry>,
    pub steps: Vec<Step>,
}

impl Program {
    /// What a lower layer lies on, if not on what the others lie on.
    pub fn place(&self, lower: u8) -> Option<Place> {
        let mut places = self.places.iter();
        places
            .find(|(number, _)| *number == lower)
            .map(|(_, place)| *place)
    }

    /// Whether lower layers lie on other file systems than the upper one.
    pub fn is_of_several_file_systems(&self) -> bool {
        !self.places.is_empty()
    }

    /// Whether one of them may give two files one number.
    pub fn has_equal_numbers(&self) -> bool {
        self.places.iter().any(|(_, place)| *place == Place::Bindfs)
    }

    pub fn show(&self) -> String {
        let mut text = format!(
            "options {}\nbase {}\nlowers {}\n",
            self.options,
            self.base.show(),
            self.lowers
        );
        if self.small {
            text.push_str("disk small\n");
        }
        for (lower, place) in &self.places {
            writeln!(text, "place {lower} {}", place.show()).unwrap();
        }
        for entry in &self.entries {
            writeln!(text, "{}", entry.show()).unwrap();
        }
        for step in &self.steps {
            writeln!(text, "{}", step.show()).unwrap();
        }
        text
    }

    /// Reads a program; what is wrong is named by its line.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut program = Self {
            options: "plain".to_owned(),
            base: Base::Memory,
            small: false,
            lowers: 1,
            places: Vec::new(),
            entries: Vec::new(),
            steps: Vec::new(),
        };
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            program
                .read_line(line)
                .ok_or_else(|| format!("not understood: {line}"))?;
        }
        Ok(program)
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        let (first, rest) = line.split_once(' ')?;
        match first {
            "options" => self.options = rest.to_owned(),
            "base" => self.base = Base::read(rest)?,
            "lowers" => self.lowers = rest.parse().ok()?,
            "disk" => self.small = rest == "small",
            "place" => {
                let (lower, place) = rest.split_once(' ')?;
                self.places.push((lower.parse().ok()?, Place::read(place)?));
            }
            _ if first.starts_with(|c: char| c.is_ascii_digit()) => {
                self.steps.push(Step::read(first, rest)?);
            }
            _ => self.entries.push(Entry::read(line)?),
        }
        Some(())
    }
}
