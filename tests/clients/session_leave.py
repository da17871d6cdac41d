"""Leaves a persistent session with a subscription behind; prints the broker it is on."""

import sys

from peer import Peer

address, version, client_id = sys.argv[1:]

with Peer(address, version, client_id, clean=False) as peer:
    assert not peer.session_present
    peer.subscribe(f"inbox/{client_id}")
    print(peer.broker())
