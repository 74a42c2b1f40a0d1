"""`make bench-profile`: where Holdfast spends its time under the load of 50 pairs. TOOL=perf (the default) samples the
whole process, the kernel's part too; TOOL=callgrind counts instructions in user space, exactly. Both leave their data
beside the program, for perf report, callgrind_annotate or kcachegrind. Environment: PAIRS, BODY, IN_FLIGHT, SECONDS, TOP.
"""

import os
import signal
import subprocess
import sys

from instructions import command, control
from machine import output_of
from run import PLACE
from targets import Fault, Holdfast

PAIRS, BODY, IN_FLIGHT, SECONDS, TOP = (int(os.environ.get(name) or default) for name, default in (
    ("PAIRS", 50), ("BODY", 100), ("IN_FLIGHT", 1), ("SECONDS", 5), ("TOP", 40)))
FREQUENCY = 1999
WARM_MS = 300


def traffic(load, seconds):
    answer = load.ask("pairs", PAIRS, BODY, IN_FLIGHT, WARM_MS, int(seconds * 1000))
    print(f"{answer['messages']} messages, {answer['cpu']['holdfast'] / answer['messages'] / 1000:.1f} µs each\n")


def event():
    """Cycles where the machine counts them."""
    return "cpu-clock" if "not supported" in output_of("perf", "stat", "-e", "cycles", "true") else "cycles"


def with_perf():
    data = PLACE / "perf.data"
    with Holdfast() as target:
        load = target.load(2 * PAIRS)
        load.ensure(2 * PAIRS)
        perf = subprocess.Popen(["perf", "record", "-q", "-e", event(), "-F", str(FREQUENCY), "-g", "-o", data, "-p",
                                 str(target.pids["holdfast"])], stdin=subprocess.DEVNULL)
        traffic(load, SECONDS)
        perf.send_signal(signal.SIGINT)
        perf.wait()
        for keys in ("dso", "dso,symbol"):
            print("\n".join(report_of(data, keys)), "\n")
    print(f"perf report -i {data}")


def report_of(data, keys):
    """A column of shares and the names, the largest first."""
    text = output_of("perf", "report", "-i", str(data), "--no-children", "-g", "none", "--stdio", "--sort", keys)
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0].isdigit()]
    if not lines:
        raise Fault(f"perf has no samples:\n{text}")
    return lines[:TOP]


def with_callgrind():
    data = PLACE / "callgrind.profile"
    with Holdfast(under=command(data)) as target:
        load = target.load(2 * PAIRS)
        load.ensure(2 * PAIRS, 10)
        control(target.pids["holdfast"], "-i", "on")
        traffic(load, SECONDS)
        control(target.pids["holdfast"], "-i", "off")
        load.close()
        target.proxy.stop()
    print("\n".join(output_of("callgrind_annotate", "--auto=no", str(data)).splitlines()[:TOP + 25]))


if __name__ == "__main__":
    tool = os.environ.get("TOOL") or "perf"
    tools = {"perf": with_perf, "callgrind": with_callgrind}
    sys.exit(f"TOOL is one of {' '.join(tools)}" if tool not in tools else tools[tool]())
