# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory files that no snapshot has are told of, and never removed."""

import os


def put(folder, *names):
    path = os.path.join(folder, *names)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(3 << 20)
    return path


def test_a_memory_file_that_no_snapshot_has_is_told_of_and_stays(agent_stopped):
    folder = agent_stopped.settings["store"]["memory-folder"]
    lost = put(folder, "0d5e0d5e-0000-4000-8000-000000000001", "s1.save.partial")
    aside = put(folder, "not-ours")
    os.symlink("/etc", os.path.join(folder, "link"))
    empty = os.path.join(folder, "0d5e0d5e-0000-4000-8000-000000000002")
    os.makedirs(empty)
    os.makedirs(os.path.join(folder, "lost+found"))
    agent_stopped.start()
    lines = [line for line in agent_stopped.log_text().splitlines()
             if "no snapshot has" in line]
    assert len(lines) == 1 and f"{lost} (3 MiB)" in lines[0]
    assert os.path.exists(lost) and os.path.exists(aside)
    # A killed agent's, who had not come to put a file there.
    assert not os.path.exists(empty)
    assert os.path.exists(os.path.join(folder, "lost+found"))


def test_what_a_record_has_is_no_leftover(world, agent):
    domain = world.add_domain("alice")
    assert agent.request("create", domain="alice", name="s1", memory=0)["state"] == "done"
    agent.stop()
    settings = agent.settings["store"]
    path = put(settings["memory-folder"], domain.uuid, "s1.save")
    with open(f"{settings['folder']}/snapshots/{domain.uuid}/s1.yaml", "r+",
              encoding="utf-8") as file:
        # Without its checksum: what is changed by hand has none.
        text = file.read().split("\n# crc32")[0]
        assert "memory: false\n" in text
        file.seek(0)
        file.truncate()
        file.write(text.replace("memory: false\n", f"memory: true\nmemory-path: {path}\n"))
    agent.start()
    assert world.store.read(f"/tool/xensnapd/snapshots/{domain.uuid}/s1/memory") == "1"
    assert "no snapshot has" not in agent.log_text()
