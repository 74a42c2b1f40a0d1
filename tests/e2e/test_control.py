"""Acting: the control socket and holdfastctl."""

import json
import os
import re
import socket
import subprocess
import time

import pytest
from proxy import BINARY
from raw import Closed
from scene import eventually, from_server, scene, stub, stub_scene  # noqa: F401  (fixtures)

CTL = BINARY.with_name("holdfastctl")
SECONDS = 30


def post(s, target, method="POST"):
    """(status, JSON or text) of a request to the control socket, without holdfastctl."""
    status, body = s.proxy.control(target, method)
    return status, json.loads(body) if body[:1] in ("{", "[") else body


def rows(s, *arguments):
    return json.loads(s.proxy.ctl("--json", "sessions", *arguments))


def row_of(s, jid):
    found, = rows(s, jid)
    return found


# --- the socket


def test_the_socket_is_the_owners_and_goes_at_the_end(stub_scene):
    s = stub_scene(sums=False)
    path = s.proxy.directory / "control"
    assert path.is_socket() and path.stat().st_mode & 0o777 == 0o600
    s.proxy.stop()
    assert not path.exists()
    s.proxy.settings["listen.control_mode"] = "0660"
    s.proxy.write_config()
    s.proxy.start()
    assert path.stat().st_mode & 0o777 == 0o660


def test_what_a_crash_left_is_replaced(stub_scene):
    s = stub_scene(sums=False)
    s.proxy.kill()
    assert (s.proxy.directory / "control").is_socket()
    s.proxy.start()
    assert "ready        yes" in s.proxy.ctl("status")


def test_the_socket_of_a_live_process_stops_the_start(stub_scene, proxy_factory):
    s = stub_scene()
    other = proxy_factory(f"127.0.0.1:{s.legacy.port}", listen_control=s.proxy.directory / "control", start=False)
    other.start(wait=False)
    assert other.wait() == 1
    told = [line for line in other.log().splitlines() if "listen.control" in line]
    assert len(told) == 1 and str(other.config_file) in told[0] and "listens there already" in told[0]
    assert s.proxy.ctl("status")
    other.settings["listen.control"] = None
    other.write_config()
    other.start()


def test_it_reads_what_the_stats_port_reads(stub_scene):
    s = stub_scene()
    client = s.login()
    for target in ("/", "/metrics", "/stats.json", "/sessions", "/healthz", "/readyz"):
        assert post(s, target, "GET")[0] == 200
    row = row_of(s, client.jid)
    assert post(s, "/sessions/" + row["sid"], "GET")[1]["jid"] == client.jid
    assert post(s, "/nothing", "GET")[0] == 404


def test_the_stats_port_does_not_act(stub_scene):
    s = stub_scene()
    client = s.login()
    sid = row_of(s, client.jid)["sid"]
    for order in ("/drain", "/reload", f"/purge?jid={client.bare_jid}", f"/sessions/{sid}/disconnect?end=yes"):
        assert s.proxy.http(order, "POST")[0] == 403
        assert s.proxy.http(order)[0] == 403
    assert s.proxy.readyz()[0]
    assert client.ping()["type"] == "result"
    assert s.figure("reloads_total") == 0


# --- status and sessions


def test_status_tells_what_goes_on(stub_scene):
    s = stub_scene(limits_connections=77, limits_memory="10m")
    client = s.login()
    s.login("c", resource="old", sm=False)
    s.legacy.session_of(client.jid).send(from_server(s, client.jid, [1, 2, 3]))
    s.wait_queued(3)
    text = s.proxy.ctl("status")
    assert re.search(r"^Holdfast \d+\.\d+\.\d+, node \S+, \d+ workers, up for ", text)
    for line in (r"ready        yes", r"upstream     127.0.0.1:\d+, up, 2 sessions", r"clients      2, limit 77; 0 of them log in",
                 r"sessions     1 attached, 0 detached, 1 without stream management",
                 r"unacked      3 stanzas, [\d.]+ K?B, the oldest for \d+\.\d+ s", r"unconfirmed  none",
                 r"mailboxes    0 messages, 0 B", r"memory       .* of 10.0 MB", r"certificate  valid until \d{4}-\d\d-\d\d"):
        assert re.search(f"^{line}", text, re.M), (line, text)
    status = json.loads(s.proxy.ctl("--json", "status"))
    assert status["pid"] == s.proxy.pid and status["ready"] is True and status["drain"] == "none"
    assert status['sessions{state="attached"}'] == 1 and status["unacked_oldest_seconds"] > 0


