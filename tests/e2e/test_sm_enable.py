"""XEP-0198 <enable/>: where it may come, what it gives, and from where it counts."""

import threading

import pytest

from raw import (NS_BIND, NS_SM2, NS_SM3, NS_STANZA_ERRORS, RawClient, auth_plain, bind_iq, enable_tag, message_tag,
                 stream_header)
from scene import scene  # noqa: F401  (a fixture)

pytestmark = pytest.mark.servers("prosody")


def assert_refused(client, ns=NS_SM3):
    failed = client.expect("failed")
    assert failed.ns == ns
    assert [(child.name, child.ns) for child in failed.children] == [("unexpected-request", NS_STANZA_ERRORS)]


def test_both_namespaces_are_offered_after_login_only(scene):
    s = scene()
    client = s.connect()
    client.open_stream()
    assert not client.offers("sm")
    client.auth("PLAIN", *s.account())
    client.open_stream()
    offered = [child for child in client.features.children if child.name == "sm"]
    assert sorted(child.ns for child in offered) == [NS_SM2, NS_SM3]
    assert not any(child.children for child in offered), "XEP-0198 1.6.3 took the child away"
    assert client.offers("bind", NS_BIND)


def test_enabled_has_exactly_the_attributes_of_a_resumable_session(scene):
    client = scene(sm_max="7m").login(sm=False)
    enabled = client.enable()
    assert set(enabled.attributes) == {"id", "resume", "max"}
    assert enabled["resume"] == "true"
    assert enabled["max"] == "420"
    assert len(enabled["id"]) >= 32, "128 bits of chance do not fit into less"
    assert not enabled.children


def test_ids_differ(scene):
    s = scene()
    assert len({s.login(resource=f"r{n}").sm_id for n in range(5)}) == 5


@pytest.mark.parametrize("spelled", [True, "1"])
def test_resumption_is_granted_for_both_spellings_and_told_as_true(scene, spelled):
    assert scene().login(sm=False).enable(resume=spelled)["resume"] == "true"


@pytest.mark.parametrize("spelled", [None, "false", "0"])
def test_without_resumption_its_attributes_are_left_out_together(scene, spelled):
    assert scene().login(sm=False).enable(resume=spelled).attributes == {}


def test_a_session_without_resumption_ends_with_its_connection(scene):
    s = scene()
    client = s.login(resume=None)
    client.ping()
    client.cut()
    s.wait_no_sessions()


@pytest.mark.parametrize("wish, told", [(None, "5"), (3, "3"), (10, "10"), (999999, "20"), ("abc", "5")])
def test_max_is_honoured_up_to_the_cap(scene, wish, told):
    client = scene(sm_max="5s", sm_max_cap="20s").login(sm=False)
    assert client.enable(max_seconds=wish)["max"] == told


def test_a_location_is_told_when_the_operator_sets_one(scene):
    enabled = scene(sm_location="node1.example.org:5222").login(sm=False).enable()
    assert enabled["location"] == "node1.example.org:5222"


def test_the_namespace_of_enable_is_that_of_all_answers(scene):
    client = scene().login(sm=False)
    assert client.enable(ns=NS_SM2).ns == NS_SM2
    client.send(f"<r xmlns='{NS_SM2}'/>")
    assert client.pick("a").ns == NS_SM2
    client.send(enable_tag(ns=NS_SM2))
    assert_refused(client, NS_SM2)


def test_an_anonymous_login_is_managed_but_cannot_be_resumed(scene, legacy):
    domain = legacy.anonymous_domain
    s = scene(proxy_domain=f"{legacy.domain}, {domain}")
    with RawClient(s.proxy.port, domain) as client:
        client.login(sm=False)
        assert client.enable().attributes == {}
        client.ping(domain)
        assert client.request() == 1


def test_enable_before_the_first_login_step_is_refused_and_harms_nothing(scene):
    s = scene()
    client = s.connect()
    client.open_stream()
    client.send(enable_tag())
    assert_refused(client)
    assert client.auth("PLAIN", *s.account()).name == "success"
    client.open_stream()
    client.bind("r")
    assert client.enable().get("id")


def test_enable_between_login_and_bind_is_refused_and_harms_nothing(scene):
    client = scene().authenticated()
    client.send(enable_tag())
    assert_refused(client)
    client.bind("r")
    assert client.enable().get("id")


