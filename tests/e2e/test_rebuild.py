"""The legacy server restarts, or an upstream leg breaks: sessions outlive it (design: rebuild). Seen from outside, on
the real servers, by clients that come back by themselves."""

import pytest

from crowd import Crowd
from scene import eventually, own_scene, scene, stub, stub_scene, upstream_knife  # noqa: F401  (fixtures)

SETTLED = 11  # seconds: who has not shown up again by then is told to have left
KILLED = {"stop": {}, "kill": {"sm_confirm_linger": "6s"}}


@pytest.fixture
def crowd_of():
    """crowd_of(scene) gives its Crowd."""
    made = []

    def make(s):
        made.append(Crowd(s.domain, s.token))
        return made[-1].__enter__()

    yield make
    for each in made:
        each.__exit__()


def all_back(members, times=1, timeout=40):
    for each in members:
        each.until(lambda each=each: len(each.resumed_at) >= times and each.attached, "resumption", timeout)


def assert_well(members):
    """They have met nothing but cuts."""
    for each in members:
        assert not each.faults, each.tell()
        assert not [how for _, how, _ in each.losses if how == "end"], each.tell()


def first_of_each(numbers):
    return list(dict.fromkeys(numbers))


def doubles(members):
    """{(listener, speaker): numbers that came more than once}."""
    found = {}
    for listener in members:
        for speaker, numbers in listener.heard.items():
            twice = sorted({number for number in numbers if numbers.count(number) > 1})
            if twice:
                found[listener, speaker] = twice
    return found


def wait_heard(speaker, listener, timeout=20):
    wanted = speaker.spoken[listener]
    listener.until(lambda: len(set(listener.heard[speaker.user])) >= wanted,
                   f"all {wanted} messages of {speaker.user}, has {listener.heard[speaker.user]}", timeout)


# 1. The server restarts

@pytest.mark.servers("prosody", "ejabberd", "jabberd2")
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_messages_under_way_survive_a_restart_of_the_server(own_scene, own_legacy, crowd_of, how):
    linger = {"sm_confirm_linger": "6s"} if (own_legacy.kind, how) == ("ejabberd", "kill") else {}
    s = own_scene(**linger)
    crowd = crowd_of(s)
    members = crowd.enter([(s.account(f"m{number}"), "r") for number in range(15)], s.proxy.port)
    attached, detached = members[:10], members[10:]
    for each in members:
        each.settle()
    for each in detached:
        each.go_away()
    s.wait_detached(5)
    ring = list(zip(attached, attached[1:] + attached[:1]))
    crowd.talk(ring)
    crowd.talk(list(zip(attached[:5], detached)))
    eventually(lambda: all(len(each.heard) and each.acked > 5 for each in attached), "the talk is under way")
    getattr(own_legacy, how)()
    confirmed = {each: each.acked for each in members}
    own_legacy.start()
    all_back(attached)
    for each in detached:
        each.come_back()
    all_back(detached)
    crowd.talk(list(zip(detached, attached)))
    eventually(lambda: all(any(each.spoken.values()) for each in detached), "the detached talk again")
    crowd.hush()
    for each in members:
        each.settle()
    for speaker in members:
        for listener in speaker.spoken:
            wait_heard(speaker, listener)
    assert_well(members)
    twice = doubles(members)
    print(f"{own_legacy.kind} {how}: {sum(sum(each.spoken.values()) for each in members)} messages, "
          f"{sum(map(len, twice.values()))} doubled, refused logins {[each.refused for each in members if each.refused]}")
    for speaker in members:
        for listener in speaker.spoken:
            heard = first_of_each(listener.heard[speaker.user])
            assert heard == list(range(speaker.spoken[listener])), (
                f"{speaker.user} to {listener.user}: {listener.heard[speaker.user]}, late: "
                f"{sorted(listener.delayed[speaker.user])}\n{listener.tell()}")
    for (listener, name), numbers in twice.items():
        speaker = next(each for each in members if each.user == name)
        again = [number for number in numbers if speaker.stanza_of[listener, number] <= confirmed[speaker]]
        assert linger or not again, f"{name} to {listener.user}: {again} were acked before the restart"
    assert s.figure("resumes_total", result="rebuilt") == len(members)
    assert s.figure("resumes_total") == len(members)
