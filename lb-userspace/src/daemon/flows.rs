//! The connections in the kernel, for `sluice flows`.

use std::collections::HashMap;
use std::time::Duration;

use lb_common::client::{ClientBinding, ClientKey};
use lb_common::flow::{Flow, FlowKey, STATE_CLOSED, STATE_FIN, STATE_PEER_FIN};
use lb_common::text;

use crate::control::flows::{Direction, Filter, Row, State};
use crate::kernel::flows::{flow_addresses, now};
use crate::kernel::tables::Tables;
use crate::session::World;

pub(super) fn rows(world: &World, tables: &Tables, filter: &Filter) -> Vec<Row> {
    let now = now();
    let ids: HashMap<u64, String> = tables.clients().map(id_of_session).collect();
    let spliced: Vec<(FlowKey, Flow)> = tables.spliced().collect();
    spliced
        .iter()
        .filter_map(|(key, up)| {
            let down = tables.flow(&FlowKey::reverse(up))?;
            let is_leaving = tables.is_leaving(key);
            Some(row(up, &down, is_leaving, &ids, world, now))
        })
        .filter(|row| filter.admits(row))
        .collect()
}

fn id_of_session((key, binding): (ClientKey, ClientBinding)) -> (u64, String) {
    let bytes: Vec<u8> = text::bytes(&key.id).collect();
    (
        binding.session,
        String::from_utf8_lossy(&bytes).into_owned(),
    )
}

fn row(
    up: &Flow,
    down: &Flow,
    is_leaving: bool,
    ids: &HashMap<u64, String>,
    world: &World,
    now: Duration,
) -> Row {
    let [source, broker] = flow_addresses(up);
    let [listener, client] = flow_addresses(down);
    Row {
        session: up.session,
        client_id: ids.get(&up.session).cloned(),
        client,
        listener,
        backend: world
            .backends
            .by_number(up.backend)
            .map(|backend| backend.name.clone()),
        broker,
        source,
        state: state(up.state | down.state, is_leaving),
        idle_limit: up.idle_seconds,
        from_client: direction(up, now),
        from_broker: direction(down, now),
    }
}

fn state(bits: u32, is_leaving: bool) -> State {
    if bits & STATE_CLOSED != 0 {
        State::Closed
    } else if is_leaving {
        State::Leaving
    } else if bits & (STATE_FIN | STATE_PEER_FIN) != 0 {
        State::HalfClosed
    } else {
        State::Open
    }
}

fn direction(flow: &Flow, now: Duration) -> Direction {
    Direction {
        packets: flow.packets,
        bytes: flow.bytes,
        silent_for: now
            .saturating_sub(Duration::from_nanos(flow.last_seen))
            .as_secs(),
    }
}
