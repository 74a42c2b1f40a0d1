"""The end of a session that was not resumed: each stanza's fate, and messages that come later all the same."""

import datetime
import threading
import time

import pytest

from raw import NS_DELAY, NS_PING
from scene import eventually, scene  # noqa: F401  (a fixture)

pytestmark = pytest.mark.servers("prosody")

SOON = "3s"  # and time enough to be detached and to be written to, also where processors stand still for a second or two
CHAT_STATE = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"


def detach(s, client):
    client.cut()
    s.wait_detached()


def expired_with(s, numbers, resource="r", **how):
    """A session of account a has expired with these messages from b. Gives the contact."""
    client, contact = s.login(resource=resource), s.direct()
    detach(s, client)
    s.send_away(contact, client.jid, numbers, **how)
    s.wait_no_sessions()
    return contact


def stamp_of(message):
    return datetime.datetime.fromisoformat(message.find("delay", NS_DELAY)["stamp"].replace("Z", "+00:00"))


# Messages

@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
def test_messages_come_later_exactly_once_in_order_with_the_time_they_arrived(scene):
    s = scene(sm_max=SOON)
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    contact = expired_with(s, [1, 2, 3])
    after = datetime.datetime.now(datetime.timezone.utc)
    assert s.figure("mailbox_messages") == 3
    again = s.login(resource="new", presence=0)
    came = [again.wait_for(s.is_ours) for _ in range(3)]
    assert [s.number(message) for message in came] == [1, 2, 3]
    assert all(before <= stamp_of(message) <= after for message in came)
    assert all(message["from"] == contact.jid for message in came)
    assert s.hear_rest(again) == []
    again.ack()
    again.ping()
    again.close()
    third = s.login(resource="third", presence=0)
    assert s.hear_rest(third) == []
    assert s.figure("mailbox_fates_total", fate="delivered") == 3


def test_messages_are_passed_on_unchanged_but_for_the_stamp(scene):
    s = scene(sm_max=SOON)
    payload = "<thread>t</thread><x xmlns='urn:example:x' a='1'>&lt;&amp;é</x>"
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1], payload=payload)
    original = client.wait_for("message").raw
    detach(s, client)
    s.wait_no_sessions()
    again = s.login(resource="new", presence=0)
    late = again.wait_for("message").raw
    start = late.index(b"<delay")
    end = late.index(b">", start) + 1
    assert late[:start] + late[end:].removeprefix(b"</delay>") == original


def test_what_was_read_but_not_acked_comes_again(scene):
    s = scene(sm_max=SOON)
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1, 2, 3, 4])
    s.hear(client, 4)
    client.ack(2)
    client.ping()
    client.cut()
    s.wait_no_sessions()
    again = s.login(resource="new", presence=0)
    assert s.hear(again, 2) == [3, 4]
    assert s.hear_rest(again) == []


def test_unacked_messages_of_a_clean_end_come_later(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1, 2])
    s.hear(client, 2)
    client.close()
    s.wait_no_sessions()
    again = s.login(resource="new", presence=0)
    assert s.hear(again, 2) == [1, 2]


def test_acked_messages_of_a_clean_end_do_not(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1, 2])
    s.hear(client, 2)
    client.ack()
    client.close()
    s.wait_no_sessions()
    again = s.login(resource="new", presence=0)
    assert s.hear_rest(again) == []
    assert s.figure("downlink_fates_total", fate="mailbox") == 0


def test_a_stamp_that_was_there_stays(scene):
    s = scene(sm_max=SOON)
    expired_with(s, [1], payload=f"<delay xmlns='{NS_DELAY}' stamp='2001-02-03T04:05:06Z'/>")
    again = s.login(resource="new", presence=0)
    message = again.wait_for(s.is_ours)
    assert message.raw.count(b"<delay") == 1
    assert stamp_of(message).year == 2001


# When the mailbox opens

def test_the_mailbox_waits_for_a_presence_of_non_negative_priority(scene):
    s = scene(sm_max=SOON)
    expired_with(s, [1, 2])
    again = s.login(resource="new")
    again.ping()
    assert s.hear_rest(again) == []
    again.presence(priority=-1)
    again.ping()
    assert s.hear_rest(again) == []
    again.presence(to=s.jid("b"))
    again.ping()
    assert s.hear_rest(again) == []
    again.presence(priority=1)
    assert s.hear(again, 2) == [1, 2]


def test_old_messages_come_before_what_the_server_has_stored(scene):
    """The presence is held back until the mailbox has answered."""
    s = scene(sm_max=SOON)
    contact = expired_with(s, [1, 2, 3])
    s.say(contact, s.jid(), [4, 5, 6])
    contact.ping()
    again = s.login(resource="new", presence=0)
    assert s.hear(again, 6) == [1, 2, 3, 4, 5, 6]
    assert s.hear_rest(again) == []


