"""nnU-Net v2 on the same images, with all of its own steps, called from outside.

What differs from a training as it comes: it ends by the clock instead of after 1000 epochs of 250
iterations, and its polynomial learning rate falls with the share of the time that is used instead
of with the epochs; there are no validation iterations and no checkpoints between (both only save it
time); it trains on all training images instead of four fifths of them. Instances are learnt as
nnU-Net users do it: classes for the cores and the borders of objects; each core is an object and
grows into the border. Nothing of nnU-Net is copied.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from datasets import DATASETS, Picture, Split
from numpy.typing import NDArray
from scoring import read_picture, read_truth

BORDER_PX = 2
DATASET = "Dataset001_benchmark"
VARIABLES = ("raw", "preprocessed", "results")


def prepare(work: Path, name: str, split: Split, *, as_foreground: bool = False) -> None:
    """Write the training images as nnU-Net wants them and let it plan and preprocess.

    Parameters
    ----------
    work
        Folder for all that nnU-Net writes.
    name, split
        The data set; held-out images are not given to nnU-Net.
    as_foreground
        Learn foreground and background only.
    """
    for variable in VARIABLES:
        os.environ[f"nnUNet_{variable}"] = str(work / variable)
    raw = work / "raw" / DATASET
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    for picture in split.training:
        _write(raw, name, picture, as_foreground)
    image = read_picture(name, split.training[0])
    channels = ("R", "G", "B") if image.channels == 3 else ("microscopy",)
    facts = {
        "channel_names": dict(enumerate(channels)),
        "labels": {label: number for number, label in enumerate(_classes(name, as_foreground))},
        "numTraining": len(split.training),
        "file_ending": ".tif",
        "overwrite_image_reader_writer": "Tiff3DIO" if "Z" in image.axes else "NaturalImage2DIO",
    }
    (raw / "dataset.json").write_text(json.dumps(facts))
    _plan(configuration_for(name))


def _plan(configuration: str) -> None:
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        plan_experiment_dataset,
        preprocess_dataset,
    )

    extract_fingerprint_dataset(1, num_processes=1, verbose=False, show_progress_bar=False)
    plan_experiment_dataset(1)
    preprocess_dataset(
        1, configurations=(configuration,), num_processes=(1,), show_progress_bar=False
    )


def configuration_for(name: str) -> str:
    return "3d_fullres" if "3d" in name else "2d"


def _classes(name: str, as_foreground: bool) -> tuple[str, ...]:
    kind = DATASETS[name]
    if as_foreground:
        return "background", "foreground"
    return "background", *(("core", "border") if kind.mode == "instances" else kind.classes or ())


def _write(raw: Path, name: str, picture: Picture, as_foreground: bool) -> None:
    image, truth = read_picture(name, picture), read_truth(picture)
    if as_foreground:
        truth = truth > 0
    elif DATASETS[name].mode == "instances":
        truth = to_core_and_border(truth)
    tifffile.imwrite(
        raw / "imagesTr" / f"{picture.name}_0000.tif",
        image.read(),
        photometric="rgb" if image.channels == 3 else "minisblack",
    )
    tifffile.imwrite(
        raw / "labelsTr" / f"{picture.name}.tif", truth.astype(np.uint8), photometric="minisblack"
    )
    if "Z" in image.axes:
        spacing = json.dumps({"spacing": _spacing(image.pixel_size_um)})
        for folder in ("imagesTr", "labelsTr"):
            (raw / folder / f"{picture.name}.json").write_text(spacing)


def _spacing(pixel_size_um: Any) -> list[float]:
    return [float(pixel_size_um[axis]) for axis in "ZYX"]


def to_core_and_border(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Cores (1): pixels near no other object and no background; the rest is border (2)."""
    from scipy.ndimage import maximum_filter, minimum_filter

    # Across planes, which lie further apart, one is enough.
    size = (3, *(2 * BORDER_PX + 1,) * 2)[-labels.ndim :]
    is_core = minimum_filter(labels, size, mode="nearest") == maximum_filter(
        labels, size, mode="nearest"
    )
    return np.where(labels == 0, 0, np.where(is_core, 1, 2)).astype(np.uint8)


