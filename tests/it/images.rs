//! `plyfs import` and `plyfs images`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::world::{World, names};
use crate::support::*;
use plyfs_store::fixture::{Config, EncodedLayer, Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, Digest, Platform};
use serde_json::Value;

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

fn layer(text: &str) -> Layer {
    Layer::new([
        Entry::dir("."),
        Entry::dir("d"),
        Entry::file("d/f", text.repeat(5000)),
    ])
}

fn image(text: &str, compression: Compression) -> ImageBuilder {
    ImageBuilder::new()
        .layer(layer(text), compression)
        .layer(Layer::new([Entry::file("top", "top")]), compression)
}

/// Runs a command that must succeed and have nothing to say on standard error.
fn quiet(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(text(&output.stderr), "", "{command:?}");
    assert!(output.status.success(), "{command:?}");
    text(&output.stdout)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn listed(world: &World) -> Value {
    json(&quiet(&mut world.plyfs(["images", "--json"])))
}

/// A blob of the store, which must have the digest of its name.
fn blob(world: &World, digest: &Value) -> Vec<u8> {
    let digest = digest.as_str().unwrap();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let bytes = fs::read(world.store("blobs/sha256").join(hex)).unwrap();
    assert_eq!(Digest::of(&bytes).to_string(), digest);
    bytes
}

#[test]
fn every_form_is_imported_with_every_compression() {
    for compression in COMPRESSIONS {
        let world = World::new();
        let image = image("text", compression);
        let manifest = image.write_oci(world.path("dir"), Some("one")).unwrap();
        image
            .write_oci_archive(world.path("oci.tar"), Some("two"))
            .unwrap();
        image
            .write_docker_archive(world.path("docker.tar"), Some("box:three"))
            .unwrap();
        for (form, path, tag, name) in [
            ("oci", "dir", "", "dir:one"),
            ("oci", "dir", ":one", "dir:one"),
            ("oci-archive", "oci.tar", "", "oci:two"),
            ("oci-archive", "oci.tar", ":two", "oci:two"),
            ("docker-archive", "docker.tar", "", "box:three"),
            ("docker-archive", "docker.tar", ":box:three", "box:three"),
        ] {
            let source = format!("{form}:{}{tag}", world.path(path).display());
            assert_eq!(quiet(&mut world.import(&source)), format!("{name}\n"));
        }
        let images = listed(&world);
        let field = |at: usize, name: &str| images[at][name].clone();
        assert_eq!(images.as_array().unwrap().len(), 3);
        for (at, name) in ["box:three", "dir:one", "oci:two"].into_iter().enumerate() {
            assert_eq!(field(at, "name"), name);
            assert_eq!(field(at, "layers"), 2);
            assert_eq!(field(at, "size"), field(0, "size"));
            assert_eq!(field(at, "created"), "1970-01-01T00:00:00Z");
        }
        // The documents of a layout are kept as they are.
        assert_eq!(field(1, "digest"), manifest.to_string());
        assert_eq!(field(2, "digest"), manifest.to_string());
        // All of them are the same two layers.
        assert_eq!(world.names("layers/sha256").len(), 2);
        let lower = EncodedLayer::from_layer(&layer("text"), Compression::None).unwrap();
        let diff = format!("layers/sha256/{}/diff/d/f", lower.diff_id.hex());
        let content = fs::read_to_string(world.store(&diff)).unwrap();
        assert_eq!(content, "text".repeat(5000));
        assert!(world.names("staging").is_empty());
    }
}

#[test]
fn the_platform_is_this_machine_s_or_the_one_asked_for() {
    let world = World::new();
    let host = Platform::host().to_string();
    let others = ["linux/riscv64", "linux/s390x"].map(|name| name.parse().unwrap());
    for platform in [&others[0], &Platform::host(), &others[1]] {
        let config = Config {
            platform: platform.clone(),
            ..Config::default()
        };
        let image = image(&platform.to_string(), Compression::Gzip).config(config);
        image.write_oci(world.path("many"), None).unwrap();
    }
    let source = format!("oci:{}", world.path("many").display());
    assert_eq!(quiet(&mut world.import(&source)), "many:latest\n");
    assert_eq!(listed(&world)[0]["platform"], host);
    for wanted in others {
        let wanted = wanted.to_string();
        let mut import = world.import(&source);
        assert_eq!(quiet(import.args(["--platform", &wanted])), "many:latest\n");
        assert_eq!(listed(&world)[0]["platform"], wanted);
    }
    // One that is for another machine is taken if there is no choice, with a warning.
    let config = Config {
        platform: "linux/s390x".parse().unwrap(),
        ..Config::default()
    };
    let source = world.layout("single", &image("s", Compression::Gzip).config(config));
    let output = world.import(&source).output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        text(&output.stderr),
        format!("plyfs: the image is for linux/s390x, this machine is {host}\n")
    );
}

