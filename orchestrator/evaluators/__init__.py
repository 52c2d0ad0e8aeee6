"""One module per evaluator."""
