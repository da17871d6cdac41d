//! What the daemon and the kernel half agree on: the keys, values and names of the BPF maps.
//!
//! The rules of this boundary:
//! - every type is `repr(C)` and `Copy`, made of integers and arrays only, without padding; its
//!   size is asserted beside it;
//! - integers are in host order, as bpftool prints them; addresses are bytes in network order,
//!   IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2);
//! - text is `[i8; N]`, ended by a zero byte, so that bpftool prints it as text;
//! - a change of any of this changes [`LAYOUT`].

#![no_std]

pub mod about;
pub mod address;
pub mod backend;
pub mod client;
pub mod event;
pub mod flow;
pub mod listener;
pub mod maps;
pub mod reason;
pub mod sticky;
pub mod stream;
pub mod text;

/// The version of everything in this crate; pins of another layout are refused, never adopted.
pub const LAYOUT: u32 = 4;

/// A type of this boundary.
///
/// # Safety
///
/// Any bytes are a valid value of the type, which has no padding.
pub unsafe trait Shared: Copy + 'static {}

/// Asserts at compile time that a type has the size its fields add up to, and is `Pod`.
macro_rules! shared {
    ($type:ty, $bytes:expr) => {
        const _: () = assert!(size_of::<$type>() == $bytes);

        // SAFETY: the type is `repr(C)` and `Copy`, its fields are integers and arrays of them,
        // and the assertion above leaves no room for padding; so any bytes are a valid value.
        unsafe impl $crate::Shared for $type {}

        // SAFETY: as above.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $type {}
    };
}
pub(crate) use shared;
