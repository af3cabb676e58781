//! The sections of the commands that speak to registries.

use super::page::{DATA_HOME, Entry, Page, STORE, SUBIDS, USAGE};

const INTERRUPTED_PUSH: Entry = (
    "130",
    "A signal ended it. Blobs that the registry has completely are not sent again by the next push.",
);
const AUTH_FILE: Entry = (
    "REGISTRY_AUTH_FILE",
    "The one file with credentials, unless --authfile gives it.",
);
const AUTH_DIRS: Entry = (
    "XDG_RUNTIME_DIR, XDG_CONFIG_HOME, DOCKER_CONFIG, HOME",
    "Without REGISTRY_AUTH_FILE and --authfile, where credentials are looked for: \
     $XDG_RUNTIME_DIR/containers/auth.json, then $XDG_CONFIG_HOME/containers/auth.json (~/.config if it is not \
     set), then $DOCKER_CONFIG/config.json (~/.docker if it is not set).",
);
const REGISTRIES: Entry = (
    "CONTAINERS_REGISTRIES_CONF",
    "A file that is read instead of the registries.conf of the user and of the system.",
);
const PROXIES: Entry = (
    "HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
    "Proxies, and hosts that are reached without one; also in lower case. This machine is never reached through a \
     proxy.",
);
const ROOTS: Entry = (
    "SSL_CERT_FILE, SSL_CERT_DIR",
    "Certificates of authorities, instead of those of the system.",
);
const REGISTRIES_CONF: Entry = (
    "~/.config/containers/registries.conf, /etc/containers/registries.conf, registries.conf.d beside them",
    "Short names, mirrors, and which registries are blocked or insecure; containers-registries.conf(5). The user's \
     registries.conf takes the place of the system's.",
);
const POLICY: Entry = (
    "~/.config/containers/policy.json, /etc/containers/policy.json",
    "Which images are accepted; containers-policy.json(5). The user's takes the place of the system's.",
);
const CERTS: Entry = (
    "~/.config/containers/certs.d/HOST, /etc/containers/certs.d/HOST, /etc/docker/certs.d/HOST",
    "Certificates for one registry: authorities in *.crt, the client's own in *.cert with its key in *.key. The \
     first directory that exists is read.",
);
const AUTH_JSON: Entry = (
    "auth.json, config.json",
    "Credentials, and the names of credential helpers; containers-auth.json(5).",
);
const WRITTEN: Entry = (
    "$XDG_RUNTIME_DIR/containers/auth.json",
    "The file that is changed. Without XDG_RUNTIME_DIR it is ~/.config/containers/auth.json; --authfile or \
     REGISTRY_AUTH_FILE names another.",
);

pub(super) const PAGES: [Page; 4] = [
    Page {
        command: "pull",
        exit_status: &[
            ("0", "The image is in the store; its name was printed."),
            (
                "1",
                "It could not be pulled, and no image was added or changed. What came of layers stays for the next \
                 pull unless it was wrong. Standard error has the reason.",
            ),
            USAGE,
            (
                "130",
                "A signal ended it. The next pull goes on from there.",
            ),
        ],
        environment: &[
            STORE, DATA_HOME, AUTH_FILE, AUTH_DIRS, REGISTRIES, PROXIES, ROOTS,
        ],
        files: &[
            (
                "STORE/downloads",
                "What came of layers of pulls that broke off. plyfs-prune(1) removes it.",
            ),
            (
                "STORE/origins",
                "In which repositories of registries a blob is.",
            ),
            REGISTRIES_CONF,
            POLICY,
            CERTS,
            AUTH_JSON,
            SUBIDS,
        ],
        examples: &[
            (
                "An image of Docker Hub",
                "plyfs pull docker.io/library/debian:bookworm",
            ),
            (
                "One of several platforms, by another name",
                "plyfs pull --platform linux/arm64 --name arm:test docker.io/library/debian:bookworm",
            ),
            (
                "From a registry of this machine, without TLS",
                "plyfs pull 127.0.0.1:5000/app:1",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-push(1)",
            "plyfs-login(1)",
            "plyfs-images(1)",
            "plyfs-run(1)",
            "plyfs-import(1)",
            "plyfs-prune(1)",
            "containers-registries.conf(5)",
        ],
    },
    Page {
        command: "push",
        exit_status: &[
            (
                "0",
                "The image is in the registry under its name; its digest was printed.",
            ),
            (
                "1",
                "It could not be pushed. The name in the registry is as it was if the manifest was not sent. Standard \
                 error has the reason.",
            ),
            USAGE,
            INTERRUPTED_PUSH,
        ],
        environment: &[
            STORE, DATA_HOME, AUTH_FILE, AUTH_DIRS, REGISTRIES, PROXIES, ROOTS,
        ],
        files: &[
            (
                "STORE/origins",
                "In which repositories of registries a blob is, so that the registry can mount it.",
            ),
            REGISTRIES_CONF,
            CERTS,
            AUTH_JSON,
        ],
        examples: &[
            (
                "To another repository, with its digest in a file",
                "plyfs push --digestfile digest mine:1 registry.example/team/mine:1",
            ),
            (
                "Where the name of the image says",
                "plyfs tag mine:1 registry.example/team/mine:2\nplyfs push registry.example/team/mine:2",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-pull(1)",
            "plyfs-login(1)",
            "plyfs-save(1)",
            "plyfs-tag(1)",
            "containers-registries.conf(5)",
        ],
    },
    Page {
        command: "login",
        exit_status: &[
            (
                "0",
                "The registry accepts the credentials, or asks for none, and they are kept.",
            ),
            (
                "1",
                "The registry does not accept the credentials or cannot be reached, and nothing was changed; or they \
                 could not be kept. Standard error has the reason.",
            ),
            USAGE,
        ],
        environment: &[AUTH_FILE, AUTH_DIRS, REGISTRIES, PROXIES, ROOTS],
        files: &[
            WRITTEN,
            (
                "docker-credential-NAME",
                "A credential helper on PATH. It keeps the credentials if the file names it in credHelpers or \
                 credsStore.",
            ),
            REGISTRIES_CONF,
            CERTS,
        ],
        examples: &[
            (
                "Ask for the user name and the password",
                "plyfs login docker.io",
            ),
            (
                "With a password from standard input",
                "printenv TOKEN | plyfs login --username me --password-stdin registry.example:5000",
            ),
        ],
        see_also: &[
            "plyfs(1)",
            "plyfs-logout(1)",
            "plyfs-pull(1)",
            "plyfs-push(1)",
            "containers-auth.json(5)",
        ],
    },
    Page {
        command: "logout",
        exit_status: &[
            ("0", "The credentials were removed."),
            (
                "1",
                "The file has no credentials for the registry, or they could not be removed. Standard error has the \
                 reason.",
            ),
            USAGE,
        ],
        environment: &[AUTH_FILE, AUTH_DIRS],
        files: &[
            WRITTEN,
            (
                "docker-credential-NAME",
                "A credential helper on PATH, which removes them if the file names it.",
            ),
        ],
        examples: &[(
            "Forget the credentials for one registry",
            "plyfs logout registry.example:5000",
        )],
        see_also: &["plyfs(1)", "plyfs-login(1)", "containers-auth.json(5)"],
    },
];
