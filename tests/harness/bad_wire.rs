//! A wire that loses, repeats and reorders frames: two TAP interfaces and a thread between them.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::namespace::Host;
use crate::stream::Random;

/// What a wire does to frames, in parts per thousand, in each direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Habits {
    pub loses: u32,
    pub repeats: u32,
    /// Holds a frame back until [`OVERTAKEN_BY`] others have passed it.
    pub delays: u32,
}

/// How many frames pass one that is held back, unless the wire falls silent before.
const OVERTAKEN_BY: usize = 5;
/// How long the wire may be silent before it lets go of what it holds back, in milliseconds.
const SILENCE: u8 = 2;
/// The longest frame there may be, in bytes.
const FRAME: usize = 16 * 1024;

/// The wire; unplugged when dropped.
#[derive(Debug)]
pub struct BadWire {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    has_ended: AtomicBool,
    lost: AtomicU64,
    repeated: AtomicU64,
    delayed: AtomicU64,
}

impl BadWire {
    /// Joins `near` and `far`; the interface is called `name` near, `uplink` far.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn join(near: &Host, name: &str, far: &Host, habits: Habits) -> Result<Self, String> {
        let plugs = [near.run(|| tap(name))?, far.run(|| tap("uplink"))?];
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let thread = thread::spawn(move || carry(plugs, habits, &state));
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Whether it has done to some frame each thing that it is in the habit of.
    pub fn has_misbehaved(&self, habits: Habits) -> bool {
        let Shared {
            lost,
            repeated,
            delayed,
            ..
        } = &*self.shared;
        [
            (habits.loses, lost),
            (habits.repeats, repeated),
            (habits.delays, delayed),
        ]
        .iter()
        .all(|(habit, count)| *habit == 0 || count.load(Ordering::Relaxed) > 0)
    }
}

impl Drop for BadWire {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Makes a TAP interface on the host of this thread.
fn tap(name: &str) -> Result<File, String> {
    let tap = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(|error| format!("needs /dev/net/tun: {error}"))?;
    let mut letters: [libc::c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
    for (letter, byte) in letters.iter_mut().zip(name.bytes()) {
        *letter = byte.cast_signed();
    }
    let flags = libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI);
    let request = libc::ifreq {
        ifr_name: letters,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: flags.expect("the flags are short"),
        },
    };
    #[expect(unsafe_code, reason = "nix has no call for it")]
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    let result = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    if result < 0 {
        return Err(format!(
            "needs TAP interfaces: {}",
            std::io::Error::last_os_error()
        ));
    }
    Ok(tap)
}

fn carry(plugs: [File; 2], habits: Habits, shared: &Shared) {
    let mut random = Random::new(7);
    let mut frame = vec![0; FRAME];
    let mut held: [VecDeque<(usize, Vec<u8>)>; 2] = [VecDeque::new(), VecDeque::new()];
    while !shared.has_ended.load(Ordering::Relaxed) {
        let [near, far] = &plugs;
        let mut ready = [near, far].map(|plug| PollFd::new(plug.as_fd(), PollFlags::POLLIN));
        let count = poll(&mut ready, PollTimeout::from(SILENCE)).expect("files can be waited for");
        for (held, (from, to)) in held.iter_mut().zip([(near, far), (far, near)]) {
            if count == 0 {
                held.drain(..).for_each(|(_, late)| put(to, &late));
            }
            while let Some(length) = take(from, &mut frame) {
                pass(to, &frame[..length], habits, &mut random, held, shared);
            }
        }
    }
}

fn pass(
    to: &File,
    frame: &[u8],
    habits: Habits,
    random: &mut Random,
    held: &mut VecDeque<(usize, Vec<u8>)>,
    shared: &Shared,
) {
    let mut happens = |habit, counter: &AtomicU64| {
        let it_does = random.below(1000) < habit;
        counter.fetch_add(u64::from(it_does), Ordering::Relaxed);
        it_does
    };
    if happens(habits.loses, &shared.lost) {
        return;
    }
    if happens(habits.delays, &shared.delayed) {
        held.push_back((OVERTAKEN_BY, frame.to_vec()));
        return;
    }
    put(to, frame);
    if happens(habits.repeats, &shared.repeated) {
        put(to, frame);
    }
    for (frames, _) in held.iter_mut() {
        *frames = frames.saturating_sub(1);
    }
    while let Some((_, late)) = held.pop_front_if(|(frames, _)| *frames == 0) {
        put(to, &late);
    }
}

fn take(mut plug: &File, frame: &mut [u8]) -> Option<usize> {
    match plug.read(frame) {
        Ok(length) => Some(length),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        // The interface is not switched on yet, or no longer.
        Err(error) if error.raw_os_error() == Some(libc::EIO) => None,
        Err(error) if error.raw_os_error() == Some(libc::EBADFD) => None,
        Err(error) => panic!("a TAP interface cannot be read: {error}"),
    }
}

fn put(mut plug: &File, frame: &[u8]) {
    match plug.write(frame) {
        Ok(count) => assert_eq!(count, frame.len(), "an interface takes frames whole"),
        // A full queue loses a frame, and so does an interface that is off: wires do that.
        Err(error) => assert!(
            [libc::EIO, libc::EAGAIN, libc::ENOBUFS]
                .map(Some)
                .contains(&error.raw_os_error()),
            "a TAP interface cannot be written: {error}"
        ),
    }
}
