//! Source ports toward brokers.
//!
//! A spliced connection has no socket, so the kernel believes that its port is free. Ports are
//! therefore ours to give out, from outside the range the kernel chooses from by itself, or reserved in
//! it: nobody gets one of them without asking for it by number. The one that has been free for longest is used
//! first, as old segments may still be on their way to the others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

const KERNEL_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
/// What `ip_local_port_range` is where nobody has changed it.
const USUAL_RANGE: RangeInclusive<u16> = 32768..=60999;
/// Lower ports, where services listen, are left alone.
const LOWEST: u16 = 10_000;

/// The two ends toward which a port must be unique.
type Way = (IpAddr, SocketAddr);

/// All ports that are not in use.
#[derive(Debug)]
pub struct Ports {
    range: Vec<u16>,
    free: Mutex<HashMap<Way, VecDeque<u16>>>,
    avoided: Mutex<Vec<u16>>,
}

/// A port in use; free again when dropped.
#[derive(Debug)]
pub struct Port {
    ports: Arc<Ports>,
    way: Way,
    pub number: u16,
}

impl Ports {
    /// All ports outside the kernel's range, but for `taken`, which are connections that live.
    pub fn new(taken: impl Iterator<Item = (Way, u16)>, ours: &[u16]) -> Self {
        let reserved = reserved(&fs::read_to_string(RESERVED).unwrap_or_default());
        let range = outside(&kernel_range(), &reserved, ours);
        let mut used: HashMap<Way, HashSet<u16>> = HashMap::new();
        for (way, port) in taken {
            used.entry(way).or_default().insert(port);
        }
        let free = used
            .into_iter()
            .map(|(way, used)| {
                let free = range.iter().copied().filter(|port| !used.contains(port));
                (way, free.collect())
            })
            .collect();
        Self {
            range,
            free: Mutex::new(free),
            avoided: Mutex::default(),
        }
    }

    /// Gives out none of `ours` from now on: listeners have them.
    pub fn avoid(&self, ours: Vec<u16>) {
        *self.avoided.lock().unwrap_or_else(PoisonError::into_inner) = ours;
    }

    /// How many ports there are from each address to each broker.
    pub fn count(&self) -> usize {
        self.range.len()
    }

    /// How many of them are free.
    pub fn free(&self, source: IpAddr, broker: SocketAddr) -> usize {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.get(&(source, broker))
            .map_or_else(|| self.count(), VecDeque::len)
    }

    /// A port from `source` to `broker`, if one is free.
    pub fn take(self: &Arc<Self>, source: IpAddr, broker: SocketAddr) -> Option<Port> {
        let way = (source, broker);
        let avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.with_free(way, |free| {
            let place = free.iter().position(|port| !avoided.contains(port))?;
            free.remove(place)
        })?;
        drop(avoided);
        Some(Port {
            ports: Arc::clone(self),
            way,
            number,
        })
    }

    /// Makes a port free that a flow of an earlier daemon had.
    pub fn give_back(&self, source: SocketAddr, broker: SocketAddr) {
        if self.range.binary_search(&source.port()).is_ok() {
            self.with_free((source.ip(), broker), |free| free.push_back(source.port()));
        }
    }

    fn with_free<R>(&self, way: Way, use_it: impl FnOnce(&mut VecDeque<u16>) -> R) -> R {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let all = || self.range.iter().copied().collect();
        use_it(free.entry(way).or_insert_with(all))
    }
}

impl Port {
    /// Our end of the connection and the broker's.
    pub fn ends(&self) -> [SocketAddr; 2] {
        let (source, broker) = self.way;
        [SocketAddr::new(source, self.number), broker]
    }

    /// Leaves the port in use after this value is gone: a flow has it now.
    pub fn leave_to_flow(self) {
        std::mem::forget(self);
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let number = self.number;
        self.ports
            .with_free(self.way, |free| free.push_back(number));
    }
}

fn kernel_range() -> RangeInclusive<u16> {
    let text = fs::read_to_string(KERNEL_RANGE).unwrap_or_default();
    let mut numbers = text
        .split_whitespace()
        .map_while(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) => first..=last,
        _ => USUAL_RANGE,
    }
}

/// Ports and ranges of them, as in `8080,20000-29999`.
fn reserved(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).collect()
}

/// In ascending order.
fn outside(
    kernel: &RangeInclusive<u16>,
    reserved: &[RangeInclusive<u16>],
    ours: &[u16],
) -> Vec<u16> {
    let is_reserved = |port: &u16| reserved.iter().any(|range| range.contains(port));
    (LOWEST..=u16::MAX)
        .filter(|port| !kernel.contains(port) || is_reserved(port))
        .filter(|port| !ours.contains(port))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Ports, USUAL_RANGE, outside, reserved};

    #[test]
    fn leaves_the_kernel_its_range_and_listeners_theirs() {
        let ports = outside(&USUAL_RANGE, &[], &[10_001]);

        assert_eq!(ports[..2], [10_000, 10_002]);
        assert!(!ports.contains(&32768) && !ports.contains(&60999));
        assert_eq!(ports.last(), Some(&65535));
    }

    #[test]
    fn what_is_reserved_is_ours_as_well() {
        let reserved = reserved("8080,20000-20002,40000\n");

        let ports = outside(&(1024..=65535), &reserved, &[20_001]);

        assert_eq!(ports, [20_000, 20_002, 40_000]);
        assert!(super::reserved("\n").is_empty());
    }

    #[test]
    fn gives_every_port_once_and_the_longest_free_first() {
        let source = "10.0.0.1".parse().unwrap();
        let broker = "10.0.0.2:1883".parse().unwrap();
        let mut ports = Ports::new(std::iter::once(((source, broker), 10_002)), &[]);
        ports.range = vec![10_000, 10_001, 10_002];
        ports
            .free
            .lock()
            .unwrap()
            .insert((source, broker), [10_000, 10_001].into());
        let ports = Arc::new(ports);

        let first = ports.take(source, broker).unwrap();
        let second = ports.take(source, broker).unwrap();
        assert!(ports.take(source, broker).is_none());
        drop((second, first));

        assert_eq!(ports.take(source, broker).unwrap().number, 10_001);
        ports.give_back((source, 10_002).into(), broker);
        let last = ports.take(source, broker).unwrap();
        assert_eq!(last.number, 10_000);
        drop(last);
        ports.avoid(vec![10_002, 10_001]);
        let next = ports.take(source, broker).unwrap();
        assert_eq!(next.number, 10_000);
        assert!(ports.take(source, broker).is_none());
    }
}
