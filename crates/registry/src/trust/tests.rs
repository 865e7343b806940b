//! Policies that hold, policies that cannot be used, and whom they keep out.

use proptest::prelude::*;

use super::*;
use crate::key::PrivateKey;
use crate::signature::sign;

const PUBLIC: &str = include_str!("../../tests/keys/pair.public.pem");

fn key() -> PrivateKey {
    PrivateKey::from_pem(include_str!("../../tests/keys/pair.pkcs8.pem"), "pair").unwrap()
}

fn files() -> Digests {
    [("manifest.json".to_owned(), [1; 32]), ("model.onnx".to_owned(), [2; 32])].into()
}

fn at(date: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(date).unwrap().to_utc()
}

const NOW: &str = "2026-06-01T12:00:00Z";

/// What a policy with this text says of our files, signed by our key, as this model.
fn verify(text: &str, model: &str, now: &str) -> Result<Verified, TrustError> {
    verify_with(text, model, Some(&sign(&key(), "x", &files()).unwrap()), now)
}

fn verify_with(text: &str, model: &str, signature: Option<&[u8]>, now: &str) -> Result<Verified, TrustError> {
    read(text)?.verify(model, &files(), signature, at(now))
}

fn read(text: &str) -> Result<Trust, TrustError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("releases.pub"), PUBLIC).unwrap();
    std::fs::write(folder.path().join("other.pub"), PrivateKey::generate().unwrap().public().pem()).unwrap();
    let path = folder.path().join("trust.toml");
    std::fs::write(&path, text).unwrap();
    Trust::read(&path)
}

fn policy(more: &str) -> String {
    format!(
        "schema = \"palisade-trust/1\"\n[[key]]\nname = \"releases-2026\"\npublic-key-file = \"releases.pub\"\n\
        models = [\"english-*\", \"exact\"]\n{more}"
    )
}

