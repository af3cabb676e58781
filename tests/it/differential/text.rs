//! The text form of programs: a word a value, so that a program can be read, edited and kept.

use std::fmt::Write as _;

/// A value that is one word in a program.
pub trait Text: Sized {
    fn show(&self) -> String;
    fn read(word: &str) -> Option<Self>;
}

/// Bytes as a word: what is not plain is written `=HH`, nothing at all as `""`.
pub fn escape(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "\"\"".to_owned();
    }
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(char::from(*byte)),
            b'.' | b'/' | b'_' | b'-' | b'%' | b':' => text.push(char::from(*byte)),
            _ => write!(text, "={byte:02x}").unwrap(),
        }
    }
    text
}

pub fn unescape(word: &str) -> Option<Vec<u8>> {
    if word == "\"\"" {
        return Some(Vec::new());
    }
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'=' {
            let digits = str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    Some(bytes)
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Text for $type {
            fn show(&self) -> String {
                self.to_string()
            }
            fn read(word: &str) -> Option<Self> {
                word.parse().ok()
            }
        }
    )*};
}
numbers!(u8, u32, u64, i64);

/// A mode, in octal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Octal(pub u32);

impl Text for Octal {
    fn show(&self) -> String {
        format!("{:o}", self.0)
    }
    fn read(word: &str) -> Option<Self> {
        u32::from_str_radix(word, 8).ok().map(Self)
    }
}

/// One of the descriptors that an actor keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub u8);

impl Text for Slot {
    fn show(&self) -> String {
        format!("%{}", self.0)
    }
    fn read(word: &str) -> Option<Self> {
        word.strip_prefix('%')?.parse().ok().map(Self)
    }
}

/// One of the mappings that an actor keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSlot(pub u8);

impl Text for MapSlot {
    fn show(&self) -> String {
        format!("&{}", self.0)
    }
    fn read(word: &str) -> Option<Self> {
        word.strip_prefix('&')?.parse().ok().map(Self)
    }
}

/// Any bytes: the target of a link, a value, the name of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl Text for Bytes {
    fn show(&self) -> String {
        escape(&self.0)
    }
    fn read(word: &str) -> Option<Self> {
        unescape(word).map(Self)
    }
}

/// A path: below the mount (`d/f`, `/` is its root), below the working directory (`./f`, `..`), or
/// below a descriptor (`%3/f`).
pub type Path = Bytes;

/// Which file an operation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A descriptor: the `f` calls.
    Slot(Slot),
    /// A path, a link at its end being followed.
    Path(Path),
    /// A path, a link at its end being meant itself: the `l` calls.
    Link(Path),
}

impl Text for Object {
    fn show(&self) -> String {
        match self {
            Self::Slot(slot) => slot.show(),
            Self::Path(path) => path.show(),
            Self::Link(path) => format!("@{}", path.show()),
        }
    }
    fn read(word: &str) -> Option<Self> {
        if let Some(path) = word.strip_prefix('@') {
            return Path::read(path).map(Self::Link);
        }
        match Slot::read(word) {
            Some(slot) => Some(Self::Slot(slot)),
            None => Path::read(word).map(Self::Path),
        }
    }
}

/// Bits that have names.
pub trait Named {
    const NAMES: &'static [(&'static str, u32)];
}

/// A set of flags, as `a|b`; `-` if there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags<N> {
    pub bits: u32,
    names: std::marker::PhantomData<N>,
}

impl<N> Flags<N> {
    pub fn new(bits: u32) -> Self {
        Self {
            bits,
            names: std::marker::PhantomData,
        }
    }
}

impl<N: Named> Text for Flags<N> {
    fn show(&self) -> String {
        let mut left = self.bits;
        let mut words = Vec::new();
        for (name, bits) in N::NAMES {
            if left & bits == *bits {
                words.push((*name).to_owned());
                left &= !bits;
            }
        }
        if left != 0 {
            words.push(format!("{left:#x}"));
        }
        match words.is_empty() {
            true => "-".to_owned(),
            false => words.join("|"),
        }
    }
    fn read(word: &str) -> Option<Self> {
        let mut bits = 0;
        for word in word.split('|').filter(|word| *word != "-") {
            let named = N::NAMES.iter().find(|(name, _)| *name == word);
            bits |= match named {
                Some((_, bits)) => *bits,
                None => u32::from_str_radix(word.strip_prefix("0x")?, 16).ok()?,
            };
        }
        Some(Self::new(bits))
    }
}

/// One of several words.
macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$of_one:meta])* $variant:ident $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type { $($(#[$of_one])* $variant),* }
        impl $type {
            #[allow(dead_code, reason = "not every word is drawn at random")]
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
        }
        impl Text for $type {
            fn show(&self) -> String {
                match self { $(Self::$variant => $word.to_owned()),* }
            }
            fn read(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use words;

/// Set a time to now, to a value in seconds and nanoseconds, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    Now,
    Omit,
    At(i64, u32),
}

impl Text for Time {
    fn show(&self) -> String {
        match self {
            Self::Now => "now".to_owned(),
            Self::Omit => "omit".to_owned(),
            Self::At(secs, nanos) => format!("{secs}.{nanos}"),
        }
    }
    fn read(word: &str) -> Option<Self> {
        match word {
            "now" => Some(Self::Now),
            "omit" => Some(Self::Omit),
            _ => {
                let (secs, nanos) = word.split_once('.')?;
                Some(Self::At(secs.parse().ok()?, nanos.parse().ok()?))
            }
        }
    }
}

/// A POSIX ACL: `u=7,u1000=5,g=5,g2000=4,m=7,o=4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl(pub Vec<(char, Option<u32>, u16)>);

impl Acl {
    /// As it is in the attribute (`posix_acl_xattr_header` of the kernel).
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (kind, id, permissions) in &self.0 {
            let tag: u16 = match (kind, id) {
                ('u', None) => 0x01,
                ('u', Some(_)) => 0x02,
                ('g', None) => 0x04,
                ('g', Some(_)) => 0x08,
                ('m', _) => 0x10,
                _ => 0x20,
            };
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(id.unwrap_or(u32::MAX).to_le_bytes());
        }
        bytes
    }
}

impl Text for Acl {
    fn show(&self) -> String {
        let entry = |(kind, id, permissions): &(char, Option<u32>, u16)| {
            let id = id.map(|id| id.to_string()).unwrap_or_default();
            format!("{kind}{id}={permissions}")
        };
        let entries: Vec<_> = self.0.iter().map(entry).collect();
        entries.join(",")
    }
    fn read(word: &str) -> Option<Self> {
        let entry = |word: &str| {
            let (who, permissions) = word.split_once('=')?;
            let kind = who.chars().next()?;
            let id = match &who[1..] {
                "" => None,
                id => Some(id.parse().ok()?),
            };
            Some((kind, id, permissions.parse().ok()?))
        };
        word.split(',').map(entry).collect::<Option<_>>().map(Self)
    }
}
