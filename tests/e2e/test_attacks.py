"""Attacks: each meets its reaction, costs a bounded amount of memory, and others are served meanwhile. (What is merely
bad luck, and injections: test_hostile.py. Limits of rate and logins: test_limits.py.)"""

import contextlib
import itertools
import socket
import ssl
import string
import threading
import time

import pytest

from raw import NS_SASL, NS_SM3, NS_STREAMS, NS_TLS, Closed, TimedOut, message_tag, stream_header
from scene import (eventually, is_sanitized, resident, scene, stub, stub_scene, unread)  # noqa: F401  (fixtures)

TRANSPORTS = [None, "direct"]
GROWTH_KILOBYTES = 64 * 1024


def is_error(element):
    return element.name == "error" and element.ns == NS_STREAMS


def assert_served(other):
    assert other.ping()["type"] == "result"


# XML

BOMB = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
    f"<!ENTITY {chr(98 + i)} '{f'&{chr(97 + i)};' * 10}'>" for i in range(9)) + "]>"



def attributes(count):
    return " ".join(f"a{number}='1'" for number in range(count))


BAD = {
    "entity bomb": (BOMB + "<message><body>&j;</body></message>", "restricted-xml"),
    "entity": ("<message><body>&j;</body></message>", "restricted-xml"),
    "external entity": ("<!DOCTYPE x SYSTEM 'file:///etc/passwd'><message/>", "restricted-xml"),
    "comment": ("<message><!-- --></message>", "restricted-xml"),
    "instruction": ("<message><?x y?></message>", "restricted-xml"),
    "second declaration": ("<?xml version='1.0'?>", "restricted-xml"),
    "unclosed": ("<message></presence>", "not-well-formed"),
    "overlong": (b"<message><body>\xc0\xaf</body></message>", "not-well-formed"),
    "surrogate": (b"<message><body>\xed\xa0\x80</body></message>", "not-well-formed"),
    "not a character": (b"<message><body>\xef\xbf\xbf</body></message>", "not-well-formed"),
    "null": (b"<message><body>\0</body></message>", "not-well-formed"),
    "text": ("text<message/>", "not-well-formed"),
    "attributes": (f"<message {attributes(257)}/>", "policy-violation"),
    "long tag": (f"<message to='{'x' * 17000}'/>", "policy-violation"),
    "long name": ("<" + "x" * 40000, "policy-violation"),
    "long namespace": (f"<message xmlns:a='{'x' * 1100}'/>", "policy-violation"),
    "deep": ("<message>" + "<a>" * 64, "policy-violation"),
}


@pytest.mark.parametrize("tls", TRANSPORTS)
@pytest.mark.parametrize("markup, condition", BAD.values(), ids=BAD)
def test_bad_xml_behind_a_good_stanza_of_the_same_packet(stub_scene, stub, markup, condition, tls):
    s = stub_scene()
    other, client = s.login("other"), s.login(connect={"tls": tls})
    session = stub.session_of(client.jid)
    good = message_tag("y@example.org", s.text(1))
    client.send(good.encode() + (markup.encode() if isinstance(markup, str) else markup) + b"<message to='z@x'/>")
    assert client.wait_for(is_error).condition == condition
    client.wait_closed()
    assert session.wait_for(s.is_ours).raw.decode() == good
    session.wait_ended()
    assert session.received[-1].raw.decode() == good, "nothing behind it has reached the server"
    assert_served(other)


def test_what_was_confirmed_ahead_of_bad_xml_is_acked(stub_scene, stub):
    s = stub_scene(sm_confirm_delay="10ms")
    client = s.login()
    client.message("y@example.org", s.text(1))
    s.wait_figure(1, "uplink_fates_total", fate="confirmed")
    client.send("<!-- -->")
    _, elements = client.wait_closed()
    assert [element.name for element in elements] == ["a", "error", "end"]
    assert elements[0]["h"] == "1"


def test_cdata_passes(stub_scene, stub):
    s = stub_scene()
    client = s.login()
    text = f"<message to='y@example.org'><body><![CDATA[{s.text(1)} <&]]]]><![CDATA[>]]></body></message>"
    client.stanza(text)
    assert stub.session_of(client.jid).wait_for("message").raw.decode() == text


