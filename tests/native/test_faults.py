# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each operation once for every point at which the agent changes something,
failing there or killed there, and what recovers from that killed once more or
failing: whatever happens, the invariants hold."""

import glob
import os
import re
import traceback

import pytest

from native.agent import FINAL, Agent
from native.expect import TIME, assert_works, files_below, image_is_sound, \
    named_images
from native.faults import FAIL, KILL_AFTER, KILL_BEFORE, Faults, kinds_at
from native.recipes import RECIPES
from native.world import World

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LOCK = re.compile(r"userdata-l\.|.*-lock$|lock$")


def notes(agent):
    folder = f"{agent.settings['store']['folder']}/journal"
    return [name for name in os.listdir(folder) if name.startswith("op-")]


def wait_settled(world, agent):
    """No note of an operation is left, nor does one begin by itself."""
    world.eventually(lambda: not notes(agent), 30, "no note of an operation")


# ---- the invariants ----

def assert_one_final_state(request, reply):
    """I5: one, complete, and it stays."""
    assert reply["state"] in FINAL, reply
    assert TIME.fullmatch(reply["finished-at"]), reply
    assert ("error/code" in reply) == (reply["state"] != "done"), reply
    assert request.output() == reply


def assert_domain_runs(recipe):
    """I1: the same, and nothing keeps it from running."""
    state = recipe.world.xen.get(recipe.domain.domid)
    assert state["uuid"].replace("-", "") == recipe.domain.uuid.replace("-", "")
    assert state["paused"] == "0" and state["shutdown"] == "-1", state
    assert recipe.domain.qmp("query-jobs") == []


def looked_after(recipe):
    """The domid of the domain that is restarted by the agent if it reboots: the xl
    that did so has ended with its first suspend."""
    folder = f"{recipe.agent.settings['store']['run-folder']}/supervised"
    try:
        with open(f"{folder}/{recipe.domain.uuid}", encoding="ascii") as note:
            return int(note.readline())
    except FileNotFoundError:
        return None


def assert_data(recipe):
    for (vdev, offset), data in recipe.data.items():
        assert recipe.domain.read(vdev, offset, len(data)) == data, \
            (vdev, hex(offset))


def assert_places_agree(recipe):
    """I3: QEMU, the stored configuration and xenstore name one image. What a
    driver domain can write to as well may be as it was, if the log says so: the
    domain's next start makes it anew."""
    domain = recipe.domain
    told = "the guest's next start does not need it" in recipe.agent.log_text()
    for vdev, disk in domain.disks.items():
        path, image_format = domain.chain(vdev)[0]
        may_be_named = {f"{'aio' if image_format == 'raw' else image_format}:{path}"}
        if told and disk.driver:
            may_be_named.add(recipe.world.store.read(f"{domain.backend_path(vdev)}/params"))
        assert named_images(domain, vdev) <= may_be_named


def assert_files_are_explained(recipe, reply):
    """I2, I6: by a record, the chain that is in use, or the toolstack; or the
    answer says that it could not be removed."""
    tree = recipe.world.store.tree(
        f"/tool/xensnapd/snapshots/{recipe.domain.uuid}")
    explained = {value for value in tree.values() if value.startswith("/")}
    explained |= recipe.foreign
    if recipe.runs:
        for vdev in recipe.domain.disks:
            explained |= {path for path, _ in recipe.domain.chain(vdev)}
    store = recipe.agent.settings["store"]
    found = files_below(recipe.world.images, store["memory-folder"],
                        store["disk-folder"])
    told = reply.get("error/message", "") + reply.get("result/warning", "")
    explained |= {path for path in found if f"cannot remove {path}:" in told}
    explained |= {os.path.dirname(path) for path in explained}
    assert found <= explained, found - explained


def assert_folders_are_tidy(recipe, reply):
    """Records are those published; nothing half written lies about. That an overlay
    could not be removed is noted, for the next start to tell of it."""
    names = {os.path.basename(name)[:-len(".yaml")]
             for name in recipe.agent.records() if name.endswith(".yaml")}
    assert names == recipe.published()
    others = [name for name in recipe.agent.records()
              if not name.endswith((".yaml", "/current"))]
    if "cannot remove" in reply.get("error/message", ""):
        others = [name for name in others if not name.startswith("left/")]
    assert others == []
    for folder in ("/var/lib/xen", recipe.agent.settings["store"]["run-folder"]):
        left = {path for path in files_below(folder)
                if not path.endswith((".libxl-json", "/held", "/supervised",
                                      f"/supervised/{recipe.domain.uuid}"))
                and not _LOCK.match(os.path.basename(path))
                and not ("/held/" in path and is_over(path))}
        assert left == set(), left


