"""Profanity 0.13 with libstrophe 0.12 (Debian 12), unmodified, through Holdfast in front of each server. It connects
again and resumes by itself."""

import asyncio

import pytest

from profanity import Client
from slix import Client as Slix, numbered, scenario


@pytest.mark.parametrize("how", ["fin", "rst"])
@scenario
async def test_a_talk_goes_on_after_a_cut(proxy, knife_factory, account, how):
    knife = knife_factory(proxy.host, proxy.port)
    aside = asyncio.to_thread
    async with Slix(account(), proxy.host, proxy.port, proxy.ca) as other, \
            Client(account(), proxy.host, knife.port) as person:
        person.say(other.boundjid.bare, *numbered("from", 1, 3))
        await other.until_bodies(*numbered("from", 1, 3))
        other.say(person.jid, *numbered("to", 1, 3))
        await aside(person.until_bodies, other.boundjid.bare, *numbered("to", 1, 3))
        knife.refuse(True)
        knife.cut(how)
        await aside(proxy.wait_metric, "holdfast_sessions", 1, state="detached")
        other.say(person.jid, *numbered("to", 4, 8))
        await other.until_all_acked()
        knife.refuse(False)
        await aside(person.until_bodies, other.boundjid.bare, *numbered("to", 1, 8))
        person.say(other.boundjid.bare, *numbered("from", 4, 6))
        await other.until_bodies(*numbered("from", 1, 6))
        assert proxy.resumes() == 1
