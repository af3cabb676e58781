//! Published attacks on image stores, each as an archive made by hand. Each ends in a clear error
//! or a harmless result: nothing outside the staging directory changes, nothing half-imported is
//! visible, and the store works afterwards.

mod archives;
mod bounds;
mod links;
mod names;
mod whiteouts;

use std::fs;
use std::path::Path;

use crate::support::tarball::Tar;
use crate::support::{World, message, ownerships};
use plyfs_store::Ownership;

/// What has to come of an archive.
enum Outcome {
    /// An error that says this.
    Refused(&'static str),
    /// A layer that looks like this.
    Harmless(fn(&Path)),
}

use Outcome::{Harmless, Refused};

type Row = (&'static str, fn(&World) -> Vec<u8>, Outcome);

/// Runs every row in every way to keep owners, each in a world of its own.
fn run(rows: &[Row]) {
    for ownership in ownerships() {
        for (what, archive, outcome) in rows {
            let what = format!("{what} ({ownership:?})");
            let world = World::new();
            let archive = archive(&world);
            check(&world, &what, &archive, ownership, outcome);
        }
    }
}

fn check(world: &World, what: &str, archive: &[u8], ownership: Ownership, outcome: &Outcome) {
    let good = Tar::new().file("good", b"good").end();
    world.import_archive(&good, ownership).unwrap();
    let index = fs::read(world.path("store/index.json")).unwrap();
    let layers = names_in(&world.path("store/layers/sha256"));
    let imported = world.import_archive(archive, ownership);
    world.assert_untouched(what);
    match (imported, outcome) {
        (Err(error), Refused(expected)) => {
            let message = message(&error);
            assert!(message.contains(expected), "{what}: {message}");
            assert_eq!(
                fs::read(world.path("store/index.json")).unwrap(),
                index,
                "{what}"
            );
            assert_eq!(
                names_in(&world.path("store/layers/sha256")),
                layers,
                "{what}"
            );
        }
        (Ok(_), Harmless(check)) => {
            check(&world.layer());
            // Looking at the layer through links must not have been what made it pass.
            world.assert_untouched(what);
        }
        (Err(error), Harmless(_)) => panic!("{what} was refused: {error}"),
        (Ok(_), Refused(_)) => panic!("{what} was accepted"),
    }
    let better = Tar::new().file("better", what.as_bytes()).end();
    world.import_archive(&better, ownership).unwrap();
    assert_eq!(
        fs::read(world.layer().join("better")).unwrap(),
        what.as_bytes()
    );
}

fn names_in(dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
}

fn content(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}
