"""Ready job specs, evaluator configs, small data sets and the demo model: data, no logic."""
