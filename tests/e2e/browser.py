"""Headless Chromium (js/browser.mjs): one for all tests of a process, a tab for each who wants one."""

import itertools
import json
import pathlib
import queue
import subprocess
import threading
import urllib.parse

import pytest

from js_client import FOLDER, NODE, Client

SECONDS = 60
SCREENSHOTS = FOLDER.parents[2] / "build" / "screenshots"


class Browser:
    def __init__(self):
        self._child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", NODE, "browser.mjs"], cwd=FOLDER, text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.site = json.loads(self._child.stdout.readline())["site"]  # where the pages of js/ are
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._answers = {}    # id of an order -> queue with its answer
        self._listeners = {}  # tab -> who takes its events
        threading.Thread(target=self._read, daemon=True).start()

    def stop(self):
        self._child.stdin.close()
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def tab(self, listener=lambda event: None, **options):
        """options: those of playwright's newContext."""
        name = f"tab{next(self._numbers)}"
        self._listeners[name] = listener
        self.order(name, "open", options)
        return Tab(self, name)

    def order(self, tab, call, *given):
        number, answer = next(self._numbers), queue.Queue()
        self._answers[number] = answer
        with self._lock:
            self._child.stdin.write(json.dumps({"id": number, "tab": tab, "call": call, "with": given}) + "\n")
            self._child.stdin.flush()
        got = answer.get(timeout=SECONDS)
        assert "error" not in got, f"{call} {given}: {got['error']}"
        return got["result"]

    def _read(self):
        for line in self._child.stdout:
            news = json.loads(line)
            if "id" in news:
                self._answers.pop(news["id"]).put(news)
            else:
                self._listeners[news["tab"]](news["event"])
        for waiting in self._answers.values():
            waiting.put({"error": "the browser has ended"})


class Tab:
    """Methods of playwright's Page, by their names: tab.click("#cut"), tab.evaluate("1 + 1")."""

    def __init__(self, browser, name):
        self._browser, self._name = browser, name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __getattr__(self, call):
        return lambda *given: self._browser.order(self._name, call, *given)

    def shoot(self, name):
        """A screenshot for people to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.screenshot({"path": str(pathlib.Path(SCREENSHOTS, f"{name}.png")), "fullPage": True})


class PageClient(Client):
    """A script of js/ in a tab, started with what `given` holds; it has set window.obey."""

    def __init__(self, jid, browser, script, given):
        super().__init__(jid)
        self._browser, self._script, self._given = browser, script, given
        self.tab = None

    def reload(self, **given):
        """As by the user: the page is gone, and a new one starts from what it has stored. `given` replaces some."""
        self._given |= given
        self.tab.goto(f"{self._browser.site}/{self._script}?{urllib.parse.quote(json.dumps(self._given))}")

    def leave_page(self):
        """To an empty one, in the same tab; reload() comes back."""
        self.tab.goto("about:blank")

    def _begin(self):
        self.tab = self._browser.tab(self.heard)
        self.reload()

    def _end(self):
        self.tab.close()

    def _tell(self, **command):
        self.tab.evaluate(f"void window.obey({json.dumps(command)})")


@pytest.fixture(scope="session")
def browser():
    one = Browser()
    yield one
    one.stop()
