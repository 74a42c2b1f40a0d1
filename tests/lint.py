"""clang-tidy (its checks are in .clang-tidy) and cppcheck over the sources of the proxy and the bench; any finding fails.

    lint.py [--nodes N] COMPILER-FLAG ...

--nodes: how far clang's analyzer follows the paths of one function. It takes nearly all of the time: with 30000 half of
what it takes as it comes (225000)."""

import concurrent.futures
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = ("proxy", "bench")


def run(command):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def main(flags):
    depth = []
    if flags[:1] == ["--nodes"]:
        words = ("-Xclang", "-analyzer-config", "-Xclang", f"max-nodes={flags[1]}")
        depth = [f"--extra-arg-before={word}" for word in words]
        flags = flags[2:]
    jobs = os.cpu_count() or 2
    files = sorted(str(file.relative_to(ROOT)) for folder in FOLDERS for file in (ROOT / folder).rglob("*.c"))
    defines = [flag for flag in flags if flag.startswith(("-I", "-D"))]
    # cppcheck 2.10 does not know __VA_OPT__, and takes int times int64_t for unsigned.
    commands = [["cppcheck", "--quiet", "--std=c11", "--language=c", "--enable=warning,portability,performance",
                 "--inline-suppr", "--error-exitcode=1", "--suppress=signConversion", f"-j{jobs}", *defines,
                 "-D__VA_OPT__(...)=", *FOLDERS]]
    commands += [["clang-tidy", "--quiet", *depth, file, "--", *flags] for file in files]
    faults = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for status, text in pool.map(run, commands):
            if status:
                faults += 1
                print("\n".join(line for line in text.splitlines() if "warnings generated" not in line))
    print(f"lint: {len(files)} files, {faults or 'no'} with findings")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
