//! Lists and tables.

use super::*;

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
