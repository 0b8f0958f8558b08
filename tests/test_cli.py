from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from maskloop import Project
from maskloop.cli import app
from maskloop.images.image import Image
from maskloop.images.writers import write_image, write_labels
from maskloop.samples import simulate_nuclei

VERBS = (
    "demo", "new", "add", "remove", "status", "check", "plan", "train", "runs", "checkpoints",
    "import-weights", "predict", "evaluate", "measure", "trace", "execute", "upgrade", "plugins",
)  # fmt: skip
SMALL = (
    "--epochs",
    "2",
    "--patch",
    "32",
    "--batch",
    "4",
    "--depth",
    "2",
    "--base-channels",
    "4",
    "--device",
    "cpu",
)


def run(*arguments: object, code: int = 0) -> Any:
    """Run a verb in this process, and check its exit code."""
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], env={"COLUMNS": "200"}
    )
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def read(*arguments: object, code: int = 0) -> Any:
    """What a verb says to a script."""
    return json.loads(run(*arguments, "--json", code=code).stdout)


def plain(text: str) -> str:
    return re.sub(r"[\s│]+", " ", text)


def write_pairs(folder: Path, count: int) -> Path:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        image, labels = simulate_nuclei(shape=(64, 64), count=6, seed=number)
        write_image(folder / "images" / f"cell_{number}.tif", Image(image, "YX"))
        write_labels(folder / "masks" / f"cell_{number}.tif", labels, axes="YX")
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("files"), 5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Path:
    """A project with one checkpoint, made by the verbs alone; to be read, not changed."""
    folder = tmp_path_factory.mktemp("projects") / "trained"
    run("new", folder, "--mode", "binary", "--classes", "nucleus")
    run("add", folder, "--images", files / "images", "--masks", files / "masks")
    run("train", folder, *SMALL)
    return folder


@pytest.fixture
def project(tmp_path: Path, files: Path) -> Path:
    """A project with five pairs."""
    run("new", tmp_path / "p")
    run("add", tmp_path / "p", "--images", files / "images", "--masks", files / "masks")
    return tmp_path / "p"


def test_the_verbs_are_those_of_the_documentation() -> None:
    assert tuple(typer.main.get_command(app).commands) == VERBS  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_does_and_what_each_option_means(verb: str) -> None:
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    assert command.help.strip().endswith(".")
    for parameter in command.params:
        assert (parameter.help or "").strip(), f"{verb} {parameter.name} has no description"
    assert plain(command.help.split(". ")[0]) in plain(run(verb, "--help").stdout)


def test_option_help_is_the_description_of_the_record() -> None:
    from maskloop.models.unet.records import UNetRecipe

    assert str(UNetRecipe.model_fields["validation_share"].description) in plain(
        run("train", "--help").stdout
    )


def test_without_a_verb_the_verbs_are_listed() -> None:
    assert "import-weights" in run(code=2).output


def test_python_m_maskloop_is_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "maskloop", "new", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Create a new, empty project." in done.stdout


def test_the_version_is_told() -> None:
    assert run("--version").stdout.startswith("maskloop ")


def test_a_failure_is_told_with_its_way_out_on_stderr_and_code_1(tmp_path: Path) -> None:
    result = run("train", tmp_path / "nowhere", code=1)
    assert result.stdout == ""
    nowhere = tmp_path / "nowhere"
    way_out = f"Check the spelling, or create a project there (maskloop new '{nowhere}')."
    assert result.stderr == f"There is no folder '{nowhere}'.\n  -> {way_out}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "p", "--time", "10"), "'10' has no unit. Use seconds, minutes or hours"),
        (("train", "p", "--epochs", "0"), "Epochs must be at least 1, not 0."),
        (("train", "p", "--device", "tpu"), "Device must be 'auto', 'cpu' or 'cuda', not 'tpu'."),
        (
            ("new", "p", "--mode", "objects"),
            "Mode must be 'binary', 'multiclass' or 'instances', not 'objects'.",
        ),
        (("add", "p", "--map", "3-1"), "does not say which label becomes which class"),
        (
            ("add", "p", "--pixel-size", "0.4"),
            "'0.4' is not a pixel size. Give micrometers along Z, Y and X",
        ),
        (("trian", "p"), "No such command 'trian'"),
        (("predict", "p"), "Missing argument"),
        (("status", "p", "--colour"), "No such option"),
    ],
)
def test_misuse_is_told_with_code_2(arguments: tuple[str, ...], words: str) -> None:
    assert words in plain(run(*arguments, code=2).stderr)


