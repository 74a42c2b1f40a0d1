"""The legacy server restarts, or an upstream leg breaks: sessions outlive it (design: rebuild). Seen from outside, on
the real servers, by clients that come back by themselves."""

import asyncio
import bisect
import collections
import datetime
import os
import re
import time

import pytest

import slix
import xmppjs
from crowd import Crowd
from raw import NS_SM3
from scene import (Stalls, eventually, from_server, own_scene, scene, stub, stub_scene,  # noqa: F401  (fixtures)
                   upstream_knife)
from slix import numbered

SETTLED = 11  # seconds: who has not shown up again by then is told to have left
# ejabberd loses what it has confirmed: messages that cross its own stop, and what it had not written when it is killed
LINGERS = 6
LINGER = {"prosody": {}, "ejabberd": {"sm_confirm_linger": f"{LINGERS}s"}, "jabberd2": {}}
RESTARTS = pytest.mark.parametrize("how", ["stop", "kill"])


@pytest.fixture
def crowd_of():
    """crowd_of(scene) gives its Crowd."""
    made = []

    def make(s):
        made.append(Crowd(s.domain, s.token))
        return made[-1].__enter__()

    yield make
    for each in made:
        each.__exit__()


def all_back(members, times=1, timeout=40):
    for each in members:
        each.until(lambda each=each: len(each.resumed_at) >= times and each.attached, "resumption", timeout)


def assert_well(members):
    """They have met nothing but cuts."""
    for each in members:
        assert not each.faults, each.tell()
        assert not [how for _, how, _ in each.losses if how == "end"], each.tell()


def wait_heard(speaker, listener, timeout=20):
    wanted = speaker.spoken[listener]
    listener.until(lambda: len(set(listener.heard[speaker.user])) >= wanted,
                   f"all {wanted} messages of {speaker.user}, has {listener.heard[speaker.user]}", timeout)


class Oracle:
    """What has to come of all that the members of a crowd have said to each other over restarts of the server."""

    def __init__(self, legacy, members):
        self.legacy = legacy
        self.members = members
        self.stops = []         # when the server was asked to end
        self.confirmed = []     # and what each member then knew as acked

    def end_server(self, how):
        self.stops.append(time.monotonic())
        getattr(self.legacy, how)()
        self.confirmed.append({each: each.acked for each in self.members})

    def pairs(self):
        return [(speaker, listener) for speaker in self.members for listener in speaker.spoken]

    def missing(self):
        return [(speaker, listener, number) for speaker, listener in self.pairs()
                for number in set(range(speaker.spoken[listener])) - set(listener.heard[speaker.user])]

    def is_excused(self, speaker, listener, number):
        """A process of ejabberd's own stores an offline message, and a login takes what is stored. If both come at once
        the message waits for the next login, or is gone; seen on the wire: ejabberd got it, answered the ping behind
        it, and never sent it on. So who is spoken to while it comes back may miss something there."""
        at = speaker.spoken_at[listener, number]
        return self.legacy.kind == "ejabberd" and any(
            stop - LINGERS <= at <= back + 1 for stop, back in zip(self.stops, listener.resumed_at))

    def may_double(self, speaker, listener, number):
        """It was not acked when the server ended, or lingers."""
        return bool(LINGER[self.legacy.kind]) or any(
            acked[speaker] < speaker.stanza_of[listener, number] for acked in self.confirmed)

    def judge(self, text):
        """Waits for what is still under way."""
        deadline = time.monotonic() + (6 if self.legacy.kind == "ejabberd" else 20)
        while self.missing() and time.monotonic() < deadline:
            time.sleep(0.05)
        missing = self.missing()
        said = sum(speaker.spoken[listener] for speaker, listener in self.pairs())
        twice = sum(len(again) for again in map(self.doubled, *zip(*self.pairs())))
        print(f"{text}: {said} messages, {twice} doubled, {len(missing)} missing")
        assert len(missing) <= said / 20, missing
        for speaker, listener in self.pairs():
            heard = listener.heard[speaker.user]
            told = f"{speaker.user} to {listener.user}: {heard}\n{listener.tell()}"
            sure = [number for number in range(speaker.spoken[listener])
                    if not self.is_excused(speaker, listener, number)]
            assert [number for number in dict.fromkeys(heard) if number in set(sure)] == sure, told
            assert all(self.may_double(speaker, listener, number) for number in self.doubled(speaker, listener)), told

    def doubled(self, speaker, listener):
        return {number for number, times in collections.Counter(listener.heard[speaker.user]).items() if times > 1}


