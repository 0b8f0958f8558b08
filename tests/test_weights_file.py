"""Weights are written whole, read without running anything, and fit or are refused in words."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from maskloop import Project
from maskloop.errors import (
    IncompatibleWeights,
    MaskloopError,
    NotFound,
    ProjectError,
    RecordError,
    UnsafeFile,
)
from maskloop.jobs.imports import import_weights
from maskloop.models.base import Start
from maskloop.models.resume import load_state
from maskloop.models.unet.compatibility import COMPARED, compare, require_compatible
from maskloop.models.unet.foreign import network_of_weights
from maskloop.models.unet.network import build_unet, outline_unet
from maskloop.models.unet.records import UNetArchitecture, UNetNetwork
from maskloop.models.unet.segmenter import load_segmenter
from maskloop.models.weights_file import (
    fit_weights,
    load_checkpoint,
    read_weights,
    save_checkpoint,
)
from maskloop.task import Task

HEADER = {
    "plan": {"depth": 2},
    "classes": {"0": "background"},
    "loss": float("inf"),
    "parents": ["unet_run_001", None],
}


def small(**changes: Any) -> UNetNetwork:
    return UNetNetwork.model_validate({"depth": 2, "base_channels": 4, **changes})


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Attack:
    """Leaves a marker where it is unpickled the usual way."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def torch_bytes(content: object, *, is_legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not is_legacy)
    return buffer.getvalue()


@pytest.mark.parametrize("preset", ["standard_unet", "resunet", "attention_unet"])
def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path, preset: str) -> None:
    network = build_unet(small(preset=preset))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_checkpoint(tmp_path / "a.pt", state_dict=network.state_dict(), header=HEADER)
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert same(loaded.state_dict, network.state_dict())
    assert loaded.header == HEADER
    other = build_unet(small(preset=preset))
    fit_weights(other, loaded.state_dict, source="a.pt")
    assert same(other.state_dict(), network.state_dict())


def test_a_checkpoint_is_one_that_pytorch_reads_without_running_code(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", state_dict=build_unet(small()).state_dict(), header=HEADER)
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    assert content.keys() == {"format", "version", "state_dict", "header"}


def test_the_same_weights_give_the_same_bytes_and_a_view_takes_only_its_own_part(
    tmp_path: Path,
) -> None:
    large = torch.arange(100_000.0)
    for name in ("a.pt", "b.pt"):
        save_checkpoint(tmp_path / name, state_dict={"w": large[:10]}, header={})
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    assert (tmp_path / "a.pt").stat().st_size < 10_000


def test_a_folder_that_cannot_be_written_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="could not be written"):
        save_checkpoint(tmp_path / "missing" / "a.pt", state_dict={}, header={})
    assert list(tmp_path.iterdir()) == []


def test_bare_weights_are_no_checkpoint_and_a_newer_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "bare.pt").write_bytes(torch_bytes({"w": torch.zeros(2)}))
    with pytest.raises(
        IncompatibleWeights, match=r"'bare\.pt' is not a maskloop checkpoint(.|\n)*import-weights"
    ):
        load_checkpoint(tmp_path / "bare.pt")
    (tmp_path / "new.pt").write_bytes(torch_bytes({"format": "maskloop-checkpoint", "version": 3}))
    with pytest.raises(
        IncompatibleWeights, match=r"newer version(.|\n)*3(.|\n)*up to 2(.|\n)*Update maskloop"
    ):
        load_checkpoint(tmp_path / "new.pt")
    (tmp_path / "odd.pt").write_bytes(torch_bytes({"format": "maskloop-checkpoint"}))
    with pytest.raises(IncompatibleWeights, match="no valid format version"):
        load_checkpoint(tmp_path / "odd.pt")
    (tmp_path / "lost.pt").write_bytes(
        torch_bytes(
            {"format": "maskloop-checkpoint", "version": 1, "state_dict": {"w": torch.zeros(1)}}
        )
    )
    with pytest.raises(IncompatibleWeights, match="has no header"):
        load_checkpoint(tmp_path / "lost.pt")


