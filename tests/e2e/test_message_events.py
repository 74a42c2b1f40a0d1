"""Message events (XEP-0022), which old clients ask for and tell: delivered and offline on behalf of clients, and the way
between those who speak them and those who speak receipts (XEP-0184)."""

import pytest

from cluster import cluster, redis  # noqa: F401  (fixtures)
from scene import scene  # noqa: F401  (fixture)
from test_receipts import (ALL, GRACE, REQUEST, answer, expect_none, expect_receipt, fetch_roster, friends, is_receipt,
                           read, receipts_scene)  # noqa: F401  (fixture)
from test_receipts_failover import next_node, receipts_cluster, wait_released  # noqa: F401  (fixture)

NS_EVENT = "jabber:x:event"
pytestmark = pytest.mark.servers("prosody")


def ask(s, contact, to, number, *events, payload="", **how):
    tags = "".join(f"<{event}/>" for event in events)
    contact.message(to, s.text(number), f"{s.token}-{number}", payload=f"<x xmlns='{NS_EVENT}'>{tags}</x>{payload}",
                    **how)


def is_event(element):
    return element.name == "message" and element.get("type") != "error" and element.has("x", NS_EVENT) and \
        element.find("body") is None


def expect_event(s, contact, client, number, event):
    told = contact.wait_for(is_event)
    x = told.find("x", NS_EVENT)
    assert sorted(child.name for child in x.children) == sorted([event, "id"]), "one event, and the id"
    assert x.find("id").text == f"{s.token}-{number}"
    assert [child.name for child in told.children] == ["x"], "and nothing beside it"
    assert told["from"] == client.jid
    return told


def tell(client, message, event):
    client.stanza(f"<message to='{message['from']}' id='own-{message['id']}'><x xmlns='{NS_EVENT}'><{event}/>"
                  f"<id>{message['id']}</id></x></message>")


@ALL
def test_exactly_one_event_for_each_request(receipts_scene):
    s = receipts_scene()
    client, contact = friends(s)
    for number in range(3):
        ask(s, contact, client.jid, number, "offline", "delivered", "displayed", "composing")
        read(s, client)
        expect_none(contact, 2 * GRACE if number == 0 else 0.02)
        client.ack()
        assert expect_event(s, contact, client, number, "delivered")["id"].startswith("hfr-")
    ask(s, contact, client.jid, 3, "displayed", "composing")
    read(s, client)
    client.ack()
    expect_none(contact)
    assert client.request() == client.sent, "ours are not the client's: its counter does not know of them"
    assert s.figure("message_events_total", event="delivered", source="proxy") == 3
    assert s.figure("receipts_total") == 0


def test_a_client_that_tells_for_itself(receipts_scene):
    s = receipts_scene()
    client, contact = friends(s)
    ask(s, contact, client.jid, 1, "delivered", "displayed")
    message, = read(s, client)
    tell(client, message, "delivered")
    client.ack()
    assert expect_event(s, contact, client, 1, "delivered")["id"].startswith("own-")
    tell(client, message, "displayed")
    expect_event(s, contact, client, 1, "displayed")
    contact.message(client.jid, s.text(2), f"{s.token}-2", payload=REQUEST)
    read(s, client)
    client.ack()
    expect_receipt(s, contact, client, 2)  # of receipts it knows nothing
    expect_none(contact)
    assert s.figure("message_events_total", event="delivered", source="client") == 1


def test_a_late_one_of_the_client_goes_nowhere(receipts_scene):
    s = receipts_scene()
    client, contact = friends(s)
    ask(s, contact, client.jid, 1, "delivered")
    message, = read(s, client)
    client.ack()
    expect_event(s, contact, client, 1, "delivered")
    tell(client, message, "delivered")
    s.wait_figure(1, "receipts_swallowed_total", what="late")
    expect_none(contact)
    assert client.request() == client.sent, "it counts like any other"


