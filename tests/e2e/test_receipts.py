"""Delivery receipts (XEP-0184) on behalf of clients: true, one for each that was asked for, and to nobody who may not
know that the client is there."""

import asyncio
import time

import pytest

from scene import scene, stub, stub_scene  # noqa: F401  (fixtures)
from slix import Client, scenario

NS_RECEIPTS = "urn:xmpp:receipts"
NS_ROSTER = "jabber:iq:roster"
REQUEST = f"<request xmlns='{NS_RECEIPTS}'/>"
GRACE = 0.3
QUIET = 3 * GRACE       # for claims that none comes
ALL = pytest.mark.servers("prosody", "ejabberd", "jabberd2")
pytestmark = pytest.mark.servers("prosody")


@pytest.fixture
def receipts_scene(scene):
    return lambda **keywords: scene(**{"receipts_grace": f"{int(GRACE * 1000)}ms"} | keywords)


def is_receipt(element):
    return element.name == "message" and element["type"] != "error" and element.has("received", NS_RECEIPTS)


def is_push(subscription):
    def fits(element):
        item = element.find("item", NS_ROSTER) if element.name == "iq" and element["type"] == "set" else None
        return item is not None and item.get("subscription") == subscription
    return fits


def is_asked(element):
    return element.name == "presence" and element.get("type") == "subscribe"


def fetch_roster(client, ver=None):
    version = "" if ver is None else f" ver='{ver}'"
    client.iq("get", "roster", f"<query xmlns='{NS_ROSTER}'{version}/>")
    return client.pick(lambda element: element.name == "iq" and element.get("id") == "roster")


def befriend(client, contact, both=False):
    """The contact may see the client's presence: its subscription is `from`, or `both`."""
    fetch_roster(client)
    contact.presence(to=client.bare_jid, kind="subscribe")
    client.wait_for(is_asked)
    client.presence(to=contact.bare_jid, kind="subscribed")
    client.wait_for(is_push("from"))
    if both:
        client.presence(to=contact.bare_jid, kind="subscribe")
        contact.wait_for(is_asked)
        contact.presence(to=client.bare_jid, kind="subscribed")
        client.wait_for(is_push("both"))


def friends(s, both=False, **how):
    """A client behind the proxy, and a contact at the server that may see it."""
    client, contact = s.login(presence=0, **how), s.direct(presence=0)
    befriend(client, contact, both)
    return client, contact


def ask(s, contact, to, number, **how):
    contact.message(to, s.text(number), f"{s.token}-{number}", payload=REQUEST, **how)


def read(s, client, count=1):
    """The messages are the client's; it has not said so yet."""
    return [client.wait_for(s.is_ours) for _ in range(count)]


def expect_receipt(s, contact, client, number, kind="chat"):
    receipt = contact.wait_for(is_receipt)
    assert receipt.find("received")["id"] == f"{s.token}-{number}"
    assert receipt["from"] == client.jid
    assert receipt.get("type", "normal") == kind
    return receipt


def expect_none(contact, seconds=QUIET):
    assert [each for each in contact.read_all(seconds) if each.name == "message"] == []


def answer(client, message):
    client.stanza(f"<message to='{message['from']}' type='chat' id='own-{message['id']}'>"
                  f"<received xmlns='{NS_RECEIPTS}' id='{message['id']}'/></message>")


# One receipt for each request

@ALL
@pytest.mark.parametrize("answers", [True, False], ids=["answers", "silent"])
@pytest.mark.parametrize("both", [False, True], ids=["from", "both"])
def test_exactly_one_receipt_for_each_request(receipts_scene, answers, both):
    s = receipts_scene()
    client, contact = friends(s, both)
    for number in range(5):
        ask(s, contact, client.jid if number % 2 else client.bare_jid, number)
        message, = read(s, client)
        expect_none(contact, 2 * GRACE if number == 0 else 0.02)  # written is not received
        if answers:
            answer(client, message)
        client.ack()
        receipt = expect_receipt(s, contact, client, number)
        assert receipt["id"].startswith("own-" if answers else "hfr-")
    contact.message(client.jid, s.text(5), "unasked")
    read(s, client)
    client.ack()
    expect_none(contact)
    assert client.request() == client.sent, "ours are not the client's: its counter does not know of them"
    assert s.figure("receipts_total", source="client" if answers else "proxy") == 5
    assert s.figure("receipts_total") == 5


