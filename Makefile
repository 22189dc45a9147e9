# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make            build/xensnapd, build/xensnap, and build/xensnap-guest for guests
# make demo       a real Xen host under emulation, a guest, a checkpoint, shown
# make check      everything: unit, native and Xen tests, format, lint
# make install    into DESTDIR, below prefix (/usr/local); make uninstall
# make install-guest    the same for what runs in guests; make uninstall-guest
# make deb        Debian packages, in build/deb
#
# SANITIZE=1 builds with ASan and UBSan into build/asan; WERROR=1 makes
# warnings errors; V=1 shows the commands.

V        ?= 0
ifeq ($(V),0)
Q        := @
endif

SANITIZE ?= 0
WERROR   ?= 0
export WERROR
ifeq ($(SANITIZE),1)
BUILD    ?= build/asan
else
BUILD    ?= build
endif

VERSION  := 0.1.0
JOBS     := $(shell nproc)
CC       ?= gcc
PYTHON   := /usr/bin/python3

AGENT_LIBS  := xenstore xenlight xencontrol xenguest xenevtchn xengnttab \
               xentoollog libevent_core json-c yaml-0.1 libsystemd uuid zlib

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
CLIENT_LDLIBS := $(call pkg,--libs,xenstore)
# A guest has no libraries of Xen's: its helper brings them. Sanitizers cannot be
# linked like that.
ifneq ($(SANITIZE),1)
GUEST_LDFLAGS := -static
endif
GUEST_LDLIBS := $(call pkg,--static --libs,xenevtchn)

