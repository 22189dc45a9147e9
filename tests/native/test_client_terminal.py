# SPDX-License-Identifier: LGPL-2.1-or-later
"""xensnap at a terminal, its agent played by the test: every step of a request
can be held for as long as it takes to look."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

import pytest

from native.agent import ROOT

DONE, FAILED, USAGE, NO_AGENT, CANCELLED = range(5)
REQUESTS = f"{ROOT}/requests"


class Terminal:
    """A program at a terminal."""

    def __init__(self, spawn, arguments, columns=100, **variables):
        self.fd, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ,
                    struct.pack("HHHH", 25, columns, 0, 0))
        # Its controlling terminal, so that a typed Ctrl-C is a signal.
        self.process = spawn(
            *arguments, stdin=other, stderr=other, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm", **variables})
        os.close(other)
        self.text = ""

    def read_until(self, pattern, timeout=20):
        """Gives the match, and forgets what came up to its end."""
        deadline = time.monotonic() + timeout
        while not (match := re.search(pattern, self.text)):
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], \
                f"no {pattern!r} in {self.text!r}"
            self.text += os.read(self.fd, 4096).decode()
        self.text = self.text[match.end():]
        return match

    def type(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        os.close(self.fd)


class PlayedAgent:
    """The agent's side of the store."""

    def __init__(self, world):
        self.store = world.store
        self.path = None
        self.store.write_all({f"{ROOT}/status/state": "ready",
                              f"{ROOT}/status/pid": os.getpid(),
                              f"{ROOT}/status/domid": 0})

    def wait_request(self):
        self.store.wait_for(REQUESTS, lambda: self.store.ls(REQUESTS))
        self.path = f"{REQUESTS}/{self.store.ls(REQUESTS)[0]}"

    def tell(self, **values):
        self.store.write_all({
            f"{self.path}/{key.replace('__', '/').replace('_', '-')}": value
            for key, value in values.items()})


@pytest.fixture(name="played")
def fixture_played(world):
    return PlayedAgent(world)


@pytest.fixture(name="start")
def fixture_start(spawn, played):
    terminals = []

    def start(*arguments, **options):
        terminal = Terminal(spawn, arguments or ("create", "web"), **options)
        terminals.append(terminal)
        played.wait_request()
        return terminal

    yield start
    for terminal in terminals:
        terminal.close()


def test_a_bar_with_bytes_rate_and_time_left(start, played):
    terminal = start()
    played.tell(state="running", step="saving memory", progress=10,
                bytes_done=0, bytes_total=1 << 30)
    bar = terminal.read_until(r"\[(=*>? *)\] +(\d+) %  (.*)$")
    assert bar[1] == "=" * 2 + ">" + " " * 17 and bar[2] == "10"
    assert bar[3] == "saving memory: 0 B of 1.0 GiB"
    # The rate is one over real time: it needs some.
    time.sleep(0.6)
    played.tell(progress=50, bytes_done=512 << 20)
    bar = terminal.read_until(r"\[(=*>? *)\] +50 %  saving memory: 512 MiB of "
                              r"1\.0 GiB, (\d+) MiB/s, (\d.*) left")
    assert bar[1] == "=" * 10 + ">" + " " * 9
    assert 0 < int(bar[2]) <= 512 / 0.6
    assert bar[3].endswith(" s")
    played.tell(step="switching the disks", progress=90, bytes_done=0,
                bytes_total=0)
    assert "of" not in terminal.read_until(
        r" 90 %  switching the disks(.*)$")[1]
    played.tell(state="done", result__name="s1")
    terminal.read_until(r"\[={20}\] 100 %  done +\r")
    assert terminal.process.wait(20) == DONE


def test_more_bytes_than_expected_promise_no_end(start, played):
    terminal = start()
    played.tell(state="running", step="saving memory", progress=10,
                bytes_done=1 << 20, bytes_total=64 << 20)
    terminal.read_until("1.0 MiB of 64 MiB")
    time.sleep(0.6)
    played.tell(bytes_done=70 << 20)
    assert "left" not in terminal.read_until(
        r"saving memory: 70 MiB, \d+ MiB/s(.*)$")[1]
    played.tell(state="done")
    assert terminal.process.wait(20) == DONE


def test_a_narrow_terminal_gets_one_line(start, played):
    terminal = start(columns=40)
    played.tell(state="running", step="a step of very many words " * 3)
    terminal.read_until(r"a step of")
    played.tell(step="short", progress=50)
    # What was longer is blanked out; nothing went beyond column 39.
    assert terminal.read_until(r"^(.*?)\r\[.*50 %  short( +)\r")[1] == ""
    played.tell(state="done")
    assert terminal.process.wait(20) == DONE


def test_a_very_narrow_terminal_gets_the_percent(start, played):
    terminal = start(columns=20)
    played.tell(state="running", step="switching the disks", progress=70)
    terminal.read_until(r"\r 70 %  switching th")
    played.tell(state="done")
    terminal.read_until(r"^\r100 %  done")
    assert terminal.process.wait(20) == DONE