@ALL
def test_no_receipt_from_a_client_that_does_not_hear(receipts_scene):
    """The message is written into a hole: not before the client is back and has acked it."""
    s = receipts_scene()
    knife = s.knife()
    client, contact = friends(s, port=knife.port)
    knife.hole()
    before = s.figure("stanzas_total", direction="downlink", kind="message")
    ask(s, contact, client.jid, 1)
    s.wait_figure(before + 1, "stanzas_total", direction="downlink", kind="message")
    expect_none(contact)
    again = s.resume(client)
    read(s, again)
    expect_none(contact)
    again.ack()
    expect_receipt(s, contact, again, 1)
    expect_none(contact)


def test_the_h_of_a_resumption_is_an_ack(receipts_scene):
    s = receipts_scene()
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    read(s, client)
    client.cut()
    s.wait_detached()
    expect_none(contact)
    expect_receipt(s, contact, s.resume(client), 1)


def test_the_client_goes_between_its_ack_and_the_receipt(receipts_scene):
    s = receipts_scene(receipts_grace="1s")
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    read(s, client)
    started = time.monotonic()
    client.ack()
    client.cut()
    expect_receipt(s, contact, client, 1)
    assert time.monotonic() - started >= 0.9, "receipts.grace"


@ALL
def test_a_clean_end_right_behind_the_ack(receipts_scene):
    s = receipts_scene(receipts_grace="1m")
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    read(s, client)
    client.ack()
    client.close()
    expect_receipt(s, contact, client, 1)


def test_none_for_what_expires_and_one_when_it_is_delivered_at_last(receipts_scene):
    s = receipts_scene(sm_max="1s")
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    read(s, client)
    client.cut()
    s.wait_no_sessions()
    s.wait_figure(1, "receipts_withheld_total", reason="unacked")
    contact.ping()
    expect_none(contact)
    again = s.login(resource="new")
    fetch_roster(again)
    again.presence()
    read(s, again)
    expect_none(contact)
    again.ack()
    expect_receipt(s, contact, again, 1)


@ALL
def test_a_sender_that_has_gone_gets_the_receipt_later(receipts_scene):
    s = receipts_scene()
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    message, = read(s, client)
    contact.close()
    client.ack()
    s.wait_figure(1, "receipts_total", source="proxy")
    client.ping(iq_id="behind")
    again = s.direct(resource="later", presence=0)
    receipt = again.wait_for(is_receipt)
    assert receipt.find("received")["id"] == message["id"]
    assert receipt["from"] == client.jid


@pytest.mark.parametrize("kind", ["chat", "normal", "headline"])
def test_the_receipt_has_the_type_of_the_message(receipts_scene, kind):
    s = receipts_scene()
    client, contact = friends(s)
    ask(s, contact, client.jid, 1, kind=kind)
    read(s, client)
    client.ack()
    expect_receipt(s, contact, client, 1, kind)


@ALL
def test_ids_may_be_anything(receipts_scene):
    s = receipts_scene()
    client, contact = friends(s)
    odd = "'\"<&>&amp; é\N{GRINNING FACE}/#"
    contact.message(client.jid, s.text(1), odd, payload=REQUEST)
    read(s, client)
    client.ack()
    assert contact.wait_for(is_receipt).find("received")["id"] == odd


def test_the_same_message_again_gets_no_second_receipt(receipts_scene):
    s = receipts_scene()
    client, contact = friends(s)
    for _ in range(2):
        ask(s, contact, client.jid, 1)
        read(s, client)
        client.ack()
    expect_receipt(s, contact, client, 1)
    expect_none(contact)
    assert s.figure("receipts_withheld_total", reason="repeated") == 1