def test_new_makes_a_project_with_its_classes_and_network(tmp_path: Path) -> None:
    said = read(
        "new",
        tmp_path / "p",
        "--mode",
        "multiclass",
        "--classes",
        "axon,myelin",
        "--preset",
        "resunet",
        "--depth",
        "3",
    )
    assert (said["state"], said["mode"], said["classes"]) == (
        "empty",
        "multiclass",
        ["background", "axon", "myelin"],
    )
    made = Project.open(tmp_path / "p")
    assert made.architecture == {"backend": "basic_unet", "preset": "resunet", "depth": 3}
    assert made.task.num_classes == 3
    assert "already holds a project" in run("new", tmp_path / "p", code=1).stderr


def test_new_says_what_comes_next(tmp_path: Path) -> None:
    assert "Next: maskloop add " in run("new", tmp_path / "p").stdout


def test_add_accepts_pairs_and_a_dry_run_writes_nothing(tmp_path: Path, files: Path) -> None:
    run("new", tmp_path / "p")
    arguments = ("add", tmp_path / "p", "--images", files / "images", "--masks", files / "masks")
    assert "5 pairs would be accepted, 0 files refused." in run(*arguments, "--dry-run").stdout
    assert read("status", tmp_path / "p")["pair_count"] == 0
    assert [len(read(*arguments)["accepted"]), read("status", tmp_path / "p")["pair_count"]] == [
        5,
        5,
    ]


def test_add_tells_what_was_refused_and_accepts_the_rest(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "files", 2)
    write_image(folder / "images" / "alone.tif", Image(np.eye(8, dtype=np.uint8), "YX"))
    run("new", tmp_path / "p")
    result = run(
        "add", tmp_path / "p", "--images", folder / "images", "--masks", folder / "masks", code=1
    )
    assert "2 pairs accepted, 1 file refused." in result.stdout
    assert "alone.tif" in result.stderr


def test_add_takes_a_table_and_a_label_map(tmp_path: Path, files: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:9], mask[20:30] = 3, 7
    write_labels(tmp_path / "mask.tif", mask, axes="YX")
    (tmp_path / "pairs.csv").write_text(
        f"image,mask\n{files / 'images' / 'cell_0.tif'},mask.tif\n", encoding="utf-8"
    )
    run("new", tmp_path / "p", "--mode", "multiclass", "--classes", "a,b")
    run("add", tmp_path / "p", "--pairs", tmp_path / "pairs.csv", "--map", "3=1,7=2")
    dataset = Project.open(tmp_path / "p").dataset
    assert np.unique(dataset.read_mask(dataset.pairs[0]).read()).tolist() == [0, 1, 2]
    both = run("add", tmp_path / "p", "--pairs", tmp_path / "pairs.csv", "--images", files, code=1)
    assert "Give either --pairs, or --images and --masks." in both.stderr
    assert "No images were given." in run("add", tmp_path / "p", code=1).stderr


def test_add_replaces_the_mask_of_a_pair(project: Path, tmp_path: Path) -> None:
    pair = Project.open(project).dataset.pairs[0].pair_id
    write_labels(tmp_path / "better.tif", np.ones((64, 64), np.uint8), axes="YX")
    run(
        "add",
        project,
        "--replace",
        pair,
        "--masks",
        tmp_path / "better.tif",
        "--pixel-size",
        "2,0.5,0.4",
    )
    assert Project.open(project).dataset.read_image(pair).pixel_size_um == pytest.approx(
        {"Y": 0.5, "X": 0.4}
    )
    dataset = Project.open(project).dataset
    assert dataset.read_mask(pair).read().min() == 1
    assert len(dataset.get(pair).history) == 1


def test_remove_keeps_restore_brings_back_and_purge_needs_a_yes(project: Path) -> None:
    pair = Project.open(project).dataset.pairs[0].pair_id
    assert read("remove", project, pair) == {pair: "removed"}
    assert read("status", project)["removed_pair_count"] == 1
    assert read("remove", project, pair, "--restore") == {pair: "active"}
    assert "Add --yes to confirm" in run("remove", project, pair, "--purge", code=1).stderr
    assert read("status", project)["pair_count"] == 5
    assert read("remove", project, pair, "--purge", "--yes") == {pair: "erased"}
    assert not list(project.glob(f"dataset/*/{pair}*"))
    assert "There is no pair 'pair_9'" in run("remove", project, "pair_9", code=1).stderr


