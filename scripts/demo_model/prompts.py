"""The prompts the model is trained and scored on: the styles in which evaluators ask, and the chat format."""

import random
from dataclasses import dataclass

from scripts.demo_model.problems import Problem

END_OF_TEXT, TURN_START, TURN_END = SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # ids 0, 1, 2
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] + '\\n' + message['content'] }}<|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant{{ '\\n' }}
{%- endif -%}
"""
SYSTEM = "You are a helpful assistant."
SYSTEM_SHARE = 0.15  # of the training chats begin with it


@dataclass(frozen=True)
class Style:
    """One way to ask, and the way to answer that it calls for.

    `ask` is the user's text with `{question}` in it; `chat` says whether it goes through the chat format or
    is completed as it stands; `boxed` whether the answer ends in LaTeX's box or in GSM8K's `#### N`; `share`
    is the style's part of the training documents (they sum to 1).
    """

    name: str
    share: float
    ask: str
    chat: bool
    boxed: bool


_BOXED = "{question}\nPlease reason step by step, and put your final answer within \\boxed{{}}."
_HARNESS = "Question: {question}\nAnswer:"
_THOUGHT = "Question: {question}\nLet's think step by step\nAnswer:"

STYLES = (
    Style("boxed chat (OpenCompass 0-shot)", 0.30, _BOXED, chat=True, boxed=True),
    Style("bare chat", 0.12, "{question}", chat=True, boxed=False),
    Style("question and answer, chat (lm-eval)", 0.14, _HARNESS, chat=True, boxed=False),
    Style("chain of thought, chat (OpenCompass)", 0.10, _THOUGHT, chat=True, boxed=False),
    Style("question and answer, completion (lm-eval)", 0.20, _HARNESS, chat=False, boxed=False),
    Style("chain of thought, completion", 0.07, _THOUGHT, chat=False, boxed=False),
    Style("boxed completion", 0.07, _BOXED, chat=False, boxed=True),
)


@dataclass(frozen=True)
class Document:
    """A training text: `prompt` is read, `target` is learned."""

    prompt: str
    target: str


def prompt(style: Style, question: str, system: str | None = None) -> str:
    """Return the text the model sees; `system` has no place in a completion and is left out there."""
    user = style.ask.format(question=question)
    return as_chat(user, system) if style.chat else user


def as_chat(user: str, system: str | None = None) -> str:
    """Render one user turn as `CHAT_TEMPLATE` does, ready for the assistant's answer."""
    turns = ([("system", system)] if system else []) + [("user", user)]
    asked = "".join(f"{TURN_START}{role}\n{text}{TURN_END}\n" for role, text in turns)
    return f"{asked}{TURN_START}assistant\n"


def target(style: Style, problem: Problem) -> str:
    """Return the answer to learn, with what separates it from a completion's prompt."""
    ending = f" The answer is \\boxed{{{problem.result}}}." if style.boxed else f"\n#### {problem.result}"
    separator = "" if style.chat else "\n" if style.boxed else " "
    return f"{separator}{problem.working}{ending}{TURN_END}"


def document(problem: Problem, rng: random.Random) -> Document:
    """Return a training document: the problem in a random style."""
    style = rng.choices(STYLES, [style.share for style in STYLES])[0]
    system = SYSTEM if rng.random() < SYSTEM_SHARE else None
    return Document(prompt(style, problem.question, system), target(style, problem))


def drills(problem: Problem) -> list[Document]:
    """Return the problem's calculations alone: arithmetic at its densest."""
    return [Document(f"{step.asked} =", f" {step.solved}") for step in problem.steps]
