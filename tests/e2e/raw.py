"""An XMPP client for tests that decides about each byte itself.

Nothing is sent that a test has not asked for, and nothing is hidden from it: every element comes back parsed and as the
bytes that were on the wire. Blocking sockets, a deadline on everything, and errors that show the last bytes."""

import base64
import contextlib
import hashlib
import hmac
import os
import re
import select
import socket
import ssl
import struct
import time
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

NS_CLIENT = "jabber:client"
NS_STREAMS = "http://etherx.jabber.org/streams"
NS_STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
NS_STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
NS_TLS = "urn:ietf:params:xml:ns:xmpp-tls"
NS_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
NS_BIND = "urn:ietf:params:xml:ns:xmpp-bind"
NS_SESSION = "urn:ietf:params:xml:ns:xmpp-session"
NS_IQ_AUTH = "jabber:iq:auth"
NS_SM2 = "urn:xmpp:sm:2"
NS_SM3 = "urn:xmpp:sm:3"
NS_PING = "urn:xmpp:ping"
NS_DELAY = "urn:xmpp:delay"

STANZAS = ("message", "presence", "iq")
TIMEOUT = 15.0

# One piece of markup, whole. Servers may not send comments or the like; they are known here only so that text inside
# them is never taken for tags.
MARKUP = re.compile(rb"<!\[CDATA\[.*?\]\]>|<!--.*?-->|<\?.*?\?>"
                    rb"|<(/?)([^\s/>!?][^\s/>]*)((?:\"[^\"]*\"|'[^']*'|[^\"'>])*?)(/?)>", re.S)
XMLNS = re.compile(rb"\sxmlns(?::[\w.-]+)?\s*=\s*(?:\"[^\"]*\"|'[^']*')")


class WireError(AssertionError):
    """What came is not what the test needs; carries the end of the wire's trace."""


class Closed(WireError):
    """The connection ended where an element was wanted. how: 'fin' or 'rst'."""

    def __init__(self, how, text):
        super().__init__(text)
        self.how = how


class TimedOut(WireError):
    """Nothing fitting came before the deadline."""


class Element:
    """An element at stream level: `raw` is what was on the wire, the rest is a view of it."""

    def __init__(self, raw, tree):
        self.raw = raw
        self.tree = tree
        self.ns, self.name = split_tag(tree.tag)

    def get(self, attribute, default=None):
        return self.tree.get(attribute, default)

    def __getitem__(self, attribute):
        return self.tree.attrib[attribute]

    @property
    def attributes(self):
        return dict(self.tree.attrib)

    @property
    def text(self):
        return self.tree.text or ""

    @property
    def children(self):
        return [Element(None, child) for child in self.tree]

    def find(self, name, ns=None):
        """The first descendant of that local name (and namespace), or None."""
        for node in self.tree.iter():
            if node is not self.tree and split_tag(node.tag)[1] == name and ns in (None, split_tag(node.tag)[0]):
                return Element(None, node)
        return None

    def has(self, name, ns=None):
        return self.find(name, ns) is not None

    @property
    def body(self):
        found = self.find("body")
        return found.text if found else None

    @property
    def is_stanza(self):
        return self.name in STANZAS and self.ns == NS_CLIENT

    @property
    def is_end(self):
        return self.name == "end" and self.ns == ""

    @property
    def condition(self):
        """Name of the error condition in <failed/>, <failure/>, <error/>, <stream:error/> or a stanza of type error."""
        holder = self.find("error") if self.is_stanza else self
        names = [child.name for child in holder.children if child.name != "text"] if holder else []
        return names[0] if names else None

    def __repr__(self):
        return self.raw.decode(errors="replace") if self.raw else ET.tostring(self.tree, "unicode")


def split_tag(tag):
    return tag[1:].split("}", 1) if tag.startswith("{") else ("", tag)


