"""@xmpp/client in a node process of its own (js/client.mjs)."""

from js_client import WEBSOCKET_PATH, NodeClient


class Client(NodeClient):
    def __init__(self, account, host, port, ca, scheme="xmpp"):
        path = WEBSOCKET_PATH if scheme in ("ws", "wss") else ""
        super().__init__(account.jid, ca, "client.mjs", f"{scheme}://{host}:{port}{path}",
                         account.jid.partition("@")[2], account.name, account.password)

    def send_again(self):
        """From now on it sends again, once it is online, what the library has no ack of when its session is lost."""
        self._tell(again=True)
