"""Which compression tools there are."""

from __future__ import annotations

from types import MappingProxyType

from launchers.compress.command import CommandTool
from launchers.compress.gguf_tool import GgufTool
from launchers.compress.llm_compressor import LlmCompressor
from launchers.compress.llmc import Llmc
from launchers.compress.lmdeploy_auto_awq import LmdeployAutoAwq
from launchers.compress.tool import Tool
from launchers.environments import Recipe

TOOLS = MappingProxyType(
    {tool.name: tool for tool in (CommandTool(), GgufTool(), LlmCompressor(), Llmc(), LmdeployAutoAwq())}
)


def get_tool(name: str) -> Tool:
    """The tool of that name; `CompressSpec` knows no other names."""
    return TOOLS[name]


def own_recipes() -> list[Recipe]:
    """Recipes of the tools that share their environment with no engine."""
    return [recipe for name in ("gguf", "llm_compressor", "llmc") if (recipe := get_tool(name).recipe)]
