//! What cannot be done is refused: with one line that says why, and without a trace in the store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::world::World;
use crate::support::*;
use plyfs_store::fixture::{EncodedLayer, Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, Digest};

fn layer(text: &str) -> Layer {
    Layer::new([
        Entry::dir("."),
        Entry::dir("d"),
        Entry::file("d/f", text.repeat(10_000)),
    ])
}

fn image(text: &str) -> ImageBuilder {
    ImageBuilder::new().layer(layer(text), Compression::Gzip)
}

/// A store with one image, `good:test`.
fn world() -> World {
    let world = World::new();
    world.with_image("good", &image("good"));
    world
}

/// Runs a command that must be refused with this status, a line that has all these words in it, and
/// nothing changed in the store.
fn refused_with(status: i32, world: &World, command: &mut Command, words: &[&str]) {
    let before = world.snapshot();
    let (actual, line) = fail(command);
    assert_eq!(actual, status, "{command:?}: {line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
    assert!(!line.contains("os error"), "{line}");
    tree::assert_same(&before, &world.snapshot());
}

fn refused(world: &World, command: &mut Command, words: &[&str]) {
    refused_with(1, world, command, words);
}

/// The blob of a layer in a layout with a single one.
fn layer_blob(layout: &Path) -> PathBuf {
    let entries = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let mut blobs = entries.map(|entry| entry.unwrap().path());
    let is_document = |path: &PathBuf| fs::read(path).unwrap().starts_with(b"{");
    blobs.find(|path| !is_document(path)).unwrap()
}

#[test]
fn damaged_blobs_are_refused() {
    let world = world();
    type Damage = fn(&Path, Vec<u8>);
    let damages: [(&str, Damage, &str); 4] = [
        (
            "flipped",
            |path, mut bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(path, bytes).unwrap();
            },
            "is corrupt",
        ),
        (
            "cut",
            |path, bytes| fs::write(path, &bytes[..bytes.len() - 5]).unwrap(),
            "bytes instead of",
        ),
        ("empty", |path, _| fs::write(path, "").unwrap(), "0 bytes"),
        (
            "missing",
            |path, _| fs::remove_file(path).unwrap(),
            "is missing",
        ),
    ];
    for (name, damage, why) in damages {
        let source = world.layout(name, &image(name));
        let blob = layer_blob(&world.path(name));
        let hex = blob.file_name().unwrap().to_str().unwrap().to_owned();
        damage(&blob, fs::read(&blob).unwrap());
        let dir = world.path(name).display().to_string();
        let words = [why, &hex, &dir, "fetch it again"];
        refused(&world, &mut world.import(&source), &words);
    }
    // The documents are no less verified.
    for (at, kind) in ["config", "manifest"].into_iter().enumerate() {
        let source = world.layout(kind, &image(kind));
        let blobs = world.path(kind).join("blobs/sha256");
        let index = fs::read_to_string(world.path(kind).join("index.json")).unwrap();
        for name in world::names(&blobs) {
            let path = blobs.join(&name);
            let text = fs::read_to_string(&path).unwrap_or_default();
            if text.starts_with('{') && index.contains(&name) == (at == 1) {
                fs::write(&path, text.replacen("sha256", "sha257", 1)).unwrap();
            }
        }
        refused(&world, &mut world.import(&source), &["blob", "is corrupt"]);
    }
}

