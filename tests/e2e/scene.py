"""What the tests of stream management share: a proxy in front of a server, clients on both sides of it, a knife between
them, its figures, and the sum that must always come out (promise 2)."""

import contextlib
import re
import secrets
import socket
import subprocess
import threading
import time

import pytest

from knife import Knife
from proxy import BINARY
from raw import TIMEOUT, RawClient, patiently
from raw_ws import WebSocketClient
from stub import StubServer

SAMPLE = re.compile(r"^holdfast_(\w+?)(?:\{(.*?)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

DOWN_FATES = "downlink_fates_total"
UP_FATES = "uplink_fates_total"


class Figures:
    """One reading of the stats port."""

    def __init__(self, text):
        self.samples = []
        for line in text.splitlines():
            sample = SAMPLE.match(line)
            if sample:
                self.samples.append((sample[1], dict(LABEL.findall(sample[2] or "")), float(sample[3])))

    def sum(self, name, **labels):
        """The sum of all samples of that name (without the prefix) that carry these labels."""
        return int(sum(value for known, have, value in self.samples
                       if known == name and labels.items() <= have.items()))

    def rows(self, name):
        return {",".join(have.values()): int(value) for known, have, value in self.samples if known == name and value}


def figures(proxy):
    status, text = proxy.http("/metrics")
    assert status == 200, (status, text)
    return Figures(text)


class Stalls:
    """`with Stalls() as stalls`: stalls.longest is for how long the machine has let this process stand at most, seconds.
    What was due meanwhile is then done at once, by whoever measures it as well."""

    def __enter__(self):
        self.longest, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _watch(self):
        while not self._over.is_set():
            before = time.monotonic()
            self._over.wait(0.01)
            self.longest = max(self.longest, time.monotonic() - before - 0.01)


def eventually(condition, text, timeout=TIMEOUT):
    """Looks until it holds; text, or what it gives then, says what was waited for. Gives what the condition gave."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {timeout} s: {text() if callable(text) else text}"
        time.sleep(0.02)


def sums(reading):
    """Per direction: (received, sum of the fates and of what is still queued). What the proxy makes up for the client
    counts as received."""
    down = reading.sum(DOWN_FATES) + reading.sum("unacked_stanzas") - reading.sum("mailbox_lent") + \
        reading.sum("parked_stanzas")
    up = reading.sum(UP_FATES) + reading.sum("unconfirmed_stanzas")
    mail = reading.sum("mailbox_fates_total") + reading.sum("mailbox_messages")
    out = reading.sum("outbox_fates_total") + reading.sum("outbox_messages")

    def restored(queue):
        return reading.sum("restored_stanzas_total", queue=queue)

    return {"downlink": (reading.sum("stanzas_total", direction="downlink") + reading.sum("stanzas_injected_total") +
                         restored("downlink"), down),
            "uplink": (reading.sum("stanzas_total", direction="uplink") + restored("uplink"), up),
            "outbox": (reading.sum("outbox_kept_total") + restored("outbox"), out),
            "mailbox": (reading.sum("mailbox_kept_total") + restored("mailbox"), mail)}


def between_books(reading):
    """What crosses from one book to another: given by sessions, taken by the mailboxes. Other than the sums, which hold
    in each reading, these agree when all is quiet."""
    return reading.sum(DOWN_FATES, fate="mailbox"), reading.sum("mailbox_kept_total")


def assert_sums(proxy, timeout=5):
    """Promise 2: each stanza received is queued or has exactly one fate. The first reading must add up, whatever goes on.
    Only what has left a session for a mailbox may be on its way."""
    assert_reading(eventually(lambda: in_time(figures(proxy)), "all workers hand over their figures in time", timeout))
    eventually(lambda: len(set(between_books(figures(proxy)))) == 1, "the mailboxes have what sessions gave", timeout)


def in_time(reading):
    """The reading, or None if a worker was late: then nothing is promised of it."""
    return None if reading.sum("workers_late") else reading


def assert_reading(reading):
    """Each book of one reading adds up."""
    assert all(received == accounted for received, accounted in sums(reading).values()), (
        f"(received, accounted for) differ: {sums(reading)}; downlink {reading.rows(DOWN_FATES)}, "
        f"uplink {reading.rows(UP_FATES)}, mailbox {reading.rows('mailbox_fates_total')}")


def from_server(s, jid, numbers, filler=""):
    """Messages that a stub sends to that client."""
    head = f"<message from='x@{s.domain}/c' to='{jid}' type='chat'>"
    return "".join(f"{head}<body>{s.text(number)} {filler}</body></message>" for number in numbers)


# Memory and kernel buffers, looked at from outside

def is_sanitized():
    """Sanitizers multiply memory: what it costs is measured without them."""
    return "sanitizer" in subprocess.run([BINARY, "-vv"], capture_output=True, text=True, check=True).stdout


def resident(proxy):
    """Kilobytes of memory that the process holds."""
    with open(f"/proc/{proxy.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])


def unread(port):
    """Bytes on their way to the owner of that loopback port that it has not read."""
    total = 0
    with open("/proc/net/tcp") as table:
        for line in list(table)[1:]:
            _, local, remote, _, queues = line.split()[:5]
            unsent, waiting = (int(part, 16) for part in queues.split(":"))
            total += waiting if int(local.split(":")[1], 16) == port else 0
            total += unsent if int(remote.split(":")[1], 16) == port else 0
    return total


class Scene:
    """A proxy, its server, and the clients that the test makes; all of them are gone when the test is."""

    def __init__(self, legacy, proxy, take_account):
        self.legacy = legacy
        self.proxy = proxy
        self.take_account = take_account
        self.domain = legacy.domain
        self.token = secrets.token_hex(4)
        self.accounts = {}
        self.closing = contextlib.ExitStack()
        self.over = None  # "ws", "wss": what clients at the proxy speak unless told otherwise

    # Clients

    def account(self, name="a"):
        """User and password: the same for the same name, an account of its own for each test."""
        if name not in self.accounts:
            self.accounts[name] = self.take_account()[:2]
        return self.accounts[name]

    def jid(self, name="a"):
        return f"{self.account(name)[0]}@{self.domain}"

    def connect(self, port=None, over=None, **how):
        """A client at the proxy that has said nothing yet. over: "ws" or "wss" for one that speaks WebSocket; by default
        that of the scene."""
        over = over or (None if how.get("tls") else self.over)
        if over:
            port = port or {"ws": self.proxy.ws_port, "wss": self.proxy.wss_port}[over]
            how = {"tls": "direct" if over == "wss" else None} | how
            return self.closing.enter_context(WebSocketClient(port, self.domain, ca_file=str(self.proxy.ca), **how))
        port = port or (self.proxy.tls_port if how.get("tls") == "direct" else self.proxy.port)
        return self.closing.enter_context(RawClient(port, self.domain, ca_file=str(self.proxy.ca), **how))

    def authenticated(self, name="a", port=None, **how):
        def log_in():
            client = self.connect(port, **how)
            client.authenticate(*self.account(name))
            return client
        return patiently(self.legacy, log_in)

    def login(self, name="a", resource="r", port=None, connect=None, **how):
        return patiently(
            self.legacy, lambda: self.connect(port, **(connect or {})).login(*self.account(name), resource, **how))

    def resume(self, old, name="a", port=None, **how):
        """A new connection that has resumed the session of `old`."""
        client = self.authenticated(name, port, **how)
        client.resumed = client.resume(old)
        return client

    def direct(self, name="b", resource="direct", presence=None):
        """A contact: connected to the server itself, without stream management."""
        def log_in():
            contact = self.closing.enter_context(RawClient(self.legacy.port, self.domain))
            return contact.login(*self.account(name), resource, sm=False, presence=presence)
        return patiently(self.legacy, log_in)

    def knife(self):
        """Between clients and the proxy; clients go through it with port=knife.port."""
        return self.closing.enter_context(Knife("127.0.0.1", self.proxy.ws_port if self.over == "ws" else self.proxy.port))

    # Messages

    def text(self, number):
        return f"{self.token} {number}"

    def say(self, sender, to, numbers, **how):
        """Messages with these numbers, in one packet."""
        with sender.one_packet():
            for number in numbers:
                sender.message(to, self.text(number), f"{self.token}-{number}", **how)

    def hear(self, client, count, timeout=None):
        """The numbers of the next `count` messages of this test."""
        return [self.number(client.wait_for(self.is_ours, timeout)) for _ in range(count)]

    def hear_rest(self, client, seconds=0.5):
        """The numbers of all messages of this test that come within that time."""
        return [self.number(element) for element in client.read_all(seconds) if self.is_ours(element)]

    def is_ours(self, element):
        return element.name == "message" and (element.body or "").startswith(self.token)

    def number(self, element):
        return int(element.body.split()[1])

    # The proxy's figures

    def figure(self, name, **labels):
        return figures(self.proxy).sum(name, **labels)

    def wait_figure(self, count, name, timeout=TIMEOUT, **labels):
        """Until a figure has at least that value."""
        def reached():
            nonlocal value
            value = self.figure(name, **labels)
            return value >= count

        value = None
        eventually(reached, lambda: f"{name} {labels} is {value}, not {count}", timeout)

    def wait_detached(self, count=1):
        self.wait_figure(count, "sessions", state="detached")

    def wait_no_sessions(self, timeout=TIMEOUT):
        eventually(lambda: self.figure("sessions") == 0, "all sessions have ended", timeout)

    def wait_queued(self, count):
        """Until that many downlink stanzas are unacked."""
        self.wait_figure(count, "unacked_stanzas")

    def send_away(self, sender, to, numbers, **how):
        """Messages to a session that is not read now, until they are in the proxy's queue."""
        before = self.figure("stanzas_total", direction="downlink", kind="message")
        self.say(sender, to, numbers, **how)
        self.wait_figure(before + len(numbers), "stanzas_total", direction="downlink", kind="message")


@pytest.fixture
def scene(legacy, account, proxy_factory):
    """scene(sm_max="2s", …) gives a Scene in front of `legacy`; the sums are asserted at its end."""
    yield from build_scenes(legacy, account, proxy_factory, {})


@pytest.fixture
def own_scene(own_legacy, account, proxy_factory):
    """The same in front of `own_legacy`."""
    yield from build_scenes(own_legacy, account, proxy_factory, {})


@pytest.fixture
def stub():
    server = StubServer()
    yield server
    server.stop()


@pytest.fixture
def stub_scene(stub, proxy_factory):
    """The same in front of a stub."""
    settings = {"proxy_domain": stub.domain, "upstream": f"127.0.0.1:{stub.port}"}
    yield from build_scenes(stub, stub.account, proxy_factory, settings)


@pytest.fixture
def stub_knife(stub):
    """A knife towards the stub: stub_scene(upstream=f"127.0.0.1:{stub_knife.port}"). Its kernel buffers are small: a
    hole in it is felt soon."""
    with Knife(stub.host, stub.port) as knife:
        knife.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        yield knife


def build_scenes(legacy, take_account, proxy_factory, settings):
    made = []

    def build(sums=True, **keywords):
        built = Scene(legacy, proxy_factory(**(settings | keywords)), take_account)
        made.append((built, sums))
        return built

    yield build
    try:
        for built, sums_wanted in made:
            if sums_wanted:
                assert_sums(built.proxy)
    finally:
        for built, _ in made:
            built.closing.close()


@pytest.fixture
def upstream_knife(legacy):
    """A knife towards the server: scene(upstream=f"127.0.0.1:{upstream_knife.port}")."""
    with Knife(legacy.host, legacy.port) as knife:
        yield knife
