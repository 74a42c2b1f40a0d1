"""Runs the stages of `make check` or `make check-full` one after the other and sums them up in one last line,
`N passed, N failed`. A stage is a make command; where its output ends with such a line itself, its tests are counted,
and one that fails without a count is one failure.

    check.py "NAME: make-target VARIABLE=value ..." ..."""

import os
import re
import shlex
import subprocess
import sys
import time

COUNTS = re.compile(r"^(\d+) passed, (\d+) failed")


def run(stage):
    """(passed, failed); the output goes through."""
    command = [os.environ.get("MAKE", "make"), "--no-print-directory", f"-j{os.cpu_count() or 2}", *shlex.split(stage)]
    passed = failed = 0
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    for line in child.stdout:
        print(line, end="", flush=True)
        found = COUNTS.match(line)
        if found:
            passed, failed = int(found[1]), int(found[2])
    if child.wait() and not failed:
        failed = 1
    return passed, failed


def main(stages):
    results = []
    for stage in stages:
        name, _, command = stage.partition(": ")
        print(f"== {name}: make {command}", flush=True)
        begin = time.monotonic()
        results.append((name, *run(command), time.monotonic() - begin))
    print("\n== summary")
    for name, passed, failed, seconds in results:
        print(f"{'FAILED' if failed else 'ok':6} {name}: {passed} passed, {failed} failed ({seconds:.0f} s)")
    failed = sum(result[2] for result in results)
    print(f"{sum(result[1] for result in results)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
