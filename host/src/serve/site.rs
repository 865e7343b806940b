//! The site at `/`: the files of one folder, read once at start.
//!
//! A request's path is looked up in a table and never touches the disk, so there is no way out of the folder, and the digest
//! in a file's `ETag` is that of the bytes sent. A file `NAME.br` or `NAME.gz` is another form of NAME, for clients that take it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HOST, HeaderName, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Response, StatusCode};
use sha2::{Digest, Sha256};

/// Limits of a folder: its files are in memory.
const FILES_MAX: usize = 4096;
const BYTES_MAX: u64 = 256 << 20;
const DEPTH_MAX: usize = 16;
/// Folders of files whose names change with their content.
const IMMUTABLE: &[&str] = &["/assets/", "/artefacts/"];
/// Endings of compressed forms with their names in HTTP, the best first.
const ENCODINGS: &[(&str, &str)] = &[("br", "br"), ("gz", "gzip")];
const KINDS: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("toml", "application/toml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff2", "font/woff2"),
    ("xml", "application/xml"),
];

/// A folder of files, as it was at start.
#[derive(Debug)]
pub struct Site {
    /// By path, percent-decoded.
    files: HashMap<String, File>,
}

#[derive(Debug)]
struct File {
    kind: &'static str,
    cache: &'static str,
    plain: Form,
    /// The forms that there are, the best first, with their names.
    compressed: Vec<(&'static str, Form)>,
}

/// Bytes to be sent as they are.
#[derive(Debug)]
struct Form {
    bytes: Bytes,
    etag: HeaderValue,
}

impl Site {
    /// Reads a folder. Names that begin with a dot are passed over, and links that lead out of it.
    pub fn read(folder: &Path) -> Result<Self> {
        let named = || format!("{}: the site", folder.display());
        let root = folder.canonicalize().with_context(named)?;
        let mut found = BTreeMap::new();
        let mut bytes = 0;
        collect(&root, &root, "", &mut found, &mut bytes).with_context(named)?;
        if !found.contains_key("/index.html") {
            bail!("{}: a site has an index.html; build one in demo/, or say --site off", folder.display());
        }
        let mut files = HashMap::new();
        for path in found.keys() {
            let is_form = |(ending, _): &(&str, &str)| {
                path.strip_suffix(ending)
                    .and_then(|path| path.strip_suffix('.'))
                    .is_some_and(|of| found.contains_key(of))
            };
            if ENCODINGS.iter().any(is_form) {
                continue;
            }
            let Some(plain) = found.get(path) else { continue };
            let compressed = ENCODINGS.iter().filter_map(|(ending, name)| {
                let bytes = found.get(&format!("{path}.{ending}"))?;
                Some((*name, Form::new(bytes.clone())?))
            });
            let Some(plain) = Form::new(plain.clone()) else { continue };
            let file = File { kind: kind(path), cache: cache(path), plain, compressed: compressed.collect() };
            let path = path.strip_suffix("index.html").unwrap_or(path);
            files.insert(path.to_owned(), file);
        }
        Ok(Self { files })
    }

    /// How many files there are, forms not counted.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The file at a path, as the client takes it; nothing where there is none.
    pub(super) fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        public_url: Option<&str>,
    ) -> Option<Response<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            return None;
        }
        let path = palisade_protocols::http::decode(path, false);
        let path = path.strip_suffix("/index.html").map_or(path.as_ref(), |_| path.trim_end_matches("index.html"));
        let file = self.files.get(path)?;
        let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let accepted: Vec<(&str, bool)> = accepted.flat_map(|value| value.split(',')).map(preference).collect();
        let form = file.compressed.iter().find(|(name, _)| takes(&accepted, name));
        let (encoding, form) = form.map_or((None, &file.plain), |(name, form)| (Some(*name), form));

        let mut response = Response::new(Bytes::new());
        let answer = response.headers_mut();
        answer.insert(ETAG, form.etag.clone());
        answer.insert(CACHE_CONTROL, HeaderValue::from_static(file.cache));
        if !file.compressed.is_empty() {
            answer.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        secure(answer, headers, public_url);
        if is_known(headers, &form.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Some(response);
        }
        answer.insert(CONTENT_TYPE, HeaderValue::from_static(file.kind));
        answer.insert(CONTENT_LENGTH, HeaderValue::from(form.bytes.len()));
        if let Some(encoding) = encoding {
            answer.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if method == Method::GET {
            *response.body_mut() = form.bytes.clone();
        }
        Some(response)
    }
}

