"""`make bench`: what Holdfast costs, beside HAProxy, nginx, Prosody and ejabberd in the same run. README.md says what
is measured and how. Environment: SIZE=full, quick or tiny; ROWS picks some (comma separated); REPEAT, MS (of one
measurement).

Ends with a line `N passed, N failed`, counting rows: one fails in which a message was lost, doubled, out of order or
never acked, a session was refused, or a process ended. Times are never judged."""

import contextlib
import json
import os
import resource
import signal
import statistics
import sys
import traceback

from goals import goals
from instructions import instructions
from machine import clock_mhz, describe
import memory
import messages
from neighbours import neighbours
import nodes
from run import PLACE, Run, start
import sessions
from sizes import sizes_of
from table import put_between_markers
from targets import BINARY, KINDS, Legacy, ROOT

README = ROOT / "bench" / "README.md"
TOGETHER = {"login": sessions.login, "pairs": messages.pairs, "latency": messages.latency, "storm": sessions.storm}
ALONE = {"whole": messages.whole, "stampede": sessions.stampede, "flat": messages.flat, "queue": messages.queue, "workers": messages.workers,
         "idle": sessions.idle, "detached": memory.detached, "creep": memory.creep, "neighbours": neighbours,
         "web": messages.web, "receipts": messages.receipts, "durability": messages.durability,
         "takeover": nodes.takeover, "adoption": nodes.adoption, "instructions": instructions}


def together(run, wanted):
    """Rows that need the same targets, which are all started side by side."""
    with contextlib.ExitStack() as closing:
        with run.timed("start"):
            targets = start(closing, run.sizes.targets)
            loads = {name: one.load(run.sizes.legacy) for name, one in targets.items()}
        for name in wanted:
            run.attempt(name, TOGETHER[name], those_in(name, targets), those_in(name, loads))


def those_in(row, by_target):
    return {name: one for name, one in by_target.items() if row in (KINDS[name].rows or TOGETHER)}


def report(run):
    company = [f"While something was measured, others took {100 * statistics.median(run.company):.0f} % of the "
               f"processors (median of the rows; at most {100 * max(run.company):.0f} %)."] if run.company else []
    times = ", ".join(f"`{name}` {seconds:.0f} s" for name, seconds in run.times)
    spent = f"The run took {sum(seconds for _, seconds in run.times) / 60:.1f} minutes: {times}."
    titles = {name: kind.title for name, kind in KINDS.items()}
    verdict = [] if run.sizes.name == "tiny" else [goals(run.results, clock_mhz())]  # tiny sizes say nothing
    return "\n\n".join(["\n".join(f"- {line}" for line in describe(BINARY)), *company, spent, *verdict,
                        run.results.tables(titles)])


def wanted_rows(sizes):
    every = [*TOGETHER, *ALONE]
    wanted = [name for name in os.environ.get("ROWS", "").split(",") if name] or sizes.rows or every
    unknown = set(wanted) - set(every)
    if unknown:
        sys.exit(f"no such rows: {' '.join(unknown)}; there are {' '.join(every)}")
    return [name for name in every if name in wanted]


def main():
    sizes = sizes_of()
    wanted = wanted_rows(sizes)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    run = Run(sizes)
    Legacy.most = sizes.legacy
    side_by_side = [name for name in TOGETHER if name in wanted]
    if side_by_side:
        try:
            together(run, side_by_side)
        except Exception:
            traceback.print_exc()
            run.failed += [name for name in side_by_side if name not in run.passed + run.failed]
    for name, row in ALONE.items():
        if name in wanted:
            run.attempt(name, row)
    text = report(run)
    print("\n" + text)
    (PLACE / "results.json").write_text(json.dumps(run.raw, indent=1) + "\n")
    if sizes.name == "full" and not run.failed and wanted == [*TOGETHER, *ALONE]:
        put_between_markers(README, text)
        print(f"written into {README.relative_to(ROOT)}")
    print(f"{len(run.passed)} passed, {len(run.failed)} failed")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
