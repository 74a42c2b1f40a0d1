"""Clients without stream management over the death of a node: nobody can take such a session over, so what it had not
confirmed is the next login's, wherever that is."""

import pytest

from cluster import cluster, redis  # noqa: F401  (fixtures)
from scene import eventually
from test_legacy_clients import answer, is_ping

pytestmark = pytest.mark.servers("prosody")


@pytest.fixture
def legacy_cluster(cluster):
    return lambda **keywords: cluster(receipts_confirm_legacy_clients="on", **keywords)


def mail_in_redis(s):
    return sum(s.redis.ask("XLEN", key) for key in s.redis.keys("hf:{*}:mail"))


def test_a_node_dies_under_a_client_in_a_hole(legacy_cluster):
    s = legacy_cluster()
    knife = s.knife()
    client, contact = s.login(sm=False, presence=0, port=knife.port), s.direct(presence=0)
    s.say(contact, client.jid, [1])
    assert s.hear(client, 1) == [1]
    answer(client, client.wait_for(is_ping))
    eventually(lambda: mail_in_redis(s) == 0 and s.sum("client_pings_total", result="answered") == 1, "1 is confirmed")
    knife.hole()
    s.say(contact, client.jid, [2, 3, 4])
    eventually(lambda: mail_in_redis(s) == 3, "the rest is kept")
    assert s.figure("mailbox_messages") == 0  # but not as mail: it is on its way
    s.nodes[0].kill()
    s.use(1)
    again = s.login(sm=False, presence=0)
    late = again.wait_for(s.is_ours)
    assert s.number(late) == 2 and late.has("delay", "urn:xmpp:delay")
    assert s.hear(again, 2) == [3, 4]
    answer(again, again.wait_for(is_ping))
    eventually(lambda: mail_in_redis(s) == 0, "all is confirmed")
    again.cut()
    s.wait_no_sessions()
    assert s.hear_rest(s.login(presence=0)) == []


def test_what_comes_back_is_at_once_for_a_client_on_another_node(legacy_cluster):
    s = legacy_cluster()
    client, contact = s.login(sm=False, presence=0), s.direct(presence=0)
    s.use(1)
    other = s.login(resource="other", presence=0)
    s.say(contact, client.jid, [1])
    assert s.hear(client, 1) == [1]
    client.cut()
    assert s.hear(other, 1) == [1]
    other.ack()
    eventually(lambda: mail_in_redis(s) == 0, "it is delivered")
    assert s.sum("mailbox_kept_total") == s.sum("mailbox_fates_total", fate="delivered") == 1


def test_a_session_that_ends_tells_other_nodes(legacy_cluster):
    """Its client has stream management, and does not come back."""
    s = legacy_cluster(sm_max="1s")
    client, contact = s.login(presence=0), s.direct(presence=0)
    s.use(1)
    other = s.login(resource="other", presence=0)
    s.say(contact, client.jid, [1])
    assert s.hear(client, 1) == [1]
    client.cut()
    assert s.hear(other, 1) == [1]
