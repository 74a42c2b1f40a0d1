"""Many clients in one thread, each as a good library is: it acks what it reads, keeps what is not acked, comes back by
itself when it is cut, resumes, and sends again what <resumed/> does not cover. Tests call from their own thread."""

import asyncio
import collections
import contextlib
import threading
import time

from raw import (NS_PING, NS_SESSION, NS_SM3, STANZAS, TIMEOUT, Framer, auth_plain, bind_iq, enable_tag, message_tag,
                 resume_tag, stream_header)

BACK_AFTER = 0.1     # seconds between a cut and the next try
STEP_SECONDS = 60    # for an answer at login: with proxy.login_rate it takes a while
NS_ROSTER = "jabber:iq:roster"


class Lost(Exception):
    """The connection is gone. how: 'fin', 'rst', 'end' (an end tag or a stream error came first) or 'local'."""

    def __init__(self, how, text=""):
        super().__init__(f"{how} {text}")
        self.how = how


class Member:
    """One client. All that it has seen lies in plain lists, which grow and never shrink."""

    def __init__(self, crowd, account, resource, port, sm=True):
        self.crowd = crowd
        self.user, self.password = account
        self.resource = resource
        self.port = port
        self.jid = f"{self.user}@{crowd.domain}/{resource}"
        self.sm = sm                        # without: logs in once, and ends with its connection
        self.sm_id = None
        self.mute = False                   # gives no answers to requests
        self.h_in = self.sent = self.acked = 0
        self.unacked = collections.deque()  # (number, xml)
        self.got = []                       # stanzas, in order
        self.heard = collections.defaultdict(list)     # sender's name -> numbers of its messages, in order
        self.delayed = collections.defaultdict(set)    # those of them that bore a delay stamp
        self.presence = {}                  # full JID -> "available" or "unavailable", the newest
        self.answers = {}                   # id -> answering iq
        self.losses = []                    # (monotonic time, how, number of resumptions by then)
        self.resumed_at = []
        self.faults = []                    # what a client must never meet
        self.refused = []                   # logins that a server in a bad moment has answered with an error
        self.attached = False
        self.wanted = asyncio.Event()
        self.wanted.set()
        self.over = False
        self.writer = None
        self.task = None
        self.spoken = collections.Counter()     # listener -> messages said to it
        self.stanza_of = {}                 # (listener, number of the message) -> number of the stanza
        self.spoken_at = {}                 # the same -> monotonic time
        self.repeats = []                   # (monotonic time, first, last number) of what it sent again at a resumption

    @property
    def bare_jid(self):
        return self.jid.partition("/")[0]

    # What tests call, from their thread

    def send(self, xml):
        self.crowd.call(self._send, xml)

    def say(self, to, body, message_id=None, kind="chat"):
        self.send(message_tag(to, body, message_id, kind))

    def tell_presence(self, payload="", to=None, kind=None):
        attributes = (f" to='{to}'" if to else "") + (f" type='{kind}'" if kind else "")
        self.send(f"<presence{attributes}>{payload}</presence>")

    def iq(self, kind, iq_id, payload, to=None):
        address = f" to='{to}'" if to else ""
        self.send(f"<iq type='{kind}' id='{iq_id}'{address}>{payload}</iq>")

    def ask(self, kind, iq_id, payload, to=None):
        """An iq and its answer."""
        self.iq(kind, iq_id, payload, to)
        self.until(lambda: iq_id in self.answers, f"an answer to {iq_id}")
        return self.answers[iq_id]

    def ping(self, iq_id):
        return self.ask("get", iq_id, f"<ping xmlns='{NS_PING}'/>", self.crowd.domain)

    def settle(self, timeout=TIMEOUT):
        """Until all that it has sent is acked."""
        deadline, asked = time.monotonic() + timeout, -1
        while self.acked < self.sent:
            if asked < self.sent:  # it has answered a request meanwhile
                asked = self.sent
                self.crowd.call(self._request)
            assert time.monotonic() < deadline, f"{self.jid}: unacked after {timeout} s\n{self.tell()}"
            time.sleep(0.01)

    def go_away(self):
        """Its connection breaks; it stays away until come_back()."""
        self.crowd.call(self._go_away)
        self.until(lambda: not self.attached, "its own cut")

    def come_back(self):
        self.crowd.call(self.wanted.set)

    def leave(self):
        """Ends the stream."""
        self.crowd.call(self._leave)
        self.until(lambda: self.task.done(), "its end")

    def until(self, condition, text, timeout=TIMEOUT):
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.jid}: not within {timeout} s: {text}\n{self.tell()}")
            time.sleep(0.01)

    def bodies(self, kind=None):
        """(sender, body) of all messages with one."""
        return [(each["from"], each.body) for each in list(self.got)
                if each.name == "message" and each.body is not None and kind in (None, each.get("type"))]

    def tell(self):
        got = "\n".join(f"    {each}" for each in self.got[-25:])
        return (f"  attached {self.attached}, sent {self.sent}, acked {self.acked}, resumed {len(self.resumed_at)} times, "
                f"losses {[how for _, how, _ in self.losses]}, faults {self.faults}, refused {self.refused}; "
                f"its last stanzas:\n{got}")

    # What happens in the crowd's thread

    def _send(self, xml):
        self.sent += 1
        self.unacked.append((self.sent, xml))
        self._write(xml)

    def _write(self, xml):
        if self.attached:
            self.writer.write(xml.encode())

    def _request(self):
        self._write(f"<r xmlns='{NS_SM3}'/>")

    def _go_away(self):
        self.wanted.clear()
        if self.writer:
            self.writer.transport.abort()

    def _leave(self):
        self.over = True
        if self.writer:
            self.writer.write(b"</stream:stream>")

    async def live(self):
        while not self.over:
            await self.wanted.wait()
            try:
                await self._connect()
                await self._read()
            except Lost as lost:
                self.losses.append((time.monotonic(), lost.how, len(self.resumed_at)))
                if self.attached and lost.how == "end" and not self.over:
                    self.faults.append(f"the stream was ended: {lost}")
                self.over = self.over or not self.sm
            except OSError:
                self.losses.append((time.monotonic(), "refused", len(self.resumed_at)))
            finally:
                self.attached = False
                if self.writer:
                    self.writer.transport.abort()
            if not self.over:
                await asyncio.sleep(BACK_AFTER)

    async def _connect(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.elements = collections.deque()
        await self._open()
        self.writer.write(auth_plain(self.user, self.password).encode())
        await self._expect("success")
        features = await self._open()
        if self.sm_id:
            await self._resume()
        else:
            await self._begin(features)

    async def _open(self):
        self.framer = Framer()
        self.writer.write(stream_header(self.crowd.domain).encode())
        await self._expect("stream")
        return await self._expect("features")

    async def _begin(self, features):
        self.writer.write(bind_iq(self.resource).encode())
        answer = await self._expect("iq")
        if answer["type"] != "result" or answer.find("jid").text != self.jid:
            self._refused(answer)
        if features.has("session"):
            self.writer.write(f"<iq type='set' id='session'><session xmlns='{NS_SESSION}'/></iq>".encode())
            await self._expect("iq")
        if self.sm:
            self.writer.write(enable_tag().encode())
            self.sm_id = (await self._expect("enabled"))["id"]
        self.attached = True
        for _, xml in self.unacked:
            self.writer.write(xml.encode())

    async def _resume(self):
        self.writer.write(resume_tag(self.sm_id, self.h_in).encode())
        answer = await self._expect(("resumed", "failed"))
        if answer.name == "failed":
            self.faults.append(str(answer))
            self.over = True
            raise Lost("local", "its session is gone")
        self._covered(int(answer["h"]))
        self.resumed_at.append(time.monotonic())
        self.attached = True
        if self.unacked:
            self.repeats.append((self.resumed_at[-1], self.unacked[0][0], self.unacked[-1][0]))
        for _, xml in self.unacked:
            self.writer.write(xml.encode())
        self._request()

    async def _expect(self, names):
        names = (names,) if isinstance(names, str) else names
        try:
            element = await asyncio.wait_for(self._next(), STEP_SECONDS)
        except asyncio.TimeoutError:
            self._refused(f"no answer within {STEP_SECONDS} s, waited for {names}")
        if element.name not in names:
            self._refused(element)
        return element

    def _refused(self, why):
        self.refused.append((time.monotonic(), str(why)))
        raise Lost("end", str(why))

    async def _next(self):
        while not self.elements:
            try:
                data = await self.reader.read(65536)
            except OSError as error:
                raise Lost("rst") from error
            if not data:
                raise Lost("fin" if not self.over else "end")
            self.elements.extend(self.framer.feed(data))
        return self.elements.popleft()

    async def _read(self):
        while True:
            element = await self._next()
            if element.name in STANZAS:
                self.h_in += 1
                self._hear(element)
            elif element.name == "r":
                self.writer.write(f"<a xmlns='{NS_SM3}' h='{self.h_in}'/>".encode())
            elif element.name == "a":
                self._covered(int(element["h"]))
            else:
                raise Lost("end", str(element))

    def _covered(self, h):
        if h < self.acked or h > self.sent:
            self.faults.append(f"h {h} behind {self.acked}, {self.sent} sent")
        self.acked = h
        while self.unacked and self.unacked[0][0] <= h:
            self.unacked.popleft()

    def _hear(self, element):
        self.got.append(element)
        if element.name == "message":
            self._hear_message(element)
        elif element.name == "presence" and element.get("type") in (None, "unavailable"):
            self.presence[element.get("from")] = element.get("type") or "available"
        elif element.name == "iq" and element.get("type") in ("result", "error"):
            self.answers[element["id"]] = element
        elif element.name == "iq" and not self.mute:
            self._send(f"<iq type='result' id='{element['id']}'"
                       + (f" to='{element['from']}'" if element.get("from") else "") + "/>")

    def _hear_message(self, element):
        word, _, rest = (element.body or "").partition(" ")
        if word == self.crowd.token and element.get("type") != "error":
            sender, number = rest.split()[:2]
            self.heard[sender].append(int(number))
            if element.has("delay"):
                self.delayed[sender].add(int(number))


class Crowd:
    """crowd.member(...) logs one in; `with` ends them all."""

    def __init__(self, domain, token):
        self.domain = domain
        self.token = token          # begins the numbered messages
        self.members = []
        self.talks = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="crowd", daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(TIMEOUT)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def call(self, function, *arguments):
        """Runs it in the crowd's thread and gives its result."""
        async def run():
            return function(*arguments)
        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(TIMEOUT)

    def member(self, account, resource, port, presence=True):
        return self.enter([(account, resource)], port, presence)[0]

    def enter(self, logins, port, presence=True, timeout=60, **how):
        """Members for these (account, resource), logged in."""
        fresh = [Member(self, account, resource, port, **how) for account, resource in logins]
        self.members += fresh
        self.call(lambda: [self._start(each) for each in fresh])
        for each in fresh:
            each.until(lambda each=each: each.attached, "login", timeout)
        if presence:
            for each in fresh:
                each.tell_presence()
        return fresh

    # Talks: numbered messages from one to another, for as long as the test wants

    def talk(self, pairs, pause=0.02, bare=False):
        """Has the pairs (speaker, listener) go on with their numbers, one message a pause, in turns."""
        self.talks.append(asyncio.run_coroutine_threadsafe(self._talk(pairs, pause, bare), self.loop))

    def hush(self):
        for each in self.talks:
            each.cancel()
        self.talks.clear()
        self.call(lambda: None)

    async def _talk(self, pairs, pause, bare):
        while True:
            for speaker, listener in pairs:
                self.speak(speaker, listener, bare)
                await asyncio.sleep(pause)

    def speak(self, speaker, listener, bare=False):
        number = speaker.spoken[listener]
        speaker.spoken[listener] += 1
        body = f"{self.token} {speaker.user} {number}"
        speaker._send(message_tag(listener.bare_jid if bare else listener.jid, body, f"{speaker.user}-{number}"))
        speaker.stanza_of[listener, number] = speaker.sent
        speaker.spoken_at[listener, number] = time.monotonic()
        if number % 2:
            speaker._request()

    # In its thread

    def _start(self, member):
        member.task = self.loop.create_task(member.live())

    async def _end(self):
        tasks = [each.task for each in self.members if each.task]
        for each in tasks:
            each.cancel()
        with contextlib.suppress(Exception):
            await asyncio.gather(*tasks, return_exceptions=True)
