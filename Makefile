# Holdfast. `make run` tries it, `make check` tests it, `make help` lists the rest.
SHELL := /bin/bash
.DELETE_ON_ERROR:

# SANITIZER=address (with undefined behaviour) or thread builds into a folder of its own.
SANITIZER ?=
BUILD ?= build$(if $(SANITIZER),-$(SANITIZER))
CC ?= gcc
VERSION := 0.1.0

STD := -std=c11 -D_GNU_SOURCE
WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings \
        -Wvla -Wformat=2 -Wno-format-nonliteral -Wundef
SAN_address := -fsanitize=address,undefined -fno-sanitize-recover=all
SAN_thread := -fsanitize=thread
OPT := $(if $(SANITIZER),-O1 -g -fno-omit-frame-pointer $(SAN_$(SANITIZER)),-O2 -g)
HARDEN := $(if $(SANITIZER),,-fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE)
CFLAGS += $(STD) $(WARN) $(OPT) $(HARDEN) -Iinclude -DHOLDFAST_VERSION='"$(VERSION)"' -pthread -MMD -MP
LDFLAGS += $(if $(SANITIZER),$(SAN_$(SANITIZER)),-pie -Wl,-z,relro,-z,now) -pthread

LIBS_PURE := -lexpat
LIBS := -lexpat -lev -lssl -lcrypto -lcares -lhiredis -lmicrohttpd -lwslay $(shell pkg-config --libs libsystemd 2>/dev/null)
HAVE_SYSTEMD := $(shell pkg-config --exists libsystemd 2>/dev/null && echo 1)
CFLAGS += $(if $(HAVE_SYSTEMD),-DHAVE_SYSTEMD)

