//! Addresses as people write them, and what they meant when they are wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

use crate::config::complaint::Fault;
use crate::config::{Host, HostPort};

/// An IP address and a port to listen on.
pub(super) fn listen(text: &str) -> Result<SocketAddr, Fault> {
    let HostPort { host, port } = parse(text, "0.0.0.0")?;
    match host {
        Host::Ip(IpAddr::V6(ip)) if let Some(v4) = ip.to_ipv4_mapped() => Err(Fault::new(
            "is an IPv4 address written as IPv6",
            format!("write \"{v4}:{port}\""),
        )),
        Host::Ip(ip) => Ok(SocketAddr::new(ip, port.get())),
        Host::Name(name) => {
            let ip = match name.as_str() {
                "localhost" => "127.0.0.1",
                _ => "0.0.0.0",
            };
            let problem = "does not begin with an IP address";
            let remedy = format!("write the IP address to listen on, such as \"{ip}:{port}\"");
            Err(Fault::new(problem, remedy))
        }
    }
}

/// An IP address or a DNS name, and the port of a broker.
pub(super) fn backend(text: &str) -> Result<HostPort, Fault> {
    let address = parse(text, "10.0.0.11")?;
    let HostPort { host, port } = &address;
    match host {
        Host::Ip(ip) if ip.is_unspecified() => Err(Fault::new(
            "is an address to listen on, not one to connect to",
            format!("write the address of the broker, such as \"127.0.0.1:{port}\""),
        )),
        Host::Name(name) => host_name(name, *port).map(|()| address),
        Host::Ip(_) => Ok(address),
    }
}

/// An IP address of this host that can be the other end of a connection to `host`.
pub(super) fn source(text: &str, host: Option<&Host>) -> Result<IpAddr, Fault> {
    let fault =
        |problem: &str| Fault::new(problem, "write an IP address of this host, without a port");
    let ip: IpAddr = text
        .parse()
        .ok()
        .ok_or_else(|| fault("is not an IP address"))?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(fault("cannot be the source of a connection"));
    }
    match host {
        Some(Host::Ip(broker)) if broker.is_ipv4() != ip.is_ipv4() => Err(Fault::new(
            format!("cannot reach {broker}, since one is IPv4 and the other is IPv6"),
            "write an address of the same family",
        )),
        Some(Host::Ip(_) | Host::Name(_)) | None => Ok(ip),
    }
}

/// Splits an address; a host that is not an IP address becomes a name, whatever it is.
fn parse(text: &str, example: &str) -> Result<HostPort, Fault> {
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.trim_end_matches('/');
        let remedy = match parse(rest, example) {
            Ok(address) => format!("write \"{address}\""),
            Err(fault) => fault.remedy,
        };
        return Err(Fault::new("is a URL, not an address", remedy));
    }
    let stray = |c: char| c.is_whitespace() || c.is_control();
    if text.contains(stray) {
        let clean: String = text.chars().filter(|c| !stray(*c)).collect();
        let problem = "has a space or a control character in it";
        return Err(Fault::new(problem, format!("write {clean:?}")));
    }
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        return Err(naked(text, ip));
    }
    let (host, port) = split(text, example)?;

    Ok(HostPort {
        host: parse_host(host, port)?,
        port: parse_port(host, port)?,
    })
}

fn parse_host(host: &str, port: &str) -> Result<Host, Fault> {
    if let Some(inner) = host.strip_prefix('[') {
        let ip = inner.strip_suffix(']').and_then(|ip| ip.parse().ok());
        let fault = || {
            let remedy = format!("write one, such as \"[::1]:{port}\"");
            Fault::new("has no IPv6 address in its brackets", remedy)
        };
        return ip.map(|ip| Host::Ip(IpAddr::V6(ip))).ok_or_else(fault);
    }
    if host.contains(':') {
        let problem = "has an IPv6 address without brackets";
        return Err(Fault::new(problem, format!("write \"[{host}]:{port}\"")));
    }
    let ip = host.parse().map(|ip: Ipv4Addr| Host::Ip(IpAddr::V4(ip)));

    Ok(ip.unwrap_or_else(|_| Host::Name(host.to_owned())))
}

fn parse_port(host: &str, port: &str) -> Result<NonZeroU16, Fault> {
    let digits = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|port| port.parse().ok());

    number.ok_or_else(|| {
        Fault::new(
            format!("has the port {port:?}, which is not from 1 to 65535"),
            format!("write \"{host}:{MQTT_PORT}\" or another port"),
        )
    })
}

/// Host and port; both are there, but may be anything.
fn split<'t>(text: &'t str, example: &str) -> Result<(&'t str, &'t str), Fault> {
    let colon = text
        .rfind(':')
        .filter(|colon| !text[*colon..].contains(']'));
    let (host, port) = colon.map_or((text, ""), |colon| (&text[..colon], &text[colon + 1..]));
    let number = host.parse::<u16>().is_ok();
    match (host, port) {
        ("", "") => Err(Fault::new(
            "has neither address nor port",
            format!("write \"{example}:{MQTT_PORT}\""),
        )),
        (port, "") if number => Err(Fault::new(
            "has no address",
            format!("write \"{example}:{port}\""),
        )),
        (host, "") => Err(Fault::new(
            "has no port",
            format!("write \"{host}:{MQTT_PORT}\""),
        )),
        ("", port) => Err(Fault::new(
            "has no address",
            format!("write \"{example}:{port}\""),
        )),
        both => Ok(both),
    }
}

/// An IPv6 address without brackets; its last group may have been meant as a port.
fn naked(text: &str, ip: Ipv6Addr) -> Fault {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port >= 1024);
    let meant = text.rsplit_once(':').and_then(|(head, tail)| {
        let head = head.parse::<Ipv6Addr>().ok()?;
        Some((head, port(tail)?))
    });
    let (ip, port) = meant.unwrap_or((ip, MQTT_PORT));

    Fault::new(
        "is an IPv6 address without brackets and port",
        format!("write \"[{ip}]:{port}\""),
    )
}

/// A name that DNS can have, RFC 1123; an underscore is taken too, as resolvers take it.
fn host_name(name: &str, port: NonZeroU16) -> Result<(), Fault> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        let remedy = format!("write four numbers from 0 to 255, such as \"10.0.0.11:{port}\"");
        return Err(Fault::new("is not an IP address", remedy));
    }
    if name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(());
    }
    let remedy = format!("write letters, digits and hyphens, such as \"broker-1.example:{port}\"");
    Err(Fault::new("has no valid DNS name", remedy))
}

fn is_label(label: &str) -> bool {
    let wrong = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let hyphen = label.starts_with('-') || label.ends_with('-');

    (1..=63).contains(&label.len()) && !label.contains(wrong) && !hyphen
}

/// The port that IANA gave to MQTT over TCP.
const MQTT_PORT: u16 = 1883;

#[cfg(test)]
mod tests;
