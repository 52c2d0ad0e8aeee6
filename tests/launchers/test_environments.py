"""Isolated environments, really built by pip; the packages are tiny."""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launchers.environments import Environments, Recipe
from launchers.errors import InstallFailed

pytestmark = pytest.mark.slow

INSTALL = """
import sys
from pathlib import Path
from launchers.environments import Environments, Recipe

root, requirements = map(Path, sys.argv[1:3])
recipe = Recipe("tiny", requirements, "import iniconfig", "1 MB", "seconds")
found = Environments(root).install(recipe, report=print, log=root / sys.argv[3])
print("created", found.created, flush=True)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe, list[list[str]]]:
    """A root with the environment `tiny`, built by two processes at once, and what each of them printed."""
    root = tmp_path_factory.mktemp("environments")
    recipe = recipe_of(root)
    argv = [sys.executable, "-c", INSTALL, str(root / "root"), str(recipe.requirements)]
    both = [subprocess.Popen([*argv, f"{n}.log"], stdout=subprocess.PIPE, text=True) for n in range(2)]
    printed = [process.communicate(timeout=60)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    return root / "root", recipe, printed


def recipe_of(
    folder: Path, text: str = "iniconfig==2.3.1", check: str = "import iniconfig", size: str = "1 MB"
) -> Recipe:
    requirements = folder / "tiny.txt"
    requirements.write_text(f"# a comment\n{text}\n")
    return Recipe("tiny", requirements, check, size, "seconds")


def visible(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if not path.name.endswith((".lock", ".log")))


def ignore(_line: str) -> None:
    """No one to report to."""


def test_of_two_processes_one_builds_and_the_other_waits_and_reuses(
    built: tuple[Path, Recipe, list[list[str]]],
) -> None:
    root, recipe, printed = built
    waited = [lines for lines in printed if any("waiting" in line for line in lines)]
    installed = [lines for lines in printed if "package 1 of 1: iniconfig" in lines]
    assert len(waited) == len(installed) == 1
    assert waited[0] == ["tiny is being installed by another process; waiting for it", installed[0][-1]]
    short = hashlib.sha256(recipe.requirements.read_bytes()).hexdigest()[:12]
    assert visible(root) == ["tiny", f"tiny-{short}"]


def test_an_installed_environment_is_found_by_recipe_and_by_name(
    built: tuple[Path, Recipe, list[list[str]]],
) -> None:
    root, recipe, _ = built
    environments = Environments(root)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = environments.find(recipe)
    assert resource.getrusage(resource.RUSAGE_CHILDREN) == before, "nothing is started for it"
    assert found is not None
    assert found == environments.find("tiny")
    assert environments.installed() == [found]
    assert found.packages["iniconfig"] == "2.3.1"
    where = subprocess.check_output([found.python, "-c", "import iniconfig; print(iniconfig.__file__)"], text=True)
    assert Path(where).is_relative_to(found.folder)
    assert environments.find("another") is None


def test_an_installed_environment_is_reused_without_a_word(
    built: tuple[Path, Recipe, list[list[str]]],
) -> None:
    root, recipe, _ = built
    reports: list[str] = []
    again = Environments(root).install(recipe, report=reports.append, log=root / "again.log")
    assert again == Environments(root).find(recipe)
    assert reports == []


def test_other_requirements_replace_the_build_and_the_name_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "iniconfig.py").write_text("raise SystemExit('the wrong one')")
    environments = Environments(tmp_path / "root")
    first = environments.install(recipe_of(tmp_path), report=ignore, log=tmp_path / "1.log")
    changed = recipe_of(tmp_path, "iniconfig==2.3.1  # the same, said otherwise")
    assert environments.find(changed) is None
    half = tmp_path / "root" / f"tiny-{hashlib.sha256(changed.requirements.read_bytes()).hexdigest()[:12]}"
    (half / "bin").mkdir(parents=True)
    (half / "leftover").touch()
    assert environments.find(changed) is None

    second = environments.install(changed, report=ignore, log=tmp_path / "2.log")
    assert second.folder == half
    assert not (half / "leftover").exists(), "a half-built folder is built anew"
    assert environments.find("tiny") == second
    assert not first.folder.exists()
    assert "pip install" in (tmp_path / "2.log").read_text()


def test_a_check_that_fails_leaves_nothing_visible(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "root")
    recipe = recipe_of(tmp_path, check="import iniconfig, no_such_module")
    with pytest.raises(InstallFailed, match="No module named 'no_such_module'") as raised:
        environments.install(recipe, report=ignore, log=tmp_path / "install.log")
    assert "-m venv" in raised.value.hint
    assert f"-r {recipe.requirements}" in raised.value.hint
    assert visible(tmp_path / "root") == []
    assert environments.find(recipe) is None
    assert environments.installed() == []


def test_a_requirement_that_does_not_exist_fails_in_pips_words(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, "iniconfig==0.0.999")
    reports: list[str] = []
    with pytest.raises(InstallFailed, match=r"No matching distribution found for iniconfig==0\.0\.999"):
        Environments(tmp_path / "root").install(recipe, report=reports.append, log=tmp_path / "install.log")
    assert "installing packages" in reports
    assert visible(tmp_path / "root") == []


def test_too_small_a_disk_is_said_before_anything_is_built(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, size="900000 GB")
    with pytest.raises(InstallFailed, match=r"needs 1350000\.0 GB of disk"):
        Environments(tmp_path / "root").install(recipe, report=ignore, log=tmp_path / "install.log")
    assert not (tmp_path / "install.log").exists()


def test_an_environment_of_somebody_else_is_used_from_where_it_is(tmp_path: Path) -> None:
    recipe = Recipe("theirs", None, "import pytest", "20 GB", "by hand", distribution="pytest", by_hand="git clone ...")
    environments = Environments(tmp_path / "root")
    with pytest.raises(InstallFailed, match="cannot be installed from a package index") as raised:
        environments.install(recipe, report=ignore, log=tmp_path / "log")
    assert raised.value.hint == "git clone ..."
    adopted = environments.adopt(recipe, Path(sys.executable))
    assert adopted.python == Path(sys.executable)
    assert adopted.version == pytest.__version__
    assert environments.find(recipe) == environments.install(recipe, report=ignore, log=tmp_path / "log") == adopted


def test_an_environment_that_does_not_have_the_engine_is_not_adopted(tmp_path: Path) -> None:
    recipe = Recipe("theirs", None, "import no_such_module", "20 GB", "by hand")
    with pytest.raises(InstallFailed, match="No module named 'no_such_module'"):
        Environments(tmp_path / "root").adopt(recipe, Path(sys.executable))
    assert Environments(tmp_path / "root").find(recipe) is None


def test_only_what_the_file_names_is_installed_when_the_recipe_says_so(tmp_path: Path) -> None:
    recipe = replace(recipe_of(tmp_path, "markdown-it-py==4.3.0", "import sys"), no_deps=True)
    found = Environments(tmp_path / "root").install(recipe, report=ignore, log=tmp_path / "install.log")
    assert set(found.packages) - {"pip", "setuptools"} == {"markdown-it-py"}, "without the mdurl that it requires"
    assert "--no-deps" in (tmp_path / "install.log").read_text()


def test_another_version_is_installed_and_used_until_the_pinned_one_is_asked_for(tmp_path: Path) -> None:
    recipe = replace(recipe_of(tmp_path), distribution="iniconfig", other="iniconfig=={version}")
    environments, log = Environments(tmp_path / "root"), tmp_path / "install.log"
    pinned = environments.install(recipe, report=ignore, log=log)
    other = environments.install(environments.choose(recipe, "2.0.0"), report=ignore, log=log)
    assert (pinned.version, other.version, other.chosen) == ("2.3.1", "2.0.0", "2.0.0")
    assert environments.find(recipe) == environments.install(recipe, report=ignore, log=log) == other
    assert environments.install(environments.choose(recipe, "pinned"), report=ignore, log=log).version == "2.3.1"
    found = environments.find(recipe)
    assert found is not None
    assert (found.version, found.chosen) == ("2.3.1", "")


@pytest.mark.parametrize(("other", "version"), [("", "2.0.0"), ("iniconfig=={version}", "2.0; import os")])
def test_a_version_that_cannot_be_chosen_is_refused_with_the_way_out(tmp_path: Path, other: str, version: str) -> None:
    recipe = replace(recipe_of(tmp_path), other=other)
    with pytest.raises(InstallFailed, match="cannot be installed by itself") as raised:
        Environments(tmp_path / "root").choose(recipe, version)
    assert "--python" in raised.value.hint
