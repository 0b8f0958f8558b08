from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from scipy.ndimage import zoom

from maskloop.errors import Cancelled, UsageError
from maskloop.events import Message, Progress
from maskloop.images import scratch
from maskloop.images.image import Image
from maskloop.images.instances import InstanceSettings
from maskloop.images.normalize import Normalization
from maskloop.images.readers import open_image
from maskloop.images.refs import ImageRef
from maskloop.images.tiles import Tiling
from maskloop.predict import bands
from maskloop.predict import segment as segment_module
from maskloop.predict.batch import name_outputs, predict_files, read_provenance
from maskloop.predict.outputs import DistanceMaps, Foreground
from maskloop.predict.pixel_size import scale_warning


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
    names = [f"cell_{number}_labels.tif{ending}" for number in (1, 2) for ending in ("", ".json")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


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


def test_what_was_left_out_of_an_image_is_said_once_for_all_images(tmp_path: Path) -> None:
    for name in "ab":
        picture = np.stack([pixels(), np.full((20, 30), 255, np.uint8)], -1)
        Pillow.fromarray(picture, "LA").save(tmp_path / f"{name}.png")
    events: list[Any] = []
    predict_files([tmp_path], Bright(), out=tmp_path / "out", report=events.append)
    said = [event.text for event in events if isinstance(event, Message)]
    assert len(said) == 1
    assert "a.png: Alpha was left out" in said[0]


@pytest.mark.parametrize(
    ("image_um", "trained_um", "words"),
    [
        (0.1625, 0.65, "is 0.163 µm, but the model was trained at 0.65 µm: objects appear 4.0 "),
        (1.3, 0.65, "2.0 times as small"),
        (0.6, 0.65, ""),
    ],
)
def test_images_of_another_scale_are_predicted_with_a_warning(
    tmp_path: Path, image_um: float, trained_um: float, words: str
) -> None:
    """Once for images alike; resized as it says, they are predicted without."""
    trained = {"Y": trained_um, "X": trained_um}
    sizes = {f"PhysicalSize{axis}": image_um for axis in "XY"}
    for name in "ab":
        facts = {"axes": "YX", **sizes, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", pixels(), metadata=facts)

    def warnings_of(images: Path) -> list[str]:
        events: list[Any] = []
        outcome = predict_files(
            [images], Bright(), out=tmp_path / "out", trained_um=trained, report=events.append
        )
        assert not outcome.failed
        return [event.text for event in events if isinstance(event, Message)]

    told = warnings_of(tmp_path)
    assert len(told) == bool(words)
    assert all(words in text and "a.ome.tif" in text for text in told)
    resized = zoom(pixels(), image_um / trained_um, order=1)
    facts = {"axes": "YX", "PhysicalSizeX": trained_um, "PhysicalSizeY": trained_um}
    tifffile.imwrite(tmp_path / "resized.ome.tif", resized, metadata=facts)
    assert warnings_of(tmp_path / "resized.ome.tif") == []


def test_the_spacing_of_planes_matters_to_a_model_of_volumes_only() -> None:
    stack = Image(np.zeros((2, 8, 8), np.uint8), "ZYX", {"Z": 0.4, "Y": 0.4, "X": 0.4})
    trained = {"Z": 2.0, "Y": 0.4, "X": 0.4}
    assert "pixel size along Z is 0.4 µm" in str(scale_warning(stack, trained, 3))
    assert scale_warning(stack, trained, 2) is None
    assert scale_warning(stack, {}, 3) is None


def test_nothing_but_labels_and_their_notes_is_left_beside_results(
    images: Path, tmp_path: Path
) -> None:
    """Copies of records are for projects, not for the folders of people."""
    for overwrite in (False, True):
        predict_files([images], Bright(), out=tmp_path / "out", overwrite=overwrite)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "cell_1_labels.tif",
        "cell_1_labels.tif.json",
        "cell_2_labels.tif",
        "cell_2_labels.tif.json",
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
        ImageRef(uri=name) for name in ("a/x.tif", "a/x.png", "b/x.tif", "b/y.tif", "b/X.ome.tif")
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
    sources = [ImageRef(uri="one/a/x.tif"), ImageRef(uri="two/a/x.tif")]
    assert len(set(name_outputs(sources, tmp_path).values())) == 2


def test_one_output_for_two_images_is_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would both be written to"):
        predict_files([images], Bright(), out=lambda _: tmp_path / "same.tif")


def test_the_caller_may_name_the_files(images: Path, tmp_path: Path) -> None:
    predict_files([images], Bright(), out=lambda source: tmp_path / f"{source.path.stem}.seg.tif")
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
    with pytest.raises(UsageError, match="No image to predict in"):
        predict_files([images / "cell_1_labels.tif"], Bright(), out=images)


def test_axes_of_a_person_are_used_and_refused_when_they_do_not_fit(
    images: Path, tmp_path: Path
) -> None:
    stack, named = pixels(shape=(3, 20, 30)), {"axes": "TYX"}
    tifffile.imwrite(images / "stack.tif", stack, metadata=named, photometric="minisblack")
    done = predict_files([images], Bright(), out=tmp_path / "out", axes="YX")
    assert [Path(file.source).name for file in done.failed] == ["stack.tif"]
    assert "Axes 'YX' name 2 dimensions, but the image has 3" in done.failed[0].problem
    # A plane is a stack of one plane.
    done = predict_files([images], Bright(), out=tmp_path / "stacks", axes="ZYX")
    assert done.failed == ()
    assert open_image(tmp_path / "stacks" / "stack_labels.tif").axes == "ZYX"


# Large images


class Blobs:
    """Objects where the image is bright; counts the tiles that it scored."""

    spatial_dims = 2
    input_channels = 1
    tile_shape = (32, 32)
    multiple = (8, 8)
    halo = (4, 4)
    batch_size = 3
    normalization = Normalization()
    output = DistanceMaps(instances=InstanceSettings(largest_extent_px=12, typical_diameter_px=8))

    def __init__(self, before_batch: Callable[[int], None] = lambda _: None) -> None:
        self.tiles = 0
        self._before_batch = before_batch

    def scores(self, tiles: np.ndarray) -> np.ndarray:
        self._before_batch(self.tiles)
        self.tiles += len(tiles)
        return np.repeat(np.clip(tiles, 0, 1), 3, axis=1)


class Spots(Blobs):
    """The same, each pixel for itself."""

    output = Foreground()  # type: ignore[assignment]

    def scores(self, tiles: np.ndarray) -> np.ndarray:
        return super().scores(tiles)[:, :1]


def discs(shape: tuple[int, ...]) -> np.ndarray:
    line = (np.arange(max(shape[-2:])) % 12 - 6.0) ** 2
    plane = np.clip(255 - 40 * np.sqrt(line[: shape[-2], None] + line[None, : shape[-1]]), 0, 255)
    noise = np.random.default_rng(0).integers(0, 20, shape)
    return np.broadcast_to(plane, shape).astype(np.uint8) // 2 + noise.astype(np.uint8)


def large(folder: Path, shape: tuple[int, ...] = (2, 150, 170)) -> Path:
    path = folder / "large.tif"
    axes = "TYX"[-len(shape) :]
    options = {"compression": "zlib", "rowsperstrip": 16, "photometric": "minisblack"}
    tifffile.imwrite(path, discs(shape), metadata={"axes": axes}, **options)
    return path


def kill_at(tiles: int) -> Callable[[int], None]:
    def check(done: int) -> None:
        if done >= tiles:
            os.kill(os.getpid(), signal.SIGKILL)

    return check


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.parametrize("kind", [Blobs, Spots])
@pytest.mark.parametrize("probabilities", [False, True])
def test_a_prediction_killed_within_an_image_resumes_within_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Blobs], probabilities: bool
) -> None:
    monkeypatch.setattr(scratch, "COMMIT_EVERY_S", 0.0)
    source = large(tmp_path)
    usual = kind()
    options: dict[str, Any] = {"model_id": "m", "probabilities": probabilities}
    predict_files([source], usual, out=tmp_path / "usual", **options)
    total = usual.tiles
    for stops in ([40], [1], [total - 3], [20, 20, 20]):
        out = tmp_path / f"out{stops}"
        for stop in stops:
            child = os.fork()
            if child == 0:
                try:
                    predict_files([source], kind(kill_at(stop)), out=out, **options)
                finally:
                    os._exit(1)
            assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
            assert list(out.glob("*.tif")) == []
        again = kind()
        done = predict_files([source], again, out=out, **options)
        assert [file.status for file in done.files] == ["done"]
        assert again.tiles < total or stops == [1]
        for name in sorted(path.name for path in (tmp_path / "usual").glob("*.tif")):
            np.testing.assert_array_equal(
                open_image(out / name).read(), open_image(tmp_path / "usual" / name).read()
            )
        kept = sorted(path.name for path in out.iterdir())
        assert kept == sorted(path.name for path in (tmp_path / "usual").iterdir())


