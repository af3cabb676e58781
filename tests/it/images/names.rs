//! Names of images.

use super::*;

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
