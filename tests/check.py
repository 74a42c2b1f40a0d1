"""Runs the stages of `make check` or `make check-full` one after the other and sums them up in one last line,
`N passed, N failed`. A stage is a make command; where its output ends with such a line itself, its tests are counted,
and one that fails without a count is one failure.

    check.py "NAME: make-target VARIABLE=value ..." ...

Stages in one word with || between them run side by side: one that mostly waits beside one that computes. Their output
comes when they are done."""

import concurrent.futures
import os
import re
import shlex
import subprocess
import sys
import time

COUNTS = re.compile(r"^(\d+) passed, (\d+) failed")


def run(stage, show):
    """(passed, failed); show gets each line of the output."""
    command = [os.environ.get("MAKE", "make"), "--no-print-directory", f"-j{os.cpu_count() or 2}", *shlex.split(stage)]
    passed = failed = 0
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    for line in child.stdout:
        show(line)
        found = COUNTS.match(line)
        if found:
            passed, failed = int(found[1]), int(found[2])
    if child.wait() and not failed:
        failed = 1
    return passed, failed


def run_named(stage, buffered):
    """(name, passed, failed, seconds)"""
    name, _, command = stage.partition(": ")
    lines = [f"== {name}: make {command}\n"]
    if not buffered:
        print(lines.pop(), end="", flush=True)
    begin = time.monotonic()
    result = (name, *run(command, lines.append if buffered else lambda line: print(line, end="", flush=True)))
    print("".join(lines), end="", flush=True)
    return (*result, time.monotonic() - begin)


def main(groups):
    results = []
    for group in groups:
        stages = group.split(" || ")
        with concurrent.futures.ThreadPoolExecutor(len(stages)) as pool:
            results += pool.map(lambda stage: run_named(stage, len(stages) > 1), stages)
    print("\n== summary")
    for name, passed, failed, seconds in results:
        print(f"{'FAILED' if failed else 'ok':6} {name}: {passed} passed, {failed} failed ({seconds:.0f} s)")
    failed = sum(result[2] for result in results)
    print(f"{sum(result[1] for result in results)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
