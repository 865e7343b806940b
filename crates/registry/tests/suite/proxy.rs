//! A proxy in front of a store, which does to the requests what networks and stores do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One request on its way.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
}

impl Request<'_> {
    pub(crate) fn is_write(&self) -> bool {
        matches!(self.method, "PUT" | "DELETE" | "POST")
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Passes,
    /// Answered with this status line and these headers, and not passed on.
    Fails(&'static str),
    /// Never answered, not passed on.
    Stalls,
    /// Passed on with one bit of its last byte flipped.
    Flips,
    /// Passed on without the headers of this name.
    Loses(&'static str),
    /// Passed on; the connection is cut before any answer.
    CutBehind,
    /// Passed on; the connection is cut in the middle of the answer's body.
    CutInside,
    /// Not passed on; this process is killed.
    KillsBefore(u32),
    /// Passed on; this process is killed before it gets the answer.
    KillsBehind(u32),
}

pub(crate) const SLOW_DOWN: Fate = Fate::Fails("503 Slow Down\r\nRetry-After: 1");
pub(crate) const INTERNAL_ERROR: Fate = Fate::Fails("500 Internal Server Error");

type Decide = Arc<Mutex<dyn FnMut(&Request<'_>) -> Fate + Send>>;

/// Serves until the test's runtime ends; gives the address.
pub(crate) async fn before(store: &str, decide: impl FnMut(&Request<'_>) -> Fate + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (store, decide): (_, Decide) = (store.to_owned(), Arc::new(Mutex::new(decide)));
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (store, decide) = (store.clone(), Arc::clone(&decide));
            // A client that is gone, or killed, is no matter of the proxy's.
            tokio::spawn(async move { drop(serve(client, &store, &decide).await) });
        }
    });
    address
}

/// One request a connection.
async fn serve(mut client: TcpStream, store: &str, decide: &Decide) -> std::io::Result<()> {
    let mut request = read_request(&mut client).await?;
    let head = String::from_utf8_lossy(&request).into_owned();
    let fate = decide.lock().unwrap()(&Request { method: head.split_whitespace().next().unwrap_or_default() });
    match fate {
        Fate::Fails(status) => {
            let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            return client.write_all(answer.as_bytes()).await;
        }
        Fate::Stalls => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            return Ok(());
        }
        Fate::KillsBefore(process) => {
            kill(process);
            return Ok(());
        }
        Fate::Flips => {
            if let Some(last) = request.last_mut() {
                *last ^= 1;
            }
        }
        Fate::Loses(header) => request = without(&request, header),
        Fate::Passes | Fate::CutBehind | Fate::CutInside | Fate::KillsBehind(_) => (),
    }
    let mut upstream = TcpStream::connect(store).await?;
    upstream.write_all(&closing(&request)).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    match fate {
        Fate::CutBehind => Ok(()),
        Fate::CutInside => {
            let cut = end_of_head(&answer).map_or(answer.len(), |end| end + (answer.len() - end) / 2);
            client.write_all(answer.get(..cut).unwrap_or_default()).await
        }
        Fate::KillsBehind(process) => {
            kill(process);
            Ok(())
        }
        _ => client.write_all(&answer).await,
    }
}

async fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        if let Some(end) = end_of_head(&request) {
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            if request.len() >= end + length.unwrap_or(0) {
                return Ok(request);
            }
        }
        let read = client.read(&mut piece).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&piece[..read]);
    }
}

fn end_of_head(message: &[u8]) -> Option<usize> {
    message.windows(4).position(|window| window == b"\r\n\r\n").map(|place| place + 4)
}

fn without(request: &[u8], header: &str) -> Vec<u8> {
    let end = end_of_head(request).unwrap_or(request.len());
    let head = String::from_utf8_lossy(&request[..end]);
    let is_kept = |line: &&str| !line.to_ascii_lowercase().starts_with(&format!("{header}:"));
    let head: String = head.split_inclusive("\r\n").filter(is_kept).collect();
    [head.as_bytes(), &request[end..]].concat()
}

/// The request with the wish that the store closes the connection behind its answer.
fn closing(request: &[u8]) -> Vec<u8> {
    let line = request.windows(2).position(|window| window == b"\r\n").map_or(0, |place| place + 2);
    [&request[..line], b"Connection: close\r\n", &request[line..]].concat()
}

fn kill(process: u32) {
    let process = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
}
