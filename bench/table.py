"""What was measured, as lines of tables: one line for each figure, one column for each target, beside each value its
ratio to HAProxy's in the same run."""

import collections
import re

REFERENCE = "haproxy"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"

Line = collections.namedtuple("Line", "group label values parts")  # target -> value; target -> {process: value}


class Results:
    def __init__(self):
        self.lines = []

    def add(self, group, label, values, parts=None):
        assert values, (group, label)
        self.lines.append(Line(group, label, values, parts or {}))

    def group(self, group):
        return [line for line in self.lines if line.group == group]

    def line(self, group, label):
        return next((line for line in self.group(group) if line.label == label), None)

    def tables(self, titles):
        """Markdown; `titles` are those of the targets, in the order of the columns."""
        out = []
        for group in dict.fromkeys(line.group for line in self.lines):
            lines = self.group(group)
            columns = [name for name in titles if any(name in line.values for line in lines)]
            out += [f"| {group} | " + " | ".join(titles[name] for name in columns) + " |",
                    "| --- |" + " --: |" * len(columns)]
            out += [f"| {line.label} | " + " | ".join(cell(line, name) for name in columns) + " |" for line in lines]
            out.append("")
        return "\n".join(out)


def number(value):
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(line, name):
    """10.5 (×1.31), or where several processes are measured 105 = 80 + 25 (×13)."""
    value = line.values.get(name)
    if value is None:
        return "–"
    text = number(value)
    if len(line.parts.get(name, ())) > 1:
        text += " = " + " + ".join(number(part) for part in line.parts[name].values())
    reference = line.values.get(REFERENCE)
    return text if name == REFERENCE or not reference else f"{text} (×{number(value / reference)})"


def put_between_markers(file, text):
    whole = file.read_text()
    assert whole.count(BEGIN) == whole.count(END) == 1, file
    file.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{text.strip()}\n{END}", whole, flags=re.S))
