"""JavaScript clients as objects that tests talk to: commands and events are lines of JSON, whatever runs the script."""

import contextlib
import json
import os
import pathlib
import subprocess
import threading
import time

FOLDER = pathlib.Path(__file__).resolve().parent / "js"
SECONDS = 30
OWN_NODE = FOLDER.parents[2] / "build" / "node" / "node"  # where tests/deps.sh found none that is new enough
NODE = str(OWN_NODE) if OWN_NODE.exists() else "node"
WEBSOCKET_PATH = "/xmpp-websocket"


class Client:
    """Use with `with`: logs in, and leaves in the end. `events` holds what the script told, in order."""

    def __init__(self, jid):
        self.jid = jid
        self.events = []
        self._news = threading.Condition()

    def __enter__(self):
        self._begin()
        self.until(lambda: self.of("online") or self.of("resumed"), "login")
        return self

    def __exit__(self, *_):
        self._end()

    def say(self, to, *bodies):
        """Returns when the library has written them to its socket, or kept them because it has none."""
        for body in bodies:
            self._tell(say=body, to=to)
        self.until(lambda: set(bodies) <= set(self.of("said")), f"writing of {bodies}")

    def ask(self, to, body):
        """Says it with a request for a delivery receipt."""
        self._tell(ask=body, to=to)

    def stay_away(self):
        """Lets a cut last until come_back()."""
        self._tell(away=True)

    def come_back(self):
        self._tell(away=False)

    def of(self, kind):
        """The values of all events of a kind: those that the script knows, or "error"."""
        return [event[kind] for event in list(self.events) if kind in event]

    def until(self, fits, what):
        deadline = time.monotonic() + SECONDS
        with self._news:
            while not fits():
                left = deadline - time.monotonic()
                assert left > 0 and self._alive(), f"{self.jid}: no {what}: {self.events}"
                self._news.wait(min(left, 1))

    def until_all(self, kind, *values):
        """Until all of them are among the events of that kind."""
        self.until(lambda: set(values) <= set(self.of(kind)), f"{kind} {values}")

    def until_bodies(self, *bodies):
        """All that ever came is exactly this, in this order."""
        self.until(lambda: len(self.of("message")) >= len(bodies), f"messages {bodies}")
        assert self.of("message") == list(bodies), self.events

    def until_acked(self, *bodies):
        self.until_all("acked", *bodies)

    def until_resumed(self, times=1):
        self.until(lambda: len(self.of("resumed")) >= times, f"resumption {times}")

    def heard(self, event):
        """For whoever carries the events here."""
        with self._news:
            self.events.append(event)
            self._news.notify_all()

    def _begin(self):
        raise NotImplementedError

    def _end(self):
        raise NotImplementedError

    def _tell(self, **command):
        raise NotImplementedError

    def _alive(self):
        return True


class NodeClient(Client):
    """A script of js/ in a node process of its own."""

    def __init__(self, jid, ca, script, *arguments):
        super().__init__(jid)
        self._command = ["setpriv", "--pdeathsig", "KILL", NODE, script, *map(str, arguments)]
        self._env = os.environ | {"NODE_EXTRA_CA_CERTS": str(ca)}

    def kill(self):
        self._child.kill()

    def signal(self, number):
        self._child.send_signal(number)

    def _begin(self):
        self._child = subprocess.Popen(self._command, cwd=FOLDER, env=self._env, text=True, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _end(self):
        self._tell(leave=True)
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join()
        with contextlib.suppress(BrokenPipeError):  # what one that was killed could not be told is still to be flushed
            self._child.stdin.close()
        self._child.stdout.close()

    def _tell(self, **command):
        try:
            self._child.stdin.write(json.dumps(command) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; whoever waits for it is told so

    def _alive(self):
        return self._child.poll() is None

    def _read(self):
        for line in self._child.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"text": line}
            self.heard(event)
