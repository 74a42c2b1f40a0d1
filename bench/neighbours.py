"""A row about what clients that misbehave do to others."""

import contextlib
import statistics

from run import PROXIES, start
from targets import Fault

ATTACK_STANZA = 250000  # near limits.stanza_bytes


def attack_giant(load, ms):
    load.ensure(4)
    load.tell("pairs", 2, ATTACK_STANZA, 1, 0, ms)


def attack_slow(load, ms):
    load.ensure(2)
    load.tell("slow", 1, 1000)


def attack_intrude(load, ms):
    load.tell("intrude", 0, 4)


def attack_trickle(load, ms):
    load.ensure(4)
    load.tell("trickle", 0, 4)


ATTACKS = (("a flood to a client that does not read", attack_slow),
           ("4 connections that flood before login", attack_intrude),
           (f"4 clients with stanzas of {ATTACK_STANZA // 1000} kB", attack_giant),
           ("4 clients that write single bytes", attack_trickle))


def neighbours(run):
    """The quiet pair's latency while others misbehave, as fast as they can, against that at rest."""
    sizes = run.sizes
    rest, delays = "at rest", {}
    with contextlib.ExitStack() as closing:
        targets = start(closing, PROXIES)
        quiet = {name: one.load(2) for name, one in targets.items()}
        for load in quiet.values():
            load.ensure(2)
        ask = ("open", 1, 100, sizes.quiet_rate, 2 * sizes.warm, sizes.quiet_ms)
        account = 10
        for _ in range(sizes.few):
            for name, target in targets.items():
                delays.setdefault((rest, name), []).append(quiet[name].ask(*ask)["p99"])
                for label, begin in ATTACKS:
                    delays.setdefault((label, name), []).append(under_attack(target, quiet[name], ask, begin, account))
                    account += 10
    group = "p99 of a quiet pair, µs"
    for label in (rest, *(label for label, _ in ATTACKS)):
        run.results.add(group, label, {name: statistics.median(delays[label, name]) for name in targets})


def under_attack(target, quiet, ask, begin, account):
    load = target.load(4, first=account)
    begin(load, ask[4] + ask[5])
    p99 = quiet.ask(*ask)["p99"]
    load.tell("memory")  # any line ends an attack
    result = load.answer("attack", attack=True)
    if not result.get("messages"):
        raise Fault(f"no attack took place: {result}")
    load.answer("memory", attack=True)
    load.close()
    return p99
