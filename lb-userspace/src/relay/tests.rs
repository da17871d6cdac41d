//! Every fact, and the path it leads to.

use lb_common::client::Path;

use super::{Able, Because, Choice, Facts, choose};
use crate::config::DataPath;
use crate::kernel::leg::Agreed;

const ABLE: Able = Able {
    splice: true,
    sockmap: true,
};

const LEG: Agreed = Agreed {
    is_open: true,
    timestamps: false,
    sack: true,
    ecn: false,
    peer_scale: 7,
    our_scale: 7,
    send_mss: 1460,
    path_mtu: 1500,
    announced_mss: 1460,
};

const ELIGIBLE: Facts = Facts {
    accepted: true,
    same_family: true,
    reachable: [true, true],
    port: true,
    seen: true,
    client: LEG,
    broker: LEG,
    broker_takes: 1460,
};

#[test]
fn splices_what_is_eligible() {
    let splice = Choice {
        path: Path::Splice,
        because: Because::Best,
    };

    assert_eq!(choose(DataPath::Auto, ABLE, &ELIGIBLE), splice);
    assert_eq!(choose(DataPath::Splice, ABLE, &ELIGIBLE), splice);
}

fn refused(change: impl FnOnce(&mut Facts)) -> Because {
    let mut facts = ELIGIBLE;
    change(&mut facts);
    let Choice { path, because } = choose(DataPath::Auto, ABLE, &facts);
    assert_eq!(path, Path::Copy);
    because
}

#[test]
fn does_what_is_wished_where_that_is_possible() {
    use DataPath::{Auto, Copy, Sockmap, Splice};

    let local = Facts {
        same_family: false,
        reachable: [true, false],
        port: false,
        seen: false,
        ..ELIGIBLE
    };
    let refused = Facts {
        accepted: false,
        ..local
    };
    let mut closing = local;
    closing.broker.is_open = false;
    let nothing = Able {
        splice: false,
        sockmap: false,
    };
    let splice_only = Able {
        splice: true,
        ..nothing
    };

    for (wish, able, facts, because) in [
        (Copy, ABLE, ELIGIBLE, Because::Wish),
        (Sockmap, ABLE, ELIGIBLE, Because::SockmapWish),
        (Sockmap, ABLE, local, Because::SockmapWish),
        (Sockmap, ABLE, refused, Because::Refused),
        (Sockmap, ABLE, closing, Because::Closing),
        (Sockmap, splice_only, ELIGIBLE, Because::NoSockmap),
        (Auto, nothing, ELIGIBLE, Because::Kernel),
        (Splice, nothing, ELIGIBLE, Because::Kernel),
        (Splice, ABLE, refused, Because::Refused),
    ] {
        let path = if because == Because::SockmapWish {
            Path::Sockmap
        } else {
            Path::Copy
        };
        assert_eq!(choose(wish, able, &facts), Choice { path, because });
    }
}

#[test]
fn copies_what_is_not_eligible_and_says_why() {
    assert_eq!(refused(|f| f.accepted = false), Because::Refused);
    assert_eq!(refused(|f| f.same_family = false), Because::Families);
    assert_eq!(refused(|f| f.reachable[0] = false), Because::Vrf);
    assert_eq!(refused(|f| f.reachable[1] = false), Because::Vrf);
    assert_eq!(refused(|f| f.port = false), Because::Port);
    assert_eq!(refused(|f| f.seen = false), Because::Unseen);
    assert_eq!(refused(|f| f.client.is_open = false), Because::Closing);
    assert_eq!(refused(|f| f.broker.timestamps = true), Because::Timestamps);
    assert_eq!(refused(|f| f.client.ecn = true), Because::Ecn);
    assert_eq!(refused(|f| f.broker_takes = 1400), Because::Mss);
    assert_eq!(refused(|f| f.client.send_mss = 536), Because::Mss);
}

#[test]
fn names_the_first_reason_only() {
    let because = refused(|f| {
        f.port = false;
        f.reachable[1] = false;
    });

    assert_eq!(because, Because::Vrf);
}
