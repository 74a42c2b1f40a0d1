"""Delivery receipts between clients of all kinds, each with each (pairs.py): one for each message that asks, not before
the recipient's client has it, and none where a rule forbids it. Who gives it stands in the table of tests/README.md."""

import asyncio
import collections
import os

import pairs_table
from pairs import EVENT_REQUEST, KINDS, REQUEST, Log, Old, Raw, until
from scene import scene  # noqa: F401  (a fixture)
from slix import scenario
from test_receipts import is_asked, is_push

RAW, SILENT = "raw", "raw, no SM, silent"  # the second never says what it has: nothing is said on its behalf
STRANGER, NO_ID = "a stranger", "without an id"
FORBIDDEN = {  # how they are sent; no receipt of the proxy's for any
    STRANGER: {},
    NO_ID: {},
    "groupchat": {"kind": "groupchat"},
    "an error": {"kind": "error", "more": "<error type='cancel'/>"},
}
BOTH = REQUEST + EVENT_REQUEST
FENCE = "fence"
WRITE = os.environ.get("HOLDFAST_WRITE_PAIRS")


def befriend(s, askers, people):
    """Each of these and each of those become contacts of each other, before their clients log in."""
    ours, theirs = ([s.direct(person.user, presence=0) for person in each] for each in (askers, people))
    for client in ours + theirs:
        client.iq("get", "roster", "<query xmlns='jabber:iq:roster'/>")
    tell(ours, theirs, "subscribe")
    wait(theirs, is_asked, len(ours))
    tell(theirs, ours, "subscribed", "subscribe")
    wait(ours, is_asked, len(theirs))
    tell(ours, theirs, "subscribed")
    wait(theirs, is_push("both"), len(ours))
    for client in ours + theirs:
        client.close()


def tell(senders, recipients, *kinds):
    for sender in senders:
        with sender.one_packet():
            for recipient in recipients:
                for kind in kinds:
                    sender.presence(to=recipient.bare_jid, kind=kind)


def wait(clients, fits, count):
    for client in clients:
        for _ in range(count):
            client.wait_for(fits)


class Meeting:
    """Each kind as one who asks and as one who gets, at one proxy; and a stranger, whom nobody knows. The fence is a
    contact that is never held."""

    def __init__(self, s):
        self.s = s
        self.log = Log()
        self.askers, self.people = ({name: make(name, s, role, self.log) for name, make in KINDS.items()}
                                    for role in ("asks", "gets"))
        self.stranger = Raw(STRANGER, s, "asks", self.log, sm=False)
        self.fence = Raw(FENCE, s, "gets", self.log)
        self.everybody = [*self.askers.values(), *self.people.values(), self.stranger, self.fence]
        self.inside, self.held = [], []

    async def until(self, fits, what):
        await until(self.everybody, fits, what)

    async def __aenter__(self):
        people = [*self.people.values(), self.fence]
        await asyncio.to_thread(befriend, self.s, self.askers.values(), people)
        await asyncio.gather(*(self.enter(person) for person in self.everybody))
        await self.warm_up()
        return self

    async def __aexit__(self, *_):
        self.release()
        await self.leave(list(self.inside))

    async def enter(self, person):
        await person.enter()
        self.inside.append(person)

    async def leave(self, people):
        for person in people:
            self.inside.remove(person)
        await asyncio.gather(*(person.leave() for person in people))

    async def warm_up(self):
        """Clients without stream management show whether they answer pings."""
        for person in self.people.values():
            self.stranger.client.message(person.account.jid, "hello")
        want = sum(not person.sm and person.name != SILENT for person in self.people.values())
        await self.until(lambda: self.s.figure("client_pings_total", result="answered") >= want, "answers to pings")

    def hold(self):
        for person in self.people.values():
            person.hold()
            self.held.append(person)

    def release(self):
        while self.held:
            self.held.pop().release()

    async def ask(self):
        """Everybody asks everybody; what gets no receipt goes ahead. Returns when all that was written to somebody."""
        before = self.written()
        self.stranger.ask(*(person.jid for person in self.people.values()), request=BOTH)
        await self.until(lambda: self.written() >= before + len(KINDS), "what the stranger has sent")
        for what in (NO_ID, "groupchat", "an error"):
            self.send_forbidden(what, **FORBIDDEN[what])
        for asker in self.askers.values():
            asker.ask(*(person.account.jid for person in self.people.values()))
        count = len(KINDS) * (len(KINDS) + len(FORBIDDEN))
        await self.until(lambda: self.written() >= before + count, "all of it")

    def written(self):
        return self.s.figure("stanzas_total", direction="downlink", kind="message")

    def given(self, **labels):
        """Receipts of both forms, by the proxy's figures."""
        return self.s.figure("receipts_total", **labels) + \
            self.s.figure("message_events_total", event="delivered", **labels)

    def send_forbidden(self, what, kind="chat", more=""):
        client = self.askers[RAW].client
        for number, person in enumerate(self.people.values()):
            message_id = None
            if what != NO_ID:
                message_id = f"{what}-{number}"
                self.log.asked[message_id] = (what, person.name)
            client.message(person.jid, "hello", message_id, kind, BOTH + more)

    async def pass_fence(self):
        """Asks somebody, and waits for the receipt: those that were due before have been sent."""
        self.askers[RAW].ask(self.fence.account.jid)
        await self.until(lambda: FENCE in {receipt.recipient for receipt in self.log.receipts}, "the fence's receipt")

    def missing(self):
        wanted = {pair for pair in self.log.asked.values() if pair[0] in KINDS and pair[1] != SILENT}
        return sorted(wanted - {self.log.asked.get(receipt.id) for receipt in self.log.receipts})

    async def people_leave(self):
        """What is due goes out; behind that the proxy's figures are what they will be."""
        await self.leave([*self.people.values(), self.fence])
        await self.until(lambda: self.s.figure("sessions") == len(self.askers) + 1, "end of the recipients' sessions")
        await self.until(lambda: self.given() <= len(self.log.receipts),
                         lambda: f"{self.given()} receipts, but {self.log.receipts}")

    def results(self):
        """(who asks, or what is asked; who gets it) -> who gives the receipt."""
        found = {(sender, name): "none" for sender in [*KINDS, *FORBIDDEN] for name in KINDS}
        for receipt in self.log.receipts:
            if receipt.recipient != FENCE:
                sender, _ = self.log.asked.get(receipt.id, (NO_ID, None))
                found[sender, receipt.recipient] = "proxy" if receipt.by_proxy else "client"
        return found


