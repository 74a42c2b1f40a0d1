"""`make demo`: what a user sees when the network fails, without Holdfast and with it. Two real clients (slixmpp) at a
real Prosody without stream management: Romeo writes numbered messages while Juliet's network goes dark and comes back,
twice. Ends with status 1 if Holdfast lost, doubled or mixed up a message."""

import asyncio
import collections
import contextlib
import logging
import pathlib
import sys
import tempfile
import time

from certs import Authority
from knife import Knife
from proxy import Proxy
from servers import Prosody

logging.getLogger("slixmpp").setLevel(logging.ERROR)  # it remarks on its own speed when it is imported
logging.getLogger("slixmpp.plugins.xep_0198").setLevel(logging.CRITICAL)  # empties its queue, then wonders at the h
from slix import Client  # noqa: E402

DOMAIN = "localhost"
Account = collections.namedtuple("Account", "name password jid")
ROMEO, JULIET = (Account(name, f"{name}-secret", f"{name}@{DOMAIN}") for name in ("romeo", "juliet"))
SHORT_CUT = 2.0  # seconds in the dark when no Holdfast is there to tell that it has noticed
SETTINGS = {  # the defaults are minutes: nobody wants to wait for them here
    "proxy.domain": DOMAIN, "proxy.workers": 2, "sm.ack_timeout": "2s", "sm.max": "3s", "log.level": "info",
}


class Juliet(Client):
    """Knows of each message whether it came with a delay stamp, and can lose her network."""

    def __init__(self, knife, ca):
        super().__init__(JULIET, knife.host, knife.port, ca, resource="phone")
        self.register_plugin("xep_0203")
        self.knife = knife
        self.stamps = {}  # body -> delay stamp or None

    async def _message(self, message):
        stamp = message["delay"]["stamp"] if message.get_plugin("delay", check=True) else None
        self.stamps[message["body"]] = stamp
        await super()._message(message)

    def go_dark(self):
        """Nothing passes any more, and nobody is told: no FIN, no RST."""
        self.stay_away()
        self.knife.hole(True)

    def find_a_network(self):
        """A new connection; the old one stays silent for ever, as after a change from Wi-Fi to mobile data."""
        self.abort()
        self.come_back()

    async def until_here(self):
        """She is online again, by a resumption or a new login."""
        before = self.sessions + self.resumptions
        self.find_a_network()
        await self.until(lambda: self.sessions + self.resumptions > before, "connection")

    async def until_read(self, last):
        """`last` is here, and so is what the server sent before it answers a ping: whatever is missing now is lost."""
        await self.until(lambda: last in self.bodies(), f"message {last}")
        await ping(self)


async def ping(client):
    await client["xep_0199"].send_ping(DOMAIN, timeout=10)


