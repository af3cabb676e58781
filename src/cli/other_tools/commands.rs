//! Commands of Podman and Docker that are called otherwise here.

/// Commands of Podman and Docker, or words like them, and what to use instead.
pub(super) const COMMANDS: &[(&[&str], &str)] = &[
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
        &["search"],
        "plyfs searches no registry: \"plyfs pull\" takes the name of an image, as docker.io/library/debian:bookworm",
    ),
    (
        &["trust", "sign"],
        "plyfs neither makes nor verifies signatures: \"skopeo copy\" verifies what policy.json asks for, and \"plyfs \
         import\" brings the copy in",
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
        "skopeo and Buildah make lists of images; \"plyfs pull --platform\" chooses from one",
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
pub(super) const GROUPS: [&str; 3] = ["image", "container", "system"];

/// Second words that are another command here, for images, containers and the whole. All others are the command of
/// that name.
pub(super) const IN_GROUPS: &[(&[&str], [&str; 3])] = &[
    (&["ls", "list", "ps"], ["images", "ps", "ps"]),
    (&["rm", "remove"], ["rmi", "rm", "prune"]),
    (&["prune"], ["prune", "rm --all", "prune"]),
    (&["df"], ["df", "df", "df -v"]),
    (&["check"], ["fsck", "fsck", "fsck"]),
    (&["info"], ["doctor", "doctor", "doctor"]),
    (&["save", "export"], ["save", "commit", "save"]),
    (&["load"], ["import", "import", "import"]),
];
