"""What listen.ws and listen.wss serve besides WebSockets, who is let in, and who the client is behind load balancers."""

import json
import re
import xml.etree.ElementTree as ET

import pytest

from haproxy import v2
from raw import Closed
from raw_ws import WebSocketClient
from scene import eventually, stub, stub_scene  # noqa: F401  (fixtures)

PATH = "/xmpp-websocket"
CORS = "access-control-allow-origin"


def plain(s, over="ws", **how):
    """A client that has not asked for anything."""
    return s.connect(over=over, upgrade=False, **how)


def requests(s, result):
    return s.figure("web_requests_total", result=result)


def peers(s):
    return {row["peer"] for row in json.loads(s.proxy.http("/sessions?format=json")[1])}


def test_documents_of_discovery(stub_scene):
    """XEP-0156: the address under which we were asked, over TLS if that was so; for scripts of any origin."""
    s = stub_scene()
    for over in ("ws", "wss"):
        host = f"chat.example.org:{s.proxy.ws_port}"
        status, head, body = plain(s, over).get("/.well-known/host-meta", headers={"Host": host})
        assert (status, head["content-type"], head[CORS]) == (200, "application/xrd+xml", "*")
        link, = ET.fromstring(body)
        assert link.tag == "{http://docs.oasis-open.org/ns/xri/xrd-1.0}Link"
        told = {"rel": "urn:xmpp:alt-connections:websocket", "href": f"{over}://{host}{PATH}"}
        assert link.attrib == told
        status, head, body = plain(s, over).get("/.well-known/host-meta.json?x", headers={"Host": host})
        assert (status, head["content-type"], head[CORS]) == (200, "application/json", "*")
        assert json.loads(body) == {"links": [told]}
    assert plain(s).get("/.well-known/host-meta", "HEAD")[2] == ""
    assert plain(s).get("/.well-known/host-meta", "POST")[0] == 405
    assert plain(s).get("/.well-known/host-meta", headers={"Host": "a'b"})[0] == 400
    assert requests(s, "discovery") == 5


def test_the_path_and_the_url_are_the_operators(stub_scene):
    s = stub_scene(listen_ws_path="/chat/ws", listen_ws_url="wss://chat.example.org/chat/ws")
    body = plain(s).get("/.well-known/host-meta.json")[2]
    assert json.loads(body)["links"][0]["href"] == "wss://chat.example.org/chat/ws"
    assert plain(s).try_upgrade(PATH) == 404
    s.connect(over="ws", path="/chat/ws").open_stream()


@pytest.mark.parametrize("method, path", [("POST", "/http-bind"), ("GET", "/http-bind/"), ("GET", "/"),
                                          ("GET", "/xmpp-websocket/")])
def test_bosh_and_all_else_is_told_what_there_is(stub_scene, method, path):
    s = stub_scene()
    status, head, body = plain(s).get(path, method, {"Host": "chat.example.org", "Content-Length": "0"})
    assert (status, head[CORS]) == (404, "*")
    assert f"ws://chat.example.org{PATH}" in body and "BOSH" in body
    assert requests(s, "not_found") == 1


def test_scripts_may_ask_ahead(stub_scene):
    status, head, body = plain(stub_scene()).get("/http-bind", "OPTIONS", {"Origin": "https://a.example"})
    assert (status, head[CORS], body) == (204, "*", "")
    assert "GET" in head["access-control-allow-methods"]


def test_origins(stub_scene):
    """Browsers from elsewhere are refused; what is no browser tells none."""
    s = stub_scene(listen_ws_origins="https://chat.example.org, https://b.example:8443")
    for origin, status in [("https://chat.example.org", 101), ("HTTPS://Chat.Example.org", 101), (None, 101),
                           ("https://b.example:8443", 101), ("https://b.example", 403), ("null", 403), ("", 403),
                           ("https://chat.example.org.evil.example", 403), ("http://chat.example.org", 403)]:
        client = plain(s)
        assert client.try_upgrade(headers={"Origin": origin}) == status, origin
        assert status == 101 or b"listen.ws_origins" in client.body
    assert (requests(s, "origin"), requests(s, "upgraded")) == (5, 4)


