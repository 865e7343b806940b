//! ONNX to a model: the graph is compared node by node with the form that `training/palisade_training/onnx_export.py` writes.
//!
//! The sizes come from the file. A matrix may be stored as float16 (it is quantised here, one scale an output column) or as int8
//! with its scales. Whatever else differs is refused, and the first node that does not fit is named.

use std::collections::HashMap;

use prost::Message;

use crate::blob::Blob;
use crate::math::from_half;
use crate::onnx::{Attribute, FLOAT, FLOAT16, Graph, INT8, INT64, Model, Node, Tensor};
use crate::packed::{Activation, LayerParts, LinearParts, ModelParts, NormParts, Pooling, Shape, write};
use crate::wordpiece;

/// The version of ONNX's operators that the graph is written in.
const OPSET: i64 = 17;

/// Why a release cannot be packed for this engine; another engine may run it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The network is not one that this engine runs.
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
    let model = Model::decode(onnx).map_err(|e| format!("not an ONNX file: {e}"))?;
    let opset = model.opsets.iter().find(|opset| opset.domain.is_empty()).map(|opset| opset.version);
    if opset != Some(OPSET) {
        return Err(format!("the graph is not in version {OPSET} of ONNX's operators"));
    }
    let graph = model.graph.ok_or("there is no graph")?;
    let names = |values: &[crate::onnx::Value]| values.iter().map(|value| value.name.clone()).collect::<Vec<_>>();
    if names(&graph.inputs) != ["input_ids"] || names(&graph.outputs) != ["logits"] {
        return Err("the graph does not lead from input_ids alone to logits alone".into());
    }
    Reader::new(&graph).model()
}

/// The wanted attributes of a node.
enum Wanted<'a> {
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
}

impl Wanted<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Int(name, _) | Self::Ints(name, _) => name,
        }
    }

    fn fits(&self, attribute: &Attribute) -> bool {
        attribute.name == self.name()
            && match *self {
                Self::Int(_, int) => attribute.int == int,
                Self::Ints(_, ints) => attribute.ints == ints,
            }
    }

    fn describe(&self) -> String {
        match self {
            Self::Int(name, int) => format!("{name} = {int}"),
            Self::Ints(name, ints) => format!("{name} = {ints:?}"),
        }
    }
}

struct Reader<'a> {
    nodes: std::slice::Iter<'a, Node>,
    initializers: HashMap<&'a str, &'a Tensor>,
    /// The file's one epsilon, once known.
    epsilon: Option<f32>,
}

impl<'a> Reader<'a> {
    fn new(graph: &'a Graph) -> Self {
        let initializers = graph.initializers.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        Self { nodes: graph.nodes.iter(), initializers, epsilon: None }
    }

