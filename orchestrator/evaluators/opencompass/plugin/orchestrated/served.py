"""A model behind the gateway that also scores given texts, and the task that asks it so.

OpenCompass's classes for OpenAI's API only generate, and its concurrent task only takes inferencers that do. What the
engine must answer is `/v1/completions` with `echo` and `logprobs`: the log-probability of every token of the prompt.

Texts are scored as they are, without a chat template, which is what OpenCompass does with a model in its own process.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from opencompass.models import OpenAISDK
from opencompass.models.base import LMTemplateParser
from opencompass.registry import ICL_INFERENCERS
from opencompass.tasks import OpenICLInferConcurrentTask

UNSCORED = Path("unscored.jsonl")
"""Prompts whose request failed for good, with the gateway's mark; in the current folder of the run."""
_SCORING = frozenset({"PPLInferencer", "LLInferencer", "PPLOnlyInferencer"})
_MARK = re.compile(r"\[\[request-failed:[0-9a-f-]+\]\]")


class NoScores(Exception):
    """The engine's answer does not hold a score for every token of the prompt."""


class ServedModel(OpenAISDK):
    """OpenAI's API, with `get_ppl` and `get_loglikelihood`, and with text completions in place of chat where `text`."""

    def __init__(self, *args: Any, text: bool = False, strip: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._text = text
        self._strip = strip
        self._workers = int(kwargs.get("max_workers") or 8)
        self._parser = LMTemplateParser(kwargs.get("meta_template") if text else None)
        self._lock = threading.Lock()

    def parse_template(self, prompt_template: Any, mode: str) -> Any:
        """Plain text where texts are scored or completed, turns of a chat elsewhere."""
        parser = self._parser if self._text or mode == "ppl" else self.template_parser
        return parser.parse_template(prompt_template, mode)

    def get_ppl(self, inputs: Sequence[str], mask_length: list[int] | None = None) -> Any:
        """Array of the mean negative log-likelihood of each text, in nats per token; NaN where its request failed.

        Divided by all tokens, the first one included, although nothing scores it: OpenCompass's own models do so.
        """
        return self.score(inputs, mask_length, lambda: None)

    def score(self, inputs: Sequence[str], mask_length: list[int] | None, tell: Callable[[], None]) -> Any:
        """As `get_ppl`; `tell` is called after each text."""
        if mask_length is not None:
            raise NotImplementedError("normalised perplexity needs the model's tokenizer")
        return self._each(inputs, lambda text: _mean(self._tokens(text)), tell)

    def get_loglikelihood(self, inputs: Sequence[str], conts: Sequence[str]) -> Any:
        """Log-likelihood of each continuation, in nats, given what stands before it in its input."""
        return self.score_endings(inputs, conts, lambda: None)

    def score_endings(self, inputs: Sequence[str], conts: Sequence[str], tell: Callable[[], None]) -> Any:
        """As `get_loglikelihood`; `tell` is called after each text."""
        endings = dict(zip(inputs, conts, strict=True))
        return self._each(inputs, lambda text: _of_ending(self._tokens(text), endings[text]), tell)

    def _each(self, inputs: Sequence[str], score: Callable[[str], float], tell: Callable[[], None]) -> Any:
        def one(text: str) -> float:
            value = score(text)
            tell()
            return value

        with ThreadPoolExecutor(self._workers) as pool:
            return np.array(list(pool.map(one, map(str, inputs))))

    def _tokens(self, text: str) -> list[tuple[str, float]] | None:
        """Every token of `text` but the first, with its log-probability; None when the request failed for good."""
        answer = self._complete(text, max_tokens=1, echo=True, logprobs=1, temperature=0.0)
        choice = answer.choices[0]
        if choice.text and (mark := _MARK.search(choice.text)):
            self._note(text, mark[0])
            return None
        return scored_tokens(choice.logprobs, answer.usage and answer.usage.prompt_tokens)

    def _generate(self, input: Any, max_out_len: int, temperature: float) -> str:
        """A chat, or a text completion where `text`."""
        prompt = _stripped(input) if self._strip else input
        if not self._text:
            return str(super()._generate(prompt, max_out_len, temperature))
        sampling = {"temperature": self.temperature, **(self.openai_extra_kwargs or {})}
        answer = self._complete(str(prompt), max_tokens=max_out_len, **sampling)
        return str(answer.choices[0].text)

    def _complete(self, prompt: str, **asked: Any) -> Any:
        headers = (self.openai_extra_kwargs or {}).get("extra_headers")
        self.acquire()
        try:
            return self.openai_client.completions.create(
                **{
                    "model": self.path,
                    "prompt": prompt,
                    "extra_headers": headers,
                    "extra_body": self.extra_body,
                    **asked,
                },
                timeout=self.timeout,
            )
        finally:
            self.release()

    def _note(self, text: str, mark: str) -> None:
        with self._lock, UNSCORED.open("a") as file:
            file.write(json.dumps({"prompt": text, "mark": mark}) + "\n")


class ServedInferTask(OpenICLInferConcurrentTask):
    """The concurrent task, for inferencers that score texts too; all requests of a data set's label are under way
    at once.
    """

    def _build_inferencer(self, model: Any, model_cfg: Any, dataset_cfg: Any, max_workers: int) -> Any:
        asked = dataset_cfg["infer_cfg"]["inferencer"]
        if self._inferencer_name(asked["type"]) not in _SCORING:
            return super()._build_inferencer(model, model_cfg, dataset_cfg, max_workers)
        settings = {**asked, "model": model, "max_seq_len": model_cfg.get("max_seq_len"), "batch_size": 1_000_000}
        inferencer = ICL_INFERENCERS.build(settings)
        inferencer.progress_tracker = None  # the task sets it when it finds the attribute
        inferencer.model = _Counted(model, inferencer, _labels(dataset_cfg["infer_cfg"]))
        return inferencer


class _Counted:
    """A model whose scored texts count as the data set's progress."""

    def __init__(self, model: ServedModel, inferencer: Any, labels: int) -> None:
        self._model = model
        self._inferencer = inferencer
        self._labels = labels
        self._asked = 0
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def get_ppl_from_template(self, templates: Any, mask_length: list[int] | None = None) -> Any:
        return self._model.score(self._model.parse_template(templates, mode="ppl"), mask_length, self._tell)

    def get_loglikelihood(self, inputs: Sequence[str], conts: Sequence[str]) -> Any:
        return self._model.score_endings(inputs, conts, self._tell)

    def _tell(self) -> None:
        with self._lock:
            self._asked += 1
            self._inferencer.progress_tracker.set_completed(self._asked // self._labels)


def _stripped(prompt: Any) -> Any:
    """The same prompt, its last turn without line breaks at its end."""
    if isinstance(prompt, str):
        return prompt.rstrip("\n")
    *before, last = prompt
    return type(prompt)([*before, {**last, "prompt": last["prompt"].rstrip("\n")} if isinstance(last, dict) else last])


def scored_tokens(logprobs: Any, prompt_tokens: int | None) -> list[tuple[str, float]]:
    """Tokens of the prompt with their log-probabilities, without the first, which nothing comes before.

    Raises: NoScores when one of them has none: an average over the rest would be a number without meaning.
    """
    scores = list(getattr(logprobs, "token_logprobs", None) or [])
    # One token was generated, since not every engine can be asked for none.
    count = prompt_tokens or len(scores) - 1
    if len(scores) < count or count < 1:
        raise NoScores(
            f"the engine gave {len(scores)} log-probabilities for a prompt of {prompt_tokens} tokens: it does not "
            "score prompts (`echo` with `logprobs` on /v1/completions)"
        )
    found = list(zip(logprobs.tokens[1:count], scores[1:count], strict=True))
    if any(score is None or not math.isfinite(score) for _, score in found):
        raise NoScores("the engine gave some tokens of the prompt no finite log-probability")
    return found


def _mean(tokens: list[tuple[str, float]] | None) -> float:
    return math.nan if tokens is None else -sum(score for _, score in tokens) / (len(tokens) + 1)


def _of_ending(tokens: list[tuple[str, float]] | None, ending: str) -> float:
    """Counted from the end: what stands before may hold special tokens that the text does not show."""
    if tokens is None:
        return math.nan
    total, length = 0.0, 0
    for token, score in reversed(tokens):
        if length >= len(ending):
            break
        total += score
        length += len(token)
    return total


def _labels(infer_cfg: Any) -> int:
    """Texts per sample: a template per label, or one."""
    cfg = infer_cfg.get("prompt_template") or infer_cfg.get("ice_template")
    template = cfg["template"]
    labelled = isinstance(template, dict) and not {"round", "begin", "end"} & set(map(str, template))
    return len(template) if labelled else 1
