//! The tables of connections that the kernel carries.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;

use lb_common::address::mapped;
use lb_common::flow::{BrokerKey, FLAG_FROM_CLIENT, Flow, FlowKey, Handshake, Leaving};
use lb_common::maps::{BROKERS, FLOWS, HANDSHAKES, LEAVING};
use lb_common::reason::Reason;

use super::super::flows::{Pair, flow_addresses};
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
        self.handshakes
            .insert(key, handshake, 0)
            .map_err(of(HANDSHAKES))
    }

    /// What the kernel half saw of the handshake of a leg, with just these addresses.
    pub fn take_handshake(&mut self, key: &FlowKey) -> Option<Handshake> {
        let handshake = self.handshakes.get(key, 0).ok()?;
        // Nobody else needs to know.
        self.handshakes.remove(key).ok()?;
        // Announced, but its SYN did not pass here.
        (handshake.since != 0).then_some(handshake)
    }

    /// Takes an ended connection out of the place that another of the same client is to have; gives
    /// its flows, that from the client first.
    pub fn make_room(&mut self, key: &FlowKey) -> Option<(Flow, Option<Flow>)> {
        let up = self.flow(key)?;
        let keys = [*key, FlowKey::reverse(&up)];
        let down = self.flow(&keys[1]);
        self.unsplice(&keys);
        Some((up, down))
    }

    /// Puts a connection into the kernel; none of it is there after an error.
    ///
    /// # Errors
    ///
    /// A table is full, or what else the kernel says.
    pub fn splice(&mut self, pair: &Pair, until: [u32; 2]) -> Result<(), TableError> {
        let Pair {
            from_client,
            from_broker,
        } = pair;
        let put = |tables: &mut Self| {
            tables.set_leaving(&from_client.0, until[0], LastWord::Data)?;
            tables.set_leaving(&from_broker.0, until[1], LastWord::Data)?;
            tables
                .flows
                .insert(from_broker.0, from_broker.1, 0)
                .map_err(of(FLOWS))?;
            tables
                .flows
                .insert(from_client.0, from_client.1, 0)
                .map_err(of(FLOWS))
        };
        put(self).inspect_err(|_| self.unsplice(&[from_client.0, from_broker.0]))
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
        for key in keys {
            // A key that is not there is as good as one that was removed.
            drop(self.leaving.remove(key));
        }
    }

    /// Takes a connection out of the kernel.
    pub fn unsplice(&mut self, keys: &[FlowKey; 2]) {
        for key in keys {
            drop(self.flows.remove(key));
        }
        self.left(keys);
    }

    /// Takes a connection out of the kernel, unless another has taken its place.
    pub fn unsplice_session(&mut self, keys: &[FlowKey; 2], session: u64) -> bool {
        let is_it = self
            .flow(&keys[0])
            .is_some_and(|flow| flow.session == session);
        if is_it {
            self.unsplice(keys);
        }
        is_it
    }

    /// What the kernel knows of one direction.
    pub fn flow(&self, key: &FlowKey) -> Option<Flow> {
        self.flows.get(key, 0).ok()
    }

    /// Every connection in the kernel, by its flow from the client.
    pub fn spliced(&self) -> impl Iterator<Item = (FlowKey, Flow)> {
        sys::Entries::<FlowKey, Flow>::of(self.whole[1].fd().as_fd())
            .filter(|(_, flow)| flow.flags & FLAG_FROM_CLIENT != 0)
    }

    /// Whether the daemon still has, or had when it died, sockets of this connection.
    pub fn is_leaving(&self, key: &FlowKey) -> bool {
        self.leaving.get(key, 0).is_ok()
    }

    /// Lets the kernel half know where SYNs of this daemon go.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn add_brokers(&mut self, addresses: &[SocketAddr]) -> Result<(), TableError> {
        for key in addresses.iter().map(broker_key) {
            self.brokers.insert(key, 1, 0).map_err(of(BROKERS))?;
        }
        Ok(())
    }

    /// Nobody is dialled anywhere else.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn forget_brokers_except(&mut self, addresses: &[SocketAddr]) -> Result<(), TableError> {
        let wanted: HashSet<BrokerKey> = addresses.iter().map(broker_key).collect();
        let there: Vec<BrokerKey> = self.brokers.keys().filter_map(Result::ok).collect();
        for key in there.iter().filter(|key| !wanted.contains(key)) {
            self.brokers.remove(key).map_err(of(BROKERS))?;
        }
        Ok(())
    }

    /// Addresses of brokers that connections in the kernel lead to.
    pub fn live_brokers(&self) -> HashSet<SocketAddr> {
        self.spliced()
            .map(|(_, flow)| flow_addresses(&flow)[1])
            .collect()
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

fn broker_key(address: &SocketAddr) -> BrokerKey {
    BrokerKey {
        address: mapped(address.ip()),
        port: address.port().into(),
    }
}
