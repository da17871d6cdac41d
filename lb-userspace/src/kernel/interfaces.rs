//! The network interfaces of this host, or of the namespace the daemon runs in.

use std::io;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use socket2::Socket;
use tokio::io::unix::AsyncFd;

use super::netlink::{self, NETLINK_ROUTE};
use crate::sys;

/// `RTMGRP_LINK` of `linux/rtnetlink.h`.
const LINKS: u32 = 1;

/// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK` of `linux/if_arp.h`: packets begin with an Ethernet header.
const ETHERNET: [u16; 2] = [1, 772];

/// Name and index; one that was removed and made again has another index.
pub type Interface = (String, u32);

/// Hears of interfaces that come, go and change.
#[derive(Debug)]
pub struct News(AsyncFd<Socket>);

impl News {
    /// # Errors
    ///
    /// The kernel does not tell, or there is no way to wait.
    pub fn subscribe() -> io::Result<Self> {
        sys::watch(netlink::subscribe(NETLINK_ROUTE, LINKS)?).map(Self)
    }

    /// Waits for some.
    ///
    /// # Errors
    ///
    /// There is no way to wait any more.
    pub async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let is_any = netlink::take_news(ready.get_inner());
            ready.clear_ready();
            if is_any {
                return Ok(());
            }
        }
    }
}

/// The interfaces to attach to: those named, or all that are up and carry Ethernet frames.
pub fn wanted(named: Option<&[String]>) -> Vec<String> {
    match named {
        Some(named) => named.to_vec(),
        None => there().into_iter().map(|(name, _)| name).collect(),
    }
}

/// Those of [`wanted`] that are there now.
pub fn present(named: Option<&[String]>) -> Vec<Interface> {
    let index = |name: &String| Some((name.clone(), if_nametoindex(name.as_str()).ok()?));
    named.map_or_else(there, |named| named.iter().filter_map(index).collect())
}

/// All that are up and carry Ethernet frames.
pub fn there() -> Vec<Interface> {
    let Ok(addresses) = getifaddrs() else {
        return Vec::new();
    };
    let mut interfaces: Vec<Interface> = addresses
        .filter(is_usable)
        .filter_map(|address| {
            let index = if_nametoindex(address.interface_name.as_str()).ok()?;
            Some((address.interface_name, index))
        })
        .collect();
    interfaces.sort();
    interfaces.dedup();
    interfaces
}

/// Each interface is listed once with its link address, and again with every other address.
fn is_usable(address: &InterfaceAddress) -> bool {
    let link = address
        .address
        .as_ref()
        .and_then(|address| address.as_link_addr());
    address.flags.contains(InterfaceFlags::IFF_UP)
        && link.is_some_and(|link| ETHERNET.contains(&link.hatype()))
}

#[cfg(test)]
mod tests {
    use super::wanted;

    #[test]
    fn finds_the_loopback_interface() {
        assert!(wanted(None).contains(&"lo".to_owned()));
    }

    #[test]
    fn takes_the_word_of_the_operator() {
        assert_eq!(wanted(Some(&["eth7".to_owned()])), ["eth7"]);
    }
}
