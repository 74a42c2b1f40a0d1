"""Searches the models of the store exhaustively, and shows that each rule is needed: with the rule broken, the property
that it protects is violated. README.md tells more. Ends with a line `N passed, N failed`.

    run.py [--full] [--jobs N] [--trace] [WORD ...]

--full adds larger sizes; WORD picks what has it in its name; --trace prints what leads to each violation."""

import argparse
import concurrent.futures
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
DEPTH = 100000
MEMORY = 1800  # MB, of one search
SECONDS = 600
OPTIONS = ["-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY}"]
PAN = ["./pan", f"-m{DEPTH}", "-w22"]

# Models with all rules: sizes, of what else a model sets by itself.
SEARCHES = [
    ("uplink", "CUTS=1 CRASHES=1 BREAKS=0 REFUSALS=1"),
    ("uplink", "CUTS=2 CRASHES=0 BREAKS=1 REFUSALS=0"),
    ("uplink", "CUTS=1 CRASHES=0 BREAKS=1 REFUSALS=1"),
    ("uplink", "CUTS=1 CRASHES=0 BREAKS=0 REFUSALS=1 STANZAS=3"),
    ("downlink", "CUTS=1 CRASHES=1 BREAKS=0 REFUSALS=1"),
    ("downlink", "CUTS=2 CRASHES=1 BREAKS=0 REFUSALS=0"),
    ("downlink", "CUTS=1 CRASHES=1 BREAKS=1 REFUSALS=0"),
    ("downlink", "CUTS=2 CRASHES=0 BREAKS=1 REFUSALS=0"),
    ("downlink", "CUTS=1 CRASHES=0 BREAKS=1 REFUSALS=1"),
    ("downlink", "CUTS=1 CRASHES=0 BREAKS=1 REFUSALS=0 STANZAS=3"),
    ("expiry", "CUTS=2 CRASHES=0 BREAKS=0 REAPERS_DIE=1 RETURNS=1"),
    ("expiry", "CUTS=1 CRASHES=0 BREAKS=1 REAPERS_DIE=0 RETURNS=1"),
    ("expiry", "CUTS=1 CRASHES=1 BREAKS=0 REAPERS_DIE=0 RETURNS=0"),
    ("expiry", "CUTS=0 CRASHES=1 BREAKS=0 REAPERS_DIE=1 RETURNS=1"),
    ("resync", "CUTS=1 CRASHES=1"),
    ("resync", "CUTS=2 CRASHES=0"),
    ("resync", "CUTS=2 CRASHES=0 STANZAS=1 NODES=3"),
]
FULL = [
    ("uplink", "CUTS=2 CRASHES=1 BREAKS=0 REFUSALS=0"),
    ("uplink", "CUTS=1 CRASHES=1 BREAKS=1 REFUSALS=0"),
    ("uplink", "CUTS=0 CRASHES=1 BREAKS=0 REFUSALS=1 STANZAS=3"),
    ("downlink", "CUTS=2 CRASHES=1 BREAKS=0 REFUSALS=1"),
    ("downlink", "CUTS=1 CRASHES=1 BREAKS=1 REFUSALS=1"),
    ("downlink", "CUTS=1 CRASHES=1 BREAKS=0 REFUSALS=1 STANZAS=3"),
    ("downlink", "CUTS=2 CRASHES=1 BREAKS=0 REFUSALS=0 STANZAS=3"),
    ("downlink", "CUTS=2 CRASHES=1 BREAKS=1 REFUSALS=0"),
    ("expiry", "CUTS=1 CRASHES=1 BREAKS=0 REAPERS_DIE=1 RETURNS=0"),
    ("expiry", "CUTS=1 CRASHES=1 BREAKS=1 REAPERS_DIE=0 RETURNS=0"),
    ("expiry", "CUTS=2 CRASHES=0 BREAKS=1 REAPERS_DIE=0 RETURNS=0"),
    ("resync", "CUTS=2 CRASHES=1"),
    ("resync", "CUTS=1 CRASHES=1 STANZAS=3"),
    ("resync", "CUTS=3 CRASHES=0 GRACE=0 STANZAS=1 NODES=3"),
]

