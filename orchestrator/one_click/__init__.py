"""One click: the Hugging Face models of an OpenCompass config become jobs on another engine; the config stays."""

from orchestrator.one_click.reading import WholeConfig, read_config
from orchestrator.one_click.taking_over import OneClickJob, Skipped, TakenOver, Wishes, take_over

__all__ = ["OneClickJob", "Skipped", "TakenOver", "WholeConfig", "Wishes", "read_config", "take_over"]
