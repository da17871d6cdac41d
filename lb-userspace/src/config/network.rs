//! Networks as people write them: "10.0.0.0/8", "2001:db8::/32", or one address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::complaint::Fault;

/// All addresses with the same first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    /// 0 to 32, or to 128.
    bits: u32,
}

impl Network {
    /// # Errors
    ///
    /// What is wrong with the text, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let example = "write it like \"10.0.0.0/8\" or \"2001:db8::/32\", or one address";
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let fault = || Fault::new("is not a network", example);
        let first: IpAddr = address.parse().ok().ok_or_else(fault)?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok());
        let bits = bits.filter(|bits| *bits <= most).ok_or_else(fault)?;
        let network = Self {
            first: cut(first, bits),
            bits,
        };
        if network.first != first {
            let problem = format!("has more than its first {bits} bits");
            return Err(Fault::new(problem, format!("write \"{network}\"")));
        }
        Ok(network)
    }

    /// An IPv4 client that came by IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && cut(address, self.bits) == self.first
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

/// An address without what comes after its first `bits`.
fn cut(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Network;

    fn contains(network: &str, address: &str) -> bool {
        let network = Network::parse(network).unwrap();
        network.contains(address.parse().unwrap())
    }

    #[test]
    fn contains_what_begins_alike() {
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "192.0.2.1"));
        assert!(contains("192.0.2.1", "192.0.2.1"));
        assert!(!contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("2001:db8::/32", "2001:db8:1::1"));
        assert!(!contains("2001:db8::/32", "2001:db9::1"));
        assert!(contains("::/0", "fd00::1"));
        assert!(!contains("::/0", "10.0.0.1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.0.0.1"));
    }

    #[test]
    fn says_what_is_wrong() {
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10/8",
            "10.0.0.0/",
            "a.b.c.d/8",
        ] {
            assert_eq!(
                Network::parse(text).unwrap_err().problem,
                "is not a network"
            );
        }
        let fault = Network::parse("10.1.2.3/8").unwrap_err();
        assert_eq!(fault.remedy, "write \"10.0.0.0/8\"");
    }
}
