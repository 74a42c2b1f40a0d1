"""What all rows of a run share: how they measure, and what they have measured so far."""

import contextlib
import statistics
import time
import traceback

from machine import Company
from table import Results
from targets import BINARY, Fault, KINDS

PLACE = BINARY.parent / "bench"
PROXIES = ("haproxy", "holdfast")


class Run:
    def __init__(self, sizes):
        self.sizes, self.results = sizes, Results()
        self.raw, self.company, self.times = [], [], []
        self.passed, self.failed = [], []

    def rounds(self, row, loads, words, rounds=None):
        """The answers of each target, from interleaved rounds: what else the machine does meets all of them alike."""
        answers = {name: [] for name in loads}
        for turn in range(rounds or self.sizes.rounds):
            for name, load in loads.items():
                answer = load.ask(*words)
                answers[name].append(answer)
                self.note(row, name, answer, command=words, round=turn)
        return answers

    def note(self, row, target, answer, **more):
        """For results.json."""
        self.raw.append({"row": row, "target": target} | more | answer)

    @contextlib.contextmanager
    def timed(self, name):
        print(f"{name} ...", flush=True)
        begin = time.monotonic()
        yield
        self.times.append((name, time.monotonic() - begin))
        print(f"{name}: {self.times[-1][1]:.0f} s", flush=True)

    def attempt(self, name, row, *arguments):
        """Whatever goes wrong with a row, the others are worth having."""
        before = len(self.results.lines)
        with self.timed(name):
            try:
                skipped = row(self, *arguments)
                if not skipped and len(self.results.lines) == before:
                    raise Fault("nothing came out")
            except Exception:
                traceback.print_exc()
                self.failed.append(name)
                return
            self.passed.append(name)

    @contextlib.contextmanager
    def watching(self, targets, loads):
        """Notes how much of the processors others took meanwhile."""
        company = Company([pid for one in targets.values() for pid in one.pids.values()] +
                          [load.pid for load in loads.values()])
        yield
        self.company.append(company.share())

    def costs(self, unit, label, answers, count, digits=1e3):
        """The cheapest round of each target, in all and by its processes; and cycles and instructions if there are any.
        `count` is the field that says how often it was done; `digits`: nanoseconds in the unit."""
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


def start(closing, names):
    return {name: closing.enter_context(KINDS[name]()) for name in names}


def choice_of(choose, answers, figure):
    """One value for each target: `choose` picks it from those of its rounds."""
    return {name: choose([figure(answer) for answer in several]) for name, several in answers.items()}


def title_of(pairs, body=100, in_flight=1):
    return (f"{pairs:,} pair{'s' * (pairs > 1)}" + (f", {body:,} bytes" * (body != 100)) +
            (f", {in_flight} in flight" * (in_flight > 1)))
