//! An image with busybox in it, for what has to be seen from inside a container.

use std::path::Path;
use std::process::Command;

use plyfs_store::Compression;
use plyfs_store::fixture::{Config, Entry, ImageBuilder, Layer};

use super::world::World;
use super::{cannot_mount, skip, succeed};

/// A store with the image `box:test`, whose layout is in the directory `box`; or a skipped test.
pub fn world(test: &str) -> Option<World> {
    world_with(test, Config::default())
}

/// As [`world`], with a configuration of the image.
pub fn world_with(test: &str, config: Config) -> Option<World> {
    let busybox = match busybox() {
        Ok(layer) => layer,
        Err(why) => {
            skip(test, why);
            return None;
        }
    };
    if let Some(why) = cannot_mount() {
        skip(test, &why);
        return None;
    }
    let world = World::new();
    let image = ImageBuilder::new()
        .layer(busybox, Compression::None)
        .config(config);
    world.with_image("box", &image);
    Some(world)
}

/// A layer with busybox, users and directories. An error says why there is none.
pub fn busybox() -> Result<Layer, &'static str> {
    let paths = ["/usr/bin/busybox", "/bin/busybox"].map(Path::new);
    let busybox = paths.into_iter().find(|path| path.exists());
    let busybox = busybox.ok_or("there is no busybox to put into an image")?;
    let linked = Command::new("ldd").arg(busybox).output();
    if linked.is_ok_and(|output| output.status.success()) {
        return Err("busybox is not linked statically (package busybox-static)");
    }
    Ok(layer(busybox))
}

fn layer(busybox: &Path) -> Layer {
    let mut entries = vec![Entry::dir(".")];
    for dir in ["bin", "dev", "etc", "proc", "root", "sys"] {
        entries.push(Entry::dir(dir));
    }
    let content = std::fs::read(busybox).unwrap();
    entries.extend([
        Entry::dir("tmp").mode(0o1777),
        Entry::file("bin/busybox", content).mode(0o755),
        Entry::file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\njoe:x:1000:1001::/tmp:/bin/sh\n",
        ),
        Entry::file("etc/group", "root:x:0:\njoe:x:1001:\nstaff:x:50:joe\n"),
        Entry::file("etc/text", "no program\n").mode(0o644),
    ]);
    let names = succeed(Command::new(busybox).arg("--list"));
    for name in names.lines().filter(|name| *name != "busybox") {
        entries.push(Entry::symlink(format!("bin/{name}"), "busybox"));
    }
    Layer::new(entries)
}

/// `plyfs run` of a script by the shell of the image.
pub fn script(world: &World, options: &[&str], script: &str) -> Command {
    let mut command = world.plyfs(["run"]);
    command.args(options).args(["box:test", "sh", "-c", script]);
    command
}
