//! What holds, and everything that must not.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn key() -> PrivateKey {
    PrivateKey::from_pem(include_str!("../../tests/keys/pair.pkcs8.pem"), "pair").unwrap()
}

fn files() -> Digests {
    let digest = |content: &str| Sha256::digest(content).into();
    let names = ["manifest.json", "model.onnx", "release.json", "tokenizer.json"];
    names.iter().map(|name| ((*name).to_owned(), digest(name))).collect()
}

fn signed() -> Vec<u8> {
    sign(&key(), "english-toxicity@0.3.0", &files()).unwrap()
}

fn check(bytes: &[u8], digests: &Digests) -> Result<(), SignatureError> {
    Bundle::parse(bytes)?.verify(key().public(), digests)
}

/// A bundle in which the envelope is right and `change` was made to what is signed.
fn signed_with(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut bundle: Value = serde_json::from_slice(&signed()).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    let mut statement: Value = serde_json::from_slice(&STANDARD.decode(payload).unwrap()).unwrap();
    change(&mut statement);
    seal(&mut bundle, statement.to_string().as_bytes());
    bundle.to_string().into_bytes()
}

fn seal(bundle: &mut Value, payload: &[u8]) {
    bundle["dsseEnvelope"]["payload"] = STANDARD.encode(payload).into();
    let signature = key().sign(&pre_authentication(payload));
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = STANDARD.encode(signature).into();
}

/// A bundle whose envelope was changed and not signed again.
fn enveloped_with(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut bundle: Value = serde_json::from_slice(&signed()).unwrap();
    change(&mut bundle);
    bundle.to_string().into_bytes()
}

#[track_caller]
fn refused(bytes: &[u8], expect: fn(&SignatureError) -> bool, words: &[&str]) {
    refused_over(bytes, &files(), expect, words);
}

