"""What runs inside OpenCompass's own environment; nothing of the orchestrator is imported here."""
