//! What the tests of Sluice share: the daemon as a process, real brokers and clients, stand-ins
//! for what must fail, and the kernel as bpftool shows it.
//!
//! Everything a test starts or makes is removed when its value is dropped, also by a panic. A test
//! that needs something this machine lacks says so with [`need!`] and is skipped.

pub mod bad_wire;
pub mod bed;
pub mod binary;
pub mod bpftool;
pub mod broker;
pub mod client;
pub mod daemon;
pub mod demo;
pub mod departures;
pub mod echo;
pub mod ends;
pub mod forge;
pub mod frame;
pub mod haproxy;
pub mod kernel_half;
pub mod meeting;
pub mod mosquitto;
pub mod mounts;
pub mod namespace;
pub mod paho;
pub mod ports;
pub mod process;
pub mod prog_run;
pub mod rabbitmq;
pub mod service;
pub mod setup;
pub mod shape;
pub mod skip;
pub mod sockets;
pub mod storm;
pub mod stream;
pub mod talk;
pub mod tls;
pub mod wait;
pub mod wire;
