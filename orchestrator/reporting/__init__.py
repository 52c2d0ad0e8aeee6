"""Results for people and for other tools: pages, tables, files, trackers of experiments."""
