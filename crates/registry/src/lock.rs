//! Locks between processes on one machine (`flock`): a file that is gone, or whose holder died, is not locked.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often a held lock is tried.
const PAUSE: Duration = Duration::from_millis(5);

/// The folder of a local registry's locks. Its files stay: they are empty, and one an alias.
#[derive(Debug, Clone)]
pub(crate) struct Locks {
    folder: PathBuf,
    wait: Duration,
}

impl Locks {
    pub(crate) fn new(folder: PathBuf, wait: Duration) -> Self {
        Self { folder, wait }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) async fn lock(&self, name: &str) -> Result<Lock> {
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::file(&self.folder, "create it", e))?;
        Lock::take(&self.folder.join(name), self.wait).await
    }
}

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Waits for the lock, at most so long.
    pub(crate) async fn take(path: &Path, wait: Duration) -> Result<Self> {
        let start = Instant::now();
        let failed = |e| Error::file(path, "lock it", e);
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
            let lock = Self { file, path: path.to_owned() };
            match lock.file.try_lock() {
                // Who had it may have removed it: then it locks nobody else out.
                Ok(()) if lock.is_in_place().map_err(failed)? => return Ok(lock),
                Ok(()) => (),
                Err(TryLockError::WouldBlock) if start.elapsed() < wait => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::WouldBlock) => {
                    let reason = format!("another process has held its lock for {} s", wait.as_secs());
                    return Err(Error::Busy { object: path.display().to_string(), reason });
                }
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
        }
    }

    fn is_in_place(&self) -> std::io::Result<bool> {
        match std::fs::metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) == {
                let ours = self.file.metadata()?;
                (ours.dev(), ours.ino())
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Releases it and leaves no file behind.
    pub(crate) fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|e| Error::file(&self.path, "remove it", e))
    }
}
