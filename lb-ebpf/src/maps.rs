//! The maps that the daemon pins; those the kernel half does not read are here for their BTF.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use lb_common::about::About;
use lb_common::backend::BackendRecord;
use lb_common::client::{ClientBinding, ClientKey};
use lb_common::event::Event;
use lb_common::flow::{Flow, FlowKey, Handshake, Leaving};
use lb_common::listener::{ListenerKey, ListenerRecord};
use lb_common::maps::{
    BACKENDS_CAPACITY, EVENTS_BYTES, HANDSHAKES_CAPACITY, LEAVING_CAPACITY, LISTENERS_CAPACITY,
};
use lb_common::reason::Reason;
use lb_common::sticky::{StickyKey, StickyRecord};

/// Takes memory as it fills.
const GROWS: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
pub(crate) static ABOUT: Array<About, 1> = Array::new();

#[btf_map]
pub(crate) static BACKENDS: HashMap<u32, BackendRecord, { BACKENDS_CAPACITY as usize }, GROWS> =
    HashMap::new();

/// The configuration sets the size when it is made.
#[btf_map]
pub(crate) static CLIENTS: HashMap<ClientKey, ClientBinding, 1, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static LISTENERS: HashMap<
    ListenerKey,
    ListenerRecord,
    { LISTENERS_CAPACITY as usize },
    GROWS,
> = HashMap::new();

/// The configuration sets the size when it is made.
#[btf_map]
pub(crate) static FLOWS: HashMap<FlowKey, Flow, 1, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static REASONS: PerCpuArray<u64, { Reason::COUNT }> = PerCpuArray::new();

#[btf_map]
pub(crate) static LEAVING: HashMap<FlowKey, Leaving, { LEAVING_CAPACITY as usize }, GROWS> =
    HashMap::new();

/// Connections that could be spliced, by the key that the flow from their peer would have.
#[btf_map]
pub(crate) static HANDSHAKES: LruHashMap<FlowKey, Handshake, { HANDSHAKES_CAPACITY as usize }> =
    LruHashMap::new();

/// What the daemon is told at once.
#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, { EVENTS_BYTES as usize }> = RingBuf::new();

/// The configuration sets the size when it is made.
#[btf_map]
pub(crate) static STICKY: HashMap<StickyKey, StickyRecord, 1, GROWS> = HashMap::new();
