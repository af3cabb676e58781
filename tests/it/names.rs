//! plyfs under other names: in the place of fuse-overlayfs, and as a helper of mount(8).

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::world::World;
use crate::support::*;
use plyfs_store::Compression;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use rustix::process::{Pid, Signal, kill_process};

/// A link to plyfs under another name.
fn link(stack: &Stack, name: &str) -> PathBuf {
    let path = stack.merged("..").join(name);
    symlink(PLYFS, &path).unwrap();
    path
}

/// Mounts as container tools call such a program, with more options after those that name the layers.
fn mount_by(program: &Path, stack: &mut Stack, more: &str) {
    let mut command = Command::new(program);
    command.args(["-o", &format!("{}{more}", stack.options())]);
    succeed(command.arg(stack.merged("")));
    stack.mounted_by_other();
}

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

/// Tools look for the type of mount that fuse-overlayfs makes.
#[test]
fn fuse_overlayfs_is_fuse_and_a_helper_of_mount_chooses() {
    let name = this_test!();
    inside(name, || {
        let stack = Stack::new(2);
        let at = stack.merged("");
        let program = link(&stack, "fuse-overlayfs");
        let mut command = Command::new(program);
        command.env("PLYFS_BACKEND", "kernel");
        succeed(command.args(["-o", &stack.options()]).arg(&at));
        assert_eq!(mount_type(&at), "fuse.fuse-overlayfs");
        succeed(plyfs(["umount"]).arg(&at));
        let program = link(&stack, "mount.plyfs");
        for (backend, kind) in [("", "overlay"), (",backend=fuse", "fuse.plyfs")] {
            let options = format!("{}{backend}", stack.options());
            let mut command = Command::new(&program);
            command.env_remove("PLYFS_BACKEND").arg("none").arg(&at);
            let output = command.args(["-v", "-o", &options]).output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            assert!(text(&output.stderr).contains("mounting with"));
            assert_eq!(mount_type(&at), kind);
            succeed(plyfs(["umount"]).arg(&at));
        }
    });
}

/// As set-uid helpers do it: they mount, and hand the connection on.
#[test]
fn a_connection_that_is_mounted_is_served() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        let program = link(&stack, "fuse-overlayfs");
        let mounter = "import ctypes, os, sys\n\
            fd = os.open('/dev/fuse', os.O_RDWR)\n\
            os.set_inheritable(fd, True)\n\
            data = f'fd={fd},rootmode=40000,user_id=0,group_id=0'.encode()\n\
            libc = ctypes.CDLL(None, use_errno=True)\n\
            result = libc.mount(b'x', sys.argv[1].encode(), b'fuse.x', 0, data)\n\
            assert result == 0, os.strerror(ctypes.get_errno())\n\
            os.execv(sys.argv[2], ['fuse-overlayfs', '-o', sys.argv[3], f'/dev/fd/{fd}'])\n";
        let mut command = Command::new("python3");
        command.args(["-c", mounter]).arg(stack.merged(""));
        command.arg(&program).arg(stack.options());
        match command.output() {
            Err(error) => {
                return skip(this_test!(), &error.to_string());
            }
            Ok(output) => assert!(output.status.success(), "{}", text(&output.stderr)),
        }
        stack.mounted_by_other();
        assert_eq!(fs::read_to_string(stack.merged("f")).unwrap(), "text");
        stack.unmount();
    });
}

/// Podman unmounts lazily, and mounts again at once, before the first daemon has let go: it failed
/// with "in use by another mount".
#[test]
fn a_mount_follows_one_that_was_taken_away_lazily() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        let program = link(&stack, "fuse-overlayfs");
        let mount = |stack: &Stack| {
            let mut command = Command::new(&program);
            command.args(["-o", &stack.options()]);
            succeed(command.arg(stack.merged("")));
        };
        mount(&stack);
        let held = fs::File::create(stack.merged("f")).unwrap();
        succeed(plyfs(["umount", "--lazy"]).arg(stack.merged("")));
        let holder = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(held);
        });
        mount(&stack);
        holder.join().unwrap();
        stack.mounted_by_other();
        assert!(stack.merged("f").exists());
        stack.unmount();
    });
}

