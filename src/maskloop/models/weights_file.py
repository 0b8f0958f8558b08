"""Weights on disk: our self-describing checkpoint, and files of others, whose code never runs.

A checkpoint is one ``.pt`` that ``torch.load(weights_only=True)`` reads::

    {"format": "maskloop-checkpoint", "version": 2, "state_dict": {...}, "header": {plan, classes,
    lineage, ...}}

In version 1 the plan of the header described network and task as one (see `models.unet.old`).
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from maskloop.errors import IncompatibleWeights, NotFound, UnsafeFile
from maskloop.records import jsonable, write_bytes
from maskloop.wording import counted

__all__ = [
    "LoadedCheckpoint",
    "fit_weights",
    "load_checkpoint",
    "load_plain",
    "not_finite",
    "read_weights",
    "save_checkpoint",
]

FORMAT = "maskloop-checkpoint"
# Raised whenever an older program could not make sense of the header: that program then asks for
# an update, instead of listing fields that it does not know.
VERSION = 2
WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "network_weights")
"""Keys under which training programs keep the weights beside the optimizer and the like."""
PREFIXES = ("module.", "_orig_mod.")
"""What data-parallel training and torch.compile put before the names."""
LEGACY_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
"""How files of PyTorch before 1.6 begin."""
BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)
UNREADABLE = (
    *BROKEN_ZIP,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    pickle.UnpicklingError,
)
"""What reading a file that is cut short or changed can raise."""
HARMLESS = re.compile(
    r"collections OrderedDict|torch\.(_utils|storage|nn\.parameter) \w+"
    r"|torch (\w+Storage|Size|device|\w*int\d+|\w*float\d+)"
)
"""Names that every file of weights asks for."""
PYTHON_NAME = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*")
MAX_PICKLE = 2**20
"""Bytes of a pickle: names and shapes of ten thousand tensors, and a second to read."""
LEGACY_PICKLES = 5
TUPLES = 20
"""How many may lie in each other; those of tensors are three."""
MARK = -1
SHOWN = 3
SAVE_WEIGHTS_ONLY = (
    "In the program that made it, save only the weights: "
    "torch.save(model.state_dict(), 'weights.pt'), or use safetensors."
)
SAVE_PLAIN = (
    "In the program that made it, save ordinary tensors: "
    "torch.save({name: w.contiguous() for name, w in model.state_dict().items()}, 'weights.pt')."
)
FETCH_AGAIN = "Copy or download the file again, or choose another one (.pt, .pth or .safetensors)."

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class LoadedCheckpoint:
    """Weights with everything that is known of them."""

    state_dict: Weights
    """Name to tensor, on the CPU."""
    header: dict[str, Any]
    """Plain JSON: the plan, the classes, the normalization, the lineage."""


def save_checkpoint(
    path: Path, *, state_dict: Mapping[str, Tensor], header: Mapping[str, Any]
) -> None:
    """Write a checkpoint atomically: a reader sees the old file or the new one, never a part.

    Parameters
    ----------
    path
        The ``.pt`` to write or to replace.
    state_dict
        Name to tensor, on any device; the same weights and header give the same bytes.
    header
        Anything JSON can hold.

    Raises
    ------
    ProjectError
        If the disk is full or the folder is not writable; `path` is then as it was.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "state_dict": _plain(state_dict),
        "header": jsonable(dict(header)),
    }
    # PyTorch writes through C++, which cannot report a full disk in words; memory cannot be full of
    # 30 MB.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getvalue())


