//! A real image: a Debian root with a compiler, as `tests/real-image/build.sh` makes it.
//!
//! The image is found by the variable PLYFS_REAL_IMAGE; without it these tests are skipped, since
//! building it takes a mirror of Debian, root, and a minute. CI builds it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::tools::has;
use crate::support::*;

/// The forms that the image comes in.
const FORMS: [(&str, &str); 3] = [
    ("gzip", "oci:gzip:test"),
    ("zstd", "oci:zstd:test"),
    ("docker", "docker-archive:docker.tar"),
];

fn import(dir: &Path, store: &Path, form: &str, more: &[&str]) {
    let (_, source) = FORMS.iter().find(|(name, _)| *name == form).unwrap();
    let (transport, path) = source.split_once(':').unwrap();
    let source = format!("{transport}:{}/{path}", dir.display());
    let mut command = plyfs(["--store", store.to_str().unwrap(), "import", &source]);
    succeed(command.args(["--name", "real:test"]).args(more));
}

fn run(store: &Path, script: &str) -> String {
    succeed(
        plyfs(["--store", store.to_str().unwrap(), "run", "real:test"])
            .args(["bash", "-c", script]),
    )
}

/// What the image must be able to do.
const WORK: &str = r#"python3 -c "import ssl,json" && git init -q /r &&
    gcc -x c - -o /tmp/a <<<"int main(){return 0;}" && /tmp/a && apt-get --version"#;

/// Import in each form, and work in a container.
#[test]
fn every_form_is_imported_and_works() {
    let Some(dir) = real_image(this_test!()) else {
        return;
    };
    if let Some(why) = cannot_mount() {
        return skip(this_test!(), &why);
    }
    for (form, _) in FORMS {
        for ownership in ["auto", "override"] {
            let tmp = tempfile::tempdir().unwrap();
            let store = tmp.path().join("store");
            import(&dir, &store, form, &["--ownership", ownership]);
            let said = run(&store, WORK);
            assert!(said.starts_with("apt "), "{form} {ownership}: {said}");
            remove_store(&store);
        }
    }
}

/// Removes a store, some of which may belong to subordinate ids.
fn remove_store(store: &Path) {
    succeed(plyfs(["unshare", "rm", "-rf"]).arg(store));
}

/// The tree that umoci unpacks, as root made it before.
fn reference(dir: &Path) -> String {
    fs::read_to_string(dir.join("reference")).unwrap()
}

/// As root: what umoci makes of the image is the reference for all other tests.
#[test]
fn the_reference_is_made() {
    let test = this_test!();
    let Some(dir) = real_image(test) else { return };
    if dir.join("reference").exists() {
        return;
    }
    if !rustix::process::geteuid().is_root() || !is_initial_namespace() || !has("umoci") {
        return skip(
            test,
            "only root can unpack with umoci, and umoci has to be there",
        );
    }
    let tmp = tempfile::tempdir().unwrap();
    let bundle = tmp.path().join("bundle");
    let image = format!("{}/gzip:test", dir.display());
    succeed(
        Command::new("umoci")
            .args(["unpack", "--image", &image])
            .arg(&bundle),
    );
    let text = manifest::describe(&bundle.join("rootfs"));
    let part = dir.join(format!("reference.{}", std::process::id()));
    fs::write(&part, text).unwrap();
    fs::rename(part, dir.join("reference")).unwrap();
}

/// The mount in a namespace shows what umoci unpacks: every name, type, mode, owner, link, attribute
/// and byte.
#[test]
fn the_mount_shows_what_umoci_unpacks() {
    let test = this_test!();
    let Some(dir) = real_image(test) else { return };
    the_reference_is_made();
    if !dir.join("reference").exists() {
        return skip(test, "there is no reference: run the tests as root first");
    }
    if !is_initial_namespace() || rustix::process::geteuid().is_root() || has_many_ids() {
        inside(test, || {
            for (form, _) in FORMS {
                let tmp = tempfile::tempdir().unwrap();
                let (store, merged) = (tmp.path().join("store"), tmp.path().join("merged"));
                fs::create_dir(&merged).unwrap();
                import(&dir, &store, form, &[]);
                // Read-only, and as a container.
                for arguments in [&["--ro"][..], &[]] {
                    let mut mount = plyfs(["--store", store.to_str().unwrap(), "mount"]);
                    succeed(mount.args(arguments).arg("real:test").arg(&merged));
                    let ours = manifest::describe(&merged);
                    succeed(plyfs(["umount"]).arg(&merged));
                    compare(&reference(&dir), &ours, arguments.is_empty());
                }
            }
        });
    } else {
        skip(
            test,
            "a namespace with one id shows one owner; see the next test",
        );
    }
}

