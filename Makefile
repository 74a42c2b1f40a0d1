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
LIBS := -lexpat -lev -lssl -lcrypto -lcares -lmicrohttpd $(shell pkg-config --libs libsystemd 2>/dev/null)
HAVE_SYSTEMD := $(shell pkg-config --exists libsystemd 2>/dev/null && echo 1)
CFLAGS += $(if $(HAVE_SYSTEMD),-DHAVE_SYSTEMD)

# Layers without sockets: unit tests and simulations link these with expat alone, so that the linker proves the layering.
PURE_LAYERS := base xmpp store cluster session
IMPURE_LAYERS := net run
PURE_SRC := $(foreach l,$(PURE_LAYERS),$(wildcard proxy/$l/*.c))
IMPURE_SRC := $(foreach l,$(IMPURE_LAYERS),$(wildcard proxy/$l/*.c))
PURE_OBJ := $(PURE_SRC:%.c=$(BUILD)/%.o)
IMPURE_OBJ := $(IMPURE_SRC:%.c=$(BUILD)/%.o)
MAIN_OBJ := $(BUILD)/proxy/main.o

UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN := $(UNIT_SRC:%.c=$(BUILD)/%)
SIM_SRC := $(wildcard tests/sim/*.c)

all: $(BUILD)/holdfast

$(BUILD)/holdfast: $(MAIN_OBJ) $(PURE_OBJ) $(IMPURE_OBJ)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

$(BUILD)/libpure.a: $(PURE_OBJ)
	@rm -f $@; ar rcs $@ $^
$(BUILD)/libimpure.a: $(IMPURE_OBJ)
	@rm -f $@; ar rcs $@ $^

# Unit tests of the pure layers link with expat alone; those of net and run with everything.
define UNIT_RULE
$(BUILD)/$(1:.c=): $(BUILD)/$(1:.c=.o) $(if $(filter net run,$(word 3,$(subst /, ,$1))),$(BUILD)/libimpure.a) $(BUILD)/libpure.a
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $(if $(filter net run,$(word 3,$(subst /, ,$1))),$(BUILD)/libpure.a $$(LIBS),$$(LIBS_PURE)) -lcmocka
endef
$(foreach t,$(UNIT_SRC),$(eval $(call UNIT_RULE,$t)))

unit: $(UNIT_BIN)
	@for t in $(UNIT_BIN); do echo "== $$t"; $$t || exit 1; done

clean:
	rm -rf build build-*

.PHONY: all unit clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
