"""Profanity in a tmux of its own: typed at as a person would, read by the chat logs that it writes."""

import asyncio
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

SECONDS = 30
SETTINGS = """[ui]
splash=false
vercheck=false
[connection]
autoping=0
reconnect=1
receipts.request=true
receipts.send=true
[logging]
chlog=true
rotate=false
[chatstates]
enabled=false
outtype=false
[notifications]
message=false
"""
ACCOUNT = """[{jid}]
enabled=true
jid={jid}
resource=profanity
password={password}
server={host}
port={port}
tls.policy={tls}
presence.login=online
presence.last=online
"""
LOG_LINE = re.compile(r"^\S+ - ([^:]+): (.*)$", re.M)


class Client:
    """Use with `with`, or `async with` beside clients that need their event loop: logs in, and quits in the end."""

    def __init__(self, account, host, port, tls="trust"):
        self.jid = account.jid
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-profanity-"))
        self._socket = self.home / "tmux"
        for name, text in (("profrc", SETTINGS), ("accounts", "")):
            (self._folder("config") / name).write_text(text)
        (self._folder("data") / "accounts").write_text(
            ACCOUNT.format(jid=account.jid, password=account.password, host=host, port=port, tls=tls))
        os.chmod(self._folder("data") / "accounts", 0o600)

    def __enter__(self):
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", "TERM": "screen",
               "XDG_CONFIG_HOME": str(self.home / "config"), "XDG_DATA_HOME": str(self.home / "data")}
        subprocess.run(["tmux", "-S", self._socket, "-f", "/dev/null", "new-session", "-d", "-x", "140", "-y", "50",
                        f"profanity -l DEBUG -f {self.home}/log -a {self.jid}"], env=env, check=True)
        self.until(lambda: "logged in successfully" in self.screen(), "login")
        return self

    def __exit__(self, *_):
        self._type("/quit")
        deadline = time.monotonic() + 5
        while self._tmux("has-session").returncode == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        self._tmux("kill-server")
        shutil.rmtree(self.home, ignore_errors=True)

    async def __aenter__(self):
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *_):
        await asyncio.to_thread(self.__exit__)

    def say(self, to, *bodies):
        for body in bodies:
            self._type(f"/msg {to} {body}")

    def bodies(self, sender):
        """What it got from this bare JID, in order, by its own log of that chat."""
        name = sender.replace("@", "_at_")
        files = sorted(self.home.glob(f"data/profanity/chatlogs/*/{name}/*.log"))
        texts = [file.read_text(errors="replace") for file in files]
        return [body for who, body in LOG_LINE.findall("".join(texts)) if who != "me"]

    def until_bodies(self, sender, *bodies):
        """All that ever came from there is exactly this, in this order."""
        self.until(lambda: len(self.bodies(sender)) >= len(bodies), f"messages {bodies}, but {self.bodies(sender)}")
        assert self.bodies(sender) == list(bodies)

    def log(self):
        file = self.home / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def until(self, fits, what):
        deadline = time.monotonic() + SECONDS
        while not fits():
            assert time.monotonic() < deadline, f"{self.jid}: no {what}\n{self.screen()}\n{self.log()[-4000:]}"
            time.sleep(0.05)

    def screen(self):
        return self._tmux("capture-pane", "-p").stdout

    def _type(self, line):
        self._tmux("send-keys", "-l", line)
        self._tmux("send-keys", "Enter")

    def _tmux(self, *arguments):
        return subprocess.run(["tmux", "-S", self._socket, *arguments], capture_output=True, text=True)

    def _folder(self, kind):
        folder = self.home / kind / "profanity"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
