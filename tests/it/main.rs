//! The tests of the whole program, one module a subject, in one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

mod backend;
mod backend_store;
mod buildah;
mod bundle;
mod caches;
mod commit;
mod commit_random;
mod completions;
mod demo;
mod diff;
mod differential;
mod docker;
mod doctor;
mod escape;
mod faults;
mod file_flags;
mod file_systems;
mod fsck;
mod full_disk;
mod house;
mod identity;
mod images;
mod inherited;
mod install;
mod interrupt;
mod isolation;
mod kernel;
mod kill;
mod large;
mod listing;
mod live;
mod mounts;
mod names;
mod other_tools;
mod passthrough;
mod plain_user;
mod podman;
mod power_loss;
mod real_image;
mod refusals;
mod refused_mounts;
mod registry;
mod remove;
mod run;
mod runtime_spec;
mod runtimes;
mod save;
mod semantics;
mod words;
