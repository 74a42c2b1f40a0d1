"""Runs the proxy as its users do: the binary, a configuration file, signals, the stats port."""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from servers import free_ports

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("HOLDFAST_BIN") or ROOT / "build" / "holdfast").resolve()
UNDER = shlex.split(os.environ.get("HOLDFAST_UNDER") or "")  # "valgrind ...": what runs it
WORKERS = int(os.environ.get("HOLDFAST_WORKERS") or 4)
START_SECONDS = 120 if UNDER else 30
STOP_SECONDS = 60
SECTIONS = ("proxy", "listen", "tls", "store", "sm", "receipts", "limits", "log")
SANITIZER_REPORT = re.compile(r"ERROR: \w*Sanitizer|WARNING: ThreadSanitizer|LeakSanitizer|runtime error:|Assertion `")
METRIC_LINE = re.compile(r"^([a-zA-Z_:][\w:]*(?:\{[^}]*\})?) ([-+\d.eE]+|[+-]?Inf|NaN)$", re.M)


def settings_of(keywords):
    """sm_max="5s" means the key sm.max: no section has an underscore."""
    settings = {}
    for word, value in keywords.items():
        section, _, key = word.partition("_")
        if section not in SECTIONS or not key:
            raise TypeError(f"{word} names no section and key")
        settings[f"{section}.{key}"] = value
    return settings


