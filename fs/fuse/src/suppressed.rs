//! Requests that need not be sent, each of which can be turned on again: to see what it costs, or where a
//! kernel has trouble with leaving it out.

/// A request that the kernel does not send unless the daemon asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// `OPEN` and `RELEASE`: reads and writes name the node, so that there is nothing to open.
    Open,
    /// `OPENDIR` and `RELEASEDIR`, and with them the listing of a directory each time it is read: it
    /// changes only through the mount, so that the kernel can keep it.
    Opendir,
    /// `CREATE`: a file is made by `MKNOD`, and then opened without a request.
    Create,
    /// `FLUSH` at every close(2): nothing is held back by the daemon.
    Flush,
    /// `LOOKUP` of each name of a listing: what is found comes with the listing (`READDIRPLUS`).
    Lookup,
    /// What takes set-id bits and capabilities from a file before every write: the file system below
    /// does that (`FUSE_HANDLE_KILLPRIV_V2`).
    Killpriv,
    /// `READLINK` each time a symbolic link is followed: its target does not change.
    Readlink,
    /// `FSYNC` and `FSYNCDIR` where nothing lasts.
    Fsync,
}

impl Saved {
    /// All of them, with the words of the option `send=`.
    pub const ALL: [(&'static str, Self); 8] = [
        ("open", Self::Open),
        ("opendir", Self::Opendir),
        ("create", Self::Create),
        ("flush", Self::Flush),
        ("lookup", Self::Lookup),
        ("killpriv", Self::Killpriv),
        ("readlink", Self::Readlink),
        ("fsync", Self::Fsync),
    ];
}

/// Those that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent(u8);

impl Sent {
    /// Has one sent.
    pub fn add(&mut self, request: Saved) {
        self.0 |= 1 << request as u8;
    }

    pub(crate) fn has(self, request: Saved) -> bool {
        self.0 & (1 << request as u8) != 0
    }
}

impl FromIterator<Saved> for Sent {
    fn from_iter<T: IntoIterator<Item = Saved>>(requests: T) -> Self {
        let mut sent = Self::default();
        requests.into_iter().for_each(|request| sent.add(request));
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_sent_by_itself() {
        for (_, request) in Saved::ALL {
            let sent: Sent = [request].into_iter().collect();
            for (word, other) in Saved::ALL {
                assert_eq!(sent.has(other), request == other, "{word}");
            }
        }
    }
}
