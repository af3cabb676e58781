//! Mount options, as `-o` gives them.
//!
//! Options are separated by commas, layers in `lowerdir` by colons; a backslash takes the meaning
//! from either, and from itself, as in the kernel's overlay. The names are the kernel's where it has
//! one (`Documentation/filesystems/overlayfs.rst`).

use std::path::PathBuf;
use std::time::Duration;

use plyfs_format::names::Namespace;
use plyfs_fs::{IdRange, Ids, IndexUse, Marks, Owners, Records, RedirectDir, Volatile};
use plyfs_fuse::{EnabledRequests, SuppressedRequest};
use rustix::mount::MountFlags;

use super::backend_choice::BackendChoice;
use crate::error::{CliError, Result};

/// What the options of a mount say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Options {
    /// Lower directories, topmost first.
    pub(crate) lowers: Vec<PathBuf>,
    /// Lower directories that only hold data, below the others.
    pub(crate) data: Vec<PathBuf>,
    /// Whether they are given one by one.
    adds_layers: bool,
    pub(crate) upper: Option<PathBuf>,
    pub(crate) work: Option<PathBuf>,
    pub(crate) read_only: bool,
    /// Change the flags of what is mounted instead of mounting.
    pub(crate) remount: bool,
    pub(crate) volatile: Volatile,
    pub(crate) namespace: Option<Namespace>,
    pub(crate) redirect_dir: Option<RedirectDir>,
    pub(crate) metacopy: Option<bool>,
    pub(crate) copy_up_at_open: bool,
    /// Whether users of the mount see no extended attributes.
    pub(crate) no_xattrs: bool,
    /// Whether every directory has a link count of 1.
    pub(crate) static_nlink: bool,
    pub(crate) owners: Owners,
    /// Whether owners and modes are in `override_stat` records.
    pub(crate) records: Records,
    /// Whether whiteouts may be files called `.wh.NAME`.
    pub(crate) archive_names: bool,
    pub(crate) marks: Marks,
    pub(crate) index: Option<IndexUse>,
    /// `nosuid` and the like; `None` where nothing was said.
    pub(crate) flags: Vec<(MountFlags, bool)>,
    pub(crate) allow_other: bool,
    pub(crate) default_permissions: bool,
    pub(crate) acl: Option<bool>,
    pub(crate) writeback: Option<bool>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) threads: Option<usize>,
    pub(crate) polling: Option<bool>,
    pub(crate) passthrough: bool,
    /// Requests that are sent though they need not be.
    pub(crate) sent: EnabledRequests,
    /// The source shown in /proc/self/mountinfo.
    pub(crate) source: Option<String>,
    /// The part of the type after `fuse.` shown there.
    pub(crate) subtype: Option<String>,
    /// What is to serve the mount.
    pub(crate) backend: Option<BackendChoice>,
    /// What is said to the kernel's overlay as it is, if that serves the mount.
    pub(crate) kernel: Vec<(String, String)>,
}

/// Options that set or clear a flag of mount(2), with the value of the flag.
const FLAGS: [(&str, MountFlags, bool); 16] = [
    ("nosuid", MountFlags::NOSUID, true),
    ("suid", MountFlags::NOSUID, false),
    ("nodev", MountFlags::NODEV, true),
    ("dev", MountFlags::NODEV, false),
    ("noexec", MountFlags::NOEXEC, true),
    ("exec", MountFlags::NOEXEC, false),
    ("noatime", MountFlags::NOATIME, true),
    ("atime", MountFlags::NOATIME, false),
    ("relatime", MountFlags::RELATIME, true),
    ("norelatime", MountFlags::RELATIME, false),
    ("strictatime", MountFlags::STRICTATIME, true),
    ("nostrictatime", MountFlags::STRICTATIME, false),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("diratime", MountFlags::NODIRATIME, false),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("async", MountFlags::SYNCHRONOUS, false),
];

