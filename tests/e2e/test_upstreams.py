"""Several servers behind one proxy: who gets new sessions, what happens when one dies, and what the name servers have to
do with it."""

import collections
import contextlib
import signal

import pytest
from dns import NameServer
from raw import RawClient, WireError
from scene import Scene, eventually
from servers import Prosody, free_ports
from stub import StubServer

DOMAIN = "example.org"
ACCOUNTS = 400  # the share of a server that comes back begins at a tenth


class Farm:
    """Some stubs of one domain, a proxy in front of them, and clients."""

    def __init__(self, count, proxy_factory):
        self.stubs = [StubServer(DOMAIN) for _ in range(count)]
        self.proxy_factory = proxy_factory
        self.proxy = None
        self.numbers = iter(range(1000000))
        self.closing = contextlib.ExitStack()
        for stub in self.stubs:
            self.closing.callback(stub.stop)

    def names(self):
        return [f"127.0.0.1:{stub.port}" for stub in self.stubs]

    def start(self, upstream=None, wait=True, **keywords):
        settings = {"proxy.domain": DOMAIN}
        self.proxy = self.proxy_factory(upstream or ", ".join(self.names()), settings, start=False, **keywords)
        self.proxy.start(wait)
        eventually(lambda: self.proxy.http("/healthz")[0] == 200, "the ports are open")
        return self

    def login(self, sm=False):
        client = self.closing.enter_context(RawClient(self.proxy.port, DOMAIN))
        client.login(f"user{next(self.numbers)}", "secret", "r", sm=sm)
        # A stub notes a session a moment after it has told the client.
        eventually(lambda: any(session.jid == client.jid for stub in self.stubs for session in stub.sessions),
                   "the session is at one of the stubs")
        return client

    def is_refused(self):
        """A client is told that the server cannot be reached; returns what came."""
        with RawClient(self.proxy.port, DOMAIN) as client:
            with pytest.raises(WireError) as told:
                client.login(f"user{next(self.numbers)}", "secret", "r", sm=False)
            assert "remote-connection-failed" in str(told.value)

    def spread(self, count):
        """How many of so many new sessions each stub gets."""
        before = [len(stub.sessions) for stub in self.stubs]
        for _ in range(count):
            self.login()
        return [len(stub.sessions) - already for stub, already in zip(self.stubs, before)]

    def is_up(self, number):
        return self.proxy.metric("holdfast_server_up", server=self.names()[number])

    def sessions(self, number):
        return self.proxy.metric("holdfast_server_sessions", server=self.names()[number])

    def wait_up(self, *wanted):
        eventually(lambda: tuple(map(self.is_up, range(len(wanted)))) == wanted, f"the servers are up: {wanted}")


@pytest.fixture
def farm(proxy_factory):
    made = []

    def make(count):
        made.append(Farm(count, proxy_factory))
        return made[-1]

    yield make
    for one in made:
        one.closing.close()


@pytest.fixture
def names():
    server = NameServer()
    yield server
    server.stop()


# ---- balancing and failover ----

def test_sessions_are_balanced(farm):
    f = farm(3).start()
    f.wait_up(1, 1, 1)
    assert f.spread(12) == [4, 4, 4]
    assert [f.sessions(number) for number in range(3)] == [4, 4, 4]
    dials = [f.proxy.metric("holdfast_server_dials_total", server=name, result="ok") for name in f.names()]
    assert dials == [4, 4, 4]
    listed = f.proxy.stats()["servers"]
    assert [(one["server"], one["up"], one["sessions"]) for one in listed] == [(name, True, 4) for name in f.names()]


def test_least_sessions_get_the_next(farm):
    f = farm(2).start()
    f.wait_up(1, 1)
    clients = [f.login() for _ in range(6)]
    first = {session.jid for session in f.stubs[0].sessions}
    for client in clients:
        if client.jid in first:
            client.close()
    eventually(lambda: f.sessions(0) == 0, "the first server has lost its sessions")
    assert f.spread(3) == [3, 0]


def test_a_dead_server_is_passed_over_within_the_login(farm):
    """Before anybody has noticed: the next one is tried in the same dial."""
    f = farm(2).start()
    f.wait_up(1, 1)
    f.stubs[0].stop()
    assert f.spread(6) == [0, 6]
    f.wait_up(0, 1)
    assert f.proxy.readyz()[0]
    assert f.proxy.metric("holdfast_upstream_dials_total", result="failed") == 0
    assert f.proxy.log().count(f'"upstream unreachable" upstream={f.names()[0]}') == 1


