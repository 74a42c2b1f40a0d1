"""What is measured: each target is a server that clients can log in to, alone or behind a proxy, in processes of its
own on free ports of the loopback. And Load, the client of all of them."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from certs import Authority  # noqa: E402
from proxy import BINARY, Proxy, settings_of  # noqa: E402
from redis_server import RedisServer  # noqa: E402
import servers  # noqa: E402

PROGRAMS = BINARY.parent / "bench"
DOMAIN = "localhost"
START_SECONDS = 30
END_SECONDS = 60
CORES = sorted(os.sched_getaffinity(0))


@contextlib.contextmanager
def on_cores(cores):
    """Processes that are started meanwhile stay there."""
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES)


MEASURED, REST = CORES[-1], CORES[0]  # where what is measured stays, and the rest


def on_core(core):
    return on_cores({core})


class Fault(Exception):
    """A measurement that would not be one: something was lost, refused, or ended."""


class Load:
    """bench-load: `count` clients for a port. ask() sends a command and returns its answer; a loss or failure raises."""

    def __init__(self, port, count, tls=True, managed=True, starttls=False, first=0, web=False):
        command = [PROGRAMS / "bench-load", f"--port={port}", f"--domain={DOMAIN}", f"--clients={count}",
                   f"--first-account={first}"]
        command += ["--starttls" if starttls else "--tls"] if tls else []
        command += ["--websocket"] if web else []
        command += ["--sm"] if managed else []
        with on_core(REST):
            self._child = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.count, self.sessions = count, 0

    @property
    def pid(self):
        return self._child.pid

    def tell(self, *words):
        self._child.stdin.write(" ".join(map(str, words)) + "\n")
        self._child.stdin.flush()

    def answer(self, about="", attack=False):
        line = self._child.stdout.readline()
        if not line:
            raise Fault(f"{about}: bench-load ended with {self._child.wait()}")
        result = json.loads(line)
        bad = {key: result[key] for key in ("failed", "misordered", "lost", "unacked") if result.get(key)}
        if bad and not attack:
            raise Fault(f"{about}: {bad}")
        return result

    def ask(self, *words):
        self.tell(*words)
        return self.answer(" ".join(map(str, words)))

    def ensure(self, sessions, at_once=100):
        """Logs in those that are missing of the first `sessions` clients."""
        if sessions > self.sessions:
            result = self.ask("login", self.sessions, sessions - self.sessions, at_once)
            self.sessions = sessions
            return result
        return None

    def close(self):
        if self._child.stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):  # it has ended by itself
            self._child.stdin.close()
        self._child.stdout.close()
        try:
            self._child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def wait_for_port(port, process):
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        if not process.alive() or time.monotonic() > deadline:
            raise Fault(f"nobody listens on port {port}")
        time.sleep(0.01)


class Target:
    """Subclasses say what runs. `measured` are the names of the processes whose cost counts."""

    name = title = ""
    tls = managed = True
    web = False
    measured = ()
    rows = None  # of those for which targets run side by side: the ones that it is in; None: all

    def __init__(self, under=None):
        """`under` makes the command of the measured process run under another: valgrind."""
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"holdfast-bench-{self.name}-"))
        self.authority = Authority(self.directory / "tls")
        self.under, self.starttls_port = under or [], None
        self.pids, self._closing = {}, contextlib.ExitStack()
        self._closing.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self._loads = []

    @classmethod
    def is_installed(cls):
        return True

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_):
        for load in self._loads:
            load.close()  # before the server, or it would tell of lost connections
        self._closing.close()

    def load(self, count, first=0, starttls=False):
        """Clients for this target, which watch its processes. Their accounts are userFIRST and so on."""
        port = self.starttls_port if starttls else self.port
        one = Load(port, count, self.tls, self.managed, starttls, first, self.web)
        self._loads.append(one)
        for name, pid in self.pids.items():
            one.ask("watch", name, pid)
        return one

    def _run(self, name, command, core, env=None):
        with on_core(core):
            process = servers.Process(command, self.directory / f"{name}.log", self.directory, env)
        self.pids[name] = process.pid
        self._closing.callback(process.end, signal.SIGKILL)
        return process

    def _stub(self, core):
        port, = servers.free_ports(1)
        wait_for_port(port, self._run("stub", [PROGRAMS / "bench-stub", port, DOMAIN], core))
        return port

    def _redis(self):
        """Appends all to its file and syncs that each second, as one that is to keep something does."""
        with on_core(MEASURED):
            self.redis = RedisServer().start()
        self._closing.callback(self.redis.remove)
        self.pids["redis"] = self.redis.process.pid
        return self.redis.url

    def _haproxy(self, upstream):
        """In front of that port of ours."""
        _, _, both = self.authority.issue()
        port, = servers.free_ports(1)
        file = self.directory / "haproxy.cfg"
        file.write_text(f"""global
    nbthread 1
    maxconn 9900
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend clients
    bind 127.0.0.1:{port} ssl crt {both} alpn xmpp-client
    default_backend server
