//! What a graph computes from the token ids, simplified: known parts are folded, what changes nothing is gone, and shapes are
//! those for one text of one length.

use super::moves::Move;
use super::tensor::Tensor;
use crate::math::Activation;

/// An expression's place; its parts stand before it.
pub(super) type Id = usize;

#[derive(Debug, Clone)]
pub(super) struct Expression {
    pub(super) operation: Operation,
    pub(super) sizes: Vec<usize>,
    /// The place of the node that computes it.
    pub(super) node: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// The token ids.
    Ids,
    /// A row of a known table for each id.
    Rows(Tensor, Id),
    /// Numbers moved.
    Moved(Id, Move),
    /// The product with a known matrix `[inputs, outputs]`.
    Matrix(Id, Tensor),
    /// The product of two that depend on the text.
    Product(Id, Id),
    /// Plus known numbers that are not all the same.
    Plus(Id, Tensor),
    /// Times known numbers that are not all the same.
    Times(Id, Tensor),
    /// Plus one number.
    Shifted(Id, f32),
    /// Times one number.
    Scaled(Id, f32),
    Sum(Id, Id),
    Difference(Id, Id),
    Multiplied(Id, Id),
    Quotient(Id, Id),
    Power(Id, f32),
    Root(Id),
    Inverse(Id),
    ErrorFunction(Id),
    Function(Activation, Id),
    /// The mean over one dimension, which is kept with the size 1 or dropped.
    Mean(Id, usize),
    /// The sum over one dimension.
    Total(Id, usize),
    /// Along the last dimension.
    Softmax(Id),
    /// Layer normalisation along the last dimension.
    Normalised(Id, NormNumbers),
    /// By a node that is not understood.
    Unknown,
}

#[derive(Debug, Clone)]
pub(super) struct NormNumbers {
    pub(super) weights: Tensor,
    pub(super) biases: Option<Tensor>,
    pub(super) epsilon: f32,
}