def test_version_2_is_written_and_version_1_stays_readable(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", state_dict={"w": torch.zeros(1)}, header={"epoch": 3})
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    assert content["version"] == 2
    (tmp_path / "a.pt").write_bytes(torch_bytes({**content, "version": 1}))
    assert load_checkpoint(tmp_path / "a.pt").header == {"epoch": 3}


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model", "network"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
@pytest.mark.parametrize("is_legacy", [False, True])
def test_foreign_weights_are_found_under_any_usual_name(
    tmp_path: Path, wrapper: str | None, prefix: str, is_legacy: bool
) -> None:
    weights = build_unet(small()).state_dict()
    named = OrderedDict((prefix + name, tensor) for name, tensor in weights.items())
    content = named if wrapper is None else {"epoch": 3, wrapper: named, "optimizer": {"lr": 0.1}}
    (tmp_path / "w.pth").write_bytes(torch_bytes(content, is_legacy=is_legacy))
    assert same(read_weights(tmp_path / "w.pth"), weights)


def test_our_own_checkpoint_can_be_imported_as_weights(tmp_path: Path) -> None:
    weights = build_unet(small()).state_dict()
    save_checkpoint(tmp_path / "a.pt", state_dict=weights, header={})
    assert same(read_weights(tmp_path / "a.pt"), weights)


def test_safetensors_are_read_and_a_broken_one_is_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = {name: tensor.clone() for name, tensor in build_unet(small()).state_dict().items()}
    path = tmp_path / "w.safetensors"
    save_file(weights, path)
    assert same(read_weights(path), weights)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        IncompatibleWeights, match=r"'w\.safetensors' is not a complete safetensors file"
    ):
        read_weights(path)


def attacks(marker: Path) -> dict[str, bytes]:
    attack, tensor = Attack(marker), torch.zeros(4)
    swapped = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(torch_bytes({"w": tensor}))) as good,
        zipfile.ZipFile(swapped, "w") as bad,
    ):
        for name in good.namelist():
            bad.writestr(
                name, pickle.dumps(attack, 2) if name.endswith("data.pkl") else good.read(name)
            )
    magic = (
        pickle.dumps(0x1950A86A20F9469CFC6C, 2)
        + pickle.dumps(1001, 2)
        + pickle.dumps({"little_endian": True}, 2)
    )
    return {
        "beside weights": torch_bytes({"state_dict": {"w": tensor}, "extra": attack}),
        "among weights": torch_bytes({"w": tensor, "v": attack}),
        "beside weights, old format": torch_bytes({"w": tensor, "extra": attack}, is_legacy=True),
        "old format by hand": magic + pickle.dumps(attack, 2),
        "bare pickle, protocol 0": pickle.dumps(attack, 0),
        "bare pickle, protocol 2": pickle.dumps(attack, 2),
        "bare pickle, protocol 4": pickle.dumps(attack, 4),
        "archive with another pickle in it": swapped.getvalue(),
        "whole model": torch_bytes(nn.Linear(2, 2)),
        "whole model, old format": torch_bytes(nn.Linear(2, 2), is_legacy=True),
    }


@pytest.mark.parametrize("kind", attacks(Path("marker")))
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, kind: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "w.pt"
    path.write_bytes(attacks(marker)[kind])
    for read in (read_weights, load_checkpoint):
        with pytest.raises(
            UnsafeFile,
            match=r"Reading 'w\.pt' would execute code(.|\n)*was not read\.\n  -> In the program "
            r"that made it, save only",
        ) as caught:
            read(path)
        assert (
            "torch.nn.modules.linear.Linear" if "model" in kind else "system"
        ) in caught.value.problem
    assert not marker.exists()


