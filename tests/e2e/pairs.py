"""Clients of each kind, which ask for delivery receipts and get what asks for one; and what becomes of that, in one log
with the time of each event by the one clock that all processes share (CLOCK_MONOTONIC)."""

import asyncio
import collections
import signal
import time
import xml.etree.ElementTree as ET

import profanity
import slix
import stanzajs
import xmppjs
from raw import NS_PING, Framer

NS_RECEIPTS = "urn:xmpp:receipts"
NS_EVENT = "jabber:x:event"
REQUEST = f"<request xmlns='{NS_RECEIPTS}'/>"
EVENT_REQUEST = f"<x xmlns='{NS_EVENT}'><delivered/></x>"
SECONDS = 30
PAUSE = 0.02  # between two looks

Account = collections.namedtuple("Account", "name password jid")
Receipt = collections.namedtuple("Receipt", "id old sender recipient by_proxy at")  # old: in the form of XEP-0022


class Log:
    """Who has asked whom under which id, when the recipient's client had it, and each receipt that a sender got."""

    def __init__(self):
        self.asked = {}     # id -> (sender, recipient): names of kinds
        self.had = {}       # id -> [when]
        self.receipts = []
        self.names = {}     # bare JID -> name of the kind

    def has_asked(self, message_id, sender, to):
        self.asked[message_id] = (sender, self.names[bare(to)])

    def has(self, message_id, at=None):
        self.had.setdefault(message_id, []).append(at or now())

    def got_receipt(self, message_id, sender, stanza_from, stanza_id, at=None, old=False):
        by_proxy = (stanza_id or "").startswith("hfr-")
        self.receipts.append(Receipt(message_id, old, sender, self.names[bare(stanza_from)], by_proxy, at or now()))

    def heard(self, name, tree):
        """A message has come to the client of that name."""
        for message_id, old in receipts_in(tree):
            self.got_receipt(message_id, name, tree.get("from"), tree.get("id"), old=old)
        if may_ask(tree):
            self.has(tree.get("id"))


def receipts_in(tree):
    """Of a message: (id, whether it is of the old form)."""
    event = tree.find(f"{{{NS_EVENT}}}x")
    if tree.get("type") == "error":
        return
    for received in tree.findall(f"{{{NS_RECEIPTS}}}received"):
        yield received.get("id"), False
    if event is not None and event.find(f"{{{NS_EVENT}}}delivered") is not None:
        name = event.find(f"{{{NS_EVENT}}}id")
        if name is not None:
            yield name.text, True


def asks_old(tree):
    event = tree.find(f"{{{NS_EVENT}}}x")
    return event is not None and event.find(f"{{{NS_EVENT}}}id") is None


def may_ask(tree):
    """Not a receipt, nor a server's notification."""
    return tree.get("id") and tree.find("{*}body") is not None


def now():
    return time.monotonic_ns()


def bare(jid):
    return jid.partition("/")[0]


async def until(people, fits, what):
    """Looks until fits() holds; what the scripts have told is brought into the log before each look."""
    deadline = time.monotonic() + SECONDS
    while True:
        for person in people:
            person.catch_up()
        if fits():
            return
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what() if callable(what) else what}"
        await asyncio.sleep(PAUSE)


class Person:
    """`jid` is full once it has logged in. While it is held its client reads nothing. Subclasses know their client."""

    sm = True  # has stream management

    def __init__(self, name, scene, role, log):
        self.name = name
        self.log = log
        self.scene = scene
        self.user = f"{name} {role}"  # as the scene knows the account
        self.account = Account(*scene.account(self.user), scene.jid(self.user))
        self.jid = None
        log.names[self.account.jid] = name

    def catch_up(self):
        """Brings into the log what another process has told."""


