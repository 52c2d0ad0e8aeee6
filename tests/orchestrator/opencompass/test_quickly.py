"""How OpenCompass's process is started: by a function's name, its modules out of the garbage collector's sight."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from orchestrator.evaluators.opencompass.evaluator import PLUGIN

TOLD = """
import gc
import sys

at_import = gc.isenabled()


def main():
    print(sys.argv[1:], at_import, gc.isenabled(), gc.get_freeze_count() > 0)
    return 3
"""


def test_a_function_is_called_with_its_arguments_and_only_imports_are_kept_from_the_garbage_collector(
    tmp_path: Path,
) -> None:
    (tmp_path / "told.py").write_text(TOLD)
    argv = [sys.executable, "-m", "orchestrated.quickly", "told:main", "a.py", "-w", "out"]
    run = subprocess.run(argv, cwd=tmp_path, env={"PYTHONPATH": str(PLUGIN)}, capture_output=True, text=True)
    assert (run.stdout, run.returncode) == ("['a.py', '-w', 'out'] False True True\n", 3)


def test_a_module_that_cannot_be_imported_fails_with_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import absent_for_sure\n")
    argv = [sys.executable, "-m", "orchestrated.quickly", "broken:main"]
    run = subprocess.run(argv, cwd=tmp_path, env={"PYTHONPATH": str(PLUGIN)}, capture_output=True, text=True)
    assert run.returncode == 1
    assert "ModuleNotFoundError: No module named 'absent_for_sure'" in run.stderr
