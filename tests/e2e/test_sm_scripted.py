"""Stream management in front of a scripted server: what real ones cannot be brought to do at the right moment."""

import pytest

from raw import NS_PING, NS_SM3, NS_STREAM_ERRORS, NS_STREAMS
from scene import eventually, stub, stub_scene  # noqa: F401  (fixtures)

REQUEST = f"<r xmlns='{NS_SM3}'/>"


def number_of(element):
    return int(element.body.split()[1])


def messages(s, jid, numbers):
    return "".join(f"<message from='x@{s.domain}/c' to='{jid}' type='chat'><body>{s.text(number)}</body></message>"
                   for number in numbers)


def test_server_pings_are_answered_while_detached(stub_scene, stub):
    s = stub_scene()
    client = s.login()
    session = stub.session_of(client.jid)
    client.cut()
    s.wait_detached()
    for sender in (f" from='{s.domain}'", ""):
        session.send(f"<iq type='get' id='alive'{sender} to='{client.jid}'><ping xmlns='{NS_PING}'/></iq>")
        answer = session.wait_for(lambda element: element.name == "iq" and element.get("id") == "alive")
        assert answer["type"] == "result"
    s.wait_figure(2, "answered_for_client_total")
    again = s.resume(client)
    assert [element for element in again.read_all(0.3) if element.is_stanza] == [], "they are not the client's any more"


def test_server_pings_are_the_clients_own_while_attached(stub_scene, stub):
    s = stub_scene()
    client = s.login()
    session = stub.session_of(client.jid)
    session.send(f"<iq type='get' id='alive' from='{s.domain}' to='{client.jid}'><ping xmlns='{NS_PING}'/></iq>")
    assert client.expect("iq")["id"] == "alive"
    client.iq("result", "alive", "", to=s.domain)
    assert session.wait_for("iq")["id"] == "alive"


def test_nonzas_of_the_server_do_not_reach_a_managed_client(stub_scene, stub):
    """nbxmpp and libstrophe would count them."""
    s = stub_scene()
    client = s.login()
    session = stub.session_of(client.jid)
    session.send("<strange xmlns='urn:example:strange'/>" + messages(s, client.jid, [1]) + REQUEST
                 + f"<a xmlns='{NS_SM3}' h='7'/>" + messages(s, client.jid, [2]))
    assert [number_of(client.expect("message", skip=("r",))) for _ in range(2)] == [1, 2]
    client.ack()
    assert client.is_open()


def test_nonzas_of_the_server_reach_an_unmanaged_client(stub_scene, stub):
    s = stub_scene()
    client = s.login(sm=False)
    stub.session_of(client.jid).send("<strange xmlns='urn:example:strange'/>")
    assert client.expect("strange").raw == b"<strange xmlns='urn:example:strange'/>"


def test_stream_management_elements_never_reach_the_server(stub_scene, stub):
    s = stub_scene()
    client = s.login()
    client.send(REQUEST * 3 + f"<a xmlns='{NS_SM3}' h='0'/><enable xmlns='{NS_SM3}'/>")
    client.message("x@y", "last")
    session = stub.session_of(client.jid)
    session.wait_for("message")
    assert {element.name for element in session.received} == {"message"}


def test_nothing_unconfirmed_is_told(stub_scene, stub):
    """h covers what the server has confirmed by the answer to a ping, and nothing else."""
    s = stub_scene(sm_answer_delay="200ms")
    client = s.login()
    session = stub.session_of(client.jid)
    stub.answer_pings = False
    for number in (1, 2, 3):
        client.message("x@y", s.text(number))
    assert client.request() == 0
    session.until(lambda: session.pings, "a barrier comes")
    assert len(session.pings) == 1, "at most one barrier is under way"
    session.pong()
    assert client.answer() == 3


def test_a_barrier_confirms_only_what_was_sent_before_it(stub_scene, stub):
    s = stub_scene(sm_answer_delay="200ms", sm_confirm_delay="10s")
    client = s.login()
    session = stub.session_of(client.jid)
    stub.answer_pings = False
    client.message("x@y", s.text(1))
    assert client.request() == 0
    client.message("x@y", s.text(2))
    session.wait_for(lambda element: element.name == "message" and number_of(element) == 2)
    session.pong()
    assert client.answer() == 1
    client.send(REQUEST)
    session.until(lambda: session.pings, "a second barrier comes")
    session.pong()
    client.wait_acked()


def test_answers_to_barriers_are_swallowed(stub_scene, stub):
    s = stub_scene(sm_confirm_delay="10ms")
    client = s.login()
    for number in range(10):
        client.message("x@y", s.text(number))
        client.request()
    client.wait_acked()
    assert [element for element in client.read_all(0.2) if element.is_stanza] == []
    assert s.figure("barriers_total", result="answered") >= 1


