"""What it costs to list the runs of a project that has ten journals of an hour each.

Run with ``python benchmarks/journals.py``; with another maskloop on PYTHONPATH it measures
that one. The seconds are those of the processor, which a busy machine does not change much: of the
first look in a fresh process, of each later one (the window looks whenever the folder changes), and
of a look while one of the runs goes on.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from maskloop import Project
from maskloop.events import Finished, Metric, Progress, Started, append_event

RUNS = 10
EPOCHS = 720
PROGRESS_PER_EPOCH = 10
LOOK = """
import json, sys, time
from pathlib import Path
from maskloop import Project
from maskloop.compute.overview import list_runs
from maskloop.events import Progress, append_event
project = Project.open(sys.argv[1])
journal = Path(sys.argv[2])
def look():
    before = time.process_time()
    found = list_runs(project)
    spent = time.process_time() - before
    assert len(found) == 10 and all(run.epochs == 720 for run in found), found
    return spent
first, later = look(), look()
append_event(journal, Progress(stage="training", done=1, total=2))
print(json.dumps({"first": first, "later": later, "growing": look()}))
"""


def write_journal(project: Project) -> Path:
    """An hour of a training that tells how far it is twice a second."""
    run_id = project.history.new_run("train")
    folder = project.history.run_folder(run_id)
    (folder / "job.json").write_text('{"kind": "train"}', encoding="utf-8")
    events = [Started(process_id=1, host="here", time=0.0)]
    for epoch in range(EPOCHS):
        events += [
            Progress(
                stage="training",
                done=epoch + part / PROGRESS_PER_EPOCH,
                total=EPOCHS,
                unit="epochs",
                rate=21.5,
                seconds_left=1.0,
            )
            for part in range(PROGRESS_PER_EPOCH)
        ]
        events.append(Metric(epoch=epoch + 1, values={"loss": 0.5, "val_loss": 0.5, "dice": 0.5}))
    journal = folder / "events.jsonl"
    journal.write_bytes(b"".join(event.model_dump_json().encode() + b"\n" for event in events))
    append_event(journal, Finished(result={"checkpoint_id": f"unet_{run_id}"}))
    return journal


def main() -> None:
    """Print the medians of five fresh processes."""
    with tempfile.TemporaryDirectory() as place:
        project = Project.create(Path(place) / "project", mode="instances")
        for _ in range(RUNS):
            journal = write_journal(project)
        rounds = []
        for _ in range(6):
            command = [sys.executable, "-c", LOOK, str(project.folder), str(journal)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rounds.append(json.loads(done.stdout))
    # Of a project of an older version, the first process ever reads all and keeps the summaries.
    print(f"first process ever: {rounds[0]['first'] * 1000:.1f} ms")
    for name in ("first", "later", "growing"):
        print(f"{name}: {statistics.median(one[name] for one in rounds[1:]) * 1000:.1f} ms")


if __name__ == "__main__":
    main()
