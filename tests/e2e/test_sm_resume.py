"""XEP-0198 <resume/>: what a cut costs (nothing), who may resume, and what a refused one changes (nothing)."""

import datetime
import itertools
import threading
import time

import pytest

from raw import (NS_DELAY, NS_PING, NS_SM2, NS_SM3, NS_STANZA_ERRORS, NS_STREAMS, auth_plain, bind_iq, resume_tag,
                 stream_header)
from scene import eventually, scene, upstream_knife  # noqa: F401  (fixtures)

pytestmark = pytest.mark.servers("prosody")

REQUEST = f"<r xmlns='{NS_SM3}'/>"


def assert_unknown(failed, h=None):
    """The answer to a previd that nobody knows."""
    assert failed.name == "failed"
    assert [(child.name, child.ns) for child in failed.children] == [("item-not-found", NS_STANZA_ERRORS)]
    assert failed.attributes == ({} if h is None else {"h": str(h)})


def expect_conflict(client):
    error = client.wait_for(lambda element: element.name == "error" and element.ns == NS_STREAMS)
    assert error.condition == "conflict"
    client.wait_closed()


def cut(how, client, knife):
    """knife: between this client and the proxy. After a black hole the proxy still thinks that the client is there."""
    if how == "hole":
        knife.hole()
    else:
        client.cut(how)


# What a cut costs

@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
@pytest.mark.parametrize("how", ["fin", "rst", "hole"])
def test_a_cut_loses_nothing(scene, how):
    s = scene()
    knife = s.knife()
    client, contact = s.login(port=knife.port), s.direct()
    s.say(client, contact.jid, [100, 101])
    s.say(contact, client.jid, [1, 2, 3])
    assert s.hear(client, 2) == [1, 2]
    client.ack(2)
    client.ping()
    client.h_in = 2  # it has not seen the third
    cut(how, client, knife)
    s.send_away(contact, client.jid, [4, 5, 6])
    again = s.resume(client)
    assert again.resumed.attributes == {"previd": client.sm_id, "h": "3"}
    assert s.hear(again, 4) == [3, 4, 5, 6]
    assert s.hear(contact, 2) == [100, 101]
    s.say(again, contact.jid, [102])
    s.say(contact, again.jid, [7])
    assert s.hear(contact, 1) == [102]
    assert s.hear(again, 1) == [7]
    again.ack()
    assert again.request() == 4


def test_what_the_client_had_sent_before_it_closed_still_counts(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(client, contact.jid, range(200))
    client.half_close()
    assert s.hear(contact, 200) == list(range(200))
    s.wait_detached()
    again = s.authenticated()
    assert int(again.resume(client)["h"]) == 200


def test_the_client_sends_again_what_the_resumed_h_does_not_cover(scene):
    s = scene()
    knife = s.knife()
    client, contact = s.login(port=knife.port), s.direct()
    s.say(client, contact.jid, [0, 1])
    client.ping()
    knife.hole()
    s.say(client, contact.jid, [2, 3])
    again = s.resume(client)
    assert int(again.resumed["h"]) == 3
    assert s.hear(contact, 4) == [0, 1, 2, 3]


def test_twenty_resumes_in_a_row(scene):
    s = scene()
    knife = s.knife()
    client, contact = s.login(port=knife.port), s.direct()
    ways = itertools.cycle(["fin", "rst", "hole"])
    for round_number in range(20):
        s.say(contact, client.jid, [round_number])
        s.say(client, contact.jid, [round_number])
        if round_number % 2:
            assert s.hear(client, 1) == [round_number]
        cut(next(ways), client, knife)
        old, client = client, s.resume(client, port=knife.port)
        if not round_number % 2:
            assert s.hear(client, 1) == [round_number]
        old.sock.close()
    assert s.hear(contact, 20) == list(range(20))
    assert client.ping()["type"] == "result"
    assert s.proxy.resumes() == 20


def test_a_replay_is_not_queued_again(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1, 2, 3])
    s.hear(client, 3)
    client.h_in = 0
    for _ in range(3):
        client.cut()
        s.wait_detached()
        client = s.resume(client)
        assert s.hear(client, 3) == [1, 2, 3]
        assert s.hear_rest(client, 0.2) == []
        assert client.h_in == 3
        client.h_in = 0
    assert s.figure("unacked_stanzas") == 3


