//! The helper of mount(8), and tools that read the version.

use super::*;

#[test]
fn the_version_is_one_that_tools_read() {
    let stack = Stack::new(1);
    let program = link(&stack, "fuse-overlayfs");
    let said = succeed(Command::new(&program).arg("--version"));
    assert!(said.starts_with("fuse-overlayfs: version 1."), "{said}");
    let (status, said) = fail(&mut Command::new(program));
    assert_eq!(status, 1, "{said}");
}

/// As Podman calls its mount program, with layers as containers-storage unpacks them.
#[test]
fn layers_of_containers_storage_are_mounted() {
    inside(this_test!(), || {
        let mut stack = Stack::new(2);
        put(&stack.lower(1, "d/gone"), "");
        put(&stack.lower(1, "d/kept"), "kept");
        put(&stack.lower(1, "opaque/gone"), "");
        put(&stack.lower(0, "d/.wh.gone"), "");
        put(&stack.lower(0, "opaque/.wh..wh..opq"), "");
        let program = link(&stack, "fuse-overlayfs");
        let own = fs::metadata(stack.upper("")).unwrap().uid();
        let options = format!(
            "{},volatile,uidmapping=:0:{own}:1,gidmapping=0:0:1,context=\"a,b\",xino=off",
            stack.options()
        );
        let mut command = Command::new(program);
        let output = command
            .args(["--strange", "overlay", "-o", &options])
            .arg(stack.merged(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(
            text(&output.stderr),
            "plyfs: unknown argument ignored: --strange\n"
        );
        stack.mounted_by_other();
        assert_eq!(mount_type(&stack.merged("")), "fuse.fuse-overlayfs");
        let names = |path: &str| -> Vec<_> {
            let entries = fs::read_dir(stack.merged(path)).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!(names("d"), ["kept"]);
        assert!(names("opaque").is_empty());
        assert_eq!(fs::metadata(stack.merged("d/kept")).unwrap().uid(), 0);
        fs::write(stack.merged("d/gone"), "back").unwrap();
        fs::remove_file(stack.merged("d/kept")).unwrap();
        stack.unmount();
        assert_eq!(fs::read_to_string(stack.upper("d/gone")).unwrap(), "back");
        // The tools use an upper directory again that was mounted with `volatile`.
        stack.mount();
    });
}

#[test]
fn mount_calls_its_helper() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        let program = link(&stack, "mount.plyfs");
        let options = format!("rw,nofail,x-systemd.automount,{}", stack.options());
        let mut command = Command::new(program);
        let said = succeed(
            command
                .arg("none")
                .arg(stack.merged(""))
                .args(["-o", &options]),
        );
        assert_eq!(said, "");
        stack.mounted_by_other();
        assert_eq!(fs::read_to_string(stack.merged("f")).unwrap(), "text");
        stack.unmount();
    });
}

/// As the lines for /etc/fstab in mount.plyfs(8) have it: the container is made of the image at first, and mounted
/// again later.
#[test]
fn a_line_of_fstab_names_an_image_and_a_container() {
    inside(this_test!(), || {
        let world = World::new();
        let layer = Layer::new([Entry::dir("."), Entry::file("f", "text")]);
        let image = ImageBuilder::new().layer(layer, Compression::None);
        world.with_image("debian", &image);
        let at = world.path("srv");
        fs::create_dir(&at).unwrap();
        let program = world.path("mount.plyfs");
        std::os::unix::fs::symlink(PLYFS, &program).unwrap();
        let store = world.store("");
        let options = format!("container=web,backend=fuse,store={}", store.display());
        for (source, content) in [
            ("debian:test", "text"),
            ("debian:test", "new"),
            ("none", "new"),
        ] {
            let mut mount = Command::new(&program);
            succeed(mount.arg(source).arg(&at).args(["-o", &options]));
            assert_eq!(fs::read_to_string(at.join("f")).unwrap(), content);
            fs::write(at.join("f"), "new").unwrap();
            succeed(plyfs(["umount"]).arg(&at));
        }
    });
}

/// It was waited for only where both had the same name.
#[test]
fn unmounting_waits_for_a_daemon_of_another_name() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        let programs = ["fuse-overlayfs", "mount.fuse.plyfs"].map(|name| link(&stack, name));
        for _ in 0..10 {
            for program in &programs {
                let mut command = Command::new(program);
                command.arg("none").arg(stack.merged(""));
                succeed(command.args(["-o", &stack.options()]));
                fs::write(stack.merged("f"), "text").unwrap();
                // The next one finds the directories locked otherwise.
                stack.unmount();
            }
        }
    });
}
