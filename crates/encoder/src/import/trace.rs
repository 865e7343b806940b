//! A graph followed for one text of some tokens: what is known is computed, the rest becomes expressions.

use std::collections::HashMap;

use super::attributes::Attributes;
use super::expression::{Expression, Id, NormNumbers, Operation};
use super::fold::{compute, is_float, shape};
use super::graph::{Input, Misfit, NUMBERS_MAX, Source};
use super::moves::{Move, axes, moves};
use super::tensor::{Tensor, broadcast, count, product, wrapped};
use crate::math::Activation;

/// What a name stands for.
#[derive(Debug, Clone)]
enum Meaning {
    Known(Tensor),
    Text(Id),
    /// Computed by a node that is not understood, or from such a one, and of no shape that could be guessed.
    Unknown,
}

pub(super) struct Trace {
    pub(super) expressions: Vec<Expression>,
    pub(super) output: Id,
}

/// Follows the graph for a text of so many tokens.
pub(super) fn trace(source: &Source<'_>, tokens: usize) -> Result<Trace, Vec<Misfit>> {
    let mut tracer = Tracer { expressions: Vec::new(), node: 0, opset: source.opset };
    let mut meanings = HashMap::new();
    for &(name, input) in &source.inputs {
        let sizes = vec![1, tokens];
        let filled = |with: i64| Tensor::filled(sizes.clone(), &Tensor::integers(Vec::new(), vec![with]));
        let meaning = match input {
            Input::Ids => Ok(Meaning::Text(tracer.expressions.len())),
            Input::Ones => filled(1).map(Meaning::Known),
            Input::Zeros => filled(0).map(Meaning::Known),
        };
        if input == Input::Ids {
            tracer.expressions.push(Expression { operation: Operation::Ids, sizes, node: usize::MAX });
        }
        meanings.insert(name, meaning.map_err(|problem| vec![Misfit { node: usize::MAX, problem }])?);
    }
    let (mut misfits, mut numbers) = (Vec::new(), 0_usize);
    for &place in &source.live {
        let Some(node) = source.nodes.get(place) else { continue };
        let Some(name) = node.outputs.first().filter(|name| !source.constants.contains_key(name.as_str())) else {
            continue;
        };
        tracer.node = place;
        let misfit = |problem: String| Misfit { node: place, problem };
        let input = |name: &String| match source.constants.get(name.as_str()) {
            _ if name.is_empty() => Ok(None),
            Some(tensor) => Ok(Some(Meaning::Known(tensor.clone()))),
            None => meanings
                .get(name.as_str())
                .cloned()
                .map(Some)
                .ok_or_else(|| misfit(format!("its input {name:?} is computed by no node before it"))),
        };
        let inputs = node.inputs.iter().map(input).collect::<Result<Vec<_>, _>>().map_err(|misfit| vec![misfit])?;
        let meaning = tracer.follow(&Attributes { node }, &inputs);
        let meaning = meaning.unwrap_or_else(|problem| {
            // Behind a misfit the shapes are guessed, so that only what no shape excuses is named.
            if misfits.is_empty() || problem == NO_OPERATION || problem.starts_with("expected") {
                misfits.push(misfit(problem));
            }
            tracer.guessed(&inputs)
        });
        if let Meaning::Known(tensor) = &meaning {
            numbers = numbers.saturating_add(tensor.len());
            if numbers > NUMBERS_MAX {
                return Err(vec![misfit("what the graph computes without a text is too large".into())]);
            }
        }
        meanings.insert(name, meaning);
    }
    if !misfits.is_empty() {
        return Err(misfits);
    }
    let last = source.live.last().copied().unwrap_or(usize::MAX);
    match meanings.get(source.output) {
        Some(&Meaning::Text(output)) => Ok(Trace { expressions: tracer.expressions, output }),
        _ => Err(vec![Misfit { node: last, problem: "the output does not depend on the text".into() }]),
    }
}

struct Tracer {
    expressions: Vec<Expression>,
    /// The node that is followed.
    node: usize,
    opset: i64,
}

