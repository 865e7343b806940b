//! What this process has in memory, as Linux counts it.

use anyhow::{Context, Result};
use serde::Serialize;

/// Bytes of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Its share of all its pages: one that is mapped several times, here or elsewhere, counts once in all.
    pub proportional_bytes: u64,
    /// Pages that only this process has mapped, and once.
    pub private_bytes: u64,
}

impl Memory {
    /// Of now; `None` where the system has no `/proc/self/smaps_rollup`.
    pub fn now() -> Result<Option<Self>> {
        match std::fs::read_to_string("/proc/self/smaps_rollup") {
            Ok(rollup) => parse(&rollup).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("/proc/self/smaps_rollup"),
        }
    }
}

fn parse(rollup: &str) -> Result<Memory> {
    let bytes = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.parse::<u64>().ok());
        Ok::<_, anyhow::Error>(kib.with_context(|| format!("smaps_rollup has no {name}"))? << 10)
    };
    Ok(Memory { proportional_bytes: bytes("Pss")?, private_bytes: bytes("Private_Clean")? + bytes("Private_Dirty")? })
}

#[cfg(test)]
mod tests {
    use super::{Memory, parse};

    #[test]
    fn a_rollup_is_in_kibibytes() {
        let rollup = "00400000-7ffe [rollup]\nRss:  900 kB\nPss:  700 kB\nPss_Dirty: 1 kB\n\
                      Private_Clean: 100 kB\nPrivate_Dirty: 20 kB\n";
        let memory = parse(rollup).ok();
        assert_eq!(memory, Some(Memory { proportional_bytes: 700 << 10, private_bytes: 120 << 10 }));
        assert!(parse("Rss: 900 kB").is_err());
    }
}
