//! The packed model: one run of bytes with everything in the layout that the kernels read, little-endian, each section at a multiple
//! of 16.
//!
//! ```text
//! header, 128 bytes: u32 fields, see Header::fields
//! word embeddings    i8  [vocabulary, width]    f32 scale [vocabulary]
//! positions          f16 [positions, width]
//! norm               f32 weight [width], bias [width]
//! each layer         linear width → 3·width (queries, keys, values), linear width → width, norm,
//!                    linear width → inner, linear inner → width, norm
//! pooler, if any     f32 weight [width, width], bias [width]
//! head               f32 weight [labels, width], bias [labels]
//! word pieces        u32 slots [slots], u32 starts [pieces + 1], u32 ids [pieces], bytes
//! ```
//!
//! A linear layer is `i8 weight [outputs / 16, inputs / 4, 16, 4]` (see `kernel`; zeros fill the last panel) and three lists of `f32 [outputs]`: scale (of
//! one step of a weight), offset (scale times the sum of the output's weights) and bias. No lane of the weights is above `LANE_MAX` (see `kernel`), and all
//! floats are finite.

use std::sync::Arc;

use bytemuck::AnyBitPattern;

use crate::blob::Blob;
use crate::kernel::{BLOCK, GROUP, Kernel, LANE_MAX, PANEL};
use crate::math::Activation;

#[cfg(target_endian = "big")]
compile_error!("the packed model is read in place, and is little-endian");

const MAGIC: u32 = u32::from_le_bytes(*b"PLSD");
/// The version of the layout and of the arithmetic on it; a reader refuses any other.
const VERSION: u32 = 3;
const HEADER_BYTES: usize = 128;
/// Numbers that the longest text's hidden states have at most, so that they fit a 32-bit memory several times.
const NUMBERS_MAX: usize = 1 << 24;

/// Why bytes are no packed model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// Something else.
    #[error("not a packed model")]
    NotPacked,
    /// Packed for another version of this engine: pack the release again.
    #[error("packed in version {0} of the layout; this engine reads version {VERSION}")]
    Version(u32),
    /// Cut or changed.
    #[error("a damaged packed model: {0}")]
    Damaged(&'static str),
}

/// The sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Layers of the encoder.
    pub layers: usize,
    /// Numbers a token.
    pub width: usize,
    /// Attention heads; they share the width evenly.
    pub heads: usize,
    /// Numbers a token inside the feed-forward part.
    pub inner: usize,
    /// Logits.
    pub labels: usize,
    /// Tokens that the model has positions for.
    pub positions: usize,
    /// Token ids that the model has embeddings for.
    pub vocabulary: usize,
    /// What layer normalisation adds to the variance.
    pub epsilon: f32,
    /// Between the feed-forward part's two linear layers.
    pub activation: Activation,
    /// What the tokens' last hidden states become before the head.
    pub pooling: Pooling,
    /// The function of the linear layer between pooling and head, where there is one.
    pub pooler: Option<Activation>,
}

/// One vector of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over the tokens.
    Mean,
    /// The first token's.
    First,
}

impl Pooling {
    const ALL: [Self; 2] = [Self::Mean, Self::First];
}

/// The sizes of the word-piece table, and the ids with a meaning of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableShape {
    pub(crate) pieces: usize,
    pub(crate) bytes: usize,
    pub(crate) slots: usize,
    pub(crate) piece_bytes_max: usize,
    pub(crate) unknown: u32,
    pub(crate) first: u32,
    pub(crate) last: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) shape: Shape,
    pub(crate) table: TableShape,
}

