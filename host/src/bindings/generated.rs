//! Rust types and calls generated from `wit/`. The only place where generated code enters this crate.
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "moderation",
});