def _plain(state_dict: Mapping[str, Tensor]) -> Weights:
    """Weights with storage of their own, in standard order: a view would save all it looks at."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in state_dict.items()
    }


def load_checkpoint(path: Path) -> LoadedCheckpoint:
    """Read a checkpoint of this program.

    Raises
    ------
    NotFound
        If there is no such file.
    IncompatibleWeights
        If the file is damaged, is of a newer version, or holds weights without a description.
    UnsafeFile
        If it would have to run code to be read.
    """
    content = load_plain(path)
    if not isinstance(content, dict) or not _is_equal(content.get("format"), FORMAT):
        raise IncompatibleWeights(
            f"'{path.name}' is not a maskloop checkpoint: it does not state its architecture and "
            "classes.",
            "Import bare weights with their architecture (maskloop import-weights).",
        )
    version = content.get("version")
    if not isinstance(version, int) or version < 1:
        raise IncompatibleWeights(f"'{path.name}' has no valid format version.", FETCH_AGAIN)
    if version > VERSION:
        raise IncompatibleWeights(
            f"'{path.name}' was written by a newer version of maskloop: it has checkpoint format "
            f"{version}, and this version reads formats up to {VERSION}.",
            "Update maskloop.",
        )
    header = content.get("header")
    if not isinstance(header, dict):
        raise IncompatibleWeights(f"'{path.name}' has no header.", FETCH_AGAIN)
    return LoadedCheckpoint(_weights_in(content.get("state_dict"), path), header)


def _is_equal(value: object, wanted: object) -> bool:
    # A tensor compares element by element, which is neither yes nor no.
    return type(value) is type(wanted) and value == wanted


def read_weights(path: Path) -> Weights:
    """Read weights of any program, from ``.pt``, ``.pth`` or ``.safetensors``.

    A ``.pt`` or ``.pth`` holds a state dict, bare or beside other things. Prefixes that
    data-parallel training or ``torch.compile`` added to the names are removed.

    Returns
    -------
    state_dict
        Name to tensor, on the CPU.

    Raises
    ------
    NotFound
        If there is no such file.
    IncompatibleWeights
        If the file is damaged or holds no weights.
    UnsafeFile
        If it would have to run code to be read (a whole pickled model, a TorchScript archive, an
        attack); nothing was run.
    """
    content = _load_safetensors(path) if path.suffix.lower() == ".safetensors" else load_plain(path)
    return _without_prefixes(_weights_in(content, path))


def _weights_in(content: object, path: Path) -> Weights:
    """The name-to-tensor mapping in what a file held."""
    # Wrappers may be nested, such as {"model": {"state_dict": ...}}; not without end.
    for _ in range(SHOWN):
        inner = (
            [content[key] for key in WRAPPERS if isinstance(content.get(key), dict)]
            if isinstance(content, dict)
            else []
        )
        if not inner:
            break
        content = inner[0]
    # What else lies beside the weights (an epoch, a name) is of no use here.
    weights = (
        {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not weights or not all(isinstance(name, str) for name in weights):
        raise IncompatibleWeights(
            f"'{path.name}' holds no named weights, but {_held(content)}.",
            f"Select a file with a state dict, bare or under one of {', '.join(WRAPPERS)}.",
        )
    _require_own_bytes(weights, path)
    return weights


def _held(content: object) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    # The text of a key may be endless: lists that hold each other twice, thirty levels deep.
    names = [repr(key[:60]) if isinstance(key, str) else type(key).__name__ for key in content]
    return f"the entries {', '.join(names[:8])}"


def _require_own_bytes(weights: Weights, path: Path) -> None:
    """Refuse tensors that are larger than what the file holds of them.

    A tensor of a few bytes can be declared to be of any size: one value repeated (``expand``),
    positions without values (sparse), or no values at all (the meta device). Calculating with it
    takes the memory of the declared size.
    """
    for name, tensor in weights.items():
        is_plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
        # Nested and quantized tensors have storages of other kinds.
        is_plain = is_plain and not tensor.is_nested and not tensor.is_quantized
        if not is_plain or tensor.nbytes > tensor.untyped_storage().nbytes():
            raise IncompatibleWeights(
                f"Weight '{name[:60]}' in '{path.name}' does not hold a value for each of its "
                f"elements; its shape is {tuple(tensor.shape)}.",
                SAVE_PLAIN,
            )


def _without_prefixes(weights: Weights) -> Weights:
    for prefix in PREFIXES * 2:  # either may be around the other
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _load_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _require_file(path)
    try:
        weights: Weights = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise IncompatibleWeights(
            f"'{path.name}' is not a complete safetensors file: {error}.", FETCH_AGAIN
        ) from error
    return weights


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise NotFound(f"There is no weights file '{path}'.", "Check the path.")


def load_plain(path: Path) -> object:
    """Everything in a PyTorch file; only tensors and plain values are ever made of it.

    Raises
    ------
    NotFound
        If there is no such file.
    IncompatibleWeights
        If the file is damaged, or would take far more memory than it has bytes.
    UnsafeFile
        If it would have to run code to be read.
    """
    _require_file(path)
    # PyTorch does not verify checksums: a file that was changed could load as wrong weights.
    if not _is_whole(path):
        _refuse_code(path)
        raise _not_whole(path)
    _refuse_growth(path)
    try:
        # A damaged file is answered below, in our words.
        with warnings.catch_warnings(action="ignore"):
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        _refuse_code(path)
        raise _not_whole(path) from error
    return content


def _not_whole(path: Path) -> IncompatibleWeights:
    return IncompatibleWeights(
        f"'{path.name}' ({path.stat().st_size} bytes) is not a complete weights file.", FETCH_AGAIN
    )


def _is_whole(path: Path) -> bool:
    """Whether a file is PyTorch's and complete; PyTorch itself does not verify the checksums."""
    if not _is_zip(path):
        with path.open("rb") as file:
            return file.read(len(LEGACY_START)) == LEGACY_START
    try:
        with zipfile.ZipFile(path) as archive:
            entries, names = archive.infolist(), archive.namelist()
    except BROKEN_ZIP:
        return False
    _refuse_bombs(path, entries)
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except BROKEN_ZIP:
        return False
    # Only TorchScript archives have it: they are programs with weights inside.
    if any(name.endswith("/constants.pkl") for name in names):
        raise UnsafeFile(
            f"'{path.name}' is a TorchScript program, not only weights; it was not executed.",
            SAVE_WEIGHTS_ONLY,
        )
    return broken is None


