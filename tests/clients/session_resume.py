"""Resumes a persistent session: what came meanwhile is there, without subscribing again."""

import sys

from peer import Peer

address, version, client_id, *expected = sys.argv[1:]

with Peer(address, version, client_id, clean=False) as peer:
    # MQTT 3.1 has no such flag.
    assert peer.session_present or version == "3.1", "the broker knows no session of this client"
    received = [peer.message().payload.decode() for _ in expected]
    assert received == expected, received
    print(peer.broker())
