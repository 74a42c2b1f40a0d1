"""Rows about two nodes with one Redis: what a client waits for when its own node is not there."""

import contextlib
import statistics

from run import start
from targets import Fault

TAKEOVER = "takeover, ms from the client's connection to <resumed/>"
AT_ONCE = "sessions of a killed node, all clients at another one's door at once"
MET = "connections that the server met in a second, at most"


def takeover(run):
    """From the connection to another node to its <resumed/>, one client at a time."""
    kinds = ("nodes", "nodes+prosody")
    delays = {}
    with contextlib.ExitStack() as closing:
        for target, count in zip(start(closing, kinds).values(), run.sizes.takeovers):
            load = target.load(count)
            load.ensure(count)
            for turn in range(run.sizes.few):
                moved(run, delays, target, load, count, "its node lives", 1)
                target.kill(1, load, count)
                moved(run, delays, target, load, count, "its node was killed", 0)
                target.start_again(1)
    for case in ("its node was killed", "its node lives"):
        for key, label in (("p50", "p50"), ("p99", "p99"), ("resume_p50", "p50 from <resume/>"),
                           ("resume_p99", "p99 from <resume/>")):
            run.results.add(TAKEOVER, f"{case}: {label}",
                            {name: statistics.median(delays[name, case, key]) / 1000 for name in kinds})


def moved(run, delays, target, load, count, case, to):
    answer = load.ask("move", 0, count, 1, target.ports[to])
    run.note("takeover", target.name, answer, case=case)
    if answer["resumed"] != count:
        raise Fault(f"{target.name}, {case}: not all sessions were resumed: {answer}")
    for key in ("p50", "p99", "resume_p50", "resume_p99"):
        delays.setdefault((target.name, case, key), []).append(answer[key])


def adoption(run):
    """A node dies, and all its clients are at another one's door at the same moment."""
    count = run.sizes.orphans
    with contextlib.ExitStack() as closing:
        target, = start(closing, ("nodes",)).values()
        load = target.load(count)
        load.ensure(count, 20)
        target.kill(0, load, count)
        answer = load.ask("move", 0, count, count, target.ports[1])
        met = target.most_connections()
    run.note("adoption", target.name, answer, connections_a_second=met)
    if answer["resumed"] != count:
        raise Fault(f"not all sessions were resumed: {answer}")
    group = f"{count:,} {AT_ONCE}"
    run.results.add(group, "seconds until the last is resumed", {"nodes": answer["seconds"]})
    run.results.add(group, "connections that broke before and were tried again", {"nodes": answer["retries"]})
    run.results.add(group, MET, {"nodes": met})