def test_the_attack_would_have_worked_on_a_careless_reader(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Attack(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "program.pt"
    with zipfile.ZipFile(
        program, "w"
    ) as archive:  # what torch.jit.save writes, as far as it matters
        for name in ("data.pkl", "code/__torch__.py", "constants.pkl", "version"):
            archive.writestr(f"program/{name}", pickle.dumps(()))
    with pytest.raises(UnsafeFile, match=r"'program\.pt' is a TorchScript program"):
        read_weights(program)


@pytest.mark.parametrize("is_legacy", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_file_cut_short_is_called_so(tmp_path: Path, is_legacy: bool, share: float) -> None:
    content = torch_bytes({"w": torch.randn(3000)}, is_legacy=is_legacy)
    path = tmp_path / "w.pt"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        IncompatibleWeights,
        match=r"'w\.pt' \(\d+ bytes\) is not a complete weights file\.\n  -> Copy or download",
    ):
        read_weights(path)


@pytest.mark.parametrize(
    "content",
    [
        b"hello\n" * 50,
        b"cells,area\n1,2\n",
        b"\x89PNG\r\n\x1a\n" + bytes(99),
        b"c\n\n.",
        bytes(200),
        pickle.dumps([1]),
    ],
)
def test_what_is_not_pytorchs_is_called_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(IncompatibleWeights, match="is not a complete weights file"):
        read_weights(tmp_path / "w.pt")


def test_an_ordinary_zip_and_a_missing_file_are_called_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("picture.txt", "hello")
    with pytest.raises(IncompatibleWeights, match="is not a complete weights file"):
        read_weights(tmp_path / "w.pt")
    with pytest.raises(NotFound, match="There is no weights file"):
        read_weights(tmp_path / "absent.pt")


def test_one_changed_byte_in_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, state_dict={"w": torch.randn(5000)}, header=HEADER)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(IncompatibleWeights, match="is not a complete weights file"):
        load_checkpoint(path)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    is_legacy=st.booleans(),
    places=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20
    ),
)
def test_a_mutated_file_is_read_or_refused_in_words(
    tmp_path: Path, is_legacy: bool, places: list[tuple[float, int]]
) -> None:
    content = bytearray(
        torch_bytes({"w": torch.arange(20.0), "v": torch.ones(2, 2)}, is_legacy=is_legacy)
    )
    for place, value in places:
        content[int(place * len(content))] = value
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with contextlib.suppress(IncompatibleWeights, UnsafeFile):
        read_weights(path)


@pytest.mark.parametrize(
    "content",
    [
        {"epoch": 3, "lr": 0.1},
        [torch.zeros(2)],
        torch.zeros(2),
        {1: torch.zeros(2)},
        {"state_dict": {}},
    ],
)
def test_a_file_without_named_weights_says_what_it_holds(tmp_path: Path, content: object) -> None:
    (tmp_path / "w.pt").write_bytes(torch_bytes(content))
    with pytest.raises(
        IncompatibleWeights,
        match=r"'w\.pt' holds no named weights, but (the entries|a list|a Tensor)",
    ):
        read_weights(tmp_path / "w.pt")


def test_weights_of_another_network_are_refused_with_names_counts_and_what_they_look_like() -> None:
    network, other = (
        build_unet(small()),
        build_unet(small(base_channels=8, depth=3, input_channels=2)),
    )
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(IncompatibleWeights) as caught:
        fit_weights(network, other.state_dict(), source="'other.pt'", look=network_of_weights)
    message = str(caught.value)
    assert message.startswith(
        "'other.pt' does not match the network: 26 weights not part of the network "
        "(encoder.2.convs.0.conv.weight, "
    )
    assert (
        "weights of another shape (encoder.0.convs.0.conv.weight is (8, 2, 3, 3) instead of (4, "
        "1, 3, 3), " in message
    )
    assert "The file looks like depth 3, base_channels 8, input_channels 2." in message
    assert same(network.state_dict(), before)


