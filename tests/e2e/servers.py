"""The real legacy servers, each in a process of its own with the files of deploy/legacy, a temporary directory and free
ports on 127.0.0.1. Nothing of the system's own services is touched.

    python3 tests/e2e/servers.py prosody [PORT]     runs one in the foreground, with the accounts alice and bob
"""

import collections
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

from certs import Authority

CONFIGURATION = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "legacy"
ACCOUNTS = 1000
START_SECONDS = 60
STOP_SECONDS = 30
_chance = random.SystemRandom()
_given = collections.deque(maxlen=400)     # ports


def port_range():
    """Below the ports that the kernel takes for outgoing connections, so that a server which is down for a moment finds
    its port free again. Each of the processes that test side by side has a share of its own: a port is taken a moment
    before somebody listens on it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw15").removeprefix("gw")
    first = 10000 + int(worker) % 16 * 1375
    return first, first + 1375


def free_ports(count):
    """Different ports that nobody listens on. Some time passes before the same is given again: whoever got one may start
    late."""
    ports = set()
    while len(ports) < count:
        port = _chance.randrange(*port_range())
        if port in _given:
            continue
        _given.append(port)
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
                ports.add(port)
            except OSError:
                pass
    return list(ports)


def port_is_free(port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return one.connect_ex(("127.0.0.1", port)) != 0


def fill(source, target, words):
    """Copies a file of deploy/legacy with its @WORDS@ filled in; a word without a value is an error."""
    text = source.read_text()
    for word, value in words.items():
        text = text.replace(f"@{word}@", str(value))
    target.write_text(text)
    return target


class Process:
    """A child that dies with whoever started it, writes its output into a file and gets no Ctrl-C of the terminal."""

    def __init__(self, command, log, cwd, env=None):
        with open(log, "ab") as out:
            self._child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, command)], stdout=out,
                                           stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=cwd, env=env,
                                           start_new_session=True)

    @property
    def pid(self):
        return self._child.pid

    def alive(self):
        return self._child.poll() is None

    def end(self, number):
        """Sends a signal and waits for the end; an end that does not come is forced, and an error."""
        if self.alive():
            self._child.send_signal(number)
        try:
            return self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            raise RuntimeError(f"process {self.pid} did not end by signal {number}") from None


class Server:
    """What the tests need to know of a legacy server. Subclasses write its files and start its processes."""

    kind = ""
    mechanisms = ()       # offered in clear
    anonymous = True      # has a host for anonymous logins
    rooms = True          # has a conference service

    def __init__(self, directory=None, accounts=None, ports=None, domain="localhost"):
        self._own_directory = directory is None
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix=f"holdfast-{self.kind}-"))
        self.domain = domain
        self.anonymous_domain = f"anon.{domain}" if self.anonymous else None
        self.muc_domain = f"conference.{domain}" if self.rooms else None
        self.host = "127.0.0.1"
        self.port, self.tls_port, self._spare_port = ports or free_ports(3)
        self._accounts = accounts or [self.account(n) for n in range(ACCOUNTS)]
        self._processes = []
        self.log_file = self.directory / "log"
        self.data = self.directory / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        authority = Authority(self.directory / "tls")
        self.ca = authority.ca
        self.certificate, self.key, self._pem = authority.issue()
        self._prepare()

    @staticmethod
    def account(number):
        return f"user{number}", f"secret-{number}"

    @property
    def upstream(self):
        return f"{self.host}:{self.port}"

    @property
    def pids(self):
        assert self._processes is not None, "this server belongs to all tests: take own_legacy"
        return [one.pid for one in self._processes]

    def __getstate__(self):
        """A copy in another process knows where the server is, and cannot end it."""
        return self.__dict__ | {"_processes": None}

    def start(self):
        assert self._processes == [], "is running, or belongs to another process"
        self._launch()
        self._await_ready()
        return self

    def stop(self):
        self._end(signal.SIGTERM)

    def kill(self):
        self._end(signal.SIGKILL)

    def restart(self, how="stop"):
        """The same ports, the same data. `how`: "stop" or "kill"."""
        getattr(self, how)()
        self.start()

    def freeze(self):
        for one in self.pids:
            os.kill(one, signal.SIGSTOP)

    def thaw(self):
        for one in self.pids:
            os.kill(one, signal.SIGCONT)

    def has_written(self, text):
        """Whether a kill would find that in its files. Told by those servers that write late."""
        return True

    def remove(self):
        """Ends it and takes its directory away, unless the caller gave one."""
        self.kill()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def _words(self):
        return {"DOMAIN": self.domain, "PORT": self.port, "TLS_PORT": self.tls_port, "DATA": self.data,
                "CERTIFICATE": self.certificate, "KEY": self.key, "PEM": self._pem, "CONFIG": self.directory,
                "ROUTER_PORT": self._spare_port, "SECRET": "between-the-parts"}

    def _fill(self, name):
        return fill(CONFIGURATION / self.kind / name, self.directory / name, self._words())

    def _run(self, command, env=None):
        self._processes.append(Process(command, self.log_file, self.directory, env))

    def _end(self, number):
        assert self._processes is not None, "this server belongs to all tests: take own_legacy"
        ending, self._processes = self._processes, []
        for one in reversed(ending):
            one.end(number)

    def _await_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if not all(one.alive() for one in self._processes) or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.kind} did not start:\n{self.log()[-4000:]}")
            time.sleep(0.05)

    def _ready(self):
        """Whether the server offers a login on each host that it has."""
        hosts = [self.domain, self.anonymous_domain] if self.anonymous else [self.domain]
        return all(self._offers_login(host) for host in hosts)

    def _offers_login(self, host):
        header = (f"<?xml version='1.0'?><stream:stream to='{host}' version='1.0' xmlns='jabber:client' "
                  "xmlns:stream='http://etherx.jabber.org/streams'>")
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as probe:
                probe.sendall(header.encode())
                answer = b""
                while b"</stream:features>" not in answer:
                    more = probe.recv(4096)
                    if not more:
                        return False
                    answer += more
                return b"<mechanism>" in answer
        except OSError:
            return False


class Prosody(Server):
    kind = "prosody"
    mechanisms = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256")

    def _prepare(self):
        fill_in = self._fill("prosody.cfg.lua")
        # The tests may run as root; whoever installs a real server does not want this line.
        self._file = self.directory / "main.cfg.lua"
        self._file.write_text(f'run_as_root = true\nInclude "{fill_in}"\n')
        # Prosody spells its folders so that any name is safe: example%2eorg
        folder = self.data / re.sub(r"[^A-Za-z0-9]", lambda c: f"%{ord(c[0]):02x}", self.domain) / "accounts"
        folder.mkdir(parents=True, exist_ok=True)
        for name, password in self._accounts:
            (folder / f"{name}.dat").write_text(f'return {{ ["password"] = "{password}" }};\n')

    def _launch(self):
        self._run(["prosody", "--config", self._file, "-F"])


class Ejabberd(Server):
    """Run by erl itself without a distribution name: no epmd, and as many instances beside each other as are wanted."""

    kind = "ejabberd"
    mechanisms = ("PLAIN", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")

    def _prepare(self):
        self._file = self._fill("ejabberd.yml")
        self._marker = self.directory / "accounts-made"
        lines = [f'{{<<"{name}">>, <<"{password}">>}}.\n' for name, password in self._accounts]
        (self.directory / "accounts").write_text("".join(lines))

    def _launch(self):
        libraries = next(pathlib.Path("/usr/lib").glob("*/ejabberd-*")).parent
        self._run(["erl", "-noinput", "+K", "true", "-mnesia", "dir", f'"{self.data}"', "-s", "ejabberd", "-eval",
                   self._make_accounts()],
                  env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.directory), "ERL_LIBS": str(libraries),
                       "LANG": "C.UTF-8", "EJABBERD_CONFIG_PATH": str(self._file), "ERL_CRASH_DUMP_BYTES": "0",
                       "EJABBERD_LOG_PATH": str(self.directory / "ejabberd.log")})

    def _make_accounts(self):
        """Erlang that waits for the start, makes the accounts and tells by a file; made once, kept by mnesia."""
        return (f'{{ok, _}} = application:ensure_all_started(ejabberd), filelib:is_file("{self._marker}") orelse begin '
                f'{{ok, L}} = file:consult("{self.directory}/accounts"), '
                f'[ok = ejabberd_auth:try_register(U, <<"{self.domain}">>, P) || {{U, P}} <- L], mnesia:sync_log(), '
                f'ok = file:write_file("{self._marker}", <<>>) end.')

    def _ready(self):
        return self._marker.exists() and super()._ready()

    def has_written(self, text):
        """A table of Mnesia's on disk (*.DAT) may be ahead of the log, and is set back by it after a kill."""
        return any(text.encode() in each.read_bytes() for each in self.data.iterdir()
                   if each.is_file() and each.suffix != ".DAT")

    def log(self):
        own = self.directory / "ejabberd.log"
        return super().log() + (own.read_text(errors="replace") if own.exists() else "")


