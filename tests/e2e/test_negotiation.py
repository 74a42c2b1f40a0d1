"""From the connection to the session: transports, TLS, SASL and XEP-0078 through the proxy, and what goes wrong."""

import socket
import ssl

import pytest

from knife import Knife
from raw import (NS_SASL, NS_SM3, NS_STREAM_ERRORS, NS_STREAMS, NS_TLS, Closed, RawClient, auth_plain, bind_iq,
                 enable_tag, message_tag, stream_header)
from scene import eventually, scene, stub, stub_scene  # noqa: F401  (fixtures)
from servers import free_ports

TRANSPORTS = ("clear", "starttls", "tls")
SPOKEN = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "DIGEST-MD5")


def connect(s, transport):
    """A client with its first features on that transport."""
    client = s.connect(tls="direct" if transport == "tls" else None)
    client.open_stream()
    if transport == "starttls":
        client.starttls()
        client.open_stream()
    return client


def expect_stream_error(client, condition):
    error = client.wait_for(lambda element: element.name == "error" and element.ns == NS_STREAMS)
    assert error.condition == condition
    assert error.children[0].ns == NS_STREAM_ERRORS
    client.wait_closed()


# Mechanisms and transports

@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("mechanism", SPOKEN)
def test_each_mechanism_over_each_transport(scene, legacy, mechanism, transport):
    s = scene()
    client = connect(s, transport)
    if mechanism not in legacy.mechanisms:
        assert mechanism not in client.mechanisms
        return
    assert client.auth(mechanism, *s.account()).name == "success"
    client.open_stream()
    assert client.bind("r") == f"{s.jid()}/r"
    client.enable()
    assert client.ping()["type"] == "result"
    assert client.request() == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_servers_mechanisms_are_offered_without_channel_binding(scene, legacy, transport):
    client = connect(scene(), transport)
    assert set(legacy.mechanisms) <= set(client.mechanisms)
    assert not [mechanism for mechanism in client.mechanisms if mechanism.endswith("-PLUS")]
    assert "EXTERNAL" not in client.mechanisms
    assert not client.offers("sasl-channel-binding")


def test_anonymous_logins(scene, legacy):
    if not legacy.anonymous_domain:
        pytest.skip("this server has no host for them")
    s = scene()
    with RawClient(s.proxy.port, legacy.anonymous_domain) as client:
        client.login(sm=False)
        assert client.jid.split("@")[1].startswith(legacy.anonymous_domain)
        assert client.ping(legacy.anonymous_domain)["type"] == "result"


@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
def test_what_the_server_offers_after_login_but_for_what_the_proxy_owns(scene):
    s = scene()
    direct, client = s.direct(), s.authenticated()

    def offers(features):
        return {(child.name, child.ns) for child in features.children}

    owned = {("starttls", NS_TLS), ("ack", "http://www.xmpp.org/extensions/xep-0198.html#ns"), ("sm", "urn:xmpp:sm:2"),
             ("sm", NS_SM3), ("compression", "http://jabber.org/features/compress")}
    assert offers(client.features) - owned == offers(direct.features) - owned
    assert offers(client.features) & owned == {("sm", "urn:xmpp:sm:2"), ("sm", NS_SM3)}


@pytest.mark.servers("prosody")
def test_a_failed_login_may_be_tried_again_on_the_same_stream(scene):
    s = scene()
    user, password = s.account()
    client = s.connect()
    client.open_stream()
    failure = client.auth("PLAIN", user, "wrong")
    assert (failure.name, failure.condition) == ("failure", "not-authorized")
    assert client.auth("SCRAM-SHA-1", user, "wrong too").name == "failure"
    assert client.auth("SCRAM-SHA-1", user, password).name == "success"
    client.open_stream()
    client.bind("r")
    assert s.figure("logins_total", result="failure") == 2
    assert s.figure("logins_total", result="success") == 1