def test_replay_comes_before_what_is_new(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, range(50))
    s.hear(client, 10)
    client.cut("rst")
    flood = threading.Thread(target=lambda: [s.say(contact, client.jid, [number]) for number in range(50, 150)])
    flood.start()
    again = s.resume(client)
    assert s.hear(again, 140) == list(range(10, 150))
    flood.join()


def test_the_first_answer_comes_behind_the_replay(scene):
    """Conversations takes it for the end of the catching up."""
    s = scene()
    client, contact = s.login(), s.direct()
    client.cut()
    s.wait_detached()
    s.send_away(contact, client.jid, range(100))
    again = s.authenticated()
    again.take_over(client)
    again.send(resume_tag(client.sm_id, client.h_in) + REQUEST)
    assert again.read_element().name == "resumed"
    heard = 0
    while (element := again.read_element()).name != "a":
        heard += s.is_ours(element)
    assert heard == 100


def test_the_proxy_asks_for_acks_of_the_replay(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.cut()
    s.wait_detached()
    s.send_away(contact, client.jid, range(5))
    again = s.resume(client)
    assert s.hear(again, 5) == list(range(5))
    again.expect("r", timeout=5, skip=())
    again.ack()
    eventually(lambda: s.figure("unacked_stanzas") == 0, "the replay is acked")


@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
def test_an_iq_asked_before_the_cut_is_answered_after_it(scene):
    s = scene()
    client = s.login()
    client.iq("get", "question", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to=s.domain)
    client.cut()
    s.wait_detached()
    again = s.resume(client)
    assert again.wait_for("iq")["id"] == "question"
    assert [element for element in again.read_all(0.2) if element.is_stanza] == []


def test_contacts_and_rooms_notice_nothing(scene):
    s = scene()
    contact = s.direct(presence=0)
    client = s.login(presence=0)
    client.presence(to=contact.jid)
    contact.wait_for(lambda element: element.name == "presence" and element.get("from") == client.jid)
    for how in ("fin", "rst"):
        client.cut(how)
        s.wait_detached()
        client = s.resume(client)
    client.ping()
    assert [element for element in contact.read_all(0.3) if element.name == "presence"] == []


def test_bytes_of_stanzas_are_the_same_without_a_long_detachment(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.cut()
    s.wait_detached()
    s.send_away(contact, client.jid, [1])
    again = s.resume(client)
    assert not again.wait_for("message").has("delay")


def test_after_a_long_detachment_messages_tell_when_they_came(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.cut()
    s.wait_detached()
    s.send_away(contact, client.jid, [1])
    own_stamp = f"<delay xmlns='{NS_DELAY}' stamp='2001-02-03T04:05:06Z'/>"
    s.send_away(contact, client.jid, [2], payload=own_stamp)
    came = datetime.datetime.now(datetime.timezone.utc)
    time.sleep(4)  # a detachment of some seconds is what this is about
    again = s.resume(client)
    first, second = again.messages(2)
    stamp = datetime.datetime.fromisoformat(first.find("delay", NS_DELAY)["stamp"].replace("Z", "+00:00"))
    assert abs((stamp - came).total_seconds()) < 3
    assert second.raw.count(b"<delay") == 1
    assert second.find("delay", NS_DELAY)["stamp"] == "2001-02-03T04:05:06Z"


def test_only_the_newest_presence_of_each_sender_is_kept_for_a_detached_client(scene):
    s = scene()
    client, contact, other = s.login(), s.direct(), s.direct("c")
    client.cut()
    s.wait_detached()
    for status in ("one", "two", "three"):
        contact.presence(payload=f"<status>{status}</status>", to=client.jid)
        other.presence(payload=f"<status>{status}</status>", to=client.jid)
    s.wait_figure(6, "stanzas_total", direction="downlink", kind="presence")
    assert s.figure("parked_stanzas") == 2
    s.send_away(contact, client.jid, [1])
    again = s.resume(client)
    found = [again.expect(("presence", "message")) for _ in range(3)]
    told = sorted((element["from"], element.find("status").text) for element in found if element.name == "presence")
    assert told == sorted([(contact.jid, "three"), (other.jid, "three")])
    assert [s.number(element) for element in found if element.name == "message"] == [1]
    again.ack()
    again.request()
    assert s.figure("downlink_fates_total", fate="discarded_presence") == 4


def test_a_session_started_in_clear_is_resumed_under_tls(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.cut()
    s.wait_detached()
    s.send_away(contact, client.jid, [1])
    again = s.resume(client, tls="direct")
    assert s.hear(again, 1) == [1]
    again.cut("rst")
    s.wait_detached()
    third = s.connect()
    third.authenticate(*s.account(), starttls=True)
    third.resume(again)
    s.say(contact, client.jid, [2])
    assert s.hear(third, 1) == [2]


def test_a_session_in_the_older_namespace_is_resumed(scene):
    s = scene()
    client = s.login(sm=False)
    client.enable(ns=NS_SM2)
    client.cut()
    s.wait_detached()
    again = s.authenticated()
    assert again.try_resume(client.sm_id, 0, ns=NS_SM2).name == "resumed"


def test_resumption_without_a_new_resource_at_the_server(scene):
    """The fresh upstream leg goes again: the server has one session of this user, with its old resource."""
    s = scene()
    client = s.login(presence=0)
    client.cut()
    s.wait_detached()
    again = s.resume(client)
    watcher = s.direct("a", "watcher", presence=0)
    seen = set()
    watcher.ping()
    for element in watcher.queue:
        if element.name == "presence" and element.get("type") is None:
            seen.add(element["from"])
    assert seen <= {client.jid, watcher.jid}
    again.ping()


# An old connection that is still there

def test_the_old_connection_gets_conflict(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.ping()
    again = s.resume(client)
    expect_conflict(client)
    s.say(contact, client.jid, [1])
    assert s.hear(again, 1) == [1]


def test_the_old_connection_is_deaf(scene):
    s = scene()
    client, contact = s.login(connect={"rcvbuf": 4096}), s.direct()
    filler = "<x xmlns='urn:example:filler'>" + "f" * 50000 + "</x>"
    for number in range(40):
        contact.message(client.jid, s.text(number), payload=filler)
    contact.send(" ")
    s.wait_figure(10, "stanzas_total", direction="downlink", kind="message")
    again = s.resume(client)
    assert s.hear(again, 40) == list(range(40))
    assert again.request() == 0


def test_the_old_connection_is_half_closed(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.half_close()
    again = s.resume(client)
    s.say(contact, client.jid, [1])
    assert s.hear(again, 1) == [1]


def test_what_the_old_connection_had_sent_counts(scene):
    s = scene()
    knife = s.knife()
    client, contact = s.login(port=knife.port), s.direct()
    s.say(client, contact.jid, range(50))
    assert s.hear(contact, 50) == list(range(50))
    knife.hole(direction="down")
    again = s.resume(client)
    assert int(again.resumed["h"]) == 50
    assert s.hear_rest(contact, 0.3) == []


def test_a_late_stream_end_of_the_old_connection_ends_nothing(scene):
    s = scene()
    knife = s.knife()
    client, contact = s.login(port=knife.port), s.direct()
    knife.hole()
    client.send(f"<a xmlns='{NS_SM3}' h='0'/></stream:stream>")
    again = s.resume(client)
    knife.hole(False)
    client.half_close()
    s.say(contact, client.jid, [1])
    assert s.hear(again, 1) == [1]
    again.ping()
    assert s.figure("sessions", state="attached") == 1


# Who may resume, and when

def test_another_account_is_refused_exactly_like_an_unknown_previd(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.cut()
    s.wait_detached()
    thief = s.authenticated("thief")
    stolen = thief.try_resume(client.sm_id, client.h_in)
    assert_unknown(stolen)
    stranger = s.authenticated("stranger")
    unknown = stranger.try_resume(client.sm_id[:-4] + "0000", 0)
    assert stolen.raw == unknown.raw
    assert s.figure("resumes_total", result="refused") == 1
    thief.bind("r")
    s.say(contact, client.jid, [1])
    again = s.resume(client)
    assert s.hear(again, 1) == [1]


def test_another_account_does_not_harm_an_attached_session(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    thief = s.authenticated("thief")
    assert_unknown(thief.try_resume(client.sm_id, 0))
    s.say(contact, client.jid, [1])
    assert s.hear(client, 1) == [1]
    assert client.ping()["type"] == "result"


def test_an_ended_session_is_not_told_to_others(scene):
    """Its tombstone's h is for its own account only."""
    s = scene()
    client = s.login()
    client.ping()
    client.close()
    s.wait_no_sessions()
    assert_unknown(s.authenticated("thief").try_resume(client.sm_id, 0))


def test_after_an_unknown_previd_the_client_may_bind(scene):
    s = scene()
    client = s.authenticated()
    assert_unknown(client.try_resume("hf-nobody-knows-this", 0))
    client.bind("fresh")
    assert client.jid.endswith("/fresh")
    client.enable()
    client.ping()
    assert client.request() == 1
    assert s.figure("resumes_total", result="unknown") == 1


def test_a_refused_client_may_try_again_on_the_same_stream(scene):
    s = scene()
    client = s.login()
    client.cut()
    s.wait_detached()
    again = s.authenticated()
    assert_unknown(again.try_resume("wrong", 0))
    again.resume(client)
    assert again.ping()["type"] == "result"


ODD_PREVIDS = {"empty": "", "2000 characters": "x" * 2000, "8 KiB": "y" * 8192, "not ASCII": "prévid-€-𝄞",
               "markup": "<&>\"'", "spaces": "  a  b  ", "format": "%s%n%x", "path": "../../etc", "braces": "{a}}{",
               "newline": "a\nb", "colons": "a:b:c:d"}


@pytest.mark.parametrize("previd", ODD_PREVIDS.values(), ids=ODD_PREVIDS.keys())
def test_odd_previds_are_refused_and_harm_nothing(scene, previd):
    client = scene().authenticated()
    assert client.try_resume(previd, 0).condition == "item-not-found"
    client.bind("r")
    assert client.enable().get("id")


@pytest.mark.parametrize("length", [1, 8, 16, 31, 32, 40])
def test_pieces_of_a_previd_are_not_enough(scene, length):
    s = scene()
    client = s.login()
    client.cut()
    s.wait_detached()
    again = s.authenticated()
    assert_unknown(again.try_resume(client.sm_id[:length], 0))
    assert_unknown(again.try_resume(client.sm_id + "0" * length, 0))
    again.resume(client)


@pytest.mark.parametrize("tag", [f"<resume xmlns='{NS_SM3}'/>", f"<resume xmlns='{NS_SM3}' h='0'/>",
                                 "<resume xmlns='urn:xmpp:sm:3' previd='{id}'/>",
                                 "<resume xmlns='urn:xmpp:sm:3' previd='{id}' h=''/>",
                                 "<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='-1'/>",
                                 "<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0x0'/>",
                                 "<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='4294967296'/>"])
def test_a_senseless_resume_is_refused_and_the_session_unharmed(scene, tag):
    s = scene()
    client = s.login()
    client.cut()
    s.wait_detached()
    again = s.authenticated()
    again.send(tag.replace("{id}", client.sm_id))
    failed = again.expect("failed")
    assert len(failed.children) == 1 and failed.children[0].ns == NS_STANZA_ERRORS
    again.resume(client)


def test_an_h_too_high_is_refused_and_the_session_unharmed(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1, 2, 3])
    s.hear(client, 2)
    client.cut()
    s.wait_detached()
    again = s.authenticated()
    for wrong in (4, 30, 2**31, 2**32 - 1):
        assert again.try_resume(client.sm_id, wrong).name == "failed"
    third = s.resume(client)
    assert s.hear(third, 1) == [3]
    assert s.figure("sessions") == 1, "the refused one left nothing behind"


def test_an_h_lower_than_acked_before_is_taken_as_acked(scene):
    """xmpp.js sends such a one."""
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(contact, client.jid, [1, 2, 3, 4])
    s.hear(client, 4)
    client.ack(3)
    client.ping()
    client.cut()
    s.wait_detached()
    client.h_in = 1
    again = s.resume(client)
    assert s.hear(again, 1) == [4]
    again.h_in = 3 + 2  # what the numbers really are: the fourth and the pong behind it
    again.pick("iq")
    again.h_in = 5
    again.ack()
    assert again.ping()["type"] == "result"


def test_resume_before_login_is_refused_and_the_session_unharmed(scene):
    s = scene()
    client = s.login()
    client.cut()
    s.wait_detached()
    again = s.connect()
    again.open_stream()
    assert again.try_resume(client.sm_id, 0).condition == "unexpected-request"
    assert again.auth("PLAIN", *s.account()).name == "success"
    again.open_stream()
    again.resume(client)


def test_resume_after_bind_is_refused_and_harms_neither(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.cut()
    s.wait_detached()
    other = s.login(resource="other", sm=False)
    assert other.try_resume(client.sm_id, 0).condition == "unexpected-request"
    other.enable()
    assert other.try_resume(client.sm_id, 0).condition == "unexpected-request"
    s.say(contact, other.jid, [1])
    assert s.hear(other, 1) == [1]
    assert s.resume(client).ping()["type"] == "result"


def test_resume_on_the_resumed_stream_is_refused_and_harms_nothing(scene):
    s = scene()
    client = s.login()
    client.cut()
    s.wait_detached()
    again = s.resume(client)
    assert again.try_resume(client.sm_id, 0).condition == "unexpected-request"
    assert again.ping()["type"] == "result"


def test_enable_and_bind_after_resume_are_not_taken_for_a_new_session(scene):
    s = scene()
    client = s.login()
    client.cut()
    s.wait_detached()
    again = s.resume(client)
    again.send(f"<enable xmlns='{NS_SM3}' resume='true'/>")
    assert again.expect("failed").condition == "unexpected-request"
    assert again.ping()["type"] == "result"
    assert again.jid == client.jid


def test_an_expired_session_tells_its_h_and_the_client_binds_on_the_same_stream(scene):
    s = scene(sm_max="1s")
    client, contact = s.login(), s.direct()
    s.say(client, contact.jid, [1, 2, 3, 4])
    client.ping()
    client.cut()
    s.wait_no_sessions()
    again = s.authenticated()
    assert_unknown(again.try_resume(client.sm_id, 0), h=5)
    again.bind("r")
    again.enable()
    assert again.ping()["type"] == "result"
    assert s.figure("resumes_total", result="expired") == 1


def test_a_clients_own_max_is_when_its_session_expires(scene):
    s = scene(sm_max="10m")
    client = s.login(max_seconds=1)
    client.cut()
    s.wait_detached()
    s.wait_no_sessions(10)


def test_a_session_waits_its_time_and_no_less(scene):
    s = scene(sm_max="2s")
    client = s.login()
    client.cut()
    s.wait_detached()
    started = time.monotonic()
    s.wait_no_sessions(15)
    assert time.monotonic() - started >= 1.8


def test_the_time_starts_anew_with_each_cut(scene):
    s = scene(sm_max="2s")
    client = s.login()
    for _ in range(3):
        client.cut()
        s.wait_detached()
        time.sleep(1)  # half of the window, three times
        client = s.resume(client)
    assert client.ping()["type"] == "result"


def test_a_stream_end_is_final(scene):
    s = scene()
    client = s.login()
    client.ping()
    client.close()
    s.wait_no_sessions()
    assert_unknown(s.authenticated().try_resume(client.sm_id, client.h_in), h=1)


def test_the_last_answer_of_a_clean_end_covers_all(scene):
    """Smack's WaitForClosingStreamElementTest: </stream:stream> is answered, and everything acked before."""
    s = scene()
    client, contact = s.login(), s.direct()
    s.say(client, contact.jid, range(20))
    client.send("</stream:stream>")
    how, elements = client.wait_closed()
    assert how == "fin"
    assert elements[-1].is_end
    assert client.acked == 20
    assert s.hear(contact, 20) == list(range(20))


def test_two_resumes_at_once_leave_one_owner(scene):
    s = scene()
    for _ in range(5):
        client, contact = s.login(resource=None), s.direct(resource=None)
        client.cut()
        s.wait_detached()
        rivals = [s.authenticated(), s.authenticated()]
        for rival in rivals:
            rival.take_over(client)
        barrier = threading.Barrier(2)

        def rush(rival, previd):
            barrier.wait()
            rival.send(resume_tag(previd, 0))

        threads = [threading.Thread(target=rush, args=(rival, client.sm_id)) for rival in rivals]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for rival in rivals:
            rival.first = rival.read_element()
        names = [rival.first.name for rival in rivals]
        assert "resumed" in names, names
        s.say(contact, client.jid, [1])
        heard = [s.hear_rest(rival, 1) for rival in rivals]
        assert sorted(heard) == [[], [1]]
        winner, loser = sorted(rivals, key=lambda rival: heard[rivals.index(rival)] == [])
        assert winner.ping()["type"] == "result"
        if loser.first.name != "failed":
            assert not loser.is_open()
        winner.close()
        s.wait_no_sessions()


def test_login_and_resume_in_one_packet(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.cut()
    s.wait_detached()
    s.send_away(contact, client.jid, [1])
    again = s.connect()
    again.take_over(client)
    again.send(stream_header(s.domain) + auth_plain(*s.account()) + stream_header(s.domain)
               + resume_tag(client.sm_id, client.h_in) + REQUEST)
    again.wait_for("resumed")
    assert s.hear(again, 1) == [1]
    assert again.answer() == 0


def test_resume_and_stanzas_in_one_packet(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.cut()
    s.wait_detached()
    again = s.authenticated()
    again.take_over(client)
    with again.one_packet():
        again.send(resume_tag(client.sm_id, client.h_in))
        for number in range(5):
            again.message(contact.jid, s.text(number))
        again.send(REQUEST)
    again.expect("resumed")
    again.wait_acked()
    assert s.hear(contact, 5) == list(range(5))


def test_a_failed_resume_and_bind_in_one_packet(scene):
    client = scene().authenticated()
    client.send(resume_tag("unknown", 0) + bind_iq("r") + f"<enable xmlns='{NS_SM3}' resume='true'/>")
    assert client.expect("failed").condition == "item-not-found"
    assert client.expect("iq")["type"] == "result"
    assert client.expect("enabled").get("id")


def test_a_resume_that_breaks_off_leaves_the_session_to_the_next(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.cut()
    s.wait_detached()
    s.send_away(contact, client.jid, range(30))
    for how in ("fin", "rst", "fin", "rst"):
        broken = s.authenticated()
        broken.send(resume_tag(client.sm_id, 0))
        broken.cut(how)
    again = s.resume(client)
    assert s.hear(again, 30) == list(range(30))


def test_resumption_waits_for_the_server_to_confirm(scene, upstream_knife):
    """The h of <resumed/> covers what was received, once the server has it: nothing is sent twice."""
    s = scene(upstream=f"127.0.0.1:{upstream_knife.port}")
    client, contact = s.login(), s.direct()
    client.ping()
    upstream_knife.connections[0].hole()
    s.say(client, contact.jid, [1, 2])
    client.half_close()
    s.wait_detached()
    again = s.authenticated()
    again.take_over(client)
    again.send(resume_tag(client.sm_id, client.h_in))
    assert again.read_all(0.3) == []
    upstream_knife.hole(False)
    assert int(again.expect("resumed")["h"]) == 3
    assert s.hear(contact, 2) == [1, 2]


def test_when_the_server_goes_the_client_is_cut_without_an_end_tag(scene, upstream_knife):
    """Smack, nbxmpp and libstrophe drop their state on an end tag."""
    s = scene(upstream=f"127.0.0.1:{upstream_knife.port}", sums=True)
    client = s.login()
    client.ping()
    upstream_knife.cut("rst")
    _, elements = client.wait_closed()
    assert [element for element in elements if element.is_end or element.name == "error"] == []


def test_carbons_survive_a_resumption(scene):
    s = scene()
    client, contact = s.login(presence=0), s.direct()
    client.iq("set", "carbons", "<enable xmlns='urn:xmpp:carbons:2'/>")
    client.pick("iq")
    client.cut()
    s.wait_detached()
    again = s.resume(client)
    sibling = s.direct("a", "sibling", presence=0)
    s.say(sibling, contact.jid, [1])
    copy = again.wait_for(lambda element: element.name == "message" and element.has("sent", "urn:xmpp:carbons:2"))
    assert copy.has("body")


def test_a_ping_of_a_contact_is_the_clients_to_answer(scene):
    s = scene()
    client, contact = s.login(), s.direct()
    client.cut()
    s.wait_detached()
    contact.iq("get", "hello", f"<ping xmlns='{NS_PING}'/>", to=client.jid)
    contact.ping()
    again = s.resume(client)
    asked = again.wait_for("iq")
    assert asked["from"] == contact.jid
    again.iq("result", asked["id"], "", to=asked["from"])
    assert contact.wait_for(lambda element: element.name == "iq" and element["id"] == "hello")["type"] == "result"