def test_a_weight_left_unset_is_refused_and_nothing_is_changed() -> None:
    network, weights = build_unet(small()), build_unet(small()).state_dict()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    del weights["head.bias"]
    with pytest.raises(IncompatibleWeights, match=r"1 weight missing \(head\.bias\)"):
        fit_weights(network, weights, source="'w.pt'")
    assert same(network.state_dict(), before)


def test_weights_that_are_not_numbers_are_refused() -> None:
    network, weights = build_unet(small()), build_unet(small()).state_dict()
    weights["head.bias"] = torch.tensor([float("nan")])
    with pytest.raises(IncompatibleWeights, match=r"1 weight not finite \(head\.bias\)"):
        fit_weights(network, weights, source="'w.pt'")


def test_garbage_is_never_taken_for_weights() -> None:
    with pytest.raises(
        IncompatibleWeights,
        match=r"\d+ weights missing \(.*\.\.\.\); 1 weight not part of the network "
        r"\(layer1\)",
    ):
        fit_weights(build_unet(small()), {"layer1": torch.zeros(3)}, source="'w.pt'")


def test_half_precision_weights_fit() -> None:
    network = build_unet(small())
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in build_unet(small()).state_dict().items()
    }
    fit_weights(network, weights, source="'w.pt'")
    torch.testing.assert_close(network.head.weight, weights["head.weight"].float())


@pytest.mark.parametrize("preset", ["standard_unet", "resunet", "attention_unet"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"spatial_dims": "3d", "upsampling": "bilinear"},
        {"spatial_dims": "3d", "depth": 3, "z_strides": (1, 2, 1)},
        {"depth": 1, "base_channels": 7, "input_channels": 5},
    ],
)
def test_the_architecture_can_be_read_off_our_own_weights(
    preset: str, changes: dict[str, Any]
) -> None:
    architecture = small(preset=preset, **changes)
    read = network_of_weights(build_unet(architecture).state_dict())
    assert read == {name: getattr(architecture, name) for name in read}
    assert len(read) == 7 + ("z_strides" in read)
    assert ("z_strides" in read) == (
        architecture.spatial_dims == "3d" and architecture.upsampling == "transpose"
    )


@pytest.mark.parametrize("stride", [2, 3])
def test_what_is_read_off_foreign_weights_is_no_traceback(tmp_path: Path, stride: int) -> None:
    deep = {
        f"encoder.{level}.convs.0.conv.weight": torch.zeros(2, 1, 3, 3, 3) for level in range(9)
    }
    ups = {f"ups.{level}.weight": torch.zeros(2, 2, stride, 2, 2) for level in range(9)}
    project = Project.create(tmp_path / "p", mode="binary")
    torch.save({**deep, **ups, "head.weight": torch.zeros(1, 2, 1, 1, 1)}, tmp_path / "w.pt")
    with pytest.raises(MaskloopError):
        import_weights(project, tmp_path / "w.pt", architecture={})


OTHERS: dict[str, dict[str, Any]] = {
    "spatial_dims": {"spatial_dims": "3d"},
    "preset": {"preset": "resunet"},
    "depth": {"depth": 3},
    "z_strides": {"spatial_dims": "3d", "z_strides": (1,)},
    "base_channels": {"base_channels": 16},
    "normalization": {"normalization": "group"},
    "upsampling": {"upsampling": "bilinear"},
    "input_channels": {"input_channels": 3},
    "output_channels": {"output_channels": 5},
}


def weights(task: Task | None = None, backend: str = "basic_unet", **network: Any) -> Start:
    described = UNetNetwork(**network).model_dump()
    return Start("Checkpoint 'unet_run_001'", Path("x.pt"), backend, described, task)


