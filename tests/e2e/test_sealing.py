"""What others can read in Redis, and in its files: with a key nothing of names, messages and rooms; passwords never."""

import base64
import secrets
import subprocess

import pytest

from cluster import cluster, redis, stub_cluster  # noqa: F401  (fixtures)
from proxy import BINARY
from raw import NS_SM3
from scene import eventually, stub  # noqa: F401  (fixtures)
from test_secrets import forms
from test_takeover import acked
from test_tls import reload

NS_MUC = "http://jabber.org/protocol/muc"
OLD, NEW = secrets.token_hex(32), base64.b64encode(secrets.token_bytes(32)).decode()


def held(redis):
    """All keys with all that they hold, as Redis gives it."""
    commands = {"string": ("GET", ()), "hash": ("HGETALL", ()), "zset": ("ZRANGE", ("0", "-1")),
                "stream": ("XRANGE", ("-", "+")), "set": ("SMEMBERS", ())}
    found = []
    for key in redis.keys("*"):
        command, more = commands.get(redis.ask("TYPE", key), (None, ()))
        found += [key, redis.ask(command, key, *more) if command else None]  # it may have gone meanwhile
    return repr(found).encode()


def written(redis):
    """All commands that Redis has written to its file: each change that ever was."""
    return b"".join(path.read_bytes() for path in redis.directory.glob("appendonlydir/*"))


def found_in(text, words):
    return {word for word in words if any(form.encode() in text for form in forms(word))}


def keep_keys(node, *keys):
    """That node has these keys from now on."""
    if not keys:
        node.settings["store.encryption_key_file"] = None
    else:
        file = node.directory / "seal.keys"
        file.touch(mode=0o600)
        file.write_text("# the first one seals\n\n" + "\n".join(keys) + "\n")
        node.settings["store.encryption_key_file"] = file
    node.write_config()
    reload(node)


def from_contact(s, session, client, numbers, sender):
    session.send("".join(f"<message from='{sender}' to='{client.jid}' type='chat'><body>{s.text(number)}</body></message>"
                         for number in numbers))


def enter(session, client, room, password=None):
    """The client joins, the room lets it in and speaks."""
    secret = f"<password>{password}</password>" if password else ""
    client.presence(to=f"{room}/nick", payload=f"<x xmlns='{NS_MUC}'>{secret}</x>")
    session.wait_for(lambda e: e.name == "presence" and e.get("to") == f"{room}/nick")
    session.send(f"<presence from='{room}/nick' to='{client.jid}'><x xmlns='{NS_MUC}#user'>"
                 f"<item affiliation='none' role='participant'/><status code='110'/></x></presence>"
                 f"<message from='{room}/other' to='{client.jid}' type='groupchat'><body>welcome</body></message>")
    client.wait_for(lambda e: e.name == "message" and e["from"] == f"{room}/other")


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "in clear"])
def test_redis_tells_nothing(stub_cluster, stub, redis, tmp_path, sealed):
    """In clear all of it is found: the test can fail."""
    file = tmp_path / "seal.keys"
    file.touch(mode=0o600)
    file.write_text(OLD)
    s = stub_cluster(sm_max="2s", store_encryption_key_file=file if sealed else None)
    user, contact, resource, hall = (f"{name}{s.token}" for name in ("juliet", "romeo", "balcony", "hall"))
    password = f"password{s.token}"
    hidden = {user, contact, resource, hall, s.token}
    s.accounts["a"] = user, password
    room, sender = f"{hall}@conference.{s.domain}", f"{contact}@{s.domain}/orchard"

    client = s.login(resource=resource)
    session = stub.session_of(client.jid)
    client.presence()
    client.iq("get", "roster", "<query xmlns='jabber:iq:roster'/>")
    session.wait_for(lambda e: e.get("id") == "roster")
    session.send(f"<iq type='result' id='roster' to='{client.jid}'><query xmlns='jabber:iq:roster'>"
                 f"<item jid='{contact}@{s.domain}' subscription='both'/></query></iq>")
    s.say(client, sender, range(3))
    enter(session, client, room)
    acked(client)
    from_contact(s, session, client, range(3), sender)
    assert s.hear(client, 3) == list(range(3))
    s.wait_settled()
    while_it_lives = held(redis)

    s.nodes[0].kill()
    s.use(1)
    again = s.resume(client)
    assert again.resumed["h"] == str(client.sent)
    session = stub.session_of(client.jid)
    assert session.wait_for(lambda e: e.get("to") == f"{room}/nick"), "what a rebuild needs was readable"
    again.cut("rst")
    s.wait_detached()
    from_contact(s, session, client, range(10, 13), sender)
    s.wait_no_sessions()
    eventually(lambda: redis.keys("hf:{*}:mail"), "the mailbox has them")
    waiting = held(redis)
    other = s.login(resource="other")
    other.presence()
    assert s.hear(other, 3) == [10, 11, 12]
    other.ack()
    late = s.authenticated()
    assert late.try_resume(client.sm_id, client.h_in)["h"], "the tombstone was readable"

    wanted = set() if sealed else hidden
    assert found_in(while_it_lives, hidden) == wanted
    assert found_in(waiting, {user, contact, s.token}) == wanted & {user, contact, s.token}
    assert found_in(written(redis), hidden) == wanted
    assert found_in(written(redis) + held(redis), {password}) == set()