#[test]
fn an_image_gets_the_name_it_is_given() {
    let world = World::new();
    let source = world.layout("dir", &image("text", Compression::Gzip));
    for name in ["quay.io/team/app:1.0", "app"] {
        let mut import = world.import(&source);
        let full = name.parse::<plyfs_store::ImageName>().unwrap();
        assert_eq!(quiet(import.args(["--name", name])), format!("{full}\n"));
    }
    let mut found: Vec<String> = Vec::new();
    for image in listed(&world).as_array().unwrap() {
        found.push(image["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(found, ["app:latest", "quay.io/team/app:1.0"]);
}

#[test]
fn images_are_listed_in_a_table() {
    let world = World::new();
    // A directory that is there may become a store; one that is not may be a wrong name.
    let (_, line) = fail(&mut world.plyfs(["images"]));
    assert!(line.contains("there is no store"), "{line}");
    std::fs::create_dir(world.store("")).unwrap();
    assert_eq!(
        quiet(&mut world.plyfs(["images"])),
        "NAME  DIGEST  PLATFORM  CREATED  SIZE\n"
    );
    assert_eq!(quiet(&mut world.plyfs(["images", "--json"])), "[]\n");
    assert!(world.names("").is_empty(), "looking makes no store");
    world.with_image("a", &image("a", Compression::Gzip));
    world.with_image("long-name", &image("text", Compression::Gzip));
    let table = quiet(&mut world.plyfs(["images"]));
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|c| !c.is_empty()))
        .map(Iterator::collect)
        .collect();
    let short = |at: usize| {
        let digest = listed(&world)[at]["digest"].as_str().unwrap().to_owned();
        digest["sha256:".len()..][..12].to_owned()
    };
    let host = Platform::host().to_string();
    let created = "1970-01-01 00:00";
    assert_eq!(
        rows,
        [
            vec!["NAME", "DIGEST", "PLATFORM", "CREATED", "SIZE"],
            vec!["a:test", &short(0), &host, created, "9.73 kB"],
            vec!["long-name:test", &short(1), &host, created, "25.1 kB"],
        ]
    );
    // The columns stand under one another.
    let starts: Vec<_> = table.lines().skip(1).map(|line| line.find(&host)).collect();
    assert_eq!(starts[0], starts[1]);
}

#[test]
fn a_store_that_is_named_and_not_there_is_no_empty_one() {
    let world = World::new();
    for words in [
        &["images"][..],
        &["images", "--json"],
        &["ps"],
        &["df"],
        &["prune"],
        &["rm", "--all"],
    ] {
        let (status, line) = fail(&mut world.plyfs(words));
        assert_eq!(status, 1);
        assert!(
            line.contains("there is no store") && line.contains("PLYFS_STORE"),
            "{line}"
        );
        let (_, line) = fail(plyfs(words).env("PLYFS_STORE", world.store("")));
        assert!(line.contains("there is no store"), "{line}");
        assert!(!world.store("").exists());
        // The default store need not exist before the first import.
        if !rustix::process::geteuid().is_root() {
            succeed(
                plyfs(words)
                    .env_remove("PLYFS_STORE")
                    .env("XDG_DATA_HOME", world.path("")),
            );
        }
    }
}

/// As in Podman, `--force` makes success of what is not there; the line says why nothing was removed.
#[test]
fn forced_removal_from_a_missing_store_succeeds() {
    let world = World::new();
    for words in [
        &["rm", "--force", "nosuch"][..],
        &["rm", "--force", "--all"],
        &["rmi", "--force", "nosuch"],
    ] {
        let done = world.plyfs(words).output().unwrap();
        let line = text(&done.stderr);
        assert!(done.status.success(), "{line}");
        assert!(line.contains("there is no store"), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(done.stdout.is_empty());
        assert!(!world.store("").exists());
    }
}

#[test]
fn images_are_listed_by_name() {
    let world = World::new();
    for name in ["app", "other"] {
        let source = world.layout(name, &image(name, Compression::Gzip));
        quiet(world.import(&source).args(["--name", &format!("{name}:1")]));
    }
    succeed(&mut world.plyfs(["tag", "app:1", "app:2", "localhost/app:3"]));
    let names = |filter: &str| {
        let listed = quiet(&mut world.plyfs(["images", "--json", filter]));
        let listed = json(&listed);
        let names = listed.as_array().unwrap().iter();
        names
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("app"), ["app:1", "app:2", "localhost/app:3"]);
    assert_eq!(names("app:2"), ["app:2"]);
    assert_eq!(names("localhost/app"), ["localhost/app:3"]);
    assert_eq!(names("ap"), [""; 0]);
    assert_eq!(quiet(&mut world.plyfs(["images", "-q", "other"])).len(), 13);
}

/// As in Docker: such a name would be taken for an id, or for a digest.
#[test]
fn a_name_that_looks_like_a_digest_is_refused() {
    let world = World::new();
    world.with_image("a", &image("a", Compression::Gzip));
    let hex = "0123456789abcdef".repeat(4);
    for (name, why) in [
        (hex.as_str(), "are an image ID"),
        ("sha256", "looks like a digest"),
        ("sha256:174e74dd6395", "looks like a digest"),
    ] {
        let (_, line) = fail(&mut world.plyfs(["tag", "a:test", name]));
        assert!(line.contains(why), "{name}: {line}");
    }
    // Twelve digits may be a name, which comes before the digits of a digest.
    let digest = quiet(&mut world.plyfs(["images", "-q", "a"]));
    let digest = digest.trim_end();
    world.with_image("b", &image("b", Compression::Gzip));
    succeed(&mut world.plyfs(["tag", "b:test", digest]));
    let found = |name: &str| {
        let found = json(&quiet(&mut world.plyfs(["inspect", name])));
        found["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(found(digest), found("b:test"));
    assert_eq!(found(&format!("sha256:{digest}")), found("a:test"));
    succeed(&mut world.plyfs(["tag", "a:test", &format!("team/{hex}")]));
}

#[test]
fn messages_about_standard_input_name_it() {
    let world = World::new();
    let import = |words: &[&str], input: &std::path::Path| {
        let mut import = world.plyfs(words);
        import.stdin(std::fs::File::open(input).unwrap());
        import
    };
    let file = world.path("file");
    std::fs::write(&file, "hello\n").unwrap();
    for source in [
        "-",
        "oci-archive:-",
        "docker-archive:-",
        "docker-archive:-:a:1",
    ] {
        let (_, line) = fail(&mut import(&["import", source], &file));
        assert!(line.starts_with("plyfs: standard input is n"), "{line}");
        assert!(!line.contains("/tmp"), "{line}");
    }
    // An archive whose image has no name gets none from a temporary file.
    let layout = world.path("layout");
    image("x", Compression::Gzip)
        .write_oci(&layout, None)
        .unwrap();
    let archive = world.path("archive.tar");
    let mut tar = std::process::Command::new("tar");
    succeed(tar.arg("-cf").arg(&archive).arg("-C").arg(&layout).arg("."));
    for source in ["-", "oci-archive:-"] {
        let (_, line) = fail(&mut import(&["import", source], &archive));
        assert_eq!(
            line,
            "plyfs: no name for the image follows from standard input; give it one with --name"
        );
    }
    let named = succeed(&mut import(&["import", "--name", "a:1", "-"], &archive));
    assert_eq!(named, "a:1\n");
    let (_, line) = fail(&mut import(&["import", "oci-archive:-:nosuch"], &archive));
    assert!(line.contains("in standard input"), "{line}");
}

#[test]
fn an_import_of_what_is_there_changes_nothing() {
    let world = World::new();
    let first = world.layout("first", &image("first", Compression::Gzip));
    let second = world.layout("second", &image("second", Compression::Zstd));
    let docker = world.path("docker.tar");
    let third = format!("docker-archive:{}", docker.display());
    image("third", Compression::None)
        .write_docker_archive(&docker, Some("third:test"))
        .unwrap();
    for source in [&first, &second, &third] {
        quiet(&mut world.import(source));
    }
    let before = world.snapshot();
    for (source, name) in [(&first, "first"), (&second, "second"), (&third, "third")] {
        let mut import = world.import(source);
        let output = import.arg("--verbose").output().unwrap();
        assert_eq!(text(&output.stdout), format!("{name}:test\n"));
        assert_eq!(text(&output.stderr), "plyfs: 0 layers were unpacked\n");
    }
    tree::assert_same(&before, &world.snapshot());
}

#[test]
fn uncompressed_layers_of_docker_archives_are_kept_as_zstd() {
    let world = World::new();
    let archive = world.path("docker.tar");
    let image = image("text", Compression::None);
    let id = image.write_docker_archive(&archive, Some("box:1")).unwrap();
    let source = format!("docker-archive:{}", archive.display());
    quiet(&mut world.import(&source));

    let index = json(&fs::read_to_string(world.store("index.json")).unwrap());
    let descriptor = &index["manifests"][0];
    let name = &descriptor["annotations"]["org.opencontainers.image.ref.name"];
    assert_eq!(name, "box:1");
    let bytes = blob(&world, &descriptor["digest"]);
    assert_eq!(descriptor["size"], bytes.len());
    let manifest = json(&text(&bytes));
    assert_eq!(
        manifest["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    // The configuration is the one in the archive, and so are the DiffIDs in it.
    assert_eq!(manifest["config"]["digest"], id.to_string());
    let config = json(&text(&blob(&world, &manifest["config"]["digest"])));
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
    let lower = EncodedLayer::from_layer(&layer("text"), Compression::None).unwrap();
    assert_eq!(diff_ids[0], lower.diff_id.to_string());
    let mut unpacked: Vec<String> = Vec::new();
    for diff_id in diff_ids {
        unpacked.push(diff_id.as_str().unwrap()["sha256:".len()..].to_owned());
    }
    unpacked.sort();
    assert_eq!(world.names("layers/sha256"), unpacked);
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), diff_ids.len());
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        assert_eq!(
            layer["mediaType"],
            "application/vnd.oci.image.layer.v1.tar+zstd"
        );
        let bytes = blob(&world, &layer["digest"]);
        assert_eq!(layer["size"], bytes.len());
        assert!(bytes.starts_with(b"\x28\xb5\x2f\xfd"), "zstd");
        assert_ne!(layer["digest"], *diff_id);
    }
    assert_eq!(world.names("blobs/sha256").len(), 2 + 2);

    // It is a layout that can be imported from, which verifies digests and DiffIDs.
    let other = World::new();
    let source = format!("oci:{}:box:1", world.path("store").display());
    assert_eq!(quiet(&mut other.import(&source)), "box:1\n");
    assert_eq!(other.names("layers/sha256"), unpacked);
    let skopeo = Command::new("skopeo")
        .args(["copy", "--quiet", &source])
        .arg(format!("oci:{}:copy", world.path("copy").display()))
        .output();
    match skopeo {
        Ok(output) => assert!(output.status.success(), "{}", text(&output.stderr)),
        Err(error) => skip(
            &format!("{} (skopeo)", this_test!()),
            &format!("skopeo cannot be run: {error}"),
        ),
    }
}

#[test]
fn the_option_is_before_the_variable() {
    let world = World::new();
    let source = world.layout("image", &image("text", Compression::Gzip));
    let import = |store: Option<&Path>, variable: &Path| {
        let mut command = plyfs(["import", "--ownership", "override", &source]);
        if let Some(store) = store {
            command.arg("--store").arg(store);
        }
        quiet(command.env("PLYFS_STORE", variable));
    };
    import(None, &world.path("by-variable"));
    assert!(world.path("by-variable/index.json").exists());
    import(Some(&world.path("by-option")), &world.path("neither"));
    assert!(world.path("by-option/index.json").exists());
    assert!(!world.path("neither").exists());
    // An empty one is none.
    let mut images = plyfs(["images"]);
    let images = images.env("PLYFS_STORE", "").current_dir(world.path(""));
    let images = images
        .env("HOME", world.path("home"))
        .env_remove("XDG_DATA_HOME");
    assert!(quiet(images).starts_with("NAME"));
    // Relative ones, too, and before the command as well as after it.
    let listed = |arguments: &[&str]| {
        let mut command = plyfs(arguments);
        let listed = quiet(command.current_dir(world.path("")));
        assert!(listed.contains("image:test"), "{listed}");
    };
    listed(&["--store", "by-option", "images"]);
    listed(&["images", "--store", "by-option"]);
}

#[test]
fn an_ordinary_user_s_store_is_among_the_user_s_data() {
    let test = this_test!();
    let world = World::new();
    let source = world.layout("image", &image("text", Compression::Gzip));
    let user = |home: &Path| {
        let mut command = plyfs(["import", "--ownership", "override", &source]);
        command.env_remove("PLYFS_STORE").env("HOME", home);
        // The superuser's store is elsewhere.
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    let everybody = fs::Permissions::from_mode(0o777);
    for dir in ["", "home", "data"] {
        fs::create_dir_all(world.path(dir)).unwrap();
        fs::set_permissions(world.path(dir), everybody.clone()).unwrap();
    }
    if let Some(why) = cannot_run_as_ordinary_user() {
        return skip(test, &why);
    }
    let (home, data) = (world.path("home"), world.path("data"));
    quiet(user(&home).env("XDG_DATA_HOME", &data));
    assert!(data.join("plyfs/index.json").exists());
    // A relative path does not count.
    quiet(user(&home).env("XDG_DATA_HOME", "data"));
    assert!(home.join(".local/share/plyfs/index.json").exists());
    fs::remove_dir_all(home.join(".local")).unwrap();
    quiet(user(&home).env_remove("XDG_DATA_HOME"));
    assert!(home.join(".local/share/plyfs/index.json").exists());
    let mut nowhere = user(&home);
    let (_, line) = fail(nowhere.env_remove("XDG_DATA_HOME").env_remove("HOME"));
    assert!(line.contains("--store"), "{line}");
}

#[test]
fn progress_is_shown_on_a_terminal_only() {
    let test = this_test!();
    let world = World::new();
    let source = world.layout("image", &image("text", Compression::Gzip));
    // `quiet` reads standard error from a pipe.
    assert_eq!(quiet(&mut world.import(&source)), "image:test\n");
    let layer = &world.names("layers/sha256")[0][..12];
    let inner = format!(
        "{PLYFS} --store {} import --ownership override {source}",
        world.path("terminal").display()
    );
    let output = Command::new("script")
        .args(["-qec", &inner, "/dev/null"])
        .stdin(std::process::Stdio::null())
        .output();
    match output {
        Ok(output) => {
            let said = text(&output.stdout);
            assert!(said.contains(layer) && said.contains("done"), "{said}");
        }
        Err(error) => skip(test, &format!("script(1) cannot be run: {error}")),
    }
    assert_eq!(names(&world.path("terminal/staging")), [""; 0]);
}

/// An archive that comes through a pipe, or has to be decompressed, is copied first.
#[test]
fn an_import_is_interrupted_while_its_archive_is_copied() {
    let world = World::new();
    world.with_image("image", &image("text", Compression::Gzip));
    let before = world.snapshot();
    let pipe = world.path("pipe");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o600.into(), 0).unwrap();
    let source = format!("docker-archive:{}", pipe.display());
    let child = world
        .import(&source)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut writer = fs::File::options().write(true).open(&pipe).unwrap();
    writer.write_all(&[b'x'; 1 << 20]).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    // Write more until the import has ended and closed the pipe.
    while writer.write_all(&[b'x'; 1 << 16]).is_ok() {}
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(
        text(&output.stderr),
        "plyfs: interrupted; the next import goes on from here\n"
    );
    tree::assert_same(&before, &world.snapshot());
}

#[test]
fn a_name_is_one_for_import_commit_and_run() {
    inside(this_test!(), || {
        let world = World::new();
        let source = world.layout("dir", &image("old", Compression::Gzip));
        let mut import = world.import(&source);
        assert_eq!(quiet(import.args(["--name", "app"])), "app:latest\n");
        let point = world.path("point");
        fs::create_dir(&point).unwrap();
        let target = point.to_str().unwrap();
        succeed(&mut world.plyfs(["mount", "--container", "c", "app", target]));
        fs::write(point.join("top"), "new").unwrap();
        succeed(&mut world.plyfs(["umount", target]));
        assert_eq!(
            quiet(&mut world.plyfs(["commit", "c", "app"])),
            "app:latest\n"
        );
        assert_eq!(listed(&world).as_array().unwrap().len(), 1);
        succeed(&mut world.plyfs(["mount", "--ro", "app", target]));
        assert_eq!(fs::read_to_string(point.join("top")).unwrap(), "new");
        succeed(&mut world.plyfs(["umount", target]));
    });
}

#[test]
fn several_images_are_imported_at_once() {
    let world = World::new();
    for name in ["one:1", "two:1"] {
        let image = image(name, Compression::Gzip);
        image.write_oci(world.path("dir"), Some(name)).unwrap();
    }
    let source = format!("oci:{}", world.path("dir").display());
    let (status, said) = fail(&mut world.import(&source));
    assert_eq!(status, 1);
    assert!(said.contains("; there is one:1, two:1; @0, @1, "), "{said}");
    assert!(listed(&world).as_array().unwrap().is_empty());
    let mut import = world.import(&source);
    assert_eq!(quiet(import.arg("--all")), "one:1\ntwo:1\n");
    let mut import = world.import(&format!("{source}:one:1"));
    let (_, said) = fail(import.arg("--all"));
    assert!(said.contains("leave out \":one:1\""), "{said}");
}

/// A terminal may obey U+009B as the escape sequence that it abbreviates.
#[test]
fn control_characters_from_an_image_reach_no_terminal() {
    let world = World::new();
    let evil = "a\u{9b}31m\u{80}\u{9f}\u{85}\u{7f}\u{1b}[2J";
    let config = Config {
        env: vec![format!("E={evil}")],
        working_dir: format!("/{evil}"),
        user: evil.to_owned(),
        cmd: vec![format!("/{evil}")],
        labels: [(evil.to_owned(), evil.to_owned())].into(),
        ..Config::default()
    };
    let image = image("text", Compression::Gzip).config(config);
    let source = world.layout("dir", &image);
    let mut import = world.import(&source);
    quiet(import.args(["--name", "evil"]));
    for arguments in [
        &["inspect", "evil"][..],
        &["history", "evil"],
        &["history", "--json", "evil"],
        &["images"],
        &["images", "--json"],
        &["run", "evil"],
        &["inspect", evil],
        &["run", evil],
    ] {
        let output = world.plyfs(arguments).output().unwrap();
        for said in [&output.stdout, &output.stderr] {
            let said = text(said);
            let found = said.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(found, None, "{arguments:?}: {said:?}");
        }
    }
    // What is read from JSON is what the image holds.
    let inspected = json(&quiet(&mut world.plyfs(["inspect", "evil"])));
    assert_eq!(inspected["config"]["config"]["User"], evil);
}

#[test]
fn an_image_without_layers_is_an_empty_root() {
    inside(this_test!(), || {
        let world = World::new();
        let source = world.layout("scratch", &ImageBuilder::new());
        quiet(world.import(&source).args(["--name", "scratch"]));
        let point = world.path("point");
        fs::create_dir(&point).unwrap();
        let target = point.to_str().unwrap();
        succeed(&mut world.plyfs(["mount", "--ro", "scratch", target]));
        assert!(names(&point).is_empty());
        let mode = fs::metadata(&point).unwrap().permissions().mode();
        succeed(&mut world.plyfs(["umount", target]));
        assert_eq!(mode & 0o7777, 0o755);
        succeed(&mut world.plyfs(["mount", "--container", "c", "scratch", target]));
        fs::write(point.join("top"), "new").unwrap();
        succeed(&mut world.plyfs(["umount", target]));
        assert_eq!(quiet(&mut world.plyfs(["diff", "c"])), "A /top\n");
        quiet(&mut world.plyfs(["commit", "c", "full"]));
        succeed(&mut world.plyfs(["mount", "--ro", "full", target]));
        assert_eq!(names(&point), ["top"]);
        succeed(&mut world.plyfs(["umount", target]));
        let inspected = json(&quiet(&mut world.plyfs(["inspect", "scratch"])));
        assert_eq!(inspected["layers"], serde_json::json!([]));
        quiet(&mut world.plyfs(["rm", "c"]));
        quiet(&mut world.plyfs(["rmi", "scratch", "full"]));
    });
}
