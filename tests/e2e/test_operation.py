"""What an operator does to a running proxy: reload, drain, stop; and what he sees of it."""

import fcntl
import json
import os
import re
import signal
import ssl
import time

import pytest
from raw import Closed, RawClient, WireError
from scene import assert_sums, eventually, scene, stub, stub_scene  # noqa: F401  (fixtures)

pytestmark = pytest.mark.servers("prosody")


def reload(s, **changes):
    """HUP with a changed file; waits until the log tells the outcome."""
    s.proxy.settings.update({name.replace("_", ".", 1): value for name, value in changes.items()})
    s.proxy.write_config()
    before = s.proxy.log().count("reload")
    s.proxy.signal(signal.SIGHUP)
    eventually(lambda: s.proxy.log().count("reload") > before, "the reload is done")


def max_of(s, resource):
    client = s.login(resource=resource, sm=False)
    return int(client.enable()["max"])


def serial(s):
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((s.proxy.host, s.proxy.tls_port)))


def test_hup_changes_what_can_change(scene):
    s = scene(sm_max="5m", sm_max_cap="1h")
    assert max_of(s, "one") == 300
    reload(s, sm_max="7m")
    eventually(lambda: max_of(s, "two") == 420, "new sessions get the new value")


def test_hup_loads_a_new_certificate_and_drops_nobody(scene, authority):
    s = scene()
    client = s.login(connect={"tls": "direct"})
    old = serial(s)
    certificate, key, _ = authority.issue("renewed")
    reload(s, tls_certificate=certificate, tls_key=key)
    eventually(lambda: serial(s) != old, "the new certificate is shown")
    assert client.ping()["type"] == "result"


@pytest.mark.parametrize("change", [{"sm_max": "soon"}, {"tls_certificate": "/nonexistent.pem"}, {"sm_nonsense": "1"}])
def test_hup_with_a_bad_file_changes_nothing_and_is_told(scene, change):
    s = scene(sm_max="5m", sm_max_cap="1h")
    client = s.login()
    reload(s, sm_request_every="3", **change)
    assert "nothing has changed" in s.proxy.log()
    key = next(iter(change)).replace("_", ".", 1)
    assert any(key in line and str(s.proxy.config_file) in line for line in s.proxy.log().splitlines())
    assert max_of(s, "new") == 300
    assert client.ping()["type"] == "result"


def test_term_drains(scene):
    s = scene(proxy_drain="20s", proxy_drain_grace="1s", sums=False)
    managed, unmanaged = s.login(), s.login(resource="old", sm=False)
    s.proxy.signal(signal.SIGTERM)
    eventually(lambda: not s.proxy.readyz()[0], "/readyz fails first")
    assert "draining" in s.proxy.readyz()[1]
    assert s.proxy.http("/healthz")[0] == 200
    late = s.connect()
    assert late.open_stream(), "the load balancer needs a moment"
    _, said = managed.wait_closed()
    assert [element for element in said if element.is_end or element.name == "error"] == []
    _, said = unmanaged.wait_closed()
    assert [element.condition for element in said if element.name == "error"] == ["system-shutdown"]
    assert s.proxy.wait() == 0
    with pytest.raises((Closed, OSError)):
        s.connect().open_stream()


def test_clients_leave_at_the_drains_rate_the_silent_first(stub_scene):
    s = stub_scene(proxy_drain="60s", proxy_drain_grace="0s", proxy_drain_rate=4, proxy_workers=2, sums=False)
    clients = [s.login(f"user{n}") for n in range(8)]
    at_server = [s.legacy.session_of(client.jid) for client in clients]
    began = time.monotonic()
    s.proxy.signal(signal.SIGTERM)
    for client in clients:
        client.wait_closed()
    took = time.monotonic() - began
    assert took > 1.5, "eight of them, four in a second"
    assert s.proxy.wait() == 0
    assert {each.wait_ended() for each in at_server} == {"end"}
    log = s.proxy.log()
    assert re.search(r'msg="drain: no new clients from here on" clients=8 sessions=8', log)
    assert len(re.findall(r'msg="client leg closed".* reason=drain', log)) == 8 and "clients_left=0" in log