@ALL
@pytest.mark.parametrize("answers", [False, True], ids=["silent", "answers"])
def test_one_for_a_message_that_two_clients_of_the_account_get(receipts_scene, answers):
    """Whichever says first that it has it; one that sends its own speaks for the other."""
    s = receipts_scene()
    client, contact = friends(s)
    other = s.login(resource="other", presence=0)
    other.ping()
    for number in range(5):  # they are on workers by chance
        ask(s, contact, client.bare_jid, number)
        message, = read(s, client)
        read(s, other)
        if answers:
            answer(client, message)
            client.ping()
        client.ack()
        assert expect_receipt(s, contact, client, number)["id"].startswith("own-" if answers else "hfr-")
        other.ack()
        s.wait_figure(number + 1, "receipts_withheld_total", reason="account")
    contact.ping()
    assert not any(map(is_receipt, contact.queue))
    assert s.figure("receipts_total") == 5


# The client's own

@ALL
def test_a_late_one_of_the_client_goes_nowhere_and_counts(receipts_scene):
    s = receipts_scene()
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    message, = read(s, client)
    client.ack()
    expect_receipt(s, contact, client, 1)
    client.message(contact.jid, "before")
    answer(client, message)
    client.message(contact.jid, "behind")
    assert client.request() == client.sent
    assert [each.body for each in contact.messages(2)] == ["before", "behind"]
    expect_none(contact)
    assert s.figure("receipts_swallowed_total", what="late") == 1
    assert s.figure("uplink_fates_total", fate="swallowed") == 1
    ask(s, contact, client.jid, 2)  # who answers once answers for itself
    message, = read(s, client)
    client.ack()
    expect_none(contact)
    answer(client, message)
    assert expect_receipt(s, contact, client, 2)["id"].startswith("own-")


def test_a_swallowed_receipt_survives_cuts_like_any_stanza(receipts_scene):
    s = receipts_scene()
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    message, = read(s, client)
    client.ack()
    expect_receipt(s, contact, client, 1)
    answer(client, message)
    client.message(contact.jid, s.text(2))
    client.cut()
    again = s.resume(client)
    again.request()
    assert s.hear(contact, 1) == [2]
    expect_none(contact)


def test_a_message_that_the_client_has_receipted_is_not_mailed(receipts_scene):
    s = receipts_scene(sm_max="1s")
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    message, = read(s, client)
    answer(client, message)
    expect_receipt(s, contact, client, 1)
    client.cut()
    s.wait_no_sessions()
    assert s.figure("mailbox_messages") == 0
    assert s.hear_rest(s.login(resource="new", presence=0)) == []


# To whom

@ALL
def test_a_stranger_gets_none_until_presence_was_directed_to_it(receipts_scene):
    s = receipts_scene()
    client, stranger = s.login(presence=0), s.direct(presence=0)
    fetch_roster(client)
    ask(s, stranger, client.jid, 1)
    read(s, client)
    client.ack()
    expect_none(stranger)
    assert s.figure("receipts_withheld_total", reason="presence") == 1
    client.presence(to=stranger.jid)
    client.ping(iq_id="behind")
    ask(s, stranger, client.jid, 2)
    read(s, client)
    client.ack()
    expect_receipt(s, stranger, client, 2)
    client.presence(to=stranger.jid, kind="unavailable")
    client.ping(iq_id="behind")
    ask(s, stranger, client.jid, 3)
    read(s, client)
    client.ack()
    expect_none(stranger)


def test_a_subscription_to_others_shows_them_nothing(receipts_scene):
    s = receipts_scene()
    client, other = s.login(presence=0), s.direct(presence=0)
    befriend(other, client)  # the client may see the other, not the other way round
    fetch_roster(client)
    ask(s, other, client.jid, 1)
    read(s, client)
    client.ack()
    expect_none(other)


@ALL
def test_a_stranger_sees_no_difference(receipts_scene):
    """The client is there, is detached, or has left: the stranger hears nothing but the answer to its own ping. A contact
    that has asked behind it shows that all which was due has been sent."""
    s = receipts_scene()
    client, contact = friends(s)
    stranger = s.direct("c", presence=0)
    stranger.ping()
    stranger.read_all(0)
    for number, state in enumerate(("there", "detached", "gone")):
        if state == "detached":
            client.cut()
            s.wait_detached()
        elif state == "gone":
            client.close()
            s.wait_no_sessions()
        ask(s, stranger, client.bare_jid, 2 * number)
        stranger.ping()
        ask(s, contact, client.bare_jid, 2 * number + 1)
        if state == "detached":
            client = s.resume(client)
        elif state == "gone":
            client = s.login(resource="new", presence=0)
        assert s.hear(client, 2) == [2 * number, 2 * number + 1]
        client.ack()
        expect_receipt(s, contact, client, 2 * number + 1)
        stranger.ping()
        assert stranger.queue == [], state
    assert s.figure("receipts_withheld_total", reason="presence") == 3


