"""Checks that each layer includes only what it may. Ends with a line `N passed, N failed`: one check for each file, and
the checks of the checker itself, which must catch each kind of violation."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)

# Which headers of other layers a layer may include: whole layers, or single headers.
MAY_INCLUDE = {
    "base": (),
    "xmpp": ("base",),
    "net": ("base",),
    "redis": ("base", "net"),
    "store": ("base", "xmpp/queue.h", "redis"),  # what is kept is a queue of numbered stanzas
    "cluster": ("base", "store/store.h", "net"),
    "session": ("base", "xmpp", "net/transport.h", "store/store.h", "store/kept.h", "cluster/owner.h",
                "cluster/peer.h"),
    "ctl": ("base",),  # a program of its own
    "run": ("base", "xmpp", "net", "redis", "store", "cluster", "session"),
}

# Who may see which library; all other headers in <> are the system's.
LIBRARIES = {
    "expat.h": ("xmpp",),
    "ev.h": ("net",),
    "ares.h": ("net",),
    "wslay/": ("net",),
    "openssl/": ("net", "run/digest.c", "run/seal.c", "redis/script.c"),
    "hiredis/": ("redis", "store", "run/storage.c"),
    "microhttpd.h": ("run",),
    "jansson.h": ("ctl",),
    "systemd/": ("run",),
    "ini_configobj.h": ("run",),
}
SEES_EVERYTHING = "run/versions.c"  # prints the libraries' versions


def layer_of(path):
    """Of a file under proxy/ or include/: its layer; main.c counts as run."""
    inner = path.split("/", 1)[1]
    return inner.split("/")[0] if "/" in inner else "run"


def faults_of(path, text):
    """What is wrong with the includes of the file at `path` (relative to the root)."""
    layer, inner = layer_of(path), path.split("/", 1)[1]
    faults = []
    for bracket, name in INCLUDE.findall(text):
        if bracket == '"':
            other = name.split("/")[0]
            if "/" not in name:
                if path.startswith("include/"):
                    faults.append(f'"{name}": a public header names headers with their layer')
            elif other not in MAY_INCLUDE:
                faults.append(f'"{name}": {other} is no layer')
            elif other != layer and other not in MAY_INCLUDE[layer] and name not in MAY_INCLUDE[layer]:
                faults.append(f'"{name}": {layer} may not include it')
        elif inner != SEES_EVERYTHING:
            for library, seers in LIBRARIES.items():
                if name.startswith(library) and layer not in seers and inner not in seers:
                    faults.append(f"<{name}>: {layer} may not see this library")
    return faults


def sources():
    for folder in ("include", "proxy"):
        for file in sorted((ROOT / folder).rglob("*.[ch]")):
            yield file.relative_to(ROOT).as_posix(), file.read_text()


SELF_TEST = (  # path, text, how many faults
    ("proxy/base/x.c", '#include "base/buf.h"\n#include <stdio.h>\n', 0),
    ("proxy/base/x.c", '#include "xmpp/jid.h"\n', 1),
    ("proxy/base/x.c", '  #  include <ev.h>\n', 1),
    ("proxy/session/x.c", '#include "net/transport.h"\n#include "session_impl.h"\n', 0),
    ("proxy/session/x.c", '#include "net/tcp.h"\n', 1),
    ("proxy/session/x.c", '#include <openssl/ssl.h>\n', 1),
    ("include/session/x.h", '#include "store/memory.h"\n', 1),
    ("include/net/x.h", '#include "run/config.h"\n#include "session/session.h"\n', 2),
    ("include/net/x.h", '#include "x_private.h"\n', 1),
    ("proxy/xmpp/x.c", '#include <expat.h>\n// #include "run/config.h"\n', 0),
    ("proxy/store/x.c", '#include "xmpp/queue.h"\n', 0),
    ("proxy/store/x.c", '#include "xmpp/sm.h"\n', 1),
    ("proxy/store/x.c", '#include "redis/redis.h"\n#include <hiredis/hiredis.h>\n', 0),
    ("proxy/redis/x.c", '#include "net/dialer.h"\n#include <hiredis/hiredis.h>\n', 0),
    ("proxy/redis/x.c", '#include "store/store.h"\n#include <ev.h>\n#include <openssl/ssl.h>\n', 3),
    ("proxy/cluster/x.c", '#include "session/session.h"\n', 1),
    ("proxy/run/versions.c", '#include <ev.h>\n', 0),
    ("proxy/run/x.c", '#include <ev.h>\n', 1),
    ("proxy/main.c", '#include "run/config.h"\n#include "elsewhere/x.h"\n', 1),
)


def main():
    passed = failed = 0
    checks = [(path, faults_of(path, text)) for path, text in sources()]
    for path, text, count in SELF_TEST:
        found = faults_of(path, text)
        checks.append(("self-test: " + repr(text), [] if len(found) == count else [f"{count} faults wanted: {found}"]))
    for name, faults in checks:
        passed, failed = (passed, failed + 1) if faults else (passed + 1, failed)
        for fault in faults:
            print(f"{name}: {fault}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
