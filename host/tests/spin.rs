//! The same bytes as on Spin: `spin.toml`'s components, composed as Spin 4.0.2 composes them, under a linker that offers what Spin's
//! does of WASI, its key-value store and its variables, answer as `palisade serve` does.
//!
//! What is not Spin here: its deny adapter, which answers for what a dependency may not use (the classifier imports nothing), and
//! its HTTP server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use serde_json::{Value, json};
use support::{Answer, Server, beside_program};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions};
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{Config, Engine, OptLevel, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

/// Spin's interfaces, as its 4.0.2 defines them in `wit/deps/spin@2.0.0`.
mod spin {
    wasmtime::component::bindgen!({
        inline: "
            package fermyon:spin@2.0.0;
            interface key-value {
                resource store {
                    open: static func(label: string) -> result<store, error>;
                    get: func(key: string) -> result<option<list<u8>>, error>;
                    set: func(key: string, value: list<u8>) -> result<_, error>;
                    delete: func(key: string) -> result<_, error>;
                    exists: func(key: string) -> result<bool, error>;
                    get-keys: func() -> result<list<string>, error>;
                }
                variant error { store-table-full, no-such-store, access-denied, other(string) }
            }
            interface variables {
                get: func(name: string) -> result<string, error>;
                variant error { invalid-name(string), undefined(string), provider(string), other(string) }
            }
            world host { import key-value; import variables; }
        ",
    });
}
use spin::fermyon::spin::{key_value, variables};

const POLICIES: &str = "[policies.strict]\nreview = { INSULT = 0.1 }\nblock = { TOXICITY = 0.9 }\n\
                        [policies.release]\nreview = \"release\"\nblock = \"release\"\n";
const ORIGIN: &str = "https://forum.example.org";

/// The app as Spin would instantiate it.
fn compose() -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manifest: toml::Table = std::fs::read_to_string(root.join("spin.toml")).unwrap().parse().unwrap();
    let edge = &manifest["component"]["edge"];
    // Tests may run with another target folder than the manifest's.
    let read = |path: &toml::Value| {
        let path = Path::new(path.as_str().unwrap());
        assert!(path.starts_with("target/release"), "{}", path.display());
        std::fs::read(beside_program(path.file_name().unwrap().to_str().unwrap())).unwrap()
    };
    let mut graph = CompositionGraph::new();
    let package = Package::from_bytes("edge", None, read(&edge["source"]), graph.types_mut()).unwrap();
    let world = package.ty();
    let package = graph.register_package(package).unwrap();
    let main = graph.instantiate(package);
    let imports: Vec<String> = graph.types()[world].imports.keys().cloned().collect();
    for (name, dependency) in edge["dependencies"].as_table().unwrap() {
        let (unversioned, version) = name.split_once('@').unwrap();
        let (package_name, interface) = unversioned.split_once('/').map_or((unversioned, None), |(p, i)| (p, Some(i)));
        let matches = |import: &&String| {
            let (import, import_version) = import.split_once('@').unwrap();
            let (import_package, import_interface) = import.split_once('/').unwrap();
            import_package == package_name
                && interface.is_none_or(|interface| interface == import_interface)
                && import_version == version
        };
        let matched: Vec<&String> = imports.iter().filter(matches).collect();
        assert!(!matched.is_empty(), "{name} matches no import of edge");
        // Spin registers a dependency under its package's name alone, and fails where two have the same.
        let package = Package::from_bytes(package_name, None, read(&dependency["path"]), graph.types_mut()).unwrap();
        let package = graph.register_package(package).unwrap();
        let instance = graph.instantiate(package);
        for import in matched {
            let export = graph.alias_instance_export(instance, import).unwrap();
            graph.set_instantiation_argument(main, import, export).unwrap();
        }
    }
    let exports: Vec<String> = graph.types()[world].exports.keys().cloned().collect();
    for export in exports {
        let node = graph.alias_instance_export(main, &export).unwrap();
        graph.export(node, &export).unwrap();
    }
    graph.encode(EncodeOptions::default()).unwrap()
}

#[derive(Clone, Default)]
struct Services {
    store: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    variables: BTreeMap<String, String>,
}

struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoRequests,
    table: ResourceTable,
    services: Services,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Spin denies outbound requests that the manifest does not allow.