# 1. The server restarts

@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
@RESTARTS
def test_messages_under_way_survive_a_restart_of_the_server(own_scene, own_legacy, crowd_of, how):
    s = own_scene(**LINGER[own_legacy.kind])
    crowd = crowd_of(s)
    members = crowd.enter([(s.account(f"m{number}"), "r") for number in range(15)], s.proxy.port)
    attached, detached = members[:10], members[10:]
    for each in members:
        each.settle()
    for each in detached:
        each.go_away()
    s.wait_detached(5)
    ring = list(zip(attached, attached[1:] + attached[:1]))
    crowd.talk(ring)
    crowd.talk(list(zip(attached[:5], detached)))
    eventually(lambda: all(len(each.heard) and each.acked > 5 for each in attached), "the talk is under way")
    oracle = Oracle(own_legacy, members)
    oracle.end_server(how)
    own_legacy.start()
    all_back(attached)
    for each in detached:
        each.come_back()
    all_back(detached)
    crowd.talk(list(zip(detached, attached)))
    eventually(lambda: all(any(each.spoken.values()) for each in detached), "the detached talk again")
    crowd.hush()
    for each in members:
        each.settle()
    oracle.judge(f"{own_legacy.kind} {how}")
    assert_well(members)
    assert s.figure("resumes_total", result="rebuilt") == len(members)
    assert s.figure("resumes_total") == len(members)


def befriend(one, other):
    """Both see each other's presence."""
    for asking, asked in ((one, other), (other, one)):
        asking.tell_presence(to=asked.bare_jid, kind="subscribe")
        asked.until(lambda: any(each.name == "presence" and each.get("type") == "subscribe"
                                and each["from"] == asking.bare_jid for each in asked.got), "a subscription request")
        asked.tell_presence(to=asking.bare_jid, kind="subscribed")
    one.until(lambda: one.presence.get(other.jid) == "available", f"presence of {other.jid}")
    other.until(lambda: other.presence.get(one.jid) == "available", f"presence of {one.jid}")


def pushes(member, jid):
    return [each for each in list(member.got) if each.name == "iq" and each.get("type") == "set"
            and any(item.get("jid") == jid for item in each.tree.iter("{jabber:iq:roster}item"))]


def add_to_roster(member, jid, iq_id):
    member.iq("set", iq_id, f"<query xmlns='jabber:iq:roster'><item jid='{jid}' name='{iq_id}'/></query>")


def direct_member(s, crowd, name, resource="direct"):
    """A client at the server itself, without stream management; not kept alive over a restart."""
    return crowd.enter([(s.account(name), resource)], s.legacy.port, sm=False)[0]


@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
def test_what_was_said_before_leaving_survives_a_kill(own_scene, own_legacy):
    """Its sender has logged out, its recipient is away, and the server may not have written it yet (ejabberd)."""
    s = own_scene(sm_confirm_linger=f"{LINGERS}s")
    witness, speaker = s.login("witness"), s.login()
    s.say(speaker, s.jid("b"), range(3))
    assert speaker.request() == speaker.sent
    speaker.close()
    own_legacy.kill()
    own_legacy.start()
    s.wait_figure(3, "outbox_messages")
    witness.wait_closed()
    s.login(presence=0)
    eventually(lambda: s.figure("outbox_messages") == 0, "all is said again")
    reader = s.login("b", presence=0)
    heard = set()
    while heard != set(range(3)):
        heard |= set(s.hear(reader, 1))


