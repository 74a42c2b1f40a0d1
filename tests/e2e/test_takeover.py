"""Sessions outlive their node: what Redis has of them, any node with the same Redis goes on with."""

import signal

import pytest

from cluster import cluster, own_cluster, redis, stub_cluster  # noqa: F401  (fixtures)
from raw import NS_SM3
from scene import eventually, stub  # noqa: F401  (fixtures)


def acked(client):
    """Until all that it has said is acked."""
    while client.acked < client.sent:
        client.send(f"<r xmlns='{NS_SM3}'/>")
        client.pick("a")


@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
def test_a_session_is_resumed_on_another_node_after_its_own_was_killed(cluster):
    s = cluster()
    client, contact = s.login(), s.direct(presence="")
    client.presence()
    s.say(contact, client.jid, range(5))
    assert s.hear(client, 5) == list(range(5))
    s.say(client, contact.jid, range(3))
    acked(client)
    client.cut("rst")
    s.wait_detached()
    s.send_away(contact, client.jid, range(10, 15))
    s.wait_settled()
    s.nodes[0].kill()
    s.use(1)
    again = s.resume(client)
    assert again.resumed["h"] == str(client.sent)
    assert s.hear(again, 5) == list(range(10, 15))
    assert s.hear(contact, 3) == list(range(3))
    s.say(contact, again.jid, [7])
    assert s.hear(again, 1) == [7]
    s.say(again, contact.jid, [8])
    assert s.hear(contact, 1) == [8]
    assert s.figure("resumes_total", result="rebuilt") == 1


@pytest.mark.servers("prosody")
def test_a_session_goes_round_and_back_and_keeps_its_counters(cluster):
    s = cluster(nodes=2)
    client, contact = s.login(), s.direct(presence="")
    client.presence()
    heard = []
    for round_number in range(6):
        numbers = range(round_number * 4, round_number * 4 + 4)
        s.say(contact, client.jid, numbers)
        heard += s.hear(client, 4)
        client.ack()
        s.say(client, contact.jid, numbers)
        acked(client)
        assert s.hear(contact, 4) == list(numbers)
        s.wait_settled()
        node = s.nodes[round_number % 2]
        node.kill()
        s.use(1 - round_number % 2)
        client = s.resume(client)
        assert client.resumed["h"] == str(client.sent)
        node.start()
    assert heard == list(range(24))
    assert s.hear_rest(client) == []


@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
def test_a_living_owner_lets_the_session_go(cluster):
    s = cluster()
    client, contact = s.login(), s.direct(presence="")
    client.presence()
    client.ping()
    client.cut("rst")
    s.wait_detached()
    s.send_away(contact, client.jid, range(4))
    s.use(1)
    again = s.resume(client)
    assert s.hear(again, 4) == list(range(4))
    s.say(again, contact.jid, [9])
    assert s.hear(contact, 1) == [9]
    eventually(lambda: s.nodes[0] and s.sum("sessions") == 1, "one node has it")


@pytest.mark.servers("prosody")
def test_an_owner_that_slept_finds_itself_fenced(cluster):
    s = cluster()
    client, contact = s.login(), s.direct(presence="")
    client.presence()
    client.ping()
    s.wait_settled()
    s.nodes[0].signal(signal.SIGSTOP)
    try:
        s.use(1)
        again = s.resume(client)
        s.say(contact, again.jid, range(3))
        assert s.hear(again, 3) == list(range(3))
        again.ack()
    finally:
        s.nodes[0].signal(signal.SIGCONT)
    s.use(0)
    s.wait_no_sessions()
    s.use(1)
    s.say(contact, again.jid, [5])
    assert s.hear(again, 1) == [5]
    assert again.ping()["type"] == "result"
    assert s.hear_rest(again) == []


def test_a_client_comes_back_to_an_owner_that_slept(stub_cluster, stub):
    """It still thinks to have the session, and finds out while it is resumed: then it gets it back from the other."""
    s = stub_cluster()
    client = s.login()
    s.say(client, "x@y", range(3))
    acked(client)
    s.wait_settled()
    s.nodes[0].signal(signal.SIGSTOP)
    s.use(1)
    client = s.resume(client)
    s.say(client, "x@y", range(3))
    acked(client)
    s.nodes[0].signal(signal.SIGCONT)
    client.cut("rst")
    s.use(0)
    client = s.resume(client)
    assert client.resumed["h"] == "6"


def test_acks_wait_while_redis_is_away(stub_cluster, stub, redis):
    s = stub_cluster(nodes=1)
    client = s.login()
    s.say(client, "x@y", range(3))
    acked(client)
    redis.signal(signal.SIGSTOP)
    try:
        s.say(client, "x@y", range(3, 8))
        client.send(f"<r xmlns='{NS_SM3}'/>")
        assert client.pick("a", timeout=10)["h"] == "3", "nothing of it is committed"
        session = stub.session_of(client.jid)
        eventually(lambda: sum(e.name == "message" for e in session.received) == 8, "the server has them")
        eventually(lambda: not s.proxy.readyz()[0], "/readyz fails")
        assert "store:" in s.proxy.readyz()[1]
    finally:
        redis.signal(signal.SIGCONT)
    acked(client)
    assert client.acked == 8
    eventually(lambda: s.proxy.readyz()[0], "/readyz is well again")


