"""RFC 6455 on listen.ws, with a client that decides about each bit; and what of it concerns XMPP (RFC 7395)."""

import pytest

from raw import Closed, Framer, auth_plain, bind_iq, stream_header
from raw_ws import (BINARY, CLOSE, CONTINUATION, NS_FRAMING, PING, PONG, TEXT, close_payload, frame, standing_alone)
from scene import stub, stub_scene  # noqa: F401  (fixtures)

OPEN = f"<open xmlns='{NS_FRAMING}' to='example.org' version='1.0'/>"
LETTERS = "\N{LATIN SMALL LETTER A WITH DIAERESIS}\N{SNOWMAN}\N{GRINNING FACE}"


def ping(number, text="x", more=""):
    """A message to oneself, which the stub returns; complete with its namespace."""
    return f"<message xmlns='jabber:client' to='JID' id='{number}'{more}><body>{text}</body></message>"


def to_self(client, number, text="x", more=""):
    return ping(number, text, more).replace("JID", client.jid)


def returned(client, number, text="x"):
    message = client.wait_for(lambda element: element.get("id") == str(number))
    assert message.body == text


def pieces(text, size):
    """A message in fragments of that many bytes."""
    data = text.encode()
    parts = [data[i:i + size] for i in range(0, len(data), size)]
    return [frame(TEXT if i == 0 else CONTINUATION, part, fin=i == len(parts) - 1) for i, part in enumerate(parts)]


def test_what_is_legal(stub_scene):
    """Fragments of all sizes, cut inside of characters and tags; control frames between; each encoding of lengths; masks
    of all kinds; bytes that come one by one."""
    room = stub_scene()
    client = room.login("a", connect={"over": "ws"})
    for size in (1, 2, 3, 7, 50):
        client.send_frames(*pieces(to_self(client, size, LETTERS), size))
        returned(client, size, LETTERS)
    first, *rest = pieces(to_self(client, "between"), 20)
    between = [part for one in rest for part in (frame(PING, b"in between"), frame(CONTINUATION, fin=False), one)]
    client.send_frames(first, *between)
    returned(client, "between")
    assert client.frames.pongs == [b"in between"] * len(rest)
    for n in (1, 30, 125, 126, 65535, 65536, 200000):
        text = "t" * n
        client.send_frames(frame(TEXT, to_self(client, f"n{n}", text)))
        returned(client, f"n{n}", text)
    for mask in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"<>'\0"):
        client.send_frames(frame(TEXT, to_self(client, f"mask{mask.hex()}"), mask=mask))
        returned(client, f"mask{mask.hex()}")
    for byte in frame(TEXT, to_self(client, "trickle")) + frame(PING, b"trickle"):
        client.send_frames(bytes([byte]))
    returned(client, "trickle")
    client.wait_frames(lambda frames: frames.pongs[-1] == b"trickle")


def test_control_frames(stub_scene):
    room = stub_scene()
    client = room.login("a", connect={"over": "ws"})
    for payload in (b"", b"x", bytes(range(125))):
        client.send_frames(frame(PING, payload))
        client.wait_frames(lambda frames: payload in frames.pongs)
    client.send_frames(frame(PONG, b"nobody asked"), frame(PONG))
    client.send_frames(frame(TEXT, to_self(client, 1)))
    returned(client, 1)


