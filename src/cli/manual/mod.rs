//! The sections of manual pages that the command line does not have: exit status, environment, files, examples
//! and other pages (man-pages(7)).

mod store;

use std::io::{self, Write};

/// A term, and what it means.
type Entry = (&'static str, &'static str);

/// The sections of the page of one command.
pub(crate) struct Page {
    command: &'static str,
    exit_status: &'static [Entry],
    environment: &'static [Entry],
    files: &'static [Entry],
    /// What an example does, and its command line.
    examples: &'static [Entry],
    see_also: &'static [&'static str],
}

const STORE: Entry = (
    "PLYFS_STORE",
    "The directory of the store, unless --store gives it.",
);
const DATA_HOME: Entry = (
    "XDG_DATA_HOME, HOME",
    "Without PLYFS_STORE and --store, the store of an ordinary user is $XDG_DATA_HOME/plyfs, or \
     ~/.local/share/plyfs if XDG_DATA_HOME is not set. That of root is /var/lib/plyfs.",
);
const BACKEND: Entry = (
    "PLYFS_BACKEND",
    "auto, kernel or fuse: what serves the files of the container, unless --backend gives it.",
);
const TERM: Entry = (
    "TERM",
    "Passed on if the command gets a terminal; xterm if it is not set. No other variable is passed on unless \
     --env or --env-file names it.",
);
const LIVE: Entry = (
    "STORE/live/ID.json",
    "One file for each mount and each running container, with the process that serves it. The process holds \
     a lock on it, so that a file without its process is recognized and removed.",
);
const UPPER: Entry = ("STORE/containers/NAME/upper", "The changes of a container.");
const SUBIDS: Entry = (
    "/etc/subuid, /etc/subgid",
    "Ids of an ordinary user for the other users and groups of the image. newuidmap(1) and newgidmap(1) assign \
     them to the container.",
);
const NOT_STARTED: Entry = (
    "125",
    "The container could not be started, or the arguments are wrong. Standard error has the reason.",
);
const CANNOT_RUN: Entry = (
    "126",
    "The command is in the container but cannot be executed.",
);
const NOT_FOUND: Entry = ("127", "The command is not in the container.");
const SIGNALLED: Entry = (
    "128+N",
    "Signal N ended the command. It is 130 after Ctrl-C, 137 after SIGKILL and 143 after SIGTERM.",
);
const USAGE: Entry = ("2", "The arguments are wrong.");

const LISTED: Entry = (
    "0",
    "The list is complete. It is empty where nothing was imported yet.",
);
const NOT_LISTED: Entry = (
    "1",
    "The store could not be read, or PLYFS_STORE or --store names a directory that does not exist.",
);

/// All pages.
fn pages() -> impl Iterator<Item = &'static Page> {
    PAGES.iter().chain(&store::PAGES)
}

