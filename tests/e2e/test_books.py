"""Promise 2 in figures: each reading adds up at any time, also in the middle of everything."""

import contextlib
import ctypes
import json
import os
import pathlib
import re
import threading
import time

import pytest
from scene import (assert_reading, between_books, eventually, figures, from_server, in_time, scene,  # noqa: F401  (fixtures)
                   stub, stub_scene, sums)

CLIENTS = 4
READINGS = 60
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000


class Busy:
    """A client that does all that may happen to one: it talks, is talked to, acks, is cut, resumes, has its session ended
    while it is away, and begins again."""

    def __init__(self, s, name):
        self.s = s
        self.name = name
        self.stopping = False
        self.lives = 0
        self.fault = None
        self.thread = threading.Thread(target=self.run, name=name, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.stopping:
                self.live()
        except Exception as fault:  # noqa: BLE001  (shown by the test)
            self.fault = fault

    def live(self):
        self.lives += 1
        client = self.s.login(self.name, f"life{self.lives}")
        client.auto_ack = True
        client.presence()
        for step in range(4):
            self.talk(client)
            client.cut("rst" if step % 2 else "fin")
            self.s.legacy.session_of(client.jid).send(
                from_server(self.s, client.jid, range(3)) + f"<presence from='x@{self.s.domain}/c' to='{client.jid}'/>")
            if step < 3:
                client = self.s.resume(client, self.name)
        for row in json.loads(self.s.proxy.control(f"/sessions?format=json&jid={client.jid}")[1]):
            self.s.proxy.control(f"/sessions/{row['sid']}/disconnect?end=yes", "POST")

    def talk(self, client):
        at_server = self.s.legacy.session_of(client.jid)
        for number in range(10):
            at_server.send(from_server(self.s, client.jid, range(number * 5, number * 5 + 5), "x" * 200) +
                           f"<presence from='x@{self.s.domain}/{number}' to='{client.jid}'/>"
                           f"<iq type='get' id='{number}' from='{self.s.domain}' to='{client.jid}'><q xmlns='q'/></iq>")
            self.s.say(client, f"x@{self.s.domain}", range(5))
        client.request()
        client.read_all(0.01)
        client.ack()

    def stop(self):
        self.stopping = True
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self.fault:
            raise self.fault


def test_each_reading_adds_up_in_the_middle_of_everything(stub_scene):
    s = stub_scene(proxy_workers=4)
    busy = [Busy(s, f"busy{n}") for n in range(CLIENTS)]
    seen = []
    try:
        while len(seen) < READINGS or not seen[-1].sum("mailbox_fates_total", fate="delivered"):
            reading = in_time(figures(s.proxy))
            if not reading:
                continue  # the machine has much else to do
            seen.append(reading)
            assert_reading(reading)
            if any(each.fault for each in busy):
                break
    finally:
        for each in busy:
            each.stop()
    # it was not quiet meanwhile: what was looked at changed from reading to reading, and had something in each book
    received = [reading.sum("stanzas_total") for reading in seen]
    assert len(set(received)) > READINGS / 2 and received == sorted(received)
    for name in ("unacked_stanzas", "unconfirmed_stanzas", "parked_stanzas", "mailbox_lent", "resumes_total"):
        assert any(reading.sum(name) for reading in seen), name
    s.wait_no_sessions()
    last = figures(s.proxy)
    assert_reading(last)
    assert len(set(between_books(last))) == 1


@contextlib.contextmanager
def frozen(proxy, name):
    """One thread of the proxy stands still, as in an endless loop: by ptrace, since SIGSTOP stops all of them."""
    task, = [int(folder.name) for folder in pathlib.Path(f"/proc/{proxy.pid}/task").iterdir()
             if (folder / "comm").read_text().strip() == name]
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if ptrace(PTRACE_SEIZE, task, None, None) != 0:
        pytest.skip("this system does not let us stop a thread")
    assert ptrace(PTRACE_INTERRUPT, task, None, None) == 0
    assert os.waitpid(task, WALL)[0] == task
    try:
        yield
    finally:
        assert ptrace(PTRACE_DETACH, task, None, None) == 0


def test_a_stuck_worker_keeps_neither_figures_nor_orders_waiting_for_ever(stub_scene):
    s = stub_scene(proxy_workers=2)
    clients = {}
    while set(clients) != {0, 1}:  # leg numbers go by worker
        client = s.login(f"user{len(clients)}", f"r{time.monotonic_ns()}")
        leg = re.search(rf"session begun.* leg=(\d+) jid={re.escape(client.jid)} ", s.proxy.log())[1]
        clients.setdefault((int(leg) - 1) % 2, client)
    sids = {row["jid"]: row["sid"] for row in json.loads(s.proxy.http("/sessions?format=json")[1])}
    with frozen(s.proxy, "worker 1"):
        began = time.monotonic()
        reading = figures(s.proxy)
        assert time.monotonic() - began < 5
        assert reading.sum("workers_late") == 1 and reading.sum("sessions", state="attached") == len(sids)
        assert s.proxy.http("/sessions")[0] == 504
        assert clients[0].ping()["type"] == "result"
        status, _, error = s.proxy.ctl("disconnect", sids[clients[1].jid], check=False)
        assert status == 1 and "no answer in time" in error
        assert "cut" in s.proxy.ctl("disconnect", sids[clients[0].jid])
        eventually(lambda: s.proxy.http("/healthz")[0] == 503, "the stuck worker is noticed")
        assert "worker 1: stuck" in s.proxy.ctl("status")
    clients[1].wait_closed()  # the order was carried out, late
    assert s.figure("workers_late") == 0 and s.figure("workers") == 2


def test_kinds_are_counted_in_stanzas_and_bytes(stub_scene):
    s = stub_scene()
    client = s.login()
    sent = {"message": f"<message from='x@{s.domain}/c' to='{client.jid}'><body>some text</body></message>",
            "presence": f"<presence from='x@{s.domain}/c' to='{client.jid}'/>",
            "iq": f"<iq type='result' id='a' from='x@{s.domain}' to='{client.jid}'/>"}
    s.legacy.session_of(client.jid).send("".join(sent.values()))
    s.wait_queued(3)
    for kind, xml in sent.items():
        assert s.figure("stanzas_total", direction="downlink", kind=kind) == 1
        assert s.figure("stanza_bytes_total", direction="downlink", kind=kind) == len(xml)
    spoken = "<message to='x@y' type='chat'><body>hm</body></message>"
    client.stanza(spoken)
    assert client.request() == 1
    assert s.figure("stanza_bytes_total", direction="uplink", kind="message") == len(spoken)
    assert s.figure("stanza_bytes_total", direction="uplink") == len(spoken)


def test_ages_of_the_oldest(stub_scene):
    s = stub_scene()
    s.legacy.answer_pings = False
    one, two = s.login("a"), s.login("b")
    s.legacy.session_of(one.jid).send(from_server(s, one.jid, [1]))
    s.wait_queued(1)
    first = s.proxy.wait_metric("holdfast_unacked_oldest_seconds", lambda age: age > 0.3)
    sent = time.monotonic()
    s.legacy.session_of(two.jid).send(from_server(s, two.jid, [1]))
    s.wait_queued(2)
    assert s.proxy.metric("holdfast_unacked_oldest_seconds") > first, "of all, not of the newest"
    s.hear(one, 1)
    one.ack()
    s.proxy.wait_metric("holdfast_unacked_oldest_seconds", lambda age: age <= time.monotonic() - sent)
    two.message("x@y", "hm")
    s.proxy.wait_metric("holdfast_unconfirmed_oldest_seconds", lambda age: age > 0.1)
    s.legacy.answer_pings = True
    s.legacy.session_of(two.jid).pong()
    s.proxy.wait_metric("holdfast_unconfirmed_oldest_seconds", 0)


def test_limits_stand_beside_their_gauges(stub_scene):
    s = stub_scene(limits_connections=12, limits_connections_per_ip=11, limits_memory="3m", sm_queue_stanzas=44,
                   sm_queue_bytes="128k", sm_sessions_per_account=3)
    expected = {"connections_limit": 12, "connections_per_ip_limit": 11, "memory_limit_bytes": 3 << 20,
                "queue_stanzas_limit": 44, "queue_limit_bytes": 128 << 10, "sessions_per_account_limit": 3}
    assert {name: s.figure(name) for name in expected} == expected
    for name in ("mailbox_messages_limit", "mailbox_limit_bytes", "tombstones_limit"):
        assert s.figure(name) > 0


def test_connections_that_log_in(stub_scene):
    s = stub_scene()
    one, two = s.connect(), s.connect()
    s.wait_figure(2, "connections_logging_in")
    one.open_stream()
    one.auth("PLAIN", *s.account())
    assert s.figure("connections_logging_in") == 2
    one.open_stream()
    one.bind("r")
    s.proxy.wait_metric("holdfast_connections_logging_in", 1)
    one.enable()
    one.cut()
    s.wait_detached()
    s.resume(one)  # perhaps on another worker
    s.proxy.wait_metric("holdfast_connections_logging_in", 1)
    two.cut()
    s.proxy.wait_metric("holdfast_connections_logging_in", 0)


def test_relay_time_and_loop_lag(stub_scene):
    s = stub_scene()
    client = s.login()
    s.say(client, "x@y", [1])
    client.request()
    s.wait_figure(1, "relay_seconds_count", direction="uplink")
    s.legacy.session_of(client.jid).send(from_server(s, client.jid, [1, 2]))
    s.hear(client, 2)
    s.wait_figure(1, "relay_seconds_count", direction="downlink")
    assert s.figure("relay_seconds_count", direction="downlink") <= 2
    assert s.proxy.metric("holdfast_relay_seconds_sum") < 2
    workers = int(s.proxy.settings["proxy.workers"])
    s.wait_figure(workers, "loop_lag_seconds_count")
    # what waited for its client is no delay of ours
    before = s.figure("relay_seconds_count", direction="downlink")
    client.cut()
    s.wait_detached()
    s.legacy.session_of(client.jid).send(from_server(s, client.jid, [3]))
    s.wait_queued(3)
    s.hear(s.resume(client), 1)
    assert s.figure("relay_seconds_count", direction="downlink") == before


def test_what_a_full_mailbox_drops_is_a_fate(stub_scene):
    s = stub_scene(sm_max="1s", limits_memory="70k", sm_queue_bytes="64k")
    client = s.login()
    client.cut()
    s.wait_detached()
    at_server = s.legacy.session_of(client.jid)
    at_server.send(from_server(s, client.jid, range(3), "x" * 15000))
    s.wait_no_sessions()
    again = s.login(resource="again")
    again.cut()
    s.wait_detached()
    s.legacy.session_of(again.jid).send(from_server(s, again.jid, range(3, 6), "x" * 15000))
    s.wait_no_sessions()
    s.wait_figure(1, "mailbox_fates_total", fate="overflown")
    assert s.figure("mailbox_messages") + s.figure("mailbox_fates_total", fate="overflown") == 6


def test_what_the_store_file_brings_is_counted(stub_scene, tmp_path):
    s = stub_scene(sm_max="1s", store_file=tmp_path / "store")
    client = s.login()
    client.cut()
    s.wait_detached()
    s.legacy.session_of(client.jid).send(from_server(s, client.jid, [1, 2]))
    s.wait_no_sessions()
    s.wait_figure(2, "mailbox_kept_total")
    s.proxy.restart()
    assert s.figure("restored_stanzas_total", queue="mailbox") == 2 and s.figure("mailbox_messages") == 2
    assert s.figure("mailbox_kept_total") == 0


def test_sums_notice_what_is_missing():
    class Reading:
        def __init__(self, **values):
            self.values = values

        def sum(self, name, **labels):
            return self.values.get(name, 0) if not labels or labels.get("direction") == "uplink" else 0

        def rows(self, name):
            return {}

    assert_reading(Reading(stanzas_total=3, uplink_fates_total=2, unconfirmed_stanzas=1))
    with pytest.raises(AssertionError):
        assert_reading(Reading(stanzas_total=3, uplink_fates_total=2))
    assert eventually(lambda: sums(Reading()), "a sum of nothing")
