//! How an image gets its name, how it is found by it, and how one of several images is chosen.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::tarball::Tar;
use crate::support::{World, import, message, request};
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, Digest, Error, Imported, NameError, Ownership, Silent};
use serde_json::{Value, json};

fn image(text: &str) -> ImageBuilder {
    let layer = Layer::new([Entry::file("top", text)]);
    ImageBuilder::new().layer(layer, Compression::None)
}

fn top(world: &World, name: &str) -> String {
    fs::read_to_string(world.layers(name).pop().unwrap().join("top")).unwrap()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn said(result: Result<Imported, Error>) -> String {
    message(&result.unwrap_err())
}

/// The names of all images in the store.
fn listed(world: &World) -> Vec<String> {
    let images = world.store().images().unwrap();
    images.into_iter().map(|image| image.name.into()).collect()
}

/// A layout as newer versions of Docker write it: the name says the tag alone, and an annotation of
/// containerd the whole. Images are told by their full names.
fn docker_25(world: &World, dir: &str, names: &[&str]) -> PathBuf {
    let dir = world.path(dir);
    let mut manifests = Vec::new();
    for name in names {
        image(name).write_oci(&dir, Some("latest")).unwrap();
        let mut index = read_json(&dir.join("index.json"));
        let mut manifest = index["manifests"].as_array_mut().unwrap().pop().unwrap();
        manifest["annotations"]["io.containerd.image.name"] =
            format!("docker.io/library/{name}").into();
        manifests.push(manifest);
    }
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    dir
}

/// An archive of docker save with several images, told by their texts, each with its tags.
fn docker_save(world: &World, name: &str, images: &[(&str, &[&str])]) -> (PathBuf, Vec<Digest>) {
    let mut tar = Tar::new();
    let (mut list, mut ids) = (Vec::new(), Vec::new());
    for (text, tags) in images {
        let layer = Tar::new().file("top", text.as_bytes()).end();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Env": [text]},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]},
        });
        let config = config.to_string();
        let id = Digest::of(config.as_bytes());
        let (config_name, layer_name) = (
            format!("{}.json", id.hex()),
            format!("{}/layer.tar", id.hex()),
        );
        tar = tar
            .pax(&[(b"path", config_name.as_bytes())])
            .file("config", config.as_bytes())
            .file(&layer_name, &layer);
        list.push(json!({"Config": config_name, "RepoTags": tags, "Layers": [layer_name]}));
        ids.push(id);
    }
    let path = world.path(name);
    let list = Value::from(list).to_string();
    fs::write(&path, tar.file("manifest.json", list.as_bytes()).end()).unwrap();
    (path, ids)
}

#[test]
fn a_name_without_a_tag_and_with_latest_are_one() {
    let world = World::new();
    for (text, name) in [("old", "app"), ("new", "app:latest"), ("newest", "app")] {
        let dir = world.path(text);
        image(text).write_oci(&dir, Some("x")).unwrap();
        let mut request = request(&format!("oci:{}", dir.display()), Ownership::Override);
        request.name = Some(name.parse().unwrap());
        let imported = world.store().import(&request, &Silent).unwrap();
        assert_eq!(imported.name.as_str(), "app:latest");
        assert_eq!(listed(&world), ["app:latest"]);
        for found in ["app", "app:latest"] {
            assert_eq!(top(&world, found), text);
        }
    }
}

