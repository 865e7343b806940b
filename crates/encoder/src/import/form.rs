//! The encoder's form, found in a trace from the logits backwards: head ← pooler ← pooling ← layers ← embeddings.

use std::collections::BTreeSet;

use super::expression::{Expression, Id, Operation};
use super::function;
use super::graph::Misfit;
use super::moves::Move;
use super::tensor::{Numbers, Tensor};
use super::trace::Trace;
use crate::math::Activation;
use crate::packed::Pooling;

/// Layers that are looked for.
const LAYERS_MAX: usize = 256;
/// How far a scale may be off, for graphs that hold it in float16.
const SCALE_ERROR_MAX: f32 = 1e-3;

/// A linear layer.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    input: Id,
    /// `[inputs, outputs]`.
    pub(super) matrix: Tensor,
    pub(super) biases: Vec<f32>,
    pub(super) node: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Norm {
    of: Id,
    pub(super) weights: Vec<f32>,
    pub(super) biases: Vec<f32>,
    epsilon: f32,
    pub(super) node: usize,
}

#[derive(Debug)]
pub(super) struct Layer {
    pub(super) query: Dense,
    pub(super) key: Dense,
    pub(super) value: Dense,
    pub(super) attention_output: Dense,
    pub(super) attention_norm: Norm,
    pub(super) intermediate: Dense,
    pub(super) output: Dense,
    pub(super) output_norm: Norm,
}

/// Word embeddings, a row a word.
#[derive(Debug)]
pub(super) enum Words {
    Floats(Tensor),
    /// int8 steps, and a scale a row.
    Steps(Tensor, Tensor),
}

/// A model for texts of one length.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) words: Words,
    pub(super) width: usize,
    /// What is added to the words' embeddings, `[tokens, width]`.
    pub(super) positions: Vec<f32>,
    /// The nodes that add it.
    pub(super) position_nodes: Vec<usize>,
    /// All nodes that compute what depends on the text.
    pub(super) text_nodes: BTreeSet<usize>,
    pub(super) embedding_norm: Norm,
    pub(super) layers: Vec<Layer>,
    pub(super) heads: usize,
    pub(super) epsilon: f32,
    pub(super) activation: Activation,
    pub(super) pooling: Pooling,
    pub(super) pooler: Option<(Activation, Dense)>,
    pub(super) head: Dense,
}

/// Finds the form, or says which nodes do not fit.
pub(super) fn find(trace: &Trace, tokens: usize) -> Result<Form, Vec<Misfit>> {
    let mut finder = Finder { expressions: &trace.expressions, tokens, misfits: Vec::new(), read: Read::default() };
    match finder.form(trace.output) {
        Ok(form) if finder.misfits.is_empty() => Ok(form),
        Ok(_) => Err(finder.misfits),
        Err(misfit) => {
            finder.misfits.push(misfit);
            Err(finder.misfits)
        }
    }
}

/// What all layers have in common, once it is known.
#[derive(Debug, Default)]
struct Read {
    heads: Option<usize>,
    activation: Option<Activation>,
    epsilon: Option<f32>,
}

struct Finder<'a> {
    expressions: &'a [Expression],
    tokens: usize,
    /// Those that leave the rest of the graph readable.
    misfits: Vec<Misfit>,
    read: Read,
}

/// What is left when moves and factors are taken off an expression.
struct Chain {
    base: Id,
    factor: f32,
    /// In the order in which they are made.
    moves: Vec<Move>,
}

