//! How the bytes of an established connection travel.

pub mod copy;
