//! Options of other commands of Podman and Docker.

/// Options of other commands that plyfs does not have, and what to use instead.
pub(super) const OPTIONS: &[(&[&str], &[&str], &str)] = &[
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
