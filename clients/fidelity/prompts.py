"""What the engine is asked: short, different from each other, and none that a model answers with one word."""

from __future__ import annotations

MAX_TOKENS = 12
"""Tokens of one answer: enough to tell two texts apart, few enough for an engine that answers one at a time."""

PROMPTS = (
    "Tom has 12 apples and buys 30 more, then gives half of them away. How many apples are left? Explain.",
    "Describe the water cycle in three sentences.",
    "Write the numbers from one to twenty as words.",
    "What is AI? Explain it to a child.",
    "List ten animals and where each of them lives.",
    "Ann reads 15 pages a day. How many pages does she read in 4 weeks? Explain every step.",
    "Translate into French: the weather is nice today and we are going to the sea.",
    "Write a short story about a lighthouse keeper and his dog.",
)
"""Eight, for a batch; the first one is also asked alone."""

REPETITION = "Repeat this line without end: sun sun sun sun sun sun sun sun sun sun sun sun"
"""An answer to it repeats itself, which any penalty on repetition changes."""

SCORED = "The quick brown fox jumps over the lazy dog near the river bank."
"""A text whose tokens are scored."""

COUNTED = (
    "What is AI?",
    "A train leaves at 9:45 and takes 2 h 35 min; the ticket costs 12.50 €, naïve travellers pay 3 % more.\n"
    "\n"
    "    1. When does it arrive?\n"
    "    2. What do 17 tickets cost (with the 3 %)?\n"
    "Answer step by step, then write `#### ` and the number. 日本語 is not needed.",
)
"""User turns whose tokens are counted."""

SYSTEM = "You are a careful assistant. Answer briefly."
"""A system turn whose tokens are counted."""