impl Shape {
    /// Whether this engine can run a model of these sizes.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let within = |size: usize, max: usize| (1..=max).contains(&size);
        if !self.width.is_multiple_of(8) || !within(self.width, 8192) {
            return Err("the width is not a multiple of 8 up to 8192");
        }
        if !self.inner.is_multiple_of(8) || !within(self.inner, 65_536) {
            return Err("the inner width is not a multiple of 8 up to 65,536");
        }
        if self.positions.saturating_mul(self.width.max(self.inner)) > NUMBERS_MAX {
            return Err("the positions times the width, or the inner width, are more than 16,777,216");
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return Err("epsilon is not a number above 0");
        }
        if !within(self.heads, self.width) || !self.width.is_multiple_of(self.heads) {
            return Err("the heads do not share the width evenly");
        }
        let counts = within(self.layers, 256) && within(self.labels, 4096);
        if !counts || !within(self.positions, 65_536) || !within(self.vocabulary, 1 << 24) {
            return Err("there are no layers, labels, positions or words, or too many");
        }
        Ok(())
    }
}

/// A value's number in the header.
fn place<T: PartialEq>(all: &[T], value: &T) -> u32 {
    all.iter().position(|other| other == value).and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX)
}

impl Header {
    /// The header's fields behind the magic number, the version and the length.
    fn fields(&self) -> [u32; 18] {
        let Self { shape, table } = self;
        let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        [
            number(shape.layers),
            number(shape.width),
            number(shape.heads),
            number(shape.inner),
            number(shape.labels),
            number(shape.positions),
            number(shape.vocabulary),
            shape.epsilon.to_bits(),
            number(table.pieces),
            number(table.bytes),
            number(table.slots),
            number(table.piece_bytes_max),
            table.unknown,
            table.first,
            table.last,
            place(&Activation::ALL, &shape.activation),
            place(&Pooling::ALL, &shape.pooling),
            shape.pooler.map_or(0, |function| 1 + place(&Activation::ALL, &function)),
        ]
    }

    fn read(fields: &[u32; HEADER_BYTES / 4], length: usize) -> Result<Self, PackedError> {
        let &[magic, version, written, ref fields @ ..] = fields;
        if magic != MAGIC {
            return Err(PackedError::NotPacked);
        }
        if version != VERSION {
            return Err(PackedError::Version(version));
        }
        if written as usize != length {
            return Err(PackedError::Damaged("its length is not the one in its header"));
        }
        let &[layers, width, heads, inner, labels, positions, vocabulary, epsilon, ref fields @ ..] = fields;
        let &[
            pieces,
            bytes,
            slots,
            piece_bytes_max,
            unknown,
            first,
            last,
            activation,
            pooling,
            pooler,
            ref unused @ ..,
        ] = fields;
        let [layers, width, heads, inner] = [layers, width, heads, inner].map(|field| field as usize);
        let [labels, positions, vocabulary] = [labels, positions, vocabulary].map(|field| field as usize);
        let [pieces, bytes, slots] = [pieces, bytes, slots].map(|field| field as usize);
        let epsilon = f32::from_bits(epsilon);
        let unknown_form = PackedError::Damaged("its header names a function that this engine does not know");
        let activation = *Activation::ALL.get(activation as usize).ok_or(unknown_form.clone())?;
        let pooling = *Pooling::ALL.get(pooling as usize).ok_or(unknown_form.clone())?;
        let pooler = match pooler.checked_sub(1) {
            Some(function) => Some(*Activation::ALL.get(function as usize).ok_or(unknown_form)?),
            None => None,
        };
        let shape =
            Shape { layers, width, heads, inner, labels, positions, vocabulary, epsilon, activation, pooling, pooler };
        shape.check().map_err(PackedError::Damaged)?;
        let piece_bytes_max = piece_bytes_max as usize;
        let table = TableShape { pieces, bytes, slots, piece_bytes_max, unknown, first, last };
        if !slots.is_power_of_two() || slots <= pieces || unused.iter().any(|&field| field != 0) {
            return Err(PackedError::Damaged("its header contradicts itself"));
        }
        Ok(Self { shape, table })
    }
}

/// A linear layer with int8 weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear<'a> {
    /// In panels, the last one filled with zeros.
    pub(crate) weights: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) offsets: &'a [f32],
    pub(crate) biases: &'a [f32],
}

