//! A container on a small image with everything in it that an upper layer can treat in its own way.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use plyfs_store::Compression;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};

use super::manifest::describe;
use super::succeed;
use super::world::World;

/// A store with the image `box:test`.
pub fn world() -> World {
    let base = Layer::new([
        Entry::dir("."),
        Entry::dir("etc"),
        Entry::file("etc/changed", "old\n"),
        Entry::file("etc/deleted", "going\n"),
        Entry::file("etc/kept", "kept\n"),
        Entry::file("etc/mode", "only its mode changes\n"),
        Entry::dir("gone"),
        Entry::file("gone/f", "f"),
        Entry::dir("replaced"),
        Entry::file("replaced/both", "old"),
        Entry::file("replaced/only-old", "old"),
        Entry::dir("moved"),
        Entry::dir("moved/sub"),
        Entry::file("moved/a", "moved a"),
        Entry::file("moved/b", "moved b"),
        Entry::file("moved/sub/c", "moved c")
            .owner(3, 4)
            .mode(0o640),
        Entry::dir("links"),
        Entry::file("links/one", "linked"),
        Entry::hard_link("links/two", "links/one"),
        Entry::dir("other"),
        Entry::hard_link("other/three", "links/one"),
        Entry::file("file-to-dir", "file"),
        Entry::dir("dir-to-file"),
        Entry::file("dir-to-file/f", "f"),
        Entry::file("removed-again", "lower"),
    ]);
    let top = Layer::new([
        Entry::dir("moved"),
        Entry::file("moved/from-top", "top").xattr("user.note", "of the image"),
        Entry::whiteout("moved/b"),
    ]);
    let world = World::new();
    // The compression that every tool reads; umoci has no zstd.
    let image = ImageBuilder::new()
        .layer(base, Compression::Gzip)
        .layer(top, Compression::Gzip);
    world.with_image("box", &image);
    world
}

/// Mounts `what` (an image with `--ro`, or `--container` and a name), does something there and
/// unmounts.
pub fn mounted<T>(world: &World, what: &[&str], body: impl FnOnce(&Path) -> T) -> T {
    let at = world.path("mnt");
    fs::create_dir_all(&at).unwrap();
    let mut mount = world.plyfs(["mount"]);
    if what.contains(&"--container") {
        // What only the superuser's containers have without asking.
        mount.args(["-o", "redirect_dir=on,metacopy=on,index=on"]);
    }
    succeed(mount.args(what).arg(&at));
    let unmount = Unmount(at.clone());
    let result = body(&at);
    drop(unmount);
    result
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let unmounted = super::plyfs(["umount"]).arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// What the mount of `what` shows, a line a file.
pub fn shown(world: &World, what: &[&str]) -> String {
    mounted(world, what, describe)
}

/// Makes the container `name` on `box:test`, and changes everything.
pub fn change(world: &World, name: &str) {
    mounted(world, &["--container", name, "box:test"], |at| {
        let at = |path: &str| at.join(path);
        fs::write(at("etc/changed"), "new and longer\n").unwrap();
        fs::remove_file(at("etc/deleted")).unwrap();
        fs::set_permissions(at("etc/mode"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_dir_all(at("gone")).unwrap();
        fs::remove_dir_all(at("replaced")).unwrap();
        fs::create_dir(at("replaced")).unwrap();
        fs::write(at("replaced/both"), "new").unwrap();
        fs::write(at("replaced/only-new"), "new").unwrap();
        fs::rename(at("moved"), at("renamed")).unwrap();
        fs::write(at("renamed/a"), "changed after the move").unwrap();
        fs::write(at("links/one"), "changed by one name").unwrap();
        fs::remove_file(at("file-to-dir")).unwrap();
        fs::create_dir(at("file-to-dir")).unwrap();
        fs::write(at("file-to-dir/in"), "in").unwrap();
        fs::remove_dir_all(at("dir-to-file")).unwrap();
        fs::write(at("dir-to-file"), "file").unwrap();
        fs::remove_file(at("removed-again")).unwrap();
        fs::write(at("removed-again"), "x").unwrap();
        fs::remove_file(at("removed-again")).unwrap();
        fs::create_dir(at("new")).unwrap();
        fs::write(at("new/first"), "one file").unwrap();
        fs::hard_link(at("new/first"), at("new/second")).unwrap();
        symlink("/etc/kept", at("new/link")).unwrap();
        fs::write(at("new/empty"), "").unwrap();
        fs::write(at("new/comes-and-goes"), "").unwrap();
        fs::remove_file(at("new/comes-and-goes")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("new/fifo"), fifo, mode, 0).unwrap();
        // As root of the machine, or as a record; where neither is possible there is none.
        let device = rustix::fs::makedev(1, 3);
        let char_device = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, at("new/null"), char_device, mode, device)
            .unwrap_or_default();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(at("new/first"), "user.note", b"a\0b\n", flags).unwrap();
        // A file capability, cap_net_raw in the form of the kernel's version 2.
        let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let name = "security.capability";
        rustix::fs::setxattr(at("new/empty"), name, &capability, flags).unwrap_or_default();
        std::os::unix::fs::chown(at("new/second"), Some(7), Some(8)).unwrap_or_default();
        let (two, three) = (at("links/two"), at("other/three"));
        let ino = |path: &Path| fs::metadata(path).unwrap().ino();
        assert_eq!(ino(&two), ino(&three));
    });
}