def assert_images_are_sound(recipe):
    for path in files_below(recipe.world.images):
        if path.endswith(".qcow2"):
            image_is_sound(path, recipe.may_leak)


def assert_goes_on(recipe):
    """The domain can be snapshotted, and that be taken back."""
    chain = recipe.domain.chain("xvda")
    recipe.create("more", disks="xvda")
    assert recipe.domain.chain("xvda")[1:] == chain
    recipe.write("xvda", 9)
    recipe.ask("delete", name="more")
    # Which of two images goes is the agent's choice.
    now = recipe.domain.chain("xvda")
    assert len(now) == len(chain) and now[1:] == chain[1:]
    for vdev in recipe.domain.disks:
        assert_works(recipe.domain, vdev)


def assert_invariants(recipe, request, reply):
    if recipe.runs:
        assert_domain_runs(recipe)
        assert_data(recipe)
        assert_places_agree(recipe)
    assert_one_final_state(request, reply)
    assert_files_are_explained(recipe, reply)
    assert_folders_are_tidy(recipe, reply)
    assert_images_are_sound(recipe)
    recipe.check(reply)
    if recipe.runs:
        assert_goes_on(recipe)
        assert_data(recipe)
        wait_settled(recipe.world, recipe.agent)
        assert_files_are_explained(recipe, reply)
        assert_folders_are_tidy(recipe, reply)


# ---- a run ----

class Run:
    """One world, one operation, at most one fault, and after a kill at most one
    more while the next agent recovers, behind which comes a third agent."""

    def __init__(self, folder, recipe):
        os.makedirs(folder)
        self.folder = folder
        self.world = World(folder, os.environ["NATIVE_SHIMS"])
        self.agent = Agent(self.world, f"{os.environ['NATIVE_BUILD']}/xensnapd")
        self.recipe_class = RECIPES[recipe]
        self.names = []
        self.recovery = []

    def go(self, kind=None, number=0, again=(None, 0)):
        """`names` are the operation's points then, `recovery` those of the
        agent after it, if the first one was killed."""
        self.agent.faults = Faults(self.folder)
        try:
            self.world.start()
            self.agent.start()
            recipe = self.recipe_class(self.world, self.agent)
            recipe.prepare()
            wait_settled(self.world, self.agent)
            was_looked_after = looked_after(recipe) is not None
            request = self._operate(recipe, kind, number)
            if self.agent.process.poll() is not None:
                self._recover(request, *again)
            self.world.eventually(lambda: request.state() in FINAL, 30,
                                  "the request's end")
            reply = request.output()
            wait_settled(self.world, self.agent)
            recipe.settle(reply)
            if recipe.runs:
                self.world.eventually(lambda: self._is_free(recipe), 30,
                                      "the domain let go")
            wait_settled(self.world, self.agent)
            if recipe.runs and was_looked_after and \
                    "the new domain is not looked after" not in self.agent.log_text():
                assert looked_after(recipe) == recipe.domain.domid
            assert_invariants(recipe, request, reply)
            self.agent.check_end()
        finally:
            self.world.stop()
            self.agent.faults.close()

    def _operate(self, recipe, kind, number):
        faults, process = self.agent.faults, self.agent.process
        faults.arm(kind, number)
        request = recipe.submit()
        if kind in (KILL_BEFORE, KILL_AFTER):
            self.world.eventually(
                lambda: process.poll() is not None or self._is_over(request),
                30, "the agent's end, or that of the request")
        else:
            self.world.eventually(lambda: request.state() in FINAL, 30,
                                  "the request's end")
        if process.poll() is None:
            wait_settled(self.world, self.agent)
        faults.disarm()
        self.names = faults.names()
        if faults.reached() and kind in (KILL_BEFORE, KILL_AFTER):
            process.wait(10)
        return request

    def _recover(self, request, kind, number):
        """From its first instruction on, what the next agent does counts."""
        faults = self.agent.faults
        faults.arm(kind, number)
        process = self.agent.start(ready=False).process
        self.world.eventually(
            lambda: process.poll() is not None or
            self.agent.is_ready() and self._is_over(request),
            30, "the second agent's end, or that of the request")
        faults.disarm()
        self.recovery = [_UUID.sub("UUID", name.replace(self.folder, "FOLDER"))
                         for name in faults.names()]
        if faults.reached():
            self._follow(request, kind)
        self.agent.wait_ready()

    def _follow(self, request, kind):
        """The next agent. What an end that came before says must stay."""
        process = self.agent.process
        told = request.output() if request.state() in FINAL else None
        if kind == FAIL:
            status = self.agent.stop()
            assert status == 0 or not told, f"exit status {status}"
        process.wait(10)
        self.agent.start()
        if told:
            wait_settled(self.world, self.agent)
            assert request.output() == told

    def _is_over(self, request):
        return request.state() in FINAL and not notes(self.agent)

    def _is_free(self, recipe):
        """That a hold has ended by itself is remembered until somebody asks."""
        held = f"{self.agent.settings['store']['run-folder']}/held"
        notes = glob.glob(f"{held}/*.json")
        return self.world.xen.get(recipe.domain.domid)["paused"] == "0" and \
            all(is_over(note) for note in notes)


