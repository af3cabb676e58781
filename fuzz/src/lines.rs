//! A language for trees, one entry a line, so that seeds can be read and written by hand.
//!
//! ```text
//! d PATH             a directory
//! f PATH DATA        a file
//! s PATH TARGET      a symbolic link
//! h PATH TARGET      a hard link
//! w PATH             a character device 0/0, a whiteout
//! c PATH             a character device 1/5
//! p PATH             a fifo
//! m PATH MODE        the mode of what is there, in octal
//! x PATH NAME VALUE  an extended attribute of what is there; \xHH in the value is a byte
//! o WORD ...         options of the target
//! ---                ends a layer; the next one lies on top
//! ```
//!
//! `@OUT@` is the path of the canary. What is none of these lines is passed over.

/// A line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) kind: u8,
    pub(crate) path: Vec<u8>,
    /// What follows the path.
    pub(crate) rest: Vec<u8>,
}

/// Reads the layers of an input, the first of which is the lowest, and the words of its options.
pub(crate) fn parse(data: &[u8], canary: &str) -> (Vec<Vec<Line>>, Vec<String>) {
    let (mut layers, mut options) = (vec![Vec::new()], Vec::new());
    for line in data.split(|&byte| byte == b'\n') {
        if line == b"---" {
            layers.push(Vec::new());
            continue;
        }
        let (kind, rest) = cut(line);
        let &[kind] = kind else { continue };
        if kind == b'o' {
            let words = String::from_utf8_lossy(rest);
            options.extend(words.split(' ').map(str::to_owned));
            continue;
        }
        let (path, rest) = cut(rest);
        let line = Line {
            kind,
            path: replaced(path, canary),
            rest: replaced(rest, canary),
        };
        layers.last_mut().unwrap().push(line);
    }
    (layers, options)
}

/// The first word, and what follows it.
pub(crate) fn cut(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|&byte| byte == b' ') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, b""),
    }
}

fn replaced(text: &[u8], canary: &str) -> Vec<u8> {
    const MARK: &[u8] = b"@OUT@";
    match text.windows(MARK.len()).position(|part| part == MARK) {
        Some(at) => [&text[..at], canary.as_bytes(), &text[at + MARK.len()..]].concat(),
        None => text.to_vec(),
    }
}

/// A value with its `\xHH` as bytes.
pub(crate) fn unescaped(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = value;
    while let [first, after @ ..] = rest {
        let hex = rest.strip_prefix(b"\\x").and_then(|hex| hex.get(..2));
        let hex = hex.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        (bytes, rest) = match hex {
            Some(byte) => ([&bytes[..], &[byte]].concat(), &rest[4..]),
            None => ([&bytes[..], &[*first]].concat(), after),
        };
    }
    bytes
}
