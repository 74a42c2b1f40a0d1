"""A certificate authority and server certificates for a test run, made with the openssl command."""

import fcntl
import pathlib
import secrets
import subprocess

NAMES = ("localhost", "anon.localhost", "conference.localhost", "example.org", "other.example",
         "stub.test")


class Authority:
    """A throw-away CA in a directory of its own; `issue` makes a certificate that it vouches for."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ca = self.directory / "ca.pem"
        self._ca_key = self.directory / "ca.key"
        if not self.ca.exists():
            _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                     "-subj", "/CN=Holdfast test CA", "-keyout", self._ca_key, "-out", self.ca)

    def issue(self, name="server", dns=NAMES, days=30):
        """Paths of (certificate, key, both in one file) for these DNS names and 127.0.0.1."""
        cert, key, both = (self.directory / f"{name}.{ending}" for ending in ("pem", "key", "both.pem"))
        with open(self.directory / "lock", "w") as lock:  # test processes share the authority
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not both.exists():
                self._make(name, dns, days, cert, key)
                both.write_text(cert.read_text() + key.read_text())
        return cert, key, both

    def _make(self, name, dns, days, cert, key):
        request, extensions = self.directory / f"{name}.csr", self.directory / f"{name}.ext"
        alternatives = [f"DNS:{one}" for one in dns] + ["IP:127.0.0.1"]
        extensions.write_text("subjectAltName=" + ",".join(alternatives) + "\nbasicConstraints=CA:FALSE\n")
        _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-subj", f"/CN={dns[0]}", "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._ca_key, "-set_serial",
                 f"0x{secrets.token_hex(8)}", "-days", str(days), "-extfile", extensions, "-out", cert)


def _openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")
