"""Ctrl-C, forks and interpreter exit, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from videoapi.sandbox import Sandbox

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
LIMIT = 40
"""Seconds after which a process hangs."""


class Program:
    """Runs programs that use the sandbox; `client` is an open client there, and `interrupt_when` sends SIGINT."""

    PRELUDE = """
        import os, signal, sys, threading, time
        from videoapi import ConfigurationError, RoomSpec, SessionManager as AsyncManager, VideoAPIError
        from videoapi.blocking import SessionManager, VideoClient

        def interrupt_when(condition):
            def watch():
                while not condition():
                    time.sleep(0.01)
                time.sleep(0.1)
                os.kill(os.getpid(), signal.SIGINT)
            threading.Thread(target=watch, daemon=True, name="watch").start()

        def threads():
            return [thread.name for thread in threading.enumerate() if thread.name not in ("MainThread", "watch")]

        signal.signal(signal.SIGINT, signal.default_int_handler)
    """

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "VIDEOAPI_APP_ID": sandbox.app_id,
            "VIDEOAPI_APP_KEY": sandbox.app_key,
            "VIDEOAPI_BASE_URL": sandbox.base_url,
        }

    def run(self, source: str, *flags: str) -> subprocess.CompletedProcess[str]:
        file = self._folder / "program.py"
        file.write_text(textwrap.dedent(self.PRELUDE) + textwrap.dedent(source), encoding="utf-8")
        return subprocess.run(
            [sys.executable, *flags, str(file)],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def output(self, source: str, *flags: str) -> list[str]:
        done = self.run(source, *flags)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path) -> Program:
    return Program(sandbox, tmp_path)


def test_ctrl_c_cancels_a_create_and_says_what_may_have_happened(program: Program, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "hang", times=None)
    reference, state, left = program.output("""
        sent = []
        async def watch(request, send):
            sent.append(request.reference)
            return await send(request)
        interrupt_when(lambda: sent)
        try:
            with VideoClient(middleware=watch) as client:
                client.rooms.create(name="Stand-up")
        except KeyboardInterrupt as error:
            (note,) = error.__notes__
            print(sent[0] in note)
            print("May have been executed" in note, error.may_have_executed)
        print(threads())
    """)
    assert (reference, state, left) == ("True", "True True", "[]")


def test_ctrl_c_ends_the_process(program: Program, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.get", "hang", times=None)
    done = program.run("""
        interrupt_when(lambda: threads())
        with VideoClient() as client:
            client.rooms.get("0123456789abcdef01234567")
    """)
    assert done.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr


def test_client_is_usable_after_ctrl_c(program: Program, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.get", "hang", times=1)
    (rooms,) = program.output("""
        interrupt_when(lambda: threads())
        with VideoClient() as client:
            try:
                client.rooms.get("0123456789abcdef01234567")
            except KeyboardInterrupt:
                client.rooms.create(name="Stand-up")
                print(len(client.rooms.list().to_list()))
    """)
    assert rooms == "1"


@pytest.mark.parametrize("place", ["request", "inputs", "progress"])
def test_ctrl_c_in_a_bulk_run_keeps_the_report(program: Program, sandbox: Sandbox, place: str) -> None:
    if place == "request":
        sandbox.fault("rooms.create", "hang", times=1)
    closed, agreed, left = program.output(f"""
        read, closed, place = [], [], {place!r}

        def specs():
            try:
                for number in range(1000):
                    read.append(number)
                    if place == "inputs" and number == 7:
                        time.sleep(30)
                    yield RoomSpec(f"Room {{number}}")
                    if place == "request" and number == 7:
                        return
            finally:
                closed.append(threading.current_thread().name)

        def progress(report):
            if place == "progress" and report.total == 7:
                time.sleep(30)

        interrupt_when(lambda: len(read) > 6 if place == "progress" else len(read) == 8)
        try:
            with VideoClient() as client:
                client.rooms.create_many(specs(), concurrency=4, progress=progress, audit=False)
        except KeyboardInterrupt as error:
            report = error.report
        print(closed)
        # An input whose read was interrupted is not one.
        print(report.total in (len(read), len(read) - 1), report.counts["created"] > 0)
        print(threads())
    """)
    assert (closed, agreed, left) == ("['MainThread']", "True True", "[]")


def test_ctrl_c_in_a_stream_leaves_a_cursor(program: Program, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.list", "hang", times=1)
    done, left = program.output("""
        with VideoClient() as client:
            client.rooms.create(name="Stand-up")
            stream = client.rooms.list()
            interrupt_when(lambda: True)
            try:
                for room in stream:
                    pass
            except KeyboardInterrupt:
                print(stream.cursor is not None, len(client.rooms.list().to_list()))
        print(threads())
    """)
    assert (done, left) == ("True 1", "[]")


def test_signal_handler_that_raises_cancels_the_call(program: Program, sandbox: Sandbox) -> None:
    """As the soft time limit of Celery does."""
    sandbox.fault("rooms.get", "hang", times=None)
    what, left = program.output("""
        class SoftTimeLimit(Exception):
            pass

        def handler(number, frame):
            raise SoftTimeLimit

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        try:
            with VideoClient() as client:
                client.rooms.get("0123456789abcdef01234567")
        except SoftTimeLimit:
            print("limit")
        print(threads())
    """)
    assert (what, left) == ("limit", "[]")


@pytest.mark.parametrize("used", ["created", "used", "shared"])
def test_client_from_before_a_fork_says_so_at_once(program: Program, sandbox: Sandbox, used: str) -> None:
    lines = program.output(f"""
        session = SessionManager() if {used!r} == "shared" else None
        client = VideoClient(session=session)
        stream = client.rooms.list()
        if {used!r} != "created":
            client.rooms.create(name="Parent")
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            for call in (lambda: client.rooms.get("0123456789abcdef01234567"), client.__enter__, lambda: list(stream)):
                try:
                    call()
                except ConfigurationError as error:
                    print("before a fork" in str(error), "worker_process_init" in str(error), "post_fork" in str(error))
            stream.close()
            client.close()
            with VideoClient() as own:
                print(own.rooms.create(name="Child").name)
            sys.exit(0)
        os.waitpid(pid, 0)
        print(client.rooms.create(name="Parent again").name)
        client.close()
        if session is not None:
            session.close()
        print(threads())
    """)
    assert lines == ["True True True"] * 3 + ["Child", "Parent again", "[]"]


def test_fork_while_calls_are_in_progress(program: Program, sandbox: Sandbox) -> None:
    """The lock of a portal may be held by another thread at the moment of the fork."""
    lines = program.output("""
        client = VideoClient()
        stop = []
        def calls():
            while not stop:
                client.rooms.list().to_list()
        callers = [threading.Thread(target=calls, name="watch") for _ in range(4)]
        for caller in callers:
            caller.start()
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                try:
                    client.rooms.create(name="Child")
                except ConfigurationError:
                    client.close()
                    os._exit(3)
                os._exit(4)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        stop.append(True)
        for caller in callers:
            caller.join()
        client.close()
    """)
    assert lines == ["3"] * 20


@pytest.mark.parametrize("busy", [False, True])
def test_unclosed_client_does_not_hang_the_exit(program: Program, sandbox: Sandbox, busy: bool) -> None:
    if busy:
        sandbox.fault("rooms.get", "hang", times=None)
    done = program.run(
        f"""
        client = VideoClient()
        client.rooms.create(name="Stand-up")
        if {busy}:
            call = threading.Thread(target=lambda: client.rooms.get("0123456789abcdef01234567"), daemon=True)
            call.start()
            time.sleep(0.3)
        print(len(client.rooms.list().to_list()))
        """,
        "-X",
        "dev",
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert "ResourceWarning" in done.stderr
    assert "was not closed" in done.stderr
    assert "Fatal" not in done.stderr


def test_many_threads_of_one_process_are_interrupted(program: Program, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.get", "hang", times=None)
    failed, left = program.output("""
        errors = []
        def read():
            try:
                client.rooms.get("0123456789abcdef01234567")
            except VideoAPIError as error:
                errors.append(error)
        try:
            with VideoClient() as client:
                readers = [threading.Thread(target=read) for _ in range(4)]
                for reader in readers:
                    reader.start()
                interrupt_when(lambda: True)
                read()
        except KeyboardInterrupt:
            for reader in readers:
                reader.join(20)
        print(len(errors))
        print(threads())
    """)
    assert (failed, left) == ("4", "[]")
