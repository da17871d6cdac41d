"""Publishes through the balancer at every QoS; what arrives must be what was sent, once."""

import hashlib
import sys

from peer import Peer

address, version, *authority = sys.argv[1:]
name = f"delivery-{version}"
large = hashlib.shake_256(b"large").digest(100_000)

tls = authority[0] if authority else None

with (
    Peer(address, version, f"{name}-sub", tls=tls) as subscriber,
    Peer(address, version, f"{name}-pub", tls=tls) as publisher,
):
    for qos in (0, 1, 2):
        topic = f"{name}/{qos}"
        subscriber.subscribe(topic, qos)
        for payload in (b"", b"small", large):
            publisher.publish(topic, payload, qos)
            message = subscriber.message()
            assert (message.topic, message.qos, message.payload) == (topic, qos, payload)

    publisher.publish(f"{name}/kept", "retained", retain=True)
    subscriber.subscribe(f"{name}/kept")
    message = subscriber.message()
    assert (message.payload, message.retain) == (b"retained", True)
    publisher.publish(f"{name}/kept", "", retain=True)
    assert not subscriber.message().retain
    assert subscriber.messages.empty()
