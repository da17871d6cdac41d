//! Whether something has changed that routes depend on (rtnetlink(7)).

use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{NetlinkAddr, bind};
use socket2::Socket;

use crate::kernel::netlink::{self, NETLINK_ROUTE};

/// Of `enum rtnetlink_groups`: links, addresses, routes and rules of IPv4 and IPv6, next hops.
const GROUPS: [u32; 8] = [1, 5, 7, 8, 9, 11, 19, 32];

/// Hears of every change.
#[derive(Debug)]
pub(super) struct Changes(Socket);

impl Changes {
    pub(super) fn open() -> io::Result<Self> {
        let socket = netlink::open(NETLINK_ROUTE)?;
        let groups = GROUPS.iter().fold(0, |all, group| all | 1 << (group - 1));
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Whether there was any since the last time.
    pub(super) fn any(&self) -> bool {
        let mut has_changed = false;
        // A message that is longer is cut off.
        let mut message = [0; 1];
        loop {
            match (&self.0).read(&mut message) {
                Ok(_) => has_changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return has_changed,
                // There was no room for all of them.
                Err(_) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use nix::sched::{CloneFlags, unshare};

    use super::Changes;
    use crate::kernel::route;

    fn ip(arguments: &[&str]) {
        let done = Command::new("ip").args(arguments).status();
        assert!(done.is_ok_and(|status| status.success()), "{arguments:?}");
    }

    #[test]
    fn hears_of_nothing_where_nothing_changes() {
        let changes = Changes::open().unwrap();
        changes.any();

        route::to("127.0.0.1".parse().unwrap(), None).unwrap();

        // A change of this host meanwhile is no fault, but two in a row are unlikely.
        assert!(!changes.any() || !changes.any());
    }

    #[test]
    fn a_route_that_is_changed_is_followed_at_once() {
        let destination = "198.51.100.1".parse().unwrap();
        let changed = thread::spawn(move || {
            if unshare(CloneFlags::CLONE_NEWNET).is_err() {
                return None;
            }
            ip(&["link", "add", "one", "type", "veth", "peer", "two"]);
            for end in ["one", "two"] {
                ip(&["link", "set", end, "up"]);
            }
            ip(&["route", "add", "198.51.100.0/24", "dev", "one"]);
            let before = route::to(destination, None).unwrap();
            assert_eq!(route::to(destination, None).unwrap(), before);
            ip(&["route", "replace", "198.51.100.0/24", "dev", "two"]);
            let after = route::to(destination, None).unwrap();
            ip(&["link", "set", "two", "down"]);
            Some((before, after, route::to(destination, None).is_err()))
        });

        if let Some((before, after, is_gone)) = changed.join().unwrap() {
            assert_ne!(before.interface, after.interface);
            assert!(is_gone);
        }
    }
}
