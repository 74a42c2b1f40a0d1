"""Rows about messages: what one costs, and how long it takes."""

import contextlib
import socket
import statistics

from machine import cpu_seconds
from run import choice_of, PROXIES, start, title_of
from targets import Fault, KINDS

COST = "µs a message"
WHOLE = "µs a message, by a real server and what stands before it"
BUSY = "µs a message, all sessions busy"
FRAMED = "µs a message, over direct TLS and over WebSocket with TLS"
KEPT = "µs a message, kept in memory and in Redis"
PLAIN = "processor time of the same Redis, µs, for a list that is kept short"
PIPELINED = "RPUSH and LTRIM, 128 at once"
QUEUED = "µs each, with recipients that do not ack"
QUEUE_COUNTS = {"a message": "messages", "an ack": "acks"}  # and the field that says how often it was done
QUEUE_TURNS = 3  # for each of the run's rounds: they are short
LONGER = "processor time with a long queue, times that with a short one; median of turns"
ASKED = "µs a message, with XEP-0184 requests and without"
SPREAD = "µs a message, processors shared with the load"
LATENCY = "latency at 1,000 messages a second, µs"


# ---- beside the real servers ----

def pairs(run, targets, loads):
    sizes = run.sizes
    for size, body, in_flight in sizes.pairs:
        for load in loads.values():
            load.ensure(2 * size)
        with run.watching(targets, loads):
            answers = run.rounds("pairs", loads, ("pairs", size, body, in_flight, sizes.warm, sizes.ms))
        label = title_of(size, body, in_flight)
        run.costs(COST, label, answers, "messages")
        run.results.add("messages a second", label,
                        choice_of(statistics.median, answers, lambda one: one["messages"] / one["seconds"]))


def together(answers):
    """As if it had been one round."""
    return {"messages": sum(one["messages"] for one in answers),
            "cpu": {process: sum(one["cpu"][process] for one in answers) for process in answers[0]["cpu"]}}


def whole(run):
    """A real server with TLS and stream management of its own; and in clear, with each proxy before the same process.
    All rounds together, as one of them is too short for what a server does now and then: to collect garbage."""
    sizes = run.sizes
    count = 2 * max(size for size, _, _ in sizes.whole)
    with contextlib.ExitStack() as closing:
        targets, loads = {}, {}
        for kind in sizes.real:
            native, fronted = (closing.enter_context(KINDS[name]()) for name in (kind, f"{kind}+proxies"))
            targets |= {kind: native, f"{kind}+proxies": fronted}
            loads[kind] = native.load(count)
            for number, proxy in enumerate(PROXIES):
                loads[f"{kind}+{proxy}"] = fronted.load_through(proxy, count, first=number * count)
        for size, body, in_flight in sizes.whole:
            for load in loads.values():
                load.ensure(2 * size)
            with run.watching(targets, loads):
                answers = run.rounds("whole", loads, ("pairs", size, body, in_flight, sizes.warm, 2 * sizes.ms))
            run.costs(WHOLE, title_of(size, body, in_flight),
                      {name: [together(several)] for name, several in answers.items()}, "messages")


def latency(run, targets, loads):
    """Of each percentile the best round: what else the machine does can only add to it."""
    sizes = run.sizes
    for load in loads.values():
        load.ensure(100)
    with run.watching(targets, loads):
        words = ("open", 50, 100, sizes.rate, sizes.warm, sizes.open_ms)
        answers = run.rounds("latency", loads, words, 2 * sizes.rounds)
    for key, label in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9")):
        run.results.add(LATENCY, label, choice_of(min, answers, lambda one, key=key: one[key]))


# ---- growth ----

def flat(run):
    """What a message costs with more and more sessions, all of them busy."""
    sizes = run.sizes
    with contextlib.ExitStack() as closing:
        targets = start(closing, ("stub", *PROXIES))
        loads = {name: one.load(sizes.most) for name, one in targets.items()}
        for size in sizes.flat:
            for load in loads.values():
                load.ensure(2 * size)
            with run.watching(targets, loads):
                answers = run.rounds("flat", loads, ("pairs", size, 100, 1, 3 * sizes.warm, sizes.ms))
            run.costs(BUSY, f"{2 * size:,} sessions", answers, "messages")


