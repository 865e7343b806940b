//! The cryptography of TLS.

/// Has every TLS connection of this process that is made with `rustls`' defaults use ring. A client of `reqwest` cannot be built without.
/// A second call changes nothing.
pub fn provide() {
    let _ = rustls::crypto::ring::default_provider().install_default(); // one that is there stays
}
