//! Properties that hold for any bytes, and for CONNECTs that were tampered with.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::draft::any_draft;
use super::{accepted, decode};
use crate::mqtt::connect::{self, Decoder};

/// One way to spoil a packet.
#[derive(Debug, Clone)]
enum Spoil {
    Cut(Index),
    Insert(Index, u8),
    Remove(Index),
    Replace(Index, u8),
}

impl Spoil {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        if len == 0 {
            return;
        }
        match self {
            Self::Cut(at) => bytes.truncate(at.index(len)),
            Self::Insert(at, byte) => bytes.insert(at.index(len), *byte),
            Self::Remove(at) => {
                bytes.remove(at.index(len));
            }
            Self::Replace(at, byte) => bytes[at.index(len)] = *byte,
        }
    }
}

fn any_spoil() -> impl Strategy<Value = Spoil> {
    // Small numbers are lengths, ids and flags: they spoil more.
    let byte = || prop_oneof![any::<u8>(), 0..8_u8];
    prop_oneof![
        1 => any::<Index>().prop_map(Spoil::Cut),
        2 => (any::<Index>(), byte()).prop_map(|(at, byte)| Spoil::Insert(at, byte)),
        2 => any::<Index>().prop_map(Spoil::Remove),
        8 => (any::<Index>(), byte()).prop_map(|(at, byte)| Spoil::Replace(at, byte)),
    ]
}

/// A well-formed CONNECT, spoilt up to three times.
pub(super) fn spoilt() -> impl Strategy<Value = Vec<u8>> {
    (any_draft(), vec(any_spoil(), 0..=3)).prop_map(|(draft, spoils)| {
        let mut bytes = draft.bytes();
        for spoil in &spoils {
            spoil.apply(&mut bytes);
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn reads_what_was_written(draft in any_draft()) {
        let bytes = draft.bytes();

        let connect = accepted(&bytes);

        prop_assert_eq!(connect.bytes(), &bytes);
        prop_assert_eq!(connect.version(), draft.version);
        prop_assert_eq!(connect.clean_start(), draft.clean_start);
        prop_assert_eq!(connect.keep_alive(), draft.keep_alive);
        prop_assert_eq!(connect.client_id(), draft.client_id);
        prop_assert_eq!(connect.user_name(), draft.user_name.as_deref());
        prop_assert_eq!(connect.has_password(), draft.password.is_some());
        prop_assert_eq!(connect.has_will(), draft.will.is_some());
    }

    #[test]
    fn never_panics_on_random_bytes(bytes in vec(any::<u8>(), 0..200)) {
        connect::fuzz(&bytes);
    }

    #[test]
    fn blames_the_first_impossible_byte_of_a_spoilt_packet(bytes in spoilt()) {
        connect::fuzz(&bytes);
    }

    #[test]
    fn does_not_mind_how_the_bytes_are_cut(bytes in spoilt(), pieces in vec(1..20_usize, 1..20)) {
        let mut decoder = Decoder::new(connect::FUZZ_LIMIT);
        let mut received = BytesMut::new();
        let mut rest = bytes.as_slice();
        let mut answer = Ok(None);

        for len in pieces.iter().cycle() {
            let (piece, behind) = rest.split_at(rest.len().min(*len));
            rest = behind;
            received.extend_from_slice(piece);
            answer = decoder.decode(&mut received);
            if answer != Ok(None) || rest.is_empty() {
                break;
            }
        }

        prop_assert_eq!(answer, decode(&bytes));
    }
}
