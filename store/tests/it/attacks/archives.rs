//! Archives that are read differently by different readers, or not at all.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::Outcome::{Harmless, Refused};
use super::{content, names_in, run};
use crate::support::World;
use crate::support::tarball::{Header, Tar, pax_record};

#[test]
fn sizes_and_numbers_are_what_they_are() {
    let smuggled = |_: &World| {
        // The header says that nothing follows; the extended header, which counts, that a block
        // does. A reader that goes by the header takes the block for an entry.
        let hidden = Tar::new().header(&Header::new("smuggled", b'5')).cut();
        let tar = Tar::new()
            .pax(&[(b"size", b"512")])
            .header(&Header::new("f", b'0'));
        tar.raw(&hidden).file("after", b"").end()
    };
    run(&[
        (
            "an extended header with another size",
            smuggled,
            Harmless(|layer| {
                assert_eq!(names_in(layer), ["after", "f"]);
                assert_eq!(layer.join("f").metadata().unwrap().len(), 512);
            }),
        ),
        (
            "a size on a directory",
            |_| {
                Tar::new()
                    .header(Header::new("d", b'5').size(512))
                    .file("d/f", b"kept")
                    .end()
            },
            Harmless(|layer| assert_eq!(content(layer.join("d/f")), "kept")),
        ),
        (
            "a size in the extended header of a link",
            |_| {
                Tar::new()
                    .pax(&[(b"size", b"512")])
                    .symlink("l", "x")
                    .file("f", b"kept")
                    .end()
            },
            Harmless(|layer| assert_eq!(names_in(layer), ["f", "l"])),
        ),
        (
            "a negative size",
            |_| {
                Tar::new()
                    .header(Header::new("f", b'0').put(124, &[0xff; 12]))
                    .end()
            },
            Refused("the header field \"size\" is out of range"),
        ),
        (
            "a negative size in an extended header",
            |_| Tar::new().pax(&[(b"size", b"-1")]).file("f", b"").end(),
            Refused("an impossible value for \"size\" in its extended header"),
        ),
        (
            "a size over all bounds",
            |_| {
                let tar = Tar::new().pax(&[(b"size", b"18446744073709551615")]);
                tar.file("f", b"").end()
            },
            Refused("the header field \"size\" is out of range"),
        ),
        (
            "a size that overflows octal",
            |_| {
                Tar::new()
                    .header(Header::new("f", b'0').put(124, b"999999999999"))
                    .end()
            },
            Refused("the header field \"size\" is not a number"),
        ),
        (
            "a size beyond the end",
            |_| {
                Tar::new()
                    .header(Header::new("f", b'0').size(1 << 32))
                    .end()
            },
            Refused("entry \"f\": the archive ends in the middle of an entry"),
        ),
        (
            "an owner that means no change",
            |_| {
                Tar::new()
                    .pax(&[(b"uid", b"4294967295")])
                    .file("f", b"")
                    .end()
            },
            Refused("the header field \"uid\" is out of range"),
        ),
        (
            "a broken record in an extended header",
            |_| {
                let mut record = pax_record(b"path", b"a");
                record[0] = b'8';
                Tar::new()
                    .entry(&Header::new("x", b'x'), &record)
                    .file("f", b"")
                    .end()
            },
            Refused("a broken record in its extended header"),
        ),
        (
            "a record without an end",
            |_| {
                Tar::new()
                    .entry(&Header::new("x", b'x'), b"99 path=a")
                    .file("f", b"")
                    .end()
            },
            Refused("a broken record in its extended header"),
        ),
        (
            "an extended header without an entry",
            |_| Tar::new().pax(&[(b"path", b"a")]).end(),
            Refused("the archive ends in the middle of an entry"),
        ),
        (
            "a sparse file that claims more than it has",
            |_| {
                let tar =
                    Tar::new().pax(&[(b"GNU.sparse.size", b"100"), (b"GNU.sparse.map", b"0,4096")]);
                tar.file("f", &[1; 10]).end()
            },
            Refused("a broken sparse file map"),
        ),
        (
            "a sparse file larger than any file",
            |_| {
                let tar = Tar::new().pax(&[
                    (b"GNU.sparse.size", b"9223372036854775808"),
                    (b"GNU.sparse.map", b"9223372036854775000,10"),
                ]);
                tar.file("f", &[1; 10]).end()
            },
            Refused("a broken sparse file map"),
        ),
        (
            "a sparse file of 10 GiB",
            |_| {
                let tar = Tar::new().pax(&[
                    (b"GNU.sparse.size", b"10737418240"),
                    (b"GNU.sparse.map", b"5,4,10737418236,4"),
                ]);
                tar.file("f", b"datatail").end()
            },
            Harmless(|layer| {
                use std::os::unix::fs::FileExt;
                let file = fs::File::open(layer.join("f")).unwrap();
                let stat = file.metadata().unwrap();
                assert_eq!(stat.len(), 10 << 30);
                assert!(stat.blocks() < 1 << 15, "no holes: {}", stat.blocks());
                let mut data = [0; 4];
                file.read_exact_at(&mut data, (10 << 30) - 4).unwrap();
                assert_eq!(&data, b"tail");
            }),
        ),
        (
            "a wrong checksum",
            |_| Tar::new().raw(&[b'x'; 512]).end(),
            Refused("not a tar header: its checksum is wrong"),
        ),
        (
            "an entry type that no layer has",
            |_| Tar::new().header(&Header::new("v", b'V')).end(),
            Refused("entry \"v\": an entry of the unknown type 'V'"),
        ),
        (
            "data after the end",
            |_| {
                Tar::new()
                    .file("f", b"")
                    .raw(&[0; 1024])
                    .file("hidden", b"")
                    .end()
            },
            Harmless(|layer| assert_eq!(names_in(layer), ["f"])),
        ),
        (
            "zeros after the end, and no end at all",
            |_| Tar::new().file("f", b"x").raw(&[0; 20 * 512]).cut(),
            Harmless(|layer| assert_eq!(content(layer.join("f")), "x")),
        ),
        (
            "an end without zeros",
            |_| Tar::new().file("f", b"x").cut(),
            Harmless(|layer| assert_eq!(content(layer.join("f")), "x")),
        ),
        (
            "an empty stream",
            |_| Vec::new(),
            Harmless(|layer| assert!(names_in(layer).is_empty())),
        ),
    ]);
}