def assert_receipts(log):
    """One for each id; from the one that was asked, to the one that has asked, in its form, and behind the message."""
    twice = [log.asked.get(message_id) for message_id, times in log.had.items() if len(times) > 1]
    assert twice == [], "messages came twice"
    counts = collections.Counter(receipt.id for receipt in log.receipts if receipt.id in log.asked)
    assert set(counts.values()) == {1}, {log.asked[each]: count for each, count in counts.items() if count > 1}
    for receipt in log.receipts:
        sender, recipient = log.asked.get(receipt.id, (NO_ID, receipt.recipient))
        assert receipt.recipient == recipient, receipt
        assert receipt.sender == (RAW if sender in FORBIDDEN and sender != STRANGER else sender), (sender, receipt)
        if sender not in FORBIDDEN:
            assert receipt.old == (KINDS.get(sender) is Old), receipt
            assert receipt.at > log.had[receipt.id][0], receipt
    assert [receipt for receipt in log.receipts
            if receipt.by_proxy and log.asked.get(receipt.id, (NO_ID,))[0] in FORBIDDEN] == []


def assert_table(server, results):
    if WRITE:
        pairs_table.write(server, results)
    known = pairs_table.read()
    differ = {pair: (what, "but the table has", known.get(pair, {}).get(server)) for pair, what in results.items()
              if known.get(pair, {}).get(server) != what}
    assert not differ, f"`make pairs-table` writes it anew: {differ}"
    assert set(known) == set(results), "the table has pairs that are no more"


@scenario
async def test_each_kind_with_each(scene, legacy):
    s = scene(receipts_grace="1s", receipts_confirm_legacy_clients="on")
    async with Meeting(s) as m:
        m.hold()
        await m.ask()
        await m.pass_fence()
        assert [receipt for receipt in m.log.receipts if receipt.recipient != FENCE] == [], "nobody has read anything"
        assert m.given() == 1
        m.release()
        await m.until(lambda: not m.missing(), m.missing)
        await m.people_leave()
        assert_receipts(m.log)
        assert m.given(source="proxy") == sum(receipt.by_proxy for receipt in m.log.receipts)
    assert_table(legacy.kind, m.results())
