"""Several Redis servers of a test's own: watched by sentinels, or as a cluster."""

import contextlib
import signal

from redis_server import RedisServer
from scene import eventually
from servers import free_ports

MASTER = "the-master"
SLOTS = 16384


class Sentinel(RedisServer):
    """Watches `master` under that name."""

    DEFAULTS = ()
    MODE = ("--sentinel",)

    def __init__(self, name, master, quorum=1):
        super().__init__(f"sentinel monitor {name} {master.host} {master.port} {quorum}",
                         f"sentinel down-after-milliseconds {name} 1000", f"sentinel failover-timeout {name} 6000")


class Watched:
    """A master, a replica of it, and three sentinels: `with` starts and ends them."""

    def __init__(self):
        self.closing = contextlib.ExitStack()

    def __enter__(self):
        self.master = self._begin(RedisServer())
        self.replica = self._begin(RedisServer(f"replicaof {self.master.host} {self.master.port}"))
        eventually(lambda: "master_link_status:up" in self.replica.ask("INFO", "replication"), "the replica follows")
        self.sentinels = [self._begin(Sentinel(MASTER, self.master, 2)) for _ in range(3)]
        for each in self.sentinels:
            eventually(lambda each=each: self._told(each, "num-other-sentinels") == "2" and
                       self._told(each, "num-slaves") == "1", "the sentinels know each other and the replica")
        return self

    def __exit__(self, *_):
        self.closing.close()

    def _begin(self, server):
        self.closing.callback(server.remove)
        return server.start()

    def _told(self, sentinel, what):
        words = sentinel.ask("SENTINEL", "MASTER", MASTER)
        return dict(zip(words[::2], words[1::2]))[what]

    @property
    def url(self):
        return "redis+sentinel://" + ",".join(f"{each.host}:{each.port}" for each in self.sentinels) + f"/{MASTER}"

    def lead(self):
        """Whom the sentinels name."""
        port = int(self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])
        return self.master if port == self.master.port else self.replica


class RedisCluster:
    """Three masters with all slots between them: `with` starts and ends them."""

    def __init__(self):
        self.closing = contextlib.ExitStack()

    def __enter__(self):
        buses = free_ports(3)
        self.servers = []
        for bus in buses:
            server = RedisServer("cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 5000",
                                 f"cluster-port {bus}")
            self.closing.callback(server.remove)
            self.servers.append(server.start())
        first = self.servers[0]
        for number, (server, bus) in enumerate(zip(self.servers, buses)):
            server.ask("CLUSTER", "ADDSLOTSRANGE", SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if server is not first:
                first.ask("CLUSTER", "MEET", server.host, server.port, bus)
        for server in self.servers:
            eventually(lambda server=server: self._is_whole(server), "the cluster is whole")
        self.ids = [server.ask("CLUSTER", "MYID") for server in self.servers]
        return self

    def __exit__(self, *_):
        self.closing.close()

    @staticmethod
    def _is_whole(server):
        info = server.ask("CLUSTER", "INFO")
        return "cluster_state:ok" in info and "cluster_known_nodes:3" in info

    @property
    def url(self):
        return "redis+cluster://" + ",".join(f"{each.host}:{each.port}" for each in self.servers)

    def keys(self, pattern="hf:*"):
        return set().union(*(each.keys(pattern) for each in self.servers))

    def vouched_for(self):
        """Each session bears the run of the server that has it."""
        for server in self.servers:
            run = next(line for line in server.ask("INFO", "server").split() if line.startswith("run_id:"))
            for key in server.keys("hf:{*}:s:*"):
                if server.ask("HGET", key, "rn").split(":")[0] != run.removeprefix("run_id:"):
                    return False
        return True

    def reshard(self, source, target, pattern):
        """As redis-cli --cluster reshard does it, while clients go on: the slots in which source has such keys. Gives
        their number. A server that has not heard yet who gave a slot to whom would take one that it will lose again."""
        eventually(lambda: len({self._owners(each) for each in self.servers}) == 1, "the servers agree on the slots")
        slots = {source.ask("CLUSTER", "KEYSLOT", key) for key in source.keys(pattern)}
        for slot in slots:
            self._move(slot, source, target)
        return len(slots)

    @staticmethod
    def _owners(server):
        """Who has which slots, as that server sees it."""
        return frozenset((first, last, owner[2]) for first, last, owner, *_ in server.ask("CLUSTER", "SLOTS"))

    def _move(self, slot, source, target):
        here, there = self.servers.index(source), self.servers.index(target)
        with source.asking() as ask_source, target.asking() as ask_target:
            ask_target("CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[here])
            ask_source("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[there])
            while keys := ask_source("CLUSTER", "GETKEYSINSLOT", slot, 10):
                ask_source("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)
            ask_target("CLUSTER", "SETSLOT", slot, "NODE", self.ids[there])
            ask_source("CLUSTER", "SETSLOT", slot, "NODE", self.ids[there])


@contextlib.contextmanager
def stopped(server):
    """It hangs meanwhile."""
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)
