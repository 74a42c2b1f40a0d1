"""slixmpp 1.8 (Debian 12), unmodified, through Holdfast in front of each server.

Faults of the library that these tests go around:
- It clears its own unacked queue when it sends <resume/>: what was unacked at a cut is never sent again. So who is
  about to be cut waits for the acks of what it said before.
- It writes <r/> ahead of the stanza that caused it, so the answer is one short: see until_all_acked."""

import asyncio

import pytest

from slix import Client, numbered, scenario


@pytest.mark.parametrize("how", ["fin", "rst"])
@scenario
async def test_what_comes_while_it_is_away_is_there_once_and_in_order(proxy, knife_factory, account, how):
    knife = knife_factory(proxy.host, proxy.port)
    async with Client(account(), proxy.host, knife.port, proxy.ca) as cut, \
            Client(account(), proxy.host, proxy.port, proxy.ca) as other:
        other.say(cut.boundjid.bare, *numbered("to", 1, 5))
        await cut.until_bodies(*numbered("to", 1, 5))
        cut.stay_away()
        knife.cut(how)
        await asyncio.to_thread(proxy.wait_metric, "holdfast_sessions", 1, state="detached")
        other.say(cut.boundjid.bare, *numbered("to", 6, 10))
        await other.until_all_acked()
        cut.come_back()
        await cut.until(lambda: cut.resumptions == 1, "resumption")
        other.say(cut.boundjid.bare, *numbered("to", 11, 15))
        await cut.until_bodies(*numbered("to", 1, 15))
        cut.say(other.boundjid.bare, "thanks")
        await other.until_bodies("thanks")
        assert cut.sessions == 1
        assert proxy.resumes() == 1


@scenario
async def test_it_comes_back_by_itself_ten_times(proxy, knife_factory, account):
    knife = knife_factory(proxy.host, proxy.port)
    async with Client(account(), proxy.host, knife.port, proxy.ca) as cut, \
            Client(account(), proxy.host, proxy.port, proxy.ca) as other:
        for turn in range(1, 11):
            cut.say(other.boundjid.bare, f"out {turn}")
            await cut.until_all_acked()
            knife.cut("rst" if turn % 2 else "fin")
            other.say(cut.boundjid.bare, f"in {turn}")
            await cut.until(lambda turn=turn: cut.resumptions == turn, f"resumption {turn}")
        await cut.until_bodies(*numbered("in", 1, 10))
        await other.until_bodies(*numbered("out", 1, 10))
        assert cut.sessions == 1
        assert proxy.resumes() == 10


@scenario
async def test_it_resumes_while_its_old_connection_is_open_but_silent(proxy, knife_factory, account):
    knife = knife_factory(proxy.host, proxy.port)
    async with Client(account(), proxy.host, knife.port, proxy.ca) as cut, \
            Client(account(), proxy.host, proxy.port, proxy.ca) as other:
        knife.hole(True)
        other.say(cut.boundjid.bare, *numbered("to", 1, 5))
        await other.until_all_acked()
        cut.abort()  # the library notices nothing by itself; a new connection passes the hole
        await cut.until(lambda: cut.resumptions == 1, "resumption")
        await cut.until_bodies(*numbered("to", 1, 5))
        assert cut.sessions == 1
        assert proxy.resumes() == 1


@scenario
async def test_direct_tls(proxy, account):
    async with Client(account(), proxy.host, proxy.tls_port, proxy.ca, direct_tls=True) as one, \
            Client(account(), proxy.host, proxy.port, proxy.ca) as other:
        one.say(other.boundjid.bare, "hello")
        await other.until_bodies("hello")
        other.say(one.boundjid.bare, "hello yourself")
        await one.until_bodies("hello yourself")


@pytest.mark.servers("prosody", "ejabberd")
@scenario
async def test_a_talk_in_a_room_goes_on_after_a_cut(legacy, proxy, knife_factory, account):
    """Occupants notice neither the cut nor the resumption."""
    knife = knife_factory(proxy.host, proxy.port)
    async with Client(account(), proxy.host, knife.port, proxy.ca) as cut, \
            Client(account(), proxy.host, proxy.port, proxy.ca) as other:
        room = f"room-{cut.boundjid.user}@{legacy.muc_domain}"
        await other.enter(room, "other")
        await cut.enter(room, "cut")
        other.say(room, "one", kind="groupchat")
        await cut.until_bodies("one")
        cut.stay_away()
        knife.cut("rst")
        await asyncio.to_thread(proxy.wait_metric, "holdfast_sessions", 1, state="detached")
        other.say(room, "two", kind="groupchat")
        await other.until_bodies("one", "two")
        cut.come_back()
        await cut.until(lambda: cut.resumptions == 1, "resumption")
        cut.say(room, "three", kind="groupchat")
        await cut.until_bodies("one", "two", "three")
        await other.until_bodies("one", "two", "three")
        assert other.leavers == []
