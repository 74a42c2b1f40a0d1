"""Several nodes with one Redis in front of one legacy server."""

import contextlib
import secrets

import pytest

from redis_server import RedisServer
from scene import Scene, eventually, figures
from servers import free_ports


class Cluster(Scene):
    """`nodes` are proxies (proxy.Proxy); `proxy`, which the scene's calls go to, is the first one unless `use` says
    otherwise."""

    def __init__(self, legacy, nodes, redis, take_account):
        super().__init__(legacy, nodes[0], take_account)
        self.nodes = nodes
        self.redis = redis

    def use(self, node):
        """Clients of the next calls come to that one."""
        self.proxy = self.nodes[node]
        return self.proxy

    def sum(self, name, **labels):
        """Over all nodes that run."""
        return sum(figures(node).sum(name, **labels) for node in self.nodes if node.running())

    def wait_settled(self):
        """Until Redis has all that the nodes hold, and what the server has confirmed is out of it."""
        eventually(lambda: self.sum("store_uncommitted_stanzas") == 0 == self.sum("unconfirmed_stanzas"),
                   "all is committed and confirmed")
        eventually(lambda: not any(self.redis.ask("XLEN", key) for key in self.redis.keys("hf:{*}:u:*")),
                   "nothing is unconfirmed in Redis either")


@pytest.fixture
def redis(request):
    server = RedisServer().start()
    yield server
    server.remove()


@pytest.fixture
def cluster(legacy, account, redis, proxy_factory):
    """cluster(nodes=2, sm_max="5s", ...) gives a Cluster in front of `legacy`; peers=True: its nodes relay clients to each
    other."""
    yield from build_clusters(legacy, account, proxy_factory, redis, {})


@pytest.fixture
def own_cluster(own_legacy, account, redis, proxy_factory):
    """The same in front of `own_legacy`."""
    yield from build_clusters(own_legacy, account, proxy_factory, redis, {})


@pytest.fixture
def stub_cluster(stub, redis, proxy_factory):
    """The same in front of a stub."""
    settings = {"proxy_domain": stub.domain, "upstream": f"127.0.0.1:{stub.port}"}
    yield from build_clusters(stub, stub.account, proxy_factory, redis, settings)


def peer_settings(redis, port):
    """Of a node with that peer port, and the secret of the cluster."""
    if not port:
        return {}
    secret = redis.directory / "secret"
    if not secret.exists():
        secret.write_bytes(secrets.token_bytes(32))
    return {"listen_peer": f"127.0.0.1:{port}", "proxy_secret_file": secret}


def build_clusters(legacy, take_account, proxy_factory, redis, settings):
    with contextlib.ExitStack() as closing:
        def build(nodes=2, store_url=None, peers=False, **keywords):
            ports = free_ports(nodes) if peers else [None] * nodes
            made = [proxy_factory(**(settings | {"store_url": store_url or redis.url, "proxy_node": f"node{number}"} |
                                     peer_settings(redis, port) | keywords))
                    for number, port in enumerate(ports)]
            built = Cluster(legacy, made, redis, take_account)
            closing.callback(built.closing.close)
            return built

        yield build