@pytest.mark.parametrize("field", OTHERS)
def test_each_mismatch_is_named_with_both_values(field: str) -> None:
    wanted, start = UNetNetwork(), weights(**OTHERS[field])
    fields = set(UNetArchitecture.model_fields) - {"z_strides", "threshold"}
    choices = wanted.model_dump(include=fields)
    if field == "z_strides":  # what 2d has no room for is not compared
        choices |= {"spatial_dims": "3d", "z_strides": (2,)}
    with pytest.raises(IncompatibleWeights) as caught:
        require_compatible(Task(channels=1), UNetArchitecture(**choices), start)
    values = {"z_strides": ("1, then 2", "2")}.get(
        field, (start.network[field], getattr(wanted, field))
    )
    assert f"{COMPARED[field]} is {values[0]} instead of {values[1]}" in str(caught.value)
    assert str(caught.value).startswith(
        "Checkpoint 'unet_run_001' does not match the architecture: "
    )


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (Task(mode="instances"), "output mode is instances instead of binary"),
        (
            Task(mode="multiclass", classes=tuple("abcd")),
            "number of classes is 5 instead of 2",
        ),
    ],
)
def test_another_task_is_named_with_both_values(task: Task, words: str) -> None:
    with pytest.raises(IncompatibleWeights, match=words):
        require_compatible(Task(), UNetArchitecture(), weights(task))


def test_the_backend_is_compared_too() -> None:
    other = weights(backend="another")
    assert [str(one) for one in compare(Task(), UNetArchitecture(), other)] == [
        "backend is another instead of basic_unet"
    ]


def test_other_class_names_and_another_threshold_fit() -> None:
    ours, theirs = Task(classes=("thing",)), Task(classes=("cell",))
    own = UNetArchitecture(threshold=0.3)
    assert compare(ours, own, weights(theirs)) == []
    assert require_compatible(ours, own, weights(theirs)) == UNetNetwork()


def checkpoint_bytes(**changes: Any) -> bytes:
    """A file like our own checkpoints, with other contents."""
    usual: dict[str, Any] = {"format": "maskloop-checkpoint", "version": 1, "header": {}}
    return torch_bytes({**usual, "state_dict": {"w": torch.zeros(2)}, **changes})