/// The other names, for the message about one that is unknown.
pub(crate) const NAMES: [&str; 42] = [
    "lowerdir=",
    "upperdir=",
    "workdir=",
    "ro",
    "rw",
    "lowerdir+=",
    "datadir+=",
    "redirect_dir=",
    "metacopy=",
    "copy_up=",
    "uidmapping=",
    "gidmapping=",
    "squash_to_root",
    "squash_to_uid=",
    "squash_to_gid=",
    "xattr_permissions=",
    "whiteouts=",
    "index=",
    "xino=",
    "uuid=",
    "nfs_export=",
    "verity=",
    "remount",
    "volatile",
    "userxattr",
    "allow_other",
    "default_permissions",
    "acl",
    "noacl",
    "writeback=",
    "timeout=",
    "threads=",
    "polling=",
    "passthrough=",
    "send=",
    "fsname=",
    "subtype=",
    "backend=",
    "context=",
    "fscontext=",
    "defcontext=",
    "rootcontext=",
];

/// Values of options that change nothing where FUSE serves the mount. Others are the kernel's alone.
const WITHOUT_EFFECT: [(&str, &[&str]); 4] = [
    // Numbers are always made so that those of different file systems differ.
    ("xino", &["on", "off", "auto"]),
    // Only says how the kernel identifies file systems to itself.
    ("uuid", &["on", "off", "auto", "null"]),
    // As the kernel does with what a file system cannot, FUSE goes on without.
    ("nfs_export", &["on", "off"]),
    ("verity", &["off"]),
];

impl Options {
    /// Reads the arguments of any number of `-o`.
    pub(crate) fn parse<S: AsRef<str>>(arguments: &[S]) -> Result<Self> {
        let mut options = Self::default();
        for argument in arguments {
            for option in split(argument.as_ref(), ',') {
                options.set(&option)?;
            }
        }
        Ok(options)
    }

    /// The options of a mount that `plyfs run` makes. The container gets its devices elsewhere; its
    /// set-uid programs are for its users.
    pub(crate) fn for_run(backend: Option<BackendChoice>) -> Self {
        Self {
            flags: vec![(MountFlags::NODEV, true)],
            ..Self::served_by(backend)
        }
    }

    /// Adds flags that hold unless the options say otherwise.
    pub(crate) fn set_unless_said(&mut self, flags: MountFlags) {
        for flag in flags.iter() {
            if !self.flags.iter().any(|(said, _)| *said == flag) {
                self.flags.push((flag, true));
            }
        }
    }

    /// No options but what is to serve the mount.
    pub(crate) fn served_by(backend: Option<BackendChoice>) -> Self {
        Self {
            backend,
            ..Self::default()
        }
    }

    /// What holds under the name fuse-overlayfs before any option.
    pub(crate) fn for_fuse_overlayfs() -> Self {
        let name = || Some("fuse-overlayfs".to_owned());
        Self {
            allow_other: rustix::process::geteuid().is_root(),
            // As libfuse mounts for root. For others fusermount3 adds it, and `nosuid`.
            flags: match rustix::process::geteuid().is_root() {
                true => vec![(MountFlags::NODEV, true)],
                false => Vec::new(),
            },
            default_permissions: true,
            archive_names: true,
            marks: Marks::Any,
            source: name(),
            subtype: name(),
            ..Self::default()
        }
    }

    /// Whether an option is one of ours.
    pub(crate) fn knows(option: &str) -> bool {
        let name = option.find('=').map_or(option, |at| &option[..=at]);
        let mut flags = FLAGS.iter().map(|(name, ..)| *name);
        name == "defaults" || NAMES.contains(&name) || flags.any(|flag| flag == name)
    }

    /// Adds one option to those that were read.
    pub(crate) fn add(&mut self, option: &str) -> Result {
        for option in split(option, ',') {
            self.set(&option)?;
        }
        Ok(())
    }

    fn set(&mut self, option: &str) -> Result {
        if let Some((_, flag, value)) = FLAGS.iter().find(|(name, ..)| *name == option) {
            self.flags.retain(|(known, _)| known != flag);
            self.flags.push((*flag, *value));
            if *value && (MountFlags::RELATIME | MountFlags::STRICTATIME).contains(*flag) {
                // One of three, of which `noatime` may be the default.
                self.set("atime")?;
            }
            return Ok(());
        }
        match option.split_once('=') {
            Some((name, value)) => self.set_value(name, value),
            None => self.set_word(option),
        }
    }

