"""Mixed load for a long time: people log in, talk, are cut in every way, come back, log out, while the legacy server is
restarted and the proxy reloads. After each round everyone logs out; what the proxy holds must then be back where it was:
memory, descriptors, gauges. At the end each message that was acked has arrived, once or more often only where the server
was killed.

    soak.py [--minutes 30] [--rounds 6] [--people 40] [--legacy prosody] [--result FILE]"""

import argparse
import contextlib
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time

os.environ.setdefault("PYTEST_XDIST_WORKER", "gw14")  # ports that nobody else takes who runs beside it
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from certs import Authority  # noqa: E402
from proxy import Proxy  # noqa: E402
from raw import Closed, RawClient, TimedOut, WireError, bind_iq, enable_tag  # noqa: E402
from scene import assert_sums, eventually, figures, is_sanitized, resident  # noqa: E402
from servers import KINDS, Prosody  # noqa: E402

GONE = (Closed, TimedOut, OSError)
GAUGES = ("connections", "sessions", "unacked_stanzas", "unacked_bytes", "unconfirmed_stanzas", "unconfirmed_bytes",
          "parked_stanzas", "mailbox_lent", "mailbox_messages", "outbox_messages", "memory_bytes")
LINGER = 6  # sm.confirm_linger for ejabberd, in seconds
RECOVERY = 20  # until all are back and what lingers was said again, after a restart of the server


class CarefulProsody(Prosody):
    """As it comes it deletes offline messages when it has put them into its buffers, some milliseconds before they leave:
    killed then, at a login, it loses them, and no proxy has ever seen them. So this one writes at once."""

    def _prepare(self):
        super()._prepare()
        with self._file.open("a") as file:
            file.write("network_settings = { opportunistic_writes = true }\n")


