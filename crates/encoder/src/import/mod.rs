//! ONNX to a model: a graph is compared with the encoder's form by what it computes, whoever wrote it and however its nodes are named.
//!
//! 1. `graph`: the file is checked, and what depends on weights alone is computed (`fold`).
//! 2. `trace`: the graph is followed for one text of some tokens, unpadded: attention mask, token types and the arithmetic of
//!    shapes are then known numbers, and what is left are expressions of the token ids.
//! 3. `form`: the expressions are compared with the encoder's form, from the logits backwards.
//! 4. The same for other lengths, the longest included, which gives all positions; nothing but the positions may differ.
//!
//! A matrix that the file holds as int8 with a scale an output column keeps its steps; any other is quantised here.

mod attributes;
mod expression;
mod fold;
mod form;
mod function;
mod graph;
mod moves;
mod tensor;
mod trace;

use form::{Dense, Form, Norm, Words};
use graph::Source;
use tensor::{Numbers, Tensor, to_half};

use crate::blob::Blob;
use crate::packed::{LayerParts, LinearParts, ModelParts, NormParts, Shape, write};
use crate::wordpiece;

/// The texts' lengths for which a graph is followed besides the longest, in tokens.
const LENGTHS: [usize; 2] = [3, 7];

/// Why a release cannot be packed for this engine; another engine may run it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The network is not one that this engine runs. The nodes that do not fit are named, one a line.
    #[error("not an ONNX classifier that can be run: {0}")]
    Model(String),
    /// The tokenizer is not one that this engine runs.
    #[error("not a tokenizer that can be read: {0}")]
    Tokenizer(String),
}

/// Packs a network (ONNX) and its tokenizer (a Hugging Face `tokenizer.json`).
pub fn pack(onnx: &[u8], tokenizer: &[u8]) -> Result<Blob, ImportError> {
    let table = wordpiece::import(tokenizer).map_err(ImportError::Tokenizer)?;
    let model = read(onnx).map_err(ImportError::Model)?;
    write(&model, &table).map_err(|problem| ImportError::Model(problem.to_owned()))
}

fn read(onnx: &[u8]) -> Result<ModelParts, String> {
    let (graph, opset) = graph::decode(onnx)?;
    let source = Source::read(&graph, opset)?;
    let [first, second] = LENGTHS;
    let short = find(&source, first)?;
    let mut refused = None;
    for positions in position_counts(&source, &short) {
        if positions < first {
            continue;
        }
        let found = find(&source, positions).and_then(|whole| {
            let middle = find(&source, second.min(positions))?;
            same(&short, &whole)?;
            same(&middle, &whole)?;
            parts(&source, &whole, positions)
        });
        match found {
            Ok(parts) => return Ok(parts),
            Err(problem) => {
                refused.get_or_insert(format!("for texts of {positions} tokens: {problem}"));
            }
        }
    }
    Err(refused.unwrap_or_else(|| "the embeddings of the positions come from no table".into()))
}

/// The form for texts of one length.
fn find(source: &Source<'_>, tokens: usize) -> Result<Form, String> {
    let trace = trace::trace(source, tokens).map_err(|misfits| source.report(misfits))?;
    form::find(&trace, tokens).map_err(|misfits| source.report(misfits))
}

/// How many positions there may be, the greatest number first: the rows of the tables that are added to the words' embeddings.
fn position_counts(source: &Source<'_>, form: &Form) -> Vec<usize> {
    let mut counts = std::collections::BTreeSet::new();
    let mut seen = std::collections::HashSet::new();
    let mut places = form.position_nodes.clone();
    while let Some(node) = places.pop().and_then(|place| source.nodes.get(place)) {
        for name in node.inputs.iter().map(String::as_str) {
            if let Some(tensor) = source.constants.get(name)
                && let [.., rows, width] = tensor.sizes.as_slice()
                && *width == form.width
                && tensor.as_floats().is_some()
            {
                counts.insert(*rows);
            }
            if let Some(&place) = source.producers.get(name)
                && !form.text_nodes.contains(&place)
                && seen.insert(place)
            {
                places.push(place);
            }
        }
    }
    counts.into_iter().rev().collect()
}