@ALL
def test_the_roster_of_an_older_login_counts(receipts_scene):
    """Nothing is pushed any more: the client asks for its roster, with a version (RFC 6121 2.6) or without."""
    s = receipts_scene()
    client, contact = friends(s)
    client.close()
    again = s.login(resource="new", presence=0)
    roster = fetch_roster(again, ver="").find("query", NS_ROSTER)
    version = roster.get("ver")
    ask(s, contact, again.jid, 1)
    read(s, again)
    again.ack()
    expect_receipt(s, contact, again, 1)
    if version is None:  # this server has none
        return
    third = s.login(resource="third", presence=0)
    assert not fetch_roster(third, ver=version).has("item"), "the client is to take its copy"
    ask(s, contact, third.jid, 2)
    read(s, third)
    third.ack()
    expect_receipt(s, contact, third, 2)
    third.ping(iq_id="behind")
    assert not [each for each in third.read_all(0.1) if each.name == "iq"], "what the proxy asked is not told"


@ALL
def test_a_client_that_never_asks_for_its_roster(receipts_scene):
    """The proxy does, when somebody wants a receipt; a push that this brings is not for the client."""
    s = receipts_scene()
    client, contact = friends(s)
    stranger = s.direct("c", presence=0)
    client.close()
    again = s.login(resource="new", presence=0)
    ask(s, stranger, again.jid, 1)
    ask(s, contact, again.jid, 2)
    read(s, again, 2)
    again.ack()
    expect_receipt(s, contact, again, 2)
    contact.presence(to=again.bare_jid, kind="unsubscribe")
    s.wait_figure(1, "answered_for_client_total")
    ask(s, contact, again.jid, 3)
    read(s, again)
    again.ack()
    s.wait_figure(2, "receipts_withheld_total", reason="presence")
    expect_none(contact)
    expect_none(stranger)
    again.ping(iq_id="behind")
    assert not [each for each in again.read_all(0.1) if each.name == "iq"], "neither roster nor push is told"


def test_anyone(receipts_scene):
    s = receipts_scene(receipts_to="anyone")
    client, stranger = s.login(presence=0), s.direct(presence=0)
    ask(s, stranger, client.jid, 1)
    read(s, client)
    client.ack()
    expect_receipt(s, stranger, client, 1)


@pytest.mark.parametrize("to", ["contacts", "anyone"])
def test_a_client_that_is_not_available_gives_none(receipts_scene, to):
    s = receipts_scene(receipts_to=to)
    client, contact = friends(s)
    client.presence(kind="unavailable")
    client.ping(iq_id="behind")
    ask(s, contact, client.jid, 1)
    read(s, client)
    client.ack()
    expect_none(contact)


def test_switched_off(receipts_scene):
    s = receipts_scene(receipts_synthesize="off")
    client, contact = friends(s)
    ask(s, contact, client.jid, 1)
    read(s, client)
    client.ack()
    expect_none(contact)


# Never

@pytest.mark.servers("prosody", "ejabberd")
def test_none_in_a_room(receipts_scene):
    s = receipts_scene(receipts_to="anyone")
    client, contact = friends(s)
    room = f"{s.token}@{s.legacy.muc_domain}"
    for occupant, nick in ((contact, "other"), (client, "me")):
        occupant.presence(to=f"{room}/{nick}", payload="<x xmlns='http://jabber.org/protocol/muc'/>")
        occupant.wait_for(lambda element, nick=nick: element.name == "presence" and element["from"] == f"{room}/{nick}")
        if occupant is contact:
            occupant.iq("set", "room", "<query xmlns='http://jabber.org/protocol/muc#owner'>"
                        "<x xmlns='jabber:x:data' type='submit'/></query>", to=room)
            occupant.pick("iq")
    ask(s, contact, room, 1, kind="groupchat")
    ask(s, contact, f"{room}/me", 2)  # a private message
    assert sorted(map(s.number, read(s, client, 2))) == [1, 2]
    client.ack()
    contact.ping(iq_id="behind")
    assert not [each for each in contact.read_all(QUIET) if is_receipt(each)]


