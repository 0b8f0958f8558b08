"""The longest stall of the window while a training runs and a person works.

A real napari window with a stack of 2 GB (memory-mapped, uint16, in a temporary folder), a training
in its child process and, on the side "maskloop", the dock with a project of 10,000 pairs. A timer
in the event loop ticks every 5 ms; a stall is the time between two ticks, nothing taken off. Each
phase of the work is measured by itself. The side "napari" does the same with the stack without the
dock: what it shows is napari's own (drawing without a graphics card above all). On a machine with
more to do than it has cores a window waits without being held by anybody: ``worked`` is the most
that its process has worked between two ticks.

Needs ``pip install "maskloop[napari]"`` and a screen (``xvfb-run`` where there is none).
``--explain`` also tells, of each long stall, how long Python collected garbage and where the thread
of the window was.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import side_by_side

if TYPE_CHECKING:
    from napari import Viewer
    from qtpy.QtCore import QPoint
    from qtpy.QtWidgets import QWidget

    from maskloop.ui.dock import MaskloopDock

PAIRS = 10_000
REAL_PAIRS = 20
PLANES, SIDE = 240, 2048
TICK_MS = 5
LONG_MS = 60
LOOK_S = 0.005
DEADLINE_S = 120
TARGET_MS = 100
STEPS = 40
OPEN_A_PAIR = "open a pair"
BEFORE = ("open the dock", "open the project")
"""Once, before there is anything to be held up from: shown, and not what the target is about."""
SIDES = ("napari", "maskloop")
OWN = ("napari", "maskloop", "vispy")


# What is worked on


def make_project(folder: Path, count: int) -> None:
    """A project of so many pairs, twenty of which differ: the others share their files."""
    from maskloop.project import layout
    from maskloop.project.layout import Manifest
    from maskloop.project.project import ProjectFolder
    from maskloop.project.store import changed
    from maskloop.samples import simulate_pairs

    project = ProjectFolder.create(folder, mode="instances")
    real = [
        project.dataset.accept(*pair, name=f"image {number}")
        for number, pair in enumerate(simulate_pairs(REAL_PAIRS, shape=(64, 64)))
    ]
    random = np.random.default_rng(0)
    pairs = list(real)
    for number in range(REAL_PAIRS, count):
        pair_id = f"pair_{number + 1:05d}_{random.bytes(4).hex()}"
        fresh = {"perceptual_hash": random.bytes(32).hex(), "pixels_sha256": random.bytes(32).hex()}
        pairs.append(
            changed(
                real[number % REAL_PAIRS],
                pair_id=pair_id,
                name=f"image {number}",
                group=pair_id,
                **fresh,
            )
        )
    stamp = layout.now()
    project.record(layout.MANIFEST, Manifest).write(
        Manifest(created_at=stamp, updated_at=stamp, next_pair=count + 1, pairs=tuple(pairs))
    )


def make_stack(file: Path, planes: int, side: int) -> None:
    """A stack of cells on the disk, plane by plane."""
    from maskloop.samples import simulate_pairs

    tile = np.asarray(simulate_pairs(1, shape=(256, 256), seed=7)[0][0])
    plane = np.tile(
        (tile / max(1, tile.max()) * 4000).astype(np.uint16), (side // 256, side // 256)
    )
    stack = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint16, shape=(planes, side, side))
    for number in range(planes):
        stack[number] = np.roll(plane, 3 * number, axis=1) + number
    stack.flush()


def start_training(folder: Path) -> Any:
    """A training in its child process, as the window starts it, until it is stopped."""
    from maskloop import Project
    from maskloop.compute.runs import start, submit
    from maskloop.jobs.training import TrainJob
    from maskloop.models.unet.records import UNetRecipe

    project = Project.open(folder)
    ids = tuple(pair.pair_id for pair in project.dataset.pairs[:REAL_PAIRS])
    share = 4 / len(project.dataset.pairs)
    # Epochs of some seconds, so that there are curves and pictures to be drawn meanwhile.
    recipe = UNetRecipe(
        epochs=100_000, patience=100_000, base_channels=8, batch_size=64, validation_share=share
    )
    return start(submit(project, TrainJob(recipe=recipe, start="scratch", pairs=ids)), "process")


# The clock


class Clock:
    """Ticks in the event loop and remembers how long it waited for each tick, by phase."""

    def __init__(self, *, explain: bool) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.phases: dict[str, dict[str, Any]] = {}
        self._explain = explain
        self._waits: list[float] = []
        self._worked: list[float] = []
        self._collected: list[tuple[float, float]] = []
        self._seen: list[str] = []
        self._last, self._work = time.perf_counter(), time.process_time()
        self._timer = QTimer(timerType=Qt.TimerType.PreciseTimer, interval=TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._timer.start()
        gc.callbacks.append(self._collect)
        if explain:
            signal.signal(signal.SIGALRM, self._look)
            signal.setitimer(signal.ITIMER_REAL, LOOK_S, LOOK_S)

    def stop(self) -> None:
        """Tick no more."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._timer.stop()
        gc.callbacks.remove(self._collect)

    def _tick(self) -> None:
        now, work = time.perf_counter(), time.process_time()
        wait, begin = now - self._last, self._last
        self._waits.append(wait)
        self._worked.append(min(wait, work - self._work))
        self._last, self._work = now, work
        if self._explain and wait * 1000 > LONG_MS:
            self._tell(begin, now)
        self._seen.clear()

    def _collect(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._collected.append((self._began, time.perf_counter()))

    def _look(self, _number: int, frame: FrameType | None) -> None:
        """Note where the thread of the window is.

        A signal, because looking at it from another thread can crash Python 3.11.
        """
        if time.perf_counter() - self._last > LONG_MS / 2000:
            stack = [
                entry
                for entry in traceback.extract_stack(frame)
                if any(f"/{name}/" in entry.filename for name in OWN)
            ]
            self._seen.append(
                " < ".join(
                    f"{Path(entry.filename).name}:{entry.lineno} {entry.name}"
                    for entry in reversed(stack[-5:])
                )
            )

    def _tell(self, begin: float, end: float) -> None:
        collected = sum(
            stop - start for start, stop in self._collected if start >= begin and stop <= end
        )
        places, self._seen = self._seen, []
        often = sorted(set(places), key=places.count, reverse=True)[:3]
        print(
            f"    {(end - begin) * 1000:.0f} ms, of them {collected * 1000:.0f} ms garbage "
            "collection",
            file=sys.stderr,
        )
        for where in often:
            print(
                f"      {places.count(where)} of {len(places)}: {where or 'in the event loop'}",
                file=sys.stderr,
            )

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what happens within the block, and what it sets off in the half second after."""
        self._waits.clear()
        self._worked.clear()
        self._collected.clear()
        self._seen.clear()
        self._last = begin = time.perf_counter()
        self._work = time.process_time()
        yield
        pause(0.5)
        waits = sorted(wait * 1000 for wait in self._waits)
        found = {
            "longest_ms": round(waits[-1], 1),
            "worked_ms": round(max(self._worked) * 1000, 1),
            "p99_9_ms": round(waits[math.ceil(0.999 * len(waits)) - 1], 1),
            "over_100_ms": sum(wait > TARGET_MS for wait in waits),
            "collecting_ms": round(
                max((stop - start for start, stop in self._collected), default=0) * 1000, 1
            ),
            "seconds": round(time.perf_counter() - begin, 1),
        }
        self.phases[name] = found
        print(f"  {name}: {found}", file=sys.stderr, flush=True)


def pause(seconds: float) -> None:
    """Let the window live for a while."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(round(seconds * 1000), loop.quit)
    loop.exec()


def wait_until(is_true: Callable[[], object]) -> None:
    """Let the window live until something is true."""
    end = time.monotonic() + DEADLINE_S
    while not is_true():
        if time.monotonic() > end:
            raise TimeoutError(f"still not so after {DEADLINE_S} s")
        pause(0.02)


# The work


def work_on_stack(viewer: Viewer, clock: Clock, stack: Path) -> None:
    """What both sides do: open the stack, step through it, draw on it."""
    with clock.phase("open the stack"):
        image = viewer.add_image(
            np.load(stack, mmap_mode="r"), name="stack", metadata={"axes": "ZYX"}
        )
    planes = image.data.shape[0]
    with clock.phase("look at it for 5 s"):
        pause(5)
    with clock.phase("step through planes"):
        for number in range(STEPS):
            viewer.dims.set_current_step(0, number * planes // STEPS)
            pause(0.05)
    with clock.phase("add a layer of labels"):
        labels = viewer.add_labels(np.zeros(image.data.shape, np.uint8), name="mask")
    with clock.phase("paint"):
        for number in range(STEPS):
            labels.paint(
                (viewer.dims.current_step[0], 100 + number, 200 + 2 * number), 1 + number % 5
            )
            pause(0.02)


def work_in_dock(dock: MaskloopDock, clock: Clock) -> None:
    """What a person does in the dock, with the mouse and the keyboard where a widget has them."""
    from qtpy.QtCore import Qt

    from maskloop.ui.tables import Table
    from maskloop.ui.tabs.advanced import AdvancedTab
    from maskloop.ui.tabs.dataset import DatasetTab
    from maskloop.ui.tabs.train import TrainTab

    session = dock.session
    table = max(dock.tab(DatasetTab).findChildren(Table), key=lambda found: found.model.rowCount())
    with clock.phase("watch the training for 5 s"):
        dock.tabs.setCurrentWidget(dock.tab(TrainTab))
        pause(5)
    with clock.phase("switch tabs"):
        for number in range(3 * dock.tabs.count()):
            click(
                dock.tabs.tabBar(),
                at=dock.tabs.tabBar().tabRect(number % dock.tabs.count()).center(),
            )
            pause(0.3)
    dock.tabs.setCurrentWidget(dock.tab(DatasetTab))
    pause(1)
    with clock.phase("sort the table"):
        for column in range(table.model.columnCount()):
            for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
                table.view.sortByColumn(column, order)
                pause(0.1)
    with clock.phase("filter the table"):
        for word in ("image 99", "nothing of this name", "77"):
            type_into(table.filter, word)
            table.filter.clear()
            pause(0.1)
    with clock.phase("scroll the table"):
        bar = table.view.verticalScrollBar()
        for number in range(STEPS):
            bar.setValue(number * bar.maximum() // STEPS)
            pause(0.03)
    extent = dock.tab(DatasetTab).extent
    extent.setCurrentIndex(extent.findData("slice"))
    extent.activated.emit(extent.currentIndex())
    with clock.phase("accept the visible slice"):
        count = len(session.workspace.snapshot.active_pairs)
        dock.tab(DatasetTab).accept()
        wait_until(lambda: len(session.workspace.snapshot.active_pairs) > count)
    with clock.phase("mark a pair as validation"):
        pair_id = next(
            pair.pair_id for pair in session.workspace.snapshot.active_pairs if pair.split is None
        )
        session.pairs.mark_validation([pair_id])
        wait_until(
            lambda: any(
                pair.pair_id == pair_id and pair.split == "validation"
                for pair in session.workspace.snapshot.pairs
            )
        )
    with clock.phase("another window removes a pair"):
        remove_elsewhere(
            session.workspace.project.folder, session.workspace.snapshot.active_pairs[7].pair_id
        )
        count = len(session.workspace.snapshot.active_pairs)
        wait_until(lambda: len(session.workspace.snapshot.active_pairs) < count)
    with clock.phase(OPEN_A_PAIR):
        layers = len(dock.viewer.layers)
        table.activated.emit(table.model.shown[3])
        wait_until(lambda: len(dock.viewer.layers) > layers)
    with clock.phase("change the recipe"):
        dock.tabs.setCurrentWidget(dock.tab(TrainTab))
        for epochs in (20, 30, 40):
            dock.tab(TrainTab).table.typed.emit("epochs", str(epochs))
            pause(1)
        wait_until(lambda: not session.workspace.background.is_busy)
    with clock.phase("check the folder"):
        dock.tabs.setCurrentWidget(dock.tab(AdvancedTab))
        session.checkup.check()
        wait_until(lambda: not session.checkup.is_busy)


def click(widget: QWidget, *, at: QPoint) -> None:
    """A click with the mouse."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    QTest.mouseClick(widget, Qt.MouseButton.LeftButton, pos=at)


def type_into(widget: QWidget, text: str) -> None:
    """Type, letter by letter."""
    from qtpy.QtTest import QTest

    for letter in text:
        QTest.keyClicks(widget, letter)
        pause(0.05)


def remove_elsewhere(folder: Path, pair_id: str) -> None:
    """Write to the project from another process."""
    subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from maskloop import Project; "
            f"Project.open({str(folder)!r}).dataset.remove({pair_id!r})",
        ]
    )


# The sides


def measure(side: str, folder: Path, *, explain: bool) -> dict[str, Any]:
    """One side, in this process: its window is new."""
    import napari

    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1400, 900)
    pause(1)
    clock = Clock(explain=explain)
    if side == "maskloop":
        with clock.phase("open the dock"):
            _, dock = viewer.window.add_plugin_dock_widget("maskloop")
        with clock.phase("open the project"):
            dock.open_project(folder / "project")
            wait_until(
                lambda: (
                    dock.session.workspace.snapshot.active_pairs
                    and not dock.session.workspace.background.is_busy
                )
            )
    work_on_stack(viewer, clock, folder / "stack.npy")
    if side == "maskloop":
        work_in_dock(dock, clock)
    else:
        with clock.phase(OPEN_A_PAIR):
            viewer.add_image(np.zeros((64, 64), np.uint16))
            viewer.add_labels(np.zeros((64, 64), np.uint8))
    clock.stop()
    viewer.close()
    return clock.phases


def measure_apart(side: str, folder: Path, *, explain: bool) -> dict[str, Any]:
    """One side in a process of its own, while a training runs."""
    training = start_training(folder / "project")
    try:
        begin = time.monotonic()
        while not is_learning(training.folder):
            if time.monotonic() - begin > DEADLINE_S:
                raise TimeoutError(f"the training has not begun after {DEADLINE_S} s")
            time.sleep(0.2)
        command = [
            sys.executable,
            __file__,
            "--side",
            side,
            "--folder",
            str(folder),
            *(["--explain"] if explain else []),
        ]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        assert training.is_alive(), "the training ended before the measurement did"
    finally:
        training.cancel()
        training.child.wait(DEADLINE_S)
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def is_learning(folder: Path) -> bool:
    """Whether the training has come to its first step."""
    from maskloop.events import Progress, read_events
    from maskloop.jobs.execute import EVENTS

    return any(isinstance(event, Progress) for event in read_events(folder / EVENTS)[0])


def main() -> None:
    """Measure both sides in turn and write what was found."""
    parser = side_by_side.options("window", __doc__)
    parser.add_argument(
        "--explain", action="store_true", help="say of each long stall where it came from"
    )
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.folder, explain=arguments.explain)))
        return
    on = side_by_side.machine()
    pairs, planes, side = (100, 8, 512) if arguments.quick else (PAIRS, PLANES, SIDE)
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_stack(folder / "stack.npy", planes, side)
        for number in range(1 if arguments.quick else arguments.rounds):
            for one in SIDES:
                print(f"round {number + 1}: {one}", file=sys.stderr)
                shutil.rmtree(folder / "project", ignore_errors=True)
                make_project(folder / "project", pairs)
                rounds[one].append(measure_apart(one, folder, explain=arguments.explain))
    settings = {
        "pairs": pairs,
        "stack": [planes, side, side],
        "stack_gb": round(planes * side * side * 2 / 1e9, 2),
        "tick_ms": TICK_MS,
    }
    result = {
        "settings": settings,
        "phases": {name: summary(found) for name, found in rounds.items()},
    }
    result["claims"] = claims(result["phases"])
    side_by_side.write("window", arguments, result, started_on=on)


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each phase the median and the worst of its longest stalls over the rounds."""
    return {
        phase: {
            "longest_ms": statistics.median(found[phase]["longest_ms"] for found in rounds),
            "worst_ms": max(found[phase]["longest_ms"] for found in rounds),
            "worked_ms": max(found[phase]["worked_ms"] for found in rounds),
            "p99_9_ms": statistics.median(found[phase]["p99_9_ms"] for found in rounds),
            "collecting_ms": max(found[phase]["collecting_ms"] for found in rounds),
        }
        for phase in rounds[0]
    }


def claims(phases: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The longest stall of what only the dock does, and of what napari does without it."""
    own = {
        phase: found["longest_ms"]
        for phase, found in phases["maskloop"].items()
        if phase not in {*phases["napari"], *BEFORE}
    }
    worst = max(own, key=lambda phase: own[phase])
    both = {
        phase: found["longest_ms"]
        for phase, found in phases["maskloop"].items()
        if phase in phases["napari"]
    }
    added = max(both[phase] - phases["napari"][phase]["longest_ms"] for phase in both)
    return [
        side_by_side.claim(
            f"longest stall of what is done in the dock ({worst})",
            own[worst],
            TARGET_MS,
            at_most=True,
            unit="ms",
        ),
        side_by_side.claim(
            "most that the dock adds to napari's own stalls",
            added,
            TARGET_MS,
            at_most=True,
            unit="ms",
        ),
    ]


if __name__ == "__main__":
    main()
