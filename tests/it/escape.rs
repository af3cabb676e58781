//! Containers of hostile images cannot leave: what was once possible in plyfs, and the published escapes of
//! runc, crun, youki, Podman, Buildah, containerd and Docker since 2019 that can concern `run` and `exec`.
//!
//! Each test runs with both backends, and as the user who runs the tests. After each nothing is left or changed
//! outside (`Cell::assert_nothing_happened`). Records that a container forges are in
//! `backend_store.rs`.
//!
//! Not here, since plyfs has no such part: building (CVE-2024-23651 and 23653, CVE-2024-1753, 9407, 9675),
//! copying in and out (CVE-2018-15664, CVE-2019-10152), checkpoints, a daemon that others ask, named volumes.

pub mod cell;
mod descriptors;
mod ends;
mod files;
mod messages;
mod mounts;
mod powers;
mod session;
mod terminal;
