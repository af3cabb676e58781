//! Places of mounts, which are no changes of the container.

use super::*;

#[test]
fn places_of_mounts_do_not_become_changes_of_a_container() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let layer = Layer::new([
        Entry::dir("etc"),
        Entry::symlink("etc/resolv.conf", "../run/systemd/stub.conf"),
        Entry::symlink("etc/hosts", "/var/hosts"),
    ]);
    assert_place_goes(&world, layer, "/new/place", "[[ -s /etc/hosts ]]");
}

/// Mounts something on a place of a container on bash and a layer, and makes sure that the place is no change of it.
#[track_caller]
fn assert_place_goes(world: &World, layer: Layer, place: &str, text: &str) {
    let image = ImageBuilder::new()
        .layer(program::bash().unwrap(), Compression::None)
        .layer(layer, Compression::None);
    world.with_image("linked", &image);
    let mut command = world.plyfs(["run", "--container", "kept", "--tmpfs", place]);
    command.args(["linked:test", "bash", "-c", text]);
    succeed(&mut command);
    let changes = succeed(&mut world.plyfs(["diff", "kept"]));
    assert!(!changes.contains("A /"), "{changes}");
}

/// A world with an image that has nothing to mount on, `bare:test`.
fn world_without_places(test: &str) -> Option<World> {
    let bash = bash(test)?;
    let world = World::new();
    let image = ImageBuilder::new().layer(bash, Compression::None);
    // With owners as they are, where that can be: the kernel's overlay serves nothing else.
    let source = world.layout("bare", &image);
    succeed(&mut world.plyfs(["import", &source]));
    Some(world)
}

/// Starts a container that is kept, `kept`, of the image `bare:test`.
fn keep(world: &World, backend: &str, text: &str) -> Background {
    let mark = world.path("").display().to_string();
    let mut command = world.plyfs(["run", "--container", "kept", "--backend", backend]);
    command.args(["bare:test", "bash", "-c", &format!(": {mark}; {text}")]);
    Background::start(&mut command, &mark)
}

/// As pkill(1) sends it, and systemd to all processes of a unit: the mount must last as long as the program.
#[test]
fn a_signal_to_all_processes_of_a_run_takes_no_mount_from_the_program() {
    let test = this_test!();
    let Some(world) = world_without_places(test) else {
        return;
    };
    let text =
        "trap 'echo end >/file; exit 7' TERM; echo ready; while :; do read -t 60 <>/dev/ptmx; done";
    for backend in ["auto", "fuse"] {
        let mut running = keep(&world, backend, text);
        running.wait_for_line("ready");
        let processes = running.processes();
        assert!(processes.len() > 2, "no daemon among {processes:?}");
        running.signal_all(Signal::TERM);
        assert_eq!(running.end().code(), Some(7), "{backend}");
        running.assert_all_gone();
        assert_only_change(&world, "/file", backend);
        succeed(&mut world.plyfs(["rm", "kept"]));
    }
}

#[test]
fn what_a_killed_run_leaves_is_no_change_of_its_container() {
    let test = this_test!();
    let Some(world) = world_without_places(test) else {
        return;
    };
    let text = "echo >/file; echo ready; while :; do read -t 60 <>/dev/ptmx; done";
    for backend in ["auto", "fuse"] {
        let mut running = keep(&world, backend, text);
        running.wait_for_line("ready");
        // While it runs, too.
        assert_only_change(&world, "/file", backend);
        running.signal_all(Signal::KILL);
        running.end();
        running.assert_all_gone();
        assert_unused(&world);
        let upper = world.store("containers/kept/upper");
        assert!(upper.join("dev").exists(), "nothing is left to be removed");
        assert_only_change(&world, "/file", backend);
        succeed(&mut world.plyfs(["commit", "kept", "made"]));
        assert!(!upper.join("dev").exists(), "{backend}");
        succeed(&mut world.plyfs(["rm", "kept"]));
    }
}

