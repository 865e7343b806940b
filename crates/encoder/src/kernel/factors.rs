//! The products' factors, in the order that this platform's kernels read.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use std::arch::wasm32::{i32x4_splat, v128};
use std::marker::PhantomData;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::{BLOCK, wasm};
use crate::lanes::{LANES, Lanes};
use crate::math::Function;
#[cfg(doc)]
use crate::math::ROUND;

/// Rows of a left factor, in the order that this platform's kernels read.
#[derive(Debug)]
pub(crate) struct Rows<T> {
    /// The rows, one after the other.
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    values: Vec<T>,
    /// Blocks of the rows, each filling a vector: `[rows / height][inputs / BLOCK][height]`, the last rows with their own height.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    vectors: Vec<v128>,
    count: usize,
    inputs: usize,
    written: usize,
    number: PhantomData<T>,
}

/// Rows of activations, each of 7 bits: 0 to 127.
pub(crate) type Narrow = Rows<u8>;
/// Rows of 16-bit integers.
pub(crate) type Wide = Rows<i16>;

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            values: Vec::new(),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            vectors: Vec::new(),
            count: 0,
            inputs: 0,
            written: 0,
            number: PhantomData,
        }
    }
}

impl<T: Number> Rows<T> {
    /// Begins anew, with so many rows of so many numbers, which are filled up with zeros to a multiple of eight bytes.
    #[inline(always)]
    pub(crate) fn clear(&mut self, rows: usize, inputs: usize) {
        self.count = rows;
        self.inputs = inputs.next_multiple_of(8 / size_of::<T>());
        self.written = 0;
        // What fills a row up must be 0, and there is some wherever the last numbers are not written anew.
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        {
            self.values.clear();
            self.values.resize(rows * self.inputs, T::default());
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        {
            self.vectors.clear();
            self.vectors.resize(rows * self.inputs / BLOCK, i32x4_splat(0));
        }
    }

    /// Writes the next row: the function of each value, which adds [`ROUND`]. Where the last lanes have no value, it gets `beyond` and makes 0 of it.
    #[inline(always)]
    pub(crate) fn push(&mut self, values: &[f32], beyond: f32, function: &mut impl Function) {
        let mut place = self.row();
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            place.put(function.of(Lanes::load(chunk)));
        }
        if !rest.is_empty() {
            let mut last = [beyond; LANES];
            for (place, x) in last.iter_mut().zip(rest) {
                *place = *x;
            }
            place.put(function.of(Lanes::load(&last)));
        }
    }

    /// Where the next row goes.
    #[inline(always)]
    fn row(&mut self) -> Place<'_, T> {
        let row = self.written;
        self.written += 1;
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        {
            let start = row * self.inputs;
            Place { rest: self.values.get_mut(start..start + self.inputs).unwrap_or_default() }
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        {
            let tile = row / T::ROWS * T::ROWS;
            let height = (self.count.saturating_sub(tile)).clamp(1, T::ROWS);
            let places = self.vectors.get_mut(tile * self.inputs / BLOCK + row % T::ROWS..).unwrap_or_default();
            Place { rest: places.iter_mut().step_by(height), number: PhantomData }
        }
    }

    /// The rows, one after the other.
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    pub(crate) fn values(&self) -> &[T] {
        &self.values
    }

    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    pub(crate) fn vectors(&self) -> &[v128] {
        &self.vectors
    }

    pub(crate) fn rows(&self) -> usize {
        self.count
    }

    /// Numbers of a row, those that fill it up included.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }
}

/// The places of a row that are not written yet.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
struct Place<'a, T> {
    rest: &'a mut [T],
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
struct Place<'a, T> {
    rest: std::iter::StepBy<std::slice::IterMut<'a, v128>>,
    number: PhantomData<T>,
}

impl<T: Number> Place<'_, T> {
    #[inline(always)]
    fn put(&mut self, shifted: Lanes) {
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        {
            let mut floats = [0.0; LANES];
            shifted.store(&mut floats);
            let rest = std::mem::take(&mut self.rest);
            if rest.len() < LANES {
                for (place, shifted) in rest.iter_mut().zip(floats) {
                    *place = T::of(shifted);
                }
            } else if let Some((places, rest)) = rest.split_first_chunk_mut::<LANES>() {
                for (place, shifted) in places.iter_mut().zip(floats) {
                    *place = T::of(shifted);
                }
                self.rest = rest;
            }
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        if let Some(place) = self.rest.next() {
            *place = T::spread(shifted.0);
        }
    }
}