class Raw(Person):
    """Reads in the event loop of the test, and decides about each byte."""

    def __init__(self, *arguments, sm=True, pong="result"):
        super().__init__(*arguments)
        self.sm = sm
        self.pong = pong  # type of the answer to a ping; None: it gives none
        self.count = 0

    async def enter(self):
        self.client = await asyncio.to_thread(self.scene.login, self.user, sm=self.sm, presence=0)
        self.jid = self.client.jid
        self.release()

    def hold(self):
        asyncio.get_running_loop().remove_reader(self.client.sock)

    def release(self):
        asyncio.get_running_loop().add_reader(self.client.sock, self._read)
        self._hear()  # what came with the login

    def ask(self, *recipients, request=REQUEST):
        with self.client.one_packet():
            for to in recipients:
                self.count += 1
                message_id = f"{self.account.name}-{self.count}"
                self.log.has_asked(message_id, self.name, to)
                self.client.message(to, "hello", message_id, payload=request)

    async def leave(self):
        self.hold()
        await asyncio.to_thread(self.client.close)

    def _read(self):
        if not self.client.fill(time.monotonic() + SECONDS):
            self.hold()  # the connection is gone: what waits for it will tell
        self._hear()

    def _hear(self):
        while self.client.queue:
            element = self.client.read_element()
            if element.name == "message":
                self.log.heard(self.name, element.tree)
                self._answer(element)
            elif element.name == "r":
                self.client.ack()
            elif element.name == "iq" and element.get("type") == "get" and element.has("ping", NS_PING) and self.pong:
                self.client.stanza(f"<iq type='{self.pong}' id='{element['id']}' to='{element['from']}'/>")

    def _answer(self, message):
        """Sends no receipts of its own."""


class Old(Raw):
    """Of the time before stream management, pings and XEP-0184: asks by XEP-0022 and answers to that."""

    def __init__(self, *arguments):
        super().__init__(*arguments, sm=False, pong="error")

    def ask(self, *recipients):
        super().ask(*recipients, request=EVENT_REQUEST)

    def _answer(self, message):
        if message.get("id") and message.get("type", "normal") in ("normal", "chat") and asks_old(message.tree):
            self.client.stanza(f"<message to='{message['from']}'><x xmlns='{NS_EVENT}'><delivered/>"
                               f"<id>{message['id']}</id></x></message>")


class Slixmpp(Person):
    def __init__(self, *arguments, sm=True, receipts=False):
        super().__init__(*arguments)
        self.sm = sm
        self.receipts = receipts

    async def enter(self):
        proxy = self.scene.proxy
        self.client = slix.Client(self.account, proxy.host, proxy.port, proxy.ca, sm=self.sm)
        self.client.register_plugin("xep_0199")
        if self.receipts:
            self.client.register_plugin("xep_0184")
        self.client.add_filter("in", self._hear)  # ahead of the library's own answers
        await self.client.__aenter__()
        self.jid = self.client.boundjid.full

    def hold(self):
        self.client.transport.pause_reading()

    def release(self):
        self.client.transport.resume_reading()

    def ask(self, *recipients):
        for to in recipients:
            message = self.client.make_message(to, "hello", mtype="chat")
            message.appendxml(ET.Element(f"{{{NS_RECEIPTS}}}request"))
            self.log.has_asked(message["id"], self.name, to)
            message.send()

    async def leave(self):
        await self.client.__aexit__()

    def _hear(self, stanza):
        if stanza.name == "message":
            self.log.heard(self.name, stanza.xml)
        return stanza