def test_a_client_without_stream_management_gets_them_as_well(scene):
    s = scene(sm_max=SOON)
    expired_with(s, [1, 2])
    again = s.login(resource="new", sm=False, presence=0)
    assert s.hear(again, 2) == [1, 2]
    again.ping()
    again.close()
    assert s.hear_rest(s.login(resource="third", presence=0)) == []


def test_mail_behind_the_replay_of_a_resumption(scene):
    s = scene(sm_max="10m")
    first, contact = s.login(resource="one", max_seconds=1), s.direct()
    second = s.login(resource="two", presence=0)
    detach(s, second)
    s.send_away(contact, second.jid, [10, 11])
    detach(s, first)
    s.send_away(contact, first.jid, [1, 2])
    eventually(lambda: s.figure("mailbox_messages") == 2, "the first has expired")
    again = s.resume(second)
    assert s.hear(again, 4) == [10, 11, 1, 2]


def test_mail_reaches_a_session_that_is_online_at_once(scene):
    s = scene(sm_max=SOON)
    online = s.login(resource="online", presence=0)
    contact, client = s.direct(), s.login(resource="r")
    detach(s, client)
    s.send_away(contact, client.jid, [1, 2])
    assert s.hear(online, 2) == [1, 2]
    online.ack()
    online.ping()
    assert s.hear_rest(online) == []


def test_mail_that_was_not_acked_is_not_lost(scene):
    s = scene(sm_max=SOON)
    expired_with(s, [1, 2, 3])
    for resource in ("second", "third", "fourth"):
        client = s.login(resource=resource, presence=0)
        assert s.hear(client, 3) == [1, 2, 3]
        client.cut()
        s.wait_no_sessions()
    last = s.login(resource="last", presence=0)
    assert s.hear(last, 3) == [1, 2, 3]
    last.ack()
    last.ping()
    last.close()
    s.wait_no_sessions()
    assert s.figure("mailbox_messages") == 0


def test_chains_of_expired_sessions_do_not_multiply_messages(scene):
    """Four sessions of one account end one by one with what they hold: 2^(N-1) copies elsewhere."""
    s = scene(sm_max="10m")
    contact = s.direct()
    clients = [s.login(resource=f"r{n}", max_seconds=n + 1, presence=0) for n in range(4)]
    for client in clients:
        client.ping()
        client.cut()
    s.wait_detached(4)
    for number, client in enumerate(clients):
        s.send_away(contact, client.jid, [number])
    s.wait_no_sessions(20)
    again = s.login(resource="new", presence=0)
    assert sorted(s.hear(again, 4)) == [0, 1, 2, 3]
    assert s.hear_rest(again) == []


def test_mail_of_two_sessions_keeps_the_order_of_each(scene):
    s = scene(sm_max=SOON)
    one, two, contact = s.login(resource="one"), s.login(resource="two"), s.direct()
    one.cut()
    two.cut()
    s.wait_detached(2)
    for number in range(0, 20, 2):
        s.say(contact, one.jid, [number])
        s.say(contact, two.jid, [number + 1])
    s.wait_no_sessions()
    again = s.login(resource="new", presence=0)
    came = s.hear(again, 20)
    assert [number for number in came if number % 2 == 0] == list(range(0, 20, 2))
    assert [number for number in came if number % 2 == 1] == list(range(1, 20, 2))


def test_the_mailboxes_time_ends_counted(scene):
    s = scene(sm_max=SOON, sm_mailbox_ttl="1s")
    expired_with(s, [1, 2])
    s.wait_figure(2, "mailbox_fates_total", fate="expired")
    assert s.figure("mailbox_messages") == 0
    assert s.figure("mailbox_bytes") == 0
    again = s.login(resource="new", presence=0)
    assert s.hear_rest(again) == []


def test_mail_is_its_owners_alone(scene):
    s = scene(sm_max=SOON)
    expired_with(s, [1, 2])
    other = s.login("other", presence=0)
    assert s.hear_rest(other) == []
    assert s.figure("mailbox_messages") == 2


# Other kinds

@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
def test_a_contact_who_asks_a_lost_client_is_told(scene):
    s = scene(sm_max=SOON)
    client, contact = s.login(), s.direct()
    detach(s, client)
    contact.iq("get", "question", f"<ping xmlns='{NS_PING}'/>", to=client.jid)
    s.wait_figure(1, "stanzas_total", direction="downlink", kind="iq")
    answer = contact.wait_for(lambda element: element.name == "iq" and element.get("id") == "question")
    assert answer["type"] == "error"
    assert answer.condition == "recipient-unavailable"
    assert answer["from"] == client.jid
    s.wait_figure(1, "downlink_fates_total", fate="bounced")


