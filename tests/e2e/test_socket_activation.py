"""Sockets that the service manager has bound: passed as systemd does (sd_listen_fds(3)), and by its own tool."""

import collections
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from proxy import BINARY, Proxy
from raw import RawClient
from scene import Scene, eventually, stub  # noqa: F401  (a fixture)

SECONDS = 30
FIRST = 3  # SD_LISTEN_FDS_START

pytestmark = pytest.mark.skipif(not BINARY.exists() or b"libsystemd" not in BINARY.read_bytes(),
                                reason="built without libsystemd")


def bound(reuse=False, address="127.0.0.1", port=0, family=socket.AF_INET):
    one = socket.socket(family)
    if reuse:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind((address, port))
    one.listen(64)
    return one


class ActivatedProxy(Proxy):
    """Gets these sockets, a list of (name, socket); they stay open here, as systemd keeps them."""

    passed = ()

    def start(self, wait=True):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("HOLDFAST_", "LISTEN_"))}
        env |= {"LISTEN_FDS": str(len(self.passed)), "LISTEN_FDNAMES": ":".join(name for name, _ in self.passed)}
        fds = [one.fileno() for _, one in self.passed]

        def take_places():
            """Their numbers may be those of the places: first all of them go out of the way."""
            away = [os.dup(fd) for fd in fds]
            high = [os.dup2(fd, 200 + n) for n, fd in enumerate(away)]
            for n, fd in enumerate(high):
                os.dup2(fd, FIRST + n)

        with open(self.log_file, "ab") as log:
            # LISTEN_PID is its own process id, which is known once there is a process: the shell becomes the binary.
            self._child = subprocess.Popen(
                ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", str(self._binary), "-c", str(self.config_file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, env=env,
                preexec_fn=take_places, close_fds=False)
        if wait:
            self.wait_ready()
        return self


@pytest.fixture
def activated(stub, authority):
    """activated([("tls", socket), …], key=value) gives a Scene; what the configuration names besides is not bound."""
    made = []

    def build(passed, start=True, **settings):
        proxy = ActivatedProxy(f"127.0.0.1:{stub.port}", authority, **({"proxy_domain": stub.domain} | settings))
        proxy.passed = passed
        made.append(Scene(stub, proxy, stub.account))
        for name, one in passed:
            if name == "stats":
                proxy.stats_port = one.getsockname()[1]
        if start:
            proxy.start()
        return made[-1]

    yield build
    for s in made:
        s.closing.close()
        s.proxy.remove()
        for _, one in s.proxy.passed:
            one.close()


def login(s, sock, resource, **how):
    return s.login(port=sock.getsockname()[1], resource=resource, connect=how)


def workers_of(s, workers):
    """How many clients each worker got, from their numbers in the log."""
    numbers = map(int, re.findall(r'msg="client accepted" leg=(\d+)', s.proxy.log()))
    return collections.Counter((number - 1) % workers for number in numbers)


def failed_start(s):
    """What it says."""
    s.proxy.start(wait=False)
    assert s.proxy.wait() == 1
    s.proxy.kill()  # the harness need not; looks for reports of sanitizers
    return s.proxy.log()


