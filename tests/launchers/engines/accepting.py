"""Run by an engine's own interpreter: `accepting.py MODULE ARGUMENT...`. Does the engine's parser take the line?

Starts the engine's module as `python -m MODULE ARGUMENT...` would, and ends it as soon as its own parser has gone
through the arguments: code 0 when it took them, its own code (2) and message when it did not.
"""

import argparse
import importlib.machinery
import importlib.util
import os
import runpy
import sys
import types

parse = argparse.ArgumentParser.parse_args


def parse_and_end(self: argparse.ArgumentParser, *given: object, **named: object) -> None:
    parse(self, *given, **named)  # type: ignore[arg-type]
    print("accepted", flush=True)
    os._exit(0)


argparse.ArgumentParser.parse_args = parse_and_end  # type: ignore[assignment]
if sys.argv[1].startswith("lightllm"):
    import torch

    # LightLLM of 2024 asks the GPU for its name while it is imported, and there may be none.
    torch.cuda.get_device_name = lambda *_given: "none"  # type: ignore[assignment]
    torch.cuda.get_device_capability = lambda *_given: (8, 0)  # type: ignore[assignment]
if sys.argv[1].startswith("lightllm") and importlib.util.find_spec("torchvision") is None:
    # It reads pictures there, has no build that fits every CPU build of torch, and no parser needs it.
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.io"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
    vision = sys.modules["torchvision"]
    vision.transforms = sys.modules["torchvision.transforms"]  # type: ignore[attr-defined]
    vision.io = sys.modules["torchvision.io"]  # type: ignore[attr-defined]
    for owner in (vision.transforms, sys.modules["torchvision.transforms.functional"]):
        owner.InterpolationMode = types.SimpleNamespace(BICUBIC=3, BILINEAR=2)  # type: ignore[attr-defined]
module = sys.argv[1]
sys.argv = [module, *sys.argv[2:]]
runpy.run_module(module, run_name="__main__")
