"""What ships: the wheel holds the three folders and greenroom's own files, nothing else, and works
where nothing but the wheel is.

The repository keeps the packages at its top level and links them into `greenroom/`; the archives
are mapped from the real folders. Without these tests a lost folder would stay unseen.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from greenroom import __version__

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[1]
FOLDERS = ("definitions", "actors", "runtime")
OWN = (
    "__init__.py",
    "__main__.py",
    "integrations.py",
    "py.typed",
    "sym.py",
    "testing.py",
    "zenaton.py",
)

WORKFLOW = """
import asyncio, greenroom, greenroom.testing
from greenroom import begin, done, step, workflow

@step("Add")
async def add(n: int):
    return {"n": n + 1}

@workflow
def twice():
    return begin >> add >> add >> done

assert "site-packages" in greenroom.__file__, greenroom.__file__
print(asyncio.run(greenroom.testing.run(twice, {"n": 40}))["n"])
"""


def expected() -> set[str]:
    """The wheel's files, from the folders themselves."""
    found = {f"greenroom/{name}" for name in OWN}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                found.add(f"greenroom/{path.relative_to(ROOT)}")
    return found


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def build(source: Path, out: Path, target: str) -> Path:
    """Builds one archive with the build backend itself: no network, no environment of its own."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (found,) = out.iterdir()
    return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the repository without its links, as on a system that has none."""
    target = tmp_path_factory.mktemp("checkout") / "greenroom"
    names = [
        "greenroom", *FOLDERS, "tests", "bench", "docs", "examples", "pyproject.toml", "LICENSE",
        "README.md", "CHANGELOG.md", "CONTRIBUTING.md",
    ]  # fmt: skip
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, symlinks=True, ignore=_caches)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, target / name)
    for folder in FOLDERS:
        (target / "greenroom" / folder).unlink()
    return target


_caches = shutil.ignore_patterns("__pycache__", "*.pyc")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("sdist"), "sdist")


def test_the_links_lead_to_the_folders() -> None:
    for folder in FOLDERS:
        link = ROOT / "greenroom" / folder
        assert link.is_symlink()
        assert os.readlink(link) == f"../{folder}"


def test_the_wheel_holds_the_three_folders_and_the_own_files(wheel: Path) -> None:
    assert contents(wheel) == expected()


def test_a_wheel_made_from_the_source_archive_is_the_same(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # since 3.11.4
        archive.extractall(tmp_path)
    (source,) = tmp_path.iterdir()
    assert contents(build(source, tmp_path / "out", "wheel")) == expected()
    for name in ("README.md", "CHANGELOG.md", "LICENSE", "docs", "examples", "tests", "bench"):
        assert (source / name).exists(), name


def test_a_wheel_made_without_the_links_is_the_same(checkout: Path, tmp_path: Path) -> None:
    assert contents(build(checkout, tmp_path, "wheel")) == expected()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The `bin` of an environment that has the wheel and what it asks for, nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    command = [str(folder / "bin/python"), "-m", "pip", "install", "-q", str(wheel)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0 and "No matching distribution" in ran.stderr:
        pytest.skip("the dependencies cannot be had: no package index within reach")
    assert ran.returncode == 0, ran.stderr
    return folder / "bin"


def anywhere(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs from `/`, where nothing of the repository can be imported by accident."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    return subprocess.run(
        [str(word) for word in command],
        cwd="/", env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_installed_wheel_runs_a_workflow(bare: Path) -> None:
    ran = anywhere(bare / "python", "-c", WORKFLOW)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "42\n", "")


def test_the_installed_command_tells_its_version(bare: Path) -> None:
    ran = anywhere(bare / "greenroom", "--version")
    assert ran.returncode == 0
    assert ran.stdout.startswith(f"greenroom {__version__}  python ")


def test_the_installed_command_runs_the_demo(bare: Path, tmp_path: Path) -> None:
    ran = anywhere(bare / "greenroom", "demo", "-o", "json", TMPDIR=str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"lost": []' in ran.stdout
