//! What a real RabbitMQ says of itself, and what is believed of it.

use harness::broker;
use harness::client::Client;
use harness::daemon::Daemon;
use harness::need;
use harness::rabbitmq::RabbitMq;
use harness::wire::{self, Connect, Version};
use tempfile::TempDir;

use super::checked;
use super::checks::password_file;

/// A daemon that asks its broker for the page of the preset.
fn by_preset(rabbit: &RabbitMq, user: &str, password_file: &str) -> Daemon {
    checked("rabbitmq")
        .health(&format!("port = {}", rabbit.management.port()))
        .health(&format!("user_name = {user:?}"))
        .health(&format!("password_file = {password_file:?}"))
        .backend("rabbit", rabbit.address)
        .backend("nobody", broker::refusing())
        .start()
}

#[test]
fn rabbitmq_passes_each_check_while_it_serves_and_none_when_it_is_gone() {
    let mut rabbit = need!(RabbitMq::start());
    let directory = TempDir::new().expect("there is room");
    let [user, password] = RabbitMq::USER;
    let file = password_file(&directory, "wrong");

    // Its page is for those it knows.
    let preset = by_preset(&rabbit, user, &file);
    preset.until_backend_is("rabbit", "down");
    let trouble = preset.backend("rabbit")["trouble"].clone();
    assert_eq!(trouble, "answered with status 401");
    password_file(&directory, password);
    preset.until_backend_is("rabbit", "up");
    // There the page says that nobody listens, so the path does matter.
    let mute = checked("rabbitmq")
        .health(&format!("port = {}", rabbit.management.port()))
        .health(&format!("user_name = {user:?}"))
        .health(&format!("password_file = {file:?}"))
        .health(r#"path = "/api/health/checks/protocol-listener/mqtts""#)
        .backend("rabbit", rabbit.address)
        .start();
    mute.until_backend_is("rabbit", "down");
    let trouble = mute.backend("rabbit")["trouble"].clone();
    assert_eq!(trouble, "answered with status 503");

    let mqtt = checked("mqtt")
        .backend("rabbit", rabbit.address)
        .backend("nobody", broker::refusing())
        .start();
    mqtt.until_backend_is("nobody", "down");
    for daemon in [&preset, &mqtt] {
        assert_eq!(daemon.backend("rabbit")["state"], "up");
        let mut client = Client::open(daemon.address(), &Connect::new(Version::V3_1_1, "hare"));
        client.send(&wire::subscribe(Version::V3_1_1, "burrow"));
        assert_eq!(client.packet()[0], wire::SUBACK);
        let publish = wire::publish(Version::V3_1_1, "burrow", b"a carrot");
        client.send(&publish);
        assert_eq!(client.packet(), publish);
    }

    rabbit.kill();
    for daemon in [&preset, &mqtt] {
        daemon.until_backend_is("rabbit", "down");
    }
}
