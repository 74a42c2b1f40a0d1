"""The demo page (deploy/demo) in headless Chromium: each button does what it says, and nothing is lost or doubled. What
it looked like is left in build/screenshots."""

import collections
import json
import urllib.error
import urllib.request

import pytest

from browser import browser  # noqa: F401  (a fixture)
from cluster import cluster, redis  # noqa: F401  (fixtures)
from demo_web import Demo
from scene import eventually

pytestmark = pytest.mark.servers("prosody")
Person = collections.namedtuple("Person", "name password jid")
ROMEO, JULIET = ROLES = ("romeo", "juliet")


class Stage:
    """The page in a tab, as its visitor sees it."""

    def __init__(self, room, demo, tab):
        self.room, self.demo, self.tab = room, demo, tab
        self.tab.goto(demo.url)
        self.until_online()

    def until(self, expression):
        self.tab.waitForFunction(expression, None, {"polling": 50})

    def until_online(self):
        self.until("window.demo?.size === 2"
                   " && [...demo.values()].every(({ person }) => person.connection === 'online')")

    def of(self, role, expression):
        """A value of one of the two: "person.sure"."""
        return self.tab.evaluate(f"demo.get('{role}')?.{expression}")

    def write(self, role, body):
        self.tab.fill(f"[data-person={role}] input", body)
        self.tab.click(f"[data-person={role}] form button")

    def trail(self, role, number=-1):
        """The marks of one of the messages that this one wrote, as they are shown."""
        return self.tab.evaluate(f"[...[...document.querySelectorAll('[data-person={role}] .log > .mine')].at({number})"
                                 ".querySelectorAll('.trail li')].map((mark) => mark.textContent.split(' ')[1])")

    def until_trail(self, role, *marks, number=-1):
        eventually(lambda: self.trail(role, number) == list(marks),
                   lambda: f"{role}: {marks}; it shows {self.trail(role, number)}", 30)

    def heard(self, role):
        return self.of(role, "person.messages.filter(({ mine }) => !mine).map(({ body }) => body)")

    def press_network(self, role, wanted):
        self.tab.click(f"[data-person={role}] .network")
        self.until(f"document.querySelector('[data-person={role}]').dataset.network === '{wanted}'")

    def press_node(self, name, alive):
        self.tab.click(f"[data-node={name}] button")
        self.until(f"document.querySelector('[data-node={name}]').dataset.alive === '{alive}'")


@pytest.fixture
def stage(cluster, browser):
    """stage(sm_max="5s", ...) shows the page with two nodes behind it."""
    closing = []

    def make(**settings):
        room = cluster(nodes=2, sm_request_delay="100ms", **settings)
        people = [Person(*room.account(role), room.jid(role)) for role in ROLES]
        demo = Demo(people, room.nodes)
        closing.append(demo.stop)
        tab = browser.tab(errors.append, viewport={"width": 1280, "height": 900}, colorScheme="light")
        closing.append(tab.close)
        return Stage(room, demo, tab)

    errors = []
    yield make
    for close in reversed(closing):
        close()
    assert not errors


def test_each_button_does_what_it_says(stage):
    page = stage(sm_sessions_per_account=1)
    page.write(ROMEO, "good morrow")
    page.until_trail(ROMEO, "sent", "acked", "delivered")

    page.press_network(JULIET, "cut")
    page.until("demo.get('juliet').person.connection === 'offline'")
    page.write(ROMEO, "can you hear me?")
    page.until_trail(ROMEO, "sent", "acked")
    page.write(JULIET, "my network is gone")
    page.until_trail(JULIET, "sent", "hibernated")
    page.tab.shoot("demo-cut")
    page.press_network(JULIET, "up")
    page.until_trail(ROMEO, "sent", "acked", "delivered")
    page.until_trail(JULIET, "sent", "hibernated", "retried", "acked", "delivered")

    page.press_node("A", "false")
    page.write(ROMEO, "is anybody there?")
    eventually(lambda: page.trail(ROMEO)[-2:] == ["acked", "delivered"], "delivered by the other node", 30)
    page.until_online()
    assert page.room.nodes[1].running() and not page.room.nodes[0].running()
    page.tab.shoot("demo-killed")
    page.press_node("A", "true")

    page.tab.evaluate("window.same = true")
    page.tab.click("#reload")
    page.until("!window.same && window.demo")
    page.until_online()
    assert page.heard(JULIET) == ["good morrow", "can you hear me?", "is anybody there?"]
    assert page.trail(JULIET) == ["sent", "hibernated", "retried", "acked", "delivered"]
    page.write(JULIET, "I am still here")
    page.until_trail(JULIET, "sent", "acked", "delivered")
    assert [page.of(role, "person.logins") for role in ROLES] == [1, 1]

    page.tab.click("#talk")
    page.until("document.querySelectorAll('.mine').length >= 6")
    page.tab.click("#talk")
    said = sum(page.of(role, "person.messages.filter(({ mine }) => mine).length") for role in ROLES)
    for role in ROLES:  # an ack says that a message is safe: it may be ahead of the message itself
        eventually(lambda role=role: page.of(role, "person.sure"), f"{role}'s messages are all acked", 30)
        page.until(f"demo.get('{role}').person.messages.length === {said}")


