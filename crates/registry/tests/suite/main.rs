//! The registry, held to one behaviour on every store that it is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[macro_use]
mod support;

mod around;
mod behaviour;
mod crashes;
mod damage;
mod faults;
mod moto;
mod named;
mod proxy;
mod races;
mod s3s;
mod sweeping;

suite!(memory, crate::support::memory);
suite!(folder, crate::support::folder);
// Its conditions hold, but not against writers at once: it looks first and writes then.
suite!(s3_s3s, crate::s3s::place);
suite!(s3_moto, crate::moto::plain);
suite!(s3_moto_versioned, crate::moto::versioned);
suite!(s3_named, crate::named::place);
suite!(races, memory_races, crate::support::memory);
suite!(races, folder_races, crate::support::folder);
suite!(races, s3_moto_races, crate::moto::plain);
suite!(races, s3_moto_versioned_races, crate::moto::versioned);
suite!(races, s3_named_races, crate::named::place);

/// Every test of the suite, for the macro.
mod tests {
    pub(crate) use crate::behaviour::*;
    pub(crate) use crate::damage::*;
    pub(crate) use crate::races::*;
    pub(crate) use crate::sweeping::*;
}
