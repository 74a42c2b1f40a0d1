"""Rows that valgrind counts, in user space alone: exact where processor time is not."""

import pathlib
import re
import statistics
import subprocess

import messages
from run import choice_of, PLACE, title_of
from targets import BINARY, Fault, KINDS

GROUP = "instructions in user space, thousands a message"
QUEUED = "instructions in user space, thousands each, with recipients that do not ack"
QUEUES = 4  # of each length; callgrind is slow
WORKERS = "one worker beside two, a message"
LOGINS_AT_ONCE = 10
PROXIES = ("haproxy", "nginx", "holdfast")
BOTH = ("holdfast+one", "holdfast+two")
LOCK = re.compile(r"pthread_(mutex_lock|rwlock_\w*lock)")


def instructions(run):
    if is_sanitized():
        return "skipped"
    pairs, _, rounds = run.sizes.counted
    answers = {}
    proxies = [name for name in PROXIES if name in run.sizes.targets]
    for name in (*proxies, *BOTH):
        with Counted(name, pairs) as counted:
            answers[name] = [counted.round(run.sizes) for _ in range(rounds)]
    thousands = choice_of(statistics.median, answers, lambda one: one["instructions"] / 1000)
    locks = choice_of(statistics.median, answers, lambda one: one["locks"])
    for name, several in answers.items():
        for answer in several:
            run.note("instructions", name, answer)
    run.results.add(GROUP, title_of(pairs), {name: thousands[name] for name in proxies})
    run.results.add(WORKERS, "thousands of instructions", {name: thousands[name] for name in BOTH})
    run.results.add(WORKERS, "locks of mutexes", {name: locks[name] for name in BOTH})
    queues(run)
    return None


def queues(run):
    """The row `queue`, without what the machine adds: other work on the same core, caches."""
    _, step, before = run.sizes.queue
    ends = messages.queue_lengths(run.sizes)
    lines = {what: {} for what in messages.QUEUE_COUNTS}
    with Counted("holdfast+queues", QUEUES) as counted:
        loads = dict(zip(ends, (counted.load, counted.more())))
        for load in loads.values():
            load.ask("hold", QUEUES)
        control(counted.pid, "-i", "off")
        loads[ends[1]].ask("post", QUEUES, 100, before, 16, 0)
        control(counted.pid, "-i", "on")
        asked = {"a message": ("post", QUEUES, 100, step, 16, 0), "an ack": ("release", QUEUES, step, 1)}
        for what, words in asked.items():
            for label, load in loads.items():
                answer, text = counted.count(load, *words)
                lines[what][label] = total_of(text) / answer[messages.QUEUE_COUNTS[what]]
    for what, values in lines.items():
        for label, value in values.items():
            run.note("instructions", "holdfast+queues", {"instructions": value}, what=what, queued=label)
            run.results.add(QUEUED, f"{what}, {label}", {"holdfast+queues": value / 1000})


def is_sanitized():
    if b"__asan_init" not in BINARY.read_bytes():
        return False
    print("not counted in a sanitized program", flush=True)
    return True


class Counted:
    """A target under callgrind, and its clients."""

    def __init__(self, name, pairs):
        self.file = pathlib.Path(f"{PLACE}/callgrind.{name}")
        self._target = KINDS[name](under=command(self.file))
        self.process, self._pairs = KINDS[name].measured[0], pairs

    def __enter__(self):
        self._target.__enter__()
        self.load, self.pid = self._target.load(2 * self._pairs), self._target.pids[self.process]
        self.load.ensure(2 * self._pairs, LOGINS_AT_ONCE)
        control(self.pid, "-i", "on")
        return self

    def __exit__(self, *problem):
        if not problem[0]:
            control(self.pid, "-i", "off")
        self._target.__exit__(*problem)

    def more(self):
        """As many clients again."""
        load = self._target.load(2 * self._pairs, first=2 * self._pairs)
        load.ensure(2 * self._pairs, LOGINS_AT_ONCE)
        return load

    def round(self, sizes):
        """Instructions and calls of locks, for each of the messages; those at the beginning and the end are among them."""
        answer, text = self.count(self.load, "pairs", self._pairs, 100, 1, 0, sizes.counted[1])
        sent = answer["sent"]
        return {"messages": sent, "instructions": total_of(text) / sent, "locks": calls_of(text, LOCK) / sent}

    def count(self, load, *words):
        """The answer, and what callgrind has noted meanwhile."""
        for old in self.file.parent.glob(f"{self.file.name}.*"):
            old.unlink()
        control(self.pid, "-z")
        answer = load.ask(*words)
        control(self.pid, "-d")
        dump, = self.file.parent.glob(f"{self.file.name}.*")
        return answer, dump.read_text()


def command(file):
    return ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={file}"]


def control(pid, *words):
    done = subprocess.run(["callgrind_control", *words, str(pid)], capture_output=True, text=True)
    if done.returncode:
        raise Fault(f"callgrind_control: {done.stdout}{done.stderr}")
    return done.stdout


def total_of(dump):
    return int(re.search(r"^(?:summary|totals): (\d+)", dump, re.M)[1])


def calls_of(dump, wanted):
    """How often functions were called whose names match. A name is written out once, and has a number from then on."""
    names, calls, callee = {}, 0, None
    for line in dump.splitlines():
        found = re.match(r"(c?fn)=\((\d+)\)(?: (.*))?", line)
        if found:
            kind, number, name = found.groups()
            if name:
                names[number] = name
            if kind == "cfn":
                callee = names[number]
        elif line.startswith("calls=") and wanted.search(callee):
            calls += int(line[6:].split()[0])
    return calls
