"""How an engine is started, found ready, watched, diagnosed and stopped."""
