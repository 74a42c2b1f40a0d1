"""XEP-0198 acks: what h counts, when it is told, and when the proxy asks for the client's."""

import time

import pytest

from raw import NS_SM3, NS_STREAM_ERRORS, NS_STREAMS, TimedOut
from scene import eventually, scene, upstream_knife  # noqa: F401  (fixtures)

pytestmark = pytest.mark.servers("prosody")

REQUEST = f"<r xmlns='{NS_SM3}'/>"


def expect_stream_error(client):
    """The stream error that ends a connection."""
    error = client.wait_for(lambda element: element.name == "error" and element.ns == NS_STREAMS)
    assert error.children[0].ns == NS_STREAM_ERRORS
    _, rest = client.wait_closed()
    assert [element.name for element in rest] == ["end"]
    return error


# What h counts

def test_h_is_written_also_when_it_is_zero(scene):
    client = scene().login()
    client.send(REQUEST)
    answer = client.expect("a", skip=())
    assert answer.attributes == {"h": "0"}
    assert answer.ns == NS_SM3


@pytest.mark.parametrize("kind", ["message", "presence", "iq"])
def test_each_kind_of_stanza_counts_once(scene, kind):
    s = scene()
    client = s.login()
    if kind == "message":
        client.message(client.jid, s.text(1))
    elif kind == "presence":
        client.presence()
    else:
        client.iq("get", "i", "<query xmlns='jabber:iq:roster'/>")
    assert client.request() == 1


def test_nonzas_and_white_space_do_not_count(scene):
    client = scene().login()
    client.send(f" \n{REQUEST}\n<a xmlns='{NS_SM3}' h='0'/>  ")
    assert client.answer() == 0
    client.send("\n \t")
    assert client.request() == 0
    client.ping()
    assert client.request() == 1


def test_client_state_indication_does_not_count(scene):
    client = scene().login()
    if not client.offers("csi"):
        pytest.skip("this server has no XEP-0352")
    client.send("<inactive xmlns='urn:xmpp:csi:0'/><active xmlns='urn:xmpp:csi:0'/>")
    client.ping()
    assert client.request() == 1


def test_stanzas_the_server_answers_with_an_error_count(scene):
    client = scene().login()
    client.iq("get", "odd", "<query xmlns='urn:example:unknown'/>", to=client.domain)
    assert client.pick("iq")["type"] == "error"
    assert client.request() == 1


def test_a_stanza_counts_by_its_expanded_name(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.stanza(f"<c:message xmlns:c='jabber:client' to='{contact.jid}'><c:body>{s.text(1)}</c:body></c:message>")
    assert s.hear(contact, 1) == [1]
    assert client.request() == 1


def test_h_counts_on_over_hundreds(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    for start in range(0, 300, 100):
        s.say(client, contact.jid, range(start, start + 100))
    client.send(REQUEST)
    client.wait_acked()
    assert s.hear(contact, 300) == list(range(300))


# Answering requests

def test_a_request_is_answered_with_all_that_came_before_it(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    with client.one_packet():
        for number in range(7):
            client.message(contact.jid, s.text(number))
        client.send(REQUEST)
    assert client.answer() == 7
    assert s.hear(contact, 7) == list(range(7))


def test_requests_in_a_row_share_an_answer(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    with client.one_packet():
        client.message(contact.jid, s.text(1))
        client.send(REQUEST * 200)
    client.wait_acked()
    client.ping()
    assert len(client.answers) <= 3


def test_a_flood_of_requests_costs_next_to_nothing(scene):
    client = scene().login()
    client.send(REQUEST * 20000)
    assert client.ping()["type"] == "result"
    client.pick("a")
    client.read_all(0.3)
    assert len(client.answers) < 500


def test_an_answer_is_late_but_not_withheld_while_the_server_is_silent(scene, upstream_knife):
    """What the server has not confirmed is not told; once it has, the rest is told unasked."""
    s = scene(upstream=f"127.0.0.1:{upstream_knife.port}", sm_answer_delay="300ms")
    client, contact = s.login(), s.direct()
    upstream_knife.hole()
    client.message(contact.jid, s.text(1))
    started = time.monotonic()
    assert client.request() == 0
    assert time.monotonic() - started >= 0.25
    upstream_knife.hole(False)
    assert client.answer() == 1
    assert s.hear(contact, 1) == [1]


def test_an_answer_covers_what_is_safe_by_then(scene, upstream_knife):
    s = scene(upstream=f"127.0.0.1:{upstream_knife.port}", sm_answer_delay="300ms")
    client, contact = s.login(), s.direct()
    client.message(contact.jid, s.text(1))
    assert client.request() == 1
    upstream_knife.hole()
    client.message(contact.jid, s.text(2))
    assert client.request() == 1
    upstream_knife.hole(False)
    assert client.answer() == 2


# Requests of the proxy

def test_the_proxy_asks_behind_five_stanzas(scene):
    s = scene(sm_request_delay="60s")
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, range(4))
    assert s.hear(client, 4) == list(range(4))
    assert client.read_all(0.3) == []
    s.say(contact, client.jid, [4])
    assert s.hear(client, 1) == [4]
    assert client.expect("r", timeout=5, skip=()).ns == NS_SM3


def test_the_proxy_asks_after_a_while_with_anything_unacked(scene):
    s = scene(sm_request_every=100, sm_request_delay="200ms")
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1])
    assert s.hear(client, 1) == [1]
    client.expect("r", timeout=5, skip=())


def test_the_default_leaves_no_tail_unacked_for_long(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1])
    client.wait_for("r", timeout=5)