AGENT_SOURCES  := $(sort $(wildcard agent/*.c agent/*/*.c))
CLIENT_SOURCES := $(sort $(wildcard client/*.c))
GUEST_SOURCES  := $(sort $(wildcard guest/*.c))
UNIT_SOURCES   := $(sort $(wildcard tests/unit/test_*.c))
HEADERS        := $(sort $(wildcard agent/*.h agent/*/*.h client/*.h guest/*.h))
FUZZ_SOURCES   := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FORMATTED      := $(AGENT_SOURCES) $(CLIENT_SOURCES) $(GUEST_SOURCES) $(HEADERS) \
                  $(FUZZ_SOURCES) \
                  $(wildcard tests/unit/*.[ch] tests/native/shim/*.[ch] \
                             tests/xen/guest/*.[ch] bench/*.c)

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIBRARY := $(BUILD)/libxensnapd.a
UNITS   := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT_SOURCES))
FUZZERS := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(FUZZ_SOURCES))

.PHONY: all
all: $(BUILD)/xensnapd $(BUILD)/xensnap $(BUILD)/xensnap-guest

# ---- building ----

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

# What the client has of the agent: the way to xenstore, and what values of a
# request may be.
CLIENT_SHARED := $(addprefix agent/,base/alloc.c base/clock.c base/error.c \
                   base/text.c store/socket.c request_key.c)

$(BUILD)/xensnap: $(call objects,$(CLIENT_SOURCES) $(CLIENT_SHARED))
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(CLIENT_LDLIBS)

$(BUILD)/xensnap-guest: $(call objects,$(GUEST_SOURCES))
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(SANFLAGS) $(LDFLAGS) $(GUEST_LDFLAGS) -o $@ $^ \
	    $(GUEST_LDLIBS)

# The pure parts of the client and of the guest's helper are tested like the
# agent's modules.
OTHER_PURE := $(call objects,client/advice.c client/command.c client/human.c client/json.c \
                client/prune_choose.c guest/mountinfo.c)

$(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(OTHER_PURE) $(LIBRARY)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(SANFLAGS) $(LDFLAGS) -o $@ $^ \
	    -lcmocka $(AGENT_LDLIBS)

# Objects of tests are kept between runs.
.SECONDARY:

-include $(shell find $(BUILD)/obj build/fuzz/obj -name '*.d' 2>/dev/null)

# ---- installing ----

# The agent looks for its settings in /etc, and its records are in /var, whatever
# prefix is. Settings that are there already stay.
DESTDIR ?=
prefix  ?= /usr/local
sbindir ?= $(prefix)/sbin
libexecdir ?= $(prefix)/libexec
bindir  ?= $(prefix)/bin
datadir ?= $(prefix)/share
mandir  ?= $(datadir)/man
docdir  ?= $(datadir)/doc/xensnapd
unitdir ?= $(prefix)/lib/systemd/system
tmpfilesdir ?= $(prefix)/lib/tmpfiles.d
initdir ?= /etc/init.d
hookdir ?= /etc/libvirt/hooks/libxl.d
logrotatedir ?= /etc/logrotate.d
zshdir  ?= $(datadir)/zsh/site-functions
confdir := /etc/xensnapd

GUEST_PAGE := docs/man/xensnap-guest.8
MAN_PAGES := $(filter-out $(GUEST_PAGE),$(sort $(wildcard docs/man/*.[1-8])))
# Markdown, whose links are changed to where the others are installed.
DOCUMENTS := README.md SECURITY.md CHANGELOG.md schema/xenstore-paths.md
GUIDES := $(sort $(wildcard docs/guides/*.md))

.PHONY: install
install: all
	install -d '$(DESTDIR)$(sbindir)' '$(DESTDIR)$(bindir)' \
	    '$(DESTDIR)$(docdir)' '$(DESTDIR)$(unitdir)' '$(DESTDIR)$(initdir)' \
	    '$(DESTDIR)$(confdir)'
	install -D -m 644 install/xensnapd.tmpfiles \
	    '$(DESTDIR)$(tmpfilesdir)/xensnapd.conf'
	install -m 755 $(BUILD)/xensnapd '$(DESTDIR)$(sbindir)'
	install -m 755 $(BUILD)/xensnap install/xensnap-backup '$(DESTDIR)$(bindir)'
	install -D -m 755 install/qemu-devd '$(DESTDIR)$(libexecdir)/xensnapd/qemu-devd'
	install -d '$(DESTDIR)$(docdir)/guides'
	for document in $(DOCUMENTS) $(GUIDES); do \
	    case $$document in \
	    docs/guides/*) to="$(DESTDIR)$(docdir)/$${document#docs/}" ;; \
	    *) to="$(DESTDIR)$(docdir)/$${document##*/}" ;; \
	    esac; \
	    sed -f install/links.sed $$document >"$$to" && chmod 644 "$$to" || exit 1; \
	done
	install -m 644 conf/agent.yaml conf/driver-domain.yaml \
	    install/grafana-xensnapd.json '$(DESTDIR)$(docdir)'
	install -D -m 644 docs/picture/session.svg \
	    '$(DESTDIR)$(docdir)/picture/session.svg'
	for page in $(MAN_PAGES); do \
	    install -D -m 644 $$page \
	        "$(DESTDIR)$(mandir)/man$${page##*.}/$${page##*/}" || exit 1; \
	done
	[ -e '$(DESTDIR)$(confdir)/agent.yaml' ] || \
	    install -m 644 conf/agent.yaml '$(DESTDIR)$(confdir)'
	sed 's,@sbindir@,$(sbindir),' install/xensnapd.service.in \
	    >'$(DESTDIR)$(unitdir)/xensnapd.service'
	sed 's,@sbindir@,$(sbindir),' install/xensnapd.initd.in \
	    >'$(DESTDIR)$(initdir)/xensnapd'
	install -D -m 644 install/xensnapd.logrotate \
	    '$(DESTDIR)$(logrotatedir)/xensnapd'
	install -d '$(DESTDIR)$(hookdir)'
	sed 's,@sbindir@,$(sbindir),' install/libvirt-hook.in \
	    >'$(DESTDIR)$(hookdir)/xensnapd'
	chmod 755 '$(DESTDIR)$(hookdir)/xensnapd'
	sed 's,@bindir@,$(bindir),' install/xensnap@.service.in \
	    >'$(DESTDIR)$(unitdir)/xensnap@.service'
	install -m 644 install/xensnap@.timer '$(DESTDIR)$(unitdir)'
	chmod 644 '$(DESTDIR)$(unitdir)/xensnapd.service' \
	    '$(DESTDIR)$(unitdir)/xensnap@.service'
	chmod 755 '$(DESTDIR)$(initdir)/xensnapd'
	install -D -m 644 install/xensnap.bash \
	    '$(DESTDIR)$(datadir)/bash-completion/completions/xensnap'
	install -D -m 644 install/_xensnap \
	    '$(DESTDIR)$(zshdir)/_xensnap'
	install -D -m 644 install/xensnap.fish \
	    '$(DESTDIR)$(datadir)/fish/vendor_completions.d/xensnap.fish'

# Settings, records and snapshots stay.
.PHONY: uninstall
uninstall:
	rm -f '$(DESTDIR)$(sbindir)/xensnapd' '$(DESTDIR)$(bindir)/xensnap' \
	    '$(DESTDIR)$(bindir)/xensnap-backup' \
	    '$(DESTDIR)$(unitdir)/xensnapd.service' \
	    '$(DESTDIR)$(unitdir)/xensnap@.service' \
	    '$(DESTDIR)$(unitdir)/xensnap@.timer' \
	    '$(DESTDIR)$(tmpfilesdir)/xensnapd.conf' \
	    '$(DESTDIR)$(initdir)/xensnapd' '$(DESTDIR)$(hookdir)/xensnapd' \
	    '$(DESTDIR)$(logrotatedir)/xensnapd' \
	    '$(DESTDIR)$(datadir)/bash-completion/completions/xensnap' \
	    '$(DESTDIR)$(zshdir)/_xensnap' \
	    '$(DESTDIR)$(datadir)/fish/vendor_completions.d/xensnap.fish'
	for page in $(MAN_PAGES); do \
	    rm -f "$(DESTDIR)$(mandir)/man$${page##*.}/$${page##*/}"; \
	done
	rm -rf '$(DESTDIR)$(docdir)' '$(DESTDIR)$(libexecdir)/xensnapd'

# ---- packages ----

# Of what the checkout holds now (packaging/debian).
.PHONY: deb
deb:
	packaging/build-deb $(BUILD)/deb

# What runs in guests: also for a package of its own, or into a guest's disk that is
# mounted somewhere.
.PHONY: install-guest
install-guest: $(BUILD)/xensnap-guest
	install -d '$(DESTDIR)$(sbindir)' '$(DESTDIR)$(unitdir)'
	install -m 755 $(BUILD)/xensnap-guest '$(DESTDIR)$(sbindir)'
	install -D -m 644 $(GUEST_PAGE) \
	    '$(DESTDIR)$(mandir)/man8/xensnap-guest.8'
	sed 's,@sbindir@,$(sbindir),' install/xensnap-guest.service.in \
	    >'$(DESTDIR)$(unitdir)/xensnap-guest.service'
	chmod 644 '$(DESTDIR)$(unitdir)/xensnap-guest.service'

.PHONY: uninstall-guest
uninstall-guest:
	rm -f '$(DESTDIR)$(sbindir)/xensnap-guest' \
	    '$(DESTDIR)$(mandir)/man8/xensnap-guest.8' \
	    '$(DESTDIR)$(unitdir)/xensnap-guest.service'

# ---- testing ----

# Everything the build and the tests need, from Debian.
.PHONY: deps
deps:
	tests/install-deps.sh

# The packages come first: what the rest of this file asks pkg-config is only
# known once they are there.
.PHONY: check
check: deps
	$(MAKE) -j$(JOBS) check-format check-lint
	$(MAKE) -j$(JOBS) check-install
	$(MAKE) -j$(JOBS) check-unit
	$(MAKE) -j$(JOBS) check-valgrind
	$(MAKE) -j$(JOBS) check-instructions
	$(MAKE) -j$(JOBS) check-fuzz
	$(MAKE) -j$(JOBS) check-native
	$(MAKE) -j$(JOBS) check-soak check-xen

.PHONY: check-unit
check-unit:
	$(MAKE) SANITIZE=1 run-units

.PHONY: run-units
run-units: $(UNITS)
	@JOBS=$(JOBS) tests/unit/run $(UNITS)

# What the sanitizers do not see: values that nobody has set. Leaks are told
# once more, by another judge.
VALGRIND := valgrind -q --error-exitcode=99 --leak-check=full \
            --errors-for-leak-kinds=definite,indirect,possible \
            --show-leak-kinds=definite,indirect,possible
# Without the tests of children: valgrind makes a fork of the vfork below
# posix_spawn, so that a program that cannot be started is not told.
VALGRIND_UNITS := $(filter-out %/test_child,$(UNITS))
.PHONY: check-valgrind
check-valgrind: $(VALGRIND_UNITS)
	@JOBS=$(JOBS) UNDER='$(VALGRIND)' tests/unit/run $(VALGRIND_UNITS)

# Half of a test's time it waits: for timeouts, disks, the other side.
NATIVE_JOBS := $(shell echo $$(($(JOBS) * 2)))

.PHONY: check-native
check-native:
	$(MAKE) SANITIZE=1
	BUILD=build/asan tests/native/run -n $(NATIVE_JOBS) --durations 30 $(PYTEST_ARGS)

# How many instructions the agent takes, and how much memory, as it is shipped.
.PHONY: check-instructions
check-instructions: all
	tests/native/run -rP -q test_instructions.py test_scale.py::test_a_thousand_idle_domains_take_no_room

# Many operations on many domains: nothing grows. Without sanitizers, which
# keep memory of their own.
SOAK_SECONDS ?= 45
.PHONY: check-soak
check-soak: all
	SOAK_SECONDS=$(SOAK_SECONDS) tests/native/run -rP test_soak.py

# Each operation once for each point at which it can fail or be killed, and for
# each point of each way to recover from that, killing what recovers or failing;
# `make check-native` does some of these runs.
FAULT_PARTS := $(JOBS)
.PHONY: check-faults
check-faults: all
	seq 0 $$(($(FAULT_PARTS) - 1)) | xargs -P $(FAULT_PARTS) -I PART \
	    tests/native/run test_faults.py --faults PART/$(FAULT_PARTS) \
	    --second-kill 1 --second-fail 1 $(PYTEST_ARGS)

# Measures; takes about a quarter of an hour, and wants a machine that does
# nothing else. BENCH_ARGS='--parts latency --rounds 20' is a quick look.
.PHONY: bench
bench: all
	bench/run --json build/bench/results.json --table build/bench/results.md \
	    $(BENCH_ARGS)

# Checkpoints and reverts of real guests, against xl: on an emulated host, so it
# does not mind what else the machine does. HVM guests, which may hang that host,
# get a run of their own: BENCH_ARGS='--rounds 1 hvm-1-0'.
.PHONY: bench-xen
bench-xen: all
	tests/xen/host --time-limit 3600 run bench/checkpoint.py $(BENCH_ARGS)

.PHONY: check-xen
check-xen: all
	tests/xen/all $(PYTEST_ARGS)

# Scenarios that continuous integration has no time for. With -j2 side by side.
.PHONY: check-xen-rest
check-xen-rest: check-rig check-driver-domain check-guides check-xen-slow

# The emulated host by itself.
.PHONY: check-rig
check-rig: all
	tests/xen/host --time-limit 2400 test tests/xen/test_rig.py -m "not hvm" $(PYTEST_ARGS)

# What the native tests show as well, and what takes long. Where xenstored is killed
# a host of its own is needed: tests/xen/README.md.
.PHONY: check-xen-slow
check-xen-slow: all
	tests/xen/host --time-limit 4800 test -m "slow and not hvm" -k "not xenstored and not libvirt" $(PYTEST_ARGS)

# A driver domain boots from dom0's root once more.
.PHONY: check-driver-domain
check-driver-domain: all
	tests/xen/host --time-limit 4800 test tests/xen/test_driver_domain.py \
	    tests/xen/test_driver_guide.py tests/xen/test_driver_systemd.py $(PYTEST_ARGS)

# The commands of docs/guides (driver-domain.md: above).
.PHONY: check-guides
check-guides: all
	tests/xen/host --time-limit 2400 test tests/xen/test_guides.py tests/xen/test_libvirt.py \
	    $(PYTEST_ARGS)

.PHONY: check-install
check-install: all
	tests/check-install

# Builds the packages, and installs and removes them in a root of its own.
.PHONY: check-deb
check-deb:
	tests/check-deb

.PHONY: check-format
check-format:
	clang-format --dry-run -Werror $(FORMATTED)

.PHONY: check-lint
check-lint:
	tests/check-schema
	tests/check-docs
	shellcheck tests/install-deps.sh tests/check-install tests/check-deb tests/check-links tests/native/run tests/native/worker \
	    tests/unit/run tests/fuzz/run tests/xen/demo tests/xen/all .ci/run \
	    bench/run bench/shell-loop.sh \
	    install/xensnapd.initd.in install/xensnap.bash install/qemu-devd install/xensnap-backup \
	    install/libvirt-hook.in tests/xen/driver/start tests/xen/systemd_boot \
	    packaging/build-deb \
	    packaging/debian/xensnapd.init packaging/debian/xensnapd.postrm
	echo $(AGENT_SOURCES) $(CLIENT_SOURCES) $(GUEST_SOURCES) | \
	    xargs -P $(JOBS) -n 8 sh -c \
	    'clang-tidy --quiet "$$@" -- $(STD) -I. -D_GNU_SOURCE \
	         -DXENSNAPD_VERSION=\"$(VERSION)\" $(AGENT_CFLAGS)' tidy

# Each fuzzer for FUZZ_SECONDS, beginning with its corpus (tests/fuzz/run).
FUZZ_SECONDS ?= 30
.PHONY: fuzz
fuzz: $(FUZZERS)
	@tests/fuzz/run $(FUZZ_SECONDS) $(FUZZERS)

.PHONY: check-fuzz
check-fuzz:
	$(MAKE) fuzz FUZZ_SECONDS=5

FUZZ_FLAGS   := -O1 -g -fno-omit-frame-pointer -U_FORTIFY_SOURCE \
                -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_LIBRARY := build/fuzz/libxensnapd.a

build/fuzz/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  FUZZ CC $<"
	$(Q)clang $(STD) $(CPPFLAGS) $(AGENT_CFLAGS) $(FUZZ_FLAGS) \
	    -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(FUZZ_LIBRARY): $(patsubst %.c,build/fuzz/obj/%.o,\
                            $(filter-out agent/main.c,$(AGENT_SOURCES)))
	@rm -f $@
	@echo "  AR      $@"
	$(Q)$(AR) rcs $@ $^

build/fuzz/fuzz_%: build/fuzz/obj/tests/fuzz/fuzz_%.o $(FUZZ_LIBRARY)
	@echo "  LD      $@"
	$(Q)clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(AGENT_LDLIBS)

.PHONY: demo
demo: deps
	$(MAKE) run-demo

.PHONY: run-demo
run-demo: all
	tests/xen/demo

# The README's picture, of a demonstration that is run for it.
.PHONY: picture
picture: all
	tests/xen/demo --colour >build/demo.txt
	docs/picture/draw --title 'xensnap, in domain 0' \
	    --scenes 'A checkpoint,And back' <build/demo.txt >docs/picture/session.svg

.PHONY: format
format:
	clang-format -i $(FORMATTED)

.PHONY: clean
clean:
	rm -rf build
