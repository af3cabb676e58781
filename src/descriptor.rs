//! Sending messages with a descriptor to another process (unix(7), `SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The longest message in bytes.
pub(crate) const LONGEST: usize = 64 << 10;

/// A message and what came with it.
pub(crate) struct Received {
    pub(crate) text: Vec<u8>,
    pub(crate) fd: Option<OwnedFd>,
}

/// Two ends of a socket. Each message arrives whole, and the end of the last process that has the other one
/// is seen.
pub(crate) fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// Sends a message that is not empty.
///
/// # Errors
/// Those of sendmsg(2): `PIPE` if no process has the other end, `MSGSIZE` for one that is too long.
pub(crate) fn send(
    socket: impl AsFd,
    text: &[u8],
    fd: Option<BorrowedFd<'_>>,
) -> rustix::io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    let text = [IoSlice::new(text)];
    rustix::net::sendmsg(socket, &text, &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Waits for the next message; `None` if no process has the other end any more.
///
/// # Errors
/// Those of recvmsg(2), and `MSGSIZE` for a message that is too long.
pub(crate) fn receive(socket: impl AsFd) -> rustix::io::Result<Option<Received>> {
    let mut text = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut buffers = [IoSliceMut::new(&mut text)];
        rustix::net::recvmsg(&socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)
    });
    let received = match received {
        // The other side ended before it had read what this one sent.
        Err(Errno::CONNRESET) => return Ok(None),
        received => received?,
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    text.truncate(received.bytes);
    Ok(Some(Received { text, fd }))
}
