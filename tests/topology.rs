//! Client, balancer and broker on hosts of their own, with packets that cross real interfaces.

#![cfg(test)]

use std::net::SocketAddr;

use harness::bpftool::Pins;
use harness::broker::{self, Broker};
use harness::client::Client;
use harness::namespace::{BALANCER, BROKER, Topology};
use harness::need;
use harness::setup::Setup;
use harness::wire::{self, Connect, Version};
use serde_json::json;

const PORT: u16 = 1883;

fn at_port(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("it is an address"), PORT)
}

/// Accepts every client, and sends back the first packet behind the CONNECT.
fn start_broker(address: SocketAddr) -> Broker {
    Broker::start_at(address, |mut stream| {
        broker::accept(&mut stream);
        if let Ok(packet) = wire::read_packet(&mut stream) {
            std::io::Write::write_all(&mut stream, &packet).expect("the daemon reads");
        }
    })
}

#[test]
fn clients_of_both_families_are_served_counted_and_listed() {
    let topology = need!(Topology::new());
    let pins = need!(Pins::new());
    let brokers = topology
        .broker
        .run(|| BROKER.map(|ip| start_broker(at_port(ip))));
    let setup = Setup::new()
        .bind(&["0.0.0.0", "::"].map(at_port))
        .backend("v4", brokers[0].address())
        .backend("v6", brokers[1].address())
        .pool(r#"balance = "round_robin""#)
        .with_kernel(pins)
        .kernel(r#"interfaces = ["clients"]"#);
    let daemon = topology.balancer.run(|| setup.start());

    topology.client.run(|| {
        let [v4, v6] = BALANCER;
        // The brokers take turns: each family of clients meets each family of brokers.
        for (n, ip) in [v4, v6, v6, v4].into_iter().enumerate() {
            let id = format!("far-{n}");
            let mut client = Client::open(at_port(ip), &Connect::new(Version::V5, &id));
            let message = wire::publish(Version::V5, "there/and/back", id.as_bytes());
            client.send(&message);

            assert_eq!(client.packet(), message);
            let address = client.0.local_addr().expect("it is connected").ip();
            let mapped = match address {
                std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                std::net::IpAddr::V6(ip) => ip,
            };
            assert_eq!(setup.pins().client(&id)["address"], json!(mapped.octets()));
        }
    });

    assert_eq!(daemon.backend_sum("opened"), 4);
    let counted = setup.pins().dump("LISTENERS");
    let syns: Vec<_> = counted
        .iter()
        .map(|listener| listener.value["syns"].clone())
        .collect();
    assert_eq!(syns, [2, 2], "two for each family");
    assert_eq!(daemon.status()["listeners"][0]["accepted"], 4);
    assert_eq!(
        setup.pins().list()[..2],
        ["links/clients-egress", "links/clients-ingress"]
    );
}