impl Form {
    fn new(bytes: Bytes) -> Option<Self> {
        let mut digest = hex::encode(Sha256::digest(&bytes));
        digest.truncate(32);
        let etag = HeaderValue::from_str(&format!("\"{digest}\"")).ok()?;
        Some(Self { bytes, etag })
    }
}

/// Reads what is in a folder, and in those in it.
fn collect(root: &Path, folder: &Path, path: &str, found: &mut BTreeMap<String, Bytes>, bytes: &mut u64) -> Result<()> {
    if path.matches('/').count() > DEPTH_MAX {
        bail!("{}: folders lie more than {DEPTH_MAX} deep", folder.display());
    }
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry.with_context(|| folder.display().to_string())?;
        let file = entry.path();
        let named = || file.display().to_string();
        let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.')).map(str::to_owned) else {
            continue;
        };
        let kind = entry.file_type().with_context(named)?;
        let path = format!("{path}/{name}");
        if kind.is_dir() {
            collect(root, &file, &path, found, bytes)?;
            continue;
        }
        let Some(file) = inside(root, &file) else { continue };
        *bytes += file.metadata().with_context(named)?.len();
        if found.len() >= FILES_MAX || *bytes > BYTES_MAX {
            bail!("more than {FILES_MAX} files, or {} MiB", BYTES_MAX >> 20);
        }
        found.insert(path, Bytes::from(std::fs::read(&file).with_context(named)?));
    }
    Ok(())
}

/// The file that a name or a link leads to, where that lies in the folder.
fn inside(root: &Path, file: &Path) -> Option<PathBuf> {
    file.canonicalize().ok().filter(|file| file.starts_with(root) && file.is_file())
}

fn kind(path: &str) -> &'static str {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
    KINDS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(ending))
        .map_or("application/octet-stream", |(_, kind)| kind)
}

fn cache(path: &str) -> &'static str {
    let is_immutable = IMMUTABLE.iter().any(|folder| path.starts_with(folder));
    if is_immutable { "public, max-age=31536000, immutable" } else { "no-cache" }
}

/// An encoding, and whether it is wanted (RFC 9110, section 12.5.3).
fn preference(item: &str) -> (&str, bool) {
    let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
    let quality = parameters.trim().strip_prefix("q=").and_then(|quality| quality.trim().parse::<f32>().ok());
    (name.trim(), quality.unwrap_or(1.0) > 0.0)
}

fn takes(accepted: &[(&str, bool)], encoding: &str) -> bool {
    let of = |wanted: &str| accepted.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    of(encoding).or_else(|| of("*")).is_some_and(|(_, is_wanted)| *is_wanted)
}

/// Whether the client has the file already (RFC 9110, section 13.1.2).
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    known.any(|tag| tag == "*" || tag.as_bytes() == etag.as_bytes())
}

/// What the page may do: run its own scripts and WebAssembly, and talk to this server.
fn secure(answer: &mut HeaderMap, headers: &HeaderMap, public_url: Option<&str>) {
    let mut policy = String::from(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; \
         img-src 'self' data: blob:; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; connect-src 'self'",
    );
    // Not every browser takes 'self' for the WebSockets of the same host.
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let public = public_url.and_then(|url| url.split_once("://")?.1.split('/').next());
    let is_plain =
        |host: &&str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    for host in host.into_iter().chain(public).filter(is_plain) {
        let _ = write!(policy, " ws://{host} wss://{host}"); // writing to a string does not fail
    }
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.insert(CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        answer.insert(name, HeaderValue::from_static(value));
    }
}
