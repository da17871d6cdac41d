//! The network interfaces of this host.

use std::fs;
use std::path::Path;

const SYS_CLASS_NET: &str = "/sys/class/net";
/// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK` of `linux/if_arp.h`: packets begin with an Ethernet header.
const ETHERNET: [&str; 2] = ["1", "772"];
/// `IFF_UP` of `linux/if.h`.
const UP: u32 = 1;

/// The interfaces to attach to: those named, or all that are up and carry Ethernet frames.
pub fn wanted(named: Option<&[String]>) -> Vec<String> {
    if let Some(named) = named {
        return named.to_vec();
    }
    let Ok(entries) = fs::read_dir(SYS_CLASS_NET) else {
        return Vec::new();
    };
    let mut interfaces: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_usable(&Path::new(SYS_CLASS_NET).join(name)))
        .collect();
    interfaces.sort();
    interfaces
}

fn is_usable(interface: &Path) -> bool {
    let read = |name: &str| fs::read_to_string(interface.join(name)).unwrap_or_default();
    let flags = read("flags");
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
    flags & UP != 0 && ETHERNET.contains(&read("type").trim())
}
