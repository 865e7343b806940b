//! The registry, held to one behaviour on every store that it is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[macro_use]
mod support;

mod behaviour;
mod crashes;
mod damage;
mod faults;
mod moto;
mod proxy;
mod races;
mod sweeping;

suite!(memory, crate::support::memory);
suite!(folder, crate::support::folder);
suite!(s3_moto, crate::moto::plain);
suite!(s3_moto_versioned, crate::moto::versioned);

/// Every test of the suite, for the macro.
mod tests {
    pub(crate) use crate::behaviour::*;
    pub(crate) use crate::damage::*;
    pub(crate) use crate::races::*;
    pub(crate) use crate::sweeping::*;
}