class Person(threading.Thread):
    """One account with one device. Those with stream management are spoken to; the others only speak, since nobody
    promises them anything."""

    def __init__(self, soak, number, managed):
        super().__init__(name=f"person {number}", daemon=True)
        self.soak, self.number, self.managed = soak, number, managed
        self.user, self.password = soak.kind.account(number)
        self.chance = random.Random(soak.seed * 1000 + number)
        self.busy = threading.Lock()   # one thread at a time has the client
        self.client = None
        self.spoken = 0
        self.heard = {}            # text of a message -> how often
        self.said, self.acked = {}, {}   # text -> when
        self.moves = []            # (from, until): it logs in at the server, or out
        self.waiting = {}          # number of a stanza in this session -> text
        self.left = []             # connections that nobody closed
        self.fault = None
        self.failed_resumes = self.cuts = 0

    def run(self):
        try:
            while not self.soak.over.is_set():
                self.soak.going.wait()
                with self.busy, contextlib.suppress(*GONE):
                    self.meet()
                if self.soak.going.is_set():
                    time.sleep(self.chance.choice([0, 0.1, 1, 3]) * self.chance.random())
        except BaseException as fault:  # told by the main thread
            self.fault = fault

    def meet(self):
        """Comes online, talks for a while, goes in one way or another."""
        self.connect()
        until = time.monotonic() + self.chance.choice([0.5, 3, 10, 30]) * self.chance.random()
        while time.monotonic() < until and self.soak.going.is_set():
            self.talk()
        self.part()

    def connect(self):
        old = self.client
        self.client = RawClient(self.soak.proxy.tls_port, "localhost", tls="direct", timeout=20)
        self.client.auto_ack = True
        began = time.monotonic()
        try:
            if old and old.sm_id:
                self.client.authenticate(self.user, self.password)
                self.resume(old)
            else:
                self.client.authenticate(self.user, self.password)
                self.begin()
                self.waiting = {}
                self.stanza("<presence/>")
        except (*GONE, WireError) as error:
            if old and old.sm_id and not self.client.sm_id:
                self.client.cut()
                self.client = old  # the session is still to be resumed
            ends = "stream:error", "got </stream:stream>"
            if isinstance(error, WireError) and any(end in str(error) for end in ends):
                raise Closed("fin", str(error)) from error  # the server is away
            raise
        finally:
            self.moves.append((began, time.monotonic() + 0.5))  # the presence is not answered

    def resume(self, old):
        self.client.take_over(old)
        self.client.auto_ack = True
        answer = self.client.try_resume(old.sm_id, old.h_in)
        if answer.name == "resumed":
            self.note_acks()
            self.client.send("".join(xml for _, xml in self.client.unacked))
            return
        self.failed_resumes += 1
        self.client.clear_stream_management()
        self.begin()
        texts, self.waiting = list(self.waiting.values()), {}
        self.stanza("<presence/>")
        for text in texts:
            self.say(text)

    def begin(self):
        """A new session. Messages may come ahead of the answers, when there was another one a moment ago."""
        self.client.send(bind_iq("device"))
        answer = self.client.wait_for(lambda element: element.get("id") == "bind" or self.note(element))
        if answer["type"] != "result":
            raise WireError(str(answer))
        if self.managed:
            self.client.send(enable_tag())
            self.client.wait_for(lambda element: element.name == "enabled" or self.note(element))
        self.client.auto_ack = True

    def note(self, element):
        body = element.find("body") if element.name == "message" and element.get("type") != "error" else None
        if body is not None and body.text:
            self.heard[body.text] = self.heard.get(body.text, 0) + 1

    def stanza(self, xml, text=None):
        if not self.managed:
            self.client.send(xml)
            return
        self.client.stanza(xml)
        if text:
            self.waiting[self.client.sent] = text

    def say(self, text):
        to = text.split()[1]
        self.said.setdefault(text, time.monotonic())
        self.stanza(f"<message to='{to}@localhost' type='chat' id='{text.replace(' ', '-')}'><body>{text}</body>"
                    f"</message>", text)

    def note_acks(self):
        for number in [number for number in self.waiting if number <= self.client.acked]:
            self.acked[self.waiting.pop(number)] = time.monotonic()

    def hear(self, seconds):
        for element in self.client.read_all(seconds):
            self.note(element)
        self.note_acks()
        if self.client.closed:
            raise Closed(self.client.closed, "it was cut")

    def talk(self):
        for _ in range(self.chance.choice([0, 1, 1, 2, 20]) if self.chance.random() < 0.5 else 0):
            to = self.chance.choice(self.soak.listeners)
            self.spoken += 1
            self.say(f"{self.user} {to} {self.spoken}")
        if self.managed and self.chance.random() < 0.2:
            self.client.send("<r xmlns='urn:xmpp:sm:3'/>")
        self.hear(0.2)

    def part(self):
        how = self.chance.choice(["fin", "rst", "leave", "leave", "end", "stay"])
        if how == "stay" or not self.soak.going.is_set():
            return
        self.cuts += how != "end"
        if how == "end":
            self.log_out()
        elif how == "leave":           # the proxy is not told: it finds out, or the next resumption tells it
            self.left.append(self.client.sock)
            self.client.closed = "left"
        else:
            self.client.cut(how)
        while len(self.left) > 3:
            self.left.pop(0).close()

    def log_out(self):
        """Waits until all that was said is acked."""
        deadline = time.monotonic() + 10
        while self.managed and self.waiting and time.monotonic() < deadline:
            self.client.send("<r xmlns='urn:xmpp:sm:3'/>")
            self.hear(0.2)
        if self.managed:
            self.client.ack()
        began = time.monotonic()
        self.client.close()
        self.moves.append((began, time.monotonic() + 0.5))
        if self.waiting:
            raise AssertionError(f"{self.user}: not acked within 10 s of a login: {list(self.waiting.values())[:5]}")
        self.client = None

    def catch_up(self):
        """Hears what has waited for it, at the server and in a mailbox."""
        self.stanza("<iq type='get' to='localhost' id='home'><ping xmlns='urn:xmpp:ping'/></iq>")
        self.client.wait_for(lambda element: element.get("id") == "home" or self.note(element))
        self.hear(1)

    def go_home(self):
        """The round is over: whatever its state, it comes online once more and leaves cleanly."""
        for sock in self.left:
            sock.close()
        self.left.clear()
        if self.client and not self.client.closed and not self.client.sm_id:
            with contextlib.suppress(*GONE):
                self.client.close()
            self.client = None
        deadline = time.monotonic() + 60
        while True:
            try:
                if not self.client or self.client.closed or not self.client.sm_id:
                    self.connect()
                self.catch_up()
                self.log_out()
                return
            except GONE as error:
                if self.client and not self.client.closed:
                    self.client.cut()
                if time.monotonic() > deadline:
                    raise AssertionError(f"{self.user} cannot log in and out within 60 s: {error}") from error
                time.sleep(0.5)


