"""StanzaJS (js/stanza_client.mjs) in a node process of its own, and in a tab of Chromium."""

from browser import PageClient
from js_client import WEBSOCKET_PATH, NodeClient


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


def service(over, host, port):
    return f"{over}://{host}:{port}{WEBSOCKET_PATH}"