/// The pages of the commands that mount, start and end programs, check the store and remove from it.
const PAGES: [Page; 11] = [
    Page {
        command: "run",
        exit_status: &[
            (
                "N",
                "The exit status of the command, unless it is one of these:",
            ),
            NOT_STARTED,
            CANNOT_RUN,
            NOT_FOUND,
            SIGNALLED,
        ],
        environment: &[
            STORE,
            DATA_HOME,
            BACKEND,
            TERM,
            ("PATH", "Where --runtime looks for a program."),
        ],
        files: &[
            UPPER,
            LIVE,
            SUBIDS,
            (
                "/etc/hosts, /etc/resolv.conf",
                "Copied into the container, with what --add-host and --dns add. Changes of the copies do not \
                 reach the machine and end with the container.",
            ),
        ],
        examples: &[
            ("A shell in an image", "plyfs run -it debian:bookworm bash"),
            (
                "Compile the sources in this directory",
                "plyfs run -v ./src:/src -w /src golang:1 go build",
            ),
            (
                "Keep the changes under a name, and go on with them later",
                "plyfs run --container work debian:bookworm apt-get update\n\
                 plyfs run --container work",
            ),
            (
                "Give a container nothing but its own root, read-only",
                "plyfs run --network none --read-only --cap-drop ALL alpine id",
            ),
            (
                "Files of the working directory keep the caller's user id",
                "plyfs run --userns=keep-id -v .:/src -w /src alpine touch new",
            ),
            (
                "Another host name than the name of the container. Help is --help alone",
                "plyfs run -h builder alpine hostname",
            ),
            (
                "Start it by another runtime",
                "plyfs run --runtime crun alpine id",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-exec(1)",
            "plyfs-stop(1)",
            "plyfs-kill(1)",
            "plyfs-ps(1)",
            "plyfs-bundle(1)",
            "plyfs-commit(1)",
            "podman-run(1)",
            "capabilities(7)",
            "user_namespaces(7)",
        ],
    },
    Page {
        command: "exec",
        exit_status: &[
            (
                "N",
                "The exit status of the command, unless it is one of these:",
            ),
            (
                "125",
                "The container does not run, the command could not be started in it, or the arguments are \
                 wrong. Standard error has the reason.",
            ),
            CANNOT_RUN,
            NOT_FOUND,
            SIGNALLED,
        ],
        environment: &[STORE, DATA_HOME, TERM],
        files: &[LIVE],
        examples: &[
            ("A shell beside the program", "plyfs exec -it web sh"),
            (
                "As another user of the image",
                "plyfs exec -u root web cat /etc/shadow",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-run(1)",
            "plyfs-ps(1)",
            "plyfs-stop(1)",
            "podman-exec(1)",
        ],
    },
    Page {
        command: "bundle",
        exit_status: &[
            ("0", "The bundle is complete, and its root is mounted."),
            (
                "1",
                "It could not be made. Nothing of it is left. Standard error has the reason.",
            ),
            USAGE,
        ],
        environment: &[STORE, DATA_HOME, BACKEND],
        files: &[
            (
                "DIR/config.json",
                "The configuration, for you to change before a runtime reads it.",
            ),
            ("DIR/rootfs", "Where the container is mounted."),
            (
                "DIR/hosts, DIR/resolv.conf, DIR/hostname",
                "Copies of this machine's files that config.json mounts in /etc of the container.",
            ),
            UPPER,
        ],
        examples: &[
            (
                "Run an image by crun. \"crun\" alone looks for the bundle in the working directory",
                "plyfs bundle alpine /tmp/box id\n\
                 crun run --bundle /tmp/box box\n\
                 plyfs umount /tmp/box",
            ),
            (
                "Change the configuration before a runtime reads it",
                "plyfs bundle --network none work /tmp/box\n\
                 editor /tmp/box/config.json\n\
                 runc run --bundle /tmp/box box",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-run(1)",
            "plyfs-umount(1)",
            "plyfs-rm(1)",
            "crun(1)",
            "runc(8)",
        ],
    },
    Page {
        command: "stop",
        exit_status: &[
            ("0", "All containers have ended."),
            (
                "125",
                "At least one does not exist or did not end. The others were stopped.",
            ),
            USAGE,
        ],
        environment: &[STORE, DATA_HOME],
        files: &[LIVE],
        examples: &[
            (
                "Ask a program to end, and kill it after ten seconds",
                "plyfs stop web",
            ),
            ("Wait for a minute instead", "plyfs stop --time 60 web"),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-kill(1)",
            "plyfs-ps(1)",
            "plyfs-umount(1)",
            "signal(7)",
        ],
    },
    Page {
        command: "kill",
        exit_status: &[
            ("0", "The signal was sent to all containers."),
            (
                "125",
                "At least one does not run or does not exist. The others got the signal.",
            ),
            USAGE,
        ],
        environment: &[STORE, DATA_HOME],
        files: &[LIVE],
        examples: &[
            ("End a program at once", "plyfs kill web"),
            (
                "Have a server read its configuration again",
                "plyfs kill --signal HUP web",
            ),
        ],
        see_also: &["plyfs(1)", "plyfs-stop(1)", "plyfs-ps(1)", "signal(7)"],
    },
    Page {
        command: "ps",
        exit_status: &[LISTED, NOT_LISTED, USAGE],
        environment: &[STORE, DATA_HOME],
        files: &[
            LIVE,
            (
                "STORE/containers/NAME",
                "A container, whether it is in use or not.",
            ),
        ],
        examples: &[
            (
                "Containers, mounts, and the processes that serve them",
                "plyfs ps",
            ),
            ("The names alone, for rm and stop", "plyfs ps -q"),
            (
                "The names of what runs, for a script",
                "plyfs ps --json | jq -r '.[] | select(.status == \"running\") | .name'",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-run(1)",
            "plyfs-mount(1)",
            "plyfs-stop(1)",
            "plyfs-umount(1)",
            "plyfs-rm(1)",
        ],
    },
    Page {
        command: "fsck",
        exit_status: &[
            ("0", "Nothing is damaged."),
            ("1", "Everything that was damaged has been repaired."),
            ("4", "Something is damaged and was not repaired."),
            ("5", "Some of it has been repaired, and some could not be."),
            (
                "8",
                "The check could not be done. Standard error has the reason.",
            ),
            ("16", "The arguments are wrong."),
            ("32", "A signal ended the check."),
        ],
        environment: &[STORE, DATA_HOME],
        files: &[
            (
                "STORE/index.json, STORE/index.copy",
                "The names of the images, and a sealed copy from which a damaged index is repaired. If both are lost, a \
                 repair names the images recovered:DIGEST, and plyfs-tag(1) gives them names again.",
            ),
            (
                "STORE/blobs/sha256/HEX",
                "Manifests, configurations and layers as they were imported, compared with their names.",
            ),
            (
                "STORE/layers/sha256/HEX",
                "Unpacked layers. Their record layer.json is sealed and has the digest of the tree diff/.",
            ),
            (
                "STORE/containers/NAME/container.json",
                "The sealed record of a container. The changes beside it have no digest and are not checked.",
            ),
            (
                "STORE/containers/NAME/places.json",
                "Directories and files that a running container has only to be mounted on. Without the record those of a \
                 killed one stay.",
            ),
        ],
        examples: &[
            ("What of the store is damaged", "plyfs fsck"),
            (
                "Repair what the store can repair itself",
                "plyfs fsck --repair",
            ),
            (
                "Take what is lost from the image that was imported",
                "plyfs fsck --repair --from oci-archive:debian.tar debian:bookworm",
            ),
            (
                "The objects that are damaged, for a script",
                "plyfs fsck --json | jq -r '.findings[] | .object + \" \" + (.name // \"\")'",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-import(1)",
            "plyfs-prune(1)",
            "plyfs-rmi(1)",
            "fsck(8)",
        ],
    },
    Page {
        command: "prune",
        exit_status: &[
            ("0", "Nothing is left that nothing needs."),
            (
                "1",
                "It could not be removed, or something is being added to the store. Standard error has the reason.",
            ),
            USAGE,
        ],
        environment: &[STORE, DATA_HOME],
        files: &[(
            "STORE/staging",
            "Work in progress. What an interrupted process left there is removed.",
        )],
        examples: &[
            ("Remove what is not needed", "plyfs prune"),
            ("Remove all containers first", "plyfs rm --all\nplyfs prune"),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-rm(1)",
            "plyfs-rmi(1)",
            "plyfs-df(1)",
            "plyfs-fsck(1)",
        ],
    },
    Page {
        command: "rm",
        exit_status: &[
            ("0", "All of the containers are removed."),
            (
                "1",
                "At least one is in use, does not exist, or could not be removed. The others are removed. With --force \
                 one that does not exist is no failure.",
            ),
            USAGE,
        ],
        environment: &[STORE, DATA_HOME],
        files: &[UPPER, LIVE],
        examples: &[
            ("Remove a container", "plyfs rm work"),
            (
                "Remove all of them, and end what uses them",
                "plyfs rm --all --force",
            ),
        ],
        see_also: &["plyfs(1)", "plyfs-ps(1)", "plyfs-rmi(1)", "plyfs-prune(1)"],
    },
    Page {
        command: "rmi",
        exit_status: &[
            ("0", "All of the images are removed."),
            (
                "1",
                "At least one is in use, does not exist, or could not be removed. The others are removed. With --force \
                 one that does not exist is no failure.",
            ),
            USAGE,
        ],
        environment: &[STORE, DATA_HOME],
        files: &[(
            "STORE/layers, STORE/blobs",
            "What no other image, container or mount needs is removed with the image.",
        )],
        examples: &[
            ("Remove an image", "plyfs rmi debian:bookworm"),
            (
                "By the first digits of its digest, as plyfs images shows them",
                "plyfs rmi 4f2a6c0be1d7",
            ),
            (
                "The name goes now, and the layers with the last mount",
                "plyfs rmi --force debian:bookworm",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-images(1)",
            "plyfs-tag(1)",
            "plyfs-rm(1)",
            "plyfs-prune(1)",
            "plyfs-fsck(1)",
        ],
    },
    Page {
        command: "umount",
        exit_status: &[
            (
                "0",
                "It is unmounted, everything is written, and the layers are free.",
            ),
            (
                "1",
                "It could not be unmounted: nothing is mounted there, or it is in use. Standard error has the \
                 reason.",
            ),
            USAGE,
        ],
        environment: &[STORE, DATA_HOME],
        files: &[LIVE],
        examples: &[
            ("By the directory", "plyfs umount /mnt"),
            (
                "By the container, also if it is mounted in another namespace of the same user",
                "plyfs umount work",
            ),
            ("End the mount of a bundle", "plyfs umount /tmp/box"),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-mount(1)",
            "plyfs-bundle(1)",
            "plyfs-ps(1)",
            "umount(8)",
        ],
    },
];

/// The page of a command, if it has these sections.
pub(crate) fn page(command: &str) -> Option<&'static Page> {
    pages().find(|page| page.command == command)
}

/// The examples of a command for its help; empty if it has none.
pub(crate) fn examples(command: &str) -> String {
    let examples = page(command).map_or(&[][..], |page| page.examples);
    let mut text = String::from("Examples:");
    for line in examples.iter().flat_map(|(_, lines)| lines.lines()) {
        text.push_str("\n  ");
        text.push_str(line);
    }
    text
}

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
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn sections_are_in_the_usual_order() {
        for page in pages() {
            let mut written = Vec::new();
            page.write(&mut written).unwrap();
            let written = String::from_utf8(written).unwrap();
            let titles = written.lines().filter_map(|line| line.strip_prefix(".SH "));
            let titles: Vec<&str> = titles.map(|title| title.trim_matches('"')).collect();
            let expected = [
                "EXIT STATUS",
                "ENVIRONMENT",
                "FILES",
                "EXAMPLES",
                "SEE ALSO",
            ];
            assert_eq!(titles, expected, "{}", page.command);
            for entries in [
                page.exit_status,
                page.environment,
                page.files,
                page.examples,
            ] {
                assert!(!entries.is_empty(), "{}", page.command);
            }
        }
    }

    #[test]
    fn every_example_can_be_parsed() {
        let mut parsed = 0;
        for line in pages()
            .flat_map(|page| page.examples)
            .flat_map(|(_, lines)| lines.lines())
            .filter(|line| line.starts_with("plyfs "))
        {
            let words = line.split_whitespace().take_while(|word| *word != "|");
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{line}: {error}");
            }
            parsed += 1;
        }
        assert!(parsed > 15, "{parsed}");
    }

    #[test]
    fn text_is_not_taken_for_requests() {
        assert_eq!(roff(".B a\\b --c"), "\\&.B a\\eb \\-\\-c");
    }
}
