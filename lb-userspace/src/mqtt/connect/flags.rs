//! The connect flags: one byte that tells what the payload holds.

use crate::mqtt::Version;
use crate::mqtt::malformed::What;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    pub(super) const CLEAN_START: u8 = 0x02;
    pub(super) const WILL: u8 = 0x04;
    pub(super) const PASSWORD: u8 = 0x40;
    pub(super) const USER_NAME: u8 = 0x80;

    const RESERVED: u8 = 0x01;
    const WILL_QOS: u8 = 0x18;
    const WILL_RETAIN: u8 = 0x20;

    pub(super) const fn new(byte: u8) -> Self {
        Self(byte)
    }

    /// Whether one of the bits in `mask` is set.
    pub(super) const fn has(self, mask: u8) -> bool {
        self.0 & mask != 0
    }

    /// The first rule that these flags break.
    pub(super) fn flaw(self, version: Version) -> Option<What> {
        // 3.1 disregards the reserved bit, and QoS and retain where there is no will.
        let is_strict = version != Version::V3_1;

        // [MQTT-3.1.2-3]
        if is_strict && self.has(Self::RESERVED) {
            return Some(What::ReservedFlag);
        }
        // [MQTT-3.1.2-14]
        if self.has(Self::WILL) && self.0 & Self::WILL_QOS == Self::WILL_QOS {
            return Some(What::WillQos);
        }
        // [MQTT-3.1.2-13] [MQTT-3.1.2-15]
        if is_strict && !self.has(Self::WILL) && self.has(Self::WILL_QOS | Self::WILL_RETAIN) {
            return Some(What::WillFlags);
        }
        // [MQTT-3.1.2-22]
        if version != Version::V5 && self.has(Self::PASSWORD) && !self.has(Self::USER_NAME) {
            return Some(What::PasswordAlone);
        }
        None
    }
}