/// Whether two lengths gave the same model.
fn same(short: &Form, long: &Form) -> Result<(), String> {
    let dense = |a: &Dense, b: &Dense| a.matrix.equals(&b.matrix) && a.biases == b.biases;
    let norm = |a: &Norm, b: &Norm| a.weights == b.weights && a.biases == b.biases;
    let layers = short.layers.iter().zip(&long.layers).all(|(a, b)| {
        dense(&a.query, &b.query)
            && dense(&a.key, &b.key)
            && dense(&a.value, &b.value)
            && dense(&a.attention_output, &b.attention_output)
            && norm(&a.attention_norm, &b.attention_norm)
            && dense(&a.intermediate, &b.intermediate)
            && dense(&a.output, &b.output)
            && norm(&a.output_norm, &b.output_norm)
    });
    let words = match (&short.words, &long.words) {
        (Words::Floats(a), Words::Floats(b)) => a.equals(b),
        (Words::Steps(a, a_scales), Words::Steps(b, b_scales)) => a.equals(b) && a_scales.equals(b_scales),
        _ => false,
    };
    let pooler = match (&short.pooler, &long.pooler) {
        (Some((a_function, a)), Some((b_function, b))) => a_function == b_function && dense(a, b),
        (None, None) => true,
        _ => false,
    };
    let shared = |form: &Form| {
        (form.width, form.layers.len(), form.heads, form.epsilon.to_bits(), form.activation, form.pooling)
    };
    let rest = shared(short) == shared(long) && norm(&short.embedding_norm, &long.embedding_norm);
    if layers
        && words
        && pooler
        && rest
        && dense(&short.head, &long.head)
        && long.positions.starts_with(&short.positions)
    {
        Ok(())
    } else {
        Err("the graph computes something else for texts of another length".into())
    }
}

