//! What people type who know Podman and Docker, and what does the same here.
//!
//! Each answer completes a message about a command or an option that plyfs does not have. docs/containers.md has the
//! options of `run` in its tables; a test compares them.

/// Commands of Podman and Docker, or words like them, and what to use instead.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["delete", "del", "remove"],
        "\"plyfs rm\" removes containers, and \"plyfs rmi\" images",
    ),
    (
        &["list", "ls"],
        "\"plyfs images\" lists images, and \"plyfs ps\" containers",
    ),
    (
        &["load", "add"],
        "\"plyfs import\" brings an image in, as in \"plyfs import docker-archive:FILE\"",
    ),
    (
        &["pull", "search"],
        "plyfs speaks to no registry: \"skopeo copy docker://NAME oci:DIR:TAG\" fetches an image, and \"plyfs \
         import oci:DIR:TAG\" brings it in",
    ),
    (
        &["push"],
        "\"plyfs save\" writes an image for other tools; \"skopeo copy oci:DIR:TAG docker://NAME\" takes it to a \
         registry",
    ),
    (
        &["login", "logout", "trust", "sign"],
        "plyfs speaks to no registry; \"skopeo login\" does",
    ),
    (
        &["untag"],
        "\"plyfs rmi NAME\" takes one of several names away",
    ),
    (
        &["build", "buildx", "builder", "bake"],
        "plyfs builds from no Dockerfile: Buildah and Podman do, also on plyfs (docs/buildah.md); \"plyfs commit\" \
         makes an image of a container",
    ),
    (
        &["logs", "attach"],
        "a command keeps the terminal that it was started from, and its output is not kept: redirect that of \
         \"plyfs run\"",
    ),
    (
        &["cp", "copy", "scp"],
        "mount the container (\"plyfs mount --container NAME DIR\") and use cp(1), or give \"plyfs run\" a directory \
         with -v",
    ),
    (
        &["top", "stats"],
        "\"plyfs ps\" has the process of each container, and \"plyfs exec NAME ps\" lists those inside",
    ),
    (
        &["start"],
        "\"plyfs run --container NAME\" goes on in a container that was kept",
    ),
    (
        &["restart"],
        "\"plyfs stop NAME\" ends a container, and \"plyfs run --container NAME\" goes on in one that was kept",
    ),
    (
        &["create", "init"],
        "\"plyfs run --container NAME IMAGE\" makes a container and runs it, and \"plyfs mount --container NAME \
         IMAGE DIR\" mounts it",
    ),
    (
        &["pause", "unpause", "checkpoint", "restore"],
        "plyfs leaves control groups alone: \"plyfs kill --signal STOP NAME\" stops the first process, and CONT \
         lets it go on",
    ),
    (
        &["wait"],
        "\"plyfs run\" waits for the command, and ends with its status",
    ),
    (
        &["rename", "clone"],
        "a container keeps its name: \"plyfs commit\" makes an image of it, of which others can be made",
    ),
    (
        &["exists"],
        "\"plyfs inspect NAME\" fails where there is none of that name",
    ),
    (
        &["info"],
        "\"plyfs doctor\" says what this machine can do, and \"plyfs df\" what the store takes",
    ),
    (&["check", "verify"], "\"plyfs fsck\" checks the store"),
    (
        &["show"],
        "\"plyfs inspect\" says what is known of an image or a container",
    ),
    (
        &["clean", "gc", "cleanup"],
        "\"plyfs prune\" removes what nothing needs",
    ),
    (&["tree"], "\"plyfs history\" says how an image was made"),
    (
        &["shell", "enter", "sh", "bash"],
        "\"plyfs run -it IMAGE sh\" starts a shell, and \"plyfs exec -it NAME sh\" one in a container that runs",
    ),
    (
        &["port", "network"],
        "a container has the network of this machine, or none (\"plyfs run --network\")",
    ),
    (
        &["volume"],
        "plyfs has no volumes besides directories (\"plyfs run -v DIR:DST\")",
    ),
    (
        &[
            "pod",
            "kube",
            "play",
            "generate-systemd",
            "healthcheck",
            "auto-update",
            "service",
            "stack",
            "swarm",
        ],
        "plyfs manages no services: Podman does, also on plyfs (docs/containers.md)",
    ),
    (
        &["compose"],
        "plyfs manages no services: Podman does, also on plyfs (docs/podman.md)",
    ),
    (
        &["events"],
        "\"plyfs ps --json\" says what runs and what is mounted",
    ),
    (
        &["manifest"],
        "skopeo and Buildah make lists of images; \"plyfs import --platform\" chooses from one",
    ),
    (
        &["update"],
        "a container gets its options each time it is run",
    ),
    (
        &["secret"],
        "give a file with \"plyfs run -v FILE:DST:ro\", or variables with --env-file",
    ),
    (
        &["machine", "context", "farm", "plugin", "node", "daemon"],
        "plyfs runs on this machine alone, without a daemon",
    ),
    (
        &["migrate", "renumber", "reset"],
        "\"plyfs rm --all\" and \"plyfs rmi\" remove what is in the store, and \"plyfs fsck --repair\" heals it",
    ),
];

