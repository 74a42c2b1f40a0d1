"""A relay that cuts: it stands in a TCP path and does to it what networks do. One thread for all of it, fed with
commands by the test's thread; every command has happened when it returns.

A black hole drops nothing that it has read: it reads nothing; both ends see an open connection that is silent."""

import contextlib
import queue
import selectors
import socket
import struct
import threading
import time

CHUNK = 65536
UP, DOWN = "up", "down"  # from the one who connected to the target; back


class Pipe:
    """One direction of a connection."""

    def __init__(self, name, source, sink):
        self.name = name
        self.source = source
        self.sink = sink
        self.waiting = []       # [time to write, bytes]
        self.eof = False        # the source has ended
        self.finished = False   # and the sink was told
        self.hole = False
        self.passed = 0         # bytes written
        self.cut_after = None   # (bytes, how)


class Connection:
    def __init__(self, knife, client, server):
        self.knife = knife
        self.client = client
        self.server = server
        self.pipes = {UP: Pipe(UP, client, server), DOWN: Pipe(DOWN, server, client)}
        self.closing = False    # a FIN was sent both ways: what still comes is thrown away
        self.open = True

    @property
    def passed(self):
        """Bytes passed on: (up, down)."""
        return self.pipes[UP].passed, self.pipes[DOWN].passed

    def cut(self, how="fin"):
        self.knife.run(lambda: self.knife.do_cut(self, how))

    def hole(self, on=True, direction=None):
        self.knife.run(lambda: self.knife.do_hole(self, on, direction))

    def cut_after(self, count, direction=UP, how="fin"):
        """Cuts once `count` bytes of that direction (from the connection's start) have been passed on."""
        self.knife.run(lambda: setattr(self.pipes[direction], "cut_after", (count, how)))


