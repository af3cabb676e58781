//! Tar archives made byte by byte, so that they can hold what no writer writes.

use crate::lines::{Line, cut, unescaped};

pub(crate) const BLOCK: usize = 512;

/// The archive of a layer.
pub(crate) fn of_lines(lines: &[Line]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut lines = lines.iter().peekable();
    while let Some(line) = lines.next() {
        // Attributes and modes of an entry follow it, but come before it in the archive.
        let mut records = Vec::new();
        let mut mode = if line.kind == b'd' { 0o755 } else { 0o644 };
        while let Some(more) = lines.next_if(|more| matches!(more.kind, b'x' | b'm')) {
            if more.kind == b'm' {
                mode = octal(&more.rest);
                continue;
            }
            let (name, value) = cut(&more.rest);
            records.extend(pax(&[b"SCHILY.xattr.", name].concat(), &unescaped(value)));
        }
        let (flag, link, data): (u8, &[u8], &[u8]) = match line.kind {
            b'd' => (b'5', b"", b""),
            b'f' => (b'0', b"", &line.rest),
            b's' => (b'2', &line.rest, b""),
            b'h' => (b'1', &line.rest, b""),
            b'w' | b'c' => (b'3', b"", b""),
            b'p' => (b'6', b"", b""),
            _ => continue,
        };
        if line.path.len() > 100 {
            records.extend(pax(b"path", &line.path));
        }
        if link.len() > 100 {
            records.extend(pax(b"linkpath", link));
        }
        if !records.is_empty() {
            out.extend(header(b"pax", b'x', b"", 0o644, records.len()));
            append(&mut out, &records);
        }
        let start = out.len();
        out.extend(header(&line.path, flag, link, mode, data.len()));
        if line.kind == b'c' {
            out[start + 329..start + 337].copy_from_slice(b"0000001\0");
            out[start + 337..start + 345].copy_from_slice(b"0000005\0");
            seal(&mut out[start..]);
        }
        append(&mut out, data);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// An archive of plain files.
pub(crate) fn of_files(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, data) in files {
        out.extend(header(name.as_bytes(), b'0', b"", 0o644, data.len()));
        append(&mut out, data);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// Makes the checksum fit in every block that looks like a header. Without this hardly any mutation would get
/// past the checksums.
pub(crate) fn repair_checksums(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(BLOCK) {
        if block[257..262] == *b"ustar" {
            seal(block);
        }
    }
}

pub(crate) fn octal(text: &[u8]) -> u32 {
    let text = str::from_utf8(text).unwrap_or_default();
    u32::from_str_radix(text, 8).unwrap_or(0o600) & 0o7777
}

fn append(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

fn header(name: &[u8], flag: u8, link: &[u8], mode: u32, size: usize) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name[..name.len().min(100)]);
    put(
        100,
        format!("{mode:07o}\0{:07o}\0{:07o}\0", 0, 0).as_bytes(),
    );
    put(124, format!("{size:011o}\0{:011o}\0", 0).as_bytes());
    put(156, &[flag]);
    put(157, &link[..link.len().min(100)]);
    put(257, b"ustar\x0000");
    put(329, b"0000000\x000000000\0");
    seal(&mut block);
    block
}

fn seal(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block[..BLOCK].iter().copied().map(u32::from).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

fn pax(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let fits = |len: &usize| rest + len.to_string().len() == *len;
    let len = (rest + 1..).find(fits).unwrap();
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}
