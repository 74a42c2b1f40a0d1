"""The man pages tell what the binary tells: options, keys with type and default, routes; and mandoc finds no fault."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("HOLDFAST_BIN") or ROOT / "build" / "holdfast").resolve()
MAN = ROOT / "deploy" / "man"
PROGRAM, CONFIGURATION, CONTROL = MAN / "holdfast.8", MAN / "holdfast.conf.5", MAN / "holdfastctl.8"
SECONDS = 30
MACRO = re.compile(r"(?:^|(?<= ))(?:Cm|No|Ar|Pa|Dv|Ev) ")


def holdfast(option):
    return subprocess.run([BINARY, option], capture_output=True, text=True, timeout=SECONDS, check=True).stdout


def items(text):
    """The heads of the lists, without their macros: "sm.max = duration, default 10m"."""
    heads = re.findall(r"^\.It (.*)", text, re.M)
    return [re.sub(r" Ns (\S) Ns | (\S) Ns ", r"\1\2", MACRO.sub("", head)).replace(" ,", ",").replace(r"\&", "")
            for head in heads]


def part(page, title):
    """The text below this heading."""
    text = re.split(rf"^\.S[hs] {title}\n", page.read_text(), flags=re.M)[1]
    return re.split(r"^\.S[hs] ", text, flags=re.M)[0]


def page_keys():
    """Heads of keys with the text below each."""
    text = CONFIGURATION.read_text()
    found = re.findall(r"^\.It (Cm [a-z]+\.[a-z_]+ .*)\n((?:(?!\.(?:It|El)\b).*\n)+)", text, re.M)
    return {items(f".It {head}")[0]: body for head, body in found}


def table_keys():
    return dict(re.findall(r"^(\S.*)\n    (.*)\n", holdfast("--help-config"), re.M))


def test_keys_are_those_of_the_binary_in_its_order():
    """Name, type, default, whether it is reloadable or not built yet."""
    assert len(table_keys()) > 40
    assert list(page_keys()) == list(table_keys())


def test_required_keys_are_marked():
    def required(keys, mark):
        return {head for head, text in keys.items() if mark in text}

    found = required(table_keys(), "(required)")
    assert found
    assert required(page_keys(), "Required.") == found


def test_keys_stand_in_their_sections():
    sections = re.split(r"^\.Ss Section (\w+)\n", CONFIGURATION.read_text(), flags=re.M)
    for name, text in zip(sections[1::2], sections[2::2]):
        keys = re.findall(r"^\.It Cm (\w+)\.", text, re.M)
        assert keys and set(keys) == {name}
    assert len(sections[1::2]) == len({head.partition(".")[0] for head in table_keys()})


def test_types_are_explained():
    """Under Values; but what speaks for itself."""
    def kind(head):
        name = re.search(r" = ([^,]*)", head)[1]
        return "list" if name.startswith("list of ") else "word|word" if "|" in name else name

    kinds = {kind(head) for head in table_keys() if " = " in head} - {"text", "name"}
    assert kinds == set(items(part(CONFIGURATION, "Values")))


def test_options_are_those_of_the_binary():
    usage = holdfast("--help")
    known = set(re.findall(r"(?:^  |, |\()(--?[a-zA-Z][a-z-]*)", usage, re.M))
    shown = re.findall(r"^\.It Fl (.*)", part(PROGRAM, "DESCRIPTION"), re.M)
    assert len(known) >= 10
    assert {f"-{option}" for head in shown for option in re.findall(r"(?:^|Fl )(-?[a-zA-Z][a-z-]*)", head)} == known


def test_routes_are_those_of_the_stats_port():
    source = (ROOT / "proxy" / "run" / "stats_http.c").read_text()
    served = set(re.findall(r'^    \{"(/[a-z.]*/?)", answer_', source, re.M))
    shown = {route for head in items(part(PROGRAM, "Stats port")) for route in head.split(", ")}
    assert {route.replace("SID", "") for route in shown} == served


def test_signals_are_those_of_the_binary():
    told = set(re.findall(r"\b[A-Z]{3,}[12]?\b", holdfast("--help").rpartition("signals:")[2]))
    shown = {signal for head in items(part(PROGRAM, "Signals")) for signal in head.split(", ")}
    assert shown == {f"SIG{name}" for name in told}


def ctl_usage():
    run = subprocess.run([BINARY.with_name("holdfastctl"), "--help"], capture_output=True, text=True, timeout=SECONDS,
                         check=True)
    return run.stdout


def test_commands_and_options_are_those_of_holdfastctl():
    usage = ctl_usage()
    known = set(re.findall(r"(?:^ +|, |\[)(--?[a-zA-Z][a-z-]*)", usage, re.M))
    text = part(CONTROL, "DESCRIPTION")
    shown = {f"-{option}" for head in re.findall(r"^\.It Fl (.*)", text, re.M)
             for option in re.findall(r"(?:^|Fl )(-?[a-zA-Z][a-z-]*)", head)}
    assert len(known) >= 10 and shown == known
    commands = re.findall(r"^  ([a-z]+) ", usage, re.M)
    assert len(commands) == 7
    assert re.findall(r"^\.It Cm ([a-z]+)", text, re.M) == commands


def test_orders_are_those_of_the_control_socket():
    source = (ROOT / "proxy" / "run" / "control_http.c").read_text()
    rows = re.findall(r'^    \{MHD_HTTP_METHOD_[A-Z]+, "(/[a-z/]*)", (?:NULL|"(/?[a-z]*)"), [a-z_]+\}', source, re.M)
    taken = {head + ({"/sessions/": "SID", "/messages/": "ID"}.get(head, "") + tail) for head, tail in rows}
    assert len(taken) == 5
    assert set(re.findall(r"^\.It Pa (/\S*)", part(CONTROL, "Without this program"), re.M)) == taken
    assert taken <= set(re.findall(r"(/[\w/]+)", (ROOT / "README.md").read_text()))


def test_the_default_socket_is_the_same_everywhere():
    path, = set(re.findall(r"else (/\S+)$", ctl_usage(), re.M))
    for text in (CONTROL.read_text(), (ROOT / "README.md").read_text(),
                 (ROOT / "deploy" / "holdfast.conf").read_text()):
        assert path in text
    folder = pathlib.Path(path).parent
    assert f"RuntimeDirectory={folder.name}\n" in (ROOT / "deploy" / "holdfast.service").read_text()


@pytest.mark.parametrize("page", [PROGRAM, CONFIGURATION, CONTROL], ids=lambda page: page.name)
def test_form_is_right(page):
    """mandoc's word where it is installed, else that of groff. That a page is not installed yet is no fault."""
    if shutil.which("mandoc"):
        command = ["mandoc", "-T", "lint", "-W", "all", page]
    elif shutil.which("groff"):
        command = ["groff", "-man", "-mdoc", "-ww", "-z", page]
    else:
        pytest.skip("neither mandoc nor groff is installed")
    run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    lines = (run.stdout + run.stderr).splitlines()
    assert [line for line in lines if "referenced manual not found" not in line and "mandoc.db" not in line] == []


def test_a_fault_would_be_found(tmp_path):
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed")
    page = tmp_path / "holdfast.8"
    page.write_text(PROGRAM.read_text().replace(".El\n", "", 1))
    with pytest.raises(AssertionError):
        test_form_is_right(page)
