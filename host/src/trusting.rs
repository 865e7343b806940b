//! The trust policy at the registry's door: what is pulled is believed only when its signature is one that the policy allows.

use std::sync::{Mutex, PoisonError};

use palisade_registry::Unverified;
use palisade_registry::trust::{Trust, Verified};

/// Checks a signature by a policy, and remembers what it found.
#[derive(Debug, Default)]
pub(crate) struct Signer {
    found: Mutex<Option<Verified>>,
}

impl Signer {
    /// A check to hand to the registry, which makes it before it fetches any file.
    pub(crate) fn check<'a>(
        &'a self,
        trust: &'a Trust,
    ) -> impl FnOnce(&Unverified<'_>) -> Result<(), String> + Send + 'a {
        move |version| {
            let found = trust.check(version).map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            Ok(())
        }
    }

    /// Who signed, for people.
    pub(crate) fn shown(&self) -> String {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.as_ref().map_or("not looked at".to_owned(), ToString::to_string)
    }
}
