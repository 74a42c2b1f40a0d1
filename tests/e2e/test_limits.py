"""limits.*_per_second and limits.login_failures_*: clients that send too much are slowed down, who guesses passwords is
held up; nobody is cut for it, and others notice nothing. (Other limits: test_hostile.py.)"""

import time

import pytest

from raw import NS_SASL, NS_SM3, auth_plain, message_tag
from scene import scene, stub, stub_scene  # noqa: F401  (fixtures)

REQUEST = f"<r xmlns='{NS_SM3}'/>"
WARNING = "Too many logins have failed"


# Clients that send too much

def paced(s):
    return sum(s.figure("limits_hit_total", limit=limit) for limit in ("bytes_per_second", "stanzas_per_second"))


@pytest.mark.parametrize("tls", [None, "direct"])
def test_a_client_that_sends_too_many_stanzas_is_slowed_and_loses_nothing(stub_scene, stub, tls):
    s = stub_scene(limits_stanzas_per_second=20)
    client, other = s.login(connect={"tls": tls}), s.login("other")
    session = stub.session_of(client.jid)
    begin = time.monotonic()
    s.say(client, "y@example.org", range(260))
    numbers = [s.number(session.wait_for(s.is_ours)) for _ in range(200)]
    assert other.ping()["type"] == "result"
    s.wait_figure(1, "limits_hit_total", limit="stanzas_per_second")
    numbers += [s.number(session.wait_for(s.is_ours)) for _ in range(60)]
    assert numbers == list(range(260)), "in order"
    assert time.monotonic() - begin > 2, "what is beyond ten seconds' worth comes at the rate"
    client.send(REQUEST)
    client.wait_acked()
    assert s.figure("limits_hit_total") == 1, "told once"


def test_a_client_that_sends_too_many_bytes_is_slowed_and_loses_nothing(stub_scene, stub):
    s = stub_scene(limits_bytes_per_second="50k")
    client, other = s.login(), s.login("other")
    session = stub.session_of(client.jid)
    begin = time.monotonic()
    for number in range(65):
        client.message("y@example.org", s.text(number) + " " + "x" * 10000)
    assert other.ping()["type"] == "result"
    assert [s.number(session.wait_for(s.is_ours)) for _ in range(65)] == list(range(65))
    assert time.monotonic() - begin > 1, "what is beyond ten seconds' worth comes at the rate"
    client.send(REQUEST)
    client.wait_acked()
    assert s.figure("limits_hit_total", limit="bytes_per_second") == 1


@pytest.mark.parametrize("flood", [REQUEST, f"<a xmlns='{NS_SM3}' h='0'/>"], ids=["r", "a"])
def test_a_flood_of_acks_is_slowed_and_the_client_lives(stub_scene, flood):
    s = stub_scene(limits_stanzas_per_second=20)
    client, other = s.login(), s.login("other")
    client.send(flood * 840)  # ten seconds' worth is 800 of them
    s.wait_figure(1, "limits_hit_total", limit="stanzas_per_second")
    assert other.ping()["type"] == "result"
    assert client.ping()["type"] == "result"


def test_a_slowed_clients_ack_is_heard_in_time(stub_scene, stub):
    s = stub_scene(limits_stanzas_per_second=20, sm_ack_timeout="1s", sm_request_every=1)
    client = s.login()
    s.say(client, "y@example.org", range(270))
    stub.session_of(client.jid).send(message_tag(client.jid, s.text(1)))
    client.expect("message")
    client.ack()  # lies behind three seconds' worth of what is not read yet
    s.wait_figure(1, "downlink_fates_total", fate="acked")
    assert client.ping()["type"] == "result"


def test_honest_clients_do_not_meet_the_defaults(stub_scene, stub):
    """One that sends again what it has had to say, with a picture among it."""
    s = stub_scene()
    client = s.login()
    session = stub.session_of(client.jid)
    s.say(client, "y@example.org", range(5000))
    client.message("y@example.org", s.text(5000), payload=f"<data xmlns='x'>{'p' * 200000}</data>")
    session.until(lambda: len(session.received) >= 5001, "all of it has arrived")
    assert paced(s) == 0


def test_zero_is_no_limit(stub_scene, stub):
    s = stub_scene(limits_stanzas_per_second=0, limits_bytes_per_second=0)
    client = s.login()
    session = stub.session_of(client.jid)
    for start in range(0, 30000, 1000):
        client.send("".join(message_tag("y@example.org", s.text(start + number)) for number in range(1000)))
    session.until(lambda: len(session.received) >= 30000, "all of it has arrived", 60)
    assert paced(s) == 0


