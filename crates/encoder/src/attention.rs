//! Attention over all tokens of a text: softmax(query · key / √d) · value, for each head.
//!
//! Both products run on 16-bit integers with as many steps as 32-bit sums allow. Queries and keys have a step of their own for each token, values for
//! each dimension; the shares of attention, before they are divided by their sum, have a fixed one.

use crate::kernel::{Kernel, Wide, WidePanels};
use crate::lanes::{LANES, Lanes};
use crate::math::{Function, ROUND, Steps, bounds, power_of_two, scale};

/// Tokens whose shares of attention are computed together.
const BLOCK: usize = 32;
/// What is not greater than this counts as 0, so that no step's inverse is infinite.
const LEAST: f32 = 1e-30;

/// Room for what attention computes on the way.
#[derive(Default)]
pub(crate) struct Attention {
    /// A token's step and its inverse, over all heads.
    query_steps: Vec<(f32, f32)>,
    key_steps: Vec<(f32, f32)>,
    /// A dimension's, over all tokens.
    value_steps: Vec<f32>,
    inverse_value_steps: Vec<f32>,
    queries: Wide,
    keys: WidePanels,
    values: WidePanels,
    shares: Wide,
    /// One over the sum of each row of `shares`.
    inverse_sums: Vec<f32>,
    scores: Vec<f32>,
    key_scales: Vec<f32>,
    /// Keys or values as integers.
    shifted: Vec<f32>,
}

impl Attention {
    /// `queries_keys_values` has a row of three times `width` numbers a token; `context` gets a row of `width` numbers, and `sums` is room.
    #[inline(always)]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a head has few dimensions; a sum is rounded once, everywhere alike"
    )]
    pub(crate) fn run(
        &mut self,
        kernel: Kernel,
        queries_keys_values: &[f32],
        width: usize,
        heads: usize,
        context: &mut [f32],
        sums: &mut Vec<i32>,
    ) {
        let dimensions = width / heads;
        // Powers of 2 are quicker than those of e.
        let score_scale = std::f32::consts::LOG2_E / (dimensions as f32).sqrt();
        self.choose_steps(queries_keys_values, width, dimensions);
        for head in (0..width).step_by(dimensions) {
            self.read(queries_keys_values, width, head, dimensions);

            let blocks = context.chunks_mut(BLOCK * width).zip(queries_keys_values.chunks(BLOCK * 3 * width));
            for (block, (context, rows)) in blocks.enumerate() {
                let first = block * BLOCK;
                self.queries.clear(context.len() / width, dimensions);
                for (row, (_, inverse)) in rows.chunks_exact(3 * width).zip(self.query_steps.iter().skip(first)) {
                    self.queries.push(part(row, head, dimensions), 0.0, &mut Steps::new(0.0, *inverse));
                }
                kernel.wide(&self.queries, &self.keys, sums);

                self.share(sums, first, score_scale);
                kernel.wide(&self.shares, &self.values, sums);

                let rows = context.chunks_exact_mut(width).zip(sums.chunks_exact(self.values.outputs()));
                for ((row, sums), inverse) in rows.zip(&self.inverse_sums) {
                    let row = row.get_mut(head..head + dimensions).unwrap_or_default();
                    for ((x, &sum), step) in row.iter_mut().zip(sums).zip(part(&self.value_steps, head, dimensions)) {
                        *x = sum as f32 * inverse * step;
                    }
                }
            }
        }
    }

    /// Chooses the steps: a token's for queries and keys, a dimension's for values.
    #[inline(always)]
    fn choose_steps(&mut self, queries_keys_values: &[f32], width: usize, dimensions: usize) {
        let rows = || queries_keys_values.chunks_exact(3 * width);
        let most = steps(dimensions);
        self.query_steps.clear();
        self.key_steps.clear();
        self.key_scales.clear();
        self.value_steps.clear();
        self.value_steps.resize(width, 0.0);
        for row in rows() {
            self.query_steps.push(step(part(row, 0, width), most));
            let (step, inverse) = step(part(row, width, width), most);
            self.key_steps.push((step, inverse));
            self.key_scales.push(step);
            for (greatest, x) in self.value_steps.iter_mut().zip(part(row, 2 * width, width)) {
                // Floats that are not below 0 have the order of their bits.
                *greatest = f32::from_bits(greatest.to_bits().max(x.abs().to_bits()));
            }
        }
        let most = steps(self.key_steps.len());
        self.inverse_value_steps.clear();
        for greatest in &mut self.value_steps {
            self.inverse_value_steps.push(if *greatest > LEAST { most / *greatest } else { 0.0 });
            *greatest /= most;
        }
    }

    /// Reads a head's keys and values.
    #[inline(always)]
    fn read(&mut self, queries_keys_values: &[f32], width: usize, head: usize, dimensions: usize) {
        let tokens = self.key_steps.len();
        self.keys.clear(dimensions, tokens);
        self.shifted.clear();
        self.shifted.resize(dimensions * WidePanels::BLOCK, ROUND);
        let rows = queries_keys_values.chunks_exact(3 * width);
        for (token, (row, (_, inverse))) in rows.zip(&self.key_steps).enumerate() {
            for (place, x) in self.shifted.iter_mut().zip(part(row, width + head, dimensions)) {
                *place = x * inverse + ROUND;
            }
            self.keys.column(token, part(&self.shifted, 0, dimensions));
        }
        self.values.clear(tokens, dimensions);
        let inverses = part(&self.inverse_value_steps, head, dimensions);
        for (block, rows) in queries_keys_values.chunks(3 * width * WidePanels::BLOCK).enumerate() {
            self.shifted.fill(ROUND);
            for (places, row) in self.shifted.chunks_exact_mut(dimensions).zip(rows.chunks_exact(3 * width)) {
                for ((place, x), inverse) in
                    places.iter_mut().zip(part(row, 2 * width + head, dimensions)).zip(inverses)
                {
                    *place = x * inverse + ROUND;
                }
            }
            self.values.block(block, &self.shifted, dimensions);
        }
    }

    /// Makes shares of products of queries and keys: e^score of the greatest score's.
    #[inline(always)]
    fn share(&mut self, products: &[i32], first: usize, score_scale: f32) {
        let (tokens, padded) = (self.key_steps.len(), self.keys.outputs().max(1));
        let share_steps = steps(tokens);
        self.shares.clear(products.len() / padded, tokens);
        self.inverse_sums.clear();
        self.scores.resize(tokens, 0.0);
        for (products, (step, _)) in products.chunks_exact(padded).zip(self.query_steps.iter().skip(first)) {
            let greatest = scale(products, &self.key_scales, &mut self.scores);
            let mut shares = Shares::new(greatest, step * score_scale, share_steps);
            self.shares.push(&self.scores, f32::MIN, &mut shares);
            self.inverse_sums.push(1.0 / shares.sum());
        }
    }
}

