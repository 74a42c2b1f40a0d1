"""The promises, seen from outside by an oracle that knows what was sent: each message exactly once, in order, whatever
was cut; and what was acked is at the server, even after the proxy was killed."""

import contextlib
import os
import random
import threading
import time

import pytest

from raw import NS_SM3, Closed, TimedOut
from scene import eventually, scene  # noqa: F401  (a fixture)

MESSAGES = 1000
CUTS = 20
SECONDS = 120


class Talker:
    """A client as a good library has it: sends, reads, acks, resumes after cuts, and sends again what was not covered.
    It runs in a thread of its own; one packet of messages goes out behind each piece read."""

    def __init__(self, s, name, port, chance):
        self.s = s
        self.name = name
        self.port = port
        self.chance = chance
        self.peer = None            # full JID of the one it talks to
        self.spoken = 0
        self.heard = []
        self.resumes = 0
        self.wounded = threading.Event()
        self.fault = None
        self.client = s.login(name, "talker", port=port)
        self.client.auto_ack = True
        self.thread = threading.Thread(target=self.run, name=f"talker {name}", daemon=True)

    def run(self):
        try:
            deadline = time.monotonic() + SECONDS
            while not self.done():
                assert time.monotonic() < deadline, f"{self.name}: spoken {self.spoken}, heard {len(self.heard)}"
                try:
                    self.step()
                except (Closed, TimedOut):
                    self.come_back()
        except BaseException as fault:  # told by the test's own thread
            self.fault = fault

    def done(self):
        return len(self.heard) >= MESSAGES and self.client.sent >= MESSAGES and self.client.acked >= MESSAGES

    def step(self):
        if self.wounded.is_set():
            raise Closed("fin", "it has noticed")
        if self.client.sent < MESSAGES and len(self.client.unacked) < 100:
            with self.client.one_packet():
                for _ in range(min(self.chance.randint(1, 20), MESSAGES - self.client.sent)):
                    self.client.message(self.peer, self.s.text(self.spoken))
                    self.spoken += 1
                self.client.send(f"<r xmlns='{NS_SM3}'/>")
        elif self.client.unacked and self.chance.random() < 0.05:
            self.client.send(f"<r xmlns='{NS_SM3}'/>")
        for element in self.client.read_all(0.01):
            if self.s.is_ours(element):
                self.heard.append(self.s.number(element))
        if self.client.closed:
            raise Closed(self.client.closed, "it was cut")

    def settle(self):
        """All is said; a cut that came after that is noticed here. Gives what came on top."""
        more = self.s.hear_rest(self.client, 0.3)
        if self.client.closed or self.wounded.is_set():
            self.come_back()
            more += self.s.hear_rest(self.client, 0.3)
        self.client.ack()
        return more

    def come_back(self):
        """A library that has lost its connection; the old one is left to the proxy in whatever state it is."""
        old = self.client
        self.wounded.clear()
        while True:
            try:
                self.client = self.s.resume(old, self.name, port=self.port, timeout=10)
                self.client.auto_ack = True
                self.resumes += 1
                return
            except (Closed, TimedOut, OSError):
                continue