    fn set_word(&mut self, word: &str) -> Result {
        match word {
            // As an empty `-o` or a comma at the end leaves.
            "" | "defaults" => {}
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "remount" => self.remount = true,
            "volatile" => self.volatile = Volatile::Marked,
            "userxattr" => self.namespace = Some(Namespace::User),
            "allow_other" => self.allow_other = true,
            "default_permissions" => self.default_permissions = true,
            "squash_to_root" => {
                let Owners { uids, gids } = &mut self.owners;
                for ids in [uids, gids] {
                    set_unless_squashed(ids, Ids::Squashed(0));
                }
            }
            "acl" => self.acl = Some(true),
            "noacl" => self.acl = Some(false),
            _ => return Err(unknown(word)),
        }
        Ok(())
    }

    fn set_value(&mut self, name: &str, value: &str) -> Result {
        match name {
            "lowerdir" if self.adds_layers => return Err(mixed_layers()),
            "lowerdir" => (self.lowers, self.data) = layers(value)?,
            // One path, in which a colon is a colon.
            "lowerdir+" | "datadir+" => {
                if !self.adds_layers && !self.lowers.is_empty() {
                    return Err(mixed_layers());
                }
                self.adds_layers = true;
                match name {
                    "datadir+" => self.data.push(value.into()),
                    _ if self.data.is_empty() => self.lowers.push(value.into()),
                    _ => return Err(CliError::new("lowerdir+= comes before datadir+=")),
                }
            }
            "redirect_dir" => {
                self.redirect_dir = Some(match value {
                    "on" => RedirectDir::On,
                    "off" | "follow" => RedirectDir::Follow,
                    "nofollow" => RedirectDir::NoFollow,
                    _ => return Err(bad_value(name, value, "on, off, follow or nofollow")),
                });
            }
            "uidmapping" => {
                let ids = mapped_ids(name, value, "/proc/sys/kernel/overflowuid")?;
                set_unless_squashed(&mut self.owners.uids, ids);
            }
            "gidmapping" => {
                let ids = mapped_ids(name, value, "/proc/sys/kernel/overflowgid")?;
                set_unless_squashed(&mut self.owners.gids, ids);
            }
            "squash_to_uid" => self.owners.uids = Ids::Squashed(number(name, value)?),
            "squash_to_gid" => self.owners.gids = Ids::Squashed(number(name, value)?),
            "xattr_permissions" => {
                self.records = match one_of(name, value, &["0", "1", "2"])? {
                    0 => Records::None,
                    1 => Records::Privileged,
                    _ => Records::All,
                };
            }
            "whiteouts" => {
                self.archive_names = one_of(name, value, &["device", "file"])? == 1;
            }
            "copy_up" => {
                self.copy_up_at_open = one_of(name, value, &["write", "open"])? == 1;
            }
            "metacopy" => self.metacopy = Some(switch(name, value)?),
            "xino" => self.tell_kernel(name, value, &["on", "off", "auto"])?,
            "uuid" => self.tell_kernel(name, value, &["on", "off", "auto", "null"])?,
            "nfs_export" => self.tell_kernel(name, value, &["on", "off"])?,
            "verity" => self.tell_kernel(name, value, &["on", "off", "require"])?,
            "context" | "fscontext" | "defcontext" | "rootcontext" => {
                self.tell_kernel(name, value, &[value])?;
            }
            "backend" => {
                self.backend = Some(match value.parse() {
                    Ok(choice) => choice,
                    Err(()) => return Err(bad_value(name, value, BackendChoice::NAMES)),
                });
            }
            "index" => {
                self.index = Some(match switch(name, value)? {
                    true => IndexUse::On,
                    false => IndexUse::Off,
                });
            }
            "upperdir" => self.upper = Some(unescape(value).into()),
            "workdir" => self.work = Some(unescape(value).into()),
            "writeback" => self.writeback = Some(number::<u8>(name, value)? != 0),
            "timeout" => self.timeout = Some(seconds(value)?),
            "threads" => self.threads = Some(number(name, value)?),
            "passthrough" => self.passthrough = number::<u8>(name, value)? != 0,
            "polling" => self.polling = Some(number::<u8>(name, value)? != 0),
            "send" => self.sent = requests(name, value)?,
            "fsname" => self.source = Some(unescape(value)),
            "subtype" => self.subtype = Some(unescape(value)),
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    /// Keeps an option that the kernel's overlay is to be given as it is.
    fn tell_kernel(&mut self, name: &str, value: &str, known: &[&str]) -> Result {
        one_of(name, value, known)?;
        self.kernel.retain(|(other, _)| other != name);
        self.kernel.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// An option that only the kernel's overlay honours, as it was said.
    pub(crate) fn for_kernel_only(&self) -> Option<String> {
        let without_effect = |name: &str, value: &str| {
            let mut known = WITHOUT_EFFECT.iter();
            known.any(|(known, values)| *known == name && values.contains(&value))
        };
        let mut kernel = self.kernel.iter();
        let (name, value) = kernel.find(|(name, value)| !without_effect(name, value))?;
        Some(format!("{name}={value}"))
    }

    /// The flags for mount(2), `default` being those that hold where nothing was said.
    pub(crate) fn mount_flags(&self, default: MountFlags) -> MountFlags {
        let mut flags = default;
        for (flag, value) in &self.flags {
            flags.set(*flag, *value);
        }
        flags.set(MountFlags::RDONLY, self.read_only);
        flags
    }

    /// The options as words for fusermount3(1), which takes no flags.
    pub(crate) fn flag_words(&self) -> Vec<&'static str> {
        let word = |flag: &MountFlags, value: &bool| {
            let (name, ..) = FLAGS.iter().find(|(_, f, v)| f == flag && v == value)?;
            Some(*name)
        };
        self.flags
            .iter()
            .filter_map(|(flag, value)| word(flag, value))
            .collect()
    }
}

/// The layers that `lowerdir=` names, and those after `::`, which hold data only.
fn layers(value: &str) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut lowers, mut data) = (Vec::new(), Vec::new());
    let mut parts = split(value, ':').into_iter().map(PathBuf::from);
    let empty = |path: &PathBuf| path.as_os_str().is_empty();
    while let Some(part) = parts.next() {
        if !empty(&part) && data.is_empty() {
            lowers.push(part);
            continue;
        }
        match parts.next() {
            Some(path) if empty(&part) && !empty(&path) && !lowers.is_empty() => data.push(path),
            _ if !empty(&part) => {
                return Err(CliError::new(
                    "lowerdir= names a layer below one of data; after the first \"::\", \"::\" \
                     goes before every one",
                ));
            }
            _ => return Err(CliError::new("lowerdir= names an empty path")),
        }
    }
    Ok((lowers, data))
}

