//! What bpf(2) does to hash maps in one call, where aya takes several.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use lb_common::Shared;
use nix::errno::Errno;
use nix::libc;

/// Of `enum bpf_cmd` in `linux/bpf.h`.
const LOOKUP_AND_DELETE: libc::c_int = 21;
const UPDATE_BATCH: libc::c_int = 26;
const DELETE_BATCH: libc::c_int = 27;

/// The part of `union bpf_attr` for one entry.
#[repr(C)]
struct EntryAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The part of `union bpf_attr` for `BPF_MAP_*_BATCH`.
#[repr(C)]
#[derive(Default)]
pub(super) struct BatchAttr {
    pub(super) in_batch: u64,
    pub(super) out_batch: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map_fd: u32,
    pub(super) elem_flags: u64,
    pub(super) flags: u64,
}

/// Takes an entry out of a hash map, which must have keys and values of just these types.
///
/// # Errors
///
/// What the kernel says, but for an entry that is not there.
pub(crate) fn take<K: Shared, V: Shared>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = MaybeUninit::<V>::zeroed();
    let mut attr = EntryAttr {
        map_fd: number(map),
        padding: 0,
        key: (&raw const *key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    match call(LOOKUP_AND_DELETE, &mut attr) {
        // SAFETY: the memory was zeroed and the kernel wrote to it; any bytes are a `Shared` value.
        Ok(()) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes entries of a hash map, which must have keys and values of just these types, in this order.
///
/// # Errors
///
/// What the kernel says of the first that it does not take; those before it are there.
pub(crate) fn insert<K: Shared, V: Shared, const N: usize>(
    map: BorrowedFd<'_>,
    keys: &[K; N],
    values: &[V; N],
) -> io::Result<()> {
    let mut attr = batch(map, keys);
    attr.values = values.as_ptr() as u64;
    call(UPDATE_BATCH, &mut attr)
}

/// Removes entries of a hash map, which must have keys of just this type, in this order.
///
/// # Errors
///
/// `ENOENT` for the first that is not there, or what else the kernel says of it; those behind it
/// have not been looked at.
pub(crate) fn remove<K: Shared, const N: usize>(
    map: BorrowedFd<'_>,
    keys: &[K; N],
) -> io::Result<()> {
    call(DELETE_BATCH, &mut batch(map, keys))
}

fn batch<K, const N: usize>(map: BorrowedFd<'_>, keys: &[K; N]) -> BatchAttr {
    BatchAttr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: 0,
        count: u32::try_from(N).unwrap_or(0),
        map_fd: number(map),
        elem_flags: 0,
        flags: 0,
    }
}

fn number(map: BorrowedFd<'_>) -> u32 {
    u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX)
}

fn call<A>(command: libc::c_int, attr: &mut A) -> io::Result<()> {
    // SAFETY: `A` is the part of `union bpf_attr` that the command reads, its pointers are to memory
    // that outlives the call and has room for what the map holds.
    super::done(unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<A>()) })
}
