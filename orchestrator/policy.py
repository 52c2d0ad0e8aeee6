"""What the operator lets the service's users ask for: `[policy]` in `orchestrator.toml`.

A job starts programs on this machine, so what its spec names decides who may run what here. Each rule that is left out
follows from who can reach the service: on the loopback the user of this machine, who could run it anyhow; over the
network everybody with a token, who gets models of the hub and nothing that runs or reads what is not the operator's.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Policy(BaseModel):
    """The operator's rules. Patterns know `*`; a folder stands for everything below it, `*` for every folder."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    custom_commands: bool | None = None
    """Whether engine `custom` and the compression tool `command` may run any command. Default: on the loopback only."""
    extra_args: bool | None = None
    """Whether `serve.extra_args` and `compress.args` may be given. Default: on the loopback only."""
    env: list[str] | None = None
    """Patterns of the variables that `serve.env` may set. Default: on the loopback all, else none."""
    models: list[str] | None = None
    """Folders that `serve.model` may lie in. Default: on the loopback any, else only models that were made here."""
    hub_models: list[str] | None = None
    """Patterns of the hub ids that `serve.model` may be. Default: all."""
    files: list[str] | None = None
    """Folders of data set configs, chat templates and the like. Default: on the loopback any, else none."""
    external_urls: list[str] | None = None
    """Patterns of `serve.url`, e.g. `http://gpu-*:8000`. Default: on the loopback any, else none."""
    engine_hosts: list[str] | None = None
    """Addresses that engines may listen on, which ask for no token. Default: on the loopback any, else the loopback."""
    secret_env: list[str] | None = None
    """Patterns of the service's own variables behind `${env:NAME}`. Default: on the loopback all, else none."""
    secret_files: Path | None = None
    """Folder of the files behind `${file:NAME}`. Default: `secrets` in `home`."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