backend server
    server upstream 127.0.0.1:{upstream}
""")
        wait_for_port(port, self._run("haproxy", [*self.under, "haproxy", "-db", "-f", file], MEASURED))
        return port

    def _holdfast(self, upstream, cores=None, **more):
        """The defaults, but one worker, and logins as fast as they can be (by default a server is spared storms); what
        would limit clients that share an address is off by default."""
        settings = {"proxy.workers": 1, "proxy.login_rate": 0, "log.level": "info", "tls.required": "yes"}
        settings |= settings_of(more)
        binary = None
        if self.under:
            binary = self.directory / "holdfast"
            binary.write_text(f'#!/bin/sh\nexec {" ".join(self.under)} {BINARY} "$@"\n')
            binary.chmod(0o755)
        with on_cores(cores or {MEASURED}):
            self.proxy = Proxy(upstream, self.authority, settings, binary=binary)
            self._closing.callback(self.proxy.remove)
            self.proxy.start()
        self.pids["holdfast"] = self.proxy.pid
        self._closing.callback(self.proxy.kill)
        self.starttls_port = self.proxy.port
        return self.proxy.tls_port


class Stub(Target):
    name, title = "stub", "stub in clear"
    tls = managed = False
    measured = ("stub",)

    def start(self):
        self.port = self._stub(MEASURED)


class HAProxy(Target):
    name, title = "haproxy", "HAProxy TLS"
    managed = False
    measured = ("haproxy",)

    def start(self):
        self.port = self._haproxy(self._stub(REST))


class Nginx(Target):
    """As HAProxy: its module for streams."""

    name, title = "nginx", "nginx TLS"
    managed = False
    measured = ("nginx",)
    module = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")

    @classmethod
    def is_installed(cls):
        return cls.module.exists()

    def start(self):
        upstream = self._stub(REST)
        certificate, key, _ = self.authority.issue()
        self.port, = servers.free_ports(1)
        file = self.directory / "nginx.conf"
        file.write_text(f"""load_module {self.module};