class Framer:
    """Cuts the bytes of a stream into elements. No expat here: it may hold a finished element back until more comes."""

    def __init__(self):
        self.buffer = b""
        self.at = 0        # how far the buffer was looked at
        self.start = 0     # where the element under way began
        self.depth = 0     # inside that element
        self.header = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"

    def feed(self, data):
        self.buffer += data
        found = []
        while True:
            begin = self.buffer.find(b"<", self.at)
            markup = MARKUP.match(self.buffer, begin) if begin >= 0 else None
            if not markup:
                break
            self.at = markup.end()
            element = self.markup(markup)
            if element is not None:
                found.append(element)
                self.buffer = self.buffer[self.at:]
                self.at = 0
        return found

    def markup(self, markup):
        if markup.group(2) is None:
            return None
        closing, name, attributes, empty = markup.groups()
        if name == b"stream:stream" and self.depth == 0:
            return Element(markup.group(0), ET.fromstring(self.stream_tag(closing, attributes)))
        if closing:
            self.depth -= 1
        elif not empty:
            self.depth += 1
        if self.depth == 0 and (closing or empty):
            return self.cut(markup.start() if empty else self.start, markup.end())
        if self.depth == 1 and not closing and not empty:
            self.start = markup.start()
        return None

    def stream_tag(self, closing, attributes):
        if closing:
            return b"<end/>"
        self.header = b"<stream:stream" + b"".join(XMLNS.findall(attributes))
        return b"<stream:stream" + attributes + b"/>"

    def cut(self, start, end):
        raw = self.buffer[start:end]
        return Element(raw, ET.fromstring(self.header + b">" + raw + b"</stream:stream>")[0])


# Bytes that clients send, for tests that put several of them into one packet.

def stream_header(domain, version="1.0", more=""):
    return ("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
            f"to={quoteattr(domain)}" + (f" version='{version}'" if version else "") + f"{more}>")


def auth_plain(user, password, authzid=""):
    secret = base64.b64encode(f"{authzid}\0{user}\0{password}".encode()).decode()
    return f"<auth xmlns='{NS_SASL}' mechanism='PLAIN'>{secret}</auth>"


def bind_iq(resource=None, iq_id="bind"):
    wish = f"<resource>{escape(resource)}</resource>" if resource else ""
    return f"<iq type='set' id='{iq_id}'><bind xmlns='{NS_BIND}'>{wish}</bind></iq>"


def enable_tag(resume=True, max_seconds=None, ns=NS_SM3):
    spelled = {True: " resume='true'", False: "", None: ""}.get(resume, f" resume='{resume}'")
    return f"<enable xmlns='{ns}'{spelled}" + (f" max='{max_seconds}'" if max_seconds is not None else "") + "/>"


def resume_tag(previd, h, ns=NS_SM3):
    return f"<resume xmlns='{ns}' previd={quoteattr(str(previd))} h='{h}'/>"


def message_tag(to, body, message_id=None, kind="chat", payload=""):
    name = f" id={quoteattr(message_id)}" if message_id else ""
    text = f"<body>{escape(body)}</body>" if body is not None else ""
    spelled = f" type='{kind}'" if kind else ""
    return f"<message to={quoteattr(to)}{spelled}{name}>{text}{payload}</message>"


def ping_iq(to, iq_id):
    address = f" to={quoteattr(to)}" if to else ""
    return f"<iq type='get' id='{iq_id}'{address}><ping xmlns='{NS_PING}'/></iq>"


class ServerFault(WireError):
    """The server says that it failed inside (internal-server-error)."""


def patiently(legacy, log_in):
    """jabberd2 2.7 ends one login in some 150 with internal-server-error, also without any proxy: its fault, not ours.
    (What conftest.py does about those that are not logged in by this.)"""
    try:
        return log_in()
    except ServerFault:
        if legacy.kind != "jabberd2":
            raise
        return log_in()