class Jabberd2(Server):
    """Router, session managers (one more for anonymous logins) and c2s; s2s is left out."""

    kind = "jabberd2"
    mechanisms = ("PLAIN", "DIGEST-MD5")
    rooms = False
    PARTS = ("router", "sm", "sm-anon", "c2s")

    def _words(self):
        modules = next(pathlib.Path("/usr/lib").glob("*/jabberd2"))
        return super()._words() | {"MODULES": modules}

    def _prepare(self):
        for part in (*self.PARTS, "router-users"):
            self._fill(f"{part}.xml")
        schema = (CONFIGURATION / self.kind / "schema.sql").read_text()
        for name in ("sqlite.db", "anon.db"):
            if not (self.data / name).exists():
                with sqlite3.connect(self.data / name) as database:
                    database.executescript(schema)
        self._make_accounts()

    def _make_accounts(self):
        database = sqlite3.connect(self.data / "sqlite.db")
        known = {name for (name,) in database.execute('SELECT "username" FROM "authreg"')}
        for name, password in self._accounts:
            if name not in known:
                database.execute('INSERT INTO "authreg" VALUES (?, ?, ?)', (name, self.domain, password))
                database.execute('INSERT INTO "active" ("collection-owner", "time") VALUES (?, ?)',
                                 (f"{name}@{self.domain}", int(time.time())))
        database.commit()
        database.close()

    def _launch(self):
        self._log_before = len(self.log())
        for part in self.PARTS:
            if part == "c2s":  # it and the session managers lock each other out of their database when they open it
                self._await_log("sm ready for sessions")
            self._run([f"/usr/sbin/jabberd2-{part.split('-')[0]}", "-c", self.directory / f"{part}.xml"])
            if part == "router":
                self._await_port(self._spare_port)

    def _ready(self):
        """c2s offers logins before the session managers have told the router which domains are theirs."""
        news = self.log()[self._log_before:]
        return all(f"[{host}] online" in news for host in (self.domain, self.anonymous_domain)) and super()._ready()

    def _await_log(self, text):
        deadline = time.monotonic() + START_SECONDS
        while text not in self.log()[self._log_before:] and time.monotonic() < deadline:
            time.sleep(0.02)

    def _await_port(self, port):
        deadline = time.monotonic() + START_SECONDS
        while socket.socket().connect_ex((self.host, port)) and time.monotonic() < deadline:
            time.sleep(0.02)


KINDS = {one.kind: one for one in (Prosody, Ejabberd, Jabberd2)}


def main(arguments):
    kind = KINDS[arguments[0]]
    ports = free_ports(3)
    if len(arguments) > 1:
        ports[0] = int(arguments[1])
    server = kind(accounts=[("alice", "alice-secret"), ("bob", "bob-secret")], ports=ports)
    try:
        server.start()
        print(f"{kind.kind} on {server.upstream}, domain {server.domain}: "
              "alice@localhost alice-secret, bob@localhost bob-secret", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        server.remove()


if __name__ == "__main__":
    main(sys.argv[1:])
