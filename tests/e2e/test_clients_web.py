"""Other clients of the web, unmodified, over WebSocket through Holdfast in front of each server: xmpp.js in Node,
strophe.js and Converse.js in Chromium.

Without stream management of its own, which strophe.js has only if asked for, a client loses what was under way at a
cut; it logs in again, and finds what the server has kept."""

import collections

import pytest

import xmppjs
from browser import PageClient, browser  # noqa: F401  (a fixture)
from scene import scene  # noqa: F401  (a fixture)
from slix import numbered
from stanzajs import service

Account = collections.namedtuple("Account", "name password jid")


@pytest.fixture
def person(request, knife_factory):
    """person(room, "strophe_page"): a client of that kind, who comes through a knife (client.knife)."""
    def make(room, kind, **given):
        knife = knife_factory(room.proxy.host, room.proxy.wss_port)
        account = Account(*room.account(), room.jid())
        if kind == "xmppjs":
            client = xmppjs.Client(account, "localhost", knife.port, room.proxy.ca, "wss")
        else:
            given |= {"service": service("wss", "localhost", knife.port), "jid": account.jid,
                      "password": account.password}
            client = PageClient(account.jid, request.getfixturevalue("browser"), kind, given)
        client.knife = knife
        return client
    return make


def bodies(contact, count):
    return [contact.wait_for(lambda element: element.name == "message" and element.body).body for _ in range(count)]


def chat(room, client, friend):
    """Some words each way."""
    client.say(friend.jid, *numbered("hello", 1, 3))
    assert bodies(friend, 3) == numbered("hello", 1, 3)
    room.say(friend, client.jid, range(3))
    client.until_bodies(*[room.text(number) for number in range(3)])


@pytest.mark.parametrize("kind, given", [("xmppjs", {}), ("converse_page", {}), ("strophe_page", {"managed": True})],
                         ids=["xmppjs", "converse", "strophe-managed"])
def test_it_survives_a_cut(scene, person, kind, given):
    room = scene(sm_request_delay="100ms")
    friend = room.direct("b", presence=0)
    with person(room, kind, **given) as client:
        chat(room, client, friend)
        client.knife.refuse()
        client.knife.cut("rst")
        room.wait_detached()
        room.send_away(friend, client.jid, range(3, 6))
        client.knife.refuse(False)
        client.until_resumed()
        client.until_bodies(*[room.text(number) for number in range(6)])
        client.say(friend.jid, "back")
        assert bodies(friend, 1) == ["back"]
        assert len(client.of("online")) == 1
        assert room.proxy.resumes() == 1


def test_strophe_works_without_stream_management(scene, person):
    room = scene()
    friend = room.direct("b", presence=0)
    with person(room, "strophe_page") as client:
        chat(room, client, friend)
        client.knife.refuse()
        client.knife.cut("rst")
        room.wait_no_sessions()
        room.say(friend, client.jid, range(3, 6))
        friend.ping()
        client.knife.refuse(False)
        client.until(lambda: len(client.of("online")) == 2, "second login")
        client.until_bodies(*[room.text(number) for number in range(6)])
        client.say(friend.jid, "back")
        assert bodies(friend, 1) == ["back"]
