"""@xmpp/client in a node process of its own (js/client.mjs), as an object that tests talk to."""

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


class Client:
    """Use with `with`: logs in, and leaves in the end. `events` holds what the script told, in order."""

    def __init__(self, account, host, port, ca, scheme="xmpp"):
        self.jid = account.jid
        self._command = ["setpriv", "--pdeathsig", "KILL", NODE, "client.mjs", f"{scheme}://{host}:{port}",
                         account.jid.partition("@")[2], account.name, account.password]
        self._env = os.environ | {"NODE_EXTRA_CA_CERTS": str(ca)}
        self.events = []
        self._news = threading.Condition()

    def __enter__(self):
        self._child = subprocess.Popen(self._command, cwd=FOLDER, env=self._env, text=True, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.until(lambda: self.of("online"), "login")
        return self

    def __exit__(self, *_):
        self._tell(leave=True)
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join()
        self._child.stdin.close()
        self._child.stdout.close()

    def say(self, to, *bodies):
        """Returns when the library has written them to its socket."""
        for body in bodies:
            self._tell(say=body, to=to)
        self.until(lambda: set(bodies) <= set(self.of("said")), f"writing of {bodies}")

    def stay_away(self):
        """Lets a cut last until come_back()."""
        self._tell(away=True)

    def come_back(self):
        self._tell(away=False)

    def send_again(self):
        """From now on it sends again, once it is online, what the library has no ack of when its session is lost."""
        self._tell(again=True)

    def of(self, kind):
        """The values of all events of a kind: those of js/client.mjs, or "error"."""
        return [event[kind] for event in list(self.events) if kind in event]

    def until(self, fits, what):
        deadline = time.monotonic() + SECONDS
        with self._news:
            while not fits():
                left = deadline - time.monotonic()
                assert left > 0 and self._child.poll() is None, f"{self.jid}: no {what}: {self.events}"
                self._news.wait(min(left, 1))

    def until_bodies(self, *bodies):
        """All that ever came is exactly this, in this order."""
        self.until(lambda: len(self.of("message")) >= len(bodies), f"messages {bodies}")
        assert self.of("message") == list(bodies)

    def until_acked(self, *bodies):
        self.until(lambda: set(bodies) <= set(self.of("acked")), f"acks of {bodies}")

    def until_resumed(self, times=1):
        self.until(lambda: len(self.of("resumed")) >= times, f"resumption {times}")

    def _tell(self, **command):
        try:
            self._child.stdin.write(json.dumps(command) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; whoever waits for it is told so

    def _read(self):
        for line in self._child.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"text": line}
            with self._news:
                self.events.append(event)
                self._news.notify_all()
