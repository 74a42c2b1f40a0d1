"""Where Holdfast is, against what it should be. A goal is judged from the figures of the run, and shown if they are
there; whether it is met decides nothing."""

import instructions
import memory
import messages
import nodes
import sessions
from run import title_of
from targets import CORES

TIME = "processor time, "
WORKERS_APART = 4  # processors: two workers, the load, the stub


class Goals:
    def __init__(self, results, clock_mhz):
        self.results, self.clock_mhz, self.rows = results, clock_mhz, []

    def at_most(self, what, limit, value, wanted, unit=" ×", shown=""):
        """`wanted` follows the limit in the table, `shown` the value."""
        if value is not None:
            self.rows.append((what, f"at most {number(limit)}{unit}{wanted}", f"{number(value)}{unit}{shown}",
                              "met" if value <= limit else "**not met**"))

    def tell(self, what, value, unit=" ×"):
        """Without a limit."""
        if value is not None:
            self.rows.append((what, "", f"{number(value)}{unit}", ""))

    def value(self, group, label, name="holdfast", part=None):
        line = self.results.line(group, label)
        if not line:
            return None
        return line.parts.get(name, {}).get(part) if part else line.values.get(name)

    def alone(self, label, name="holdfast"):
        """Of a line that no other group has."""
        line = next((line for line in self.results.lines if line.label == label), None)
        return line.values.get(name) if line else None

    def quotient(self, group, label, name="holdfast", below="haproxy"):
        one, other = (self.value(group, label, each) for each in (name, below))
        return one / other if one is not None and other else None

    def table(self):
        if not self.rows:
            return "(none of the rows that the goals are about)"
        lines = ["| goal | wanted | measured | |", "| --- | --- | --- | --- |"]
        return "\n".join(lines + [f"| {' | '.join(words)} |" for words in self.rows])


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def goals(results, clock_mhz):
    judged = Goals(results, clock_mhz)
    for judge in (of_messages, of_the_whole, of_memory, of_logins, of_latency, of_growth, of_redis, of_nodes, of_web,
                  of_receipts):
        judge(judged)
    return judged.table()


def of_messages(g):
    limits = {title_of(50): 1.3, title_of(1000): 1.3, title_of(50, 1000): 1.5, title_of(50, 100, 16): 2}
    for label, limit in limits.items():
        g.at_most(f"processor time of a message, {label}", limit, g.quotient(TIME + messages.COST, label), " HAProxy's")
    g.at_most("instructions of a message, 50 pairs", 1.6, g.quotient(instructions.GROUP, title_of(50)), " HAProxy's")


def of_the_whole(g):
    """The server in clear and Holdfast, added up, beside the same server with TLS and its own stream management; and
    beside the least that could stand in Holdfast's place."""
    group = TIME + messages.WHOLE
    for server, title, limit in (("prosody", "Prosody", 0.6), ("ejabberd", "ejabberd", 0.7)):
        for line in g.results.group(group):
            least = g.quotient(group, line.label, f"{server}+haproxy", server)
            what = f"Holdfast and {title} in clear, {line.label}"
            g.at_most(what, limit, g.quotient(group, line.label, f"{server}+holdfast", server),
                      f" that of {title} with TLS and stream management",
                      shown=f" (HAProxy in Holdfast's place: {number(least)} ×)" if least else "")
            g.at_most(what, 1.15, g.quotient(group, line.label, f"{server}+holdfast", f"{server}+haproxy"),
                      f" that of HAProxy and {title}")


def of_memory(g):
    g.at_most("memory of an idle TLS session", 17, g.alone(sessions.IDLE), "", " KiB")
    g.at_most("memory of a detached session with an empty queue", 1.5, g.alone(memory.DETACHED), "", " KiB")


def of_logins(g):
    g.at_most("processor time of a login", 1.08, g.quotient(TIME + sessions.LOGIN, "direct TLS"), " HAProxy's")
    for line in g.results.group(sessions.STORM):
        count = int(line.label.split()[0].replace(",", ""))
        g.at_most(f"reconnect storm, {line.label}", 0.75 * count / 1000, line.values.get("holdfast"), "", " s")
        g.at_most(f"reconnect storm against ejabberd's, {line.label}", 0.75,
                  g.quotient(line.group, line.label, below="ejabberd"), " (0.75 s of its 1.0, where the goal was set)")
    for line in g.results.group(TIME + sessions.STORMED):
        millions, how = cycles(g, line)
        g.at_most(f"a resumption, {line.label}", 1.3, millions, "", " million cycles", how)
        g.at_most(f"a resumption against a login through HAProxy, {line.label}", 1.26,
                  g.quotient(line.group, line.label), " (1.3 million cycles of its 1.03, where the goal was set)")
    rest = g.value(sessions.MEANWHILE, "at rest")
    for line in g.results.group(sessions.MEANWHILE)[1:]:
        g.at_most(f"p99 of others, {line.label}", 10, line.values["holdfast"] / rest, " that at rest")