#[test]
fn a_name_of_an_older_version_is_found_and_replaced() {
    let world = World::new();
    let dir = world.path("dir");
    image("old").write_oci(&dir, Some("app:latest")).unwrap();
    import(&world.store(), &format!("oci:{}", dir.display())).unwrap();
    let index = world.path("store/index.json");
    for (name, found) in [("app", "app"), ("My.App+x", "My.App+x")] {
        let mut document = read_json(&index);
        document["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = name.into();
        fs::write(&index, document.to_string()).unwrap();
        assert_eq!(listed(&world), [name]);
        assert_eq!(top(&world, found), "old");
    }
    let mut document = read_json(&index);
    document["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "app".into();
    fs::write(&index, document.to_string()).unwrap();
    image("new").write_oci(&dir, Some("app:latest")).unwrap();
    import(&world.store(), &format!("oci:{}", dir.display())).unwrap();
    assert_eq!(listed(&world), ["app:latest"]);
    assert_eq!(top(&world, "app"), "new");
}

#[test]
fn names_of_docker_are_never_rewritten() {
    let world = World::new();
    let names = [
        "my__app:1",
        "my_app:1",
        "a---b:1",
        "a--b:1",
        "a-b:1",
        "app:1.0-",
        "app:1.0",
        "app:_x",
        "app:x",
        "app:v1---rc",
        "app:v1-rc",
        "host:5000/a:1",
    ];
    for name in names {
        let (path, _) = docker_save(&world, "docker.tar", &[(name, &[name])]);
        let source = format!("docker-archive:{}", path.display());
        let imported = import(&world.store(), &source).unwrap();
        assert_eq!(imported.name.as_str(), name);
    }
    for name in names {
        assert_eq!(top(&world, name), name);
    }
    assert_eq!(listed(&world).len(), names.len());
}

#[test]
fn a_name_outside_the_grammar_is_refused_and_another_can_be_given() {
    let world = World::new();
    let (path, _) = docker_save(&world, "docker.tar", &[("x", &["_my/App:1"])]);
    let oci = world.path("oci");
    image("y")
        .write_oci(&oci, Some("quay.io/My/App:1"))
        .unwrap();
    let tag = world.path("tag");
    image("z").write_oci(&tag, Some("1.0+x")).unwrap();
    for (source, expected) in [
        (
            format!("docker-archive:{}", path.display()),
            "\"_my/App:1\" cannot be the name of an image: a repository is made of lower-case letters",
        ),
        (
            format!("oci:{}", oci.display()),
            "\"quay.io/My/App:1\" cannot be",
        ),
        (
            format!("oci:{}", tag.display()),
            "\"tag:1.0+x\" cannot be the name of an image: a tag is",
        ),
    ] {
        let refused = said(import(&world.store(), &source));
        assert!(refused.contains(expected), "{refused}");
        assert!(refused.contains("; give the image in "), "{refused}");
        assert!(listed(&world).is_empty());
        let mut named = request(&source, Ownership::Override);
        named.name = Some("mine".parse().unwrap());
        world.store().import(&named, &Silent).unwrap();
        world.store().remove_image("mine", false).unwrap();
    }
}

#[test]
fn a_digest_in_a_name_is_checked() {
    let world = World::new();
    let dir = world.path("dir");
    let digest = image("one").write_oci(&dir, Some("one:1")).unwrap();
    let other = image("two").write_oci(&dir, Some("two:1")).unwrap();
    let store = world.store();
    let source = |tag: &str| format!("oci:{}:{tag}", dir.display());
    for tag in [format!("@{digest}"), format!("one:1@{digest}")] {
        assert_eq!(
            import(&store, &source(&tag)).unwrap().name.as_str(),
            "one:1"
        );
    }
    let wrong = said(import(&store, &source(&format!("one:1@{other}"))));
    assert_eq!(
        wrong,
        format!("the image \"one:1\" is {digest}, not {other}")
    );
    let none = said(import(&store, &source(&format!("@{}", Digest::of(b"")))));
    assert!(none.starts_with("there is no image \"@sha256:"), "{none}");
    let broken = said(import(&store, &source("one:1@sha256:12")));
    assert!(broken.contains("behind the @ must stand"), "{broken}");
    // In the store.
    for name in [format!("one@{digest}"), format!("one:1@{digest}")] {
        assert_eq!(store.image(&name).unwrap().name.as_str(), "one:1");
    }
    let error = store.image(&format!("one:1@{other}")).unwrap_err();
    assert_eq!(
        message(&error),
        format!("the image \"one:1\" is {digest}, not {other}")
    );
    for broken in ["one@sha256:12", "one:1@x y"] {
        let error = store.image(broken).unwrap_err();
        assert!(matches!(error, Error::Name(_)), "{error}");
    }
    // A name that is to be given holds none.
    let named = format!("one@{digest}").parse::<plyfs_store::ImageName>();
    assert!(matches!(named, Err(NameError::Digest(_))));
    // The name that a layout gives an image.
    for (name, good) in [(digest, true), (other, false)] {
        let mut index = read_json(&dir.join("index.json"));
        index["manifests"].as_array_mut().unwrap().truncate(1);
        index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] =
            format!("quay.io/a/one:3@{name}").into();
        fs::write(dir.join("index.json"), index.to_string()).unwrap();
        let imported = import(&store, &format!("oci:{}", dir.display()));
        if good {
            assert_eq!(imported.unwrap().name.as_str(), "quay.io/a/one:3")
        } else {
            assert!(said(imported).ends_with(&format!("is {digest}, not {other}")))
        }
    }
}

#[test]
fn two_images_called_latest_are_told_apart() {
    let world = World::new();
    let store = world.store();
    let one = docker_25(&world, "single", &["one:latest"]);
    let imported = import(&store, &format!("oci:{}", one.display())).unwrap();
    assert_eq!(imported.name.as_str(), "one:latest");
    let dir = docker_25(&world, "dir", &["one:latest", "two:latest"]);
    for tag in ["", ":latest"] {
        let refused = said(import(&store, &format!("oci:{}{tag}", dir.display())));
        assert!(
            refused.contains(
                "holds several images, and one must be named; there is \
                 docker.io/library/one:latest, docker.io/library/two:latest; @0, @1, "
            ),
            "{refused}"
        );
    }
    for tag in ["two", "two:latest", "docker.io/library/two:latest", "@1"] {
        let imported = import(&store, &format!("oci:{}:{tag}", dir.display())).unwrap();
        assert_eq!(top(&world, imported.name.as_str()), "two:latest", "{tag}");
        assert_eq!(top(&world, "two"), "two:latest");
        store.remove_image("two", false).unwrap();
    }
    // Without the full names, their digests tell them apart.
    let mut index = read_json(&dir.join("index.json"));
    for manifest in index["manifests"].as_array_mut().unwrap() {
        let annotations = manifest["annotations"].as_object_mut().unwrap();
        annotations.remove("io.containerd.image.name");
    }
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    let digest = index["manifests"][1]["digest"].as_str().unwrap();
    let refused = said(import(&store, &format!("oci:{}", dir.display())));
    assert!(refused.contains(&format!("latest@{digest}")), "{refused}");
    import(&store, &format!("oci:{}:latest@{digest}", dir.display())).unwrap();
    assert_eq!(top(&world, "dir"), "two:latest");
}

#[test]
fn one_of_several_images_of_docker_is_chosen() {
    let world = World::new();
    let store = world.store();
    let images: [(&str, &[&str]); 3] = [
        ("one", &["app:1", "app:latest"]),
        ("two", &["docker.io/library/app:2"]),
        ("three", &[]),
    ];
    let (path, ids) = docker_save(&world, "docker.tar", &images);
    let source = |tag: &str| format!("docker-archive:{}{tag}", path.display());
    let several = said(import(&store, &source("")));
    assert!(
        several.contains("there is app:1, app:latest, docker.io/library/app:2; @0, @1, "),
        "{several}"
    );
    for (tag, name, text) in [
        (":@0".to_owned(), "app:1", "one"),
        (":@1".to_owned(), "app:2", "two"),
        (":@2".to_owned(), "docker:latest", "three"),
        (":app".to_owned(), "app:latest", "one"),
        (format!(":@{}", ids[1]), "app:2", "two"),
        (format!(":app:2@{}", ids[1]), "app:2", "two"),
    ] {
        let imported = import(&store, &source(&tag)).unwrap();
        assert_eq!(imported.name.as_str(), name);
        assert_eq!(top(&world, name), text);
        store.remove_image(name, false).unwrap();
    }
    let beyond = said(import(&store, &source(":@3")));
    assert!(beyond.starts_with("there is no image @3 in "), "{beyond}");
    assert!(
        beyond.ends_with("which holds 3; the first is @0"),
        "{beyond}"
    );
    let other = said(import(&store, &source(&format!(":app:2@{}", ids[0]))));
    assert_eq!(
        other,
        format!("the image \"app:2\" is {}, not {}", ids[1], ids[0])
    );
}

#[test]
fn all_images_of_a_source_are_imported_or_none() {
    let world = World::new();
    let store = world.store();
    let all = |source: &str| {
        let imported = store.import_all(&request(source, Ownership::Override), &Silent);
        imported.map(|all| -> Vec<String> { all.into_iter().map(|one| one.name.into()).collect() })
    };
    let images: [(&str, &[&str]); 2] = [("one", &["app:1", "app"]), ("two", &["app:2"])];
    let (path, _) = docker_save(&world, "docker.tar", &images);
    let names = all(&format!("docker-archive:{}", path.display())).unwrap();
    assert_eq!(names, ["app:1", "app:latest", "app:2"]);
    for (name, text) in [("app:1", "one"), ("app", "one"), ("app:2", "two")] {
        assert_eq!(top(&world, name), text);
    }
    let dir = docker_25(&world, "dir", &["x:latest", "y:latest"]);
    let names = all(&format!("oci:{}", dir.display())).unwrap();
    assert_eq!(names, ["x:latest", "y:latest"]);
    assert_eq!(
        (top(&world, "x"), top(&world, "y")),
        ("x:latest".into(), "y:latest".into())
    );
    let before = listed(&world);
    let images: [(&str, &[&str]); 2] = [("three", &["app:3"]), ("four", &[])];
    let (path, _) = docker_save(&world, "nameless.tar", &images);
    let error = all(&format!("docker-archive:{}", path.display())).unwrap_err();
    assert!(message(&error).starts_with("the image @1 in "), "{error}");
    let images: [(&str, &[&str]); 2] = [("three", &["app:3"]), ("four", &["app:3"])];
    let (path, _) = docker_save(&world, "same.tar", &images);
    let error = all(&format!("docker-archive:{}", path.display())).unwrap_err();
    assert!(message(&error).contains("are called app:3;"), "{error}");
    assert_eq!(listed(&world), before);
}
