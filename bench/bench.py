"""`make bench`: what Holdfast costs, beside HAProxy, Prosody and ejabberd in the same run. README.md says what is measured
and how. Environment: ROWS picks some (comma separated), REPEAT, MS (of one measurement), QUICK=1 for small sizes.

Ends with a line `N passed, N failed`, counting rows: one fails in which a message was lost, doubled, out of order or never
acked, a session was refused, or a process ended. Times are never judged."""

import contextlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
import traceback

from machine import Company, describe
from table import put_between_markers, Results
from targets import BINARY, Fault, KINDS, Legacy, ROOT, TARGETS

README = ROOT / "bench" / "README.md"
PLACE = BINARY.parent / "bench"
PROXIES = ("haproxy", "holdfast")
OVER_BOTH = "over direct TLS and over WebSocket with TLS"
ATTACK_STANZA = 250000  # near limits.stanza_bytes


class Sizes:
    """Of the default run, and of a quick one: the same rows, all small."""

    def __init__(self, quick):
        self.quick = quick
        self.rounds = int(os.environ.get("REPEAT") or (1 if quick else 5))
        self.few = min(self.rounds, 3)  # where the median is taken, and a round is long
        self.ms = int(os.environ.get("MS") or (150 if quick else 600))
        self.warm, self.gap = (50, 0.05) if quick else (200, 0.5)
        self.logins, self.storm = (20, 50) if quick else (200, 1000)
        self.most = 100 if quick else 9800  # sessions of the proxies
        self.legacy = 120 if quick else 2000  # and of the real servers
        many = 60 if quick else 1000
        self.pairs = ((1, 100, 1), (50, 100, 1), (50, 1000, 1), (50, 100, 16), (many, 100, 1))
        self.flat = (5, 50) if quick else (10, 100, 1000, 4900)
        self.rate, self.open_ms = 1000, 300 if quick else 2000
        self.quiet_rate, self.quiet_ms = 500, 200 if quick else 2000
        self.takeovers = (10, 10) if quick else (100, 100)  # with the stub, and with a real server
        self.orphans = 60 if quick else 5000
        self.counted_ms, self.counted_rounds = (300, 1) if quick else (3000, 3)


class Bench:
    def __init__(self, sizes):
        self.sizes, self.results = sizes, Results()
        self.raw, self.company = [], []
        self.passed, self.failed = [], []

    def rounds(self, group, loads, words, rounds=None):
        """The answers of each target, from interleaved rounds: what else the machine does meets all of them alike."""
        answers = {name: [] for name in loads}
        for turn in range(rounds or self.sizes.rounds):
            for name, load in loads.items():
                answer = load.ask(*words)
                answers[name].append(answer)
                self.raw.append({"row": group, "target": name, "command": words, "round": turn} | answer)
        return answers

    def attempt(self, name, row, *arguments):
        """Whatever goes wrong with a row, the others are worth having."""
        print(f"{name} ...", flush=True)
        begin, before = time.monotonic(), len(self.results.lines)
        try:
            skipped = row(self, *arguments)
            if not skipped and len(self.results.lines) == before:
                raise Fault("nothing came out")
        except Exception:
            traceback.print_exc()
            self.failed.append(name)
            return
        self.passed.append(name)
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)

    @contextlib.contextmanager
    def watching(self, targets, loads):
        """Notes how much of the processors others took meanwhile."""
        company = Company([pid for one in targets.values() for pid in one.pids.values()] +
                          [load.pid for load in loads.values()])
        yield
        self.company.append(company.share())

    def costs(self, unit, label, answers, count, digits):
        """The cheapest round of each target, in all and by its processes; and cycles and instructions if there are any.
        `digits`: nanoseconds in the unit."""
        values, parts = {}, {}
        for name, several in answers.items():
            each = [{process: answer["cpu"][process] / answer[count] / digits for process in KINDS[name].measured}
                    for answer in several if answer[count]]
            if not each:
                raise Fault(f"{label}: {name} did nothing")
            parts[name] = min(each, key=lambda one: sum(one.values()))
            values[name] = sum(parts[name].values())
        self.results.add(f"processor time, {unit}", label, values, parts)
        for what, choose in (("cycles", min), ("instructions", statistics.median)):
            if all(what in answer for several in answers.values() for answer in several):
                self.results.add(f"{what}, thousands a {count.rstrip('s')}", label, {
                    name: choose([sum(answer[what][process] for process in KINDS[name].measured) / answer[count] / 1000
                                  for answer in several]) for name, several in answers.items()})


