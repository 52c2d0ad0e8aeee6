"""`orchestrator chat`, typed at as a user does; the fake engine's answers depend on all that was said before."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.fake_engine.answers import made_up, tokens_of
from tests.clients.scripted_engine import DONE, chunked, engine, event, raw
from tests.orchestrator.support import Cli
from tests.orchestrator.test_fake_engine import Running, ready, until
from tests.orchestrator.test_up import SERVE

CHAT = (sys.executable, "-m", "orchestrator", "chat")


class Terminal:
    """`orchestrator chat` on a terminal of its own."""

    def __init__(self, *args: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*CHAT, *args], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=_plain()
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, text: str, timeout: float = 20) -> None:
        """Wait until `text` is on the screen after what was waited for before, lines joined."""
        deadline = time.monotonic() + timeout
        while text not in self.seen:
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self.master], [], [], left)[0], f"no {text!r} in {self.seen!r}"
            self.seen += os.read(self.master, 65536).decode().replace("\r\n", "\n")
        self.seen = self.seen.partition(text)[2]

    def press_ctrl_c(self, until: str) -> None:
        """Until the screen says so: Python's `input` misses one that comes just after it has shown the prompt."""
        for timeout in (2, 2, 2, 20):
            os.kill(self.process.pid, signal.SIGINT)
            with contextlib.suppress(AssertionError):
                return self.wait_for(until, timeout)
        raise AssertionError(f"no {until!r} in {self.seen!r}")


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Running]:
    with ready(tmp_path, "--tokens-per-second", "5") as running:
        yield running


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Running]:
    with ready(tmp_path) as running:
        yield running


def url(running: Running) -> str:
    return f"http://127.0.0.1:{running.port}"


def typed(running: Running, *lines: str, args: tuple[str, ...] = ()) -> tuple[list[str], str]:
    """Lines on standard output, and all of standard error, of a conversation that is piped in."""
    done = subprocess.run(
        [*CHAT, url(running), *args], input="\n".join(lines), capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines(), done.stderr


def test_one_prompt_is_answered_and_the_command_ends(quick: Running) -> None:
    asked = (*CHAT, f"{url(quick)}/v1", "--prompt", "hello", "--system", "Be brief.", "--max-tokens", "5")
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "".join(tokens_of(made_up("Be brief.\nhello"))[:5]) + "\n"
    assert "cut at max tokens" in done.stderr


def test_the_model_remembers_what_was_said_until_it_is_reset(quick: Running, tmp_path: Path) -> None:
    saved = tmp_path / "talk.json"
    first = made_up("System.\none")
    second = made_up(f"System.\none\n{first}\ntwo")
    third = made_up(f"System.\none\n{first}\ntwo\n{second}\nthree")
    talk = ("/system System.", "one", "two", f"/save {saved}", "/reset", "one", f"/load {saved}", "three", "/quit", "x")
    out, err = typed(quick, *talk)
    assert out == [first, second, first, third]
    assert "system: System." in err
    kept = json.loads(saved.read_text())["messages"]
    assert [message["role"] for message in kept] == ["system", "user", "assistant", "user", "assistant"]


def test_what_goes_wrong_is_told_and_the_conversation_goes_on(quick: Running, tmp_path: Path) -> None:
    out, err = typed(quick, "/load /no/such/file", f"/image {__file__}", "/what", "hello")
    assert out == [made_up("hello")]
    assert "cannot read /no/such/file" in err
    assert "is no image" in err
    assert "/reset" in err
    with ready(tmp_path, "--fail-first", "1") as failing:
        out, err = typed(failing, "one", "two")
        assert out == ["", made_up("two")]  # the question that failed is not part of the conversation
        assert "HTTP 500: a fake failure" in err


def test_nothing_there_is_a_failure() -> None:
    done = subprocess.run([*CHAT, "127.0.0.1:9", "--prompt", "x"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "nothing answers" in done.stderr) == (1, True)


def test_in_a_terminal_ctrl_c_stops_an_answer_and_ctrl_d_quits(slow: Running) -> None:
    terminal = Terminal(url(slow))
    try:
        terminal.wait_for("> ")
        terminal.type("hello\n")
        terminal.wait_for("".join(tokens_of(made_up("hello"))[:2]))  # it appears as it comes
        os.kill(terminal.process.pid, signal.SIGINT)
        terminal.wait_for("stopped")
        terminal.wait_for("> ")
        until(lambda: bool(re.search(r"num_requests_running.* 0$", slow.ask("/metrics")[1], re.MULTILINE)))
        terminal.press_ctrl_c("Ctrl-D quits")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.process.wait(10) == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.master)


def test_a_deployment_is_talked_to_by_name(cli: Cli) -> None:
    assert cli.run("up", *SERVE, "--name", "named", "--detach").returncode == 0
    assert cli.here("chat", "named", "--prompt", "hello").stdout == made_up("hello") + "\n"
    assert cli.here("down", "named").returncode == 0
    gone = cli.here("chat", "named", "--prompt", "hello")
    assert (gone.returncode, "is stopped" in gone.stderr) == (1, True)


async def test_an_image_goes_with_the_next_question_only(tmp_path: Path) -> None:
    image = tmp_path / "dot.png"
    image.write_bytes(b"\x89PNG a dot")
    async with engine(chunked([event("seen"), event(None, "stop"), DONE], "text/event-stream")) as server:
        out = await _talk(server.port, f"/image {image}\nwhat is it?\nand now?\n", "--image", str(image))
        first, second = (asked.json["messages"] for asked in server.asked)
    link = {"url": "data:image/png;base64," + base64.b64encode(image.read_bytes()).decode()}
    part = {"type": "image_url", "image_url": link}
    assert first == [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, part, part]}]
    assert second[1:] == [{"role": "assistant", "content": "seen"}, {"role": "user", "content": "and now?"}]
    assert out == "seen\nseen\n"


@pytest.mark.parametrize(
    ("body", "told"),
    [(event("half"), "without a finish reason"), (b'data: {"error": {"message": "out of slots"}}\n\n', "out of slots")],
)
async def test_an_answer_that_breaks_off_is_told(body: bytes, told: str) -> None:
    async with engine(raw(200, body, "text/event-stream")) as server:
        with pytest.raises(AssertionError, match=told):
            await _talk(server.port, None, "--prompt", "hello")


async def _talk(port: int, typed: str | None, *args: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(*CHAT, f"http://127.0.0.1:{port}", "--model", "m", *args),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            out, err = await process.communicate(typed.encode() if typed else None)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0, err.decode()
    return out.decode()


def _plain() -> dict[str, str]:
    """A terminal without control sequences."""
    return {**os.environ, "TERM": "dumb", "NO_COLOR": "1"}
