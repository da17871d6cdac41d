//! Addresses as the maps keep them.

use core::net::IpAddr;

/// The bytes of an address in network order; IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2).
pub const fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
