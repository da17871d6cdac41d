"""A paho client whose events can be waited for, and the words for them."""

import queue

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5, MQTTv31, MQTTv311
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

VERSIONS = {"3.1": MQTTv31, "3.1.1": MQTTv311, "5.0": MQTTv5}
PATIENCE = 30
"""Seconds that anything may take."""


class Peer:
    """One client; leaves with a DISCONNECT at the end of its `with` block."""

    def __init__(self, address, version, client_id, *, clean=True, will=None, tls=None):
        self.host, _, port = address.rpartition(":")
        self.host, self.port = self.host.strip("[]"), int(port)
        self.version, self.clean = version, clean
        self.connacks, self.subacks, self.messages = queue.Queue(), queue.Queue(), queue.Queue()
        options = {} if version == "5.0" else {"clean_session": clean}
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=VERSIONS[version], **options
        )
        self.client.on_connect = lambda *event: self.connacks.put(event)
        self.client.on_subscribe = lambda *event: self.subacks.put(event)
        self.client.on_message = lambda *event: self.messages.put(event[2])
        if tls:
            self.client.tls_set(ca_certs=tls)
        if will:
            topic, payload = will
            self.client.will_set(topic, payload, qos=1)

    def connect(self):
        """Connects; tells whether the broker had a session."""
        options = {}
        if self.version == "5.0":
            options["clean_start"] = self.clean
            options["properties"] = Properties(PacketTypes.CONNECT)
            options["properties"].SessionExpiryInterval = 0 if self.clean else 3600
        self.client.connect(self.host, self.port, keepalive=60, **options)
        self.client.loop_start()
        _, _, flags, reason, _ = self.connacks.get(timeout=PATIENCE)
        assert not reason.is_failure, reason
        return flags.session_present

    def __enter__(self):
        self.session_present = self.connect()
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def subscribe(self, topic, qos=1):
        """Subscribes, and waits until the broker has granted the QoS."""
        self.client.subscribe(topic, qos)
        granted = self.subacks.get(timeout=PATIENCE)[3]
        assert [code.value for code in granted] == [qos], granted

    def publish(self, topic, payload, qos=1, retain=False):
        """Publishes, and waits until the QoS is fulfilled."""
        sent = self.client.publish(topic, payload, qos, retain)
        sent.wait_for_publish(PATIENCE)
        assert sent.is_published(), f"{topic} was not confirmed at QoS {qos}"

    def message(self):
        """The next message."""
        return self.messages.get(timeout=PATIENCE)

    def broker(self):
        """The name of the broker it is connected to."""
        self.subscribe("broker", qos=0)
        return self.message().payload.decode()