def _refuse_bombs(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    # PyTorch stores and never compresses: what is larger than the file is compressed, or its
    # entries lie over each other.
    size = sum(entry.file_size for entry in entries)
    if size > path.stat().st_size:
        raise IncompatibleWeights(
            f"'{path.name}' has {path.stat().st_size} bytes and would unpack to {size}.",
            SAVE_WEIGHTS_ONLY,
        )
    for entry in entries:
        if entry.filename.endswith(".pkl") and entry.file_size > MAX_PICKLE:
            raise _too_long(path)


def _too_long(path: Path) -> IncompatibleWeights:
    return IncompatibleWeights(
        f"'{path.name}' holds too much besides its weights: more than {MAX_PICKLE} bytes of "
        "names and values.",
        SAVE_WEIGHTS_ONLY,
    )


def _refuse_growth(path: Path) -> None:
    """Refuse pickles of PyTorch's own kind that would take far more than they are long."""
    for stream in _pickles(path):
        # Of the old format, the five pickles that come before the bytes of the tensors.
        left = 1 if _is_zip(path) else LEGACY_PICKLES
        source, growth = io.BytesIO(stream), _Growth()
        with suppress(ValueError, LookupError, OverflowError, EOFError):
            while left:
                growth.follow(source)
                left -= 1
        if left and len(stream) == MAX_PICKLE:
            raise _too_long(path)
        if growth.is_harmful:
            raise IncompatibleWeights(
                f"'{path.name}' holds more than weights, and reading it could take all memory.",
                SAVE_WEIGHTS_ONLY,
            )


class _Growth:
    """Looks for what grows when it is read: byte arrays of any length, and tuples in tuples.

    Where a tuple is the key of a dict its hash visits all of it: a tuple that holds a tuple twice,
    which holds one twice, takes for ever after thirty levels.
    """

    def __init__(self) -> None:
        self.is_harmful = False
        self._stack: list[int] = []
        """How many tuples lie in each other, of each value on the stack; MARK for a mark."""
        self._memo: dict[Any, int] = {}

    def follow(self, source: IO[bytes]) -> None:
        """Look at one pickle."""
        for operation, argument, _ in pickletools.genops(source):
            if operation.name == "GLOBAL" and str(argument).endswith(" bytearray"):
                self.is_harmful = True
            self._step(operation, argument)

    def _step(self, operation: pickletools.OpcodeInfo, argument: Any) -> None:
        name, stack = operation.name, self._stack
        if name == "MARK":
            stack.append(MARK)
            return
        if "PUT" in name or name == "MEMOIZE":
            self._memo[len(self._memo) if argument is None else argument] = stack[-1]
            return
        taken = self._take(operation)
        level = 1 + max(taken, default=0) if "TUPLE" in name else 0
        if "GET" in name:
            level = self._memo.get(argument, 0)
        self.is_harmful |= level > TUPLES
        stack.extend([level] * len(operation.stack_after))

    def _take(self, operation: pickletools.OpcodeInfo) -> list[int]:
        """The values that an operation takes from the stack."""
        taken: list[int] = []
        before = operation.stack_before
        if pickletools.markobject in before:
            while (value := self._stack.pop()) != MARK:
                taken.append(value)
            before = before[: before.index(pickletools.markobject)]
        return [*taken, *(self._stack.pop() for _ in before)]


def _is_zip(path: Path) -> bool:
    """By the first bytes, as PyTorch tells: a zip behind a pickle must not pass for a zip."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _refuse_code(path: Path) -> None:
    """Say what a file wanted to call, without calling it."""
    with warnings.catch_warnings(action="ignore"):
        wanted = sorted(
            {
                name
                for stream in _pickles(path)
                for name in _globals(stream)
                if not HARMLESS.fullmatch(name)
            }
        )
    if wanted:
        named = ", ".join(f"'{name.replace(' ', '.')}'" for name in wanted[:SHOWN])
        raise UnsafeFile(
            f"Reading '{path.name}' would execute code in it ({named}), so it was not read.",
            SAVE_WEIGHTS_ONLY,
        )


def _pickles(path: Path) -> Iterator[bytes]:
    """The pickle streams of a file, up to MAX_PICKLE bytes of each."""
    if not _is_zip(path):
        with path.open("rb") as file:
            yield file.read(MAX_PICKLE)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".pkl"):
                    # Never more than MAX_PICKLE: a zip of a few kilobytes can unpack to gigabytes.
                    with archive.open(name) as member:
                        yield member.read(MAX_PICKLE)
    except BROKEN_ZIP:
        return


def _globals(stream: bytes) -> Iterator[str]:
    """Names ("module name") that the pickles in a stream ask for, up to where they break off."""
    source = io.BytesIO(stream)
    texts: list[str] = []
    try:
        # Legacy files hold several pickles one after another, with raw numbers behind them.
        while source.tell() < len(stream):
            for operation, argument, _ in pickletools.genops(source):
                is_global = operation.name in {"GLOBAL", "INST", "STACK_GLOBAL"}
                # STACK_GLOBAL takes module and name from the stack, where the two last texts are.
                name = " ".join(texts[-2:]) if operation.name == "STACK_GLOBAL" else str(argument)
                # Any text that begins with a c looks like a pickle for a while.
                if is_global and PYTHON_NAME.fullmatch(name):
                    yield name
                if isinstance(argument, str):
                    texts.append(argument)
    except (ValueError, LookupError, OverflowError, EOFError):
        return


def fit_weights(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    source: str,
    look: Callable[[Mapping[str, Tensor]], dict[str, Any]] = lambda _: {},
) -> None:
    """Set every weight of a network, or none.

    Parameters
    ----------
    module
        The network; it is changed in place. On the meta device it takes memory only when all
        weights fit, so that a description from a stranger costs none.
    state_dict
        Name to tensor; floating point of any width.
    source
        Name of the weights in messages, such as ``'unet.pt'``.
    look
        What can be inferred from weights; if they do not match, the difference is reported.

    Raises
    ------
    IncompatibleWeights
        If a weight is missing, unexpected, of another shape or not finite; the first few are named,
        and all are counted.
    """
    # All faults first, then one call: PyTorch's own loading copies what fits before it complains.
    own = module.state_dict()
    faults = [
        _fault("missing", [name for name in own if name not in state_dict]),
        _fault("not part of the network", [name for name in state_dict if name not in own]),
        _fault(
            "of another shape",
            [_shapes(name, own, state_dict) for name in own if _differs(name, own, state_dict)],
        ),
        _fault(
            "not finite",
            [name for name in own if name in state_dict and not _is_finite(state_dict[name])],
        ),
    ]
    if any(faults):
        # Our own reading of shapes on both sides: only what differs helps a person.
        needed = look(own)
        seen = {key: value for key, value in look(state_dict).items() if needed.get(key) != value}
        looks = (
            f" The file looks like {', '.join(f'{key} {value}' for key, value in seen.items())}."
            if seen
            else ""
        )
        raise IncompatibleWeights(
            f"{source} does not match the network: {'; '.join(filter(None, faults))}.{looks}",
            "Select weights of the same architecture, set the architecture to theirs, or start "
            "from scratch.",
        )
    if any(tensor.is_meta for tensor in own.values()):
        module.to_empty(device="cpu")
    module.load_state_dict(state_dict)


def _fault(words: str, names: list[str]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    shown = ", ".join(name[:100] for name in names[:SHOWN]) + more
    return f"{counted(len(names), 'weight')} {words} ({shown})" if names else ""


def _differs(name: str, own: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    return name in theirs and theirs[name].shape != own[name].shape


def _shapes(name: str, own: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    return f"{name} is {tuple(theirs[name].shape)} instead of {tuple(own[name].shape)}"


def not_finite(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the weights that hold NaN or infinite values: no model can use such a file."""
    return [name for name, weight in weights.items() if not _is_finite(weight)]


def _is_finite(weight: Tensor) -> bool:
    if weight.layout != torch.strided or weight.is_quantized or weight.is_complex():
        return False
    # As the network holds it: 1e300 is finite in double precision and infinite in single.
    return bool(torch.isfinite(weight.float()).all())
