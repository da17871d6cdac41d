//! The kernel half: what happens to a packet that arrives and to one that leaves, as verdicts.
//!
//! Off the BPF target nothing of it can run: there the crate is its arithmetic, for unit tests.

#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(internal_features, reason = "see atomic.rs")
)]

#[cfg(target_arch = "bpf")]
mod atomic;
#[cfg(any(target_arch = "bpf", test))]
mod checksum;
#[cfg(target_arch = "bpf")]
mod closing;
#[cfg(target_arch = "bpf")]
mod events;
#[cfg(target_arch = "bpf")]
mod handshake;
#[cfg(target_arch = "bpf")]
mod leaving;
#[cfg(target_arch = "bpf")]
mod listeners;
#[cfg(target_arch = "bpf")]
mod loopback;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod options;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod reasons;
#[cfg(target_arch = "bpf")]
mod reroute;
#[cfg(target_arch = "bpf")]
mod segment;
#[cfg(target_arch = "bpf")]
mod splice;
#[cfg(target_arch = "bpf")]
mod too_big;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
    use aya_ebpf::macros::classifier;
    use aya_ebpf::programs::TcContext;
    use lb_common::flow::FlowKey;
    use lb_common::reason::Reason;

    use crate::maps::FLOWS;
    use crate::segment::{ACK, Content, FIN, RST, SYN, Segment};
    use crate::{
        closing, handshake, leaving, listeners, loopback, packet, reasons, reroute, segment,
        splice, too_big,
    };

    /// Carries what belongs to a spliced connection; everything else passes.
    #[classifier]
    fn sluice_ingress(ctx: TcContext) -> i32 {
        if !packet::is_for_host(&ctx) {
            return TC_ACT_UNSPEC;
        }
        packet::gather_headers(&ctx);
        match segment::read(&ctx) {
            Content::Tcp(segment) => arrived(&ctx, &segment),
            Content::NotPlain(key) => {
                if let Some(flow) = FLOWS.get_ptr_mut(key)
                    && !closing::is_replaced(flow, false)
                {
                    reasons::count(Reason::NotPlain);
                }
                TC_ACT_UNSPEC
            }
            Content::Icmp => too_big::pass_on_v4(&ctx),
            Content::Icmpv6 => too_big::pass_on_v6(&ctx),
            Content::Other => TC_ACT_UNSPEC,
        }
    }

    #[inline(always)]
    fn arrived(ctx: &TcContext, segment: &Segment) -> i32 {
        let asks = segment.flags & (SYN | ACK) == SYN;
        if let Some(flow) = FLOWS.get_ptr_mut(segment.key)
            && !closing::is_replaced(flow, asks)
        {
            return splice::carry(ctx, segment, flow);
        }
        if asks && listeners::count_syn(ctx, segment) {
            handshake::normalise(ctx, segment, segment.key, 0);
        } else if segment.flags & (SYN | ACK) == SYN | ACK {
            handshake::answered(ctx, segment);
        }
        TC_ACT_UNSPEC
    }

    /// Looks at what this host itself sends: what an end on it says to a spliced connection, SYNs to
    /// brokers, and what ends a connection that it no longer has: a reset for want of a socket, the
    /// FIN of a daemon that died.
    #[classifier]
    fn sluice_egress(ctx: TcContext) -> i32 {
        // SAFETY: the context is valid while the program runs.
        if unsafe { (*ctx.skb.skb).ingress_ifindex } != 0 {
            return loopback::give_back(&ctx);
        }
        match segment::read(&ctx) {
            Content::Tcp(segment) => leaves(&ctx, &segment),
            Content::NotPlain(_) | Content::Icmp | Content::Icmpv6 | Content::Other => {
                TC_ACT_UNSPEC
            }
        }
    }

    #[inline(always)]
    fn leaves(ctx: &TcContext, segment: &Segment) -> i32 {
        let key = &segment.key;
        let asks = segment.flags & (SYN | ACK) == SYN;
        if loopback::has(ctx)
            && let Some(flow) = FLOWS.get_ptr_mut(key)
            && !closing::is_replaced(flow, asks)
        {
            return splice::carry(ctx, segment, flow);
        }
        let arriving = FlowKey {
            source: key.destination,
            destination: key.source,
            source_port: key.destination_port,
            destination_port: key.source_port,
        };
        if asks {
            if let Some(offer) = handshake::offer(&arriving) {
                handshake::normalise(ctx, segment, arriving, offer);
            }
        } else if segment.flags & (FIN | RST) != 0
            && let Some(flow) = FLOWS.get_ptr_mut(arriving)
            && !closing::is_replaced(flow, false)
            && !closing::was_carried(ctx, segment, flow)
            && (segment.flags & RST != 0 || !leaving::finishes(arriving, flow))
        {
            reasons::count(Reason::StrayEnd);
            return TC_ACT_SHOT;
        }
        TC_ACT_UNSPEC
    }

    /// Runs where the daemon runs it, and sees no packet of the network.
    #[classifier]
    fn sluice_reroute(ctx: TcContext) -> i32 {
        reroute::answer(&ctx)
    }

    /// The verifier proves that no panic can be reached; the language wants a handler all the same.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    /// Lets the programs call helpers that the kernel keeps for GPL-compatible ones.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "license")]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
