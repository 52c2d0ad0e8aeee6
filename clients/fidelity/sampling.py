"""Which sampling fields count: does a temperature change anything, does a default of the model leak in?"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from clients.fidelity.asking import Asker
from clients.fidelity.greedy import Samples
from clients.fidelity.prompts import PROMPTS, REPETITION
from clients.fidelity.report import Finding

HOT = 2.0
"""A temperature at which two texts of a dozen tokens are hardly ever the same."""


async def check_temperature(asker: Asker, samples: Samples) -> Finding:
    """Some engines ignore the temperature unless the model's own generation config samples."""
    bare = replace(asker, sampling={})  # top_k 1, say, would make every temperature greedy
    answers = await asyncio.gather(*(bare.ask(PROMPTS[0], temperature=HOT, seed=seed) for seed in (1, 2)))
    failed = next((answer for answer in answers if answer.status != 200), None)
    if failed:
        fact = f"temperature {HOT:g} with a seed is refused: HTTP {failed.status}: {failed.excerpt}"
        return Finding("temperature", "unknown", fact)
    texts = [answer.text for answer in answers]
    data = {"greedy": samples.alone[0].text, "hot": texts}
    if set(texts) == {samples.alone[0].text}:
        advice = "scores are those of greedy decoding, whatever temperature is asked for"
        return Finding("temperature", "note", "a temperature above 0 changes nothing", data, advice)
    return Finding("temperature", "ok", "a temperature above 0 samples", data)


async def check_generation_config(asker: Asker) -> Finding:
    """A repetition penalty that nobody asked for (the model's, or the engine's own) changes greedy answers."""
    bare = replace(asker, sampling={})
    silent = await bare.ask(REPETITION)
    explicit = await bare.ask(REPETITION, repetition_penalty=1.0)
    if silent.status != 200:
        return Finding("generation_config", "unknown", f"no answer: HTTP {silent.status}: {silent.excerpt}")
    if explicit.refused:
        fact = f"repetition_penalty is refused with {explicit.status}: a default of the model cannot be overruled"
        advice = "look for repetition_penalty in the model's generation_config.json"
        return Finding("generation_config", "note", fact, {"status": explicit.status}, advice)
    data = {"silent": silent.text, "explicit": explicit.text}
    if silent.text == explicit.text:
        fact = "a greedy repetition is the same with repetition_penalty 1.0 said and not said"
        return Finding("generation_config", "ok", fact, data)
    if (await bare.ask(REPETITION)).text != silent.text:
        return Finding("generation_config", "unknown", "greedy answers differ from time to time anyway", data)
    fact = "a repetition penalty applies that nobody asked for: the model's generation config, or the engine's default"
    advice = "send repetition_penalty 1.0 with every request (evaluate.generation.repetition_penalty)"
    return Finding("generation_config", "note", fact, data, advice)