def test_a_client_is_sent_away_when_redis_is_away_for_longer_than_the_session_may_live(stub_cluster, stub, redis):
    """Other nodes, which may reach Redis, take the session for dead then."""
    s = stub_cluster(nodes=1, sm_max="2s")
    client = s.login()
    s.say(client, "x@y", range(3))
    acked(client)
    redis.signal(signal.SIGSTOP)
    try:
        s.wait_figure(1, "legs_closed_total", leg="client", reason="store_away")
        assert not any(element.is_end() for element in client.wait_closed()[1]), "it may resume"
    finally:
        redis.signal(signal.SIGCONT)


def test_a_session_that_nobody_can_vouch_for_is_not_resumed(stub_cluster, stub, redis):
    """Its node is dead, and Redis another run, which may have lost the newest: the client begins anew, and nothing of
    what it was told turns out to be wrong."""
    s = stub_cluster(sm_max="5s")
    client = s.login()
    client.presence()
    s.say(client, "x@y", range(3))
    acked(client)
    s.wait_settled()
    s.nodes[0].kill()
    s.nodes[1].kill()
    redis.ask("DEL", "hf:n:node0")  # it does not look alive any more
    redis.kill()
    redis.start()
    s.nodes[1].start()
    s.use(1)
    late = s.authenticated()
    failed = late.try_resume(client.sm_id, client.h_in)
    assert failed.condition == "item-not-found"
    assert s.figure("store_claims_total", result="stale") == 1
    assert not late.closed


def test_nothing_is_left_in_redis_that_never_ends(stub_cluster, stub, redis):
    s = stub_cluster(sm_max="5s")
    client = s.login()
    s.say(client, "x@y", range(3))
    acked(client)
    assert redis.keys("hf:{*")
    assert redis.immortal() - redis.keys("hf:exp:*") - {"hf:secret"} == set()
    client.close()
    s.wait_no_sessions()
    eventually(lambda: not redis.keys("hf:{*}:[sjdu]:*"), "what the session had there is gone")


@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
def test_a_node_that_is_stopped_lets_its_sessions_go(cluster):
    s = cluster()
    client, contact = s.login(), s.direct(presence="")
    client.presence()
    client.ping()
    gone = s.login("away", "r")
    gone.presence()
    gone.ping()
    gone.cut("rst")
    s.wait_detached()
    s.send_away(contact, gone.jid, range(5))
    s.nodes[0].stop()
    assert not client.closed or client.closed != "end"
    s.use(1)
    again = s.resume(client)
    s.say(contact, again.jid, [1])
    assert s.hear(again, 1) == [1]
    back = s.resume(gone, "away")
    assert s.hear(back, 5) == list(range(5))
    assert s.figure("resumes_total", result="rebuilt") == 2


def test_mail_of_a_session_that_expired_on_one_node_is_delivered_on_another(stub_cluster, stub):
    s = stub_cluster(sm_max="1s")
    client = s.login()
    client.presence()
    client.ping()
    session = stub.session_of(client.jid)
    client.cut("rst")
    s.wait_detached()
    session.send("".join(f"<message from='x@y/c' to='{client.jid}' type='chat'><body>{s.text(n)}</body></message>"
                         for n in range(3)))
    s.wait_no_sessions()
    s.use(1)
    other = s.login(resource="other")
    other.presence()
    assert s.hear(other, 3) == list(range(3))
    other.ack()
    other.ping()
    third = s.login(resource="third")
    third.presence()
    assert s.hear_rest(third) == []


def test_sessions_of_a_node_that_died_expire_by_another(stub_cluster, stub, redis):
    s = stub_cluster(sm_max="2s")
    client = s.login()
    client.presence()
    client.ping()
    session = stub.session_of(client.jid)
    client.cut("rst")
    s.wait_detached()
    session.send(f"<message from='x@y/c' to='{client.jid}' type='chat'><body>{s.text(7)}</body></message>")
    s.wait_figure(1, "stanzas_total", direction="downlink", kind="message")
    s.wait_settled()
    s.nodes[0].kill()
    s.use(1)
    eventually(lambda: not redis.keys("hf:{*}:s:*"), "it is reaped", 60)
    late = s.authenticated()
    failed = late.try_resume(client.sm_id, client.h_in)
    assert failed.condition == "item-not-found" and failed["h"] == str(client.sent)
    other = s.login(resource="other")
    other.presence()
    assert s.hear(other, 1) == [7]
