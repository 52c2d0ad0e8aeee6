"""`chat`: a conversation with a served model, in the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from clients.errors import ClientError
from orchestrator.chat import Conversation, Model, Piece
from orchestrator.cli.output import stderr
from orchestrator.cli.probing import base_url, listed_model
from orchestrator.deployment import find_deployment
from orchestrator.errors import DeploymentError, OrchestratorError
from orchestrator.settings import Settings

_HELP = """\
/system TEXT  set the system prompt (alone: show it)
/image PATH   send an image with the next question
/reset        forget what was said
/save FILE    write the conversation
/load FILE    go on with one that was saved
/quit         or Ctrl-D; Ctrl-C stops an answer"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


def chat(
    target: Annotated[str, typer.Argument(metavar="URL-or-DEPLOYMENT", help="http://host:port, or a deployment.")],
    model: Annotated[str | None, typer.Option(help="Name to send as `model`. Default: what the server lists.")] = None,
    system: Annotated[str, typer.Option(help="System prompt.")] = "",
    prompt: Annotated[str | None, typer.Option(help="Ask this, print the answer, end.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="Image to send with the first question.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Default: the engine's.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens. Default: the engine's.")] = None,
    api_key: Annotated[str | None, typer.Option(help="Bearer token that the server wants.")] = None,
) -> None:
    """Talk to a served model; answers appear as they come, /help lists what else there is."""
    url = _url(target)
    options = {"temperature": temperature, "max_tokens": max_tokens}
    given = {name: value for name, value in options.items() if value is not None}
    talk, asked = Conversation(system), Model(url, model or asyncio.run(listed_model(url)), given, api_key)
    for path in image or []:
        talk.attach(path)
    if prompt is not None:
        _ask(talk, asked, prompt)
        return
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            importlib.import_module("readline")  # line editing for `input`; some write to the terminal when imported
    stderr().print(f"[bold]{escape(asked.name)}[/] at {escape(url)}; /help, Ctrl-D quits", highlight=False)
    while _turn(talk, asked):
        pass


def _url(target: str) -> str:
    if ":" in target or "/" in target:
        return base_url(target)
    record = find_deployment(target, Settings.load()).read()
    if record is None or record.state != "ready" or not record.url:
        state = record.state if record else "gone"
        raise DeploymentError(f"deployment `{target}` is {state}", hint="`orchestrator ps` lists those that are ready")
    return record.url


def _turn(talk: Conversation, model: Model) -> bool:
    """Read one line and do what it says; False at the end."""
    try:
        line = input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return False
    except KeyboardInterrupt:
        stderr().print("\n[dim]Ctrl-D quits[/]")
        return True
    if line in ("/quit", "/exit"):
        return False
    try:
        if line.startswith("/"):
            _command(talk, line)
        elif line:
            _ask(talk, model, line)
    except KeyboardInterrupt:
        stderr().print("[dim]stopped[/]")
    except (ClientError, OrchestratorError) as error:
        stderr().print(f"[bold red]{error.code}[/]: {escape(error.message)}")
    return True


def _command(talk: Conversation, line: str) -> None:
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    files: dict[str, Callable[[Path], None]] = {"/image": talk.attach, "/save": talk.save, "/load": talk.load}
    if name in files and rest:
        files[name](Path(rest).expanduser())
        stderr().print(f"[dim]{name[1:]}: {escape(rest)}, {len(talk.messages)} messages[/]")
    elif name == "/system":
        talk.system = rest or talk.system
        stderr().print(f"[dim]system: {escape(talk.system or 'none')}[/]")
    elif name == "/reset":
        talk.reset()
        stderr().print("[dim]forgotten[/]")
    else:
        stderr().print(escape(_HELP))


def _ask(talk: Conversation, model: Model, question: str) -> None:
    """Ask, and print the answer as it comes. What came by an interruption stays in the conversation."""
    talk.ask(question)
    text: list[str] = []
    try:
        with model.answer(talk.said) as pieces:
            for piece in pieces:
                _print(piece)
                if piece.kind == "text":
                    text.append(piece.text)
    finally:
        talk.answered("".join(text))
        print(flush=True)


def _print(piece: Piece) -> None:
    if piece.kind == "text":
        print(piece.text, end="", flush=True)
    elif piece.kind == "reasoning":
        stderr().print(piece.text, end="", style="dim", markup=False)
    elif piece.text == "length":
        stderr().print("[dim] (cut at max tokens)[/]", end="")