def test_sessions_move_between_nodes_whose_keys_are_being_changed(stub_cluster, stub, redis):
    """In clear, then OLD, OLD and NEW, NEW and OLD, NEW: neighbours in this row read each other."""
    s = stub_cluster()
    here, there = s.nodes
    rounds = [((), (OLD,)), ((OLD,), (OLD, NEW)), ((OLD, NEW), (NEW, OLD)), ((NEW, OLD), (NEW,))]
    client = s.login()
    for number, (first, second) in enumerate(rounds):
        keep_keys(here, *first)
        keep_keys(there, *second)
        for target in ((there, here) if number else (there,)):  # what is sealed cannot go back to a node without a key
            session = stub.session_of(client.jid)
            client.cut("rst")
            from_contact(s, session, client, range(3), "x@y/z")
            s.wait_queued(3)
            s.wait_settled()
            s.use(s.nodes.index(target))
            client = s.resume(client)
            assert s.hear(client, 3) == list(range(3))
            client.ack()
            s.say(client, "x@y", [number])
            acked(client)
        if number == 0:
            keep_keys(here, OLD)
            client.cut("rst")
            s.use(0)
            client = s.resume(client)
    assert s.sum("store_unreadable_total") == 0


def test_an_old_key_can_go_when_a_living_session_is_sealed_with_the_new_one(stub_cluster, stub, redis):
    """What was written once at a session's beginning, and may be needed much later, is written again."""
    s = stub_cluster()
    keep_keys(s.nodes[0], OLD)
    keep_keys(s.nodes[1], NEW)
    client = s.login()
    s.say(client, "x@y", range(3))
    acked(client)
    s.wait_settled()
    names = [key for key in redis.keys("hf:{*}:s:*")]
    records = [key for key in redis.keys("hf:{*}:j:*")]
    assert len(names) == len(records) == 1

    def used():
        """Which keys have sealed account, proof and record: behind the version, four bytes that stand for a key."""
        texts = [redis.ask("HGET", names[0], field) for field in ("ac", "pr")] + [redis.ask("GET", records[0])]
        return {text.encode(errors="surrogateescape")[:5] for text in texts}

    before = used()
    assert len(before) == 1
    keep_keys(s.nodes[0], NEW, OLD)
    eventually(lambda: len(used()) == 1 and used() != before, "all is sealed with the new key")
    s.nodes[0].kill()
    s.use(1)
    again = s.resume(client)
    assert again.resumed["h"] == "3"


def test_a_node_without_the_key_leaves_all_as_it_is(stub_cluster, stub, redis):
    s = stub_cluster(sm_max="60s")
    for node in s.nodes:
        keep_keys(node, OLD)
    client, gone = s.login(), s.login("b")
    gone.presence()
    s.say(client, "x@y", range(3))
    acked(client)
    session = stub.session_of(client.jid)
    client.cut("rst")
    s.wait_detached()
    from_contact(s, session, client, range(5), "x@y/z")
    s.wait_queued(5)
    gone_session = stub.session_of(gone.jid)
    from_contact(s, gone_session, gone, range(2), "x@y/z")
    s.hear(gone, 2)
    gone.close()  # without an ack: mail
    eventually(lambda: redis.keys("hf:{*}:mail"), "the mailbox has it")
    s.wait_settled()
    s.nodes[0].kill()
    s.use(1)

    for keys in ((), (NEW,)):
        keep_keys(s.nodes[1], *keys)
        late = s.authenticated()
        failed = late.try_resume(client.sm_id, client.h_in)
        assert failed.name == "failed" and failed.condition == "item-not-found"
        reader = s.login("b", "reader")
        reader.presence()
        assert s.hear_rest(reader) == []
        reader.close()
    eventually(lambda: s.figure("sessions") == 0, "they are gone")
    assert "sealed with a key that store.encryption_key_file does not name" in s.proxy.log()
    assert s.figure("store_unreadable_total", reason="no_key") >= 4
    assert s.figure("store_unreadable_total", reason="damaged") == 0

    keep_keys(s.nodes[1], NEW, OLD)
    again = s.resume(client)
    assert again.resumed["h"] == "3"
    assert s.hear(again, 5) == list(range(5))
    reader = s.login("b", "reader")
    reader.presence()
    assert s.hear(reader, 2) == [0, 1]


