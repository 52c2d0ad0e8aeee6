"""The fake engine, started as users start it: a process, asked over real sockets."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.fake_engine.answers import book_of, wrong
from orchestrator.fake_engine.command import main

CHAT = "/v1/chat/completions"


@dataclass
class Running:
    """A fake engine and its log."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0

    def text(self) -> str:
        return self.log.read_text()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as client:
            client.request("POST" if body is not None else "GET", path, json.dumps(body) if body else None)
            answer = client.getresponse()
            text = answer.read()
        return answer.status, json.loads(text) if text.startswith(b"{") else text.decode()

    def chat(self, prompt: str, **more: Any) -> tuple[int, Any]:
        return self.ask(CHAT, {"messages": [{"role": "user", "content": prompt}], **more})

    def says(self, prompt: str, **more: Any) -> str:
        status, body = self.chat(prompt, **more)
        assert status == 200, body
        return str(body["choices"][0]["message"]["content"])


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(folder: Path, *argv: str) -> Iterator[Running]:
    """Started, not awaited; whatever is left of it in the end is killed."""
    log = folder / "engine.log"
    command = [sys.executable, "-m", "orchestrator.fake_engine", *argv]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    running = Running(process, log)
    try:
        yield running
    finally:
        for pid in [int(pid) for line in re.findall(r"workers? ([\d ]+)", running.text()) for pid in line.split()]:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


