//! Stands in where the `jwt` feature is off: a configuration that asks for tokens is refused.

use std::time::Instant;

use http::request::Parts;
use tidegate_config::{Fault, Jwt};

pub(crate) enum Verifier {}

impl Verifier {
    /// # Errors
    /// Always.
    pub(crate) fn load(jwt: &Jwt) -> Result<Self, Fault> {
        Err(jwt.key.place().fault("`jwt`: this tidegate was built without it (cargo feature `jwt`)"))
    }

    pub(crate) fn check(&self, _: &Jwt, _: &Parts) -> Result<Option<Instant>, Option<String>> {
        match *self {}
    }
}