# Sizes that together do all that a model can do: what none of them does is there for nothing. (spin itself tells this
# for whole atomic steps at best, so the C code that it makes is counted.)
COVERING = {
    "uplink": ["CUTS=1 CRASHES=0 BREAKS=0 REFUSALS=1", "CUTS=1 CRASHES=0 BREAKS=1 REFUSALS=0",
               "CUTS=2 CRASHES=0 BREAKS=0 REFUSALS=0", "CUTS=0 CRASHES=1 BREAKS=0 REFUSALS=0"],
    "downlink": ["CUTS=1 CRASHES=0 BREAKS=0 REFUSALS=1", "CUTS=1 CRASHES=0 BREAKS=1 REFUSALS=0",
                 "CUTS=2 CRASHES=0 BREAKS=0 REFUSALS=0", "CUTS=0 CRASHES=1 BREAKS=0 REFUSALS=0"],
    "expiry": ["CUTS=0 CRASHES=0 BREAKS=1 REAPERS_DIE=0 RETURNS=0", "CUTS=1 CRASHES=0 BREAKS=0 REAPERS_DIE=1 RETURNS=1",
               "CUTS=2 CRASHES=0 BREAKS=0 REAPERS_DIE=0 RETURNS=0", "CUTS=0 CRASHES=1 BREAKS=0 REAPERS_DIE=0 RETURNS=0"],
    "resync": ["CUTS=1 CRASHES=1", "CUTS=2 CRASHES=0 STANZAS=1"],
}

# Broken rules: the model, the macro, sizes that are large enough, and the property that must fall.
BROKEN = [
    ("uplink", "FENCE_XSETID", "CUTS=1 CRASHES=0 BREAKS=0 REFUSALS=0", "one_owner"),
    ("uplink", "ACK_BEFORE_COMMIT", "CUTS=0 CRASHES=1 BREAKS=0 REFUSALS=0", "nothing_acked_is_lost"),
    ("uplink", "RETRY_EQUAL_OR_SMALLER", "CUTS=0 CRASHES=1 BREAKS=0 REFUSALS=1", "nothing_acked_is_lost"),
    ("uplink", "RETRY_OWN_EPOCH_SUFFICES", "CUTS=1 CRASHES=1 BREAKS=0 REFUSALS=1", "h_never_goes_back"),
    ("uplink", "GAP", "CUTS=0 CRASHES=1 BREAKS=0 REFUSALS=1", "h_never_goes_back"),
    ("uplink", "CLAIM_CUTS_GAP", "CUTS=0 CRASHES=1 BREAKS=0 REFUSALS=1", "nothing_acked_is_lost"),
    ("uplink", "GAP_AT_FRONT", "CUTS=0 CRASHES=1 BREAKS=0 REFUSALS=1", "nothing_acked_is_lost"),
    ("uplink", "CLAIM_LEAVES_REST", "CUTS=1 CRASHES=0 BREAKS=0 REFUSALS=1", "order_is_kept"),
    ("uplink", "TRIM_OLD_EPOCH", "CUTS=1 CRASHES=0 BREAKS=0 REFUSALS=0", "nothing_acked_is_lost"),
    ("uplink", "RESUMED_AFTER_COMMIT", "CUTS=2 CRASHES=0 BREAKS=0 REFUSALS=1", "h_never_goes_back"),
    ("uplink", "GENERATION", "CUTS=2 CRASHES=1 BREAKS=0 REFUSALS=0", "h_never_goes_back"),
    ("downlink", "FENCE_XSETID", "CUTS=1 CRASHES=0 BREAKS=0 REFUSALS=0", "one_owner"),
    ("downlink", "GAP", "CUTS=0 CRASHES=1 BREAKS=0 REFUSALS=1", "nothing_committed_is_lost"),
    ("downlink", "CLAIM_CUTS_GAP", "CUTS=0 CRASHES=1 BREAKS=0 REFUSALS=1", "nothing_committed_is_lost"),
    ("downlink", "RETRY_EQUAL_OR_SMALLER", "CUTS=1 CRASHES=0 BREAKS=0 REFUSALS=1", "nothing_committed_is_lost"),
    ("downlink", "TRIM_OLD_EPOCH", "CUTS=1 CRASHES=0 BREAKS=0 REFUSALS=0", "nothing_committed_is_lost"),
    ("downlink", "HIGH_WATER", "CUTS=1 CRASHES=0 BREAKS=0 REFUSALS=0", "an_honest_client_resumes"),
    ("downlink", "COUNTER_FORWARD", "CUTS=1 CRASHES=0 BREAKS=0 REFUSALS=0", "an_honest_client_resumes"),
    ("downlink", "RESUMED_AFTER_COMMIT", "CUTS=2 CRASHES=0 BREAKS=0 REFUSALS=0", "exactly_once"),
    ("downlink", "CLAIM_CAS", "CUTS=1 CRASHES=1 BREAKS=0 REFUSALS=1", "exactly_once"),
    ("downlink", "CLAIM_CAS_ATTACH", "CUTS=2 CRASHES=0 BREAKS=1 REFUSALS=0", "exactly_once"),
    ("downlink", "FENCED_SPILL_ABOVE_H", "CUTS=1 CRASHES=0 BREAKS=1 REFUSALS=0", "exactly_once"),
    ("downlink", "SPILL_BY_RECORD", "CUTS=1 CRASHES=0 BREAKS=1 REFUSALS=0", "exactly_once"),
    ("downlink", "SPILL_ONCE", "CUTS=1 CRASHES=0 BREAKS=1 REFUSALS=0", "exactly_once"),
    ("downlink", "RECORD_OF_EACH_CLAIM", "CUTS=1 CRASHES=0 BREAKS=1 REFUSALS=0", "nothing_is_dropped"),
    ("downlink", "RECORD_PER_OWNER", "CUTS=1 CRASHES=0 BREAKS=1 REFUSALS=1", "exactly_once"),
    ("expiry", "NOMKSTREAM", "CUTS=1 CRASHES=0 BREAKS=0 REAPERS_DIE=0", "nothing_committed_is_lost"),
    ("expiry", "REAP_RECHECK", "CUTS=1 CRASHES=0 BREAKS=0 REAPERS_DIE=0", "who_has_time_left_lives"),
    ("expiry", "REAP_RAISES_EPOCH", "CUTS=1 CRASHES=0 BREAKS=0 REAPERS_DIE=0", "exactly_once"),
    ("expiry", "CLAIM_EXPIRED", "CUTS=1 CRASHES=0 BREAKS=0 REAPERS_DIE=0", "exactly_once"),
    ("expiry", "SPILL_IN_ONE_CALL", "CUTS=1 CRASHES=0 BREAKS=0 REAPERS_DIE=0", "exactly_once"),
    ("expiry", "TAKE_IN_ONE_CALL", "CUTS=1 CRASHES=0 BREAKS=0 REAPERS_DIE=0", "one_queue_only"),
    ("expiry", "SILENCE_IN_TIME", "CUTS=1 CRASHES=0 BREAKS=0 REAPERS_DIE=0", "exactly_once"),
    ("expiry", "TOMBSTONE_HOLDS_RECORD", "CUTS=1 CRASHES=0 BREAKS=0 REAPERS_DIE=0", "nothing_is_dropped"),
    ("expiry", "ORIGIN_HOLDS_EPOCH", "CUTS=2 CRASHES=0 BREAKS=0 REAPERS_DIE=0", "nothing_is_dropped"),
    ("resync", "RESYNC_BEFORE_ACK", "CUTS=0 CRASHES=1", "nothing_acked_is_lost"),
    ("resync", "RESTORE_OWN_EPOCH", "CUTS=1 CRASHES=0", "h_never_goes_back"),
    ("resync", "GRACE", "CUTS=1 CRASHES=0", "h_never_goes_back"),
    ("resync", "STALE_CLAIM", "CUTS=1 CRASHES=0", "h_never_goes_back"),
    ("resync", "EPOCH_FROM_TIME", "CUTS=3 CRASHES=0 GRACE=0 STANZAS=1 NODES=3", "one_owner"),
]

