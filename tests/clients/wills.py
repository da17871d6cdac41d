"""A will is published when its client is killed, and not when it says goodbye."""

import multiprocessing
import sys
import time

from peer import PATIENCE, Peer

address, version = sys.argv[1:]
topic = f"wills/{version}"


def die_slowly(connected):
    with Peer(address, version, f"victim-{version}", will=(topic, "killed")):
        connected.set()
        time.sleep(PATIENCE)


with Peer(address, version, f"mourner-{version}") as mourner:
    mourner.subscribe(topic)

    with Peer(address, version, f"polite-{version}", will=(topic, "left")):
        pass

    connected = multiprocessing.Event()
    victim = multiprocessing.Process(target=die_slowly, args=(connected,))
    victim.start()
    assert connected.wait(PATIENCE)
    victim.kill()
    victim.join()

    # The will of the polite one would have come first.
    assert mourner.message().payload == b"killed"
    mourner.client.publish(topic, "last")
    assert mourner.message().payload == b"last"
