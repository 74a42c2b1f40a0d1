"""XMPP over WebSocket for tests: a RawClient whose elements travel as messages (RFC 7395), and the frames under it.

What tests send is written as for TCP: each element is made a message of its own, with the declarations that it needs.
What comes must be a document that stands alone, or it does not parse."""

import base64
import hashlib
import os
import re
import struct
import time
import xml.etree.ElementTree as ET

from raw import NS_STREAMS, TIMEOUT, Closed, Element, Framer, RawClient, WireError, split_tag

NS_FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode, payload=b"", fin=True, mask=b"\x11\x22\x33\x44", rsv=0, length=None, wide=None):
    """One frame. mask=None: unmasked. length: what the head says; wide: bytes of an extended length (0, 2, 8)."""
    payload = payload.encode() if isinstance(payload, str) else payload
    length = len(payload) if length is None else length
    wide = (0 if length < 126 else 2 if length < 65536 else 8) if wide is None else wide
    short = {0: length, 2: 126, 8: 127}[wide]
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode, (0x80 if mask else 0) | short])
    head += length.to_bytes(wide, "big") if wide else b""
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def close_payload(code, reason=""):
    return struct.pack(">H", code) + reason.encode()


def standing_alone(element):
    """The message for an element that was written for a TCP stream."""
    raw = element.raw.decode()
    if element.is_end:
        return f"<close xmlns='{NS_FRAMING}'/>"
    if (element.ns, element.name) == (NS_STREAMS, "stream"):
        attributes = re.sub(r"\sxmlns(?::stream)?=(?:'[^']*'|\"[^\"]*\")", "", raw[len("<stream:stream"):-1])
        return f"<open xmlns='{NS_FRAMING}'{attributes}/>"
    name = re.match(r"<[^\s/>]+", raw)[0]
    tag = raw[:raw.index(">")]
    declared = "" if re.search(r"\sxmlns=", tag) else " xmlns='jabber:client'"
    return name + declared + raw[len(name):]


class Frames:
    """Cuts what comes into frames, and takes the messages out of them."""

    def __init__(self):
        self.buffer = b""
        self.parts = None        # of a fragmented message
        self.seen = []           # (opcode, payload) of all frames
        self.messages = []
        self.pongs = []
        self.pings = []
        self.close_code = None

    def feed(self, data):
        self.buffer += data
        found = []
        while (one := self.cut()) is not None:
            message = self.take(*one)
            if message is not None:
                self.messages.append(message)
                found.append(self.element(message))
        return found

    def cut(self):
        """(fin, opcode, payload) of the next whole frame."""
        if len(self.buffer) < 2:
            return None
        first, second = self.buffer[:2]
        assert first & 0x70 == 0, "no extension was agreed on"
        assert not second & 0x80, "a server must not mask"
        wide = {126: 2, 127: 8}.get(second, 0)
        n = int.from_bytes(self.buffer[2:2 + wide], "big") if wide else second
        if len(self.buffer) < 2 + wide + n:
            return None
        payload, self.buffer = self.buffer[2 + wide:2 + wide + n], self.buffer[2 + wide + n:]
        return bool(first & 0x80), first & 0x0f, payload

    def take(self, fin, opcode, payload):
        self.seen.append((opcode, payload))
        assert self.close_code is None, "nothing may follow a Close"
        if opcode == CLOSE:
            self.close_code = struct.unpack(">H", payload[:2])[0] if payload else 1005
        elif opcode == PING:
            self.pings.append(payload)
        elif opcode == PONG:
            self.pongs.append(payload)
        else:
            assert opcode == TEXT and fin, "Holdfast sends each message as one text frame"
            return payload.decode()
        return None

    def element(self, message):
        assert message.startswith("<") and not message.startswith("<?"), message
        tree = ET.fromstring(message)
        if tuple(split_tag(tree.tag)) == (NS_FRAMING, "open"):
            tree.tag = f"{{{NS_STREAMS}}}stream"
        elif tuple(split_tag(tree.tag)) == (NS_FRAMING, "close"):
            tree.tag = "end"
        return Element(message.encode(), tree)


class WebSocketClient(RawClient):
    """tls: None (ws) or 'direct' (wss). upgrade=False: nothing is sent yet. headers: more lines of the request."""

    def __init__(self, port, domain, tls=None, upgrade=True, path="/xmpp-websocket", headers=None, **how):
        self.frames = Frames()
        super().__init__(port, domain, tls=tls, alpn=["http/1.1"], **how)
        self.status, self.response, self.body = None, {}, b""
        if upgrade:
            self.upgrade(path, headers)

    def new_framer(self):
        return self.frames

    # The request

    def ask(self, request):
        """Sends this, and reads the head of the response: status and headers. What follows is kept."""
        self.sock.settimeout(self.timeout)
        self.sock.sendall(request.encode() if isinstance(request, str) else request)
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.sock.recv(65536)
            if not more:
                raise Closed("fin", self.tell(f"no response, but {data!r}"))
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.response = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        return rest

    def get(self, path, method="GET", headers=None):
        """A whole request for a document: status, headers and body."""
        lines = {"Host": self.domain} | (headers or {})
        rest = self.ask(f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n")
        while more := self.sock.recv(65536):
            rest += more
        return self.status, self.response, rest.decode()

    def upgrade_request(self, path="/xmpp-websocket", headers=None):
        """headers: in the place of the usual ones, or added; None leaves one out."""
        self.key = base64.b64encode(os.urandom(16)).decode()
        lines = {"Host": self.domain, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": self.key,
                 "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "xmpp"} | (headers or {})
        return (f"GET {path} HTTP/1.1\r\n" +
                "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None) + "\r\n")

    def try_upgrade(self, path="/xmpp-websocket", headers=None):
        """The status of the response; its body, if it is a refusal, is in `body`."""
        rest = self.ask(self.upgrade_request(path, headers))
        if self.status == 101:
            self.queue += self.frames.feed(rest)
            return self.status
        self.body = rest
        while more := self.sock.recv(65536):
            self.body += more
        return self.status

    def upgrade(self, path="/xmpp-websocket", headers=None):
        if self.try_upgrade(path, headers) != 101:
            raise WireError(f"no WebSocket: {self.status} {self.body!r}")
        digest = hashlib.sha1((self.key + GUID).encode()).digest()
        assert self.response["sec-websocket-accept"] == base64.b64encode(digest).decode()
        assert self.response["sec-websocket-protocol"] == "xmpp"
        assert "sec-websocket-extensions" not in self.response

    # Messages and frames

    def send(self, data):
        """Elements as for TCP, each of which becomes a message."""
        data = data.encode() if isinstance(data, str) else data
        if self.batching is not None:
            self.batching += data
            return
        splitter = Framer()
        messages = [standing_alone(element) for element in splitter.feed(data)]
        assert not splitter.buffer.strip(), f"not an element: {splitter.buffer}"
        self.send_frames(*(frame(TEXT, message) for message in messages))

    def send_frames(self, *frames):
        """These bytes as they are."""
        super().send_now(b"".join(frames))

    def wait_frames(self, condition, timeout=TIMEOUT):
        """Reads until condition(self.frames) holds."""
        deadline = time.monotonic() + timeout
        while not condition(self.frames):
            if not self.fill(deadline):
                raise Closed(self.closed, self.tell("the connection ended"))

    def wait_close_code(self, timeout=TIMEOUT):
        """The code of the server's Close, behind which the connection ends."""
        how, _ = self.wait_closed(timeout)
        assert how == "fin", how
        return self.frames.close_code