fn mixed_layers() -> CliError {
    CliError::new(
        "layers are given by lowerdir= or one by one by lowerdir+= and datadir+=, not both",
    )
}

fn switch(name: &str, value: &str) -> Result<bool> {
    Ok(one_of(name, value, &["off", "on"])? == 1)
}

/// Which of these the value is.
fn one_of(name: &str, value: &str, known: &[&str]) -> Result<usize> {
    let position = known.iter().position(|known| *known == value);
    position.ok_or_else(|| bad_value(name, value, &known.join(", ")))
}

fn bad_value(name: &str, value: &str, known: &str) -> CliError {
    CliError::new(format_args!("{name}= takes {known}, not {value:?}"))
}

fn unknown(name: &str) -> CliError {
    let flags = FLAGS.iter().map(|(name, ..)| name);
    let near = NAMES.iter().chain(flags).find(|known| {
        let known = known.trim_end_matches('=');
        known.starts_with(name) || name.starts_with(known)
    });
    match near {
        Some(known) => CliError::new(format_args!(
            "unknown mount option {name:?}; did you mean {known:?}?"
        )),
        None => CliError::new(format_args!(
            "unknown mount option {name:?}; see plyfs mount --help"
        )),
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value
        .parse()
        .map_err(|_| CliError::new(format_args!("{name}= takes a number, not {value:?}")))
}

/// One id for all goes before every other way, wherever it is named.
fn set_unless_squashed(ids: &mut Ids, to: Ids) {
    if !matches!(ids, Ids::Squashed(_)) {
        *ids = to;
    }
}

/// A map of ids, with the id for all that are in none of its ranges.
fn mapped_ids(name: &str, value: &str, overflow: &str) -> Result<Ids> {
    /// What kernels begin with.
    const OVERFLOW: u32 = 65534;
    let overflow = std::fs::read_to_string(overflow).ok();
    let overflow = overflow.and_then(|id| id.trim().parse().ok());
    Ok(Ids::Mapped {
        ranges: id_ranges(name, value)?,
        overflow: overflow.unwrap_or(OVERFLOW),
    })
}

/// Triples of first id on disk, first id shown, and count, all separated by colons, as the container
/// tools write them: they may put one more colon before the first. These are the lines of a uid_map:
/// what is on disk are the ids of the container, and they are shown as the ids that these have here,
/// so that the namespace of the container makes them its own again.
fn id_ranges(name: &str, value: &str) -> Result<Vec<IdRange>> {
    let numbers = value.trim_start_matches(':').split(':');
    let numbers: Vec<u32> = numbers
        .map(|text| number(name, text))
        .collect::<Result<_>>()?;
    let (triples, []) = numbers.as_chunks() else {
        return Err(bad_value(name, value, "triples of STORED:SHOWN:COUNT"));
    };
    let range = |&[stored, shown, count]: &[u32; 3]| IdRange {
        shown,
        stored,
        count,
    };
    Ok(triples.iter().map(range).collect())
}

/// Words for requests, with colons between them.
fn requests(name: &str, value: &str) -> Result<EnabledRequests> {
    let known = SuppressedRequest::ALL.map(|(word, _)| word);
    let request = |word| Ok(SuppressedRequest::ALL[one_of(name, word, &known)?].1);
    value.split(':').map(request).collect()
}

fn seconds(value: &str) -> Result<Duration> {
    let seconds: f64 = number("timeout", value)?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| CliError::new(format_args!("timeout= takes seconds, not {value:?}")))
}

