# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make            build/xensnapd and build/xensnap
# make demo       a real Xen host under emulation, a guest, a checkpoint, shown
# make check      everything: unit, native and Xen tests, format, lint
#
# SANITIZE=1 builds with ASan and UBSan into build/asan; WERROR=1 makes
# warnings errors; V=1 shows the commands.

V        ?= 0
ifeq ($(V),0)
Q        := @
endif

SANITIZE ?= 0
WERROR   ?= 0
ifeq ($(SANITIZE),1)
BUILD    ?= build/asan
else
BUILD    ?= build
endif

VERSION  := 0.1.0
CC       ?= gcc
PYTHON   := /usr/bin/python3

AGENT_LIBS  := xenstore xenlight xenevtchn xentoollog libevent_core json-c \
               yaml-0.1 libsystemd uuid

CPPFLAGS += -I. -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 \
            -DXENSNAPD_VERSION='"$(VERSION)"'
CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Wconversion -Wformat=2 -Wvla
STD      := -std=c17
ifeq ($(WERROR),1)
WARNINGS += -Werror
endif
ifeq ($(SANITIZE),1)
CPPFLAGS := $(filter-out -D_FORTIFY_SOURCE=2,$(CPPFLAGS))
CFLAGS   := -O1 -g -fno-omit-frame-pointer
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
endif

pkg = $(shell pkg-config $(1) $(2) 2>/dev/null)
AGENT_CFLAGS := $(filter-out -I.,$(call pkg,--cflags,$(AGENT_LIBS)))
AGENT_LDLIBS := $(call pkg,--libs,$(AGENT_LIBS))

AGENT_SOURCES  := $(sort $(wildcard agent/*.c agent/*/*.c))
CLIENT_SOURCES := $(sort $(wildcard client/*.c))
UNIT_SOURCES   := $(sort $(wildcard tests/unit/test_*.c))

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIBRARY := $(BUILD)/libxensnapd.a
UNITS   := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT_SOURCES))

.PHONY: all
all: $(BUILD)/xensnapd

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(STD) $(CPPFLAGS) $(AGENT_CFLAGS) $(WARNINGS) $(CFLAGS) \
	    $(SANFLAGS) -MMD -MP -c -o $@ $<

$(LIBRARY): $(call objects,$(filter-out agent/main.c,$(AGENT_SOURCES)))
	@rm -f $@
	@echo "  AR      $@"
	$(Q)$(AR) rcs $@ $^

$(BUILD)/xensnapd: $(call objects,agent/main.c) $(LIBRARY)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(AGENT_LDLIBS)

$(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(LIBRARY)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(SANFLAGS) $(LDFLAGS) -o $@ $< $(LIBRARY) -lcmocka \
	    $(AGENT_LDLIBS)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

.PHONY: clean
clean:
	rm -rf build
