"""A message that the proxy sees come back from the server, to a recipient that it serves too, confirms what its sender
has said up to then: a conversation needs no pings."""

import pytest

from scene import scene  # noqa: F401  (a fixture)

MESSAGES = 20


@pytest.mark.parametrize("workers", ["1", "4"])  # together; most likely apart
def test_a_conversation_needs_no_pings(scene, workers):
    s = scene(proxy_workers=workers)
    romeo, juliet = (s.login(name, presence=0) for name in "ab")

    def say(number):
        s.say(romeo, juliet.jid, [number])
        assert romeo.request() == romeo.sent
        assert s.hear(juliet, 1) == [number]

    for client in (romeo, juliet):
        assert client.request() == client.sent
    say(0)  # nothing is known of the recipient yet
    say(1)
    pings = s.figure("barriers_total")
    for number in range(2, MESSAGES):
        say(number)
    late = s.figure("echoes_total", result="missed")  # where the machine has much else to do
    assert s.figure("barriers_total") - pings <= late
    assert s.figure("echoes_total", result="heard") >= MESSAGES - late
    assert late < MESSAGES / 2
