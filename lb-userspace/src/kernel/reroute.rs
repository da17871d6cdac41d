//! Connections in the kernel whose packets are to leave by another interface than they were given.
//!
//! A flow keeps the index of an interface. If that is made anew, or the route moves to another one, it
//! leads nowhere. So when routes, addresses, rules or interfaces change, every receiver's way is
//! looked up, once for each pair of addresses.

use std::collections::HashMap;
use std::io;

use aya::TestRunOptions;
use aya::programs::{SchedClassifier, TestRun as _};
use lb_common::flow::{Flow, FlowKey, Reroute};
use socket2::Socket;

use super::flows::flow_addresses;
use super::netlink::{self, NETLINK_ROUTE};
use super::route;

/// Bits of `linux/rtnetlink.h`: interfaces; addresses, routes and rules of IPv4, and of IPv6.
const CHANGES: u32 = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x4_0000;

/// Looks after a change. A connection may have been on its way into the kernel during the first, with
/// the interface that it found before.
const LOOKS: u8 = 2;

const ETHERNET_BYTES: usize = 14;

/// Notices that ways may have changed.
#[derive(Debug)]
pub(super) struct Watch {
    socket: Socket,
    looks_due: u8,
}

impl Watch {
    /// Begins with a look: ways may have changed while no daemon ran.
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self {
            socket: netlink::subscribe(NETLINK_ROUTE, CHANGES)?,
            looks_due: LOOKS,
        })
    }

    /// Whether it is time for a look.
    pub(super) fn is_due(&mut self) -> bool {
        if netlink::take_news(&self.socket) {
            self.looks_due = LOOKS;
        }
        let is_due = self.looks_due > 0;
        self.looks_due = self.looks_due.saturating_sub(1);
        is_due
    }
}

/// One look at all flows.
#[derive(Debug)]
pub struct Look<'a> {
    program: &'a SchedClassifier,
    /// The interface that leads from one address to another.
    ways: HashMap<[[u8; 16]; 2], Option<u32>>,
    /// Flows that got another interface.
    pub moved: u64,
}

impl<'a> Look<'a> {
    pub(super) fn new(program: &'a SchedClassifier) -> Self {
        Self {
            program,
            ways: HashMap::new(),
            moved: 0,
        }
    }

    /// Gives a flow the interface that leads to its receiver, where there is another one.
    pub fn at(&mut self, key: &FlowKey, flow: &Flow) {
        let way = self.ways.entry([flow.source, flow.destination]);
        let Some(interface) = *way.or_insert_with(|| interface(flow)) else {
            return;
        };
        if interface == flow.interface {
            return;
        }
        let change = Reroute {
            key: *key,
            interface,
            session: flow.session,
        };
        self.moved += u64::from(is_done(self.program, &change));
    }
}

fn interface(flow: &Flow) -> Option<u32> {
    let [source, destination] = flow_addresses(flow).map(|address| address.ip());
    let way = route::to(destination, Some(source)).ok()?;
    way.is_open.then_some(way.interface)
}

fn is_done(program: &SchedClassifier, change: &Reroute) -> bool {
    /// `TC_ACT_OK`: there was such a flow.
    const DONE: u32 = 0;
    let packet = [[0; ETHERNET_BYTES].as_slice(), &change.bytes()].concat();
    let answer = program.test_run(TestRunOptions {
        data_in: Some(&packet),
        ..TestRunOptions::new()
    });
    match answer {
        Ok(answer) => answer.return_value == DONE,
        Err(error) => {
            tracing::warn!(%error, "a connection keeps an interface that leads nowhere");
            false
        }
    }
}