/// The parameters of a layer normalisation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub(crate) weights: &'a [f32],
    pub(crate) biases: &'a [f32],
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) queries_keys_values: Linear<'a>,
    pub(crate) attention_output: Linear<'a>,
    pub(crate) attention_norm: Norm<'a>,
    pub(crate) intermediate: Linear<'a>,
    pub(crate) output: Linear<'a>,
    pub(crate) output_norm: Norm<'a>,
}

/// The word pieces as a hash table with open addressing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    /// One more than the place of a piece; 0 where there is none. A power of two of them.
    pub(crate) slots: &'a [u32],
    /// Where each piece's bytes begin, and where the last one's end.
    pub(crate) starts: &'a [u32],
    pub(crate) ids: &'a [u32],
    pub(crate) bytes: &'a [u8],
}

/// The sections of a packed model, in place.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) shape: Shape,
    pub(crate) table_shape: TableShape,
    pub(crate) words: &'a [i8],
    pub(crate) word_scales: &'a [f32],
    pub(crate) positions: &'a [u16],
    pub(crate) embedding_norm: Norm<'a>,
    pub(crate) layers: Vec<Layer<'a>>,
    /// Weights and biases of the pooler, empty where there is none.
    pub(crate) pooler: (&'a [f32], &'a [f32]),
    pub(crate) head_weights: &'a [f32],
    pub(crate) head_biases: &'a [f32],
    pub(crate) table: Table<'a>,
}

impl<'a> View<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, PackedError> {
        let mut sections = Sections { rest: bytes };
        let fields = sections.take::<u32>(HEADER_BYTES / 4, 1)?.first_chunk().ok_or(PackedError::NotPacked)?;
        let Header { shape, table: table_shape } = Header::read(fields, bytes.len())?;
        let Shape { width, inner, .. } = shape;
        let view = Self {
            shape,
            table_shape,
            words: sections.take(shape.vocabulary, width)?,
            word_scales: sections.take(shape.vocabulary, 1)?,
            positions: sections.take(shape.positions, width)?,
            embedding_norm: sections.norm(width)?,
            layers: (0..shape.layers)
                .map(|_| {
                    Ok(Layer {
                        queries_keys_values: sections.linear(width, 3 * width)?,
                        attention_output: sections.linear(width, width)?,
                        attention_norm: sections.norm(width)?,
                        intermediate: sections.linear(width, inner)?,
                        output: sections.linear(inner, width)?,
                        output_norm: sections.norm(width)?,
                    })
                })
                .collect::<Result<_, _>>()?,
            pooler: match shape.pooler {
                Some(_) => (sections.take(width, width)?, sections.take(width, 1)?),
                None => (&[], &[]),
            },
            head_weights: sections.take(shape.labels, width)?,
            head_biases: sections.take(shape.labels, 1)?,
            table: Table {
                slots: sections.take(table_shape.slots, 1)?,
                starts: sections.take(table_shape.pieces + 1, 1)?,
                ids: sections.take(table_shape.pieces, 1)?,
                bytes: sections.take(table_shape.bytes, 1)?,
            },
        };
        if !sections.rest.is_empty() {
            return Err(PackedError::Damaged("it goes on behind its last section"));
        }
        Ok(view)
    }

    /// Checks what [`View::read`] does not look at: that floats are finite, and that weights keep to their bound. Without either the kernels would
    /// not all give the same bits.
    fn check_numbers(&self) -> Result<(), PackedError> {
        let linears = self
            .layers
            .iter()
            .flat_map(|layer| [layer.queries_keys_values, layer.attention_output, layer.intermediate, layer.output]);
        let norms = self.layers.iter().flat_map(|layer| [layer.attention_norm, layer.output_norm]);
        let of_norms = norms.chain([self.embedding_norm]).flat_map(|norm| [norm.weights, norm.biases]);
        let of_linears = linears.clone().flat_map(|linear| [linear.scales, linear.offsets, linear.biases]);
        let others = [self.word_scales, self.pooler.0, self.pooler.1, self.head_weights, self.head_biases];
        let mut floats = of_norms.chain(of_linears).chain(others).flatten();
        if !floats.all(|x| x.is_finite()) || self.positions.iter().any(|half| half & 0x7c00 == 0x7c00) {
            return Err(PackedError::Damaged("one of its numbers is not finite"));
        }
        let mut groups = linears.flat_map(|linear| linear.weights.chunks(GROUP * PANEL * BLOCK));
        if groups.any(|group| panel_lanes(group).as_flattened().iter().any(|&lane| lane > LANE_MAX)) {
            return Err(PackedError::Damaged("its weights do not keep to their bound"));
        }
        Ok(())
    }

    /// Checks what [`View::read`] does not look at: where the word pieces lie.
    fn check_table(&self) -> Result<(), PackedError> {
        let Table { slots, starts, bytes, ids } = self.table;
        let ascending = starts.is_sorted() && starts.first() == Some(&0);
        let ends = starts.last().is_some_and(|&end| end as usize == bytes.len());
        let filled = slots.iter().filter(|&&slot| slot != 0).count();
        if !ascending || !ends || filled != ids.len() || slots.iter().any(|&slot| slot as usize > ids.len()) {
            return Err(PackedError::Damaged("its table of word pieces contradicts itself"));
        }
        Ok(())
    }
}

