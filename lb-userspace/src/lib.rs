//! Sluice: an MQTT load balancer. It reads one CONNECT, chooses a broker and gets out of the way.
//!
//! Modules stand in the order of their layers; each may use those before it, none after it
//! (`cargo xtask layers` checks). For reading: `session`, `mqtt::connect`, `balance`, `relay`,
//! `relay::copy`, `relay::splice`, `registry`, `kernel`, `daemon`.

#![deny(unsafe_code)]

pub mod config;

// Protocols: no I/O, no clock, no tokio.
pub mod balance;
pub mod mqtt;
pub mod proxy;
pub mod route;

// State.
pub mod admission;
pub mod counters;
pub mod drain;
pub mod evict;
pub mod upstream;

// The kernel and what is written there.
mod sys;

pub mod kernel;
pub mod registry;
pub mod sticky;

// Transport.
pub mod dial;
pub mod listen;
pub mod relay;
pub mod stream;

// The spine.
pub mod session;

pub mod health;

// The office.
pub mod control;

pub mod daemon;

pub mod cli;
