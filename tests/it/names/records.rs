//! Owners, whiteouts and records as fuse-overlayfs has them.

use super::*;

/// They were taken the other way round, which `podman run --userns=keep-id` showed. The numbers are
/// those of the lines of a uid_map, as fuse-overlayfs(1) says.
#[test]
fn owners_are_mapped_as_fuse_overlayfs_maps_them() {
    let test = this_test!();
    inside(test, || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "root"), "");
        put(&stack.lower(0, "other"), "");
        put(&stack.lower(0, "squashed"), "");
        let chown = |path: PathBuf, id| std::os::unix::fs::chown(path, Some(id), Some(id));
        if chown(stack.lower(0, "other"), 33).is_err() {
            return skip(test, "files cannot be given to others here");
        }
        let program = link(&stack, "fuse-overlayfs");
        let mount = |more: &str| {
            let mut command = Command::new(&program);
            command.args(["-o", &format!("{},{more}", stack.options())]);
            succeed(command.arg(stack.merged("")));
        };
        let ids = |path: PathBuf| {
            let meta = fs::metadata(path).unwrap();
            (meta.uid(), meta.gid())
        };
        let map = ":0:1:33:33:0:1:34:34:100";
        mount(&format!("uidmapping={map},gidmapping={map}"));
        assert_eq!(ids(stack.merged("root")), (1, 1));
        assert_eq!(ids(stack.merged("other")), (0, 0));
        // The superuser of the namespace is on disk what it is shown as here.
        put(&stack.merged("new"), "");
        assert_eq!(ids(stack.merged("new")), (0, 0));
        assert_eq!(ids(stack.upper("new")), (33, 33));
        chown(stack.merged("new"), 40).unwrap();
        assert_eq!(ids(stack.upper("new")), (40, 40));
        succeed(plyfs(["umount"]).arg(stack.merged("")));
        // One id for all goes before a map, wherever it stands.
        mount(&format!("squash_to_uid=5,squash_to_root,uidmapping={map}"));
        assert_eq!(ids(stack.merged("other")), (5, 0));
        stack.mounted_by_other();
        stack.unmount();
    });
}

/// Starts a program that may make no character devices, as seccomp and file systems refuse them.
const WITHOUT_DEVICES: &str = "
import ctypes, os, platform, struct, sys
mknodat = {'x86_64': 259, 'aarch64': 33}[platform.machine()]
code = b''.join(struct.pack('HBBI', *step) for step in [
    (0x20, 0, 0, 0), (0x15, 0, 4, mknodat), (0x20, 0, 0, 32), (0x54, 0, 0, 0o170000),
    (0x15, 0, 1, 0o20000), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)])
buffer = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', 7, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn whiteouts_are_files_where_devices_are_refused() {
    let test = this_test!();
    inside(test, || {
        let mut stack = Stack::new(1);
        for name in [
            "file", "changed", "moved", "tree/a", "tree/b", "again/a", "md/a",
        ] {
            put(&stack.lower(0, name), "lower");
        }
        let program = link(&stack, "fuse-overlayfs");
        let mut command = Command::new("python3");
        command
            .args(["-c", WITHOUT_DEVICES])
            .arg(program)
            .args(["-o", &stack.options()])
            .arg(stack.merged(""));
        match command.output() {
            Err(error) => return skip(test, &error.to_string()),
            Ok(output) => assert!(output.status.success(), "{}", text(&output.stderr)),
        }
        stack.mounted_by_other();
        let at = |name: &str| stack.merged(name);
        fs::remove_file(at("file")).unwrap();
        fs::write(at("changed"), "upper").unwrap();
        fs::remove_file(at("changed")).unwrap();
        fs::rename(at("moved"), at("there")).unwrap();
        fs::rename(at("md"), at("other")).unwrap();
        fs::write(at("tree/c"), "upper").unwrap();
        fs::remove_dir_all(at("tree")).unwrap();
        fs::remove_dir_all(at("again")).unwrap();
        fs::create_dir(at("again")).unwrap();
        fs::write(at("again/b"), "").unwrap();
        let shown = |stack: &Stack| -> Vec<String> {
            let mut names: Vec<_> = ["", "again", "other"]
                .iter()
                .flat_map(|dir| fs::read_dir(stack.merged(dir)).unwrap())
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let expected = ["a", "again", "b", "other", "there"];
        assert_eq!(shown(&stack), expected);
        for name in ["file", "changed", "moved", "tree", "md"] {
            assert!(!at(name).exists(), "{name}");
            let whiteout = fs::metadata(stack.upper(&format!(".wh.{name}"))).unwrap();
            assert!(whiteout.is_file() && whiteout.len() == 0, "{name}");
        }
        assert!(!stack.upper(".wh.again").exists());
        stack.unmount();
        // The same again, by who makes devices.
        let program = stack.merged("../fuse-overlayfs");
        mount_by(&program, &mut stack, "");
        assert_eq!(shown(&stack), expected);
        fs::write(stack.merged("file"), "new").unwrap();
        assert!(!stack.upper(".wh.file").exists());
        stack.unmount();
    });
}

