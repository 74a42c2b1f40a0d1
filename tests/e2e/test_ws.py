"""XMPP over WebSocket (RFC 7395): the transport is the only difference."""

import pytest

from raw_ws import CLOSE, NS_FRAMING, close_payload, frame
from scene import scene  # noqa: F401  (a fixture)

pytestmark = pytest.mark.servers("prosody")
OVER = pytest.mark.parametrize("over", ["ws", "wss"])


@OVER
def test_login_message_and_end(scene, over):
    room = scene()
    client = room.login("a", connect={"over": over})
    friend = room.direct("b", presence=0)
    room.say(client, friend.jid, range(3))
    assert room.hear(friend, 3) == [0, 1, 2]
    room.say(friend, client.jid, range(3, 6))
    assert room.hear(client, 3) == [3, 4, 5]
    assert client.request() == 3
    assert not client.offers("starttls")
    assert room.figure("connections", transport=over) == 1
    client.send("</stream:stream>")
    how, rest = client.wait_closed()
    assert how == "fin" and rest[-1].is_end
    assert client.frames.close_code == 1000
    assert client.frames.messages[-1] == f"<close xmlns='{NS_FRAMING}'/>"
    room.wait_no_sessions()


@OVER
@pytest.mark.parametrize("how", ["rst", "fin"])
def test_resumption_after_a_cut(scene, over, how):
    room = scene()
    client = room.login("a", connect={"over": over}, presence=0)
    friend = room.direct("b", presence=0)
    client.cut(how)
    room.wait_detached()
    room.send_away(friend, client.jid, range(3))
    back = room.resume(client, over=over)
    assert room.hear(back, 3) == [0, 1, 2]


def test_a_close_without_close_can_be_resumed(scene):
    """What a browser sends when its tab is closed or its network goes."""
    room = scene()
    client = room.login("a", connect={"over": "ws"})
    client.send_frames(frame(CLOSE, close_payload(1001, "away")))
    assert client.wait_close_code() == 1001
    room.wait_detached()
    room.resume(client, over="ws")


@pytest.mark.parametrize("first, then", [(None, "ws"), ("wss", None), ("ws", "wss")])
def test_resumption_over_another_transport(scene, first, then):
    room = scene()
    client = room.login("a", connect={"over": first}, presence=0)
    friend = room.direct("b", presence=0)
    room.say(friend, client.jid, range(2))
    client.cut("rst")
    room.wait_detached()
    room.send_away(friend, client.jid, range(2, 4))
    back = room.resume(client, over=then)
    assert sorted(set(room.hear(back, 4))) == [0, 1, 2, 3]
