//! An HTTP component that does what no component should, one fault a path, for the tests of `palisade serve`.

#[cfg(not(target_arch = "wasm32"))]
compile_error!("this crate is the inside of a component: build it with `cargo xtask component`");

mod bindings;

use bindings::exports::wasi::http::incoming_handler::Guest;
use bindings::wasi::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use bindings::wasi::io::streams::OutputStream;

struct Component;

impl Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        match request.path_with_query().unwrap_or_default().as_str() {
            "/trap-before" => std::process::abort(),
            "/trap-after" => {
                let (stream, _body) = begin(out);
                write(&stream, b"half of ");
                std::process::abort();
            }
            "/no-answer" => {}
            "/no-end" => {
                // The body is dropped without having been finished.
                let (stream, _body) = begin(out);
                write(&stream, b"half of an answer");
            }
            "/loop" => loop {
                std::hint::black_box(());
            },
            "/huge-body" => {
                let (stream, body) = begin(out);
                let megabyte = vec![b'x'; 1 << 20];
                for _ in 0..1024 {
                    write(&stream, &megabyte);
                }
                finish(stream, body);
            }
            "/huge-memory" => {
                let blocks: Vec<Vec<u8>> = (0..4096).map(|_| vec![1; 1 << 20]).collect();
                std::hint::black_box(&blocks);
            }
            "/deep-recursion" => {
                std::hint::black_box(recurse(1));
            }
            _ => {
                let (stream, body) = begin(out);
                write(&stream, b"well");
                finish(stream, body);
            }
        }
    }
}

fn begin(out: ResponseOutparam) -> (OutputStream, OutgoingBody) {
    let response = OutgoingResponse::new(Fields::new());
    let Ok(body) = response.body() else { std::process::abort() };
    ResponseOutparam::set(out, Ok(response));
    let Ok(stream) = body.write() else { std::process::abort() };
    (stream, body)
}

fn write(stream: &OutputStream, bytes: &[u8]) {
    for chunk in bytes.chunks(4096) {
        let _ = stream.blocking_write_and_flush(chunk); // the client may have left
    }
}

fn finish(stream: OutputStream, body: OutgoingBody) {
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn recurse(depth: u64) -> u64 {
    if std::hint::black_box(depth) == 0 { 0 } else { recurse(depth + 1) + 1 }
}