/// Waits until the kernel has closed what the killed processes had open.
fn assert_unused(world: &World) {
    let store = plyfs_store::Store::open_existing(world.store("")).unwrap();
    let name = "kept".parse().unwrap();
    let start = Instant::now();
    while store.is_in_use(&name).unwrap() {
        assert!(start.elapsed() < LONG, "it stays in use");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn assert_only_change(world: &World, path: &str, backend: &str) {
    let changes = succeed(&mut world.plyfs(["diff", "kept"]));
    assert_eq!(changes, format!("A {path}\n"), "{backend}");
}

/// The process that keeps a mount of the kernel's overlay may be killed for memory. The container is in use as long as
/// it runs.
#[test]
fn a_running_container_stays_locked_when_its_keeper_is_killed() {
    let test = this_test!();
    let Some(world) = world_without_places(test) else {
        return;
    };
    let text = "echo ready; while :; do read -t 60 <>/dev/ptmx; done";
    let mut running = keep(&world, "auto", text);
    running.wait_for_line("ready");
    let is_daemon = |pid: &u32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        // A keeper waits for the end of its mount by inotify(7).
        let mut files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let mut waits = files
            .by_ref()
            .map(|file| fs::read_link(file.unwrap().path()));
        let waits =
            waits.any(|file| file.is_ok_and(|file| file == Path::new("anon_inode:inotify")));
        command.starts_with(PLYFS) && *pid != running.child.id() && waits
    };
    let Some(keeper) = running.processes().into_iter().find(is_daemon) else {
        return skip(test, "the kernel's overlay does not serve a mount here");
    };
    kill_process(
        Pid::from_raw(keeper.try_into().unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    let at = world.path("mnt");
    fs::create_dir(&at).unwrap();
    let (_, line) = fail(world.plyfs(["mount", "--container", "kept"]).arg(&at));
    assert!(line.contains("in use"), "{line}");
    assert!(world.store("containers/kept/upper/dev").exists());
    running.signal_all(Signal::TERM);
    running.end();
    running.assert_all_gone();
}

#[test]
fn a_place_that_cannot_be_removed_is_not_forgotten() {
    let test = this_test!();
    let Some(world) = world_without_places(test) else {
        return;
    };
    let mut running = keep(
        &world,
        "auto",
        "echo ready; while :; do read -t 60 <>/dev/ptmx; done",
    );
    running.wait_for_line("ready");
    running.signal_all(Signal::KILL);
    running.end();
    running.assert_all_gone();
    assert_unused(&world);
    let dev = world.store("containers/kept/upper/dev");
    let chattr = |flag: &str| Command::new("chattr").arg(flag).arg(&dev).output();
    if !chattr("+i").is_ok_and(|output| output.status.success()) {
        return skip(test, "chattr(1) cannot make a directory immutable here");
    }
    let (_, line) = fail(&mut world.plyfs(["commit", "kept", "made"]));
    assert!(chattr("-i").unwrap().status.success());
    assert!(line.contains("/dev: Operation not permitted"), "{line}");
    assert_eq!(succeed(&mut world.plyfs(["diff", "kept"])), "");
    succeed(&mut world.plyfs(["commit", "kept", "made"]));
    assert!(!dev.exists());
}

/// There the parent of the daemon has no number: the daemon is the first process.
#[test]
fn a_run_as_the_first_of_a_pid_namespace_begins() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let run = script(&world, &[], "echo begun");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--pid"]);
    command.arg(run.get_program()).args(run.get_args());
    command.envs(
        run.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    assert_eq!(succeed(&mut command), "begun\n");
}

#[test]
fn a_removed_name_of_the_image_is_listed_while_something_is_mounted_there() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = world.path("mnt");
    fs::create_dir(&at).unwrap();
    let mut mount = world.plyfs(["mount", "--container", "kept", "box:test"]);
    succeed(mount.arg(&at));
    fs::remove_dir(at.join("tmp")).unwrap();
    succeed(world.plyfs(["umount"]).arg(&at));
    let mark = world.path("").display().to_string();
    let text = format!(": {mark}; echo ready; while :; do read -t 60 <>/dev/ptmx; done");
    let mut command = world.plyfs(["run", "--tmpfs", "/tmp", "--container", "kept"]);
    command.args(["bash", "-c", &text]);
    let mut running = Background::start(&mut command, &mark);
    running.wait_for_line("ready");
    let changes = succeed(&mut world.plyfs(["diff", "kept"]));
    running.signal_all(Signal::TERM);
    running.end();
    assert!(changes.contains("D /tmp\n"), "{changes}");
}

/// A name that the container removed from its image is not back when the place is removed.
#[test]
fn a_place_where_a_file_of_the_image_was_removed_shows_none_afterwards() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let volume = world.path("volume");
    fs::create_dir(&volume).unwrap();
    let volume = format!("{}:/etc/text", volume.display());
    let at = world.path("mnt");
    fs::create_dir(&at).unwrap();
    let mut mount = world.plyfs(["mount", "--container", "kept", "box:test"]);
    succeed(mount.arg(&at));
    fs::remove_file(at.join("etc/text")).unwrap();
    succeed(world.plyfs(["umount"]).arg(&at));
    let mut command = world.plyfs([
        "run",
        "-v",
        &volume,
        "--container",
        "kept",
        "bash",
        "-c",
        "[[ -d /etc/text ]]",
    ]);
    succeed(&mut command);
    let changes = succeed(&mut world.plyfs(["diff", "kept"]));
    assert!(changes.contains("D /etc/text"), "{changes}");
}

#[test]
fn places_below_a_link_of_the_image_are_removed() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let layer = Layer::new([
        Entry::dir("run"),
        Entry::dir("var"),
        Entry::symlink("var/run", "/run"),
    ]);
    assert_place_goes(&world, layer, "/var/run/new", "[[ -d /run/new ]]");
}

#[test]
fn nothing_is_made_in_a_directory_that_is_mounted_on_dev() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let dir = world.path("dev");
    fs::create_dir(&dir).unwrap();
    // What is mounted inside of it needs places.
    let places = ["mqueue", "pts", "shm"];
    let volume = format!("{}:/dev", dir.display());
    said_nothing(&world, &["--volume", &volume], "true");
    assert!(
        crate::support::world::names(&dir)
            .iter()
            .all(|name| places.contains(&name.as_str()))
    );
}
