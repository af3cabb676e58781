//! A page: its sections, what several pages say, and how it is written.

use std::io::{self, Write};

/// A term, and what it means.
pub(super) type Entry = (&'static str, &'static str);

/// The sections of the page of one command.
pub(crate) struct Page {
    pub(super) command: &'static str,
    pub(super) exit_status: &'static [Entry],
    pub(super) environment: &'static [Entry],
    pub(super) files: &'static [Entry],
    /// What an example does, and its command line.
    pub(super) examples: &'static [Entry],
    pub(super) see_also: &'static [&'static str],
}

pub(super) const STORE: Entry = (
    "PLYFS_STORE",
    "The directory of the store, unless --store gives it.",
);
pub(super) const DATA_HOME: Entry = (
    "XDG_DATA_HOME, HOME",
    "Without PLYFS_STORE and --store, the store of an ordinary user is $XDG_DATA_HOME/plyfs, or \
     ~/.local/share/plyfs if XDG_DATA_HOME is not set. That of root is /var/lib/plyfs.",
);
pub(super) const BACKEND: Entry = (
    "PLYFS_BACKEND",
    "auto, kernel or fuse: what serves the files of the container, unless --backend gives it.",
);
pub(super) const PULL: Entry = (
    "PLYFS_PULL",
    "missing, always, newer or never: when the image is pulled first, unless --pull says so. plyfs-pull(1) has the \
     variables and files of registries.",
);
pub(super) const TERM: Entry = (
    "TERM",
    "Passed on if the command gets a terminal; xterm if it is not set. No other variable is passed on unless \
     --env or --env-file names it.",
);
pub(super) const LIVE: Entry = (
    "STORE/live/ID.json",
    "One file for each mount and each running container, with the process that serves it. The process holds \
     a lock on it, so that a file without its process is recognized and removed.",
);
pub(super) const UPPER: Entry = ("STORE/containers/NAME/upper", "The changes of a container.");
pub(super) const SUBIDS: Entry = (
    "/etc/subuid, /etc/subgid",
    "Ids of an ordinary user for the other users and groups of the image. newuidmap(1) and newgidmap(1) assign \
     them to the container.",
);
pub(super) const NOT_STARTED: Entry = (
    "125",
    "The container could not be started, or the arguments are wrong. Standard error has the reason.",
);
pub(super) const CANNOT_RUN: Entry = (
    "126",
    "The command is in the container but cannot be executed.",
);
pub(super) const NOT_FOUND: Entry = ("127", "The command is not in the container.");
pub(super) const SIGNALLED: Entry = (
    "128+N",
    "Signal N ended the command. It is 130 after Ctrl-C, 137 after SIGKILL and 143 after SIGTERM.",
);
pub(super) const USAGE: Entry = ("2", "The arguments are wrong.");

pub(super) const LISTED: Entry = (
    "0",
    "The list is complete. It is empty where nothing was imported yet.",
);
pub(super) const NOT_LISTED: Entry = (
    "1",
    "The store could not be read, or PLYFS_STORE or --store names a directory that does not exist.",
);

impl Page {
    /// Writes the sections in roff(7), with the macros of man(7).
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        for (title, entries) in [
            ("EXIT STATUS", self.exit_status),
            ("ENVIRONMENT", self.environment),
            ("FILES", self.files),
        ] {
            writeln!(to, ".SH \"{title}\"")?;
            for (term, meaning) in entries {
                writeln!(to, ".TP\n\\fB{}\\fR\n{}", roff(term), roff(meaning))?;
            }
        }
        writeln!(to, ".SH \"EXAMPLES\"")?;
        for (what, lines) in self.examples {
            writeln!(to, ".PP\n{}:\n.PP\n.RS\n.nf", roff(what))?;
            for line in lines.lines() {
                writeln!(to, "{}", roff(line))?;
            }
            writeln!(to, ".fi\n.RE")?;
        }
        let others: Vec<String> = self.see_also.iter().map(|name| roff(name)).collect();
        writeln!(to, ".SH \"SEE ALSO\"\n{}", others.join(",\n"))
    }
}

/// Text for roff(7): a backslash or hyphen as it is, and no line that is taken for a request.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_not_taken_for_requests() {
        assert_eq!(roff(".B a\\b --c"), "\\&.B a\\eb \\-\\-c");
    }
}