/// First words of commands of two words.
const GROUPS: [&str; 3] = ["image", "container", "system"];

/// Second words that are another command here, for images, containers and the whole. All others are the command of
/// that name.
const IN_GROUPS: &[(&[&str], [&str; 3])] = &[
    (&["ls", "list", "ps"], ["images", "ps", "ps"]),
    (&["rm", "remove"], ["rmi", "rm", "prune"]),
    (&["prune"], ["prune", "rm --all", "prune"]),
    (&["df"], ["df", "df", "df -v"]),
    (&["check"], ["fsck", "fsck", "fsck"]),
    (&["info"], ["doctor", "doctor", "doctor"]),
    (&["save", "export"], ["save", "commit", "save"]),
    (&["load"], ["import", "import", "import"]),
];

/// What to say of a command that plyfs does not have. `next` is the word behind it, `commands`
/// is the whole command line.
pub(crate) fn command(word: &str, next: Option<&str>, commands: &clap::Command) -> Option<String> {
    let group = GROUPS.iter().position(|group| *group == word);
    let Some(group) = group else {
        let instead = known(COMMANDS, word)?;
        return Some(format!("there is no command '{word}': {instead}"));
    };
    let Some(next) = next.filter(|next| !next.starts_with('-')) else {
        return Some(format!(
            "there is no command '{word}': plyfs has no groups of commands; what \"{word} rm\" does elsewhere, \
             \"plyfs {}\" does",
            known(IN_GROUPS, "rm").and_then(|commands| commands.get(group))?
        ));
    };
    let instead = match known(IN_GROUPS, next) {
        Some(commands) => commands.get(group).copied().unwrap_or_default(),
        None if commands.find_subcommand(next).is_some() => next,
        None => {
            let instead = known(COMMANDS, next)?;
            return Some(format!("there is no command '{word} {next}': {instead}"));
        }
    };
    Some(format!(
        "there is no command '{word} {next}': use \"plyfs {instead}\""
    ))
}

fn known<'t, T>(table: &'t [(&[&str], T)], word: &str) -> Option<&'t T> {
    let mut table = table.iter();
    let found = table.find(|(words, _)| words.contains(&word));
    found.map(|(_, answer)| answer)
}