/// Splits at a separator that has no backslash before it. The parts keep their backslashes but for
/// those before the separator, so that they can be split at another one.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let part = match parts.last_mut() {
            Some(part) if c != separator => part,
            _ => {
                parts.push(String::new());
                continue;
            }
        };
        match (c, separator) {
            ('\\', ',') => {
                // Kept for the next split, which reads the rest.
                match chars.next() {
                    Some(',') => part.push(','),
                    Some(other) => part.extend(['\\', other]),
                    None => part.push('\\'),
                }
            }
            ('\\', _) => part.extend(chars.next().or(Some('\\'))),
            _ => part.push(c),
        }
    }
    parts
}

fn unescape(text: &str) -> String {
    // No path holds a NUL, so nothing is split.
    split(text, '\0').concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_can_be_part_of_a_path() {
        let options = Options::parse(&[
            r"lowerdir=/a\:b:/c\,d:/e\\f,upperdir=/u\,\:",
            "workdir=/w,ro",
        ])
        .unwrap();
        let paths = ["/a:b", "/c,d", r"/e\f"].map(PathBuf::from);
        assert_eq!(options.lowers, paths);
        assert_eq!(options.upper, Some("/u,:".into()));
        assert_eq!(options.work, Some("/w".into()));
        assert!(options.read_only);
    }

    #[test]
    fn the_last_of_two_opposites_holds() {
        let options = Options::parse(&["nosuid,suid,ro,rw,nodev"]).unwrap();
        let flags = options.mount_flags(MountFlags::NOSUID | MountFlags::NOATIME);
        assert_eq!(flags, MountFlags::NODEV | MountFlags::NOATIME);
        assert_eq!(options.flag_words(), ["suid", "nodev"]);
        let options = Options::parse(&["relatime"]).unwrap();
        let flags = options.mount_flags(MountFlags::NOATIME);
        assert_eq!(flags, MountFlags::RELATIME);
    }

    #[test]
    fn what_is_said_goes_before_flags_that_hold_otherwise() {
        let both = MountFlags::NODEV | MountFlags::NOSUID;
        for (said, expected) in [
            ("", both),
            ("dev", MountFlags::NOSUID),
            ("suid,nodev", MountFlags::NODEV),
            ("dev,suid", MountFlags::empty()),
        ] {
            let mut options = Options::parse(&[said]).unwrap();
            options.set_unless_said(both);
            assert_eq!(options.mount_flags(MountFlags::empty()), expected, "{said}");
        }
        let run = Options::for_run(None).mount_flags(MountFlags::empty());
        assert_eq!(run, MountFlags::NODEV);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |text: &str| Options::parse(&[text]).unwrap_err().to_string();
        assert!(message("lowerdi=/a").contains("lowerdir="));
        assert!(message("nonsense").contains("\"nonsense\""));
        assert!(message("timeout=soon").contains("\"soon\""));
        assert!(message("timeout=-1").contains("\"-1\""));
        assert!(message("threads=many").contains("threads="));
        for text in [
            "lowerdir=",
            "lowerdir=/a:",
            "lowerdir=:/a",
            "lowerdir=/a:::/b",
        ] {
            assert!(message(text).contains("empty path"), "{text}");
        }
        assert!(message("lowerdir=/a::/b:/c").contains("::"));
        assert!(message("datadir+=/a,lowerdir+=/b").contains("before"));
        for text in ["lowerdir=/a,lowerdir+=/b", "lowerdir+=/a,lowerdir=/b"] {
            assert!(message(text).contains("not both"), "{text}");
        }
        assert!(message("redirect_dir=maybe").contains("nofollow"));
        assert!(message("metacopy=1").contains("\"1\""));
        assert!(message("backend=both").contains("auto, kernel or fuse"));
        assert!(message("xino=maybe").contains("auto"));
    }

    #[test]
    fn ids_are_mapped_by_triples() {
        let options = Options::parse(&["uidmapping=:0:1000:1:1:100000:5,squash_to_gid=7"]).unwrap();
        let range = |stored, shown, count| IdRange {
            shown,
            stored,
            count,
        };
        let expected = vec![range(0, 1000, 1), range(1, 100_000, 5)];
        assert!(matches!(options.owners.uids, Ids::Mapped { ranges, .. } if ranges == expected));
        assert_eq!(options.owners.gids, Ids::Squashed(7));
        for text in ["uidmapping=0:1", "gidmapping=", "uidmapping=a:b:c"] {
            assert!(Options::parse(&[text]).is_err(), "{text}");
        }
    }

    #[test]
    fn every_option_is_in_the_manual() {
        let page = include_str!("../../docs/man/mount.plyfs.8");
        // What stands in the lines after `.TP`, which are those of the options.
        let mut lines = page.lines();
        let mut documented = Vec::new();
        while lines.any(|line| line == ".TP") {
            let names = lines.next().unwrap_or_default().split([' ', ',', '"']);
            documented.extend(names.filter(|name| !name.is_empty()));
        }
        let flags = FLAGS.iter().map(|(name, ..)| *name);
        for name in NAMES.into_iter().chain(flags) {
            assert!(documented.contains(&name), "{name}");
        }
        for name in documented.iter().filter(|name| name.ends_with('=')) {
            let is_of_helper = ["image=", "container=", "store="].contains(name);
            assert!(is_of_helper || Options::knows(name), "{name}");
        }
    }

    #[test]
    fn layers_of_data_come_after_the_others() {
        let options = Options::parse(&["lowerdir=/a:/b::/c::/d"]).unwrap();
        assert_eq!(options.lowers, ["/a", "/b"].map(PathBuf::from));
        assert_eq!(options.data, ["/c", "/d"].map(PathBuf::from));
        let options = Options::parse(&["lowerdir+=/a,lowerdir+=/b:b,datadir+=/c"]).unwrap();
        assert_eq!(options.lowers, ["/a", "/b:b"].map(PathBuf::from));
        assert_eq!(options.data, [PathBuf::from("/c")]);
    }

    #[test]
    fn values_are_read() {
        let options =
            Options::parse(&["timeout=0.5,writeback=0,threads=3,polling=0,fsname=x y,subtype=s"])
                .unwrap();
        assert_eq!(options.timeout, Some(Duration::from_millis(500)));
        assert_eq!(options.writeback, Some(false));
        assert_eq!(options.threads, Some(3));
        assert_eq!(options.polling, Some(false));
        assert_eq!(options.source.as_deref(), Some("x y"));
        assert_eq!(options.subtype.as_deref(), Some("s"));
        let options = Options::parse(&["backend=kernel,xino=off,xino=on,nfs_export=off"]).unwrap();
        assert_eq!(options.backend, Some(BackendChoice::Kernel));
        let told = [("xino", "on"), ("nfs_export", "off")];
        assert_eq!(
            options.kernel,
            told.map(|(name, value)| (name.into(), value.into()))
        );
        assert_eq!(options.for_kernel_only(), None);
        let options = Options::parse(&["send=open:flush"]).unwrap();
        assert_eq!(
            options.sent,
            [SuppressedRequest::Flush, SuppressedRequest::Open]
                .into_iter()
                .collect()
        );
        assert!(Options::parse(&["send=open:close"]).is_err());
        let options = Options::parse(&["verity=require"]).unwrap();
        assert_eq!(options.for_kernel_only().as_deref(), Some("verity=require"));
        assert_eq!(Options::parse(&[""]).unwrap(), Options::default());
    }
}
