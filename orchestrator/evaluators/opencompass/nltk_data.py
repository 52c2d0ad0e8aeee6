"""NLTK's data, which some scorers read: without it most die once all is asked, and IFBench takes answers for wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator.evaluators.opencompass.missing import Data

_SENTENCES = ("tokenizers/punkt_tab",)
_READ_BY = {
    "IFEvaluator": _SENTENCES,
    "MultiIFEvaluator": _SENTENCES,
    "IFBenchEvaluator": (*_SENTENCES, "taggers/averaged_perceptron_tagger_eng", "corpora/stopwords"),
    "MeteorEvaluator": ("corpora/wordnet",),
}
"""By scorer, from the source of OpenCompass 0.5.4."""
_SHARED = tuple(Path(f"/{part}/nltk_data") for part in ("usr/share", "usr/local/share", "usr/lib", "usr/local/lib"))


def missing_nltk_data(types: Iterable[str], package: Path) -> Iterator[Data]:
    """What these scorers read and NLTK would not find; `package` is the installed `opencompass`."""
    places = _places(package.parents[3])
    for part in dict.fromkeys(part for kind in sorted(types) for part in _READ_BY.get(kind, ())):
        if not any((place / part).exists() or (place / f"{part}.zip").exists() for place in places):
            python = package.parents[3] / "bin" / "python"
            fetched = f"with a network: {python} -m nltk.downloader -d {places[0]} {part.rsplit('/', 1)[1]}"
            yield Data(f"nltk:{part}", "absent", places[0] / part, fetched)


def _places(prefix: Path) -> list[Path]:
    """Where NLTK looks, in its order."""
    given = [Path(place) for place in os.environ.get("NLTK_DATA", "").split(os.pathsep) if place]
    own = [prefix / part / "nltk_data" for part in ("", "share", "lib")]
    return [*given, Path("~/nltk_data").expanduser(), *own, *_SHARED]
