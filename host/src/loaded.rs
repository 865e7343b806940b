//! A release that is ready to score, by whichever engine: callers ask the same and get the same, to the bit.

use clap::ValueEnum;
use serde::Deserialize;

use crate::bindings::{Classification, Description, Options};
use crate::engine::{Component, ComponentInstance};
use crate::native::Native;
use crate::{Artefact, Error};

/// What runs a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// The component under wasmtime: a sandbox, with a time limit and a memory limit for each call
    #[default]
    Component,
    /// The same model in this process: quicker, without a sandbox; --call-ms-max and --memory-mib-max do not hold
    Native,
}

/// A release ready to be instantiated, on any thread.
#[derive(Debug, Clone)]
pub struct Loaded {
    by: By,
}

#[derive(Debug, Clone)]
enum By {
    Component(Component),
    Native(Native),
}

impl Loaded {
    /// Reads the packed model that lies in an artefact, to be scored in this process: milliseconds, and no compilation.
    ///
    /// Calls have no time limit and no memory limit but the contract's limits on texts, bytes and tokens. A panic in one is an
    /// [`Error::Fault`]; so that its message never reaches the screen, this sets the process's panic hook, once, to one that passes
    /// all other panics on.
    ///
    /// Fails for an artefact without a packed model (baked with tract, or by a version before it), and for a damaged one.
    pub fn native(artefact: &Artefact) -> Result<Self, Error> {
        Native::load(artefact).map(|native| Self { by: By::Native(native) })
    }

    /// A fresh instance: microseconds, for the release is in its memory image, or shared.
    pub fn instantiate(&self) -> Result<Instance, Error> {
        Ok(Instance {
            by: match &self.by {
                By::Component(component) => InstanceBy::Component(Box::new(component.instantiate()?)),
                By::Native(native) => InstanceBy::Native(native.clone()),
            },
        })
    }
}

impl From<Component> for Loaded {
    fn from(component: Component) -> Self {
        Self { by: By::Component(component) }
    }
}

/// One instance of a release, for one thread. After an error other than [`Error::Refused`] it must not be used again.
#[derive(Debug)]
pub struct Instance {
    by: InstanceBy,
}

#[derive(Debug)]
enum InstanceBy {
    Component(Box<ComponentInstance>),
    Native(Native),
}

impl Instance {
    /// The release inside, its labels and limits.
    pub fn describe(&mut self) -> Result<Description, Error> {
        match &mut self.by {
            InstanceBy::Component(component) => component.describe(),
            InstanceBy::Native(native) => Ok(native.describe()),
        }
    }

    /// Scores a batch of texts.
    pub fn classify<T: AsRef<str>>(&mut self, texts: &[T], options: &Options) -> Result<Classification, Error> {
        match &mut self.by {
            InstanceBy::Component(component) => component.classify(texts, options),
            InstanceBy::Native(native) => native.classify(texts, options),
        }
    }
}
