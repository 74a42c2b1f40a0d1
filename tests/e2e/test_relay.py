"""A client that resumes on another node than its session's: where both have a peer port, it is relayed, and the server
notices nothing. What fails on the way falls back to moving the session."""

import hashlib
import hmac
import json
import secrets
import signal
import socket
import subprocess
import threading
import time

import pytest

from cluster import cluster, redis, stub_cluster  # noqa: F401  (fixtures)
from raw import NS_SM3, Closed
from scene import eventually, figures, from_server, stub  # noqa: F401  (fixtures)
from servers import free_ports
from test_takeover import acked

SID = "0123456789abcdef" * 3


def peer_port(node):
    return int(str(node.settings["listen.peer"]).rpartition(":")[2])


def peer_key(node):
    """HKDF-SHA256 (RFC 5869) of the cluster's secret."""
    secret = hashlib.sha256(open(node.settings["proxy.secret_file"], "rb").read()).hexdigest().encode()
    pseudorandom = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(pseudorandom, b"holdfast peer 1\x01", "sha256").hex()


def call(node, line, key=None):
    """What a node answers to that greeting: all that it says before it closes."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{peer_port(node)}", "-tls1_3", "-quiet", "-ign_eof",
               "-psk_identity", "holdfast-peer-1", "-psk", key or peer_key(node), "-ciphersuites",
               "TLS_AES_128_GCM_SHA256"]
    return subprocess.run(command, input=line.encode(), capture_output=True, timeout=20, check=False).stdout.decode()


def greeting(version=1, hops=1, sid=SID, account="a@example.org"):
    return f"holdfast-peer/{version} hops={hops} h=0 sid={sid} account={account} node=test client=192.0.2.1:5\n"


def relayed(s, owner=0, at=1, **how):
    """A client at one node whose session the other one runs."""
    s.use(owner)
    client = s.login(**how)
    client.presence()
    client.ping()
    client.cut("rst")
    s.wait_detached()
    s.use(at)
    before = s.figure("resumes_total", result="relayed")
    again = s.resume(client)
    assert s.figure("resumes_total", result="relayed") == before + 1
    return again


def row_of(node):
    rows = json.loads(node.http("/sessions?format=json")[1])
    assert len(rows) == 1, rows
    return rows[0]


@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
def test_a_living_owner_keeps_the_session(cluster):
    s = cluster(peers=True)
    client, contact = s.login(), s.direct(presence="")
    client.presence()
    s.say(client, contact.jid, range(3))
    acked(client)
    assert s.hear(contact, 3) == list(range(3))
    client.cut("rst")
    s.wait_detached()
    s.send_away(contact, client.jid, range(10, 14))
    s.use(1)
    again = s.resume(client)
    assert again.resumed["h"] == str(client.sent)
    assert s.hear(again, 4) == list(range(10, 14))
    s.say(contact, again.jid, [20])
    assert s.hear(again, 1) == [20]
    s.say(again, contact.jid, range(30, 33))
    acked(again)
    assert s.hear(contact, 3) == list(range(30, 33))
    assert s.figure("resumes_total", result="relayed") == 1 == s.figure("relays")
    assert s.figure("sessions") == 0, "it is the other's"
    assert figures(s.nodes[0]).sum("connections", transport="relay") == 1
    row = row_of(s.nodes[0])
    assert (row["transport"], row["relay_node"]) == ("relay", "node1")
    assert row["peer"] == "%s:%d" % again.sock.getsockname()
    again.close()
    eventually(lambda: s.sum("sessions") == 0 == s.sum("relays"), "the session has ended with its stream")


def test_long_stanzas_and_other_namespaces_pass(stub_cluster, stub):
    s = stub_cluster(peers=True)
    client = relayed(s)
    session = stub.session_of(client.jid)
    with client.one_packet():
        client.message("x@y", s.text(1), payload=f"<x xmlns='urn:x'>{'ä' * 60000}</x>")
        client.message("x@y", s.text(2))
    arrived = [session.wait_for(lambda e: s.is_ours(e) and s.number(e) == number) for number in (1, 2)]
    assert len(arrived[0].find("x", "urn:x").text) == 60000
    session.send(f"<message from='x@y/c' to='{client.jid}'><body>{s.text(3)}</body><z:x xmlns:z='urn:z'>{'ö' * 60000}"
                 "</z:x></message>")
    assert client.wait_for(s.is_ours).find("x", "urn:z").text == "ö" * 60000


def test_it_can_come_again_and_again(stub_cluster, stub):
    s = stub_cluster(nodes=3, peers=True)
    client = relayed(s)
    session = stub.session_of(client.jid)
    for number, node in enumerate((2, 1, 0, 2)):
        s.say(client, "x@y", [number])
        acked(client)
        if number % 2:
            client.cut("rst")
        s.use(node)
        old, client = client, s.resume(client)
        session.send(from_server(s, client.jid, [number]))
        assert s.hear(client, 1) == [number]
        if not number % 2:
            assert old.wait_for("error").condition == "conflict"
            assert old.wait_for("end")
    assert stub.session_of(client.jid) is session, "the same connection to the server all the time"
    assert sum(figures(node).sum("resumes_total", result="relayed") for node in s.nodes) == 4
    assert s.sum("connections", transport="relay") == 1 == s.sum("relays")


def test_an_owner_that_is_killed_under_a_relay(stub_cluster, stub):
    s = stub_cluster(peers=True)
    client = relayed(s)
    session = stub.session_of(client.jid)
    s.say(client, "x@y", range(5))
    acked(client)
    session.send(from_server(s, client.jid, range(5)))
    assert s.hear(client, 3) == list(range(3))
    client.ack()
    s.wait_settled()
    eventually(lambda: s.sum("unacked_stanzas") == 2, "the owner has heard the ack")
    handled = client.h_in
    s.nodes[0].kill()
    assert not any(element.is_end for element in client.wait_closed()[1])
    client.h_in = handled  # what it read since is as good as lost
    again = s.resume(client)
    assert s.hear(again, 2) == [3, 4]
    assert again.resumed["h"] == str(client.sent)
    assert s.figure("resumes_total", result="rebuilt") == 1
    assert s.figure("legs_closed_total", leg="client", reason="owner_lost") == 1


def test_a_relaying_node_that_is_killed(stub_cluster, stub):
    s = stub_cluster(peers=True)
    client = relayed(s)
    session = stub.session_of(client.jid)
    s.say(client, "x@y", range(5))
    acked(client)
    s.nodes[1].kill()
    s.use(0)
    s.wait_detached()
    session.send(from_server(s, client.jid, range(2)))
    again = s.resume(client)
    assert s.hear(again, 2) == [0, 1]
    assert stub.session_of(client.jid) is session


def test_another_secret_is_refused_and_the_session_moves(stub_cluster, stub, redis):
    s = stub_cluster(peers=True)
    other = redis.directory / "other"
    other.write_bytes(secrets.token_bytes(32))
    s.nodes[1].settings["proxy.secret_file"] = other
    s.nodes[1].write_config()
    s.nodes[1].restart()
    client = s.login()
    client.presence()
    s.say(client, "x@y", range(3))
    acked(client)
    client.cut("rst")
    s.wait_detached()
    s.use(1)
    again = s.resume(client)
    assert again.resumed["h"] == str(client.sent)
    assert s.figure("resumes_total", result="rebuilt") == 1
    assert s.figure("relay_failures_total", reason="broken") == 1
    s.nodes[0].wait_metric("holdfast_peer_refusals_total", 1, reason="handshake")
    assert s.nodes[0].metric("holdfast_sessions_ended_total", reason="released") == 1


def test_an_owner_that_is_stopped_is_not_waited_for(stub_cluster, stub):
    s = stub_cluster(peers=True)
    client = s.login()
    client.presence()
    s.say(client, "x@y", range(3))
    acked(client)
    s.wait_settled()
    client.cut("rst")
    s.wait_detached()
    s.nodes[0].signal(signal.SIGSTOP)
    try:
        s.use(1)
        again = s.authenticated()
        began = time.monotonic()
        again.resumed = again.resume(client)
        took = time.monotonic() - began
        assert again.resumed["h"] == str(client.sent)
        assert s.figure("relay_failures_total", reason="silent") == 1
        assert 2 <= took, "it was asked"
    finally:
        s.nodes[0].signal(signal.SIGCONT)
    s.use(0)
    s.wait_no_sessions()
    s.use(1)
    assert again.ping()["type"] == "result"


def test_a_peer_port_that_nobody_listens_on(stub_cluster, stub):
    """The owner is taken for dead, and finds out what has become of its session."""
    s = stub_cluster(peers=True)
    s.nodes[0].settings["listen.peer_advertise"] = f"127.0.0.1:{free_ports(1)[0]}"
    s.nodes[0].write_config()
    s.nodes[0].restart()
    client = s.login()
    client.presence()
    s.say(client, "x@y", range(3))
    acked(client)
    s.wait_settled()
    client.cut("rst")
    s.wait_detached()
    s.use(1)
    again = s.resume(client)
    assert again.resumed["h"] == str(client.sent)
    assert s.figure("relay_failures_total", reason="unreachable") == 1
    assert s.figure("resumes_total", result="rebuilt") == 1
    s.use(0)
    s.wait_no_sessions()


def test_drains(stub_cluster, stub):
    s = stub_cluster(peers=True)
    client = relayed(s)
    session = stub.session_of(client.jid)
    s.say(client, "x@y", range(3))
    acked(client)
    s.nodes[1].settings["proxy.drain"] = s.nodes[0].settings["proxy.drain"] = "20s"
    for node in s.nodes:
        node.write_config()
        node.signal(signal.SIGHUP)
        node.wait_metric("holdfast_reloads_total", 1, result="ok")
    s.nodes[1].stop()
    assert not any(element.is_end for element in client.wait_closed()[1])
    s.use(0)
    client = s.resume(client)
    assert stub.session_of(client.jid) is session
    s.nodes[1].start()
    client.cut("rst")
    s.wait_detached()
    s.use(1)
    client = s.resume(client)
    assert s.figure("resumes_total", result="relayed") == 1
    s.nodes[0].stop()
    assert not any(element.is_end for element in client.wait_closed()[1])
    again = s.resume(client)
    assert again.resumed["h"] == str(client.sent)
    assert s.figure("resumes_total", result="rebuilt") == 1


def test_a_draining_owner_hands_its_sessions_over(stub_cluster, stub):
    s = stub_cluster(peers=True, proxy_drain="30s", proxy_drain_rate="1")
    client = s.login()
    client.presence()
    client.ping()
    stay = [s.login(resource=f"stays {number}") for number in range(8)]  # for as many seconds
    client.cut("rst")
    s.wait_detached()
    s.nodes[0].control("/drain", "POST")
    eventually(lambda: "'draining'" in call(s.nodes[0], greeting()), "no clients are taken any more")
    s.use(1)
    s.resume(client)
    assert s.figure("relay_failures_total", reason="refused") == 1
    assert s.figure("resumes_total", result="rebuilt") == 1
    assert figures(s.nodes[0]).sum("peer_refusals_total", reason="draining") >= 2
    for each in stay:
        each.cut("rst")


def test_greetings_that_are_refused(stub_cluster, stub):
    s = stub_cluster(nodes=1, peers=True)
    node = s.nodes[0]
    client = s.login()
    client.ping()
    sid = row_of(node)["sid"]
    before = node.metrics()
    for line, reason in ((greeting(), "session"), (greeting(hops=3), "hops"), (greeting(version=2), "version"),
                         ("GET / HTTP/1.0\r\n\r\n", "hello"), (greeting() + "<presence/>", "hello"),
                         ("holdfast-peer/1 " + "x" * 9000, "hello"),
                         (greeting(sid=sid, account="somebody@example.org"), "session")):
        assert call(node, line) == f"<refused xmlns='urn:holdfast:peer' reason='{reason}'/>", line
    name = 'holdfast_peer_refusals_total{reason="%s"}'
    after = node.metrics()
    assert {reason: after[name % reason] - before[name % reason] for reason in ("session", "hops", "version", "hello")} \
        == {"session": 2, "hops": 1, "version": 1, "hello": 3}
    assert call(node, greeting(), key="00" * 32) == ""
    node.wait_metric("holdfast_peer_refusals_total", 1, reason="handshake")
    assert client.ping()["type"] == "result"
    assert node.metric("holdfast_connections", transport="relay") == 0


def test_who_does_not_know_the_secret_has_little_time_and_room(stub_cluster, stub):
    s = stub_cluster(nodes=1, peers=True, proxy_workers="1")
    node = s.nodes[0]
    garbage = socket.create_connection(("127.0.0.1", peer_port(node)))
    garbage.sendall(b"\x00" * 1000)
    garbage.settimeout(10)
    assert garbage.recv(100)[:1] in (b"", b"\x15"), "an alert at the most"
    node.wait_metric("holdfast_peer_refusals_total", 1, reason="handshake")
    silent = [socket.create_connection(("127.0.0.1", peer_port(node))) for _ in range(257)]
    node.wait_metric("holdfast_peer_refusals_total", 1, reason="limit")
    node.wait_metric("holdfast_peer_refusals_total", 256, reason="late")
    for one in silent:
        one.settimeout(10)
        assert one.recv(1) == b""
        one.close()


def test_a_client_that_does_not_read_is_waited_for(stub_cluster, stub):
    """Neither node keeps more of it than its own bounds, and nothing is lost."""
    s = stub_cluster(peers=True, sm_queue_stanzas="100000", sm_queue_bytes="64m")
    client = relayed(s)
    session = stub.session_of(client.jid)
    count, filler = 3000, "x" * 2000
    sender = threading.Thread(target=lambda: session.send(from_server(s, client.jid, range(count), filler)))
    sender.start()
    eventually(lambda: s.sum("backpressure_total", leg="upstream") > 0, "the relay waits for the client")
    client.auto_ack = True
    assert s.hear(client, count, 30) == list(range(count))
    sender.join()
    assert figures(s.nodes[1]).sum("relay_bytes_total", direction="downlink") > count * 2000


def test_bad_xml_ends_the_session_on_its_node(stub_cluster, stub):
    s = stub_cluster(peers=True)
    client = relayed(s)
    client.send("<message></presence>")
    assert client.wait_for("error").condition == "not-well-formed"
    assert client.wait_for("end")
    eventually(lambda: s.sum("sessions") == 0 == s.sum("relays"), "the session has ended")


def test_sm_elements_are_answered_through_a_relay(stub_cluster, stub):
    s = stub_cluster(peers=True)
    client = relayed(s)
    client.send(f"<enable xmlns='{NS_SM3}'/>")
    assert client.pick("failed").condition == "unexpected-request"
    client.send(f"<a xmlns='{NS_SM3}' h='4000000'/>")
    assert client.wait_for("error").find("handled-count-too-high")
    with pytest.raises(Closed):
        client.wait_for("never")


def test_the_way_that_is_advertised(stub_cluster, stub, knife_factory):
    s = stub_cluster(peers=True)
    knife = knife_factory("127.0.0.1", peer_port(s.nodes[0]))
    s.nodes[0].settings["listen.peer_advertise"] = f"localhost:{knife.port}"
    s.nodes[0].write_config()
    s.nodes[0].restart()
    client = relayed(s)
    session = stub.session_of(client.jid)
    s.say(client, "x@y", range(3))
    acked(client)
    knife.cut("rst")
    assert not any(element.is_end for element in client.wait_closed()[1])
    again = s.resume(client)
    assert s.figure("resumes_total", result="relayed") == 2 == s.figure("relay_ask_seconds_count")
    assert s.figure("legs_closed_total", leg="client", reason="owner_lost") == 1
    assert s.figure("relay_bytes_total", direction="uplink") > 0
    assert figures(s.nodes[0]).sum("connections_opened_total", transport="relay") == 2
    assert again.ping()["type"] == "result"
    assert stub.session_of(client.jid) is session


def test_clients_of_others_count_as_connections(stub_cluster, stub):
    s = stub_cluster(peers=True)
    s.nodes[0].settings["limits.connections"] = "1"
    s.nodes[0].write_config()
    s.nodes[0].restart()
    client = s.login()
    client.presence()
    client.ping()
    client.cut("rst")
    s.wait_detached()
    other = s.login(resource="other")
    s.use(1)
    s.resume(client)
    assert s.figure("resumes_total", result="rebuilt") == 1, "it has moved instead"
    assert figures(s.nodes[0]).sum("peer_refusals_total", reason="limit") == 1
    assert other.ping()["type"] == "result"


@pytest.mark.parametrize("over", ["ws", "wss"])
def test_clients_over_websocket(stub_cluster, stub, over):
    """The way between the nodes is the same for all transports."""
    s = stub_cluster(peers=True)
    client = s.login(connect={"over": over})
    client.presence()
    client.ping()
    client.cut("rst")
    s.wait_detached()
    session = stub.session_of(client.jid)
    s.use(1)
    again = s.resume(client, over=over)
    assert s.figure("resumes_total", result="relayed") == 1
    session.send(from_server(s, client.jid, range(3)))
    assert s.hear(again, 3) == [0, 1, 2]
    s.say(again, "x@y", [4])
    assert s.number(session.wait_for(s.is_ours)) == 4
    again.send("</stream:stream>")
    assert again.wait_closed()[1][-1].is_end
    eventually(lambda: s.sum("sessions") == 0 == s.sum("relays"), "the session has ended with its stream")