/// Options of `podman run` and `docker run` that plyfs does not have, and why.
const OF_RUN: &[(&[&str], &str)] = &[
    (
        &[
            "-d",
            "--detach",
            "--detach-keys",
            "-a",
            "--attach",
            "--sig-proxy",
            "--restart",
            "--replace",
            "--stop-signal",
            "--stop-timeout",
            "--timeout",
            "--log-driver",
            "--log-opt",
            "--sdnotify",
            "--systemd",
            "--cidfile",
            "--pidfile",
            "--conmon-pidfile",
            "--pod",
            "--pod-id-file",
            "--requires",
            "--rmi",
            "--no-healthcheck",
            "--health-cmd",
            "--health-interval",
            "--health-on-failure",
            "--health-retries",
            "--health-start-interval",
            "--health-start-period",
            "--health-timeout",
            "--health-log-destination",
            "--health-max-log-count",
            "--health-max-log-size",
            "--health-startup-cmd",
            "--health-startup-interval",
            "--health-startup-retries",
            "--health-startup-success",
            "--health-startup-timeout",
        ],
        "a container ends with the command that runs it, in the foreground",
    ),
    (
        &[
            "-p",
            "--publish",
            "-P",
            "--publish-all",
            "--expose",
            "--ip",
            "--ip6",
            "--mac-address",
            "--network-alias",
            "--link",
            "--link-local-ip",
            "--dns-option",
            "--dns-opt",
            "--dns-search",
            "--no-hosts",
            "--no-hostname",
            "--hosts-file",
            "--domainname",
        ],
        "a container has the network of this machine, or none (--network none)",
    ),
    (
        &[
            "-m",
            "--memory",
            "--memory-reservation",
            "--memory-swap",
            "--memory-swappiness",
            "--kernel-memory",
            "-c",
            "--cpu-shares",
            "--cpus",
            "--cpu-period",
            "--cpu-quota",
            "--cpu-rt-period",
            "--cpu-rt-runtime",
            "--cpu-count",
            "--cpu-percent",
            "--cpuset-cpus",
            "--cpuset-mems",
            "--pids-limit",
            "--blkio-weight",
            "--blkio-weight-device",
            "--device-read-bps",
            "--device-read-iops",
            "--device-write-bps",
            "--device-write-iops",
            "--oom-kill-disable",
            "--oom-score-adj",
            "--cgroup-conf",
            "--cgroup-parent",
            "--cgroups",
            "--cgroupns",
            "--shm-size",
            "--shm-size-systemd",
            "--rdt-class",
            "--io-maxbandwidth",
            "--io-maxiops",
        ],
        "plyfs leaves control groups alone; --ulimit limits a process",
    ),
    (
        &[
            "--volumes-from",
            "--image-volume",
            "--volume-driver",
            "--storage-opt",
        ],
        "there are no volumes besides directories (-v DIR:DST)",
    ),
    (
        &[
            "--privileged",
            "--device",
            "--device-cgroup-rule",
            "--gpus",
            "--pid",
            "--ipc",
            "--uts",
            "--personality",
            "--seccomp-policy",
            "--use-api-socket",
        ],
        "it takes the boundary around the container away",
    ),
    (
        &[
            "--uidmap",
            "--gidmap",
            "--subuidname",
            "--subgidname",
            "--hostuser",
            "--passwd",
            "--passwd-entry",
            "--group-entry",
        ],
        "ids are mapped by --userns alone",
    ),
    (
        &[
            "--pull",
            "--platform",
            "--arch",
            "--os",
            "--variant",
            "--authfile",
            "--tls-verify",
            "--creds",
            "--cert-dir",
            "--decryption-key",
            "--disable-content-trust",
            "--retry",
            "--retry-delay",
        ],
        "the image must be in the store: \"skopeo copy\" fetches it, and \"plyfs import\" brings it in",
    ),
    (
        &[
            "--group-add",
            "--sysctl",
            "-l",
            "--label",
            "--label-file",
            "--annotation",
            "--hooks-dir",
            "--umask",
            "--tz",
            "--secret",
            "--unsetenv",
            "--unsetenv-all",
            "--env-host",
            "--env-merge",
            "--http-proxy",
            "--init-path",
            "--init-ctr",
            "--preserve-fds",
            "--preserve-fd",
            "--chrootdirs",
            "--read-only-tmpfs",
            "--isolation",
            "--module",
        ],
        "what \"plyfs bundle\" writes to config.json can be changed before another runtime reads it",
    ),
    (
        &["--rootfs"],
        "\"plyfs mount -o lowerdir=...\" mounts directories, for chroot(8)",
    ),
    (
        &["-q", "--quiet"],
        "without --keep, nothing is printed besides what the command prints",
    ),
];

/// Options of other commands that plyfs does not have, and what to use instead.
const OPTIONS: &[(&[&str], &[&str], &str)] = &[
    (
        &["save", "export"],
        &["-o", "--output"],
        "the target comes behind the image, as in \"plyfs save IMAGE docker-archive:FILE\"",
    ),
    (
        &["save", "export"],
        &["--format"],
        "the form comes before the target, as in \"plyfs save IMAGE oci-archive:FILE\"",
    ),
    (
        &["import"],
        &["-i", "--input"],
        "name the archive itself, as in \"plyfs import docker-archive:FILE\"",
    ),
    (
        &["prune"],
        &["-a", "--all", "--volumes", "-f", "--force"],
        "nothing is asked before; images and containers are removed by name (\"plyfs rmi\", \"plyfs rm\")",
    ),
    (
        &[
            "images",
            "ps",
            "containers",
            "history",
            "diff",
            "df",
            "prune",
            "fsck",
            "doctor",
        ],
        &[
            "-f",
            "--format",
            "--filter",
            "--no-trunc",
            "--noheading",
            "-n",
            "--last",
            "-l",
            "--latest",
            "--sort",
            "-H",
            "--human",
            "--digests",
        ],
        "--json gives all of it to programs, such as jq(1)",
    ),
    (
        &["inspect"],
        &["-f", "--format", "--type", "-t", "-s", "--size", "--json"],
        "the output is JSON, for programs such as jq(1)",
    ),
    (&["images"], &["-a", "--all"], "all images are listed"),
    (
        &["ps", "containers"],
        &["-s", "--size"],
        "\"plyfs df -v\" has the sizes of containers",
    ),
    (
        &["rm"],
        &["-v", "--volumes"],
        "there are no volumes besides directories",
    ),
    (
        &["rm"],
        &["-t", "--time", "-i", "--ignore"],
        "\"plyfs stop --time\" ends a container before, and --force passes over what is not there",
    ),
    (
        &["rmi"],
        &["-a", "--all", "-i", "--ignore"],
        "images are removed by name; \"plyfs images -q\" lists all of them",
    ),
    (
        &["stop", "kill"],
        &["-a", "--all", "-i", "--ignore"],
        "containers are named; \"plyfs ps -q\" lists all of them",
    ),
    (
        &["umount", "unmount"],
        &["-a", "--all", "-f", "--force"],
        "mounts are named, and --lazy detaches one that is in use",
    ),
    (
        &["exec"],
        &[
            "-d",
            "--detach",
            "--detach-keys",
            "--privileged",
            "--preserve-fds",
            "--cidfile",
        ],
        "a command runs in the foreground, with the powers of the container",
    ),
];

