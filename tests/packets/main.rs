//! The kernel half, packet by packet: tables of what has to become of each, and random ones.
//!
//! Every packet of every test also goes through a model of the kernel half, which has to come to the
//! same verdict, the same bytes and the same flows.

#![cfg(test)]

mod at_once;
mod carries;
mod closing;
mod fuzz;
mod ground;
mod icmp;
mod leaving;
mod lengths;
mod loopback;
mod model;
mod offers;
mod options;
mod parts;
mod progress;
mod random;
mod sack;
mod strangers;
mod sums;
mod syns;
mod too_big;
