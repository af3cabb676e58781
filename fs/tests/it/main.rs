//! The tests of the overlay without a mount, one module a subject, in one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on fails"
)]

#[macro_use]
mod support;

mod changes;
mod damaged;
mod layers;
mod links;
mod lock_order;
mod model;
mod moved;
mod override_stat;
