"""`make demo-web`: a page (deploy/demo) on which two people chat by StanzaJS over WebSocket, with buttons that cut their
networks and kill the nodes they are on. Here is what it stands on: a Prosody without stream management, a Redis, two
nodes, a switch in each one's network, and the server of the page with what its buttons do."""

import contextlib
import functools
import http.server
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading

from certs import Authority
from js_client import FOLDER, WEBSOCKET_PATH
from knife import Knife
from proxy import ROOT, Proxy
from redis_server import RedisServer
from scene import figures
from servers import Prosody, free_ports, port_is_free

PAGE = ROOT / "deploy" / "demo"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}
DOMAIN = "localhost"
PORT = 8080
SETTINGS = {"proxy.domain": DOMAIN, "proxy.workers": 2, "sm.max": "1m", "sm.ack_timeout": "5s", "log.level": "info"}


@functools.cache
def script():
    """The page's script with StanzaJS in it."""
    return subprocess.run(
        [FOLDER / "node_modules" / ".bin" / "esbuild", PAGE / "app.js", "--bundle", "--format=esm", "--minify",
         "--log-level=error"], env=os.environ | {"NODE_PATH": str(FOLDER / "node_modules")}, check=True,
        capture_output=True).stdout


class Network:
    """What a person's packets pass: it leads to a node that lives, and can be cut."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.up = True
        self.knife = Knife(nodes[0].host, nodes[0].ws_port).start()

    @property
    def node(self):
        return next((node for node in self.nodes if node.ws_port == self.knife.target[1]), None)

    def cut(self):
        if self.up:
            self.up = False
            self.knife.refuse()
            self.knife.cut("rst")

    def restore(self):
        if not self.up:
            self.up = True
            self.knife.refuse(False)

    def find_node(self):
        """As a load balancer does: away from a node that is gone."""
        alive = [node for node in self.nodes if node.running()]
        if alive and self.node not in alive:
            self.knife.target = (alive[0].host, alive[0].ws_port)


class Demo:
    """`people`: two accounts (name, password, jid). `nodes` are proxies with a common store."""

    def __init__(self, people, nodes, port=0):
        self.people = people
        self.nodes = dict(zip("AB", nodes))
        self.networks = {role: Network(nodes) for role in ("romeo", "juliet")}
        self.orders = queue.Queue()
        # Nodes die with the thread that started them: one that is never at its end.
        threading.Thread(target=self.obey, daemon=True).start()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Handler, self))
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        for network in self.networks.values():
            network.knife.stop()

    def tell_people(self):
        """What each of the two has to know to log in."""
        return {"people": [
            {"name": role, "jid": own.jid, "password": own.password, "peer": peer.jid,
             "service": f"ws://127.0.0.1:{network.knife.port}{WEBSOCKET_PATH}"}
            for (role, network), own, peer in zip(self.networks.items(), self.people, reversed(self.people))]}

    def tell_status(self):
        names = {node: name for name, node in self.nodes.items()}
        return {"nodes": [self.tell_node(name, node) for name, node in self.nodes.items()],
                "networks": {role: {"up": network.up, "node": names[network.node]}
                             for role, network in self.networks.items()}}

    def tell_node(self, name, node):
        if not node.running():
            return {"name": name, "alive": False}
        reading = figures(node)
        resumed = sum(reading.sum("resumes_total", result=result) for result in ("local", "moved", "rebuilt"))
        return {"name": name, "alive": True, "attached": reading.sum("sessions", state="attached"),
                "detached": reading.sum("sessions", state="detached"), "unacked": reading.sum("unacked_stanzas"),
                "resumed": resumed}

    def act(self, kind, name, verb):
        """A button's order; whether there is such a one."""
        order = {("network", "cut"): Network.cut, ("network", "restore"): Network.restore,
                 ("nodes", "kill"): Proxy.kill, ("nodes", "start"): self.start_node}.get((kind, verb))
        target = (self.networks if kind == "network" else self.nodes).get(name)
        if not order or not target:
            return False
        done = threading.Event()
        self.orders.put((order, target, done))
        return done.wait()

    def obey(self):
        while True:
            order, target, done = self.orders.get()
            order(target)
            for network in self.networks.values():
                network.find_node()
            done.set()

    @staticmethod
    def start_node(node):
        if not node.running():
            node.start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, demo, *arguments):
        self.demo = demo
        super().__init__(*arguments)

    def do_GET(self):
        name = self.path.partition("?")[0].lstrip("/") or "index.html"
        told = {"people": self.demo.tell_people, "status": self.demo.tell_status}.get(name)
        if told:
            self.answer(200, "application/json", json.dumps(told()).encode())
        elif name == "app.js":
            self.answer(200, TYPES[".js"], script())
        elif name in ("index.html", "style.css"):
            self.answer(200, TYPES[pathlib.Path(name).suffix], (PAGE / name).read_bytes())
        else:
            self.answer(404, "text/plain", b"no such page\n")

    def do_POST(self):
        """Only from the page itself: other sites that the visitor has open shall not press its buttons."""
        parts = self.path.strip("/").split("/")
        ours = self.headers.get("Origin") == self.demo.url.rstrip("/")
        done = ours and len(parts) == 3 and self.demo.act(*parts)
        self.answer(204 if done else 404, "text/plain", b"")

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    with contextlib.ExitStack() as closing:
        print("starting Prosody, Redis and two nodes ...", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        folder = closing.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-demo-"))
        people = [(name, f"{name}-secret") for name in ("romeo", "juliet")]
        prosody = Prosody(accounts=people, domain=DOMAIN)
        closing.callback(prosody.remove)
        prosody.start()
        redis = RedisServer()
        closing.callback(redis.remove)
        redis.start()
        nodes = []
        for name in "AB":
            node = Proxy(prosody.upstream, Authority(pathlib.Path(folder) / "tls"),
                         SETTINGS | {"proxy.node": name, "store.url": redis.url})
            closing.callback(node.remove)
            nodes.append(node.start())
        port = int(os.environ.get("PORT") or PORT)
        demo = Demo([Person(*one) for one in people], nodes, port if port_is_free(port) else free_ports(1)[0])
        closing.callback(demo.stop)
        print(f"\n  open  {demo.url}\n\nCtrl-C ends it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


class Person:
    def __init__(self, name, password):
        self.jid, self.password = f"{name}@{DOMAIN}", password


if __name__ == "__main__":
    sys.exit(main())
