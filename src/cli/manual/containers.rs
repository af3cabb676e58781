//! The sections of the commands that run programs and mount, check the store and remove from it.

use super::page::{
    BACKEND, CANNOT_RUN, DATA_HOME, LISTED, LIVE, NOT_FOUND, NOT_LISTED, NOT_STARTED, PULL, Page,
    SIGNALLED, STORE, SUBIDS, TERM, UPPER, USAGE,
};

/// The pages of the commands that mount, start and end programs, check the store and remove from it.
pub(super) const PAGES: [Page; 11] = [
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
            PULL,
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
                "The newest image of this name that the registry has",
                "plyfs run --pull always docker.io/library/debian:bookworm cat /etc/os-release",
            ),
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
            "plyfs-pull(1)",
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
            (
                "The names of the containers in use, for stop",
                "plyfs ps -q",
            ),
            (
                "The names of all containers, also those not in use",
                "plyfs ps -aq",
            ),
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
        files: &[
            (
                "STORE/staging",
                "Work in progress. What an interrupted process left there is removed.",
            ),
            (
                "STORE/downloads",
                "What came of layers of pulls that broke off. It is removed unless a process goes on with it.",
            ),
        ],
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
                 a container or a store that does not exist is no failure.",
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
                 an image or a store that does not exist is no failure.",
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
