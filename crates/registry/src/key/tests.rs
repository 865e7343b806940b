//! Keys as OpenSSL writes them, and the files that we write.

use super::*;

macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../../tests/keys/", $name))
    };
}

#[test]
fn what_openssl_writes_is_read() {
    let pkcs8 = PrivateKey::from_pem(key!("pair.pkcs8.pem"), "pair.pkcs8.pem").unwrap();
    let sec1 = PrivateKey::from_pem(key!("pair.sec1.pem"), "pair.sec1.pem").unwrap();
    assert_eq!(pkcs8.public(), sec1.public());
    assert_eq!(pkcs8.public().pem(), key!("pair.public.pem"));
    let public = PublicKey::from_pem(key!("pair.public.pem"), "pair.public.pem").unwrap();
    assert_eq!(&public, pkcs8.public());
    assert_eq!(public.hint(), hex::encode(Sha256::digest(key!("pair.public.pem"))));
    let with_parameters = PrivateKey::from_pem(key!("with-parameters.sec1.pem"), "with-parameters.sec1.pem").unwrap();
    assert_ne!(with_parameters.public(), pkcs8.public());
    assert!(public.verifies(b"text", &sec1.sign(b"text")));
    assert!(!public.verifies(b"text", &with_parameters.sign(b"text")));
    assert!(!public.verifies(b"texts", &sec1.sign(b"text")));
}

#[test]
fn other_line_ends_and_text_around_change_nothing() {
    let there = PrivateKey::from_pem(key!("pair.pkcs8.pem"), "there").unwrap();
    let windows = key!("pair.pkcs8.pem").replace('\n', "\r\n");
    assert_eq!(PrivateKey::from_pem(&windows, "windows").unwrap().public(), there.public());
    let annotated = format!("Public-Key: (256 bit)\n{}\nthe end", key!("pair.public.pem"));
    assert_eq!(&PublicKey::from_pem(&annotated, "annotated").unwrap(), there.public());
}

#[track_caller]
fn refused<T>(key: Result<T, KeyError>, words: &[&str]) {
    let Err(error) = key else { panic!("accepted") };
    let said = error.to_string();
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

#[test]
fn other_keys_are_refused_with_what_to_do() {
    let private = |pem: &str| PrivateKey::from_pem(pem, "release.pem");
    let public = |pem: &str| PublicKey::from_pem(pem, "release.pub");
    for pem in [key!("secp256k1.pem"), key!("p384.pem"), key!("explicit.pem")] {
        refused(private(pem), &["release.pem: ", "P-256", "palisade model keygen"]);
    }
    for pem in [key!("encrypted.pkcs8.pem"), key!("encrypted.sec1.pem")] {
        refused(private(pem), &["release.pem: ", "passphrase", "openssl pkey -in KEY"]);
    }
    refused(private(key!("pair.public.pem")), &["release.pem: ", "no private key", "BEGIN PRIVATE KEY"]);
    refused(private(""), &["no private key"]);
    refused(private("-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----"), &["P-256"]);
    refused(private("-----END PRIVATE KEY----- -----BEGIN PRIVATE KEY-----"), &["no private key"]);
    refused(public(key!("p384.public.pem")), &["release.pub: ", "P-256", "palisade model keygen"]);
    refused(public(key!("pair.pkcs8.pem")), &["release.pub: ", "private key", "-pubout"]);
    refused(public("key"), &["no public key", "BEGIN PUBLIC KEY"]);
}

#[test]
fn a_pair_is_written_for_its_owner_alone_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = (folder.path().join("release.pem"), folder.path().join("release.pub"));
    let key = PrivateKey::generate().unwrap();
    key.write(&private, &public).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(PrivateKey::read(&private).unwrap().public(), key.public());
    assert_eq!(&PublicKey::read(&public).unwrap(), key.public());
    let other = PrivateKey::generate().unwrap();
    assert_ne!(other.public(), key.public());
    refused(
        other.write(&private, &folder.path().join("other.pub")),
        &["release.pem", "never overwritten", "another name"],
    );
    assert!(!folder.path().join("other.pub").exists());
    // Half a pair does not stay.
    refused(other.write(&folder.path().join("other.pem"), &public), &["release.pub", "never overwritten"]);
    assert!(!folder.path().join("other.pem").exists());
    assert_eq!(PrivateKey::read(&private).unwrap().public(), key.public());
    refused(other.write(&folder.path().join("no/such"), &public), &["no/such", "cannot write the key"]);
}

#[test]
fn keys_come_from_files_and_variables_and_nothing_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    refused(PrivateKey::read(&folder.path().join("absent")), &["absent", "cannot read the key"]);
    let long = folder.path().join("long");
    std::fs::write(&long, vec![b'A'; 20_000]).unwrap();
    refused(PrivateKey::read(&long), &["long", "at most 16384 bytes"]);
    let binary = folder.path().join("binary");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    refused(PublicKey::read(&binary), &["binary", "no PEM file"]);
    refused(PrivateKey::from_environment("PALISADE_TEST_NO_SUCH_KEY"), &["PALISADE_TEST_NO_SUCH_KEY", "not set"]);

    let key = PrivateKey::from_pem(key!("pair.pkcs8.pem"), "pair").unwrap();
    let debug = format!("{key:?} {key:#?}");
    assert!(debug.contains(key.public().hint()));
    let secret = key!("pair.pkcs8.pem").lines().nth(1).unwrap();
    assert!(!debug.contains(secret));
    let broken = key!("pair.pkcs8.pem").replacen("MIGH", "MIGI", 1);
    let error = PrivateKey::from_pem(&broken, "broken").unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret.get(8..30).unwrap()));
}
