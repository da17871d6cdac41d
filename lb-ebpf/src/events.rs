//! Tells the daemon at once what it would otherwise have to look for.

use lb_common::event::{EVENT_BROKER_ACKNOWLEDGED, EVENT_CLIENT_ACKNOWLEDGED, Event};
use lb_common::flow::{FLAG_FROM_CLIENT, Flow, FlowKey, is_after};
use lb_common::reason::Reason;

use crate::maps::EVENTS;
use crate::reasons;

/// Notes what the sender of `flow` has acknowledged; tells when `until` is reached, once.
#[inline(always)]
pub(crate) fn acknowledge(key: &FlowKey, flow: &mut Flow, acknowledgment: u32, until: u32) {
    let before = flow.highest_acknowledgment;
    flow.highest_acknowledgment = acknowledgment;
    if is_after(until, before) && !is_after(until, acknowledgment) {
        let kind = if flow.flags & FLAG_FROM_CLIENT != 0 {
            EVENT_CLIENT_ACKNOWLEDGED
        } else {
            EVENT_BROKER_ACKNOWLEDGED
        };
        tell(kind, key, flow);
    }
}

/// Tells something of a connection; `key` is that of `flow`.
#[inline(always)]
pub(crate) fn tell(kind: u32, key: &FlowKey, flow: &Flow) {
    let Some(mut event) = EVENTS.reserve(0) else {
        reasons::count(Reason::EventLost);
        return;
    };
    let key = if flow.flags & FLAG_FROM_CLIENT != 0 {
        *key
    } else {
        FlowKey::reverse(flow)
    };
    event.write(Event {
        key,
        kind,
        session: flow.session,
        acknowledgment: flow.highest_acknowledgment,
        reserved: 0,
    });
    event.submit(0);
}
