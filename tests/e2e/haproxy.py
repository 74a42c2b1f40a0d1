"""HAProxy, and the PROXY protocol in Python: written by the specification alone, so that both sides are held to it."""

import contextlib
import ipaddress
import pathlib
import shutil
import signal
import socket
import struct
import tempfile
import time

from raw import RawClient
from servers import Process
from stub import StubServer, StubSession

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL = SIGNATURE + b"\x20\0\0\0"


def v1(source, destination):
    """Of (address, port) pairs."""
    family = "TCP6" if ":" in source[0] else "TCP4"
    return f"PROXY {family} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode()


def v2(source, destination, tlvs=b""):
    ends = b"".join(ipaddress.ip_address(end[0]).packed for end in (source, destination))
    ends += struct.pack("!HH", source[1], destination[1])
    family = 0x21 if ":" in source[0] else 0x11
    return SIGNATURE + struct.pack("!BBH", 0x21, family, len(ends + tlvs)) + ends + tlvs


def read_header(sock):
    """Takes a header off a socket: (version, source, destination), the ends None where it tells none."""
    head = receive(sock, 8)
    if head.startswith(b"PROXY "):
        while not head.endswith(b"\r\n"):
            head += receive(sock, 1)
        words = head.decode().split()
        if words[1] == "UNKNOWN":
            return 1, None, None
        assert words[1] == ("TCP6" if ":" in words[2] else "TCP4")
        return 1, (words[2], int(words[4])), (words[3], int(words[5]))
    head += receive(sock, 8)
    assert head.startswith(SIGNATURE), head
    command, family, size = struct.unpack("!BBH", head[12:])
    body = receive(sock, size)
    if command == 0x20:
        return 2, None, None
    assert (command, family) in ((0x21, 0x11), (0x21, 0x21)), head
    n = 4 if family == 0x11 else 16
    ports = struct.unpack("!HH", body[2 * n:2 * n + 4])
    return (2, (str(ipaddress.ip_address(body[:n])), ports[0]), (str(ipaddress.ip_address(body[n:2 * n])), ports[1]))


def receive(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise ConnectionError(f"closed behind {data}")
        data += more
    return data


class HeadedSession(StubSession):
    """The stub's connection, which demands a header."""

    header = None

    def run(self):
        try:
            self.header = read_header(self.sock)
        except (OSError, ConnectionError, AssertionError) as fault:
            self.header = fault
        else:
            self.server.headers.append(self.header)
        super().run()


class HeadedStub(StubServer):
    session_type = HeadedSession

    def __init__(self, *arguments):
        self.headers = []
        super().__init__(*arguments)


class HeadedClient(RawClient):
    """A client whose connection begins with these bytes, from that source address."""

    def __init__(self, *arguments, head=b"", source=None, **how):
        self.head, self.source = head, source
        super().__init__(*arguments, **how)

    def dial(self, host, port, rcvbuf):
        source = (self.source, 0) if self.source else None
        sock = socket.create_connection((host, port), self.timeout, source)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(self.head)
        return sock


class Haproxy:
    """One TCP frontend on `bind`, one server line."""

    def __init__(self, bind, server, check_every="100ms"):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-haproxy-"))
        self.config = self.directory / "haproxy.cfg"
        self.log_file = self.directory / "log"
        self.config.write_text(f"""global
    log stdout format raw local0 info
    nbthread 1
defaults
    mode tcp
    log global
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    default-server inter {check_every}
listen xmpp
    bind {bind}
    log-format "%ci:%cp -> %b/%s %ts"
    server one {server}
""")
        self.port = int(bind.split()[0].rpartition(":")[2])
        self.process = Process([shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", self.config],
                               self.log_file, self.directory)
        self.wait_listening()

    def wait_listening(self):
        """Looks at the kernel's table: a connection to try would come with no header."""
        deadline = time.monotonic() + 20
        while not self.listens():
            assert self.process.alive() and time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def listens(self):
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in pathlib.Path(table).read_text().splitlines()[1:]:
                _, local, _, state = line.split()[:4]
                if state == "0A" and int(local.rpartition(":")[2], 16) == self.port:
                    return True
        return False

    def log(self):
        return self.log_file.read_text(errors="replace")

    def stop(self):
        with contextlib.suppress(RuntimeError):
            self.process.end(signal.SIGTERM)
        shutil.rmtree(self.directory, ignore_errors=True)
