//! Containers that run.

use super::*;

#[test]
fn a_running_container_is_listed_stopped_and_killed() {
    let test = this_test!();
    let Some(world) = world_with_container(test) else {
        return;
    };
    let mut running = attend(&world, false);
    let row = row(&world, "c");
    assert_eq!(row["status"], "running");
    assert_eq!(row["command"], serde_json::json!(["cat", "-"]));
    assert_eq!(pid(&row), Pid::from_child(&running));
    let (_, line) = fail(&mut world.plyfs(["rm", "c"]));
    let wanted = format!("process {} runs cat in it", running.id());
    assert!(line.contains(&wanted), "{line}");
    let (_, line) = fail(&mut world.plyfs(["umount", "c"]));
    assert!(line.contains("\"plyfs stop c\""), "{line}");
    // It does not wait for what it signalled.
    let stopped = std::thread::scope(|scope| {
        let reaper = scope.spawn(|| running.wait().unwrap());
        assert_eq!(succeed(&mut world.plyfs(["stop", "c"])), "c\n");
        reaper.join().unwrap()
    });
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(stopped.signal(), Some(15));
    assert_nothing_live(&world);

    let mut running = attend(&world, false);
    let (status, line) = fail(&mut world.plyfs(["kill", "-s", "NONE", "c"]));
    assert!(status == 2 && line.contains("no signal \"NONE\""), "{line}");
    assert_eq!(succeed(&mut world.plyfs(["kill", "c"])), "c\n");
    // Its first process was killed, and not the one that attends to it and has to clean up.
    assert!(running.wait().unwrap().success());
    assert_nothing_live(&world);

    // What is passed on goes to the process that attends to it, and the rest to the first process.
    for (signal, of_attendant) in [("SIGUSR1", Some(10)), ("PIPE", None), ("RTMIN+1", None)] {
        let mut running = attend(&world, false);
        succeed(&mut world.plyfs(["kill", "--signal", signal, "c"]));
        assert_eq!(running.wait().unwrap().signal(), of_attendant, "{signal}");
    }
    assert_nothing_live(&world);
}

#[test]
fn what_does_not_end_is_killed() {
    let test = this_test!();
    let Some(world) = world_with_container(test) else {
        return;
    };
    for command in [&["stop", "-t", "1", "c"][..], &["rm", "--force", "c"]] {
        let mut running = attend(&world, true);
        let start = Instant::now();
        std::thread::scope(|scope| {
            let reaper = scope.spawn(|| running.wait().unwrap());
            let output = world.plyfs(command).output().unwrap();
            assert_eq!(text(&output.stdout), "c\n", "{}", text(&output.stderr));
            // Its first process was killed, so that it could clean up.
            assert!(reaper.join().unwrap().success());
        });
        assert!(start.elapsed() >= Duration::from_secs(1));
        assert_nothing_live(&world);
    }
    assert_eq!(world.names("containers"), [""; 0]);
}