/// Signals are blocked before a mount is made, and were blocked while it was waited for.
#[test]
fn waiting_for_a_mount_that_goes_away_can_be_ended() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let program = link(&stack, "fuse-overlayfs");
        let other = stack.merged("../other");
        fs::create_dir(&other).unwrap();
        // A shell that runs the tests in the background has them ignore the first.
        plyfs_sys::process::default_signals();
        for signal in [Signal::INT, Signal::TERM] {
            let mut command = Command::new(&program);
            command.args(["-o", &stack.options()]).arg(&other);
            let mut waiting = command.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(100));
            assert!(waiting.try_wait().unwrap().is_none());
            kill_process(Pid::from_child(&waiting), signal).unwrap();
            let start = Instant::now();
            let status = waiting.wait().unwrap();
            assert!(start.elapsed() < Duration::from_secs(5));
            assert_eq!(status.signal(), Some(signal.as_raw()));
            assert!(!is_mounted(&other));
        }
        stack.unmount();
    });
}

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

/// fuse-overlayfs is mounted `nodev` by libfuse, and `suid` by itself.
#[test]
fn fuse_overlayfs_of_root_is_nodev_and_suid() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        let program = link(&stack, "fuse-overlayfs");
        for (option, nodev, nosuid) in [
            ("", true, false),
            (",dev,suid", false, false),
            (",nosuid", true, true),
        ] {
            mount_by(&program, &mut stack, option);
            let options = mount_options(&stack.merged(""));
            let has = |flag: &str| options.split(',').any(|option| option == flag);
            assert_eq!(
                (has("nodev"), has("nosuid")),
                (nodev, nosuid),
                "{option}: {options}"
            );
            stack.unmount();
        }
    });
}

/// It was taken and changed nothing.
#[test]
fn static_nlink_is_one_for_directories() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "d/e/f"), "text");
        let program = link(&stack, "fuse-overlayfs");
        let links = |stack: &Stack| fs::metadata(stack.merged("d")).unwrap().nlink();
        for (option, expected) in [("static_nlink", 1), ("fast_ino=1", 3)] {
            mount_by(&program, &mut stack, &format!(",{option}"));
            assert_eq!(links(&stack), expected, "{option}");
            stack.unmount();
        }
    });
}

#[test]
fn noxattrs_shows_no_attributes() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        let set = |path: PathBuf| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(path, "user.note", b"x", flags)
        };
        set(stack.lower(0, "f")).unwrap();
        let program = link(&stack, "fuse-overlayfs");
        mount_by(&program, &mut stack, ",noxattrs=1");
        let refused = Some(rustix::io::Errno::OPNOTSUPP);
        let mut buffer = [0; 64];
        let at = || stack.merged("f");
        let got = rustix::fs::getxattr(at(), "user.note", &mut buffer[..]);
        assert_eq!(got.err(), refused);
        assert_eq!(rustix::fs::listxattr(at(), &mut buffer[..]).err(), refused);
        assert_eq!(set(at()).err(), refused);
        assert_eq!(rustix::fs::removexattr(at(), "user.note").err(), refused);
        fs::write(at(), "written").unwrap();
        stack.unmount();
    });
}

/// It was taken and changed nothing.
#[test]
fn redirect_dir_is_honoured_under_the_name_fuse_overlayfs() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "d/f"), "text");
        let program = link(&stack, "fuse-overlayfs");
        for (option, is_copied) in [("redirect_dir=off", true), ("redirect_dir=on", false)] {
            mount_by(&program, &mut stack, &format!(",{option}"));
            fs::rename(stack.merged("d"), stack.merged("e")).unwrap();
            assert_eq!(fs::read(stack.merged("e/f")).unwrap(), b"text");
            stack.unmount();
            assert_eq!(stack.upper("e/f").exists(), is_copied, "{option}");
            for name in ["d", "e"] {
                let path = stack.upper(name);
                fs::remove_dir_all(&path)
                    .or_else(|_| fs::remove_file(&path))
                    .unwrap();
            }
        }
        let mut wrong = Command::new(program);
        wrong.args(["-o", &format!("{},redirect_dir=maybe", stack.options())]);
        let (_, line) = fail(wrong.arg(stack.merged("")));
        assert!(line.contains("redirect_dir="), "{line}");
    });
}

/// Every removal failed then, with EINVAL.
#[test]
fn an_upper_directory_on_a_mount_that_takes_no_whiteouts_is_refused() {
    inside(this_test!(), || {
        let mut below = Stack::new(1);
        let program = link(&below, "fuse-overlayfs");
        mount_by(&program, &mut below, "");
        let stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        stack.upper_in(&below.merged(""));
        let mut command = Command::new(program);
        let (_, line) = fail(command.args(["-o", &stack.options()]).arg(stack.merged("")));
        assert!(line.contains("cannot make whiteouts"), "{line}");
        assert!(!is_mounted(&stack.merged("")));
        below.unmount();
    });
}
