//! Requests that the kernel need not send. Each can be turned on again (`send=`): to see what it costs, or where
//! a kernel cannot do without it.

/// A request that the kernel sends only if the daemon asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuppressedRequest {
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

impl SuppressedRequest {
    /// All, with the words of the option `send=`.
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

/// The suppressed requests that are sent nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EnabledRequests(u8);

impl EnabledRequests {
    /// Enables a request.
    pub fn add(&mut self, request: SuppressedRequest) {
        self.0 |= 1 << request as u8;
    }

    pub(crate) fn has(self, request: SuppressedRequest) -> bool {
        self.0 & (1 << request as u8) != 0
    }
}

impl FromIterator<SuppressedRequest> for EnabledRequests {
    fn from_iter<T: IntoIterator<Item = SuppressedRequest>>(requests: T) -> Self {
        let mut enabled = Self::default();
        requests
            .into_iter()
            .for_each(|request| enabled.add(request));
        enabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_enabled_alone() {
        for (_, request) in SuppressedRequest::ALL {
            let enabled: EnabledRequests = [request].into_iter().collect();
            for (word, other) in SuppressedRequest::ALL {
                assert_eq!(enabled.has(other), request == other, "{word}");
            }
        }
    }
}
