"""A message that the proxy sees come back from the server, to a recipient that it serves too, confirms what its sender
has said up to then: a conversation needs no pings."""

from scene import scene  # noqa: F401  (a fixture)

MESSAGES = 20


def test_a_conversation_needs_no_pings(scene):
    s = scene(proxy_workers="1")
    romeo, juliet = (s.login(name, presence=0) for name in "ab")

    def say(number):
        s.say(romeo, juliet.jid, [number])
        assert romeo.request() == romeo.sent
        assert s.hear(juliet, 1) == [number]

    for client in (romeo, juliet):
        assert client.request() == client.sent
    say(0)  # nothing is known of the recipient yet
    s.wait_figure(1, "echoes_total", result="heard")
    pings = s.figure("barriers_total")
    for number in range(1, MESSAGES):
        say(number)
    s.wait_figure(MESSAGES, "echoes_total", result="heard")
    late = s.figure("echoes_total", result="missed")  # where the machine has much else to do
    assert s.figure("barriers_total") - pings <= late
    assert late < MESSAGES - 1