    fn model(mut self) -> Result<ModelParts, String> {
        self.constant("gelu.inverse_sqrt_two", std::f32::consts::FRAC_1_SQRT_2)?;
        self.constant("gelu.one", 1.0)?;
        self.constant("gelu.half", 0.5)?;

        self.node("Gather", "word.rows", &["word.int8", "input_ids"], &[Wanted::Int("axis", 0)])?;
        self.node("Cast", "word.rows.float", &["word.rows"], &[Wanted::Int("to", FLOAT.into())])?;
        self.node("Gather", "word.row_scales", &["word.scale", "input_ids"], &[Wanted::Int("axis", 0)])?;
        self.node("Mul", "word", &["word.rows.float", "word.row_scales"], &[])?;
        let [vocabulary, width] = self.sizes("word.int8")?;
        let words = self.bytes("word.int8", &[vocabulary, width])?;
        let word_scales = self.floats("word.scale", &[vocabulary, 1])?;

        self.node("Shape", "tokens", &["input_ids"], &[Wanted::Int("start", 1), Wanted::Int("end", 2)])?;
        let cast = [Wanted::Int("to", FLOAT.into())];
        self.node("Cast", "position.weight", &["position.weight.float16"], &cast)?;
        let slice = ["position.weight", "zero", "tokens", "first_axis"];
        self.node("Slice", "position", &slice, &[])?;
        self.integers("zero", &[0])?;
        self.integers("first_axis", &[0])?;
        let [positions, _] = self.sizes("position.weight.float16")?;
        let position_weights = self.halves("position.weight.float16", &[positions, width])?;
        self.node("Add", "embeddings", &["word", "position"], &[])?;
        let embedding_norm = self.norm("embedding_norm", "embeddings", width)?;

        let mut shape = Shape {
            layers: 0,
            width,
            heads: 0,
            inner: 0,
            labels: 0,
            positions,
            vocabulary,
            epsilon: 0.0,
            activation: Activation::Gelu,
            pooling: Pooling::Mean,
            pooler: None,
        };
        let mut layers = Vec::new();
        let mut hidden = "embedding_norm".to_owned();
        while self.nodes.as_slice().first().is_some_and(|node| node.op != "ReduceMean") {
            layers.push(self.layer(&format!("layers.{}", layers.len()), &hidden, &mut shape)?);
            hidden = format!("layers.{}.output_norm", layers.len() - 1);
        }
        let mean = [Wanted::Ints("axes", &[1]), Wanted::Int("keepdims", 0)];
        self.node("ReduceMean", "pooled", &[&hidden], &mean)?;
        self.node("MatMul", "head.product", &["pooled", "head.weight"], &[])?;
        self.node("Add", "logits", &["head.product", "head.bias"], &[])?;
        if let Some(node) = self.nodes.next() {
            return Err(format!("node {:?} ({}) comes after the logits", node.name, node.op));
        }
        let [_, labels] = self.sizes("head.weight")?;
        let head_weights = transposed(&self.floats("head.weight", &[width, labels])?, labels);
        let head_biases = self.floats("head.bias", &[labels])?;

        shape = Shape { layers: layers.len(), labels, epsilon: self.epsilon.unwrap_or_default(), ..shape };
        shape.check().map_err(|problem| format!("{problem}: {shape:?}"))?;
        let positions = position_weights;
        let parts = ModelParts {
            shape,
            words,
            word_scales,
            positions,
            embedding_norm,
            layers,
            pooler: None,
            head_weights,
            head_biases,
        };
        Ok(parts)
    }

    fn layer(&mut self, layer: &str, hidden: &str, shape: &mut Shape) -> Result<LayerParts, String> {
        let width = shape.width;
        let [query, key, value] =
            [("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])].map(|(part, order)| {
                let name = format!("{layer}.{part}");
                (name, order)
            });
        let mut parts = LinearParts::default();
        for (name, order) in [&query, &key] {
            parts.append(self.part(layer, name, hidden, order, shape)?);
        }
        let transposed = |name: &str| format!("{name}.transposed");
        let inputs = [transposed(&query.0), transposed(&key.0)];
        let [scores, scaled] = ["scores", "scaled_scores"].map(|name| format!("{layer}.{name}"));
        self.node("MatMul", &scores, &[&inputs[0], &inputs[1]], &[])?;
        let scale = format!("{layer}.scale");
        self.node("Mul", &scaled, &[&scores, &scale], &[])?;
        #[expect(clippy::cast_precision_loss, reason = "a head has few dimensions")]
        self.constant(&scale, 1.0 / ((width / shape.heads) as f32).sqrt())?;
        let share = format!("{layer}.share");
        self.node("Softmax", &share, &[&scaled], &[Wanted::Int("axis", -1)])?;
        parts.append(self.part(layer, &value.0, hidden, &value.1, shape)?);
        let context = format!("{layer}.context");
        self.node("MatMul", &context, &[&share, &transposed(&value.0)], &[])?;
        let [turned, merged] = [transposed(&context), format!("{context}.merged")];
        self.node("Transpose", &turned, &[&context], &[Wanted::Ints("perm", &[0, 2, 1, 3])])?;
        let merge = format!("{layer}.merge");
        self.node("Reshape", &merged, &[&turned, &merge], &[])?;
        self.integers(&merge, &[0, 0, size_as_i64(width)])?;

        let [attention_output, attended] = ["attention_output", "attended"].map(|name| format!("{layer}.{name}"));
        let attention_output_parts = self.linear(&attention_output, &merged, width, Some(width))?;
        self.node("Add", &attended, &[hidden, &attention_output], &[])?;
        let attention_norm_name = format!("{layer}.attention_norm");
        let attention_norm = self.norm(&attention_norm_name, &attended, width)?;

        let [intermediate, gelu] = ["intermediate", "gelu"].map(|name| format!("{layer}.{name}"));
        let intermediate_parts = self.linear(&intermediate, &attention_norm_name, width, None)?;
        shape.inner = intermediate_parts.scales.len();
        let [scaled, erf, raised, product] =
            ["scaled", "erf", "raised", "product"].map(|name| format!("{gelu}.{name}"));
        self.node("Mul", &scaled, &[&intermediate, "gelu.inverse_sqrt_two"], &[])?;
        self.node("Erf", &erf, &[&scaled], &[])?;
        self.node("Add", &raised, &[&erf, "gelu.one"], &[])?;
        self.node("Mul", &product, &[&intermediate, &raised], &[])?;
        self.node("Mul", &gelu, &[&product, "gelu.half"], &[])?;
        let [output, transformed] = ["output", "transformed"].map(|name| format!("{layer}.{name}"));
        let output_parts = self.linear(&output, &gelu, shape.inner, Some(width))?;
        self.node("Add", &transformed, &[&attention_norm_name, &output], &[])?;
        let output_norm = self.norm(&format!("{layer}.output_norm"), &transformed, width)?;
        Ok(LayerParts {
            queries_keys_values: parts,
            attention_output: attention_output_parts,
            attention_norm,
            intermediate: intermediate_parts,
            output: output_parts,
            output_norm,
        })
    }