@pytest.mark.parametrize("kind, payload, body, fate", [
    ("groupchat", "", "in the room", "discarded_groupchat"),
    ("headline", "", "news", "discarded_message"),
    ("error", "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>", "x",
     "discarded_message"),
    ("chat", CHAT_STATE, None, "discarded_chat_state"),
], ids=["groupchat", "headline", "error", "chat state"])
def test_what_is_out_of_date_is_discarded_and_counted(scene, kind, payload, body, fate):
    s = scene(sm_max=SOON)
    client, contact = s.login(), s.direct()
    detach(s, client)
    contact.message(client.jid, body and f"{s.token} {body}", "m", kind, payload)
    s.wait_figure(1, "stanzas_total", direction="downlink", kind="message")
    s.wait_no_sessions()
    assert s.figure("downlink_fates_total", fate=fate) == 1
    assert s.figure("mailbox_messages") == 0
    contact.ping()
    assert [element for element in contact.read_all(0.2) if element.name == "message"] == [], "no error to a room"


def test_carbon_copies_are_discarded(scene):
    s = scene(sm_max=SOON)
    client, contact = s.login(presence=0), s.direct()
    client.iq("set", "carbons", "<enable xmlns='urn:xmpp:carbons:2'/>")
    client.pick("iq")
    client.request()
    client.ack()
    detach(s, client)
    before = s.figure("downlink_fates_total", fate="discarded_message")
    sibling = s.direct("a", "sibling", presence=0)
    s.say(sibling, contact.jid, [1])
    sibling.ping()
    s.wait_figure(1, "stanzas_total", direction="downlink", kind="message")
    s.wait_no_sessions()
    assert s.figure("downlink_fates_total", fate="discarded_message") == before + 1
    assert s.figure("mailbox_messages") == 0


def test_presence_is_discarded_and_counted(scene):
    s = scene(sm_max=SOON)
    client, contact = s.login(), s.direct()
    detach(s, client)
    contact.presence(to=client.jid)
    s.wait_figure(1, "stanzas_total", direction="downlink", kind="presence")
    s.wait_no_sessions()
    assert s.figure("downlink_fates_total", fate="discarded_presence") == 1


def test_a_message_with_a_chat_state_and_a_body_is_kept(scene):
    s = scene(sm_max=SOON)
    expired_with(s, [1], payload=CHAT_STATE)
    assert s.hear(s.login(resource="new", presence=0), 1) == [1]


def test_a_message_without_a_body_but_with_something_in_it_is_kept(scene):
    s = scene(sm_max=SOON)
    client, contact = s.login(), s.direct()
    detach(s, client)
    contact.message(client.jid, None, "m", payload=f"<secret xmlns='urn:example:omemo'>{s.token}</secret>")
    s.wait_figure(1, "stanzas_total", direction="downlink", kind="message")
    s.wait_no_sessions()
    again = s.login(resource="new", presence=0)
    assert again.wait_for("message").find("secret").text == s.token


def test_one_odd_stanza_in_a_queue_does_not_stop_the_rest(scene):
    s = scene(sm_max=SOON)
    client, contact = s.login(), s.direct()
    detach(s, client)
    s.say(contact, client.jid, [1])
    contact.presence(to=client.jid, kind="subscribe")
    contact.iq("get", "", "<query xmlns='urn:example:odd'/>", to=client.jid)
    s.send_away(contact, client.jid, [2])
    contact.presence(to=client.jid, kind="unavailable")
    s.send_away(contact, client.jid, [3])
    s.wait_no_sessions()
    again = s.login(resource="new", presence=0)
    assert s.hear(again, 3) == [1, 2, 3]


# What the server and the contacts see

@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
def test_contacts_see_the_client_leave_at_expiry_and_not_before(scene):
    s = scene(sm_max="2s")
    contact = s.direct(presence=0)
    client = s.login(presence=0)
    client.presence(to=contact.jid)
    contact.wait_for(lambda element: element.name == "presence" and element.get("from") == client.jid)
    client.ping()
    client.cut()
    started = time.monotonic()
    contact.wait_for(lambda element: element.name == "presence" and element.get("type") == "unavailable"
                     and element.get("from") == client.jid)
    assert time.monotonic() - started >= 1.8


def test_a_clean_end_is_seen_at_once(scene):
    s = scene()
    contact = s.direct(presence=0)
    client = s.login(presence=0)
    client.presence(to=contact.jid)
    contact.wait_for(lambda element: element.name == "presence" and element.get("from") == client.jid)
    client.close()
    contact.wait_for(lambda element: element.name == "presence" and element.get("type") == "unavailable"
                     and element.get("from") == client.jid, timeout=5)