def zip_of(entries: dict[str, bytes], *, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def overlapping(copies: int) -> bytes:
    """A zip whose entries are all the same bytes, after Fifield 2019, "A better zip bomb"."""
    whole = zip_of({"data.pkl": bytes(1_000_000)}, compressed=True)
    directory = whole.rindex(b"PK\x01\x02")
    end = whole.rindex(b"PK\x05\x06")
    entry = whole[directory:end]
    counts = copies.to_bytes(2, "little") * 2
    length = (len(entry) * copies).to_bytes(4, "little")
    tail = whole[end : end + 8] + counts + length + whole[end + 16 :]
    return whole[:directory] + entry * copies + tail


def doubling(levels: int) -> bytes:
    """A dict whose key is a tuple that holds a tuple twice, and so on: its hash takes for ever."""
    level = b"h\x00h\x00\x86q\x00"
    return zip_of({"data.pkl": b"\x80\x02}N\x85q\x00" + level * levels + b"h\x00Ns."})


def nested(levels: int) -> list[Any]:
    """A list that holds a list twice, and so on: endless when it is written out."""
    inner: list[Any] = []
    for _ in range(levels):
        inner = [inner, inner]
    return inner


SMALL_AND_HUGE: dict[str, tuple[bytes, str]] = {
    "one value repeated": (
        torch_bytes({"w": torch.zeros(1).expand(10**9)}),
        "Weight 'w'(.|\n)*does not hold a value for each",
    ),
    "no values": (torch_bytes({"w": torch.zeros(10**9, device="meta")}), "does not hold a value"),
    "positions without values": (
        torch_bytes({"w": torch.sparse_coo_tensor([[0]], [1.0], (10**9,), check_invariants=True)}),
        "does not hold a value",
    ),
    "compressed": (zip_of({"data/0": bytes(10**8)}, compressed=True), "would unpack to 100000000"),
    "entries over each other": (overlapping(5000), "would unpack to 5000000000"),
    "a long pickle": (zip_of({"data.pkl": b"N0" * 2**20}), "holds too much besides its weights"),
    "tuples in tuples": (
        zip_of({"data.pkl": b"\x80\x02}N" + b"\x85" * 200_000 + b"Ns."}),
        "could take all memory",
    ),
    "a bytearray": (
        zip_of({"data.pkl": b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x10\x85R."}),
        "could take all memory",
    ),
    "a key that doubles": (doubling(60), "could take all memory"),
    "endless values": (torch_bytes({"a": nested(60), 1: 2}), "but the entries 'a', int"),
}


@pytest.mark.parametrize("kind", SMALL_AND_HUGE)
def test_a_small_file_that_would_take_all_memory_is_refused(tmp_path: Path, kind: str) -> None:
    content, words = SMALL_AND_HUGE[kind]
    assert len(content) < 3_000_000
    (tmp_path / "w.pt").write_bytes(content)
    with limited_memory(), pytest.raises(IncompatibleWeights, match=words):
        read_weights(tmp_path / "w.pt")


@contextlib.contextmanager
def limited_memory() -> Any:
    """Let this process take at most 300 MB more, where the system can keep it to that."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 300 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_description_of_a_huge_network_takes_no_memory(tmp_path: Path) -> None:
    network = small(depth=7, base_channels=256)
    plan = {"network": network.model_dump(mode="json")}
    (tmp_path / "w.pt").write_bytes(checkpoint_bytes(header={"plan": plan}))
    with limited_memory(), pytest.raises(IncompatibleWeights):
        load_segmenter(tmp_path / "w.pt")
    with limited_memory(), pytest.raises(IncompatibleWeights, match="weights missing"):
        fit_weights(outline_unet(network), {"w": torch.zeros(2)}, source="w.pt")


@pytest.mark.parametrize(
    "header", [{}, {"plan": None}, {"plan": 3}, {"plan": {"network": []}}, {"plan": torch.zeros(3)}]
)
def test_a_description_of_another_kind_is_refused_in_words(
    tmp_path: Path, header: dict[str, Any]
) -> None:
    (tmp_path / "w.pt").write_bytes(checkpoint_bytes(header=header))
    with pytest.raises(IncompatibleWeights, match=r"The description in 'w\.pt' cannot be read"):
        load_segmenter(tmp_path / "w.pt")


@pytest.mark.parametrize(
    "changes",
    [
        {"format": torch.zeros(3)},
        {"version": torch.zeros(3)},
        {"version": 10**400},
        {"header": [1]},
        {"state_dict": {"w": "text"}},
        {"state_dict": {"w" * 6000: torch.zeros(2), 1: torch.zeros(2)}},
    ],
)
def test_fields_of_another_type_are_refused_in_words(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    (tmp_path / "w.pt").write_bytes(checkpoint_bytes(**changes))
    with pytest.raises(IncompatibleWeights) as caught:
        load_checkpoint(tmp_path / "w.pt")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "weight",
    [
        torch.tensor([1e300], dtype=torch.float64),
        torch.tensor([1 + 2j]),
        torch.tensor([float("nan")]).to(torch.float8_e5m2),
    ],
)
def test_numbers_that_single_precision_does_not_hold_are_refused(weight: torch.Tensor) -> None:
    network, weights = build_unet(small()), build_unet(small()).state_dict()
    weights["head.bias"] = weight
    with pytest.raises(IncompatibleWeights, match=r"1 weight not finite \(head\.bias\)"):
        fit_weights(network, weights, source="'w.pt'")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"resume",
        torch_bytes({"state": '{"step": "many"}', "model": {}}),
        torch_bytes({"state": torch.zeros(2)}),
        torch_bytes([1]),
    ],
)
def test_a_damaged_state_of_a_training_is_called_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "resume.pt").write_bytes(content)
    with pytest.raises(RecordError, match=r"The saved state(.|\n)*is damaged(.|\n)*as a new run"):
        load_state(tmp_path / "resume.pt")