class RawClient:
    """One connection. tls: None (clear, STARTTLS when asked) or 'direct'. rcvbuf: a small one makes a slow reader."""

    def __init__(self, port, domain, host="127.0.0.1", tls=None, ca_file=None, timeout=TIMEOUT, rcvbuf=None, alpn=None):
        self.domain = domain
        self.timeout = timeout
        self.ca_file = ca_file
        self.trace = []            # (">>" or "<<", bytes), the last of them
        self.queue = []            # elements that came and were not read yet
        self.closed = None         # 'fin' or 'rst' once the other side ended
        self.batching = None
        self.framer = self.new_framer()
        self.header = self.features = None
        self.jid = None
        self.clear_stream_management()
        self.sock = self.dial(host, port, rcvbuf)
        if tls == "direct":
            self.wrap(alpn or ["xmpp-client"])

    def clear_stream_management(self):
        self.sm_ns = None          # of <enabled/> or <resumed/>: counting is on
        self.sm_id = None
        self.h_in = 0              # stanzas read since <enabled/>
        self.sent = 0              # stanzas given to stanza() since <enable/>
        self.unacked = []          # (number, xml) of these that no <a/> or <resumed/> has covered
        self.acked = 0             # highest h heard
        self.auto_ack = False      # answer each <r/> while reading and hide it
        self.requests = 0          # <r/> read
        self.answers = []          # h of each <a/> read

    def new_framer(self):
        return Framer()

    # The connection

    def dial(self, host, port, rcvbuf):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.settimeout(self.timeout)
        sock.connect((host, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def wrap(self, alpn=None):
        context = ssl.create_default_context(cafile=self.ca_file)
        if not self.ca_file:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols(alpn)
        self.sock.settimeout(self.timeout)
        self.sock = context.wrap_socket(self.sock, server_hostname=self.domain)
        self.framer = self.new_framer()

    def send(self, data):
        """Sends these bytes, or keeps them for the end of a `with one_packet()`."""
        data = data.encode() if isinstance(data, str) else data
        if self.batching is not None:
            self.batching += data
            return
        self.send_now(data)

    def send_now(self, data):
        self.note(">>", data)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.sendall(data)
        except TimeoutError as error:
            raise TimedOut(self.tell(f"could not send within {self.timeout} s")) from error
        except OSError as error:
            raise Closed("rst", self.tell(f"send: {error}")) from error

    @contextlib.contextmanager
    def one_packet(self):
        self.batching = b""
        try:
            yield self
        finally:
            data, self.batching = self.batching, None
        self.send(data)

    def cut(self, how="fin"):
        """Ends the connection without a word of XMPP."""
        if how == "rst":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.half_close()
            self.swallow()
        self.sock.close()
        self.closed = self.closed or how

    def half_close(self):
        """FIN, also under TLS (where Python's own shutdown would forget how to read on)."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def swallow(self):
        """Empties the receive buffer: closing over unread bytes would be a reset."""
        with contextlib.suppress(OSError, ValueError):
            self.sock.setblocking(False)
            while self.sock.recv(65536):
                pass

    def close(self):
        """Ends the stream cleanly and waits for the other side to do so."""
        self.send("</stream:stream>")
        self.wait_closed()
        self.sock.close()

    # Reading

    def fill(self, deadline):
        """Reads once, until the deadline at most. False when the connection has ended."""
        if self.closed:
            return False
        self.sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.sock.recv(65536)
        except TimeoutError as error:
            raise TimedOut(self.tell("nothing came in time")) from error
        except ssl.SSLError:
            data = b""
        except OSError:
            self.closed = "rst"
            return False
        if not data:
            self.closed = "fin"
            return False
        self.note("<<", data)
        self.queue += self.framer.feed(data)
        return True

    def read_element(self, timeout=None):
        """The next element, whatever it is; the stream's end is one named 'end'."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            while not self.queue:
                if not self.fill(deadline):
                    raise Closed(self.closed, self.tell(f"the connection ended ({self.closed})"))
            element = self.queue.pop(0)
            self.count(element)
            if self.auto_ack and element.name == "r" and element.ns == self.sm_ns:
                self.ack()
                continue
            return element

    def count(self, element):
        if element.is_stanza and self.sm_ns:
            self.h_in = (self.h_in + 1) % 2**32
        elif element.ns not in (NS_SM2, NS_SM3):
            return
        elif element.name == "r":
            self.requests += 1
        elif element.name == "enabled":
            self.sm_ns, self.sm_id, self.h_in = element.ns, element.get("id"), 0
        elif element.name in ("a", "resumed"):
            self.covered(int(element["h"]), element)
            if element.name == "resumed":
                self.sm_ns, self.sm_id = element.ns, element["previd"]

    def covered(self, h, element):
        if element.name == "a":
            self.answers.append(h)
        if h < self.acked:
            raise WireError(self.tell(f"h went back from {self.acked}: {element}"))
        if h > self.sent:
            raise WireError(self.tell(f"h counts more than the {self.sent} stanzas sent: {element}"))
        self.acked = h
        self.unacked = [entry for entry in self.unacked if entry[0] > h]

    def wait_for(self, what, timeout=None, but_not=None):
        """The next element that fits, over all others. what: a local name, a tuple of them, or a predicate."""
        fits = matcher(what)
        forbidden = matcher(but_not) if but_not else lambda element: False
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            element = self.within(deadline, what)
            if fits(element):
                return element
            if forbidden(element):
                raise WireError(self.tell(f"waited for {what}, got {element}"))

    def expect(self, what, timeout=None, skip=("r", "a")):
        """The next element must fit; only those named in `skip` may come before it."""
        fits, skipped = matcher(what), matcher(skip)
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            element = self.within(deadline, what)
            if fits(element):
                return element
            if not skipped(element):
                fault = ServerFault if element.condition == "internal-server-error" else WireError
                raise fault(self.tell(f"expected {what}, got {element}"))

    def within(self, deadline, what):
        try:
            return self.read_element(max(0.001, deadline - time.monotonic()))
        except TimedOut as error:
            raise TimedOut(self.tell(f"waited for {what}")) from error
        except Closed as error:
            raise Closed(error.how, self.tell(f"the connection ended ({error.how}); waited for {what}")) from error

    def read_all(self, seconds):
        """All elements that come within that time, for claims that something does not come."""
        deadline = time.monotonic() + seconds
        found = []
        with contextlib.suppress(TimedOut, Closed):
            while True:
                found.append(self.read_element(max(0.001, deadline - time.monotonic())))
        return found

    def wait_closed(self, timeout=None):
        """Reads to the end of the connection. Gives how it ended and all elements before that."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        found = []
        try:
            while True:
                found.append(self.within(deadline, "the connection's end"))
        except Closed as error:
            return error.how, found

    def is_open(self):
        """No end has been noticed on the wire so far (elements that came are kept)."""
        while not self.closed and select.select([self.sock], [], [], 0)[0]:
            try:
                self.fill(time.monotonic() + 0.001)
            except TimedOut:
                break
        return not self.closed

    # Negotiation

    def open_stream(self, to=None, version="1.0", more=""):
        """Stream header both ways, and the features. Gives the features (None without a version)."""
        self.framer = self.new_framer()
        self.send(stream_header(self.domain if to is None else to, version, more))
        self.header = self.expect("stream")
        self.features = self.expect("features") if version and self.header.get("version") else None
        return self.features

    def offers(self, name, ns=None):
        return self.features is not None and self.features.has(name, ns)

    @property
    def mechanisms(self):
        nodes = self.features.tree.iter(f"{{{NS_SASL}}}mechanism") if self.features else []
        return [node.text for node in nodes]

    def starttls(self):
        self.send(f"<starttls xmlns='{NS_TLS}'/>")
        self.expect("proceed")
        self.wrap()

    def auth(self, mechanism, user=None, password=None, authzid=""):
        """One SASL exchange. Gives its last element: <success/> or <failure/>."""
        steps = {"PLAIN": self.auth_plain, "ANONYMOUS": self.auth_anonymous, "DIGEST-MD5": self.auth_digest,
                 "SCRAM-SHA-1": self.auth_scram, "SCRAM-SHA-256": self.auth_scram}[mechanism]
        return steps(mechanism, user, password, authzid)

    def auth_plain(self, _mechanism, user, password, authzid):
        self.send(auth_plain(user, password, authzid))
        return self.expect(("success", "failure"))

    def auth_anonymous(self, mechanism, *_):
        self.send(f"<auth xmlns='{NS_SASL}' mechanism='{mechanism}'/>")
        return self.expect(("success", "failure"))

    def respond(self, text):
        self.send(f"<response xmlns='{NS_SASL}'>{base64.b64encode(text.encode()).decode()}</response>")
        return self.expect(("challenge", "success", "failure"))

    def auth_scram(self, mechanism, user, password, authzid):
        digest = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}[mechanism]
        gs2 = f"n,{'a=' + authzid if authzid else ''},"
        first = f"n={user},r={base64.b64encode(os.urandom(18)).decode()}"
        start = base64.b64encode((gs2 + first).encode()).decode()
        self.send(f"<auth xmlns='{NS_SASL}' mechanism='{mechanism}'>{start}</auth>")
        step = self.expect(("challenge", "failure"))
        if step.name == "failure":
            return step
        server_first = base64.b64decode(step.text).decode()
        server = dict(part.split("=", 1) for part in server_first.split(","))
        salted = hashlib.pbkdf2_hmac(digest, password.encode(), base64.b64decode(server["s"]), int(server["i"]))
        bare = f"c={base64.b64encode(gs2.encode()).decode()},r={server['r']}"
        proven = ",".join((first, server_first, bare)).encode()
        key = hmac.digest(salted, b"Client Key", digest)
        mask = hmac.digest(hashlib.new(digest, key).digest(), proven, digest)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, mask))).decode()
        step = self.respond(f"{bare},p={proof}")
        verifier = hmac.digest(hmac.digest(salted, b"Server Key", digest), proven, digest)
        if step.name != "failure" and base64.b64decode(step.text) != b"v=" + base64.b64encode(verifier):
            raise WireError(self.tell("the server's own proof is wrong"))
        return self.respond("") if step.name == "challenge" else step

    def auth_digest(self, mechanism, user, password, authzid):
        self.send(f"<auth xmlns='{NS_SASL}' mechanism='{mechanism}'/>")
        step = self.expect(("challenge", "failure"))
        if step.name == "failure":
            return step
        challenge = base64.b64decode(step.text).decode()
        pairs = re.findall(r'([\w-]+)=(?:"([^"]*)"|([^,]*))', challenge)
        server = {key: quoted or plain for key, quoted, plain in pairs}
        step = self.respond(digest_answer(server, user, password, self.domain, authzid))
        return self.respond("") if step.name == "challenge" else step

    def legacy_auth(self, user, password, resource, digest=True):
        """XEP-0078. Gives the answering iq."""
        self.send(f"<iq type='get' id='fields'><query xmlns='{NS_IQ_AUTH}'><username>{user}</username></query></iq>")
        self.expect("iq")
        proof = hashlib.sha1((self.header["id"] + password).encode()).hexdigest()
        secret = f"<digest>{proof}</digest>" if digest else f"<password>{escape(password)}</password>"
        self.send(f"<iq type='set' id='auth'><query xmlns='{NS_IQ_AUTH}'><username>{user}</username>{secret}"
                  f"<resource>{resource}</resource></query></iq>")
        answer = self.expect("iq")
        if answer["type"] == "result":
            self.jid = f"{user}@{self.domain}/{resource}"
        return answer

    def bind(self, resource=None):
        self.send(bind_iq(resource))
        answer = self.expect(lambda element: element.name == "iq" and element.get("id") == "bind")
        if answer["type"] != "result":
            raise WireError(self.tell(f"bind failed: {answer}"))
        self.jid = answer.find("jid", NS_BIND).text
        if self.offers("session", NS_SESSION):
            self.session()
        return self.jid

    def session(self):
        self.stanza(f"<iq type='set' id='session'><session xmlns='{NS_SESSION}'/></iq>")
        return self.expect(lambda element: element.name == "iq" and element.get("id") == "session")

    def authenticate(self, user=None, password=None, mechanism=None, starttls=False):
        """Everything up to the features after login; user None logs in anonymously."""
        self.open_stream()
        if starttls:
            self.starttls()
            self.open_stream()
        chosen = mechanism or ("PLAIN" if user else "ANONYMOUS")
        answer = self.auth(chosen, user, password)
        if answer.name != "success":
            raise WireError(self.tell(f"{chosen} failed: {answer}"))
        return self.open_stream()

    def login(self, user=None, password=None, resource=None, mechanism=None, starttls=False, sm=True, resume=True,
              max_seconds=None, presence=None):
        """authenticate, bind, and what else is asked for. presence: a priority, None for none."""
        self.authenticate(user, password, mechanism, starttls)
        self.bind(resource)
        if sm:
            self.enable(resume, max_seconds)
        if presence is not None:
            self.presence(priority=presence)
        return self

    @property
    def bare_jid(self):
        return self.jid.split("/")[0]

    # Stream management

    def enable(self, resume=True, max_seconds=None, ns=NS_SM3):
        """Gives <enabled/>; a <failed/> is an error."""
        self.sent, self.unacked, self.acked = 0, [], 0
        self.send(enable_tag(resume, max_seconds, ns))
        answer = self.expect(("enabled", "failed"), skip=STANZAS)
        if answer.name == "failed":
            raise WireError(self.tell(f"enable failed: {answer}"))
        return answer

    def try_resume(self, previd, h, ns=NS_SM3):
        """Gives <resumed/> or <failed/>."""
        self.send(resume_tag(previd, h, ns))
        return self.expect(("resumed", "failed"), skip=("r", "a") if self.sm_ns else ())

    def take_over(self, old):
        """The state that a client library keeps from its lost connection."""
        self.h_in, self.sent, self.unacked, self.acked = old.h_in, old.sent, list(old.unacked), old.acked
        self.jid, self.auto_ack, self.sm_ns, self.sm_id = old.jid, old.auto_ack, None, old.sm_id

    def resume(self, old, resend=True):
        """Resumes the session of another RawClient; gives <resumed/>. Sends again what it does not cover."""
        self.take_over(old)
        answer = self.try_resume(old.sm_id, old.h_in)
        if answer.name != "resumed":
            raise WireError(self.tell(f"resume failed: {answer}"))
        if resend and self.unacked:
            self.send("".join(xml for _, xml in self.unacked))
        return answer

    def ack(self, h=None):
        self.send(f"<a xmlns='{self.sm_ns or NS_SM3}' h='{self.h_in if h is None else h}'/>")

    def request(self, timeout=None):
        """Sends <r/> and gives the h of the next <a/>; stanzas that come before it stay readable."""
        self.send(f"<r xmlns='{self.sm_ns or NS_SM3}'/>")
        return self.answer(timeout)

    def answer(self, timeout=None):
        """The h of the next <a/>; other elements that come before it stay readable."""
        return int(self.pick("a", timeout)["h"])

    def pick(self, what, timeout=None):
        """Takes the next element that fits out of turn: all others stay to be read (and counted) in their order."""
        fits = matcher(what)
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        looked_at = 0
        while True:
            for index in range(looked_at, len(self.queue)):
                if fits(self.queue[index]):
                    element = self.queue.pop(index)
                    self.count(element)
                    return element
            looked_at = len(self.queue)
            try:
                more = self.fill(deadline)
            except TimedOut as error:
                raise TimedOut(self.tell(f"waited for {what}")) from error
            if not more:
                raise Closed(self.closed, self.tell(f"the connection ended ({self.closed}) while waiting for {what}"))

    def wait_acked(self, count=None, timeout=None):
        """Until `count` stanzas (default: all that were sent) are acked."""
        goal = self.sent if count is None else count
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while self.acked < goal:
            self.pick("a", deadline - time.monotonic())

    # Stanzas

    def stanza(self, xml):
        """Sends a stanza that counts."""
        self.sent += 1
        self.unacked.append((self.sent, xml))
        self.send(xml)

    def message(self, to, body, message_id=None, kind="chat", payload=""):
        self.stanza(message_tag(to, body, message_id, kind, payload))

    def presence(self, priority=0, payload="", to=None, kind=None):
        attributes = (f" to={quoteattr(to)}" if to else "") + (f" type='{kind}'" if kind else "")
        level = f"<priority>{priority}</priority>" if priority else ""
        self.stanza(f"<presence{attributes}>{level}{payload}</presence>")

    def iq(self, kind, iq_id, payload, to=None):
        address = f" to={quoteattr(to)}" if to else ""
        self.stanza(f"<iq type='{kind}' id={quoteattr(iq_id)}{address}>{payload}</iq>")

    def ping(self, to=None, iq_id="ping"):
        """Asks the server and waits for its answer: all that was sent before has then been processed."""
        self.iq("get", iq_id, f"<ping xmlns='{NS_PING}'/>", to or self.domain)
        return self.pick(lambda element: element.name == "iq" and element.get("id") == iq_id)

    def messages(self, count, timeout=None):
        """The next `count` messages that have a body, over everything else."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        return [self.wait_for(has_body, deadline - time.monotonic()) for _ in range(count)]

    # What a failed test shows

    def note(self, direction, data):
        self.trace.append((direction, data[-2000:]))
        del self.trace[:-30]

    def tell(self, text):
        lines = [f"  {direction} {data.decode(errors='replace')}" for direction, data in self.trace]
        return "\n".join([text, f"the last bytes of {self.jid or 'a client of ' + self.domain}:"] + lines)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.sock.close()


def has_body(element):
    return element.name == "message" and element.body is not None


def matcher(what):
    if callable(what):
        return what
    names = (what,) if isinstance(what, str) else what
    return lambda element: element.name in names


def digest_answer(server, user, password, domain, authzid):
    """RFC 2831 with qop=auth."""
    realm = server.get("realm", domain)
    cnonce, count, uri = os.urandom(12).hex(), "00000001", f"xmpp/{domain}"

    def digest(data):
        return hashlib.md5(data.encode() if isinstance(data, str) else data)

    a1 = digest(f"{user}:{realm}:{password}").digest() + f":{server['nonce']}:{cnonce}".encode()
    a1 += f":{authzid}".encode() if authzid else b""
    middle = f"{server['nonce']}:{count}:{cnonce}:auth"
    response = digest(f"{digest(a1).hexdigest()}:{middle}:{digest('AUTHENTICATE:' + uri).hexdigest()}").hexdigest()
    more = f',authzid="{authzid}"' if authzid else ""
    return (f'charset=utf-8,username="{user}",realm="{realm}",nonce="{server["nonce"]}",nc={count},cnonce="{cnonce}",'
            f'digest-uri="{uri}",qop=auth,response={response}{more}')
