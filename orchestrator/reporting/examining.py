"""Results looked through once more when all is over: which answers were cut, and which traps the job fell into."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.job_folder import JobFolder
from orchestrator.record import JobRecord
from orchestrator.reporting.answers import texts_of
from orchestrator.reporting.traffic import Traffic, read_traffic
from orchestrator.reporting.traps import traps_in, traps_of_requests
from orchestrator.results import DatasetResult, Sample


@dataclass(frozen=True, slots=True)
class Examined:
    """Results with a note on each trap, samples with `cut`."""

    results: list[DatasetResult]
    samples: list[Sample]


def examine(folder: JobFolder, record: JobRecord, samples: Sequence[Sample]) -> Examined:
    """What `record` and `samples` become. Reads the requests, and the journal where answers were cut."""
    traffic = read_traffic(folder.requests)
    marked = _marked(folder, samples, traffic)
    stop = tuple({word for one in record.spec["evaluate"] for word in one.get("generation", {}).get("stop", [])})
    return Examined([_noted(result, marked, traffic, stop) for result in record.results], marked)


def _marked(folder: JobFolder, samples: Sequence[Sample], traffic: Traffic) -> list[Sample]:
    if not traffic.cut:
        return list(samples)
    texts: frozenset[str] = frozenset()
    with contextlib.suppress(OSError):
        texts = texts_of(folder.journal, traffic.cut)
    return [_with_cut(sample, texts) for sample in samples]


def _with_cut(sample: Sample, texts: frozenset[str]) -> Sample:
    cut = sample.output is not None and sample.output.strip() in texts
    return sample.model_copy(update={"cut": True}) if cut else sample


def _noted(result: DatasetResult, samples: Sequence[Sample], traffic: Traffic, stop: Sequence[str]) -> DatasetResult:
    traps = traps_in([sample for sample in samples if sample.dataset == result.dataset], stop)
    if not any(sample.cut for sample in samples):  # texts that a rule changed on the way cannot be told by sample
        traps = [*traps_of_requests(traffic), *traps]
    notes = [trap.note for trap in traps if trap.note not in result.notes]
    return result.model_copy(update={"notes": [*result.notes, *notes]}) if notes else result
