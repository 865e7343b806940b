//! Token ids to logits: the encoder's forward pass for one text, without padding.

use crate::attention::Attention;
use crate::kernel::{Kernel, Narrow, PANEL, Work};
use crate::math::{Steps, bounds, change, dot, from_half, normalise};
use crate::packed::{Layer, Linear, Norm, Packed, Pooling, View};

/// Tokens whose activations are quantised together: few enough that they stay near the processor, enough to read the weights
/// seldom.
const BLOCK: usize = 64;
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
        let layers = view.shape.layers;
        self.kernel().run(Layers { kernel: self.kernel(), view: &view, hidden: &mut hidden, count: layers });
        let pooled = pool(&view, &hidden);
        let rows = view.head_weights.chunks_exact(view.shape.width).zip(view.head_biases);
        Ok(rows.map(|(weights, bias)| dot(&pooled, weights) + bias).collect())
    }

    /// What the first `layers` layers make of the ids, `[tokens, width]`; for comparison with other engines.
    pub fn hidden(&self, ids: &[u32], layers: usize) -> Result<Vec<f32>, ScoreError> {
        let view = self.view()?;
        let mut hidden = embed(&view, ids)?;
        self.kernel().run(Layers { kernel: self.kernel(), view: &view, hidden: &mut hidden, count: layers });
        Ok(hidden)
    }
}

/// The first layers, in place.
struct Layers<'a> {
    kernel: Kernel,
    view: &'a View<'a>,
    hidden: &'a mut [f32],
    count: usize,
}

impl Work for Layers<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut scratch = Scratch::default();
        for layer in self.view.layers.iter().take(self.count) {
            scratch.run(self.kernel, self.view, layer, self.hidden);
        }
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
    change(&mut pooled, function);
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
    /// A block's inner activations, and what a layer's part adds to a block.
    inner: Vec<f32>,
    added: Vec<f32>,
    quantised: Quantised,
    sums: Vec<i32>,
    attention: Attention,
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
        self.context.clear();
        self.context.resize(hidden.len(), 0.0);
        self.attention.run(
            kernel,
            &self.queries_keys_values,
            width,
            view.shape.heads,
            &mut self.context,
            &mut self.sums,
        );
        for (block, context) in hidden.chunks_mut(BLOCK * width).zip(self.context.chunks(BLOCK * width)) {
            self.quantised.read(context, width);

            self.added.resize(block.len(), 0.0);
            linear(kernel, &self.quantised, &layer.attention_output, &mut self.sums, &mut self.added);

            add_and_normalise(block, &self.added, layer.attention_norm, view);

            self.quantised.read(block, width);

            self.inner.resize(block.len() / width * view.shape.inner, 0.0);
            linear(kernel, &self.quantised, &layer.intermediate, &mut self.sums, &mut self.inner);

            change(&mut self.inner, view.shape.activation);

            self.quantised.read(&self.inner, view.shape.inner);

            linear(kernel, &self.quantised, &layer.output, &mut self.sums, &mut self.added);

            add_and_normalise(block, &self.added, layer.output_norm, view);
        }
    }
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
    values: Narrow,
    rows: Vec<Row>,
}

#[derive(Clone, Copy)]
struct Row {
    least: f32,
    step: f32,
}

impl Quantised {
    #[inline(always)]
    fn read(&mut self, activations: &[f32], width: usize) {
        self.rows.clear();
        self.values.clear(activations.len() / width, width);
        for row in activations.chunks_exact(width) {
            let (least, greatest) = bounds(row);
            let range = greatest - least;
            let inverse = if range > 0.0 { 127.0 / range } else { 0.0 };
            self.values.push(row, least, &mut Steps::new(least, inverse));
            self.rows.push(Row { least, step: range / 127.0 });
        }
    }
}

/// `output` = activations · weights + bias, a row a token:
/// step·(scale·Σ q·weight) + (least·offset + bias), where the offset is the scale times the sum of the weights.
#[expect(clippy::cast_precision_loss, reason = "a sum is rounded once, everywhere alike")]
#[inline(always)]
fn linear(kernel: Kernel, quantised: &Quantised, linear: &Linear<'_>, sums: &mut Vec<i32>, output: &mut [f32]) {
    let (inputs, outputs) = (quantised.values.inputs(), linear.scales.len());
    let chunks = linear.scales.chunks(OUTPUTS).zip(linear.offsets.chunks(OUTPUTS)).zip(linear.biases.chunks(OUTPUTS));
    let chunks = chunks.zip(linear.weights.chunks(OUTPUTS * inputs));
    for (chunk, (((scales, offsets), biases), weights)) in chunks.enumerate() {
        kernel.narrow(&quantised.values, weights, sums);

        let summed = scales.len().next_multiple_of(PANEL);
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
