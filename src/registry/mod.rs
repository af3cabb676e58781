//! What joins the store and the client of registries, which do not know each other.

mod image;
mod options;
mod reference;

pub(crate) use options::{CREDS, RegistryArgs, no_echo, password_from_stdin};
pub(crate) use reference::{RegistryName, TRANSPORT, unknown_registry};
