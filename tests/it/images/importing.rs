//! Importing.

use super::*;

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
