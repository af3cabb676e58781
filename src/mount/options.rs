//! Mount options, as `-o` gives them.
//!
//! Options are separated by commas, layers in `lowerdir` by colons; a backslash takes the meaning
//! from either, and from itself, as in the kernel's overlay.

use std::path::PathBuf;
use std::time::Duration;

use plyfs_format::names::Namespace;
use rustix::mount::MountFlags;

use crate::failure::{Failure, Outcome};

/// What the options of a mount say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Options {
    /// Lower directories, topmost first.
    pub(crate) lowers: Vec<PathBuf>,
    pub(crate) upper: Option<PathBuf>,
    pub(crate) work: Option<PathBuf>,
    pub(crate) read_only: bool,
    /// Change the flags of what is mounted instead of mounting.
    pub(crate) remount: bool,
    pub(crate) volatile: bool,
    pub(crate) namespace: Option<Namespace>,
    /// `nosuid` and the like; `None` where nothing was said.
    pub(crate) flags: Vec<(MountFlags, bool)>,
    pub(crate) allow_other: bool,
    pub(crate) default_permissions: bool,
    pub(crate) acl: Option<bool>,
    pub(crate) writeback: Option<bool>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) threads: Option<usize>,
    /// The source shown in /proc/self/mountinfo.
    pub(crate) source: Option<String>,
    /// The part of the type after `fuse.` shown there.
    pub(crate) subtype: Option<String>,
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
const NAMES: [&str; 17] = [
    "lowerdir=",
    "upperdir=",
    "workdir=",
    "ro",
    "rw",
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
    "fsname=",
    "subtype=",
];

impl Options {
    /// Reads the arguments of any number of `-o`.
    pub(crate) fn parse<S: AsRef<str>>(arguments: &[S]) -> Outcome<Self> {
        let mut options = Self::default();
        for argument in arguments {
            for option in split(argument.as_ref(), ',') {
                options.set(&option)?;
            }
        }
        Ok(options)
    }

    fn set(&mut self, option: &str) -> Outcome {
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

    fn set_word(&mut self, word: &str) -> Outcome {
        match word {
            // As an empty `-o` or a comma at the end leaves.
            "" | "defaults" => {}
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "remount" => self.remount = true,
            "volatile" => self.volatile = true,
            "userxattr" => self.namespace = Some(Namespace::User),
            "allow_other" => self.allow_other = true,
            "default_permissions" => self.default_permissions = true,
            "acl" => self.acl = Some(true),
            "noacl" => self.acl = Some(false),
            _ => return Err(unknown(word)),
        }
        Ok(())
    }

    fn set_value(&mut self, name: &str, value: &str) -> Outcome {
        match name {
            "lowerdir" => {
                let lowers = split(value, ':');
                if lowers.iter().any(String::is_empty) {
                    return Err(Failure::new("lowerdir= names an empty path"));
                }
                self.lowers = lowers.into_iter().map(PathBuf::from).collect();
            }
            "upperdir" => self.upper = Some(unescape(value).into()),
            "workdir" => self.work = Some(unescape(value).into()),
            "writeback" => self.writeback = Some(number::<u8>(name, value)? != 0),
            "timeout" => self.timeout = Some(seconds(value)?),
            "threads" => self.threads = Some(number(name, value)?),
            "fsname" => self.source = Some(unescape(value)),
            "subtype" => self.subtype = Some(unescape(value)),
            _ => return Err(unknown(name)),
        }
        Ok(())
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

fn unknown(name: &str) -> Failure {
    let flags = FLAGS.iter().map(|(name, ..)| name);
    let near = NAMES.iter().chain(flags).find(|known| {
        let known = known.trim_end_matches('=');
        known.starts_with(name) || name.starts_with(known)
    });
    match near {
        Some(known) => Failure::new(format_args!(
            "unknown mount option {name:?}; did you mean {known:?}?"
        )),
        None => Failure::new(format_args!(
            "unknown mount option {name:?}; see plyfs mount --help"
        )),
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Outcome<T> {
    value
        .parse()
        .map_err(|_| Failure::new(format_args!("{name}= takes a number, not {value:?}")))
}

fn seconds(value: &str) -> Outcome<Duration> {
    let seconds: f64 = number("timeout", value)?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Failure::new(format_args!("timeout= takes seconds, not {value:?}")))
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
    fn what_is_wrong_is_named() {
        let message = |text: &str| Options::parse(&[text]).unwrap_err().to_string();
        assert!(message("lowerdi=/a").contains("lowerdir="));
        assert!(message("nonsense").contains("\"nonsense\""));
        assert!(message("timeout=soon").contains("\"soon\""));
        assert!(message("timeout=-1").contains("\"-1\""));
        assert!(message("threads=many").contains("threads="));
        assert!(message("lowerdir=/a::/b").contains("empty path"));
    }

    #[test]
    fn values_are_read() {
        let options =
            Options::parse(&["timeout=0.5,writeback=0,threads=3,fsname=x y,subtype=s"]).unwrap();
        assert_eq!(options.timeout, Some(Duration::from_millis(500)));
        assert_eq!(options.writeback, Some(false));
        assert_eq!(options.threads, Some(3));
        assert_eq!(options.source.as_deref(), Some("x y"));
        assert_eq!(options.subtype.as_deref(), Some("s"));
        assert_eq!(Options::parse(&[""]).unwrap(), Options::default());
    }
}