/// `xattr_permissions=1`, and the attribute of older versions.
#[test]
fn records_are_where_the_option_or_the_root_of_a_layer_says() {
    let test = this_test!();
    inside(test, || {
        let cases = [
            ("user.fuseoverlayfs.override_stat", ""),
            ("user.fuseoverlayfs.override_stat", ",xattr_permissions=2"),
            ("user.containers.override_stat", ""),
            (
                "security.fuseoverlayfs.override_stat",
                ",xattr_permissions=1",
            ),
        ];
        for (attribute, option) in cases {
            let mut stack = Stack::new(1);
            put(&stack.lower(0, "f"), "text");
            let record = |path: PathBuf, value: &str| {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(path, attribute, value.as_bytes(), flags)
            };
            if record(stack.lower(0, "f"), "0:0:4711").is_err() {
                skip(test, &format!("{attribute} cannot be written here"));
                continue;
            }
            if !attribute.starts_with("security.") {
                // The option alone says it, or the root of a layer does.
                record(stack.lower(0, ""), "0:0:755").unwrap();
                record(stack.upper(""), "0:0:755").unwrap();
            }
            let program = link(&stack, "fuse-overlayfs");
            mount_by(&program, &mut stack, option);
            let mode = |path| fs::metadata(path).unwrap().mode() & 0o7777;
            assert_eq!(mode(stack.merged("f")), 0o4711, "{attribute}");
            let mut buffer = [0; 64];
            let shown = rustix::fs::getxattr(stack.merged("f"), attribute, &mut buffer[..]);
            assert!(shown.is_err(), "{attribute}");
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o2750);
            fs::set_permissions(stack.merged("f"), permissions).unwrap();
            assert_eq!(mode(stack.merged("f")), 0o2750, "{attribute}");
            let length = rustix::fs::getxattr(stack.upper("f"), attribute, &mut buffer[..]);
            assert_eq!(&buffer[..length.unwrap()], b"0:0:2750", "{attribute}");
            stack.unmount();
        }
    });
}

/// What users of a mount write on its root, the next one took for how the layer keeps owners.
#[test]
fn a_record_on_the_root_of_a_mount_cannot_be_forged() {
    let test = this_test!();
    inside(test, || {
        let attributes = [
            "user.containers.override_stat",
            "user.fuseoverlayfs.override_stat",
            "security.fuseoverlayfs.override_stat",
            "user.fuseoverlayfs.opaque",
            "user.containers.override_security.fuseoverlayfs.override_stat",
        ];
        let set = |path: PathBuf, attribute: &str| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(path, attribute, b"0:0:4755", flags)
        };
        let mode = |path| fs::metadata(path).unwrap().mode() & 0o7777;
        for option in ["", ",noacl", ",xattr_permissions=1", ",xattr_permissions=2"] {
            let mut stack = Stack::new(1);
            put(&stack.lower(0, "f"), "text");
            let program = link(&stack, "fuse-overlayfs");
            mount_by(&program, &mut stack, option);
            for attribute in attributes {
                for path in [stack.merged(""), stack.merged("f")] {
                    let refused = set(path.clone(), attribute);
                    let expected = Err(rustix::io::Errno::PERM);
                    assert_eq!(refused, expected, "{option} {attribute} {path:?}");
                    let removed = rustix::fs::removexattr(path, attribute);
                    assert_eq!(removed, expected, "{option} {attribute}");
                }
            }
            let before = mode(stack.merged("f"));
            stack.unmount();
            mount_by(&program, &mut stack, "");
            assert_eq!(mode(stack.merged("f")), before, "{option}");
            stack.unmount();
        }
        // The kernel's overlay has them written.
        let mut stack = Stack::new(2);
        put(&stack.lower(0, "f"), "text");
        let program = link(&stack, "fuse-overlayfs");
        let options = format!("{},backend=kernel", stack.options());
        succeed(plyfs(["mount", "-o", &options]).arg(stack.merged("")));
        let before = mode(stack.merged("f"));
        for attribute in attributes {
            if set(stack.merged(""), attribute).is_ok() {
                set(stack.merged("f"), attribute).unwrap();
            }
        }
        succeed(plyfs(["umount"]).arg(stack.merged("")));
        mount_by(&program, &mut stack, "");
        assert_eq!(mode(stack.merged("f")), before);
        stack.unmount();
        // As the topmost of several layers, without its work directory, as Podman mounts an image.
        let layers = format!(
            "lowerdir={}:{}",
            stack.upper("").display(),
            stack.lower(0, "").display()
        );
        let mut command = Command::new(&program);
        succeed(command.args(["-o", &layers]).arg(stack.merged("")));
        stack.mounted_by_other();
        assert_eq!(mode(stack.merged("f")), before);
        stack.unmount();
    });
}
