"""The two locks as they are, and the steps that write them."""

import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from lock_format import Cost, Package, in_batches, normalised, read_packages
from lock_requirements import finished, measure, with_bare_names, without_idle_markers

ROOT = Path(__file__).parents[1]
RUNTIME, DEV = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
JAX = ROOT / "requirements-jax.lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirement_blocks(lock: Path) -> list[str]:
    """Each requirement with the lines that continue it."""
    return re.findall(r"^[a-z0-9](?:.*\\\n)*.*", lock.read_text(), re.M)


@pytest.mark.parametrize("lock", [RUNTIME, DEV, JAX], ids=lambda lock: lock.name)
def test_every_requirement_is_exact_and_hashed(lock: Path) -> None:
    blocks = requirement_blocks(lock)
    assert len(blocks) > (20 if lock == JAX else 100)
    assert [block for block in blocks if "==" not in block or "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("lock", [RUNTIME, DEV, JAX], ids=lambda lock: lock.name)
def test_lock_names_no_place_on_a_network_or_a_disk(lock: Path) -> None:
    options = [line for line in lock.read_text().splitlines() if line.startswith("-")]
    assert options == ["--only-binary :all:"]
    assert "//" not in lock.read_text()


def test_what_tests_need_comes_on_top_of_what_runs() -> None:
    runtime, dev = read_packages(RUNTIME.read_text()), read_packages(DEV.read_text())
    assert runtime.keys() < dev.keys()
    assert {name: dev[name].versions for name in runtime} == {
        name: package.versions for name, package in runtime.items()
    }


@pytest.mark.parametrize(
    ("lock", "declared"),
    [
        (RUNTIME, [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]),
        (DEV, PROJECT["dependency-groups"]["dev"]),
        (JAX, PROJECT["dependency-groups"]["jax"]),
    ],
    ids=["runtime", "dev", "jax"],
)
def test_lock_satisfies_what_is_declared(lock: Path, declared: list[str]) -> None:
    locked = read_packages(lock.read_text())
    for requirement in map(Requirement, declared):
        versions = locked[normalised(requirement.name)].versions
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_jax_is_tested_with_the_versions_that_run_and_without_tensorflow() -> None:
    jax, dev = read_packages(JAX.read_text()), read_packages(DEV.read_text())
    assert "tensorflow" not in jax
    assert jax.keys() - dev.keys() == {"jax", "jaxlib"}
    assert {name: jax[name].versions for name in jax.keys() & dev.keys()} == {
        name: dev[name].versions for name in jax.keys() & dev.keys()
    }


def test_no_second_tensorflow_is_locked() -> None:
    named = {
        name for name in read_packages(DEV.read_text()) if name.startswith(("tensorflow", "tf-"))
    }
    assert named == {"tensorflow"}


def test_sizes_of_nearly_all_packages_are_known() -> None:
    packages = read_packages(RUNTIME.read_text())
    unsized = {name for name, package in packages.items() if package.cost == Cost()}
    # Those whose marker leaves them out on the machine where the lock was measured.
    assert unsized <= {"async-timeout", "deprecated", "pendulum", "whenever"}
    total = sum((package.cost for package in packages.values()), start=Cost())
    assert 100 < total.packages <= len(packages)
    assert 300e6 < total.download < total.disk


def test_only_markers_that_decide_something_stay() -> None:
    everywhere = "python_full_version < '3.14' and platform_python_implementation == 'CPython'"
    text = (
        f"six==1.17.0 ; {everywhere} \\\n    --hash=sha256:00\n    # via ; a comment\n"
        f"numpy==2.4.6 ; {everywhere} and python_full_version < '3.12' \\\n    --hash=sha256:11\n"
        "appnope==1 ; sys_platform == 'darwin' \\\n    --hash=sha256:22\n"
    )
    assert without_idle_markers(text) == text.replace(f" ; {everywhere} \\", " \\")


def test_requirement_with_an_extra_is_pinned_by_its_bare_name_too() -> None:
    hashes = " \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n"
    text = f"six==1.17.0{hashes}httpx[http2]==0.28.1{hashes}    # via prefect\n"
    expected = text.replace("httpx[http2]", f"httpx==0.28.1{hashes}httpx[http2]")
    assert with_bare_names(text) == expected


def test_wheels_are_measured_with_their_bytecode(tmp_path: Path) -> None:
    wheel = tmp_path / "Tiny_Dep-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_dep.py", "x" * 1000)
        archive.writestr("tiny_dep.so", "x" * 500)
    costs = measure(tmp_path)
    assert costs == {"tiny-dep": Cost(1, wheel.stat().st_size, 2500)}
    lock = "tiny_dep==1.0 \\\n    --hash=sha256:00\nother==2.0 \\\n    --hash=sha256:11\n"
    text = finished("requirements.lock", lock, costs)
    assert read_packages(text) == {
        "tiny-dep": Package(
            frozenset({"1.0"}),
            costs["tiny-dep"],
            "tiny_dep==1.0 \\\n    --hash=sha256:00\n"
            f"    # size: {wheel.stat().st_size} bytes to download, 2500 bytes on disk\n",
        ),
        "other": Package(frozenset({"2.0"}), Cost(), "other==2.0 \\\n    --hash=sha256:11\n"),
    }
    assert "# 1 packages, 0 MB to download, 0 MB on disk (" in text


def test_batches_go_from_small_to_large_within_their_limit() -> None:
    def package(size: int) -> Package:
        return Package(frozenset({"1"}), Cost(1, size, 2 * size), "")

    batches = in_batches(map(package, [50, 3, 4, 900, 6, 5]), limit=10)
    sizes = [[member.cost.download for member in batch] for batch in batches]
    assert sizes == [[3, 4], [5], [6], [50], [900]]
    assert in_batches([], limit=10) == []
