//! The Unix socket that the command line talks to: one line of JSON each way.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time;

pub mod explain;
pub mod flows;
pub mod operate;
pub mod reload;
pub mod status;

use explain::{Explanation, Question, Simulation, Thought};
use flows::{Filter, Row};
use operate::Change;
use reload::Outcome;
use status::Status;

/// The longest request, in bytes.
const REQUEST_BYTES: u64 = 1 << 20;
/// How long a caller may take to ask, or to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the answer may take: a reload asks for the addresses of names.
const ANSWER: Duration = Duration::from_secs(60);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    Explain { question: Question },
    Flows(Filter),
    Operate { change: Change },
    Reload,
    Simulate { thought: Thought },
    Status,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// What was done, in lines.
    Done(Vec<String>),
    Error(String),
    Explained(Explanation),
    Flows(Vec<Row>),
    Reload(Outcome),
    Simulated(Simulation),
    Status(Box<Status>),
}

/// A bound control socket; the file is removed when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds the socket for this user alone, in the place of one whose daemon has ended.
    ///
    /// # Errors
    ///
    /// `AddrInUse` where a daemon answers on it, or what the file system says.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            std::fs::remove_file(path)?;
        }
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        // There must be no moment in which others may open it.
        let usual = umask(Mode::from_bits_truncate(0o177));
        let listener = std::os::unix::net::UnixListener::bind(path);
        umask(usual);
        let listener = listener?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers one caller after the other until dropped.
    ///
    /// # Errors
    ///
    /// What the kernel says of the socket itself.
    pub async fn answer_forever(&self, answer: impl AsyncFn(Request) -> Reply) -> io::Result<()> {
        let listener = UnixListener::from_std(self.listener.try_clone()?)?;
        loop {
            let (caller, _) = listener.accept().await?;
            if let Err(error) = talk(caller, &answer).await {
                tracing::debug!(%error, "caller of the control socket went");
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "control socket was removed by somebody else");
        }
    }
}

async fn talk(mut caller: UnixStream, answer: &impl AsyncFn(Request) -> Reply) -> io::Result<()> {
    let mut line = String::new();
    let mut request = BufReader::new((&mut caller).take(REQUEST_BYTES));
    time::timeout(PATIENCE, request.read_line(&mut line)).await??;
    let reply = match serde_json::from_str(&line) {
        Ok(request) => answer(request).await,
        Err(error) => Reply::Error(format!("not a request of this version: {error}")),
    };
    let mut reply = serde_json::to_vec(&reply)?;
    reply.push(b'\n');
    time::timeout(PATIENCE, caller.write_all(&reply)).await?
}

/// Asks the daemon behind `path`.
///
/// # Errors
///
/// There is none, or it is of a version that does not understand.
pub fn ask(path: &Path, request: &Request) -> io::Result<Reply> {
    use std::io::{Read as _, Write as _};

    let mut daemon = std::os::unix::net::UnixStream::connect(path)?;
    daemon.set_read_timeout(Some(ANSWER))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    daemon.write_all(&line)?;
    let mut reply = Vec::new();
    daemon.read_to_end(&mut reply)?;
    Ok(serde_json::from_slice(&reply)?)
}
