//! Whiteouts over nothing.

use super::*;

/// The kernel lists a directory that only one layer has as it is, with whiteouts that hide nothing.
#[test]
fn a_whiteout_of_nothing_shows_no_name() {
    let name = this_test!();
    // Root of the machine keeps owners as they are; a namespace of one id cannot.
    match rustix::process::geteuid().is_root() {
        true => whiteouts_of_nothing(&World::new()),
        false => with_store(name, 1, whiteouts_of_nothing),
    }
}

fn whiteouts_of_nothing(world: &World) {
    let image = |layers: [Layer; 2]| {
        let add = |image: ImageBuilder, layer| image.layer(layer, Compression::Gzip);
        layers.into_iter().fold(ImageBuilder::new(), add)
    };
    let marks = Layer::new([
        Entry::whiteout("d/gone"),
        Entry::dir("own"),
        Entry::file("own/file", "x"),
        Entry::whiteout("own/nothing"),
        Entry::whiteout("no/such/thing"),
    ]);
    let base = Layer::new([Entry::dir("d"), Entry::file("d/gone", "x")]);
    let lower = Layer::new([Entry::dir("own"), Entry::file("own/nothing", "x")]);
    let top = Layer::new([Entry::file("top", "x")]);
    for (name, layers) in [
        ("base", [base, marks.clone()]),
        // The same layer as the lowest hides nothing at all, and on top of a third it does.
        ("lowest", [marks.clone(), top]),
        ("hides", [lower, marks]),
    ] {
        let source = world.layout(name, &image(layers));
        succeed(world.plyfs(["import", &source]).args(["--name", name]));
        for backend in ["kernel", "fuse"] {
            assert_eq!(
                listed(world, name, backend),
                "own/file\n",
                "{name} {backend}"
            );
        }
    }
}

/// What some directories of an image hold, mounted where only this can be seen.
fn listed(world: &World, image: &str, backend: &str) -> String {
    let script = "\"$0\" --store \"$1\" mount --ro --backend \"$2\" \"$3\" \"$4\"; \
        (cd \"$4\"; find d own no/such -mindepth 1 | sort); \"$0\" umount \"$4\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", script, PLYFS]);
    command.arg(world.store(""));
    succeed(command.args([backend, image]).arg(place(world, "mnt")))
}