struct Sections<'a> {
    rest: &'a [u8],
}

impl<'a> Sections<'a> {
    /// The next section, of `rows` times `columns` values.
    fn take<T: AnyBitPattern>(&mut self, rows: usize, columns: usize) -> Result<&'a [T], PackedError> {
        let short = PackedError::Damaged("it ends too early");
        let bytes = rows.checked_mul(columns).and_then(|values| values.checked_mul(size_of::<T>()));
        let padded = bytes.and_then(|bytes| bytes.checked_next_multiple_of(16));
        let (section, rest) = padded.and_then(|padded| self.rest.split_at_checked(padded)).ok_or(short.clone())?;
        self.rest = rest;
        let section = bytes.and_then(|bytes| section.get(..bytes)).ok_or(short)?;
        bytemuck::try_cast_slice(section).map_err(|_| PackedError::Damaged("it does not start at a multiple of 16"))
    }

    fn linear(&mut self, inputs: usize, outputs: usize) -> Result<Linear<'a>, PackedError> {
        Ok(Linear {
            weights: self.take(outputs.next_multiple_of(PANEL), inputs)?,
            scales: self.take(outputs, 1)?,
            offsets: self.take(outputs, 1)?,
            biases: self.take(outputs, 1)?,
        })
    }

    fn norm(&mut self, width: usize) -> Result<Norm<'a>, PackedError> {
        Ok(Norm { weights: self.take(width, 1)?, biases: self.take(width, 1)? })
    }
}

/// A model that is packed, checked and ready to run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Packed {
    blob: Arc<Blob>,
    shape: Shape,
    kernel: Kernel,
}

impl Packed {
    /// Checks that the bytes are a packed model of this version, so that no reading of them leaves its section.
    pub fn new(blob: Blob) -> Result<Self, PackedError> {
        let view = View::read(blob.bytes())?;
        view.check_table()?;
        view.check_numbers()?;
        let shape = view.shape;
        Ok(Self { blob: Arc::new(blob), shape, kernel: Kernel::best() })
    }

    /// The same with another kernel; unchanged where this machine does not run it.
    #[must_use]
    pub fn with_kernel(mut self, kernel: Kernel) -> Self {
        if Kernel::available().contains(&kernel) {
            self.kernel = kernel;
        }
        self
    }

    /// How its products are computed.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The model's sizes.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.blob.bytes()
    }

    pub(crate) fn view(&self) -> Result<View<'_>, PackedError> {
        View::read(self.bytes())
    }
}