@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
@RESTARTS
def test_a_rebuilt_session_is_equal_to_the_old_one(own_scene, own_legacy, crowd_of, how):
    """Roster pushes, carbons, presence in both directions, directed presence, blocking, and requests whose answer is
    lost. The member that is looked at closest is attached, and comes back by itself."""
    s = own_scene()
    crowd = crowd_of(s)
    alice, other, bob, eve = crowd.enter([(s.account("alice"), "r"), (s.account("alice"), "other"),
                                          (s.account("bob"), "r"), (s.account("eve"), "r")], s.proxy.port)
    proxied = (alice, other, bob, eve)
    leaver, stayer, stranger = (direct_member(s, crowd, name) for name in ("leaver", "stayer", "stranger"))
    for each in (leaver, stayer, bob):
        befriend(alice, each)
    for each in (alice, other):
        each.ask("get", "roster", "<query xmlns='jabber:iq:roster'/>")
    carbons = own_legacy.kind != "jabberd2"
    if carbons:
        for each in (alice, other):
            each.ask("set", "carbons", "<enable xmlns='urn:xmpp:carbons:2'/>")
    # Prosody 0.12 has no privacy lists; ejabberd, killed, has lost the list itself, which it had confirmed
    privacy = own_legacy.kind != "prosody" and (own_legacy.kind, how) != ("ejabberd", "kill")
    if privacy:
        alice.ask("set", "list", "<query xmlns='jabber:iq:privacy'><list name='no-eve'>"
                  f"<item type='jid' value='{eve.bare_jid}' action='deny' order='1'><message/></item></list></query>")
        alice.ask("set", "active", "<query xmlns='jabber:iq:privacy'><active name='no-eve'/></query>")
        eve.say(alice.jid, "not for alice")
        eve.ping("behind")
    bob.tell_presence("<status>to you alone</status>", to=stranger.jid)
    stranger.until(lambda: stranger.presence.get(bob.jid) == "available", "directed presence")
    # a request that the server has passed on and nobody answers
    stranger.mute = True
    alice.iq("get", "unanswered", "<query xmlns='jabber:iq:version'/>", stranger.jid)
    for each in proxied:
        each.settle()
    # a server that is killed may have lost subscriptions that it had told everybody of
    add_to_roster(alice, "last@example.net", "behind-all-subscriptions")
    wait_written(own_legacy, "behind-all-subscriptions")
    bob.go_away()
    s.wait_detached()
    direct = (leaver, stayer, stranger)
    getattr(own_legacy, how)()
    for each in (alice, other, eve):
        assert each.attached, "clients wait where they are while the server is down"
    own_legacy.start()
    for each in direct:
        each.until(lambda each=each: each.task.done(), "its end by the restart")
    before = len(alice.got)
    stayer, stranger = (direct_member(s, crowd, name) for name in ("stayer", "stranger"))
    all_back((alice, other, eve))
    alice.until(lambda: "unanswered" in alice.answers, "an answer to what was lost")
    assert alice.answers["unanswered"].condition == "remote-server-timeout"
    assert alice.answers["unanswered"]["from"] == stranger.jid
    # pushes and carbons
    add_to_roster(other, "new@example.net", "added")
    alice.until(lambda: pushes(alice, "new@example.net"), "a roster push")
    add_to_roster(alice, "newer@example.net", "added")
    other.until(lambda: pushes(other, "newer@example.net"), "a roster push")
    if carbons:
        stranger.say(alice.jid, "to both")
        other.until(lambda: any(each.has("received", "urn:xmpp:carbons:2") for each in list(other.got)), "a carbon")
    if privacy:
        eve.say(alice.jid, "still not for alice")
        eve.ping("behind again")
        alice.ping("behind as well")
        assert not [body for _, body in alice.bodies() if "not for alice" in body]
    # presence; bob comes back when the stranger is there to be told
    bob.come_back()
    all_back([bob])
    stranger.until(lambda: stranger.presence.get(bob.jid) == "available", "directed presence")
    alice.until(lambda: alice.presence.get(leaver.jid) == "unavailable", "the leaver has left", SETTLED)
    for each in (bob, stayer):
        each.until(lambda each=each: each.presence.get(alice.jid) == "available", "presence of alice")
        alice.until(lambda each=each: alice.presence.get(each.jid) == "available", "their presence at alice")
    other.until(lambda: other.presence.get(alice.jid) == "available", "presence of alice at her other resource")
    answered = [each for each in alice.got[before:] if each.get("id") in ("roster", "carbons", "active", "list")]
    assert not answered, f"answers that it has had before: {answered}"
    assert_well(proxied)


# 2. Rooms

NS_MUC = "http://jabber.org/protocol/muc"


def is_own(presence):
    return 'code="110"' in str(presence) or "code='110'" in str(presence)


def of_room(member, room):
    """Own presences in that room, in order."""
    return [each for each in list(member.got)
            if each.name == "presence" and each.get("from", "").startswith(room + "/") and is_own(each)]


def join(member, room, nick, password=None):
    secret = f"<password>{password}</password>" if password else ""
    before = len(of_room(member, room))
    member.tell_presence(f"<x xmlns='{NS_MUC}'>{secret}</x>", to=f"{room}/{nick}")
    member.until(lambda: len(of_room(member, room)) > before, f"its place in {room}")
    member.until(lambda: any(each.name == "message" and each.has("subject") and each["from"].startswith(room)
                             for each in list(member.got)), f"the subject of {room}")


