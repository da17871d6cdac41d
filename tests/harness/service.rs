//! A service manager, as far as a daemon notices it: systemd with a socket unit or a descriptor store.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::wait;

/// Descriptors begin here when they are passed, see sd_listen_fds(3).
const FIRST: RawFd = 3;
/// More than a test passes.
const ELSEWHERE: RawFd = 100;

/// What the daemon has said, and what it has left to keep.
#[derive(Debug, Default)]
struct Heard {
    words: VecDeque<String>,
    kept: Vec<(String, OwnedFd)>,
}

/// The manager; it keeps descriptors until it is dropped.
#[derive(Debug, Clone)]
pub struct Service {
    path: PathBuf,
    heard: Arc<Mutex<Heard>>,
}

impl Service {
    /// Listens at `path`.
    pub fn new(path: PathBuf) -> Self {
        let socket = UnixDatagram::bind(&path).expect("there is room");
        let heard = Arc::<Mutex<Heard>>::default();
        let shared = Arc::clone(&heard);
        thread::spawn(move || {
            while let Some((text, fds)) = receive(&socket) {
                shared.lock().expect("nobody panics").note(&text, fds);
            }
        });
        Self { path, heard }
    }

    /// Waits until the daemon has said this since the last time.
    pub fn until_told(&self, word: &str) {
        wait::until(&format!("the manager is told {word}"), || {
            let mut heard = self.heard.lock().expect("nobody panics");
            let found = heard.words.iter().position(|said| said == word);
            found.is_some_and(|at| heard.words.drain(..=at).next().is_some())
        });
    }

    /// How many descriptors are kept.
    pub fn kept(&self) -> usize {
        self.heard.lock().expect("nobody panics").kept.len()
    }

    /// Keeps a socket as if the daemon had left it.
    pub fn keep(&self, socket: impl Into<OwnedFd>) {
        let mut heard = self.heard.lock().expect("nobody panics");
        heard.kept.push(("unit".to_owned(), socket.into()));
    }

    /// The same command, started with all that is kept.
    pub(crate) fn wrap(&self, command: &Command) -> Command {
        let heard = self.heard.lock().expect("nobody panics");
        let aside = |(_, fd): &(String, OwnedFd)| {
            let aside = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(ELSEWHERE));
            #[expect(unsafe_code, reason = "nix gives a number")]
            // SAFETY: the number is that of a descriptor that has just been made for us.
            let owned = unsafe { OwnedFd::from_raw_fd(aside.expect("descriptors are left")) };
            owned
        };
        let fds: Vec<OwnedFd> = heard.kept.iter().map(aside).collect();
        let mut wrapped = Command::new("sh");
        wrapped
            .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""])
            .arg(command.get_program())
            .args(command.get_args())
            .env("LISTEN_FDS", fds.len().to_string())
            .env("NOTIFY_SOCKET", &self.path);
        let place = move || {
            for (fd, number) in fds.iter().zip(FIRST..) {
                #[expect(unsafe_code, reason = "the child is to have it under this number")]
                // SAFETY: the call takes integers; the child has nothing else under these numbers.
                if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        #[expect(unsafe_code, reason = "it runs between fork and exec")]
        // SAFETY: it calls dup2(2) and nothing else.
        unsafe {
            wrapped.pre_exec(place);
        }
        wrapped
    }
}

impl Heard {
    fn note(&mut self, text: &str, fds: Vec<OwnedFd>) {
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
        let name = name.unwrap_or_default();
        if text.contains("FDSTOREREMOVE=1") {
            self.kept.retain(|(kept, _)| kept != name);
        } else if text.contains("FDSTORE=1") {
            // What it keeps already systemd does not keep twice.
            let is_new = |fd: &OwnedFd| self.kept.iter().all(|(_, kept)| !is_same(kept, fd));
            let new: Vec<OwnedFd> = fds.into_iter().filter(is_new).collect();
            let name = name.to_owned();
            self.kept
                .extend(new.into_iter().map(|fd| (name.clone(), fd)));
        }
        self.words.extend(text.lines().map(ToOwned::to_owned));
    }
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let inode = |fd: &OwnedFd| nix::sys::stat::fstat(fd).map(|stat| stat.st_ino);
    inode(one) == inode(other)
}

fn receive(socket: &UnixDatagram) -> Option<(String, Vec<OwnedFd>)> {
    let mut text = [0; 4096];
    let mut space = nix::cmsg_space!([RawFd; 253]);
    let mut parts = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
    let count = message.bytes;
    let mut fds = Vec::new();
    for part in message.cmsgs().ok()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            #[expect(unsafe_code, reason = "nix gives numbers")]
            // SAFETY: the kernel has just made these descriptors for us.
            fds.extend(
                numbers
                    .iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }),
            );
        }
    }
    Some((String::from_utf8_lossy(&text[..count]).into_owned(), fds))
}
