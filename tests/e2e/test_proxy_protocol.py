"""PROXY protocol in both directions: with bytes of our own, and with HAProxy on the other side."""

import json
import re
import signal
import time

import pytest

from haproxy import LOCAL, SIGNATURE, HeadedClient, HeadedStub, Haproxy, v1, v2
from raw import Closed, RawClient, WireError
from scene import build_scenes, eventually, stub, stub_scene  # noqa: F401  (fixtures)
from servers import Ejabberd, free_ports

DESTINATION = ("198.51.100.2", 5222)
TRUSTED = {"listen_proxy_protocol": "on", "listen_proxy_from": "127.0.0.0/8, ::1"}


def headed(s, head, port=None, source=None, **how):
    return s.closing.enter_context(HeadedClient(port or s.proxy.port, s.domain, ca_file=str(s.proxy.ca), head=head,
                                                source=source, **how))


def login(s, head, name="a", resource="r", **how):
    return headed(s, head, **how).login(*s.account(name), resource)


def peers(s):
    return {row["peer"] for row in json.loads(s.proxy.http("/sessions?format=json")[1])}


def lines_above_debug(s):
    return [line for line in s.proxy.log().splitlines() if "level=debug" not in line]


def headers(s, result):
    return s.figure("proxy_headers_total", result=result)


# --- in

@pytest.mark.parametrize("head, peer", [
    (v1(("192.0.2.1", 40000), DESTINATION), "192.0.2.1:40000"),
    (v1(("2001:db8::1", 40000), ("2001:db8::2", 5222)), "[2001:db8::1]:40000"),
    (v2(("192.0.2.1", 40000), DESTINATION), "192.0.2.1:40000"),
    (v2(("2001:db8::1", 40000), ("2001:db8::2", 5222)), "[2001:db8::1]:40000"),
    (v2(("192.0.2.1", 40000), DESTINATION, b"\x01\0\x0bxmpp-client\x04\x02\0" + 512 * b"x"), "192.0.2.1:40000"),
], ids=["v1 IPv4", "v1 IPv6", "v2 IPv4", "v2 IPv6", "v2 TLVs"])
def test_the_told_address_is_the_clients(stub_scene, head, peer):
    s = stub_scene(**TRUSTED)
    client = login(s, head)
    assert peers(s) == {peer}
    tls = login(s, head, resource="tls", port=s.proxy.tls_port, tls="direct")  # the header comes before TLS
    assert peers(s) == {peer}
    assert client.ping()["type"] == tls.ping()["type"] == "result"
    assert headers(s, "told") == 2
    client.close()
    eventually(lambda: re.search(rf'client leg closed.*peer="?{re.escape(peer)}', s.proxy.log()), "the end is logged")


def test_a_header_and_the_stream_may_come_in_any_pieces(stub_scene):
    s = stub_scene(**TRUSTED)
    head = v2(("192.0.2.1", 40000), DESTINATION)
    client = headed(s, b"")
    for byte in head:
        client.send(bytes([byte]))
    client.login(*s.account(), "r")
    assert peers(s) == {"192.0.2.1:40000"}


@pytest.mark.parametrize("head", [b"PROXY UNKNOWN\r\n", LOCAL, SIGNATURE + b"\x21\0\0\0"],
                         ids=["UNKNOWN", "LOCAL", "UNSPEC"])
def test_without_an_address_that_of_the_connection_holds(stub_scene, head):
    s = stub_scene(**TRUSTED)
    client = login(s, head, source="127.0.0.9")
    assert peers(s) == {f"127.0.0.9:{client.sock.getsockname()[1]}"}


@pytest.mark.parametrize("said, why", [
    (b"<?xml version='1.0'?><stream:stream>", "no PROXY protocol header"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "no PROXY protocol header"),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", "version 1 with malformed addresses"),
    (SIGNATURE + b"\x31\x11\0\x0c" + 12 * b"x", "an unknown version"),
    (SIGNATURE + b"\x21\x11\xff\xff" + 12 * b"x", "version 2, too long"),
])
def test_a_connection_without_a_good_header_is_closed_and_told(stub_scene, said, why):
    s = stub_scene(**TRUSTED)
    client = headed(s, said)
    how, heard = client.wait_closed()
    assert heard == []
    eventually(lambda: headers(s, "bad") == 1, "it is counted")
    told, = [line for line in lines_above_debug(s) if "no PROXY protocol header" in line]
    assert why in told and "peer=127.0.0.1:" in told and "level=warn" in told


def test_a_header_that_breaks_off_is_told(stub_scene):
    s = stub_scene(**TRUSTED)
    headed(s, b"PROXY TCP4 192").cut()
    eventually(lambda: headers(s, "cut") == 1, "it is counted")
    assert any("no PROXY protocol header" in line for line in lines_above_debug(s))


def test_the_header_has_a_time_limit(stub_scene):
    s = stub_scene(**TRUSTED)
    begin = time.monotonic()
    client = headed(s, b"PROXY ")
    client.wait_closed()
    assert 3 <= time.monotonic() - begin < 10
    assert headers(s, "late") == 1
    assert any("not within the time" in line for line in lines_above_debug(s))


