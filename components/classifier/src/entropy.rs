//! The component has no source of randomness, and wants none: equal texts must get equal scores. Its dependencies ask
//! for some all the same (seeds of hash maps, ONNX operators that draw random numbers); they get a fixed pattern.
#![allow(unsafe_code, reason = "getrandom's custom backend is a symbol with a fixed name")]

/// Fills `length` bytes at `target` with a fixed pattern; getrandom 0.3 and 0.4 both link to this name.
#[expect(clippy::unnecessary_wraps, reason = "getrandom decides the type")]
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(target: *mut u8, length: usize) -> Result<(), getrandom::Error> {
    // SAFETY: getrandom passes a block of `length` bytes that it may have written.
    unsafe { target.write_bytes(0xA5, length) };
    Ok(())
}
