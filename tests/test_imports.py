from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import maskloop

HEAVY = ("torch", "skimage", "scipy", "pandas", "lightning_fabric", "PIL", "cc3d")


def loaded_after(code: str) -> set[str]:
    """Names of the heavy libraries that a fresh interpreter has loaded after this code."""
    script = (
        f"import sys\n{code}\nprint(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_maskloop_loads_nothing_heavy_not_even_numpy() -> None:
    script = "import sys, maskloop; print('numpy' in sys.modules, 'pydantic' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        == "False False\n"
    )


def test_opening_a_project_loads_neither_torch_nor_scikit_image(tmp_path: Path) -> None:
    maskloop.Project.create(tmp_path / "p", mode="instances")
    assert not loaded_after(
        f"from maskloop import Project; Project.open({str(tmp_path / 'p')!r}).status()"
    )


def test_the_command_line_loads_nothing_heavy_before_a_verb_needs_it() -> None:
    assert not loaded_after("import maskloop.cli")


@pytest.mark.parametrize("name", maskloop.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(maskloop, name).__name__ == name


def test_public_names_are_sorted_and_listed() -> None:
    assert maskloop.__all__ == sorted(maskloop.__all__)
    assert set(maskloop.__all__) <= set(dir(maskloop))


def test_every_error_is_public() -> None:
    from maskloop import errors

    assert set(errors.__all__) <= set(maskloop.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'maskloop' has no attribute 'Projct'"):
        _ = maskloop.Projct
