//! The table of mount options, as `-o` gives them, and the parser that goes by it.
//!
//! A row has the name, the values as the manual page (docs/man/mount.plyfs.8) lists them, what the option sets, and which
//! values change nothing where FUSE serves the mount. A test compares the table with the manual page. The names are the
//! kernel's where it has one (`Documentation/filesystems/overlayfs.rst`).

use plyfs_format::names::Namespace;
use plyfs_fs::{Ids, IndexUse, OverrideStatMode, RedirectDir, Volatile};
use rustix::mount::MountFlags;

use super::backend_choice::BackendChoice;
use super::option_values::{
    bad_value, layers, mapped_ids, number, one_of, requests, seconds, set_unless_squashed, split,
    switch, unescape,
};
use super::options::Options;
use crate::error::{CliError, Result};

/// An option.
struct Row {
    /// With an equals sign at the end if it takes a value.
    name: &'static str,
    /// The values that it takes, as the manual page has them.
    values: &'static str,
    set: Set,
    /// Values of an option for the kernel's overlay that change nothing where FUSE serves the mount. FUSE cannot honour
    /// the others.
    without_effect: &'static [&'static str],
}

/// What an option sets.
enum Set {
    /// Sets or clears a flag of mount(2).
    Flag(MountFlags, bool),
    Word(fn(&mut Options)),
    /// Takes the name without the equals sign, and the value.
    Value(SetValue),
}

type SetValue = fn(&mut Options, &str, &str) -> Result;

const fn row(name: &'static str, values: &'static str, set: Set) -> Row {
    let without_effect = &[];
    Row {
        name,
        values,
        set,
        without_effect,
    }
}

const fn flag(name: &'static str, flag: MountFlags, value: bool) -> Row {
    row(name, "", Set::Flag(flag, value))
}

const fn word(name: &'static str, set: fn(&mut Options)) -> Row {
    row(name, "", Set::Word(set))
}

const fn value(name: &'static str, values: &'static str, set: SetValue) -> Row {
    row(name, values, Set::Value(set))
}

const fn for_kernel(
    name: &'static str,
    values: &'static str,
    without_effect: &'static [&'static str],
    set: SetValue,
) -> Row {
    Row {
        without_effect,
        ..row(name, values, Set::Value(set))
    }
}