def cycles(g, line):
    """Counted, or where the machine does not count them what the clock says that they are."""
    counted = g.value("cycles, thousands a session", line.label)
    if counted is not None:
        return counted / 1000, ""
    micros = line.values.get("holdfast")
    if micros is None or not g.clock_mhz:
        return None, ""
    return micros * g.clock_mhz / 1e6, f" ({micros:.0f} µs at {g.clock_mhz / 1000:.2f} GHz)"


def of_latency(g):
    for label in ("p50", "p99"):
        g.at_most(f"{label} at 1,000 messages a second", 1.15, g.quotient(messages.LATENCY, label), " HAProxy's")


def of_growth(g):
    sizes = g.results.group(TIME + messages.BUSY)
    if len(sizes) > 1:
        own, other = (sizes[-1].values[name] / sizes[0].values[name] for name in ("holdfast", "haproxy"))
        g.at_most(f"a message with {sizes[-1].label} against {sizes[0].label}", 1.1, own / other,
                  " HAProxy's own growth", shown=f" ({own:.2f} beside {other:.2f})")
    for line in g.results.group(messages.LONGER):
        g.at_most(line.label, 1.1, line.values["holdfast+queues"], "")
    counted = g.results.group(instructions.QUEUED)
    for short, long in zip(counted[::2], counted[1::2]):
        g.at_most(f"instructions of {long.label} against {short.label.split(', ', 1)[1]}", 1.1,
                  long.values["holdfast+queues"] / short.values["holdfast+queues"], "")
    for line in g.results.group(TIME + messages.SPREAD):
        what = f"processor time of a message with two workers, {line.label}"
        ratio = g.quotient(line.group, line.label, "holdfast+two", "holdfast+one")
        if len(CORES) >= WORKERS_APART:
            g.at_most(what, 2 / 1.8, ratio, " that with one")
        else:
            g.tell(f"{what}, which share the processors with the load", ratio)
    counted = g.quotient(instructions.WORKERS, "thousands of instructions", "holdfast+two", "holdfast+one")
    g.at_most("instructions of a message with two workers", 2 / 1.8, counted, " that with one")


def of_redis(g):
    label = title_of(50)
    proxy = g.value(TIME + messages.KEPT, label, "holdfast+redis", "holdfast")
    redis = g.value(TIME + messages.KEPT, label, "holdfast+redis", "redis")
    if redis is None:
        return
    g.at_most("processor time of Holdfast with Redis", 1.5, proxy / g.value(TIME + messages.KEPT, label),
              " that with memory")
    g.at_most("processor time of Redis", 3, redis / 2, " a stanza", " µs", " (two stanzas a message)")
    plain = g.value(messages.PLAIN, messages.PIPELINED, "holdfast+redis")
    if plain is not None:
        g.at_most("processor time of Redis, a stanza against RPUSH and LTRIM by 128", 1.36, redis / 2 / plain,
                  " (3 µs of its 2.2, where the goal was set)")


def of_nodes(g):
    taken = g.value(nodes.TAKEOVER, "its node was killed: p50 from <resume/>", "nodes")
    g.at_most("takeover without the login, in front of the stub, p50", 5, taken, "", " ms")
    g.at_most("logins a second at the server while all come back from a killed node", 550, g.alone(nodes.MET, "nodes"),
              " (proxy.login_rate and a burst of 50)", "")


def of_web(g):
    g.at_most("processor time of a message over WebSocket, 50 pairs", 1.25,
              g.quotient(TIME + messages.FRAMED, title_of(50), "holdfast+web", "holdfast"), " that over direct TLS")


def of_receipts(g):
    lines = g.results.group(TIME + messages.ASKED)
    if len(lines) == 2:
        plain, asked = (line.values["holdfast"] for line in lines)
        g.tell("a message with a receipt of the proxy's, against one without", asked / plain)