def test_a_terminal_of_one_column_gets_nothing(start, played):
    terminal = start(columns=1)
    played.tell(state="running", step="one", progress=70)
    terminal.read_until(r"\r")
    played.tell(state="failed", error__code="busy", error__message="So.")
    terminal.read_until(r"^\r*xensnap: busy")
    assert terminal.process.wait(20) == FAILED


@pytest.mark.parametrize("name", ["dumb", ""])
def test_a_dumb_terminal_gets_lines(start, played, name):
    terminal = start(TERM=name)
    played.tell(state="running", step="one", progress=10)
    terminal.read_until(r"running  10 %  one\r\n")
    played.tell(step="two", progress=20)
    terminal.read_until(r"running  20 %  two\r\n")
    played.tell(state="done")
    assert terminal.process.wait(20) == DONE


def test_a_pipe_gets_a_line_for_each_step_and_tenth(spawn, played):
    process = spawn("create", "web")
    played.wait_request()
    played.tell(state="queued")
    assert process.stderr.readline() == "queued\n"
    for step, percent in (("one", 1), ("two", 10), ("two", 11), ("two", 19),
                          ("two", 20)):
        played.tell(state="running", step=step, progress=percent)
        # The lines in between would be read here, if there were any.
        if percent in (1, 10, 20):
            assert process.stderr.readline() == \
                f"running {percent:3} %  {step}\n"
    played.tell(state="done")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == DONE and errors == ""


def test_the_question_stands_alone_and_a_second_interrupt_cancels(
        start, played):
    terminal = start()
    played.tell(state="running", step="one", progress=10)
    terminal.read_until("one")
    terminal.type("\x03")
    terminal.read_until(r"\r\nCancel request \S+\? \[y/N\] ")
    # Progress does not write over the question.
    played.tell(step="two", progress=20)
    terminal.type("\x03")
    played.store.wait(f"{played.path}/cancel", "1")
    # Nor does the bar go on in its line.
    terminal.read_until(r"\n\r\[[=>]* *\] +20 %  two")
    played.tell(state="cancelled", error__code="cancelled",
                error__message="as you asked")
    terminal.read_until("xensnap: cancelled: as you asked\r\n")
    assert terminal.process.wait(20) == CANCELLED


def test_after_a_no_the_bar_goes_on(start, played):
    terminal = start()
    played.tell(state="running", step="one", progress=10)
    terminal.read_until("one")
    terminal.type("\x03")
    terminal.read_until(r"\[y/N\] ")
    terminal.type("n\n")
    terminal.read_until(r"\]  10 %  one|\] +10 %  one")
    played.tell(step="two", progress=20)
    terminal.read_until("20 %  two")
    assert played.store.read(f"{played.path}/cancel") is None
    played.tell(state="done")
    assert terminal.process.wait(20) == DONE


def test_after_a_cancel_an_interrupt_ends_the_program_alone(start, played):
    terminal = start()
    played.tell(state="running", step="one", progress=10)
    terminal.read_until("one")
    terminal.type("\x03")
    terminal.read_until(r"\[y/N\] ")
    terminal.type("y\n")
    played.store.wait(f"{played.path}/cancel", "1")
    terminal.type("\x03")
    assert terminal.process.wait(20) == -signal.SIGINT
    assert played.store.read(f"{played.path}/operation") == "create"


@pytest.mark.parametrize("code, way", [
    ("busy", "Try again later."), ("snapshot-in-use", "xensnap tree"),
    ("not-known-yet", None)])
def test_an_error_has_code_message_and_next_step(start, played, code, way):
    terminal = start("create", "web", "--quiet")
    played.tell(state="failed", error__code=code, error__message="It is so.")
    terminal.read_until(rf"xensnap: {code}: It is so\.\r\n")
    if way:
        terminal.read_until(re.escape(way))
    assert terminal.process.wait(20) == FAILED


def test_what_stopped_a_hold_is_told_with_what_to_do(spawn, played):
    process = spawn("rescan", "web", "--prepare", "--hold", "60", "--quiet")
    played.wait_request()
    assert played.store.read(f"{played.path}/phase") == "prepare"
    assert played.store.read(f"{played.path}/hold") == "60"
    process.kill()
    process = spawn("rescan", "web", "--prepare")
    played.store.rm(played.path)
    played.wait_request()
    played.tell(state="done", **{"result__hold_until":
                                 "2026-03-01T09:30:00.125Z"})
    output, _ = process.communicate(timeout=20)
    assert process.returncode == DONE
    assert re.search(r"^held until +2026-\S+ \S+ \(2026-03-01T09:30:00.125Z\)$",
                     output, re.M)
    assert "xensnap rescan web --complete\n" in output
    assert "xensnap rescan web --abort\n" in output
