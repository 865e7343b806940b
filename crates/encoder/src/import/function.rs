//! Activation functions, known by their values: whatever order a graph writes its steps in.

use std::collections::HashMap;

use super::expression::{Id, Operation};
use crate::math::Activation;
use crate::math::{ErrorFunction, change};

/// Steps that a function is written in at most.
pub(super) const PARTS_MAX: usize = 24;
/// How far a function's value may be off; GELU and its form with tanh differ by more.
const ERROR_MAX: f32 = 1e-4;

/// What an operation on each number by itself reads; nothing where it is another operation.
pub(super) fn parts(operation: &Operation) -> Vec<Id> {
    match *operation {
        Operation::Scaled(of, _)
        | Operation::Shifted(of, _)
        | Operation::Power(of, _)
        | Operation::Root(of)
        | Operation::Inverse(of)
        | Operation::ErrorFunction(of)
        | Operation::Function(_, of) => vec![of],
        Operation::Sum(a, b)
        | Operation::Difference(a, b)
        | Operation::Multiplied(a, b)
        | Operation::Quotient(a, b) => vec![a, b],
        _ => Vec::new(),
    }
}

/// The function that the steps compute of the leaf. The steps come in their order.
pub(super) fn name<'a>(
    leaf: Id,
    steps: impl Iterator<Item = (Id, &'a Operation)>,
    root: impl Fn(Id) -> Id,
) -> Option<Activation> {
    // From -8 to 8 in steps of 1/8.
    let points: Vec<f32> = (-64_i8..=64).map(|eighth| f32::from(eighth) / 8.0).collect();
    let mut values = HashMap::from([(leaf, points.clone())]);
    let mut last = None;
    for (id, operation) in steps {
        let found = compute(operation, |part| values.get(&root(part)))?;
        values.insert(id, found);
        last = Some(id);
    }
    let found = values.get(&last?)?;
    Activation::ALL.into_iter().find(|&function| {
        let mut expected = points.clone();
        change(&mut expected, function);
        expected.iter().zip(found).all(|(expected, found)| (expected - found).abs() <= ERROR_MAX)
    })
}

fn compute<'a>(operation: &Operation, values: impl Fn(Id) -> Option<&'a Vec<f32>>) -> Option<Vec<f32>> {
    let one = |of: Id, step: &dyn Fn(f32) -> f32| Some(values(of)?.iter().map(|&x| step(x)).collect());
    let two = |a: Id, b: Id, step: &dyn Fn(f32, f32) -> f32| {
        Some(values(a)?.iter().zip(values(b)?).map(|(&a, &b)| step(a, b)).collect())
    };
    match *operation {
        Operation::Scaled(of, by) => one(of, &|x| x * by),
        Operation::Shifted(of, by) => one(of, &|x| x + by),
        Operation::Power(of, power) => one(of, &|x| x.powf(power)),
        Operation::Root(of) => one(of, &f32::sqrt),
        Operation::Inverse(of) => one(of, &f32::recip),
        Operation::ErrorFunction(of) => {
            let mut found = values(of)?.clone();
            change(&mut found, ErrorFunction);
            Some(found)
        }
        Operation::Function(function, of) => {
            let mut found = values(of)?.clone();
            change(&mut found, function);
            Some(found)
        }
        Operation::Sum(a, b) => two(a, b, &|a, b| a + b),
        Operation::Difference(a, b) => two(a, b, &|a, b| a - b),
        Operation::Multiplied(a, b) => two(a, b, &|a, b| a * b),
        Operation::Quotient(a, b) => two(a, b, &|a, b| a / b),
        _ => None,
    }
}
