"""What the black-box tests share: the legacy servers, the proxy in front of one, accounts, logs of what failed.

A test that names the fixture `legacy` (or `proxy`) runs once for each server; @pytest.mark.servers("prosody", ...)
picks some. `legacy` is shared by all tests of a run and is never stopped; a test that stops, kills or freezes its
server takes `own_legacy`, which starts one for it alone."""

import collections
import os
import pathlib
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from broker import Broker, ask  # noqa: E402
from certs import Authority  # noqa: E402
from knife import Knife  # noqa: E402
from proxy import Proxy  # noqa: E402
from raw import ServerFault  # noqa: E402
from servers import KINDS  # noqa: E402

LOG_TAIL = 12000
SERVER_FAULT = "condition=internal-server-error"  # in the proxy's log
MAX_SERVER_FAULTS = 3  # in one process of a run; more are no chance
Account = collections.namedtuple("Account", "name password jid")
_broker_key = pytest.StashKey()
_logs_key = pytest.StashKey()
_server_faults_key = pytest.StashKey()


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.stash[_broker_key] = Broker()


def pytest_unconfigure(config):
    if _broker_key not in config.stash:
        return
    config.stash[_broker_key].stop()
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    count = {name: len(reporter.stats.get(name, ())) for name in ("passed", "failed", "error", "skipped")}
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    print(f"{count['passed']} passed, {count['failed'] + count['error']} failed{skipped}")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["broker"] = node.config.stash[_broker_key].address


def pytest_generate_tests(metafunc):
    for name in ("legacy", "own_legacy"):
        if name in metafunc.fixturenames:
            marker = metafunc.definition.get_closest_marker("servers")
            metafunc.parametrize(name, marker.args if marker else tuple(KINDS), indirect=True, scope="session"
                                 if name == "legacy" else "function")
            return


@pytest.fixture(scope="session")
def broker(request):
    """Asks the broker of this run: broker("account", kind)."""
    config = request.config
    address = config.workerinput["broker"] if hasattr(config, "workerinput") else config.stash[_broker_key].address
    return lambda *question: ask(address, *question)


@pytest.fixture(scope="session")
def authority(broker):
    return Authority(broker("authority"))


@pytest.fixture(scope="session")
def legacy(request, broker):
    """The run's server of this kind (servers.Server); its processes belong to all tests."""
    return broker("server", request.param)


@pytest.fixture
def own_legacy(request):
    """A server of this test's own: it may be stopped, killed and frozen. @pytest.mark.accounts(n) gives it more."""
    server = KINDS[request.param](accounts=own_accounts(request, KINDS[request.param]))
    keep_log(request, server.kind, server.log)
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture
def account(request, broker):
    """Call it for an account that no other test has: name, password, jid (bare)."""
    server = the_server(request)

    def take():
        if server is None:
            raise LookupError("no legacy server in this test")
        name, password = broker("account", server.kind) if "legacy" in request.fixturenames else own.pop(0)
        return Account(name, password, f"{name}@{server.domain}")

    own = own_accounts(request, KINDS[server.kind]) if server else []
    return take


def own_accounts(request, kind):
    marker = request.node.get_closest_marker("accounts")
    return [kind.account(number) for number in range(marker.args[0] if marker else 60)]


@pytest.fixture
def proxy_factory(request, authority):
    """proxy_factory(sm_max="5s") starts a proxy in front of this test's server, or of upstream="host:port"; the end of
    the test stops it and asserts a clean exit. settings={"sm.max": "5s"} is another way to write the same."""
    made = []

    def make(upstream=None, settings=None, start=True, **keywords):
        if upstream is None:
            upstream = the_server(request).upstream
        one = Proxy(upstream, authority, settings, **keywords)
        made.append(one)
        keep_log(request, "proxy", one.log)
        return one.start() if start else one

    yield make
    faults = []
    for one in reversed(made):
        try:
            one.remove()
        except AssertionError as fault:
            faults.append(fault)
    if faults:
        raise faults[0]


@pytest.fixture
def proxy(legacy, proxy_factory):
    """A proxy in front of `legacy` with the defaults of these tests."""
    return proxy_factory()


@pytest.fixture
def knife_factory():
    """knife_factory(host, port) starts a relay to there that can cut (knife.Knife)."""
    made = []

    def make(host, port):
        made.append(Knife(host, port).start())
        return made[-1]

    yield make
    for one in made:
        one.stop()


def the_server(request):
    """The legacy server of this test, or None."""
    for name in ("legacy", "own_legacy"):
        if name in request.fixturenames:
            return request.getfixturevalue(name)
    return None


def keep_log(request, name, read):
    """Has the end of a log shown if this test fails."""
    request.node.stash.setdefault(_logs_key, []).append((name, read))


def is_jabberd2s_own(item, call):
    """An error that a session manager routes to a connection that is gone ends the one that has its descriptor now
    (c2s.c, "routing error"): one login in some 150, also without any proxy. The test may see it, or the proxy alone, that
    has the client come again."""
    server = getattr(item, "funcargs", {}).get("legacy") or getattr(item, "funcargs", {}).get("own_legacy")
    if not call.excinfo or getattr(server, "kind", None) != "jabberd2":
        return False
    seen_by_proxy = any(SERVER_FAULT in read() for name, read in item.stash.get(_logs_key, []) if name == "proxy")
    if not isinstance(call.excinfo.value, ServerFault) and not seen_by_proxy:
        return False
    seen = item.config.stash[_server_faults_key] = item.config.stash.get(_server_faults_key, 0) + 1
    return seen <= MAX_SERVER_FAULTS


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    if is_jabberd2s_own(item, call):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: jabberd2's own fault: {call.excinfo.value}")
        return
    logs = list(item.stash.get(_logs_key, []))
    if "legacy" in getattr(item, "funcargs", {}):
        logs.append((item.funcargs["legacy"].kind, item.funcargs["legacy"].log))
    for name, read in logs:
        text = read()
        if text:
            report.sections.append((f"end of the log of {name}", text[-LOG_TAIL:]))
