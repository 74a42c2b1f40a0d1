"""Receipts over the death of a node: what its client acks to another one is receipted there, what was due is sent, and
nothing is sent twice."""

import signal

import pytest

from cluster import cluster, redis  # noqa: F401  (fixtures)
from scene import eventually
from test_receipts import GRACE, ask, answer, expect_none, expect_receipt, friends, read

pytestmark = pytest.mark.servers("prosody")


@pytest.fixture
def receipts_cluster(cluster):
    """Killed at the end: a stop lets sessions go in order, which takes its time and is not asked about here."""
    made = []

    def build(**keywords):
        made.append(cluster(**{"receipts_grace": f"{int(GRACE * 1000)}ms"} | keywords))
        return made[-1]

    yield build
    for each in made:
        for node in each.nodes:
            node.kill()


def wait_released(s):
    """Until Redis knows that the client has acked everything."""
    eventually(lambda: not any(s.redis.ask("XLEN", key) for key in s.redis.keys("hf:{*}:d:*")), "no entry is unacked")


def next_node(s):
    s.nodes[0].kill()
    return s.use(1)


def test_a_client_in_a_hole_comes_back_to_another_node(receipts_cluster):
    """Written to its socket, which nobody reads; then its node dies. No receipt before it has acked, and one then."""
    s = receipts_cluster()
    knife = s.knife()
    client, contact = friends(s, port=knife.port)
    client.ack()
    knife.hole()
    before = s.figure("stanzas_total", direction="downlink", kind="message")
    ask(s, contact, client.jid, 1)
    s.wait_figure(before + 1, "stanzas_total", direction="downlink", kind="message")
    expect_none(contact)
    s.wait_settled()
    next_node(s)
    again = s.resume(client)
    read(s, again)
    expect_none(contact)
    again.ack()
    expect_receipt(s, contact, again, 1)
    expect_none(contact)


@pytest.mark.parametrize("lives", [False, True], ids=["dead", "lives"])
def test_the_h_of_a_resumption_elsewhere_is_an_ack(receipts_cluster, lives):
    s = receipts_cluster()
    client, contact = friends(s)
    client.ack()
    ask(s, contact, client.jid, 1)
    read(s, client)
    s.wait_settled()
    if lives:
        client.cut("rst")
        s.wait_detached()
        s.use(1)
    else:
        next_node(s)
    expect_none(contact)
    again = s.resume(client)
    expect_receipt(s, contact, again, 1)
    expect_none(contact)


def test_what_was_due_when_the_node_died(receipts_cluster):
    s = receipts_cluster(receipts_grace="1m")
    client, contact = friends(s)
    for number in range(3):
        ask(s, contact, client.jid, number)
        read(s, client)
    client.ack()
    s.wait_settled()
    wait_released(s)
    next_node(s)
    expect_none(contact)
    again = s.resume(client)
    for number in range(3):
        expect_receipt(s, contact, again, number)
    expect_none(contact)


def test_a_session_that_moves_leaves_nothing_due(receipts_cluster):
    s = receipts_cluster(receipts_grace="1m")
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    read(s, client)
    client.ack()
    wait_released(s)
    client.cut("rst")
    s.wait_detached()
    s.use(1)
    again = s.resume(client)
    expect_receipt(s, contact, again, 1)
    expect_none(contact)


def test_what_was_sent_is_known_to_the_next_node(receipts_cluster):
    """No second one for a message that comes again, and the client's own, late, goes nowhere."""
    s = receipts_cluster()
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    message, = read(s, client)
    client.ack()
    expect_receipt(s, contact, client, 1)
    client.ping(iq_id="behind")
    client.ack()
    wait_released(s)
    s.wait_settled()
    next_node(s)
    again = s.resume(client)
    expect_none(contact)
    ask(s, contact, client.jid, 1)
    read(s, again)
    again.ack()
    s.wait_figure(1, "receipts_withheld_total", reason="repeated")
    answer(again, message)
    s.wait_figure(1, "receipts_swallowed_total", what="late")
    expect_none(contact)


def test_a_client_that_answers_for_itself_does_so_everywhere(receipts_cluster):
    s = receipts_cluster()
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    message, = read(s, client)
    answer(client, message)
    expect_receipt(s, contact, client, 1)
    client.ack()
    client.request()
    s.wait_settled()
    next_node(s)
    again = s.resume(client)
    ask(s, contact, again.jid, 2)
    read(s, again)
    again.ack()
    expect_none(contact)


def test_a_node_that_slept_sends_nothing(receipts_cluster):
    """What it had due is the business of the node that has the session now."""
    s = receipts_cluster(receipts_grace="1m")
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    read(s, client)
    client.ack()
    s.wait_settled()
    wait_released(s)
    s.nodes[0].signal(signal.SIGSTOP)
    try:
        s.use(1)
        again = s.resume(client)
        expect_receipt(s, contact, again, 1)
    finally:
        s.nodes[0].signal(signal.SIGCONT)
    s.use(0)
    s.wait_no_sessions()
    expect_none(contact)
