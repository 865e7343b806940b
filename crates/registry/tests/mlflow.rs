//! Exports to and imports from a real MLflow server, with MLflow's own client as the judge.
//!
//! Slow (a minute), so only where `PALISADE_MLFLOW` names a virtual environment that has MLflow 3.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use palisade_registry::mlflow::{Credentials, Export, MlflowError, Selector, Server};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const START_TIMEOUT: Duration = Duration::from_mins(3);

/// A server of its own, which ends with the test.
struct Mlflow {
    venv: PathBuf,
    folder: tempfile::TempDir,
    address: String,
    process: Child,
}

impl Mlflow {
    async fn start(venv: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(venv.join("bin/mlflow"));
        command.args(["server", "--host", "127.0.0.1", "--workers", "1", "--port", &port.to_string()]);
        command.arg("--backend-store-uri").arg(format!("sqlite:///{}/db", folder.path().display()));
        command.arg("--artifacts-destination").arg(folder.path().join("artefacts"));
        command.env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false").env("MLFLOW_DISABLE_TELEMETRY", "true");
        command.stdout(log.try_clone().unwrap()).stderr(log).current_dir(folder.path());
        let process = command.process_group(0).spawn().unwrap();
        let address = format!("http://127.0.0.1:{port}");
        let mut mlflow = Self { venv, folder, address, process };
        palisade_registry::tls::provide(); // for `reqwest` here
        let begin = Instant::now();
        let health = format!("{}/health", mlflow.address);
        while !reqwest::get(&health).await.is_ok_and(|answer| answer.status().is_success()) {
            let has_ended = mlflow.process.try_wait().unwrap().is_some();
            let log = || std::fs::read_to_string(mlflow.folder.path().join("log")).unwrap();
            assert!(!has_ended && begin.elapsed() < START_TIMEOUT, "{}", log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        mlflow
    }

    /// What MLflow's own client says.
    fn judge(&self, command: &str, argument: &str) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mlflow_judge.py");
        let mut judge = Command::new(self.venv.join("bin/python"));
        judge.arg(script).args([&self.address, command, argument]).current_dir(self.folder.path());
        let output = judge.env("MLFLOW_DISABLE_TELEMETRY", "true").stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(printed.lines().last().unwrap()).unwrap()
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Mlflow {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        self.process.wait().ok();
    }
}

fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[allow(clippy::print_stderr, reason = "a test that is passed over says so")]
#[tokio::test]
async fn a_release_goes_to_mlflow_and_comes_back() {
    let Some(venv) = std::env::var_os("PALISADE_MLFLOW") else {
        eprintln!(
            "passed over: PALISADE_MLFLOW names no virtual environment with MLflow (pip install mlflow==3.17.2 onnx onnxruntime)"
        );
        return;
    };
    let mlflow = Mlflow::start(venv.into()).await;
    let server = Server::new(&mlflow.address, Credentials::None, false).unwrap();
    let onnx: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let export = Export {
        model: "english-toxicity".to_owned(),
        version: "0.3.0".to_owned(),
        digest: sha256(b"release"),
        experiment: "palisade releases".to_owned(),
        files: [
            ("model.onnx".to_owned(), mlflow.file("model.onnx", &onnx)),
            ("release.json".to_owned(), mlflow.file("release.json", b"{}")),
        ]
        .into(),
        // More than one call of `log-batch` takes.
        metrics: (0..150_u8).map(|n| (format!("suite.auc_{n}"), f64::from(n) / 150.0)).collect(),
        parameters: texts([("base", "a model"), ("seed", "7")]),
        tags: texts([("licence", "Apache-2.0")]),
        aliases: vec!["champion".to_owned(), "previous".to_owned()],
    };
    exports_once(&mlflow, &server, &export, &onnx).await;
    imports(&mlflow, &server, &export, &onnx).await;
    imports_what_others_registered(&mlflow, &server, &onnx).await;
    is_loaded_by_their_client(&mlflow, &server, &export).await;
}

/// By `mlflow.onnx.load_model` and `mlflow.pyfunc.load_model`, with a true graph.
async fn is_loaded_by_their_client(mlflow: &Mlflow, server: &Server, export: &Export) {
    let graph = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/english-toxicity-small/model.onnx");
    let files = [("model.onnx".to_owned(), graph)].into();
    let model = Export { model: "true".to_owned(), digest: sha256(b"true"), files, ..export.clone() };
    server.export(&model).await.unwrap();
    let loaded = mlflow.judge("load", "models:/true@champion");
    assert_eq!(loaded, json!({"inputs": ["input_ids"], "rows": [2]}));
}

async fn exports_once(mlflow: &Mlflow, server: &Server, export: &Export, onnx: &[u8]) {
    // An attempt that broke off is gone on with.
    let mut broken = export.clone();
    broken.files.insert("tokenizer.json".to_owned(), mlflow.folder.path().join("absent"));
    let error = server.export(&broken).await.unwrap_err();
    assert!(matches!(&error, MlflowError::File { path, .. } if path.ends_with("absent")), "{error}");

    let first = server.export(export).await.unwrap();
    assert_eq!((first.version.as_str(), first.already), ("1", false));
    let again = server.export(export).await.unwrap();
    assert_eq!((again.version, again.run, again.already), (first.version, first.run, true));

    let shown = mlflow.judge("show", "english-toxicity");
    assert_eq!(shown["aliases"], json!({"champion": "1", "previous": "1"}));
    assert_eq!(shown["runs"], 1);
    assert_eq!(shown["versions"].as_object().unwrap().len(), 1);
    let version = &shown["versions"]["1"];
    let tags = json!({
        "licence": "Apache-2.0", "palisade.release-digest": export.digest, "palisade.release-version": "0.3.0"
    });
    assert_eq!(version["tags"], tags);
    assert_eq!(version["status"], "READY");
    let mut files = version["files"].clone();
    assert!(files.as_object_mut().unwrap().remove("MLmodel").is_some());
    assert_eq!(files, json!({"model.onnx": sha256(onnx), "release.json": sha256(b"{}")}));
    assert_eq!(version["run"]["status"], "FINISHED");
    assert_eq!(version["run"]["tags"], tags);
    assert_eq!(version["run"]["parameters"], json!({"base": "a model", "seed": "7"}));
    let metrics: BTreeMap<_, _> = export.metrics.iter().map(|(key, value)| (key, format!("{value:?}"))).collect();
    assert_eq!(version["run"]["metrics"], json!(metrics));

    let next = Export { version: "0.4.0".to_owned(), digest: sha256(b"next"), ..export.clone() };
    let next = Export { aliases: vec!["champion".to_owned()], ..next };
    assert_eq!(server.export(&next).await.unwrap().version, "2");
    let aliases = &mlflow.judge("show", "english-toxicity")["aliases"];
    assert_eq!(*aliases, json!({"champion": "2", "previous": "1"}));
}

async fn imports(mlflow: &Mlflow, server: &Server, export: &Export, onnx: &[u8]) {
    let folder = mlflow.folder.path().join("imported");
    let by_alias = Selector::Alias("champion".to_owned());
    let imported = server.import("english-toxicity", &by_alias, &folder).await.unwrap();
    assert_eq!(std::fs::read(&imported.file).unwrap(), onnx);
    assert_eq!((imported.file, imported.bytes), (folder.join("model.onnx"), onnx.len() as u64));
    assert_eq!(hex::encode(imported.sha256), sha256(onnx));
    assert_eq!(imported.version, "2");
    assert_eq!(imported.tags["palisade.release-version"], "0.4.0");
    assert_eq!(imported.others, ["MLmodel", "release.json"]);
    assert!(imported.run.is_some());
    let by_version = Selector::Version("1".to_owned());
    let imported = server.import("english-toxicity", &by_version, &folder).await.unwrap();
    assert_eq!(imported.tags["palisade.release-version"], "0.3.0");

    let two = Export { model: "two".to_owned(), ..export.clone() };
    let mut two = Export { digest: sha256(b"two"), ..two };
    two.files.insert("second.onnx".to_owned(), mlflow.file("second.onnx", b"x"));
    server.export(&two).await.unwrap();
    let mut none = Export { model: "none".to_owned(), digest: sha256(b"none"), ..export.clone() };
    none.files.remove("model.onnx");
    server.export(&none).await.unwrap();
    for (model, selector, words) in [
        ("english-toxicity", Selector::Alias("challenger".to_owned()), "there is no alias \"challenger\" of"),
        ("english-toxicity", Selector::Version("9".to_owned()), "there is no version \"9\" of"),
        ("english-toxicity", Selector::Version("../x".to_owned()), "there is no version \"../x\" of"),
        ("absent", Selector::Version("1".to_owned()), "the registered model \"absent\""),
        ("two", Selector::Version("1".to_owned()), "2 ONNX files (model.onnx, second.onnx)"),
        ("none", Selector::Version("1".to_owned()), "no ONNX file among its 1; expected exactly one"),
    ] {
        let error = server.import(model, &selector, &folder).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

async fn imports_what_others_registered(mlflow: &Mlflow, server: &Server, onnx: &[u8]) {
    let file = mlflow.folder.path().join("model.onnx");
    let registered = mlflow.judge("register", &file.display().to_string());
    let folder = mlflow.folder.path().join("theirs");
    let by_run = server.import("by-run", &Selector::Alias("best".to_owned()), &folder).await.unwrap();
    assert_eq!(hex::encode(by_run.sha256), sha256(onnx));
    for model in ["by-model", "by-model-id"] {
        let imported = server.import(model, &Selector::Version("1".to_owned()), &folder).await;
        let imported = imported.unwrap_or_else(|error| panic!("{model}: {error}: {registered}"));
        assert_eq!(hex::encode(imported.sha256), sha256(onnx));
    }
}
