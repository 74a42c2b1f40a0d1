"""A node that cannot have its store: what it says of it, and that sessions which began meanwhile are as safe as others as
soon as the store is there. And what it says of a store that it can have."""

import contextlib
import re

import pytest

from cluster import redis, stub_cluster  # noqa: F401  (fixtures)
from raw import NS_SM3
from redis_fleet import Sentinel
from redis_server import RedisServer
from scene import eventually, figures, stub  # noqa: F401  (fixtures)


@contextlib.contextmanager
def wrong_password(server):
    """Gives the URL, what the log says, what /readyz says, and what puts it right."""
    server.ask("CONFIG", "SET", "requirepass", "right")
    server.password = "right"

    def cure():
        server.ask("CONFIG", "SET", "requirepass", "wrong")
        server.password = "wrong"

    why = f"127.0.0.1:{server.port}: AUTH: WRONGPASS"
    yield (f"redis://:wrong@127.0.0.1:{server.port}",
           rf'level=error msg="Redis cannot be reached" server=127.0.0.1:{server.port} why="AUTH: WRONGPASS ',
           f"store: Redis (configuration) {why}", cure)


@contextlib.contextmanager
def unknown_name(server):
    sentinel = Sentinel("another", server).start()
    try:
        why = f"no sentinel tells the master: 127.0.0.1:{sentinel.port}: it knows no master with the name the-master"
        yield (f"redis+sentinel://127.0.0.1:{sentinel.port}/the-master",
               rf'level=warn msg="Redis cannot be reached" server=redis\+sentinel://\S+ why="{re.escape(why)}"',
               f"the-master: {why}",
               lambda: sentinel.ask("SENTINEL", "MONITOR", "the-master", server.host, server.port, 1))
    finally:
        sentinel.remove()


@contextlib.contextmanager
def nobody_there(server):
    server.stop()
    where = f"127.0.0.1:{server.port}"
    why = f"connect {where}: Connection refused"
    yield (server.url, f'level=warn msg="Redis cannot be reached" server={where} why="{why}"', f"store: Redis {where}: {why}",
           server.start)


@pytest.mark.parametrize("fault", [wrong_password, unknown_name, nobody_there], ids=lambda fault: fault.__name__)
def test_a_node_starts_without_its_store_and_keeps_what_began_meanwhile(stub_cluster, stub, redis, fault):
    with fault(redis) as (url, logged, told, cure):
        s = stub_cluster(start=False, store_url=url)
        node, other = s.nodes
        node.start(wait=False)
        eventually(lambda: told in node.readyz()[1], f"/readyz tells {told!r}")
        assert not node.readyz()[0]
        assert len(re.findall(logged, node.log())) == node.settings["proxy.workers"], "each worker tells it once"
        assert "wrong" not in node.log() + node.readyz()[1], "the password that was tried"
        client = s.login()
        session = stub.session_of(client.jid)
        s.say(client, "x@y", range(3))
        eventually(lambda: sum(e.name == "message" for e in session.received) == 3, "the server has them")
        session.send(f"<message from='x@y/c' to='{client.jid}' type='chat'><body>{s.text(7)}</body></message>")
        client.send(f"<r xmlns='{NS_SM3}'/>")
        assert client.pick("a", timeout=10)["h"] == "0", "nothing of it is kept anywhere else"
        cure()
        eventually(lambda: node.readyz()[0], "/readyz is well", 30)
        client.wait_acked(3)
        assert s.hear(client, 1) == [7]
        s.wait_settled()
        node.kill()
        other.start()
        s.use(1)
        again = s.resume(client)
        assert again.resumed["h"] == "3"
        assert s.hear_rest(again, 0.2) == []
        again.close()


def test_each_worker_counts_for_readyz(stub_cluster, stub, redis):
    """Redis takes fewer connections than there are workers: some can give acks, and the node is not ready."""
    with redis.asking() as ask:
        ask("CONFIG", "SET", "maxclients", 4)
        s = stub_cluster(nodes=1, start=False, proxy_workers=4)
        s.proxy.start(wait=False)
        where = f"store: Redis 127.0.0.1:{redis.port}: "
        eventually(lambda: where in s.proxy.readyz()[1] and "not connected yet" not in s.proxy.readyz()[1], "/readyz says why")
        assert not s.proxy.readyz()[0] and s.figure("redis_connections") >= 1, "some have it, not all"
        ask("CONFIG", "SET", "maxclients", 1000)
        eventually(lambda: s.proxy.readyz()[0], "all have it", 30)


def persistence(node):
    """The level that is shown; one of them is."""
    shown = [labels["level"] for name, labels, value in figures(node).samples
             if name == "store_persistence" and value]
    assert len(shown) <= 1, shown
    return shown[0] if shown else None


def test_what_redis_keeps_is_shown(stub_cluster, stub, redis):
    s = stub_cluster(nodes=1, proxy_workers=2)
    assert persistence(s.proxy) == "everysec" and s.figure("store_eviction_unsafe") == 0
    assert 'level=info msg="what Redis keeps"' in s.proxy.log()
    assert "appendfsync everysec: a crash of its machine loses up to two seconds" in s.proxy.log()


def test_a_redis_that_loses_sessions_is_told_of(stub_cluster, stub):
    careless = RedisServer("appendonly no", "maxmemory 100mb", "maxmemory-policy allkeys-lru").start()
    try:
        s = stub_cluster(nodes=1, proxy_workers=2, store_url=careless.url)
        eventually(lambda: persistence(s.proxy) == "none", "the level")
        assert s.figure("store_eviction_unsafe") == 1
        told = re.search(r'level=warn msg="what Redis keeps".*', s.proxy.log())[0]
        assert "no persistence: a restart of Redis loses all" in told
        assert "maxmemory-policy allkeys-lru: Redis throws sessions away when it is full, set noeviction" in told
        s.proxy.stop()
    finally:
        careless.remove()


def test_memory_promises_nothing_of_redis(stub_cluster, stub):
    s = stub_cluster(nodes=1, store_url="memory:")
    assert persistence(s.proxy) is None