def configure(owner, room, **fields):
    form = "".join(f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>" for name, value in fields.items())
    owner.configured = getattr(owner, "configured", 0) + 1
    answer = owner.ask("set", f"configure-{owner.configured}", f"<query xmlns='{NS_MUC}#owner'><x xmlns='jabber:x:data' "
                       "type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value>"
                       f"</field>{form}</x></query>", room)
    assert answer["type"] == "result", answer


def in_room(member, room):
    """(nick, body) of the messages of that room, in order."""
    return [(sender.partition("/")[2], body) for sender, body in member.bodies("groupchat")
            if sender.partition("/")[0] == room]


def wait_written(legacy, *texts):
    """A server that is killed knows them after that."""
    eventually(lambda: all(legacy.has_written(text) for text in texts), f"{texts} are on disk")


def subjects(member, room):
    return [each for each in member.got if each.name == "message" and each["from"].startswith(room)
            and each.has("subject") and not each.has("body")]


@pytest.mark.servers("prosody", "ejabberd")
@RESTARTS
def test_rooms_are_joined_again(own_scene, own_legacy, crowd_of, how):
    """One that was away gets what was said meanwhile once; who cannot come back in is told so in the room's name."""
    s = own_scene()
    crowd = crowd_of(s)
    alice, bob, owner = crowd.enter([(s.account(name), "r") for name in ("alice", "bob", "owner")], s.proxy.port)
    hall, secret, banned, closed, taken = (f"{name}-{s.token}@{own_legacy.muc_domain}"
                                           for name in ("hall", "secret", "banned", "closed", "taken"))
    for room in (hall, secret, banned, closed, taken):
        join(owner, room, "owner")
        configure(owner, room, persistentroom=1)
    configure(owner, secret, persistentroom=1, passwordprotectedroom=1, roomsecret="open sesame")
    owner.send(f"<message to='{hall}' type='groupchat'><subject>of all things</subject></message>")
    owner.until(lambda: "of all things" in str(subjects(owner, hall)), "its own subject")
    for room in (hall, banned, closed, taken):
        join(alice, room, "alice")
    join(alice, secret, "alice", "open sesame")
    join(bob, hall, "bob")
    for number in range(5):
        bob.say(hall, f"early {number}", f"early-{number}", kind="groupchat")
    alice.tell_presence(to=f"{hall}/alicia")
    alice.until(lambda: any(each["from"] == f"{hall}/alicia" for each in of_room(alice, hall)), "its new nick")
    early = [("bob", f"early {number}") for number in range(5)]
    for each in (alice, bob, owner):
        each.until(lambda each=each: in_room(each, hall) == early, "the early messages")
        each.settle()
    wait_written(own_legacy, hall.partition("@")[0], secret.partition("@")[0], "of all things")
    alice.go_away()
    s.wait_detached()
    own_legacy.restart(how)
    all_back([bob, owner])
    for each in (bob, owner):
        each.until(lambda each=each: of_room(each, hall)[-1].get("type") is None, "its place again")
        each.ping("in again")
    thief = crowd.enter([(s.account("thief"), "r")], own_legacy.port, sm=False)[0]
    join(thief, taken, "alice")
    owner.ask("set", "ban", f"<query xmlns='{NS_MUC}#admin'><item affiliation='outcast' jid='{alice.bare_jid}'/></query>",
              banned)
    configure(owner, closed, persistentroom=1, membersonly=1)
    before = len(alice.got)
    for number in range(5):
        bob.say(hall, f"late {number}", f"late-{number}", kind="groupchat")
    bob.settle()
    alice.come_back()
    all_back([alice])
    late = early + [("bob", f"late {number}") for number in range(5)]
    alice.until(lambda: len(in_room(alice, hall)) >= len(late), "the late messages")
    bob.until(lambda: bob.presence.get(f"{hall}/alicia") == "available", "alice is back")
    for room in (banned, closed, taken):
        alice.until(lambda room=room: of_room(alice, room)[-1].get("type") == "unavailable", f"its leave of {room}")
        assert of_room(alice, room)[-1]["from"] == f"{room}/alice"
    assert alice.presence[f"{secret}/alice"] == alice.presence[f"{hall}/alicia"] == "available"
    bob.say(hall, "live", "live", kind="groupchat")
    alice.until(lambda: ("bob", "live") in in_room(alice, hall), "a message again")
    assert in_room(alice, hall) == late + [("bob", "live")]
    assert len(subjects(alice, hall)) == 1, subjects(alice, hall)
    errors = [each for each in alice.got[before:] if each.get("type") == "error"]
    assert not errors, errors
    for each in (bob, owner):
        each.until(lambda each=each: ("bob", "live") in in_room(each, hall), "it as well")
        assert in_room(each, hall) == late + [("bob", "live")], each.tell()
        assert not [one for one in of_room(each, hall) if one.get("type")], "it was never told to have left"
        assert len(subjects(each, hall)) == (1 if each is bob else 2)  # an empty one in its new room
    assert_well([alice, bob, owner])


# 3. One upstream leg breaks

def login_and_leg(crowd, knife, account, port):
    """A member, and the knife's connection that is its upstream leg."""
    before = set(knife.connections)
    member = crowd.enter([(account, "r")], port)[0]
    member.ping("first")
    legs = [each for each in knife.connections if each not in before and each.passed[0] > 500]
    assert len(legs) == 1, legs
    return member, legs[0]


@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
@pytest.mark.parametrize("how", ["rst", "fin", "hole"])
def test_one_upstream_leg_breaks(legacy, scene, upstream_knife, crowd_of, how):
    s = scene(upstream=f"127.0.0.1:{upstream_knife.port}", sm_confirm_timeout="5s")
    crowd = crowd_of(s)
    alice, leg = login_and_leg(crowd, upstream_knife, s.account("alice"), s.proxy.port)
    bob, _ = login_and_leg(crowd, upstream_knife, s.account("bob"), s.proxy.port)
    befriend(alice, bob)
    said = []
    if legacy.rooms:
        room = f"hall-{s.token}@{legacy.muc_domain}"
        join(bob, room, "bob")
        configure(bob, room)
        join(alice, room, "alice")
        said = [("bob", f"one {number}") for number in range(3)] + [("alice", "two"), ("alice", "two")]
        for nick, body in said:  # the same words twice are two messages
            {"bob": bob, "alice": alice}[nick].say(room, body, f"{nick}-{body}", kind="groupchat")
            {"bob": bob, "alice": alice}[nick].settle()
        for each in (alice, bob):
            each.until(lambda each=each: len(in_room(each, room)) == len(said), "the talk")
    crowd.call(crowd.speak, alice, bob)
    wait_heard(alice, bob)
    for each in (alice, bob):
        each.settle()
    if how == "hole":
        leg.hole()
    else:
        leg.cut(how)
    for _ in range(3):
        crowd.call(crowd.speak, alice, bob)
    all_back([alice])
    for _ in range(3):  # not before: what the server writes into the broken leg is lost
        crowd.call(crowd.speak, bob, alice)
    wait_heard(alice, bob)
    wait_heard(bob, alice)
    assert alice.losses[0][1] == "fin" and len(alice.losses) == 1
    if said:
        alice.until(lambda: of_room(alice, room)[-1].get("type") is None, "its place again")
        for each in (alice, bob):
            each.say(room, "three", f"three-{each.user}", kind="groupchat")
            each.settle()
        for each in (alice, bob):
            each.until(lambda each=each: len(in_room(each, room)) >= len(said) + 2, "the talk")
            assert in_room(each, room)[:len(said)] == said
            assert sorted(in_room(each, room)[len(said):]) == [("alice", "three"), ("bob", "three")]
        assert len(subjects(alice, room)) == 1
    bob.until(lambda: bob.presence[alice.jid] == "available", "alice")
    assert alice.presence[bob.jid] == "available"
    assert not bob.losses, bob.tell()
    assert alice.heard[bob.user] == [0, 1, 2] and bob.heard[alice.user] == [0, 1, 2, 3]
    assert_well([alice, bob])
    assert s.figure("resumes_total", result="rebuilt") == s.figure("sessions_stranded_total") == 1


def own_presence(room, more="", kind=""):
    return (f"<presence from='{room}'{kind}><x xmlns='{NS_MUC}#user'><item affiliation='none' role='none'/>"
            f"<status code='110'/>{more}</x></presence>")


@pytest.mark.parametrize("early", [True, False])
def test_the_farewell_of_the_old_leg_does_not_end_a_place_in_a_room(stub_scene, stub, early):
    """The server takes the old leg's occupant out, perhaps when the fresh leg is in already; a kick is a kick."""
    s = stub_scene()
    client = s.login()
    room = "hall@rooms.example.org/nick"
    client.stanza(f"<presence to='{room}'><x xmlns='{NS_MUC}'/></presence>")
    old = stub.session_of(client.jid)
    old.wait_for("presence")
    old.send(own_presence(room))
    client.wait_for("presence")
    client.request()
    old.cut()
    client.wait_closed()
    client = s.resume(client)
    leg = stub.session_of(client.jid)
    assert leg is not old
    assert leg.wait_for("presence").has("history")
    if early:
        leg.send(own_presence(room, kind=" type='unavailable'"))
        leg.send(own_presence(room))
    else:
        leg.send(own_presence(room))
        assert client.wait_for("presence").get("type") is None
        leg.send(own_presence(room, kind=" type='unavailable'"))
        assert leg.wait_for("presence").has("history")
        leg.send(own_presence(room))
    assert client.wait_for("presence").get("type") is None
    leg.send(own_presence(room, "<status code='307'/>", " type='unavailable'"))
    assert client.wait_for("presence")["type"] == "unavailable"
    assert [each for each in leg.received if each.name == "presence"][1 if early else 2:] == []


# 4. The resource is taken

@pytest.mark.parametrize("given", ["another", None])
def test_the_server_does_not_give_the_resource_again(stub_scene, stub, given):
    s = stub_scene()
    client = s.login(presence=0)
    jid = client.jid
    s.say(client, f"x@{s.domain}", range(3))
    client.request()
    stub.session_of(jid).send(from_server(s, jid, range(2)))
    assert s.hear(client, 2) == [0, 1]
    stub.assign = lambda asked: given
    stub.session_of(jid).cut()
    assert client.wait_closed()[0] == "fin"
    fresh = s.authenticated()
    failed = fresh.try_resume(client.sm_id, client.h_in - 2)
    assert failed.condition == "item-not-found"
    assert int(failed["h"]) == client.sent == 4
    stub.assign = lambda asked: asked or "made-up"
    assert fresh.bind("r") == (f"{s.jid('a')}/another" if given else jid)
    fresh.enable()
    fresh.presence()
    assert s.hear(fresh, 2) == [0, 1]
    s.say(fresh, f"x@{s.domain}", [9])
    assert stub.session_of(fresh.jid).wait_for("message").body == s.text(9)
    assert s.figure("sessions_ended_total", reason="resource_taken") == 1


@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
@pytest.mark.parametrize("attached", [True, False])
def test_a_direct_login_of_the_same_resource_ends_the_session(legacy, scene, attached):
    s = scene()
    client, friend = s.login(presence=0), s.login("b")
    client.ping()
    if not attached:
        client.cut()
        s.wait_detached()
        s.send_away(friend, client.jid, range(3))
    taker = s.direct("a", "r", presence=0)
    assert taker.jid == client.jid
    if attached:
        error = client.wait_for("error")
        assert error.condition == "conflict"
        client.wait_for("end")
    eventually(lambda: s.figure("sessions_ended_total", reason="upstream_conflict") == 1, "the session ends")
    assert s.figure("sessions") == 1
    taker.ping()
    assert taker.is_open(), "nobody fights for it"
    again = s.authenticated()
    assert again.try_resume(client.sm_id, client.h_in).condition == "item-not-found"
    again.bind("elsewhere")
    again.enable()
    again.presence()
    if not attached:
        assert s.hear(again, 3) == [0, 1, 2]
    assert s.hear_rest(again) == []
    assert taker.is_open()


# 5. proxy.login_rate

RATE = 20
BURST = 2  # a tenth of a second


def most_within_a_second(times):
    """The largest number of them in any one second."""
    times = sorted(times)
    return max(bisect.bisect_left(times, start + 1) - index for index, start in enumerate(times))


def dialed(proxy):
    """When connections to the server were opened for logins, by the proxy's own clock."""
    stamps = re.findall(r'^time=(\S+)Z .*msg="client leg".* to=dialing$', proxy.log(), re.M)
    return [datetime.datetime.fromisoformat(stamp).timestamp() for stamp in stamps]


@pytest.fixture
def stalls():
    with Stalls() as watch:
        yield watch


def test_sixty_clients_come_back_at_the_pace_of_login_rate(stub_scene, stub, knife_factory, crowd_of, stalls):
    """While the server is down, and that is for five seconds, they stay where they are; when it is back they are sent
    away one by one, and log in one by one."""
    knife = knife_factory(stub.host, stub.port)
    s = stub_scene(upstream=f"127.0.0.1:{knife.port}", proxy_login_rate=RATE)
    crowd = crowd_of(s)
    members = crowd.enter([(s.account(f"m{number}"), "r") for number in range(60)], s.proxy.port)
    knife.refuse()
    knife.cut("rst")
    s.wait_figure(60, "sessions_stranded_total")
    down_until = time.monotonic() + 5
    eventually(lambda: s.figure("upstream_up") == 0, "the proxy knows that the server is down")
    while time.monotonic() < down_until:
        assert all(each.attached and not each.losses for each in members)
        time.sleep(0.05)
    before = len(dialed(s.proxy))
    back = time.monotonic()
    knife.refuse(False)
    all_back(members)
    assert_well(members)
    lost = [each.losses[0][0] for each in members]
    assert [len(each.losses) for each in members] == [1] * 60
    assert min(lost) >= back
    logins = dialed(s.proxy)
    assert len(logins) == before + 60
    print(f"cut within {max(lost) - min(lost):.2f} s, at most {most_within_a_second(lost)} in one; "
          f"logins: at most {most_within_a_second(logins)} in one")
    assert max(lost) - min(lost) >= (60 - BURST) / RATE - 0.5
    # both ends of the second; a loop 100 ms late; what was due while the machine stood still
    assert most_within_a_second(logins) <= RATE * (1 + stalls.longest) + BURST + 1 + 2
    assert s.figure("resumes_total", result="rebuilt") == 60


# 6. Real clients

@RESTARTS
@slix.scenario
async def test_slixmpp_comes_back_by_itself(own_legacy, proxy_factory, account, how):
    proxy = proxy_factory(**LINGER[own_legacy.kind])
    async with slix.Client(account(), proxy.host, proxy.port, proxy.ca) as one, \
            slix.Client(account(), proxy.host, proxy.port, proxy.ca) as other:
        one.say(other.boundjid.full, *numbered("before", 1, 5))
        other.say(one.boundjid.full, *numbered("before", 1, 5))
        for each in (one, other):
            await each.until_bodies(*numbered("before", 1, 5))
            await each.until_all_acked()  # it forgets what is unacked when it resumes
        await asyncio.to_thread(own_legacy.restart, how)
        for each in (one, other):
            await each.until(lambda each=each: each.resumptions == 1, "resumption")
        one.say(other.boundjid.full, *numbered("after", 1, 5))
        other.say(one.boundjid.full, *numbered("after", 1, 5))
        for each in (one, other):
            await each.until(lambda each=each: each.bodies()[-1] == "after 5", "the last message")
            wanted = [*numbered("before", 1, 5), *numbered("after", 1, 5)]
            assert list(dict.fromkeys(each.bodies())) == wanted
            assert LINGER[own_legacy.kind] or each.bodies() == wanted, "what lingers is said twice"
            assert each.sessions == 1
        assert proxy.metric("holdfast_resumes_total", result="rebuilt") == 2


@RESTARTS
def test_xmppjs_comes_back_by_itself(own_legacy, proxy_factory, account, how):
    proxy = proxy_factory(**LINGER[own_legacy.kind])
    one, other = (xmppjs.Client(account(), proxy.host, proxy.port, proxy.ca) for _ in range(2))
    with one, other:
        for each, to in ((one, other), (other, one)):
            each.say(to.jid, *numbered("before", 1, 5))
            each.until_acked(*numbered("before", 1, 5))
        for each in (one, other):
            each.until_bodies(*numbered("before", 1, 5))
        getattr(own_legacy, how)()
        for each, to in ((one, other), (other, one)):
            each.say(to.jid, *numbered("while down", 1, 5))
        own_legacy.start()
        for each in (one, other):
            each.until_resumed()
        for each, to in ((one, other), (other, one)):
            each.say(to.jid, *numbered("after", 1, 5))
            each.until_acked(*numbered("while down", 1, 5), *numbered("after", 1, 5))
        for each in (one, other):
            each.until(lambda each=each: "after 5" in each.of("message"), "the last message")
            wanted = [*numbered("before", 1, 5), *numbered("while down", 1, 5), *numbered("after", 1, 5)]
            assert list(dict.fromkeys(each.of("message"))) == wanted
            assert LINGER[own_legacy.kind] or each.of("message") == wanted
            assert len(each.of("online")) == 1 and not each.of("failed")
        assert proxy.metric("holdfast_resumes_total", result="rebuilt") == 2


# 7. All of it at once

# HOLDFAST_LARGE=1 has them all, in front of each server, as `make check-full` does.
LARGE = os.environ.get("HOLDFAST_LARGE")
ATTACHED, DETACHED, ROOMS, IN_ROOMS, PAIRS, LEAVERS = (200, 50, 10, 100, 30, 10) if LARGE else (60, 15, 5, 30, 15, 5)


def make_friends(pairs):
    """befriend() for many at once."""
    for kind in ("subscribe", "subscribed"):
        for one, other in pairs:
            one.tell_presence(to=other.bare_jid, kind=kind)
            other.tell_presence(to=one.bare_jid, kind=kind)
        for one, other in pairs:
            for each in (one, other):
                each.settle() if each.sm else each.ping(f"befriended-{kind}")
    for one, other in pairs:
        for each, friend in ((one, other), (other, one)):
            each.until(lambda each=each, friend=friend: each.presence.get(friend.jid) == "available", f"{friend.jid}")


def fill_rooms(s, members):
    """{room: its members}, each of them in."""
    rooms = {f"big-{number}-{s.token}@{s.legacy.muc_domain}": members[number::ROOMS] for number in range(ROOMS)}
    for room, inside in rooms.items():
        join(inside[0], room, inside[0].user)
        configure(inside[0], room, persistentroom=1)
        for each in inside[1:]:
            each.tell_presence(f"<x xmlns='{NS_MUC}'/>", to=f"{room}/{each.user}")
    for room, inside in rooms.items():
        for each in inside:
            each.until(lambda each=each, room=room: of_room(each, room), f"its place in {room}")
        wait_written(s.legacy, room.partition("@")[0])
    return rooms


@pytest.mark.accounts(ATTACHED + DETACHED + LEAVERS)
@pytest.mark.servers("prosody", *(("ejabberd", "jabberd2") if LARGE else ()))
def test_hundreds_of_sessions_outlive_two_restarts(own_scene, own_legacy, crowd_of):
    began = time.monotonic()
    s = own_scene(proxy_login_rate=100, **LINGER[own_legacy.kind])
    crowd = crowd_of(s)
    members = crowd.enter([(s.account(f"m{number}"), "r") for number in range(ATTACHED + DETACHED)], s.proxy.port)
    attached, detached = members[:ATTACHED], members[ATTACHED:]
    leavers = crowd.enter([(s.account(f"l{number}"), "r") for number in range(LEAVERS)], own_legacy.port, sm=False)
    friends = list(zip(attached[:PAIRS], attached[PAIRS:]))
    make_friends(friends + list(zip(attached[-LEAVERS:], leavers)))
    rooms = fill_rooms(s, attached[:IN_ROOMS]) if own_legacy.rooms else {}
    oracle = Oracle(own_legacy, members)
    for turn, how in enumerate(("stop", "kill"), 1):
        for each in members:
            each.settle()
        for each in detached:
            each.go_away()
        s.wait_detached(DETACHED)
        before = sum(sum(each.spoken.values()) for each in members)
        crowd.talk(list(zip(attached, attached[1:] + attached[:1])), pause=0.02)
        crowd.talk(list(zip(attached, detached)), pause=0.04)
        eventually(lambda: sum(sum(each.spoken.values()) for each in members) > before + 150, "the talk is under way")
        oracle.end_server(how)
        own_legacy.start()
        back = time.monotonic()
        all_back(attached, turn)
        for each in detached:
            each.come_back()
        all_back(detached, turn)
        print(f"{own_legacy.kind} {how}: all resumed {time.monotonic() - back:.1f} s after the server's start")
        crowd.hush()
        for each in members:
            each.settle(30)
        oracle.judge(f"{own_legacy.kind} {how}")
        for room, inside in rooms.items():
            for each in inside:
                each.until(lambda each=each, room=room: of_room(each, room)[-1].get("type") is None, f"{room} again")
                each.say(room, f"turn {turn}", f"turn-{turn}-{each.user}", kind="groupchat")
    for room, inside in rooms.items():
        for each in inside:
            wanted = sorted((one.user, f"turn {turn}") for one in inside for turn in (1, 2))
            each.until(lambda each=each, room=room, wanted=wanted: set(in_room(each, room)) == set(wanted), "all words")
            assert LINGER[own_legacy.kind] or sorted(in_room(each, room)) == wanted, "what lingers is said twice"
    for each, leaver in zip(attached[-LEAVERS:], leavers):
        each.until(lambda each=each, leaver=leaver: each.presence[leaver.jid] == "unavailable", "the leaver", SETTLED)
    for one, other in friends:
        one.until(lambda one=one, other=other: one.presence[other.jid] == "available", "presence of a friend")
        other.until(lambda one=one, other=other: other.presence[one.jid] == "available", "presence of a friend")
    assert_well(members)
    assert s.figure("resumes_total", result="rebuilt") == s.figure("resumes_total") == 2 * len(members)
    print(f"{own_legacy.kind}: {time.monotonic() - began:.0f} s in all")
