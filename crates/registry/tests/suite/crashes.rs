//! A process that is killed at every write of publish, promote, roll back, retire and gc, and the recovery from it.
//!
//! The process is this test's own program, started again with a task in its environment. In a folder it kills itself before or behind
//! its n-th write; in front of moto the proxy kills it before or behind its n-th write.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use palisade_registry::{GcOptions, Location, PublishOptions, Reference, ReleaseFiles, Sign, Writer};

use crate::around::{Around, surrounded};
use crate::proxy::Fate;
use crate::support::{Place, alias, ann, anybody, release, tiny, v};
use crate::sweeping::sweep;
use crate::{moto, proxy};

/// What the process is to do, and how to find that it was done whole.
const TASKS: [&str; 6] = ["publish", "promote", "rollback", "retire", "gc", "sign"];
/// Fewest writes of each, the four of the probe among them; a test that kills less often has not tried them all.
const WRITES_MIN: [usize; 6] = [4 + 11, 4 + 3, 4 + 3, 4 + 2, 4 + 9, 4 + 2];

async fn perform(writer: &Writer, task: &str, files: ReleaseFiles) -> palisade_registry::Result<()> {
    let by = ann();
    match task {
        "publish" => {
            let sign: Sign<'_> = Box::new(|_| Ok(b"a signature".to_vec()));
            let options = PublishOptions { sign: Some(sign), ..PublishOptions::by(&by) };
            writer.publish(&files, options).await.map(drop)
        }
        "promote" => writer.promote(&tiny(), &v("1.2.0"), &alias("champion"), &by, None).await.map(drop),
        "rollback" => writer.rollback(&tiny(), &alias("champion"), &by, None).await.map(drop),
        "retire" => writer.retire(&tiny(), &v("1.2.0"), &by).await.map(drop),
        "sign" => {
            let resolved = writer.resolve(&Reference::version(&tiny(), &v("1.0.0"))).await?;
            writer.sign(&resolved, &by, Box::new(|_| Ok(b"another signature".to_vec()))).await.map(drop)
        }
        "gc" => {
            let everything = std::time::Duration::ZERO;
            writer.gc(&by, GcOptions { older_than: everything, take_over: everything, dry_run: false }).await.map(drop)
        }
        _ => panic!("there is no task {task}"),
    }
}

/// The process. By itself, this test does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed() {
    let Ok(task) = std::env::var("PALISADE_TEST_TASK") else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let files = ReleaseFiles::folder(variable("PALISADE_TEST_RELEASE").as_ref()).unwrap();
    let address = variable("PALISADE_TEST_STORE");
    let location = match address.split_once('/') {
        Some(("", _)) => Location::folder(&address),
        Some((address, bucket)) => moto::location(address, bucket),
        None => panic!("{address} is no store"),
    };
    let (number, is_behind): (u32, bool) =
        (variable("PALISADE_TEST_WRITE").parse().unwrap(), variable("PALISADE_TEST_BEHIND") == "true");
    let deadly = Arc::new(Deadly { left: AtomicU32::new(number), is_behind });
    let through = |store| surrounded(store, Arc::clone(&deadly));
    let writer = Writer::open_through(&location, through).await.unwrap();
    perform(&writer, &task, files).await.unwrap();
}

/// Starts the process, and says whether it was killed.
async fn is_killed(
    store: &str,
    task: &str,
    files: &std::path::Path,
    write: usize,
    is_behind: bool,
    started: impl FnOnce(u32),
) -> bool {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crashes::the_process_that_is_killed", "--nocapture"])
        .env("PALISADE_TEST_TASK", task)
        .env("PALISADE_TEST_RELEASE", files)
        .env("PALISADE_TEST_STORE", store)
        .env("PALISADE_TEST_WRITE", write.to_string())
        .env("PALISADE_TEST_BEHIND", is_behind.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    started(child.id());
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert!(status.success() || status.signal() == Some(9), "{task} ended with {status} at write {write}");
    !status.success()
}

/// A registry as each task finds it: three versions, a champion that has moved once, and an interrupted publisher's leftovers.
async fn prepare(place: &Place) {
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        place.publish(version).await;
    }
    place.promote("1.0.0", "champion").await.unwrap();
    place.promote("1.1.0", "champion").await.unwrap();
    let by = ann();
    let sign: Sign<'_> = Box::new(|_| Err("interrupted".to_owned()));
    let options = PublishOptions { sign: Some(sign), ..PublishOptions::by(&by) };
    place.writer.publish(&place.release("0.5.0", "weights"), options).await.unwrap_err();
    release(&place.files.path().join("next"), "2.0.0", "new weights");
}

/// What holds at any moment, whoever died: what is visible is whole.
async fn is_consistent(place: &Place, task: &str) {
    let models = place.writer.list().await.unwrap();
    assert_eq!(models[0].problems, [], "{task}");
    for shown in &models[0].versions {
        let reference = Reference::version(&tiny(), &shown.manifest.version);
        let verified = place.writer.verify(&reference, anybody).await.unwrap();
        assert_eq!(verified.problems, [], "{task}");
        let version = shown.manifest.version.as_str();
        let may_be = task == "sign" && version == "1.0.0";
        assert!(shown.is_signed == (version == "2.0.0") || may_be, "{task}: {version}");
    }
    let champion = place.at("champion").await.unwrap();
    assert!(["1.0.0", "1.1.0", "1.2.0"].contains(&champion.as_str()), "{champion}");
    place.writer.history(&tiny()).await.unwrap();
}

