"""StanzaJS 12.22, unmodified, over WebSocket: the events of its document "Using Stream Management" come as it says.

Faults of the library that these tests go around:
- A message that it retries is not tracked any more: no `message:acked` comes for it, and the ack for it is counted for
  what was sent next. So nothing is sent behind a retry before its ack.
- It hangs for good when it writes to a socket that is gone and has not told so yet: a cut comes when it is silent.
- It enables stream management behind `session:started`: nobody writes to it before that has happened."""

import collections

import pytest

from browser import browser  # noqa: F401  (a fixture)
from cluster import cluster, redis  # noqa: F401  (fixtures)
from scene import eventually, scene  # noqa: F401  (a fixture)
from slix import numbered
from stanzajs import Client, TabClient, service

pytestmark = pytest.mark.servers("prosody")
Account = collections.namedtuple("Account", "name password jid")
WHERE = pytest.mark.parametrize("where", ["node", "tab"])
OVER = pytest.mark.parametrize("over", ["ws", "wss"])




@pytest.fixture
def person(request, tmp_path, knife_factory):
    """person(room, "ws", where): a client in "node" or a "tab", that comes through a knife (client.knife)."""
    def make(room, over, where, knife=None):
        port = {"ws": room.proxy.ws_port, "wss": room.proxy.wss_port}[over]
        knife = knife or knife_factory(room.proxy.host, port)
        account = Account("a", room.account()[1], room.jid())
        address = service(over, "localhost", knife.port)
        if where == "tab":
            client = TabClient(account, address, request.getfixturevalue("browser"))
        else:
            client = Client(account, address, room.proxy.ca, tmp_path / "state")
        client.knife = knife
        return client
    return make


def bodies(contact, count):
    return [contact.wait_for(lambda element: element.name == "message" and element.body).body for _ in range(count)]


def settled(room):
    """All is acked both ways: nobody has a reason to write."""
    eventually(lambda: room.figure("unacked_stanzas") == 0 == room.figure("unconfirmed_stanzas"), "all is acked")


def go_dark(client):
    """Its connection swallows what it writes, and it will not come back by itself."""
    client.knife.hole(True)
    client.stay_away()


@WHERE
@OVER
def test_its_events_come_as_its_document_says(scene, person, over, where):
    room = scene(sm_sessions_per_account=1, sm_request_delay="100ms", sm_confirm_delay="100ms")
    friend = room.direct("b", presence=0)
    with person(room, over, where) as client:
        client.say(friend.jid, *numbered("plain", 1, 3))
        client.until_acked(*numbered("plain", 1, 3))
        assert client.of("sent") == numbered("plain", 1, 3)

        settled(room)
        go_dark(client)
        client.say(friend.jid, *numbered("dark", 1, 3))
        client.knife.cut("rst")
        client.until_all("hibernated", *numbered("dark", 1, 3))
        client.say(friend.jid, *numbered("off", 1, 2))
        client.until_all("hibernated", *numbered("off", 1, 2))
        client.come_back()
        client.until_resumed()
        client.until_all("retry", *numbered("dark", 1, 3), *numbered("off", 1, 2))
        assert bodies(friend, 8) == numbered("plain", 1, 3) + numbered("dark", 1, 3) + numbered("off", 1, 2)
        assert client.of("failed") == []

        settled(room)
        go_dark(client)
        client.say(friend.jid, *numbered("late", 1, 2))
        client.knife.cut("rst")
        client.until_all("hibernated", *numbered("late", 1, 2))
        room.wait_detached()
        room.login("a", resource="other").cut("rst")  # its session may wait, the older one has to go
        room.wait_figure(1, "sessions_ended_total", reason="evicted")
        client.come_back()
        client.until_all("failed", *numbered("late", 1, 2))
        client.until(lambda: len(client.of("online")) == 2, "second login")
        client.say(friend.jid, "again")
        client.until_acked("again")
        assert bodies(friend, 1) == ["again"]
        assert client.of("failed") == numbered("late", 1, 2)
        assert client.of("retry") == numbered("dark", 1, 3) + numbered("off", 1, 2)


def test_the_next_run_of_an_application_resumes_with_its_state(scene, person):
    """A process that is killed has saved its state by client.sm.cache(); the next one gets it by client.sm.load()."""
    room = scene(sm_request_delay="100ms", sm_confirm_delay="100ms")
    friend = room.direct("b", presence=0)
    with person(room, "ws", "node") as client:
        room.say(friend, client.jid, range(2))
        client.until(lambda: len(client.of("message")) == 2, "messages")
        settled(room)
        client.kill()
    room.wait_detached()
    room.say(friend, client.jid, range(2, 4))
    with person(room, "ws", "node") as client:
        client.until_bodies(room.text(2), room.text(3))
        client.say(friend.jid, "back")
        client.until_acked("back")
        assert bodies(friend, 1) == ["back"]
        assert client.of("online") == []
        assert room.proxy.resumes() == 1


def test_a_page_that_is_reloaded_resumes_on_another_node(cluster, person):
    """Twice: the first time its node lives, the second time it has been killed."""
    room = cluster(nodes=2, sm_request_delay="100ms", sm_confirm_delay="100ms")
    friend = room.direct("b", presence=0)
    first, second = (service("ws", node.host, node.ws_port) for node in room.nodes)
    with person(room, "ws", "tab") as client:
        for turn, way in enumerate((second, first)):
            numbers = range(3 * turn, 3 * turn + 3)
            room.say(friend, client.jid, numbers[:1])
            client.until_all("message", room.text(numbers[0]))
            client.say(friend.jid, f"turn {turn}")
            client.until_acked(f"turn {turn}")
            room.wait_settled()
            if turn == 0:
                room.say(friend, client.jid, numbers[1:])
            else:
                client.leave_page()
                room.use(1)
                room.wait_detached()
                room.send_away(friend, client.jid, numbers[1:])
                room.wait_settled()
                room.nodes[1].kill()
            client.reload(service=way)
            client.until_resumed(turn + 1)
        client.until_got(*[room.text(number) for number in range(6)])
        assert bodies(friend, 2) == ["turn 0", "turn 1"]
        assert len(client.of("online")) == 1