/// Several names of a lower file are files of their own where a copy-up could part them, so their
/// link counts agree but the names need not be one.
fn compare(reference: &str, ours: &str, writable: bool) {
    let parted = |text: &str| -> String {
        let cut = |line: &str| match line.split_once(" one with ") {
            Some((before, after)) => format!("{before} ({}", after.split_once('(').unwrap().1),
            None => line.to_owned(),
        };
        text.lines().map(|line| cut(line) + "\n").collect()
    };
    match writable {
        true => manifest::assert_same(&parted(reference), &parted(ours)),
        false => manifest::assert_same(reference, ours),
    }
}

/// Owners kept in attributes are shown in full by a mount outside of any namespace.
#[test]
fn recorded_owners_are_shown_in_full() {
    let test = this_test!();
    let Some(dir) = real_image(test) else { return };
    if !dir.join("reference").exists() {
        return skip(test, "there is no reference: run the tests as root first");
    }
    if rustix::process::geteuid().is_root() {
        return skip(test, "root has no need of records");
    }
    if !has("fusermount3") || cannot_mount().is_some() {
        return skip(
            test,
            "an ordinary user cannot mount here outside of a namespace",
        );
    }
    let tmp = tempfile::tempdir().unwrap();
    let (store, merged) = (tmp.path().join("store"), tmp.path().join("merged"));
    fs::create_dir(&merged).unwrap();
    import(&dir, &store, "gzip", &["--ownership", "override"]);
    for arguments in [&["--ro"][..], &[]] {
        let mut mount = plyfs(["--store", store.to_str().unwrap(), "mount"]);
        succeed(mount.args(arguments).arg("real:test").arg(&merged));
        let ours = manifest::describe(&merged);
        succeed(plyfs(["umount"]).arg(&merged));
        compare(&reference(&dir), &ours, arguments.is_empty());
    }
}

/// What a session of work leaves in the upper directory, the kernel's overlay shows as we do.
#[test]
fn the_kernel_shows_the_work_of_a_session() {
    let test = this_test!();
    let Some(dir) = real_image(test) else { return };
    if !rustix::process::geteuid().is_root() && !has_many_ids() {
        return skip(
            test,
            "with one id, owners are in records, which the kernel does not read",
        );
    }
    inside(test, || {
        let tmp = tempfile::tempdir().unwrap();
        let (store, merged) = (tmp.path().join("store"), tmp.path().join("merged"));
        fs::create_dir(&merged).unwrap();
        import(&dir, &store, "gzip", &[]);
        let store_arg = store.to_str().unwrap();
        let mut work = plyfs([
            "--store",
            store_arg,
            "run",
            "--container",
            "work",
            "real:test",
        ]);
        succeed(work.args(["bash", "-ec", SESSION]));
        let mut mount = plyfs(["--store", store_arg, "mount", "--container", "work"]);
        succeed(mount.arg(&merged));
        let ours = manifest::describe(&merged);
        succeed(plyfs(["umount"]).arg(&merged));
        mount_kernel(&store, "work", &merged);
        let kernels = manifest::describe(&merged);
        rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::empty()).unwrap();
        // In a user namespace devices are empty files with a record, which the kernel does not read.
        let without_devices = |text: &str| -> String {
            let is_device = |line: &&str| {
                ["/opt/strange/null ", "/opt/strange/loop ", "/dev/"]
                    .iter()
                    .any(|name| line.starts_with(name))
            };
            let kept = text
                .lines()
                .filter(|line| is_initial_namespace() || !is_device(line));
            kept.map(|line| line.to_owned() + "\n").collect()
        };
        compare(&without_devices(&kernels), &without_devices(&ours), true);
    });
}