/// The task again, by somebody else, and then all is as if nobody had died.
async fn is_recovered(place: &Place, task: &str, was_done: bool) {
    // Rolling back again would go forth again: only look whether it was done.
    if task != "rollback" || !was_done {
        let files = ReleaseFiles::folder(&place.files.path().join("next")).unwrap();
        perform(&place.writer, task, files).await.unwrap();
    }
    sweep(place).await;
    let (champion, previous, last) = match task {
        "publish" => ("1.1.0", "1.0.0", Some("published 2.0.0")),
        "promote" => ("1.2.0", "1.1.0", Some("promoted 1.2.0 champion")),
        "rollback" => ("1.0.0", "1.1.0", Some("rolled-back 1.0.0 champion")),
        "retire" => ("1.1.0", "1.0.0", Some("retired 1.2.0")),
        _ => ("1.1.0", "1.0.0", None),
    };
    assert_eq!(place.at("champion").await.as_deref(), Some(champion), "{task}");
    assert_eq!(place.at("previous").await.as_deref(), Some(previous), "{task}");
    let mut log = place.log().await;
    if task == "sign" {
        // Every attempt is in the log.
        let shown = place.writer.show(&Reference::version(&tiny(), &v("1.0.0"))).await.unwrap();
        assert!(shown.is_signed && log.contains(&"signed 1.0.0".to_owned()), "{log:?}");
        log.retain(|line| line != "signed 1.0.0");
    }
    let mut expected = vec![
        "published 1.0.0",
        "published 1.1.0",
        "published 1.2.0",
        "promoted 1.0.0 champion",
        "promoted 1.1.0 champion",
    ];
    expected.extend(last);
    // A publisher's draft decides the time of its event: those of the versions may stand anywhere before.
    log.sort();
    expected.sort_unstable();
    assert_eq!(log, expected, "{task}");
    if task == "publish" {
        let pulled = place.pull("tiny@2.0.0", "recovered").await.unwrap();
        std::fs::remove_dir_all(&pulled.folder).unwrap();
    }
    assert!(sweep(place).await.leftovers.is_empty(), "{task}");
    is_consistent(place, task).await;
}

async fn was_rolled_back(place: &Place) -> bool {
    place.at("champion").await.as_deref() == Some("1.0.0")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_recovers_from_a_crash_at_every_write() {
    for (task, writes_min) in TASKS.into_iter().zip(WRITES_MIN) {
        for is_behind in [false, true] {
            let mut write = 0;
            loop {
                write += 1;
                let place = crate::support::folder().await.unwrap();
                prepare(&place).await;
                let store = place.location.as_folder().unwrap().to_str().unwrap().to_owned();
                let next = place.files.path().join("next");
                if !is_killed(&store, task, &next, write, is_behind, |_| ()).await {
                    break;
                }
                is_consistent(&place, task).await;
                let was_done = was_rolled_back(&place).await;
                is_recovered(&place, task, was_done).await;
            }
            assert!(write > writes_min, "{task} was killed at {} writes only", write - 1);
        }
    }
}

/// The victim's number, which is known soon after it was started.
fn known(victim: &AtomicU32) -> u32 {
    loop {
        match victim.load(Ordering::SeqCst) {
            0 => std::thread::yield_now(),
            process => return process,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_recovers_from_a_crash_at_every_write() {
    let Some(store) = moto::address() else { return };
    for (task, writes_min) in TASKS.into_iter().zip(WRITES_MIN) {
        for is_behind in [false, true] {
            let mut write = 0;
            loop {
                write += 1;
                let bucket = moto::bucket(store, false);
                let place = Place::open(moto::location(store, &bucket), "a/registry/").await;
                prepare(&place).await;
                let process = Arc::new(AtomicU32::new(0));
                let (victim, seen) = (Arc::clone(&process), AtomicUsize::new(0));
                let address = proxy::before(store, move |request| {
                    if !request.is_write() || seen.fetch_add(1, Ordering::SeqCst) + 1 != write {
                        return Fate::Passes;
                    }
                    let process = known(&victim);
                    if is_behind { Fate::KillsBehind(process) } else { Fate::KillsBefore(process) }
                })
                .await;
                let next = place.files.path().join("next");
                let started = |id| process.store(id, Ordering::SeqCst);
                if !is_killed(&format!("{address}/{bucket}"), task, &next, 0, false, started).await {
                    break;
                }
                is_consistent(&place, task).await;
                let was_done = was_rolled_back(&place).await;
                is_recovered(&place, task, was_done).await;
            }
            assert!(write > writes_min, "{task} was killed at {} writes only", write - 1);
        }
    }
}

/// Kills its process before or behind the n-th write.
#[derive(Debug)]
struct Deadly {
    left: AtomicU32,
    is_behind: bool,
}

impl Around for Deadly {
    fn before(&self) -> bool {
        // 0 is no write.
        let is_due = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) == Ok(1);
        if is_due && !self.is_behind {
            die();
        }
        is_due
    }

    fn behind(&self, is_due: bool) {
        if is_due {
            die();
        }
    }
}

fn die() {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    // The signal comes when it comes; nothing may be written until then.
    std::thread::park();
}