daemon off;
master_process off;
pid {self.directory}/nginx.pid;
error_log stderr error;
events {{
    worker_connections 20000;
}}
stream {{
    server {{
        listen 127.0.0.1:{self.port} ssl backlog=4096;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        ssl_alpn xmpp-client;
        proxy_pass 127.0.0.1:{upstream};
        proxy_timeout 1h;
    }}
}}
""")
        command = [*self.under, "nginx", "-p", self.directory, "-e", "stderr", "-c", file]
        wait_for_port(self.port, self._run("nginx", command, MEASURED))


class Holdfast(Target):
    name, title = "holdfast", "Holdfast"
    measured = ("holdfast",)

    def start(self):
        self.port = self._holdfast(f"127.0.0.1:{self._stub(REST)}")


class HoldfastQueues(Target):
    """Its clients may leave many stanzas without an ack for long."""

    name, title = "holdfast+queues", "Holdfast"
    measured = ("holdfast",)

    def start(self):
        self.port = self._holdfast(f"127.0.0.1:{self._stub(REST)}", sm_queue_stanzas="100000", sm_queue_bytes="256m",
                                   sm_ack_timeout="1h")


class HoldfastOne(Target):
    """One worker, on whichever processor: beside HoldfastTwo."""

    name, title = "holdfast+one", "Holdfast, one worker"
    measured = ("holdfast",)
    workers = 1

    def start(self):
        self.port = self._holdfast(f"127.0.0.1:{self._stub(REST)}", set(CORES), proxy_workers=self.workers)


class HoldfastTwo(HoldfastOne):
    name, title = "holdfast+two", "Holdfast, two workers"
    workers = 2


class HoldfastWeb(Target):
    name, title = "holdfast+web", "Holdfast, WebSocket"
    web = True
    measured = ("holdfast",)

    def start(self):
        self._holdfast(f"127.0.0.1:{self._stub(REST)}")
        self.port = self.proxy.wss_port


class HoldfastRedis(Target):
    name, title = "holdfast+redis", "Holdfast + Redis"
    measured = ("holdfast", "redis")

    def start(self):
        self.port = self._holdfast(f"127.0.0.1:{self._stub(REST)}", store_url=self._redis())


LOGIN_RATE = 500  # the default


class Nodes(Target):
    """Two nodes with one Redis, in front of a stub. What they cost is not watched: they are killed."""

    name, title = "nodes", "two nodes, Redis, stub"

    def start(self):
        self._nodes(f"127.0.0.1:{self._stub(REST)}")

    def _nodes(self, upstream):
        url = self._redis()
        self.nodes, self.ports = [], []
        for number in range(2):
            self.ports.append(self._holdfast(upstream, store_url=url, proxy_node=f"node{number}",
                                             proxy_login_rate=LOGIN_RATE))
            self.nodes.append(self.proxy)
        self.port = self.ports[0]
        self.pids = {}

    def kill(self, number, load, count):
        """Without a moment to notice that its clients are gone; when Redis has all of their sessions."""
        deadline = time.monotonic() + START_SECONDS
        while min(len(self.redis.keys(f"hf:{{*}}:{kind}:*")) for kind in "sj") < count:  # hash and record of each
            if time.monotonic() > deadline:
                raise Fault("the sessions are not in Redis")
            time.sleep(0.05)
        self.nodes[number].signal(signal.SIGSTOP)
        load.ask("cut", 0, count)
        self.nodes[number].kill()

    def start_again(self, number):
        with on_core(MEASURED):
            self.nodes[number].start()

    def most_connections(self):
        """That the stub has met in any second but the last."""
        told = (self.directory / "stub.log").read_text()
        return max([int(line.split()[0]) for line in told.splitlines() if line.endswith(" connections")], default=0)


class Legacy(Target):
    """A real server, which does TLS itself; or, if it is `behind`, in clear with Holdfast in front of it."""

    behind = False
    most = 2000  # sessions, as it has so many accounts

    def start(self):
        with on_core(MEASURED):
            accounts = [servers.Server.account(number) for number in range(self.most)]
            self.server = self.make(directory=self.directory / "server", accounts=accounts, domain=DOMAIN)
            self._closing.callback(self.server.remove)
            self.server.start()
        self.pids[self.make.kind], = self.server.pids
        if self.behind:
            self.port = self._holdfast(self.server.upstream)
        else:
            self.port, self.starttls_port = self.server.tls_port, self.server.port


def amend(file, before, after, times=1):
    """Adds what a file of deploy/legacy leaves out, some of it on purpose."""
    text = file.read_text()
    assert text.count(before) == times, (file, before)
    file.write_text(text.replace(before, after))


class PatientProsody(servers.Prosody):
    """Its default of 128 connections that wait to be accepted is too few for a storm. And whose handshake comes last
    shall be measured, not cut off."""

    def _prepare(self):
        super()._prepare()
        amend(self.directory / "prosody.cfg.lua", "\nauthentication = ",
              "\nnetwork_settings = { tcp_backlog = 4096; ssl_handshake_timeout = 600 }\nauthentication = ")


class ModernProsody(PatientProsody):
    def _prepare(self):
        super()._prepare()
        amend(self.directory / "prosody.cfg.lua", '"disco"; "roster";', '"disco"; "smacks"; "roster";')


class QuietEjabberd(servers.Ejabberd):
    """Erlang's schedulers spin for a while before they sleep, which would be counted as work. And five connections
    waiting to be accepted are too few for many clients at once."""

    def _prepare(self):
        super()._prepare()
        module = "    module: ejabberd_c2s\n"
        amend(self.directory / "ejabberd.yml", module, module + "    backlog: 4096\n", times=2)

    def _run(self, command, env=None):
        super()._run(command, env | {"ERL_FLAGS": "+sbwt none +sbwtdcpu none +sbwtdio none"})


class ModernEjabberd(QuietEjabberd):
    def _prepare(self):
        super()._prepare()
        amend(self.directory / "ejabberd.yml", "\nmodules:\n", "\nmodules:\n  mod_stream_mgmt: {}\n")


class ProsodyTls(Legacy):
    name, title, make, measured = "prosody+tls", "Prosody, TLS", PatientProsody, ("prosody",)
    managed = False


class EjabberdTls(Legacy):
    name, title, make, measured = "ejabberd+tls", "ejabberd, TLS", QuietEjabberd, ("ejabberd",)
    managed = False


class ProsodyAlone(Legacy):
    name, title, make, measured = "prosody", "Prosody, smacks, TLS", ModernProsody, ("prosody",)


class EjabberdAlone(Legacy):
    name, title, make, measured = "ejabberd", "ejabberd, stream_mgmt, TLS", ModernEjabberd, ("ejabberd",)


class ProsodyBehind(Legacy):
    name, title, make = "prosody+holdfast", "Holdfast + Prosody in clear", PatientProsody
    behind, measured = True, ("holdfast", "prosody")
    rows = ("login", "latency", "storm")


class EjabberdBehind(Legacy):
    name, title, make = "ejabberd+holdfast", "Holdfast + ejabberd in clear", QuietEjabberd
    behind, measured = True, ("holdfast", "ejabberd")
    rows = ("login", "latency", "storm")


class ProsodyUnaware(Legacy):
    """The least that a proxy with TLS can cost there: it knows nothing of XMPP, and nobody acks anything."""

    name, title, make = "prosody+haproxy", "HAProxy + Prosody in clear", PatientProsody
    managed, measured = False, ("haproxy", "prosody")

    def start(self):
        super().start()
        self.port = self._haproxy(self.server.port)


class EjabberdUnaware(ProsodyUnaware):
    name, title, make = "ejabberd+haproxy", "HAProxy + ejabberd in clear", QuietEjabberd
    measured = ("haproxy", "ejabberd")


class ProsodyFronted(Legacy):
    """One process with both proxies in front of it: what two of a kind take for the same differs by up to a half."""

    name, title, make = "prosody+proxies", "Prosody in clear", PatientProsody

    def start(self):
        super().start()
        self._ports = {"haproxy": self._haproxy(self.server.port), "holdfast": self._holdfast(self.server.upstream)}

    def load_through(self, proxy, count, first):
        self.port, self.managed = self._ports[proxy], proxy == "holdfast"
        return self.load(count, first)


class EjabberdFronted(ProsodyFronted):
    name, title, make = "ejabberd+proxies", "ejabberd in clear", QuietEjabberd


class NodesBefore(Nodes):
    """The same in front of a real server."""

    name, title = "nodes+prosody", "two nodes, Redis, Prosody"

    def start(self):
        accounts = [servers.Server.account(number) for number in range(Legacy.most)]
        with on_core(REST):
            server = PatientProsody(directory=self.directory / "server", accounts=accounts, domain=DOMAIN)
            self._closing.callback(server.remove)
            server.start()
        self._nodes(server.upstream)


TARGETS = {one.name: one for one in (Stub, HAProxy, Nginx, Holdfast, ProsodyTls, ProsodyAlone, ProsodyBehind,
                                     EjabberdTls, EjabberdAlone, EjabberdBehind)
           if one.is_installed()}
# Those of single rows, too.
KINDS = TARGETS | {one.name: one for one in (HoldfastQueues, HoldfastOne, HoldfastTwo, HoldfastWeb, HoldfastRedis,
                                             ProsodyUnaware, EjabberdUnaware, ProsodyFronted, EjabberdFronted, Nodes,
                                             NodesBefore)}