def start(closing, names, **options):
    return {name: closing.enter_context(KINDS[name](**options)) for name in names}


def median_of(answers, figure):
    return {name: statistics.median([figure(answer) for answer in several]) for name, several in answers.items()}


def title_of(pairs, body=100, in_flight=1):
    return (f"{pairs:,} pair{'s' * (pairs > 1)}" + (f", {body:,} bytes" * (body != 100)) +
            (f", {in_flight} in flight" * (in_flight > 1)))


# ---- rows that need the same targets, all started side by side ----

def login(bench, targets, loads):
    """From the TCP connection to the session, 20 at once, each of them with a full TLS handshake."""
    logins(bench, "direct TLS", targets, loads)
    starttls = {name: one.load(bench.sizes.logins, starttls=True) for name, one in targets.items() if one.starttls_port}
    logins(bench, "STARTTLS", targets, starttls)
    for load in starttls.values():
        load.close()


def logins(bench, label, targets, loads):
    count, answers = bench.sizes.logins, {name: [] for name in loads}
    with bench.watching(targets, loads):
        for _ in range(bench.sizes.rounds):
            for name, load in loads.items():
                answers[name].append(load.ensure(count, 20))
                load.ask("logout", 0, count)
                load.sessions = 0
    bench.raw += [{"row": "login", "kind": label, "target": name} | answer for name in answers for answer in answers[name]]
    bench.costs("µs a login", label, answers, "sessions", 1e3)


def pairs(bench, targets, loads):
    sizes = bench.sizes
    for size, body, in_flight in sizes.pairs:
        for load in loads.values():
            load.ensure(2 * size)
        with bench.watching(targets, loads):
            answers = bench.rounds("pairs", loads, ("pairs", size, body, in_flight, sizes.warm, sizes.ms))
        label = title_of(size, body, in_flight)
        bench.costs("µs a message", label, answers, "messages", 1e3)
        bench.results.add("messages a second", label, median_of(answers, lambda one: one["messages"] / one["seconds"]))


def latency(bench, targets, loads):
    sizes = bench.sizes
    for load in loads.values():
        load.ensure(100)
    with bench.watching(targets, loads):
        answers = bench.rounds("latency", loads, ("open", 50, 100, sizes.rate, sizes.warm, sizes.open_ms), sizes.few)
    for key, label in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9")):
        bench.results.add(f"latency at {sizes.rate:,} messages a second, µs", label,
                          median_of(answers, lambda one, key=key: one[key]))


def storm(bench, targets, loads):
    """All are cut at once and all are back: resumed, or without stream management logged in anew."""
    count = bench.sizes.storm
    for load in loads.values():
        load.ensure(count)
    with bench.watching(targets, loads):
        answers = bench.rounds("storm", loads, ("storm", 0, count), bench.sizes.few)
    for name, several in answers.items():
        if TARGETS[name].managed and any(answer["resumed"] != count for answer in several):
            raise Fault(f"{name}: not all sessions were resumed: {several}")
    label = f"{count:,} sessions cut at once, until the last is back"
    bench.results.add("reconnect storm, seconds", label, median_of(answers, lambda one: one["seconds"]))
    bench.costs("µs a session", "reconnect storm", answers, "sessions", 1e3)


TOGETHER = {"login": login, "pairs": pairs, "latency": latency, "storm": storm}


def together(bench, wanted):
    with contextlib.ExitStack() as closing:
        targets = start(closing, TARGETS)
        loads = {name: one.load(bench.sizes.legacy) for name, one in targets.items()}
        for name in wanted:
            bench.attempt(name, TOGETHER[name], targets, loads)


# ---- rows with targets of their own ----

