//! The reader against archives made by hand.

use super::block::BLOCK;
use super::*;
use crate::values::limits;

/// A header with the fields of a GNU or ustar archive, to be bent by a test.
fn header(name: &[u8], flag: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    for at in [100, 108, 116] {
        block[at..at + 7].copy_from_slice(b"0000644");
    }
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"00000000001");
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    sealed(block)
}

fn sealed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn with_data(flag: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = header(b"meta", flag, data.len() as u64).to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (keyword, value) in records {
        super::pax::push_record(&mut data, keyword.as_bytes(), value.as_bytes());
    }
    with_data(b'x', &data)
}

/// Every entry with its data, or what stopped the reading.
fn read(parts: &[&[u8]]) -> Result<Vec<(Entry, Vec<u8>)>, Fault> {
    let archive = parts.concat();
    let mut reader = Reader::new(SliceInput(&archive));
    let mut entries = Vec::new();
    while let Some(entry) = reader.next().map_err(|error| error.fault)? {
        let mut data = Vec::new();
        reader.copy_data(|offset, bytes| {
            data.resize(usize::try_from(offset).unwrap(), 0);
            data.extend_from_slice(bytes);
            Ok::<(), Fault>(())
        })?;
        entries.push((entry, data));
    }
    assert_eq!(
        reader.position(),
        archive.len() as u64,
        "not read to its end"
    );
    Ok(entries)
}

fn names(parts: &[&[u8]]) -> Result<Vec<String>, Fault> {
    let entries = read(parts)?;
    let name = |(entry, _): &(Entry, _)| String::from_utf8_lossy(&entry.path).into_owned();
    Ok(entries.iter().map(name).collect())
}

const END: &[u8] = &[0; 2 * BLOCK];

#[test]
fn the_size_of_an_extended_header_counts_everywhere() {
    // CVE-2025-62518: the header says 0, the extended header 512; what lies there looks like
    // an entry of its own to a reader that goes by the header.
    let hidden = header(b"smuggled", b'0', 0);
    let size = pax(&[("size", "512")]);
    let read = names(&[&size, &header(b"f", b'0', 0), &hidden, END]);
    assert_eq!(read.unwrap(), ["f"]);
    let size = pax(&[("size", "0")]);
    let read = names(&[&size, &header(b"f", b'0', 512), &hidden, END]);
    assert_eq!(read.unwrap(), ["f", "smuggled"]);
}

#[test]
fn the_end_of_an_archive_is_zeros_or_nothing() {
    let dir = header(b"d", b'5', 0);
    for end in [
        &b""[..],
        END,
        &[0; BLOCK],
        &[0; 20 * BLOCK],
        &[0; 2 * BLOCK + 7],
    ] {
        assert_eq!(names(&[&dir, end]).unwrap(), ["d"], "{}", end.len());
    }
    assert!(names(&[]).unwrap().is_empty());
    // What fills up the last block is no data, and what follows the end no entry.
    let file = header(b"f", b'0', 600);
    for rest in [
        &[&[1; 600][..]][..],
        &[&[1; 600], &[0; 100]],
        &[&[1; 600], &[0; 424], END, &dir],
        &[&[1; 600], &[0; 424], END, &[0; 700], b"garbage"],
    ] {
        assert_eq!(names(&[&[&file[..]], rest].concat()).unwrap(), ["f"]);
    }
    for (rest, fault) in [
        (&[&[0; BLOCK][..], &dir][..], Fault::LoneZeroBlock),
        (&[&[0; 100]], Fault::Truncated),
        (&[&dir[..511]], Fault::Truncated),
        (&[&header(b"f", b'0', 600), &[1; 599]], Fault::Truncated),
        (&[&pax(&[("path", "p")])], Fault::Truncated),
        (&[&pax(&[("path", "p")]), END], Fault::Truncated),
        (&[&with_data(b'L', b"long\0")], Fault::Truncated),
    ] {
        assert_eq!(names(&[&[&dir[..]], rest].concat()), Err(fault));
    }
}

#[test]
fn names_come_from_where_they_are() {
    let file = header(b"short", b'0', 0);
    let mut prefixed = header(b"name", b'0', 0);
    prefixed[345..351].copy_from_slice(b"pre/fi");
    let full = header(&[b'n'; 100], b'0', 0);
    let found = names(&[
        &with_data(b'L', b"a/long/name\0"),
        &file,
        &pax(&[("path", "a/pax/name")]),
        &file,
        &sealed(prefixed),
        &full,
        &file,
        END,
    ]);
    let long = "n".repeat(100);
    let expected = ["a/long/name", "a/pax/name", "pre/fi/name", &long, "short"];
    assert_eq!(found.unwrap(), expected);
}