def test_who_was_silent_leaves_first(stub_scene):
    s = stub_scene(proxy_drain="60s", proxy_drain_grace="11s", proxy_drain_rate=1, proxy_workers=1, sums=False)
    talking, silent = s.login("talking"), s.login("silent")
    s.proxy.signal(signal.SIGTERM)
    s.wait_figure(1, "draining")
    while s.figure("draining") and not silent.closed:  # it speaks all the time; the other one for 10 s no more
        talking.ping()
        silent.is_open()
    assert silent.closed and talking.is_open()
    talking.wait_closed()
    assert s.proxy.wait() == 0


def test_no_stream_begins_behind_the_grace(stub_scene):
    """A connection from before that begins its stream late is sent away as well, and nobody gets a new connection."""
    s = stub_scene(proxy_drain="60s", proxy_drain_grace="1s", proxy_drain_rate=1, sums=False)
    holding, waiting = s.login("holding"), s.connect()
    s.login("another")
    s.wait_figure(1, "connections_logging_in")
    s.proxy.signal(signal.SIGTERM)
    _, said = waiting.wait_closed()
    assert [element.condition for element in said if element.name == "error"] == ["system-shutdown"]
    assert s.proxy.running()
    with pytest.raises((WireError, OSError)):
        s.connect().open_stream()
    holding.wait_closed()
    s.proxy.signal(signal.SIGTERM)
    assert s.proxy.wait() == 0


def test_what_the_drain_has_no_time_for_is_cut_at_its_end(stub_scene):
    s = stub_scene(proxy_drain="2s", proxy_drain_grace="0s", proxy_drain_rate=1, sums=False)
    clients = [s.login(f"user{n}") for n in range(12)]
    s.proxy.signal(signal.SIGTERM)
    for client in clients:
        client.wait_closed()
    assert s.proxy.wait() == 0
    log = s.proxy.log()
    assert "proxy.drain is too short for all clients" in log and "needed_seconds=12" in log
    assert int(re.search(r"clients_left=(\d+)", log)[1]) >= 8


def test_hup_is_heard_while_it_drains(stub_scene):
    s = stub_scene(proxy_drain="10m", proxy_drain_grace="10m", sums=False)
    client = s.login()
    s.proxy.signal(signal.SIGTERM)
    eventually(lambda: not s.proxy.readyz()[0], "/readyz fails first")
    reload(s, limits_connections=123)
    assert s.figure("connections_limit") == 123
    assert "draining" in s.proxy.readyz()[1] and client.is_open()
    s.proxy.signal(signal.SIGINT)
    client.wait_closed()
    assert s.proxy.wait() == 0 and "stopping now" in s.proxy.log()


def test_a_second_term_stops_now(scene):
    s = scene(proxy_drain="10m", proxy_drain_grace="10m", sums=False)
    client = s.login()
    s.proxy.signal(signal.SIGTERM)
    eventually(lambda: not s.proxy.readyz()[0], "/readyz fails first")
    s.proxy.signal(signal.SIGTERM)
    client.wait_closed()
    assert s.proxy.wait() == 0


def test_messages_that_a_stop_loses_are_told(scene):
    s = scene(sm_max="1s", sums=False)
    client, contact = s.login(), s.direct()
    client.cut()
    s.wait_detached()
    s.say(contact, client.jid, [1, 2, 3])
    contact.ping()
    s.wait_no_sessions()
    s.wait_figure(3, "mailbox_messages")
    s.proxy.signal(signal.SIGTERM)
    assert s.proxy.wait() == 0
    assert "messages lost" in s.proxy.log() and "messages=3" in s.proxy.log()


def test_the_store_file_carries_messages_and_counts_over_a_stop(scene, tmp_path):
    s = scene(store_file=tmp_path / "store", sums=False)
    client, contact = s.login(), s.direct()
    client.presence(to="x@localhost")
    assert client.request() == 1
    s.say(contact, client.jid, [1, 2, 3])
    s.hear(client, 3)  # and acks none
    s.proxy.signal(signal.SIGTERM)
    client.wait_closed()
    assert s.proxy.wait() == 0
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o600
    s.proxy.start()
    assert not (tmp_path / "store").exists(), "what it held must not come twice"
    again = s.authenticated()
    again.take_over(client)
    resumed = again.try_resume(client.sm_id, 0)
    assert (resumed.name, resumed.get("h")) == ("resumed", "1")
    late = [again.wait_for(s.is_ours) for _ in range(3)]
    assert [s.number(message) for message in late] == [1, 2, 3]
    assert s.figure("resumes_total", result="rebuilt") == 1
    assert again.request() == 1
    assert_sums(s.proxy)


