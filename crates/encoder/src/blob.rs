//! Bytes at an address that vectors and numbers may be read from in place.

const _: () = assert!(align_of::<u128>() == 16);

/// A run of bytes that starts at a multiple of 16.
#[derive(Debug, Clone, Default)]
pub struct Blob {
    words: Vec<u128>,
    length: usize,
}

impl Blob {
    /// So many zeros.
    pub fn zeroed(length: usize) -> Self {
        Self { words: vec![0; length.div_ceil(16)], length }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        let bytes = bytemuck::cast_slice(&self.words);
        bytes.get(..self.length).unwrap_or(bytes)
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes = bytemuck::cast_slice_mut(&mut self.words);
        let length = self.length.min(bytes.len());
        bytes.split_at_mut(length).0
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        let mut blob = Self::zeroed(bytes.len());
        blob.bytes_mut().copy_from_slice(bytes);
        blob
    }
}