VIOLATED = re.compile(r"^pan:\d+: assertion violated (.*?) \(at depth \d+\)", re.M)
OTHER_ERROR = re.compile(r"^(?:pan:\d+: |error: |max search depth too small|pan: reached|pan: out of memory).*", re.M)
STATES = re.compile(r"^ *([\d.e+]+) states, stored", re.M)
ERRORS = re.compile(r"depth reached \d+, errors: (\d+)$", re.M)
PROPERTY = re.compile(r"#define ID_(\w+)")
COUNTED = re.compile(r"^ *([#\d-]+)\*?: *\d+:\s*(.*)$")
DOES = re.compile(r"^[\w.\[\](), *>+-]+ = .*;$|^qsend\(")


class Fault(Exception):
    """What is wrong with the model, or with its search."""


def call(command, folder, what):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS,
                          stdin=subprocess.DEVNULL)
    text = done.stdout + done.stderr
    if done.returncode:
        raise Fault(f"{what}: exit status {done.returncode}\n{text[-8000:]}")
    return text


def make(folder, model, macros):
    """The verifier, as pan.c."""
    for source in HERE.glob("*.pml"):
        shutil.copy(source, folder)
    said = call(["spin", "-a", *(f"-D{macro}" for macro in macros), f"{model}.pml"], folder, "spin")
    if said.strip():
        raise Fault(f"spin: {said}")