impl Tracer {
    /// The first output of a node. The others (a dropout's mask, the statistics of a normalisation) have no meaning here.
    fn follow(&mut self, node: &Attributes<'_>, inputs: &[Option<Meaning>]) -> Result<Meaning, String> {
        if inputs.iter().flatten().any(|meaning| matches!(meaning, Meaning::Unknown)) {
            return Ok(Meaning::Unknown);
        }
        let known: Vec<Option<&Tensor>> = inputs
            .iter()
            .map(|meaning| match meaning {
                Some(Meaning::Known(tensor)) => Some(tensor),
                _ => None,
            })
            .collect();
        let texts: Vec<Option<Id>> = inputs
            .iter()
            .map(|meaning| match meaning {
                Some(Meaning::Text(id)) => Some(*id),
                _ => None,
            })
            .collect();
        match (texts.first().copied().flatten(), texts.iter().flatten().count()) {
            (_, 0) => compute(node, &known).map(Meaning::Known),
            (Some(first), 1) => self.one(node, first, &known),
            (None, 1) => self.one_behind(node, &known, &texts),
            _ => self.two(node, &known, &texts),
        }
    }

    /// What a node that is not understood may compute: numbers in the shape of its first input that depends on the text.
    fn guessed(&mut self, inputs: &[Option<Meaning>]) -> Meaning {
        let text = inputs.iter().flatten().find_map(|meaning| match meaning {
            Meaning::Text(id) => Some(*id),
            _ => None,
        });
        text.and_then(|id| self.like(id, Operation::Unknown).ok()).unwrap_or(Meaning::Unknown)
    }

    fn sizes(&self, id: Id) -> Vec<usize> {
        self.expressions.get(id).map(|expression| expression.sizes.clone()).unwrap_or_default()
    }

    fn push(&mut self, operation: Operation, sizes: Vec<usize>) -> Result<Meaning, String> {
        count(&sizes)?;
        self.expressions.push(Expression { operation, sizes, node: self.node });
        Ok(Meaning::Text(self.expressions.len() - 1))
    }

    /// The same shape as an expression.
    fn like(&mut self, id: Id, operation: Operation) -> Result<Meaning, String> {
        let sizes = self.sizes(id);
        self.push(operation, sizes)
    }

    fn moved(&mut self, id: Id, steps: Vec<Move>) -> Result<Meaning, String> {
        let mut id = id;
        for step in steps {
            let before = self.sizes(id);
            let sizes = step.sizes(&before)?;
            let changes = match &step {
                Move::Shape(wanted) => *wanted != before,
                Move::Order(order) => !order.is_sorted(),
                Move::Pick { axis, places } => {
                    before.get(*axis) != Some(&places.len()) || !places.iter().copied().eq(0..places.len())
                }
            };
            if changes && let Meaning::Text(next) = self.push(Operation::Moved(id, step), sizes)? {
                id = next;
            }
        }
        Ok(Meaning::Text(id))
    }

    /// Whether an expression is the ids, moved.
    fn is_ids(&self, mut id: Id) -> bool {
        loop {
            match self.expressions.get(id).map(|expression| &expression.operation) {
                Some(Operation::Ids) => return true,
                Some(Operation::Moved(of, _)) => id = *of,
                _ => return false,
            }
        }
    }