class Script(Person):
    """A library in a process of its own (js_client.py), which says by its own clock when it got what."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.seen = 0

    async def enter(self):
        self.client = self._make()
        await asyncio.to_thread(self.client.__enter__)
        self.jid, = self.client.of("online")

    def hold(self):
        self.client.signal(signal.SIGSTOP)

    def release(self):
        self.client.signal(signal.SIGCONT)

    def ask(self, *recipients):
        for to in recipients:
            self.client.ask(to, "hello")

    async def leave(self):
        await asyncio.to_thread(self.client.__exit__, None, None, None)

    def catch_up(self):
        while self.seen < len(self.client.events):
            event = self.client.events[self.seen]
            self.seen += 1
            if "asked" in event:
                self.log.has_asked(event["asked"], self.name, event["to"])
            elif "receipt" in event:
                self.log.got_receipt(event["receipt"], self.name, event["from"], event.get("id"), event["at"])
            elif "message" in event and event.get("id"):
                self.log.has(event["id"], event["at"])


class XmppJs(Script):
    def _make(self):
        proxy = self.scene.proxy
        return xmppjs.Client(self.account, proxy.host, proxy.port, proxy.ca)


class StanzaJs(Script):
    def _make(self):
        proxy = self.scene.proxy
        service = stanzajs.service("ws", proxy.host, proxy.ws_port)
        return stanzajs.Client(self.account, service, proxy.ca, proxy.directory / f"state-{self.account.name}")


class Profanity(Person):
    """Tells no times, so its connection is read on the way, in clear. It has what it acks."""

    async def enter(self):
        self.flows = asyncio.Event()
        self.flows.set()
        self.passed = None                  # stanzas to it since stream management began
        self.unacked = collections.deque()  # (number, id) of the messages among them
        self.tap = await asyncio.start_server(self._pass_on, "127.0.0.1")
        port = self.tap.sockets[0].getsockname()[1]
        self.client = profanity.Client(self.account, "127.0.0.1", port, tls="disable")
        await self.client.__aenter__()
        self.jid = f"{self.account.jid}/profanity"

    def hold(self):
        self.flows.clear()

    def release(self):
        self.flows.set()

    def ask(self, *recipients):
        for to in recipients:
            self.client.say(to, "hello")

    async def leave(self):
        await self.client.__aexit__(None, None, None)
        self.tap.close()

    async def _pass_on(self, reader, writer):
        proxy = self.scene.proxy
        proxy_reader, proxy_writer = await asyncio.open_connection(proxy.host, proxy.port)
        await asyncio.gather(self._pipe(reader, proxy_writer, self._said),
                             self._pipe(proxy_reader, writer, self._heard))

    async def _pipe(self, reader, writer, tell):
        framer = Framer()
        while data := await reader.read(65536):
            if tell == self._heard:
                await self.flows.wait()
            for element in framer.feed(data):
                tell(element)
            writer.write(data)
        writer.close()

    def _said(self, element):
        if element.name == "message" and may_ask(element.tree):
            self.log.has_asked(element["id"], self.name, element["to"])
        elif element.name == "message":
            for message_id, _ in receipts_in(element.tree):
                self._has(lambda entry, name=message_id: entry[1] == name)
        elif element.name == "a":
            self._has(lambda entry: entry[0] <= int(element["h"]))

    def _heard(self, element):
        if element.name == "enabled":
            self.passed = 0
        elif element.is_stanza and self.passed is not None:
            self.passed += 1
            if element.name == "message":
                self._hear(element.tree)

    def _hear(self, message):
        for message_id, old in receipts_in(message):
            self.log.got_receipt(message_id, self.name, message.get("from"), message.get("id"), old=old)
        if may_ask(message):
            self.unacked.append((self.passed, message.get("id")))

    def _has(self, fits):
        for entry in [entry for entry in self.unacked if fits(entry)]:
            self.unacked.remove(entry)
            self.log.has(entry[1])


KINDS = {
    "raw": lambda *who: Raw(*who),
    "raw, no SM": lambda *who: Raw(*who, sm=False),
    "raw, no SM, silent": lambda *who: Raw(*who, sm=False, pong=None),
    "slixmpp": lambda *who: Slixmpp(*who),
    "slixmpp, receipts": lambda *who: Slixmpp(*who, receipts=True),
    "slixmpp, no SM, receipts": lambda *who: Slixmpp(*who, sm=False, receipts=True),
    "xmpp.js": XmppJs,
    "StanzaJS": StanzaJs,
    "profanity": Profanity,
    "XEP-0022, no SM": Old,
}
