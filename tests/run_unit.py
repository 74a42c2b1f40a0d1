"""Runs cmocka binaries, two at a time and each with a time limit, and counts their tests. Ends with a line
`N passed, N failed`. A binary that crashes, hangs, leaks or runs no test counts as one failed test more.

    run_unit.py [--jobs N] [--seconds N] [--under "valgrind ..."] BINARY ..."""

import argparse
import concurrent.futures
import re
import shlex
import subprocess
import sys
import time

OK = re.compile(r"^\[       OK \]", re.M)
SKIPPED = re.compile(r"^\[  SKIPPED \] ([A-Za-z_]\w*)$", re.M)
FAILED = re.compile(r"^\[  FAILED  \] ([A-Za-z_]\w*)", re.M)
STARTED = re.compile(r"^\[ RUN      \] (\w+)", re.M)


def run(binary, under, seconds):
    """(passed, failed, seconds taken, output)"""
    begin = time.monotonic()
    try:
        done = subprocess.run([*under, binary], capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL)
        text, status = (done.stdout + done.stderr).decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as late:
        text = ((late.stdout or b"") + (late.stderr or b"")).decode(errors="replace")
        text, status = text + f"\ntime limit: not done within {seconds} s\n", -1
    passed = len(OK.findall(text))
    # also the one in which it crashed or hung
    failed = len(set(STARTED.findall(text))) - passed - len(set(SKIPPED.findall(text)))
    failed = max(failed, len(set(FAILED.findall(text))))
    if (status and not failed) or not passed + failed:
        failed += 1
    return passed, failed, time.monotonic() - begin, text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--under", type=shlex.split, default=[])
    parser.add_argument("binaries", nargs="*")
    wish = parser.parse_args()
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(wish.jobs) as pool:
        results = pool.map(lambda one: run(one, wish.under, wish.seconds), wish.binaries)
        for binary, result in zip(wish.binaries, results):
            good, bad, seconds, text = result
            passed, failed = passed + good, failed + bad
            print(f"{binary}: {good} passed, {bad} failed ({seconds:.1f} s)")
            if bad:
                print(text)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
