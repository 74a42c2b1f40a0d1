"""`make install` and `make uninstall`, the service's unit, and what the binary tells the service manager."""

import configparser
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from proxy import SANITIZER_REPORT

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("HOLDFAST_BIN") or ROOT / "build" / "holdfast").resolve()
UNIT = ROOT / "deploy" / "holdfast.service"
SECONDS = 30
WATCHDOG_USEC = 400_000
SETTINGS = """[proxy]
domain = example.org
upstream = 127.0.0.1:1
workers = 2
drain = 0s
drain_grace = 0s
[tls]
required = no
[listen]
starttls = 127.0.0.1:0
stats = none
"""


def clean_environment():
    """Without what looks like configuration, what an outer make hands on, and a service manager's variables."""
    return {name: value for name, value in os.environ.items()
            if not name.startswith(("HOLDFAST_", "MAKE", "MFLAGS", "NOTIFY_", "WATCHDOG_", "LISTEN_"))}


# --- make install


def make(*arguments):
    """With the binary under test as it is: -o keeps make from building it anew."""
    command = ["make", "--no-print-directory", "-C", ROOT, "-o", BINARY, "-o", BINARY.with_name("holdfastctl"), f"BUILD={BINARY.parent}", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=clean_environment())
    assert run.returncode == 0, run.stdout + run.stderr


def files_below(root):
    """Path -> mode."""
    return {f"/{path.relative_to(root)}": oct(path.stat().st_mode & 0o7777)
            for path in root.rglob("*") if not path.is_dir()}


CONFIGURATION = "/etc/holdfast/holdfast.conf"
INSTALLED = {
    "/usr/local/sbin/holdfast": "0o755",
    "/usr/local/sbin/holdfastctl": "0o755",
    "/usr/local/lib/systemd/system/holdfast.service": "0o644",
    "/usr/local/lib/systemd/system/holdfast.socket": "0o644",
    "/usr/local/lib/systemd/system/holdfast-tls.socket": "0o644",
    "/usr/local/share/man/man8/holdfast.8": "0o644",
    "/usr/local/share/man/man8/holdfastctl.8": "0o644",
    "/usr/local/share/man/man5/holdfast.conf.5": "0o644",
    CONFIGURATION: "0o644",
}


def test_install_and_uninstall(tmp_path):
    make("install", f"DESTDIR={tmp_path}")
    assert files_below(tmp_path) == INSTALLED
    run = subprocess.run([f"{tmp_path}/usr/local/sbin/holdfast", "-V"], capture_output=True, text=True,
                         timeout=SECONDS, env=clean_environment())
    assert run.returncode == 0 and re.fullmatch(r"holdfast \d+\.\d+\.\d+\n", run.stdout)

    run = subprocess.run([f"{tmp_path}/usr/local/sbin/holdfastctl", "-V"], capture_output=True, text=True,
                         timeout=SECONDS, env=clean_environment())
    assert run.returncode == 0 and re.fullmatch(r"holdfastctl \d+\.\d+\.\d+\n", run.stdout)

    make("uninstall", f"DESTDIR={tmp_path}")
    assert files_below(tmp_path) == {CONFIGURATION: "0o644"}


def test_files_of_default_paths_are_installed_as_they_are(tmp_path):
    make("install", f"DESTDIR={tmp_path}")
    for installed, source in (("lib/systemd/system/holdfast.service", UNIT),
                              ("lib/systemd/system/holdfast.socket", UNIT.with_suffix(".socket")),
                              ("lib/systemd/system/holdfast-tls.socket", UNIT.with_name("holdfast-tls.socket")),
                              ("share/man/man8/holdfast.8", ROOT / "deploy" / "man" / "holdfast.8"),
                              ("share/man/man8/holdfastctl.8", ROOT / "deploy" / "man" / "holdfastctl.8"),
                              ("share/man/man5/holdfast.conf.5", ROOT / "deploy" / "man" / "holdfast.conf.5"),
                              (f"../..{CONFIGURATION}", ROOT / "deploy" / "holdfast.conf")):
        assert (tmp_path / "usr" / "local" / installed).read_text() == source.read_text()


