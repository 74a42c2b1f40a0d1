"""Rows about memory beside `idle`: what a detached session keeps, and what is left when all are gone."""

import time

from targets import KINDS

FIRST = 20  # sessions that stay attached: what is made once is made
PROXIES = ("haproxy", "holdfast")
DETACHED = "detached since their login"


def quiet_time(sizes):
    """Seconds; free memory goes back to the system when nobody has come or gone for some."""
    return 0 if sizes.name == "tiny" else 6


def settled(load, name, seconds):
    """Resident bytes of a process."""
    time.sleep(seconds)
    return load.ask("memory")[name]


def detached(run):
    """Each connection but a few breaks, and nobody comes back."""
    sizes = run.sizes
    count, quiet = sizes.most, quiet_time(sizes)
    with KINDS["holdfast"]() as target:
        load = target.load(count)
        load.ensure(FIRST)
        before = settled(load, "holdfast", quiet)
        load.ensure(count)
        load.ask("cut", FIRST, count - FIRST)
        after = settled(load, "holdfast", quiet)
    run.note("detached", "holdfast", {"sessions": count, "before": before, "after": after})
    run.results.add(f"resident memory, KiB a session ({sizes.most:,} sessions)", DETACHED,
                      {"holdfast": (after - before) / (count - FIRST) / 1024})


def creep(run):
    """Rounds of logins, a storm of all and the end of all: what is there afterwards."""
    sizes = run.sizes
    count, rounds, quiet = sizes.storm, 4 if sizes.name == "tiny" else 10, quiet_time(sizes)
    seen = {}
    for name in PROXIES:
        with KINDS[name]() as target:
            load = target.load(count + FIRST)
            load.ensure(FIRST)
            seen[name] = [settled(load, name, quiet)]
            for turn in range(1, rounds + 1):
                load.ask("login", FIRST, count, 100)
                load.ask("storm", FIRST, count, count)
                load.ask("logout", FIRST, count)
                if turn in (1, rounds // 2, rounds):
                    seen[name].append(settled(load, name, quiet))
        run.note("creep", name, {"sessions": count, "resident": seen[name]})
    group = f"resident memory, MiB, when {count:,} sessions have come, been cut, come back and ended"
    labels = ("before", "once", f"{rounds // 2} times", f"{rounds} times")
    for i, label in enumerate(labels):
        run.results.add(group, label, {name: seen[name][i] / 2 ** 20 for name in PROXIES})
