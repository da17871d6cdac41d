//! How connections travel, and what was counted on the way.

use lb_common::reason::Reason as PacketReason;

use crate::control::status::{Bytes, Chosen, Counted, Sockmap, Splice, Sticky};
use crate::kernel::sweep::Ended;
use crate::relay::Because as PathBecause;
use crate::session::World;

pub(super) fn choices(world: &World) -> Vec<Chosen> {
    let chosen = |(because, count): (PathBecause, u64)| Chosen {
        path: because.path().label().to_owned(),
        because: because.label().to_owned(),
        count,
    };
    world.choices.each().map(chosen).collect()
}

pub(super) fn sticky(world: &World) -> Sticky {
    let memory = &world.memory;
    Sticky {
        entries: memory.entries(),
        followed: memory.followed.value(),
        learned: memory.learned.value(),
        held: memory.held.value(),
        full: memory.full.value(),
    }
}

pub(super) fn splice(world: &World) -> Option<Splice> {
    let splicer = world.splicer.as_ref()?;
    Some(Splice {
        left: splicer.left.value(),
        aborted: splicer.aborted.value(),
        ended: counted(splicer.ended.each(), Ended::label),
        packets: world
            .registry
            .with_tables(|tables| counted(tables.reasons(), PacketReason::label))
            .unwrap_or_default(),
    })
}

pub(super) fn sockmap(world: &World) -> Option<Sockmap> {
    let sockmap = world.sockmap.as_ref()?;
    Some(Sockmap {
        connections: sockmap.connections.value(),
        moved: Bytes {
            from_clients: world.moved.from_client.value(),
            from_brokers: world.moved.from_broker.value(),
            idle: world.moved.idle.value(),
        },
        held_back: sockmap.held_back.value(),
        aborted: sockmap.aborted.value(),
    })
}

pub(super) fn counted<R: Copy>(
    each: impl Iterator<Item = (R, u64)>,
    label: impl Fn(R) -> &'static str,
) -> Vec<Counted> {
    each.map(|(reason, count)| Counted {
        reason: label(reason).to_owned(),
        count,
    })
    .collect()
}