def test_other_paths_are_filled_in(tmp_path):
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/opt/holdfast", "SYSCONFDIR=/srv/etc")
    assert set(files_below(tmp_path)) == {
        "/opt/holdfast/sbin/holdfast", "/opt/holdfast/sbin/holdfastctl", "/opt/holdfast/share/man/man8/holdfastctl.8",
        "/opt/holdfast/lib/systemd/system/holdfast.service", "/opt/holdfast/lib/systemd/system/holdfast.socket",
        "/opt/holdfast/lib/systemd/system/holdfast-tls.socket",
        "/opt/holdfast/share/man/man8/holdfast.8", "/opt/holdfast/share/man/man5/holdfast.conf.5",
        "/srv/etc/holdfast/holdfast.conf"}
    unit = (tmp_path / "opt/holdfast/lib/systemd/system/holdfast.service").read_text()
    assert "\nExecStart=/opt/holdfast/sbin/holdfast -c /srv/etc/holdfast/holdfast.conf\n" in unit
    for path in files_below(tmp_path).keys() - {"/opt/holdfast/sbin/holdfast", "/opt/holdfast/sbin/holdfastctl"}:
        text = (tmp_path / path[1:]).read_text()
        assert "/usr/local" not in text and not re.search(r"(?<!/srv)/etc/holdfast", text)


def test_a_configuration_that_is_there_stays(tmp_path):
    own = tmp_path / CONFIGURATION[1:]
    own.parent.mkdir(parents=True)
    own.write_text(SETTINGS)
    own.chmod(0o640)
    make("install", f"DESTDIR={tmp_path}")
    assert own.read_text() == SETTINGS
    assert files_below(tmp_path) == INSTALLED | {CONFIGURATION: "0o640"}


def test_install_replaces_what_runs(tmp_path):
    """An update while the service runs: a new file takes the name, the old one is not written to."""
    make("install", f"DESTDIR={tmp_path}")
    program = tmp_path / "usr/local/sbin/holdfast"
    old = program.stat().st_ino
    with open(program, "rb"):
        make("install", f"DESTDIR={tmp_path}")
        assert program.stat().st_ino != old


# --- the unit


def unit_settings():
    """Of [Service]; of a key that stands more than once, the last value."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    return parser["Service"]


def test_systemd_finds_no_fault_in_the_unit(tmp_path):
    """As installed: systemd looks whether the commands are there."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    units = [tmp_path / name for name in ("holdfast.service", "holdfast.socket", "holdfast-tls.socket")]
    for unit in units:
        text = re.sub(r"^Documentation=.*\n", "", UNIT.with_name(unit.name).read_text(), flags=re.M)
        unit.write_text(text.replace("/usr/local/sbin/holdfast", str(BINARY)))
    unit = units[0]
    run = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True,
                         timeout=SECONDS)
    assert [line for line in run.stderr.splitlines() if "holdfast" in line] == []
    assert run.returncode == 0

    run = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
                         capture_output=True, text=True, timeout=SECONDS)
    assert run.returncode == 0, run.stdout


def test_the_unit_leaves_time_to_drain():
    def default_of(key):
        text = subprocess.run([BINARY, "--help-config"], capture_output=True, text=True, timeout=SECONDS).stdout
        return int(re.search(rf"^{re.escape(key)} = .*default (\d+)s", text, re.M)[1])

    assert int(unit_settings()["TimeoutStopSec"].rstrip("s")) > default_of("proxy.drain") + default_of(
        "proxy.drain_grace")


def test_the_commands_of_the_unit_are_taken_by_the_binary(tmp_path):
    """Its check and its start, with a configuration that has a mistake: the check says so."""
    config = tmp_path / "holdfast.conf"
    for text, status in ((SETTINGS, 0), (SETTINGS + "nonsense = 1\n", 1)):
        config.write_text(text)
        for key in ("ExecStartPre", "ExecReload"):
            line = re.search(rf"^{key}=(.*)", UNIT.read_text(), re.M)[1]
            command = [word.replace("/usr/local/sbin/holdfast", str(BINARY)).replace(CONFIGURATION, str(config))
                       for word in line.split()]
            assert subprocess.run(command, capture_output=True, timeout=SECONDS,
                                  env=clean_environment()).returncode == status


# --- what the service manager is told


