"""The legacy servers are what the other tests take them for, without Holdfast in between."""

import pytest

from raw import RawClient, patiently


def connect(server, port=None, domain=None, **how):
    client = RawClient(port or server.port, domain or server.domain, ca_file=server.ca, **how)
    client.open_stream()
    return client


def test_the_offer_in_clear(legacy):
    client = connect(legacy)
    # jabberd2 has one list for all hosts; an anonymous login to this one gets no session.
    assert sorted(set(client.mechanisms) - {"ANONYMOUS"}) == sorted(legacy.mechanisms)
    assert client.offers("starttls")
    client.close()


def test_every_mechanism_logs_in_and_no_stream_management_is_offered(legacy, account):
    for mechanism in set(legacy.mechanisms) - {"SCRAM-SHA-512"}:  # which raw.py does not speak
        name, password, _ = account()

        def log_in(name=name, password=password, mechanism=mechanism):
            client = RawClient(legacy.port, legacy.domain)
            client.authenticate(name, password, mechanism=mechanism)
            return client

        client = patiently(legacy, log_in)
        assert not client.offers("sm")
        client.bind("r")
        client.close()


def test_anonymous_logins_have_a_host_of_their_own(legacy):
    client = connect(legacy, domain=legacy.anonymous_domain)
    assert "ANONYMOUS" in client.mechanisms
    client.close()

    def log_in():
        client = RawClient(legacy.port, legacy.anonymous_domain)
        client.authenticate()
        assert f"@{legacy.anonymous_domain}/" in client.bind()
        return client

    patiently(legacy, log_in).close()


@pytest.mark.parametrize("way", ["starttls", "direct"])
def test_tls_both_ways_without_channel_binding(legacy, account, way):
    name, password, _ = account()

    def log_in():
        if way == "starttls":
            client = connect(legacy)
            client.starttls()
            client.open_stream()
        else:
            client = connect(legacy, port=legacy.tls_port, tls="direct")
        assert not [one for one in client.mechanisms if one.endswith("-PLUS")]
        client.auth("PLAIN", name, password)
        return client

    client = patiently(legacy, log_in)
    client.open_stream()
    client.bind("r")
    client.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_keeps_ports_accounts_and_messages(own_legacy, account, how):
    sender, receiver = account(), account()
    client = RawClient(own_legacy.port, own_legacy.domain)
    client.login(sender.name, sender.password, sm=False)
    client.stanza(f"<message to='{receiver.jid}' type='chat' id='m1'><body>kept</body></message>")
    client.stanza(f"<iq type='get' id='p1' to='{own_legacy.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
    client.wait_for(lambda element: element.get("id") == "p1")
    client.close()
    own_legacy.restart(how)
    client = RawClient(own_legacy.port, own_legacy.domain)
    client.login(receiver.name, receiver.password, sm=False, presence=0)
    if own_legacy.kind != "ejabberd" or how != "kill":  # it writes offline messages up to 5 s later
        assert client.wait_for("message").body == "kept"
    client.close()