class Soak:
    def __init__(self, arguments):
        self.kind = (KINDS | {"prosody": CarefulProsody})[arguments.legacy]
        self.seed = arguments.seed
        self.going, self.over = threading.Event(), threading.Event()
        self.directory = tempfile.TemporaryDirectory(prefix="holdfast-soak-")
        self.legacy = self.kind(accounts=[self.kind.account(n) for n in range(arguments.people)])
        self.legacy.start()
        authority = Authority(pathlib.Path(self.directory.name) / "tls")
        authority.issue()
        self.proxy = Proxy(self.legacy.upstream, authority, log_level="info", sm_tombstone_ttl="1m",
                           sm_confirm_linger=f"{LINGER if arguments.legacy == 'ejabberd' else 0}s",
                           proxy_workers="2", limits_connections_per_ip="100000")
        self.proxy.start()
        self.idle = self.held()
        managed = arguments.people - arguments.people // 8
        self.listeners = [self.kind.account(n)[0] for n in range(managed)]
        self.people = [Person(self, n, n < managed) for n in range(arguments.people)]
        self.kills = self.reloads = 0
        self.restarts = []  # when
        self.rows = []

    def round(self, seconds):
        chance = random.Random(self.seed)
        until = time.monotonic() + seconds
        restart_at, reload_at = time.monotonic() + min(40, seconds / 3), time.monotonic() + min(15, seconds / 4)
        self.going.set()
        while time.monotonic() < until:
            time.sleep(0.2)
            self.raise_faults()
            if time.monotonic() >= reload_at:
                self.proxy.signal(signal.SIGHUP)
                self.reloads += 1
                reload_at += 45
            if time.monotonic() >= restart_at:
                self.restart(chance)
                restart_at = time.monotonic() + 60
        self.going.clear()
        time.sleep(1)
        self.go_home()
        self.go_home()  # what others said when one had just left waits for it

    def restart(self, chance):
        kill = len(self.restarts) % 2 == 1
        self.kills += kill
        self.restarts.append(time.monotonic())
        (self.legacy.kill if kill else self.legacy.stop)()
        time.sleep(chance.choice([0, 0, 2]))
        self.legacy.start()

    def go_home(self):
        def home(person):
            try:
                with person.busy:
                    person.go_home()
            except BaseException as fault:
                person.fault = fault
        ways = [threading.Thread(target=home, args=[person]) for person in self.people]
        for way in ways:
            way.start()
        for way in ways:
            way.join()
        self.raise_faults()

    def raise_faults(self):
        for person in self.people:
            if person.fault:
                raise person.fault

    def look(self, number):
        """Everyone has gone: what does the proxy hold?"""
        self.settle(self.gauges, dict.fromkeys(GAUGES, 0))
        self.settle(self.held, self.idle)
        assert_sums(self.proxy)
        reading = figures(self.proxy)
        row = {"round": number, "resident_kb": resident(self.proxy), "memory_bytes": reading.sum("memory_bytes")}
        row |= self.held()
        print(" ".join(f"{key}={value:g}" for key, value in row.items()), flush=True)
        self.rows.append(row)

    def settle(self, read, limits):
        def above():
            return {name: value for name, value in read().items() if value > limits[name] or value < 0}
        eventually(lambda: not above(), lambda: f"there is still {above()}, at the start {limits}", 30)

    def held(self):
        process = pathlib.Path("/proc") / str(self.proxy.pid)
        return {"descriptors": len(os.listdir(process / "fd")), "threads": len(os.listdir(process / "task"))}

    def gauges(self):
        reading = figures(self.proxy)
        return {name: reading.sum(name) for name in GAUGES}

    def crossed(self, text):
        """It was at the server while its recipient logged in or out. Then ejabberd may lose it, without Holdfast too: it
        stores offline messages beside the transaction in which a login fetches and deletes them."""
        sender, recipient = (next(person for person in self.people if person.user == user) for user in text.split()[:2])
        said, until = sender.said[text], sender.acked[text]
        again = [at + RECOVERY for at in self.restarts if said <= at <= until + LINGER]
        return any(began <= max([until, *again]) and said <= ended for began, ended in recipient.moves)

    def check_messages(self):
        heard = {}
        for person in self.people:
            for text, times in person.heard.items():
                heard[text] = heard.get(text, 0) + times
        acked = set().union(*(person.acked for person in self.people))
        missing = acked - set(heard)
        lost = missing if self.kind.kind != "ejabberd" else {text for text in missing if not self.crossed(text)}
        doubled = sum(times > 1 for times in heard.values())
        self.messages = {"acked": len(acked), "heard": len(heard), "lost": len(lost),
                         "lost_by_ejabberd": len(missing) - len(lost), "doubled": doubled,
                         "cuts": sum(person.cuts for person in self.people),
                         "failed_resumes": sum(person.failed_resumes for person in self.people),
                         "server_restarts": len(self.restarts), "of_them_killed": self.kills, "reloads": self.reloads}
        print(" ".join(f"{key}={value}" for key, value in self.messages.items()), flush=True)
        assert acked, "nobody has said anything"
        for text in sorted(lost)[:5]:
            print(*self.proxy.ctl("message", text.replace(" ", "-"), check=False)[1:])
        assert not lost, f"{len(lost)} lost, as {sorted(lost)[:10]}"
        assert len(missing) <= len(acked) / 1000, f"{len(missing)} lost at logins: far more than ejabberd loses by itself"
        assert self.messages["failed_resumes"] == 0

    def check_rows(self):
        first, last = self.rows[0], self.rows[-1]
        assert last["memory_bytes"] == first["memory_bytes"], "the proxy's own account of its queues"
        if len(self.rows) > 2 and not is_sanitized():  # what creeps goes on: all of the end is above all before
            readings = [row["resident_kb"] for row in self.rows]
            middle = len(readings) // 2 + 1
            before, after = max(readings[:middle]), min(readings[middle:])
            assert after - before <= 0.015 * before, f"memory creeps: {before} KB at most, then at least {after}"

    def end(self):
        self.over.set()
        self.going.set()
        self.proxy.stop()
        self.proxy.remove()
        self.legacy.remove()
        self.directory.cleanup()