/// All options but `defaults`, in the order of the manual page.
const TABLE: [Row; 58] = [
    value("lowerdir=", "A:B:...", |options, _, value| {
        set_layers(options, value)
    }),
    value("lowerdir+=", "DIR", |options, name, value| {
        add_layer(options, name, value)
    }),
    value("datadir+=", "DIR", |options, name, value| {
        add_layer(options, name, value)
    }),
    value("upperdir=", "DIR", |options, _, value| {
        options.upper = Some(unescape(value).into());
        Ok(())
    }),
    value("workdir=", "DIR", |options, _, value| {
        options.work = Some(unescape(value).into());
        Ok(())
    }),
    word("ro", |options| options.read_only = true),
    word("rw", |options| options.read_only = false),
    word("remount", |options| options.remount = true),
    value("backend=", "auto|kernel|fuse", |options, name, value| {
        options.backend = Some(
            value
                .parse()
                .map_err(|()| bad_value(name, value, BackendChoice::NAMES))?,
        );
        Ok(())
    }),
    word("userxattr", |options| {
        options.namespace = Some(Namespace::User)
    }),
    value(
        "redirect_dir=",
        "on|off|follow|nofollow",
        |options, name, value| {
            options.redirect_dir = Some(match value {
                "on" => RedirectDir::On,
                "off" | "follow" => RedirectDir::Follow,
                "nofollow" => RedirectDir::NoFollow,
                _ => return Err(bad_value(name, value, "on, off, follow or nofollow")),
            });
            Ok(())
        },
    ),
    value("metacopy=", "on|off", |options, name, value| {
        options.metacopy = Some(switch(name, value)?);
        Ok(())
    }),
    value("index=", "on|off", |options, name, value| {
        options.index = Some(if switch(name, value)? {
            IndexUse::On
        } else {
            IndexUse::Off
        });
        Ok(())
    }),
    word("volatile", |options| options.volatile = Volatile::Marked),
    value("copy_up=", "write|open", |options, name, value| {
        options.copy_up_at_open = one_of(name, value, &["write", "open"])? == 1;
        Ok(())
    }),
    value(
        "uidmapping=",
        "STORED:SHOWN:COUNT...",
        |options, name, value| {
            let ids = mapped_ids(name, value, "/proc/sys/kernel/overflowuid")?;
            set_unless_squashed(&mut options.owners.uids, ids);
            Ok(())
        },
    ),
    value(
        "gidmapping=",
        "STORED:SHOWN:COUNT...",
        |options, name, value| {
            let ids = mapped_ids(name, value, "/proc/sys/kernel/overflowgid")?;
            set_unless_squashed(&mut options.owners.gids, ids);
            Ok(())
        },
    ),
    word("squash_to_root", |options| {
        set_unless_squashed(&mut options.owners.uids, Ids::Squashed(0));
        set_unless_squashed(&mut options.owners.gids, Ids::Squashed(0));
    }),
    value("squash_to_uid=", "ID", |options, name, value| {
        options.owners.uids = Ids::Squashed(number(name, value)?);
        Ok(())
    }),
    value("squash_to_gid=", "ID", |options, name, value| {
        options.owners.gids = Ids::Squashed(number(name, value)?);
        Ok(())
    }),
    value("xattr_permissions=", "0|1|2", |options, name, value| {
        options.records = match one_of(name, value, &["0", "1", "2"])? {
            0 => OverrideStatMode::None,
            1 => OverrideStatMode::Privileged,
            _ => OverrideStatMode::All,
        };
        Ok(())
    }),
    value("whiteouts=", "device|file", |options, name, value| {
        options.archive_names = one_of(name, value, &["device", "file"])? == 1;
        Ok(())
    }),
    value("timeout=", "SECONDS", |options, _, value| {
        options.timeout = Some(seconds(value)?);
        Ok(())
    }),
    value("writeback=", "0|1", |options, name, value| {
        options.writeback = Some(number::<u8>(name, value)? != 0);
        Ok(())
    }),
    value("threads=", "NUMBER", |options, name, value| {
        options.threads = Some(number(name, value)?);
        Ok(())
    }),
    value("passthrough=", "0|1", |options, name, value| {
        options.passthrough = number::<u8>(name, value)? != 0;
        Ok(())
    }),
    value("polling=", "0|1", |options, name, value| {
        options.polling = Some(number::<u8>(name, value)? != 0);
        Ok(())
    }),
    value("send=", "REQUEST", |options, name, value| {
        options.sent = requests(name, value)?;
        Ok(())
    }),
    word("acl", |options| options.acl = Some(true)),
    word("noacl", |options| options.acl = Some(false)),
    word("allow_other", |options| options.allow_other = true),
    word("default_permissions", |options| {
        options.default_permissions = true
    }),
    value("subtype=", "NAME", |options, _, value| {
        options.subtype = Some(unescape(value));
        Ok(())
    }),
    // Through FUSE, numbers of different file systems always differ.
    for_kernel(
        "xino=",
        "on|off|auto",
        &["on", "off", "auto"],
        |options, name, value| tell_kernel(options, name, value, &["on", "off", "auto"]),
    ),
    // Only says how the kernel identifies file systems to itself.
    for_kernel(
        "uuid=",
        "on|off|auto|null",
        &["on", "off", "auto", "null"],
        |options, name, value| tell_kernel(options, name, value, &["on", "off", "auto", "null"]),
    ),
    // As the kernel does where a file system cannot, FUSE goes on without.
    for_kernel(
        "nfs_export=",
        "on|off",
        &["on", "off"],
        |options, name, value| tell_kernel(options, name, value, &["on", "off"]),
    ),
    for_kernel(
        "verity=",
        "on|off|require",
        &["off"],
        |options, name, value| tell_kernel(options, name, value, &["on", "off", "require"]),
    ),
    for_kernel("context=", "LABEL", &[], |options, name, value| {
        tell_kernel(options, name, value, &[value])
    }),
    for_kernel("fscontext=", "LABEL", &[], |options, name, value| {
        tell_kernel(options, name, value, &[value])
    }),
    for_kernel("defcontext=", "LABEL", &[], |options, name, value| {
        tell_kernel(options, name, value, &[value])
    }),
    for_kernel("rootcontext=", "LABEL", &[], |options, name, value| {
        tell_kernel(options, name, value, &[value])
    }),
    value("fsname=", "TEXT", |options, _, value| {
        options.source = Some(unescape(value));
        Ok(())
    }),
    flag("nosuid", MountFlags::NOSUID, true),
    flag("suid", MountFlags::NOSUID, false),
    flag("nodev", MountFlags::NODEV, true),
    flag("dev", MountFlags::NODEV, false),
    flag("noexec", MountFlags::NOEXEC, true),
    flag("exec", MountFlags::NOEXEC, false),
    flag("noatime", MountFlags::NOATIME, true),
    flag("atime", MountFlags::NOATIME, false),
    flag("relatime", MountFlags::RELATIME, true),
    flag("norelatime", MountFlags::RELATIME, false),
    flag("strictatime", MountFlags::STRICTATIME, true),
    flag("nostrictatime", MountFlags::STRICTATIME, false),
    flag("nodiratime", MountFlags::NODIRATIME, true),
    flag("diratime", MountFlags::NODIRATIME, false),
    flag("sync", MountFlags::SYNCHRONOUS, true),
    flag("async", MountFlags::SYNCHRONOUS, false),
];