#[track_caller]
fn refused_over(bytes: &[u8], digests: &Digests, expect: fn(&SignatureError) -> bool, words: &[&str]) {
    let error = check(bytes, digests).unwrap_err();
    assert!(expect(&error), "{error:?}");
    let said = error.to_string();
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

#[test]
fn what_is_signed_verifies_and_signing_is_deterministic() {
    check(&signed(), &files()).unwrap();
    assert_eq!(signed(), signed());
    check(&sign(&key(), "", &Digests::new()).unwrap(), &Digests::new()).unwrap();
    let bundle = Bundle::parse(&signed()).unwrap();
    assert_eq!(bundle.hint(), key().public().hint());
}

#[test]
fn the_encoding_before_authentication_is_that_of_dsse() {
    // The example in DSSE's protocol.md, with our payload type.
    assert_eq!(pre_authentication(b"hello world"), b"DSSEv1 28 application/vnd.in-toto+json 11 hello world");
}

#[test]
fn what_is_no_bundle_is_refused() {
    let not_a_bundle = |error: &SignatureError| matches!(error, SignatureError::NotABundle { .. });
    let words = ["no Sigstore bundle", "expected JSON", "sign the release again"];
    let cases: [&[u8]; 6] = [b"", b"{}", b"[]", b"\xff", b"null", br#"{"mediaType":1}"#];
    for bytes in cases {
        refused(bytes, not_a_bundle, &words);
    }
    refused(&[signed(), b"x".to_vec()].concat(), not_a_bundle, &words);
    refused(signed().split_last().unwrap().1, not_a_bundle, &words);
    let twice = String::from_utf8(signed()).unwrap().replacen('{', r#"{"mediaType":"x","#, 1);
    refused(twice.as_bytes(), not_a_bundle, &["duplicate"]);
    refused(&enveloped_with(|b| b["dsseEnvelope"]["payloadType"] = "text/plain".into()), not_a_bundle, &["text/plain"]);
    refused(&enveloped_with(|b| b["dsseEnvelope"]["payload"] = "%".into()), not_a_bundle, &["payload is not base64"]);
    refused(&enveloped_with(|b| b["dsseEnvelope"]["signatures"] = json!([])), not_a_bundle, &["0 signatures"]);
    let two = |b: &mut Value| {
        let one = b["dsseEnvelope"]["signatures"][0].clone();
        b["dsseEnvelope"]["signatures"] = json!([one, one]);
    };
    refused(&enveloped_with(two), not_a_bundle, &["2 signatures, expected one"]);
    refused(
        &enveloped_with(|b| drop(b.as_object_mut().unwrap().remove("dsseEnvelope"))),
        not_a_bundle,
        &["dsseEnvelope"],
    );
    let deep = format!(r#"{{"mediaType":"{MEDIA_TYPE}","x":{}"#, "[".repeat(100_000));
    refused(deep.as_bytes(), not_a_bundle, &["EOF"]);
}

#[test]
fn too_much_is_refused_before_it_is_read() {
    let too_large = |error: &SignatureError| matches!(error, SignatureError::TooLarge { .. });
    refused(&vec![b' '; SIGNATURE_BYTES_MAX + 1], too_large, &["has 1048577 bytes, more than 1048576"]);
    let files = (0..5000).map(|n| (format!("{n:0>128}"), [0; 32])).collect();
    assert!(matches!(sign(&key(), "many", &files), Err(SignatureError::TooLarge { .. })));
}

#[test]
fn another_format_is_named() {
    let other = enveloped_with(|b| b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into());
    refused(
        &other,
        |e| matches!(e, SignatureError::MediaType { .. }),
        &["version=0.1", MEDIA_TYPE, "sign the release again"],
    );
    let not_by_key = |error: &SignatureError| matches!(error, SignatureError::NotByKey { .. });
    let certificate = |b: &mut Value| b["verificationMaterial"] = json!({"certificate": {"rawBytes": "AA=="}});
    refused(&enveloped_with(certificate), not_by_key, &["a certificate or an identity", "sign key"]);
    let unnamed = |b: &mut Value| b["verificationMaterial"]["publicKey"] = json!({});
    refused(&enveloped_with(unnamed), not_by_key, &["without a hint", "sign the release again"]);
}

#[test]
fn another_key_and_a_bad_signature_are_refused() {
    let other = PrivateKey::generate().unwrap();
    let by_other = sign(&other, "english-toxicity@0.3.0", &files()).unwrap();
    let other_key = |error: &SignatureError| matches!(error, SignatureError::OtherKey { .. });
    refused(&by_other, other_key, &[other.public().hint(), key().public().hint(), "right private key"]);
    // Saying that it is the right key does not help.
    let mut bundle: Value = serde_json::from_slice(&by_other).unwrap();
    bundle["verificationMaterial"]["publicKey"]["hint"] = key().public().hint().into();
    let bad = |error: &SignatureError| matches!(error, SignatureError::Bad { .. });
    refused(bundle.to_string().as_bytes(), bad, &[key().public().hint(), "damaged or forged", "do not use"]);
    for signature in ["", "AA==", "MAYCAQACAQA="] {
        refused(&enveloped_with(|b| b["dsseEnvelope"]["signatures"][0]["sig"] = signature.into()), bad, &["forged"]);
    }
    // Not even that it is JSON is found out before the signature was checked.
    refused(&enveloped_with(|b| b["dsseEnvelope"]["payload"] = STANDARD.encode(b"{").into()), bad, &["forged"]);
}

#[track_caller]
fn other_statement(change: impl FnOnce(&mut Value), words: &[&str]) {
    let statement = |error: &SignatureError| matches!(error, SignatureError::Statement { .. });
    let always = ["is good, but over something else", "sign the release again"];
    refused(&signed_with(change), statement, &[words, &always].concat());
}

#[test]
fn another_statement_is_refused() {
    other_statement(|s| s["_type"] = "https://in-toto.io/Statement/v2".into(), &["Statement/v2", STATEMENT_TYPE]);
    other_statement(|s| s["predicateType"] = "https://slsa.dev/provenance/v1".into(), &["slsa.dev", PREDICATE_TYPE]);
    other_statement(|s| s["predicate"]["serialization"]["method"] = "shards".into(), &["\"shards\"", "\"files\""]);
    other_statement(|s| s["predicate"]["serialization"]["hash_type"] = "blake3".into(), &["blake3"]);
    other_statement(|s| s["predicate"]["resources"][0]["algorithm"] = "md5".into(), &["manifest.json", "md5"]);
    other_statement(
        |s| s["predicate"]["resources"][0]["digest"] = "00".into(),
        &["manifest.json", "64 hexadecimal digits"],
    );
    other_statement(|s| s["predicate"]["resources"][1]["name"] = "manifest.json".into(), &["manifest.json\" twice"]);
    other_statement(|s| s["subject"][0]["digest"]["sha256"] = "0".repeat(64).into(), &["subject's digest"]);
    other_statement(|s| s["subject"] = json!([]), &["0 subjects"]);
    other_statement(|s| drop(s.as_object_mut().unwrap().remove("predicate")), &["no model signature v1.0"]);
    let mut bundle: Value = serde_json::from_slice(&signed()).unwrap();
    seal(&mut bundle, b"{");
    let statement = |error: &SignatureError| matches!(error, SignatureError::Statement { .. });
    refused(bundle.to_string().as_bytes(), statement, &["no model signature v1.0"]);
}

#[test]
fn fields_that_are_not_known_are_passed_over() {
    check(&signed_with(|s| s["predicate"]["more"] = json!({"a": 1})), &files()).unwrap();
    check(&enveloped_with(|b| b["verificationMaterial"]["timestampVerificationData"] = json!({})), &files()).unwrap();
    check(&enveloped_with(|b| b["verificationMaterial"]["tlogEntries"] = json!([{"logIndex": "1"}])), &files())
        .unwrap();
}

#[test]
fn other_files_are_named() {
    let differs = |error: &SignatureError| matches!(error, SignatureError::Differs(_));
    let mut missing = files();
    missing.remove("model.onnx");
    refused_over(&signed(), &missing, differs, &["signed but missing: \"model.onnx\"", "do not use", "new version"]);
    let mut extra = files();
    extra.insert("more.bin".to_owned(), [0; 32]);
    refused_over(&signed(), &extra, differs, &["there but not signed: \"more.bin\""]);
    let mut changed = files();
    changed.insert("model.onnx".to_owned(), [0; 32]);
    refused_over(&signed(), &changed, differs, &["another SHA-256 than the signed one: \"model.onnx\""]);
    refused_over(&signed(), &Digests::new(), differs, &["\"manifest.json\", \"model.onnx\""]);
    let many: Digests = (0..9).map(|n| (format!("{n}"), [n; 32])).collect();
    refused_over(&signed(), &many, differs, &["\"0\", \"1\", \"2\", \"3\", \"4\" and 4 more"]);
    // A file that the statement says to ignore is still one too many.
    let ignoring = signed_with(|s| s["predicate"]["serialization"]["ignore_paths"] = json!(["more.bin"]));
    refused_over(&ignoring, &extra, differs, &["more.bin"]);
}

#[test]
fn every_flipped_bit_is_refused_or_changes_no_meaning() {
    let whole = signed();
    let bundle: Value = serde_json::from_slice(&whole).unwrap();
    let mut without_meaning = 0;
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            if check(&bytes, &files()).is_ok() {
                // Only the envelope's fields that mean nothing here may differ: keyid and the logs' name.
                let flipped: Value = serde_json::from_slice(&bytes).unwrap();
                for meaning in ["/mediaType", "/verificationMaterial/publicKey/hint", "/dsseEnvelope/payload"] {
                    assert_eq!(flipped.pointer(meaning), bundle.pointer(meaning), "byte {at}, bit {bit}");
                }
                without_meaning += 1;
            }
        }
    }
    // The letters of "keyid" and "tlogEntries", and what ASN.1 or JSON do not care about: a few in thousands.
    assert!(without_meaning <= 8 * "tlogEntrieskeyid".len(), "{without_meaning} flips changed nothing");
}

#[test]
fn every_flipped_bit_of_a_digest_or_name_is_refused() {
    for (name, digest) in files() {
        for bit in 0..256 {
            let mut digest = digest;
            digest[bit / 8] ^= 1 << (bit % 8);
            let mut other = files();
            other.insert(name.clone(), digest);
            assert!(matches!(check(&signed(), &other), Err(SignatureError::Differs(_))), "{name}, bit {bit}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_files_verify_and_no_other_files_do(
        ours in proptest::collection::btree_map("[A-Za-z0-9][A-Za-z0-9._-]{0,20}", any::<[u8; 32]>(), 0..12),
        theirs in proptest::collection::btree_map("[A-Za-z0-9][A-Za-z0-9._-]{0,20}", any::<[u8; 32]>(), 0..12),
    ) {
        let bytes = sign(&key(), "any", &ours).unwrap();
        prop_assert_eq!(check(&bytes, &ours), Ok(()));
        prop_assert_eq!(check(&bytes, &theirs).is_ok(), ours == theirs);
    }

    #[test]
    fn no_bytes_panic_and_none_but_ours_hold(
        cut in 0..2000usize,
        noise in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = signed();
        let from = cut.min(bytes.len());
        let to = (from + noise.len()).min(bytes.len());
        bytes.splice(from..to, noise);
        if check(&bytes, &files()).is_ok() {
            let flipped: Value = serde_json::from_slice(&bytes).unwrap();
            let bundle: Value = serde_json::from_slice(&signed()).unwrap();
            prop_assert_eq!(flipped.pointer("/dsseEnvelope/payload"), bundle.pointer("/dsseEnvelope/payload"));
        }
    }
}