def table(soak, arguments):
    lines = ["| round | resident KB | own account of queues | descriptors | threads |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {row['round']} | {row['resident_kb']} | {row['memory_bytes']:g} | {row['descriptors']} | "
              f"{row['threads']} |" for row in soak.rows]
    told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in soak.messages.items())
    return (f"{arguments.minutes:g} minutes in {arguments.rounds} rounds, {arguments.people} people, "
            f"{arguments.legacy}: {told}.\n\n" + "\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--legacy", default="prosody", choices=sorted(KINDS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--result", help="where to write the table")
    arguments = parser.parse_args()
    print(f"--seed {arguments.seed}", flush=True)
    soak = Soak(arguments)
    try:
        for person in soak.people:
            person.start()
        for number in range(1, arguments.rounds + 1):
            soak.round(arguments.minutes * 60 / arguments.rounds)
            soak.look(number)
        soak.go_home()  # a last visit fetches what is still at the server, or in a mailbox
        soak.check_messages()
        soak.check_rows()
        if arguments.result:
            pathlib.Path(arguments.result).write_text(table(soak, arguments))
        failed = 0
    except BaseException:
        print(soak.proxy.log()[-6000:])
        failed = 1
        raise
    finally:
        print(f"{1 - failed} passed, {failed} failed", flush=True)
        soak.end()


if __name__ == "__main__":
    main()