@pytest.mark.servers("prosody", "ejabberd")
def test_none_for_carbon_copies(receipts_scene):
    """The one that got the message answers; the other device has a copy."""
    s = receipts_scene()
    client, contact = friends(s, resource="first")
    copied = s.login(resource="second", presence=0)
    fetch_roster(copied)
    copied.iq("set", "carbons", "<enable xmlns='urn:xmpp:carbons:2'/>")
    copied.pick(lambda element: element.name == "iq" and element.get("id") == "carbons")
    ask(s, contact, client.jid, 1)
    copied.wait_for(lambda element: element.name == "message" and element.has("forwarded"))
    copied.ack()
    expect_none(contact)
    read(s, client)
    client.ack()
    expect_receipt(s, contact, client, 1)
    expect_none(contact)


NEVER = {
    "error": "<message from='{f}' to='{j}' type='error' id='m'><body>x</body>{r}<error type='wait'/></message>",
    "no id": "<message from='{f}' to='{j}' type='chat'><body>x</body>{r}</message>",
    "empty id": "<message from='{f}' to='{j}' type='chat' id=''><body>x</body>{r}</message>",
    "archived": "<message from='{f}' to='{j}' id='m'><result xmlns='urn:xmpp:mam:2' id='1'/>{r}</message>",
    "a receipt": "<message from='{f}' to='{j}' id='m'><received xmlns='urn:xmpp:receipts' id='1'/>{r}</message>",
    "self": "<message from='{b}/other' to='{j}' type='chat' id='m'><body>x</body>{r}</message>",
    "call": "<message from='{f}' to='{j}' id='m'><propose xmlns='urn:xmpp:jingle-message:0' id='1'/>{r}</message>",
}


def stub_client(s, stub):
    client = s.login(presence=0)
    session = stub.session_of(client.jid)
    session.wait_for("presence")
    return client, session


def push(client, subscription="both"):
    return (f"<iq type='set' id='push' to='{client.jid}'><query xmlns='{NS_ROSTER}'>"
            f"<item jid='friend@example.com' subscription='{subscription}'/></query></iq>")


@pytest.mark.parametrize("what", list(NEVER))
def test_never(stub_scene, stub, what):
    s = stub_scene(receipts_grace="0s", receipts_to="anyone")
    client, session = stub_client(s, stub)
    words = {"f": "friend@example.com/x", "j": client.jid, "b": client.bare_jid, "r": REQUEST}
    session.send(NEVER[what].format(**words))
    client.expect("message")
    session.send(f"<message from='{words['f']}' to='{client.jid}' type='chat' id='last'><body>x</body>{REQUEST}"
                 "</message>")
    client.expect("message", skip=("r",))
    client.ack()
    assert session.wait_for("message").find("received")["id"] == "last"


# Rosters, and errors

def answer_roster(session, *contacts):
    """What the proxy asks for on its own when a receipt is due."""
    asked = session.wait_for(lambda element: element.has("query", NS_ROSTER) and element["type"] == "get")
    items = "".join(f"<item jid='{contact}' subscription='from'/>" for contact in contacts)
    session.send(f"<iq type='result' id='{asked['id']}'><query xmlns='{NS_ROSTER}'>{items}</query></iq>")


def test_pushes_of_others_are_not_believed(stub_scene, stub):
    s = stub_scene(receipts_grace="0s")
    client, session = stub_client(s, stub)
    forged = push(client).replace("<iq", "<iq from='friend@example.com/x'")
    ask_it = f"<message from='friend@example.com/x' to='{client.jid}' type='chat' id='%s'><body>x</body>{REQUEST}</message>"
    session.send(forged + ask_it % "forged")
    client.expect("message", skip=("iq", "r"))
    client.ack()
    answer_roster(session)
    s.wait_figure(1, "receipts_withheld_total", reason="presence")
    session.send(push(client) + ask_it % "pushed")
    client.expect("message", skip=("iq", "r"))
    client.ack()
    assert session.wait_for("message").find("received")["id"] == "pushed"