def flat(bench):
    """What a message costs with more and more sessions, all of them busy."""
    sizes = bench.sizes
    with contextlib.ExitStack() as closing:
        targets = start(closing, ("stub", *PROXIES))
        loads = {name: one.load(sizes.most) for name, one in targets.items()}
        for size in sizes.flat:
            for load in loads.values():
                load.ensure(2 * size)
            with bench.watching(targets, loads):
                answers = bench.rounds("flat", loads, ("pairs", size, 100, 1, 3 * sizes.warm, sizes.ms))
            bench.costs("µs a message, all sessions busy", f"{2 * size:,} sessions", answers, "messages", 1e3)


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


def idle(bench):
    """Resident memory of sessions that do nothing; and again when each of them has sent and got messages."""
    sizes, first = bench.sizes, 20
    fresh, used, fresh_parts, used_parts = {}, {}, {}, {}
    for name, kind in TARGETS.items():
        with kind() as target:
            count = min(sizes.most, sizes.legacy if issubclass(kind, Legacy) else sizes.most)
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
            bench.raw.append({"row": "idle", "target": name, "sessions": count, "empty": empty, "full": full,
                              "after": after})
    group = f"resident memory, KiB a session ({sizes.most:,} sessions; real servers {sizes.legacy:,})"
    bench.results.add(group, "idle since the login", fresh, fresh_parts)
    bench.results.add(group, "idle after messages", used, used_parts)


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


ATTACKS = (("a flood to a client that does not read", attack_slow), ("4 connections that flood before login", attack_intrude),
           (f"4 clients with stanzas of {ATTACK_STANZA // 1000} kB", attack_giant),
           ("4 clients that write single bytes", attack_trickle))


def neighbours(bench):
    """The quiet pair's latency while others misbehave, as fast as they can, against that at rest."""
    sizes = bench.sizes
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
        bench.results.add(group, label, {name: statistics.median(delays[label, name]) for name in targets})


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


def instructions(bench):
    """In user space alone, counted by valgrind: exact where processor time is not."""
    if b"__asan_init" in BINARY.read_bytes():
        print("instructions: not counted in a sanitized program", flush=True)
        return "skipped"
    sizes = bench.sizes
    counts = {}
    for name in PROXIES:
        with TARGETS[name](under=["valgrind", "--tool=callgrind", "--instr-atstart=no",
                                  f"--callgrind-out-file={PLACE}/callgrind.{name}"]) as target:
            load, pid = target.load(100), target.pids[name]
            load.ensure(100, 10)
            callgrind(pid, "-i", "on")
            for size in (1, 50):
                counts[size, name] = statistics.median(
                    counted_round(load, pid, size, sizes.counted_ms) for _ in range(sizes.counted_rounds))
            callgrind(pid, "-i", "off")
    for size in (1, 50):
        bench.results.add("instructions in user space, thousands a message", title_of(size),
                          {name: counts[size, name] / 1000 for name in PROXIES})


def callgrind(pid, *words):
    done = subprocess.run(["callgrind_control", *words, str(pid)], capture_output=True, text=True)
    if done.returncode:
        raise Fault(f"callgrind_control: {done.stdout}{done.stderr}")
    return done.stdout


def counted_round(load, pid, size, ms):
    callgrind(pid, "-z")
    messages = load.ask("pairs", size, 100, 1, 0, ms)["sent"]
    lines = [line.split() for line in callgrind(pid, "-e").splitlines()]
    return sum(int(line[-1].replace(",", "")) for line in lines if line[:1] == ["Th"]) / messages


def durability(bench):
    """What it costs to have each stanza in Redis before it is acked."""
    beside(bench, "durability", "holdfast+redis", "kept in memory and in Redis", ((100, 1), (100, 16)))


def web(bench):
    """What it costs to have each stanza in a frame of its own."""
    beside(bench, "web", "holdfast+web", OVER_BOTH, ((100, 1), (1000, 1), (100, 16)))


