"""deploy/haproxy.cfg as it is shipped, with the addresses of a test's nodes in the place of its own."""

import contextlib
import pathlib
import re
import shutil
import signal
import tempfile

from haproxy import Haproxy
from servers import Process, free_ports

SHIPPED = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "haproxy.cfg"


class Balancer(Haproxy):
    """`port` leads to the STARTTLS ports of the nodes, `tls_port` to the others."""

    def __init__(self, nodes):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-haproxy-"))
        self.config, self.log_file = self.directory / "haproxy.cfg", self.directory / "log"
        self.port, self.tls_port = free_ports(2)
        self.config.write_text(self.adapted(SHIPPED.read_text(), nodes))
        self.process = Process([shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", self.config],
                               self.log_file, self.directory)
        self.wait_listening()

    def adapted(self, text, nodes):
        """Only addresses are changed, and servers left out that there are no nodes for."""
        for number, node in enumerate(nodes, 1):
            for port, own in ((5222, node.port), (5223, node.tls_port)):
                text, count = re.subn(rf"server node{number} \S+:{port}$",
                                      f"server node{number} {node.host}:{own} port {node.stats_port}", text, flags=re.M)
                assert count == 1, f"the shipped file has no server node{number} with port {port}"
        text = re.sub(r"^ *server node\d \S+:522\d$\n", "", text, flags=re.M)
        text, count = re.subn(r"bind :522([23])", lambda found: "bind 127.0.0.1:" +
                              str(self.port if found[1] == "2" else self.tls_port), text)
        assert count == 2
        return text

    def stop(self):
        with contextlib.suppress(RuntimeError):
            self.process.end(signal.SIGTERM)
        shutil.rmtree(self.directory, ignore_errors=True)