@pytest.mark.parametrize("answers", [True, False], ids=["answers", "silent"])
def test_both_languages_at_once(receipts_scene, answers):
    """A stanza for each: an event stands alone (XEP-0022 3.2). A client that answers one way is spoken for in the other."""
    s = receipts_scene()
    client, contact = friends(s)
    ask(s, contact, client.jid, 1, "delivered", payload=REQUEST)
    message, = read(s, client)
    if answers:
        answer(client, message)
    client.ack()
    receipt = contact.wait_for(is_receipt)
    assert receipt["id"].startswith("own-" if answers else "hfr-")
    expect_event(s, contact, client, 1, "delivered")
    expect_none(contact)


@ALL
def test_offline_while_the_client_is_away(receipts_scene):
    s = receipts_scene()
    client, contact = friends(s)
    client.cut()
    s.wait_detached()
    ask(s, contact, client.jid, 1, "offline", "delivered")
    expect_event(s, contact, client, 1, "offline")
    again = s.resume(client)
    message, = read(s, again)
    asked = message.find("x", NS_EVENT)
    assert [child.name for child in asked.children] == ["delivered"], "who stores it takes the question out"
    again.ack()
    expect_event(s, contact, again, 1, "delivered")
    expect_none(contact)


def test_offline_when_it_goes_to_the_mailbox(receipts_scene):
    """Once, wherever it lies; and delivered when it is."""
    s = receipts_scene(sm_max="2s")
    client, contact = friends(s)
    ask(s, contact, client.jid, 1, "offline", "delivered")
    read(s, client)
    client.cut()
    s.wait_no_sessions()
    expect_event(s, contact, client, 1, "offline")
    again = s.login(resource="new")
    fetch_roster(again)
    again.presence()
    message, = read(s, again)
    assert not message.find("x", NS_EVENT).find("offline")
    again.ack()
    expect_event(s, contact, again, 1, "delivered")
    expect_none(contact)


def test_events_can_be_left_out(receipts_scene):
    s = receipts_scene(receipts_events="off")
    client, contact = friends(s)
    ask(s, contact, client.jid, 1, "offline", "delivered", payload=REQUEST)
    message, = read(s, client)
    assert message.find("x", NS_EVENT).find("offline") is not None
    client.ack()
    expect_receipt(s, contact, client, 1)
    expect_none(contact)


def test_a_stored_composing_is_told_to_nobody(receipts_scene):
    """Composing of old clients is out of date like a chat state: of what came while the client was away the latest is
    told, and none goes to the mailbox."""
    s = receipts_scene(sm_max="2s")
    client, contact = friends(s)
    client.ack()
    client.cut()
    s.wait_detached()
    for event in ("<composing/>", "", "<composing/>"):
        contact.stanza(f"<message to='{client.jid}'><x xmlns='{NS_EVENT}'>{event}<id>1</id></x></message>")
    contact.ping()
    s.wait_figure(1, "parked_stanzas")
    s.wait_no_sessions()
    assert s.figure("mailbox_messages") == 0
    s.wait_figure(3, "downlink_fates_total", fate="discarded_chat_state")


def test_what_was_due_when_the_node_died(receipts_cluster):
    s = receipts_cluster(receipts_grace="1m")
    client, contact = friends(s)
    ask(s, contact, client.jid, 1, "delivered", payload=REQUEST)
    read(s, client)
    client.ack()
    s.wait_settled()
    wait_released(s)
    next_node(s)
    expect_none(contact)
    again = s.resume(client)
    expect_receipt(s, contact, again, 1)
    expect_event(s, contact, again, 1, "delivered")
    expect_none(contact)


def test_what_was_told_is_known_to_the_next_node(receipts_cluster):
    """Offline was told by the first node; the second one delivers, and tells that, once."""
    s = receipts_cluster()
    client, contact = friends(s)
    client.ack()
    client.cut("rst")
    s.wait_detached()
    ask(s, contact, client.jid, 1, "offline", "delivered")
    expect_event(s, contact, client, 1, "offline")
    s.wait_settled()
    next_node(s)
    again = s.resume(client)
    message, = read(s, again)
    assert not message.find("x", NS_EVENT).find("offline")
    again.ack()
    expect_event(s, contact, again, 1, "delivered")
    expect_none(contact)