def queue(run):
    """What a message and an ack cost while the queue of the recipient's session is short, and while it is long. Some
    sessions have short ones, others long ones, and they take turns: what else the machine does meets both."""
    pairs_, step, before = run.sizes.queue
    ends = queue_lengths(run.sizes)
    answers = {what: {label: [] for label in ends} for what in QUEUE_COUNTS}
    with contextlib.ExitStack() as closing:
        targets = start(closing, ("holdfast+queues",))
        target, = targets.values()
        loads = {label: target.load(2 * pairs_, first=2 * pairs_ * number) for number, label in enumerate(ends)}
        for load in loads.values():
            load.ensure(2 * pairs_)
            load.ask("hold", pairs_)
        loads[ends[1]].ask("post", pairs_, 100, before, 16, 0)
        with run.watching(targets, loads):
            for _ in range(QUEUE_TURNS * run.sizes.rounds):
                for label, load in loads.items():
                    answers["a message"][label].append(load.ask("post", pairs_, 100, step, 16, 0))
                held = target.proxy.metric("holdfast_unacked_stanzas")
                if held != pairs_ * (before + 2 * step):
                    raise Fault(f"{held} stanzas are queued")
                for label, load in loads.items():
                    answers["an ack"][label].append(load.ask("release", pairs_, step, 1))
    for what, count in QUEUE_COUNTS.items():
        for label in ends:
            for answer in answers[what][label]:
                run.note("queue", target.name, answer, what=what, queued=label)
            run.costs(QUEUED, f"{what}, {label}", {target.name: answers[what][label]}, count)
        pairs_of_costs = zip(*([one["cpu"]["holdfast"] / one[count] for one in answers[what][label]] for label in ends))
        run.results.add(LONGER, f"{what}, {ends[1]} against {ends[0]}",
                        {target.name: statistics.median(long / short for short, long in pairs_of_costs)})


def queue_lengths(sizes):
    """While messages are queued, and while they are acked: the short queue and the long one."""
    _, step, before = sizes.queue
    return f"1 to {step:,} queued", f"{before:,} to {before + step:,} queued"


# ---- one way of Holdfast beside another ----

def durability(run):
    """What it costs to have each stanza in Redis before it is acked."""
    beside(run, "durability", ("holdfast", "holdfast+redis"), KEPT, ((100, 1), (100, 16)), plain_lists)


def plain_lists(run, targets):
    """What Redis itself takes here for the least that could keep a stanza."""
    redis = targets["holdfast+redis"].redis
    stanza = "<message>" + 200 * "x" + "</message>"
    batch = b"".join(redis.command("RPUSH", f"plain:{n}", stanza) + redis.command("LTRIM", f"plain:{n}", -10, -1)
                     for n in range(128))
    answers = []
    with socket.create_connection(("127.0.0.1", redis.port)) as wire, wire.makefile("rb") as lines:
        for _ in range(run.sizes.rounds):
            before = cpu_seconds(redis.process.pid)
            for _ in range(run.sizes.plain):
                wire.sendall(batch)
                for _ in range(2 * 128):
                    lines.readline()
            answers.append((cpu_seconds(redis.process.pid) - before) / run.sizes.plain / 128 * 1e6)
    run.results.add(PLAIN, PIPELINED, {"holdfast+redis": min(answers)})


def web(run):
    """What it costs to have each stanza in a frame of its own."""
    beside(run, "web", ("holdfast", "holdfast+web"), FRAMED, ((100, 1), (1000, 1), (100, 16)))


def workers(run):
    """What it costs that two workers are one process: with both processors for Holdfast, beside the load."""
    beside(run, "workers", ("holdfast+one", "holdfast+two"), SPREAD, ((100, 1), (100, 16)))


def beside(run, row, names, what, sizes_of_messages, then=None):
    """With 50 pairs: (bytes of the body, messages in flight). Then `then`, with the same targets."""
    sizes = run.sizes
    with contextlib.ExitStack() as closing:
        targets = start(closing, names)
        loads = {name: one.load(100) for name, one in targets.items()}
        for load in loads.values():
            load.ensure(100)
        for body, in_flight in sizes_of_messages:
            with run.watching(targets, loads):
                answers = run.rounds(row, loads, ("pairs", 50, body, in_flight, sizes.warm, sizes.ms))
            run.costs(what, title_of(50, body, in_flight), answers, "messages")
        if then:
            then(run, targets)


def receipts(run):
    """Messages with requests for receipts, to clients that send none: the proxy sends them all."""
    pairs_, each = run.sizes.receipts
    kinds = {"without": 0, "with a request, each answered by the proxy": 1}
    answers = {label: [] for label in kinds}
    with contextlib.ExitStack() as closing:
        targets = start(closing, ("holdfast",))
        target, = targets.values()
        load = target.load(2 * pairs_)
        load.ensure(2 * pairs_)
        load.ask("greet", pairs_)
        load.ask("post", pairs_, 100, 1, 1, 0)  # behind this the greetings are known
        with run.watching(targets, {"load": load}):
            for _ in range(run.sizes.few):
                for label, asking in kinds.items():
                    answers[label].append(load.ask("post", pairs_, 100, each, 1, asking))
    for label, several in answers.items():
        for answer in several:
            run.note("receipts", target.name, answer, kind=label)
            if answer["receipts"] != kinds[label] * pairs_ * each:
                raise Fault(f"{label}: {answer['receipts']} receipts")
        run.costs(ASKED, f"{pairs_ * each:,} messages, {label}", {target.name: several}, "messages")
