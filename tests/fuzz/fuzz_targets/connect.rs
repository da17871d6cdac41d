//! Random bytes for the reader of a CONNECT.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lb_userspace::mqtt::connect::fuzz(bytes));
