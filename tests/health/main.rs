//! Brokers that come and go, half and whole, and what is believed of them.

#![cfg(test)]

mod checks;
mod clients;
mod dead;
mod names;
mod pages;
mod rabbitmq;

use harness::setup::Setup;

/// Checks that follow each other so fast that a test need not wait.
fn checked(check: &str) -> Setup {
    Setup::new()
        .health(&format!("check = {check:?}"))
        .health(r#"interval = "50ms""#)
        .health(r#"fast_interval = "20ms""#)
        .pool(r#"balance = "round_robin""#)
}