def beside(bench, row, other, what, sizes_of_messages):
    """Holdfast as it is by default, and another way, with 50 pairs: (bytes of the body, messages in flight)."""
    sizes = bench.sizes
    with contextlib.ExitStack() as closing:
        targets = start(closing, ("holdfast", other))
        loads = {name: one.load(100) for name, one in targets.items()}
        for load in loads.values():
            load.ensure(100)
        for body, in_flight in sizes_of_messages:
            with bench.watching(targets, loads):
                answers = bench.rounds(row, loads, ("pairs", 50, body, in_flight, sizes.warm, sizes.ms))
            bench.costs(f"µs a message, {what}", title_of(50, body, in_flight), answers, "messages", 1e3)


def takeover(bench):
    """From the connection to another node to its <resumed/>, one client at a time."""
    kinds = ("nodes", "nodes+prosody")
    delays = {}
    with contextlib.ExitStack() as closing:
        for target, count in zip(start(closing, kinds).values(), bench.sizes.takeovers):
            load = target.load(count)
            load.ensure(count)
            for turn in range(bench.sizes.few):
                moved(bench, delays, target, load, count, "its node lives", 1)
                target.kill(1, load, count)
                moved(bench, delays, target, load, count, "its node was killed", 0)
                target.start_again(1)
    for case in ("its node was killed", "its node lives"):
        for key, label in (("p50", "p50"), ("p99", "p99"), ("resume_p50", "p50 from <resume/>"),
                           ("resume_p99", "p99 from <resume/>")):
            bench.results.add("takeover, ms from the client's connection to <resumed/>", f"{case}: {label}",
                              {name: statistics.median(delays[name, case, key]) / 1000 for name in kinds})


def moved(bench, delays, target, load, count, case, to):
    answer = load.ask("move", 0, count, 1, target.ports[to])
    bench.raw.append({"row": "takeover", "target": target.name, "case": case} | answer)
    if answer["resumed"] != count:
        raise Fault(f"{target.name}, {case}: not all sessions were resumed: {answer}")
    for key in ("p50", "p99", "resume_p50", "resume_p99"):
        delays.setdefault((target.name, case, key), []).append(answer[key])


def adoption(bench):
    """A node dies, and all its clients are at another one's door at the same moment."""
    count = bench.sizes.orphans
    with contextlib.ExitStack() as closing:
        target, = start(closing, ("nodes",)).values()
        load = target.load(count)
        load.ensure(count, 20)
        target.kill(0, load, count)
        answer = load.ask("move", 0, count, count, target.ports[1])
        met = target.most_connections()
    bench.raw.append({"row": "adoption", "connections a second": met} | answer)
    if answer["resumed"] != count:
        raise Fault(f"not all sessions were resumed: {answer}")
    group = f"{count:,} sessions of a killed node, all clients at another one's door at once"
    bench.results.add(group, "seconds until the last is resumed", {"nodes": answer["seconds"]})
    bench.results.add(group, "connections that broke before and were tried again", {"nodes": answer["retries"]})
    bench.results.add(group, "connections that the server met in a second, at most", {"nodes": met})


ALONE = {"flat": flat, "idle": idle, "neighbours": neighbours, "web": web, "durability": durability,
         "takeover": takeover, "adoption": adoption, "instructions": instructions}


# ---- the run ----

