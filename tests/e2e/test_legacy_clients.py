"""Clients without stream management (receipts.confirm_legacy_clients): what was written to them is confirmed by a ping
behind it, and what was not when their connection broke is delivered at the next login."""

import contextlib
import os
import threading

import pytest

from knife import DOWN
from raw import NS_PING, Closed
from scene import eventually, from_server, scene, stub, stub_scene  # noqa: F401  (fixtures)
from test_receipts import (ALL, GRACE, NS_RECEIPTS, ask, expect_none, expect_receipt, fetch_roster, friends, is_receipt,
                           read)

CUTS = int(os.environ.get("HOLDFAST_TEST_CUTS") or 50)
COUNT = 100
pytestmark = pytest.mark.servers("prosody")


@pytest.fixture
def legacy_scene(scene):
    return lambda **keywords: scene(**{"receipts_confirm_legacy_clients": "on"} | keywords)


def is_ping(element):
    return element.name == "iq" and element["type"] == "get" and element.has("ping", NS_PING)


def answer(client, ping, kind="result"):
    client.stanza(f"<iq type='{kind}' id='{ping['id']}' to='{ping['from']}'/>")


def read_on(client, seen, s):
    """Reads to the end of the connection as a client does: pings are answered in their place."""
    with contextlib.suppress(Closed):
        while not (element := client.read_element()).is_end:
            if s.is_ours(element):
                seen.append(s.number(element))
            elif is_ping(element):
                answer(client, element)


@contextlib.contextmanager
def reading(client, seen, s):
    reader = threading.Thread(target=read_on, args=(client, seen, s))
    reader.start()
    yield
    reader.join()


def test_a_client_is_cut_with_messages_in_flight(stub_scene):
    """Again and again: each message arrives, and only what was not confirmed comes twice."""
    s = stub_scene(receipts_confirm_legacy_clients="on")
    knife, seen = s.knife(), []
    for number in range(CUTS):
        client = s.login(sm=False, presence=0, port=knife.port)
        session, = eventually(lambda: s.legacy.sessions[number:], "the server has bound it")
        first = number * (COUNT + 1)
        messages = from_server(s, client.jid, range(first + 1, first + 1 + COUNT))
        with reading(client, seen, s):
            session.send(from_server(s, client.jid, [first]))
            eventually(lambda: first in seen, "the first has arrived")
            connection = knife.connections[-1]
            place = connection.passed[1] + number * 1009 % len(messages)
            connection.cut_after(place, DOWN, "rst" if number % 2 else "fin")
            session.send(messages)
        s.wait_figure(first + 1 + COUNT, "stanzas_total", direction="downlink", kind="message")
        s.wait_no_sessions()
        session.wait_ended()
    unconfirmed = s.figure("legacy_messages_total", delivery="unconfirmed")
    last = s.login(sm=False, presence=0)
    with reading(last, seen, s):
        eventually(lambda: s.figure("mailbox_messages") == 0, "all of it is confirmed")
        last.half_close()
    assert sorted(set(seen)) == list(range(CUTS * (COUNT + 1)))
    assert 0 < len(seen) - len(set(seen)) <= unconfirmed
    assert s.figure("client_pings_total", result="answered") > CUTS


@ALL
def test_each_is_confirmed_by_a_ping_behind_it(legacy_scene):
    s = legacy_scene()
    client, contact = s.login(sm=False, presence=0), s.direct(presence=0)
    for number in range(3):
        s.say(contact, client.jid, [number])
        assert s.hear(client, 1) == [number]
        answer(client, client.wait_for(is_ping))
    s.wait_figure(3, "client_pings_total", result="answered")
    assert s.figure("downlink_fates_total", fate="acked") == 3
    assert s.figure("legacy_messages_total", delivery="confirmed") == 3
    s.say(client, contact.jid, [3])
    assert s.hear(contact, 1) == [3]
    s.say(contact, client.jid, [4])
    assert s.hear(client, 1) == [4]
    client.wait_for(is_ping)
    client.cut()
    s.wait_no_sessions()
    again = s.login(sm=False, presence=0)
    late = again.wait_for(s.is_ours)
    assert s.number(late) == 4 and late.has("delay", "urn:xmpp:delay")
    answer(again, again.wait_for(is_ping), "error")
    s.wait_figure(1, "mailbox_fates_total", fate="delivered")
    again.cut()
    s.wait_no_sessions()
    assert s.hear_rest(s.login(presence=0)) == []


def test_another_client_of_the_account_gets_it_at_once(legacy_scene):
    s = legacy_scene()
    client, other, contact = s.login(sm=False, presence=0), s.login(resource="other", presence=0), s.direct(presence=0)
    s.say(contact, client.jid, [1])
    s.hear(client, 1)
    client.cut()
    assert s.hear(other, 1) == [1]


def test_a_client_that_answers_no_ping_is_left_alone(legacy_scene):
    """One ping, and none after it; to it a message is delivered when the connection has lived five seconds longer."""
    s = legacy_scene()
    client, contact = s.login(sm=False, presence=0), s.direct(presence=0)
    s.say(contact, client.jid, [1])
    s.wait_figure(1, "legacy_messages_total", delivery="assumed")
    assert s.figure("client_pings_total", result="ignored") == 1
    s.say(contact, client.jid, [2])
    assert s.hear(client, 2) == [1, 2]
    client.cut()
    s.wait_no_sessions()
    assert s.figure("client_pings_total", result="sent") == 1
    assert s.hear(s.login(sm=False, presence=0), 1) == [2]


def test_a_client_in_a_hole_loses_nothing(legacy_scene):
    """What its TCP has not taken does not count after five seconds; its silence ends the connection."""
    s = legacy_scene(sm_ack_timeout="1s", receipts_grace=f"{int(GRACE * 1000)}ms")
    knife = s.knife()
    client, contact = friends(s, sm=False, port=knife.port)
    ask(s, contact, client.jid, 1)
    read(s, client)
    answer(client, client.wait_for(is_ping))
    expect_receipt(s, contact, client, 1)
    knife.hole()
    ask(s, contact, client.jid, 2)
    s.wait_figure(1, "sessions_ended_total", reason="client_gone")
    expect_none(contact)
    again = s.login(sm=False, presence=0)
    fetch_roster(again)
    message, = read(s, again)
    expect_none(contact)
    answer(again, again.wait_for(is_ping))
    assert expect_receipt(s, contact, again, 2).find("received")["id"] == message["id"]
    expect_none(contact)


def test_receipts_of_its_own(legacy_scene):
    s = legacy_scene(receipts_grace=f"{int(GRACE * 1000)}ms")
    client, contact = friends(s, sm=False)
    ask(s, contact, client.jid, 1)
    message, = read(s, client)
    client.message(contact.jid, "", "own", payload=f"<received xmlns='{NS_RECEIPTS}' id='{message['id']}'/>")
    assert contact.wait_for(is_receipt)["id"] == "own"
    answer(client, client.wait_for(is_ping))
    expect_none(contact)
    client.cut()
    s.wait_no_sessions()
    assert s.figure("mailbox_kept_total") == 0


def test_switched_off_it_is_relayed_as_it_was(scene):
    s = scene()
    client, contact = s.login(sm=False, presence=0), s.direct(presence=0)
    s.say(contact, client.jid, [1])
    s.hear(client, 1)
    assert not any(map(is_ping, client.read_all(0.5)))
    assert s.figure("downlink_fates_total", fate="relayed") >= 1