    /// A node whose first input alone depends on the text.
    fn one(&mut self, node: &Attributes<'_>, id: Id, known: &[Option<&Tensor>]) -> Result<Meaning, String> {
        let sizes = self.sizes(id);
        let others = known.get(1..).unwrap_or_default();
        if node.op() == "Dropout" && others.get(1).copied().flatten().is_some_and(|mode| mode.uniform() != Some(0.0)) {
            return Err("it drops numbers at random; export the model in evaluation mode".into());
        }
        if let Some(steps) = moves(node, &sizes, others)? {
            return self.moved(id, steps);
        }
        if self.is_ids(id) {
            return match node.op() {
                "Shape" => Ok(Meaning::Known(shape(node, &sizes))),
                "Cast" if !is_float(kind(node)) => Ok(Meaning::Text(id)),
                _ => Err("of the ids themselves, the encoder reads embeddings only".into()),
            };
        }
        let other = |place: usize| others.get(place).copied().flatten();
        match node.op() {
            "Shape" => Ok(Meaning::Known(shape(node, &sizes))),
            "Size" => Ok(Meaning::Known(Tensor::list(&[count(&sizes)?]).shaped(Vec::new())?)),
            // A finite network makes finite numbers of finite ones.
            "IsNaN" | "IsInf" => Ok(Meaning::Known(Tensor::filled(sizes, &Tensor::integers(Vec::new(), vec![0]))?)),
            "Cast" if is_float(kind(node)) => Ok(Meaning::Text(id)),
            "Erf" => self.like(id, Operation::ErrorFunction(id)),
            "Tanh" => self.like(id, Operation::Function(Activation::Tanh, id)),
            "Relu" => self.like(id, Operation::Function(Activation::Relu, id)),
            "Gelu" => match node.string("approximate", "none") {
                "none" => self.like(id, Operation::Function(Activation::Gelu, id)),
                "tanh" => self.like(id, Operation::Function(Activation::GeluTanh, id)),
                other => Err(format!("its approximation is {other:?}")),
            },
            "Sqrt" => self.like(id, Operation::Root(id)),
            "Reciprocal" => self.like(id, Operation::Inverse(id)),
            "Neg" => self.like(id, Operation::Scaled(id, -1.0)),
            "Softmax" => self.softmax(node, id),
            "LayerNormalization" => self.normalised(node, id, other(0), other(1)),
            "ReduceMean" | "ReduceSum" => self.reduced(node, id, other(0)),
            "MatMul" => self.product(id, other(0).ok_or("an input is missing")?),
            "Gemm" => self.gemm(node, id, other(0), other(1)),
            "Expand" => {
                let wanted = broadcast(&sizes, &other(0).ok_or("an input is missing")?.to_sizes()?)?;
                if wanted == sizes { Ok(Meaning::Text(id)) } else { Err(format!("it repeats the shape {sizes:?}")) }
            }
            "Pow" => match other(0).and_then(Tensor::uniform) {
                Some(power) => self.like(id, Operation::Power(id, power)),
                None => Err("its power is not one number".into()),
            },
            "Add" => self.plus(id, other(0).ok_or("an input is missing")?, 1.0),
            "Sub" => self.plus(id, other(0).ok_or("an input is missing")?, -1.0),
            "Mul" => self.times(id, other(0).ok_or("an input is missing")?, false),
            "Div" => self.times(id, other(0).ok_or("an input is missing")?, true),
            _ => Err(NO_OPERATION.into()),
        }
    }

    /// A node with one input that depends on the text, which is not the first.
    fn one_behind(
        &mut self,
        node: &Attributes<'_>,
        known: &[Option<&Tensor>],
        texts: &[Option<Id>],
    ) -> Result<Meaning, String> {
        let (first, second) = (known.first().copied().flatten(), texts.get(1).copied().flatten());
        match (node.op(), first, second) {
            ("Gather", Some(table), Some(ids)) if self.is_ids(ids) => {
                if table.sizes.len() != 2 || node.int("axis", 0) != 0 {
                    return Err("the rows of a matrix are expected".into());
                }
                let sizes = [self.sizes(ids), table.sizes.get(1..).unwrap_or_default().to_vec()].concat();
                self.push(Operation::Rows(table.clone(), ids), sizes)
            }
            ("Add", Some(a), Some(id)) => self.plus(id, a, 1.0),
            ("Mul", Some(a), Some(id)) => self.times(id, a, false),
            ("Sub", Some(a), Some(id)) => match self.like(id, Operation::Scaled(id, -1.0))? {
                Meaning::Text(id) => self.plus(id, a, 1.0),
                other => Ok(other),
            },
            ("Div", Some(a), Some(id)) => match self.like(id, Operation::Inverse(id))? {
                Meaning::Text(id) => self.times(id, a, false),
                other => Ok(other),
            },
            // What a mask chooses between.
            ("Where", Some(condition), _) => {
                let chosen = condition.uniform().map(|is| if is == 0.0 { 2 } else { 1 });
                let chosen =
                    chosen.or_else(|| all_alike(condition)).ok_or("it chooses by more than the attention mask")?;
                let sizes = texts.iter().flatten().next().map(|&id| self.sizes(id)).unwrap_or_default();
                match (known.get(chosen).copied().flatten(), texts.get(chosen).copied().flatten()) {
                    (_, Some(id)) => Ok(Meaning::Text(id)),
                    (Some(known), None) => Ok(Meaning::Known(known.spread(&broadcast(&known.sizes, &sizes)?)?)),
                    _ => Err("an input is missing".into()),
                }
            }
            _ => Err(NO_OPERATION.into()),
        }
    }