# Guessed passwords

def attempt(s, user, password):
    """(what came, how long it took)"""
    client = s.connect()
    client.open_stream()
    begin = time.monotonic()
    client.send(auth_plain(user, password))
    element = client.expect(("success", "failure"))
    return client, element, time.monotonic() - begin


def assert_refused(client, failure):
    assert failure.condition == "temporary-auth-failure"
    assert WARNING in failure.find("text").text
    assert [element.name for element in client.wait_closed()[1]] == ["end"]


def test_guesses_from_one_address_are_late_then_refused(stub_scene, stub):
    s = stub_scene(limits_login_failures_per_ip=2, limits_login_failures_per_account=0)
    took = [attempt(s, f"user{number}", "wrong")[2] for number in range(4)]
    assert took[0] < 0.9 and took[1] < 0.9 and took[2] >= 1 and took[3] >= 2
    client, failure, _ = attempt(s, "innocent", "secret")
    assert_refused(client, failure)
    assert len(stub.logins) == 4, "the server was not asked"
    assert s.figure("limits_hit_total", limit="login_failures_per_ip") == 3
    assert s.figure("logins_total", result="refused") == 1
    assert s.figure("logins_total", result="failure") == 4


def test_guesses_for_one_account_are_late_then_refused_and_others_get_in(stub_scene, stub):
    s = stub_scene(limits_login_failures_per_ip=0, limits_login_failures_per_account=2)
    took = [attempt(s, user, "wrong")[2] for user in ("romeo", "Romeo", "ROMEO", "romeo")]
    assert took[0] < 0.9 and took[1] < 0.9 and took[2] >= 1 and took[3] >= 2
    client, failure, _ = attempt(s, "romeo", "secret")
    assert_refused(client, failure)
    assert len(stub.logins) == 4
    assert attempt(s, "juliet", "secret")[1].name == "success"
    assert s.figure("limits_hit_total", limit="login_failures_per_account") == 3


def test_who_has_logged_in_before_is_let_in_though_others_guess(stub_scene):
    s = stub_scene(limits_login_failures_per_ip=1)
    s.login("known").close()
    for number in range(2):
        attempt(s, f"user{number}", "wrong")
    client, failure, _ = attempt(s, "unknown", "secret")
    assert_refused(client, failure)
    assert s.login("known").ping()["type"] == "result"


def test_a_legacy_login_is_refused_too(stub_scene, stub):
    s = stub_scene(limits_login_failures_per_ip=1)
    for number in range(2):
        attempt(s, f"user{number}", "wrong")
    client = s.connect()
    client.open_stream()
    client.send("<iq type='set' id='a'><query xmlns='jabber:iq:auth'><username>x</username><password>y</password>"
                "<resource>r</resource></query></iq>")
    answer = client.expect("iq")
    assert answer["type"] == "error" and answer["id"] == "a" and answer.condition == "resource-constraint"
    assert [element.name for element in client.wait_closed()[1]] == ["end"]
    assert not any(element.has("query") for session in stub.connections for element in session.received)


def test_the_real_servers_failures_are_counted(scene):
    s = scene(limits_login_failures_per_ip=0, limits_login_failures_per_account=1)
    user, password = s.account()
    for _ in range(2):
        client = s.connect()
        client.open_stream()
        assert client.auth("PLAIN", user, "wrong").name == "failure"
    client = s.connect()
    client.open_stream()
    failure = client.auth("PLAIN", user, password)
    assert_refused(client, failure)
    assert s.figure("logins_total", result="failure") == 2


def test_success_is_not_held_against_anybody(stub_scene):
    s = stub_scene(limits_login_failures_per_ip=1, limits_login_failures_per_account=1)
    for _ in range(10):
        assert attempt(s, "romeo", "secret")[2] < 0.9
    assert s.figure("limits_hit_total") == 0
    assert s.figure("logins_total", result="success") == 10


def test_a_client_may_try_again_on_the_same_stream(stub_scene):
    s = stub_scene()
    client, failure, _ = attempt(s, "romeo", "wrong")
    assert failure.ns == NS_SASL and failure.condition == "not-authorized"
    client.send(auth_plain("romeo", "secret"))
    client.expect("success")