#[test]
fn the_last_of_several_extended_headers_counts() {
    let file = header(b"f", b'0', 0);
    let long = |name: &str| with_data(b'L', format!("{name}\0").as_bytes());
    let path = |name: &str| pax(&[("path", name)]);
    for (parts, name) in [
        (&[&path("p")[..], &path("q")][..], "q"),
        // Nothing of the first is left.
        (&[&path("p"), &pax(&[("uid", "7")])], "f"),
        (&[&long("l"), &long("m")], "m"),
        (&[&long("l"), &path("p")], "l"),
        (&[&path("p"), &long("l")], "l"),
    ] {
        assert_eq!(names(&[parts, &[&file, END]].concat()).unwrap(), [name]);
    }
    let (link, target) = (header(b"l", b'2', 0), with_data(b'K', b"gnu\0"));
    let read = read(&[&target, &pax(&[("linkpath", "pax")]), &link, END]).unwrap();
    assert_eq!(read[0].0.link, b"gnu");
    // Headers without end are no entry.
    let many = path("p").repeat(limits::TAR_EXTENSIONS + 1);
    let error = names(&[&many, &file, END]).unwrap_err();
    assert!(matches!(error, Fault::MetadataTooLarge { .. }));
}

#[test]
fn a_size_counts_for_files_alone() {
    let file = header(b"f", b'0', 0);
    for flag in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        for size in [1, 512, 1 << 32] {
            let entry = header(b"e", flag, size);
            assert_eq!(names(&[&entry, &file, END]).unwrap(), ["e", "f"]);
            let size = pax(&[("size", &size.to_string())]);
            let entry = header(b"e", flag, 0);
            assert_eq!(names(&[&size, &entry, &file, END]).unwrap(), ["e", "f"]);
        }
    }
}

#[test]
fn what_is_no_entry_is_refused() {
    let file = header(b"f", b'0', 0);
    for (parts, fault) in [
        (
            &[&with_data(b'L', b"lo\0ng\0")[..], &file][..],
            Fault::NulInName,
        ),
        (&[&header(b"v", b'V', 0)], Fault::Type(b'V')),
        (&[&header(b"m", b'M', 0)], Fault::Type(b'M')),
    ] {
        assert_eq!(names(&[parts, &[END]].concat()), Err(fault));
    }
    // A file is one, whatever its name ends in; an old archive knows a directory by its slash.
    assert_eq!(
        read(&[&header(b"d/", b'0', 0)]).unwrap()[0].0.kind,
        Kind::File
    );
    assert_eq!(read(&[&header(b"d/", 0, 0)]).unwrap()[0].0.kind, Kind::Dir);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let with = |at: usize, bytes: &[u8]| {
        let mut block = header(b"f", b'0', 0);
        block[at..at + bytes.len()].copy_from_slice(bytes);
        sealed(block)
    };
    for (block, fault) in [
        (with(124, &[0xff; 12]), Fault::Range("size")),
        (with(124, b"-0000000001\0"), Fault::Number("size")),
        (with(124, b"99999999999\0"), Fault::Number("size")),
        (with(108, &[0xff; 8]), Fault::Range("uid")),
        (
            with(108, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
            Fault::Range("uid"),
        ),
        (with(116, &[0x80, 0, 0, 1, 0, 0, 0, 0]), Fault::Range("gid")),
        (with(100, b"abcdefg\0"), Fault::Number("mode")),
    ] {
        assert_eq!(names(&[&block, END]), Err(fault));
    }
    for (size, fault) in [
        ("9223372036854775808", Fault::Range("size")),
        ("-5", Fault::PaxValue("size")),
        ("9223372036854775807", Fault::Truncated),
    ] {
        let parts = names(&[&pax(&[("size", size)]), &header(b"f", b'0', 0), END]);
        assert_eq!(parts, Err(fault));
    }
    let negative_time = with(136, &[0xff; 12]);
    assert_eq!(read(&[&negative_time]).unwrap()[0].0.mtime.seconds, -1);
    let mut wrong = header(b"f", b'0', 0);
    wrong[0] = b'g';
    assert_eq!(names(&[&wrong]), Err(Fault::Checksum));
}

#[test]
fn metadata_is_bounded() {
    for flag in *b"xgLK" {
        let huge = header(b"m", flag, limits::TAR_METADATA + 1);
        assert_eq!(names(&[&huge]), Err(Fault::metadata_too_large()));
    }
}

#[test]
fn sparse_files_have_their_holes() {
    let data = [&[b'a'; 512][..], &[b'b'; 100], &[0; 412]].concat();
    let check = |parts: &[&[u8]]| {
        let entries = read(&[parts, &[&header(b"after", b'0', 0)], &[END]].concat()).unwrap();
        let (entry, bytes) = &entries[0];
        assert_eq!((&entry.path[..], entry.size), (&b"real"[..], 20_000));
        assert_eq!(bytes[1000..1512], [b'a'; 512]);
        assert_eq!(bytes[9000..9100], [b'b'; 100]);
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 612);
        assert_eq!(entries[1].0.path, b"after");
    };
    let made_up = header(b"GNUSparseFile.0/real", b'0', 612);
    check(&[
        &pax(&[
            ("GNU.sparse.size", "20000"),
            ("GNU.sparse.numblocks", "2"),
            ("GNU.sparse.offset", "1000"),
            ("GNU.sparse.numbytes", "512"),
            ("GNU.sparse.offset", "9000"),
            ("GNU.sparse.numbytes", "100"),
        ]),
        &header(b"real", b'0', 612),
        &data,
    ]);
    check(&[
        &pax(&[
            ("GNU.sparse.name", "real"),
            ("GNU.sparse.size", "20000"),
            ("GNU.sparse.map", "1000,512,9000,100"),
        ]),
        &made_up,
        &data,
    ]);
    let mut map = b"2\n1000\n512\n9000\n100\n".to_vec();
    map.resize(BLOCK, 0);
    check(&[
        &pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "real"),
            ("GNU.sparse.realsize", "20000"),
        ]),
        &header(b"GNUSparseFile.0/real", b'0', 612 + 512),
        &map,
        &data,
    ]);
    let mut old = header(b"real", b'S', 612);
    old[257..265].copy_from_slice(b"ustar  \0");
    old[386..398].copy_from_slice(b"00000001750\0");
    old[398..410].copy_from_slice(b"00000001000\0");
    old[482] = 1;
    old[483..495].copy_from_slice(b"00000047040\0");
    let mut more = [0; BLOCK];
    more[0..12].copy_from_slice(b"00000021450\0");
    more[12..24].copy_from_slice(b"00000000144\0");
    check(&[&sealed(old), &more, &data]);
}

