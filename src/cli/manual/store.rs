//! The sections of the commands that work on images, containers and the store.

use super::page::{
    BACKEND, DATA_HOME, Entry, LISTED, LIVE, NOT_LISTED, PULL, Page, STORE, SUBIDS, UPPER, USAGE,
};

const SHOWN: Entry = ("0", "All of it was printed.");
const FAILED: Entry = (
    "1",
    "It could not be done, and nothing of it is left. Standard error has the reason.",
);
const UNREADABLE: Entry = (
    "1",
    "There is no such image or container, or the store could not be read. Standard error has the reason.",
);
const INDEX: Entry = (
    "STORE/index.json, STORE/index.copy",
    "The names of images, and a sealed copy.",
);
const BLOBS: Entry = (
    "STORE/blobs/sha256",
    "Manifests, configurations and compressed layers, by their digests.",
);
const LAYERS: Entry = (
    "STORE/layers",
    "Unpacked layers, by the digests of their archives.",
);
const EPOCH: Entry = (
    "SOURCE_DATE_EPOCH",
    "Seconds since 1970: the image is said to be made then, if that is earlier than now.",
);
const SPOOL: Entry = (
    "TMPDIR",
    "Where an archive from standard input is kept while it is imported. Without it, that is /tmp.",
);

pub(super) const PAGES: [Page; 12] = [
    Page {
        command: "import",
        exit_status: &[
            ("0", "The image is in the store; its name was printed."),
            FAILED,
            USAGE,
            (
                "130",
                "A signal ended it. Layers that were complete stay, and the next import goes on from there.",
            ),
        ],
        environment: &[STORE, DATA_HOME, SPOOL],
        files: &[INDEX, BLOBS, LAYERS, SUBIDS],
        examples: &[
            (
                "An image in a directory that another tool wrote",
                "skopeo copy docker://debian:bookworm oci:debian:bookworm\nplyfs import oci:debian:bookworm",
            ),
            (
                "An image of a registry, as plyfs pull",
                "plyfs import docker://docker.io/library/debian:bookworm",
            ),
            (
                "What Docker has, without a file in between",
                "docker save debian:bookworm | plyfs import -",
            ),
            (
                "One of several platforms, by another name",
                "plyfs import --platform linux/arm64 --name arm:test oci-archive:image.tar",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-pull(1)",
            "plyfs-images(1)",
            "plyfs-save(1)",
            "skopeo(1)",
        ],
    },
    Page {
        command: "save",
        exit_status: &[
            (
                "0",
                "The image is written. An archive from standard output is complete only then.",
            ),
            FAILED,
            USAGE,
        ],
        environment: &[STORE, DATA_HOME],
        files: &[INDEX, BLOBS, LAYERS],
        examples: &[
            (
                "As a directory, to which others can be added",
                "plyfs save debian:bookworm oci:images:bookworm",
            ),
            (
                "To Docker, without a file in between",
                "plyfs save debian:bookworm docker-archive:- | docker load",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-push(1)",
            "plyfs-import(1)",
            "plyfs-commit(1)",
            "skopeo(1)",
        ],
    },
    Page {
        command: "commit",
        exit_status: &[
            ("0", "The image is in the store; its name was printed."),
            FAILED,
            USAGE,
        ],
        environment: &[STORE, DATA_HOME, EPOCH],
        files: &[UPPER, INDEX, BLOBS, LAYERS],
        examples: &[
            (
                "An image with another command",
                "plyfs commit --change CMD=/bin/bash web web:2",
            ),
            (
                "The same image each time",
                "SOURCE_DATE_EPOCH=0 plyfs commit web web:2",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-diff(1)",
            "plyfs-save(1)",
            "plyfs-mount(1)",
        ],
    },
    Page {
        command: "mount",
        exit_status: &[
            (
                "0",
                "It is mounted. With --foreground, it was mounted and is unmounted again.",
            ),
            (
                "1",
                "It could not be mounted, and nothing is mounted. Standard error has the reason.",
            ),
            USAGE,
        ],
        environment: &[STORE, DATA_HOME, BACKEND, PULL],
        files: &[
            UPPER,
            LIVE,
            (
                "/dev/fuse",
                "What a mount with the backend fuse is served through.",
            ),
        ],
        examples: &[
            (
                "An image, with its changes in a container",
                "plyfs mount --container web debian:bookworm /mnt",
            ),
            (
                "The same container again",
                "plyfs mount --container web /mnt",
            ),
            (
                "An image, read-only",
                "plyfs mount --ro debian:bookworm /mnt",
            ),
            (
                "Plain directories",
                "plyfs mount -o lowerdir=/a:/b,upperdir=/u,workdir=/w /mnt",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-umount(1)",
            "plyfs-run(1)",
            "plyfs-pull(1)",
            "mount.plyfs(8)",
        ],
    },
    Page {
        command: "images",
        exit_status: &[LISTED, NOT_LISTED, USAGE],
        environment: &[STORE, DATA_HOME],
        files: &[INDEX],
        examples: &[
            ("A table", "plyfs images"),
            (
                "The names, for a script",
                "plyfs images --json | jq -r '.[].name'",
            ),
            ("The digests, each once", "plyfs images -q"),
        ],
        see_also: &["plyfs(1)", "plyfs-import(1)", "plyfs-rmi(1)", "plyfs-df(1)"],
    },
    Page {
        command: "tag",
        exit_status: &[
            ("0", "The image has the names."),
            (
                "1",
                "There is no such image, or a name breaks the grammar of references; no name was given. Standard \
                 error has the reason.",
            ),
            USAGE,
        ],
        environment: &[STORE, DATA_HOME],
        files: &[INDEX],
        examples: &[
            ("One more name", "plyfs tag debian:bookworm base:1"),
            (
                "Another name instead of the one it has",
                "plyfs tag recovered:4f2a6c0be1d7 debian:bookworm\nplyfs rmi recovered:4f2a6c0be1d7",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-images(1)",
            "plyfs-import(1)",
            "plyfs-rmi(1)",
            "podman-tag(1)",
        ],
    },
    Page {
        command: "history",
        exit_status: &[SHOWN, UNREADABLE, USAGE],
        environment: &[STORE, DATA_HOME],
        files: &[INDEX, BLOBS],
        examples: &[
            ("How an image was made", "plyfs history debian:bookworm"),
            (
                "The same of an image in a registry",
                "plyfs history docker://docker.io/library/debian:bookworm",
            ),
        ],
        see_also: &["plyfs(1)", "plyfs-inspect(1)", "plyfs-images(1)"],
    },
    Page {
        command: "inspect",
        exit_status: &[SHOWN, UNREADABLE, USAGE],
        environment: &[STORE, DATA_HOME],
        files: &[INDEX, BLOBS],
        examples: &[
            ("All of an image", "plyfs inspect debian:bookworm"),
            ("All of a container", "plyfs inspect web"),
            (
                "An image in a registry, without its layers",
                "plyfs inspect docker://docker.io/library/debian:bookworm",
            ),
        ],
        see_also: &["plyfs(1)", "plyfs-images(1)", "plyfs-ps(1)"],
    },
    Page {
        command: "df",
        exit_status: &[SHOWN, UNREADABLE, USAGE],
        environment: &[STORE, DATA_HOME],
        files: &[BLOBS, LAYERS, UPPER],
        examples: &[
            ("What the store takes", "plyfs df"),
            (
                "Also each image, with what others need as well and what it has for itself",
                "plyfs df -v",
            ),
        ],
        see_also: &["plyfs(1)", "plyfs-images(1)", "plyfs-rmi(1)"],
    },
    Page {
        command: "diff",
        exit_status: &[SHOWN, UNREADABLE, USAGE],
        environment: &[STORE, DATA_HOME],
        files: &[UPPER],
        examples: &[
            ("What was changed in a container", "plyfs diff web"),
            ("Only what was added", "plyfs diff web | grep '^A'"),
        ],
        see_also: &["plyfs(1)", "plyfs-commit(1)"],
    },
    Page {
        command: "doctor",
        exit_status: &[
            ("0", "Something can be mounted here."),
            ("1", "Nothing can be mounted here."),
            USAGE,
        ],
        environment: &[STORE, DATA_HOME],
        files: &[
            SUBIDS,
            ("/dev/fuse", "What FUSE needs."),
            (
                "/etc/apparmor.d/plyfs",
                "Allows user namespaces where AppArmor restricts them. \"make install\" puts it there.",
            ),
        ],
        examples: &[
            (
                "What this machine can do, and how to get the rest",
                "plyfs doctor",
            ),
            (
                "What is missing, for a script",
                "plyfs doctor --json | jq -r '.probes[] | select(.ok | not) | .key'",
            ),
        ],
        see_also: &["plyfs(1)", "plyfs-mount(1)", "user_namespaces(7)"],
    },
    Page {
        command: "unshare",
        exit_status: &[
            ("N", "The exit status of the command."),
            (
                "1",
                "The namespace could not be made. Standard error has the reason.",
            ),
            USAGE,
            ("126", "The command cannot be executed."),
            ("127", "The command was not found."),
        ],
        environment: &[("SHELL", "What is executed where no command is given.")],
        files: &[SUBIDS],
        examples: &[
            ("A shell that may mount", "plyfs unshare"),
            (
                "Look at files that belong to subordinate ids",
                "plyfs unshare ls -l /home",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-mount(1)",
            "unshare(1)",
            "user_namespaces(7)",
        ],
    },
];