    /// A node with two inputs or more that depend on the text.
    fn two(
        &mut self,
        node: &Attributes<'_>,
        known: &[Option<&Tensor>],
        texts: &[Option<Id>],
    ) -> Result<Meaning, String> {
        let (&[Some(a), Some(b)], [None, None]) = (texts, known) else { return Err(NO_OPERATION.into()) };
        let (a_sizes, b_sizes) = (self.sizes(a), self.sizes(b));
        let sizes = || broadcast(&a_sizes, &b_sizes);
        match node.op() {
            "Add" => self.push(Operation::Sum(a, b), sizes()?),
            "Sub" => self.push(Operation::Difference(a, b), sizes()?),
            "Mul" => self.push(Operation::Multiplied(a, b), sizes()?),
            "Div" => self.push(Operation::Quotient(a, b), sizes()?),
            "MatMul" => {
                let ([a_outer @ .., rows, inner], [b_outer @ .., b_inner, columns]) = (&*a_sizes, &*b_sizes) else {
                    return Err("it does not multiply matrices".into());
                };
                if inner != b_inner {
                    return Err(format!("the shapes {a_sizes:?} and {b_sizes:?} do not fit"));
                }
                let sizes = [broadcast(a_outer, b_outer)?, vec![*rows, *columns]].concat();
                self.push(Operation::Product(a, b), sizes)
            }
            _ => Err(NO_OPERATION.into()),
        }
    }

    /// An expression in the shape that known numbers give it, which may only add dimensions of the size 1.
    fn shaped_for(&mut self, id: Id, known: &Tensor) -> Result<Id, String> {
        let sizes = self.sizes(id);
        let wanted = broadcast(&sizes, &known.sizes)?;
        if product(&wanted) != product(&sizes) {
            return Err(format!("it repeats the shape {sizes:?} to {wanted:?}"));
        }
        match self.moved(id, vec![Move::Shape(wanted)])? {
            Meaning::Text(id) => Ok(id),
            _ => Err(NO_OPERATION.into()),
        }
    }

    fn plus(&mut self, id: Id, known: &Tensor, sign: f32) -> Result<Meaning, String> {
        let id = self.shaped_for(id, known)?;
        match known.uniform() {
            Some(0.0) => Ok(Meaning::Text(id)),
            Some(number) => self.like(id, Operation::Shifted(id, sign * number)),
            None => {
                let numbers = known.to_floats().iter().map(|x| sign * x).collect();
                self.like(id, Operation::Plus(id, Tensor::floats(known.sizes.clone(), numbers)))
            }
        }
    }

    fn times(&mut self, id: Id, known: &Tensor, is_divided: bool) -> Result<Meaning, String> {
        let id = self.shaped_for(id, known)?;
        let factor = |x: f32| if is_divided { 1.0 / x } else { x };
        match known.uniform().map(factor) {
            Some(1.0) => Ok(Meaning::Text(id)),
            Some(number) => self.like(id, Operation::Scaled(id, number)),
            None => {
                let numbers = known.to_floats().iter().map(|&x| factor(x)).collect();
                self.like(id, Operation::Times(id, Tensor::floats(known.sizes.clone(), numbers)))
            }
        }
    }

