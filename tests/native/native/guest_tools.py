# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guest tools that a thread plays, by the keys of XenServer's: the guest agent, which
takes what it is asked, and the provider of Windows' shadow copies, which waits for
the toolstack while all writes are held. Over the domain's own ring."""

import base64
import contextlib
import threading
import time
import uuid

from native.ring import Denied

POLL = 0.02


class Refused(Exception):
    """The tools' own failure."""


class GuestTools:
    """Of `count` disks. What it does otherwise:

      hold(stage)    "take", "freeze", "end": it comes no further before release()
      refusal        words of a failure before anything is frozen
      holds_writes   seconds after which it lets go, and says so at the end
      babble         what it says instead of that it is frozen, and then nothing
      more_names     of disks, which are none; `answered` has those that got an id
    """

    def __init__(self, world, domain, count=2, rights=True):
        self.world = world
        self.domain = domain
        self.vss = f"/vss/{domain.uuid}"
        self.control = f"{domain.path}/control/snapshot"
        self.disks = [str(uuid.uuid4()) for _ in range(count)]
        self.frozen = False
        self.log = []
        self.snapshots = []
        self.pages = []
        self.failure = None
        self.refusal = None
        self.holds_writes = 10
        self.babble = None
        self.more_names = []
        self.answered = []
        self._held = {}
        self._stopped = threading.Event()
        self._thread = None
        if rights:
            self.give_rights()

    # -- the toolstack's part -------------------------------------------------

    def give_rights(self):
        """What libxl does not do: where the guest may write, and what it is told."""
        store, domid = self.world.store, self.domain.domid
        for path in (self.control, self.vss):
            store.write(path, "")
            store.set_permissions(path, "n0", f"b{domid}")
        store.write(f"{self.domain.path}/vss", self.vss)
        self.announce("1")

    def announce(self, value, key="feature-snapshot"):
        path = f"{self.domain.path}/control/{key}"
        self.world.store.write(path, value)
        self.world.store.set_permissions(path, "n0", f"b{self.domain.domid}")

    # -- the test's part ------------------------------------------------------

    def start(self):
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def close(self):
        self._stopped.set()
        for event in self._held.values():
            event.set()
        if self._thread:
            self._thread.join()

    def hold(self, stage):
        self._held[stage] = threading.Event()

    def release(self, stage):
        self._held[stage].set()

    def wait_log(self, word, times=1):
        self.world.eventually(lambda: self.log.count(word) >= times, 20,
                              f"the tools get as far as {word}")

    def wait_thawed(self, timeout=20):
        self.world.eventually(lambda: not self.frozen, timeout, "a thaw")

    # -- the thread -----------------------------------------------------------

    def _run(self):
        own = self.domain.xenstore()
        while not self._stopped.is_set():
            if own.read(f"{self.control}/action") == "create-snapshot" and \
                    self._passes("take"):
                with contextlib.suppress(Denied):
                    own.rm(f"{self.control}/action")
                    self.log.append("take")
                    self._snapshot(own)
            time.sleep(POLL)

    def _passes(self, stage):
        return stage not in self._held or self._held[stage].is_set()

    def _wait_passes(self, stage):
        if stage in self._held:
            self.log.append(f"held {stage}")
            self._held[stage].wait()

    def _snapshot(self, own):
        self.failure = None
        try:
            self._wait_passes("freeze")
            if self.refusal:
                raise Refused(self.refusal)
            self._commit(own)
            self._describe(own)
        except Refused as refused:
            self.failure = str(refused)
            self.log.append(f"failed: {refused}")
            own.write(f"{self.control}/error", "VSS_ERROR")
            own.write(f"{self.control}/error/message", str(refused))
            own.write(f"{self.control}/error/code", "2147754772")
        self._wait_passes("end")
        own.write(f"{self.control}/status",
                  "snapshot-error" if self.failure else "snapshot-created")
        self.log.append("end")

    def _commit(self, own):
        own.write(f"{self.vss}/status", "provider-initialized")
        for disk in [*self.disks, *self.more_names]:
            own.write(f"{self.vss}/snapshot/{disk}", "")
        self.frozen = True
        since = time.monotonic()
        self.log.append("freeze")
        try:
            if self.babble is not None:
                own.write(f"{self.vss}/status", self.babble)
                self.log.append("babble")
                self._stopped.wait()
            self._set_and_wait(own, "create-snapshots", "snapshots-created")
            self.snapshots = [own.read(f"{self.vss}/snapshot/{disk}/id")
                              for disk in self.disks]
            self.answered = [name for name in self.more_names if own.read(
                f"{self.vss}/snapshot/{name}/id") is not None]
        finally:
            self.frozen = False
            self.log.append("thaw")
        if None in self.snapshots:
            raise Refused("a snapshot without a name")
        if time.monotonic() - since > self.holds_writes:
            self._abort(own)
            raise Refused("VSS_E_HOLD_WRITES_TIMEOUT")

    def _describe(self, own):
        """After the snapshot: what the disks in it are called."""
        own.rm(f"{self.vss}/snapshot")
        for name in self.snapshots:
            own.write(f"{self.vss}/snapshot/{name}", "")
        self._set_and_wait(own, "create-snapshotinfo", "snapshotinfo-created")
        self.pages = [base64.b64decode(own.read(
            f"{self.vss}/snapshot/{name}/scsi/0x12/{page}"), validate=True)
                      for name in self.snapshots for page in ("0x80", "0x83")]
        own.rm(f"{self.vss}/snapshot")
        if not own.read(f"{self.vss}/snapinfo"):
            raise Refused("no snapinfo")
        own.write(f"{self.control}/snapuuid", own.read(f"{self.vss}/snapuuid"))
        own.write(f"{self.control}/type", "vm")
        own.write(f"{self.control}/snapid/0", "00ff" * 100)

    def _abort(self, own):
        for wish, answer in (("deport-snapshots", "snapshots-deported"),
                             ("destroy-snapshots", "snapshots-destroyed")):
            self._set_and_wait(own, wish, answer)
            self.log.append(answer)

    def _set_and_wait(self, own, wish, answer):
        status = f"{self.vss}/status"
        own.write(status, wish)
        while (value := own.read(status)) == wish:
            if self._stopped.is_set():
                raise Refused("the test is over")
            time.sleep(POLL)
        if value is not None:
            with contextlib.suppress(Denied):
                own.rm(status)
        if value != answer:
            raise Refused(f"the toolstack says {value}")
