"""TLS towards clients: tickets that other nodes, workers and the next process take; many certificates, renewed under
load; their end told in time."""

import base64
import os
import random
import re
import signal
import ssl
import subprocess
import threading
import time

import pytest

from proxy import BINARY
from raw import RawClient
from scene import eventually, stub, stub_scene  # noqa: F401  (fixtures)

DAY = 86400


class Resumer:
    """A client that keeps its TLS session, as of one version of TLS."""

    def __init__(self, ca, domain, version):
        self.context = ssl.create_default_context(cafile=ca)
        self.context.set_alpn_protocols(["xmpp-client"])
        self.context.maximum_version = version
        self.domain = domain
        self.session = None

    def connect(self, proxy):
        """Whether TLS was resumed. A bit of XMPP follows, behind which the ticket has come."""
        with RawClient(proxy.tls_port, self.domain) as client:
            client.sock = self.context.wrap_socket(client.sock, server_hostname=self.domain, session=self.session)
            client.open_stream()
            self.session = client.sock.session
            return client.sock.session_reused


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3],
                                   ids=["TLS 1.2", "TLS 1.3"])


def key_line():
    return base64.b64encode(os.urandom(80)).decode() + "\n"


def reload(proxy, good=True):
    """HUP; waits for its end."""
    text = b"configuration reloaded" if good else b"nothing has changed"
    with open(proxy.log_file, "rb") as log:
        log.seek(0, 2)
        proxy.signal(signal.SIGHUP)
        heard = b""

        def has_ended():
            nonlocal heard
            heard = heard[-len(text):] + log.read()
            return text in heard

        eventually(has_ended, "the reload has ended")


@VERSIONS
def test_tickets_are_good_on_all_nodes_and_over_restart_and_rotation(stub_scene, tmp_path, version):
    file = tmp_path / "tickets"
    old, new = key_line(), key_line()
    file.write_text(old)
    file.chmod(0o600)
    s, other = (stub_scene(tls_ticket_key_file=file) for _ in range(2))
    client = Resumer(s.proxy.ca, s.domain, version)
    assert not client.connect(s.proxy)
    for node in (s.proxy, other.proxy, s.proxy):
        assert client.connect(node), "on another node"
    s.proxy.restart()
    assert client.connect(s.proxy), "after a restart"
    reload(s.proxy)
    assert client.connect(s.proxy), "after a reload"

    left_behind = Resumer(s.proxy.ca, s.domain, version)
    left_behind.connect(s.proxy)
    file.write_text("# rotated\n" + new + old)
    reload(s.proxy)
    assert client.connect(s.proxy), "an old ticket after a rotation"
    file.write_text(new)
    reload(s.proxy)
    reload(other.proxy)
    assert client.connect(s.proxy) and client.connect(other.proxy), "it has got a new one meanwhile"
    assert not left_behind.connect(s.proxy), "whose key is gone"


@VERSIONS
def test_without_a_file_workers_share_a_key_that_outlives_a_reload(stub_scene, version):
    s = stub_scene(proxy_workers="4")
    client = Resumer(s.proxy.ca, s.domain, version)
    assert not client.connect(s.proxy)
    for _ in range(20):
        assert client.connect(s.proxy)
    reload(s.proxy)
    for _ in range(20):
        assert client.connect(s.proxy)
    s.proxy.restart()
    assert not client.connect(s.proxy)


def test_openssl_resumes(stub_scene, tmp_path):
    file = tmp_path / "tickets"
    file.write_bytes(os.urandom(160))  # two keys as they are
    s, other = (stub_scene(tls_ticket_key_file=file) for _ in range(2))

    def s_client(proxy, *arguments):
        text = f"<stream:stream to='{s.domain}' version='1.0' xmlns='jabber:client' " \
               "xmlns:stream='http://etherx.jabber.org/streams'></stream:stream>"
        run = subprocess.run(["openssl", "s_client", "-connect", f"{proxy.host}:{proxy.tls_port}", "-servername",
                              s.domain, "-ign_eof", *arguments], input=text, capture_output=True, text=True, timeout=30)
        return run.stdout

    for version in ("-tls1_2", "-tls1_3"):
        session = tmp_path / ("session" + version)
        assert "\nNew, TLS" in s_client(s.proxy, version, "-sess_out", session)
        assert "\nReused, TLS" in s_client(other.proxy, version, "-sess_in", session)