class Story:
    """The same story at one address: Prosody's, or Holdfast's in front of it."""

    def __init__(self, host, port, ca, proxy=None):
        self.host, self.port, self.ca, self.proxy = host, port, ca, proxy
        self.begin = time.monotonic()
        self.told = 0  # messages of Juliet's that were printed

    def tell(self, text):
        print(f"  {time.monotonic() - self.begin:6.2f} s  {text}", flush=True)

    def tell_news(self):
        """What Juliet got since the last time; those with a delay stamp come first."""
        news = self.juliet.bodies()[self.told:]
        self.told += len(news)
        late = [body for body in news if self.juliet.stamps[body]]
        fresh = [body for body in news if body not in late]
        stamp = f" with the time they were sent ({self.juliet.stamps[late[0]]:%H:%M:%S} UTC)" if late else ""
        self.tell("Juliet gets " + ", ".join(part for part in (" ".join(late) + stamp, " ".join(fresh)) if part))

    async def say(self, numbers):
        """Romeo's messages, until the server has processed them."""
        bodies = [str(number) for number in numbers]
        self.romeo.say(JULIET.jid, *bodies)
        await ping(self.romeo)
        self.tell(f"Romeo writes {' '.join(bodies)}")
        return bodies

    async def figure(self, name, want, **labels):
        return await asyncio.to_thread(self.proxy.wait_metric, name, want, **labels)

    async def tell_whole(self):
        self.begin = time.monotonic()
        with Knife(self.host, self.port) as knife:
            self.juliet = Juliet(knife, self.ca)
            self.romeo = Client(ROMEO, self.host, self.port, self.ca, resource="desk")
            for client in (self.juliet, self.romeo):
                client.register_plugin("xep_0199")
            async with self.juliet, self.romeo:
                return [await self.short_cut(), await self.long_cut()]

    async def short_cut(self):
        sent = await self.say(range(1, 4))
        await self.juliet.until_read(sent[-1])
        self.tell_news()
        if self.proxy:
            await self.figure("holdfast_unacked_stanzas", 0)
        self.juliet.go_dark()
        self.tell("Juliet's network goes dark; Prosody and Romeo notice nothing")
        sent += await self.say(range(4, 8))
        if self.proxy:
            await self.figure("holdfast_sessions", 1, state="detached")
            self.tell("Holdfast: no ack from Juliet for 2 s, her session waits for her")
        else:
            await asyncio.sleep(SHORT_CUT)
        await self.juliet.until_here()
        self.tell("Juliet is back on another network: " +
                  ("same session, resumed" if self.juliet.resumptions else "a new login"))
        sent += await self.say(range(8, 11))
        await self.juliet.until_read(sent[-1])
        self.tell_news()
        if self.proxy:
            await self.tell_resumption()
        return sent, self.result(sent)

    async def long_cut(self):
        self.juliet.go_dark()
        self.tell("Her network goes dark again, for longer")
        sent = await self.say(range(11, 14))
        if self.proxy:
            await self.figure("holdfast_sessions_ended_total", 1, reason="expired")
            kept = await self.figure("holdfast_mailbox_messages", len(sent))
            self.tell(f"Holdfast: her session has expired, {kept:.0f} messages are kept for her account")
        else:
            await asyncio.sleep(SHORT_CUT)
        sessions = self.juliet.sessions
        await self.juliet.until_here()
        self.tell("Juliet is back: " + ("a new login" if self.juliet.sessions > sessions else "same session, resumed"))
        sent += await self.say([14])
        await self.juliet.until_read(sent[-1])
        self.tell_news()
        if self.proxy:
            given = await self.figure("holdfast_mailbox_fates_total", 3, fate="delivered")
            self.tell(f"Holdfast: {given:.0f} kept messages delivered and acked")
        return sent, self.result(sent)

    async def tell_resumption(self):
        await self.figure("holdfast_unacked_stanzas", 0)
        resumed = await asyncio.to_thread(self.proxy.resumes)
        again = self.proxy.metric("holdfast_stanzas_replayed_total")
        acked = self.proxy.metric("holdfast_downlink_fates_total", fate="acked")
        self.tell(f"Holdfast: {resumed:.0f} session resumed, {again:.0f} stanzas sent again, 0 unacked "
                  f"({acked:.0f} acked by both clients so far)")

    def result(self, sent):
        """Which of `sent` came, in the order in which they came, doubles too."""
        return [body for body in self.juliet.bodies() if body in sent]

    def stamped(self, bodies):
        return all(self.juliet.stamps.get(body) for body in bodies)


def summary(without, holdfast):
    """The table, one row for each cut."""
    names = ("in the middle of a talk", "for longer than sm.max")
    print(f"\n  {'Juliet was cut off':24}  {'without Holdfast':27}  with Holdfast")
    for name, (sent, got), (_, got_by_holdfast) in zip(names, without, holdfast):
        print(f"  {name:24}  {verdict(sent, got):27}  {verdict(sent, got_by_holdfast)}")


def verdict(sent, got):
    lost = [body for body in sent if body not in got]
    if lost:
        return f"{len(sent) - len(lost)} of {len(sent)}, lost: {' '.join(lost)}"
    return f"{len(sent)} of {len(sent)}, " + ("once, in order" if got == sent else f"as {' '.join(got)}")


def holds(story, results):
    """Everything came once and in order; what was kept for a later login (all but the last) has its delay stamp."""
    late, _ = results[1]
    return all(got == sent for sent, got in results) and story.stamped(late[:-1])


def main():
    with contextlib.ExitStack() as closing:
        print("starting Prosody and Holdfast ...", flush=True)
        folder = closing.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-demo-"))
        prosody = Prosody(accounts=[account[:2] for account in (ROMEO, JULIET)], domain=DOMAIN)
        closing.callback(prosody.remove)
        prosody.start()
        proxy = Proxy(prosody.upstream, Authority(pathlib.Path(folder) / "tls"), SETTINGS)
        closing.callback(proxy.remove)
        proxy.start()
        print("\nwithout Holdfast: both clients at Prosody itself")
        without = asyncio.run(Story(prosody.host, prosody.port, prosody.ca).tell_whole())
        print("\nwith Holdfast between the clients and the same Prosody (sm.ack_timeout = 2s, sm.max = 3s)")
        story = Story(proxy.host, proxy.port, proxy.ca, proxy)
        with_holdfast = asyncio.run(story.tell_whole())
        summary(without, with_holdfast)
        return 0 if holds(story, with_holdfast) else 1


if __name__ == "__main__":
    sys.exit(main())