class Manager:
    """Starts the binary as systemd does with Type=notify, and hears what it tells."""

    def __init__(self, directory, watchdog_usec=None, watchdog_pid="$$"):
        self.config = directory / "holdfast.conf"
        self.config.write_text(SETTINGS)
        self.log = directory / "log"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(SECONDS)
        self.socket.bind(str(directory / "notify"))
        env = clean_environment() | {"NOTIFY_SOCKET": str(directory / "notify")}
        if watchdog_usec:
            env["WATCHDOG_USEC"] = str(watchdog_usec)
        # WATCHDOG_PID is its own process id, which is known once there is a process: the shell becomes the binary.
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                ["sh", "-c", f'WATCHDOG_PID={watchdog_pid} exec "$@"', "sh", BINARY, "-c", self.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory, env=env)

    def next(self):
        """The next message as a dict."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def expect(self, name):
        """The next message that is not food for the watchdog has to be this one."""
        while "WATCHDOG" in (message := self.next()):
            pass
        assert message.get(name) == "1", message
        return message

    def end(self):
        self.child.send_signal(signal.SIGTERM)
        self.expect("STOPPING")
        assert self.child.wait(SECONDS) == 0
        assert not SANITIZER_REPORT.search(self.log.read_text(errors="replace"))

    def remove(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self.socket.close()


@pytest.fixture
def manager(tmp_path):
    made = []

    def start(**keywords):
        made.append(Manager(tmp_path, **keywords))
        return made[-1]

    yield start
    for one in made:
        one.remove()


notifies = pytest.mark.skipif(not BINARY.exists() or b"libsystemd" not in BINARY.read_bytes(),
                              reason="built without libsystemd")


@notifies
def test_ready_and_stopping(manager):
    one = manager()
    assert one.expect("READY")["STATUS"] == "running"
    one.child.send_signal(signal.SIGTERM)
    assert one.expect("STOPPING")["STATUS"] == "draining"
    assert one.child.wait(SECONDS) == 0


@notifies
def test_nothing_is_told_before_the_ports_are_open(manager, tmp_path):
    """A start that fails is never ready."""
    one = manager()
    one.expect("READY")
    one.end()
    taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        config = tmp_path / "taken.conf"
        config.write_text(SETTINGS.replace("127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}"))
        run = subprocess.run([BINARY, "-c", config], capture_output=True, timeout=SECONDS,
                             env=clean_environment() | {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert run.returncode == 1
    one.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        one.socket.recv(4096)


@notifies
def test_reload(manager):
    one = manager()
    one.expect("READY")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    one.child.send_signal(signal.SIGHUP)
    told = int(one.expect("RELOADING")["MONOTONIC_USEC"])
    assert one.expect("READY")["STATUS"] == "reloaded"
    # Not older than the signal, or systemd waits on with Type=notify-reload.
    assert before <= told <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    one.end()


@notifies
def test_reload_that_fails_ends_too(manager):
    one = manager()
    one.expect("READY")
    one.config.write_text(SETTINGS + "nonsense = 1\n")
    one.child.send_signal(signal.SIGHUP)
    one.expect("RELOADING")
    assert "failed" in one.expect("READY")["STATUS"]
    one.end()


@notifies
def test_watchdog_is_fed(manager):
    begin = time.monotonic()
    one = manager(watchdog_usec=WATCHDOG_USEC)
    one.expect("READY")
    for _ in range(4):
        assert one.next() == {"WATCHDOG": "1"}
    # at half of the interval, and not with every turn of the loop
    assert time.monotonic() - begin > 3 * WATCHDOG_USEC / 2 / 1e6
    one.end()


@notifies
@pytest.mark.parametrize("keywords", [{}, {"watchdog_usec": WATCHDOG_USEC, "watchdog_pid": "1"}],
                         ids=["not asked", "another process is asked"])
def test_watchdog_is_not_fed_unasked(manager, keywords):
    """Between reloads nothing else comes: the loop that handles them would feed at its first turn."""
    one = manager(**keywords)
    one.expect("READY")
    for _ in range(3):
        one.child.send_signal(signal.SIGHUP)
        assert "RELOADING" in one.next()
        assert "READY" in one.next()
    one.end()
