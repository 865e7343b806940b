//! Signatures against their reference: what we sign, the Python package model-signing verifies, and we what it signs.
//!
//! `PALISADE_REGISTRY_VENV` names a virtual environment that has the package; `cargo xtask test` makes one with
//! `tests/prepare.py`, which does it by itself too. Without the variable these tests are passed over, but fail in CI.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_registry::key::{PrivateKey, PublicKey};
use palisade_registry::signature::{Bundle, Digests, SignatureError, sign};
use sha2::{Digest, Sha256};

/// Names whose order is not the same for everybody: capitals, and characters before and after `/`, `.` and letters.
const NAMES: [&str; 9] = ["manifest.json", "model.onnx", "Model.onnx", "a", "a-1", "a.1", "a_1", "tokenizer.json", "0"];

/// The program of the package, if there is one.
fn judge() -> Option<PathBuf> {
    let venv = std::env::var_os("PALISADE_REGISTRY_VENV").map(PathBuf::from);
    let said = "PALISADE_REGISTRY_VENV is not set; PALISADE_REGISTRY_VENV=$(python3 crates/registry/tests/prepare.py)";
    assert!(venv.is_some() || std::env::var_os("CI").is_none(), "{said}");
    if venv.is_none() {
        skipped(said);
    }
    let program = venv?.join("bin/model_signing");
    assert!(program.is_file(), "there is no {}: python3 crates/registry/tests/prepare.py", program.display());
    Some(program)
}

#[allow(clippy::print_stderr, reason = "a test that is passed over says so")]
fn skipped(why: &str) {
    eprintln!("passed over: {why}");
}

struct Release {
    folder: tempfile::TempDir,
    key: PrivateKey,
}

impl Release {
    /// A release in a folder `model`, with a pair of keys beside it.
    fn new(key: PrivateKey) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let release = Self { folder, key };
        fs::create_dir(release.path("model")).unwrap();
        for name in NAMES {
            fs::write(release.path("model").join(name), format!("content of {name}")).unwrap();
        }
        release.key.write(&release.path("key.pem"), &release.path("key.pub")).unwrap();
        release
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// All the files' digests, but the signature's.
    fn digests(&self) -> Digests {
        let entries = fs::read_dir(self.path("model")).unwrap().map(Result::unwrap);
        let digest = |entry: fs::DirEntry| {
            let content = fs::read(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), Sha256::digest(content).into())
        };
        entries.map(digest).filter(|(name, _)| name != "signature").collect()
    }

    /// Whether model-signing verifies the folder against a signature, and what it said.
    fn judged(&self, judge: &Path, signature: &Path, key: &Path) -> (bool, String) {
        let arguments = ["verify", "key", "--signature"].map(AsRef::as_ref);
        let mut command = Command::new(judge);
        command.args::<_, &std::ffi::OsStr>(arguments).arg(signature).arg("--public_key").arg(key);
        output(command.arg(self.path("model")))
    }
}

fn output(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn model_signing_verifies_what_we_sign() {
    let Some(judge) = judge() else { return };
    let release = Release::new(PrivateKey::generate().unwrap());
    let signature = release.path("model/signature");
    fs::write(&signature, sign(&release.key, "english-toxicity@0.3.0", &release.digests()).unwrap()).unwrap();
    let key = release.path("key.pub");
    let (is_good, said) = release.judged(&judge, &signature, &key);
    assert!(is_good, "{said}");

    let other = Release::new(PrivateKey::generate().unwrap());
    let (is_good, said) = release.judged(&judge, &signature, &other.path("key.pub"));
    assert!(!is_good && said.contains("Key mismatch"), "{said}");
    fs::write(release.path("model/more"), "").unwrap();
    let (is_good, said) = release.judged(&judge, &signature, &key);
    assert!(!is_good && said.contains("Extra files found in model 'model': more"), "{said}");
    fs::remove_file(release.path("model/more")).unwrap();
    fs::write(release.path("model/a"), "changed").unwrap();
    let (is_good, said) = release.judged(&judge, &signature, &key);
    assert!(!is_good && said.contains("Hash mismatch for 'a'"), "{said}");
}

#[test]
fn we_verify_what_model_signing_signs() {
    let Some(judge) = judge() else { return };
    let openssl = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    for file in ["pair.pkcs8.pem", "pair.sec1.pem", "ours"] {
        let key = match file {
            "ours" => PrivateKey::generate().unwrap(),
            file => PrivateKey::read(&openssl.join(file)).unwrap(),
        };
        let release = Release::new(key);
        let private = if file == "ours" { release.path("key.pem") } else { openssl.join(file) };
        let signature = release.path("model/signature");
        let mut command = Command::new(&judge);
        command.args(["sign", "key", "--signature"]).arg(&signature).arg("--private_key").arg(private);
        let (is_signed, said) = output(command.arg(release.path("model")));
        assert!(is_signed, "{said}");

        let public = PublicKey::read(&release.path("key.pub")).unwrap();
        let bundle = Bundle::parse(&fs::read(&signature).unwrap()).unwrap();
        assert_eq!(bundle.hint(), public.hint());
        bundle.verify(&public, &release.digests()).unwrap();
        fs::write(release.path("model/a"), "changed").unwrap();
        let error = bundle.verify(&public, &release.digests()).unwrap_err();
        assert!(matches!(&error, SignatureError::Differs(differences) if differences.changed == ["a"]), "{error}");
    }
}

#[test]
fn what_model_signing_is_told_to_ignore_we_do_not() {
    let Some(judge) = judge() else { return };
    let release = Release::new(PrivateKey::generate().unwrap());
    let signature = release.path("model/signature");
    let mut command = Command::new(&judge);
    command.args(["sign", "key", "--ignore-paths"]).arg(release.path("model/a")).arg("--signature").arg(&signature);
    command.arg("--private_key").arg(release.path("key.pem"));
    let (is_signed, said) = output(command.arg(release.path("model")));
    assert!(is_signed, "{said}");
    let bundle = Bundle::parse(&fs::read(&signature).unwrap()).unwrap();
    let error = bundle.verify(release.key.public(), &release.digests()).unwrap_err();
    assert!(matches!(&error, SignatureError::Differs(differences) if differences.extra == ["a"]), "{error}");
}
