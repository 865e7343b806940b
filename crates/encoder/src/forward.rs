//! Token ids to logits: the encoder's forward pass for one text, without padding.

use crate::kernel::{Kernel, Level, PANEL};
use crate::math::{apply, bounds, dot, exp, from_half, normalise, round_to_byte, sum};
use crate::packed::{Layer, Linear, Norm, Packed, Pooling, View};

/// Tokens whose activations are quantised together: few enough that they stay near the processor, enough to read the weights
/// seldom.
const BLOCK: usize = 32;
/// Outputs whose weights are read together: a multiple of [`PANEL`].
const OUTPUTS: usize = 64;

/// Why ids have no scores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// No embedding has this id.
    #[error("token id {id} is outside the model's {vocabulary}")]
    Id {
        /// The first such id.
        id: u32,
        /// Ids that the model knows.
        vocabulary: usize,
    },
    /// None, or more than the model has positions for.
    #[error("{tokens} tokens; the model reads 1 to {positions}")]
    Length {
        /// Tokens given.
        tokens: usize,
        /// Tokens that can be read.
        positions: usize,
    },
    /// The packed model is damaged, which [`Packed::new`] refuses.
    #[error(transparent)]
    Packed(#[from] crate::PackedError),
}

impl Packed {
    /// One logit a label.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>, ScoreError> {
        let view = self.view()?;
        let mut hidden = embed(&view, ids)?;
        Ok(self.kernel().with_its_vectors(|| {
            layers(self.kernel(), &view, &mut hidden, view.shape.layers);
            let pooled = pool(&view, &hidden);
            let rows = view.head_weights.chunks_exact(view.shape.width).zip(view.head_biases);
            rows.map(|(weights, bias)| dot(&pooled, weights) + bias).collect()
        }))
    }

    /// What the first `layers` layers make of the ids, `[tokens, width]`; for comparison with other engines.
    pub fn hidden(&self, ids: &[u32], layers: usize) -> Result<Vec<f32>, ScoreError> {
        let view = self.view()?;
        let mut hidden = embed(&view, ids)?;
        self.kernel().with_its_vectors(|| self::layers(self.kernel(), &view, &mut hidden, layers));
        Ok(hidden)
    }
}

/// Runs the first layers in place.
#[inline(always)]
fn layers(kernel: Kernel, view: &View<'_>, hidden: &mut [f32], count: usize) {
    let mut scratch = Scratch::default();
    for layer in view.layers.iter().take(count) {
        scratch.run(kernel, view, layer, hidden);
    }
}

/// Word embedding plus position, normalised.
fn embed(view: &View<'_>, ids: &[u32]) -> Result<Vec<f32>, ScoreError> {
    let shape = view.shape;
    if !(1..=shape.positions).contains(&ids.len()) {
        return Err(ScoreError::Length { tokens: ids.len(), positions: shape.positions });
    }
    let mut hidden = vec![0.0; ids.len() * shape.width];
    let positions = view.positions.chunks_exact(shape.width);
    for ((row, &id), position) in hidden.chunks_exact_mut(shape.width).zip(ids).zip(positions) {
        let word = view.words.chunks_exact(shape.width).zip(view.word_scales).nth(id as usize);
        let (word, &scale) = word.ok_or(ScoreError::Id { id, vocabulary: shape.vocabulary })?;
        for ((x, &step), &position) in row.iter_mut().zip(word).zip(position) {
            *x = f32::from(step) * scale + from_half(position);
        }
        norm(row, view.embedding_norm, shape.epsilon);
    }
    Ok(hidden)
}

#[inline(always)]
fn norm(row: &mut [f32], norm: Norm<'_>, epsilon: f32) {
    normalise(row, norm.weights, norm.biases, epsilon);
}

/// What the head reads.
#[inline(always)]
fn pool(view: &View<'_>, hidden: &[f32]) -> Vec<f32> {
    let width = view.shape.width;
    let pooled = match view.shape.pooling {
        Pooling::Mean => mean(hidden, width),
        Pooling::First => hidden.get(..width).unwrap_or_default().to_vec(),
    };
    let Some(function) = view.shape.pooler else { return pooled };
    let (weights, biases) = view.pooler;
    let rows = weights.chunks_exact(width).zip(biases);
    let mut pooled: Vec<f32> = rows.map(|(weights, bias)| dot(&pooled, weights) + bias).collect();
    apply(function, &mut pooled);
    pooled
}