def to_instances(classes: NDArray[Any]) -> NDArray[np.int32]:
    """Each connected core is an object and takes the border next to it."""
    from skimage.measure import label
    from skimage.segmentation import expand_labels

    grown = expand_labels(label(classes == 1), distance=BORDER_PX + 2)
    return np.where(classes > 0, grown, 0).astype(np.int32)


class TimedTraining:
    """nnU-Net's trainer, step by step, with the clock in our hands."""

    def __init__(self, work: Path, configuration: str) -> None:
        import torch
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        folder = work / "preprocessed" / DATASET
        plans = {
            **json.loads((folder / "nnUNetPlans.json").read_text()),
            "continue_training": False,
        }
        facts = json.loads((folder / "dataset.json").read_text())
        # Fold "all": every training image is trained on.
        self.trainer = nnUNetTrainer(plans, configuration, "all", facts, device=torch.device("cpu"))
        self.trainer.disable_checkpointing = True
        self.facts = facts
        self.iterations = 0

    def start(self) -> None:
        """Build network, optimiser and data loaders."""
        self.trainer.on_train_start()

    def end(self) -> None:
        """Stop the processes that augment."""
        self.trainer.on_train_end()

    @property
    def settings(self) -> dict[str, Any]:
        """What nnU-Net planned."""
        planned = self.trainer.configuration_manager
        arguments = planned.network_arch_init_kwargs
        return {
            "patch": [int(length) for length in planned.patch_size],
            "batch": int(planned.batch_size),
            "network": planned.network_arch_class_name.rsplit(".", 1)[-1],
            "features_per_stage": list(arguments["features_per_stage"]),
            "precision": "fp32",
        }

    def step(self, done: float) -> None:
        """One iteration at a share of the time."""
        for group in self.trainer.optimizer.param_groups:
            group["lr"] = self.trainer.initial_lr * (1 - done) ** 0.9
        self.trainer.network.train()
        self.trainer.train_step(next(self.trainer.dataloader_train))
        self.iterations += 1

    def train(
        self,
        seconds: float,
        *,
        stops: Sequence[float] = (1.0,),
        clock: Callable[[], float] = time.perf_counter,
    ) -> Iterator[float]:
        """Train for so many seconds; the clock stands still while the caller looks at a stop.

        Yields
        ------
        seconds
            Of training so far, at each of the given shares of the time.
        """
        spent, waiting = 0.0, list(stops)
        while waiting:
            begin = clock()
            self.step(min(spent / seconds, 0.999))
            spent += clock() - begin
            if spent >= waiting[0] * seconds:
                while waiting and spent >= waiting[0] * seconds:
                    waiting.pop(0)
                yield spent

    def predict(self, name: str, picture: Picture, *, mirror: bool = True) -> NDArray[Any]:
        """Classes by nnU-Net's own prediction: half overlap, Gaussian weights, mirrored."""
        import torch
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        trainer = self.trainer
        predictor = nnUNetPredictor(
            use_mirroring=mirror,
            perform_everything_on_device=False,
            device=torch.device("cpu"),
            allow_tqdm=False,
        )
        trainer.set_deep_supervision_enabled(False)
        trainer.network.eval()
        predictor.manual_initialization(
            trainer.network,
            trainer.plans_manager,
            trainer.configuration_manager,
            [trainer.network.state_dict()],
            self.facts,
            type(trainer).__name__,
            trainer.inference_allowed_mirroring_axes,
        )
        image = read_picture(name, picture)
        if "Z" in image.axes:
            pixels, spacing = image.read()[None], _spacing(image.pixel_size_um)
        else:
            # nnU-Net takes planes as volumes of one slice: channel, Z, Y, X.
            pixels, spacing = (
                (image.read("CYX") if "C" in image.axes else image.read()[None])[:, None],
                [999, 1, 1],
            )
        try:
            classes = predictor.predict_single_npy_array(
                pixels.astype(np.float32), {"spacing": spacing}
            )
        finally:
            trainer.set_deep_supervision_enabled(True)
        return np.asarray(classes) if "Z" in image.axes else np.asarray(classes)[0]


def labels_of(name: str) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """How classes become what the data set's truth holds."""
    return to_instances if DATASETS[name].mode == "instances" else lambda classes: classes
