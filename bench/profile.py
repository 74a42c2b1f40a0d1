"""`make bench-profile`: where Holdfast spends its time. TOOL=perf (the default) samples the whole process, the kernel's
part too; TOOL=callgrind counts instructions in user space, exactly. Both leave their data beside the program, for perf
report, callgrind_annotate or kcachegrind. Environment: LOAD=pairs (the default; PAIRS, BODY, IN_FLIGHT, SECONDS), or
LOAD=login or storm (COUNT sessions, that many times: REPEAT); TARGET, of those in targets.py, instead of holdfast: of
several processes the first is looked at; TOP lines."""

import os
import signal
import subprocess
import sys

from instructions import command, control
from machine import output_of
from run import PLACE
from targets import Fault, KINDS

PAIRS, BODY, IN_FLIGHT, SECONDS, COUNT, REPEAT, TOP = (int(os.environ.get(name) or default) for name, default in (
    ("PAIRS", 50), ("BODY", 100), ("IN_FLIGHT", 1), ("SECONDS", 5), ("COUNT", 200), ("REPEAT", 1), ("TOP", 40)))
TARGET = os.environ.get("TARGET") or "holdfast"
PROCESS = KINDS[TARGET].measured[0]
FREQUENCY = 1999
WARM_MS = 300
AT_ONCE = 20  # logins


def traffic(load):
    answer = load.ask("pairs", PAIRS, BODY, IN_FLIGHT, WARM_MS, SECONDS * 1000)
    return [answer], answer["messages"], "messages"


def logins(load):
    """And the sessions' ends, which are theirs to pay for, too."""
    answers = []
    for _ in range(REPEAT):
        answers.append(load.ask("login", 0, COUNT, AT_ONCE))
        load.ask("logout", 0, COUNT)
    return answers, COUNT * REPEAT, "logins"


def storms(load):
    return [load.ask("storm", 0, COUNT, COUNT) for _ in range(REPEAT)], COUNT * REPEAT, "resumptions"


LOADS = {"pairs": (2 * PAIRS, traffic), "login": (COUNT, logins), "storm": (COUNT, storms)}


def begin(target, run):
    """Its clients, logged in once: what is made at the first time is made."""
    sessions = LOADS[run][0]
    load = target.load(sessions)
    load.ensure(sessions, 10)
    if run == "login":
        load.ask("logout", 0, sessions)
    return load


def put(load, run):
    """Returns how often it was done."""
    answers, count, what = LOADS[run][1](load)
    cpu = sum(answer["cpu"][PROCESS] for answer in answers)
    print(f"{count} {what}, {cpu / count / 1000:.1f} µs each\n")
    return count


def event():
    """Cycles where the machine counts them."""
    return "cpu-clock" if "not supported" in output_of("perf", "stat", "-e", "cycles", "true") else "cycles"


def with_perf(run):
    data = PLACE / "perf.data"
    with KINDS[TARGET]() as target:
        load = begin(target, run)
        perf = subprocess.Popen(["perf", "record", "-q", "-e", event(), "-F", str(FREQUENCY), "-g", "-o", data, "-p",
                                 str(target.pids[PROCESS])], stdin=subprocess.DEVNULL)
        put(load, run)
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


def with_callgrind(run):
    data = PLACE / f"callgrind.{TARGET}.{run}"
    dump = data.with_name(f"{data.name}.1")
    dump.unlink(missing_ok=True)
    with KINDS[TARGET](under=command(data)) as target:
        pid = target.pids[PROCESS]
        load = begin(target, run)
        control(pid, "-i", "on")
        count = put(load, run)
        control(pid, "-i", "off")
        control(pid, "-d")
    text = output_of("callgrind_annotate", "--auto=no", "--show-percs=no", str(dump))
    total = next(line for line in text.splitlines() if "PROGRAM TOTALS" in line).split()[0].replace(",", "")
    print(f"{int(total) / count / 1000:,.1f} thousand instructions each\n")
    print("\n".join(text.splitlines()[:TOP + 25]), f"\n\n{dump}")


if __name__ == "__main__":
    tool, load_of = os.environ.get("TOOL") or "perf", os.environ.get("LOAD") or "pairs"
    tools = {"perf": with_perf, "callgrind": with_callgrind}
    if tool not in tools or load_of not in LOADS:
        sys.exit(f"TOOL is one of {' '.join(tools)}, LOAD of {' '.join(LOADS)}")
    sys.exit(tools[tool](load_of))
