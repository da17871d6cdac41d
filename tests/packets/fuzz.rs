//! Random packets, well-formed and spoilt: the kernel half makes of each what the model makes of it.

use harness::bed::Family;
use harness::need;
use harness::prog_run::{DROP, PASS, REDIRECT, Sum};

use crate::ground::{Ends, Ground, Way};
use crate::random::Random;

const RUNS: u32 = 200_000;
/// Packets between two replacements of all connections.
const PACKETS: u32 = 50;

#[test]
fn random_packets_become_what_the_model_makes_of_them() {
    let mut ground = need!(Ground::new());
    for family in Family::BOTH {
        ground.listen(Ends::of(family).listener);
        ground.announce(Ends::of(family).down(), 0);
    }
    let mut random = Random(0x5375_6963_6521);
    let mut carried = 0;
    let mut dropped = 0;
    let mut changed = 0;
    for run in 0..RUNS {
        if run % PACKETS == 0 {
            for family in Family::BOTH {
                random.connect(&mut ground, &Ends::of(family));
            }
        }
        let (way, packet) = random.packet(&ground);
        // Nobody has summed what this host sends; a device does that later.
        let known = way == Way::In && random.one_in(2);
        let sum = if known { Sum::Complete } else { Sum::Unknown };

        let ran = ground.run(way, &packet, sum);

        carried += u32::from(ran.verdict == REDIRECT);
        dropped += u32::from(ran.verdict == DROP);
        changed += u32::from(ran.verdict == PASS && ran.bytes != packet);
    }
    ground.compare_reasons();
    for (name, count) in [
        ("carried", carried),
        ("dropped", dropped),
        ("changed and passed", changed),
    ] {
        assert!(
            count > RUNS / 100,
            "only {count} were {name}: these packets test little"
        );
    }
}