/// Digest and size of the blob are right in all of these.
#[test]
fn layers_that_are_not_what_they_should_be_are_refused() {
    let world = world();
    let archive = EncodedLayer::from_layer(&layer("x"), Compression::None).unwrap();
    let archive = archive.blob;
    let short = &archive[..archive.len() - 3000];
    let mut other = EncodedLayer::from_layer(&layer("x"), Compression::Gzip).unwrap();
    other.diff_id = Digest::of(b"another layer");
    let mut stream = EncodedLayer::from_archive(&archive, Compression::Gzip).unwrap();
    stream.blob.truncate(stream.blob.len() - 20);
    stream.digest = Digest::of(&stream.blob);
    let encoded = |archive, compression| EncodedLayer::from_archive(archive, compression).unwrap();
    let entries = |entries: Vec<Entry>| {
        EncodedLayer::from_layer(&Layer::new(entries), Compression::Zstd).unwrap()
    };
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    let ends = "the archive ends in the middle";
    for (name, layer, words) in [
        ("diffid", other, vec!["it unpacks to", "the configuration"]),
        ("stream", stream, vec!["it is not valid gzip"]),
        ("plain", encoded(short, Compression::None), vec![ends]),
        ("gzip", encoded(short, Compression::Gzip), vec![ends]),
        ("zstd", encoded(short, Compression::Zstd), vec![ends]),
        (
            "parent",
            entries(vec![Entry::file("../x", "x")]),
            vec!["\"../x\"", "leads out of the layer"],
        ),
        (
            "below",
            entries(vec![Entry::dir("d"), Entry::file("d/../../x", "x")]),
            vec!["\"d/../../x\"", "leads out of the layer"],
        ),
        (
            "symlink",
            entries(vec![Entry::symlink("d", "./d"), Entry::file("d/x", "x")]),
            vec!["\"d/x\"", "\"d\" leads through too many symbolic links"],
        ),
        (
            "link",
            entries(vec![Entry::hard_link("x", "../../../../etc/passwd")]),
            vec!["\"x\"", "target"],
        ),
    ] {
        let source = world.layout(name, &ImageBuilder::new().encoded_layer(layer));
        let dir = world.path(name).display().to_string();
        let mut all = vec!["layer sha256:", &dir, "again"];
        all.extend(words);
        refused(&world, &mut world.import(&source), &all);
        assert!(!world.path("x").exists() && !world.store("x").exists());
    }
    // A link out of the layer leads into it.
    let target = outside.to_str().unwrap();
    let layer = entries(vec![Entry::symlink("d", target), Entry::file("d/x", "x")]);
    world.with_image("outwards", &ImageBuilder::new().encoded_layer(layer));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn what_is_no_image_is_refused() {
    let world = world();
    let file = world.path("text");
    fs::write(&file, "This is no archive.\n".repeat(100)).unwrap();
    let plain = world.path("plain.tar");
    let archive = EncodedLayer::from_layer(&layer("x"), Compression::None).unwrap();
    fs::write(&plain, archive.blob).unwrap();
    let (docker, oci) = (world.path("docker.tar"), world.path("oci.tar"));
    image("d").write_docker_archive(&docker, None).unwrap();
    image("o").write_oci_archive(&oci, None).unwrap();
    fs::create_dir(world.path("empty")).unwrap();
    for (form, path, words) in [
        ("oci", "nowhere", vec!["nowhere", "No such file"]),
        ("oci-archive", "nowhere", vec!["nowhere", "No such file"]),
        ("docker-archive", "nowhere", vec!["nowhere", "No such file"]),
        ("oci", "empty", vec!["not an OCI image layout"]),
        // What it is instead is said, where that is known.
        ("oci", "text", vec!["no directory", "oci-archive:"]),
        ("oci-archive", "good", vec!["is a directory", "oci:"]),
        ("docker-archive", "good", vec!["is a directory", "oci:"]),
        ("oci-archive", "docker.tar", vec!["docker-archive:"]),
        ("docker-archive", "oci.tar", vec!["oci-archive:"]),
        ("oci-archive", "text", vec!["is not an archive of an image"]),
        ("docker-archive", "text", vec!["is not an archive"]),
        ("oci-archive", "plain.tar", vec!["not an OCI image layout"]),
        ("docker-archive", "plain.tar", vec!["no manifest.json"]),
    ] {
        let path = world.path(path).display().to_string();
        let mut all = vec![path.as_str()];
        all.extend(words);
        refused(&world, &mut world.import(&format!("{form}:{path}")), &all);
    }
    for (form, whole) in [("docker-archive", &docker), ("oci-archive", &oci)] {
        let bytes = fs::read(whole).unwrap();
        let cut = world.path("cut.tar");
        for end in [bytes.len() / 2, 600, 100] {
            fs::write(&cut, &bytes[..end]).unwrap();
            let source = format!("{form}:{}", cut.display());
            refused(&world, &mut world.import(&source), &[]);
        }
    }
    let forms = "oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG]";
    for text in ["debian:12", "/some/dir", ""] {
        refused(&world, &mut world.import(text), &[text, forms]);
    }
    refused(
        &world,
        &mut world.import("other://debian:12"),
        &["not from other://", "skopeo copy other://debian:12 oci:"],
    );
}

#[test]
fn what_the_source_does_not_have_is_refused() {
    let world = world();
    let dir = world.path("good");
    image("more").write_oci(&dir, Some("more")).unwrap();
    let docker = world.path("docker.tar");
    image("d")
        .write_docker_archive(&docker, Some("box:1"))
        .unwrap();
    let (dir, docker) = (dir.display(), docker.display());
    let host = plyfs_store::Platform::host().to_string();
    for (source, words) in [
        // The tags there are.
        (format!("oci:{dir}:nope"), ["\"nope\"", "more, test"]),
        (format!("oci:{dir}"), ["one must be named", "more, test"]),
        (
            format!("docker-archive:{docker}:box:2"),
            ["\"box:2\"", "there is box:1"],
        ),
    ] {
        refused(&world, &mut world.import(&source), &words);
    }
    for source in [
        format!("oci:{dir}:test"),
        format!("docker-archive:{docker}"),
    ] {
        let mut import = world.import(&source);
        import.args(["--platform", "linux/riscv64"]);
        let there = format!("there is one for {host}");
        refused(&world, &mut import, &["linux/riscv64", &there]);
        let mut import = world.import(&source);
        import.args(["--platform", "nonsense"]);
        refused(&world, &mut import, &["\"nonsense\"", "linux/amd64"]);
        let mut import = world.import(&source);
        import.args(["--name", "bad name"]);
        refused(&world, &mut import, &["\"bad name\"", "letters and digits"]);
    }
}

#[test]
fn what_the_store_does_not_have_is_refused() {
    let world = world();
    let here = world.path("here");
    fs::create_dir(&here).unwrap();
    let here = here.to_str().unwrap();
    for image in ["nope", "good:other"] {
        let words = [image, "there is good:test"];
        refused(&world, &mut world.plyfs(["mount", image, here]), &words);
        let mut run = world.plyfs(["run", image, "true"]);
        refused_with(125, &world, &mut run, &words);
    }
    let mut mount = world.plyfs(["mount", "--container", "nope", here]);
    refused(&world, &mut mount, &["\"nope\"", "give an image"]);
    let mut mount = world.plyfs(["mount", "--container", "../x", "good:test", here]);
    refused(&world, &mut mount, &["\"../x\"", "letters, digits"]);
    let none = world.path("none");
    for command in ["mount", "run"] {
        let store = none.to_str().unwrap();
        let (_, line) = fail(&mut plyfs(["--store", store, command, "good:test", here]));
        assert!(line.contains(none.to_str().unwrap()), "{line}");
        assert!(line.contains("import"), "{line}");
        assert!(!none.exists());
    }
}

/// It is an empty root, in which there is no program.
#[test]
fn an_image_without_layers_runs_nothing() {
    let world = world();
    world.with_image("bare", &ImageBuilder::new());
    if let Some(why) = cannot_mount() {
        return skip(this_test!(), &why);
    }
    // The store makes the directory that stands for the layers.
    succeed(&mut world.plyfs(["inspect", "bare:test"]));
    let mut run = world.plyfs(["run", "bare:test", "true"]);
    refused_with(127, &world, &mut run, &["no program true"]);
}

#[test]
fn a_directory_that_is_no_store_is_let_be() {
    let world = world();
    let home = world.path("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("letter"), "Dear").unwrap();
    let source = format!("oci:{}:test", world.path("good").display());
    let before = tree::facts(&world.path(""));
    for (store, word) in [(&home, "letter"), (&world.path("good"), "layout")] {
        for arguments in [vec!["import", &source], vec!["images"]] {
            let (_, line) = fail(plyfs(arguments).arg("--store").arg(store));
            assert!(line.contains(store.to_str().unwrap()), "{line}");
            assert!(word == "letter" || line.contains(word), "{line}");
        }
    }
    tree::assert_same(&before, &tree::facts(&world.path("")));
}

#[test]
fn mount_points_that_cannot_be_used_are_refused() {
    inside(this_test!(), || {
        let world = world();
        let file = world.path("file");
        fs::write(&file, "").unwrap();
        for (place, why) in [
            ("/no/such/place", "there is no such directory"),
            (file.to_str().unwrap(), "no directory"),
        ] {
            let mut mount = world.plyfs(["mount", "good:test", place]);
            refused(&world, &mut mount, &[place, why]);
        }
        let here = world.path("here");
        fs::create_dir(&here).unwrap();
        let place = here.to_str().unwrap();
        for (options, word) in [("nonsense", "--help"), ("threds=2", "unknown")] {
            let mut mount = world.plyfs(["mount", "-o", options, "good:test", place]);
            refused(&world, &mut mount, &[word]);
        }
        refused(
            &world,
            &mut world.plyfs(["umount", place]),
            &[place, "nothing is mounted"],
        );
        assert!(!is_mounted(&here));
    });
}

/// A daemon writes its live record under another name and renames it, after its mount is ready.
#[test]
fn a_snapshot_succeeds_while_a_live_record_is_replaced() {
    let world = world();
    let live = world.store("live");
    fs::create_dir_all(&live).unwrap();
    let before = world.snapshot();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..20_000 {
                fs::write(live.join(".new-1-0"), "{}").unwrap();
                fs::rename(live.join(".new-1-0"), live.join("a.json")).unwrap();
            }
        });
        while !writer.is_finished() {
            tree::assert_same(&before, &world.snapshot());
        }
    });
}

