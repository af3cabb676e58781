//! Devices and mounts.

use super::*;

/// Area `linux_devices`, the default ones, and the links of /dev.
#[test]
fn default_devices() {
    each(this_test!(), |container| {
        let text = "for name in null zero full random urandom tty; do
            stat -c '%n %F %t:%T %a' /dev/$name; done
            [ -c /dev/ptmx ] && echo ptmx; [ -e /dev/fuse ] || [ -e /dev/mem ] || echo no others
            for name in fd stdin stdout stderr; do readlink /dev/$name; done";
        let device =
            |name: &str, number: &str| format!("/dev/{name} character special file {number} 666\n");
        let expected = [
            device("null", "1:3"),
            device("zero", "1:5"),
            device("full", "1:7"),
            device("random", "1:8"),
            device("urandom", "1:9"),
            device("tty", "5:0"),
            "ptmx\nno others\n/proc/self/fd\n".into(),
            "/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n".into(),
        ];
        assert_eq!(container.says(&[], text), expected.concat());
        let works = "echo x >/dev/null && ! { echo x >/dev/full; } 2>/dev/null \
            && [ $(head -c 4 /dev/zero | od -An -t x1 | tr -d ' ') = 00000000 ] \
            && [ $(head -c 8 /dev/urandom | wc -c) = 8 ]";
        container.holds(&[], works);
    });
}

/// Area `mounts`: options and their order, recursive and not.
#[test]
fn mounts() {
    each(this_test!(), |container| {
        let source = container.world.path("source");
        fs::create_dir_all(source.join("below")).unwrap();
        fs::write(source.join("f"), "shared").unwrap();
        let source = source.display();
        let plain = format!("{source}:/mnt/plain");
        let restricted = format!("{source}:/mnt/restricted:ro,noexec,rslave");
        let inner = format!("{source}:/mnt/plain/below/inner:ro");
        // The inner one is named first and hides nothing.
        let options = [
            "-v",
            &inner,
            "-v",
            &plain,
            "-v",
            &restricted,
            "--tmpfs",
            "/mnt/memory:size=1m,mode=700,noexec",
            "--mount",
            "type=tmpfs,dst=/mnt/other,ro",
        ];
        let mounts = container.mounts(&options);
        let at = |place: &str| {
            let found: Vec<_> = mounts.iter().filter(|mount| mount.0 == place).collect();
            assert_eq!(found.len(), 1, "{place}: {mounts:?}");
            (found[0].1.clone(), found[0].2.clone())
        };
        assert!(at("/mnt/plain").1.starts_with("rw"));
        assert!(!at("/mnt/plain").1.contains("shared:"));
        let (_, flags) = at("/mnt/restricted");
        assert!(
            flags.starts_with("ro") && flags.contains("noexec"),
            "{flags}"
        );
        assert!(at("/mnt/plain/below/inner").1.starts_with("ro"));
        let (kind, flags) = at("/mnt/memory");
        assert!(
            kind == "tmpfs" && flags.contains("noexec") && flags.contains("nosuid"),
            "{flags}"
        );
        assert!(at("/mnt/other").1.starts_with("ro"));
        let text = "[ $(stat -c %a /mnt/memory) = 700 ] && [ $(cat /mnt/plain/f) = shared ] \
            && echo new >/mnt/plain/new && [ $(cat /mnt/restricted/new) = new ] \
            && ! { echo x >/mnt/restricted/x; } 2>/dev/null \
            && ! { head -c 2000000 /dev/zero >/mnt/memory/f; } 2>/dev/null";
        container.holds(&options, text);
        container.refuses(&["-v", "/no/such/source:/mnt/x"]);
    });
}

/// Area `linux_rootfs_propagation`: what is mounted in the container is not seen outside.
#[test]
fn rootfs_propagation() {
    each(this_test!(), |container| {
        let mounts = container.mounts(&[]);
        let (_, _, flags) = mounts.iter().find(|mount| mount.0 == "/").unwrap();
        assert!(!flags.contains("shared:"), "{flags}");
    });
}
