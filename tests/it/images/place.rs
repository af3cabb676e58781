//! Where the store is.

use super::*;

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
