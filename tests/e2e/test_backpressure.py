"""When one side does not take what the other sends: what is kept is bounded, nothing is lost or told untruly."""

from raw import NS_SM3, enable_tag
from scene import eventually, from_server, stub, stub_knife, stub_scene  # noqa: F401  (fixtures)

REQUEST = f"<r xmlns='{NS_SM3}'/>"


def test_parked_presence_of_many_senders_stays_under_the_queues_limit(stub_scene, stub):
    s = stub_scene(sm_queue_bytes="64k", limits_stanza_bytes="32k")
    client = s.login()
    session = stub.session_of(client.jid)
    client.cut()
    s.wait_detached()
    for number in range(50):
        session.send(f"<presence from='room@c.example.org/n{number}' to='{client.jid}'>"
                     f"<status>{'s' * 20000}</status></presence>")
    s.wait_figure(50, "stanzas_total", direction="downlink", kind="presence")
    assert s.figure("memory_bytes") <= 65536
    kept = s.figure("parked_stanzas")
    assert kept + s.figure("downlink_fates_total", fate="discarded_presence") == 50
    again = s.resume(client)
    names = [again.expect("presence")["from"].rpartition("/n")[2] for _ in range(kept)]
    assert names == [str(number) for number in range(50 - kept, 50)], "the newest are kept"


def test_without_confirmation_no_answer_covers_what_a_dead_server_did_not_get(stub_scene, stub):
    s = stub_scene(sm_confirm="none", sm_queue_stanzas=10)
    client = s.login()
    session = stub.session_of(client.jid)
    session.send(from_server(s, client.jid, range(10)))
    s.wait_figure(1, "backpressure_total", leg="upstream")
    session.send(from_server(s, client.jid, range(10, 40)))  # in the kernel, the end behind it unseen
    session.cut("rst")
    eventually(lambda: session.sock.fileno() < 0, "the server is gone")
    for number in range(3):
        client.message("y@example.org", s.text(number))
        client.send(REQUEST)
    answers = [element for element in client.read_all(1.5) if element.name == "a"]
    assert [element["h"] for element in answers if element["h"] != "0"] == []
    assert session.received == []


def test_with_both_directions_full_everything_arrives(stub_scene, stub, stub_knife):
    s = stub_scene(upstream=f"127.0.0.1:{stub_knife.port}", sm_queue_stanzas=10, sm_request_every=1)
    client = s.login()
    client.auto_ack = True
    session = stub.session_of(client.jid)
    stub_knife.hole(direction="up")
    session.send(from_server(s, client.jid, range(25)))
    s.wait_figure(1, "backpressure_total", leg="upstream")
    for number in range(100, 120):
        client.message("y@example.org", s.text(number) + " " + "z" * 200000)
    assert s.hear(client, 25) == list(range(25)), "the client's acks are read though the server takes nothing"
    stub_knife.hole(False)
    assert [s.number(session.wait_for(s.is_ours)) for _ in range(20)] == list(range(100, 120))
    client.send(REQUEST)
    client.wait_acked()


def test_mail_written_to_a_client_that_is_cut_at_once_is_not_lost(stub_scene, stub):
    s = stub_scene(sm_max="1s", sm_max_cap="60s")
    first = s.login(resource="a", presence=0)
    first.cut()
    s.wait_detached()
    stub.session_of(first.jid).send(from_server(s, first.jid, [1]))
    s.wait_no_sessions()
    assert s.figure("mailbox_messages") == 1
    second = s.login(resource="b", sm=False, presence=0)
    second.send(enable_tag(max_seconds=60))  # is heard behind the mail, which this client never reads
    s.wait_figure(1, "sessions", state="attached")
    second.cut("rst")
    s.wait_detached()
    assert s.hear(s.login(resource="c", presence=0), 1) == [1]


def test_a_mailbox_larger_than_the_queue_is_delivered_in_portions_and_in_order(stub_scene, stub):
    s = stub_scene(sm_queue_stanzas=10)
    for part in range(3):
        client = s.login(resource=f"r{part}")
        stub.session_of(client.jid).send(from_server(s, client.jid, range(9 * part, 9 * part + 9)))
        s.wait_queued(9)
        client.send("</stream:stream>")
        s.wait_no_sessions()
    again = s.login(resource="new", presence=0)
    s.wait_queued(1)
    assert s.figure("unacked_stanzas") <= 10
    again.auto_ack = True
    assert s.hear(again, 27) == list(range(27))
    again.ack()
    s.wait_figure(27, "mailbox_fates_total", fate="delivered")


def test_a_server_is_not_judged_by_a_ping_that_is_still_in_the_sockets_buffer(stub_scene, stub, stub_knife):
    s = stub_scene(upstream=f"127.0.0.1:{stub_knife.port}", sm_confirm_timeout="1s", sm_confirm_delay="100ms")
    client = s.login()
    stub_knife.hole(direction="up")
    client.message("y@example.org", s.text(1) + " " + "z" * 60000)
    client.read_all(3)
    assert client.is_open()
    assert s.figure("barriers_total", result="timeout") == 0
    stub_knife.hole(False)
    stub.session_of(client.jid).wait_for(s.is_ours)
    client.send(REQUEST)
    client.wait_acked()


def test_a_full_node_holds_its_clients_up_and_loses_nothing(stub_scene, stub):
    s = stub_scene(limits_memory="128k", sm_queue_bytes="128k", limits_stanza_bytes="64k")
    client, other = s.login(), s.login("other")
    session = stub.session_of(client.jid)
    session.send(from_server(s, client.jid, range(20), "q" * 30000))
    s.wait_figure(1, "backpressure_total", leg="upstream")
    assert s.figure("memory_bytes") <= s.figure("memory_limit_bytes") + 65536
    assert other.ping()["type"] == "result", "who has nothing queued is served"
    assert s.figure("limits_hit_total", limit="memory") >= 1
    client.auto_ack = True
    assert s.hear(client, 20) == list(range(20))
    client.ack()
    eventually(lambda: s.figure("memory_bytes") < 32768, "the memory is free again")