/// Mean over the tokens.
#[expect(clippy::cast_precision_loss, reason = "a text has few tokens")]
#[inline(always)]
fn mean(hidden: &[f32], width: usize) -> Vec<f32> {
    let mut pooled = vec![0.0; width];
    for row in hidden.chunks_exact(width) {
        for (sum, x) in pooled.iter_mut().zip(row) {
            *sum += x;
        }
    }
    let tokens = (hidden.len() / width) as f32;
    for sum in &mut pooled {
        *sum /= tokens;
    }
    pooled
}

/// Room for what a layer computes on the way, kept from layer to layer.
#[derive(Default)]
struct Scratch {
    /// Queries, keys and values of all tokens, a row a token.
    queries_keys_values: Vec<f32>,
    /// What attention gives for all tokens.
    context: Vec<f32>,
    /// One head's keys, a row a dimension.
    keys: Vec<f32>,
    /// One token's shares of attention.
    shares: Vec<f32>,
    /// A block's inner activations, and what a layer's part adds to a block.
    inner: Vec<f32>,
    added: Vec<f32>,
    quantised: Quantised,
    sums: Vec<i32>,
}

impl Scratch {
    #[inline(always)]
    fn run(&mut self, kernel: Kernel, view: &View<'_>, layer: &Layer<'_>, hidden: &mut [f32]) {
        let width = view.shape.width;
        self.queries_keys_values.clear();
        for block in hidden.chunks(BLOCK * width) {
            self.quantised.read(block, width);
            let start = self.queries_keys_values.len();
            self.queries_keys_values.resize(start + 3 * block.len(), 0.0);
            let block = self.queries_keys_values.split_at_mut(start).1;
            linear(kernel, &self.quantised, &layer.queries_keys_values, &mut self.sums, block);
        }
        self.attend(width, view.shape.heads);
        for (block, context) in hidden.chunks_mut(BLOCK * width).zip(self.context.chunks(BLOCK * width)) {
            self.quantised.read(context, width);
            self.added.resize(block.len(), 0.0);
            linear(kernel, &self.quantised, &layer.attention_output, &mut self.sums, &mut self.added);
            add_and_normalise(block, &self.added, layer.attention_norm, view);

            self.quantised.read(block, width);
            self.inner.resize(block.len() / width * view.shape.inner, 0.0);
            linear(kernel, &self.quantised, &layer.intermediate, &mut self.sums, &mut self.inner);
            apply(view.shape.activation, &mut self.inner);
            self.quantised.read(&self.inner, view.shape.inner);
            linear(kernel, &self.quantised, &layer.output, &mut self.sums, &mut self.added);
            add_and_normalise(block, &self.added, layer.output_norm, view);
        }
    }

    /// softmax(query · key / √d) · value, for each head and token.
    #[expect(clippy::cast_precision_loss, reason = "a head has few dimensions")]
    #[inline(always)]
    fn attend(&mut self, width: usize, heads: usize) {
        let tokens = self.queries_keys_values.len() / (3 * width);
        let dimensions = width / heads;
        let scale = 1.0 / (dimensions as f32).sqrt();
        self.context.clear();
        self.context.resize(tokens * width, 0.0);
        self.keys.resize(tokens * dimensions, 0.0);
        self.shares.resize(tokens, 0.0);
        for head in (0..width).step_by(dimensions) {
            let part = |row: &'_ [f32], part: usize| -> std::ops::Range<usize> {
                let start = (part * width + head).min(row.len());
                start..(start + dimensions).min(row.len())
            };
            let rows = || self.queries_keys_values.chunks_exact(3 * width);
            for (token, row) in rows().enumerate() {
                let key = row.get(part(row, 1)).unwrap_or_default();
                for (column, &x) in self.keys.chunks_exact_mut(tokens).zip(key) {
                    if let Some(place) = column.get_mut(token) {
                        *place = x;
                    }
                }
            }
            for (row, context) in rows().zip(self.context.chunks_exact_mut(width)) {
                let query = row.get(part(row, 0)).unwrap_or_default();
                self.shares.fill(0.0);
                weighted_sum(&mut self.shares, query, self.keys.chunks_exact(tokens));
                let total = softmax(&mut self.shares, scale);
                let context = context.get_mut(head..head + dimensions).unwrap_or_default();
                let values = rows().map(|row| row.get(part(row, 2)).unwrap_or_default());
                weighted_sum(context, &self.shares, values);
                for x in context {
                    *x *= total;
                }
            }
        }
    }
}

