//! The tests of the store, one module a subject, in one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

mod attacks;
mod containers;
mod integrity;
mod layout;
mod lifecycle;
mod names;
mod namespace;
mod producers;
mod pull;
mod sources;
mod unpack;