def test_a_cancelled_image_resumes_and_a_failed_one_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = large(tmp_path), tmp_path / "out"
    usual = Blobs()
    predict_files([source], usual, out=tmp_path / "usual", model_id="m")
    stopped = Blobs()
    with pytest.raises(Cancelled):
        predict_files(
            [source], stopped, out=out, model_id="m", is_cancelled=lambda: stopped.tiles > 60
        )
    assert [path.name for path in out.iterdir()] == [".large_labels.tif.partial"]
    again = Blobs()
    predict_files([source], again, out=out, model_id="m")
    assert again.tiles < usual.tiles

    def fail(_tiles: int) -> None:
        raise MemoryError

    done = predict_files([source], Blobs(fail), out=tmp_path / "failed", model_id="m")
    assert "Not enough memory to predict" in done.failed[0].problem
    assert list((tmp_path / "failed").iterdir()) == []


def test_an_image_read_in_parts_has_the_labels_of_one_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = large(tmp_path)
    whole = segment_module.segment(open_image(source), Blobs(), probabilities=True)
    for limit in (20_000, 100):  # rows of tiles; single tiles
        monkeypatch.setattr(bands, "FRAME_BYTES", limit)
        parts = segment_module.segment(open_image(source), Blobs(), probabilities=True)
        np.testing.assert_array_equal(parts.labels.read(), whole.labels.read())
        assert parts.probabilities is not None
        assert whole.probabilities is not None
        np.testing.assert_array_equal(parts.probabilities.read(), whole.probabilities.read())


def test_each_image_in_a_file_gets_labels_of_its_own(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
        writer.write(pixels(1))
        writer.write(pixels(2, (7, 8)))
    out = tmp_path / "out"
    done = predict_files([tmp_path / "two.tif"], Bright(), out=out, model_id="a")
    assert [file.source for file in done.files] == [f"{tmp_path / 'two.tif'}::{n}" for n in "01"]
    assert (open_image(out / "two_0_labels.tif").read() == (pixels(1) > 127)).all()
    assert (open_image(out / "two_1_labels.tif").read() == (pixels(2, (7, 8)) > 127)).all()
    one = predict_files([f"{tmp_path / 'two.tif'}::1"], Bright(), out=out, model_id="a")
    assert [file.status for file in one.files] == ["already there"]
