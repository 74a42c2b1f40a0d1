"""How much of everything: SIZE=full (the default, whose figures count), quick (some rows, moderate sizes) or tiny (all
rows, none of them long: a test that they work)."""

import os
import types

from targets import TARGETS

FULL = dict(
    rounds=5, few=3,  # few: where a round is long
    ms=400, warm=150, gap=0.3,
    logins=100, storm=1000,
    most=9800,  # sessions of the proxies
    legacy=2000, legacy_idle=1000,  # and of the real servers: at most, and in the row `idle`
    pairs=((1, 100, 1), (50, 100, 1), (50, 1000, 1), (50, 100, 16), (1000, 100, 1)),  # bytes of the body, in flight
    real=("prosody", "ejabberd"), whole=((1, 100, 1), (50, 100, 1), (50, 100, 16), (500, 100, 1)),
    flat=(5, 50, 500, 4900),
    rate=1000, open_ms=750,
    others_rate=500, others_ms=2000,
    quiet_rate=500, quiet_ms=1000,
    queue=(20, 500, 9500),  # pairs; stanzas of a turn; stanzas that are in the long queues already
    receipts=(500, 20),  # pairs; messages of each, as many as a session answers at once
    takeovers=(100, 100),  # with the stub, and with a real server
    orphans=5000, plain=400,  # batches for a plain Redis
    counted=(50, 2000, 3),  # pairs, ms, rounds
    targets=tuple(TARGETS), rows=None,  # side by side; None: all
    idle=tuple(name for name, target in TARGETS.items() if not target.rows),
)

QUICK = FULL | dict(
    rounds=3, few=2, ms=250, warm=100, gap=0.2,
    logins=60, storm=300, most=2000, legacy=600, legacy_idle=300,
    pairs=((50, 100, 1), (50, 1000, 1), (50, 100, 16), (300, 100, 1)),
    flat=(5, 1000), open_ms=300, others_ms=800, queue=(10, 300, 4700), counted=(50, 1500, 1),
    targets=("stub", "haproxy", "holdfast", "prosody", "prosody+holdfast"),
    idle=("haproxy", "holdfast", "prosody", "prosody+holdfast"),
    real=("prosody",), whole=((50, 100, 1),),
    rows=("login", "pairs", "latency", "storm", "whole", "flat", "queue", "idle", "durability", "receipts",
          "instructions"),
)

TINY = FULL | dict(
    rounds=1, few=1, ms=100, warm=30, gap=0.05,
    logins=10, storm=30, most=100, legacy=100, legacy_idle=40,
    pairs=((1, 100, 1), (10, 1000, 4), (30, 100, 1)), whole=((5, 100, 1),),
    flat=(5, 30), open_ms=200, others_ms=200, quiet_ms=200, queue=(5, 50, 100), receipts=(10, 5),
    takeovers=(10, 10), orphans=40, counted=(5, 200, 1),
    targets=("stub", "haproxy", "nginx", "holdfast", "prosody", "prosody+holdfast", "ejabberd+holdfast"),
    idle=("haproxy", "holdfast", "prosody+holdfast"),
)

SIZES = {"full": FULL, "quick": QUICK, "tiny": TINY}


def sizes_of(environment=os.environ):
    """REPEAT and MS take the place of `rounds` and `ms`."""
    name = environment.get("SIZE") or "full"
    if name not in SIZES:
        raise SystemExit(f"SIZE is one of {' '.join(SIZES)}")
    sizes = types.SimpleNamespace(name=name, **SIZES[name])
    sizes.rounds = int(environment.get("REPEAT") or sizes.rounds)
    sizes.few = min(sizes.rounds, sizes.few)
    sizes.ms = int(environment.get("MS") or sizes.ms)
    for key in ("targets", "idle"):
        setattr(sizes, key, [name for name in getattr(sizes, key) if name in TARGETS])  # what is installed
    return sizes
