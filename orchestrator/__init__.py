"""The job: its spec, the sequence serve, probe, evaluate, teardown, its record and the command line."""
