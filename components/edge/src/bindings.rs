//! Rust types and traits generated from `wit/`. The only place where generated code enters this crate.
#![allow(
    unsafe_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "edge",
    generate_all,
});

use crate::Component;
export!(Component);