def test_a_second_enable_is_refused_and_harms_nothing(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.ping()
    client.send(enable_tag())
    assert_refused(client)
    s.say(contact, client.jid, [1])
    assert s.hear(client, 1) == [1]
    assert client.request() == 1
    client.cut()
    s.wait_detached()
    again = s.resume(client)
    assert int(again.resumed["h"]) == 1


def test_a_second_enable_without_resumption_does_not_take_it_away(scene):
    s = scene()
    client = s.login()
    client.send(enable_tag(resume=None))
    assert_refused(client)
    client.cut()
    s.wait_detached()
    s.resume(client)


def test_requests_and_answers_without_enable_never_reach_the_server(scene):
    client = scene().login(sm=False)
    client.send(f"<r xmlns='{NS_SM3}'/><a xmlns='{NS_SM3}' h='5'/><r xmlns='{NS_SM2}'/>")
    assert client.ping()["type"] == "result", "Prosody ends the stream on them"


def test_the_session_request_may_come_before_or_after_enable(scene):
    client = scene().authenticated()
    client.send(bind_iq("r"))
    client.expect("iq")
    client.enable()
    client.session()
    assert client.request() == 1
    assert client.h_in == 1


def test_what_is_pipelined_behind_enable_counts(scene):
    s = scene()
    client, contact = s.login(sm=False), s.direct()
    with client.one_packet():
        client.send(enable_tag())
        for number in range(3):
            client.message(contact.jid, s.text(number))
        client.send(f"<r xmlns='{NS_SM3}'/>")
    assert client.read_element().name == "enabled"
    client.sent = 3
    client.wait_acked()
    assert s.hear(contact, 3) == [0, 1, 2]


def test_what_came_before_enable_does_not_count(scene):
    s = scene()
    client, contact = s.login(sm=False), s.direct()
    with client.one_packet():
        client.message(contact.jid, s.text(0))
        client.send(enable_tag())
        client.message(contact.jid, s.text(1))
        client.send(f"<r xmlns='{NS_SM3}'/>")
    client.expect("enabled")
    client.sent = 1
    client.wait_acked()
    assert s.hear(contact, 2) == [0, 1]


def test_bind_and_enable_in_one_packet(scene):
    client = scene().authenticated()
    client.send(bind_iq("r") + enable_tag())
    assert client.expect("iq")["type"] == "result"
    assert client.expect("enabled").get("id")
    assert client.request() == 0


def test_stanzas_before_enabled_are_not_counted_towards_the_client(scene):
    """The counters start with <enabled/>, in the middle of a flood: no number may be off afterwards."""
    s = scene()
    client, contact = s.login(sm=False), s.direct()
    flood = threading.Thread(target=lambda: [s.say(contact, client.jid, range(n, n + 20)) for n in range(0, 200, 20)])
    flood.start()
    before = s.hear(client, 5)
    client.send(enable_tag())
    while (element := client.read_element()).name != "enabled":
        before.append(s.number(element))
    flood.join()
    after = s.hear(client, 200 - len(before))
    assert before + after == list(range(200))
    assert client.h_in == len(after)
    client.ack()
    client.cut()
    s.wait_detached()
    again = s.resume(client)
    s.say(contact, client.jid, [200])
    assert s.hear(again, 1) == [200], "what was acked does not come again"


def test_enabled_comes_first_when_a_roster_answer_races_it(scene):
    client = scene().login(sm=False)
    with client.one_packet():
        client.send(enable_tag())
        client.iq("get", "roster", "<query xmlns='jabber:iq:roster'/>")
    assert [client.read_element().name, client.expect("iq").name] == ["enabled", "iq"]
    assert client.h_in == 1


def test_unknown_attributes_do_not_make_enable_illegal(scene):
    client = scene().login(sm=False)
    client.send(f"<enable xmlns='{NS_SM3}' resume='true' x:what='1' xmlns:x='urn:example:x'></enable>")
    assert client.expect("enabled").get("id")


def test_everything_in_one_packet(scene):
    s = scene()
    user, password = s.account()
    contact = s.direct()
    client = s.connect()
    with client.one_packet():
        client.send(stream_header(s.domain) + auth_plain(user, password) + stream_header(s.domain))
        client.send(bind_iq("r") + enable_tag() + message_tag(contact.jid, s.text(1)) + f"<r xmlns='{NS_SM3}'/>")
    client.sent = 1
    assert client.expect("stream").get("id")
    for name in ("features", "success", "stream", "features", "iq", "enabled"):
        assert client.read_element().name == name
    assert s.hear(contact, 1) == [1]
    client.wait_acked()