def test_what_is_damaged_in_redis_does_not_stop_the_rest(stub_cluster, stub, redis):
    s = stub_cluster()
    for node in s.nodes:
        keep_keys(node, OLD)
    client = s.login()
    client.presence()
    session = stub.session_of(client.jid)
    client.cut("rst")
    s.wait_detached()
    from_contact(s, session, client, range(3), "x@y/z")
    s.wait_queued(3)
    s.wait_settled()
    s.nodes[0].kill()
    [stream] = redis.keys("hf:{*}:d:*")
    entries = redis.ask("XRANGE", stream, "-", "+")
    redis.ask("XTRIM", stream, "MAXLEN", "0")
    for number, (entry, fields) in enumerate(entries):
        words = [word.encode(errors="surrogateescape") for word in fields]
        if number == 1:
            words[-1] = words[-1][:-1] + bytes([words[-1][-1] ^ 1])
        redis.ask("XADD", stream, f"{int(entry.partition('-')[0]) + 1}-{entry.partition('-')[2]}", *words)
    s.use(1)
    again = s.resume(client)
    assert s.hear(again, 2) == [0, 2]
    assert s.figure("store_unreadable_total", reason="damaged") == 1


# Passwords

def test_passwords_never_go_to_redis(stub_cluster, stub, redis):
    """Stanzas with one count when the server has confirmed them, and those behind them, too; the room is lost with its
    node, and told so."""
    s = stub_cluster()
    hidden = [f"{name}{s.token}" for name in ("sesame", "changed", "config", "digest")]
    client = s.login()
    session = stub.session_of(client.jid)
    room, open_room = f"cave-{s.token}@conference.{s.domain}", f"hall-{s.token}@conference.{s.domain}"
    stub.answer_pings = False
    s.say(client, "x@y", range(2))
    enter(session, client, room, hidden[0])
    s.say(client, "x@y", range(2, 4))
    client.iq("set", "register", f"<query xmlns='jabber:iq:register'><username>u</username>"
                                 f"<password>{hidden[1]}</password></query>")
    client.iq("set", "configure", f"<query xmlns='{NS_MUC}#owner'><x xmlns='jabber:x:data' type='submit'>"
                                  f"<field var='muc#roomconfig_roomsecret'><value>{hidden[2]}</value></field></x></query>",
              room)
    client.iq("set", "auth", f"<query xmlns='jabber:iq:auth'><username>u</username><digest>{hidden[3]}</digest></query>")
    enter(session, client, open_room)
    client.send(f"<r xmlns='{NS_SM3}'/>")
    assert client.pick("a")["h"] == "2", "what is ahead of the password is committed"
    stub.answer_pings = True
    session.pong()
    acked(client)
    assert client.acked == client.sent == 9
    s.wait_settled()

    s.nodes[0].kill()
    s.use(1)
    again = s.resume(client)
    assert again.resumed["h"] == "9"
    session = stub.session_of(client.jid)
    session.wait_for(lambda e: e.get("to") == f"{open_room}/nick")
    left = again.wait_for(lambda e: e.name == "presence" and e.get("from", "") == f"{room}/nick", timeout=30)
    assert left["type"] == "unavailable" and left.has("x", f"{NS_MUC}#user")
    assert not [e for e in session.received if e.get("to") == f"{room}/nick" and e.get("type") is None]
    everything = held(redis) + written(redis)
    assert found_in(everything, [*hidden, s.token]) == {s.token}, "messages are found, passwords are not"


