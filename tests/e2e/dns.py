"""A name server on loopback whose answers a test changes while it runs: addresses and SRV records, no answer at all, late
answers, failures, and answers too large for UDP. Over UDP and TCP, one thread for each."""

import contextlib
import socket
import struct
import threading

A, CNAME, AAAA, SRV = 1, 5, 28, 33
NAMES = {"A": A, "AAAA": AAAA, "SRV": SRV}
NO_FAULT, SERVFAIL, NXDOMAIN = 0, 2, 3
UDP_MOST = 512


def encode_name(name):
    labels = [label for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def read_question(query):
    """(name in lower case, type, bytes of the question)"""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    kind, = struct.unpack("!H", query[at + 1:at + 3])
    return ".".join(labels), kind, query[12:at + 5]


def record_data(kind, value):
    if kind == A:
        return socket.inet_pton(socket.AF_INET, value)
    if kind == AAAA:
        return socket.inet_pton(socket.AF_INET6, value)
    priority, weight, port, target = value
    return struct.pack("!HHH", priority, weight, port) + encode_name(target)


class NameServer:
    """`mode`: "answer", "silent", "fail" (SERVFAIL) or "slow" (answers go out when the test calls release())."""

    def __init__(self):
        self.mode = "answer"
        self.records = {}           # (name, type) -> (ttl, [values])
        self.asked = []             # (name, type) in the order in which they came
        self.over_tcp = 0
        self.held = []              # functions that send an answer
        self.news = threading.Condition()
        while True:
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind(("127.0.0.1", 0))
            self.port = self.udp.getsockname()[1]
            try:
                self.tcp = socket.create_server(("127.0.0.1", self.port))
                break
            except OSError:         # the TCP port of that number is someone else's
                self.udp.close()
        self.address = f"127.0.0.1:{self.port}"
        for loop in (self.udp_loop, self.tcp_loop):
            threading.Thread(target=loop, name="name server", daemon=True).start()

    # What tests call

    def set(self, name, kind, *values, ttl=1):
        """Replaces these records; without values the name has none of that type."""
        with self.news:
            self.records[name, NAMES[kind]] = (ttl, values)

    def remove(self, name):
        """The name does not exist."""
        with self.news:
            for key in [key for key in self.records if key[0] == name]:
                del self.records[key]

    def count(self, name, kind):
        with self.news:
            return self.asked.count((name, NAMES[kind]))

    def wait_held(self, timeout=20):
        with self.news:
            assert self.news.wait_for(lambda: self.held, timeout), "no question has come"

    def release(self):
        """The answers that were held back leave; new ones leave at once."""
        with self.news:
            self.mode = "answer"
            held, self.held = self.held, []
        for send in held:
            send()

    def stop(self):
        for one in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    # What its threads do

    def udp_loop(self):
        with contextlib.suppress(OSError):
            while True:
                query, peer = self.udp.recvfrom(4096)
                if not query:
                    return
                self.take(query, lambda answer, to=peer: self.udp.sendto(answer, to), UDP_MOST)

    def tcp_loop(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.tcp.accept()
                threading.Thread(target=self.tcp_session, args=(connection,), daemon=True).start()

    def tcp_session(self, connection):
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while head := stream.read(2):
                self.over_tcp += 1
                query = stream.read(struct.unpack("!H", head)[0])
                self.take(query, lambda answer: connection.sendall(struct.pack("!H", len(answer)) + answer), 65535)

    def take(self, query, send, most):
        name, kind, question = read_question(query)
        with self.news:
            self.asked.append((name, kind))
            mode = self.mode
            if mode == "slow":
                self.held.append(lambda: self.reply(query, name, kind, question, send, most))
            self.news.notify_all()
        if mode == "fail":
            send(self.message(query, question, SERVFAIL, []))
        elif mode == "answer":
            self.reply(query, name, kind, question, send, most)

    def reply(self, query, name, kind, question, send, most):
        with self.news:
            known = any(key[0] == name for key in self.records)
            ttl, values = self.records.get((name, kind), (0, ()))
        records = [b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data
                   for data in (record_data(kind, value) for value in values)]
        answer = self.message(query, question, NO_FAULT if known else NXDOMAIN, records)
        if len(answer) > most:
            answer = self.message(query, question, NO_FAULT, [], truncated=True)
        with contextlib.suppress(OSError):
            send(answer)

    @staticmethod
    def message(query, question, code, records, truncated=False):
        flags = 0x8180 | (0x0200 if truncated else 0) | code
        return query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + question + b"".join(records)