@pytest.mark.servers("prosody")
@pytest.mark.parametrize("sm", [True, False], ids=["managed", "unmanaged"])
def test_a_message_that_crosses_the_clean_end_on_its_way_is_not_lost(scene, sm):
    """The server takes the client for online until it has read the end. (ejabberd 23.01 and jabberd2 lose such a message by
    themselves: without any proxy, on a busy machine, ejabberd lost 15 of 60.)"""
    s = scene()
    client, contact = s.login(sm=sm, presence=0), s.direct()
    for number in range(6):
        client.send("</stream:stream>")
        s.say(contact, s.jid(), [number])
        _, last = client.wait_closed()
        # The proxy may read the end late, and have passed the message on: without acks that is all there is to know.
        had = not sm and any(s.is_ours(element) and s.number(element) == number for element in last)
        # A login before the server has closed the old stream might miss what it stores for it just then.
        s.wait_figure(number + 1, "legs_closed_total", leg="upstream")
        client = s.login(resource=f"r{number}", sm=sm, presence=0)
        assert had or s.hear(client, 1) == [number]
        if sm:
            client.ack()
        client.ping()


def test_the_same_resource_bound_anew_takes_the_detached_sessions_place(scene):
    """The server ends the old stream with conflict: what it held comes to the new one."""
    s = scene()
    client, contact = s.login(resource="same", presence=0), s.direct()
    client.ping()
    client.h_in = 0
    detach(s, client)
    s.send_away(contact, client.jid, [1, 2])
    again = s.login(resource="same")
    eventually(lambda: s.figure("sessions", state="detached") == 0, "the old session has ended")
    again.presence()
    assert s.hear(again, 2) == [1, 2]
    s.say(contact, again.jid, [3])
    assert s.hear(again, 1) == [3]
    assert s.hear_rest(again) == []
    assert s.figure("sessions_ended_total", reason="upstream_conflict") == 1


# Limits

def test_the_oldest_of_too_many_detached_sessions_goes_first(scene):
    s = scene(sm_sessions_per_account=2)
    contact = s.direct()
    clients = []
    for number in range(4):
        client = s.login(resource=f"r{number}")
        client.ping()
        client.cut()
        s.wait_figure(number + 1, "legs_closed_total", leg="client")
        clients.append(client)
        eventually(lambda: s.figure("sessions", state="attached") == 0, "it is detached")
        if number < 2:
            s.send_away(contact, client.jid, [number])
    eventually(lambda: s.figure("sessions") == 2, "two are left")
    assert s.figure("sessions_ended_total", reason="evicted") == 2
    for client in clients[:2]:
        assert s.authenticated().try_resume(client.sm_id, client.h_in).condition == "item-not-found"
    for client in clients[2:]:
        assert s.resume(client).ping()["type"] == "result"
    assert s.hear(s.login(resource="new", presence=0), 2) == [0, 1]


def test_sessions_of_other_accounts_do_not_count(scene):
    s = scene(sm_sessions_per_account=1)
    clients = {name: s.login(name) for name in ("a", "b", "c")}
    for client in clients.values():
        client.cut()
    s.wait_detached(3)
    for name, client in clients.items():
        s.resume(client, name)


def test_a_detached_session_whose_queue_stays_full_expires_and_loses_nothing(scene):
    s = scene(sm_queue_stanzas=20, sm_full_grace="500ms")
    client, contact = s.login(), s.direct()
    detach(s, client)
    for start in range(0, 60, 10):
        s.say(contact, client.jid, range(start, start + 10))
    contact.ping()
    s.wait_no_sessions()
    assert s.figure("sessions_ended_total", reason="queue_full") == 1
    again = s.login(resource="new", presence=0)
    again.auto_ack = True  # a mailbox that is larger than the queue comes in portions
    assert sorted(s.hear(again, 60)) == list(range(60))
    assert s.hear_rest(again) == []


def test_a_full_queue_that_is_fetched_in_time_lives(scene):
    s = scene(sm_queue_stanzas=20, sm_full_grace="20s")
    client, contact = s.login(), s.direct()
    detach(s, client)
    s.say(contact, client.jid, range(100))
    contact.ping()
    s.wait_queued(20)
    again = s.resume(client)
    again.auto_ack = True
    assert s.hear(again, 100) == list(range(100))


def test_a_slow_attached_client_is_met_with_back_pressure_not_with_a_verdict(scene):
    s = scene(sm_queue_stanzas=50, sm_queue_bytes="64k", sm_full_grace="200ms")
    client, contact = s.login(connect={"rcvbuf": 4096}), s.direct()
    filler = "<x xmlns='urn:example:filler'>" + "f" * 2000 + "</x>"

    def flood():
        for number in range(1500):
            s.say(contact, client.jid, [number], payload=filler)

    sending = threading.Thread(target=flood)
    sending.start()
    s.wait_figure(1, "backpressure_total", leg="upstream")
    client.auto_ack = True
    assert s.hear(client, 1500, timeout=30) == list(range(1500))
    sending.join()
    assert s.figure("legs_closed_total", leg="client") == 0
