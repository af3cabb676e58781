//! Standard input and output.

use super::*;

#[test]
fn standard_input_is_passed_on() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let text = "while read -r line; do echo \"got $line\"; done; echo end";
    let mut child = script(&world, &[], text)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\ntwo\n").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        crate::support::text(&output.stdout),
        "got one\ngot two\nend\n"
    );
}

#[test]
fn a_directory_as_standard_input_is_no_way_out() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let mut command = script(&world, &[], "true");
    command.stdin(fs::File::open("/etc").unwrap());
    let (status, line) = fail(&mut command);
    assert_eq!(status, 125);
    assert!(line.contains("is a directory"), "{line}");
}

/// As some programs leave it to what they execute.
#[test]
fn an_end_is_seen_though_the_caller_ignores_sigchld() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let run = script(&world, &[], "echo done");
    let mut caller = Command::new("bash");
    caller.args(["-c", "trap '' CHLD; exec timeout -s KILL 20 \"$@\"", "bash"]);
    caller.arg(run.get_program()).args(run.get_args());
    assert_eq!(succeed(&mut caller), "done\n");
}

/// Others read on in a file while a container has it.
#[test]
fn a_file_at_standard_input_is_not_wound_back() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let path = world.path("lines");
    fs::write(&path, "one\ntwo\nthree\n").unwrap();
    let mut file = fs::File::open(&path).unwrap();
    let mut command = script(
        &world,
        &[],
        "echo ready; while :; do read -t 60 <>/dev/ptmx; done",
    );
    let mut child = command
        .stdin(file.try_clone().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    std::io::Read::read_exact(&mut file, &mut line[..4]).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut file, &mut rest).unwrap();
    assert_eq!(rest, "two\nthree\n");
}

/// A terminal has its end-of-file character only at the beginning of a line.
#[test]
fn input_without_a_last_newline_ends_at_a_terminal() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    for (input, expected) in [("a\nb", "<a\nb>"), ("a\n", "<a\n>"), ("", "<>")] {
        let text = "stty -echo 2>/dev/null; all=; while IFS= read -r line; do all+=$line$'\\n'; done; \
                    printf '<%s>' \"$all$line\"";
        let mut command = script(&world, &["-t"], text);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > LONG {
                child.kill().unwrap();
                panic!("{input:?}: it does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let said = text_of(child).replace('\r', "");
        assert!(said.ends_with(expected), "{input:?}: {said:?}");
    }
}

fn text_of(child: std::process::Child) -> String {
    text(&child.wait_with_output().unwrap().stdout)
}

/// Other programs share the descriptors, and some make them so (O_NONBLOCK).
#[test]
fn non_blocking_input_and_output_lose_nothing() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let ((input, type_in), (output, print)) = (pipe(), pipe());
    for fd in [&input, &print] {
        rustix::fs::fcntl_setfl(fd, rustix::fs::OFlags::NONBLOCK).unwrap();
    }
    let text = "read -r word; for ((i = 0; i < 20000; i++)); do echo \"$word $i\"; done; echo end";
    let mut command = script(&world, &["-t"], text);
    let mut child = command.stdin(input).stdout(print).spawn().unwrap();
    drop(command);
    std::thread::sleep(Duration::from_millis(500));
    let mut type_in = fs::File::from(type_in);
    type_in.write_all(b"said\n").unwrap();
    // Its pipe is full for a while.
    std::thread::sleep(Duration::from_millis(500));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(output), &mut said).unwrap();
    assert!(child.wait().unwrap().success());
    let said = said.replace('\r', "");
    let lines: Vec<&str> = said.lines().filter(|line| *line != "said").collect();
    assert_eq!(lines.len(), 20_001);
    assert_eq!(lines.last(), Some(&"end"));
    assert!(
        lines
            .iter()
            .enumerate()
            .take(20_000)
            .all(|(i, line)| *line == format!("said {i}"))
    );
}

#[test]
fn another_user_can_open_standard_output_by_its_name() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    if !has_ids() {
        return skip(test, "this user has no subordinate ids");
    }
    let text = "echo out >/dev/stdout; [[ $(</dev/stdin) == in ]]";
    let mut child = script(&world, &["--user", "joe"], text)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"in").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(crate::support::text(&output.stdout), "out\n");
}