def test_a_damaged_store_file_stops_the_start_and_stays(scene, tmp_path):
    s = scene(store_file=tmp_path / "store", sums=False)
    s.proxy.stop()
    (tmp_path / "store").write_text("holdfast-store 1\nmail 3 3 1000 0 0 0 0 0\nabc")
    s.proxy.start(wait=False)
    assert s.proxy.wait() == 1
    told = [line for line in s.proxy.log().splitlines() if "move it away" in line]
    assert len(told) == 1 and str(s.proxy.config_file) in told[0]
    (tmp_path / "store").unlink()
    s.proxy.start()


def test_sessions_are_listed_without_what_they_carry(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1, 2])
    s.hear(client, 2)
    text = s.proxy.http("/sessions")[1]
    rows = json.loads(s.proxy.http("/sessions?format=json")[1])
    assert [(row["jid"], row["state"], row["unacked"]) for row in rows] == [(client.jid, "attached", 2)]
    assert client.jid in text and rows[0]["sid"] in text
    one = json.loads(s.proxy.http("/sessions/" + rows[0]["sid"])[1])
    assert one["sid"] == rows[0]["sid"] and one["received"] == rows[0]["received"]
    assert s.proxy.http("/sessions/" + "0" * 32)[0] == 404
    assert client.sm_id not in text and s.text(1) not in text


def test_the_log_tells_the_session_and_no_secret(scene):
    s = scene(log_level="debug", sums=False)
    name, password = s.account()
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1])
    s.hear(client, 1)
    s.say(client, contact.jid, [2])
    s.hear(contact, 1)
    again = s.resume(client)
    again.close()
    s.wait_no_sessions()
    eventually(lambda: s.figure("legs_closed_total", leg="upstream") >= 2, "both upstream legs have ended")
    log = s.proxy.log()
    sid = next(line for line in log.splitlines() if "session begun" in line).partition("sid=")[2].split()[0]
    for event in ("session resumed", "session ended", "client leg closed", "upstream leg closed"):
        assert any(event in line and sid in line for line in log.splitlines()), event
    for secret in (password, client.sm_id, s.text(1), s.text(2)):
        assert secret not in log


def what_came(pipe):
    try:
        return os.read(pipe, 65536)
    except BlockingIOError:
        return b""


def test_a_log_that_nobody_reads_stops_nobody(stub_scene, tmp_path):
    s = stub_scene(log_level="debug")
    s.proxy.stop()
    regular, s.proxy.log_file = s.proxy.log_file, tmp_path / "pipe"
    os.mkfifo(s.proxy.log_file)
    reader = os.open(s.proxy.log_file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 16384)
        s.proxy.start()
        s.proxy.log_file = regular
        for number in range(20):
            assert s.login(f"user{number}").ping()["type"] == "result"
        s.wait_figure(1, "log_lines_dropped_total")
        text = os.read(reader, 65536).decode()
        assert text.startswith("time=") and text.endswith("\n"), "what is written is whole lines"
        before = s.figure("log_lines_dropped_total")
        s.connect()
        eventually(lambda: b"client accepted" in what_came(reader), "it goes on when there is room again")
        assert s.figure("log_lines_dropped_total") == before
        s.proxy.stop()
    finally:
        os.close(reader)
    s.proxy.start()


@pytest.mark.parametrize("address", ["[::1]:{port}", "*:{port}"])
def test_ipv6_listeners(scene, address):
    s = scene()
    s.proxy.stop()
    s.proxy.settings["listen.starttls"] = address.format(port=s.proxy.port)
    s.proxy.write_config()
    s.proxy.start()
    with RawClient(s.proxy.port, s.domain, host="::1") as client:
        client.login(*s.account(), "v6")
        assert client.ping()["type"] == "result"
        assert "peer=[::1]:" in s.proxy.log()
