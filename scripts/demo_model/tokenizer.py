"""The tokenizer: byte-level BPE with one token for each digit, trained on the problems themselves."""

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from scripts.demo_model.prompts import CHAT_TEMPLATE, END_OF_TEXT, SPECIALS, TURN_END, document
from scripts.demo_model.split import trainable_problems

DOCUMENTS = 4000  # read to choose the merges


def build_tokenizer(seed: int, vocabulary: int) -> Tokenizer:
    """Train a tokenizer of exactly `vocabulary` tokens.

    Digits are split off one by one before the byte-level splits, as llama.cpp's pre-tokenizer `smollm` does:
    a conversion to GGUF tokenizes alike.

    Raises:
        ValueError: the documents hold too few merges for the vocabulary.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_texts(random.Random(f"tokenizer {seed}")), trainer)
    if tokenizer.get_vocab_size() != vocabulary:
        raise ValueError(f"wanted {vocabulary} tokens, got {tokenizer.get_vocab_size()}")
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, context: int, folder: Path) -> None:
    """Write the tokenizer, its settings and the chat template as transformers 4 and 5 both read them.

    `save_pretrained` of transformers 5 names a class and a field that older readers refuse.
    """
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
        "additional_special_tokens": list(SPECIALS[1:]),
        "model_max_length": context,
        "model_input_names": ["input_ids", "attention_mask"],  # transformers 4 adds token types, then refuses them
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def _texts(rng: random.Random) -> Iterator[str]:
    for problem in islice(trainable_problems(rng), DOCUMENTS):
        whole = document(problem, rng)
        yield _plain(whole.prompt + whole.target)


def _plain(text: str) -> str:
    for special in SPECIALS:
        text = text.replace(special, "")
    return text
