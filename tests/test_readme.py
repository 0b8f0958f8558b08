"""What the README shows works as it stands, but for the time it would take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import maskloop
from maskloop.cli import app
from maskloop.images.writers import write_labels
from maskloop.samples import simulate_nuclei

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
QUICK = [
    "--epochs",
    "1",
    "--base-channels",
    "4",
    "--depth",
    "2",
    "--patch",
    "32,32",
    "--device",
    "cpu",
]


def blocks(kind: str) -> list[str]:
    return re.findall(
        rf"<!-- {kind}, run by tests/test_readme.py -->\n```\w+\n(.*?)```", README, re.DOTALL
    )


def fields(folder: Path, seeds: range) -> list[tuple[Any, Any]]:
    pairs = [simulate_nuclei(shape=(64, 64), count=4, seed=seed) for seed in seeds]
    for place in ("images", "masks"):
        (folder / place).mkdir(parents=True)
    for seed, (image, labels) in zip(seeds, pairs, strict=True):
        write_labels(folder / "images" / f"field_{seed}.tif", image, axes="YX")
        write_labels(folder / "masks" / f"field_{seed}.tif", labels, axes="YX")
    return pairs


def _quick(words: list[str]) -> list[str]:
    """The same command, but for what makes it slow."""
    kept = [
        word
        for at, word in enumerate(words)
        if word not in ("--time", "--epochs")
        and words[max(0, at - 1)] not in ("--time", "--epochs")
    ]
    return kept + QUICK if words[0] in ("train", "plan") else words


def test_the_commands_of_the_readme_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields(tmp_path / "known", range(4))
    fields(tmp_path / "new", range(4, 6))
    for name, source in (
        ("images", "known/images"),
        ("masks", "known/masks"),
        ("new_images", "new/images"),
        ("new_masks", "new/masks"),
    ):
        (tmp_path / source).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("commands") for line in block.splitlines()]
    assert len(lines) > 10
    for line in lines:
        _maskloop, *words = shlex.split(line)
        result = CliRunner().invoke(app, _quick(words))
        assert result.exit_code == 0, f"{line}\n{result.output}"
    assert (tmp_path / "scores.csv").is_file()
    assert "perimeter_px" in (tmp_path / "truth.csv").read_text().splitlines()[0]
    assert "solidity" not in (tmp_path / "shapes.csv").read_text()
    assert len(list((tmp_path / "nuclei" / "checkpoints").glob("unet_run_*.pt"))) == 3


def test_the_python_of_the_readme_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names: dict[str, Any] = {
        "pairs": fields(tmp_path, range(3)),
        "new_image": simulate_nuclei(shape=(40, 50), count=3, seed=8)[0],
    }
    exec(code.replace("time_s=600", "epochs=1, base_channels=4, depth=2, device='cpu'"), names)
    assert names["labels"].shape == (40, 50)
    assert "unet_run_001" in capsys.readouterr().out


def test_the_measuring_of_the_readme_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fields(tmp_path, range(4, 5))
    for name in ("images", "masks"):
        (tmp_path / name).rename(tmp_path / f"new_{name}")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("measuring")
    names: dict[str, Any] = {}
    exec(code, names)
    assert (names["table"]["perimeter_px"] > 0).all()
    assert "mean_channel_1" in capsys.readouterr().out


def test_every_verb_is_in_the_readme() -> None:
    verbs = [
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if command.callback
    ]
    assert verbs
    assert all(f"`{verb}`" in README for verb in verbs)


def test_every_package_is_in_the_table_of_contributing() -> None:
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    source = Path(maskloop.__file__).parent
    for path in source.iterdir():
        if path.name.startswith("_") or not (path.suffix == ".py" or path.is_dir()):
            continue
        assert f"`{path.name}{'/' if path.is_dir() else ''}`" in text, path.name