#[test]
fn what_is_in_use_is_not_taken_away() {
    inside(this_test!(), || {
        let world = world();
        let (here, there) = (world.path("here"), world.path("there"));
        for place in [&here, &there] {
            fs::create_dir(place).unwrap();
        }
        let mount = |place: &Path| {
            let mut mount = world.plyfs(["mount", "--container", "box", "good:test"]);
            mount.arg(place);
            mount
        };
        assert_eq!(succeed(&mut mount(&here)), "box\n");
        refused(&world, &mut mount(&there), &["\"box\"", "in use"]);
        let mut run = world.plyfs(["run", "--container", "box", "good:test", "true"]);
        refused_with(125, &world, &mut run, &["\"box\"", "in use"]);
        // Other names are told, as there is no such container.
        let mut unknown = world.plyfs(["mount", "--container", "bx"]);
        refused(&world, unknown.arg(&there), &["\"bx\"", "but box"]);
        let open = fs::File::open(here.join("d/f")).unwrap();
        let mut umount = plyfs(["umount"]);
        refused(&world, umount.arg(&here), &["busy", "--lazy"]);
        assert!(is_mounted(&here) && !is_mounted(&there));
        drop(open);
        succeed(plyfs(["umount"]).arg(&here));
    });
}

#[test]
fn arguments_that_are_not_understood_are_refused() {
    let world = world();
    for (arguments, words) in [
        (vec!["images", "--jsn"], ["'--jsn'", "'--json'"]),
        (vec!["imports"], ["'imports'", "'import'"]),
        (vec!["import"], ["<SOURCE>", "plyfs import --help"]),
        (
            vec!["mount"],
            ["the directory to mount on is missing", "plyfs mount --help"],
        ),
        (
            vec!["mount", "--container", "box"],
            [
                "the directory to mount on is missing",
                "\"plyfs mount --container NAME /mnt\"",
            ],
        ),
        (
            vec!["mount", "good:test"],
            [
                "the directory to mount on is missing",
                "\"plyfs mount good:test /mnt\"",
            ],
        ),
        (
            vec!["mount", "/"],
            ["nothing to mount on /", "\"plyfs mount IMAGE /\""],
        ),
        (
            vec!["import", "--ownership=mine", "oci:x"],
            ["'mine'", "plyfs import --help"],
        ),
    ] {
        refused_with(2, &world, &mut world.plyfs(arguments), &words);
    }
    // As `podman run`: what the command ends with can be told from it.
    for (arguments, words) in [
        (vec!["run", "--jsn", "good:test"], ["'--jsn'", "run --help"]),
        (vec!["run"], ["<IMAGE>", "run --help"]),
        (
            vec!["run", "--ro", "--keep", "good:test"],
            ["'--ro'", "'--keep'"],
        ),
    ] {
        refused_with(125, &world, &mut world.plyfs(arguments), &words);
    }
}