BAD = {
    "binary": (1003, [frame(BINARY, "<a/>")]),
    "binary, empty": (1003, [frame(BINARY)]),
    "not masked": (1002, [frame(TEXT, OPEN, mask=None)]),
    "control frame not masked": (1002, [frame(PING, mask=None)]),
    "reserved bit 1": (1002, [frame(TEXT, OPEN, rsv=4)]),
    "reserved bit 2": (1002, [frame(TEXT, OPEN, rsv=2)]),
    "reserved bit 3": (1002, [frame(PING, rsv=1)]),
    "reserved opcode of data": (1002, [frame(3, OPEN)]),
    "reserved opcode of data, the last": (1002, [frame(7, OPEN)]),
    "reserved opcode of control": (1002, [frame(11)]),
    "reserved opcode of control, the last": (1002, [frame(15)]),
    "continuation of nothing": (1002, [frame(CONTINUATION, OPEN)]),
    "continuation behind a whole message": (1002, [frame(TEXT, OPEN), frame(CONTINUATION, "<a/>")]),
    "text inside a message": (1002, [frame(TEXT, "<a", fin=False), frame(TEXT, OPEN)]),
    "binary inside a message": (1002, [frame(TEXT, "<a", fin=False), frame(BINARY, OPEN)]),
    "ping in fragments": (1002, [frame(PING, b"x", fin=False)]),
    "close in fragments": (1002, [frame(CLOSE, close_payload(1000), fin=False)]),
    "ping too long": (1002, [frame(PING, bytes(126))]),
    "close too long": (1002, [frame(CLOSE, close_payload(1000, "x" * 124))]),
    "length in 2 bytes that fits 1": (1002, [frame(PING, b"x", wide=2)]),
    "text length in 2 bytes that fits 1": (1002, [frame(TEXT, OPEN, wide=2)]),
    "length in 8 bytes that fits 2": (1002, [frame(TEXT, OPEN, wide=8)]),
    "length of 64 bits": (1002, [frame(TEXT, OPEN, length=2**64 - 1, wide=8)]),
    "length of 63 bits": (1009, [frame(TEXT, OPEN, length=2**63 - 1, wide=8)]),
    "no UTF-8": (1007, [frame(TEXT, b"<a>\xff</a>")]),
    "UTF-8 cut off": (1007, [frame(TEXT, b"<a>\xe2\x98")]),
    "UTF-8 cut off, in fragments": (1007, [frame(TEXT, b"<a>\xe2", fin=False), frame(CONTINUATION, b"\x98")]),
    "UTF-8 too long": (1007, [frame(TEXT, b"<a>\xc0\xaf</a>")]),
    "UTF-8 of a surrogate": (1007, [frame(TEXT, b"<a>\xed\xa0\x80</a>")]),
    "UTF-8 beyond Unicode": (1007, [frame(TEXT, b"<a>\xf4\x90\x80\x80</a>")]),
    "close of one byte": (1002, [frame(CLOSE, b"\x03")]),
    "close with a reason that is no UTF-8": (1007, [frame(CLOSE, close_payload(1000) + b"\xff")]),
} | {f"close with {code}": (1002, [frame(CLOSE, close_payload(code))])
     for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)}


def test_what_breaks_the_rules(stub_scene):
    """Each gets its code, and the connection ends; nothing but that connection does."""
    room = stub_scene()
    other = room.login("a", connect={"over": "ws"})
    seen = {}
    for name, (_, frames) in BAD.items():
        client = room.connect(over="ws")
        client.send_frames(*frames)
        seen[name] = client.wait_close_code()
    assert seen == {name: code for name, (code, _) in BAD.items()}
    other.send_frames(frame(TEXT, to_self(other, 1)))
    returned(other, 1)
    assert room.figure("connections", transport="ws") == 1


def test_close_is_answered(stub_scene):
    room = stub_scene()
    for code in (1000, 1001, 1003, 1007, 1011, 3000, 4999):
        client = room.connect(over="ws")
        client.send_frames(frame(CLOSE, close_payload(code, "why")), frame(TEXT, OPEN))
        assert client.wait_close_code() == code
        assert client.frames.messages == []
    client = room.connect(over="ws")
    client.send_frames(frame(CLOSE))
    client.wait_closed()
    assert client.frames.seen[-1] == (CLOSE, b"")


def test_a_broken_frame_leaves_the_session(stub_scene):
    """Like any cut: what came before it counts, and the session can be resumed."""
    room = stub_scene()
    client = room.login("a", connect={"over": "ws"})
    client.send_frames(frame(TEXT, to_self(client, 1)), frame(BINARY, b"x"))
    assert client.wait_close_code() == 1003
    room.wait_detached()
    client.sent = 1
    client.h_in = 0
    back = room.resume(client, over="ws")
    returned(back, 1)
    assert back.resumed["h"] == "1"