@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
def test_a_thousand_messages_each_way_over_random_cuts_arrive_exactly_once_in_order(scene):
    seed = int(os.environ.get("HOLDFAST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"HOLDFAST_SEED={seed}")
    chance = random.Random(seed)
    s = scene(sm_confirm_delay="50ms")
    knives = {"a": s.knife(), "b": s.knife()}
    talkers = {name: Talker(s, name, knives[name].port, random.Random(chance.random())) for name in "ab"}
    talkers["a"].peer, talkers["b"].peer = talkers["b"].client.jid, talkers["a"].client.jid
    for talker in talkers.values():
        talker.thread.start()
    marks = sorted(chance.randrange(10, 2 * MESSAGES - 50) for _ in range(CUTS))
    for mark in marks:
        eventually(lambda: sum(len(talker.heard) for talker in talkers.values()) >= mark
                   or any(talker.fault for talker in talkers.values()), f"{mark} messages were heard", SECONDS)
        name, how = chance.choice("ab"), chance.choice(["fin", "rst", "hole", "hole up", "hole down"])
        if how.startswith("hole"):
            knives[name].hole(direction=(how.split() + [None])[1])
            talkers[name].wounded.set()
        else:
            knives[name].cut(how)
    for talker in talkers.values():
        talker.thread.join(SECONDS)
    for talker in talkers.values():
        if talker.fault:
            raise talker.fault
        assert talker.heard == list(range(MESSAGES)), f"{talker.name}: {explain(talker.heard)}"
        assert talker.client.acked == MESSAGES
        assert talker.settle() == []
    assert sum(talker.resumes for talker in talkers.values()) >= 5
    eventually(lambda: s.figure("unacked_stanzas") == 0 == s.figure("unconfirmed_stanzas"), "the queues are empty")


def explain(heard):
    missing = sorted(set(range(MESSAGES)) - set(heard))
    doubles = sorted(number for number in set(heard) if heard.count(number) > 1)
    return f"missing {missing[:20]}, doubled {doubles[:20]}, in order: {heard == sorted(heard)}"


def unavailable_reader(s):
    """The recipient, at the server itself, offline until its first presence. It logs in before there is anything to
    store: jabberd2 with SQLite refuses logins while it writes."""
    return s.direct("b", "reader")


@pytest.mark.servers("prosody", "jabberd2")
@pytest.mark.parametrize("moment", [1, 60, 250])
def test_what_was_acked_is_at_the_server_after_the_proxy_was_killed(scene, moment):
    """The recipient is offline and the server stores: what is read back from it covers all that was acked."""
    s = scene(sums=False)
    client, recipient, reader = s.login(), s.jid("b"), unavailable_reader(s)
    sent = 0
    while client.acked < moment:
        s.say(client, recipient, range(sent, sent + 10))
        sent += 10
        client.send(f"<r xmlns='{NS_SM3}'/>")
        client.pick("a")
    s.proxy.kill()
    for element in client.read_all(1):
        assert element.name in ("a", "r", "end")
    acked = client.acked
    assert acked >= moment
    reader.presence()
    stored = s.hear(reader, acked)
    stored += s.hear_rest(reader)
    assert stored[:acked] == list(range(acked))
    assert stored == sorted(set(stored)), "nothing is doubled or out of order"


@pytest.mark.servers("prosody")
def test_what_was_acked_is_at_the_server_when_client_and_proxy_die_in_the_middle(scene):
    """The same with messages in flight at the moment of the kill."""
    s = scene(sums=False)
    client, recipient, reader = s.login(), s.jid("b"), unavailable_reader(s)
    stop = threading.Event()

    def speak():
        with contextlib.suppress(Closed):
            for start in range(0, 5000, 5):
                if stop.is_set():
                    break
                s.say(client, recipient, range(start, start + 5))
                client.send(f"<r xmlns='{NS_SM3}'/>")

    speaking = threading.Thread(target=speak)
    speaking.start()
    eventually(lambda: s.figure("acks_sent_total") >= 2, "acks have been sent")
    s.proxy.kill()
    stop.set()
    speaking.join()
    # h may run ahead of what say() had noted when it was cut off in the middle; only its highest value matters here.
    client.sent = 2**31
    client.read_all(1)
    reader.presence()
    stored = s.hear(reader, client.acked)
    assert stored == list(range(client.acked))
    assert client.acked > 0


@pytest.mark.servers("prosody")
def test_after_the_proxy_was_killed_a_resume_is_refused_not_mistaken(scene):
    """The memory store is gone with the process: the client must bind anew, and knows so."""
    s = scene(sums=False)
    client = s.login()
    client.ping()
    s.proxy.restart("kill")
    again = s.authenticated()
    assert again.try_resume(client.sm_id, client.h_in).condition == "item-not-found"
    again.bind("r")
    again.enable()
    assert again.ping()["type"] == "result"
