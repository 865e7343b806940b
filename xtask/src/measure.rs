//! The measures of the shipped releases, by `palisade eval` on the baked components, and the cards made of them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::component::{self, Baked, Simd};
use crate::shell::{command, output, root, run};

/// The suites, with what each reads.
const SUITES: &[&str] = &["development", "functional"];
/// Where the development data lies.
const DATA: &str = "../shared/data";

/// Measures every shipped release and writes `metrics.json`, `report-SUITE.html` and the card into its folder.
pub(crate) fn write() -> Result<()> {
    let built = component::build()?;
    ensure!(root().join(DATA).is_dir(), "{DATA}: no such folder; the development suite reads the labelled data there");
    // Either build gives the same scores.
    for Baked { release, artefact, .. } in built.releases.iter().filter(|baked| baked.simd == Simd::Relaxed) {
        let folder = root().join(release);
        let mut metrics = Map::new();
        for suite in SUITES {
            let html = folder.join(format!("report-{suite}.html"));
            let arguments = ["eval", "--suite", suite, "--data", DATA, "--json", "--html"];
            let json = output(
                command(&built.palisade.to_string_lossy(), &arguments).arg(html).arg("--artefact").arg(artefact),
            )?;
            let mut report: Value = serde_json::from_str(&json)?;
            without_curves(&mut report);
            metrics.insert((*suite).to_owned(), report);
        }
        let path = folder.join("metrics.json");
        let text = serde_json::to_string_pretty(&metrics)? + "\n";
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        card(&folder, &[])?;
    }
    Ok(())
}

/// Writes a release's card, or with `--check` compares it.
pub(crate) fn card(folder: &Path, options: &[&str]) -> Result<()> {
    let arguments = [&["-m", "palisade_training.card"], options].concat();
    run(command("python3", &arguments).arg(folder).current_dir(root().join("training")))
}

/// The points of plots are in the HTML report.
fn without_curves(report: &mut Value) {
    for measurement in report["measurements"].as_array_mut().into_iter().flatten() {
        for score in measurement["scores"].as_array_mut().into_iter().flatten() {
            if let Some(score) = score.as_object_mut() {
                for curve in ["roc_curve", "precision_recall_curve", "calibration"] {
                    score.remove(curve);
                }
            }
        }
    }
}
