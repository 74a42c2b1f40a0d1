"""A node is drained behind the shipped load balancer, under load: its clients move to the other one, at the rate that is
set, and nobody loses a word. The server, which sees one connection end and another begin, tells contacts that they leave
and come back: once, and at once."""

import signal

import pytest

from cluster import own_cluster, redis  # noqa: F401  (fixtures)
from crowd import Crowd
from scene import eventually
from test_failover import Oracle, balancer  # noqa: F401  (fixture)
from test_rebuild import all_back, assert_well, befriend, direct_member

CLIENTS = 24
RATE = 8


@pytest.mark.servers("prosody")
def test_a_drained_node_hands_its_clients_over(own_cluster, balancer):
    s = own_cluster(listen_proxy_protocol="on", listen_proxy_from="127.0.0.0/8", proxy_drain="60s",
                    proxy_drain_grace="2s", proxy_drain_rate=RATE)
    front = balancer(s.nodes)
    node, other = s.nodes
    with Crowd(s.domain, s.token) as crowd:
        members = crowd.enter([(s.account(f"m{number}"), "r") for number in range(CLIENTS)], front.port)
        friend = direct_member(s, crowd, "friend")
        for each in members[:4]:
            befriend(each, friend)
        crowd.talk(list(zip(members, members[1:] + members[:1])))
        eventually(lambda: all(any(each.spoken.values()) and each.heard for each in members), "the talk is under way")
        leaving = s.figure("sessions", state="attached")
        assert 0 < leaving < CLIENTS, "both have clients"
        friends, seen = members[:4], len(friend.got)
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
        all_back([each for each in members if each.losses])
        crowd.hush()
        for each in members:
            each.settle()
        oracle = Oracle(s, members)
        oracle.judge()
        assert_well(members)
        moved = [each for each in members if each.losses]
        assert len(moved) == leaving and all(len(each.resumed_at) == 1 for each in moved)
        cuts = sorted(each.losses[0][0] for each in moved)
        assert cuts[-1] - cuts[0] >= (leaving - 2) / RATE, "at the drain's rate"
        assert "clients_left=0" in node.log()
        for each in friends:
            friend.until(lambda each=each: friend.presence[each.jid] == "available", f"presence of {each.jid}")
            told = [got.get("type") for got in friend.got[seen:] if got.name == "presence" and got["from"] == each.jid]
            assert told in ([], ["unavailable", None]) and (each in moved or not told), told
