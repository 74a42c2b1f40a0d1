"""Runs fuzz targets, some at a time, and counts them. Ends with a line `N passed, N failed`.

    run.py [--seconds N] [--jobs N] BINARY ...

Each begins with the seeds in tests/fuzz/corpus and with what earlier runs have left in build-fuzz/corpus. The input of
a failure stays beside the binaries, as TARGET-crash-..., TARGET-leak-... or TARGET-timeout-...; `BINARY FILE` tries
it again."""

import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
LOADING = 240  # seconds beyond those of the fuzzing itself, for a corpus that has grown
RUNS = re.compile(r"^Done (\d+) runs", re.M)


def fuzz(binary, seconds):
    """(whether it passed, how many inputs it tried, what it said)"""
    target = binary.name.removeprefix("fuzz_")
    corpus = binary.parent / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    command = [str(binary.resolve()), f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=1024",
               "-max_len=4096", f"-dict={HERE / 'xmpp.dict'}", f"-artifact_prefix={binary.parent.resolve()}/{target}-",
               str(corpus.resolve()), str(HERE / "corpus" / target)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds + LOADING, stdin=subprocess.DEVNULL)
        text, good = (done.stdout + done.stderr).decode(errors="replace"), done.returncode == 0
    except subprocess.TimeoutExpired as late:
        text, good = (late.stderr or b"").decode(errors="replace") + "\ntime limit\n", False
    runs = RUNS.search(text)
    return good and runs is not None, int(runs[1]) if runs else 0, text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("binaries", nargs="+", type=pathlib.Path)
    wish = parser.parse_args()
    passed = 0
    with concurrent.futures.ThreadPoolExecutor(wish.jobs) as pool:
        results = pool.map(lambda one: fuzz(one, wish.seconds), wish.binaries)
        for binary, (good, runs, text) in zip(wish.binaries, results):
            passed += good
            print(f"{binary}: {'passed' if good else 'FAILED'}, {runs} inputs", flush=True)
            if not good:
                print(text[-20000:])
    failed = len(wish.binaries) - passed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