struct NoRequests;
type Sent<T> = Box<dyn Future<Output = Result<T, Error>> + Send>;
impl WasiHttpHooks for NoRequests {
    fn send_request(
        &mut self,
        _: hyper::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Sent<()>,
    ) -> Sent<(hyper::Response<WasiBody>, Sent<()>)> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

impl key_value::Host for State {}
impl key_value::HostStore for State {
    fn open(&mut self, label: String) -> Result<Resource<key_value::Store>, key_value::Error> {
        // As for a component with `key_value_stores = ["default"]`.
        if label == "default" { Ok(Resource::new_own(1)) } else { Err(key_value::Error::AccessDenied) }
    }
    fn get(&mut self, _: Resource<key_value::Store>, key: String) -> Result<Option<Vec<u8>>, key_value::Error> {
        Ok(self.services.store.lock().unwrap().get(&key).cloned())
    }
    fn set(&mut self, _: Resource<key_value::Store>, key: String, value: Vec<u8>) -> Result<(), key_value::Error> {
        self.services.store.lock().unwrap().insert(key, value);
        Ok(())
    }
    fn delete(&mut self, _: Resource<key_value::Store>, key: String) -> Result<(), key_value::Error> {
        self.services.store.lock().unwrap().remove(&key);
        Ok(())
    }
    fn exists(&mut self, _: Resource<key_value::Store>, key: String) -> Result<bool, key_value::Error> {
        Ok(self.services.store.lock().unwrap().contains_key(&key))
    }
    fn get_keys(&mut self, _: Resource<key_value::Store>) -> Result<Vec<String>, key_value::Error> {
        Ok(self.services.store.lock().unwrap().keys().cloned().collect())
    }
    fn drop(&mut self, _: Resource<key_value::Store>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl variables::Host for State {
    fn get(&mut self, name: String) -> Result<String, variables::Error> {
        self.services.variables.get(&name).cloned().ok_or(variables::Error::Undefined(name))
    }
}

/// The composed app, ready to answer.
struct App {
    pre: ProxyPre<State>,
    services: Services,
}

impl App {
    fn new(services: Services) -> Self {
        // The code's speed does not matter here, the time to compile it does; the scores are the same at every level.
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::None);
        let engine = Engine::new(&config).unwrap();
        let component = Component::new(&engine, compose()).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
        key_value::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state).unwrap();
        variables::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state).unwrap();
        let pre = ProxyPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
        Self { pre, services }
    }

    /// Answers one request with a fresh instance.
    async fn answer(&self, request: hyper::Request<Full<Bytes>>) -> Answer {
        let state = State {
            wasi: WasiCtx::builder().env("PALISADE_POLICIES", POLICIES).env("PALISADE_CORS_ORIGINS", ORIGIN).build(),
            http: WasiHttpCtx::new(),
            hooks: NoRequests,
            table: ResourceTable::new(),
            services: self.services.clone(),
        };
        let mut store = Store::new(self.pre.engine(), state);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request).unwrap();
        let out = store.data_mut().http().new_response_outparam(sender).unwrap();
        let guest = async {
            let app = self.pre.instantiate_async(&mut store).await.unwrap();
            app.wasi_http_incoming_handler().call_handle(&mut store, request, out).await.unwrap();
        };
        let response = async {
            let (parts, body) = receiver.await.unwrap().unwrap().into_parts();
            (parts, body.collect().await.unwrap().to_bytes())
        };
        let ((), (parts, body)) = tokio::join!(guest, response);
        let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap().to_owned();
        let mut headers: Vec<_> = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        headers.sort();
        Answer { status: parts.status.as_u16(), headers, body: body.to_vec() }
    }
}

/// Method, path, headers, body.
type Sample = (&'static str, &'static str, Vec<(&'static str, &'static str)>, String);

fn samples() -> Vec<Sample> {
    let analyze = "/v1alpha1/comments:analyze?key=any";
    let post = |path, body: Value| ("POST", path, vec![("content-type", "application/json")], body.to_string());
    let get = |path| ("GET", path, Vec::new(), String::new());
    let cases = std::fs::read_to_string("../models/english-toxicity/cases.jsonl").unwrap();
    let texts: Vec<Value> =
        cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].clone()).take(64).collect();
    let comment = json!({"text": "What a day. You idiot 😀! Thank you."});
    let all = json!({"TOXICITY": {}, "INSULT": {"scoreThreshold": 0.99}, "THREAT": {"scoreType": "PROBABILITY"}});
    let part = |id: &str, body: &Value| {
        format!(
            "--b\r\nContent-Type: application/http\r\nContent-ID: <x + {id}>\r\n\r\nPOST {analyze} HTTP/1.1\r\n\
             Content-Type: application/json\r\n\r\n{body}\r\n"
        )
    };
    let batch =
        part("1", &json!({"comment": comment, "requestedAttributes": all})) + &part("2", &json!({})) + "--b--\r\n";
    vec![
        post(
            analyze,
            json!({"comment": comment, "requestedAttributes": all, "clientToken": "t", "spanAnnotations": true}),
        ),
        post(analyze, json!({"comment": comment, "requestedAttributes": {"FLIRTATION": {}}})),
        post(analyze, json!({"comment": {"text": ""}, "requestedAttributes": {}})),
        post(
            "/v1alpha1/comments:suggestscore",
            json!({"comment": comment, "attributeScores": {"TOXICITY": {"summaryScore": {"value": 1}}}}),
        ),
        ("POST", "/batch", vec![("content-type", "multipart/mixed; boundary=b")], batch),
        get("/$discovery/rest?version=v1alpha1"),
        post("/v1/moderations", json!({"input": ["You idiot.", "Thank you."]})),
        post("/v1/moderations", json!({"input": [{"type": "image_url", "image_url": {"url": "x"}}]})),
        get("/v1/moderations/coverage"),
        post("/v1/moderate", json!({"texts": texts, "policy": "strict", "spans": true, "offsets": "utf-16"})),
        post("/v1/moderate", json!({"texts": ["😀 You idiot! Thank you."], "words": true, "offsets": "utf-16"})),
        post("/v1/moderate", json!({"texts": ["hi"], "policy": "none"})),
        ("POST", "/v1/moderate", Vec::new(), "{\"texts\": [1]}".into()),
        get("/v1/policies"),
        get("/openapi.json"),
        get("/docs"),
        get("/none"),
        ("HEAD", "/docs", Vec::new(), String::new()),
        ("DELETE", "/v1/moderate", vec![("origin", ORIGIN)], String::new()),
        ("OPTIONS", "/v1/moderate", vec![("origin", ORIGIN), ("access-control-request-method", "POST")], String::new()),
    ]
}