def test_all_dead_is_told_and_one_that_comes_back_serves(farm):
    f = farm(2)
    port = f.stubs[1].port
    f.start()
    f.wait_up(1, 1)
    f.spread(2)
    for stub in f.stubs:
        stub.stop()
    f.wait_up(0, 0)
    ready, why = f.proxy.readyz()
    assert not ready
    for name in f.names():
        assert f"upstream: {name} unreachable for" in why and "Connection refused" in why
    assert f.proxy.metric("holdfast_upstream_up") == 0
    f.is_refused()
    f.stubs[1] = StubServer(DOMAIN, port)
    f.closing.callback(f.stubs[1].stop)
    f.login()  # at once: with all down each is tried
    f.wait_up(0, 1)
    assert f.proxy.readyz()[0]


def test_a_hung_server_is_found_by_checks(farm):
    """It still takes connections, and answers nothing."""
    f = farm(2).start()
    f.wait_up(1, 1)
    f.spread(2)
    f.stubs[0].on_header = "nothing"
    f.stubs[0].sessions[0].cut("rst")  # a connection that breaks makes the proxy look at once
    f.wait_up(0, 1)
    assert f.spread(4) == [0, 4]
    f.stubs[0].on_header = "answer"
    f.wait_up(1, 1)


def test_a_server_that_closes_on_the_header_is_not_up(farm):
    f = farm(2)
    f.stubs[0].on_header = "close"
    f.start()
    f.wait_up(0, 1)
    assert f.spread(4) == [0, 4]


def test_one_that_comes_back_is_ramped_up(farm):
    f = farm(2)
    port = f.stubs[0].port
    f.start()
    f.wait_up(1, 1)
    f.stubs[0].stop()
    assert f.spread(10) == [0, 10]
    f.wait_up(0, 1)
    f.stubs[0] = StubServer(DOMAIN, port)
    f.closing.callback(f.stubs[0].stop)
    f.wait_up(1, 1)
    first = f.spread(20)
    assert 0 <= first[0] <= 14, "not all at once to the one that has none"
    eventually(lambda: f.spread(1)[0], "it gets sessions again", timeout=60)


# ---- names ----

def test_a_name_is_looked_up_once_for_any_number_of_logins(farm, names):
    f = farm(1)
    names.set("xmpp.test", "A", "127.0.0.1", ttl=3600)
    f.start(f"xmpp.test:{f.stubs[0].port}", proxy_resolver=names.address)
    assert f.spread(10) == [10]
    assert names.count("xmpp.test", "A") == 1
    assert f.proxy.metric("holdfast_lookups_total", result="ok") == 1


def test_a_second_address_is_tried(farm, names):
    f = farm(1)
    names.set("xmpp.test", "A", "127.0.0.9", "127.0.0.1")
    names.set("xmpp.test", "AAAA", "::1")
    f.start(f"xmpp.test:{f.stubs[0].port}", proxy_resolver=names.address)
    assert f.spread(2) == [2]


def test_a_slow_name_server_delays_nobody(farm, names):
    """One worker: its loop asks the name servers and carries the sessions."""
    f = farm(1)
    names.set("xmpp.test", "A", "127.0.0.1", ttl=1)
    f.start(f"xmpp.test:{f.stubs[0].port}", proxy_resolver=names.address, proxy_workers=1)
    client = f.login()
    names.mode = "slow"
    names.wait_held()
    for number in range(20):  # the echo of a stub: to the server and back
        client.message(client.jid, f"while it waits {number}")
    assert len(client.messages(20)) == 20
    assert f.spread(3) == [3]
    assert names.held, "all of this was while the answer was awaited"
    names.release()


def test_clients_wait_for_the_first_answer(farm, names):
    f = farm(1)
    names.set("xmpp.test", "A", "127.0.0.1")
    names.mode = "slow"
    f.start(f"xmpp.test:{f.stubs[0].port}", proxy_resolver=names.address, wait=False)
    names.wait_held()
    with RawClient(f.proxy.port, DOMAIN) as client:
        names.release()
        client.login("early", "secret", "r", sm=False)
    assert f.proxy.readyz()[0]


def test_dead_name_servers_at_the_start_hold_nobody_for_long(farm, names):
    f = farm(1)
    names.set("xmpp.test", "A", "127.0.0.1")
    names.mode = "silent"
    f.start(f"xmpp.test:{f.stubs[0].port}", proxy_resolver=names.address, wait=False)
    f.is_refused()
    assert "resolve xmpp.test: timed out" in f.proxy.readyz()[1] or "not answered yet" in f.proxy.readyz()[1]
    names.mode = "answer"
    f.proxy.wait_ready()
    f.login()