class Knife:
    def __init__(self, target_host, target_port, host="127.0.0.1"):
        self.target = (target_host, target_port)
        self.host = host
        self.port = None
        self.seconds = 0.0           # of delay
        self.bytes_a_write = {UP: None, DOWN: None}
        self.future_hole = False
        self.future_cuts = []        # (direction, bytes, how) for the connections to come, one each
        self.all = []
        self.commands = queue.Queue()
        self.selector = selectors.DefaultSelector()
        self.wake_in, self.wake_out = socket.socketpair()
        self.listener = None
        self.thread = threading.Thread(target=self.loop, name="knife", daemon=True)
        self.stopping = False

    # What tests call

    def start(self):
        self.do_listen()
        self.wake_in.setblocking(False)
        self.selector.register(self.wake_in, selectors.EVENT_READ)
        self.thread.start()
        return self

    def stop(self):
        if self.thread.is_alive():
            self.run(self.do_stop)
            self.thread.join(10)
        for sock in (self.wake_in, self.wake_out):
            sock.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def connections(self):
        """Those that are open."""
        return [connection for connection in list(self.all) if connection.open]

    def cut(self, how="fin", connection=None):
        """Ends one connection or all of them, on both sides."""
        for each in [connection] if connection else self.connections:
            each.cut(how)

    def hole(self, on=True, direction=None, future=False):
        """Open but silent, in one direction or both; with `future`, connections to come as well."""
        self.future_hole = on and future
        for each in self.connections:
            each.hole(on, direction)

    def delay(self, seconds):
        """Each piece is passed on that much later."""
        self.seconds = seconds

    def trickle(self, count, direction=None):
        """At most `count` bytes a write, each write a packet; None ends it."""
        for name in [direction] if direction else [UP, DOWN]:
            self.bytes_a_write[name] = count

    def cut_next_after(self, count, direction=UP, how="fin"):
        """The next connection ends once `count` bytes of that direction have been passed on."""
        self.run(lambda: self.future_cuts.append((direction, count, how)))

    def refuse(self, on=True):
        """While on, nobody listens on the port."""
        self.run(self.do_unlisten if on else self.do_listen)

    def run(self, command):
        """Has the thread run it, and waits for that."""
        done = threading.Event()
        self.commands.put((command, done))
        self.wake_out.send(b"!")
        if not done.wait(15):
            raise AssertionError("the knife's thread hangs")

    # What its thread does

    def do_listen(self):
        self.listener = socket.create_server((self.host, self.port or 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)

    def do_unlisten(self):
        if self.listener:
            self.selector.unregister(self.listener)
            self.listener.close()
            self.listener = None

    def do_stop(self):
        self.stopping = True
        self.do_unlisten()
        for connection in self.connections:
            self.do_cut(connection, "rst")

    def do_cut(self, connection, how):
        if not connection.open:
            return
        if how == "rst":
            self.finish(connection, reset=True)
            return
        connection.closing = True
        for sock in (connection.client, connection.server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
        for pipe in connection.pipes.values():
            pipe.waiting.clear()
            pipe.hole = False
        self.watch(connection)

    def do_hole(self, connection, on, direction):
        for name in [direction] if direction else [UP, DOWN]:
            connection.pipes[name].hole = on
        self.watch(connection)

    def finish(self, connection, reset=False):
        for sock in (connection.client, connection.server):
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(sock)
            with contextlib.suppress(OSError):
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
        connection.open = False

    def loop(self):
        while not self.stopping:
            for key, events in self.selector.select(self.sleep_time()):
                if key.fileobj is self.wake_in:
                    self.obey()
                elif key.fileobj is self.listener:
                    self.accept()
                elif key.data and key.data.open:
                    self.serve(key.data, key.fileobj, events)
            for connection in self.connections:
                self.flush(connection)

    def sleep_time(self):
        due = [pipe.waiting[0][0] for connection in self.connections for pipe in connection.pipes.values()
               if pipe.waiting and not pipe.hole]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def obey(self):
        with contextlib.suppress(BlockingIOError):
            while self.wake_in.recv(4096):
                pass
        while not self.commands.empty():
            command, done = self.commands.get()
            command()
            done.set()

    def accept(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        try:
            server = socket.create_connection(self.target, 5)
        except OSError:
            client.close()
            return
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self, client, server)
        if self.future_cuts:
            direction, count, how = self.future_cuts.pop(0)
            connection.pipes[direction].cut_after = (count, how)
        self.all.append(connection)
        self.do_hole(connection, self.future_hole, None)

    def watch(self, connection):
        """Brings what is asked of the selector in line with the pipes."""
        if not connection.open:
            return
        for sock, reading in ((connection.client, UP), (connection.server, DOWN)):
            source = connection.pipes[reading]
            wish = 0
            if not source.eof and not source.hole and (connection.closing or not source.waiting):
                wish = selectors.EVENT_READ
            known = sock in self.selector.get_map()
            if wish and known:
                self.selector.modify(sock, wish, connection)
            elif wish:
                self.selector.register(sock, wish, connection)
            elif known:
                self.selector.unregister(sock)

    def serve(self, connection, sock, _events):
        pipe = connection.pipes[UP if sock is connection.client else DOWN]
        try:
            data = sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.finish(connection, reset=True)
            return
        if not data:
            pipe.eof = True
        elif not connection.closing:
            pipe.waiting.append([time.monotonic() + self.seconds, data])
        if connection.closing and all(each.eof for each in connection.pipes.values()):
            self.finish(connection)
            return
        self.watch(connection)

    def flush(self, connection):
        for pipe in connection.pipes.values():
            while connection.open and not pipe.hole and pipe.waiting and pipe.waiting[0][0] <= time.monotonic():
                if not self.write(connection, pipe):
                    break
            if not connection.open:
                return
            self.pass_end(connection, pipe)
        self.watch(connection)

    def write(self, connection, pipe):
        data = pipe.waiting[0][1]
        limit = self.bytes_a_write[pipe.name] or len(data)
        if pipe.cut_after:
            limit = min(limit, max(0, pipe.cut_after[0] - pipe.passed))
        try:
            sent = pipe.sink.send(data[:limit]) if limit else 0
        except BlockingIOError:
            pipe.waiting[0][0] = time.monotonic() + 0.005
            return False
        except OSError:
            self.finish(connection, reset=True)
            return False
        pipe.passed += sent
        pipe.waiting[0][1] = data[sent:]
        if not pipe.waiting[0][1]:
            pipe.waiting.pop(0)
        if pipe.cut_after and pipe.passed >= pipe.cut_after[0]:
            how = pipe.cut_after[1]
            pipe.cut_after = None
            self.do_cut(connection, how)
            return False
        if self.bytes_a_write[pipe.name] and pipe.waiting:
            pipe.waiting[0][0] = time.monotonic() + 0.0005  # so that the reader has a chance to see the pieces
        return True

    def pass_end(self, connection, pipe):
        if not pipe.eof or pipe.waiting or pipe.finished or connection.closing:
            return
        pipe.finished = True
        with contextlib.suppress(OSError):
            pipe.sink.shutdown(socket.SHUT_WR)
        if all(each.finished for each in connection.pipes.values()):
            self.finish(connection)
