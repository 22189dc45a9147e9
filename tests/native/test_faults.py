# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each operation once for every point at which the agent changes something,
failing there or killed there: whatever happens, the invariants hold."""

import os
import re
import traceback

import pytest

from native.agent import FINAL, Agent
from native.expect import TIME, assert_works, files_below, image_is_sound, \
    named_images
from native.faults import KILL_AFTER, KILL_BEFORE, Faults, kinds_at
from native.recipes import RECIPES
from native.world import World

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


def assert_data(recipe):
    for (vdev, offset), data in recipe.data.items():
        assert recipe.domain.read(vdev, offset, len(data)) == data, \
            (vdev, hex(offset))


def assert_places_agree(domain):
    """I3: QEMU, the stored configuration and xenstore name one image."""
    for vdev in domain.disks:
        path, image_format = domain.chain(vdev)[0]
        name = "aio" if image_format == "raw" else image_format
        assert named_images(domain, vdev) == {f"{name}:{path}"}


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
    told = reply.get("error/message", "")
    explained |= {path for path in found if f"cannot remove {path}:" in told}
    assert found <= explained, found - explained


def assert_folders_are_tidy(recipe):
    """Records are those published; nothing half written lies about."""
    names = {os.path.basename(name)[:-len(".yaml")]
             for name in recipe.agent.records() if name.endswith(".yaml")}
    assert names == recipe.published()
    others = [name for name in recipe.agent.records()
              if not name.endswith((".yaml", "/current"))]
    assert others == []
    for folder in ("/var/lib/xen", recipe.agent.settings["store"]["run-folder"]):
        left = {path for path in files_below(folder)
                if not path.endswith((".libxl-json", "/held", "/supervised"))
                and not _LOCK.match(os.path.basename(path))}
        assert left == set(), left


def assert_images_are_sound(recipe):
    for path in files_below(recipe.world.images):
        if path.endswith(".qcow2"):
            image_is_sound(path)


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
        assert_places_agree(recipe.domain)
    assert_one_final_state(request, reply)
    assert_files_are_explained(recipe, reply)
    assert_folders_are_tidy(recipe)
    assert_images_are_sound(recipe)
    recipe.check(reply)
    if recipe.runs:
        assert_goes_on(recipe)
        assert_data(recipe)
        wait_settled(recipe.world, recipe.agent)
        assert_files_are_explained(recipe, reply)
        assert_folders_are_tidy(recipe)


# ---- a run ----

class Run:
    """One world, one operation, at most one fault."""

    def __init__(self, folder, recipe):
        os.makedirs(folder)
        self.folder = folder
        self.world = World(folder, os.environ["NATIVE_SHIMS"])
        self.agent = Agent(self.world, f"{os.environ['NATIVE_BUILD']}/xensnapd")
        self.recipe_class = RECIPES[recipe]
        self.names = []

    def go(self, kind=None, number=0):
        """Gives whether the fault was reached."""
        self.agent.faults = Faults(self.folder)
        try:
            self.world.start()
            self.agent.start()
            recipe = self.recipe_class(self.world, self.agent)
            recipe.prepare()
            wait_settled(self.world, self.agent)
            request, reached = self._operate(recipe, kind, number)
            reply = request.wait()
            wait_settled(self.world, self.agent)
            recipe.settle(reply)
            if recipe.runs:
                self.world.eventually(lambda: self._is_free(recipe), 30,
                                      "the domain let go")
            wait_settled(self.world, self.agent)
            assert_invariants(recipe, request, reply)
            self.agent.check_end()
            return reached
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
            request.wait()
        if process.poll() is None:
            wait_settled(self.world, self.agent)
        faults.disarm()
        self.names = faults.names()
        reached = faults.reached()
        if process.poll() is not None or \
                reached and kind in (KILL_BEFORE, KILL_AFTER):
            process.wait(10)
            self.agent.start()
        return request, reached

    def _is_over(self, request):
        return request.state() in FINAL and not notes(self.agent)

    def _is_free(self, recipe):
        held = f"{self.agent.settings['store']['run-folder']}/held"
        return self.world.xen.get(recipe.domain.domid)["paused"] == "0" and \
            not (os.path.isdir(held) and os.listdir(held))


def tail(path, lines=25):
    with open(path, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-lines:])


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_point(tmp_path, recipe, request):
    part, of = map(int, request.config.getoption("--faults").split("/"))
    only = request.config.getoption("--fault-point")
    counted = Run(f"{tmp_path}/count", recipe)
    counted.go()
    # By kind first: every OF-th has its share of each.
    runs = sorted(((number, kind) for number in range(1, len(counted.names) + 1)
                   for kind in kinds_at(counted.names, number)),
                  key=lambda run: (run[1], run[0]))
    failures = []
    for index, (number, kind) in enumerate(runs):
        if index % of != part or only not in (None, f"{kind} {number}"):
            continue
        run = Run(f"{tmp_path}/{number}-{kind}", recipe)
        try:
            run.go(kind, number)
        except Exception as error:  # pylint: disable=broad-except
            name = counted.names[number - 1]
            trace = "".join(traceback.format_exception(error)[-3:])
            failures.append(f"{kind} {number} ({name}):\n{trace}\n"
                            f"{tail(run.agent.log)}")
    print(f"{recipe}: {len(counted.names)} points, {len(runs)} runs")
    print("\n".join(counted.names))
    assert not failures, f"{len(failures)} of {len(runs)}:\n" + \
        "\n".join(failures)