def test_an_error_to_a_barrier_is_an_answer_as_well(stub_scene, stub):
    s = stub_scene()
    client = s.login()
    session = stub.session_of(client.jid)
    stub.answer_pings = False
    client.message("x@y", s.text(1))
    client.send(REQUEST)
    session.until(lambda: session.pings, "a barrier comes")
    session.send(f"<iq type='error' id='{session.pings.pop()}' from='{s.domain}' to='{client.jid}'>"
                 "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
    client.wait_acked()
    assert not [element for element in client.queue if element.is_stanza]


def test_an_answer_from_someone_else_is_none(stub_scene, stub):
    s = stub_scene(sm_answer_delay="200ms")
    client = s.login()
    session = stub.session_of(client.jid)
    stub.answer_pings = False
    client.message("x@y", s.text(1))
    client.send(REQUEST)
    session.until(lambda: session.pings, "a barrier comes")
    session.send(f"<iq type='result' id='{session.pings[0]}' from='evil@{s.domain}/x' to='{client.jid}'/>")
    assert client.answer() == 0
    assert client.expect("iq")["from"].startswith("evil@"), "it is the client's"
    session.pong()
    client.wait_acked()


def test_a_server_that_confirms_nothing_is_dealt_with_as_dead(stub_scene, stub):
    s = stub_scene(sm_confirm_timeout="1s", sm_answer_delay="100ms")
    client = s.login()
    stub.answer_pings = False
    client.message("x@y", s.text(1))
    client.send(REQUEST)
    _, elements = client.wait_closed()
    assert not [element for element in elements if element.is_end], "it is to come back"
    s.wait_figure(1, "barriers_total", result="timeout")
    stub.answer_pings = True


def test_a_servers_conflict_ends_the_session(stub_scene, stub):
    s = stub_scene()
    client = s.login()
    session = stub.session_of(client.jid)
    session.send(f"<stream:error><conflict xmlns='{NS_STREAM_ERRORS}'/></stream:error></stream:stream>")
    error = client.expect("error")
    assert error.ns == NS_STREAMS and error.condition == "conflict"
    client.wait_closed()
    s.wait_no_sessions()
    assert s.figure("sessions_ended_total", reason="upstream_conflict") == 1


@pytest.mark.parametrize("condition", ["system-shutdown", "reset"])
def test_a_leaving_servers_error_is_not_passed_on(stub_scene, stub, condition):
    s = stub_scene()
    client = s.login()
    session = stub.session_of(client.jid)
    session.send(f"<stream:error><{condition} xmlns='{NS_STREAM_ERRORS}'/></stream:error></stream:stream>")
    _, elements = client.wait_closed()
    assert elements == [], "an error or an end tag has clients drop their state"


def test_the_order_of_both_directions_survives_a_busy_cut(stub_scene, stub):
    s = stub_scene()
    client = s.login()
    session = stub.session_of(client.jid)
    client.auto_ack = True
    for round_number in range(5):
        numbers = range(round_number * 100, round_number * 100 + 100)
        session.send(messages(s, client.jid, numbers))
        s.say(client, "x@y", numbers)
        heard = s.hear(client, 37)
        client.cut("rst")
        s.wait_detached()
        client = s.resume(client)
        assert heard + s.hear(client, 63) == list(numbers)
    assert client.ping()["type"] == "result"
    sent = [number_of(element) for element in session.received if element.name == "message"]
    assert sent == list(range(500))


def test_parked_chat_states_are_the_newest(stub_scene, stub):
    s = stub_scene()
    client = s.login()
    session = stub.session_of(client.jid)
    client.cut()
    s.wait_detached()
    for state in ("composing", "paused", "active"):
        session.send(f"<message from='x@{s.domain}/c' to='{client.jid}' type='chat'>"
                     f"<{state} xmlns='http://jabber.org/protocol/chatstates'/></message>")
    s.wait_figure(3, "stanzas_total", direction="downlink", kind="message")
    again = s.resume(client)
    assert again.expect("message").has("active")
    assert [element for element in again.read_all(0.2) if element.is_stanza] == []


def test_presence_is_away_while_detached_if_so_set(stub_scene, stub):
    s = stub_scene(sm_detached_presence="away")
    client = s.login()
    session = stub.session_of(client.jid)
    client.presence(payload="<show>chat</show><status>here</status>")
    assert session.wait_for("presence").find("show").text == "chat"
    client.cut()
    assert session.wait_for("presence").find("show").text == "away"
    client = s.resume(client)
    restored = session.wait_for("presence")
    assert (restored.find("show").text, restored.find("status").text) == ("chat", "here")
    assert client.request() == 1, "the proxy's own presence does not count for the client"


def test_presence_is_kept_while_detached_by_default(stub_scene, stub):
    s = stub_scene()
    client = s.login()
    session = stub.session_of(client.jid)
    client.presence()
    client.ping()
    for _ in range(2):
        client.cut()
        s.wait_detached()
        client = s.resume(client)
    client.ping()
    assert [element.name for element in session.received] == ["presence"]


def test_a_session_that_expires_says_goodbye_to_the_server(stub_scene, stub):
    s = stub_scene(sm_max="1s")
    client = s.login()
    session = stub.session_of(client.jid)
    client.cut()
    assert session.wait_ended() == "end"


def test_what_a_stub_confirmed_is_never_sent_to_it_again(stub_scene, stub):
    s = stub_scene()
    client = s.login()
    session = stub.session_of(client.jid)
    for number in range(6):
        client.message("x@y", s.text(number))
        if number % 2:
            client.ping()
        client.cut()
        s.wait_detached()
        client = s.resume(client)
    client.ping()
    eventually(lambda: len(session.received) >= 6, "all have come")
    assert [number_of(element) for element in session.received] == list(range(6))
