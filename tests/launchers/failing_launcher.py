"""LightLLM's launcher as it behaves when the model cannot be loaded: it says so, keeps its port closed, and stays.

Usage: failing_launcher.py NAME     NAME is what it calls its sockets and its shared memory, which it makes for real
"""

import os
import socket
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    name = sys.argv[1]
    print(f"INFO 08-21 10:00:00 [api_start.py:120] zmq mode head: ipc:///tmp/_{name}_", flush=True)
    Path(f"/dev/shm/{name}_req_shm_total").write_bytes(b"x" * 4096)
    Path(f"/tmp/{name}_shm_port_args.lock").touch()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"/tmp/_{name}_127.0.0.1:13001")
    inner = socket.socket(socket.AF_UNIX)
    inner.bind(os.path.join(tempfile.gettempdir(), "3f0c7a52-2f3c-4c39-9a44-0a8a5f0f2d11"))  # noqa: PTH118 - a socket's name
    print(
        "ERROR 08-21 10:00:07 [start_utils.py:38] init func start_router_process : Traceback (most recent call last):"
    )
    print('  File "lightllm/server/router/manager.py", line 612, in start_router_process')
    print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
