"""What the documents name exists: files, make targets, metrics, routes, options, keys of the configuration. And the
minimal configuration of README.md is valid."""

import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("HOLDFAST_BIN") or ROOT / "build" / "holdfast").resolve()
TOP = ("proxy", "include", "tests", "bench", "deploy")
LAYERS = ("base", "xmpp", "net", "redis", "store", "cluster", "session", "run")
SECTIONS = "proxy|listen|tls|store|sm|receipts|limits|log"
SECONDS = 30

LINK = re.compile(r"\]\(([^)#]+)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
CODE = re.compile(r"`([^`\n]+)`")
MAKE = re.compile(r"^make ([a-z][\w-]*)")
METRIC = re.compile(r"\bholdfast_[a-z_]+")
KEY = re.compile(rf"(?<![\w./-])(?:{SECTIONS})\.(?![ch]\b)[a-z_]+\b")
VARIABLE = re.compile(r"\bHOLDFAST_[A-Z_]+")
OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][a-z-]*")


def text_of(document):
    return (ROOT / document).read_text()


def code_of(document):
    """What stands between backticks, and the lines of code blocks."""
    text = text_of(document)
    lines = [line.strip() for _, block in FENCE.findall(text) for line in block.splitlines()]
    return CODE.findall(FENCE.sub("", text)) + lines


def holdfast(*arguments):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS, env=clean,
                          stdin=subprocess.DEVNULL)


def paths_in(document):
    """Links, and what looks like a path of this repository; the tour shortens some: net/loop.c, session.c."""
    found = set(link for link in LINK.findall(text_of(document)) if "://" not in link)
    for code in code_of(document):
        found |= set(re.findall(rf"(?<![\w/.-])(?:{'|'.join(TOP + LAYERS)})/[\w./-]+", code))
        found |= set(re.findall(r"(?<![\w/.-])[a-z_]+\.(?:c|h|py|md)\b", code))
    return {path.rstrip(".") for path in found}


def exists(document, path):
    """Beside the document, under the root, as an include line has it, or a bare name in one of the layers."""
    folders = [(ROOT / document).parent, ROOT, ROOT / "proxy", ROOT / "include"]
    if "/" not in path:
        folders += [ROOT / "proxy" / layer for layer in LAYERS]
    return any((folder / path).exists() for folder in folders)


def all_targets():
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(), re.M))


def all_metrics():
    lines = holdfast("--describe-metrics").stdout.splitlines()
    return {re.match(r"\w+", line)[0] for line in lines}


def all_keys():
    return set(re.findall(r"^([a-z]+\.[a-z_]+) ", holdfast("--help-config").stdout, re.M))


def assert_known(named, known, least=1):
    """`least`: a check that finds nothing to check has lost its eyes."""
    assert len(named) >= least
    assert sorted(named - known) == []


@pytest.mark.parametrize("document, least", [("README.md", 8), ("proxy/README.md", 30), ("tests/README.md", 20)])
def test_paths_exist(document, least):
    paths = paths_in(document)
    assert len(paths) >= least
    assert sorted(path for path in paths if not exists(document, path)) == []


@pytest.mark.parametrize("document, least", [("README.md", 5), ("proxy/README.md", 1), ("CHANGELOG.md", 2),
                                             ("tests/README.md", 4)])
def test_make_targets_exist(document, least):
    assert_known({target for code in code_of(document) for target in MAKE.findall(code)}, all_targets(), least)


@pytest.mark.parametrize("document, least", [("README.md", 10), ("proxy/README.md", 0), ("CHANGELOG.md", 0)])
def test_metrics_exist(document, least):
    assert_known(set(METRIC.findall(text_of(document))), all_metrics(), least)


@pytest.mark.parametrize("document, least", [("README.md", 30), ("proxy/README.md", 3), ("CHANGELOG.md", 1),
                                             ("tests/README.md", 1)])
def test_configuration_keys_exist(document, least):
    keys = {key for code in code_of(document) for key in KEY.findall(code)}
    keys |= {".".join(name.lower().split("_", 2)[1:]) for name in VARIABLE.findall(text_of(document))}
    assert_known(keys, all_keys(), least)


def test_keys_that_readme_recommends_are_built():
    unbuilt = set(re.findall(r"^([a-z]+\.[a-z_]+) \(not built yet\)", holdfast("--help-config").stdout, re.M))
    assert unbuilt
    named = {key for code in code_of("README.md") for key in KEY.findall(code)}
    assert sorted(named & unbuilt) == []


def test_options_exist():
    shown = [code for code in code_of("README.md") if code.startswith("-o ") or "holdfast -" in code]
    known = set(OPTION.findall(holdfast("--help").stdout))
    assert_known({option for code in shown for option in OPTION.findall(code)}, known, 5)


def test_the_minimal_configuration_is_valid(tmp_path):
    block, = [text for language, text in FENCE.findall(text_of("README.md")) if language == "ini"]
    certificate, key = tmp_path / "example.org.pem", tmp_path / "example.org.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=example.org", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    config = tmp_path / "holdfast.conf"
    config.write_text(block.replace("/etc/holdfast", str(tmp_path)))
    run = holdfast("-t", "-c", config)
    assert (run.returncode, run.stderr) == (0, "")


def test_packages_are_those_of_make_deps():
    """Those of building; cmocka is for the tests alone."""
    shown, = re.findall(r"^sudo apt-get install ((?:.*\\\n)*.*)$", text_of("README.md"), re.M)
    needed, = re.findall(r'^BUILD="([^"]*)"', (ROOT / "tests" / "deps.sh").read_text(), re.M)
    assert set(shown.replace("\\", "").split()) == set(needed.split()) - {"libcmocka-dev"}


def test_names_of_the_tour_are_those_of_the_code():
    code = "".join(file.read_text() for folder in ("proxy", "include") for file in (ROOT / folder).rglob("*.[ch]"))
    named = {name for text in code_of("proxy/README.md") for name in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", text)}
    assert_known(named, set(re.findall(r"\w+", code)), 40)


def test_routes_are_those_of_the_stats_port():
    source = (ROOT / "proxy" / "run" / "stats_http.c").read_text()
    served = set(re.findall(r'^    \{"(/[a-z.]*/?)", answer_', source, re.M))
    table = text_of("README.md").partition("| route |")[2].partition("\n\n")[0]
    shown = {route.replace("SID", "") for route in re.findall(r"`(/[\w./]*)`", table)}
    assert shown == served