/// Adds Σ weight·row to the target, row after row; four rows at a time, which changes no element's order.
#[inline(always)]
fn weighted_sum<'a>(target: &mut [f32], weights: &[f32], mut rows: impl Iterator<Item = &'a [f32]>) {
    let (quads, rest) = weights.as_chunks::<4>();
    for &[a, b, c, d] in quads {
        let four = [(); 4].map(|()| rows.next().unwrap_or_default());
        let [first, second, third, fourth] = four;
        for ((((x, first), second), third), fourth) in target.iter_mut().zip(first).zip(second).zip(third).zip(fourth) {
            *x = (((*x + a * first) + b * second) + c * third) + d * fourth;
        }
    }
    for (&weight, row) in rest.iter().zip(rows) {
        for (x, y) in target.iter_mut().zip(row) {
            *x += weight * y;
        }
    }
}

/// Makes scores e^(scale·score) of the highest score's, and returns the inverse of their sum.
#[inline(always)]
fn softmax(scores: &mut [f32], scale: f32) -> f32 {
    let (_, greatest) = bounds(scores);
    for score in &mut *scores {
        *score = exp((*score - greatest) * scale);
    }
    1.0 / sum(scores)
}

#[inline(always)]
fn add_and_normalise(hidden: &mut [f32], added: &[f32], with: Norm<'_>, view: &View<'_>) {
    let width = view.shape.width;
    for (row, added) in hidden.chunks_exact_mut(width).zip(added.chunks_exact(width)) {
        for (x, y) in row.iter_mut().zip(added) {
            *x += y;
        }
        norm(row, with, view.shape.epsilon);
    }
}

/// Rows of activations in 7 bits, each with the step and the least value that give it back: x ≈ least + step·q.
#[derive(Default)]
struct Quantised {
    values: Vec<Level>,
    rows: Vec<Row>,
    width: usize,
}

#[derive(Clone, Copy)]
struct Row {
    least: f32,
    step: f32,
}

impl Quantised {
    #[inline(always)]
    fn read(&mut self, activations: &[f32], width: usize) {
        self.width = width;
        self.rows.clear();
        self.values.resize(activations.len(), 0);
        for (row, values) in activations.chunks_exact(width).zip(self.values.chunks_exact_mut(width)) {
            let (least, greatest) = bounds(row);
            let range = greatest - least;
            let inverse = if range > 0.0 { 127.0 / range } else { 0.0 };
            for (value, x) in values.iter_mut().zip(row) {
                *value = round_to_byte((x - least) * inverse).into();
            }
            self.rows.push(Row { least, step: range / 127.0 });
        }
    }
}

/// `output` = activations · weights + bias, a row a token:
/// step·(scale·Σ q·weight) + (least·offset + bias), where the offset is the scale times the sum of the weights.
#[expect(clippy::cast_precision_loss, reason = "a sum is rounded once, everywhere alike")]
#[inline(always)]
fn linear(kernel: Kernel, quantised: &Quantised, linear: &Linear<'_>, sums: &mut Vec<i32>, output: &mut [f32]) {
    let (inputs, outputs) = (quantised.width, linear.scales.len());
    let chunks = linear.scales.chunks(OUTPUTS).zip(linear.offsets.chunks(OUTPUTS)).zip(linear.biases.chunks(OUTPUTS));
    let chunks = chunks.zip(linear.weights.chunks(OUTPUTS * inputs));
    for (chunk, (((scales, offsets), biases), weights)) in chunks.enumerate() {
        let summed = scales.len().next_multiple_of(PANEL);
        sums.resize(quantised.rows.len() * summed, 0);
        kernel.products(&quantised.values, weights, inputs, sums, summed);
        let targets = output.chunks_exact_mut(outputs).zip(sums.chunks_exact(summed));
        for ((target, sums), &Row { least, step }) in targets.zip(&quantised.rows) {
            let target = target.get_mut(chunk * OUTPUTS..).unwrap_or_default();
            let parameters = scales.iter().zip(offsets).zip(biases);
            for ((y, &sum), ((scale, offset), bias)) in target.iter_mut().zip(sums).zip(parameters) {
                *y = step * (scale * sum as f32) + (least * offset + bias);
            }
        }
    }
}