/// A linear layer to be packed: weights by output, and a scale and a bias an output.
#[derive(Debug, Default, Clone)]
pub(crate) struct LinearParts {
    pub(crate) weights: Vec<i8>,
    pub(crate) scales: Vec<f32>,
    pub(crate) biases: Vec<f32>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct NormParts {
    pub(crate) weights: Vec<f32>,
    pub(crate) biases: Vec<f32>,
}

#[derive(Debug, Clone)]
pub(crate) struct LayerParts {
    pub(crate) queries_keys_values: LinearParts,
    pub(crate) attention_output: LinearParts,
    pub(crate) attention_norm: NormParts,
    pub(crate) intermediate: LinearParts,
    pub(crate) output: LinearParts,
    pub(crate) output_norm: NormParts,
}

/// A model to be packed.
#[derive(Debug)]
pub(crate) struct ModelParts {
    pub(crate) shape: Shape,
    pub(crate) words: Vec<i8>,
    pub(crate) word_scales: Vec<f32>,
    pub(crate) positions: Vec<u16>,
    pub(crate) embedding_norm: NormParts,
    pub(crate) layers: Vec<LayerParts>,
    /// Weights by output, and biases.
    pub(crate) pooler: Option<(Vec<f32>, Vec<f32>)>,
    pub(crate) head_weights: Vec<f32>,
    pub(crate) head_biases: Vec<f32>,
}

/// A word-piece table to be packed.
#[derive(Debug)]
pub(crate) struct TableParts {
    pub(crate) shape: TableShape,
    pub(crate) slots: Vec<u32>,
    pub(crate) starts: Vec<u32>,
    pub(crate) ids: Vec<u32>,
    pub(crate) bytes: Vec<u8>,
}

/// Writes the sections in the order of [`View::read`].
pub(crate) fn write(model: &ModelParts, table: &TableParts) -> Result<Blob, &'static str> {
    let mut writer = Writer { bytes: vec![0; HEADER_BYTES] };
    writer.put(&model.words);
    writer.put(&model.word_scales);
    writer.put(&model.positions);
    writer.norm(&model.embedding_norm);
    for layer in &model.layers {
        writer.linear(&layer.queries_keys_values);
        writer.linear(&layer.attention_output);
        writer.norm(&layer.attention_norm);
        writer.linear(&layer.intermediate);
        writer.linear(&layer.output);
        writer.norm(&layer.output_norm);
    }
    if let Some((weights, biases)) = &model.pooler {
        writer.put(weights);
        writer.put(biases);
    }
    writer.put(&model.head_weights);
    writer.put(&model.head_biases);
    writer.put(&table.slots);
    writer.put(&table.starts);
    writer.put(&table.ids);
    writer.put(&table.bytes);

    let length = u32::try_from(writer.bytes.len()).map_err(|_| "the model is larger than 4 GiB")?;
    let fields = Header { shape: model.shape, table: table.shape }.fields();
    let fields = [MAGIC, VERSION, length].into_iter().chain(fields).flat_map(u32::to_le_bytes);
    for (byte, field) in writer.bytes.iter_mut().zip(fields) {
        *byte = field;
    }
    Ok(Blob::from(writer.bytes.as_slice()))
}

/// Sees to it that no lane of a row's groups is above [`LANE_MAX`] (see `kernel`): as the row's step becomes larger, or as the greatest weights of such
/// lanes become smaller, or both, whatever is nearest to the row in the sense of least squares.
pub(crate) fn bounded(row: &mut [i8], scale: &mut f32) {
    if lanes(row).all(|lane| lane <= LANE_MAX) {
        return;
    }
    let candidates = FACTORS.into_iter().map(|factor| {
        #[expect(clippy::cast_possible_truncation, reason = "not greater than it was")]
        let mut candidate: Vec<i8> = row.iter().map(|&x| (f32::from(x) * factor).round_ties_even() as i8).collect();
        cut(&mut candidate);
        let differences = row.iter().zip(&candidate).map(|(&x, &y)| f32::from(x) - f32::from(y) / factor);
        (differences.map(|x| x * x).sum::<f32>(), factor, candidate)
    });
    if let Some((_, factor, nearest)) = candidates.min_by(|(a, ..), (b, ..)| a.total_cmp(b)) {
        row.copy_from_slice(&nearest);
        *scale /= factor;
    }
}

/// What a row is multiplied with to make room.
const FACTORS: [f32; 9] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5];

