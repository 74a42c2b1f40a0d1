"""Rows about sessions: logins, storms, memory."""

import contextlib
import os
import resource
import statistics
import time

from run import choice_of, PROXIES, start
from targets import Fault, KINDS, Legacy

LOGIN = "µs a login"
STORM = "reconnect storm, seconds until the last is back"
STORMED = "µs a session of a reconnect storm"
MEANWHILE = "p99 of others while sessions come back, µs"
IDLE = "idle since the login"
OTHERS = 20  # sessions that go on while the rest comes back
DESCRIPTORS = 3  # for a session that is being resumed: its upstream leg, the new client leg, the login's upstream leg
SPARE_DESCRIPTORS = 200


def login(run, targets, loads):
    """From the TCP connection to the session, 20 at once, each of them with a full TLS handshake."""
    logins(run, "direct TLS", targets, loads)
    starttls = {name: one.load(run.sizes.logins, starttls=True) for name, one in targets.items() if one.starttls_port}
    logins(run, "STARTTLS", targets, starttls)
    for load in starttls.values():
        load.close()


def logins(run, label, targets, loads):
    count, answers = run.sizes.logins, {name: [] for name in loads}
    with run.watching(targets, loads):
        for _ in range(run.sizes.rounds):
            for name, load in loads.items():
                answer = load.ensure(count, 20)
                load.ask("logout", 0, count)
                load.sessions = 0
                answers[name].append(answer)
                run.note("login", name, answer, kind=label)
    run.costs(LOGIN, label, answers, "sessions")


def storm(run, targets, loads):
    """All are cut at once and all are back: resumed, or without stream management logged in anew."""
    count = run.sizes.storm
    for load in loads.values():
        load.ensure(count)
    with run.watching(targets, loads):
        answers = run.rounds("storm", loads, ("storm", 0, count, count), run.sizes.few)
    for name, several in answers.items():
        for answer in several:
            check_resumed(name, answer, count)
    storm_lines(run, count, answers)


def storm_lines(run, count, answers):
    run.results.add(STORM, storm_title(count), choice_of(statistics.median, answers, lambda one: one["seconds"]))
    run.costs(STORMED, storm_title(count), answers, "sessions")


def storm_title(count):
    return f"{count:,} sessions cut at once"


def check_resumed(name, answer, count):
    if KINDS[name].managed and answer["resumed"] != count:
        raise Fault(f"{name}: not all sessions were resumed: {answer}")


def most_at_once(most):
    """Sessions that can all be in the middle of their resumption, with the descriptors that a process may have."""
    return min(most, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE_DESCRIPTORS) // DESCRIPTORS)


def stampede(run):
    """As `storm`, with as many as there can be; and how that feels to a few others, who were not cut."""
    sizes = run.sizes
    counts = {sizes.storm: sizes.few, most_at_once(sizes.most): 1}  # and rounds
    rest, most = "at rest", max(counts)
    delays = {rest: {}} | {count: {} for count in counts}
    with contextlib.ExitStack() as closing:
        targets = start(closing, PROXIES)
        loads = {name: one.load(most) for name, one in targets.items()}
        others = {name: one.load(OTHERS, first=most) for name, one in targets.items()}
        for name, target in targets.items():
            loads[name].ensure(most)
            others[name].ensure(OTHERS)
            go_ahead(others[name].pid, target.pids["stub"])
        for _ in range(sizes.few):
            for name in targets:
                delays[rest].setdefault(name, []).append(talk(run, others[name], sizes.others_ms))
        for count, rounds in counts.items():
            with run.watching(targets, loads | {f"{name}, others": one for name, one in others.items()}):
                alone = run.rounds("stampede", loads, ("storm", 0, count, count), rounds)
                for _ in range(rounds):
                    for name, load in loads.items():
                        check_resumed(name, alone[name][-1], count)
                        ms = int(1000 * alone[name][-1]["seconds"])
                        load.tell("storm", 0, count, count)
                        delays[count].setdefault(name, []).append(talk(run, others[name], ms))
                        check_resumed(name, load.answer("storm"), count)
            if count == most:
                storm_lines(run, most, alone)
    for key, label in ({rest: rest} | {count: storm_title(count) for count in counts}).items():
        run.results.add(MEANWHILE, label, {name: statistics.median(several) for name, several in delays[key].items()})


def go_ahead(*pids):
    """Where that is allowed: what the storming clients take of their processor is no delay of the proxy's. Niceness would
    not do: where the kernel has autogroups it counts within a group alone, and each server is one of its own."""
    for pid in pids:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))


def talk(run, load, ms):
    """Over `ms`, 99 of 100 messages were faster."""
    return load.ask("open", OTHERS // 2, 100, run.sizes.others_rate, run.sizes.warm, max(1, ms - run.sizes.warm))["p99"]


# ---- memory ----

def settled_memory(load, pids, gap):
    """When it does not change any more. Bytes by process."""
    before = None
    for _ in range(20):
        now = load.ask("memory")
        now = {name: now[name] for name in pids}
        if now == before:
            break
        before = now
        time.sleep(gap)
    return now


def idle(run):
    """Resident memory of sessions that do nothing; and again when each of them has sent and got messages."""
    sizes, first = run.sizes, 20
    fresh, used, fresh_parts, used_parts = {}, {}, {}, {}
    for name in sizes.idle:
        kind = KINDS[name]
        with kind() as target:
            count = min(sizes.most, sizes.legacy_idle) if issubclass(kind, Legacy) else sizes.most
            load = target.load(count)
            load.ensure(first)
            empty = settled_memory(load, kind.measured, sizes.gap)
            load.ensure(count)
            full = settled_memory(load, kind.measured, sizes.gap)
            load.ask("pairs", count // 2, 100, 1, 0, sizes.ms)
            after = settled_memory(load, kind.measured, sizes.gap)
            for values, parts, now in ((fresh, fresh_parts, full), (used, used_parts, after)):
                parts[name] = {one: (now[one] - empty[one]) / (count - first) / 1024 for one in kind.measured}
                values[name] = sum(parts[name].values())
            run.note("idle", name, {"sessions": count, "empty": empty, "full": full, "after": after})
    group = f"resident memory, KiB a session ({sizes.most:,} sessions; real servers {sizes.legacy_idle:,})"
    run.results.add(group, IDLE, fresh, fresh_parts)
    run.results.add(group, "idle after messages", used, used_parts)