/// Why a command has no such option, or what to use instead.
pub(crate) fn option(command: &str, option: &str) -> Option<String> {
    if matches!(command, "run" | "bundle") {
        let why = known(OF_RUN, option)?;
        return Some(format!(
            "{why}; docs/containers.md has all options, and what Podman does instead"
        ));
    }
    let mut options = OPTIONS.iter();
    let of_command = |(commands, options, _): &&(&[&str], &[&str], _)| {
        commands.contains(&command) && options.contains(&option)
    };
    options
        .find(of_command)
        .map(|(_, _, answer)| (*answer).to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// The commands and options in quotes of an answer can be given.
    fn assert_answer_holds(answer: &str) {
        let cli = Cli::command();
        for quoted in answer.split('"').skip(1).step_by(2) {
            let mut words = quoted.split(' ');
            if words.next() != Some("plyfs") {
                continue;
            }
            let name = words.next().unwrap_or_default();
            let command = cli.find_subcommand(name);
            let command = command.unwrap_or_else(|| panic!("{answer}: there is no {name}"));
            for long in words.filter_map(|word| word.strip_prefix("--")) {
                let mut options = command.get_arguments();
                let known = options.any(|option| option.get_long() == Some(long));
                assert!(known, "{answer}: {name} has no --{long}");
            }
        }
    }

    #[test]
    fn answers_name_what_there_is() {
        let cli = Cli::command();
        let in_groups =
            |second: &str| GROUPS.map(|group| command(group, Some(second), &cli).unwrap());
        let answers = COMMANDS.iter().map(|(_, answer)| (*answer).to_owned());
        let answers = answers.chain(OF_RUN.iter().map(|(_, answer)| (*answer).to_owned()));
        let answers = answers.chain(OPTIONS.iter().map(|(_, _, answer)| (*answer).to_owned()));
        let answers = answers.chain(
            IN_GROUPS
                .iter()
                .flat_map(|(words, _)| words.iter())
                .flat_map(|second| in_groups(second)),
        );
        for answer in answers {
            assert_answer_holds(&answer);
        }
    }

    #[test]
    fn what_there_is_has_no_answer() {
        let cli = Cli::command();
        for (words, _) in COMMANDS {
            for word in *words {
                assert!(cli.find_subcommand(word).is_none(), "{word}");
            }
        }
        let has = |command: &str, option: &str| {
            let command = cli.get_subcommands().find(|one| {
                one.get_name() == command || one.get_all_aliases().any(|alias| alias == command)
            });
            let mut options = command
                .unwrap_or_else(|| panic!("no {option}"))
                .get_arguments();
            options.any(|one| {
                let long = one.get_long().map(|long| format!("--{long}"));
                let short = one.get_short().map(|short| format!("-{short}"));
                long.as_deref() == Some(option) || short.as_deref() == Some(option)
            })
        };
        for option in OF_RUN.iter().flat_map(|(options, _)| options.iter()) {
            assert!(!has("run", option), "{option}");
        }
        for (commands, options, _) in OPTIONS {
            for command in *commands {
                for option in options.iter().filter(|option| has(command, option)) {
                    // Where one command of several has it, the parser never asks.
                    assert!(commands.len() > 1, "{command} {option}");
                }
            }
        }
    }

    #[test]
    fn the_page_on_containers_has_every_option_that_is_not_there() {
        let page = include_str!("../docs/containers.md");
        let words: Vec<&str> = page
            .split(|character: char| !character.is_ascii_alphanumeric() && character != '-')
            .collect();
        for option in OF_RUN.iter().flat_map(|(options, _)| options.iter()) {
            let health = option.starts_with("--health-") && words.contains(&"--health-");
            assert!(health || words.contains(option), "{option}");
        }
    }
}