def test_an_unconfirmed_password_does_not_keep_a_session_on_its_node(stub_cluster, stub, redis):
    """Nor anything behind it: the client has not been told that it is safe, and sends it again."""
    s = stub_cluster()
    client = s.login()
    s.say(client, "x@y", range(2))
    acked(client)
    session = stub.session_of(client.jid)
    stub.answer_pings = False
    room = f"cave-{s.token}@conference.{s.domain}"
    enter(session, client, room, "sesame")
    s.say(client, "x@y", [2])
    s.nodes[0].stop()
    assert "session released" in s.nodes[0].log()
    stub.answer_pings = True
    s.use(1)
    again = s.resume(client)
    assert again.resumed["h"] == "2"
    session = stub.session_of(client.jid)
    session.wait_for(lambda e: e.get("to") == f"{room}/nick")
    assert s.text(2) in session.wait_for("message").body
    acked(again)


@pytest.mark.servers("prosody", "ejabberd")
def test_a_room_with_a_password(cluster, redis):
    """With a real server: the client is told to have left, and joins it again itself."""
    s = cluster()
    password = f"sesame{s.token}"
    room = f"cave-{s.token}@{s.legacy.muc_domain}"
    owner, client = s.direct("owner", presence=""), s.login()

    def join(who, nick, secret=""):
        who.presence(to=f"{room}/{nick}", payload=f"<x xmlns='{NS_MUC}'>{secret}</x>")
        return who.pick(lambda e: e.name == "presence" and e.get("from") == f"{room}/{nick}")

    join(owner, "owner")
    owner.iq("set", "configure", f"<query xmlns='{NS_MUC}#owner'><x xmlns='jabber:x:data' type='submit'>"
             f"<field var='FORM_TYPE'><value>{NS_MUC}#roomconfig</value></field>"
             "<field var='muc#roomconfig_passwordprotectedroom'><value>1</value></field>"
             f"<field var='muc#roomconfig_roomsecret'><value>{password}</value></field></x></query>", room)
    assert owner.pick(lambda e: e.get("id") == "configure")["type"] == "result"
    secret = f"<password>{password}</password>"
    assert not join(client, "client", secret).get("type")
    s.say(client, owner.jid, range(3))
    acked(client)
    s.wait_settled()
    s.nodes[0].kill()
    s.use(1)
    again = s.resume(client)
    left = again.wait_for(lambda e: e.name == "presence" and e.get("from") == f"{room}/client" and
                          e.get("type") == "unavailable", timeout=30)
    assert left["to"] == again.jid
    assert not join(again, "client", secret).get("type")
    assert found_in(held(redis) + written(redis), [password, s.token]) == {s.token}


# The file

@pytest.mark.parametrize("content, why", [
    ("", ": no key in it"),
    (OLD + "\n" + OLD[1:], ":2: not a key: 64 hex digits, or 32 bytes in base64"),
    ("# new\n\n" + base64.b64encode(b"x" * 31).decode(), ":3: not a key"),
    (17 * (OLD + "\n"), ":17: more than 16 keys"),
], ids=["empty", "cut off", "too short", "too many"])
def test_a_bad_key_file_is_refused(stub_cluster, tmp_path, content, why):
    s = stub_cluster(nodes=1)
    keep_keys(s.proxy, OLD)
    file = s.proxy.settings["store.encryption_key_file"]
    file.write_text(content)
    line = 1 + s.proxy.config_file.read_text().splitlines().index(f"encryption_key_file = {file}")
    told = f"{s.proxy.config_file}:{line}: store.encryption_key_file: {file}{why}"
    check = subprocess.run([BINARY, "-t", "-c", s.proxy.config_file], capture_output=True, text=True, timeout=30)
    assert check.returncode == 1 and told in check.stderr
    assert OLD[8:40] not in check.stderr
    reload(s.proxy, good=False)
    assert told in s.proxy.log()
    client = s.login()
    s.say(client, "x@y", range(3))
    acked(client)
    assert found_in(held(s.redis), [s.token]) == set(), "the keys of before are still used"


def test_a_key_file_that_everyone_can_read_is_warned_of(stub_cluster, tmp_path):
    s = stub_cluster(nodes=1)
    keep_keys(s.proxy, OLD)
    file = s.proxy.settings["store.encryption_key_file"]

    def check(*options):
        run = subprocess.run([BINARY, "-t", "-c", s.proxy.config_file, *options], capture_output=True, text=True,
                             timeout=30)
        return run.returncode, run.stderr

    file.chmod(0o644)
    assert f"{file} can be read by everyone; take that away: chmod o-r (warning)" in check()[1]
    file.chmod(0o640)
    assert check() == (0, "")
    code, text = check("-o", "store.url=memory:")
    assert code == 1 and "store.encryption_key_file: is of no use with store.url = memory:" in text
