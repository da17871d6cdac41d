//! The Unix socket that the command line talks to: one line of JSON each way.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::{task, time};

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
    Explain {
        question: Question,
    },
    Flows(Filter),
    /// The listening sockets and the place of the daemon; the caller goes on in `daemon::hand_over`.
    HandOver,
    Operate {
        change: Change,
    },
    Reload,
    Simulate {
        thought: Thought,
    },
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
    HandOver(Predecessor),
    Reload(Outcome),
    Simulated(Simulation),
    Status(Box<Status>),
}

/// The daemon that is to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    pub pid: u32,
    /// In seconds of Unix time.
    pub since: u64,
    /// Listening sockets that follow.
    pub sockets: usize,
}

/// A bound control socket; the file is removed when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
    inode: u64,
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
        Self::bind_alone(path)
    }

    /// Binds the socket beside that of a daemon which is to be replaced.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn bind_beside(path: &Path) -> io::Result<Self> {
        Self::bind_alone(&path.with_extension("next"))
    }

    /// Takes the place of the other daemon's.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn move_to(&mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.path = path.to_owned();
        Ok(())
    }

    fn bind_alone(path: &Path) -> io::Result<Self> {
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
            inode: std::fs::symlink_metadata(path)?.ino(),
        })
    }

    /// Answers one caller after the other until dropped.
    ///
    /// # Errors
    ///
    /// What the kernel says of the socket itself.
    pub async fn answer_forever(
        &self,
        answer: impl AsyncFn(Request) -> Reply,
        successors: mpsc::Sender<UnixStream>,
    ) -> io::Result<()> {
        let listener = UnixListener::from_std(self.listener.try_clone()?)?;
        loop {
            let (caller, _) = listener.accept().await?;
            match talk(caller, &answer).await {
                Ok(None) => {}
                Ok(Some(successor)) => {
                    if successors.try_send(successor).is_err() {
                        tracing::warn!("one daemon after the other may take the place of this one");
                    }
                }
                Err(error) => tracing::debug!(%error, "caller of the control socket went"),
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let there = std::fs::symlink_metadata(&self.path);
        if there.is_ok_and(|there| there.ino() != self.inode) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "control socket was removed by somebody else");
        }
    }
}

impl Request {
    fn is_question(&self) -> bool {
        match self {
            Self::Explain { .. } | Self::Flows(_) | Self::Simulate { .. } | Self::Status => true,
            Self::HandOver | Self::Operate { .. } | Self::Reload => false,
        }
    }
}

/// Gives back a caller that wants more than an answer.
async fn talk(
    mut caller: UnixStream,
    answer: &impl AsyncFn(Request) -> Reply,
) -> io::Result<Option<UnixStream>> {
    let mut line = String::new();
    let mut request = BufReader::new((&mut caller).take(REQUEST_BYTES));
    time::timeout(PATIENCE, request.read_line(&mut line)).await??;
    let reply = match serde_json::from_str(&line) {
        Ok(Request::HandOver) => return Ok(Some(caller)),
        Ok(request) => answer(request).await,
        Err(error) => Reply::Error(format!("not a request of this version: {error}")),
    };
    // A list of a million takes longer than this thread has.
    let is_long = matches!(reply, Reply::Flows(_));
    let write = move || serde_json::to_vec(&reply);
    let mut reply = if is_long {
        task::spawn_blocking(write)
            .await
            .map_err(io::Error::other)??
    } else {
        write()?
    };
    reply.push(b'\n');
    time::timeout(PATIENCE, caller.write_all(&reply)).await??;
    Ok(None)
}

/// Asks the daemon behind `path`.
///
/// # Errors
///
/// There is none, or it is of a version that does not understand.
pub fn ask(path: &Path, request: &Request) -> io::Result<Reply> {
    match ask_once(path, request) {
        // It was just replaced by another, which can be asked again for what changes nothing.
        Err(error) if request.is_question() && is_end(&error) => ask_once(path, request),
        asked => asked,
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};

    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn ask_once(path: &Path, request: &Request) -> io::Result<Reply> {
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;
    use std::thread;
    use std::time::Duration;

    use super::{Reply, Request, ask};

    /// What is said of `request` by who hangs up on the first caller and answers the second.
    fn asked_twice(request: &Request) -> Option<Reply> {
        let path = std::env::temp_dir().join(format!("sluice-control-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = thread::spawn(move || {
            drop(listener.accept().unwrap());
            listener.set_nonblocking(true).unwrap();
            for _ in 0..50 {
                if let Ok((mut caller, _)) = listener.accept() {
                    let answer = serde_json::to_vec(&Reply::Done(Vec::new())).unwrap();
                    caller.set_nonblocking(false).unwrap();
                    BufReader::new(&caller)
                        .read_line(&mut String::new())
                        .unwrap();
                    caller.write_all(&answer).unwrap();
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        let reply = ask(&path, request).ok();
        daemon.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        reply
    }

    #[test]
    fn a_question_is_asked_again_where_the_daemon_went_and_an_order_is_not() {
        assert_eq!(asked_twice(&Request::Status), Some(Reply::Done(Vec::new())));
        assert_eq!(asked_twice(&Request::Reload), None);
    }
}
