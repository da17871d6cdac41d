//! The tables of connections that the kernel carries.

use std::os::fd::AsFd as _;

use lb_common::client::ClientKey;
use lb_common::flow::{FLAG_FROM_CLIENT, Flow, FlowKey, Handshake, Leaving};
use lb_common::maps::{FLOWS, LEAVING};
use lb_common::reason::Reason;

use super::super::flows::Pair;
use super::{TableError, Tables, of};
use crate::sys;

/// What a socket of the daemon sends last on a leg that it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastWord {
    Data,
    Fin,
}

impl Tables {
    /// Says what the SYN to a broker may offer that is about to be sent; `key` is the one under which
    /// the broker's segments will arrive.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn announce(&mut self, key: &FlowKey, offer: u32) -> Result<(), TableError> {
        let handshake = Handshake {
            since: 0,
            mss: 0,
            offer,
        };
        sys::map::insert(self.files.handshakes.fd().as_fd(), &[*key], &[handshake])
            .map_err(TableError::Handshakes)
    }

    /// What the kernel half saw of the handshake of a leg, with just these addresses; nobody else needs
    /// to know.
    pub fn take_handshake(&self, key: &FlowKey) -> Option<Handshake> {
        sys::map::take(self.files.handshakes.fd().as_fd(), key)
            .ok()?
            // Announced, but its SYN did not pass here.
            .filter(|handshake: &Handshake| handshake.since != 0)
    }

    /// Puts a connection into the kernel; none of it is there after an error.
    ///
    /// # Errors
    ///
    /// A table is full, or what else the kernel says.
    pub fn splice(&mut self, pair: &Pair, until: [u32; 2]) -> Result<(), TableError> {
        let keys = [pair.from_client.0, pair.from_broker.0];
        let leaving = until.map(|until| Leaving {
            until,
            may_finish: 0,
        });
        sys::map::insert(self.files.leaving.fd().as_fd(), &keys, &leaving)
            .map_err(TableError::Leaving)
            .and_then(|()| self.put_both(pair))
            .inspect_err(|_| self.left(&keys))
    }

    /// The flow from the broker first: an answer must find its way when the client's next word does.
    fn put_both(&mut self, pair: &Pair) -> Result<(), TableError> {
        self.put(&pair.from_broker)?;
        if self.put(&pair.from_client).is_ok() {
            return Ok(());
        }
        // The client may have had another connection from the same port.
        self.make_room(&pair.from_client.0);
        self.put(&pair.from_client)
            .inspect_err(|_| drop(self.flows.remove(&pair.from_broker.0)))
    }

    /// Adds a flow, in nobody's place.
    fn put(&mut self, (key, flow): &(FlowKey, Flow)) -> Result<(), TableError> {
        const NO_EXIST: u64 = 1;
        self.flows.insert(key, flow, NO_EXIST).map_err(of(FLOWS))
    }

    /// Takes an ended connection out of the place that another of the same client is to have.
    fn make_room(&mut self, key: &FlowKey) {
        let Some(up) = self.flow(key) else {
            return;
        };
        let reverse = FlowKey::reverse(&up);
        let down = self.flow(&reverse);
        self.forget(&[*key, reverse], &up, down.as_ref());
        drop(self.leaving.remove(&reverse));
        self.replaced.push((*key, up, down));
    }

    /// Flows of ended connections that made room for others, that from the client first and with its
    /// key; what they held is to be given back.
    pub fn take_replaced(&mut self) -> Vec<(FlowKey, Flow, Option<Flow>)> {
        std::mem::take(&mut self.replaced)
    }

    /// Leaves acknowledgments from `key` up to `until` to the daemon's socket.
    ///
    /// # Errors
    ///
    /// The table is full, or what else the kernel says.
    pub fn set_leaving(
        &mut self,
        key: &FlowKey,
        until: u32,
        last: LastWord,
    ) -> Result<(), TableError> {
        let may_finish = u32::from(last == LastWord::Fin);
        let leaving = Leaving { until, may_finish };
        self.leaving.insert(key, leaving, 0).map_err(of(LEAVING))
    }

    /// The daemon has no socket on these legs any more.
    pub fn left(&mut self, keys: &[FlowKey; 2]) {
        if sys::map::remove(self.files.leaving.fd().as_fd(), keys).is_err() {
            for key in keys {
                // A key that is not there is as good as one that was removed.
                drop(self.leaving.remove(key));
            }
        }
    }

    /// Takes a connection out of the kernel that did not get there whole; others with the same
    /// addresses stay.
    pub fn unsplice(&mut self, keys: &[FlowKey; 2], session: u64) {
        for key in keys {
            if self.flow(key).is_some_and(|flow| flow.session == session) {
                drop(self.flows.remove(key));
                drop(self.leaving.remove(key));
            }
        }
    }

    fn remove(&mut self, keys: &[FlowKey; 2]) {
        if sys::map::remove(self.files.flows.fd().as_fd(), keys).is_err() {
            for key in keys {
                drop(self.flows.remove(key));
            }
        }
    }

    /// Takes a connection that is not leaving out of the kernel, and its client off the list, unless
    /// another has taken its place.
    pub fn unsplice_session(&mut self, keys: &[FlowKey; 2], session: u64) -> bool {
        let Some(up) = self.flow(&keys[0]).filter(|up| up.session == session) else {
            return false;
        };
        let down = self.flow(&keys[1]);
        self.forget(keys, &up, down.as_ref());
        true
    }

    /// Takes a connection that is not leaving out of the kernel, and its client off the list.
    pub fn forget(&mut self, keys: &[FlowKey; 2], up: &Flow, down: Option<&Flow>) {
        self.remove(keys);
        if let Some(down) = down {
            let client = ClientKey::from_halves(&[up.client_half, down.client_half]);
            self.unbind(&client, up.session);
        }
    }

    /// What the kernel knows of one direction.
    pub fn flow(&self, key: &FlowKey) -> Option<Flow> {
        self.flows.get(key, 0).ok()
    }

    /// Every connection in the kernel, by its flow from the client.
    pub fn spliced(&self) -> impl Iterator<Item = (FlowKey, Flow)> {
        self.directions()
            .filter(|(_, flow)| flow.flags & FLAG_FROM_CLIENT != 0)
    }

    /// Both flows of every connection in the kernel.
    pub fn directions(&self) -> impl Iterator<Item = (FlowKey, Flow)> {
        sys::Entries::<FlowKey, Flow>::of(self.files.flows.fd().as_fd())
    }

    /// Whether the daemon still has, or had when it died, sockets of this connection.
    pub fn is_leaving(&self, key: &FlowKey) -> bool {
        self.leaving.get(key, 0).is_ok()
    }

    /// What the kernel half did and why, since it was pinned.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().map(|reason| {
            let each = self.reasons.get(&(reason as u32), 0);
            (reason, each.map_or(0, |each| each.iter().sum()))
        })
    }

    /// Forgets which sockets a daemon had when it died.
    pub fn forget_leaving(&mut self) {
        let keys: Vec<FlowKey> = self.leaving.keys().filter_map(Result::ok).collect();
        for key in keys {
            drop(self.leaving.remove(&key));
        }
    }
}