def test_at_most_one_request_is_open(scene):
    s = scene(sm_request_delay="100ms")
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, range(50))
    assert s.hear(client, 50) == list(range(50))
    client.read_all(0.5)
    assert client.requests == 1


def test_it_never_asks_twice_for_the_same_stanzas(scene):
    s = scene(sm_request_delay="100ms")
    client, contact = s.login(), s.direct()
    client.auto_ack = True
    s.say(contact, client.jid, range(10))
    s.hear(client, 10)
    eventually(lambda: client.read_all(0.05) == [] and s.figure("unacked_stanzas") == 0, "all is acked")
    asked = client.requests
    assert 1 <= asked <= 10
    client.read_all(0.6)
    assert client.requests == asked


def test_nothing_is_asked_when_nothing_is_unacked(scene):
    client = scene(sm_request_delay="100ms").login()
    assert client.read_all(0.5) == []


def test_an_unasked_answer_makes_the_request_needless(scene):
    s = scene(sm_request_delay="1s")
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, range(2))
    s.hear(client, 2)
    client.ack()
    assert client.read_all(1.5) == []
    assert s.figure("unacked_stanzas") == 0


def test_a_short_answer_is_asked_again_with_doubled_delay(scene):
    s = scene(sm_request_every=3, sm_request_delay="200ms")
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, range(3))
    s.hear(client, 3)
    times = []
    for _ in range(4):
        client.expect("r", skip=())
        times.append(time.monotonic())
        client.ack(2)
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert gaps[0] >= 0.15 and gaps[1] >= 0.35 and gaps[2] >= 0.7, gaps
    client.expect("r", skip=())
    client.ack()
    assert client.read_all(0.5) == []


def test_an_answer_that_goes_back_changes_nothing(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, range(5))
    s.hear(client, 5)
    client.ack(4)
    client.ack(2)
    client.ping()
    client.cut()
    s.wait_detached()
    client.h_in = 4  # the ping's answer and the last message come again
    again = s.resume(client)
    assert s.hear(again, 1) == [4]
    assert again.expect("iq")["id"] == "ping"


# Wrong answers

def test_an_answer_too_high_ends_the_stream_and_says_why(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, range(3))
    s.hear(client, 3)
    client.ack(5)
    error = expect_stream_error(client)
    assert error.condition == "undefined-condition"
    detail = error.find("handled-count-too-high", NS_SM3)
    assert detail.attributes == {"h": "5", "send-count": "3"}