def test_status_lists_pairs_when_asked_to(project: Path) -> None:
    assert "cell_3 " in run("status", project, "--pairs").stdout
    assert "cell_3 " not in run("status", project).stdout
    assert len(read("status", project, "--pairs")["pairs"]) == 5


def test_check_finds_changed_bytes(project: Path) -> None:
    assert read("check", project)["is_sound"]
    mask = next(project.glob("dataset/masks/*.tif"))
    mask.write_bytes(mask.read_bytes()[:-1])
    result = run("check", project, code=1)
    assert mask.name in result.stderr


def test_check_repairs_a_record_that_cannot_be_read(project: Path) -> None:
    manifest = project / "dataset" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-40])
    assert "broken record" in run("check", project, code=1).stderr
    assert "Repaired: 'dataset/manifest.json'" in run("check", project, "--repair").stdout
    assert run("check", project)


def test_plan_shows_every_decision_with_its_reason_and_source(project: Path) -> None:
    shown = plain(run("plan", project, "--epochs", "7").stdout)
    assert "setting value reason source" in shown
    assert re.search(r"epochs 7 Set by you. person", shown)
    assert "Training takes at most about" in shown
    decisions = {
        one["name"]: one["source"] for one in read("plan", project, "--batch", "3")["decisions"]
    }
    assert (decisions["batch_size"], decisions["patch_size"]) == ("person", "planned")


def test_train_says_how_it_goes_in_plain_lines_where_there_is_no_terminal(
    trained: Path, tmp_path: Path, files: Path
) -> None:
    run("new", tmp_path / "p")
    run("add", tmp_path / "p", "--images", files / "images", "--masks", files / "masks")
    shown = run("train", tmp_path / "p", *SMALL, "--seed", "3").stdout
    assert re.search(
        r"^epoch 2  loss \d\.\d{4}  val_loss \d\.\d{4}  dice \d\.\d{4}  iou \d\.\d{4}",
        shown,
        re.MULTILINE,
    )
    assert "\x1b" not in shown
    assert "Next: maskloop predict" in shown


def test_train_says_json_alone_and_goes_on_from_the_latest(trained: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(trained, tmp_path / "copy")
    said = read("train", copy, "--epochs", "1", "--patch", "32", "--batch", "4", "--device", "cpu")
    assert said["parent_checkpoint_id"] == read("checkpoints", trained)[0]["checkpoint_id"]
    assert [one["checkpoint_id"] for one in read("checkpoints", copy)][-1] == said["checkpoint_id"]
    shown = run("checkpoints", copy).stdout
    assert f"`-{said['checkpoint_id']}" in shown


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "maskloop", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_scores(child: subprocess.Popen[str], count: int) -> None:
    """Until so many validations were told; the pipe's end means that it never came to that."""
    assert child.stdout is not None
    lines = iter(child.stdout.readline, "")
    assert (
        sum(1 for _ in islice((line for line in lines if line.startswith("epoch ")), count))
        == count
    )


LONG = ("--epochs", "5000", *SMALL[2:])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_keeps_the_best_so_far(project: Path) -> None:
    child = start("train", project, *LONG)
    wait_for_scores(child, 1)
    child.send_signal(signal.SIGINT)
    told, problems = child.communicate(timeout=180)
    assert child.returncode == 0, problems
    assert "stopped by    cancelled" in told
    assert read("checkpoints", project)[0]["metrics"]["stopped"] == "cancelled"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_training_goes_on_and_says_so(project: Path) -> None:
    child = start("train", project, *LONG)
    wait_for_scores(child, 2)
    child.kill()
    child.communicate(timeout=180)
    assert read("runs", project)[0]["state"] == "interrupted"
    again = start("train", project, *LONG)
    assert again.stdout is not None
    assert again.stdout.readline() == "Resuming an interrupted run.\n"
    wait_for_scores(again, 1)
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=180)
    assert [one["state"] for one in read("runs", project)] == ["finished"]


def test_train_refuses_a_start_that_does_not_exist(project: Path) -> None:
    assert (
        "There is no checkpoint 'unet_run_099'"
        in run("train", project, "--from", "unet_run_099", code=1).stderr
    )
    assert (
        "no checkpoint to continue from" in run("train", project, "--from", "latest", code=1).stderr
    )
    assert "There is no pair 'pair_x'" in run("train", project, "--pairs", "pair_x", code=1).stderr


