"""A Redis of a test's own, on a free port of loopback, and a client to look into it."""

import contextlib
import pathlib
import shutil
import signal
import socket
import tempfile
import time

from servers import Process, free_ports

PROGRAM = shutil.which("redis-server") or "/usr/bin/redis-server"


class RedisError(Exception):
    """An error reply."""


class RedisServer:
    """`options`: more lines of its configuration. It keeps what it holds over a stop (append-only file)."""

    DEFAULTS = ('save ""', "appendonly yes", "appendfsync everysec", "repl-diskless-sync-delay 0")
    MODE = ()

    def __init__(self, *options, port=None):
        self.host = "127.0.0.1"
        self.port = port or free_ports(1)[0]
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-redis-"))
        self.config = self.directory / "redis.conf"
        self.log_file = self.directory / "log"
        self.config.write_text("\n".join([
            f"port {self.port}", f"bind {self.host}", f"dir {self.directory}", "daemonize no", *self.DEFAULTS, *options, ""]))
        self.password = None    # what `ask` says first, if a test has set one
        self.process = None

    @property
    def url(self):
        return f"redis://{self.host}:{self.port}"

    def start(self):
        self.process = Process([PROGRAM, self.config, *self.MODE], self.log_file, self.directory)
        deadline = time.monotonic() + 20
        while True:
            try:
                if self.ask("PING") == "PONG":
                    return self
            except (OSError, RedisError):  # not listening, or loading its file
                assert self.process.alive() and time.monotonic() < deadline, self.log()
                time.sleep(0.02)

    def stop(self):
        self.process.end(signal.SIGTERM)

    def kill(self):
        self.process.end(signal.SIGKILL)

    def signal(self, number):
        self.process._child.send_signal(number)

    def forget(self):
        """While it is down: what it had written is gone."""
        for path in self.directory.glob("appendonlydir/*"):
            path.unlink()

    def remove(self):
        if self.process and self.process.alive():
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    # To look into it

    @staticmethod
    def command(*words):
        """As it goes over the wire."""
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)

    def ask(self, *words):
        """One command, on a connection of its own; an error reply is raised."""
        with self.asking() as ask:
            return ask(*words)

    @contextlib.contextmanager
    def asking(self):
        """A connection for many commands."""
        with socket.create_connection((self.host, self.port), 10) as sock, sock.makefile("rb") as answer:
            def ask(*words):
                sock.sendall(self.command(*words))
                return read_reply(answer)

            if self.password:
                ask("AUTH", self.password)
            yield ask

    def keys(self, pattern="hf:*"):
        """All keys of that pattern."""
        found, cursor = set(), "0"
        while True:
            cursor, some = self.ask("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            found.update(some)
            if cursor == "0":
                return found

    def immortal(self):
        """Keys without a time to live."""
        return {key for key in self.keys() if self.ask("PTTL", key) == -1}


def read_reply(answer):
    line = answer.readline()
    if not line.endswith(b"\r\n"):
        raise OSError("the connection was closed")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise RedisError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else answer.read(int(rest) + 2)[:-2].decode(errors="surrogateescape")
    if kind == b"*":
        return None if rest == b"-1" else [read_reply(answer) for _ in range(int(rest))]
    return rest.decode()