@pytest.mark.servers("ejabberd", "jabberd2")
def test_a_failed_login_is_told(scene):
    s = scene()
    client = s.connect()
    client.open_stream()
    assert client.auth("PLAIN", s.account()[0], "wrong").name == "failure"


@pytest.mark.servers("prosody", "ejabberd")
def test_a_login_that_is_broken_off_may_be_begun_again(scene):
    s = scene()
    client = s.connect()
    client.open_stream()
    client.send(f"<auth xmlns='{NS_SASL}' mechanism='SCRAM-SHA-1'>biwsbj11c2VyLHI9YWJjZGVmZ2hpams=</auth>")
    if client.expect(("challenge", "failure")).name == "challenge":
        client.send(f"<abort xmlns='{NS_SASL}'/>")
        assert client.expect("failure").condition == "aborted"
    assert client.auth("PLAIN", *s.account()).name == "success"
    client.open_stream()
    client.bind("r")


@pytest.mark.servers("prosody")
def test_a_mechanism_that_is_not_offered_fails(scene):
    client = scene().connect()
    client.open_stream()
    client.send(f"<auth xmlns='{NS_SASL}' mechanism='SCRAM-SHA-1-PLUS'>cD10bHMtdW5pcXVlLCxuPXgscj15</auth>")
    assert client.expect("failure").children


def test_everything_in_one_packet(scene, legacy):
    s = scene()
    contact, client = s.direct(), s.connect()
    client.send(stream_header(s.domain) + auth_plain(*s.account()) + stream_header(s.domain) + bind_iq("r")
                + enable_tag() + message_tag(contact.jid, s.text(1)) + f"<r xmlns='{NS_SM3}'/>")
    client.sent = 1
    for name in ("stream", "features", "success", "stream", "features", "iq", "enabled"):
        assert client.read_element().name == name
    assert s.hear(contact, 1) == [1]
    client.wait_acked()


def test_everything_one_byte_at_a_time(scene, legacy):
    s = scene()
    with Knife("127.0.0.1", s.proxy.port) as knife:
        knife.trickle(1, "up")
        contact, client = s.direct(), s.login(port=knife.port)
        s.say(client, contact.jid, [1])
        assert s.hear(contact, 1) == [1]
        assert client.request() == 1


@pytest.mark.servers("prosody")
def test_a_stalled_answer_of_the_server_in_single_bytes(scene, legacy):
    with Knife(legacy.host, legacy.port) as knife:
        s = scene(upstream=f"127.0.0.1:{knife.port}")
        knife.trickle(1, "down")
        client = s.login()
        contact = s.direct()
        s.say(contact, client.jid, [1])
        assert s.hear(client, 1) == [1]


@pytest.mark.servers("prosody")
def test_all_over_tls_in_one_record_behind_proceed(scene):
    s = scene()
    client = s.connect()
    client.open_stream()
    client.starttls()
    client.send(stream_header(s.domain) + auth_plain(*s.account()) + stream_header(s.domain) + bind_iq("r"))
    for name in ("stream", "features", "success", "stream", "features", "iq"):
        assert client.read_element().name == name


# Without stream management

def test_a_client_without_stream_management_works_as_without_a_proxy(scene, legacy):
    s = scene()
    client, contact = s.login(sm=False, presence=0), s.direct(presence=0)
    s.say(client, contact.jid, range(20))
    s.say(contact, client.jid, range(20))
    assert s.hear(contact, 20) == list(range(20))
    assert s.hear(client, 20) == list(range(20))
    client.presence(to=contact.jid)
    assert client.ping()["type"] == "result"
    client.close()
    contact.wait_for(lambda element: element.name == "presence" and element.get("type") == "unavailable")
    s.say(contact, s.jid(), [20])
    contact.ping()
    assert s.hear(s.login(resource="new", sm=False, presence=0), 1) == [20], "the server keeps it"


