"""Arithmetic word problems in GSM8K form: what they ask, and the working that solves them."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

NAMES = "Ada Bo Carl Dina Eli Fay Gus Hana Ian Jill Ken Lea Milo Nora Otto Pia Ray Suki Tim Uma"
THINGS = "acorns beads buns bolts clips corks figs jars lamps mugs nails nuts pears pins rings tiles"


class Kind(StrEnum):
    """What a problem asks for."""

    SUM = "sum"
    DIFFERENCE = "difference"
    PRODUCT = "product"
    SUM_THEN_DIFFERENCE = "sum then difference"
    SUM_OF_THREE = "sum of three"
    LARGE_SUM = "large sum"


@dataclass(frozen=True)
class Step:
    """One calculation, `left sign right`, between natural numbers; its value is not negative."""

    left: int
    sign: str
    right: int

    @property
    def value(self) -> int:
        """What it comes to."""
        match self.sign:
            case "+":
                return self.left + self.right
            case "-":
                return self.left - self.right
            case "*":
                return self.left * self.right
        raise ValueError(f"no such sign: {self.sign!r}")

    @property
    def asked(self) -> str:
        """The calculation as asked: `47 + 38`."""
        return f"{self.left} {self.sign} {self.right}"

    @property
    def solved(self) -> str:
        """The way to the value in easy moves, tens before units: `70 + 15 = 85`."""
        tens, units = divmod(self.right, 10)
        match self.sign:
            case "+" if (tens := tens + self.left // 10) > 0:
                return f"{tens * 10} + {units + self.left % 10} = {self.value}"
            case "-" if tens > 0 and units > 0:
                return f"{self.left - tens * 10} - {units} = {self.value}"
        return f"{self.value}"

    def __str__(self) -> str:
        return f"{self.asked} = {self.solved}"


@dataclass(frozen=True)
class Problem:
    """One word problem. `working` states each of `steps` in full; the last step's value is the answer."""

    kind: Kind
    thing: str
    question: str
    working: str
    steps: tuple[Step, ...]

    @property
    def result(self) -> int:
        """The final answer."""
        return self.steps[-1].value


def draw(kind: Kind, rng: random.Random) -> Problem:
    """Return a random problem of `kind`, from either side of the split."""
    name, thing = rng.choice(NAMES.split()), rng.choice(THINGS.split())
    question, working, steps = _WRITERS[kind](rng, name, thing)
    return Problem(kind, thing, question, working, steps)


Written = tuple[str, str, tuple[Step, ...]]


def _sum(rng: random.Random, name: str, thing: str) -> Written:
    return _found(Step(rng.randint(2, 99), "+", rng.randint(2, 99)), name, thing)


def _large_sum(rng: random.Random, name: str, thing: str) -> Written:
    return _found(Step(rng.randint(100, 899), "+", rng.randint(100, 899)), name, thing)


def _found(step: Step, name: str, thing: str) -> Written:
    question = f"{name} had {step.left} {thing} and found {step.right} more. How many {thing} is that?"
    return question, f"That is {step} {thing}.", (step,)


def _difference(rng: random.Random, name: str, thing: str) -> Written:
    left = rng.randint(5, 99)
    step = Step(left, "-", rng.randint(1, left - 1))
    question = f"{name} had {left} {thing} and lost {step.right} of them. How many {thing} were left?"
    return question, f"There were {step} {thing} left.", (step,)


def _product(rng: random.Random, name: str, thing: str) -> Written:
    step = Step(rng.randint(2, 9), "*", rng.randint(2, 9))
    question = f"{name} filled {step.left} bags with {step.right} {thing} each. How many {thing} is that?"
    return question, f"That is {step} {thing}.", (step,)


def _sum_then_difference(rng: random.Random, name: str, thing: str) -> Written:
    first = Step(rng.randint(2, 60), "+", rng.randint(2, 39))
    then = Step(first.value, "-", rng.randint(1, first.value - 1))
    question = (
        f"{name} had {first.left} {thing}, found {first.right} more and then lost {then.right} of them. "
        f"How many {thing} were left?"
    )
    return question, f"First that is {first} {thing}. Then there were {then} {thing} left.", (first, then)


def _sum_of_three(rng: random.Random, name: str, thing: str) -> Written:
    first = Step(rng.randint(10, 99), "+", rng.randint(10, 99))
    then = Step(first.value, "+", rng.randint(10, 99))
    question = (
        f"{name} put {first.left} {thing} in a box, {first.right} in a tin and {then.right} in a jug. "
        f"How many {thing} is that in all?"
    )
    return question, f"First that is {first} {thing}. Then that is {then} {thing}.", (first, then)


_WRITERS: dict[Kind, Callable[[random.Random, str, str], Written]] = {
    Kind.SUM: _sum,
    Kind.DIFFERENCE: _difference,
    Kind.PRODUCT: _product,
    Kind.SUM_THEN_DIFFERENCE: _sum_then_difference,
    Kind.SUM_OF_THREE: _sum_of_three,
    Kind.LARGE_SUM: _large_sum,
}
