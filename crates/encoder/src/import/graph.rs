//! A file's graph, checked: one output, known inputs, the nodes that lead to it, and what they compute without a text.

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::attributes::Attributes;
use super::fold::compute;
use super::tensor::Tensor;
use crate::onnx::{Graph, Model, Node, Value};

/// The versions of ONNX's operators that the importer reads.
const OPSETS: std::ops::RangeInclusive<i64> = 11..=26;
/// Numbers that all computed tensors may have together.
pub(super) const NUMBERS_MAX: usize = 1 << 29;
/// Misfits that a message names.
const MISFITS_MAX: usize = 10;

/// What a graph's input holds when one text is read, unpadded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Ids,
    Ones,
    Zeros,
}

/// A node that does not fit, and what was expected of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Misfit {
    /// The node's place in the file.
    pub(super) node: usize,
    pub(super) problem: String,
}

pub(super) struct Source<'a> {
    /// All nodes of the file, and the places of those that lead to the output.
    pub(super) nodes: &'a [Node],
    pub(super) live: Vec<usize>,
    pub(super) inputs: Vec<(&'a str, Input)>,
    pub(super) output: &'a str,
    /// What is known for texts of any length, by name.
    pub(super) constants: HashMap<&'a str, Tensor>,
    /// The place of the node that computes a name.
    pub(super) producers: HashMap<&'a str, usize>,
    pub(super) opset: i64,
}

/// Decodes a file.
pub(super) fn decode(onnx: &[u8]) -> Result<(Graph, i64), String> {
    let model = Model::decode(onnx).map_err(|e| format!("not an ONNX file: {e}"))?;
    let opset = model.opsets.iter().find(|opset| matches!(opset.domain.as_str(), "" | "ai.onnx"));
    let opset = opset.map_or(0, |opset| opset.version);
    if !OPSETS.contains(&opset) {
        let (first, last) = (OPSETS.start(), OPSETS.end());
        return Err(format!("the graph is in version {opset} of ONNX's operators, not in one from {first} to {last}"));
    }
    Ok((model.graph.ok_or("there is no graph")?, opset))
}

impl<'a> Source<'a> {
    pub(super) fn read(graph: &'a Graph, opset: i64) -> Result<Self, String> {
        let [output] = graph.outputs.as_slice() else {
            let names: Vec<&str> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
            return Err(format!("the graph has the outputs {names:?}; the logits alone are expected"));
        };
        let mut initializers = HashMap::new();
        for tensor in &graph.initializers {
            if initializers.insert(tensor.name.as_str(), tensor).is_some() {
                return Err(format!("there are two initializers named {:?}", tensor.name));
            }
        }
        let inputs = graph.inputs.iter().filter(|input| !initializers.contains_key(input.name.as_str()));
        let inputs = inputs.map(|value| input(value)).collect::<Result<Vec<_>, _>>()?;
        if inputs.iter().filter(|(_, input)| *input == Input::Ids).count() != 1 {
            return Err("the graph has not one input named input_ids".into());
        }
        let mut producers = HashMap::new();
        for (place, node) in graph.nodes.iter().enumerate() {
            for name in node.outputs.iter().map(String::as_str).filter(|name| !name.is_empty()) {
                let is_given = initializers.contains_key(name) || inputs.iter().any(|(input, _)| *input == name);
                if producers.insert(name, place).is_some() || is_given {
                    return Err(format!("{}: there are two values named {name:?}", describe(node)));
                }
            }
        }
        let live = live(graph, &producers, &output.name);
        let mut constants = HashMap::new();
        for node in live.iter().filter_map(|&place| graph.nodes.get(place)) {
            for name in node.inputs.iter().map(String::as_str) {
                if let Some(tensor) = initializers.get(name)
                    && !constants.contains_key(name)
                {
                    let read = Tensor::read(tensor).map_err(|problem| format!("initializer {name:?}: {problem}"))?;
                    constants.insert(name, read);
                }
            }
        }
        let nodes = graph.nodes.as_slice();
        let mut source = Self { nodes, live, inputs, output: &output.name, constants, producers, opset };
        source.fold()?;
        Ok(source)
    }

    /// Computes what depends on initializers alone. A node that cannot be computed is left for the texts.
    fn fold(&mut self) -> Result<(), String> {
        let mut numbers = 0_usize;
        for &place in &self.live {
            let Some(node) = self.nodes.get(place) else { continue };
            let inputs: Option<Vec<Option<&Tensor>>> = node
                .inputs
                .iter()
                .map(|name| if name.is_empty() { Some(None) } else { self.constants.get(name.as_str()).map(Some) })
                .collect();
            let (Some(inputs), Some(name)) = (inputs, node.outputs.first()) else { continue };
            if let Ok(tensor) = compute(&Attributes { node }, &inputs) {
                numbers = numbers.saturating_add(tensor.len());
                if numbers > NUMBERS_MAX {
                    return Err(format!("{}: what the graph computes of its weights is too large", describe(node)));
                }
                self.constants.insert(name, tensor);
            }
        }
        Ok(())
    }

    /// One line a misfit, in the graph's order.
    pub(super) fn report(&self, mut misfits: Vec<Misfit>) -> String {
        misfits.sort();
        misfits.dedup();
        let line = |misfit: &Misfit| {
            let node = self.nodes.get(misfit.node).map_or_else(|| "the graph".to_owned(), describe);
            format!("{node}: {}", misfit.problem)
        };
        let mut lines: Vec<String> = misfits.iter().take(MISFITS_MAX).map(line).collect();
        if let Some(more) = misfits.len().checked_sub(MISFITS_MAX).filter(|&more| more > 0) {
            lines.push(format!("and {more} nodes more"));
        }
        lines.join("\n  ")
    }
}

/// A node's name, or, where it has none, what it computes.
pub(super) fn describe(node: &Node) -> String {
    let named = Some(&node.name).filter(|name| !name.is_empty()).or(node.outputs.first());
    let domain = if matches!(node.domain.as_str(), "" | "ai.onnx") { "" } else { &node.domain };
    let separator = if domain.is_empty() { "" } else { "." };
    format!("node {:?} ({domain}{separator}{})", named.map_or("", String::as_str), node.op)
}

fn input(value: &Value) -> Result<(&str, Input), String> {
    let name = value.name.as_str();
    let input = match name {
        "input_ids" => Input::Ids,
        "attention_mask" => Input::Ones,
        "token_type_ids" => Input::Zeros,
        _ => return Err(format!("input {name:?} is not one of input_ids, attention_mask and token_type_ids")),
    };
    match value.sizes().as_slice() {
        [] | [None | Some(1), None] => Ok((name, input)),
        [_, Some(tokens)] => Err(format!(
            "input {name:?} takes texts of {tokens} tokens only; export it with a dynamic second dimension"
        )),
        [Some(texts), _] => Err(format!("input {name:?} takes {texts} texts at once only")),
        sizes => Err(format!("input {name:?} has {} dimensions, not texts and tokens", sizes.len())),
    }
}

/// The places of the nodes that lead to a name, in the file's order.
fn live(graph: &Graph, producers: &HashMap<&str, usize>, output: &str) -> Vec<usize> {
    let mut live = HashSet::new();
    let mut names = vec![output];
    while let Some(name) = names.pop() {
        if let Some(&place) = producers.get(name)
            && live.insert(place)
            && let Some(node) = graph.nodes.get(place)
        {
            names.extend(node.inputs.iter().map(String::as_str));
        }
    }
    let mut live: Vec<usize> = live.into_iter().collect();
    live.sort_unstable();
    live
}
