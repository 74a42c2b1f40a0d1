"""Clients, servers and people on the line that mean harm or have bad luck: they are bounded, and others are served."""

import contextlib
import select
import socket
import ssl
import threading

import pytest

from raw import NS_SASL, NS_SM3, NS_STREAM_ERRORS, NS_STREAMS, NS_TLS, Closed, message_tag, stream_header
from scene import eventually, is_sanitized, resident, scene, stub, stub_knife, stub_scene  # noqa: F401  (fixtures)

FLOOD_BYTES = 32 * 2**20
GROWTH_KILOBYTES = 64 * 1024
UNPACED = {"limits_bytes_per_second": 0, "limits_stanzas_per_second": 0}  # it is something else that is to hold them up


def is_error(element):
    return element.name == "error" and element.ns == NS_STREAMS


def flood(client, xml, limit=FLOOD_BYTES):
    """Sends that again and again, and reads nothing, until the proxy takes no more. Gives the bytes that it took."""
    piece = xml.encode() * (65536 // len(xml) + 1)
    client.sock.setblocking(False)
    taken = 0
    while taken < limit and select.select([], [client.sock], [], 1)[1]:
        taken += client.sock.send(piece[taken % len(xml):])
    return taken


# The client's bytes

def declare_and_log_in(s, prefix):
    client = s.connect()
    for step in (lambda: client.auth("PLAIN", *s.account()), lambda: client.bind("r")):
        client.open_stream(more=f" xmlns:{prefix}='urn:example:long'")
        step()
    client.enable()
    return client


@pytest.mark.parametrize("length", [300, 5000])
def test_a_long_prefix_of_the_stream_header_goes_with_the_stanza_that_uses_it(stub_scene, stub, length):
    s = stub_scene()
    prefix = "p" * length
    client = declare_and_log_in(s, prefix)
    client.message("y@example.org", s.text(1), payload=f"<{prefix}:a/>")
    got = stub.session_of(client.jid).wait_for(s.is_ours)
    assert got.has("a", "urn:example:long")
    client.send(f"<r xmlns='{NS_SM3}'/>")
    client.wait_acked()


@pytest.mark.parametrize("length", [300, 5000])
def test_a_long_prefix_of_the_stream_header_leaves_other_stanzas_alone(stub_scene, stub, length):
    s = stub_scene()
    client = declare_and_log_in(s, "p" * length)
    client.message("y@example.org", s.text(1))
    got = stub.session_of(client.jid).wait_for(s.is_ours)
    assert got.raw.decode() == message_tag("y@example.org", s.text(1))


@pytest.mark.parametrize("length", [300, 5000])
def test_a_long_prefix_before_login_goes_with_the_iq_that_uses_it(stub_scene, stub, length):
    s = stub_scene()
    prefix = "p" * length
    client = s.connect()
    client.open_stream(more=f" xmlns:{prefix}='urn:example:long'")
    client.send(f"<iq type='get' id='early'>{'<a/>' * 100}<{prefix}:b/></iq>")

    def arrived():
        return [each for session in stub.connections for each in session.received if each.get("id") == "early"]

    assert eventually(arrived, "the iq is at the server")[0].has("b", "urn:example:long")


# Login

class BadLine:
    """A server with STARTTLS, and someone on the line to it who adds bytes in clear behind its <proceed/>."""

    def __init__(self, authority, injected):
        certificate, key, _ = authority.issue()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.injected = injected
        self.inside = []     # bytes that came under TLS
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.loop, daemon=True).start()

    def loop(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        with contextlib.suppress(OSError), sock:
            if not sock.recv(4096):
                return  # only looked whether somebody is here
            offer = f"<stream:features><starttls xmlns='{NS_TLS}'/></stream:features>"
            sock.sendall((stream_of("clear") + offer).encode())
            sock.recv(4096)
            sock.sendall((f"<proceed xmlns='{NS_TLS}'/>" + self.injected).encode())
            with self.context.wrap_socket(sock, server_side=True) as inside:
                while data := inside.recv(4096):
                    self.inside.append(data)
                    inside.sendall((stream_of("inside") + LOGIN).encode())


def stream_of(stream_id):
    return ("<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0' from='example.org' "
            f"id='{stream_id}' xmlns:stream='{NS_STREAMS}'>")


LOGIN = f"<stream:features><mechanisms xmlns='{NS_SASL}'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"


@pytest.fixture
def bad_line(authority):
    made = []

    def make(injected):
        made.append(BadLine(authority, injected))
        return made[-1]

    yield make
    for line in made:
        with contextlib.suppress(OSError):
            line.listener.shutdown(socket.SHUT_RDWR)
        line.listener.close()


def behind(stub_scene, line):
    return stub_scene(upstream=f"127.0.0.1:{line.port}", proxy_upstream_tls="starttls", proxy_upstream_verify="no")


def test_what_the_server_says_under_tls_is_heard(stub_scene, bad_line):
    client = behind(stub_scene, bad_line("")).connect()
    client.open_stream()
    assert client.header["id"] == "inside"


def test_bytes_in_clear_behind_the_servers_proceed_are_an_injection(stub_scene, bad_line):
    line = bad_line("")
    client = behind(stub_scene, line).connect()  # ready: the proxy's own check has found a server
    line.inside.clear()
    line.injected = stream_of("injected") + LOGIN + f"<success xmlns='{NS_SASL}'/>"
    client.send(stream_header(client.domain))
    _, elements = client.wait_closed()
    assert [element.name for element in elements] == ["stream", "error", "end"]
    assert elements[0].get("id") != "injected"
    assert elements[1].condition == "remote-connection-failed"
    assert line.inside == [], "nothing is said to a server on that line"


def assert_starttls_refused(client):
    client.send(f"<starttls xmlns='{NS_TLS}'/>")
    _, elements = client.wait_closed()
    assert [element.name for element in elements] == ["failure", "end"]
    assert elements[0].ns == NS_TLS


def test_starttls_after_login_in_clear_is_refused(stub_scene):
    assert_starttls_refused(stub_scene().authenticated())


def test_starttls_after_a_failed_resume_is_refused(stub_scene):
    client = stub_scene().authenticated()
    assert client.try_resume("nothing", 0).name == "failed"
    assert_starttls_refused(client)


def test_a_failed_resume_leaves_the_login_timer_running(stub_scene):
    s = stub_scene(limits_login_timeout="2s")
    old = s.login()
    old.cut()
    s.wait_detached()
    client = s.authenticated()
    assert client.try_resume(old.sm_id, 77).name == "failed"
    error = client.wait_for(is_error)
    assert error.condition == "connection-timeout"
    client.wait_closed()


# Floods

@pytest.mark.skipif(is_sanitized(), reason="measures memory")
def test_a_flood_of_enable_that_is_not_read_is_bounded_and_harms_no_one(stub_scene):
    s = stub_scene(**UNPACED)
    other, client = s.login("other"), s.login(connect={"rcvbuf": 4096})
    before = resident(s.proxy)
    assert flood(client, f"<enable xmlns='{NS_SM3}'/>") < FLOOD_BYTES, "the proxy stops to read it"
    assert resident(s.proxy) - before < GROWTH_KILOBYTES
    other.ping()


@pytest.mark.skipif(is_sanitized(), reason="measures memory")
def test_a_flood_before_bind_to_a_server_that_does_not_read_is_bounded_and_harms_no_one(stub_scene, stub_knife):
    s = stub_scene(upstream=f"127.0.0.1:{stub_knife.port}", **UNPACED)
    client = s.authenticated()
    stub_knife.hole(direction="up")
    before = resident(s.proxy)
    assert flood(client, message_tag("y@example.org", "x" * 1000)) < FLOOD_BYTES, "the proxy stops to read it"
    assert resident(s.proxy) - before < GROWTH_KILOBYTES
    s.login("other").ping()
    stub_knife.hole(False)


# Limits

@pytest.mark.parametrize("limit", ["connections", "connections_per_ip"])
def test_connections_beyond_the_limit_are_refused_until_there_is_room(stub_scene, limit):
    s = stub_scene(**{f"limits_{limit}": 2})
    first, second = s.login("a"), s.login("b")
    third = s.connect()
    with contextlib.suppress(Closed):  # a reset may be noticed while sending
        third.send(stream_header(third.domain))
    assert third.wait_closed()[1] == []
    s.wait_figure(1, "limits_hit_total", limit=limit)
    assert s.figure("connections") == 2
    first.close()
    eventually(lambda: s.figure("connections") == 1, "there is room")
    assert s.login("c").ping()["type"] == second.ping()["type"] == "result"


def test_the_login_timeout_is_told_and_counted_and_spares_who_is_in(stub_scene):
    s = stub_scene(limits_login_timeout="2s")
    member, client = s.login("other"), s.connect()
    client.open_stream()
    assert client.wait_for(is_error).condition == "connection-timeout"
    client.wait_closed()
    assert s.figure("limits_hit_total", limit="login_timeout") == 1
    assert member.ping()["type"] == "result"


def assert_stanza_refused(s, xml, limit):
    client, other = s.login(), s.login("other")
    client.send(xml)
    assert client.wait_for(is_error).condition == "policy-violation"
    client.wait_closed()
    s.wait_figure(1, "limits_hit_total", limit=limit)
    assert s.figure("limits_hit_total") == 1
    assert other.ping()["type"] == "result"


@pytest.mark.parametrize("end", ["", "</body></message>"], ids=["without end", "whole"])
def test_a_stanza_with_too_many_bytes_ends_its_stream(stub_scene, end):
    assert_stanza_refused(stub_scene(limits_stanza_bytes=10000), "<message><body>" + "x" * 10000 + end, "stanza_bytes")


def test_a_stanza_that_is_nested_too_deep_ends_its_stream(stub_scene):
    assert_stanza_refused(stub_scene(limits_stanza_depth=8), "<message>" + "<a>" * 8, "stanza_depth")


def test_a_stanza_at_its_limits_passes(stub_scene, stub):
    s = stub_scene(limits_stanza_bytes=10000, limits_stanza_depth=8)
    client = s.login()
    nested = "<a>" * 7 + "</a>" * 7
    bare = message_tag("y@example.org", s.text(1) + " ", payload=nested)
    client.message("y@example.org", s.text(1) + " " + "x" * (10000 - len(bare)), payload=nested)
    assert len(stub.session_of(client.jid).wait_for(s.is_ours).raw) == 10000
    assert s.figure("limits_hit_total") == 0


# What ends at the wrong moment

def waiting_resume(s, stub, session, old):
    """A client whose resume waits for the server's answer, which the stub holds back."""
    client = s.authenticated()
    client.take_over(old)
    client.send(f"<resume xmlns='{NS_SM3}' previd='{old.sm_id}' h='{old.h_in}'/>")
    session.until(lambda: session.pings, "the resume asks for a barrier")
    return client


def lost_with_something_unconfirmed(s, stub):
    stub.answer_pings = False
    old = s.login()
    session = stub.session_of(old.jid)
    old.message("y@example.org", s.text(1))
    session.wait_for(s.is_ours)
    old.cut()
    s.wait_detached()
    return old, session


def test_a_waiting_resume_outlives_its_fresh_leg_to_the_server(stub_scene, stub):
    s = stub_scene(sm_confirm_delay="60s")
    old, session = lost_with_something_unconfirmed(s, stub)
    client = waiting_resume(s, stub, session, old)
    fresh, = [each for each in stub.connections if each.user and each.jid is None]
    fresh.cut("fin")
    s.wait_figure(1, "legs_closed_total", leg="upstream")
    session.pong()
    assert client.expect("resumed")["h"] == "1"
    stub.answer_pings = True
    assert client.ping()["type"] == "result"


def test_a_drain_cuts_a_waiting_resume_without_an_end_tag(stub_scene, stub):
    s = stub_scene(sums=False, sm_confirm_delay="60s", proxy_drain="2s")
    old, session = lost_with_something_unconfirmed(s, stub)
    client = waiting_resume(s, stub, session, old)
    s.proxy.signal(15)
    assert client.wait_closed()[1] == [], "an end tag or a refusal has it drop its session"


def test_a_session_is_resumed_after_a_login_by_another_mechanism(scene, legacy):
    s = scene()
    old = s.login(mechanism="PLAIN")
    old.cut()
    s.wait_detached()
    client = s.connect()
    client.authenticate(*s.account(), "DIGEST-MD5" if legacy.kind == "jabberd2" else "SCRAM-SHA-1")
    client.resume(old)
    assert client.ping()["type"] == "result"


def test_a_session_is_resumed_with_the_domain_in_other_case(stub_scene):
    s = stub_scene()
    old = s.login()
    old.cut()
    s.wait_detached()
    client = s.connect()
    client.domain = "EXAMPLE.org"
    client.authenticate(*s.account())
    client.resume(old)
    assert client.ping("example.org")["type"] == "result"


def test_the_last_answer_comes_ahead_of_the_servers_stream_error(stub_scene, stub):
    s = stub_scene(sm_confirm_delay="10ms")
    client = s.login()
    client.message("y@example.org", s.text(1))
    s.wait_figure(1, "uplink_fates_total", fate="confirmed")
    stub.session_of(client.jid).send(
        f"<stream:error><conflict xmlns='{NS_STREAM_ERRORS}'/></stream:error></stream:stream>")
    _, elements = client.wait_closed()
    assert [element.name for element in elements] == ["a", "error", "end"]
    assert elements[0]["h"] == "1"