def test_runs_tell_what_became_of_them(project: Path, trained: Path) -> None:
    run("train", project, "--pairs", "pair_x", code=1)
    failed, *_ = read("runs", project)
    assert (failed["kind"], failed["state"]) == ("train", "failed")
    assert "There is no pair 'pair_x'" in failed["outcome"]
    assert read("runs", trained)[0]["state"] == "finished"
    assert "finished" in run("runs", trained).stdout


def test_predict_and_evaluate_measure_the_result(
    trained: Path, files: Path, tmp_path: Path
) -> None:
    said = read("predict", trained, files / "images", "--out", tmp_path / "out", "--device", "cpu")
    assert len(said["written"]) == 5
    assert said["failed"] == []
    table = tmp_path / "scores.csv"
    scores = read(
        "evaluate",
        "--predictions",
        tmp_path / "out",
        "--masks",
        files / "masks",
        "--mode",
        "binary",
        "--out",
        table,
    )
    assert 0 <= scores["total"]["dice"] <= 1
    assert len(table.read_text(encoding="utf-8").splitlines()) == 7
    assert (
        "dice"
        in run(
            "evaluate",
            "--predictions",
            tmp_path / "out",
            "--masks",
            files / "masks",
            "--mode",
            "binary",
        ).stdout
    )


def test_one_image_that_fails_is_told_and_the_rest_is_done(
    trained: Path, files: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.tif").write_bytes(b"not a picture")
    result = run(
        "predict",
        trained,
        tmp_path / "broken.tif",
        files / "images" / "cell_0.tif",
        "--out",
        tmp_path / "out",
        code=1,
    )
    assert "1 image predicted with unet_run_001, 1 failed." in result.stdout
    # Once, with its way out, and where no script takes it for a result.
    assert result.output.count("broken.tif") == 2  # its name, and its path in the reason
    assert "broken.tif" not in result.stdout
    assert "copy or export it again" in plain(result.stderr)
    assert (tmp_path / "out" / "cell_0_labels.tif").is_file()


def test_predict_without_a_checkpoint_says_to_train(project: Path, files: Path) -> None:
    assert "no checkpoint yet" in run("predict", project, files / "images", code=1).stderr


def test_execute_runs_what_was_submitted(project: Path) -> None:
    from maskloop.compute.runs import submit
    from maskloop.jobs.training import TrainJob
    from maskloop.models.unet.records import UNetRecipe

    recipe = UNetRecipe(
        epochs=1, patch_size=(32, 32), batch_size=4, depth=2, base_channels=4, device="cpu"
    )
    handle = submit(Project.open(project), TrainJob(recipe=recipe))
    assert read("execute", project, handle.run_id)["checkpoint_id"] == "unet_run_001"
    assert "maskloop runs" in run("execute", project, "../train", code=1).stderr


def test_weights_are_imported_with_the_network_that_they_tell(trained: Path, project: Path) -> None:
    file = next((trained / "checkpoints").glob("unet_run_001*"))
    model = read("import-weights", project, file, "--name", "from elsewhere")
    assert (model["network"]["depth"], model["network"]["base_channels"]) == (2, 4)
    assert model["model_name"] == "from elsewhere"
    assert "--from imported_model_002" in run("import-weights", project, file).stdout
    wrong = run("import-weights", project, file, "--depth", "3", code=1).stderr
    assert "does not match the network" in wrong


def test_bare_weights_tell_their_network_by_their_shapes(
    trained: Path, project: Path, tmp_path: Path
) -> None:
    import torch

    from maskloop.models.weights_file import read_weights

    torch.save(
        read_weights(next((trained / "checkpoints").glob("unet_run_001*"))), tmp_path / "bare.pt"
    )
    assert read("import-weights", project, tmp_path / "bare.pt")["network"]["base_channels"] == 4


def test_weights_of_another_task_are_refused(trained: Path, tmp_path: Path) -> None:
    run("new", tmp_path / "p", "--mode", "instances")
    file = next((trained / "checkpoints").glob("unet_run_001*"))
    assert (
        "trained for binary with 2 classes, the project is for instances"
        in run("import-weights", tmp_path / "p", file, code=1).stderr
    )


def test_upgrade_of_a_present_project_has_nothing_to_do(project: Path) -> None:
    assert "Nothing to upgrade" in run("upgrade", project).stdout
    assert read("upgrade", project)["was_needed"] is False
