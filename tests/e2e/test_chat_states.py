"""Chat states (XEP-0085) that are told for a client that has vanished while it was composing."""

import pytest

from cluster import cluster, redis  # noqa: F401  (fixtures)
from scene import scene, stub, stub_scene  # noqa: F401  (fixtures)
from test_receipts import ALL
from test_receipts_failover import next_node, receipts_cluster  # noqa: F401  (fixture)

NS_CHAT_STATES = "http://jabber.org/protocol/chatstates"
QUIET = 0.5
pytestmark = pytest.mark.servers("prosody")


def tell(client, to, state, payload=""):
    client.stanza(f"<message to='{to}' type='chat'>{payload}<{state} xmlns='{NS_CHAT_STATES}'/></message>")


def state_of(element):
    states = [child.name for child in element.children if child.ns == NS_CHAT_STATES]
    assert len(states) == 1 and element.get("type") == "chat"
    return states[0]


def expect(contact, client, *states):
    """These, and nothing else meanwhile."""
    for state in states:
        told = contact.wait_for("message")
        assert (told["from"], state_of(told)) == (client.jid, state)
    return told


@ALL
def test_paused_and_gone(scene):
    s = scene(receipts_paused_after="500ms", sm_max="2s")
    client, contact = s.login(presence=0), s.direct(presence=0)
    tell(client, contact.jid, "composing", "<thread>t&lt;1</thread>")
    expect(contact, client, "composing")
    client.ping()
    client.cut()
    assert expect(contact, client, "paused").find("thread").text == "t<1"
    expect(contact, client, "gone")
    s.wait_no_sessions()
    assert [each for each in contact.read_all(QUIET) if each.name == "message"] == []
    assert s.figure("chat_states_total", state="paused") == 1
    assert s.figure("chat_states_total", state="gone") == 1


def test_a_client_that_comes_back_in_time(stub_scene, stub):
    s = stub_scene(receipts_paused_after="1m")
    client = s.login()
    session = stub.session_of(client.jid)
    tell(client, f"x@{s.domain}/c", "composing")
    client.cut()
    s.wait_detached()
    client = s.resume(client)
    tell(client, f"x@{s.domain}/c", "active", "<body>x</body>")
    client.ping()
    assert [state_of(each) for each in session.received if each.name == "message"] == ["composing", "active"]
    assert client.request() == client.sent


def test_none_is_told_if_so_set(stub_scene, stub):
    s = stub_scene(receipts_paused_after="0", sm_max="1s")
    client = s.login()
    session = stub.session_of(client.jid)
    tell(client, f"x@{s.domain}/c", "composing")
    client.cut()
    s.wait_no_sessions()
    assert [state_of(each) for each in session.received if each.name == "message"] == ["composing"]


def test_a_client_that_says_goodbye_speaks_for_itself(stub_scene, stub):
    s = stub_scene(receipts_paused_after="100ms")
    client = s.login()
    session = stub.session_of(client.jid)
    tell(client, f"x@{s.domain}/c", "composing")
    client.close()
    s.wait_no_sessions()
    assert [state_of(each) for each in session.received if each.name == "message"] == ["composing"]


def test_another_node_knows_the_chats(receipts_cluster):
    """But not how far they were: its client has been back since, and was not composing any more."""
    s = receipts_cluster(receipts_paused_after="1m", sm_sessions_per_account=1)
    client, contact = s.login(presence=0), s.direct(presence=0)
    tell(client, contact.jid, "composing")
    expect(contact, client, "composing")
    client.presence()
    client.ping()
    client.request()
    s.wait_settled()
    next_node(s)
    again = s.resume(client)
    again.ping()
    again.cut()
    s.wait_detached()
    s.login(resource="other").cut()  # makes room
    expect(contact, again, "gone")