def test_a_changed_address_is_followed(farm, names):
    f = farm(2)
    port = f.stubs[0].port
    f.stubs[1].stop()
    f.stubs[1] = StubServer(DOMAIN, port, "127.0.0.2")
    f.closing.callback(f.stubs[1].stop)
    names.set("xmpp.test", "A", "127.0.0.1", ttl=1)
    f.start(f"xmpp.test:{port}", proxy_resolver=names.address)
    stays = f.login()
    names.set("xmpp.test", "A", "127.0.0.2", ttl=1)
    eventually(lambda: f.spread(1) == [0, 1], "new sessions go to the new address", timeout=20)
    assert f.spread(3) == [0, 3]
    assert stays.ping(to=DOMAIN)["type"] == "result", "sessions stay where they are"


@pytest.mark.parametrize("mode", ["fail", "silent"])
def test_failing_name_servers_change_nothing(farm, names, mode):
    f = farm(1)
    names.set("xmpp.test", "A", "127.0.0.1", ttl=1)
    f.start(f"xmpp.test:{f.stubs[0].port}", proxy_resolver=names.address)
    names.mode = mode
    f.proxy.wait_metric("holdfast_lookups_total", lambda value: value >= 2, result="failed", seconds=40)
    assert f.spread(3) == [3]
    assert f.proxy.readyz()[0]
    assert f.proxy.log().count("the last answer stays in use") == 1
    names.mode = "answer"
    eventually(lambda: "name servers answer again" in f.proxy.log(), "they are heard again", timeout=40)


def test_a_name_that_does_not_exist_is_told_and_found_later(farm, names):
    f = farm(1)
    f.start(f"xmpp.test:{f.stubs[0].port}", proxy_resolver=names.address, wait=False)
    eventually(lambda: "resolve xmpp.test: not found" in f.proxy.readyz()[1], "/readyz tells why")
    f.is_refused()
    assert "resolve xmpp.test: not found" in f.proxy.log()
    names.set("xmpp.test", "A", "127.0.0.1")
    f.proxy.wait_ready()
    f.login()
    names.remove("xmpp.test")
    eventually(lambda: not f.proxy.readyz()[0], "an answer that there is no such name is believed", timeout=20)
    f.is_refused()


# ---- SRV ----

def srv(f, names, records, ttl=1):
    """Sets SRV records (priority, weight, stub) whose targets are node0.test, node1.test, …"""
    for number in range(len(f.stubs)):
        names.set(f"node{number}.test", "A", "127.0.0.1", ttl=3600)
    names.set("_xmpp-client._tcp.cluster.test", "SRV",
              *[(priority, weight, f.stubs[number].port, f"node{number}.test") for priority, weight, number in records],
              ttl=ttl)


def test_srv_priorities_fail_over(farm, names):
    f = farm(2)
    srv(f, names, [(20, 0, 1), (10, 0, 0)])
    f.start("srv:cluster.test", proxy_resolver=names.address)
    eventually(lambda: f.proxy.metric("holdfast_server_up") == 2, "both are up")
    assert f.spread(5) == [5, 0], "the load does not matter between priorities"
    f.stubs[0].stop()
    assert f.spread(3) == [0, 3]


def test_srv_weights_roughly_hold(farm, names):
    f = farm(3)
    srv(f, names, [(1, 60, 0), (1, 20, 1), (1, 0, 2)])
    f.start("srv:cluster.test", proxy_resolver=names.address)
    eventually(lambda: f.proxy.metric("holdfast_server_up") == 3, "all are up")
    first, second, third = f.spread(40)
    assert 29 <= first <= 31 and 9 <= second <= 11 and third <= 1


def test_srv_records_are_followed(farm, names):
    f = farm(2)
    srv(f, names, [(1, 1, 0)])
    f.start("srv:cluster.test", proxy_resolver=names.address)
    stays = f.login()
    srv(f, names, [(1, 1, 1)])
    eventually(lambda: f.spread(1) == [0, 1], "new sessions go to the new server", timeout=20)
    assert stays.ping(to=DOMAIN)["type"] == "result"
    assert f.proxy.metric("holdfast_server_sessions", server=f"node0.test:{f.stubs[0].port}") >= 1


def test_a_large_srv_answer_comes_over_tcp(farm, names):
    f = farm(1)
    names.set("a.test", "A", "127.0.0.1", ttl=3600)
    dead = free_ports(20)
    names.set("_xmpp-client._tcp.cluster.test", "SRV", (1, 1, f.stubs[0].port, "a.test"),
              *[(2, 1, port, "a.test") for port in dead], ttl=3600)
    f.start("srv:cluster.test", proxy_resolver=names.address)
    assert names.over_tcp >= 1
    assert f.spread(2) == [2]
    assert len(f.proxy.stats()["servers"]) == 21