def test_a_client_without_stream_management_that_is_cut_is_gone(scene, legacy):
    s = scene()
    contact = s.direct(presence=0)
    client = s.login(sm=False, presence=0)
    client.presence(to=contact.jid)
    contact.wait_for(lambda element: element.name == "presence" and element.get("from") == client.jid)
    client.cut("rst")
    contact.wait_for(lambda element: element.name == "presence" and element.get("type") == "unavailable"
                     and element.get("from") == client.jid)
    s.wait_no_sessions()


def test_stanzas_pass_byte_for_byte(scene, legacy):
    """Up to what this server itself makes of them: a client at the proxy sees what one at the server sees."""
    s = scene()
    odd = ("<message to='{to}' type='chat' id='&lt;&quot;&#233;&apos;' xml:lang='de'>"
           "<body>a&#x20AC;b &amp; <![CDATA[<c>]]></body>"
           "<x:y xmlns:x='urn:example:y' x:z='1'><q xmlns='urn:example:q'/></x:y></message>")
    here, there, contact = s.login(resource="here"), s.direct("a", "there"), s.direct()
    contact.send(odd.format(to=here.jid) + odd.format(to=there.jid))
    through, plain = here.wait_for("message").raw, there.wait_for("message").raw
    # Prosody writes the attributes in another order each time.
    assert sorted(through.replace(b"/here", b"/there")) == sorted(plain)


# XEP-0078

@pytest.mark.servers("jabberd2")
@pytest.mark.parametrize("digest", [True, False], ids=["digest", "plain"])
@pytest.mark.parametrize("version", [None, "1.0"])
def test_logins_of_old_clients(scene, digest, version):
    s = scene()
    client, contact = s.connect(), s.direct()
    client.open_stream(version=version)
    answer = client.legacy_auth(*s.account(), "old", digest)
    assert answer["type"] == "result"
    assert client.jid == f"{s.jid()}/old"
    s.say(contact, client.jid, [1])
    assert s.hear(client, 1) == [1]
    s.say(client, contact.jid, [2])
    assert s.hear(contact, 1) == [2]


@pytest.mark.servers("jabberd2")
def test_a_failed_login_of_an_old_client(scene):
    s = scene()
    client = s.connect()
    client.open_stream(version=None)
    assert client.legacy_auth(s.account()[0], "wrong", "old")["type"] == "error"
    assert client.legacy_auth(*s.account(), "old")["type"] == "result"
    assert s.figure("logins_total", result="failure") == 1


# TLS

def test_starttls_is_offered_in_clear_only(scene, legacy):
    s = scene()
    for transport, offered in zip(TRANSPORTS, (True, False, False)):
        assert connect(s, transport).offers("starttls", NS_TLS) is offered


@pytest.mark.servers("prosody")
def test_ipv6(scene):
    port, = free_ports(1)
    s = scene(listen_starttls=f"[::1]:{port}")
    client = s.connect(port=port, host="::1")
    client.authenticate(*s.account(), starttls=True)
    assert client.bind("r")


@pytest.mark.servers("prosody")
def test_tls_required_offers_nothing_else_in_clear(scene):
    s = scene(tls_required="yes")
    client = s.connect()
    client.open_stream()
    assert [(child.name, child.ns) for child in client.features.children] == [("starttls", NS_TLS)]
    assert client.features.has("required", NS_TLS)
    client.starttls()
    client.open_stream()
    assert client.auth("PLAIN", *s.account()).name == "success"


@pytest.mark.servers("prosody")
def test_tls_required_refuses_a_login_in_clear(scene):
    s = scene(tls_required="yes")
    client = s.connect()
    client.open_stream()
    client.send(auth_plain(*s.account()))
    _, elements = client.wait_closed()
    assert "success" not in [element.name for element in elements]
    assert s.figure("upstream_dials_total", result="ok") == 0, "no password has reached the server"


@pytest.mark.servers("prosody")
@pytest.mark.parametrize("injected", [f"<auth xmlns='{NS_SASL}' mechanism='PLAIN'>AGEAYg==</auth>", " ", "\0",
                                      "<stream:stream>"])
