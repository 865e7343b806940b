//! Texts in, normalised texts out: JSON strings, one a line. `training/run` feeds the training texts through it.

use std::io::{BufRead, BufWriter, Write};

use palisade_core::normalise::normalise;

fn main() -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        serde_json::to_writer(&mut out, &normalise(&text).text)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}
