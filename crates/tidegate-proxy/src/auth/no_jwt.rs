//! Stands in where the `jwt` feature is off: a configuration that asks for tokens is refused.

use std::{io, time::Instant};

use http::request::Parts;
use tidegate_config::Jwt;

pub(crate) enum Verifier {}

impl Verifier {
    /// # Errors
    /// Always.
    pub(crate) fn load(_: &Jwt) -> io::Result<Self> {
        Err(io::Error::other("`jwt`: this tidegate was built without it (cargo feature `jwt`)"))
    }

    pub(crate) fn check(&self, _: &Jwt, _: &Parts) -> Result<Option<Instant>, Option<String>> {
        match *self {}
    }
}
