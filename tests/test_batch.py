from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from maskloop.errors import Cancelled, UsageError
from maskloop.events import Message, Progress
from maskloop.images.normalize import Normalization
from maskloop.images.readers import open_image
from maskloop.images.tiles import Tiling
from maskloop.predict.batch import name_outputs, predict_files, read_provenance
from maskloop.predict.outputs import Foreground


class Bright:
    """Foreground is what is brighter than half; counts its calls."""

    spatial_dims = 2
    input_channels = 1
    tile_shape = (32, 32)
    multiple = (8, 8)
    halo = (0, 0)
    batch_size = 2
    normalization = Normalization(mode="none")
    output = Foreground()

    def __init__(self) -> None:
        self.calls = 0

    def scores(self, tiles: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.clip(tiles, 0, 1)


def pixels(seed: int = 0, shape: tuple[int, ...] = (20, 30)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (1, 2):
        tifffile.imwrite(folder / f"cell_{number}.tif", pixels(number), metadata={"axes": "YX"})
    return folder


def test_each_file_gets_labels_with_the_provenance_beside_and_within(
    images: Path, tmp_path: Path
) -> None:
    done = predict_files(
        [images], Bright(), out=tmp_path / "out", model_id="unet_run_001", mirror=True
    )
    assert [file.status for file in done.files] == ["done", "done"]
    labels = tmp_path / "out" / "cell_1_labels.tif"
    assert (open_image(labels).read() == (pixels(1) > 127)).all()
    facts = read_provenance(labels)
    assert facts is not None
    assert (facts.source, facts.model_id, facts.settings.mirror) == (
        "cell_1.tif",
        "unet_run_001",
        True,
    )
    with tifffile.TiffFile(labels) as file:
        assert facts.source_sha256 in file.pages.first.description


def test_a_failing_file_is_told_at_the_end_and_the_rest_is_done(
    images: Path, tmp_path: Path
) -> None:
    (images / "broken.tif").write_bytes(b"II*\0 not an image")
    tifffile.imwrite(images / "colour.tif", pixels(shape=(20, 30, 3)), photometric="rgb")
    events: list[Any] = []
    done = predict_files(
        [images, tmp_path / "missing.tif"], Bright(), out=tmp_path / "out", report=events.append
    )
    assert sorted(Path(file.source).name for file in done.failed) == [
        "broken.tif",
        "colour.tif",
        "missing.tif",
    ]
    assert "2 predicted, 0 already there, 3 failed." in str(done)
    assert "has 3 channels" in str(done)
    assert sum(isinstance(event, Message) for event in events) == 3
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tif")) == [
        "cell_1_labels.tif",
        "cell_2_labels.tif",
    ]


def test_what_is_there_already_is_not_made_again(images: Path, tmp_path: Path) -> None:
    predict_files([images / "cell_1.tif"], Bright(), out=tmp_path / "out", model_id="a")
    again = Bright()
    done = predict_files([images], again, out=tmp_path / "out", model_id="a")
    assert [file.status for file in done.files] == ["already there", "done"]
    assert again.calls == 1


@pytest.mark.parametrize(
    "change",
    [{"model_id": "b"}, {"mirror": True}, {"tiling": Tiling(overlap=0.5)}, {"overwrite": True}],
)
def test_labels_of_another_model_or_other_settings_are_made_anew(
    images: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    usual = {"out": tmp_path / "out", "model_id": "a"}
    predict_files([images], Bright(), **usual)
    done = predict_files([images], Bright(), **(usual | change))
    assert [file.status for file in done.files] == ["done", "done"]


def test_labels_of_changed_pixels_are_made_anew(images: Path, tmp_path: Path) -> None:
    predict_files([images], Bright(), out=tmp_path / "out", model_id="a")
    tifffile.imwrite(images / "cell_1.tif", pixels(7), metadata={"axes": "YX"})
    done = predict_files([images], Bright(), out=tmp_path / "out", model_id="a")
    assert [file.status for file in done.files] == ["done", "already there"]
    assert (open_image(tmp_path / "out" / "cell_1_labels.tif").read() == (pixels(7) > 127)).all()


def test_labels_that_somebody_corrected_are_not_replaced_unless_asked(
    images: Path, tmp_path: Path
) -> None:
    predict_files([images], Bright(), out=tmp_path / "out", model_id="a")
    corrected = tmp_path / "out" / "cell_1_labels.tif"
    tifffile.imwrite(corrected, np.zeros((20, 30), np.uint8))
    done = predict_files([images], Bright(), out=tmp_path / "out", model_id="b")
    assert "was changed after it was predicted" in done.failed[0].problem
    assert not tifffile.imread(corrected).any()
    assert not predict_files(
        [images], Bright(), out=tmp_path / "out", model_id="b", overwrite=True
    ).failed


def test_a_foreign_file_is_not_replaced(images: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "cell_1_labels.tif", np.ones((2, 2), np.uint8))
    done = predict_files([images], Bright(), out=tmp_path)
    assert "was not written by a prediction" in done.failed[0].problem
    assert tifffile.imread(tmp_path / "cell_1_labels.tif").shape == (2, 2)


def test_labels_whose_note_is_missing_after_a_kill_are_made_again(
    images: Path, tmp_path: Path
) -> None:
    predict_files([images], Bright(), out=tmp_path / "out", model_id="a")
    (tmp_path / "out" / "cell_1_labels.tif.json").unlink()
    done = predict_files([images], Bright(), out=tmp_path / "out", model_id="a")
    assert [file.status for file in done.files] == ["done", "already there"]


def test_labels_beside_the_images_are_not_taken_as_images(images: Path) -> None:
    for _ in range(2):
        done = predict_files([images], Bright(), out=images, model_id="a", probabilities=True)
        assert [Path(file.source).name for file in done.files] == ["cell_1.tif", "cell_2.tif"]
    (images / "cell_1_labels.tif.json").unlink()
    assert len(predict_files([images], Bright(), out=images).files) == 2


def test_probabilities_are_written_on_request(images: Path, tmp_path: Path) -> None:
    predict_files([images], Bright(), out=tmp_path / "out", model_id="a")
    done = predict_files([images], Bright(), out=tmp_path / "out", model_id="a", probabilities=True)
    assert [file.status for file in done.files] == ["done", "done"]
    scores = open_image(tmp_path / "out" / "cell_1_probabilities.tif")
    assert scores.data.dtype == np.float32
    np.testing.assert_allclose(scores.read(), pixels(1) / 255, atol=1e-5)


def test_two_images_of_one_stem_do_not_overwrite_each_other(tmp_path: Path) -> None:
    sources = [
        Path("a/x.tif"),
        Path("a/x.png"),
        Path("b/x.tif"),
        Path("b/y.tif"),
        Path("b/X.ome.tif"),
    ]
    names = [path.name for path in name_outputs(sources, tmp_path).values()]
    assert names == [
        "a_x_tif_labels.tif",
        "x_png_labels.tif",
        "b_x_tif_labels.tif",
        "y_labels.tif",
        "X_ome_tif_labels.tif",
    ]


def test_folders_of_one_name_still_give_files_of_their_own(tmp_path: Path) -> None:
    sources = [Path("one/a/x.tif"), Path("two/a/x.tif")]
    assert len(set(name_outputs(sources, tmp_path).values())) == 2


def test_one_output_for_two_images_is_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would both be written to"):
        predict_files([images], Bright(), out=lambda _: tmp_path / "same.tif")


def test_the_caller_may_name_the_files(images: Path, tmp_path: Path) -> None:
    predict_files([images], Bright(), out=lambda source: tmp_path / f"{source.stem}.seg.tif")
    assert (tmp_path / "cell_2.seg.tif").exists()


def test_a_cancelled_batch_keeps_what_was_finished(images: Path, tmp_path: Path) -> None:
    finished: list[Progress] = []

    def listen(event: Any) -> None:
        if isinstance(event, Progress) and event.unit == "images":
            finished.append(event)

    with pytest.raises(Cancelled, match="'cell_2"):
        predict_files(
            [images],
            Bright(),
            out=tmp_path / "out",
            report=listen,
            is_cancelled=lambda: bool(finished),
        )
    assert [path.name for path in (tmp_path / "out").glob("*.tif")] == ["cell_1_labels.tif"]


def test_nothing_to_predict_is_refused(images: Path) -> None:
    predict_files([images], Bright(), out=images)
    with pytest.raises(UsageError, match="no image to predict in"):
        predict_files([images / "cell_1_labels.tif"], Bright(), out=images)


def test_axes_of_a_person_are_used_and_refused_when_they_do_not_fit(
    images: Path, tmp_path: Path
) -> None:
    done = predict_files([images], Bright(), out=tmp_path / "out", axes="ZYX")
    assert all("ZYX" in file.problem for file in done.failed)
    assert len(done.failed) == 2