@contextmanager
def ready(folder: Path, *argv: str) -> Iterator[Running]:
    """Started on a free port and ready."""
    with started(folder, "--port", "0", *argv) as running:
        until(lambda: "ready on" in running.text() or running.process.poll() is not None)
        found = re.search(r"ready on http://[\d.]+:(\d+)", running.text())
        assert found, running.text()
        running.port = int(found[1])
        yield running


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def statuses(running: Running, prompts: list[str]) -> list[int]:
    return [running.chat(prompt)[0] for prompt in prompts]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One without faults, for all that only asks."""
    with ready(tmp_path_factory.mktemp("plain"), "--model", "tiny", "--tp", "2", "--nccl-port", "2066") as running:
        yield running


def test_it_speaks_the_forms_of_openai_and_lightllm(plain: Running) -> None:
    assert plain.ask("/health") == (200, {"status": "ok"})
    assert plain.ask("/v1/models")[1]["data"][0]["id"] == "tiny"
    text = plain.says("What is AI?")
    assert text == plain.says("What is AI?"), "the text depends on the prompt alone"
    assert text != plain.says("What is AI, really?")
    _, completion = plain.ask("/v1/completions", {"prompt": ["What is AI?", "Why?"], "n": 2})
    texts = [choice["text"] for choice in completion["choices"]]
    assert texts[0] == texts[1] == text
    assert texts[2] == texts[3] != text
    generate = {"inputs": "What is AI?", "parameters": {"max_new_tokens": 3}}
    assert plain.ask("/generate", generate) == (
        200,
        {
            "generated_text": [" ".join(text.split()[:3])],
            "count_output_tokens": 3,
            "finish_reason": "length",
            "prompt_tokens": 3,
        },
    )


def test_max_tokens_stop_and_usage_are_honoured(plain: Running) -> None:
    whole = plain.says("Tell me").split()
    _, cut = plain.chat("Tell me", max_tokens=4)
    assert cut["choices"][0]["message"]["content"] == " ".join(whole[:4])
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}
    _, stopped = plain.chat("Tell me", stop=["never", whole[2]])
    assert stopped["choices"][0]["message"]["content"].split() == whole[:2]
    assert stopped["choices"][0]["finish_reason"] == "stop"
    _, long = plain.chat("Tell me", max_tokens=100, ignore_eos=True)
    assert long["usage"]["completion_tokens"] == 100


def test_a_stream_carries_the_same_text_and_the_usage(plain: Running) -> None:
    _, stream = plain.chat("Tell me", stream=True, stream_options={"include_usage": True})
    *events, done = [line.removeprefix("data: ") for line in stream.split("\n\n") if line]
    assert done == "[DONE]"
    chunks = [json.loads(event) for event in events]
    deltas = [choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(deltas) == plain.says("Tell me")
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == len("".join(deltas).split())


def test_what_it_cannot_answer_it_refuses(plain: Running) -> None:
    assert plain.chat("hello", model="another")[0] == 404
    assert plain.ask(CHAT, {"messages": 1})[0] == 400
    assert plain.ask("/v1/completions", {"prompt": "hello", "logprobs": 1})[0] == 400
    assert plain.ask(CHAT)[0] == 405
    assert plain.ask("/nowhere")[0] == 404


def test_pipelined_requests_are_answered_in_order(plain: Running) -> None:
    bodies = [json.dumps({"prompt": prompt, "max_tokens": 1}).encode() for prompt in ("one", "two", "three")]
    sent = b"".join(
        b"POST /v1/completions HTTP/1.1\r\ncontent-length: %d\r\n%s\r\n%s" % (len(body), close, body)
        for body, close in zip(bodies, (b"", b"", b"connection: close\r\n"), strict=True)
    )
    with socket.create_connection(("127.0.0.1", plain.port), timeout=10) as client, client.makefile("rb") as file:
        client.sendall(sent)
        received = re.findall(rb'"text":"(\w+)"', file.read())
    alone = [plain.ask("/v1/completions", {"prompt": p, "max_tokens": 1})[1] for p in ("one", "two", "three")]
    assert [text.decode() for text in received] == [one["choices"][0]["text"] for one in alone]


def test_planted_answers_come_back_and_the_wrong_ones_are_the_share_that_was_asked_for(tmp_path: Path) -> None:
    rows = {f"What is {n} plus {n}?": f"It is twice {n}.\n#### {2 * n}" for n in range(200)}
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(json.dumps({"question": q, "answer": a}) for q, a in rows.items()))
    with ready(tmp_path, "--answers", str(file), "--wrong-rate", "0.3", "--seed", "7") as running:
        said = {question: running.says(f"Question: {question}\nAnswer:") for question in rows}
        assert said == {question: running.says(f"Q: What is 3 plus 3? A: 6. Q: {question}") for question in rows}
    wrong_ones = [question for question in rows if said[question] != rows[question]]
    assert 40 <= len(wrong_ones) <= 80
    numbers = {question: int(said[question].split("#### ")[1]) for question in rows}
    assert all(numbers[q] != int(rows[q].split("#### ")[1]) for q in wrong_ones)


def test_of_questions_that_start_alike_the_one_in_the_prompt_is_found() -> None:
    book = book_of([("How many?", "1"), ("How many? And why so?", "2"), ("Why?", "3")])
    assert book.find("Q: How many? And why so?") == "2"
    assert book.find("Q: How many? And how?") == "1"
    assert book.find("Why? Then: How many?") == "1"
    assert book.find("Who?") is None
    assert wrong("so 1,200 apples", "q") not in ("so 1,200 apples", "so 1200 apples")


def test_more_requests_than_slots_wait_and_the_metrics_say_so(tmp_path: Path) -> None:
    with ready(tmp_path, "--slots", "2", "--latency", "0.4") as running, ThreadPoolExecutor(6) as pool:
        start = time.monotonic()
        asked = [pool.submit(running.says, str(n)) for n in range(6)]
        until(lambda: 'fake:num_requests_waiting{model_name="fake"} 4' in running.ask("/metrics")[1])
        assert 'fake:num_requests_running{model_name="fake"} 2' in running.ask("/metrics")[1]
        assert all(one.result() for one in asked)
        assert time.monotonic() - start >= 1.2
        metrics = running.ask("/metrics")[1]
    assert 'fake:num_requests_running{model_name="fake"} 0' in metrics
    assert 'fake:requests_total{model_name="fake"} 6' in metrics


def test_a_client_that_leaves_frees_its_slot(tmp_path: Path) -> None:
    with ready(tmp_path, "--slots", "1", "--latency", "30") as running:
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            client.sendall(
                b"POST /generate HTTP/1.1\r\ncontent-length: 31\r\n\r\n" + b'{"inputs":"a", "parameters":{}}'
            )
            until(lambda: 'running{model_name="fake"} 1' in running.ask("/metrics")[1])
        until(lambda: 'running{model_name="fake"} 0' in running.ask("/metrics")[1])


def test_early_the_port_opens_at_once_and_health_is_503_until_loaded(tmp_path: Path) -> None:
    port = free_port()
    argv = ("--port", str(port), "--listen", "early", "--load-time", "2", "--noise", "1MB")
    start = time.monotonic()
    with started(tmp_path, *argv) as running:
        running.port = port
        until(lambda: listens(port))
        assert [running.ask("/health")[0], running.ask("/v1/models")[0], running.chat("a")[0]] == [503] * 3
        until(lambda: running.ask("/health")[0] == 200)
        assert time.monotonic() - start >= 2
        assert running.chat("a")[0] == 200
        size = len(running.text())
    assert 1_000_000 < size < 1_001_000


@pytest.mark.parametrize("kind", ["fail", "hang"])
def test_health_early_is_200_while_generations_fail_or_hang(tmp_path: Path, kind: str) -> None:
    port = free_port()
    argv = ("--port", str(port), "--listen", "early", "--load-time", "1.5", "--health-early", kind)
    with started(tmp_path, *argv) as running:
        running.port = port
        until(lambda: listens(port))
        assert running.ask("/health")[0] == running.ask("/v1/models")[0] == 200
        status, _ = running.chat("a")
        loaded = "ready on" in running.text()
    assert (status, loaded) == ((503, False) if kind == "fail" else (200, True))


def test_late_the_noise_blocks_nobody_but_who_does_not_read_it() -> None:
    argv = [sys.executable, "-m", "orchestrator.fake_engine", "--port", "0", "--noise", "300KB"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING)
        process.stdout.read(100)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert not psutil.Process(process.pid).net_connections()
        process.terminate()  # even then
        assert process.wait(5) == 0


def test_it_exits_on_load_with_the_code_and_the_log_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "oom.txt").write_text("torch.OutOfMemoryError: CUDA out of memory\n")
    argv = ("--exit-on-load", "3", "--load-log", str(tmp_path / "oom.txt"), "--workers", "2")
    with started(tmp_path, *argv) as running:
        assert running.process.wait(10) == 3
        assert running.text().endswith("CUDA out of memory\n")
        workers = [int(pid) for pid in re.findall(r"\d+", running.text().split("workers")[1].splitlines()[0])]
        until(lambda: not any(map(alive, workers)))


@pytest.mark.parametrize("flag", ["--hang-on-load", "--bind-only"])
def test_it_stays_for_ever_with_the_port_closed(tmp_path: Path, flag: str) -> None:
    port = free_port()
    with started(tmp_path, "--port", str(port), flag) as running:
        until(lambda: ("Traceback" if flag == "--hang-on-load" else "not listening") in running.text())
        assert running.process.poll() is None
        assert not listens(port)
        with socket.socket() as taker:
            bound = taker.connect_ex(("127.0.0.1", port)) == 0 or _binds(taker, port)
        assert bound is (flag == "--hang-on-load")


def _binds(taker: socket.socket, port: int) -> bool:
    try:
        taker.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_a_taken_port_is_said(tmp_path: Path, plain: Running) -> None:
    with started(tmp_path, "--port", str(plain.port)) as running:
        assert running.process.wait(10) == 1
        assert "Address already in use" in running.text()


def test_failures_by_number_depend_on_the_seed_and_nothing_else(tmp_path: Path) -> None:
    prompts = [str(n) for n in range(100)]
    seen = []
    for seed in ("1", "1", "2"):
        argv = ("--fail-first", "3", "--error-rate", "0.2", "--error-status", "503", "--seed", seed)
        with ready(tmp_path, *argv) as running:
            seen.append(statuses(running, prompts))
    assert seen[0] == seen[1] != seen[2]
    assert seen[0][:3] == [503] * 3
    assert set(seen[0]) == {200, 503}
    assert 10 <= seen[0][3:].count(503) <= 32


def test_a_prompt_that_fails_fails_every_time(tmp_path: Path) -> None:
    prompts = [str(n) for n in range(60)]
    with ready(tmp_path, "--fail-prompts", "0.3", "--empty-prompts", "0.3") as running:
        first = {prompt: running.chat(prompt) for prompt in prompts}
        again = {prompt: running.chat(prompt) for prompt in reversed(prompts)}
    failed = {prompt for prompt in prompts if first[prompt][0] == 500}
    empty = {prompt for prompt in set(prompts) - failed if not first[prompt][1]["choices"][0]["message"]["content"]}
    assert 8 <= len(failed) <= 30
    assert 8 <= len(empty) <= 30
    assert all(again[prompt][0] == first[prompt][0] for prompt in prompts)
    assert not any(again[prompt][1]["choices"][0]["message"]["content"] for prompt in empty)


def test_answers_can_be_broken_in_every_way(tmp_path: Path) -> None:
    with ready(tmp_path, "--error-body-rate", "1") as running:
        status, body = running.chat("a")
        assert (status, set(body)) == (200, {"error"})
        assert '"error"' in running.chat("a", stream=True)[1]
    with ready(tmp_path, "--empty-rate", "1") as running:
        assert running.says("a") == ""
    with ready(tmp_path, "--finish-error-rate", "1") as running:
        assert running.chat("a")[1]["choices"][0]["finish_reason"] == "error"
    with ready(tmp_path, "--truncate-rate", "1") as running:
        for stream in (False, True):
            with pytest.raises(http.client.IncompleteRead) as cut:
                running.chat("a", stream=stream)
            assert cut.value.partial
    with ready(tmp_path, "--reset-rate", "1") as running:
        with pytest.raises(ConnectionResetError):
            running.chat("a")
        assert running.ask("/health")[0] == 200


def test_from_a_number_on_generations_hang_and_health_stays_200(tmp_path: Path) -> None:
    with ready(tmp_path, "--hang-after", "3") as running:
        assert statuses(running, ["a", "b"]) == [200, 200]
        with closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=0.3)) as client:
            client.request("POST", CHAT, '{"messages":[]}')
            with pytest.raises(TimeoutError):
                client.getresponse()
            assert running.ask("/health")[0] == 200


@pytest.mark.parametrize(("more", "code"), [((), 1), (("--crash-signal", "9"), -9)])
def test_it_crashes_at_the_number_and_its_workers_stay(tmp_path: Path, more: tuple[str, ...], code: int) -> None:
    with ready(tmp_path, "--crash-after", "2", "--workers", "1", *more) as running:
        worker = int(re.findall(r"workers (\d+)", running.text())[0])
        assert running.chat("a")[0] == 200
        with pytest.raises(ConnectionError):
            running.chat("b")
        assert running.process.wait(10) == code
        assert alive(worker)


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(tmp_path: Path) -> None:
    with (
        ready(tmp_path, "--close-idle", "0.2", "--latency", "0.5") as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=5) as client,
    ):
        client.sendall(b'POST /v1/completions HTTP/1.1\r\ncontent-length: 14\r\n\r\n{"prompt":"a"}')
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        assert client.recv(1) == b""


def test_sigterm_ends_it_and_its_workers_but_not_the_detached_one(tmp_path: Path) -> None:
    with ready(tmp_path, "--workers", "2", "--detached-worker") as running:
        workers = [int(pid) for pid in re.findall(r"workers (\d+) (\d+)", running.text())[0]]
        detached = int(re.findall(r"detached worker (\d+)", running.text())[0])
        assert os.getpgid(workers[0]) == running.process.pid != os.getpgid(detached)
        os.kill(detached, signal.SIGTERM)
        running.process.terminate()
        assert running.process.wait(5) == 0
        until(lambda: not any(map(alive, workers)))
        assert alive(detached)


def test_sigterm_is_ignored_once_or_always_when_asked(tmp_path: Path) -> None:
    with ready(tmp_path, "--ignore-first-sigterm") as running:
        running.process.terminate()
        assert running.chat("still here")[0] == 200
        running.process.terminate()
        assert running.process.wait(5) == 0
    with ready(tmp_path, "--ignore-sigterm") as running:
        for _ in range(3):
            running.process.terminate()
            assert running.chat("still here")[0] == 200


def test_it_listens_within_a_moment(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--port", str(port)) as running:
        until(lambda: listens(port))
        used = psutil.Process(running.process.pid).cpu_times()
    assert used.user + used.system < 1, "0.1 s of processor time where it is compiled"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("--hang-on-load --bind-only", "exclude each other"),
        ("--exit-on-load 0 --hang-on-load", "exclude each other"),
        ("--bind-only --listen early", "keeps the port closed"),
        ("--health-early", "needs --listen early"),
        ("--load-log x", "needs --exit-on-load"),
        ("--wrong-rate 0.1", "needs --answers"),
        ("--crash-signal 9", "needs --crash-after"),
        ("--latency-sigma 1", "needs --latency"),
        ("--error-status 503", "needs --error-rate"),
        ("--error-rate 0.6 --reset-rate 0.6", "--error-rate, --reset-rate add up to more than 1"),
        ("--error-rate 2", "must be a share"),
        ("--port x", "invalid whole number value"),
        ("--answers /no/such/file", "cannot read /no/such/file"),
        ("--ignore-sigterm --ignore-first-sigterm --wrong-rate 1", "exclude each other; --wrong-rate needs"),
    ],
)
def test_what_makes_no_sense_is_refused(argv: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv.split())
    assert ended.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_remembered_prefix_is_answered_sooner_and_counted(tmp_path: Path) -> None:
    def seconds(prompt: str) -> float:
        start = time.monotonic()
        running.says(prompt)
        return time.monotonic() - start

    one, other = "one " * 100, "other " * 100
    with ready(tmp_path, "--latency", "1", "--prefix-cache", "1") as running:
        assert seconds(f"{one} a") >= 1
        assert seconds(f"{one} b") < 1
        assert seconds(f"{other} c") >= 1
        assert seconds(f"{one} d") >= 1, "one place: the other prefix has taken it"
        metrics = running.ask("/metrics")[1]
    assert 'fake:prefix_hits_total{model_name="fake"} 1' in metrics
    assert 'fake:prefix_misses_total{model_name="fake"} 3' in metrics


def test_timings_tell_when_a_request_arrived_and_each_token_left_however_late_it_was_read(tmp_path: Path) -> None:
    file = tmp_path / "timings.jsonl"
    body = json.dumps({"prompt": "x", "max_tokens": 5, "ignore_eos": True, "stream": True})
    with ready(tmp_path, "--timings", str(file), "--tokens-per-second", "50") as running:
        client = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        with closing(client):
            client.request("POST", "/v1/completions", body)
            client.getresponse().read()
            running.process.send_signal(signal.SIGSTOP)
            try:
                until(lambda: psutil.Process(running.process.pid).status() == psutil.STATUS_STOPPED)
                before = time.monotonic()
                client.request("POST", "/v1/completions", body)
                sent = time.monotonic()
            finally:
                running.process.send_signal(signal.SIGCONT)
            client.getresponse().read()
            after = time.monotonic()
    row = json.loads(file.read_text().splitlines()[1])
    tokens = row["tokens"]
    assert (row["id"], len(tokens), tokens) == (2, 5, sorted(tokens))
    assert before - 0.001 <= row["arrived"] <= sent + 0.001, "two clocks are compared to find it"
    assert sent < tokens[0] < tokens[4] < after
    assert tokens[4] - sent >= 0.09, "five tokens at 50 per second"