def test_others_are_not_believed(stub_scene):
    s = stub_scene(listen_proxy_protocol="on", listen_proxy_from="127.0.0.2/31, 2001:db8::/32")
    client = s.login()
    assert peers(s) == {f"127.0.0.1:{client.sock.getsockname()[1]}"}
    liar = headed(s, v1(("192.0.2.1", 40000), DESTINATION))
    liar.send("<?xml version='1.0'?><stream:stream>")
    _, heard = liar.wait_closed()
    assert "not-well-formed" in [element.condition for element in heard if element.name == "error"]
    assert s.figure("proxy_headers_total") == 0
    login(s, v1(("192.0.2.1", 40000), DESTINATION), name="b", source="127.0.0.3")
    assert "192.0.2.1:40000" in peers(s)


def test_limits_count_the_told_address(stub_scene):
    s = stub_scene(limits_connections_per_ip="2", **TRUSTED)
    clients = [login(s, v1((f"192.0.2.{n % 2}", 40000 + n), DESTINATION), resource=str(n)) for n in range(4)]
    with pytest.raises((Closed, OSError)):
        login(s, v1(("192.0.2.1", 50000), DESTINATION))
    assert s.figure("limits_hit_total", limit="connections_per_ip") == 1
    clients[1].close()
    eventually(lambda: s.figure("connections") == 3, "one has gone")
    login(s, v1(("192.0.2.1", 50001), DESTINATION), resource="new")
    assert s.figure("limits_hit_total", limit="connections_per_ip") == 1


def test_connections_that_owe_their_header_count_as_connections(stub_scene):
    s = stub_scene(limits_connections="1", **TRUSTED)
    waiting = headed(s, b"")
    head = v1(("192.0.2.1", 40000), DESTINATION)
    eventually(lambda: "header awaited" in s.proxy.log(), "it is there")
    with pytest.raises((Closed, OSError)), HeadedClient(s.proxy.port, s.domain, head=head) as other:
        other.open_stream()
    assert s.figure("limits_hit_total", limit="connections") == 1
    waiting.send(head)
    waiting.login(*s.account(), "r")


def test_a_reload_changes_who_is_believed(stub_scene):
    s = stub_scene()
    s.login()
    s.proxy.settings |= {"listen.proxy_protocol": "on", "listen.proxy_from": "127.0.0.0/8"}
    s.proxy.write_config()
    s.proxy.signal(signal.SIGHUP)
    head = v1(("192.0.2.1", 40000), DESTINATION)
    eventually(lambda: takes(s, head), "headers are taken")
    assert not takes(s, b"")


def takes(s, head):
    try:
        with HeadedClient(s.proxy.port, s.domain, head=head) as client:
            client.open_stream()
        return True
    except (Closed, WireError):
        return False


@pytest.fixture
def haproxy():
    made = []

    def start(*arguments, **keywords):
        made.append(Haproxy(*arguments, **keywords))
        return made[-1]

    yield start
    for one in made:
        one.stop()


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("bind, source", [("127.0.0.1", "127.0.0.77"), ("[::1]", "::1")])
def test_behind_haproxy(stub_scene, haproxy, send, bind, source):
    s = stub_scene(**TRUSTED)
    port, = free_ports(1)
    one = haproxy(f"{bind}:{port}", f"127.0.0.1:{s.proxy.port} {send} check")
    client = login(s, b"", port=port, host=bind.strip("[]"), source=source)
    here = client.sock.getsockname()
    assert peers(s) == {f"[{here[0]}]:{here[1]}" if ":" in source else f"{here[0]}:{here[1]}"}
    tls = haproxy(f"127.0.0.1:{free_ports(1)[0]}", f"127.0.0.1:{s.proxy.tls_port} {send} check")
    login(s, b"", name="b", port=tls.port, source="127.0.0.78", tls="direct")
    if send == "send-proxy-v2":
        eventually(lambda: headers(s, "probe") >= 5, "health checks come")
        assert s.figure("legs_closed_total", leg="client") == 0  # a health check is no client
    else:  # as a client that is gone before it said a word
        eventually(lambda: s.figure("legs_closed_total", leg="client") >= 5, "health checks come")
    assert headers(s, "bad") == headers(s, "cut") == headers(s, "late") == 0
    assert "DOWN" not in one.log() + tls.log()
    assert "no PROXY protocol header" not in "\n".join(lines_above_debug(s))
    assert "client leg closed" not in "\n".join(lines_above_debug(s))
    assert s.figure("tls_handshakes_total", result="failed") == 0


# --- out

@pytest.fixture
def headed_scene(proxy_factory):
    server = HeadedStub()
    yield from build_scenes(server, server.account, proxy_factory, {
        "proxy_domain": server.domain, "upstream": f"127.0.0.1:{server.port}"})
    server.stop()


