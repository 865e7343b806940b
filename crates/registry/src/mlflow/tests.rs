//! What needs no MLflow; the rest is in `tests/mlflow.rs`.

use std::io::{Read, Write};
use std::net::TcpListener;

use zeroize::Zeroizing;

use super::error::Result;
use super::export::check;
use super::server::{ANSWER_BYTES_MAX, file_name, proxied};
use super::*;

#[track_caller]
fn refused<T>(result: Result<T>, words: &[&str]) {
    let Err(error) = result else { panic!("accepted") };
    let said = error.to_string();
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

fn token() -> Credentials {
    Credentials::Token(Zeroizing::new("very-secret".to_owned()))
}

fn export() -> Export {
    let digest = "0a".repeat(32);
    Export { model: "m".to_owned(), version: "1.0.0".to_owned(), digest, ..Export::default() }
}

#[test]
fn addresses_and_credentials_are_checked_before_anything_is_sent() {
    let server = |address: &str| Server::new(address, token(), false);
    refused(server("mlflow"), &["no URL", "https://"]);
    refused(server("ftp://mlflow.example.org"), &["\"ftp\"", "https or http"]);
    refused(server("http://mlflow.example.org"), &["credentials would go over http", "use https"]);
    refused(server("https://me:word@mlflow.example.org"), &["has credentials in it", "MLFLOW_TRACKING_USERNAME"]);
    Server::new("http://mlflow.example.org", token(), true).unwrap();
    Server::new("http://mlflow.example.org", Credentials::None, false).unwrap();
    for local in ["http://127.0.0.1:5000", "http://[::1]:5000/", "http://localhost:5000/base"] {
        server(local).unwrap();
    }
    let with_base = server("https://mlflow.example.org/base?x=1#y").unwrap();
    let url = with_base.artefact("1/ä b/../?").unwrap();
    let expected = "https://mlflow.example.org/base/api/2.0/mlflow-artifacts/artifacts/1/%C3%A4%20b/%3F";
    assert_eq!(url.as_str(), expected);
    assert!(!format!("{with_base:?}").contains("very-secret"));
}

#[test]
fn what_cannot_be_exported_is_named() {
    check(&export()).unwrap();
    refused(check(&Export { digest: "x' or 1".to_owned(), ..export() }), &["x' or 1", "64 hexadecimal digits"]);
    refused(check(&Export { model: "a'b".to_owned(), ..export() }), &["model is \"a'b\"", "letters"]);
    refused(check(&Export { version: String::new(), ..export() }), &["version is \"\""]);
    for name in ["../x", "a/b", "..", ".hidden"] {
        let files = [(name.to_owned(), PathBuf::new())].into();
        refused(check(&Export { files, ..export() }), &[&format!("{name:?}"), "expected letters"]);
    }
    let metrics = [("auc".to_owned(), f64::NAN)].into();
    refused(check(&Export { metrics, ..export() }), &["\"auc\" is NaN", "a number"]);
}

#[test]
fn artefacts_are_looked_for_behind_the_proxy_alone() {
    assert_eq!(proxied("mlflow-artifacts:/1/abc/artifacts").unwrap(), "1/abc/artifacts");
    assert_eq!(proxied("mlflow-artifacts://host:5000/1/abc/").unwrap(), "1/abc");
    for elsewhere in ["s3://bucket/1", "/mnt/1", "file:///mnt"] {
        refused(proxied(elsewhere), &[elsewhere, "--serve-artifacts"]);
    }
    for path in ["mlflow-artifacts:/1/../2", "mlflow-artifacts:", "mlflow-artifacts:/a//b"] {
        refused(proxied(path), &[path, "without `..`"]);
    }
    assert_eq!(file_name("a/b/model.onnx").unwrap(), "model.onnx");
    for path in ["", "..", "a/..", "a/b\\c", "a\u{1b}"] {
        refused(file_name(path), &["expected a plain name"]);
    }
}

/// Answers one request after the other with `answers`, and gives what was asked.
fn serve(answers: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let one = |answer: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = vec![0; 10_000];
            let bytes = stream.read(&mut head).unwrap();
            stream.write_all(answer.as_bytes()).ok();
            String::from_utf8_lossy(&head[..bytes]).into_owned()
        };
        answers.into_iter().map(one).collect()
    });
    (address, asked)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// What a server's answer to the first call becomes.
async fn answered(answer: String, credentials: Credentials) -> (MlflowError, String) {
    let (address, asked) = serve(vec![answer]);
    let server = Server::new(&address, credentials, false).unwrap();
    let error = server.export(&export()).await.unwrap_err();
    (error, asked.join().unwrap().remove(0))
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let (error, asked) = answered(answer("401 Unauthorized", ""), token()).await;
    assert!(matches!(error, MlflowError::Denied { status: 401, .. }), "{error}");
    assert!(asked.contains("authorization: Bearer very-secret"), "{asked}");
    assert!(!format!("{error} {error:?}").contains("very-secret"));
    let basic = Credentials::Basic { user: "me".to_owned(), password: Zeroizing::new("very-secret".to_owned()) };
    assert_eq!(format!("{basic:?}"), "Basic(…)");
    let (error, asked) = answered(answer("403 Forbidden", ""), basic).await;
    refused::<()>(Err(error), &["refused with 403", "MLFLOW_TRACKING_TOKEN", "registered-models/create"]);
    assert!(asked.contains("authorization: Basic bWU6dmVyeS1zZWNyZXQ="), "{asked}");
}

#[tokio::test]
async fn strange_answers_are_errors_with_a_place() {
    let cases = [
        (answer("200 OK", "<html>"), "the answer is not MLflow's"),
        (answer("302 Found", ""), "it sends elsewhere"),
        (answer("404 Not Found", "nothing"), "is it MLflow"),
        (answer("500 Oops", r#"{"error_code":"INTERNAL_ERROR","message":"a\u001bb"}"#), "500: INTERNAL_ERROR a b"),
        (answer("200 OK", &" ".repeat(ANSWER_BYTES_MAX + 1)), "more than 4194304 bytes"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(), "no answer"),
        (String::new(), "no answer"),
    ];
    for (answer, expected) in cases {
        let (error, _) = answered(answer, Credentials::None).await;
        refused::<()>(Err(error), &["MLflow at http://127.0.0.1:", expected]);
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::new(&format!("http://{nobody}"), Credentials::None, false).unwrap();
    refused(server.export(&export()).await, &["no answer", "onnection refused", "run the command again"]);
}