/// A number of a left factor.
pub(crate) trait Number: Copy + Default {
    /// The number to which [`ROUND`] was added.
    fn of(shifted: f32) -> Self;
    /// Rows of a tile.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    const ROWS: usize;
    /// Four such numbers, over and over.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    fn spread(shifted: v128) -> v128;
}

impl Number for u8 {
    #[inline(always)]
    fn of(shifted: f32) -> Self {
        (shifted.to_bits() & 0xff) as u8
    }
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    const ROWS: usize = wasm::NARROW_ROWS;
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    #[inline(always)]
    fn spread(shifted: v128) -> v128 {
        wasm::spread_narrow(shifted)
    }
}

impl Number for i16 {
    #[inline(always)]
    fn of(shifted: f32) -> Self {
        ((shifted.to_bits() & 0xffff) as u16).cast_signed()
    }
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    const ROWS: usize = wasm::WIDE_ROWS;
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    #[inline(always)]
    fn spread(shifted: v128) -> v128 {
        wasm::spread_wide(shifted)
    }
}

/// The right factor of a wide product.
#[derive(Debug, Default)]
pub(crate) struct WidePanels {
    values: Vec<i16>,
    inputs: usize,
    panels: usize,
}

impl WidePanels {
    /// Outputs of a panel.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    pub(crate) const PANEL: usize = 4;
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    pub(crate) const PANEL: usize = 16;
    /// Inputs of a block.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    pub(crate) const BLOCK: usize = 4;
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    pub(crate) const BLOCK: usize = 2;

    /// Begins anew, with zeros for so many columns of so many numbers.
    #[inline(always)]
    pub(crate) fn clear(&mut self, inputs: usize, outputs: usize) {
        self.inputs = inputs.next_multiple_of(4);
        self.panels = outputs.div_ceil(Self::PANEL);
        self.values.clear();
        self.values.resize(self.panels * Self::PANEL * self.inputs, 0);
    }

    /// Writes a column, of numbers with [`ROUND`] added.
    #[inline(always)]
    pub(crate) fn column(&mut self, output: usize, shifted: &[f32]) {
        let start = output / Self::PANEL * Self::PANEL * self.inputs + output % Self::PANEL * Self::BLOCK;
        let rest = self.values.get_mut(start..).unwrap_or_default();
        let blocks = rest.chunks_mut(Self::PANEL * Self::BLOCK);
        for (block, shifted) in blocks.zip(shifted.chunks(Self::BLOCK)) {
            match (block.first_chunk_mut::<{ Self::BLOCK }>(), shifted.first_chunk::<{ Self::BLOCK }>()) {
                (Some(places), Some(shifted)) => *places = shifted.map(i16::of),
                _ => {
                    for (place, shifted) in block.iter_mut().zip(shifted) {
                        *place = i16::of(*shifted);
                    }
                }
            }
        }
    }

    /// Writes a block of inputs: `shifted` has a row of so many numbers as there are outputs for each of [`WidePanels::BLOCK`] inputs, with [`ROUND`]
    /// added.
    #[inline(always)]
    pub(crate) fn block(&mut self, block: usize, shifted: &[f32], outputs: usize) {
        let panels = self.values.chunks_exact_mut((Self::PANEL * self.inputs).max(1));
        let start = block * Self::PANEL * Self::BLOCK;
        let mut rows = [shifted; Self::BLOCK];
        for (input, row) in rows.iter_mut().enumerate() {
            *row = shifted.get(input * outputs..(input + 1) * outputs).unwrap_or_default();
        }
        for (number, panel) in panels.enumerate() {
            let places = panel.get_mut(start..start + Self::PANEL * Self::BLOCK).unwrap_or_default();
            let places = places.as_chunks_mut::<{ Self::BLOCK }>().0;
            for (input, row) in rows.iter().enumerate() {
                let of_panel = row.get(number * Self::PANEL..).unwrap_or_default();
                for (place, shifted) in places.iter_mut().zip(of_panel) {
                    if let Some(place) = place.get_mut(input) {
                        *place = i16::of(*shifted);
                    }
                }
            }
        }
    }

    pub(crate) fn values(&self) -> &[i16] {
        &self.values
    }

    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(crate) fn panels(&self) -> usize {
        self.panels
    }

    /// Columns, those that fill the last panel included.
    pub(crate) fn outputs(&self) -> usize {
        self.panels * Self::PANEL
    }
}