def test_after_an_answer_too_high_the_session_is_over_and_nothing_is_lost(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, range(3))
    s.hear(client, 3)
    client.ack(1)
    client.ack(2**32 - 1)
    expect_stream_error(client)
    s.wait_no_sessions()
    again = s.authenticated()
    assert again.try_resume(client.sm_id, 1).condition == "item-not-found"
    again.bind("r")
    again.enable()
    again.presence()
    assert s.hear(again, 2) == [1, 2]


@pytest.mark.parametrize("h", ["h=''", "", "h='-1'", "h='+1'", "h='0x1'", "h='1e0'", "h='1.0'", "h=' 1'", "h='abc'",
                               "h='4294967296'", "h='99999999999999999999'", "h='١'"])
def test_a_senseless_h_ends_the_stream_and_loses_nothing(scene, h):
    s = scene(sm_max="1s")
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1])
    s.hear(client, 1)
    client.send(f"<a xmlns='{NS_SM3}' {h}/>")
    expect_stream_error(client)
    s.wait_no_sessions()
    again = s.login(resource="other", presence=0)
    assert s.hear(again, 1) == [1]


# Dead and silent clients

def test_a_client_that_answers_nothing_loses_its_connection_not_its_session(scene):
    s = scene(sm_request_delay="100ms", sm_ack_timeout="1s")
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1])
    started = time.monotonic()
    how, elements = client.wait_closed()
    assert time.monotonic() - started >= 0.9
    assert "end" not in [element.name for element in elements], "it is to resume"
    assert s.figure("legs_closed_total", leg="client", reason="ack_timeout") == 1
    client.h_in = 0
    again = s.resume(client)
    assert s.hear(again, 1) == [1]


def test_any_byte_of_the_client_extends_the_wait(scene):
    s = scene(sm_request_delay="100ms", sm_ack_timeout="3s")
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1])
    client.wait_for("r")
    until = time.monotonic() + 6.5
    while time.monotonic() < until:
        client.send(" ")
        client.read_all(0.2)
    assert client.is_open()


def test_the_wait_begins_when_the_request_has_left_the_buffer(scene):
    """A client on a slow link gets its <r/> behind a megabyte; that it has not answered yet says nothing."""
    s = scene(sm_ack_timeout="1s")
    client, contact = s.login(connect={"rcvbuf": 4096}), s.direct()
    filler = "<x xmlns='urn:example:filler'>" + "f" * 60000 + "</x>"
    for number in range(20):
        contact.message(client.jid, s.text(number), payload=filler)
    contact.ping()
    with pytest.raises(TimedOut):
        contact.expect("message", timeout=3)
    client.auto_ack = True
    assert s.hear(client, 20) == list(range(20))
    assert s.figure("legs_closed_total", leg="client") == 0


def test_a_silent_client_is_probed(scene):
    client = scene(sm_probe="1s", sm_ack_timeout="1s").login()
    client.expect("r", timeout=5, skip=())
    client.ack()
    client.expect("r", timeout=5, skip=())
    client.wait_closed()


def test_a_silent_client_that_answers_probes_stays(scene):
    client = scene(sm_probe="1s", sm_ack_timeout="1s").login()
    client.auto_ack = True
    client.read_all(3.5)
    assert client.requests >= 2
    assert client.is_open()


def test_a_silent_client_without_stream_management_gets_white_space(scene):
    client = scene(sm_probe="1s").login(sm=False)
    eventually(lambda: client.is_open() and client.framer.buffer.isspace(), "white space has come")
    assert not client.queue


def test_requests_of_the_client_are_counted_and_acks_too(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.request()
    s.say(contact, client.jid, range(5))
    client.wait_for("r")
    client.ack()
    s.wait_figure(1, "acks_received_total")
    assert s.figure("ack_requests_received_total") == 1
    assert s.figure("ack_requests_sent_total") >= 1
    assert s.figure("acks_sent_total") >= 1
    s.wait_figure(5, "downlink_fates_total", fate="acked")
