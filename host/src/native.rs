//! The native engine: the packed model that lies in an artefact, scored in this process.
//!
//! Equal to the component to the bit, and quicker, for it has the processor's own instructions. What it lacks is the sandbox: a
//! call cannot be interrupted and has no memory limit of its own. What bounds it are the contract's limits on texts, bytes and
//! tokens, which it checks as the component does.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use palisade_core::Classifier;

use crate::bindings::{self as wit, Classification, Description, Options};
use crate::{Artefact, Error};

#[path = "../../components/classifier/src/contract.rs"]
mod contract;

/// A release read in place, for any number of threads.
#[derive(Debug, Clone)]
pub(crate) struct Native {
    classifier: Arc<Classifier>,
}

impl Native {
    /// Reads the packed model out of the artefact, checks it, and tries it once.
    pub(crate) fn load(artefact: &Artefact) -> Result<Self, Error> {
        let problem = |problem: String| Error::NotAnArtefact { path: artefact.path.clone(), problem };
        let packed = artefact.packed()?;
        let manifest = artefact.anatomy.release_manifest();
        let manifest = manifest.ok_or_else(|| problem("its release section is damaged; bake it again".into()))?;
        quiet_panics();
        let classifier = without_panic(|| Classifier::from_packed(manifest, packed))?;
        let classifier = classifier
            .map_err(|e| problem(format!("{e}\n  hint: run it with --engine component, or bake its release again")))?;
        Ok(Self { classifier: Arc::new(classifier) })
    }

    /// The release inside, its labels and limits.
    pub(crate) fn describe(&self) -> Description {
        let description = contract::description(&self.classifier);
        Description { engine: format!("{}, native", description.engine), ..description }
    }

    /// Scores a batch of texts.
    pub(crate) fn classify<T: AsRef<str>>(&self, texts: &[T], options: &Options) -> Result<Classification, Error> {
        let options = contract::options(options.clone());
        let answer = without_panic(|| self.classifier.classify(texts, &options))?;
        answer.map(contract::classification).map_err(|e| Error::Refused(contract::error(e)))
    }
}

thread_local! {
    /// While this thread is in a native call: where it panicked, once it did.
    static CALL: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics of native calls from the screen, for their messages can quote the text.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_call = CALL.try_with(|call| {
                let Some(place) = &mut *call.borrow_mut() else { return false };
                *place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
                true
            });
            // Where a thread ends and its variables are gone, there is no call either.
            if !is_call.unwrap_or(false) {
                others(panic);
            }
        }));
    });
}

/// Runs a step that should not panic. Where it does, the error says at which line of the program and holds nothing of a text.
fn without_panic<T>(step: impl FnOnce() -> T) -> Result<T, Error> {
    CALL.set(Some(String::new()));
    // What the step touches is either its own or only read, so nothing half done is left behind.
    let result = catch_unwind(AssertUnwindSafe(step));
    let place = CALL.take().unwrap_or_default();
    result.map_err(|_| Error::Fault(format!("the native engine panicked at {place}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::string_slice, reason = "it shall panic")]
    fn a_panic_is_an_error_without_the_text() {
        quiet_panics();
        let text = "my secret é";
        let error = without_panic(|| text[..text.len() - 1].len()).unwrap_err().to_string();
        assert!(error.contains("the native engine panicked at ") && error.contains("native.rs:"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(without_panic(|| 1).unwrap(), 1);
    }
}