def test_bytes_in_clear_behind_starttls_are_an_injection(scene, injected):
    s = scene()
    client = s.connect()
    client.open_stream()
    client.send(f"<starttls xmlns='{NS_TLS}'/>" + injected)
    _, elements = client.wait_closed()
    assert set(element.name for element in elements) <= {"proceed", "error", "end"}


@pytest.mark.servers("prosody")
def test_starttls_inside_tls_is_out_of_place(scene):
    s = scene()
    client = connect(s, "tls")
    client.send(f"<starttls xmlns='{NS_TLS}'/>")
    try:
        answer = client.read_element()
    except Closed:
        return
    assert answer.name in ("failure", "error")


@pytest.mark.servers("prosody")
def test_a_broken_handshake_harms_no_one(scene):
    s = scene()
    other = s.login()
    with socket.create_connection(("127.0.0.1", s.proxy.tls_port), 15) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while sock.recv(4096):
            pass
    client = s.connect()
    client.open_stream()
    client.send(f"<starttls xmlns='{NS_TLS}'/>")
    client.expect("proceed")
    client.send("this is no handshake")
    client.wait_closed()
    s.wait_figure(2, "tls_handshakes_total", result="failed")
    assert other.ping()["type"] == "result"


@pytest.mark.servers("prosody")
def test_direct_tls_speaks_alpn_and_new_versions(scene):
    client = connect(scene(), "tls")
    assert client.sock.selected_alpn_protocol() == "xmpp-client"
    assert client.sock.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.servers("prosody")
def test_direct_tls_for_another_protocol_is_refused(scene):
    s = scene()
    with pytest.raises((ssl.SSLError, Closed, OSError)):
        client = s.connect(tls="direct", alpn=["http/1.1"])
        client.open_stream()


# Hosts, and streams that are none

@pytest.mark.servers("prosody")
@pytest.mark.parametrize("transport", ["clear", "tls"])
def test_an_unknown_host_is_told(scene, transport):
    s = scene()
    client = s.connect(tls="direct" if transport == "tls" else None)
    client.send(stream_header("elsewhere.example"))
    assert client.expect("stream").get("id")
    expect_stream_error(client, "host-unknown")
    assert s.figure("upstream_dials_total") == s.figure("upstream_dials_total", result="ok") == 0


@pytest.mark.servers("prosody")
@pytest.mark.parametrize("opening, condition", [
    ("<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e 'x'>]>", "restricted-xml"),
    ("<stream:stream xmlns='jabber:client' xmlns:stream='urn:example:wrong' to='localhost' version='1.0'>",
     "invalid-namespace"),
    ("<nonsense", None),
    ("GET / HTTP/1.1\r\n\r\n", None),
    ("\0\0\0", None),
], ids=["doctype", "wrong namespace", "cut tag", "http", "zeros"])
def test_what_is_no_stream_is_ended(scene, opening, condition):
    s = scene(limits_login_timeout="2s")
    client = s.connect()
    client.send(opening)
    _, elements = client.wait_closed()
    errors = [element.condition for element in elements if element.name == "error"]
    assert condition is None or errors == [condition]
    assert s.login("other").ping()["type"] == "result"


@pytest.mark.servers("prosody")
@pytest.mark.parametrize("markup, condition", [
    ("<!-- comment -->", "restricted-xml"),
    ("<?target data?>", "restricted-xml"),
    ("<message><body>&undefined;</body></message>", ("restricted-xml", "not-well-formed")),
    ("<message><body></message>", "not-well-formed"),
    ("<message><body>\x01</body></message>", "not-well-formed"),
    ("<message to='a' to='b'/>", "not-well-formed"),
    ("<un:bound/>", ("not-well-formed", "bad-namespace-prefix")),
])
def test_bad_xml_ends_its_stream_and_harms_no_one(scene, markup, condition):
    s = scene()
    client, other = s.login(), s.login("other")
    client.send(markup)
    error = client.wait_for(lambda element: element.name == "error")
    assert error.condition in ((condition,) if isinstance(condition, str) else condition)
    client.wait_closed()
    assert other.ping()["type"] == "result"


