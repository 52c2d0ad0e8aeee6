"""The servers that are compared, each a process of its own, started and stopped here."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

HERE = Path(__file__).parent
LITELLM = Path(os.environ.get("LITELLM_VENV", Path.home() / ".cache" / "serve-then-evaluate" / "litellm"))
NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 256m; client_body_buffer_size 1m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 4096; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; }}
  }}
}}
"""
LITELLM_CONFIG = """\
model_list:
  - model_name: m
    litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:{engine}/v1", api_key: x}}
general_settings: {{dangerously_permit_weak_or_unset_master_key: true}}
"""


class Absent(Exception):
    """This peer is not installed; the message says how to install it."""


@dataclass(frozen=True)
class Server:
    """A server that listens."""

    process: psutil.Process
    port: int

    @property
    def cpu(self) -> float:
        """Seconds of CPU of the whole tree so far."""
        times = [process.cpu_times() for process in self.tree()]
        return sum(one.user + one.system for one in times)

    @property
    def memory(self) -> float:
        """Resident MB of the whole tree."""
        return sum(process.memory_info().rss for process in self.tree()) / 1e6

    def tree(self) -> list[psutil.Process]:
        """The process and all below it."""
        return [self.process, *self.process.children(recursive=True)]


Command = Callable[[int, int, Path], list[str]]
"""Gives the command line that listens on a port in front of an engine's port, with a folder to write in."""


@contextlib.contextmanager
def started(command: list[str], port: int, log: Path, patience: float = 20.0) -> Iterator[Server]:
    """Run a server for the length of the block, from when it answers."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process,
    ):
        server = Server(psutil.Process(process.pid), port)
        try:
            _wait(process, port, log, patience)
            yield server
        finally:
            if process.poll() is None:
                _end(server.tree())


def mock_engine(chunks: int, interval: float) -> Command:
    return lambda port, _engine, _folder: _python("mock_engine.py", port, chunks, interval)


def ours(port: int, engine: int, _folder: Path) -> list[str]:
    return _python("our_gateway.py", port, engine)


def ours_journaling(port: int, engine: int, folder: Path) -> list[str]:
    return _python("our_gateway.py", port, engine, "--journal", folder / "answers.journal")


def aiohttp_forwarder(port: int, engine: int, _folder: Path) -> list[str]:
    try:
        import aiohttp  # noqa: F401, PLC0415 - is it installed?
    except ImportError:
        raise Absent("not installed: pip install aiohttp") from None
    return _python("aiohttp_forwarder.py", port, engine)


def nginx(port: int, engine: int, folder: Path) -> list[str]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise Absent("not installed: apt-get install nginx-light")
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, engine=engine, port=port))
    return [program, "-p", str(folder), "-c", str(config)]


def litellm(port: int, engine: int, folder: Path) -> list[str]:
    program = LITELLM / "bin" / "litellm"
    if not program.exists():
        venv = f"python -m venv {LITELLM} && {LITELLM}/bin/pip install 'litellm[proxy]'"
        raise Absent(f"not installed: {venv} (or name another environment in LITELLM_VENV)")
    config = folder / "litellm.yaml"
    config.write_text(LITELLM_CONFIG.format(engine=engine))
    return [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / script), *map(str, arguments)]


def _end(tree: list[psutil.Process]) -> None:
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.terminate()
    for one in psutil.wait_procs(tree, timeout=10)[1]:
        one.kill()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/v1/models")
            if connection.getresponse().status == 200:
                connection.close()
                return
        time.sleep(0.1)
    raise SystemExit(f"no answer on port {port}: {log.read_text(errors='replace')[-2000:]}")
