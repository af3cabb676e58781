//! Names of images.

use super::*;

#[test]
fn names_follow_from_sources() {
    let world = World::new();
    let dir = world.path("some.dir");
    image("1").write_oci(&dir, Some("short")).unwrap();
    image("2")
        .write_oci(&dir, Some("quay.io/full/name:2"))
        .unwrap();
    image("3").write_oci(world.path("unnamed"), None).unwrap();
    image("4")
        .write_docker_archive(world.path("a.tar"), Some("docker.io/library/deb:4"))
        .unwrap();
    image("5")
        .write_docker_archive(world.path("no tag!.tar"), None)
        .unwrap();
    let store = world.store();
    for (form, path, tag, name) in [
        ("oci", "some.dir", "short", "some.dir:short"),
        (
            "oci",
            "some.dir",
            "quay.io/full/name:2",
            "quay.io/full/name:2",
        ),
        ("oci", "unnamed", "", "unnamed:latest"),
        ("docker-archive", "a.tar", "", "deb:4"),
        ("docker-archive", "a.tar", "deb:4", "deb:4"),
        ("docker-archive", "no tag!.tar", "", "no-tag:latest"),
    ] {
        let imported = import(&store, &source(form, &world.path(path), tag)).unwrap();
        assert_eq!(imported.name.as_str(), name);
    }
    let mut named = request(
        &source("oci", &world.path("unnamed"), ""),
        Ownership::Override,
    );
    named.name = Some("my/own:name".parse().unwrap());
    assert_eq!(
        store.import(&named, &Silent).unwrap().name.as_str(),
        "my/own:name"
    );
}

#[test]
fn a_name_moves_to_the_image_imported_last() {
    let world = World::new();
    for text in ["first", "second"] {
        let dir = world.path(text);
        image(text).write_oci(&dir, Some("same:1")).unwrap();
        import(&world.store(), &source("oci", &dir, "")).unwrap();
        assert_eq!(top(&world, "same:1"), text);
    }
    assert_eq!(world.store().images().unwrap().len(), 1);
}

#[test]
fn one_of_several_images_must_be_named() {
    let world = World::new();
    let dir = world.path("two");
    image("1").write_oci(&dir, Some("one")).unwrap();
    image("2").write_oci(&dir, Some("two")).unwrap();
    let store = world.store();
    let several = said(import(&store, &source("oci", &dir, "")));
    assert!(
        several.contains("holds several images, and one must be named; there is one, two"),
        "{several}"
    );
    let unknown = said(import(&store, &source("oci", &dir, "three")));
    assert!(unknown.contains("no image \"three\" in "), "{unknown}");
    assert!(unknown.ends_with("; there is one, two"), "{unknown}");
    import(&store, &source("oci", &dir, "two")).unwrap();
    assert_eq!(top(&world, "two:two"), "2");
}