class Proxy:
    """One instance with its own ports and directory. `settings`: section.key -> value, over defaults that suit tests;
    None leaves a key out. The same as keywords: sm_max="5s"."""

    def __init__(self, upstream, authority, settings=None, binary=None, **keywords):
        self.host = "127.0.0.1"
        self.port, self.tls_port, self.stats_port, self.ws_port, self.wss_port = free_ports(5)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-proxy-"))
        self.ca = authority.ca
        certificate, key, _ = authority.issue()
        self.settings = {
            "proxy.domain": "localhost, anon.localhost",
            "proxy.upstream": upstream,
            "proxy.workers": WORKERS,
            "proxy.drain": "0s",
            "proxy.drain_grace": "0s",
            "listen.starttls": f"{self.host}:{self.port}",
            "listen.tls": f"{self.host}:{self.tls_port}",
            "listen.ws": f"{self.host}:{self.ws_port}",
            "listen.wss": f"{self.host}:{self.wss_port}",
            "listen.stats": f"{self.host}:{self.stats_port}",
            "listen.control": self.directory / "control",
            "tls.certificate": certificate,
            "tls.key": key,
            "tls.required": "no",
            "log.level": "debug",
        } | (settings or {}) | settings_of(keywords)
        self.config_file = self.directory / "holdfast.conf"
        self.log_file = self.directory / "log"
        self._binary = pathlib.Path(binary or BINARY)
        self._child = None
        self.write_config()

    def write_config(self):
        """Writes self.settings: for tests that change them and send a HUP."""
        lines = []
        for section in SECTIONS:
            keys = {key: value for key, value in self.settings.items() if key.startswith(section + ".")}
            lines.append(f"[{section}]")
            lines += [f"{key.partition('.')[2]} = {value}" for key, value in keys.items() if value is not None]
        self.config_file.write_text("\n".join(lines) + "\n")

    def start(self, wait=True):
        """Starts it; with `wait`, returns when it says that it is ready."""
        assert not self.running(), "is running"
        # The harness's own variables look like configuration; only what a test sets shall be configuration.
        env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        env |= {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0", "UBSAN_OPTIONS": "print_stacktrace=1",
                "TSAN_OPTIONS": "second_deadlock_stack=1:halt_on_error=0"}
        with open(self.log_file, "ab") as log:
            self._child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *UNDER, str(self._binary), "-c", str(self.config_file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, env=env)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=START_SECONDS):
        deadline = time.monotonic() + seconds
        while not self.readyz()[0]:
            if not self.running():
                raise RuntimeError(f"the proxy ended at its start ({self._child.returncode}):\n{self.log()[-4000:]}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the proxy is not ready after {seconds} s: {self.readyz()}\n{self.log()[-4000:]}")
            time.sleep(0.01)

    @property
    def pid(self):
        return self._child.pid

    @property
    def returncode(self):
        return self._child.poll()

    def running(self):
        return self._child is not None and self._child.poll() is None

    def signal(self, number):
        self._child.send_signal(number)

    def wait(self, seconds=STOP_SECONDS):
        """The exit status of a process that is ending."""
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            raise AssertionError(f"the proxy did not end within {seconds} s:\n{self.log()[-4000:]}") from None

    def stop(self):
        """Ends it by TERM; a status but 0 or a sanitizer's report fails the test."""
        if self._child is None:
            return
        if self.running():
            self.signal(signal.SIGTERM)
        status = self.wait()
        self._child = None
        assert status == 0, f"the proxy ended with status {status}:\n{self.log()[-6000:]}"
        self.assert_no_report()

    def kill(self):
        """Ends it as a crash would. What it wrote before is still searched for reports."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
        self.assert_no_report()

    def restart(self, how="stop"):
        """The same ports and settings; what it held in memory is gone. `how`: "stop" or "kill"."""
        getattr(self, how)()
        return self.start()

    def remove(self):
        """The end of a test: stops what still runs, and takes the directory away."""
        try:
            self.stop()
        finally:
            if self._child is not None:
                self._child.kill()
                self._child.wait()
            shutil.rmtree(self.directory, ignore_errors=True)

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def assert_no_report(self):
        text = self.log()
        found = SANITIZER_REPORT.search(text)
        assert not found, f"the proxy reports a fault of its own:\n{text[max(0, found.start() - 500):][:8000]}"

    def http(self, path, method="GET"):
        """(status, body) of the stats port; (0, reason) when nobody answers."""
        request = urllib.request.Request(f"http://{self.host}:{self.stats_port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ctl(self, *arguments, check=True, timeout=90):
        """Runs holdfastctl at this proxy; what it printed. With check=False (status, stdout, stderr)."""
        run = subprocess.run(self.ctl_command(*arguments), capture_output=True, text=True, timeout=timeout,
                             stdin=subprocess.DEVNULL, env=self.ctl_environment())
        assert not SANITIZER_REPORT.search(run.stderr), run.stderr
        if check:
            assert (run.returncode, run.stderr) == (0, ""), (run.returncode, run.stdout, run.stderr)
            return run.stdout
        return run.returncode, run.stdout, run.stderr

    def control(self, target, method="GET"):
        """(status, body) of a request to the control socket, without holdfastctl."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(str(self.directory / "control"))
            sock.sendall(f"{method} {target} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
            head, _, body = b"".join(iter(lambda: sock.recv(65536), b"")).decode().partition("\r\n\r\n")
        return int(head.split()[1]), body

    def ctl_command(self, *arguments):
        return [str(self._binary.with_name("holdfastctl")), "-s", str(self.directory / "control"),
                *map(str, arguments)]

    def ctl_environment(self):
        return {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}

    def readyz(self):
        status, text = self.http("/readyz")
        return status == 200, text

    def stats(self):
        status, text = self.http("/stats.json")
        assert status == 200, (status, text)
        return json.loads(text)

    def metrics(self):
        """Name with labels, as exposed, -> number."""
        status, text = self.http("/metrics")
        assert status == 200, (status, text)
        return {name: float(value) for name, value in METRIC_LINE.findall(text)}

    def metric(self, name, **labels):
        """One figure; summed up over the label sets that hold these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [value for key, value in self.metrics().items()
                 if key.partition("{")[0] == name and all(label in key for label in wanted)]
        assert found, f"no metric {name} {labels}"
        return sum(found)

    def wait_metric(self, name, want, seconds=15, **labels):
        """Waits until the figure is `want`, or a function of it is true; returns it."""
        fits = want if callable(want) else lambda value: value == want
        deadline = time.monotonic() + seconds
        while not fits(value := self.metric(name, **labels)):
            assert time.monotonic() < deadline, f"{name} {labels} stays at {value}"
            time.sleep(0.02)
        return value

    def resumes(self):
        """Resumptions that kept the old upstream leg, whichever worker they came to."""
        return sum(self.metric("holdfast_resumes_total", result=way) for way in ("local", "moved"))