@pytest.mark.servers("prosody")
def test_a_stanza_before_login_does_not_pass_as_one(scene):
    s = scene()
    contact, client = s.direct(), s.connect()
    client.open_stream()
    client.send(message_tag(contact.jid, s.text(1)))
    contact.ping()
    assert s.hear_rest(contact, 0.3) == []


@pytest.mark.servers("prosody")
def test_who_does_not_log_in_is_ended(scene):
    s = scene(limits_login_timeout="1s")
    silent, half, slow = s.connect(), s.connect(), s.connect()
    half.send("<?xml version='1.0'?><stream:str")
    slow.open_stream()
    for client in (silent, half, slow):
        client.wait_closed()
    s.wait_figure(3, "legs_closed_total", leg="client", reason="login_timeout")


# The server's side

@pytest.mark.servers("prosody")
def test_an_unreachable_server_is_told_and_the_proxy_recovers_by_itself(scene, legacy):
    with Knife(legacy.host, legacy.port) as knife:
        s = scene(upstream=f"127.0.0.1:{knife.port}")
        assert s.login().ping()["type"] == "result"
        knife.refuse()
        client = s.connect()
        client.send(stream_header(s.domain))
        expect_stream_error(client, "remote-connection-failed")
        ready, reason = eventually(lambda: s.proxy.readyz() if not s.proxy.readyz()[0] else None, "/readyz fails")
        assert "upstream" in reason or str(knife.port) in reason
        knife.refuse(False)
        eventually(lambda: s.proxy.readyz()[0], "/readyz recovers")
        assert s.login("b").ping()["type"] == "result"


@pytest.mark.servers("prosody")
def test_the_servers_stream_id_passes_through(scene):
    client = scene().connect()
    client.open_stream()
    first = client.header["id"]
    assert client.header["from"] == client.domain
    assert first


def test_features_that_the_proxy_owns_are_taken_out(stub_scene, stub):
    stub.features_before = (
        f"<starttls xmlns='{NS_TLS}'><required/></starttls>"
        f"<mechanisms xmlns='{NS_SASL}'><mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>EXTERNAL</mechanism>"
        "<mechanism>PLAIN</mechanism></mechanisms>"
        "<compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression>"
        "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/></sasl-channel-binding>"
        "<authentication xmlns='urn:xmpp:sasl:2'><mechanism>PLAIN</mechanism></authentication>"
        "<unknown xmlns='urn:example:unknown' a='1'><b/></unknown>")
    stub.features_after += f"<sm xmlns='{NS_SM3}'/><sm xmlns='urn:xmpp:sm:2'/><later xmlns='urn:example:later'/>"
    s = stub_scene()
    client = s.connect(tls="direct")
    client.open_stream()
    assert [child.name for child in client.features.children] == ["mechanisms", "unknown"]
    assert client.mechanisms == ["PLAIN"]
    assert b"<unknown xmlns='urn:example:unknown' a='1'><b/></unknown>" in client.features.raw
    client.auth("PLAIN", *s.account())
    client.open_stream()
    assert sorted(child.name for child in client.features.children) == ["bind", "later", "sm", "sm"]


def test_the_servers_wish_for_a_resource_is_followed(stub_scene):
    s = stub_scene()
    client = s.authenticated()
    assert client.bind(None).endswith("/made-up")
    client.enable()
    client.cut()
    s.wait_detached()
    assert s.resume(client).ping()["type"] == "result"


@pytest.mark.servers("jabberd2")
def test_the_auth_feature_of_old_clients_passes(scene):
    client = scene().connect()
    client.open_stream()
    assert client.offers("auth", "http://jabber.org/features/iq-auth")
