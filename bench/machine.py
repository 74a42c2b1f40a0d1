"""The machine, in neutral words, and who else was busy on it while something was measured."""

import os
import pathlib
import platform
import re
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
CPUSCHED = 2  # clock_getcpuclockid(3) makes the id of a process's clock so


def cpu_seconds(pid):
    """Processor time of a whole process, precisely; 0 when it is gone."""
    try:
        return time.clock_gettime_ns((~pid << 3) | CPUSCHED) / 1e9
    except OSError:
        return 0


def busy_seconds():
    """Of all processors, since the boot: all but idle and waiting for disks."""
    fields = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


class Company:
    """How much of the processors others took between the beginning and the end, 0 to 1."""

    def __init__(self, pids):
        self._pids = [*pids, os.getpid()]
        self._begin = self._now()

    def _now(self):
        return time.monotonic(), busy_seconds(), sum(map(cpu_seconds, self._pids))

    def share(self):
        elapsed, busy, own = (b - a for a, b in zip(self._begin, self._now()))
        return max(0, busy - own) / (elapsed * os.cpu_count())


def output_of(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout
    except FileNotFoundError:
        return ""


def version_of(*command):
    """The first number with dots in what the command prints."""
    found = re.search(r"\d+(?:\.\d+)+", output_of(*command))
    return found[0] if found else "?"


def package_version(name):
    return version_of("dpkg-query", "-W", "-f", "${Version}", name)


def processors():
    return pathlib.Path("/proc/cpuinfo").read_text()


def clock_mhz():
    """What the machine says of its processors' clock; None if nothing."""
    found = re.search(r"^cpu MHz\s*: ([\d.]+)$", processors(), re.M)
    return float(found[1]) if found else None


def describe(binary):
    text = processors()
    model = re.search(r"^model name\s*: (.*)$", text, re.M)
    virtual = " (virtual machine)" if re.search(r"^flags.*\bhypervisor\b", text, re.M) else ""
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) / 2**20
    kernel = ".".join(platform.release().split(".")[:2])
    return [
        f"{model[1] if model else platform.machine()}, {os.cpu_count()} processors{virtual}, {memory:.0f} GiB, "
        f"Linux {kernel}",
        f"Holdfast {version_of(binary, '-V')}, HAProxy {package_version('haproxy')}, nginx {package_version('nginx')}, "
        f"Prosody {package_version('prosody')}, ejabberd {package_version('ejabberd')}, "
        f"OpenSSL {version_of('openssl', 'version')}",
    ]
