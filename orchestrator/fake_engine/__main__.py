"""`python -m orchestrator.fake_engine`: the fake engine alone, listening in a tenth of a second."""

import sys

from orchestrator.fake_engine.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prog="python -m orchestrator.fake_engine"))