    /// Queries, keys or values, split into heads.
    fn part(
        &mut self,
        layer: &str,
        name: &str,
        hidden: &str,
        order: &[i64],
        shape: &mut Shape,
    ) -> Result<LinearParts, String> {
        let parts = self.linear(name, hidden, shape.width, Some(shape.width))?;
        let (split, heads) = (format!("{layer}.split"), format!("{name}.heads"));
        self.node("Reshape", &heads, &[name, &split], &[])?;
        self.node("Transpose", &format!("{name}.transposed"), &[&heads], &[Wanted::Ints("perm", order)])?;
        shape.heads = self.heads(&split, shape)?;
        Ok(parts)
    }

    fn heads(&self, split: &str, shape: &Shape) -> Result<usize, String> {
        let found = self.tensor(split, INT64, None)?.raw.as_chunks::<8>().0;
        let found: Vec<i64> = found.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
        let heads = found.get(2).and_then(|&heads| usize::try_from(heads).ok()).unwrap_or(0);
        let others = shape.heads != 0 && shape.heads != heads;
        if heads == 0 || others || found != [0, 0, heads, shape.width / heads].map(size_as_i64) {
            return Err(format!("constant {split:?} is {found:?}, not [0, 0, heads, {} / heads]", shape.width));
        }
        Ok(heads)
    }

    /// x · weight + bias. The number of outputs is the matrix's own where `outputs` does not say it.
    fn linear(&mut self, name: &str, x: &str, inputs: usize, outputs: Option<usize>) -> Result<LinearParts, String> {
        let matrix = format!("{name}.weight");
        let (weights, scales) = self.matrix(&matrix, inputs, outputs)?;
        let (product, bias) = (format!("{name}.product"), format!("{name}.bias"));
        self.node("MatMul", &product, &[x, &matrix], &[])?;
        self.node("Add", name, &[&product, &bias], &[])?;
        let biases = self.floats(&bias, &[scales.len()])?;
        Ok(LinearParts { weights, scales, biases })
    }

    /// A matrix `[inputs, outputs]` as int8 by output, and a scale an output.
    fn matrix(&mut self, name: &str, inputs: usize, outputs: Option<usize>) -> Result<(Vec<i8>, Vec<f32>), String> {
        let cast = [Wanted::Int("to", FLOAT.into())];
        let (int8, scale, float16) = (format!("{name}.int8"), format!("{name}.scale"), format!("{name}.float16"));
        if self.initializers.contains_key(int8.as_str()) {
            let float = format!("{name}.float");
            self.node("Cast", &float, &[&int8], &cast)?;
            self.node("Mul", name, &[&float, &scale], &[])?;
            let [_, columns] = self.sizes(&int8)?;
            let outputs = outputs.unwrap_or(columns);
            let weights = transposed(&self.bytes(&int8, &[inputs, outputs])?, outputs);
            return Ok((weights, self.floats(&scale, &[outputs])?));
        }
        self.node("Cast", name, &[&float16], &cast)?;
        let [_, columns] = self.sizes(&float16)?;
        let outputs = outputs.unwrap_or(columns);
        let floats: Vec<f32> = self.halves(&float16, &[inputs, outputs])?.into_iter().map(from_half).collect();
        Ok(quantised(&transposed(&floats, outputs), inputs))
    }

