//! The component's times under divan: `cargo bench -p palisade-bench`.
//!
//! `sample_size = 1` keeps one instance alive at a time, as a server that takes one down after each request does; divan
//! drops what a bench gives after its time was taken.

#![allow(clippy::expect_used, reason = "a bench that cannot run has nothing better to do than to stop")]

use std::sync::OnceLock;

use divan::Bencher;
use palisade_bench::{Subject, Text, scores};

const TOKENS: [usize; 4] = [16, 64, 128, 256];
static SUBJECT: OnceLock<Subject> = OnceLock::new();

fn main() -> anyhow::Result<()> {
    SUBJECT.set(Subject::open()?).expect("nothing else sets it");
    divan::main();
    Ok(())
}

fn subject() -> &'static Subject {
    SUBJECT.get().expect("main sets it before any bench runs")
}

/// One request to an instance that has answered before.
#[divan::bench(args = TOKENS, sample_size = 1)]
fn warm(bencher: Bencher<'_, '_>, tokens: usize) {
    let text = Text::of_tokens(tokens).expect("long enough");
    let mut reused = subject().instantiate().expect("an instance");
    scores(&mut reused, &text).expect("scores");
    bencher.bench_local(|| scores(&mut reused, &text).expect("scores"));
}

/// A fresh instance and its first request.
#[divan::bench(args = TOKENS, sample_size = 1)]
fn cold(bencher: Bencher<'_, '_>, tokens: usize) {
    let text = Text::of_tokens(tokens).expect("long enough");
    bencher.bench_local(|| {
        let mut fresh = subject().instantiate().expect("an instance");
        let scores = scores(&mut fresh, &text).expect("scores");
        (fresh, scores)
    });
}

/// A fresh instance alone.
#[divan::bench(sample_size = 1, sample_count = 1000)]
fn instantiate(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| subject().instantiate().expect("an instance"));
}