@pytest.mark.parametrize("version", [1, 2])
def test_the_server_is_told_the_clients_address(headed_scene, version):
    s = headed_scene(proxy_upstream_proxy_protocol=f"v{version}")
    (own, source, destination), = set(s.legacy.headers)
    assert (own, source[0], destination) == (version, "127.0.0.1", ("127.0.0.1", s.legacy.port)), "a health check"
    client = s.login()
    assert s.legacy.session_of(client.jid).header == (version, client.sock.getsockname(), ("127.0.0.1", s.proxy.port))
    tls = s.login(resource="tls", connect={"tls": "direct"})
    assert s.legacy.session_of(tls.jid).header == (version, tls.sock.getsockname(), ("127.0.0.1", s.proxy.tls_port))


@pytest.mark.parametrize("version", [1, 2])
def test_the_server_is_told_ipv6_addresses(headed_scene, version):
    port, = free_ports(1)
    s = headed_scene(listen_starttls=f"*:{port}", proxy_upstream_proxy_protocol=f"v{version}")
    six = s.closing.enter_context(RawClient(port, s.domain, host="::1")).login(*s.account(), "six")
    assert s.legacy.session_of(six.jid).header == (version, ("::1", six.sock.getsockname()[1]), ("::1", port))
    four = s.closing.enter_context(RawClient(port, s.domain)).login(*s.account(), "four")
    assert s.legacy.session_of(four.jid).header == (version, four.sock.getsockname(), ("127.0.0.1", port))


@pytest.mark.parametrize("version, told", [(1, v2), (2, v1)])
def test_what_a_load_balancer_told_is_passed_on(headed_scene, version, told):
    s = headed_scene(proxy_upstream_proxy_protocol=f"v{version}", **TRUSTED)
    ends = ("2001:db8::1", 40000), ("2001:db8::2", 5222)
    client = login(s, told(*ends))
    assert s.legacy.session_of(client.jid).header == (version, *ends)
    client = login(s, LOCAL, resource="local")
    assert s.legacy.session_of(client.jid).header == (version, client.sock.getsockname(), ("127.0.0.1", s.proxy.port))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_takes_our_header(headed_scene, haproxy, version):
    """HAProxy reads it, and tells the stub what it has read."""
    port, = free_ports(1)
    s = headed_scene(upstream=f"127.0.0.1:{port}", proxy_upstream_proxy_protocol=version, start=False)
    haproxy(f"127.0.0.1:{port} accept-proxy", f"127.0.0.1:{s.legacy.port} send-proxy")
    s.proxy.start()
    client = s.login()
    assert s.legacy.session_of(client.jid).header == (1, client.sock.getsockname(), ("127.0.0.1", s.proxy.port))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_header_goes_ahead_of_tls(headed_scene, haproxy, authority, version):
    port, = free_ports(1)
    s = headed_scene(upstream=f"127.0.0.1:{port}", proxy_upstream_proxy_protocol=version, proxy_upstream_tls="direct",
                     proxy_upstream_ca=authority.ca, start=False)
    _, _, both = authority.issue()
    haproxy(f"127.0.0.1:{port} accept-proxy ssl crt {both} alpn xmpp-client",
            f"127.0.0.1:{s.legacy.port} send-proxy-v2")
    s.proxy.start()
    client = s.login()
    assert s.legacy.session_of(client.jid).header == (2, client.sock.getsockname(), ("127.0.0.1", s.proxy.port))
    assert client.ping()["type"] == "result"


class HeadedEjabberd(Ejabberd):
    """Its port for clients demands the header, the one for direct TLS (unused) does not."""

    def _prepare(self):
        super()._prepare()
        text = self._file.read_text()
        self._file.write_text(text.replace("starttls: true", "starttls: true\n    use_proxy_protocol: true", 1))

    def _offers_login(self, host):
        return self._marker.exists()


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("tls", ["none", "starttls"])
def test_ejabberd_takes_our_header(proxy_factory, version, tls):
    server = HeadedEjabberd(accounts=[Ejabberd.account(1)])
    try:
        server.start()
        proxy = proxy_factory(server.upstream, proxy_upstream_proxy_protocol=version, proxy_upstream_tls=tls,
                              proxy_upstream_ca=server.ca if tls != "none" else None, **TRUSTED)
        with HeadedClient(proxy.port, "localhost", head=v1(("192.0.2.1", 40000), DESTINATION)) as client:
            client.login(*Ejabberd.account(1), "r")
            assert client.ping()["type"] == "result"
        eventually(lambda: "192.0.2.1" in server.log(), "it logs whose login it was")
    finally:
        server.remove()


# --- source addresses

def test_source_addresses_take_turns(stub_scene):
    s = stub_scene(proxy_upstream_source="127.0.0.2, ::1, 127.0.0.3", proxy_workers="1")
    clients = [s.login(resource=f"r{n}") for n in range(6)]
    used = [s.legacy.session_of(client.jid).sock.getpeername()[0] for client in clients]
    assert sorted(used) == 3 * ["127.0.0.2"] + 3 * ["127.0.0.3"]
    assert all(one != other for one, other in zip(used, used[1:]))


def test_a_source_that_is_not_there_is_told(stub_scene):
    s = stub_scene(proxy_upstream_source="192.0.2.77", start=False, sums=False)
    s.proxy.start(wait=False)
    eventually(lambda: "Cannot assign requested address" in s.proxy.log(), "the reason is logged")
    assert not s.proxy.readyz()[0]
