"""StanzaJS (js/stanza_client.mjs) in a node process of its own, and in a tab of Chromium."""

from browser import PageClient
from js_client import SECONDS, WEBSOCKET_PATH, NodeClient
from scene import eventually


class Client(NodeClient):
    """`file` keeps the state of its stream management: another client with the same file is the application's next
    run."""

    def __init__(self, account, service, ca, file):
        super().__init__(account.jid, ca, "stanza_node.mjs", service, account.jid, account.password, file)


class TabClient(PageClient):
    """Keeps that state in the tab: reload() is the next run."""

    def __init__(self, account, service, browser):
        super().__init__(account.jid, browser, "stanza_page",
                         {"service": service, "jid": account.jid, "password": account.password})

    def until_got(self, *bodies):
        """All that ever came is exactly this, in this order, whatever was told of it."""
        eventually(lambda: len(self.tab.evaluate("got()")) >= len(bodies), f"messages {bodies}", SECONDS)
        assert self.tab.evaluate("got()") == list(bodies)


def service(over, host, port):
    return f"{over}://{host}:{port}{WEBSOCKET_PATH}"