/// Work of every kind on files of every layer.
const SESSION: &str = r#"
    mkdir /src && cd /src && git init -q && git config user.email a@b && git config user.name n
    for i in $(seq 50); do echo "int f$i(void) { return $i; }" > f$i.c; done
    echo 'int main(void) { return 0; }' > main.c
    git add . && git commit -qm one && gcc -O1 -o main *.c && ./main
    rm f1*.c && git commit -qam two && git gc -q
    rm -rf /usr/share/zoneinfo /usr/share/perl5 /opt/data/random1
    mkdir /usr/share/perl5 && echo new > /usr/share/perl5/new
    mv /opt/data/random3 /opt/moved
    sed -i s/root/toor/ /etc/passwd
    chmod 0711 /etc && chown -R 33:33 /var/cache && chmod u+s /usr/bin/env
    ln /usr/bin/gcc-12 /usr/bin/other-gcc && ln -sf nowhere /bin/link
    cp -a /etc/apt /etc/apt2 && rm -rf /etc/apt && mv /etc/apt2 /etc/apt
    echo more >> /opt/strange/attributes && truncate -s 1M /opt/strange/sparse
    mkfifo /tmp/fifo && python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("/tmp/socket")'
    rm -rf /opt/strange/deep && mkdir -p /opt/strange/deep/again
"#;

/// Mounts a container with the kernel's overlay.
fn mount_kernel(store: &Path, container: &str, merged: &Path) {
    let dir = store.join("containers").join(container);
    let record = fs::read_to_string(dir.join("container.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let layers: Vec<String> = record["diff_ids"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|id| {
            let hex = id.as_str().unwrap().trim_start_matches("sha256:");
            let path = store.join("layers/sha256").join(hex).join("diff");
            path.display().to_string()
        })
        .collect();
    let mut options = format!(
        "lowerdir={},upperdir={},workdir={}",
        layers.join(":"),
        dir.join("upper").display(),
        dir.join("work").display()
    );
    options.push_str(match is_initial_namespace() {
        // What containers of the store are written with.
        true => ",redirect_dir=on,metacopy=on,index=on",
        false => ",userxattr",
    });
    let data = std::ffi::CString::new(options).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("overlay", merged, "overlay", flags, &*data).unwrap();
}

/// Whether this user has subordinate ids, and the programs that map them.
fn has_many_ids() -> bool {
    let map = plyfs(["unshare", "cat", "/proc/self/uid_map"])
        .output()
        .unwrap();
    text(&map.stdout).lines().count() > 1
}

/// As root, where buildah is installed: skopeo's store on the kernel's overlay shows the same.
#[test]
fn the_reference_is_what_skopeo_and_the_kernel_show() {
    let test = this_test!();
    let Some(dir) = real_image(test) else { return };
    the_reference_is_made();
    if !rustix::process::geteuid().is_root() || !is_initial_namespace() || !has("buildah") {
        return skip(
            test,
            "only root can mount with buildah, and buildah has to be there",
        );
    }
    let tmp = tempfile::tempdir().unwrap();
    let options = ["--root", "--runroot"].map(|option| {
        let path = tmp.path().join(&option[2..]);
        [option.to_owned(), path.display().to_string()]
    });
    let buildah = || {
        let mut command = Command::new("buildah");
        command.args(options.iter().flatten());
        command.args(["--storage-driver", "overlay"]);
        command
    };
    let source = format!("oci:{}/gzip:test", dir.display());
    let pulled = buildah()
        .args(["from", "--pull", "--name", "c", &source])
        .output()
        .unwrap();
    if !pulled.status.success() {
        return skip(
            test,
            &format!("buildah does not work here: {}", text(&pulled.stderr)),
        );
    }
    let root = succeed(buildah().args(["mount", "c"]));
    let theirs = manifest::describe(Path::new(root.trim()));
    succeed(buildah().args(["umount", "c"]));
    succeed(buildah().args(["rm", "c"]));
    // Where containers-storage itself differs: the root gets a mode of its own, and a time before
    // 1970 becomes 1970.
    let but_theirs = |text: &str| -> String {
        let is_theirs =
            |line: &&str| line.starts_with("/ ") || line.starts_with("/opt/strange/old ");
        let kept = text.lines().filter(|line| !is_theirs(line));
        kept.map(|line| line.to_owned() + "\n").collect()
    };
    compare(&but_theirs(&reference(&dir)), &but_theirs(&theirs), true);
}