def is_over(hold):
    """It may end just now."""
    try:
        with open(hold, encoding="utf-8") as file:
            return '"state":3,' in file.read()
    except FileNotFoundError:
        return True


def tail(path, lines=25):
    with open(path, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-lines:])


class Runs:
    """Those of one recipe, and which of them failed."""

    def __init__(self, folder, recipe, only):
        self.folder, self.recipe, self.only = str(folder), recipe, only
        self.count = 0
        self.failures = []

    def go(self, name, kind, number, again=(None, 0)):
        """Gives the points of the recovery, if there was one."""
        where = f"{kind} {number}" + (" {} {}".format(*again) if again[0] else "")
        if self.only and not self._is_wanted(where):
            return []
        self.count += 1
        run = Run(f"{self.folder}/{where.replace(' ', '-')}", self.recipe)
        try:
            run.go(kind, number, again)
        except Exception as error:  # pylint: disable=broad-except
            trace = "".join(traceback.format_exception(error)[-3:])
            self.failures.append(f"{where} ({name})")
            print(f"{self.failures[-1]}:\n{trace}\n{tail(run.agent.log)}",
                  flush=True)
        return run.recovery

    def _is_wanted(self, where):
        """The one, what comes before it, or all that begin with two faults."""
        return f"{self.only} ".startswith(f"{where} ") or \
            len(self.only.split()) == 3 and where.startswith(f"{self.only} ")


def points(names):
    """What can happen at them. By kind first: every n-th has its share of
    each."""
    return sorted(((number, kind) for number in range(1, len(names) + 1)
                   for kind in kinds_at(names, number)),
                  key=lambda point: (point[1], point[0]))


@pytest.mark.timeout(36000)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_point(tmp_path, recipe, request, save):
    del save
    part, of = map(int, request.config.getoption("--faults").split("/"))
    every = {fails: request.config.getoption("--second-fail" if fails else "--second-kill")
             for fails in (False, True)}
    only = request.config.getoption("--fault-point")
    counted = Run(f"{tmp_path}/count", recipe)
    counted.go()
    runs = Runs(tmp_path, recipe, only)
    recoveries = {}
    for index, (number, kind) in enumerate(points(counted.names)):
        name = counted.names[number - 1]
        if index % of == part or name.startswith(RECIPES[recipe].always):
            recovery = runs.go(name, kind, number)
            # What goes the same way has found the same.
            recoveries.setdefault(tuple(recovery), (kind, number))
    index = {fails: nth // 2 for fails, nth in every.items()}
    for names, first in recoveries.items():
        for number, kind in points(names):
            fails = kind == FAIL
            if every[fails] and (index[fails] % every[fails] == 0 or only is not None):
                runs.go(names[number - 1], *first, (kind, number))
            index[fails] += 1
    print(f"{recipe}: {len(counted.names)} points, {len(recoveries)} ways to "
          f"recover, {runs.count} runs")
    print("\n".join(counted.names))
    assert not runs.failures, f"{len(runs.failures)} of {runs.count}:\n" + \
        "\n".join(runs.failures)