    fn norm(&mut self, name: &str, x: &str, width: usize) -> Result<NormParts, String> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let inputs = [x, weight.as_str(), bias.as_str()];
        let node = self.nodes.as_slice().first();
        let attribute = node.and_then(|node| node.attributes.iter().find(|attribute| attribute.name == "epsilon"));
        let epsilon = attribute.map_or(1e-5, |attribute| attribute.float);
        self.node_but("LayerNormalization", name, &inputs, &[Wanted::Int("axis", -1)], "epsilon")?;
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return Err(format!("node {name:?}: epsilon is {epsilon}, not a number above 0"));
        }
        let first = *self.epsilon.get_or_insert(epsilon);
        if first.to_bits() != epsilon.to_bits() {
            return Err(format!("node {name:?} has the epsilon {epsilon}, the first one {first}"));
        }
        Ok(NormParts { weights: self.floats(&weight, &[width])?, biases: self.floats(&bias, &[width])? })
    }

    /// The next node must be this one.
    fn node(&mut self, op: &str, name: &str, inputs: &[&str], wanted: &[Wanted<'_>]) -> Result<(), String> {
        self.node_but(op, name, inputs, wanted, "")
    }

    /// The same for a node that may have an attribute of any value.
    fn node_but(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        wanted: &[Wanted<'_>],
        free: &str,
    ) -> Result<(), String> {
        let node = self.nodes.next().ok_or_else(|| format!("the graph ends where node {name:?} ({op}) is expected"))?;
        let differs = |what: String| Err(format!("node {:?} ({}): expected {what}", node.name, node.op));
        if node.op != op || !node.domain.is_empty() {
            return differs(format!("{op} named {name:?}"));
        }
        if node.name != name || node.outputs != [name] {
            return differs(format!("the name and the one output {name:?}"));
        }
        if node.inputs != inputs {
            return differs(format!("the inputs {inputs:?}, not {:?}", node.inputs));
        }
        for wanted in wanted {
            if !node.attributes.iter().any(|attribute| wanted.fits(attribute)) {
                return differs(wanted.describe());
            }
        }
        let known = |attribute: &Attribute| {
            attribute.name == free || wanted.iter().any(|wanted| wanted.name() == attribute.name)
        };
        match node.attributes.iter().find(|attribute| !known(attribute)) {
            Some(attribute) => differs(format!("no attribute {:?}", attribute.name)),
            None => Ok(()),
        }
    }

    /// An initializer of a type and, where it is known, a shape, whose bytes are there whole.
    fn tensor(&self, name: &str, kind: i32, sizes: Option<&[usize]>) -> Result<&'a Tensor, String> {
        let tensor = *self.initializers.get(name).ok_or_else(|| format!("there is no initializer {name:?}"))?;
        if tensor.kind != kind {
            return Err(format!("initializer {name:?} has the element type {}, not {kind}", tensor.kind));
        }
        let found: Option<Vec<usize>> = tensor.dimensions.iter().map(|&size| usize::try_from(size).ok()).collect();
        let found = found.unwrap_or_default();
        if sizes.is_some_and(|sizes| sizes != found) {
            return Err(format!("initializer {name:?} has the shape {found:?}, not {:?}", sizes.unwrap_or_default()));
        }
        let element = match kind {
            INT8 => 1,
            FLOAT16 => 2,
            FLOAT => 4,
            _ => 8,
        };
        let bytes = found.iter().try_fold(element, |bytes: usize, &size| bytes.checked_mul(size));
        if bytes != Some(tensor.raw.len()) {
            return Err(format!("initializer {name:?} has {} raw bytes for the shape {found:?}", tensor.raw.len()));
        }
        Ok(tensor)
    }

    /// Rows and columns of a matrix.
    fn sizes(&self, name: &str) -> Result<[usize; 2], String> {
        let tensor = self.initializers.get(name).ok_or_else(|| format!("there is no initializer {name:?}"))?;
        match tensor.dimensions.as_slice() {
            &[rows, columns] if rows > 0 && columns > 0 => {
                Ok([rows, columns].map(|size| usize::try_from(size).unwrap_or(usize::MAX)))
            }
            other => Err(format!("initializer {name:?} has the shape {other:?}, not rows and columns")),
        }
    }

    fn floats(&self, name: &str, sizes: &[usize]) -> Result<Vec<f32>, String> {
        let values = self.tensor(name, FLOAT, Some(sizes))?.raw.as_chunks::<4>().0;
        let values: Vec<f32> = values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(format!("initializer {name:?} holds what is no number"))
        }
    }

    /// Float16 values, as their bits.
    fn halves(&self, name: &str, sizes: &[usize]) -> Result<Vec<u16>, String> {
        let values = self.tensor(name, FLOAT16, Some(sizes))?.raw.as_chunks::<2>().0;
        let values: Vec<u16> = values.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect();
        if values.iter().all(|half| half & 0x7c00 != 0x7c00) {
            Ok(values)
        } else {
            Err(format!("initializer {name:?} holds what is no number"))
        }
    }

    fn bytes(&self, name: &str, sizes: &[usize]) -> Result<Vec<i8>, String> {
        Ok(self.tensor(name, INT8, Some(sizes))?.raw.iter().map(|&byte| byte.cast_signed()).collect())
    }

    fn integers(&self, name: &str, expected: &[i64]) -> Result<(), String> {
        let values = self.tensor(name, INT64, Some(&[expected.len()]))?.raw.as_chunks::<8>().0;
        let values: Vec<i64> = values.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
        if values == expected { Ok(()) } else { Err(format!("constant {name:?} is {values:?}, not {expected:?}")) }
    }

    /// A list of one number, which may be off by rounding.
    fn constant(&self, name: &str, expected: f32) -> Result<(), String> {
        let value = self.floats(name, &[1])?.first().copied().unwrap_or_default();
        if (value - expected).abs() <= 1e-6 * expected {
            Ok(())
        } else {
            Err(format!("constant {name:?} is {value}, not {expected}"))
        }
    }
}