def never_done(model, sizes, properties):
    """Assignments of the verifier that it has not carried out, whichever process's copy of them it is."""
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        make(folder, model, sizes.split())
        call(["gcc", "-O0", "--coverage", *OPTIONS, "-c", "pan.c"], folder, "gcc")
        call(["gcc", "--coverage", "-o", "pan", "pan.o"], folder, "gcc")
        must_hold(call(PAN, folder, "pan"))
        call(["gcov", "pan.o"], folder, "gcov")
        done, dead = set(), set()
        for line in (pathlib.Path(folder) / "pan.m.gcov").read_text().splitlines():
            count, statement = COUNTED.match(line).groups()
            statement = re.sub(r"P\d+", "P", re.sub(r"\[\d+\]", "[N]", statement))
            if count != "-" and DOES.match(statement) and statement.split(" =")[0] not in properties:
                (dead if count.startswith("#") else done).add(statement)
        return dead - done


def cover(model):
    """(name, what is wrong or None, seconds)"""
    begin = time.monotonic()
    properties = PROPERTY.findall((HERE / "store.pml").read_text())
    try:
        dead = set.intersection(*(never_done(model, sizes, properties) for sizes in COVERING[model]))
        fault = "\n".join(sorted(dead))
    except (Fault, subprocess.TimeoutExpired) as wrong:
        fault = str(wrong)
    return f"{model} does all that it can do", fault, time.monotonic() - begin


def trace(folder, model, macros):
    lines = call(["spin", "-t", *(f"-D{macro}" for macro in macros), f"{model}.pml"], folder, "spin -t").splitlines()
    return "\n".join(" ".join(line.split("spin:")[0].split()) for line in lines
                     if re.match(r" *(?:redis|node|client|server|reaper)\b.*:", line))


def must_hold(text):
    """All states were searched, and nothing is wrong."""
    found = VIOLATED.search(text) or OTHER_ERROR.search(text)
    if found:
        raise Fault(found[0])
    errors = ERRORS.search(text)
    if not errors or errors[1] != "0" or "Search not completed" in text:
        raise Fault("the search is not complete")
    for promise in ("assertion violations\t+", "invalid end states\t+"):
        if promise not in text:
            raise Fault(f"not looked for: {promise}")


def must_fall(text, wanted):
    found = VIOLATED.search(text)
    if not found:
        other = OTHER_ERROR.search(text)
        raise Fault(other[0] if other else "no property is violated: the model does not need this rule")
    if found[1] != wanted:
        raise Fault(f"{found[1]} is violated, not {wanted}")


def run(job):
    """(name, what is wrong or None, states, seconds, trace)"""
    model, broken, sizes, wanted, want_trace = job
    name = f"{model} {'without ' + broken + ', ' if broken else ''}{sizes}"
    macros = sizes.split() + ([f"BREAK_{broken}", f"ONLY=ID_{wanted}"] if broken else [])
    begin = time.monotonic()
    fault, states, steps = None, 0, ""
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        try:
            make(folder, model, macros)
            call(["gcc", "-O0" if broken else "-O1", *OPTIONS, "-o", "pan", "pan.c"], folder, "gcc")
            text = call(PAN, folder, "pan")
            states = int(float(STATES.search(text)[1]))
            if (pathlib.Path(folder) / f"{model}.pml.trail").exists():
                steps = trace(folder, model, macros)
            if broken:
                must_fall(text, wanted)
            else:
                must_hold(text)
        except (Fault, subprocess.TimeoutExpired) as wrong:
            fault = str(wrong)
    return name, fault, states, time.monotonic() - begin, steps if fault or want_trace else ""


def read_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("words", nargs="*")
    return parser.parse_args()


def tell(name, fault, what, seconds):
    print(f"{'FAILED' if fault else 'ok':6} {name}{what} ({seconds:.1f} s)", flush=True)
    if fault:
        print(fault, flush=True)
    return not fault


def main():
    wish = read_arguments()
    jobs = [(model, None, sizes, None, wish.trace) for model, sizes in SEARCHES + (FULL if wish.full else [])]
    jobs += [(model, broken, sizes, wanted, wish.trace) for model, broken, sizes, wanted in BROKEN]
    jobs = [job for job in jobs if all(word in f"{job[0]} {job[1]} {job[2]}".split() for word in wish.words)]
    passed = []
    with concurrent.futures.ThreadPoolExecutor(wish.jobs) as pool:
        covered = pool.map(cover, [] if wish.words else COVERING)
        for job, (name, fault, states, seconds, steps) in zip(jobs, pool.map(run, jobs)):
            what = f": {job[3] + ' falls' if job[3] else 'all hold'}, {states} states"
            passed.append(tell(name, fault, what, seconds))
            if steps:
                print(steps, flush=True)
        for name, fault, seconds in covered:
            passed.append(tell(name, fault, "", seconds))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"the largest process took {peak} MB")
    if not passed:
        print(f"there is nothing named {' '.join(wish.words)}")
    print(f"{sum(passed)} passed, {passed.count(False)} failed")
    return 0 if passed and all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