/// What each lane of each group may add up to in 127ths: its weights above 0, and those below.
fn lanes(row: &[i8]) -> impl Iterator<Item = i32> {
    row.chunks(GROUP * BLOCK).flat_map(|group| {
        let mut lanes = [0; 4];
        for (place, &weight) in group.iter().enumerate() {
            let lane = place % BLOCK / 2 * 2 + usize::from(weight < 0);
            if let Some(lane) = lanes.get_mut(lane) {
                *lane += i32::from(weight).abs();
            }
        }
        lanes
    })
}

/// The same for a group's blocks in a panel, for each output.
fn panel_lanes(group: &[i8]) -> [[i32; 4]; PANEL] {
    let mut lanes = [[0; 4]; PANEL];
    for block in group.as_chunks::<{ PANEL * BLOCK }>().0 {
        for (lanes, weights) in lanes.iter_mut().zip(block.as_chunks::<BLOCK>().0) {
            let [a, b, c, d] = weights.map(i32::from);
            lanes[0] += a.max(0) + b.max(0);
            lanes[1] -= a.min(0) + b.min(0);
            lanes[2] += c.max(0) + d.max(0);
            lanes[3] -= c.min(0) + d.min(0);
        }
    }
    lanes
}

/// Lowers the greatest weights of each lane that is above [`LANE_MAX`], one by one, until it is not.
fn cut(row: &mut [i8]) {
    for group in row.chunks_mut(GROUP * BLOCK) {
        for lane in [[0, 1], [2, 3]] {
            for sign in [1_i32, -1] {
                loop {
                    let of_lane = group.iter_mut().enumerate().filter(|(place, _)| lane.contains(&(place % BLOCK)));
                    let mut of_sign: Vec<&mut i8> =
                        of_lane.map(|(_, weight)| weight).filter(|weight| i32::from(**weight) * sign > 0).collect();
                    let sum: i32 = of_sign.iter().map(|weight| i32::from(**weight) * sign).sum();
                    let greatest = of_sign.iter_mut().rev().max_by_key(|weight| i32::from(***weight) * sign);
                    match greatest {
                        Some(greatest) if sum > LANE_MAX => **greatest -= if sign > 0 { 1 } else { -1 },
                        _ => break,
                    }
                }
            }
        }
    }
}

/// Rows of weights, one an output, in panels; zeros fill the last one.
pub(crate) fn panels(rows: &[i8], inputs: usize) -> Vec<i8> {
    let mut panels = Vec::with_capacity(rows.len().next_multiple_of(PANEL * inputs.max(1)));
    for rows in rows.chunks(PANEL * inputs.max(1)) {
        for input in (0..inputs).step_by(BLOCK) {
            for output in 0..PANEL {
                let start = output * inputs + input;
                let block = rows.get(start..start + BLOCK).unwrap_or(&[0; BLOCK]);
                panels.extend_from_slice(block);
            }
        }
    }
    panels
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn put<T: bytemuck::NoUninit>(&mut self, section: &[T]) {
        self.bytes.extend_from_slice(bytemuck::cast_slice(section));
        self.bytes.resize(self.bytes.len().next_multiple_of(16), 0);
    }

    fn linear(&mut self, linear: &LinearParts) {
        let inputs = linear.weights.len() / linear.scales.len().max(1);
        let (mut weights, mut scales) = (linear.weights.clone(), linear.scales.clone());
        for (row, scale) in weights.chunks_exact_mut(inputs.max(1)).zip(&mut scales) {
            bounded(row, scale);
        }
        let rows = weights.chunks_exact(inputs.max(1));
        let sums = rows.map(|row| row.iter().map(|&weight| i32::from(weight)).sum::<i32>());
        #[expect(clippy::cast_precision_loss, reason = "at most 2²³")]
        let offsets: Vec<f32> = scales.iter().zip(sums).map(|(scale, sum)| scale * sum as f32).collect();
        self.put(&panels(&weights, inputs));
        self.put(&scales);
        self.put(&offsets);
        self.put(&linear.biases);
    }

    fn norm(&mut self, norm: &NormParts) {
        self.put(&norm.weights);
        self.put(&norm.biases);
    }
}
