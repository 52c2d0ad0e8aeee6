"""`probe`: the smoke test of a server, ours or not."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import typer
from rich.markup import escape

from clients.errors import ProbeFailed
from clients.fidelity import Fidelity
from clients.fidelity.checks import fidelity as check
from clients.probe import Generation, generate
from clients.spec import ProbeSpec
from orchestrator.cli.output import Exit, print_json, stdout
from orchestrator.cli.tables import findings_table

DEFAULT = ProbeSpec()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(probe)


def probe(
    url: Annotated[str, typer.Argument(help="http://host:port, with or without /v1.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="Name to send as `model`. Default: what the server lists.")] = None,
    prompt: Annotated[str, typer.Option(help="What to ask.")] = DEFAULT.prompt,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = DEFAULT.max_tokens,
    timeout: Annotated[float, typer.Option(help="Seconds for the generation, and for all checks.")] = 120.0,
    fidelity: Annotated[
        bool, typer.Option("--fidelity", help="Also check what would falsify scores: see docs/fidelity.md.")
    ] = False,
    tokenizer: Annotated[
        Path | None, typer.Option(help="The model's folder, to count the tokens of prompts.", exists=True)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Ask a running server for a real generation; exit code 1 when none comes back, or a check finds it unfit."""
    base = base_url(url)
    began = time.monotonic()
    name = model or asyncio.run(listed_model(base))
    answer = asyncio.run(generate(base, model=name, prompt=prompt, max_tokens=max_tokens, timeout=timeout))
    shown = _shown(base, name, prompt, answer, time.monotonic() - began)
    document = {"url": base, "model": name, **asdict(answer)}
    if not fidelity:
        _print(document, shown, None, as_json=as_json)
        return
    checked = asyncio.run(check(base, model=name, tokenizer=tokenizer, api="auto", timeout=timeout))
    _print({**document, "fidelity": asdict(checked)}, shown, checked, as_json=as_json)
    if checked.falsifying:
        raise typer.Exit(Exit.FAILED)


def base_url(url: str) -> str:
    """`url` without a trailing slash and `/v1`. Raises: typer.BadParameter when it is none."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise typer.BadParameter(f"{url!r} is not of the form http://host:port")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"


async def listed_model(base: str) -> str:
    """The first model that the server at `base` lists. Raises: ProbeFailed."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        try:
            answer = await client.get(f"{base}/v1/models")
            return str(answer.raise_for_status().json()["data"][0]["id"])
        except httpx.ConnectError as error:
            raise ProbeFailed(f"nothing answers at {base}: {error}", hint="check the host and the port") from error
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            message = f"{base}/v1/models does not name a model: {error}"
            raise ProbeFailed(message, hint="name it with --model") from error


def _print(document: dict[str, Any], shown: str, checked: Fidelity | None, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    stdout().print(shown, highlight=False)
    if checked:
        stdout().print(findings_table(checked))


def _shown(base: str, model: str, prompt: str, answer: Generation, seconds: float) -> str:
    return (
        f"[bold green]works[/]: {escape(base)} answered as [bold]{escape(model)}[/] in {seconds:.2f} s\n"
        f"  asked     {escape(prompt)}\n"
        f"  answered  {escape(answer.text)}\n"
        f"  finish    {answer.finish_reason}, {answer.prompt_tokens} prompt tokens, "
        f"{answer.completion_tokens} completion tokens"
    )
