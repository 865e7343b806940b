//! Token ids to scores: an ONNX classifier run by tract.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{DimLike, anyhow, bail, ensure};
use tract_onnx::tract_core::ops::array::Gather;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_hir::infer::Factoid;

use crate::release::ReleaseError;

/// What computes the scores, as `description.engine` names it.
pub const ENGINE: &str = "tract 0.23 f32";

/// What the graph wants at one of its inputs.
#[derive(Debug, Clone, Copy)]
enum Input {
    Ids,
    Ones,
    Zeros,
}

/// An ONNX classifier, read but not yet planned. It holds no part of the bytes that it was read from.
#[derive(Debug)]
pub struct Graph {
    file: String,
    network: InferenceModel,
    inputs: Vec<(Input, DatumType)>,
}

impl Graph {
    /// Reads an ONNX file; `file` names it in errors.
    ///
    /// Inputs are known by the names that the Hugging Face exporters give them: `input_ids`, and, where the graph has
    /// them, `attention_mask` and `token_type_ids`. The first output holds the logits.
    pub fn read(file: &str, onnx: &[u8]) -> Result<Self, ReleaseError> {
        let (network, inputs) = without_panic(|| read(onnx)).map_err(|problem| not_runnable(file, &problem))?;
        Ok(Self { file: file.to_owned(), network, inputs })
    }

    /// Optimises the graph and plans its run.
    pub fn plan(self) -> Result<Model, ReleaseError> {
        let Self { file, network, inputs } = self;
        without_panic(|| -> TractResult<Model> {
            let typed = network.into_typed()?;
            let vocabulary = vocabulary(&typed)?;
            let plan = typed.into_optimized()?.into_runnable()?;
            Ok(Model { plan, inputs, vocabulary })
        })
        .map_err(|problem| not_runnable(&file, &problem))
    }
}

fn not_runnable(file: &str, problem: &str) -> ReleaseError {
    ReleaseError::Unusable {
        file: file.to_owned(),
        problem: format!("not an ONNX classifier that can be run: {problem}"),
    }
}

fn read(mut onnx: &[u8]) -> TractResult<(InferenceModel, Vec<(Input, DatumType)>)> {
    let mut graph = tract_onnx::onnx().model_for_read(&mut onnx)?;
    let tokens = graph.symbols.sym("tokens");
    let mut inputs = Vec::new();
    for (slot, outlet) in graph.input_outlets()?.to_vec().into_iter().enumerate() {
        let input = match graph.node(outlet.node).name.as_str() {
            "input_ids" => Input::Ids,
            "attention_mask" => Input::Ones,
            "token_type_ids" => Input::Zeros,
            other => bail!("input {other:?} is not one of input_ids, attention_mask, token_type_ids"),
        };
        let declared = graph.outlet_fact(outlet)?.datum_type.concretize().unwrap_or(i64::datum_type());
        graph.set_input_fact(slot, InferenceFact::dt_shape(declared, tvec![1.to_dim(), tokens.to_dim()]))?;
        inputs.push((input, declared));
    }
    ensure!(inputs.iter().any(|(input, _)| matches!(input, Input::Ids)), "there is no input named input_ids");
    let first = graph.output_outlets()?.first().copied().ok_or_else(|| anyhow!("the graph has no output"))?;
    graph.select_output_outlets(&[first])?;
    Ok((graph, inputs))
}

/// An optimised, runnable network from `[1, tokens]` ids to `[1, labels]` logits. It takes any number of tokens, so
/// nothing is ever padded.
#[derive(Debug, Clone)]
pub struct Model {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<(Input, DatumType)>,
    /// Rows of the embedding table; an id at or above it does not exist.
    vocabulary: Option<usize>,
}

impl Model {
    /// Runs one text. Errors hold nothing of it.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>, String> {
        without_panic(|| self.run(ids))
    }

    fn run(&self, ids: &[u32]) -> TractResult<Vec<f32>> {
        if let (Some(rows), Some(&id)) = (self.vocabulary, ids.iter().max()) {
            ensure!((id as usize) < rows, "token id {id} is outside the model's {rows}");
        }
        let inputs = self
            .inputs
            .iter()
            .map(|&(input, datum_type)| {
                let values: Vec<i64> = match input {
                    Input::Ids => ids.iter().copied().map(i64::from).collect(),
                    Input::Ones => vec![1; ids.len()],
                    Input::Zeros => vec![0; ids.len()],
                };
                let tensor = Tensor::from_shape(&[1, ids.len()], &values)?;
                Ok(tensor.cast_to_dt(datum_type)?.into_owned().into_tvalue())
            })
            .collect::<TractResult<TVec<_>>>()?;
        let outputs = self.plan.run(inputs)?;
        let logits = outputs.first().ok_or_else(|| anyhow!("the graph has no output"))?;
        Ok(logits.cast_to::<f32>()?.view().as_slice::<f32>()?.to_vec())
    }
}

/// The rows of the table that token ids are looked up in, where the graph looks them up directly.
fn vocabulary(graph: &TypedModel) -> TractResult<Option<usize>> {
    let mut rows = None;
    for node in &graph.nodes {
        let (Some(gather), [table, indices, ..]) = (node.op_as::<Gather>(), node.inputs.as_slice()) else {
            continue;
        };
        if origin(graph, indices.node) == "input_ids" {
            let shape = &graph.outlet_fact(*table)?.shape;
            let here = shape.get(gather.axis).and_then(|rows| rows.to_usize().ok());
            rows = [rows, here].into_iter().flatten().min();
        }
    }
    Ok(rows)
}

/// Name of the node that a value comes from, behind casts.
fn origin(graph: &TypedModel, mut node: usize) -> &str {
    while let (true, [input]) = (graph.node(node).op_is::<Cast>(), graph.node(node).inputs.as_slice()) {
        node = input.node;
    }
    &graph.node(node).name
}

/// tract and tokenizers report most faults as errors and some by panicking; both become messages. Where panics abort (in the
/// component), the trap carries the message instead.
pub(crate) fn without_panic<T, E: Display>(step: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(result) => result.map_err(|e| format!("{e:#}")),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
            Err(format!("panicked: {}", message.unwrap_or("without a message")))
        }
    }
}