def goals(results):
    """Where Holdfast is, against what it should be."""
    def ratio(group, label, over=None):
        values = results.find(group, label)
        below = results.find(group, over) if over else values
        if "holdfast" not in values:
            return None
        return values["holdfast"] / below["holdfast" if over else "haproxy"], values["haproxy"] / below["haproxy"]

    rows = []
    for group, what, label, most in (
            ("processor time, µs a message", "processor time of a message", title_of(50), 1.3),
            ("processor time, µs a message", "processor time of a message", title_of(1000), 1.3),
            ("processor time, µs a message", "processor time of a message", title_of(50, 1000), 1.5),
            ("processor time, µs a message", "processor time of a message", title_of(50, 100, 16), 2),
            ("instructions in user space, thousands a message", "instructions of a message", title_of(50), 1.6)):
        cost = ratio(group, label)
        if cost:
            rows.append((f"{what}, {label}", f"at most {most} × HAProxy's", f"{cost[0]:.2f} ×", cost[0] <= most))
    memory = next((line.values for line in results.lines if line.label == "idle since the login"), None)
    if memory:
        rows.append(("memory of an idle TLS session", "at most 24 KiB", f"{memory['holdfast']:.1f} KiB",
                     memory["holdfast"] <= 24))
    sessions = [line.label for line in results.lines if "all sessions busy" in line.group]
    if len(sessions) > 1:
        own, other = ratio("processor time, µs a message, all sessions busy", sessions[-1], sessions[0])
        rows.append((f"a message with {sessions[-1]} against {sessions[0]}", "grows as HAProxy's, 10 % more at most",
                     f"{own:.2f} × (HAProxy {other:.2f} ×)", own <= 1.1 * other))
    framed = next((line.values for line in results.lines if line.group.endswith(OVER_BOTH)), None)
    if framed:
        more = framed["holdfast+web"] / framed["holdfast"]
        rows.append(("processor time of a message over WebSocket, 50 pairs", "at most 1.25 × that over direct TLS",
                     f"{more:.2f} ×", more <= 1.25))
    rows += goals_of_redis(results)
    if not rows:
        return "(none of the rows that the goals are about)"
    lines = ["| goal | wanted | measured | |", "| --- | --- | --- | --- |"]
    return "\n".join(lines + [f"| {a} | {b} | {c} | {'met' if met else '**not met**'} |" for a, b, c, met in rows])


def goals_of_redis(results):
    rows = []
    cost = next((line for line in results.lines if "in memory and in Redis" in line.group), None)
    if cost:
        proxy = cost.parts["holdfast+redis"]["holdfast"] / cost.values["holdfast"]
        stanza = cost.parts["holdfast+redis"]["redis"] / 2  # each message is one from a client and one to a client
        rows += [("processor time of Holdfast with Redis", "at most 1.5 × that with memory", f"{proxy:.2f} ×", proxy <= 1.5),
                 ("processor time of Redis", "at most 3 µs a stanza", f"{stanza:.2f} µs", stanza <= 3)]
    for line in results.lines:
        if line.group.startswith("takeover") and line.label == "its node was killed: p50 from <resume/>":
            own = line.values["nodes"]
            rows.append(("takeover without the login, in front of the stub", "p50 below 5 ms", f"{own:.2f} ms", own < 5))
        if line.label.startswith("connections that the server met"):
            met = line.values["nodes"]
            rows.append(("logins a second at the server while all come back from a killed node",
                         "at most proxy.login_rate, 500, and a burst of 50", f"{met:,.0f}", met <= 550))
    return rows


def report(bench):
    company = [f"While something was measured, others took {100 * statistics.median(bench.company):.0f} % of the "
               f"processors (median of the rows; at most {100 * max(bench.company):.0f} %)."] if bench.company else []
    titles = {name: kind.title for name, kind in KINDS.items()}
    verdict = [] if bench.sizes.quick else [goals(bench.results)]  # small sizes say nothing
    return "\n\n".join(["\n".join(f"- {line}" for line in describe(BINARY)), *company, *verdict,
                        bench.results.tables(titles)])


def main():
    quick = bool(os.environ.get("QUICK"))
    every = [*TOGETHER, *ALONE]
    wanted = [name for name in os.environ.get("ROWS", "").split(",") if name] or every
    unknown = set(wanted) - set(every)
    if unknown:
        sys.exit(f"no such rows: {' '.join(unknown)}; there are {' '.join(every)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    bench = Bench(Sizes(quick))
    Legacy.most = bench.sizes.legacy
    side_by_side = [name for name in TOGETHER if name in wanted]
    if side_by_side:
        try:
            together(bench, side_by_side)
        except Exception:
            traceback.print_exc()
            bench.failed += [name for name in side_by_side if name not in bench.passed + bench.failed]
    for name, row in ALONE.items():
        if name in wanted:
            bench.attempt(name, row)
    text = report(bench)
    print("\n" + text)
    (PLACE / "results.json").write_text(json.dumps(bench.raw, indent=1) + "\n")
    if not quick and not bench.failed and wanted == every:
        put_between_markers(README, text)
        print(f"written into {README.relative_to(ROOT)}")
    print(f"{len(bench.passed)} passed, {len(bench.failed)} failed")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
