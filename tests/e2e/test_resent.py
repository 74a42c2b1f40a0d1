"""A client whose session is lost sends again what it has no ack of: who gets it gets it once."""

import json

import pytest

from cluster import redis, stub_cluster  # noqa: F401  (fixtures)
from knife import DOWN
from raw import NS_SM3
from scene import eventually, scene, stub, stub_scene  # noqa: F401  (fixtures)
from slix import numbered
from xmppjs import Client

KNOWN = "resent_known_total"


def confirmed(s, jid):
    """How many stanzas of the client the proxy has got, if none of them is unconfirmed."""
    row, = json.loads(s.proxy.http("/sessions?format=json&jid=" + jid)[1])
    return row["received"] if row["unconfirmed"] == 0 else None


def lose(s, client):
    """Its connection breaks, it has had no ack, and its time runs out."""
    eventually(lambda: confirmed(s, client.jid) == client.sent, "the server has confirmed all")
    before = s.figure("sessions_ended_total", reason="expired")
    client.cut("rst")
    s.wait_figure(before + 1, "sessions_ended_total", reason="expired")


def too_late(s, client, resource="again"):
    """The client comes back, is told so, and binds anew on that stream, with what it has not got acks of in hand."""
    again = s.authenticated()
    failed = again.try_resume(client.sm_id, client.h_in)
    assert failed.name == "failed" and failed["h"] == str(client.sent)
    again.bind(resource)
    again.enable()
    return again


def send_again(old, new, skip=0):
    for _, xml in old.unacked[skip:]:
        new.stanza(xml)


@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
def test_who_gets_it_gets_it_once(scene):
    s = scene(sm_max="1s")
    client, contact = s.login(), s.login("b", sm=False, presence=0)
    s.say(client, contact.jid, range(5))
    assert s.hear(contact, 5) == list(range(5))
    lose(s, client)
    again = too_late(s, client)
    send_again(client, again)
    s.say(again, contact.jid, [9])
    assert s.hear(contact, 1) == [9]
    assert s.hear_rest(contact) == []
    assert again.request() == 6
    assert s.figure(KNOWN) == 5 and s.figure("uplink_fates_total", fate="swallowed") == 5


def test_the_same_words_with_another_id_are_said_twice(stub_scene):
    s = stub_scene(sm_max="1s")
    client = s.login()
    client.message("x@" + s.domain, s.text(1), "one")
    client.message("x@" + s.domain, s.text(1))
    lose(s, client)
    again = too_late(s, client)
    at_server = s.legacy.session_of(again.jid)
    again.message("x@" + s.domain, s.text(1))
    again.message("x@" + s.domain, s.text(1), "two")
    again.message("x@" + s.domain, s.text(1), "one")  # the first one was new: so is this
    at_server.wait_for(lambda element: element.get("id") == "one")
    assert s.figure(KNOWN) == 0


def test_it_can_be_turned_off(stub_scene):
    s = stub_scene(sm_max="1s", sm_recognize_resent="off")
    client = s.login()
    client.message("x@" + s.domain, s.text(1), "one")
    lose(s, client)
    again = too_late(s, client)
    send_again(client, again)
    s.legacy.session_of(again.jid).wait_for(lambda element: element.get("id") == "one")


def test_no_more_than_the_last_are_known_and_not_for_ever(stub_scene):
    s = stub_scene(sm_max="1s", sm_recognize_stanzas=2, sm_recognize_window="1s")
    client = s.login()
    s.say(client, "x@" + s.domain, range(4))
    lose(s, client)
    again = too_late(s, client)
    send_again(client, again, skip=2)
    s.wait_figure(2, KNOWN)
    lose(s, again)
    third = too_late(s, again, "third")
    assert third.read_all(1.1) == []  # the window passes
    send_again(again, third)
    s.legacy.session_of(third.jid).wait_for(lambda element: element.get("id") == f"{s.token}-3")
    assert s.figure(KNOWN) == 2


def test_another_node_knows_them_too(stub_cluster):
    s = stub_cluster(sm_max="1s")
    client = s.login()
    s.say(client, "x@" + s.domain, range(3))
    lose(s, client)
    eventually(lambda: s.redis.keys("hf:{*}:t:*"), "the tombstone is in Redis")
    s.use(1)
    again = too_late(s, client)
    send_again(client, again)
    s.say(again, "x@" + s.domain, [9])
    assert again.request() == 4
    assert s.figure(KNOWN) == 3
    at_server = s.legacy.session_of(again.jid)
    at_server.wait_for(lambda element: element.get("id") == f"{s.token}-9")
    told = json.loads(s.proxy.ctl("--json", "message", f"{s.token}-1"))
    assert [step["step"] for step in told["steps"]] == ["known"]
    assert told["node"] == "node1" and told["other_nodes"] is True
    assert "node node1 remembers; ask the other nodes too." in s.proxy.ctl("message", f"{s.token}-1")
    s.use(0)
    told = json.loads(s.proxy.ctl("--json", "message", f"{s.token}-1"))
    assert [step["step"] for step in told["steps"]] == ["forwarded", "confirmed"]
    status, _, error = s.proxy.ctl("message", f"{s.token}-9", check=False)
    assert status == 1 and "node node0" in error and "ask the other nodes too" in error


@pytest.mark.servers("prosody")
def test_an_application_of_xmppjs(legacy, account, proxy_factory, knife_factory):
    """It does not look at the h of <failed/>, and puts a delay into what it sends again."""
    proxy = proxy_factory(sm_max="1s")
    knife = knife_factory(proxy.host, proxy.port)
    cut, other = (Client(account(), proxy.host, port, proxy.ca) for port in (knife.port, proxy.port))
    with cut, other:
        cut.send_again()
        cut.say(other.jid, *numbered("early", 1, 3))
        cut.until_acked(*numbered("early", 1, 3))
        knife.hole(True, DOWN)
        cut.say(other.jid, *numbered("late", 1, 5))
        other.until_bodies(*numbered("early", 1, 3), *numbered("late", 1, 5))
        proxy.wait_metric("holdfast_unconfirmed_stanzas", 0)
        cut.stay_away()
        knife.cut("rst")
        proxy.wait_metric("holdfast_sessions_ended_total", 1, reason="expired")
        cut.come_back()
        cut.until(lambda: len(cut.of("online")) == 2, "new session")
        cut.until_acked(*numbered("late", 1, 5))
        cut.say(other.jid, "new")
        other.until_bodies(*numbered("early", 1, 3), *numbered("late", 1, 5), "new")
        assert cut.of("failed") == numbered("late", 1, 5)
        assert proxy.metric("holdfast_resent_known_total") == 5
