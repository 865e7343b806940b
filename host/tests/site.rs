//! The site that `palisade serve` answers `/` with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::path::Path;
use std::process::Stdio;

use support::{Answer, Server, command};

const PAGE: &str = "<!doctype html><title>Palisade</title>";

/// A site with a compressed script, a folder, a hidden file, and links.
fn site(folder: &Path) -> String {
    let site = folder.join("site");
    for inner in ["assets", "help", "v1"] {
        std::fs::create_dir_all(site.join(inner)).unwrap();
    }
    for (name, content) in [
        ("index.html", PAGE),
        ("service-worker.js", "self"),
        ("assets/index-abc123.js", "plain script"),
        ("assets/index-abc123.js.br", "brotli"),
        ("assets/index-abc123.js.gz", "gzip"),
        ("assets/engine.wasm", "\0asm"),
        ("alone.gz", "no form of another"),
        ("help/index.html", "help"),
        ("a b.txt", "space"),
        (".secret", "hidden"),
        ("v1/moderate", "not the API"),
        ("healthz", "not the operator's"),
    ] {
        std::fs::write(site.join(name), content).unwrap();
    }
    std::fs::write(folder.join("outside.txt"), "outside").unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.join("outside.txt"), site.join("way-out.txt")).unwrap();
        std::os::unix::fs::symlink(folder, site.join("way-up")).unwrap();
        std::os::unix::fs::symlink("index.html", site.join("inside.html")).unwrap();
    }
    site.to_str().unwrap().to_owned()
}

fn start(site: &str) -> Server {
    Server::start(&["--feedback", "off", "--site", site])
}

fn ask(server: &Server, method: &str, path: &str, headers: &str) -> Answer {
    let host = server.address;
    server.send(format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n").as_bytes())
}

#[test]
fn files_come_with_their_type_and_how_long_they_keep() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&site(folder.path()));
    let forever = "public, max-age=31536000, immutable";
    for (path, body, kind, cache) in [
        ("/", PAGE, "text/html; charset=utf-8", "no-cache"),
        ("/index.html", PAGE, "text/html; charset=utf-8", "no-cache"),
        ("/inside.html", PAGE, "text/html; charset=utf-8", "no-cache"),
        ("/?room=general", PAGE, "text/html; charset=utf-8", "no-cache"),
        ("/help/", "help", "text/html; charset=utf-8", "no-cache"),
        ("/service-worker.js", "self", "text/javascript; charset=utf-8", "no-cache"),
        ("/assets/index-abc123.js", "plain script", "text/javascript; charset=utf-8", forever),
        ("/assets/engine.wasm", "\0asm", "application/wasm", forever),
        ("/alone.gz", "no form of another", "application/octet-stream", "no-cache"),
        ("/a%20b.txt", "space", "text/plain; charset=utf-8", "no-cache"),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.text().as_str()), (200, body), "{path}");
        assert_eq!(
            (answer.header("content-type"), answer.header("cache-control")),
            (Some(kind), Some(cache)),
            "{path}"
        );
        assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()), "{path}");
    }
    let head = ask(&server, "HEAD", "/", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(PAGE.len().to_string().as_str()));
    assert!(server.get("/metrics").text().contains("palisade_http_requests_total{route=\"site\",status=\"200\"} 11"));
    server.stop();
}

#[test]
fn compressed_forms_go_to_those_who_take_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&site(folder.path()));
    let mut etags = Vec::new();
    for (accepted, body, encoding) in [
        ("", "plain script", None),
        ("accept-encoding: gzip, deflate, br, zstd\r\n", "brotli", Some("br")),
        ("accept-encoding: gzip\r\n", "gzip", Some("gzip")),
        ("accept-encoding: BR;q=0, *\r\n", "gzip", Some("gzip")),
        ("accept-encoding: br;q=0.0, gzip; q=0\r\n", "plain script", None),
        ("accept-encoding: identity\r\n", "plain script", None),
    ] {
        let answer = ask(&server, "GET", "/assets/index-abc123.js", accepted);
        assert_eq!((answer.text().as_str(), answer.header("content-encoding")), (body, encoding), "{accepted}");
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
        etags.push(answer.header("etag").unwrap().to_owned());
    }
    assert_eq!(etags[0], etags[4]);
    assert!(etags[0] != etags[1] && etags[1] != etags[2]);
    for (known, status) in
        [(etags[1].clone(), 304), (format!("\"x\", W/{}", etags[1]), 304), ("*".into(), 304), (etags[0].clone(), 200)]
    {
        let headers = format!("accept-encoding: br\r\nif-none-match: {known}\r\n");
        let answer = ask(&server, "GET", "/assets/index-abc123.js", &headers);
        assert_eq!((answer.status, answer.header("etag")), (status, Some(etags[1].as_str())), "{known}");
        assert_eq!(answer.body.is_empty(), status == 304);
    }
    server.stop();
}