def test_a_flood_of_frames_without_content(stub_scene):
    """Pings, pongs, and fragments of nothing: a client that sends thousands is shown the door."""
    room = stub_scene()
    floods = [(b"", frame(PING, b"x" * 100)), (b"", frame(PONG)), (b"", frame(TEXT)),
              (frame(TEXT, "<a", fin=False), frame(CONTINUATION, fin=False))]
    for first, one in floods:
        client = room.login("a", connect={"over": "ws"})
        try:
            client.send_frames(first + one * 5000)
        except Closed:
            pass  # it was not read to its end
        how, _ = client.wait_closed()
        assert client.frames.close_code == 1008 or how == "rst"
        assert len(client.frames.pongs) <= 400
    calm = room.login("b", connect={"over": "ws"})
    calm.send_frames(frame(PING, b"1") * 150)
    calm.wait_frames(lambda frames: len(frames.pongs) == 150)


@pytest.mark.parametrize("text, condition, code", [
    ("<message xmlns='jabber:client'/><message xmlns='jabber:client'/>", "bad-format", 1000),
    ("<message xmlns='jabber:client'>", "not-well-formed", 1000),
    ("text", "not-well-formed", 1000),
    ("<message xmlns='jabber:client'/>text", "not-well-formed", 1000),
    ("<message xmlns='jabber:client'></presence>", "not-well-formed", 1000),
    ("<message xmlns='jabber:client'>\0</message>", "not-well-formed", 1000),
    ("<message xmlns='jabber:client'/>\0<message xmlns='jabber:client'/>", "not-well-formed", 1000),
    ("<!-- x --><message xmlns='jabber:client'/>", "restricted-xml", 1000),
    ("<!DOCTYPE x><message xmlns='jabber:client'/>", "restricted-xml", 1000),
    (OPEN, "bad-format", 1000),
    ("</stream:stream>", "not-well-formed", 1000),
    ("<message xmlns='jabber:client'><body>" + "x" * 300000 + "</body></message>", "policy-violation", 1009),
], ids=lambda value: str(value)[:40])
def test_what_is_no_proper_message(stub_scene, text, condition, code):
    """A stream error, which is final, then the ends of stream and WebSocket."""
    room = stub_scene()
    client = room.login("a", connect={"over": "ws"})
    client.send_frames(frame(TEXT, text))
    how, elements = client.wait_closed()
    names = [element.name for element in elements if element.name not in ("r", "a")]
    assert names == ["error", "end"] and elements[-2].condition == condition
    assert client.frames.close_code == code
    room.wait_no_sessions()


def test_too_large_in_fragments(stub_scene):
    """It is refused when the limit is reached, not at its end."""
    room = stub_scene()
    client = room.login("a", connect={"over": "ws"})
    start = to_self(client, 1).partition("x</body>")[0]
    client.send_frames(frame(TEXT, start, fin=False), *[frame(CONTINUATION, b"x" * 1000, fin=False)] * 300)
    how, elements = client.wait_closed()
    assert [element.condition for element in elements if element.name == "error"] == ["policy-violation"]
    assert client.frames.close_code == 1009
    assert room.figure("limits_hit_total", limit="stanza_bytes") == 1


@pytest.mark.parametrize("first, condition", [
    ("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'/>", "invalid-namespace"),
    ("<open xmlns='jabber:client'/>", "invalid-namespace"),
    ("<message xmlns='jabber:client'/>", "invalid-namespace"),
    (f"<open xmlns='{NS_FRAMING}' to='elsewhere.example' version='1.0'/>", "host-unknown"),
    (f"<opening xmlns='{NS_FRAMING}'/>", "bad-format"),
    ("<open", "not-well-formed"),
])
def test_a_wrong_beginning(stub_scene, first, condition):
    client = stub_scene().connect(over="ws")
    client.send_frames(frame(TEXT, first))
    _, elements = client.wait_closed()
    assert [element.name for element in elements] == ["stream", "error", "end"]
    assert elements[1].condition == condition


