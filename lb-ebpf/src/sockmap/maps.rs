//! The maps of the sockmap path, and where the fields are that it reads of the kernel's sockets.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{HashMap, RingBuf, SockHash};
use aya_ebpf::macros::btf_map;
use lb_common::maps::{CONGESTED_BYTES, STREAMS_CAPACITY};
use lb_common::stream::{Moved, Stream};

/// Takes memory as it fills.
const GROWS: usize = BPF_F_NO_PREALLOC as usize;

/// Sockets of the daemon by their cookie; the kernel removes one that is closed.
#[btf_map]
pub(crate) static SOCKETS: SockHash<u64, { STREAMS_CAPACITY as usize }> = SockHash::new();

#[btf_map]
pub(crate) static STREAMS: HashMap<u64, Stream, { STREAMS_CAPACITY as usize }, GROWS> =
    HashMap::new();

#[btf_map]
pub(crate) static MOVED: HashMap<u64, Moved, { STREAMS_CAPACITY as usize }, GROWS> = HashMap::new();

/// Cookies of streams whose bytes are passed from now on.
#[btf_map]
pub(crate) static CONGESTED: RingBuf<u64, { CONGESTED_BYTES as usize }> = RingBuf::new();

/// The loader writes them before the kernel sees the program, which takes them for constants.
#[unsafe(no_mangle)]
static COPIED_SEQ_AT: u32 = 0;
#[unsafe(no_mangle)]
static WRITE_SEQ_AT: u32 = 0;
#[unsafe(no_mangle)]
static WMEM_QUEUED_AT: u32 = 0;

/// A field of `struct tcp_sock`.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    CopiedSeq,
    WriteSeq,
    WmemQueued,
}

impl Field {
    /// In bytes from its beginning.
    #[inline(always)]
    pub(crate) fn offset(self) -> usize {
        let offset = match self {
            Self::CopiedSeq => &raw const COPIED_SEQ_AT,
            Self::WriteSeq => &raw const WRITE_SEQ_AT,
            Self::WmemQueued => &raw const WMEM_QUEUED_AT,
        };
        // SAFETY: they are statics. Read as volatile, since they are not what the source says.
        unsafe { core::ptr::read_volatile(offset) as usize }
    }
}
