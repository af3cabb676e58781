//! Buildah itself, with plyfs as its mount program, makes the layers that it makes on the kernel's
//! overlay. Run as `tests/it/podman.rs` is.

use std::fs;

use crate::support::tools::{By, Home, layers};
use crate::support::*;

/// Two stages, of which the second takes from the first.
const CONTAINERFILE: &str = r#"
FROM localhost/base AS first
RUN mkdir -p /made/sub && echo one >/made/one && ln /made/one /made/linked && \
    echo text >/made/sub/f && chown 33:34 /made/sub/f && chmod 2750 /made/sub && \
    printf '#!/bin/sh\necho made\n' >/made/program && chmod 4755 /made/program
RUN rm -rf /made/sub && mkdir /made/sub && echo again >/made/sub/g && rm /etc/issue
FROM localhost/base
LABEL stage=second
COPY --from=first /made /opt/made
COPY --chown=5:6 given /etc/given
RUN rm -rf /usr/share/doc && mkdir /usr/share/doc && echo new >/usr/share/doc/new && \
    mv /usr/share/info /usr/share/moved && echo 'a file' >/usr/share/info
RUN chown -R 33:33 /etc/apt && mv /etc/apt /etc/other && cp -a /etc/other /etc/apt && \
    mkfifo /opt/fifo && ln -s /etc/given /opt/link && truncate -s 0 /etc/motd && \
    echo more >>/opt/made/one && rm -rf /usr/share/common-licenses
"#;

#[test]
fn what_buildah_builds_is_what_it_builds_on_the_kernels_overlay() {
    let test = this_test!();
    let Some(real) = real_image(test) else { return };
    if tools::hindrance(test, "buildah") {
        return;
    }
    let mut made = Vec::new();
    for by in [By::Kernel, By::Plyfs] {
        let home = Home::new(by);
        let pull = "buildah tag $(buildah pull -q oci:base:test) localhost/base";
        if !tools::pull(test, ("buildah", pull), &home, &real, by) {
            return;
        }
        fs::create_dir(home.path("context")).unwrap();
        fs::write(home.path("context/Containerfile"), CONTAINERFILE).unwrap();
        fs::write(home.path("context/given"), "given").unwrap();
        let build = "buildah bud --layers --isolation chroot -t built context 2>&1";
        let said = home.script(build);
        assert!(!said.contains("Using cache"), "{said}");
        let said = home.script(build);
        // Three of a stage, and four of the other with its label.
        assert_eq!(said.matches("Using cache").count(), 7, "{said}");
        assert_eq!(home.script(IN_A_CONTAINER), THERE);
        home.script("buildah push -q built oci:saved:t");
        made.push(layers(&home.path("saved")));
    }
    let [theirs, ours] = made.try_into().unwrap();
    for line in ["/3/usr/share/doc/new ", "/4/etc/other/sources.list"] {
        assert!(ours.contains(line), "{ours}");
    }
    manifest::assert_same(&theirs, &ours);
}

/// Changes in a container and in a volume that keeps none.
const IN_A_CONTAINER: &str = r#"
    set -e
    c=$(buildah from built)
    mkdir volume; echo host >volume/f
    run="buildah run --isolation chroot"
    $run -v $PWD/volume:/v:O $c sh -c 'cat /v/f; echo changed >/v/f; cat /v/f; echo x >/v/g'
    cat volume/f; ls volume
    $run $c sh -c '/opt/made/program; ls /opt/made/sub; stat -c %h:%u:%g:%a /opt/made/one /etc/given'
    $run $c sh -c 'echo changed >/etc/given; rm -rf /opt/made'
    buildah commit -q $c changed >/dev/null; buildah rm $c >/dev/null
    c=$(buildah from changed)
    $run $c sh -c 'cat /etc/given; ls /opt'
    buildah rm $c >/dev/null
"#;

/// What that prints.
const THERE: &str = "host\nchanged\nhost\nf\nmade\ng\n1:0:0:644\n1:5:6:644\nchanged\nfifo\nlink\n";
