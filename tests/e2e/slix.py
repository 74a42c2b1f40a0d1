"""slixmpp as its users run it: plugin xep_0198, and a handler that connects again when the connection is gone."""

import asyncio
import functools
import logging

import slixmpp

SECONDS = 30
logging.getLogger("slixmpp").setLevel(logging.ERROR)


def scenario(test):
    """An async test in an event loop of its own."""
    @functools.wraps(test)
    def run(*arguments, **keywords):
        asyncio.run(test(*arguments, **keywords))
    return run


def numbered(word, first, last):
    return [f"{word} {number}" for number in range(first, last + 1)]


class Client(slixmpp.ClientXMPP):
    """Everything it gets is in `got` as (sender's bare JID, body); those that it knows to be acked are in `acked`."""

    def __init__(self, account, host, port, ca, resource="slix", direct_tls=False, sm=True):
        super().__init__(f"{account.jid}/{resource}", account.password)
        self.address = (host, port)
        self.ca_certs = str(ca)
        self.use_aiodns = self.use_ipv6 = False
        self.direct_tls = direct_tls
        if sm:
            self.register_plugin("xep_0198", {"window": 1})
        self.register_plugin("xep_0045")
        self.got = []
        self.leavers = []
        self.said = []
        self.acked = []
        self.sessions = 0
        self.resumptions = 0
        self.away = False
        self._news = asyncio.Condition()
        self.add_event_handler("session_start", self._session_start)
        self.add_event_handler("session_resumed", self._session_resumed)
        self.add_event_handler("disconnected", self._disconnected)
        self.add_event_handler("message", self._message)
        self.add_event_handler("stanza_acked", self._stanza_acked)

    async def __aenter__(self):
        self._connect()
        await self.until(lambda: self.sessions, "session_start")
        return self

    async def __aexit__(self, *_):
        self.stay_away()
        await self.disconnect(wait=2.0)

    def stay_away(self):
        """Lets a cut last until come_back()."""
        self.away = True

    def come_back(self):
        self.away = False
        self._connect()

    def say(self, to, *bodies, kind="chat"):
        for body in bodies:
            self.said.append(body)
            self.send_message(mto=to, mbody=body, mtype=kind)

    async def enter(self, room, nick):
        """Joins, makes the room if need be, and waits until in."""
        inside = []
        self.add_event_handler(f"muc::{room}::self-presence", lambda presence: inside.append(presence))
        self.add_event_handler(f"muc::{room}::got_offline", lambda presence: self.leavers.append(str(presence["from"])))
        self.add_event_handler(f"muc::{room}::self-presence", lambda _: asyncio.ensure_future(self._tell()))
        self["xep_0045"].join_muc(room, nick)
        await self.until(lambda: inside, f"place in {room}")
        if "201" in str(inside[0]):
            await self["xep_0045"].set_room_config(room, self["xep_0004"].make_form(ftype="submit"))

    def _connect(self):
        self.connect(self.address, use_ssl=self.direct_tls, disable_starttls=self.direct_tls)

    def bodies(self):
        return [body for _, body in self.got]

    async def until(self, fits, what):
        """Waits until fits() holds; `what` is for the failure's text."""
        async with self._news:
            try:
                await asyncio.wait_for(self._news.wait_for(fits), SECONDS)
            except asyncio.TimeoutError:
                raise AssertionError(f"{self.boundjid}: no {what}; got {self.bodies()}, acked {self.acked}, sessions "
                                     f"{self.sessions}, resumptions {self.resumptions}") from None

    async def until_all_acked(self):
        """What was said before this call is acked. The library writes <r/> ahead of the stanza that caused it, so
        one more stanza is needed for the answer to count the last."""
        self.send_presence()
        await self.until(lambda: self.acked == self.said, f"acks of {self.said}")

    async def until_bodies(self, *bodies):
        """All that ever came is exactly this, in this order."""
        await self.until(lambda: len(self.got) >= len(bodies), f"messages {bodies}")
        assert self.bodies() == list(bodies)

    async def _tell(self):
        async with self._news:
            self._news.notify_all()

    async def _session_start(self, _):
        self.send_presence()
        await self.get_roster()
        self.sessions += 1
        await self._tell()

    async def _session_resumed(self, _):
        self.resumptions += 1
        await self._tell()

    async def _disconnected(self, _):
        if not self.away:
            self._connect()

    async def _message(self, message):
        if message["body"]:
            self.got.append((message["from"].bare, message["body"]))
            await self._tell()

    async def _stanza_acked(self, stanza):
        if stanza.name == "message":
            self.acked.append(stanza["body"])
            await self._tell()
