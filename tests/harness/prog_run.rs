//! Runs a pinned program on a packet of the test's making: `BPF_PROG_TEST_RUN` of bpf(2).

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::Path;

use aya::programs::SchedClassifier;
use nix::libc;

/// Verdicts of `linux/pkt_cls.h`: go on as if the program were not there, drop, send elsewhere.
pub const PASS: i32 = -1;
pub const DROP: i32 = 2;
pub const REDIRECT: i32 = 7;

/// A command of bpf(2), and a flag of it.
const TEST_RUN: libc::c_int = 10;
const CHECKSUM_COMPLETE: u32 = 1 << 2;

/// A program at tc.
#[derive(Debug)]
pub struct Program(SchedClassifier);

/// What a packet comes with.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// From the Ethernet header on; at least to the end of the IP header, and at most some 3 kB.
    pub bytes: &'a [u8],
    /// The interface it came in by; 0 is what this host itself sends.
    pub came_by: u32,
    /// The interface it is on; 0 is the loopback.
    pub on: u32,
    /// `cb` of `struct __sk_buff`.
    pub beside: [u32; 5],
    /// What is known of its checksums.
    pub sum: Sum,
}

/// What a device told of the checksums of a packet (`linux/skbuff.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// Nothing.
    Unknown,
    /// The sum over all bytes behind the Ethernet header. The program has to keep it true: the
    /// kernel compares it with the bytes when the program has ended.
    Complete,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub verdict: i32,
    /// The bytes after the run, or after the last of several.
    pub bytes: Vec<u8>,
    /// `cb` of `struct __sk_buff` after that.
    pub beside: [u32; 5],
    /// The mean time of a run in nanoseconds, as the kernel took it.
    pub nanoseconds: u32,
}

impl Program {
    /// # Panics
    ///
    /// There is no such pin.
    pub fn from_pin(path: &Path) -> Self {
        let program = SchedClassifier::from_pin(path);
        Self(program.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Runs it once.
    ///
    /// # Errors
    ///
    /// What the kernel says; `EBADMSG` where [`Sum::Complete`] is no longer true.
    pub fn run(&self, packet: &Packet<'_>) -> io::Result<Ran> {
        self.repeat(packet, 1)
    }

    /// Runs it several times on the same packet: what one run makes of it is what the next one gets.
    ///
    /// # Errors
    ///
    /// As of [`Self::run`].
    pub fn repeat(&self, packet: &Packet<'_>, times: u32) -> io::Result<Ran> {
        let program = self.0.fd().expect("a pinned program is loaded").as_fd();
        let mut context = Context {
            ingress_ifindex: packet.came_by,
            ifindex: packet.on,
            cb: packet.beside,
            ..Context::default()
        };
        let mut out = vec![0; packet.bytes.len()];
        let mut attributes = Attributes {
            program: program.as_raw_fd().cast_unsigned(),
            data_size_in: size(packet.bytes),
            data_size_out: size(&out),
            data_in: packet.bytes.as_ptr() as u64,
            data_out: out.as_mut_ptr() as u64,
            repeat: times,
            context_size_in: u32::try_from(size_of::<Context>()).expect("it is small"),
            context_size_out: u32::try_from(size_of::<Context>()).expect("it is small"),
            context_in: (&raw mut context) as u64,
            context_out: (&raw mut context) as u64,
            flags: if packet.sum == Sum::Complete {
                CHECKSUM_COMPLETE
            } else {
                0
            },
            ..Attributes::default()
        };
        test_run(program, &mut attributes)?;
        out.truncate(usize::try_from(attributes.data_size_out).expect("it is an offset"));
        Ok(Ran {
            verdict: attributes.verdict.cast_signed(),
            bytes: out,
            beside: context.cb,
            nanoseconds: attributes.duration,
        })
    }
}

fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a packet is small")
}

/// `attributes` are of this program, and point to buffers of the sizes beside the pointers.
fn test_run(program: BorrowedFd<'_>, attributes: &mut Attributes) -> io::Result<()> {
    debug_assert_eq!(attributes.program, program.as_raw_fd().cast_unsigned());
    // SAFETY: the kernel reads and writes the attributes, whose size is given; it reads the packet and
    // the context, and writes at most `data_size_out` bytes and the context. `Program::repeat` owns or borrows all of
    // them until after the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            TEST_RUN,
            &raw mut *attributes,
            size_of::<Attributes>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// `union bpf_attr` of `linux/bpf.h`, as this command uses it.
#[repr(C)]
#[derive(Debug, Default)]
struct Attributes {
    program: u32,
    verdict: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// `struct __sk_buff` of `linux/bpf.h`.
#[repr(C)]
#[derive(Debug, Default)]
struct Context {
    length_to_queue: [u32; 4],
    protocol_to_vlan: [u32; 4],
    priority: u32,
    ingress_ifindex: u32,
    ifindex: u32,
    tc_index: u32,
    cb: [u32; 5],
    hash_to_hardware_time: [u32; 31],
}