#[test]
fn the_page_may_run_itself_and_talk_to_this_server_alone() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path());
    let server =
        Server::start(&["--feedback", "off", "--site", &site, "--public-url", "https://chat.example.org/palisade"]);
    let answer = server.get("/");
    let policy = answer.header("content-security-policy").unwrap();
    let host = server.address;
    for rule in [
        "default-src 'none';",
        "script-src 'self' 'wasm-unsafe-eval';",
        "worker-src 'self';",
        "frame-ancestors 'none';",
        &format!("connect-src 'self' ws://{host} wss://{host} ws://chat.example.org wss://chat.example.org"),
    ] {
        assert!(policy.contains(rule), "{rule} is not in {policy}");
    }
    assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let odd = server.send(b"GET / HTTP/1.1\r\nhost: a'; script-src *\r\nconnection: close\r\n\r\n");
    assert!(!odd.header("content-security-policy").unwrap_or_default().contains("script-src *"));
    assert_eq!(server.get("/palisade/").text(), PAGE);
    server.stop();
}

#[test]
fn there_is_no_way_out_of_the_folder_and_none_past_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&site(folder.path()));
    for path in [
        "/.secret",
        "/way-out.txt",
        "/way-up/outside.txt",
        "/../outside.txt",
        "/assets/../../outside.txt",
        "/%2e%2e/outside.txt",
        "/..%2foutside.txt",
        "//index.html",
        "/assets",
        "/assets/",
        "/help",
        "/assets/index-abc123.js.br",
        "/index.html/",
        "/index.html%00",
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(!answer.text().contains("outside"), "{path}: {}", answer.text());
    }
    assert_eq!(server.get("/healthz").text(), "ok\n");
    assert_eq!(server.get("/v1/moderate").status, 405);
    assert_eq!(server.post("/v1/moderate", "{\"texts\": [\"hello\"]}").status, 200);
    assert!(server.get("/docs").text().contains("Palisade"));
    assert_eq!(server.post("/", "").status, 405);
    server.stop();
}

#[test]
fn without_a_site_the_root_is_the_page_of_the_api() {
    let server = start("off");
    let (root, docs) = (server.get("/"), server.get("/docs"));
    assert_eq!((root.status, &root.body), (200, &docs.body));
    server.stop();
    let folder = tempfile::tempdir().unwrap();
    for (site, words) in
        [("missing", "No such file"), ("", "a site has an index.html; build one in demo/, or say --site off")]
    {
        let site = folder.path().join(site);
        let refused = command(&["--site", site.to_str().unwrap()]).stdin(Stdio::null()).output().unwrap();
        let error = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(2) && error.contains(words), "{error}");
    }
}

#[test]
fn the_greeting_names_the_address_to_open() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path());
    for (site, is_named) in [(site.as_str(), true), ("off", false)] {
        let mut child = command(&["--feedback", "off", "--site", site, "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let greeting: Vec<String> = lines.map(Result::unwrap).take_while(|line| !line.contains("analyze")).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        let named = greeting
            .iter()
            .any(|line| line.starts_with("  Open http://127.0.0.1:") && line.ends_with("/ in a browser."));
        assert_eq!(named, is_named, "{greeting:?}");
    }
}

#[test]
fn a_large_file_comes_whole() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path());
    let large: Vec<u8> = (0..5_000_001_u32).map(|place| place.to_le_bytes()[1]).collect();
    std::fs::write(Path::new(&site).join("large.bin"), &large).unwrap();
    let server = start(&site);
    let answer = server.get("/large.bin");
    assert!(answer.body == large, "{} bytes came", answer.body.len());
    server.stop();
}