#[test]
fn a_sparse_map_that_lies_is_refused() {
    for records in [
        &[("GNU.sparse.size", "100"), ("GNU.sparse.map", "0,200")][..],
        &[("GNU.sparse.size", "9000"), ("GNU.sparse.map", "0,100")],
        &[("GNU.sparse.map", "0,200")],
        &[("GNU.sparse.major", "2"), ("GNU.sparse.realsize", "200")],
        &[
            ("GNU.sparse.size", "18446744073709551615"),
            ("GNU.sparse.map", "0,200"),
        ],
    ] {
        let parts = names(&[&pax(records), &header(b"f", b'0', 200), &[0; 512], END]);
        assert_eq!(parts, Err(Fault::SparseMap), "{records:?}");
    }
}

#[test]
fn damage_of_any_kind_ends() {
    // Every archive that comes of flipping bits in a good one is read to an end or refused, and
    // never yields more data than its stream has, holes aside.
    let mut map = b"1\n0\n5\n".to_vec();
    map.resize(BLOCK, 0);
    map.extend(b"data!");
    let good = [
        pax(&[
            ("path", "a/long/name"),
            ("mtime", "12.5"),
            ("SCHILY.xattr.user.x", "v"),
        ]),
        with_data(b'0', b"content of a file"),
        with_data(b'L', b"another/long/name\0"),
        header(b"d", b'5', 0).to_vec(),
        pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.realsize", "99"),
        ]),
        with_data(b'0', &map),
        END.to_vec(),
    ]
    .concat();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % bound
    };
    let (mut whole, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut archive = good.clone();
        for _ in 0..1 + random(3) {
            let at = random(archive.len());
            archive[at] ^= 1 << random(8);
        }
        // With a right checksum most of the time: otherwise nothing else is ever reached.
        for start in (0..archive.len()).step_by(BLOCK) {
            if random(8) != 0 && archive[start + 257..].starts_with(b"ustar") {
                let block: [u8; BLOCK] = archive[start..start + BLOCK].try_into().unwrap();
                archive[start..start + BLOCK].copy_from_slice(&sealed(block));
            }
        }
        archive.truncate(
            archive.len()
                - if random(4) == 0 {
                    random(archive.len())
                } else {
                    0
                },
        );
        let mut reader = Reader::new(SliceInput(&archive));
        let mut data = 0;
        let end = loop {
            match reader.next() {
                Ok(Some(_)) => {}
                end => break end,
            }
            let copied = reader.copy_data(|_, bytes| {
                data += bytes.len();
                Ok::<(), Fault>(())
            });
            if copied.is_err() {
                break Err(TarError {
                    offset: 0,
                    name: None,
                    fault: Fault::Truncated,
                });
            }
        };
        assert!(data <= archive.len());
        match end {
            Ok(_) => whole += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(whole > 1000 && refused > 1000, "{whole} and {refused}");
}