UPGRADES = {
    "as browsers ask": (101, {"Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket",
                              "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
                              "Sec-WebSocket-Protocol": "chat, xmpp"}),
    "no upgrade": (426, {"Upgrade": None}),
    "another upgrade": (426, {"Upgrade": "h2c"}),
    "no such connection": (426, {"Connection": "keep-alive"}),
    "an older version": (426, {"Sec-WebSocket-Version": "8"}),
    "no version": (426, {"Sec-WebSocket-Version": None}),
    "no key": (400, {"Sec-WebSocket-Key": None}),
    "a short key": (400, {"Sec-WebSocket-Key": "c2hvcnQ="}),
    "a key that is no base64": (400, {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub2!jZQ=="}),
    "no protocol": (400, {"Sec-WebSocket-Protocol": None}),
    "another protocol": (400, {"Sec-WebSocket-Protocol": "xmpp2, mqtt"}),
    "no host": (400, {"Host": None}),
}


def test_upgrades(stub_scene):
    s = stub_scene()
    seen, told = {}, {}
    for name, (_, headers) in UPGRADES.items():
        client = plain(s)
        seen[name] = client.try_upgrade(headers=headers)
        told[name] = client.response
    assert seen == {name: status for name, (status, _) in UPGRADES.items()}
    assert "sec-websocket-extensions" not in told["as browsers ask"]
    assert told["as browsers ask"]["sec-websocket-protocol"] == "xmpp"
    assert told["an older version"]["sec-websocket-version"] == "13"
    assert requests(s, "refused") == len(UPGRADES) - 1


@pytest.mark.parametrize("request_text, status", [
    ("GET /xmpp-websocket HTTP/1.1\nHost: a\n\n" + "x" * 20000, 431),
    ("GET /xmpp-websocket HTTP/1.1\r\n" + f"X: {'x' * 17000}\r\n\r\n", 431),
    ("GET /xmpp-websocket HTTP/1.1\r\n" + "X: x\r\n" * 101 + "\r\n", 400),
    ("GET /xmpp-websocket HTTP/2.0\r\n\r\n", 400),
    ("GET /xmpp-websocket\r\n\r\n", 400),
    ("GET  /xmpp-websocket HTTP/1.1\r\n\r\n", 400),
    ("GET http://a/xmpp-websocket HTTP/1.1\r\n\r\n", 400),
    ("GET /xmpp-websocket HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ("GET /xmpp-websocket HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", 400),
    ("GET /xmpp-websocket HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400),
    ("<?xml version='1.0'?><stream:stream xmlns='jabber:client'>\r\n\r\n", 400),
], ids=str)
def test_what_is_no_request(stub_scene, request_text, status):
    s = stub_scene()
    client = plain(s)
    client.ask(request_text)
    assert client.status == status
    assert client.wait_closed()[0] == "fin"
    assert requests(s, "refused") == 1


def test_a_request_has_the_time_of_a_login(stub_scene):
    """Silent ones, slow ones, and those that say nothing inside of TLS; a look whether we are there is no news."""
    s = stub_scene(limits_login_timeout="1s")
    late = [plain(s), plain(s, "wss")]
    slow = plain(s)
    slow.send_frames(b"GET /xmpp-websocket HTTP/1.1\r\nHost")
    for client in [*late, slow]:
        client.ask("")
        assert client.status == 408
    assert (requests(s, "late"), s.figure("limits_hit_total", limit="login_timeout")) == (3, 3)
    plain(s).cut()
    half = plain(s)
    half.send_frames(b"GET /")
    half.cut()
    s.wait_figure(1, "web_requests_total", result="gone")
    assert not re.search(r"level=(info|warn).*peer=.*closed by the peer.*\n.*level=(info|warn).*peer=.*closed by the peer",
                         s.proxy.log())


def test_the_protocol_inside_of_tls(stub_scene):
    """A port for one protocol does not take clients of the other (RFC 7301)."""
    s = stub_scene()
    with pytest.raises(OSError):
        WebSocketClientFor(s, s.proxy.tls_port)
    s.wait_figure(1, "tls_handshakes_total", result="failed")
    with pytest.raises(OSError):
        s.connect(port=s.proxy.wss_port, tls="direct")
    s.wait_figure(2, "tls_handshakes_total", result="failed")
    s.connect(over="wss").open_stream()
    assert s.figure("tls_handshakes_total", result="ok") == 1


def WebSocketClientFor(s, port):
    return s.closing.enter_context(WebSocketClient(port, s.domain, tls="direct", ca_file=str(s.proxy.ca)))


# --- who the client is

FORWARDED = {"listen_ws_forwarded_from": "127.0.0.0/8, 10.0.0.0/8"}


@pytest.mark.parametrize("header, value, peer", [
    ("X-Forwarded-For", "192.0.2.7", "192.0.2.7"),
    ("X-Forwarded-For", "198.51.100.1, 192.0.2.7, 10.1.2.3", "192.0.2.7"),
    ("x-forwarded-for", "2001:db8::7", "2001:db8::7"),
    ("X-Forwarded-For", "192.0.2.7:4711", "192.0.2.7"),
    ("X-Forwarded-For", "192.0.2.7, unknown", "127.0.0.1"),
    ("X-Forwarded-For", "", "127.0.0.1"),
    ("Forwarded", "for=192.0.2.7", "127.0.0.1"),
])
def test_the_address_that_a_load_balancer_tells(stub_scene, header, value, peer):
    s = stub_scene(**FORWARDED)
    s.login("a", connect={"over": "ws", "headers": {header: value}})
    address, = peers(s)
    assert address.rpartition(":")[0].strip("[]") == peer


@pytest.mark.parametrize("value, peer", [
    ('for=192.0.2.7;proto=https;by=10.0.0.1', "192.0.2.7"),
    ('for=198.51.100.1, For="[2001:db8::7]:4711", for=10.0.0.2', "2001:db8::7"),
    ("for=_hidden", "127.0.0.1"),
    ("proto=https", "127.0.0.1"),
])
def test_the_standard_header(stub_scene, value, peer):
    s = stub_scene(listen_ws_forwarded_header="forwarded", **FORWARDED)
    s.login("a", connect={"over": "ws", "headers": {"Forwarded": value, "X-Forwarded-For": "203.0.113.1"}})
    address, = peers(s)
    assert address.rpartition(":")[0].strip("[]") == peer


def test_strangers_tell_nothing(stub_scene):
    s = stub_scene(listen_ws_forwarded_from="10.0.0.0/8")
    s.login("a", connect={"over": "ws", "headers": {"X-Forwarded-For": "192.0.2.7"}})
    address, = peers(s)
    assert address.startswith("127.0.0.1:")


def test_limits_go_by_the_told_address(stub_scene):
    s = stub_scene(limits_connections_per_ip=1, **FORWARDED)

    def come(address):
        client = plain(s)
        return client, client.try_upgrade(headers={"X-Forwarded-For": address})

    one, status = come("192.0.2.1")
    assert status == 101 and come("192.0.2.2")[1] == 101
    refused, status = come("192.0.2.1")
    assert status == 503 and b"too many" in refused.body
    assert (requests(s, "no_room"), s.figure("limits_hit_total", limit="connections_per_ip")) == (1, 1)
    one.cut("rst")
    eventually(lambda: come("192.0.2.1")[1] == 101, "there is room again")


def test_tls_of_the_load_balancer_is_told_on(stub_scene):
    s = stub_scene(**FORWARDED)
    secure = {"Host": "chat.example.org", "X-Forwarded-Proto": "https"}
    body = plain(s).get("/.well-known/host-meta.json", headers=secure)[2]
    assert json.loads(body)["links"][0]["href"] == f"wss://chat.example.org{PATH}"


def test_a_proxy_protocol_header_comes_first(stub_scene):
    """Ahead of TLS; it may name an HTTP load balancer in turn."""
    s = stub_scene(listen_proxy_protocol="on", listen_proxy_from="127.0.0.0/8", **FORWARDED)
    for over, source, told in [("ws", "192.0.2.9", "192.0.2.9"), ("ws", "10.0.0.9", "192.0.2.7")]:
        client = plain(s, over)
        client.sock.sendall(v2((source, 40000), ("198.51.100.2", 443)))
        client.upgrade(headers={"X-Forwarded-For": "192.0.2.7"})
        client.login(*s.account("a"), f"r{source}")
        assert any(peer.startswith(told + ":") for peer in peers(s)), peers(s)


# --- limits and figures

def test_connections_beyond_the_limit_are_refused(stub_scene):
    s = stub_scene(limits_connections=1)
    client = s.connect(over="ws")
    with pytest.raises((Closed, OSError)):
        s.connect(over="ws")
    assert s.figure("limits_hit_total", limit="connections") == 1
    client.cut()
    eventually(lambda: s.figure("connections") == 0, "it is gone")
    s.connect(over="ws").open_stream()


def test_sessions_tell_their_transport(stub_scene):
    s = stub_scene()
    for over in ("ws", "wss"):
        s.login(over, connect={"over": over})
        assert s.figure("connections", transport=over) == s.figure("connections_opened_total", transport=over) == 1
    told = {row["transport"] for row in json.loads(s.proxy.http("/sessions?format=json")[1])}
    assert told == {"ws", "wss"}
    assert s.figure("tls_handshakes_total", result="ok") == 1