@pytest.mark.parametrize("tls", TRANSPORTS)
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_the_size_of_a_clients_stanza_is_limited_to_the_byte(stub_scene, stub, over, tls):
    s = stub_scene(limits_stanza_bytes=10000)
    client, other = s.login(connect={"tls": tls}), s.login("other")
    bare = message_tag("y@example.org", s.text(1) + " ")
    text = message_tag("y@example.org", s.text(1) + " " + "x" * (10000 + over - len(bare)))
    client.send(text)
    if over > 0:
        assert client.wait_for(is_error).condition == "policy-violation"
        s.wait_figure(1, "limits_hit_total", limit="stanza_bytes")
    else:
        assert stub.session_of(client.jid).wait_for(s.is_ours).raw.decode() == text
        assert client.ping()["type"] == "result"
    assert_served(other)


@pytest.mark.parametrize("name, limit", [("attributes", "attributes"), ("long tag", "tag_bytes"),
                                         ("long namespace", "tag_bytes"), ("deep", "stanza_depth")])
def test_limits_of_xml_are_counted(stub_scene, name, limit):
    s = stub_scene()
    client = s.login()
    client.send(BAD[name][0])
    client.wait_closed()
    assert s.figure("limits_hit_total", limit=limit) == s.figure("limits_hit_total") == 1


# The server's stanzas: what it passes on comes from others, who must not be able to end a session by it

LARGE = {
    "large": f"<data xmlns='x'>{'y' * 300000}</data>",
    "deep": "<a>" * 500 + "</a>" * 500,
    "attributes": f"<a {attributes(1000)}/>",
    "long tag": f"<a b='{'x' * 100000}'/>",
    "long namespace": f"<a xmlns='{'x' * 2000}'/>",
}


@pytest.mark.parametrize("payload", LARGE.values(), ids=LARGE)
def test_stanzas_of_the_server_that_no_client_could_send_pass(stub_scene, stub, payload):
    s = stub_scene()
    client = s.login()
    text = f"<message from='x@example.org' to='{client.jid}'><body>{s.text(1)}</body>{payload}</message>"
    stub.session_of(client.jid).send(text)
    assert client.wait_for(s.is_ours).raw.decode() == text
    client.ack()
    assert client.ping()["type"] == "result"
    again = s.resume(cut(s, client))
    assert again.ping()["type"] == "result"


def cut(s, client):
    client.cut()
    s.wait_detached()
    return client


def test_a_stanza_of_the_server_that_no_queue_can_hold_costs_its_connection_alone(stub_scene, stub):
    s = stub_scene(sm_queue_bytes="64k", limits_stanza_bytes="32k")
    client, other = s.login(), s.login("other")
    session = stub.session_of(client.jid)
    session.send(message_tag(client.jid, s.text(1)) + message_tag(client.jid, "x" * 70000))
    _, elements = client.wait_closed()
    assert [s.number(element) for element in elements if s.is_ours(element)] == [1]
    s.wait_figure(1, "limits_hit_total", limit="server_stanza")
    assert_served(other)
    assert s.resume(client).ping()["type"] == "result", "the session goes on, on another connection to the server"


@pytest.mark.parametrize("payload", [LARGE[name] for name in ("deep", "attributes", "long tag", "long namespace")],
                         ids=["deep", "attributes", "long tag", "long namespace"])
def test_a_stranger_cannot_end_a_session_through_the_server(scene, legacy, payload):
    """What of it the server lets through is its affair."""
    s = scene()
    client, stranger = s.login(presence=0), s.direct()
    stranger.timeout = 2  # some servers neither answer nor close
    with contextlib.suppress(Closed, TimedOut):
        stranger.message(client.jid, s.text(1), payload=payload)
        stranger.ping()
    s.say(s.direct("c"), client.jid, [2])
    assert s.hear(client, 1)[0] in (1, 2)
    assert client.ping()["type"] == "result"


# Floods

FLOODS = {
    "messages": message_tag("y@example.org", "x" * 100),
    "presence": "<presence/>",
    "iq to the domain": "<iq type='get' id='a' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>",
    "r": f"<r xmlns='{NS_SM3}'/>",
    "a": f"<a xmlns='{NS_SM3}' h='0'/>",
    "enable": f"<enable xmlns='{NS_SM3}'/>",
    "resume": f"<resume xmlns='{NS_SM3}' previd='x' h='0'/>",
    "nonzas": "<x xmlns='urn:example:x'/>",
    "white space": " " * 100,
}
UNPACED = {"limits_bytes_per_second": 0, "limits_stanzas_per_second": 0}


