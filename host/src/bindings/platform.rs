//! Rust types and traits generated from `wit/`: what the endpoint component gets of this host.
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
    inline: "
        package palisade:host;
        world platform {
            import palisade:moderation/classifier@0.2.0;
            import palisade:services/access@0.1.0;
            import palisade:services/feedback@0.1.0;
        }
    ",
    imports: { default: async | trappable },
    require_store_data_send: true,
});
