//! The only unsafe code of the daemon, and what makes it safe.

#![expect(unsafe_code, reason = "kept in one place")]

use std::io;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use lb_common::Shared;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tokio::io::unix::AsyncFd;

pub(crate) mod map;

use map::BatchAttr;

/// Lets a task wait until `owner` can be read.
///
/// # Errors
///
/// The kernel has no way to wait for this kind of file.
pub(crate) fn watch<T: AsFd + AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: `T: AsFd` lends its descriptor for as long as it lives, so it is open and stays the
    // same, and the `AsyncFd` owns it; the types this is called with give the same descriptor as
    // `AsRawFd`.
    Ok(unsafe { AsyncFd::register(owner) }?)
}

/// The descriptors from 3 on that the process before us left open for us, `count` of them; nothing at
/// the second call.
pub(crate) fn inherited(count: u32) -> Vec<OwnedFd> {
    static ARE_TAKEN: AtomicBool = AtomicBool::new(false);
    if ARE_TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let own = |fd: u32| {
        let fd = i32::try_from(fd).ok()?;
        // SAFETY: the call takes integers and touches no memory.
        let is_open = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } >= 0;
        // SAFETY: it is open, and was before this process opened anything, as the caller passes what
        // sd_listen_fds(3) says; by the check above nobody has been given it yet.
        is_open.then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    };
    (3_u32..).take(count as usize).map_while(own).collect()
}

/// Descriptors that come with the next bytes of `stream`.
pub(crate) fn receive_descriptors(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut byte = [0];
    let mut parts = [io::IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 253]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            for fd in numbers {
                // SAFETY: the kernel has made this descriptor for us and told nobody else of it.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    Ok(descriptors)
}

/// Waits until no CPU is inside a BPF program or the network stack as it was before the call.
///
/// `MEMBARRIER_CMD_GLOBAL` is, in the kernel, `synchronize_rcu()`; see membarrier(2).
///
/// # Errors
///
/// `EINVAL` on a kernel with `nohz_full` CPUs, `ENOSYS` on one without the call.
pub(crate) fn synchronize_rcu() -> io::Result<()> {
    const GLOBAL: libc::c_int = 1;
    // SAFETY: the call takes two integers and touches no memory of this process.
    done(unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0) })
}

/// The most that `TCP_MAXSEG` takes: `MAX_TCP_WINDOW` of the kernel, in bytes.
pub(crate) const LARGEST_SEGMENT: i32 = 32767;

/// Sets an option that is an `int`.
pub(crate) fn set_tcp_option(socket: &impl AsFd, option: i32, value: i32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<i32>()).map_err(io::Error::other)?;
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw const value).cast(),
            length,
        )
    };
    done(result.into())
}

/// Reads an option of TCP, whole or its beginning; what the kernel does not fill is zero.
pub(crate) fn tcp_option<const N: usize>(socket: &impl AsFd, option: i32) -> io::Result<[u8; N]> {
    self::option(socket, libc::IPPROTO_TCP, option)
}

/// The largest packet that goes to the peer of a connected socket, in bytes (ip(7), `IP_MTU`).
pub(crate) fn path_mtu(socket: &UdpSocket) -> io::Result<u32> {
    let value = if socket.peer_addr()?.is_ipv4() {
        option(socket, libc::IPPROTO_IP, libc::IP_MTU)
    } else {
        option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU)
    };
    Ok(u32::from_ne_bytes(value?))
}

fn option<const N: usize>(socket: &impl AsFd, level: i32, option: i32) -> io::Result<[u8; N]> {
    let mut value = [0_u8; N];
    let mut length = libc::socklen_t::try_from(N).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `value`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    done(result.into())?;
    Ok(value)
}

/// Bytes that the peer has not acknowledged yet (tcp(7), `SIOCOUTQ`).
pub(crate) fn unacknowledged(socket: &impl AsFd) -> io::Result<u32> {
    let mut count: libc::c_int = 0;
    // SAFETY: `TIOCOUTQ`, which is `SIOCOUTQ`, writes one `int`.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    done(result.into())?;
    u32::try_from(count).map_err(io::Error::other)
}

/// A value from its bytes, if they are as many.
pub(crate) fn value<T: Shared>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    // SAFETY: there are as many bytes as the value has, and any bytes are a `Shared` value; they need
    // not be aligned.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The entries of a hash map, read some hundred at a time (bpf(2), `BPF_MAP_LOOKUP_BATCH`).
///
/// Reading by the next key starts over whenever that key has just been removed, and on a busy map
/// never comes to an end. This goes from bucket to bucket, and sees every entry that stays.
#[derive(Debug)]
pub(crate) struct Entries<'a, K, V> {
    map: BorrowedFd<'a>,
    /// Where the next batch begins; none before the first.
    position: Option<u32>,
    is_over: bool,
    room: u32,
    read: std::vec::IntoIter<(K, V)>,
}

/// `BPF_MAP_LOOKUP_BATCH` of `linux/bpf.h`.
const MAP_LOOKUP_BATCH: libc::c_int = 24;
/// Entries asked for at first; a bucket that is longer asks for more.
const BATCH: u32 = 512;

impl<'a, K: Shared, V: Shared> Entries<'a, K, V> {
    /// `map` must be a hash map of these keys and values; anything else yields nothing.
    pub(crate) fn of(map: BorrowedFd<'a>) -> Self {
        Self {
            map,
            position: None,
            is_over: false,
            room: BATCH,
            read: Vec::new().into_iter(),
        }
    }

    fn fill(&mut self) {
        let room = self.room as usize;
        let mut keys: Vec<MaybeUninit<K>> = vec![MaybeUninit::zeroed(); room];
        let mut values: Vec<MaybeUninit<V>> = vec![MaybeUninit::zeroed(); room];
        let mut next = 0_u32;
        let mut attr = BatchAttr {
            in_batch: self
                .position
                .as_ref()
                .map_or(0, |at| (&raw const *at) as u64),
            out_batch: (&raw mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: self.room,
            map_fd: u32::try_from(self.map.as_raw_fd()).unwrap_or(u32::MAX),
            ..BatchAttr::default()
        };
        // SAFETY: all pointers are to memory that outlives the call: `u32` is what a position in a hash
        // map is, and the vectors have room for `count` keys and values of the map's sizes.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                MAP_LOOKUP_BATCH,
                &raw mut attr,
                size_of::<BatchAttr>(),
            )
        };
        let error = (result < 0).then(|| io::Error::last_os_error().raw_os_error());
        match error.flatten() {
            Some(libc::ENOSPC) if self.room < u32::MAX / 2 => {
                self.room *= 2;
                return;
            }
            None => {}
            // Of the last batch the kernel says that there is no next.
            Some(libc::ENOENT) => self.is_over = true,
            Some(_) => {
                self.is_over = true;
                return;
            }
        }
        self.position = Some(next);
        let count = (attr.count as usize).min(room);
        let pairs = keys.iter().zip(&values).take(count);
        // SAFETY: the memory was zeroed and the kernel wrote to it; any bytes are a `Shared` value.
        let pairs: Vec<(K, V)> = pairs
            .map(|(key, value)| unsafe { (key.assume_init(), value.assume_init()) })
            .collect();
        self.read = pairs.into_iter();
    }
}

impl<K: Shared, V: Shared> Iterator for Entries<'_, K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.read.next() {
                return Some(entry);
            }
            if self.is_over {
                return None;
            }
            self.fill();
        }
    }
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
