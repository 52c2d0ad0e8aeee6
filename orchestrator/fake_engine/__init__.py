"""A server that looks like an inference engine: to try the tool without a GPU, and to break things."""
