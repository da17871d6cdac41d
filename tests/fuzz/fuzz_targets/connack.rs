//! Random bytes for the reader of a CONNACK.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lb_userspace::mqtt::connack::fuzz(bytes));