    fn product(&mut self, id: Id, matrix: &Tensor) -> Result<Meaning, String> {
        let mut sizes = self.sizes(id);
        let Some((outer, &[inputs, outputs])) = matrix.sizes.split_last_chunk::<2>() else {
            return Err("its second input is no matrix".into());
        };
        if outer.iter().any(|&size| size != 1) || sizes.len() < 2 || outer.len() > sizes.len() - 2 {
            return Err(format!("its second input has the shape {:?}", matrix.sizes));
        }
        if sizes.last() != Some(&inputs) {
            return Err(format!("the shapes {sizes:?} and {:?} do not fit", matrix.sizes));
        }
        let matrix = if outer.is_empty() { matrix.clone() } else { matrix.shaped(vec![inputs, outputs])? };
        if let Some(last) = sizes.last_mut() {
            *last = outputs;
        }
        self.push(Operation::Matrix(id, matrix), sizes)
    }

    fn gemm(
        &mut self,
        node: &Attributes<'_>,
        id: Id,
        matrix: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> Result<Meaning, String> {
        let matrix = matrix.ok_or("an input is missing")?;
        let is_one = |name: &str| node.float(name, 1.0).to_bits() == 1_f32.to_bits();
        let is_scaled = !is_one("alpha") || (bias.is_some() && !is_one("beta"));
        if is_scaled || node.int("transA", 0) != 0 || matrix.sizes.len() != 2 || self.sizes(id).len() != 2 {
            return Err("alpha = beta = 1 and transA = 0 are expected, on matrices".into());
        }
        let turned = if node.int("transB", 0) != 0 { matrix.transposed(&[1, 0])? } else { matrix.clone() };
        match (self.product(id, &turned)?, bias) {
            (Meaning::Text(id), Some(bias)) => self.plus(id, bias, 1.0),
            (meaning, _) => Ok(meaning),
        }
    }

    fn softmax(&mut self, node: &Attributes<'_>, id: Id) -> Result<Meaning, String> {
        let rank = self.sizes(id).len();
        let axis = node.int("axis", if self.opset < 13 { 1 } else { -1 });
        if wrapped(axis, rank)? + 1 != rank {
            return Err(format!("expected the last axis, not {axis}"));
        }
        self.like(id, Operation::Softmax(id))
    }

    fn normalised(
        &mut self,
        node: &Attributes<'_>,
        id: Id,
        weights: Option<&Tensor>,
        biases: Option<&Tensor>,
    ) -> Result<Meaning, String> {
        let rank = self.sizes(id).len();
        let axis = node.int("axis", -1);
        if wrapped(axis, rank)? + 1 != rank {
            return Err(format!("expected the last axis, not {axis}"));
        }
        let weights = weights.ok_or("its weights are missing")?.clone();
        let numbers = NormNumbers { weights, biases: biases.cloned(), epsilon: node.float("epsilon", 1e-5) };
        self.like(id, Operation::Normalised(id, numbers))
    }

    fn reduced(&mut self, node: &Attributes<'_>, id: Id, given: Option<&Tensor>) -> Result<Meaning, String> {
        let mut sizes = self.sizes(id);
        let axes = axes(node, given)?.unwrap_or_default();
        let &[axis] = axes.as_slice() else { return Err(format!("expected one axis, not {axes:?}")) };
        let axis = wrapped(axis, sizes.len())?;
        if node.int("keepdims", 1) == 0 {
            sizes.remove(axis);
        } else if let Some(size) = sizes.get_mut(axis) {
            *size = 1;
        }
        let operation = if node.op() == "ReduceMean" { Operation::Mean(id, axis) } else { Operation::Total(id, axis) };
        self.push(operation, sizes)
    }
}

const NO_OPERATION: &str = "not an operation of the encoder on what depends on the text";

fn kind(node: &Attributes<'_>) -> i32 {
    i32::try_from(node.int("to", 0)).unwrap_or(0)
}

/// Which input a condition always chooses.
fn all_alike(condition: &Tensor) -> Option<usize> {
    let integers = condition.to_integers().ok()?;
    let first = integers.first()? != &0;
    integers.iter().all(|&is| (is != 0) == first).then_some(if first { 1 } else { 2 })
}
