"""Nodes die under load, one at a time, behind the shipped load balancer: nothing is lost, order holds, and only what was
unconfirmed at a kill may come twice.

HOLDFAST_CHAOS_SECONDS and HOLDFAST_CHAOS_CLIENTS make it longer and larger (`make chaos`)."""

import collections
import json
import os
import time

import pytest

from balancer import Balancer
from cluster import own_cluster, redis  # noqa: F401  (fixtures)
from crowd import Crowd
from test_rebuild import all_back, assert_well

SECONDS = float(os.environ.get("HOLDFAST_CHAOS_SECONDS") or 9)
CLIENTS = int(os.environ.get("HOLDFAST_CHAOS_CLIENTS") or 40)
PAUSE = 0.005     # seconds between two messages: 200 a second, which a server on a busy machine can bear
# What a dying node had read from the server, which has no acks, and had neither committed nor written to its client, is
# gone with it, with what lay unread in its sockets: the one exception of promise 2. How long that is depends on how busy
# the machine is; how much it is in all is bounded.
MOMENT = 5.0
GONE = 0.01


@pytest.fixture
def balancer():
    made = []

    def make(nodes):
        made.append(Balancer(nodes))
        return made[-1]

    yield make
    for each in made:
        each.stop()


class Oracle:
    def __init__(self, s, members):
        self.s, self.members = s, members
        self.kills = []     # (time, {full JID: number of its last stanza that the server had confirmed} of who was there)

    def look(self, node):
        """Who is there, and what the server has confirmed of them."""
        return {each["jid"]: each["received"] - each["unconfirmed"]
                for each in json.loads(node.http("/sessions?format=json")[1])}

    def kill(self, node):
        there = self.look(node)
        self.look(node)  # answered in a later turn: what the first has told of has been written to Redis
        node.kill()
        self.kills.append((time.monotonic(), there))

    def pairs(self):
        return [(speaker, listener) for speaker in self.members for listener in speaker.spoken]

    def missing(self):
        return [(speaker, listener, number) for speaker, listener in self.pairs()
                for number in sorted(set(range(speaker.spoken[listener])) - set(listener.heard[speaker.user]))]

    def sent_at(self, speaker, listener, number):
        """When it may have gone to the server: as it was spoken, repeated by its speaker, or by the node that took over
        from one which the server had not confirmed it to."""
        stanza = speaker.stanza_of[listener, number]
        yield speaker.spoken_at[listener, number]
        yield from (when for when, first, last in speaker.repeats if first <= stanza <= last)
        for killed, there in self.kills:
            if there.get(speaker.jid, stanza) < stanza:
                yield from [when for when in speaker.resumed_at if when > killed][:1]

    def is_excused(self, speaker, listener, number):
        return any(listener.jid in there and when - MOMENT <= at <= when + 0.1
                   for at in self.sent_at(speaker, listener, number) for when, there in self.kills)

    def may_double(self, speaker, listener, number):
        """The server had not confirmed it when the speaker's node died; what was acked is not the same: that is what
        Redis has."""
        stanza = speaker.stanza_of[listener, number]
        return any(there.get(speaker.jid, stanza) < stanza for _, there in self.kills)

    def judge(self):
        deadline = time.monotonic() + 20
        while self.missing() and time.monotonic() < deadline:
            time.sleep(0.1)
        missing = self.missing()
        said = sum(speaker.spoken[listener] for speaker, listener in self.pairs())
        doubled = [(speaker, listener, number) for speaker, listener in self.pairs()
                   for number, times in collections.Counter(listener.heard[speaker.user]).items() if times > 1]
        print(f"{len(self.kills)} kills, {said} messages, {len(doubled)} twice, {len(missing)} gone with their node")
        for speaker, listener, number in missing:
            assert self.is_excused(speaker, listener, number), (
                f"{number} of {speaker.user} to {listener.user} is lost\n{listener.tell()}")
        assert len(missing) <= GONE * said, "gone with their nodes"
        for speaker, listener, number in doubled:
            assert self.may_double(speaker, listener, number), (
                f"{number} of {speaker.user} to {listener.user} came twice\n{listener.tell()}")
        for speaker, listener in self.pairs():
            first = [number for number in dict.fromkeys(listener.heard[speaker.user])
                     # what went with the listener's node still comes if the speaker's dies too, and it is repeated
                     if not (self.may_double(speaker, listener, number) and self.is_excused(speaker, listener, number))]
            assert first == sorted(first), f"{speaker.user} to {listener.user}: {listener.heard[speaker.user]}"


@pytest.mark.accounts(CLIENTS)
@pytest.mark.servers("prosody")
@pytest.mark.parametrize("nodes", [2, 3])
def test_nodes_are_killed_under_load(own_cluster, balancer, nodes):
    s = own_cluster(nodes=nodes, listen_proxy_protocol="on", listen_proxy_from="127.0.0.0/8")
    front = balancer(s.nodes)
    with Crowd(s.domain, s.token) as crowd:
        members = crowd.enter([(s.account(f"m{number}"), "r") for number in range(CLIENTS)], front.port)
        oracle = Oracle(s, members)
        crowd.talk(list(zip(members, members[1:] + members[:1])), pause=PAUSE)
        end, turn = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            time.sleep(2)
            victim = s.nodes[turn % nodes]
            oracle.kill(victim)
            time.sleep(1)
            victim.start()
            turn += 1
        crowd.hush()
        all_back(members, 0)
        for each in members:
            each.settle(40)
        oracle.judge()
        assert_well(members)
        assert sum(len(each.resumed_at) for each in members) >= CLIENTS
