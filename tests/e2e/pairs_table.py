"""The table of tests/README.md that test_pairs.py makes: who gives the receipt, for each pair of kinds of clients. A
cell says it for all servers, or what most have and then those that differ: `client; jabberd2: none`."""

import collections
import fcntl
import pathlib
import re

from servers import KINDS as SERVERS

FILE = pathlib.Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- pairs: begin -->", "<!-- pairs: end -->"
HEAD = "asks \\ gets"


def read():
    """(row, column) -> {server: what}."""
    found, columns = {}, []
    for line in between_markers(FILE.read_text()).splitlines():
        first, *rest = [cell.strip() for cell in line.strip("|").split("|")]
        if first == HEAD:
            columns = rest
        elif rest and not set(first) <= set("-: "):
            found |= {(first, column): parse(cell) for column, cell in zip(columns, rest)}
    return found


def write(server, results):
    """The file's table, with what this server has been found to do. The servers' tests run side by side."""
    with open(FILE, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        known = read()
        table = {pair: known.get(pair, {}) | {server: what} for pair, what in results.items()}
        text = re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{render(table)}\n{END}", file.read(), flags=re.S)
        file.seek(0)
        file.truncate()
        file.write(text)


def between_markers(text):
    assert text.count(BEGIN) == text.count(END) == 1, FILE
    return text.partition(BEGIN)[2].partition(END)[0]


def parse(cell):
    most, *others = cell.split("; ")
    return dict.fromkeys(SERVERS, most) | dict(other.split(": ") for other in others)


def cell(answers):
    most = collections.Counter(answers.values()).most_common(1)[0][0]
    return "; ".join([most] + [f"{server}: {what}" for server, what in sorted(answers.items()) if what != most])


def render(table):
    rows, columns = (list(dict.fromkeys(pair[at] for pair in table)) for at in (0, 1))
    lines = [[HEAD, *columns], ["---"] * (len(columns) + 1)]
    lines += [[row] + [cell(table[row, column]) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
