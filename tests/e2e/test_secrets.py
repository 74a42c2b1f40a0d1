"""Promise 7: no credential and no content is in the log, at any level, whatever clients and servers say; nor on the stats
port. What must not be there is taken from the wire."""

import base64
import contextlib
import json
import re
import secrets

import pytest
from raw import NS_IQ_AUTH, NS_SASL, RawClient, TimedOut, WireError, auth_plain
from scene import eventually, from_server, scene, stub, stub_scene  # noqa: F401  (fixtures)

SPOKEN = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "DIGEST-MD5")
IN_SASL = re.compile(rb"<(?:auth|response|challenge|success)\b[^>]*?(?<!/)>([^<]{4,})<")
PROOFS = re.compile(r"(?:^|,)(?:p|v|response|rspauth)=\"?([^\",]{8,})")
IN_IQ_AUTH = re.compile(rb"<(?:digest|password)>([^<]+)<")


class Wire:
    """All that clients said and heard in this test."""

    def __init__(self, monkeypatch):
        self.bytes = b""
        note = RawClient.note

        def keep(client, direction, data):
            self.bytes += data
            note(client, direction, data)

        monkeypatch.setattr(RawClient, "note", keep)

    def secrets(self):
        found = {text.decode() for text in IN_SASL.findall(self.bytes) + IN_IQ_AUTH.findall(self.bytes)}
        found |= set(re.findall(r"(?:previd|id)=['\"]([0-9a-f]{24}-[0-9a-f]{32})", self.bytes.decode(errors="replace")))
        for text in list(found):
            with contextlib.suppress(ValueError):
                decoded = base64.b64decode(text, validate=True).decode(errors="replace")
                found |= {part for part in PROOFS.findall(decoded)}
        return found