@pytest.mark.parametrize("offered, chosen", [
    ("TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    ("TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"),
    ("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256")])
def test_the_cheapest_suite_that_a_client_has_is_chosen(stub_scene, offered, chosen):
    proxy = stub_scene().proxy
    run = subprocess.run(["openssl", "s_client", "-connect", f"{proxy.host}:{proxy.tls_port}", "-ciphersuites", offered],
                         input="", capture_output=True, text=True, timeout=30)
    assert f"Cipher is {chosen}\n" in run.stdout, run.stdout + run.stderr


@pytest.mark.parametrize("content, why", [
    (b"", ": no key in it"),
    (48 * b"\xff", ": 48 bytes, not one key of 80 bytes"),
    (base64.b64encode(80 * b"k") + b"\nAAAA\n", ":2: not a key: 80 bytes in base64"),
], ids=["empty", "too short", "bad line"])
def test_a_bad_ticket_key_file_is_refused(stub_scene, tmp_path, content, why):
    file = tmp_path / "tickets"
    file.write_text(key_line())
    file.chmod(0o600)
    s = stub_scene(tls_ticket_key_file=file)
    client = Resumer(s.proxy.ca, s.domain, ssl.TLSVersion.TLSv1_3)
    client.connect(s.proxy)
    file.write_bytes(content)
    line = 1 + s.proxy.config_file.read_text().splitlines().index(f"ticket_key_file = {file}")
    told = f"{s.proxy.config_file}:{line}: tls.ticket_key_file: {file}{why}"
    check = subprocess.run([BINARY, "-t", "-c", s.proxy.config_file], capture_output=True, text=True, timeout=30)
    assert check.returncode == 1 and told in check.stderr
    reload(s.proxy, good=False)
    assert told in s.proxy.log()
    assert client.connect(s.proxy), "the keys of before are still used"


def test_ticket_keys_that_everyone_can_read_are_warned_of(stub_scene, tmp_path):
    file = tmp_path / "tickets"
    file.write_text(key_line())
    file.chmod(0o644)
    s = stub_scene(tls_ticket_key_file=file, start=False, sums=False)

    def warning():
        check = subprocess.run([BINARY, "-t", "-c", s.proxy.config_file], capture_output=True, text=True, timeout=30)
        assert check.returncode == 0
        return check.stderr

    assert f"{file} can be read by everyone; take that away: chmod o-r (warning)" in warning()
    file.chmod(0o640)
    assert warning() == ""


# --- certificates

NAMES = [f"n{n}.many.test" for n in range(18)]
WILD = "*.wild.test"
EXACT = "exact.wild.test"
ASKED = NAMES + ["any.wild.test", "other.wild.test", EXACT, None, "unknown.test", "two.levels.wild.test"]


def names_on(certificate):
    return {value for kind, value in certificate["subjectAltName"] if kind == "DNS"}


def expected(asked):
    if asked in NAMES or asked == EXACT:
        return asked
    return WILD if asked in ("any.wild.test", "other.wild.test") else NAMES[0]


class Load:
    """Handshakes one after the other, each for a name by chance, until told to stop."""

    def __init__(self, proxy, count):
        self.proxy = proxy
        self.context = ssl.create_default_context(cafile=proxy.ca)
        self.context.check_hostname = False
        self.context.set_alpn_protocols(["xmpp-client"])
        self.stop = threading.Event()
        self.done, self.faults, self.serials = 0, [], set()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.stop.is_set():
            asked = random.choice(ASKED)
            try:
                self.serials.add(self.handshake(asked))
                self.done += 1
            except (OSError, AssertionError, RuntimeError) as fault:
                self.faults.append((asked, fault))

    def handshake(self, asked):
        """Through it, and a round trip of XMPP behind it; gives the certificate's serial number."""
        with RawClient(self.proxy.tls_port, "example.org") as client:
            client.sock = self.context.wrap_socket(client.sock, server_hostname=asked)
            certificate = client.sock.getpeercert()
            assert expected(asked) in names_on(certificate), (asked, certificate)
            client.open_stream()
            return certificate["serialNumber"]

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(30)


def make_certificates(authority, generation):
    """Twenty files; the wildcard's comes before the one of a name that it covers."""
    groups = [[name] for name in NAMES] + [[WILD], [EXACT]]
    return [authority.issue(f"{generation}-{n}", group)[2] for n, group in enumerate(groups)]


# A hundred with HOLDFAST_LARGE=1, as in `make check-full`.
RENEWALS = 100 if os.environ.get("HOLDFAST_LARGE") else 16


def test_twenty_certificates_are_renewed_many_times_under_load(stub_scene, authority, tmp_path):
    current = tmp_path / "certificates"
    current.mkdir()
    generations = [make_certificates(authority, generation) for generation in ("even", "odd")]
    files = [current / f"{n}.pem" for n in range(20)]

    def install(generation):
        for source, target in zip(generations[generation], files):
            new = target.with_suffix(".new")
            new.write_bytes(source.read_bytes())
            new.replace(target)

    install(0)
    s = stub_scene(tls_certificate=", ".join(map(str, files)), tls_key=None, proxy_workers="2", log_level="info")
    stay = [s.closing.enter_context(RawClient(s.proxy.tls_port, s.domain)) for _ in range(3)]
    for n, client in enumerate(stay):
        client.wrap(["xmpp-client"])
        client.login(*s.account(), f"stays{n}")
    load = Load(s.proxy, 3)
    for number in range(RENEWALS):
        install((number + 1) % 2)
        reload(s.proxy)
    load.end()
    assert load.faults == []
    assert load.done > RENEWALS and len(load.serials) > 30, (load.done, len(load.serials))
    assert s.figure("tls_handshakes_total", result="failed") == 0
    assert s.figure("tls_handshakes_total", result="ok") >= load.done
    assert [client.ping()["type"] for client in stay] == 3 * ["result"]


def test_the_end_of_certificates_is_told_in_time(stub_scene, authority):
    far, soon, sooner = (authority.issue(f"ends-{days}", [f"ends{days}.test"], days=days)[2] for days in (30, 13, 5))
    s = stub_scene(tls_certificate=f"{far}, {sooner}, {soon}", tls_key=None)
    end = s.figure("certificate_expiry_timestamp_seconds")
    assert abs(end - (time.time() + 5 * DAY)) < 3600
    told = [line for line in s.proxy.log().splitlines() if "a certificate ends soon" in line]
    assert [re.search(r"file=(\S+)", line)[1] for line in told] == [str(sooner), str(soon)]
    assert all("level=warn" in line and re.search(r"days_left=(4|5|12|13)\b", line) for line in told)
    s.proxy.settings["tls.certificate"] = far
    s.proxy.write_config()
    reload(s.proxy)
    assert abs(s.figure("certificate_expiry_timestamp_seconds") - (time.time() + 30 * DAY)) < 3600
    assert s.proxy.log().count("a certificate ends soon") == 2
