//! Podman itself, with plyfs as its mount program: everything gives what it gives on the kernel's
//! overlay.
//!
//! As `tests/it/real_image.rs`, these take minutes and a real image, and CI runs them, as root and as an
//! ordinary user with subordinate ids.

use crate::support::tools::{By, Home, layers};
use crate::support::*;

/// Pulls the small image as `localhost/base`.
const PULL: (&str, &str) = (
    "podman",
    "podman tag $(podman pull -q oci:base:test) localhost/base
     podman run --rm localhost/base true",
);

/// A step: its script, and lines that are in what it prints.
type Step = (&'static str, &'static [&'static str]);

/// What is done in containers. It prints the same every time.
const STEPS: &[Step] = &[
    (
        // Leave out the mount itself, which differs, and the times of files in /etc, which Podman makes now.
        "podman run --rm localhost/base sh -c '
            id -u; ls /; ls -ln --time-style=+%F /etc /usr/bin; stat -c %h /etc'",
        &["etc", "usr"],
    ),
    (
        // How `podman diff` lists a replaced directory depends on how the storage driver finds changes.
        r#"podman run -d --name one localhost/base sleep 1000 >/dev/null
        podman run -d --name two localhost/base sleep 1000 >/dev/null
        podman exec one sh -ec '
            echo one >/etc/motd; rm /etc/issue; mkdir /opt/new; echo x >/opt/new/f
            rm -rf /usr/share/doc/apt; mkdir /usr/share/doc/apt; echo x >/usr/share/doc/apt/x
            mv /usr/share/doc/bash /usr/share/doc/moved; chown 33:33 /etc/hostname.new 2>/dev/null || :
            ln /etc/debian_version /etc/other; echo more >>/etc/other; chmod 0600 /etc/profile
            touch /var/lib/owned; chown 33:34 /var/lib/owned; mkfifo /var/lib/fifo'
        podman exec two sh -ec 'ls /opt /usr/share/doc/apt; cat /etc/motd; echo two >/opt/two'
        podman exec one ls /opt
        podman exec --user 33 one sh -c 'id -u; cat /etc/profile || echo refused' 2>/dev/null
        podman diff one | sort | grep -v doc/apt; podman diff two | sort"#,
        &[
            "changelog.gz",
            "new",
            "refused",
            "D /etc/issue",
            "A /opt/new/f",
            "C /etc/motd",
            "C /etc/profile",
            "D /usr/share/doc/bash",
            "A /opt/two",
        ],
    ),
    (
        r#"podman commit -q one localhost/one >/dev/null
        podman stop -t 0 one two >/dev/null; podman start one >/dev/null
        podman exec one cat /etc/motd
        podman rm -f -t 0 one two >/dev/null; podman ps -aq
        podman run --rm localhost/one sh -c '
            cat /etc/motd /etc/other /etc/debian_version; ls /opt /usr/share/doc/apt
            ls /etc/issue || echo deleted; stat -c "%n %h %u:%g %a %F" /etc/other /etc/profile /var/lib/*'"#,
        &[
            "one",
            "more",
            "x",
            "deleted",
            "/var/lib/owned 1 33:34 644 regular empty file",
        ],
    ),
    (
        r#"podman run --rm --read-only localhost/base sh -c '
            touch /etc/x 2>/dev/null || echo refused; touch /tmp/x && echo not in tmp'"#,
        &["refused", "not in tmp"],
    ),
    (
        r#"mkdir -p volume; echo host >volume/f; echo host >volume/g
        podman run --rm -v $PWD/volume:/v:O localhost/base sh -c '
            cat /v/f; echo changed >/v/f; rm /v/g; mkdir /v/d; cat /v/f; ls /v'
        cat volume/f volume/g; ls volume"#,
        &["host", "changed", "d"],
    ),
    (
        r#"podman save -q -o saved.tar localhost/one; podman rmi -f localhost/one >/dev/null
        podman load -q -i saved.tar >/dev/null; podman run --rm localhost/one cat /etc/motd
        podman image exists localhost/one && echo there"#,
        &["one", "there"],
    ),
];

/// What is for ordinary users. As root, Podman 4 with a mount program maps ids twice.
const MAPPED: &[Step] = &[
    (
        r#"podman run --rm --uidmap 0:1:5000 --gidmap 0:1:5000 localhost/base sh -c '
            stat -c "%n %u:%g %a" /etc/* /var/*; touch /etc/new; stat -c %u:%g /etc/new
            chown 33:34 /etc/new; stat -c %u:%g /etc/new; stat -c %u:%g /etc/shadow'"#,
        &["0:0", "33:34", "0:42"],
    ),
    (
        r#"podman run --rm --userns=keep-id localhost/base sh -c '
        touch /tmp/f; test $(stat -c %u /tmp/f) = $(id -u) && echo own
        touch /etc/f 2>/dev/null || echo refused; stat -c "%n %u:%g %a" /etc/* /var/*'
    podman create --name kept --userns=keep-id localhost/base sh -c 'cat /tmp/f || echo hello >/tmp/f' >/dev/null
    podman start -a kept 2>/dev/null; podman start -a kept; podman diff kept | sort; podman rm kept >/dev/null"#,
        &["own", "refused", "hello", "A /tmp/f"],
    ),
];

/// The mounts are of plyfs, and images, containers and volumes on them are what they are on the
/// kernel's overlay.
#[test]
fn podman_does_what_it_does_on_the_kernels_overlay() {
    let test = this_test!();
    let Some(real) = real_image(test) else { return };
    if tools::hindrance(test, "podman") {
        return;
    }
    let [theirs, ours] = [By::Kernel, By::Plyfs].map(Home::new);
    if !tools::pull(test, PULL, &theirs, &real, By::Kernel)
        || !tools::pull(test, PULL, &ours, &real, By::Plyfs)
    {
        return;
    }
    let kind = ours.script("podman run --rm localhost/base grep ' / / ' /proc/self/mountinfo");
    assert!(kind.contains(" fuse.fuse-overlayfs "), "{kind}");
    let kind = theirs.script("podman run --rm localhost/base grep ' / / ' /proc/self/mountinfo");
    assert!(kind.contains(" overlay "), "{kind}");
    let is_root = rustix::process::geteuid().is_root();
    let mapped = if is_root { &[] } else { MAPPED };
    for (script, expected) in STEPS.iter().chain(mapped) {
        let said = ours.script(script);
        for line in *expected {
            assert!(said.lines().any(|l| l == *line), "{script}\n{line}\n{said}");
        }
        assert_eq!(theirs.script(script), said, "{script}");
    }
    for home in [&ours, &theirs] {
        // A process that Podman started in the background may still write to the directory that Podman removes.
        home.script("podman system reset -f || { sleep 2; podman system reset -f; }");
        let left = home.path("data/graph/overlay");
        let left = std::fs::read_dir(left).map_or(0, |dir| dir.count());
        assert_eq!(left, 0);
    }
}

/// Packages are installed, and more of everything that a layer can hold comes about.
const CONTAINERFILE: &str = r#"
FROM localhost/base
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends libcap2-bin attr file \
    >/dev/null 2>&1 && apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
RUN cp /usr/bin/env /usr/local/bin/capable && setcap cap_net_raw+ep /usr/local/bin/capable && \
    ln /usr/local/bin/capable /usr/local/bin/linked && \
    rm -rf /usr/share/doc && mkdir /usr/share/doc && echo new >/usr/share/doc/new && \
    setfattr -n user.note -v text /usr/share/doc/new && rm /etc/issue && \
    mv /usr/share/info /usr/share/moved && echo 'a file' >/usr/share/info && \
    chmod 04755 /usr/bin/env && chown 33:34 /etc/motd && mkfifo /opt/fifo && chmod 1777 /opt
"#;

#[test]
fn what_podman_builds_is_what_it_builds_on_the_kernels_overlay() {
    let test = this_test!();
    let Some(real) = real_image(test) else { return };
    if tools::hindrance(test, "podman") {
        return;
    }
    let mut made = Vec::new();
    for by in [By::Kernel, By::Plyfs] {
        let home = Home::new(by);
        if !tools::pull(test, PULL, &home, &real, by) {
            return;
        }
        let update = "podman run --rm localhost/base apt-get -qq update";
        let updated = home.try_script(update);
        if by == By::Kernel && !updated.status.success() {
            let said = text(&updated.stderr);
            return skip(test, &format!("there is no mirror: {said}"));
        }
        std::fs::create_dir(home.path("context")).unwrap();
        std::fs::write(home.path("context/Containerfile"), CONTAINERFILE).unwrap();
        // As root, crun wants to raise a limit, which not every root may.
        let build = match rustix::process::geteuid().is_root() {
            true => "podman build -q --isolation chroot -t built context",
            false => "podman build -q -t built context",
        };
        let first = home.script(build);
        // Everything comes from the cache.
        assert_eq!(home.script(build), first);
        let said = home.script(
            "podman run --rm built sh -c 'getcap /usr/local/bin/linked; ls /usr/share/doc
             getfattr --absolute-names --only-values -n user.note /usr/share/doc/new; echo; cat /usr/share/info; file -b /bin'",
        );
        let expected = [
            "/usr/local/bin/linked cap_net_raw=ep",
            "new",
            "text",
            "a file",
            "symbolic link to usr/bin",
        ];
        assert_eq!(said.lines().collect::<Vec<_>>(), expected);
        home.script("podman save -q --format oci-dir -o saved built");
        made.push(layers(&home.path("saved")));
    }
    let [theirs, ours] = made.try_into().unwrap();
    assert!(ours.lines().count() > 300, "{ours}");
    manifest::assert_same(&theirs, &ours);
}
