"""Publishes messages at QoS 1 and confirms them."""

import sys

from peer import Peer

address, version, client_id, topic, *messages = sys.argv[1:]

with Peer(address, version, client_id) as peer:
    for message in messages:
        peer.publish(topic, message)