class Flood:
    """Clients that send the same again and again and read nothing, for as long as the block lasts."""

    def __init__(self, clients, xml):
        self.over = threading.Event()
        piece = xml.encode() * (65536 // len(xml) + 1)
        self.threads = [threading.Thread(target=self.send, args=(client, piece)) for client in clients]

    def send(self, client, piece):
        with contextlib.suppress(OSError):
            client.sock.settimeout(0.1)
            at = 0
            while not self.over.is_set():
                with contextlib.suppress(TimeoutError):
                    at = (at + client.sock.send(piece[at:])) % len(piece)

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


def assert_flood_is_bounded(s, clients, xml, seconds=1.0):
    other = s.login("other")
    before = resident(s.proxy)
    with Flood(clients, xml):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert_served(other)
            other.read_all(0.05)
    if not is_sanitized():
        assert resident(s.proxy) - before < GROWTH_KILOBYTES


@pytest.mark.parametrize("settings", [{}, UNPACED], ids=["paced", "unpaced"])
@pytest.mark.parametrize("xml", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_clients_that_do_not_read_is_bounded_and_others_are_served(stub_scene, xml, settings):
    s = stub_scene(proxy_workers=1, **settings)
    clients = [s.login(f"flooder {number}", connect={"rcvbuf": 4096}) for number in range(3)]
    assert_flood_is_bounded(s, clients, xml)


EARLY = {
    "white space": " ",
    "nonzas": "<x xmlns='urn:example:x'/>",
    "iq": "<iq type='get' id='a'/>",
    "sasl": f"<response xmlns='{NS_SASL}'>AAAA</response>",
    "abort": f"<abort xmlns='{NS_SASL}'/>",
    "headers": stream_header("example.org"),
    "an unfinished element": "<iq>" + "<a/>" * 1000,
}


@pytest.mark.parametrize("xml", EARLY.values(), ids=EARLY)
def test_a_flood_before_login_ends_and_others_are_served(stub_scene, xml):
    s = stub_scene(proxy_workers=1)
    clients = [s.connect() for _ in range(20)]
    for client in clients:
        client.open_stream()
    assert_flood_is_bounded(s, clients, xml, 0.5)
    for client in clients:
        with contextlib.suppress(TimedOut):
            client.timeout = 0.1
            client.wait_closed()
    assert s.figure("connections") <= 21


@pytest.mark.parametrize("xml", [" ", "<x xmlns='urn:example:x'/>", "<iq type='get' id='a'/>"])
def test_the_bytes_before_login_are_limited(stub_scene, xml):
    s = stub_scene()
    client = s.connect()
    client.open_stream()
    with contextlib.suppress(Closed):
        client.send(xml * (400000 // len(xml)))
    with contextlib.suppress(Closed):
        client.wait_for(is_error)
    s.wait_figure(1, "limits_hit_total", limit="login_bytes")
    s.wait_figure(1, "legs_closed_total", leg="client", reason="limit")


# Slowness

def test_slow_and_silent_connections_end_in_time(stub_scene):
    s = stub_scene(limits_login_timeout="2s")
    other = s.login("other")
    silent, drip, handshake, starttls = s.connect(), s.connect(), s.connect(), s.connect()
    direct = socket.create_connection(("127.0.0.1", s.proxy.tls_port), 15)
    direct.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")  # the beginning of a ClientHello
    handshake.open_stream()
    handshake.send(f"<starttls xmlns='{NS_TLS}'/>")
    handshake.expect("proceed")
    starttls.open_stream()
    starttls.send(f"<starttls xmlns='{NS_TLS}'/>")
    starttls.expect("proceed")
    starttls.sock.sendall(b"\x16\x03\x01\x02\x00\x01")
    with contextlib.suppress(Closed):
        for byte in stream_header("example.org") + "<iq>" * 100:
            drip.send(byte)
            drip.read_all(0.05)
    for client in (silent, drip, handshake, starttls):
        client.wait_closed()
    with direct, contextlib.suppress(ConnectionResetError):
        while direct.recv(4096):
            pass
    s.wait_figure(5, "limits_hit_total", limit="login_timeout")
    assert_served(other)
    assert s.figure("connections") == 1


def test_a_slow_reader_gets_all_and_holds_nobody_up(stub_scene, stub):
    s = stub_scene(proxy_workers=1)
    client, other = s.login(connect={"rcvbuf": 4096}), s.login("other")
    session = stub.session_of(client.jid)
    sender = threading.Thread(target=session.send, args=(
        "".join(message_tag(client.jid, f"{s.text(number)} {'x' * 5000}") for number in range(2000)),))
    sender.start()
    s.wait_figure(1, "backpressure_total", leg="upstream")
    assert_served(other)
    client.auto_ack = True
    assert s.hear(client, 2000) == list(range(2000))
    sender.join()


def test_a_slow_writer_is_served_and_holds_nobody_up(stub_scene, stub):
    s = stub_scene(proxy_workers=1)
    client, other = s.login(), s.login("other")
    for byte in message_tag("y@example.org", s.text(1)):
        client.send(byte)
    assert_served(other)
    assert s.number(stub.session_of(client.jid).wait_for(s.is_ours)) == 1


# Memory of a connection that has not logged in

# The most that may be held for one, in KiB: its bytes (limits.login_bytes, doubled by growth), one read more, what goes
# to the server, a tree of 1,000 tags and attributes and expat's tables of their names, TLS.
BOUND_KILOBYTES = 128 + 64 + 64 + 128 + 64 + 50
CONNECTIONS = 100


def short_names(count):
    """Different names, all as short as may be."""
    return list(itertools.islice(map("".join, itertools.product(string.ascii_letters, repeat=3)), count))


WORST = {
    "nothing": "",
    "an unfinished header": "<stream:stream xmlns='jabber:client' " + " ".join(
        f"xmlns:a{i}='urn:example:{'x' * 40}{i}'" for i in range(200)),
    "an unfinished tag": stream_header("example.org") + "<iq to='" + "x" * 16000,
    "an unfinished text": stream_header("example.org") + "<message><body>" + "x" * 60000,
    "many nodes": stream_header("example.org") + "<iq>" + "<a/>" * 990 + "x" * 50000,
    "nested nodes": stream_header("example.org") + "<iq>" + ("<a>" * 60 + "</a>" * 60) * 16 + "x" * 45000,
    "many names": stream_header("example.org") + "<iq>" + "".join(
        f"<a{i} b{i}=''/>" for i in range(490)) + "x" * 45000,
    "too many nodes": stream_header("example.org") + "<iq>" + "<a/>" * 15000,
    "too many names": stream_header("example.org") + "<iq>" + "".join(f"<{name}/>" for name in short_names(10000)),
    "too many attributes": stream_header("example.org") + "<iq>" + "".join(
        "<x " + " ".join(f"{name}=''" for name in names) + "/>" for names in zip(*[iter(short_names(9000))] * 250)),
    "many namespaces": stream_header("example.org") + "<iq>" + "".join(
        f"<a xmlns='urn:{i}'/>" for i in range(490)) + "x" * 45000,
    "attributes": stream_header("example.org") + (
        f"<iq {attributes(240)}>" + f"<x {attributes(240)}/>" * 3 + "x" * 50000),
    "a long response": stream_header("example.org") + f"<auth xmlns='{NS_SASL}' mechanism='PLAIN'>" + "A" * 60000,
}


@pytest.mark.skipif(is_sanitized(), reason="measures memory")
@pytest.mark.parametrize("tls", TRANSPORTS)
@pytest.mark.parametrize("xml", WORST.values(), ids=WORST)
def test_a_connection_that_has_not_logged_in_costs_a_bounded_amount(stub_scene, xml, tls):
    s = stub_scene(limits_login_timeout="1m")
    other = s.login("other")
    before = resident(s.proxy)
    clients = [s.connect(tls=tls) for _ in range(CONNECTIONS)]
    for client in clients:
        with contextlib.suppress(Closed):
            client.send(xml)
    port = s.proxy.tls_port if tls else s.proxy.port
    eventually(lambda: unread(port) == 0, "the proxy has read it all")
    each = (resident(s.proxy) - before) / CONNECTIONS
    print(f"{each:.0f} KiB each")
    assert each < BOUND_KILOBYTES
    assert_served(other)


@pytest.mark.skipif(is_sanitized(), reason="measures memory")
def test_an_unfinished_handshake_costs_a_bounded_amount(stub_scene):
    s = stub_scene(limits_login_timeout="1m")
    before = resident(s.proxy)
    with contextlib.ExitStack() as stack:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for _ in range(CONNECTIONS):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", s.proxy.tls_port), 15))
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            with contextlib.suppress(ssl.SSLWantReadError):
                context.wrap_bio(incoming, outgoing, server_hostname="example.org").do_handshake()
            sock.sendall(outgoing.read())
            sock.recv(1)  # the server has answered; nothing more is said
        each = (resident(s.proxy) - before) / CONNECTIONS
        print(f"{each:.0f} KiB each")
        assert each < 150
        assert s.login().ping()["type"] == "result"


# Lines in the log

def test_strangers_cannot_fill_the_log(stub_scene):
    s = stub_scene(proxy_workers=1, log_level="info")
    for _ in range(400):
        with contextlib.closing(socket.create_connection(("127.0.0.1", s.proxy.port), 15)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            sock.recv(4096)
    s.wait_figure(400, "legs_closed_total", leg="client")
    about = [line for line in s.proxy.log().splitlines() if "leg=" in line]
    assert 100 < len(about) < 400 + 20 * 15, "800 lines, were they not rationed"
