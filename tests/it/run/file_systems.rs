//! The file systems of a container.

use super::*;

#[test]
fn the_file_systems_of_a_container_are_there() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    for options in [vec![], vec!["--ro"]] {
        for text in [
            // The first process of its own namespace, which sees only itself.
            "[[ $$ == 1 && $(</proc/1/comm) == bash ]]",
            "shopt -s extglob\nprocesses=(/proc/+([0-9])); (( ${#processes[@]} == 1 ))",
            "for name in null zero full random urandom tty; do [[ -c /dev/$name ]] || exit; done",
            "echo gone >/dev/null && [[ -z $(</dev/null) ]]",
            "LC_ALL=C read -r -N 8 bytes </dev/urandom && [[ -n $bytes ]]",
            "! echo x 2>/dev/null >/dev/full",
            "[[ -d /dev/pts && -e /dev/ptmx && -c /dev/pts/ptmx ]]",
            "echo text >/dev/shm/f && [[ $(</dev/shm/f) == text ]]",
            "[[ -e /dev/fd/0 && -e /dev/stdin && -e /dev/stdout && -e /dev/stderr ]]",
            "[[ -d /sys/class && -d /sys/kernel ]]",
            // What belongs to the machine cannot be changed.
            "! echo x 2>/dev/null >/proc/sys/kernel/hostname",
            "! echo x 2>/dev/null >/sys/kernel/x",
            "[[ ! -s /proc/kcore ]]",
            "[[ ! -e /dev/fuse ]]",
        ] {
            said_nothing(&world, &options, text);
        }
    }
    let mounts = said(
        &world,
        &[],
        "mapfile -t lines </proc/mounts; printf '%s\\n' \"${lines[@]}\"",
    );
    let types = |path: &str| {
        let mut all = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let fields = all.find(|fields| fields[1] == path);
        fields
            .map(|fields| fields[2].to_owned())
            .unwrap_or_default()
    };
    assert_eq!(types("/"), "fuse.plyfs", "{mounts}");
    assert_eq!(types("/dev/pts"), "devpts", "{mounts}");
    assert_eq!(types("/dev/shm"), "tmpfs", "{mounts}");
    // Nothing of the machine's own tree is to be seen.
    assert!(
        !mounts.contains(&world.path("").display().to_string()),
        "{mounts}"
    );
}

/// Many images have /var/tmp or /run as links.
#[test]
fn places_in_memory_follow_links_of_the_image() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let bash = program::bash().unwrap();
    let links = Layer::new([
        Entry::dir("."),
        Entry::dir("etc"),
        Entry::dir("proc"),
        Entry::dir("dev"),
        Entry::dir("sys"),
        Entry::dir("tmp").mode(0o1777),
        Entry::dir("var"),
        Entry::symlink("var/tmp", "/tmp"),
        Entry::symlink("run", "var/run"),
        Entry::symlink("etc/resolv.conf", "../run/resolve/stub.conf"),
    ]);
    let image = ImageBuilder::new()
        .layer(bash, Compression::None)
        .layer(links, Compression::None);
    world.with_image("links", &image);
    let said = |options: &[&str], text: &str| {
        let mut run = world.plyfs(["run"]);
        succeed(run.args(options).args(["links:test", "bash", "-c", text]))
    };
    let write =
        "for d in /tmp /var/tmp /run /var/run; do echo in >$d/file && echo $(<$d/file); done";
    assert_eq!(said(&["--read-only"], write), "in\n".repeat(4));
    let read = "[[ $(</etc/resolv.conf) ]] && echo there";
    let machine = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if !machine.is_empty() {
        assert_eq!(said(&["--read-only"], read), "there\n");
        assert_eq!(said(&[], read), "there\n");
    }
    let options = ["--tmpfs", "/var/tmp:size=4k"];
    let options = |text: &str| said(&options, text);
    assert_eq!(
        options("echo in >/tmp/file; echo $(</var/tmp/file)"),
        "in\n"
    );
    let mounted = "while read -r a b c d at rest; do echo $at; done </proc/self/mountinfo";
    assert!(options(mounted).lines().any(|line| line == "/tmp"));
}

/// Neither is about ids that the user namespace lacks, nor about a program that is not there.
#[test]
fn limits_of_the_kernel_are_named_as_the_reason() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    for words in [&["bash", "-c", ":"][..], &["/bin/bash", "-c", ":"]] {
        let mut run = world.plyfs(["run", "--ulimit", "nofile=3", "box:test"]);
        let (status, line) = fail(run.args(words));
        assert_eq!(status, 126, "{line}");
        assert!(line.contains("Too many open files"), "{line}");
    }
    if !has_ids() {
        return;
    }
    let repeated = (0..70_000).map(|at| format!("g{at}:x:{}:joe\n", at % 50 + 2));
    let repeats = Layer::new([Entry::file("etc/group", repeated.collect::<String>())]);
    let distinct = (0..70_000).map(|at| format!("g{at}:x:{}:joe\n", at + 2));
    let many = Layer::new([Entry::file("etc/group", distinct.collect::<String>())]);
    for (name, layer) in [("repeats", repeats), ("many", many)] {
        let bash = program::bash().unwrap();
        let base = Layer::new([
            Entry::dir("etc"),
            Entry::dir("proc"),
            Entry::dir("dev"),
            Entry::dir("sys"),
            Entry::file("etc/passwd", "joe:x:1000:1001::/:/bin/bash\n"),
        ]);
        let image = ImageBuilder::new()
            .layer(bash, Compression::None)
            .layer(base, Compression::None)
            .layer(layer, Compression::None);
        world.with_image(name, &image);
    }
    let run = |image: &str| {
        let mut run = world.plyfs(["run", "-u", "joe"]);
        run.arg(format!("{image}:test")).args(["bash", "-c", ":"]);
        run
    };
    let (status, line) = fail(&mut run("many"));
    assert_eq!(status, 125, "{line}");
    assert!(line.contains("70000 groups"), "{line}");
    succeed(&mut run("repeats"));
}

#[test]
fn a_read_only_container_changes_nothing() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let before = world.snapshot();
    let text = "[[ $(</etc/text) == 'no program' ]] && ! echo x 2>/dev/null >/etc/text && \
                ! echo x 2>/dev/null >/new";
    said_nothing(&world, &["--ro"], text);
    assert_nothing_left(&world);
    tree::assert_same(&before, &world.snapshot());
}
