"""What happens to Redis under a crowd: its master dies, its slots are moved, it hangs and is killed. Nothing that was acked
is lost, order holds, and nothing comes twice but what the server had not confirmed when its node was killed. Nodes are
killed when they have found what Redis has become: before, nobody could say whether their sessions are whole there.

HOLDFAST_CHAOS_SECONDS and HOLDFAST_CHAOS_CLIENTS make it longer and larger (`make chaos`)."""

import itertools
import os
import signal
import time

import pytest

from cluster import own_cluster, redis  # noqa: F401  (fixtures)
from crowd import Crowd
from redis_fleet import RedisCluster, Watched
from scene import eventually, resident
from test_failover import Oracle, PAUSE, balancer  # noqa: F401  (fixture)
from test_rebuild import all_back, assert_well

SECONDS = float(os.environ.get("HOLDFAST_CHAOS_SECONDS") or 6)
CLIENTS = int(os.environ.get("HOLDFAST_CHAOS_CLIENTS") or 20)
AWAY = 10 if SECONDS > 20 else 2    # seconds without Redis
GROWTH = 64 << 10                   # KiB that a node may take while Redis is away

pytestmark = [pytest.mark.accounts(CLIENTS), pytest.mark.servers("prosody")]


class Play:
    """A crowd that talks in a ring, through the load balancer, and the oracle over it."""

    def __init__(self, s, crowd, balancer):
        self.s, self.crowd = s, crowd
        front = balancer(s.nodes)
        self.members = crowd.enter([(s.account(f"m{number}"), "r") for number in range(CLIENTS)], front.port)
        self.oracle = Oracle(s, self.members)
        crowd.talk(list(zip(self.members, self.members[1:] + self.members[:1])), pause=2 * PAUSE)
        eventually(lambda: all(each.heard and each.acked > 2 for each in self.members), "the talk is under way", 60)

    def said(self):
        """How many stanzas each has sent by now."""
        return {each: each.sent for each in self.members}

    def wait_acks(self, said, timeout=60):
        """Until each has acks for more than that."""
        eventually(lambda: all(each.acked > said[each] for each in self.members), "acks go on", timeout)

    def judge(self):
        self.crowd.hush()
        all_back(self.members, 0)
        for each in self.members:
            each.settle(60)
        self.oracle.judge()
        assert_well(self.members)


@pytest.fixture
def play(own_cluster, balancer):
    """play(url, ...) begins one."""
    crowds = []

    def begin(url=None, **keywords):
        s = own_cluster(store_url=url, listen_proxy_protocol="on", listen_proxy_from="127.0.0.0/8", **keywords)
        crowds.append(Crowd(s.domain, s.token))
        return Play(s, crowds[-1].__enter__(), balancer)

    yield begin
    for each in crowds:
        each.__exit__()


@pytest.fixture
def watched():
    with Watched() as servers:
        yield servers


@pytest.fixture
def slots():
    with RedisCluster() as servers:
        yield servers


def test_the_master_dies(play, watched):
    """And then a node: all that is left of what was acked is on what was the replica."""
    p = play(watched.url, store_wait_replicas=1)
    end = time.monotonic() + SECONDS
    for number in itertools.count():
        master, node = watched.lead(), p.s.nodes[number % 2]
        time.sleep(1)
        master.kill()
        eventually(lambda: watched.lead() is not master, "the sentinels have made the replica the master", 60)
        master.start()  # and the sentinels make it a replica
        p.wait_acks(p.said())
        p.oracle.kill(node)
        node.start()
        p.wait_acks(p.said())
        if time.monotonic() > end:
            break
    print(f"{number + 1} masters killed")
    p.judge()


def test_slots_are_moved(play, slots):
    p = play(slots.url)
    end, moved = time.monotonic() + SECONDS, 0
    for turn in itertools.count():
        moved += slots.reshard(slots.servers[turn % 3], slots.servers[(turn + 1) % 3], "hf:{*}:s:*")
        if turn % 8 == 2:
            p.wait_acks(p.said())
            eventually(slots.vouched_for, "their owners have found the sessions whole where they are now")
            p.oracle.kill(p.s.nodes[turn // 8 % 2])
            p.s.nodes[turn // 8 % 2].start()
            p.wait_acks(p.said())
        if time.monotonic() > end and turn > 2:
            break
    print(f"{moved} slots moved")
    p.wait_acks(p.said())
    p.judge()
    assert moved > CLIENTS and p.s.sum("redis_redirects_total") > 0


def test_redis_is_away_for_a_while(play, redis):
    """It hangs; then it is killed, and started with its file. No node dies: nothing comes twice."""
    p = play()
    sizes = [resident(node) for node in p.s.nodes]
    for end, begin in ((lambda: redis.signal(signal.SIGSTOP), lambda: redis.signal(signal.SIGCONT)),
                       (redis.kill, redis.start)):
        end()
        said = p.said()
        time.sleep(AWAY)
        assert all(each.acked <= said[each] < each.sent for each in p.members), "acks wait"
        eventually(lambda: not any(node.readyz()[0] for node in p.s.nodes), "/readyz fails")
        assert all("store:" in node.readyz()[1] for node in p.s.nodes)
        growth = [resident(node) - size for node, size in zip(p.s.nodes, sizes)]
        begin()
        p.wait_acks(said)
        eventually(lambda: all(node.readyz()[0] for node in p.s.nodes), "/readyz is well again", 30)
        print(f"memory has grown by {growth} KiB")
        assert max(growth) < GROWTH
    p.judge()
