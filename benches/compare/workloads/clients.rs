//! Several programs at once. Each is this program, started with [`CLIENT`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::super::layers::tree_dir;
use super::{Place, Watch, reading};

/// The first argument of this program when it is to be a client.
pub const CLIENT: &str = "__client";

/// Starts clients, lets them go at once, and waits for all.
fn together(
    place: &Place<'_>,
    watch: &mut Watch,
    what: &str,
    work: &[Vec<PathBuf>],
    operations: usize,
) -> io::Result<()> {
    let mut clients = Vec::new();
    for paths in work {
        let mut client = Command::new(std::env::current_exe()?)
            .args([CLIENT, what, &(place.scale.names / 2).to_string()])
            .args(paths)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = String::new();
        let stdout = client.stdout.take().map(BufReader::new);
        let mut stdout = stdout.ok_or(io::ErrorKind::BrokenPipe)?;
        stdout.read_line(&mut ready)?;
        clients.push((client, stdout));
    }
    watch.time(operations, || {
        for (client, _) in &mut clients {
            drop(client.stdin.take());
        }
        clients
            .iter_mut()
            .try_for_each(|(_, stdout)| stdout.read_to_string(&mut String::new()).map(drop))
    })?;
    clients
        .into_iter()
        .try_for_each(|(client, _)| ended(client))
}

fn ended(mut client: Child) -> io::Result<()> {
    match client.wait()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("a client failed")),
    }
}

/// The client's side: waits for the end of standard input, works, and ends.
pub fn client(arguments: &[String]) -> io::Result<()> {
    let [what, count, paths @ ..] = arguments else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let count: usize = count.parse().map_err(io::Error::other)?;
    let mut stdout = io::stdout();
    stdout.write_all(b"ready\n")?;
    stdout.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    for path in paths {
        let path = Path::new(path);
        if what == "create" {
            for i in 0..count {
                File::create_new(path.join(format!("f{i}")))?;
            }
        } else {
            reading::walk(path)?;
        }
    }
    Ok(())
}

fn create(place: &Place<'_>, watch: &mut Watch, clients: usize) -> io::Result<()> {
    let room = place.room()?;
    let mut work = Vec::new();
    for i in 0..clients {
        let dir = room.join(i.to_string());
        std::fs::create_dir(&dir)?;
        work.push(vec![dir]);
    }
    let operations = clients * (place.scale.names / 2);
    together(place, watch, "create", &work, operations)
}

/// Each client walks its share of the directories.
fn stat(place: &Place<'_>, watch: &mut Watch, clients: usize) -> io::Result<()> {
    let mut work = vec![Vec::new(); clients];
    for d in 0..place.scale.dirs {
        work[d % clients].push(place.merged().join(tree_dir(d)));
    }
    let operations = place.scale.dirs * super::super::layers::FILES;
    together(place, watch, "walk", &work, operations)
}

pub fn create_two(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    create(place, watch, 2)
}

pub fn create_four(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    create(place, watch, 4)
}

pub fn stat_two(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    stat(place, watch, 2)
}

pub fn stat_four(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    stat(place, watch, 4)
}