/// The share of a score, in steps, with [`ROUND`] added, and their sum.
struct Shares {
    greatest: Lanes,
    scale: Lanes,
    steps: Lanes,
    sum: Lanes,
}

impl Shares {
    #[inline(always)]
    fn new(greatest: f32, scale: f32, steps: f32) -> Self {
        let [greatest, scale, steps, sum] = [greatest, scale, steps, 0.0].map(Lanes::splat);
        Self { greatest, scale, steps, sum }
    }

    #[inline(always)]
    fn sum(&self) -> f32 {
        let mut sums = [0.0; LANES];
        self.sum.store(&mut sums);
        sums.iter().sum()
    }
}

impl Function for Shares {
    #[inline(always)]
    fn of(&mut self, score: Lanes) -> Lanes {
        let round = Lanes::splat(ROUND);
        let share = power_of_two(score.minus(self.greatest).times(self.scale));
        let shifted = share.times(self.steps).plus(round);
        // Integers, and fewer than 2²⁴ in all: exact in any order.
        self.sum = self.sum.plus(shifted.minus(round));
        shifted
    }
}

/// A part of a token's row.
#[inline(always)]
fn part(row: &[f32], start: usize, length: usize) -> &[f32] {
    row.get(start..start + length).unwrap_or_default()
}

/// The most steps of two factors whose products, `terms` of them, add up to less than 2³¹.
#[inline(always)]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small integers")]
fn steps(terms: usize) -> f32 {
    let most = (f64::from(i32::MAX) / terms.max(1) as f64).sqrt().floor();
    most.min(32_767.0) as f32
}

/// The step that gives a row `most` steps on either side of 0, and its inverse; for a row of zeros some step that is not 0, so that scores beyond the last
/// token stay below all others, and the inverse 0.
#[inline(always)]
fn step(row: &[f32], most: f32) -> (f32, f32) {
    let (least, greatest) = bounds(row);
    let greatest = if -least > greatest { -least } else { greatest };
    if greatest > LEAST { (greatest / most, most / greatest) } else { (1.0, 0.0) }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
mod tests {
    use super::*;

    /// With queries of zeros each token gets the mean of the values, however many tokens fill the last lanes.
    #[test]
    fn queries_of_zeros_attend_to_all_tokens_alike() {
        let (width, heads) = (24, 3);
        for tokens in [1, 2, 3, 5, 15, 16, 17, 33, 70] {
            let number = |token: usize, place: usize| ((token * 31 + place * 7) % 19) as f32 - 9.0;
            let row =
                |token: usize| (0..3 * width).map(move |place| if place < width { 0.0 } else { number(token, place) });
            let rows: Vec<f32> = (0..tokens).flat_map(row).collect();
            for kernel in Kernel::available() {
                let mut context = vec![0.0; tokens * width];
                Attention::default().run(kernel, &rows, width, heads, &mut context, &mut Vec::new());
                for (place, x) in context.iter().enumerate() {
                    let values = (0..tokens).map(|token| number(token, 2 * width + place % width));
                    let mean = values.sum::<f32>() / tokens as f32;
                    assert!((x - mean).abs() < 0.01, "{kernel}, {tokens} tokens: {x} is not {mean}");
                }
            }
        }
    }
}