impl Finder<'_> {
    fn form(&mut self, output: Id) -> Result<Form, Misfit> {
        let head = self.dense(output).ok_or_else(|| self.misfit(output, "the head, a linear layer"))?;
        let (pooler, pooled) = match self.function(head.input) {
            Some((function, inner)) => {
                let dense = self.dense(inner).ok_or_else(|| self.misfit(inner, "the pooler, a linear layer"))?;
                let input = dense.input;
                (Some((function, dense)), input)
            }
            None => (None, head.input),
        };
        let (pooling, mut hidden) = self.pooling(pooled)?;
        let mut layers = Vec::new();
        loop {
            let norm = self.norm(hidden)?;
            let sum = self.root(norm.of);
            if !matches!(self.operation(sum), Some(Operation::Sum(..))) {
                layers.reverse();
                let layers = layers.into_iter().flatten().collect();
                return self.embeddings(norm, sum, layers, pooling, pooler, head);
            }
            if layers.len() == LAYERS_MAX {
                return Err(self.misfit(sum, format!("{LAYERS_MAX} layers at most")));
            }
            let (layer, before) = self.layer(norm, sum)?;
            layers.push(layer);
            hidden = before;
        }
    }

    fn operation(&self, id: Id) -> Option<&Operation> {
        self.expressions.get(id).map(|expression| &expression.operation)
    }

    fn sizes(&self, id: Id) -> &[usize] {
        self.expressions.get(id).map(|expression| expression.sizes.as_slice()).unwrap_or_default()
    }

    fn node(&self, id: Id) -> usize {
        self.expressions.get(id).map_or(usize::MAX, |expression| expression.node)
    }

    fn misfit(&self, id: Id, expected: impl std::fmt::Display) -> Misfit {
        Misfit { node: self.node(id), problem: format!("expected {expected}") }
    }

    /// The same without changes of the shape that only add or drop dimensions of the size 1.
    fn root(&self, mut id: Id) -> Id {
        let lengths = |id: Id| self.sizes(id).iter().copied().filter(|&size| size != 1);
        while let Some(Operation::Moved(of, Move::Shape(_))) = self.operation(id) {
            if !lengths(id).eq(lengths(*of)) {
                break;
            }
            id = *of;
        }
        id
    }

    fn chain(&self, mut base: Id) -> Chain {
        let (mut factor, mut moves) = (1.0, Vec::new());
        loop {
            match self.operation(base) {
                Some(Operation::Moved(of, step)) => {
                    moves.push(step.clone());
                    base = *of;
                }
                Some(Operation::Scaled(of, by)) => {
                    factor *= by;
                    base = *of;
                }
                _ => break,
            }
        }
        moves.reverse();
        Chain { base, factor, moves }
    }

    /// Where each number of a moved expression stands in its base.
    fn order(&self, chain: &Chain) -> Option<Vec<usize>> {
        let counted = Tensor::counted(self.sizes(chain.base).to_vec()).ok()?;
        let moved = chain.moves.iter().try_fold(counted, |tensor, step| step.apply(&tensor)).ok()?;
        moved.to_sizes().ok()
    }

    /// x · matrix + biases; without biases they are zeros.
    fn dense(&self, id: Id) -> Option<Dense> {
        let id = self.root(id);
        let columns = *self.sizes(id).last()?;
        let (product, biases) = match self.operation(id)? {
            Operation::Plus(of, biases) => (*of, vector(biases, columns)?),
            Operation::Shifted(of, bias) => (*of, vec![*bias; columns]),
            _ => (id, vec![0.0; columns]),
        };
        let Operation::Matrix(input, matrix) = self.operation(self.root(product))? else { return None };
        if matrix.sizes.last() != Some(&columns) {
            return None;
        }
        Some(Dense { input: self.root(*input), matrix: matrix.clone(), biases, node: self.node(self.root(product)) })
    }

    /// Layer normalisation, as one operator or written out: (x - mean) / √(mean of squares + ε) · weights + biases.
    fn norm(&mut self, id: Id) -> Result<Norm, Misfit> {
        let found = self.norm_of(id).ok_or_else(|| self.misfit(id, "layer normalisation of the last dimension"))?;
        if !(found.epsilon.is_finite() && found.epsilon > 0.0) {
            return Err(self.misfit(id, format!("an epsilon above 0, not {}", found.epsilon)));
        }
        let first = *self.read.epsilon.get_or_insert(found.epsilon);
        if first.to_bits() != found.epsilon.to_bits() {
            let expected = format!("the epsilon {first} of the layers behind it, not {}", found.epsilon);
            self.misfits.push(self.misfit(id, expected));
        }
        Ok(found)
    }

    fn norm_of(&self, id: Id) -> Option<Norm> {
        let id = self.root(id);
        let width = *self.sizes(id).last()?;
        let node = self.node(id);
        if let Operation::Normalised(of, numbers) = self.operation(id)? {
            let weights = vector(&numbers.weights, width)?;
            let biases = match &numbers.biases {
                Some(biases) => vector(biases, width)?,
                None => vec![0.0; width],
            };
            return Some(Norm { of: *of, weights, biases, epsilon: numbers.epsilon, node });
        }
        let (scaled, biases) = match self.operation(id)? {
            Operation::Plus(of, biases) => (self.root(*of), vector(biases, width)?),
            Operation::Shifted(of, bias) => (self.root(*of), vec![*bias; width]),
            _ => (id, vec![0.0; width]),
        };
        let (normal, weights) = match self.operation(scaled)? {
            Operation::Times(of, weights) => (self.root(*of), vector(weights, width)?),
            Operation::Scaled(of, weight) => (self.root(*of), vec![*weight; width]),
            _ => (scaled, vec![1.0; width]),
        };
        let (centred, root) = match self.operation(normal)? {
            Operation::Quotient(centred, root) => (*centred, *root),
            &Operation::Multiplied(a, b) => match (self.operation(a)?, self.operation(b)?) {
                (_, Operation::Inverse(root)) => (a, *root),
                (Operation::Inverse(root), _) => (b, *root),
                _ => return None,
            },
            _ => return None,
        };
        let of = self.centred(centred)?;
        let Operation::Root(shifted) = self.operation(root)? else { return None };
        let Operation::Shifted(variance, epsilon) = self.operation(*shifted)? else { return None };
        let Operation::Mean(squares, axis) = self.operation(*variance)? else { return None };
        let base = match self.operation(*squares)? {
            Operation::Power(of, power) if (power - 2.0).abs() < f32::EPSILON => *of,
            Operation::Multiplied(a, b) if a == b => *a,
            _ => return None,
        };
        let is_last = axis + 1 == self.sizes(*squares).len();
        (is_last && self.centred(base)? == of).then_some(Norm { of, weights, biases, epsilon: *epsilon, node })
    }

    /// The x of x - mean(x) along the last dimension.
    fn centred(&self, id: Id) -> Option<Id> {
        let Operation::Difference(of, mean) = self.operation(id)? else { return None };
        let Operation::Mean(other, axis) = self.operation(*mean)? else { return None };
        let is_last = axis + 1 == self.sizes(*of).len() && self.sizes(id) == self.sizes(*of);
        (of == other && is_last).then_some(*of)
    }

    /// A function of each number by itself, and what it is a function of.
    fn function(&self, id: Id) -> Option<(Activation, Id)> {
        let id = self.root(id);
        let mut members = BTreeSet::new();
        let (mut leaves, mut open) = (BTreeSet::new(), vec![id]);
        while let Some(id) = open.pop() {
            let id = self.root(id);
            let parts = if self.dense(id).is_some() { Vec::new() } else { function::parts(self.operation(id)?) };
            if parts.is_empty() {
                leaves.insert(id);
            } else if members.insert(id) {
                open.extend(parts);
            }
            if members.len() > function::PARTS_MAX {
                return None;
            }
        }
        let leaf = *leaves.first().filter(|_| leaves.len() == 1)?;
        if members.iter().any(|&member| self.sizes(self.root(member)) != self.sizes(id)) {
            return None;
        }
        let members = members.into_iter().filter_map(|member| Some((member, self.operation(member)?)));
        function::name(leaf, members, |id| self.root(id)).map(|function| (function, leaf))
    }

    fn pooling(&self, id: Id) -> Result<(Pooling, Id), Misfit> {
        let id = self.root(id);
        let tokens_of = |of: Id, axis: usize| {
            let is_tokens = self.sizes(of).get(axis) == Some(&self.tokens) && axis + 2 == self.sizes(of).len();
            is_tokens.then(|| self.root(of))
        };
        let mean = match self.operation(id) {
            Some(&Operation::Mean(of, axis)) => tokens_of(of, axis),
            Some(&Operation::Scaled(total, factor)) => match self.operation(self.root(total)) {
                #[expect(clippy::cast_precision_loss, reason = "a text has few tokens")]
                Some(&Operation::Total(of, axis)) if near(factor * self.tokens as f32, 1.0) => tokens_of(of, axis),
                _ => None,
            },
            _ => None,
        };
        if let Some(of) = mean {
            return Ok((Pooling::Mean, of));
        }
        let chain = self.chain(id);
        let width = self.sizes(id).last().copied().unwrap_or(0);
        let is_hidden = self.sizes(chain.base).ends_with(&[self.tokens, width]) && near(chain.factor, 1.0);
        if is_hidden && self.order(&chain).is_some_and(|order| order.iter().copied().eq(0..width)) {
            return Ok((Pooling::First, self.root(chain.base)));
        }
        Err(self.misfit(id, "the first token's hidden state, or the mean over the tokens"))
    }

    /// The two parts of a sum: a linear layer, and what goes around it.
    fn residual(&self, sum: Id) -> Result<(Dense, Id), Misfit> {
        let misfit = || self.misfit(sum, "the sum of a linear layer and of the hidden state before it");
        let Some(&Operation::Sum(a, b)) = self.operation(sum) else { return Err(misfit()) };
        match (self.dense(a), self.dense(b)) {
            (Some(dense), None) => Ok((dense, self.root(b))),
            (None, Some(dense)) => Ok((dense, self.root(a))),
            _ => Err(misfit()),
        }
    }

    /// One layer, `None` where a part of it does not fit, and the hidden state before it.
    fn layer(&mut self, output_norm: Norm, sum: Id) -> Result<(Option<Layer>, Id), Misfit> {
        let (output, attended) = self.residual(sum)?;
        let intermediate = self.intermediate(&output, attended);
        let attention_norm = self.norm(attended)?;
        let (attention_output, before) = self.residual(self.root(attention_norm.of))?;
        let parts = self.attention(&attention_output, before);
        let mut noted = |misfit| self.misfits.push(misfit);
        let (intermediate, parts) = (intermediate.map_err(&mut noted).ok(), parts.map_err(&mut noted).ok());
        let layer = intermediate.zip(parts).map(|(intermediate, [query, key, value])| Layer {
            query,
            key,
            value,
            attention_output,
            attention_norm,
            intermediate,
            output,
            output_norm,
        });
        Ok((layer, before))
    }

    /// The feed-forward part's first linear layer.
    fn intermediate(&mut self, output: &Dense, attended: Id) -> Result<Dense, Misfit> {
        let (function, inner) = self
            .function(output.input)
            .ok_or_else(|| self.misfit(output.input, "GELU, its form with tanh, ReLU or tanh of a linear layer"))?;
        let dense =
            self.dense(inner).ok_or_else(|| self.misfit(inner, "the feed-forward part's first linear layer"))?;
        if dense.input != attended {
            return Err(misfit_at(dense.node, "the hidden state that is added behind the feed-forward part"));
        }
        let first = *self.read.activation.get_or_insert(function);
        if first != function {
            return Err(self.misfit(output.input, format!("{first:?} as in the layers behind it, not {function:?}")));
        }
        Ok(dense)
    }

    /// Queries, keys and values of softmax(query · key / √d) · value.
    fn attention(&mut self, output: &Dense, before: Id) -> Result<[Dense; 3], Misfit> {
        let merged = self.chain(output.input);
        let Some(&Operation::Product(shares, values)) = self.operation(merged.base) else {
            return Err(self.misfit(merged.base, "attention: the product of shares and values"));
        };
        let width = self.sizes(before).last().copied().unwrap_or(0);
        let &[.., tokens, dimensions] = self.sizes(merged.base) else {
            return Err(self.misfit(merged.base, "attention: shares and values a head"));
        };
        let heads = width.checked_div(dimensions).unwrap_or(0);
        let numbers: usize = self.sizes(merged.base).iter().product();
        if tokens != self.tokens || heads * dimensions != width || numbers != tokens * width {
            return Err(self.misfit(merged.base, "attention: heads that share the width"));
        }
        let split = Split { tokens, heads, dimensions };
        if !near(merged.factor, 1.0) || self.order(&merged) != Some(split.merged()) {
            return Err(self.misfit(output.input, "the heads side by side"));
        }
        let shares = self.root(shares);
        let Some(&Operation::Softmax(scores)) = self.operation(shares) else {
            return Err(self.misfit(shares, "attention: Softmax over the scores"));
        };
        let (mut scores, mut factor) = (self.root(scores), 1.0);
        while let Some(&Operation::Scaled(of, by)) = self.operation(scores) {
            factor *= by;
            scores = self.root(of);
        }
        let Some(&Operation::Product(queries, keys)) = self.operation(scores) else {
            return Err(self.misfit(scores, "attention: scores that are query · key / √d alone"));
        };
        let parts = [(queries, split.by_token()), (keys, split.by_dimension()), (values, split.by_token())];
        let [(query, q), (key, k), (value, v)] = parts.map(|(part, order)| self.part(part, &order, before, width));
        let (query, key, value) = (query?, key?, value?);
        #[expect(clippy::cast_precision_loss, reason = "a head has few dimensions")]
        let scale = factor * q * k * (dimensions as f32).sqrt();
        if !near(scale, 1.0) || !near(v, 1.0) {
            return Err(self.misfit(scores, format!("scores that are divided by √{dimensions}")));
        }
        let first = *self.read.heads.get_or_insert(heads);
        if first != heads {
            return Err(self.misfit(merged.base, format!("{first} heads as in the layers behind it, not {heads}")));
        }
        Ok([query, key, value])
    }

    /// Queries, keys or values, and their factor.
    fn part(&self, part: Id, order: &[usize], before: Id, width: usize) -> (Result<Dense, Misfit>, f32) {
        let chain = self.chain(part);
        let read = || {
            let dense = self.dense(chain.base);
            let dense = dense.ok_or_else(|| self.misfit(chain.base, "attention: a linear layer"))?;
            if dense.input != before {
                return Err(misfit_at(dense.node, "the hidden state that is added behind the attention"));
            }
            if dense.matrix.sizes != [width, width] || self.order(&chain).as_deref() != Some(order) {
                return Err(self.misfit(part, "queries, keys or values split into heads"));
            }
            Ok(dense)
        };
        (read(), chain.factor)
    }

    fn embeddings(
        &mut self,
        embedding_norm: Norm,
        sum: Id,
        layers: Vec<Layer>,
        pooling: Pooling,
        pooler: Option<(Activation, Dense)>,
        head: Dense,
    ) -> Result<Form, Misfit> {
        let mut id = sum;
        let (mut positions, mut position_nodes): (Option<Vec<f32>>, _) = (None, Vec::new());
        loop {
            let added = match self.operation(id) {
                Some(Operation::Plus(_, added)) => added.spread(self.sizes(id)).ok(),
                Some(Operation::Shifted(_, by)) => {
                    Tensor::filled(self.sizes(id).to_vec(), &Tensor::floats(Vec::new(), vec![*by])).ok()
                }
                _ => None,
            };
            let (Some(added), Some(Operation::Plus(of, _) | Operation::Shifted(of, _))) = (added, self.operation(id))
            else {
                break;
            };
            let added = added.to_floats();
            positions = Some(match positions {
                Some(before) => before.iter().zip(added.iter()).map(|(a, b)| a + b).collect(),
                None => added.to_vec(),
            });
            position_nodes.push(self.node(id));
            id = self.root(*of);
        }
        let (words, width) = self.words(id).ok_or_else(|| {
            self.misfit(id, "embeddings of the ids, or a layer's linear layer plus the hidden state before it")
        })?;
        let positions = positions.filter(|positions| positions.len() == self.tokens * width);
        let positions = positions.ok_or_else(|| self.misfit(sum, "embeddings of the positions"))?;
        let Read { heads, activation, epsilon } = self.read;
        let (Some(heads), Some(activation), Some(epsilon)) = (heads, activation, epsilon) else {
            return Err(self.misfit(sum, "a layer of attention and feed-forward"));
        };
        Ok(Form {
            words,
            width,
            positions,
            position_nodes,
            text_nodes: self.expressions.iter().map(|expression| expression.node).collect(),
            embedding_norm,
            layers,
            heads,
            epsilon,
            activation,
            pooling,
            pooler,
            head,
        })
    }

    fn words(&self, id: Id) -> Option<(Words, usize)> {
        let rows = |id: Id| {
            let Operation::Rows(table, ids) = self.operation(self.root(id))? else { return None };
            let chain = self.chain(*ids);
            let in_order = self.order(&chain)?.iter().copied().eq(0..self.tokens);
            (in_order && near(chain.factor, 1.0)).then_some(table)
        };
        if let &Operation::Multiplied(a, b) = self.operation(id)? {
            let (a, b) = (rows(a)?, rows(b)?);
            let (steps, scales) = if matches!(a.numbers, Numbers::Bytes(_)) { (a, b) } else { (b, a) };
            let (&[words, width], &[scaled, 1]) = (steps.sizes.as_slice(), scales.sizes.as_slice()) else {
                return None;
            };
            let is_stepped = matches!(steps.numbers, Numbers::Bytes(_)) && scales.as_floats().is_some();
            return (is_stepped && words == scaled).then(|| (Words::Steps(steps.clone(), scales.clone()), width));
        }
        let table = rows(id)?;
        let &[_, width] = table.sizes.as_slice() else { return None };
        table.as_floats()?;
        Some((Words::Floats(table.clone()), width))
    }
}