def test_errors_that_come_back_are_swallowed(stub_scene, stub):
    s = stub_scene(receipts_grace="0s")
    client, session = stub_client(s, stub)
    session.send(push(client) + f"<message from='friend@example.com/x' to='{client.jid}' type='chat' id='m'>"
                 f"<body>x</body>{REQUEST}</message>")
    client.expect("message", skip=("iq", "r"))
    client.ack()
    receipt = session.wait_for("message")
    error = (f"<message from='%s' to='{client.jid}' type='error' id='{receipt['id']}'>"
             "<error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
             "</message>")
    session.send(error % "friend@example.com/x" + error % "somebody@example.com")
    assert client.expect("message", skip=("r",))["from"] == "somebody@example.com", "not one of ours"
    assert s.figure("receipts_swallowed_total", what="error") == 1


def test_one_that_no_server_was_there_for_waits(stub_scene, stub):
    """The server goes between ack and receipt; the session is rebuilt when it is back."""
    s = stub_scene(receipts_grace="1s")
    client, session = stub_client(s, stub)
    session.send(push(client) + f"<message from='friend@example.com/x' to='{client.jid}' type='chat' id='m'>"
                 f"<body>x</body>{REQUEST}</message>")
    client.expect("message", skip=("iq", "r"))
    client.ack()
    client.request()
    session.cut()
    client.wait_closed()
    again = s.resume(client)
    fresh = stub.session_of(client.jid)
    assert fresh is not session
    answer_roster(fresh, "friend@example.com")
    assert fresh.wait_for("message").find("received")["id"] == "m"
    again.ping()
    assert s.figure("receipts_total", source="proxy") == 1


def test_the_rate_is_limited_and_nothing_is_lost(stub_scene, stub):
    s = stub_scene(receipts_grace="0s", receipts_to="anyone")
    client, session = stub_client(s, stub)
    session.send("".join(f"<message from='x@example.com/x' to='{client.jid}' type='chat' id='m{number}'>"
                         f"<body>x</body>{REQUEST}</message>" for number in range(30)))
    for _ in range(30):
        client.expect("message", skip=("r",))
    started = time.monotonic()
    client.ack()
    ids = [session.wait_for("message").find("received")["id"] for _ in range(30)]
    assert ids == [f"m{number}" for number in range(30)]
    assert time.monotonic() - started >= 1.8, "20 at once, then 5 a second"


# A client library

@ALL
@pytest.mark.parametrize("answers", [True, False], ids=["xep_0184", "without"])
@scenario
async def test_slixmpp_as_recipient(legacy, proxy_factory, account, answers):
    """With its own plugin, which answers by itself, and without: the sender's plugin hears of each message once."""
    proxy = proxy_factory(receipts_grace="300ms")
    async with Client(account(), proxy.host, proxy.port, proxy.ca) as recipient, \
            Client(account(), proxy.host, proxy.port, proxy.ca) as sender:
        sender.register_plugin("xep_0184")
        if answers:
            recipient.register_plugin("xep_0184")
        receipts = []
        sender.add_event_handler("receipt_received", lambda message: receipts.append(
            (message["from"].full, message["receipt"])))
        sender.add_event_handler("receipt_received", lambda _: asyncio.ensure_future(sender._tell()))
        recipient.send_presence(pto=sender.boundjid.full)
        ids = []
        for number in range(5):
            message = sender.make_message(recipient.boundjid.full, f"number {number}", mtype="chat")
            message["request_receipt"] = True
            message.send()
            ids.append(message["id"])
        await recipient.until_bodies(*(f"number {number}" for number in range(5)))
        await sender.until(lambda: len(receipts) >= 5, "five receipts")
        await asyncio.sleep(QUIET)  # for more that must not come
        assert sorted(receipts) == sorted((recipient.boundjid.full, each) for each in ids)