def refuses(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def test_all_kinds_are_taken_in_place_of_what_is_configured(activated):
    starttls, tls, stats = (bound() for _ in range(3))
    s = activated([("stats", stats), ("tls", tls), ("starttls", starttls)])
    assert login(s, starttls, "clear").ping()["type"] == "result"
    assert login(s, tls, "tls", tls="direct").ping()["type"] == "result"
    assert refuses(s.proxy.port) and refuses(s.proxy.tls_port)
    assert s.figure("sessions") == 2
    s.proxy.signal(signal.SIGHUP)
    eventually(lambda: "configuration reloaded" in s.proxy.log(), "a reload changes nothing of it")
    assert login(s, starttls, "later").ping()["type"] == "result"


def test_what_is_not_passed_is_bound_as_configured(activated):
    tls = bound()
    s = activated([("tls", tls)])
    assert s.login().ping()["type"] == "result"
    assert login(s, tls, "tls", tls="direct").ping()["type"] == "result"
    assert refuses(s.proxy.tls_port)


def test_one_socket_is_dealt_out_to_all_workers(activated):
    starttls = bound()
    s = activated([("starttls", starttls)], proxy_workers="4")
    clients = [login(s, starttls, str(n)) for n in range(12)]
    assert [client.ping()["type"] for client in clients] == 12 * ["result"]
    assert workers_of(s, 4) == {0: 3, 1: 3, 2: 3, 3: 3}
    clients[0].cut()
    assert s.resume(clients[0], port=starttls.getsockname()[1]).ping()["type"] == "result"


def test_as_many_sockets_as_workers_give_each_its_own(activated):
    first = bound(reuse=True)
    sockets = [first] + [bound(reuse=True, port=first.getsockname()[1]) for _ in range(3)]
    other = bound()
    s = activated([("starttls", one) for one in [*sockets, other]], proxy_workers="4")
    clients = [login(s, first, str(n)) for n in range(40)]
    assert [client.ping()["type"] for client in clients] == 40 * ["result"]
    assert set(workers_of(s, 4)) == {0, 1, 2, 3}  # the kernel's choice: none of 40 with a chance of 1 in 100,000
    assert [login(s, other, f"o{n}").ping()["type"] for n in range(4)] == 4 * ["result"]


def test_an_ipv6_socket_for_both_families(activated):
    one = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    s = activated([("starttls", one)])
    port = one.getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        with RawClient(port, s.domain, host=host) as client:
            client.login(*s.account(), "r")
            assert client.ping()["type"] == "result"
    assert "peer=127.0.0.1:" in s.proxy.log() and "peer=[::1]:" in s.proxy.log()


def test_who_connects_during_a_restart_waits(activated):
    starttls = bound()
    s = activated([("starttls", starttls)])
    login(s, starttls, "before")
    s.proxy.stop()
    with RawClient(starttls.getsockname()[1], s.domain, timeout=SECONDS) as client:
        client.send("<?xml version='1.0'?>")
        s.proxy.start()
        client.send(f"<stream:stream to='{s.domain}' version='1.0' xmlns='jabber:client' "
                    "xmlns:stream='http://etherx.jabber.org/streams'>")
        assert client.wait_for("features")


@pytest.mark.parametrize("name, told", [
    ("holdfast.socket", '"holdfast.socket" is no kind of port; set FileDescriptorName='),
    ("", '"" is no kind of port'),
])
def test_a_socket_of_unknown_kind_is_refused(activated, name, told):
    s = activated([("starttls", bound()), (name, bound())], start=False)
    assert told in failed_start(s)


def test_a_socket_that_does_not_listen_is_refused(activated):
    unbound = socket.socket()
    s = activated([("starttls", unbound)], start=False)
    assert "is not a listening TCP socket" in failed_start(s)


@pytest.mark.parametrize("kind", ["tls", "wss"])
def test_a_passed_tls_port_needs_a_certificate(activated, kind):
    s = activated([(kind, bound())], start=False, tls_certificate=None, tls_key=None, listen_tls=None, listen_wss=None)
    assert f"passed sockets: {kind} needs a certificate" in failed_start(s)


def test_passed_sockets_for_websockets(activated):
    sockets = {"ws": bound(), "wss": bound()}
    s = activated(list(sockets.items()))
    for over, one in sockets.items():
        client = s.connect(port=one.getsockname()[1], over=over)
        client.login(*s.account(over), "r")
        assert client.ping()["type"] == "result"
    assert refuses(s.proxy.ws_port) and refuses(s.proxy.wss_port)


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd is not installed")
def test_systemd_s_own_tool(stub, proxy_factory):
    """It binds, starts the proxy when someone comes, and hands over the sockets."""
    proxy = proxy_factory(f"127.0.0.1:{stub.port}", proxy_domain=stub.domain, start=False)
    activate = [shutil.which("systemd-socket-activate"), "-l", f"127.0.0.1:{proxy.port}",
                "-l", f"127.0.0.1:{proxy.tls_port}", "-l", f"127.0.0.1:{proxy.stats_port}",
                "--fdname=starttls:tls:stats"]
    with open(proxy.log_file, "ab") as log:
        proxy._child = subprocess.Popen([*activate, str(proxy._binary), "-c", str(proxy.config_file)],
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=proxy.directory)
    eventually(lambda: not refuses(proxy.stats_port), "it has bound the ports")
    proxy.wait_ready()
    for port, how in ((proxy.port, {}), (proxy.tls_port, {"tls": "direct"})):
        with RawClient(port, stub.domain, ca_file=str(proxy.ca), **how) as client:
            client.login(*stub.account()[:2], "r")
            assert client.ping()["type"] == "result"
    assert proxy.log().count('bound_by="service manager"') == 2