impl LinearParts {
    fn append(&mut self, other: Self) {
        self.weights.extend(other.weights);
        self.scales.extend(other.scales);
        self.biases.extend(other.biases);
    }
}

fn size_as_i64(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
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
    for row in rows.chunks_exact(width) {
        let greatest = row.iter().fold(0.0_f32, |greatest, x| greatest.max(x.abs()));
        let scale = greatest.max(1e-8) / 127.0;
        weights.extend(row.iter().map(|x| (x / scale).round_ties_even() as i8));
        scales.push(scale);
    }
    (weights, scales)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests read the release")]
mod tests {
    use super::*;

    fn read_release(name: &str) -> Vec<u8> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/english-toxicity");
        std::fs::read(folder.join(name)).unwrap()
    }

    fn shipped() -> Graph {
        Model::decode(read_release("model.onnx").as_slice()).unwrap().graph.unwrap()
    }

    fn model(graph: &Graph) -> Result<ModelParts, String> {
        Reader::new(graph).model()
    }

    #[track_caller]
    fn refused(graph: &Graph, parts: &[&str]) {
        let problem = model(graph).unwrap_err();
        for part in parts {
            assert!(problem.contains(part), "{problem:?} lacks {part:?}");
        }
    }

    #[test]
    fn a_changed_node_is_named() {
        let mut graph = shipped();
        // All nodes up to the end of the first layer, and the last ones.
        let count = graph.nodes.len();
        for place in (0..60).step_by(3).chain(count - 3..count) {
            let node = graph.nodes[place].clone();
            let name = format!("node {:?}", node.name);
            graph.nodes[place].op = "Relu".to_owned();
            // In the place of the pooling, one more layer could begin.
            let expected = if node.name == "pooled" { "Cast" } else { &node.op };
            refused(&graph, &[&name, "Relu", &format!("expected {expected}")]);
            graph.nodes[place] = Node { inputs: vec!["elsewhere".to_owned()], ..node.clone() };
            refused(&graph, &[&name, "elsewhere"]);
            let surplus = Attribute { name: "surplus".to_owned(), ..Attribute::default() };
            graph.nodes[place] = Node { attributes: [node.attributes.clone(), vec![surplus]].concat(), ..node.clone() };
            refused(&graph, &[&name, "surplus"]);
            graph.nodes[place] = node;
        }
    }

    #[test]
    fn a_graph_that_ends_or_goes_on_elsewhere_is_refused() {
        let mut graph = shipped();
        let last = graph.nodes.pop().unwrap();
        refused(&graph, &["the graph ends where node \"logits\" (Add) is expected"]);
        graph.nodes.extend([last.clone(), last]);
        refused(&graph, &["node \"logits\" (Add) comes after the logits"]);
    }

    #[test]
    fn changed_constants_and_shapes_are_named() {
        type Change = fn(&mut Tensor);
        let original = shipped();
        let changes: [(&str, Change, &str); 6] = [
            ("gelu.half", |tensor| tensor.raw = 0.25_f32.to_le_bytes().to_vec(), "is 0.25, not 0.5"),
            ("layers.0.scale", |tensor| tensor.raw = 1_f32.to_le_bytes().to_vec(), "is 1"),
            ("layers.1.split", |tensor| tensor.raw[16] += 1, "not [0, 0, heads"),
            ("layers.0.output.bias", |tensor| tensor.dimensions[0] += 1, "has the shape"),
            ("head.weight", |tensor| assert!(tensor.raw.pop().is_some()), "raw bytes"),
            ("layers.0.attention_norm.bias", |tensor| tensor.raw[..4].fill(0xff), "no number"),
        ];
        for (name, change, expected) in changes {
            let mut graph = original.clone();
            change(graph.initializers.iter_mut().find(|tensor| tensor.name == name).unwrap());
            refused(&graph, &[name, expected]);
        }
    }

    #[test]
    fn an_int8_matrix_is_its_integers_times_its_scale() {
        let mut other = shipped();
        other.nodes.iter_mut().find(|node| node.name == "layers.2.value.weight").unwrap().inputs.reverse();
        refused(&other, &["node \"layers.2.value.weight\" (Mul): expected the inputs"]);
    }

    #[test]
    fn widths_that_the_kernels_do_not_take_are_refused() {
        let shape = Shape {
            layers: 1,
            width: 384,
            heads: 12,
            inner: 1536,
            labels: 6,
            positions: 256,
            vocabulary: 100,
            epsilon: 1e-12,
            activation: Activation::Gelu,
            pooling: Pooling::Mean,
            pooler: None,
        };
        assert_eq!(shape.check(), Ok(()));
        for changed in [
            Shape { width: 380, heads: 10, ..shape },
            Shape { inner: 1532, ..shape },
            Shape { heads: 7, ..shape },
            Shape { heads: 0, ..shape },
            Shape { layers: 0, ..shape },
        ] {
            assert!(changed.check().is_err(), "{changed:?}");
        }
    }

    #[test]
    fn another_tokenizer_is_refused_by_name() {
        type Change = fn(&mut serde_json::Value);
        let original: serde_json::Value = serde_json::from_slice(&read_release("tokenizer.json")).unwrap();
        let changes: [(Change, &str); 7] = [
            (|t| t["model"]["type"] = "BPE".into(), "model is BPE"),
            (|t| t["model"]["continuing_subword_prefix"] = "@@".into(), "@@"),
            (|t| t["model"]["max_input_chars_per_word"] = 50.into(), "50"),
            (|t| t["normalizer"]["lowercase"] = false.into(), "lowercase false, not true"),
            (|t| t["pre_tokenizer"]["type"] = "Whitespace".into(), "pre_tokenizer has the type \"Whitespace\""),
            (|t| t["added_tokens"][0]["special"] = false.into(), "[PAD]"),
            (|t| t["post_processor"]["single"] = serde_json::json!([]), "post_processor"),
        ];
        for (change, expected) in changes {
            let mut changed = original.clone();
            change(&mut changed);
            let problem = wordpiece::import(changed.to_string().as_bytes()).unwrap_err();
            assert!(problem.contains(expected), "{problem:?} lacks {expected:?}");
        }
    }
}