@pytest.mark.parametrize("records, why", [
    ([(0, 0, 0, ".")], "the domain says that it has no such service"),
    ([], "not found"),
])
def test_no_service(farm, names, records, why):
    f = farm(1)
    names.set("_xmpp-client._tcp.cluster.test", "SRV", *records)
    f.start("srv:cluster.test", proxy_resolver=names.address, wait=False)
    eventually(lambda: why in f.proxy.readyz()[1], "/readyz tells why")
    f.is_refused()


def test_direct_tls_looks_for_other_records(farm, names, authority):
    f = farm(1)
    f.start("srv:cluster.test", proxy_resolver=names.address, proxy_upstream_tls="direct",
            proxy_upstream_ca=authority.ca, wait=False)
    eventually(lambda: names.count("_xmpps-client._tcp.cluster.test", "SRV"), "these are asked for")
    assert names.count("_xmpp-client._tcp.cluster.test", "SRV") == 0


# ---- reload ----

def test_hup_takes_a_new_list_without_a_cut(farm):
    f = farm(2)
    f.start(f.names()[0])
    stays = f.login()
    managed = f.login(sm=True)
    f.proxy.settings["proxy.upstream"] = f.names()[1]
    f.proxy.write_config()
    f.proxy.signal(signal.SIGHUP)
    eventually(lambda: f.spread(1) == [0, 1], "new sessions go to the new server")
    assert stays.ping(to=DOMAIN)["type"] == "result"
    assert f.sessions(0) >= 2
    managed.cut()
    again = f.closing.enter_context(RawClient(f.proxy.port, DOMAIN))
    again.authenticate(managed.jid.partition("@")[0], "secret")
    again.resume(managed)
    again.message(again.jid, "to myself")
    assert again.messages(1)[0].body == "to myself"
    assert f.proxy.resumes() == 1, "on the server where it was"
    assert "changes with a restart only" not in f.proxy.log()
    f.proxy.settings["proxy.upstream"] = f.names()[1] + ", x:y"
    f.proxy.write_config()
    f.proxy.signal(signal.SIGHUP)
    eventually(lambda: "x:y" in f.proxy.log(), "the bad part is named")
    assert f.spread(2) == [0, 2]


# ---- real servers ----

@pytest.fixture
def pair():
    """Two Prosodys of the same domain with the same accounts, as nodes of a cluster look from outside."""
    servers = [Prosody(accounts=[Prosody.account(number) for number in range(ACCOUNTS)]) for _ in range(2)]
    try:
        yield [server.start() for server in servers]
    finally:
        for server in servers:
            server.remove()


def client_stays(client):
    """Whether the client's server is there; else the proxy cuts it, so that it comes back."""
    try:
        return client.ping(to=client.domain)["type"] == "result"
    except WireError:
        return False


def test_kill_of_one_of_two_real_servers(pair, proxy_factory):
    upstream = ", ".join(server.upstream for server in pair)
    proxy = proxy_factory(upstream)
    accounts = iter(range(ACCOUNTS))
    scene = Scene(pair[0], proxy, lambda: (*Prosody.account(next(accounts)), None))

    def sessions():
        return [proxy.metric("holdfast_server_sessions", server=server.upstream) for server in pair]

    def up():
        return [proxy.metric("holdfast_server_up", server=server.upstream) for server in pair]

    with scene.closing:
        eventually(lambda: up() == [1, 1], "both are up")
        clients = [scene.login(f"a{number}", sm=False) for number in range(10)]
        assert sessions() == [5, 5]
        managed = [scene.login(f"m{number}") for number in range(2)]
        assert sessions() == [6, 6]
        pair[0].kill()
        gone, = [client for client in managed if not client_stays(client)]
        rebuilt = scene.resume(gone, f"m{managed.index(gone)}")  # on the other server
        assert rebuilt.ping(to=rebuilt.domain)["type"] == "result"
        for number in range(10, 16):
            scene.login(f"a{number}", sm=False)  # at once, and none fails
        eventually(lambda: sessions() == [0, 13], "all are on the other")
        eventually(lambda: up() == [0, 1], "the dead one is marked")
        assert proxy.readyz()[0]
        pair[0].start()
        eventually(lambda: up() == [1, 1], "it is back")
        numbers = iter(range(16, ACCOUNTS))

        def spreads():
            scene.login(f"a{next(numbers)}", sm=False)
            return sessions()[0] >= 3

        eventually(spreads, "new sessions go to both again", timeout=60)
        assert sum(client.is_open() for client in clients) == 5
        assert collections.Counter(line for line in proxy.log().splitlines() if "upstream is back" in line).total() == 1