#[track_caller]
fn refused<T>(result: Result<T, TrustError>, words: &[&str]) {
    let Err(error) = result else { panic!("accepted") };
    let said = error.to_string();
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

#[test]
fn a_permitted_key_is_named() {
    let signed = Verified::Signed { key: "releases-2026".to_owned(), hint: key().public().hint().to_owned() };
    assert_eq!(verify(&policy(""), "english-toxicity", NOW).unwrap(), signed);
    assert_eq!(verify(&policy(""), "exact", NOW).unwrap(), signed);
    assert_eq!(signed.to_string(), "signed by \"releases-2026\"");
    let inline =
        policy("").replace("public-key-file = \"releases.pub\"", &format!("public-key = \"\"\"\n{PUBLIC}\"\"\""));
    assert_eq!(verify(&inline, "english-toxicity", NOW).unwrap(), signed);
}

#[test]
fn without_a_policy_digests_alone_count() {
    let verify = |signature| Trust::none().verify("any", &files(), signature, at(NOW)).unwrap();
    assert_eq!(verify(None), Verified::NoPolicy);
    assert_eq!(verify(Some(b"anything")), Verified::NoPolicy);
    assert!(!Trust::none().has_policy() && read(&policy("")).unwrap().has_policy());
}

#[test]
fn unsigned_releases_are_refused_unless_allowed() {
    refused(verify_with(&policy(""), "exact", None, NOW), &["exact is not signed", "unsigned = \"allow\""]);
    let allowed = format!("unsigned = \"allow\"\n{}", policy(""));
    assert_eq!(verify_with(&allowed, "exact", None, NOW).unwrap(), Verified::Unsigned);
    let keyless = "schema = \"palisade-trust/1\"\nunsigned = \"allow\"";
    assert_eq!(verify_with(keyless, "exact", None, NOW).unwrap(), Verified::Unsigned);
    // A signature that is there counts all the same.
    refused(verify_with(&allowed, "exact", Some(b"{}"), NOW), &["the signature of exact is no Sigstore bundle"]);
    refused(verify(keyless, "exact", NOW), &["not in the trust policy", "expected one of: none"]);
    refused(verify(&allowed, "german-toxicity", NOW), &["releases-2026"]);
}

#[test]
fn other_keys_and_models_are_refused_by_name() {
    refused(
        verify(&policy(""), "german-toxicity", NOW),
        &["german-toxicity", "\"releases-2026\"", "english-*, exact alone", "another key"],
    );
    let other = policy("").replace("releases.pub", "other.pub");
    refused(
        verify(&other, "exact", NOW),
        &["exact", key().public().hint(), "not in the trust policy", "\"releases-2026\" (", "add the public key"],
    );
    let mut bundle: serde_json::Value = serde_json::from_slice(&sign(&key(), "x", &files()).unwrap()).unwrap();
    bundle["verificationMaterial"]["publicKey"]["hint"] = "\u{1b}[31m".repeat(100_000).into();
    let error = verify_with(&policy(""), "exact", Some(bundle.to_string().as_bytes()), NOW).unwrap_err().to_string();
    assert!(error.len() < 1000 && !error.contains('\u{1b}'), "{error}");
}

#[test]
fn wrong_files_are_refused() {
    let trust = read(&policy("")).unwrap();
    let mut other = files();
    other.insert("model.onnx".to_owned(), [3; 32]);
    let signature = sign(&key(), "x", &files()).unwrap();
    let words = ["the signature of exact is good, but over other files", "model.onnx", "do not use"];
    refused(trust.verify("exact", &other, Some(&signature), at(NOW)), &words);
}

#[test]
fn keys_have_their_time() {
    let both = policy("not-before = 2026-01-01T00:00:00Z\nnot-after = \"2026-12-31T23:59:59+01:00\"\n");
    for now in ["2026-01-01T00:00:00Z", NOW, "2026-12-31T22:59:59Z"] {
        verify(&both, "exact", now).unwrap();
    }
    refused(
        verify(&both, "exact", "2025-12-31T23:59:59Z"),
        &["exact", "\"releases-2026\"", "from 2026-01-01T00:00:00Z on", "it is 2025-12-31T23:59:59Z", "clock"],
    );
    refused(
        verify(&both, "exact", "2026-12-31T23:00:00Z"),
        &[
            "exact",
            "\"releases-2026\"",
            "expired on 2026-12-31T22:59:59Z",
            "it is 2026-12-31T23:00:00Z",
            "signed again",
        ],
    );
}

#[test]
fn a_policy_that_is_not_understood_is_refused() {
    let case = |text: &str, words: &[&str]| refused(read(text), &[words, &["trust policy", "trust.toml"]].concat());
    case("", &["missing field `schema`"]);
    case("schema = \"palisade-trust/1\"", &["names no [[key]]", "palisade model keygen"]);
    case("schema = \"palisade-trust/2\"\nwhat = 1", &["palisade-trust/2", "later palisade", "upgrade"]);
    case("schema = \"other/1\"", &["other/1", "palisade-trust/1"]);
    case("schema = ", &["line 1"]);
    case(&policy("model = \"x\""), &["line 6", "unknown field `model`"]);
    case(&format!("unsigned = \"maybe\"\n{}", policy("")), &["line 1", "maybe", "refuse", "allow"]);
    case(&policy("").replace("releases.pub", "absent.pub"), &["releases-2026", "absent.pub", "cannot read"]);
    case(&policy("public-key = \"x\""), &["releases-2026", "either public-key"]);
    case(&policy("").replace("public-key-file = \"releases.pub\"", ""), &["either public-key"]);
    case(&policy("").replace("public-key-file = \"releases.pub\"", "public-key = \"x\""), &["no public key"]);
    case(&policy("").replace("exact", "Exact"), &["releases-2026", "\"Exact\"", "a-z"]);
    case(&policy("").replace("[\"english-*\", \"exact\"]", "[]"), &["models is empty"]);
    case(&policy("").replace("releases-2026", " "), &["name is empty"]);
    case(&policy("not-after = 2026-01-01"), &["not-after", "2026-01-01", "time and offset"]);
    case(&policy("not-after = 2026-01-01T00:00:00"), &["not-after", "time and offset"]);
    case(&policy("not-before = 5"), &["not-before is of type integer"]);
    case(&policy("not-before = 2027-01-01T00:00:00Z\nnot-after = 2026-01-01T00:00:00Z"), &["later than not-after"]);
    let again = policy("").split_once('\n').unwrap().1.to_owned();
    case(&policy(&again), &["are the same"]);
    case(&policy(&again.replace("releases-2026", "second")), &["\"releases-2026\" and \"second\" are the same"]);
    refused(Trust::read(Path::new("absent/trust.toml")), &["absent/trust.toml", "cannot be read"]);
}

#[test]
fn stars_stand_for_anything() {
    for (pattern, name, expected) in [
        ("*", "", true),
        ("a", "a", true),
        ("a", "ab", false),
        ("a*", "a", true),
        ("a*b", "ab", true),
        ("a*b", "a", false),
        ("a*a", "a", false),
        ("*-en", "toxicity-en", true),
        ("*-en", "toxicity-eng", false),
        ("a*b*c", "a-c-b-b-c", true),
        ("a*b*c", "acb", false),
        ("**", "x", true),
        ("", "x", false),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

proptest! {
    #[test]
    fn patterns_match_as_written_out(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
        /// The definition, slow.
        fn defined(pattern: &[u8], name: &[u8]) -> bool {
            match (pattern, name) {
                ([], []) => true,
                ([b'*', rest @ ..], _) => (0..=name.len()).any(|skipped| defined(rest, &name[skipped..])),
                ([first, pattern @ ..], [letter, name @ ..]) => first == letter && defined(pattern, name),
                _ => false,
            }
        }
        prop_assert_eq!(matches(&pattern, &name), defined(pattern.as_bytes(), name.as_bytes()));
    }
}