# Layers without sockets: unit tests and simulations link these with expat alone, so that the linker proves the layering.
PURE_LAYERS := base xmpp store cluster session
IMPURE_LAYERS := net redis run
PURE_SRC := $(foreach l,$(PURE_LAYERS),$(wildcard proxy/$l/*.c))
IMPURE_SRC := $(foreach l,$(IMPURE_LAYERS),$(wildcard proxy/$l/*.c))
PURE_OBJ := $(PURE_SRC:%.c=$(BUILD)/%.o)
IMPURE_OBJ := $(IMPURE_SRC:%.c=$(BUILD)/%.o)
MAIN_OBJ := $(BUILD)/proxy/main.o
# holdfastctl talks to the control socket: of the layers it needs the base alone.
CTL_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard proxy/ctl/*.c) $(wildcard proxy/base/*.c))
LIBS_CTL := -ljansson
PROGRAMS := $(BUILD)/holdfast $(BUILD)/holdfastctl

UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN := $(UNIT_SRC:%.c=$(BUILD)/%)
SIM_SRC := $(wildcard tests/sim/*.c)

# V=1 shows whole commands.
V ?=
Q := $(if $(V),,@)

all: $(PROGRAMS)

$(BUILD)/holdfast: $(MAIN_OBJ) $(PURE_OBJ) $(IMPURE_OBJ)
	$(if $(V),,@echo "  link $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/holdfastctl: $(CTL_OBJ)
	$(if $(V),,@echo "  link $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_CTL)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc   $@")
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

$(BUILD)/libpure.a: $(PURE_OBJ)
	@rm -f $@; ar rcs $@ $^
$(BUILD)/libimpure.a: $(IMPURE_OBJ)
	@rm -f $@; ar rcs $@ $^

# Unit tests of the pure layers link with expat alone; those of net, redis and run with everything.
define UNIT_RULE
$(BUILD)/$(1:.c=): $(BUILD)/$(1:.c=.o) $(if $(filter $(IMPURE_LAYERS),$(word 3,$(subst /, ,$1))),$(BUILD)/libimpure.a) $(BUILD)/libpure.a
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$^ $(if $(filter $(IMPURE_LAYERS),$(word 3,$(subst /, ,$1))),$(BUILD)/libpure.a $$(LIBS),$$(LIBS_PURE)) $$(LIBS_TEST) -lcmocka
endef
$(foreach t,$(UNIT_SRC),$(eval $(call UNIT_RULE,$t)))
# The Redis store is tried on real servers, through a client of the tests' own that loses answers when told to.
REDIS_TESTS := $(filter $(BUILD)/tests/unit/store/test_redis_%,$(UNIT_BIN))
$(REDIS_TESTS): $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/unit/store/redis_*.c))
$(REDIS_TESTS): LIBS_TEST := -lhiredis

# Simulations are cmocka programs over all pure layers: one binary for each tests/sim/test_*.c, the other files are shared.
SIM_MAIN := $(wildcard tests/sim/test_*.c)
SIM_BIN := $(SIM_MAIN:%.c=$(BUILD)/%)
SIM_SHARED := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(SIM_MAIN),$(SIM_SRC)))
$(SIM_BIN): $(BUILD)/%: $(BUILD)/%.o $(SIM_SHARED) $(BUILD)/libpure.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_PURE) -lcmocka

# Fuzz targets, one for each tests/fuzz/fuzz_*.c, are built by clang with objects of their own. TARGET=name picks one.
# What is found interesting collects in build-fuzz/corpus; an input that fails is left in build-fuzz.
FUZZ := build-fuzz
FUZZ_CC := clang
FUZZ_SAN := -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_CFLAGS = $(STD) $(WARN) -O1 -g -fno-omit-frame-pointer $(FUZZ_SAN) -fsanitize=fuzzer-no-link -Iinclude \
              -DHOLDFAST_VERSION='"$(VERSION)"' -MMD -MP
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(FUZZ)/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_OBJ := $(patsubst %.c,$(FUZZ)/%.o,$(filter-out proxy/store/redis_%,$(PURE_SRC)))
FUZZ_CONFIG_OBJ := $(patsubst %,$(FUZZ)/proxy/run/%.o,ini config config_check config_table config_types)
SECONDS := 60
TARGET ?=
# More than there are processors: a minute of each is a minute of the wall clock.
FUZZ_JOBS ?= 12

$(FUZZ)/%.o: %.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  clang $@")
	$(Q)$(FUZZ_CC) $(FUZZ_CFLAGS) -c -o $@ $<

$(FUZZ)/fuzz_config: $(FUZZ_CONFIG_OBJ) $(FUZZ)/proxy/redis/url.o
$(FUZZ)/fuzz_dns: $(FUZZ)/proxy/net/srv_answer.o
$(FUZZ)/fuzz_dns: FUZZ_LIBS := -lcares
$(FUZZ)/fuzz_websocket: $(patsubst %,$(FUZZ)/proxy/net/%.o,http ws_frames websocket_accept address)
$(FUZZ)/fuzz_websocket: FUZZ_LIBS := -lwslay -lcrypto
$(FUZZ_BIN): $(FUZZ)/%: $(FUZZ)/tests/fuzz/%.o $(FUZZ_OBJ)
	$(Q)$(FUZZ_CC) $(FUZZ_SAN) -fsanitize=fuzzer -o $@ $^ $(LIBS_PURE) $(FUZZ_LIBS) -lcmocka

# The bench's own programs use nothing of the proxy but its buffers, lists and maps.
BENCH_OBJ = $(patsubst %.c,$(BUILD)/%.o,$(wildcard bench/$1/*.c bench/common/*.c)) \
    $(patsubst %.c,$(BUILD)/%.o,$(wildcard proxy/base/*.c))
BENCH_BIN := $(BUILD)/bench/bench-load $(BUILD)/bench/bench-stub
$(BUILD)/bench/%.o: CFLAGS += -Ibench
$(BENCH_BIN):
	$(if $(V),,@echo "  link $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lssl -lcrypto
$(BUILD)/bench/bench-load: $(call BENCH_OBJ,load)
$(BUILD)/bench/bench-stub: $(call BENCH_OBJ,stub)

# Debian's own Python has the XMPP library and pytest, whatever comes first in PATH. T="-k word" picks tests of `make e2e`.
PYTHON := /usr/bin/python3
UNDER ?=
LIMIT ?= 180
T ?=
JOBS ?= 4
export PYTHONDONTWRITEBYTECODE := 1
RUN_UNIT = $(PYTHON) tests/run_unit.py --seconds $(LIMIT) --under "$(UNDER)"

build: $(PROGRAMS) $(UNIT_BIN) $(SIM_BIN) $(BENCH_BIN)

unit: $(UNIT_BIN)
	@$(RUN_UNIT) $^

# The limit is for what hangs: simulations take some 20 s of processor time, sanitized.
sim: LIMIT = 400
sim: $(SIM_BIN)
	@$(RUN_UNIT) $^

# The protocol between nodes and Redis, searched exhaustively by spin; FULL=1 adds larger sizes.
model:
	@$(PYTHON) tests/model/run.py $(if $(FULL),--full) $(if $(RULE),--trace $(RULE))

e2e: $(PROGRAMS)
	@HOLDFAST_BIN=$(abspath $(BUILD)/holdfast) HOLDFAST_UNDER="$(UNDER)" $(PYTHON) -m pytest -c tests/e2e/pytest.ini -q -n $(JOBS) $(T) tests/e2e

# Receipts between clients of all kinds; writes what it finds into the table of tests/README.md.
pairs-table: $(PROGRAMS)
	@HOLDFAST_WRITE_PAIRS=1 $(MAKE) --no-print-directory e2e T=-ktest_pairs JOBS=3

# Nodes are killed under load, one at a time.
chaos: $(PROGRAMS)
	@$(MAKE) --no-print-directory e2e HOLDFAST_CHAOS_SECONDS=120 HOLDFAST_CHAOS_CLIENTS=200 T="-k \"test_failover or test_redis_trouble\"" JOBS=1

fuzz: $(if $(TARGET),$(FUZZ)/fuzz_$(TARGET:fuzz_%=%),$(FUZZ_BIN))
	@$(PYTHON) tests/fuzz/run.py --seconds $(SECONDS) --jobs $(FUZZ_JOBS) $^

# Mixed load with cuts, restarts of the server and reloads, in ROUNDS; what is held must come back to where it was.
MINUTES ?= 30
ROUNDS ?= 6
PEOPLE ?= 40
LEGACY ?= prosody
soak: $(BUILD)/holdfast
	@HOLDFAST_BIN=$(abspath $<) $(PYTHON) tests/soak/soak.py --minutes $(MINUTES) --rounds $(ROUNDS) --people $(PEOPLE) \
	    --legacy $(LEGACY) $(if $(RESULT),--result $(RESULT))

layers:
	@$(PYTHON) tests/layers.py

lint:
	@$(PYTHON) tests/lint.py $(if $(NODES),--nodes $(NODES)) $(STD) -Wall -Wextra -Iinclude -Ibench -DHOLDFAST_VERSION='"$(VERSION)"' $(if $(HAVE_SYSTEMD),-DHAVE_SYSTEMD)

deps:
	@tests/deps.sh

run: deps $(BUILD)/holdfast
	@HOLDFAST_BIN=$(BUILD)/holdfast UPSTREAM="$(UPSTREAM)" DOMAIN="$(DOMAIN)" STORE="$(STORE)" PORT="$(PORT)" \
	    $(PYTHON) tests/run.py

VALGRIND := valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite
CHECK := "dependencies: deps" "layers: layers" "build: build" "sanitized build: build SANITIZER=address" \
    "unit: unit SANITIZER=address" "simulations: sim SANITIZER=address" "model: model" "lint: lint NODES=30000" \
    "fuzz: fuzz SECONDS=60 || soak: soak SANITIZER=address MINUTES=1 ROUNDS=2 PEOPLE=24 || demo: demo SANITIZER=address"
CHECK_E2E := "black box: e2e SANITIZER=address JOBS=5" \
    "black box, threads, a few: e2e SANITIZER=thread T=-ktest_sm_scripted" \
    'black box, valgrind, one: e2e UNDER="$(VALGRIND)" T=-kbusy_cut' \
    "bench, small: bench SANITIZER=address SIZE=tiny"
CHECK_FULL := "lint, deep: lint" "black box, one worker: e2e SANITIZER=address HOLDFAST_WORKERS=1" "black box, not sanitized: e2e HOLDFAST_LARGE=1" \
    "chaos: chaos" "model, larger: model FULL=1" "soak: soak MINUTES=10" "soak, ejabberd: soak MINUTES=5 LEGACY=ejabberd" \
    "build for threads: build SANITIZER=thread" "unit, threads: unit SANITIZER=thread LIMIT=300" \
    "black box, threads: e2e SANITIZER=thread" \
    'unit, valgrind: unit LIMIT=900 UNDER="$(VALGRIND)"' \
    'black box, valgrind, some: e2e UNDER="$(VALGRIND)" T="-k \"test_sm_scripted or (test_rebuild and prosody)\""'

check:
	@$(PYTHON) tests/check.py $(CHECK) $(CHECK_E2E)

check-full:
	@$(PYTHON) tests/check.py $(CHECK) $(CHECK_E2E) $(CHECK_FULL)

help:
	@echo "make             builds $(BUILD)/holdfast and holdfastctl (SANITIZER=address or thread: into build-address, build-thread)"
	@echo "make deps        installs what building and testing need (Debian packages, npm)"
	@echo "make run         tries it: UPSTREAM=host:port DOMAIN=name STORE=url PORT=5222 (and the next three); without"
	@echo "                 them in front of a Prosody that it starts, with two accounts"
	@echo "make demo        shows with real clients what a cut costs with and without Holdfast"
	@echo "make demo-web    the same in a browser: a page with two chats, networks to cut and nodes to kill; PORT=8080"
	@echo "make check       all that must pass before a change goes in; ends with N passed, N failed"
	@echo "make check-full  check, and the black-box tests with one worker, unsanitized and with the thread sanitizer,"
	@echo "                 and more under valgrind"
	@echo "make unit        unit tests;  make sim: simulations"
	@echo "make model       searches the models of the store, and breaks each rule; FULL=1: larger; RULE=name: only"
	@echo "                 that one, with what happens without it"
	@echo "make e2e         black-box tests with real servers and clients; T=\"-k word\" picks some, JOBS=n side by side"
	@echo "make pairs-table runs the test of receipts between clients of all kinds, and writes its table (tests/README.md)"
	@echo "make fuzz        feeds parsers and sessions what libFuzzer makes up, each target for SECONDS=60; TARGET=name"
	@echo "make soak        people who talk, are cut and come back, for MINUTES=30, while the server restarts; RESULT=file"
	@echo "make chaos       200 clients, two and three nodes that are killed in turn, a Redis in trouble; two minutes each"
	@echo "make bench       what a message, a session, a login costs, beside HAProxy, nginx, Prosody, ejabberd; ROWS=a,b"
	@echo "make bench-quick the same in three minutes, with less of everything"
	@echo "make bench-profile  where the time goes: TOOL=perf or callgrind"
	@echo "make layers      who may include whom;  make lint: clang-tidy and cppcheck"
	@echo "make install     installs programs, service, man pages and, if there is none, a sample configuration: PREFIX,"
	@echo "                 SYSCONFDIR, DESTDIR;  make uninstall: removes all of it but the configuration"
	@echo "V=1              shows whole commands"
	@echo "make clean       removes what was built"

clean:
	rm -rf build build-*

.PHONY: all build unit sim model e2e pairs-table chaos fuzz soak layers lint deps run check check-full help clean
.SECONDARY:
-include $(shell find $(BUILD) $(FUZZ) -name '*.d' 2>/dev/null)

# What a cut connection costs, without Holdfast and with it: real clients at a real Prosody.
demo: deps $(BUILD)/holdfast
	@HOLDFAST_BIN=$(abspath $(BUILD)/holdfast) $(PYTHON) tests/e2e/demo.py
# The same in a browser, with buttons: two people, two nodes, networks that can be cut.
demo-web: deps $(BUILD)/holdfast
	@HOLDFAST_BIN=$(abspath $(BUILD)/holdfast) PORT="$(PORT)" $(PYTHON) tests/e2e/demo_web.py
.PHONY: demo demo-web

# What Holdfast costs; bench/README.md tells all, and keeps the last full run.
SIZE ?= full
BENCH_ENV = HOLDFAST_BIN=$(abspath $(BUILD)/holdfast) SIZE="$(SIZE)" ROWS="$(ROWS)" REPEAT="$(REPEAT)" MS="$(MS)"
bench: $(BUILD)/holdfast $(BENCH_BIN)
	@$(BENCH_ENV) $(PYTHON) bench/bench.py
bench-quick:
	@$(MAKE) --no-print-directory bench SIZE=quick
bench-profile: $(BUILD)/holdfast $(BENCH_BIN)
	@HOLDFAST_BIN=$(abspath $<) TOOL="$(TOOL)" $(PYTHON) bench/profile.py
.PHONY: bench bench-quick bench-profile

# Programs, service, man pages, and a sample configuration where there is none. DESTDIR is put ahead of all paths.
PREFIX := /usr/local
SYSCONFDIR := /etc
SBINDIR = $(PREFIX)/sbin
MANDIR = $(PREFIX)/share/man
UNITDIR = $(PREFIX)/lib/systemd/system
CONFIG = $(SYSCONFDIR)/holdfast/holdfast.conf
UNITS = holdfast.service holdfast.socket holdfast-tls.socket
INSTALLED = $(SBINDIR)/holdfast $(SBINDIR)/holdfastctl $(addprefix $(UNITDIR)/,$(UNITS)) \
    $(MANDIR)/man8/holdfast.8 $(MANDIR)/man8/holdfastctl.8 $(MANDIR)/man5/holdfast.conf.5
# $(call install_text,FILE,TARGET): texts are written for the default paths, and get those of this installation.
install_text = set -o pipefail; echo "install $(DESTDIR)$2"; \
    sed 's|/usr/local/sbin/|$(SBINDIR)/|g; s|/etc/holdfast/|$(SYSCONFDIR)/holdfast/|g' $1 | \
    install -D -m 644 /dev/stdin $(DESTDIR)$2

install: $(PROGRAMS)
	@for program in $(PROGRAMS); do \
	    echo "install $(DESTDIR)$(SBINDIR)/$${program##*/}"; \
	    install -D -m 755 $$program $(DESTDIR)$(SBINDIR)/$${program##*/} || exit 1; \
	done
	@$(foreach unit,$(UNITS),$(call install_text,deploy/$(unit),$(UNITDIR)/$(unit)) &&) true
	@$(call install_text,deploy/man/holdfast.8,$(MANDIR)/man8/holdfast.8)
	@$(call install_text,deploy/man/holdfastctl.8,$(MANDIR)/man8/holdfastctl.8)
	@$(call install_text,deploy/man/holdfast.conf.5,$(MANDIR)/man5/holdfast.conf.5)
	@[ -e $(DESTDIR)$(CONFIG) ] || { $(call install_text,deploy/holdfast.conf,$(CONFIG)); }

uninstall:
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
.PHONY: install uninstall