def test_a_message_that_failed_can_be_sent_again(stage):
    page = stage(sm_sessions_per_account=1)
    page.press_network(JULIET, "cut")
    page.until("demo.get('juliet').person.connection === 'offline'")
    page.write(JULIET, "too late")
    page.until_trail(JULIET, "sent", "hibernated")
    page.write(ROMEO, "wherefore art thou?")
    page.until_trail(ROMEO, "sent", "acked")
    page.room.wait_settled()
    page.room.login(JULIET, resource="elsewhere").cut("rst")
    page.room.wait_figure(1, "sessions_ended_total", reason="evicted")
    page.press_network(JULIET, "up")
    page.until_trail(JULIET, "sent", "hibernated", "failed")
    page.until_trail(ROMEO, "sent", "acked", "delivered")
    assert page.of(JULIET, "person.logins") == 2
    page.tab.shoot("demo-failed")
    page.tab.click("[data-person=juliet] .again:not([hidden])")
    page.until_trail(JULIET, "sent", "acked", "delivered")
    assert page.heard(ROMEO) == ["too late"]


def test_it_fits_a_phone_and_has_a_dark_side(stage):
    page = stage()
    page.write(ROMEO, "a" * 60)
    page.write(JULIET, "words " * 20)
    page.until_trail(JULIET, "sent", "acked", "delivered")
    page.tab.setViewportSize({"width": 360, "height": 740})
    assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    light = page.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    page.tab.click("#theme")
    assert page.tab.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.tab.shoot("demo-phone-dark")
    page.tab.click("#theme")
    assert page.tab.evaluate("getComputedStyle(document.body).backgroundColor") == light


def test_other_sites_cannot_press_its_buttons(stage):
    page = stage()
    for origin in ("https://elsewhere.example", None):
        headers = {"Origin": origin} if origin else {}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(urllib.request.Request(f"{page.demo.url}nodes/A/kill", b"", headers, method="POST"))
    with urllib.request.urlopen(f"{page.demo.url}status") as answer:
        assert [node["alive"] for node in json.load(answer)["nodes"]] == [True, True]


MESSAGES, CUTS, RELOADS = 500, 10, 3


def test_500_messages_each_way_over_ten_cuts_and_three_reloads(stage):
    """Once, in order. Each cut and each reload comes while both are writing."""
    page = stage()
    page.tab.setViewportSize({"width": 320, "height": 100})  # what is not seen is not painted
    events = ["rst", "fin", "reload", "rst", "dark", "rst", "reload", "fin", "rst", "dark", "reload", "rst", "fin"]
    assert len(events) == CUTS + RELOADS
    resumptions = dict.fromkeys(ROLES, 0)
    for turn, event in enumerate(events, 1):
        goal = MESSAGES * turn // (len(events) + 1)
        talk(page, goal)
        page.until(everyone("mine", goal - 10))
        if event == "reload":
            page.tab.reload()
            page.until_online()
            talk(page, goal)
        else:
            disturb(page, ROLES[turn % 2], event, goal)
        for role in ROLES if event == "reload" else [ROLES[turn % 2]]:
            resumptions[role] += 1
            page.until(f"demo.get('{role}').person.resumptions === {resumptions[role]}")
    talk(page, MESSAGES)
    page.until(everyone("theirs", MESSAGES))
    for role in ROLES:
        eventually(lambda role=role: page.of(role, "person.sure"), f"{role}'s messages are all acked", 30)
    for role, other in (ROLES, ROLES[::-1]):
        assert page.heard(other) == [f"{role} {number}" for number in range(MESSAGES)]
        assert page.of(role, "person.logins") == 1
        assert page.of(role, "person.resumptions") == resumptions[role]
    page.tab.setViewportSize({"width": 1280, "height": 900})
    page.tab.shoot("demo-500")


def talk(page, goal):
    """Has each write messages until there are that many, one each two milliseconds; a reload ends it."""
    page.tab.evaluate(f"""clearInterval(window.talking); window.talking = setInterval(() => {{
        for (const [role, {{ person }}] of demo) {{
            const said = person.messages.filter(({{ mine }}) => mine).length;
            if (said < {goal}) person.say(`${{role}} ${{said}}`);
        }}
    }}, 2)""")


def everyone(whose, count):
    """Each of the two has that many messages at the least: own ones ("mine"), or those of the other ("theirs")."""
    own = "mine" if whose == "mine" else "!mine"
    return f"[...demo.values()].every((pane) => pane.person.messages.filter(({{ mine }}) => {own}).length >= {count})"


def disturb(page, role, how, goal):
    """A cut of all that is open: by FIN, by RST, or when some was written that nobody read."""
    knife = page.demo.networks[role].knife
    if how == "dark":
        knife.hole(True)
        page.until(everyone("mine", goal))
    knife.cut("rst" if how == "dark" else how)