/// The names of all options.
pub(crate) const NAMES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = TABLE[at].name;
        at += 1;
    }
    names
};

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

    /// Whether an option is one of ours.
    pub(crate) fn knows(option: &str) -> bool {
        let name = option.find('=').map_or(option, |at| &option[..=at]);
        name == "defaults" || NAMES.contains(&name)
    }

    /// Adds one option to those that were read.
    pub(crate) fn add(&mut self, option: &str) -> Result {
        for option in split(option, ',') {
            self.set(&option)?;
        }
        Ok(())
    }

    fn set(&mut self, option: &str) -> Result {
        // As an empty `-o` or a comma at the end leaves.
        if option.is_empty() || option == "defaults" {
            return Ok(());
        }
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let is_meant = |row: &&Row| match value {
            Some(_) => row.name.strip_suffix('=') == Some(name),
            None => row.name == name,
        };
        let row = TABLE.iter().find(is_meant).ok_or_else(|| unknown(name))?;
        match row.set {
            Set::Flag(flag, value) => self.set_flag(flag, value),
            Set::Word(set) => set(self),
            Set::Value(set) => return set(self, name, value.unwrap_or_default()),
        }
        Ok(())
    }

    fn set_flag(&mut self, flag: MountFlags, value: bool) {
        self.flags.retain(|(known, _)| *known != flag);
        self.flags.push((flag, value));
        if value && (MountFlags::RELATIME | MountFlags::STRICTATIME).contains(flag) {
            // One of three, of which `noatime` may be the default.
            self.set_flag(MountFlags::NOATIME, false);
        }
    }

    /// The first option that only the kernel's overlay honours, as it was given.
    pub(crate) fn for_kernel_only(&self) -> Option<String> {
        let has_effect = |name: &str, value: &str| {
            let mut rows = TABLE.iter();
            let row = rows.find(|row| row.name.strip_suffix('=') == Some(name));
            row.is_none_or(|row| !row.without_effect.contains(&value))
        };
        let mut kernel = self.kernel.iter();
        let (name, value) = kernel.find(|(name, value)| has_effect(name, value))?;
        Some(format!("{name}={value}"))
    }

    /// The flags as words for fusermount3(1), which takes no numbers.
    pub(crate) fn flag_words(&self) -> Vec<&'static str> {
        let word = |flag: MountFlags, value: bool| {
            let mut rows = TABLE.iter();
            let is_meant =
                |row: &&Row| matches!(row.set, Set::Flag(f, v) if f == flag && v == value);
            rows.find(is_meant).map(|row| row.name)
        };
        let flags = self.flags.iter();
        flags
            .filter_map(|(flag, value)| word(*flag, *value))
            .collect()
    }
}

fn set_layers(options: &mut Options, value: &str) -> Result {
    if options.adds_layers {
        return Err(mixed_layers());
    }
    (options.lowers, options.data) = layers(value)?;
    Ok(())
}

/// Adds one path, in which a colon is a colon.
fn add_layer(options: &mut Options, name: &str, value: &str) -> Result {
    if !options.adds_layers && !options.lowers.is_empty() {
        return Err(mixed_layers());
    }
    options.adds_layers = true;
    match name {
        "datadir+" => options.data.push(value.into()),
        _ if options.data.is_empty() => options.lowers.push(value.into()),
        _ => return Err(CliError::new("lowerdir+= comes before datadir+=")),
    }
    Ok(())
}

fn mixed_layers() -> CliError {
    CliError::new(
        "layers are given by lowerdir= or one by one by lowerdir+= and datadir+=, not both",
    )
}

/// Keeps an option that is passed on to the kernel's overlay unchanged.
fn tell_kernel(options: &mut Options, name: &str, value: &str, known: &[&str]) -> Result {
    one_of(name, value, known)?;
    options.kernel.retain(|(other, _)| other != name);
    options.kernel.push((name.to_owned(), value.to_owned()));
    Ok(())
}

fn unknown(name: &str) -> CliError {
    let without_equals = |row: &&Row| row.name.strip_suffix('=') == Some(name);
    if let Some(row) = TABLE.iter().find(without_equals) {
        let (name, values) = (row.name, row.values);
        return CliError::new(format_args!("a mount option needs a value: {name}{values}"));
    }
    let near = NAMES.iter().find(|known| {
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

#[cfg(test)]
#[path = "option_tests.rs"]
mod tests;