def forms(secret):
    """As it is, and as it may stand in base64: at each of the three offsets, without what its neighbours decide."""
    data = secret.encode()
    found = {secret, secret[::-1], data.hex()}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        found.add(encoded[(offset * 8 + 5) // 6:-1])
    return {form for form in found if len(form) >= 6}


def assert_nowhere(s, *hidden):
    shown = s.proxy.log()
    for target in ("/metrics", "/stats.json", "/sessions", "/sessions?format=json"):
        shown += s.proxy.http(target)[1]
    for row in json.loads(s.proxy.http("/sessions?format=json")[1]):
        shown += s.proxy.http("/sessions/" + row["sid"])[1]
    for secret in hidden:
        for form in forms(secret):
            assert form not in shown, f"{form!r}, a form of {secret!r}: {shown[max(0, shown.index(form) - 300):][:500]}"


@pytest.fixture
def wire(monkeypatch):
    return Wire(monkeypatch)


def offered(s):
    client = s.connect()
    client.open_stream()
    return [mechanism for mechanism in client.mechanisms if mechanism in SPOKEN]


def test_logins_of_all_kinds(scene, wire):
    s = scene(log_level="debug")
    name, password = s.account()
    wrong = "wrong-" + secrets.token_hex(8)
    mechanisms = offered(s)
    assert mechanisms
    for mechanism in mechanisms:
        failing = s.connect()
        failing.open_stream()
        assert failing.auth(mechanism, name, wrong).name == "failure"
        client = s.login(mechanism=mechanism)
        client.ping()
        client.close()
    old = s.connect()
    if old.open_stream().has("auth"):
        assert old.legacy_auth(name, wrong, "old", False)["type"] == "error"
        old = s.connect()
        old.open_stream()
        assert old.legacy_auth(name, password, "old", "DIGEST-MD5" in mechanisms)["type"] == "result"
    found = wire.secrets()
    assert len(found) > 2 * len(mechanisms)
    assert "sid=" in s.proxy.log() and name in s.proxy.log(), "it is the log of these logins"
    assert_nowhere(s, password, wrong, *found)


@pytest.mark.servers("prosody")
def test_messages_and_resumptions(scene, wire):
    s = scene(log_level="debug", sm_max="1s")
    client, contact = s.login(), s.direct()
    s.say(client, contact.jid, [1, 2])
    s.say(contact, client.jid, [3])
    s.hear(client, 1)
    s.hear(contact, 2)
    client.cut()
    s.wait_detached()
    client = s.resume(client)
    client.cut()
    s.wait_no_sessions()
    s.say(contact, client.jid, [4])
    late = s.authenticated()
    assert late.try_resume(client.sm_id, 1).name == "failed"
    unknown = "0123456789ab" * 2 + "-" + secrets.token_hex(16)
    assert late.try_resume(unknown, 0).name == "failed"
    late.bind("r")
    late.presence()
    s.hear(late, 1)
    assert_nowhere(s, s.token, unknown, *wire.secrets())


HOSTILE = ["<message to='a@b'><body>{}</wrong>", "<!DOCTYPE a [<!ENTITY b '{}'>]>", "<!-- {} -->", "<?php {} ?>",
           "<message to='a@b'><body>{}&undefined;</body></message>", "</message>{}", "{}",
           "<message to='a@b' to='{}'/>", "<message>" + "<a b='{}'>" * 20, "<message><body>{}" + "x" * 20000,
           "<x:message><body>{}</body></x:message>", "<r xmlns='urn:xmpp:sm:3' a='{}'>{}</r>",
           "<a xmlns='urn:xmpp:sm:3' h='{}'/>", "<a xmlns='urn:xmpp:sm:3' h='99999'>{}</a>",
           "<enable xmlns='urn:xmpp:sm:3' max='{}'>{}</enable>", "<stream:error><a>{}</a></stream:error>",
           "<iq type='set' id='{}'><query xmlns='" + NS_IQ_AUTH + "'><password>{}</password></query></iq>",
           "<message to='a@b'><body>{}\0</body></message>", "<message to='a@b' a='{}\xff'/>", "<wrong a='{}'>{}</wrong>"]


@pytest.mark.parametrize("bound", [False, True], ids=["before the login", "in a session"])
def test_hostile_clients(stub_scene, wire, bound):
    s = stub_scene(log_level="debug", limits_stanza_bytes=10000, limits_stanza_depth=8)
    for number, text in enumerate(HOSTILE):
        client = s.login(f"user{number}") if bound else s.connect()
        if not bound:
            client.open_stream()
        client.send(text.replace("{}", s.token).encode("latin-1"))
        with contextlib.suppress(WireError, TimedOut):
            client.read_all(0.05)
    for auth in (auth_plain("romeo", s.token), f"<auth xmlns='{NS_SASL}' mechanism='PLAIN'>!{s.token}!</auth>",
                 f"<auth xmlns='{NS_SASL}' mechanism='{s.token}'>{s.token}</auth>",
                 f"<response xmlns='{NS_SASL}'>{s.token}</response>", f"<abort xmlns='{NS_SASL}'>{s.token}</abort>"):
        client = s.connect()
        client.open_stream()
        client.send(auth)
        with contextlib.suppress(WireError, TimedOut):
            client.read_all(0.05)
    assert s.proxy.log().count("stream error to the client") > 5
    assert_nowhere(s, s.token)


def test_hostile_servers(stub_scene, wire):
    s = stub_scene(log_level="debug", sm_max="1s", limits_stanza_bytes=10000)
    said = ["<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
            f"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{s.token}</text></stream:error>",
            f"<message><body>{s.token}</wrong>", f"<!-- {s.token} -->", f"<unknown a='{s.token}'>{s.token}</unknown>",
            f"<message><body>{s.token}" + "x" * 20000, f"{s.token}", f"</stream:stream>{s.token}",
            f"<iq type='result' id='{s.token}' from='{s.token}'/>"]
    for number, text in enumerate(said):
        client = s.login(f"user{number}")
        at_server = s.legacy.session_of(client.jid)
        at_server.send(from_server(s, client.jid, [1]) + text)
        with contextlib.suppress(WireError, TimedOut):
            client.read_all(0.2)
        with contextlib.suppress(OSError):
            at_server.cut()
    eventually(lambda: s.proxy.log().count("upstream leg ended") >= 3, "the proxy has seen it")
    assert_nowhere(s, s.token)


def test_what_is_in_the_log_would_be_found(stub_scene):
    """The check itself; in base64 too."""
    s = stub_scene()
    client = s.login()
    local = client.jid.split("@")[0]
    assert local in s.proxy.log()
    with pytest.raises(AssertionError):
        assert_nowhere(s, client.bare_jid)
    for offset in range(3):
        encoded = base64.b64encode(b"\0ab"[:offset] + b"a long secret" + b"tail").decode()
        assert any(form in encoded for form in forms("a long secret"))