/// How the numbers of all tokens lie when they are split into heads.
struct Split {
    tokens: usize,
    heads: usize,
    dimensions: usize,
}

impl Split {
    /// `[tokens, heads, dimensions]` out of `[heads, tokens, dimensions]`.
    fn merged(&self) -> Vec<usize> {
        let row = |token: usize, head: usize| (head * self.tokens + token) * self.dimensions;
        let rows = (0..self.tokens).flat_map(|token| (0..self.heads).map(move |head| row(token, head)));
        rows.flat_map(|row| row..row + self.dimensions).collect()
    }

    /// `[heads, tokens, dimensions]` out of `[tokens, width]`.
    fn by_token(&self) -> Vec<usize> {
        let row = |head: usize, token: usize| (token * self.heads + head) * self.dimensions;
        let rows = (0..self.heads).flat_map(|head| (0..self.tokens).map(move |token| row(head, token)));
        rows.flat_map(|row| row..row + self.dimensions).collect()
    }

    /// `[heads, dimensions, tokens]` out of `[tokens, width]`.
    fn by_dimension(&self) -> Vec<usize> {
        let width = self.heads * self.dimensions;
        (0..width).flat_map(|column| (0..self.tokens).map(move |token| token * width + column)).collect()
    }
}

fn misfit_at(node: usize, expected: &str) -> Misfit {
    Misfit { node, problem: format!("expected {expected}") }
}

fn near(found: f32, expected: f32) -> bool {
    (found - expected).abs() <= SCALE_ERROR_MAX * expected
}

/// One number a column, however the dimensions before it are written.
fn vector(tensor: &Tensor, columns: usize) -> Option<Vec<f32>> {
    let is_row = tensor.len() == columns && tensor.sizes.last() == Some(&columns);
    is_row.then(|| tensor.to_floats().to_vec())
}