def test_close_as_the_first_word(stub_scene):
    client = stub_scene().connect(over="ws")
    client.send_frames(frame(TEXT, f"<close xmlns='{NS_FRAMING}'/>"))
    assert client.wait_close_code() == 1000
    assert client.frames.messages == [f"<close xmlns='{NS_FRAMING}'/>"]


def test_white_space_and_tags_that_are_not_empty(stub_scene):
    room = stub_scene()
    client = room.connect(over="ws")
    client.send_frames(frame(TEXT, " "), frame(TEXT), frame(TEXT, OPEN.replace("/>", "></open>\n")))
    client.expect("stream")
    client.expect("features")
    client.send_frames(frame(TEXT, "\n"), frame(TEXT, f"<close xmlns='{NS_FRAMING}'></close>"))
    assert client.wait_close_code() == 1000


def test_starttls_is_neither_offered_nor_done(stub_scene):
    room = stub_scene(tls_required="yes")  # of listen.starttls, which this is not
    client = room.connect(over="ws")
    assert not client.open_stream().has("starttls")
    client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    assert client.expect("failure")
    assert client.wait_close_code() == 1000


def test_what_the_server_says_stands_alone(stub, stub_scene):
    """Declarations that the server's stream made for its stanzas are put in; those that a stanza makes itself stay."""
    room = stub_scene()
    client = room.login("a", connect={"over": "ws"})
    session = stub.session_of(client.jid)
    session.send("<message id='1'><body>a</body></message>"
                 "<message xmlns='jabber:client' id='2'><body>b</body></message>"
                 "<message id='3'><stream:x/></message>"
                 "<message\nid='4'/><presence/>")
    bare = [client.wait_for(("message", "presence")).raw.decode() for _ in range(5)]
    assert bare == [
        "<message xmlns='jabber:client' id='1'><body>a</body></message>",
        "<message xmlns='jabber:client' id='2'><body>b</body></message>",
        "<message xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='3'><stream:x/></message>",
        "<message xmlns='jabber:client'\nid='4'/>",
        "<presence xmlns='jabber:client'/>"]


def test_the_stream_restarts_as_open(stub_scene):
    room = stub_scene()
    client = room.login("a", connect={"over": "ws"})
    opened = [message for message in client.frames.messages if message.startswith("<open ")]
    assert len(opened) == 2 and not any("<?xml" in message or "stream:stream" in message
                                        for message in client.frames.messages)


def test_silence_is_met_with_pings(stub_scene):
    """Without stream management; white space is never sent. An answer is no stanza and no end of anything."""
    room = stub_scene(sm_probe="1s")
    client = room.login("a", connect={"over": "ws"}, sm=False)
    client.wait_frames(lambda frames: frames.pings)
    client.send_frames(frame(PONG, client.frames.pings[0]))
    client.send_frames(frame(TEXT, to_self(client, 1)))
    returned(client, 1)
    assert all(message.startswith("<") for message in client.frames.messages)


def test_everything_in_one_packet(stub_scene):
    """From the upgrade to a message: what is sent ahead waits for its turn."""
    room = stub_scene()
    user, password = room.account("a")
    client = room.connect(over="ws", upgrade=False)
    splitter = Framer()
    elements = splitter.feed((stream_header("example.org") + auth_plain(user, password)).encode())
    splitter = Framer()
    elements += splitter.feed((stream_header("example.org") + bind_iq("r")).encode())
    frames = b"".join(frame(TEXT, standing_alone(element)) for element in elements)
    rest = client.ask(client.upgrade_request().encode() + frames)
    client.queue += client.frames.feed(rest)
    answer = client.wait_for(lambda element: element.get("id") == "bind")
    assert answer["type"] == "result"