def test_status_tells_why_it_is_not_ready(stub_scene):
    s = stub_scene(sums=False)
    s.legacy.stop()
    s.connect().send("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
                     f"to='{s.domain}' version='1.0'>")
    eventually(lambda: not s.proxy.readyz()[0], "the upstream is seen to be gone")
    text = s.proxy.ctl("status")
    assert re.search(r"^not ready    upstream: .* unreachable", text, re.M)
    assert re.search(r"^upstream     .* DOWN", text, re.M)


def test_sessions_are_found_by_account_and_by_jid(stub_scene):
    s = stub_scene()
    one, two = s.login("a", "one"), s.login("a", "two")
    other = s.login("b", "one")
    assert {row["jid"] for row in rows(s)} == {one.jid, two.jid, other.jid}
    assert {row["jid"] for row in rows(s, one.bare_jid)} == {one.jid, two.jid}
    assert [row["jid"] for row in rows(s, two.jid)] == [two.jid]
    assert rows(s, "nobody@" + s.domain) == []
    text = s.proxy.ctl("sessions", one.bare_jid).splitlines()
    assert text[0].split()[:3] == ["SID", "STATE", "FOR"] and len(text) == 3
    assert {line.split()[-1] for line in text[1:]} == {one.jid, two.jid}
    # aligned: each column begins or ends below its head
    assert all(line.index("attached") == text[0].index("STATE") for line in text[1:])
    assert all(line.index(one.bare_jid) == text[0].index("JID") for line in text[1:])