/// Without what differs between two answers to the same request: identifiers and times. All other bytes stay as they are.
fn comparable(mut answer: Answer) -> Answer {
    answer
        .headers
        .retain(|(name, _)| !["date", "x-request-id", "connection", "content-length"].contains(&name.as_str()));
    let Ok(mut body) = String::from_utf8(answer.body.clone()) else { return answer };
    for (begin, end) in [("{\"id\":\"mod-", '"'), ("{\"id\":\"modr-", '"'), ("\"latency_ms\":", ',')] {
        if let Some(at) = body.find(begin).map(|at| at + begin.len()) {
            let length = body[at..].find(end).unwrap();
            body.replace_range(at..at + length, "");
        }
    }
    answer.body = body.into_bytes();
    answer
}

#[tokio::test]
async fn spin_and_serve_answer_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(file("policies.toml"), POLICIES).unwrap();
    let (policies, feedback) = (file("policies.toml"), file("feedback.sqlite"));
    let server = Server::start(&[
        "--policies",
        &policies,
        "--feedback",
        &feedback,
        "--cors-origin",
        ORIGIN,
        "--queue-ms-max",
        "60000",
    ]);
    let app = App::new(Services::default());
    for (method, path, headers, body) in samples() {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", server.address);
        let mut request = hyper::Request::builder().method(method).uri(path).header("host", server.address.to_string());
        for (name, value) in &headers {
            head.extend([*name, ": ", *value, "\r\n"]);
            request = request.header(*name, *value);
        }
        // Spin adds these.
        request = request.header("spin-path-info", path).header("spin-client-addr", "127.0.0.1:1");
        head.extend(["content-length: ", &body.len().to_string(), "\r\n\r\n"]);
        let of_serve = server.send(&[head.as_bytes(), body.as_bytes()].concat());
        let of_spin = app.answer(request.body(Full::new(Bytes::from(body))).unwrap()).await;
        assert!(of_serve.status < 500, "{method} {path}: {}", of_serve.text());
        if path == "/v1/policies" {
            assert_thresholds_of_the_release(&of_serve.text());
        }
        assert_eq!(comparable(of_spin), comparable(of_serve), "{method} {path}");
    }
    let kept: Vec<String> = app.services.store.lock().unwrap().keys().cloned().collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].starts_with("feedback/"), "{kept:?}");
    assert_eq!(server.stop().0, Some(0));
}

/// The policy `release` has what the manifest says, all the way through the components.
fn assert_thresholds_of_the_release(policies: &str) {
    let manifest: Value =
        serde_json::from_slice(&std::fs::read("../models/english-toxicity/release.json").unwrap()).unwrap();
    let policies: Value = serde_json::from_str(policies).unwrap();
    for label in manifest["labels"].as_array().unwrap() {
        let expected = json!({"review": label["threshold"], "block": label["block"]["threshold"]});
        assert_eq!(
            policies["policies"]["release"]["labels"][label["name"].as_str().unwrap()],
            expected,
            "{}",
            label["name"]
        );
    }
    assert!(manifest["labels"].as_array().unwrap().iter().any(|label| label.get("block").is_some()));
}

#[tokio::test]
async fn on_spin_keys_are_hashes_in_a_variable() {
    let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest("a key of sixteen characters"));
    let variables = BTreeMap::from([("api_key_hashes".to_owned(), format!("00,{hash}"))]);
    let app = App::new(Services { variables, ..Services::default() });
    let ask = |key: Option<&'static str>| {
        let request = hyper::Request::post("/v1/moderate").header("host", "localhost");
        let request = key.into_iter().fold(request, |request, key| request.header("x-api-key", key));
        app.answer(request.body(Full::new(Bytes::from_static(b"{\"texts\":[]}"))).unwrap())
    };
    assert_eq!(ask(Some("a key of sixteen characters")).await.status, 200);
    assert_eq!(ask(Some("another key")).await.status, 401);
    assert_eq!(ask(None).await.status, 401);
}
