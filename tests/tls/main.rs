//! TLS that ends in the daemon: certificates, routes by what is said in the handshake, and the bytes
//! behind it.

#![cfg(test)]

mod carries;
mod certificates;
mod hostile;
mod routed;

use harness::echo::Echo;
use harness::setup::Setup;
use harness::tls::{Authority, Issued};
use harness::wire::{Connect, Version};

/// A listener with this certificate, and `more` lines of its table; a pool with an echo.
fn setup(issued: &Issued, more: &str) -> (Setup, Echo) {
    let echo = Echo::start();
    let setup = Setup::new()
        .listener(&format!("[listeners.tls]\n{}\n{more}", issued.lines()))
        .backend("echo", echo.address);
    (setup, echo)
}

/// An authority, and what it issued to `localhost`.
fn localhost() -> (Authority, Issued) {
    let authority = Authority::new("Sluice test");
    let issued = authority.issue("localhost", &["localhost", "127.0.0.1", "::1"]);
    (authority, issued)
}

fn connect(id: &str) -> Connect {
    Connect::new(Version::V5, id)
}
