"""xmpp.js 0.14 (@xmpp/client), unmodified, through Holdfast in front of each server. It resumes by itself and keeps
what is unacked. All of it runs over TLS: without, the library never uses PLAIN, and jabberd2 knows nothing else
that it speaks.

Faults of the library that these tests go around:
- It sets its counter to 0 a moment after it has read <enabled/>: what comes right behind is forgotten. So nobody
  writes to a client before it is online and has said so to the server.
- It does not count answers to requests of its own iqCaller: after one of these its <resume h/> is too small for good.
- It adds <delay/> to what it sends again: bodies are compared, not bytes.
- What it fails to write, because the break is already known, it refuses and may keep all the same: a cut comes only
  when all is written.
- A resumption that is broken off counts as failed for it: no cut here meets one that is under way."""

import pytest

from slix import numbered
from xmppjs import Client


@pytest.fixture
def clients(proxy, account, knife_factory):
    """(the one that will be cut, the other one, the knife); not logged in."""
    knife = knife_factory(proxy.host, proxy.port)
    cut, other = (Client(account(), proxy.host, port, proxy.ca) for port in (knife.port, proxy.port))
    return cut, other, knife


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_what_comes_while_it_is_away_is_there_once_and_in_order(proxy, clients, how):
    cut, other, knife = clients
    with cut, other:
        other.say(cut.jid, *numbered("to", 1, 5))
        cut.until_bodies(*numbered("to", 1, 5))
        cut.stay_away()
        knife.cut(how)
        proxy.wait_metric("holdfast_sessions", 1, state="detached")
        other.say(cut.jid, *numbered("to", 6, 10))
        other.until_acked(*numbered("to", 1, 10))
        cut.come_back()
        cut.until_resumed()
        other.say(cut.jid, *numbered("to", 11, 15))
        cut.until_bodies(*numbered("to", 1, 15))
        cut.say(other.jid, "thanks")
        other.until_bodies("thanks")
        assert len(cut.of("online")) == 1
        assert proxy.resumes() == 1


def test_what_it_says_into_a_dead_connection_arrives_once_and_in_order(proxy, clients):
    """The connection swallows ten messages, then breaks: the library sends again what <resumed h/> does not cover."""
    cut, other, knife = clients
    with cut, other:
        cut.say(other.jid, *numbered("early", 1, 5))
        other.until_bodies(*numbered("early", 1, 5))
        knife.hole(True)
        cut.say(other.jid, *numbered("late", 1, 10))
        knife.cut("rst")
        cut.until_resumed()
        cut.until_acked(*numbered("early", 1, 5), *numbered("late", 1, 10))
        other.until_bodies(*numbered("early", 1, 5), *numbered("late", 1, 10))
        assert cut.of("failed") == []
        assert proxy.resumes() == 1


def test_it_comes_back_by_itself_ten_times(proxy, clients):
    cut, other, knife = clients
    with cut, other:
        for turn in range(1, 11):
            cut.say(other.jid, f"out {turn}")
            other.until(lambda turn=turn: len(other.of("message")) == turn, f"message {turn}")
            knife.cut("rst" if turn % 2 else "fin")
            other.say(cut.jid, f"in {turn}")
            cut.until_resumed(turn)
        cut.until_bodies(*numbered("in", 1, 10))
        other.until_bodies(*numbered("out", 1, 10))
        cut.until_acked(*numbered("out", 1, 10))
        assert len(cut.of("online")) == 1
        assert cut.of("failed") == []
        assert proxy.resumes() == 10


def test_direct_tls(proxy, account):
    with Client(account(), "localhost", proxy.tls_port, proxy.ca, scheme="xmpps") as one, \
            Client(account(), proxy.host, proxy.port, proxy.ca) as other:
        one.say(other.jid, "hello")
        other.until_bodies("hello")
        other.say(one.jid, "hello yourself")
        one.until_bodies("hello yourself")
