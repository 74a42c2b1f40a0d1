"""A server that does what a test says: where real servers cannot be brought to send a certain thing at a certain time.

It lets everyone in with PLAIN, unless the password is `wrong`, gives the resource that was asked for, answers pings to its domain and returns messages
of a client to itself; all else is the test's. One thread for each connection."""

import base64
import contextlib
import itertools
import socket
import struct
import threading
import time

from raw import NS_BIND, NS_PING, NS_SASL, NS_STANZA_ERRORS, NS_STREAMS, TIMEOUT, Framer, TimedOut, matcher

PLAIN_ONLY = f"<mechanisms xmlns='{NS_SASL}'><mechanism>PLAIN</mechanism></mechanisms>"
BIND_ONLY = f"<bind xmlns='{NS_BIND}'/>"


class StubSession:
    """A connection to the stub. `received` holds all elements that came, without those that it answers itself."""

    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.user = self.jid = None
        self.received = []
        self.pings = []             # ids of pings to the domain
        self.ended = None           # 'end' (stream end), 'fin', 'rst'
        self.news = threading.Condition()
        self.looked_at = 0
        self.writing = threading.Lock()

    # What tests call

    def send(self, xml):
        with self.writing:
            self.sock.sendall(xml.encode() if isinstance(xml, str) else xml)

    def wait_for(self, what, timeout=TIMEOUT):
        """The next element that fits among those received."""
        fits = matcher(what)

        def found():
            while self.looked_at < len(self.received):
                self.looked_at += 1
                if fits(self.received[self.looked_at - 1]):
                    return self.received[self.looked_at - 1]
            return None

        return self.until(found, f"the stub waits for {what}", timeout)

    def wait_ended(self, timeout=TIMEOUT):
        return self.until(lambda: self.ended, "the stub waits for the connection's end", timeout)

    def until(self, condition, text, timeout=TIMEOUT):
        deadline = time.monotonic() + timeout
        with self.news:
            while True:
                result = condition()
                if result:
                    return result
                if not self.news.wait(max(0.0, deadline - time.monotonic())):
                    raise TimedOut(f"{text}; it has {self.received}, ended: {self.ended}")

    def pong(self):
        """Answers the pings that were held back (answer_pings off)."""
        with self.news:
            waiting, self.pings = self.pings, []
        for ping_id in waiting:
            self.send(f"<iq type='result' id='{ping_id}' from='{self.server.domain}' to='{self.jid}'/>")

    def cut(self, how="fin"):
        if how == "rst":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Its thread sits in recv(): only that call's end lets the reset out.
            self.sock.shutdown(socket.SHUT_RD)
        else:
            self.sock.shutdown(socket.SHUT_RDWR)

    # What its thread does

    def run(self):
        framer = Framer()
        try:
            while data := self.sock.recv(65536):
                for element in framer.feed(data):
                    self.element(element)
            self.end("fin")
        except OSError:
            self.end("rst")
        self.sock.close()

    def end(self, how):
        with self.news:
            self.ended = self.ended or how
            self.news.notify_all()

    def element(self, element):
        if element.name == "stream" and element.ns == NS_STREAMS and self.server.on_header == "close":
            self.cut()
        elif element.name == "stream" and element.ns == NS_STREAMS:
            if self.server.on_header == "nothing":
                return
            features = self.server.features_after if self.user else self.server.features_before
            self.send("<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0' id='stub' "
                      f"from='{self.server.domain}' xmlns:stream='{NS_STREAMS}'>"
                      f"<stream:features>{features}</stream:features>")
        elif element.is_end:
            with contextlib.suppress(OSError):
                self.send("</stream:stream>")
                self.sock.shutdown(socket.SHUT_WR)
            self.end("end")
        elif element.name == "auth":
            self.log_in(element)
        elif element.has("bind", NS_BIND):
            self.bind(element)
        elif element.name == "message" and element.get("to") == self.jid:
            self.send(element.raw.replace(b"<message", f"<message from='{self.jid}'".encode(), 1))
        elif element.has("ping", NS_PING) and element.get("to") == self.server.domain and element["type"] == "get":
            self.ping(element)
        else:
            self.note(element)

    def log_in(self, element):
        try:
            _, user, password = base64.b64decode(element.text).decode().split("\0")
        except ValueError:
            self.send(f"<failure xmlns='{NS_SASL}'><malformed-request/></failure>")
            return
        self.server.logins.append((user, password))
        if password == "wrong":
            self.send(f"<failure xmlns='{NS_SASL}'><not-authorized/></failure>")
            return
        self.user = user
        self.send(f"<success xmlns='{NS_SASL}'/>")

    def bind(self, element):
        asked = element.find("resource")
        given = self.server.assign(asked.text if asked else None)
        if given is None:
            self.send(f"<iq type='error' id='{element['id']}'><error type='cancel'><conflict xmlns='{NS_STANZA_ERRORS}'/>"
                      "</error></iq>")
            return
        self.jid = f"{self.user}@{self.server.domain}/{given}"
        self.send(f"<iq type='result' id='{element['id']}'><bind xmlns='{NS_BIND}'><jid>{self.jid}</jid></bind></iq>")
        self.server.bound(self)

    def ping(self, element):
        with self.news:
            self.pings.append(element["id"])
            self.news.notify_all()
        if self.server.answer_pings:
            self.pong()

    def note(self, element):
        with self.news:
            self.received.append(element)
            self.news.notify_all()


class StubServer:
    kind = "stub"
    anonymous_domain = None
    session_type = StubSession

    def __init__(self, domain="example.org", port=0, host="127.0.0.1"):
        self.domain = domain
        self.numbers = itertools.count()
        self.features_before = PLAIN_ONLY
        self.features_after = BIND_ONLY
        self.answer_pings = True
        self.on_header = "answer"   # or "nothing", "close"
        self.assign = lambda asked: asked or "made-up"  # the resource that a bind gets; None: refused with a conflict
        self.sessions = []          # those that have bound, in that order
        self.connections = []
        self.logins = []            # user and password of each login that was tried
        self.news = threading.Condition()
        self.listener = socket.create_server((host, port))
        self.host, self.port = self.listener.getsockname()
        self.thread = threading.Thread(target=self.loop, name="stub", daemon=True)
        self.thread.start()

    def account(self):
        """An account that no one else has: user, password, bare JID."""
        user = f"user{next(self.numbers)}"
        return user, "secret", f"{user}@{self.domain}"

    def loop(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = self.session_type(self, sock)
            self.connections.append(session)
            threading.Thread(target=session.run, name="stub session", daemon=True).start()

    def bound(self, session):
        with self.news:
            self.sessions.append(session)
            self.news.notify_all()

    def session_of(self, jid, timeout=TIMEOUT):
        """The newest session bound to that full JID."""
        def found():
            return next((each for each in reversed(self.sessions) if each.jid == jid), None)

        with self.news:
            if not self.news.wait_for(found, timeout):
                raise TimedOut(f"nobody has bound {jid} at the stub")
            return found()

    def stop(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for session in self.connections:
            with contextlib.suppress(OSError):
                session.sock.shutdown(socket.SHUT_RDWR)