/// A model to be packed.
fn parts(source: &Source<'_>, form: &Form, positions: usize) -> Result<ModelParts, String> {
    let width = form.width;
    let named = |node: usize, problem: &str| source.report(vec![graph::Misfit { node, problem: problem.to_owned() }]);
    let finite = |values: &[f32], node: usize| {
        if values.iter().all(|value| value.is_finite()) {
            Ok(())
        } else {
            Err(named(node, "its weights hold what is no number"))
        }
    };
    let linear = |dense: &Dense, inputs: usize, outputs: usize| {
        if dense.matrix.sizes != [inputs, outputs] {
            let problem =
                format!("expected weights of the shape {:?}, not {:?}", [inputs, outputs], dense.matrix.sizes);
            return Err(named(dense.node, &problem));
        }
        finite(&dense.biases, dense.node)?;
        let (weights, scales) = steps(&dense.matrix, inputs, outputs);
        finite(&dense.matrix.to_floats(), dense.node)?;
        finite(&scales, dense.node)?;
        Ok(LinearParts { weights, scales, biases: dense.biases.clone() })
    };
    let floats = |dense: &Dense, outputs: usize| {
        if dense.matrix.sizes != [width, outputs] {
            let problem = format!("expected weights of the shape {:?}, not {:?}", [width, outputs], dense.matrix.sizes);
            return Err(named(dense.node, &problem));
        }
        let weights = dense.matrix.to_floats();
        finite(&weights, dense.node)?;
        finite(&dense.biases, dense.node)?;
        Ok((transposed(&weights, outputs), dense.biases.clone()))
    };
    let norm = |norm: &Norm| {
        if norm.weights.len() != width {
            return Err(named(norm.node, &format!("expected the width {width}")));
        }
        finite(&norm.weights, norm.node)?;
        finite(&norm.biases, norm.node)?;
        Ok(NormParts { weights: norm.weights.clone(), biases: norm.biases.clone() })
    };
    let inner = form.layers.first().map_or(0, |layer| layer.intermediate.biases.len());
    if inner == 0 {
        return Err("the feed-forward part of the first layer has no width".to_owned());
    }
    let layers = form.layers.iter().map(|layer| {
        let mut queries_keys_values = linear(&layer.query, width, width)?;
        queries_keys_values.append(linear(&layer.key, width, width)?);
        queries_keys_values.append(linear(&layer.value, width, width)?);
        Ok(LayerParts {
            queries_keys_values,
            attention_output: linear(&layer.attention_output, width, width)?,
            attention_norm: norm(&layer.attention_norm)?,
            intermediate: linear(&layer.intermediate, width, inner)?,
            output: linear(&layer.output, inner, width)?,
            output_norm: norm(&layer.output_norm)?,
        })
    });
    let layers = layers.collect::<Result<Vec<_>, String>>()?;
    let embedding_node = form.embedding_norm.node;
    let (words, word_scales) = match &form.words {
        Words::Floats(table) => {
            let floats = table.to_floats();
            finite(&floats, embedding_node)?;
            quantised(&floats, width)
        }
        Words::Steps(table, scales) => {
            let Numbers::Bytes(steps) = &table.numbers else { return Err("the embeddings are not int8".into()) };
            let scales = scales.to_floats().to_vec();
            finite(&scales, embedding_node)?;
            (steps.to_vec(), scales)
        }
    };
    let halves: Option<Vec<u16>> = form.positions.iter().map(|&x| to_half(x)).collect();
    let halves =
        halves.ok_or_else(|| named(embedding_node, "the embeddings of the positions are no float16 numbers"))?;
    let labels = form.head.biases.len();
    let shape = Shape {
        layers: layers.len(),
        width,
        heads: form.heads,
        inner,
        labels,
        positions,
        vocabulary: word_scales.len(),
        epsilon: form.epsilon,
        activation: form.activation,
        pooling: form.pooling,
        pooler: form.pooler.as_ref().map(|(function, _)| *function),
    };
    shape.check().map_err(|problem| format!("{problem}: {shape:?}"))?;
    let pooler = form.pooler.as_ref().map(|(_, dense)| floats(dense, width)).transpose()?;
    let (head_weights, head_biases) = floats(&form.head, labels)?;
    let embedding_norm = norm(&form.embedding_norm)?;
    let positions = halves;
    Ok(ModelParts { shape, words, word_scales, positions, embedding_norm, layers, pooler, head_weights, head_biases })
}

/// A matrix `[inputs, outputs]` as int8 by output, and a scale an output.
fn steps(matrix: &Tensor, inputs: usize, outputs: usize) -> (Vec<i8>, Vec<f32>) {
    if let Some(tensor::Steps { steps, scales: Some(scales) }) = &matrix.steps
        && scales.len() == outputs
        && steps.len() == matrix.len()
    {
        return (transposed(steps, outputs), scales.to_vec());
    }
    quantised(&transposed(&matrix.to_floats(), outputs), inputs)
}

impl LinearParts {
    pub(super) fn append(&mut self, other: Self) {
        self.weights.extend(other.weights);
        self.scales.extend(other.scales);
        self.biases.extend(other.biases);
    }
}

/// Rows become columns.
fn transposed<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

/// Rows as int8, symmetric, each with one scale: its greatest absolute value becomes 127.
#[expect(clippy::cast_possible_truncation, reason = "within ±127")]
fn quantised(rows: &[f32], width: usize) -> (Vec<i8>, Vec<f32>) {
    let mut weights = Vec::with_capacity(rows.len());
    let mut scales = Vec::with_capacity(rows.len() / width.max(1));
    for row in rows.chunks_exact(width.max(1)) {
        let greatest = row.iter().fold(0.0_f32, |greatest, x| greatest.max(x.abs()));
        let scale = greatest.max(1e-8) / 127.0;
        weights.extend(row.iter().map(|x| (x / scale).round_ties_even() as i8));
        scales.push(scale);
    }
    (weights, scales)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests read releases and fixtures")]
mod tests;
