//! A node's attributes by name, with what the operator takes where one is missing.

use crate::onnx::{Attribute, Node, Tensor};

#[derive(Debug)]
pub(super) struct Attributes<'a> {
    pub(super) node: &'a Node,
}

impl<'a> Attributes<'a> {
    pub(super) fn op(&self) -> &'a str {
        // No operator has an empty name, so one of another domain is known nowhere.
        if matches!(self.node.domain.as_str(), "" | "ai.onnx") { &self.node.op } else { "" }
    }

    fn get(&self, name: &str) -> Option<&'a Attribute> {
        self.node.attributes.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.get(name).map_or(default, |attribute| attribute.int)
    }

    pub(super) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.get(name).map(|attribute| attribute.ints.as_slice())
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.get(name).map_or(default, |attribute| attribute.float)
    }

    pub(super) fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.get(name).map(|attribute| attribute.floats.as_slice())
    }

    pub(super) fn string(&self, name: &str, default: &'static str) -> &'a str {
        self.get(name).map_or(default, |attribute| std::str::from_utf8(&attribute.string).unwrap_or_default())
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&'a Tensor> {
        self.get(name).and_then(|attribute| attribute.tensor.as_ref())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}