def test_sessions_are_sorted_and_paged(stub_scene):
    s = stub_scene()
    clients = [s.login(f"user{n}") for n in range(3)]
    for n, client in enumerate(clients):  # the first has waited longest, the last has most
        s.legacy.session_of(client.jid).send(from_server(s, client.jid, range(n + 1)))
        s.wait_queued((n + 1) * (n + 2) // 2)
    in_order = [client.jid for client in clients]

    def listed(query):
        return [row["jid"] for row in json.loads(s.proxy.http("/sessions?format=json&" + query)[1])]

    assert listed("sort=unacked") == in_order[::-1]
    assert listed("sort=oldest") == in_order
    assert listed("sort=age") == in_order
    assert listed("sort=oldest&limit=1&offset=1") == in_order[1:2]
    assert listed("sort=oldest&offset=3") == []
    assert sorted(listed("sort=sid&limit=2") + listed("sort=sid&limit=2&offset=2")) == sorted(in_order)
    assert [row["jid"] for row in rows(s, "--sort", "oldest", "--limit", 2)] == in_order[:2]
    clients[1].wait_for("r")
    clients[1].ack()
    s.wait_figure(1, "acks_received_total")
    assert listed("sort=slow")[0] == clients[1].jid
    assert row_of(s, clients[1].jid)["ack_seconds"] is not None and row_of(s, clients[0].jid)["ack_seconds"] is None
    assert [row["jid"] for row in rows(s, "--state", "detached")] == []


def test_one_session_in_full(stub_scene):
    s = stub_scene(sm_max="300s", sm_max_cap="1h")
    client = s.login()
    client.presence()
    s.legacy.session_of(client.jid).send(from_server(s, client.jid, [1, 2]))
    s.hear(client, 2)
    client.ack(1)
    s.wait_figure(1, "acks_received_total")
    assert client.request() == 1
    target = "/sessions/" + row_of(s, client.jid)["sid"]
    one = json.loads(s.proxy.http(target)[1])
    expected = {"state": "attached", "unacked": 1, "sent": 2, "acked": 1, "received": 1, "safe": 1, "resumable": True,
                "available": True, "max_seconds": 300.0, "expires_in_seconds": None, "uplink_stanzas": 1,
                "downlink_stanzas": 2, "resuming": False, "inactive": False, "full_seconds": None}
    assert {name: one[name] for name in expected} == expected
    for leg in ("client", "server"):
        assert one[leg]["bytes_in"] > 0 and one[leg]["bytes_out"] > 0 and one[leg]["reading_stopped"] is False
    assert s.text(1) not in json.dumps(one) and client.sm_id not in json.dumps(one)
    client.cut()
    s.wait_detached()
    one = json.loads(s.proxy.http(target)[1])
    assert one["client"] is None and one["server"] and 290 < one["expires_in_seconds"] <= 300
    assert s.resume(client).jid


# --- message


def steps(s, stanza_id):
    """direction, step and session of what `holdfastctl message` tells."""
    told = json.loads(s.proxy.ctl("--json", "message", stanza_id))
    assert told["id"] == stanza_id and told["other_nodes"] is False and told["left_out"] == 0
    return [(step["direction"], step["step"], step["sid"]) for step in told["steps"]]


def test_where_a_message_is(stub_scene):
    s = stub_scene(sm_max="1s")
    sender, receiver = s.login("a"), s.login("b")
    receiver.presence()
    of_sender, of_receiver = row_of(s, sender.jid)["sid"], row_of(s, receiver.jid)["sid"]
    stanza_id = "a/b c?ü"
    sender.message(receiver.jid, s.text(1), stanza_id)
    sender.request()
    s.legacy.session_of(receiver.jid).send(f"<message from='{sender.jid}' to='{receiver.jid}' type='chat' "
                                           f"id='{stanza_id}'><body>{s.text(1)}</body></message>")
    assert s.hear(receiver, 1) == [1]
    assert steps(s, stanza_id) == [("uplink", "forwarded", of_sender), ("uplink", "confirmed", of_sender),
                                   ("downlink", "queued", of_receiver), ("downlink", "written", of_receiver)]
    receiver.cut()
    eventually(lambda: rows(s, receiver.jid) == [], "the session has expired")
    again = s.login("b", "again")
    again.presence()
    assert s.hear(again, 1) == [1]
    again.ack()
    s.wait_figure(1, "mailbox_fates_total", fate="delivered")
    sid = row_of(s, again.jid)["sid"]
    assert steps(s, stanza_id)[4:] == [("downlink", "mailbox", of_receiver), ("downlink", "fetched", sid),
                                       ("downlink", "written", sid), ("downlink", "acked", sid)]
    text = s.proxy.ctl("message", stanza_id)
    lines = text.splitlines()
    assert lines[0].split() == ["TIME", "DIRECTION", "STEP", "CLASS", "LEG", "NUMBER", "SID"] and len(lines) == 10
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z  uplink     forwarded +message +\d+ +\d+  " + of_sender, lines[1])
    assert "mailbox (expired)" in lines[5]
    assert lines[9].startswith("This is what node ") and lines[9].endswith(" remembers.")
    assert s.text(1) not in text and receiver.bare_jid not in text
    status, _, error = s.proxy.ctl("message", "another", check=False)
    assert status == 1 and "noted nothing" in error and "other nodes" not in error


def test_messages_are_for_the_control_socket_alone(stub_scene):
    s = stub_scene()
    s.login().message("x@" + s.domain, s.text(1), "m1")
    eventually(lambda: post(s, "/messages/m1", "GET")[0] == 200, "it is noted")
    assert s.proxy.http("/messages/m1")[0] == 403
    assert post(s, "/messages/m1")[0] == 405
    assert post(s, "/messages/", "GET")[0] == 404
    assert "m1" not in s.proxy.log()


def test_the_oldest_steps_are_forgotten(stub_scene):
    s = stub_scene(limits_fates=4, proxy_workers=1)
    client = s.login()
    for number in range(4):
        client.message("x@" + s.domain, s.text(number), f"m{number}")
        client.request()
    assert [len(steps(s, f"m{number}")) for number in (2, 3)] == [2, 2]
    status, _, error = s.proxy.ctl("message", "m0", check=False)
    assert status == 1 and re.search(r"noted nothing .*; it remembers what passed since \d{4}-", error)
    assert re.search(r" remembers of what passed since \d{4}-.*Z\.$", s.proxy.ctl("message", "m3"))
    s.proxy.settings["limits.fates"] = 0
    s.proxy.write_config()
    s.proxy.ctl("reload")
    client.message("x@" + s.domain, s.text(4), "m4")
    client.request()
    status, _, error = s.proxy.ctl("message", "m4", check=False)
    assert status == 1 and "limits.fates is 0" in error
    assert post(s, "/messages/m4", "GET")[0] == 409


def test_an_id_that_many_use(stub_scene):
    s = stub_scene(proxy_workers=2, sm_queue_stanzas=5000)
    client = s.login()
    s.legacy.session_of(client.jid).send(
        f"<message from='x@{s.domain}' to='{client.jid}' id='1'><body>{s.text(1)}</body></message>" * 600)
    s.hear(client, 600)
    told = json.loads(s.proxy.ctl("--json", "message", "1"))
    assert len(told["steps"]) == 500 and told["left_out"] == 700
    assert "700 older steps are left out" in s.proxy.ctl("message", "1")


# --- disconnect


def test_disconnect_leaves_the_session(stub_scene):
    s = stub_scene()
    client = s.login()
    sid = row_of(s, client.jid)["sid"]
    assert sid in s.proxy.ctl("disconnect", sid)
    _, said = client.wait_closed()
    assert [element for element in said if element.is_end or element.name == "error"] == []
    assert s.figure("legs_closed_total", leg="client", reason="admin") == 1
    assert row_of(s, client.jid)["state"] == "detached"
    status, _, error = s.proxy.ctl("disconnect", sid, check=False)
    assert status == 1 and "waits for its client" in error
    again = s.resume(client)
    assert row_of(s, client.jid)["sid"] == sid and again.ping()["type"] == "result"


def test_disconnect_by_jid(stub_scene):
    s = stub_scene()
    one, two, other = s.login("a", "one"), s.login("a", "two"), s.login("b", "one")
    assert s.proxy.ctl("disconnect", two.jid).count("cut") == 1
    two.wait_closed()
    assert s.proxy.ctl("disconnect", one.bare_jid).count("cut") == 1  # the other one has no connection
    one.wait_closed()
    assert other.ping()["type"] == "result"
    status, _, error = s.proxy.ctl("disconnect", one.bare_jid, check=False)
    assert status == 1 and "--end" in error
    assert s.proxy.ctl("disconnect", "--end", one.bare_jid).count("has ended") == 2
    s.wait_figure(2, "sessions_ended_total", reason="admin")
    status, _, error = s.proxy.ctl("disconnect", one.bare_jid, check=False)
    assert status == 1 and "no session here" in error


def test_end_is_told_to_client_and_server(stub_scene):
    s = stub_scene()
    client = s.login()
    at_server = s.legacy.session_of(client.jid)
    answer = json.loads(s.proxy.ctl("--json", "disconnect", "--end", client.jid))
    assert answer["ended"] is True
    _, said = client.wait_closed()
    assert said[-1].is_end
    assert at_server.wait_ended() == "end"
    assert rows(s) == []
    assert post(s, f"/sessions/{answer['sid']}/disconnect")[0] == 404


def test_a_client_without_stream_management_is_cut_for_good(stub_scene):
    s = stub_scene()
    client = s.login(sm=False)
    s.proxy.ctl("disconnect", client.jid)
    client.wait_closed()
    s.wait_no_sessions()


# --- purge


def test_purge_removes_what_is_kept(stub_scene):
    s = stub_scene(sm_max="1s")
    client = s.login()
    client.cut()
    s.wait_detached()
    s.legacy.session_of(client.jid).send(from_server(s, client.jid, [1, 2, 3]))
    s.wait_no_sessions()
    s.wait_figure(3, "mailbox_messages")
    kept = s.login("b")
    answer = json.loads(s.proxy.ctl("--json", "purge", client.bare_jid + "/whatever"))
    assert (answer["account"], answer["messages"], answer["tombstones"], answer["sessions"]) == (
        client.bare_jid, 3, 1, 0)
    assert s.figure("mailbox_messages") == 0
    assert s.figure("mailbox_fates_total", fate="purged") == 3
    assert "0 messages removed" in s.proxy.ctl("purge", client.bare_jid)
    assert kept.ping()["type"] == "result"
    again = s.authenticated()
    failed = again.try_resume(client.sm_id, 0)
    assert failed.name == "failed" and failed.get("h") is None, "the tombstone is gone as well"


def test_purge_ends_detached_sessions_with_all_they_hold(stub_scene):
    s = stub_scene()
    client, other = s.login(), s.login(resource="attached")
    at_server = s.legacy.session_of(client.jid)
    client.cut()
    s.wait_detached()
    at_server.send(from_server(s, client.jid, [1, 2, 3]) +
                   f"<presence from='x@{s.domain}/c' to='{client.jid}'/>")
    s.wait_figure(1, "parked_stanzas")
    text = s.proxy.ctl("purge", client.bare_jid)
    assert "1 detached sessions ended" in text
    assert at_server.wait_ended() == "end"
    s.wait_figure(3, "downlink_fates_total", fate="purged")
    assert s.figure("downlink_fates_total", fate="mailbox") == 0 and s.figure("mailbox_messages") == 0
    assert s.figure("sessions_ended_total", reason="purged") == 1
    assert other.ping()["type"] == "result"


def test_purge_of_what_a_client_is_getting(stub_scene):
    s = stub_scene(sm_max="1s")
    client = s.login()
    client.cut()
    s.wait_detached()
    s.legacy.session_of(client.jid).send(from_server(s, client.jid, [1, 2]))
    s.wait_no_sessions()
    again = s.login(resource="again")
    again.presence()
    assert s.hear(again, 2) == [1, 2]
    assert "2 more are on their way" in s.proxy.ctl("purge", again.bare_jid)
    again.ack(1)
    s.wait_figure(1, "mailbox_fates_total", fate="delivered")
    again.cut()
    s.wait_no_sessions()
    s.wait_figure(1, "mailbox_fates_total", fate="purged")
    assert s.figure("mailbox_messages") == 0


def test_purge_wants_a_jid(stub_scene):
    s = stub_scene()
    for target, status in (("/purge", 400), ("/purge?jid=", 400), ("/purge?jid=%40", 404), ("/purge?jid=a%2F", 404)):
        assert post(s, target)[0] == status, target
    status, _, error = s.proxy.ctl("purge", "@", check=False)
    assert status == 1 and "no JID" in error


# --- reload


def test_reload_waits_for_the_outcome(stub_scene):
    s = stub_scene(sm_max="5m", sm_max_cap="1h")
    s.proxy.settings["sm.max"] = "7m"
    s.proxy.write_config()
    assert "is reloaded" in s.proxy.ctl("reload")
    assert s.login(sm=False).enable()["max"] == "420"
    assert s.figure("reloads_total", result="ok") == 1


def test_reload_tells_the_mistakes(stub_scene):
    s = stub_scene()
    s.proxy.settings |= {"sm.max": "soon", "sm.nonsense": 1, "limits.connections": 5}
    s.proxy.write_config()
    status, out, error = s.proxy.ctl("reload", check=False)
    assert (status, out) == (1, "")
    for key in ("sm.max", "sm.nonsense"):
        line, = [line for line in error.splitlines() if f"{key}: " in line]
        assert re.match(re.escape(str(s.proxy.config_file)) + r":\d+: ", line)
    assert "nothing has changed" in error
    assert s.figure("connections_limit") != 5
    status, out, _ = s.proxy.ctl("--json", "reload", check=False)
    assert status == 1 and json.loads(out)["reloaded"] is False and len(json.loads(out)["errors"]) == 2
    assert s.figure("reloads_total", result="failed") == 2


def test_reload_tells_a_certificate_that_is_none(stub_scene, tmp_path):
    s = stub_scene()
    (tmp_path / "bad.pem").write_text("no certificate\n")
    s.proxy.settings |= {"tls.certificate": tmp_path / "bad.pem"}
    s.proxy.write_config()
    status, _, error = s.proxy.ctl("reload", check=False)
    assert status == 1
    assert re.search(re.escape(str(s.proxy.config_file)) + r":\d+: tls.certificate: ", error)
    assert "bad.pem" in error


def test_reload_tells_what_needs_a_restart(stub_scene):
    s = stub_scene()
    s.proxy.settings["proxy.workers"] += 1
    s.proxy.write_config()
    status, out, error = s.proxy.ctl("reload", check=False)
    assert status == 0 and "is reloaded" in out
    assert "warning: " in error and "proxy.workers" in error


# --- drain


def test_drain_is_followed_to_the_end(stub_scene):
    s = stub_scene(sums=False, proxy_drain="30s", proxy_drain_grace="1s", proxy_drain_rate=2)
    clients = [s.login(f"user{n}") for n in range(4)]
    ctl = subprocess.Popen(s.proxy.ctl_command("drain"), stdout=subprocess.PIPE, text=True,
                           env=s.proxy.ctl_environment())
    try:
        first = ctl.stdout.readline()
        assert re.match(r"draining \(grace\): 4 clients left, 4 sessions; \d+ s at most", first)
        assert not s.proxy.readyz()[0]
        assert re.search(r"^drain        grace: 4 clients left", s.proxy.ctl("status"), re.M)
        ends = []
        for client in clients:
            client.wait_closed()
            ends.append(time.monotonic())
        rest, _ = ctl.communicate(timeout=SECONDS)
    finally:
        ctl.kill()
        ctl.wait()
    assert ctl.returncode == 0
    assert rest.splitlines()[-1] == "drained: holdfast has stopped"
    assert any("draining (cutting): " in line for line in rest.splitlines())
    assert s.proxy.returncode == 0, "holdfastctl waits until the process has ended"


def test_drain_without_waiting(stub_scene):
    s = stub_scene(sums=False, proxy_drain="20s", proxy_drain_grace="2s")
    client = s.login()
    assert "draining: 1 clients" in s.proxy.ctl("drain", "--no-wait")
    assert client.is_open() and "draining" in s.proxy.readyz()[1]
    assert post(s, "/drain")[0] == 202  # again: harmless
    client.wait_closed()
    assert s.proxy.wait() == 0


# --- holdfastctl itself


def ctl(*arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return subprocess.run([CTL, *arguments], capture_output=True, text=True, timeout=SECONDS, env=clean | environment,
                          stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("arguments, told", [
    ((), "usage:"), (("--nonsense", "status"), "usage:"), (("dance",), "no command dance"),
    (("status", "now"), "remove now"), (("sessions", "a@b", "c@d"), "remove c@d"), (("purge",), "say which"),
    (("disconnect",), "session's id"), (("disconnect", ""), "say which"), (("status", "--end"), "does not take"),
    (("drain", "--limit", "3"), "does not take"), (("-s",), "usage:")])
def test_wrong_usage(arguments, told):
    run = ctl(*arguments)
    assert (run.returncode, run.stdout) == (2, "") and told in run.stderr


def test_who_cannot_be_reached(tmp_path):
    path = tmp_path / "control"
    run = ctl("-s", str(path), "status")
    assert run.returncode == 2 and str(path) in run.stderr and "listen.control" in run.stderr
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    run = ctl("status", HOLDFAST_LISTEN_CONTROL=str(path))
    assert run.returncode == 2 and "start it first" in run.stderr
    run = ctl("-s", "/" + "x" * 200, "status")
    assert run.returncode == 2 and "too long" in run.stderr
    run = ctl("status")
    assert run.returncode == 2 and "/run/holdfast/control" in run.stderr


def test_who_ends_without_an_answer(tmp_path):
    with socket.socket(socket.AF_UNIX) as rude:
        rude.bind(str(tmp_path / "control"))
        rude.listen()
        run = subprocess.Popen([CTL, "-s", str(tmp_path / "control"), "status"], stderr=subprocess.PIPE, text=True)
        rude.accept()[0].close()
        _, error = run.communicate(timeout=SECONDS)
    assert run.returncode == 2 and "without an answer" in error


def test_help_and_version():
    assert ctl("--help").stdout.startswith("usage: holdfastctl")
    assert re.fullmatch(r"holdfastctl \d+\.\d+\.\d+\n", ctl("-V").stdout)


def test_a_bad_argument_is_told_by_the_proxy(stub_scene):
    s = stub_scene()
    status, _, error = s.proxy.ctl("sessions", "--sort", "beauty", check=False)
    assert status == 1 and "sort must be one of" in error


def test_orders_are_logged(stub_scene):
    s = stub_scene()
    client = s.login()
    sid = row_of(s, client.jid)["sid"]
    s.proxy.ctl("disconnect", sid)
    s.proxy.ctl("reload")
    s.proxy.ctl("purge", client.bare_jid)
    log = s.proxy.log()
    for order in (f"order=disconnect sid={sid}", "order=reload", f"order=purge account={client.bare_jid}"):
        assert f"msg=control {order}" in log
    with pytest.raises(Closed):
        client.wait_for("message")
