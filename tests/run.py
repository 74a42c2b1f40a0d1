"""`make run`: Holdfast in the foreground, in front of UPSTREAM=host:port for DOMAIN, or in front of a Prosody that it
starts itself with two accounts. STORE is passed on as store.url, PORT is the first of four ports for clients."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from certs import Authority  # noqa: E402
from servers import Prosody, free_ports, port_is_free  # noqa: E402

FOLDER = ROOT / "build" / "run"
ACCOUNTS = [("alice", "alice-secret"), ("bob", "bob-secret")]


def ports():
    """Clients' ports with STARTTLS, TLS, WebSocket and that over TLS, and the stats port: the usual ones where they are
    free."""
    first = int(os.environ.get("PORT") or 5222)
    usual = [first, first + 1, first + 2, first + 3, 9280]
    return [port if port_is_free(port) else free_ports(1)[0] for port in usual]


def write_config(domain, upstream, starttls, tls, ws, wss, stats):
    certificate, key, _ = Authority(FOLDER / "tls").issue(domain, dns=(domain,), days=365)
    config = FOLDER / "holdfast.conf"
    config.write_text(f"""[proxy]
domain = {domain}
upstream = {upstream}
drain = 2s
drain_grace = 0s
[listen]
starttls = 127.0.0.1:{starttls}
tls = 127.0.0.1:{tls}
ws = 127.0.0.1:{ws}
wss = 127.0.0.1:{wss}
stats = 127.0.0.1:{stats}
[tls]
certificate = {certificate}
key = {key}
required = no
""")
    return config


def tell(domain, upstream, starttls, tls, ws, wss, stats, accounts):
    print(f"""
Holdfast for {domain}, in front of {upstream}
  clients: 127.0.0.1:{starttls} (STARTTLS or clear), 127.0.0.1:{tls} (TLS)
  WebSocket: ws://127.0.0.1:{ws}/xmpp-websocket, wss://{domain}:{wss}/xmpp-websocket
  the certificate is self-made: let the client trust it
  figures: http://127.0.0.1:{stats}/""")
    for name, password in accounts:
        print(f"  account: {name}@{domain}  password {password}")
    who = accounts[0][0] if accounts else "you"
    print(f"""  try it:  profanity, then: /connect {who}@{domain} server 127.0.0.1 port {starttls} tls trust
  Ctrl-C ends it.
""", flush=True)


def command_line(config):
    command = [str(pathlib.Path(os.environ["HOLDFAST_BIN"]).resolve()), "-c", str(config)]
    return command + (["-o", f"store.url={os.environ['STORE']}"] if os.environ.get("STORE") else [])


def run(command):
    """The proxy's exit status. Ctrl-C reaches it by itself, being in the terminal's foreground; TERM is passed on."""
    proxy = subprocess.Popen(command, env=clean_environment())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: proxy.terminate())
    return proxy.wait()


def clean_environment():
    """The proxy takes HOLDFAST_... for configuration; what make tells this script is none."""
    return {name: value for name, value in os.environ.items() if name != "HOLDFAST_BIN"}


def main():
    domain, upstream = os.environ.get("DOMAIN") or "localhost", os.environ.get("UPSTREAM")
    FOLDER.mkdir(parents=True, exist_ok=True)
    demo = None
    try:
        if not upstream:
            shutil.rmtree(FOLDER / "prosody", ignore_errors=True)
            demo = Prosody(directory=FOLDER / "prosody", accounts=ACCOUNTS, domain=domain).start()
            upstream = demo.upstream
        taken = ports()
        command = command_line(write_config(domain, upstream, *taken))
        checked = subprocess.run([*command, "-t"], env=clean_environment(), stdout=subprocess.DEVNULL)
        if checked.returncode:
            return checked.returncode
        tell(domain, upstream, *taken, ACCOUNTS if demo else [])
        return run(command)
    except KeyboardInterrupt:
        return 130
    finally:
        if demo:
            demo.remove()


if __name__ == "__main__":
    sys.exit(main())
