"""Run cases in one checkout, with its own python, and write what they computed: one json file each.

`compare.py` starts it. The file of the new checkout serves both, so it asks little of the package (compare_adapter.py).
"""

import argparse
import contextlib
import csv
import gc
import io
import json
import logging
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import compare_adapter
from compare_cases import BASE, STOP, Case
from compare_names import RESULTS, is_left_out, new_name, old_override
from measure import in_fresh_process

VOLATILE = (
    *("git_commit", "code", "command", "folder", "target", "resumed_from"),
    *("train_seconds", "seconds_to_first_step", "images_per_s"),
)
"""Keys of results.json and metrics.csv that differ from run to run."""
PRELOAD = ("torch", "lightning.pytorch", "torchmetrics", "matplotlib.pyplot", "hydra.utils")


class Warnings(logging.Handler):
    """Collects what a run warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def prepare() -> None:
    """Make runs exact and quick: one thread, no pictures."""
    import torch
    from matplotlib.figure import Figure

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    Figure.savefig = lambda *arguments, **options: None  # type: ignore[method-assign,assignment]
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def outcome(error: Exception) -> str:
    """Return how a run ended that raised: stopped by the recording, as was wanted, refused or failed.

    A run may answer the failure of a callback that is not its own by an error of its own.
    """
    from compare_record import Stopped

    if isinstance(error, Stopped) or isinstance(error.__cause__, Stopped):
        return "stopped"
    return "refused" if compare_adapter.is_refusal(error) else "failed"


def run(case: Case, folder: Path, old: bool, stop: int | None = None, checkpoint: Path | None = None) -> dict[str, Any]:
    """Record of one training run, which lies in `folder` afterwards."""
    import torch
    from compare_record import Record

    Record.old = old
    record = Record.begin(stop)
    overrides = [*BASE, *case.overrides, f"paths.output_dir={folder}", f"paths.log_dir={folder}"]
    overrides += ["+callbacks.record._target_=compare_record.Record"]
    overrides += [] if checkpoint is None else [f"ckpt_path={checkpoint}"]
    heard = Warnings()
    logging.getLogger("shiftaddaug").addHandler(heard)
    record["outcome"], record["text"] = "trained", ""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            compare_adapter.train(compare_adapter.compose([old_override(o) if old else o for o in overrides]))
    except Exception as error:
        record["outcome"] = outcome(error)
        if record["outcome"] != "stopped":
            record["text"] = f"{type(error).__name__}: {error}".replace(str(folder), "FOLDER")
            record["traceback"] = traceback.format_exc()
    finally:
        logging.getLogger("shiftaddaug").removeHandler(heard)
        torch.set_default_dtype(torch.float32)
    record["warnings"] = [message.replace(str(folder), "FOLDER") for message in heard.messages]
    return record | {"files": read_files(folder, old)}


def read_files(folder: Path, old: bool) -> dict[str, Any]:
    """What the run wrote: results, metrics of every step and epoch, diagnostics, the deployed target's tensors."""
    from compare_record import digests
    from safetensors.torch import load_file

    files: dict[str, Any] = {}
    for name in ("run", "results"):
        if (folder / f"{name}.json").exists():
            files[name] = _renamed(json.loads((folder / f"{name}.json").read_text()), old)
    for name in ("metrics", "diagnostics"):
        if (folder / f"{name}.csv").exists():
            with (folder / f"{name}.csv").open() as file:
                files[name] = [_renamed({k: v for k, v in row.items() if v}, old) for row in csv.DictReader(file)]
    target = next(folder.glob("target/*.safetensors"), None)
    if target is not None:
        files["target"] = digests(load_file(target), old)
    return files


def _renamed(values: dict[str, Any], old: bool) -> dict[str, Any]:
    named = {new_name(RESULTS, key) if old else key: value for key, value in values.items()}
    return {key: value for key, value in named.items() if key not in VOLATILE and not is_left_out(RESULTS, key)}


def run_case(case: Case, scratch: Path, kept: Path, old: bool) -> dict[str, Any]:
    """Record of a case; what a resumed one leaves to be resumed lies in `kept` afterwards."""
    if case.kind == "memory":
        try:
            return in_fresh_process(peak_memory, case, scratch / "memory", old, preload=PRELOAD)
        except Exception as error:
            return {"outcome": "failed", "text": f"{type(error).__name__}: {error}"}
    if case.kind == "built":
        return run(case, scratch / "built", old, stop=-1)
    record = run(case, scratch / "straight", old)
    if case.kind == "resume":
        shutil.rmtree(kept, ignore_errors=True)
        record["stopped"] = run(case, kept, old, stop=STOP)
        record["resumed"] = run(case, scratch / "resumed", old, checkpoint=kept / "checkpoints" / "last.ckpt")
    return record


def peak_memory(case: Case, folder: Path, old: bool) -> dict[str, Any]:
    """KiB that the largest training step and an evaluated batch need.

    The first of each is a rehearsal. Training steps differ in their sub-networks; evaluated batches are alike, and the
    least of them has the least noise.
    """
    from compare_record import PeakMemory

    prepare()
    overrides = [*BASE, *case.overrides, f"paths.output_dir={folder}", f"paths.log_dir={folder}"]
    overrides += ["+callbacks.record._target_=compare_record.PeakMemory", "trainer.limit_val_batches=4"]
    with contextlib.redirect_stdout(io.StringIO()):
        compare_adapter.train(compare_adapter.compose([old_override(o) if old else o for o in overrides]))
    peaks = {"training": max(PeakMemory.training[1:]), "evaluation": min(PeakMemory.evaluation[1:])}
    return {"outcome": "trained", "text": "", "memory_kib": peaks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=Path, help="json: a list of case, file of the record, folder of checkpoints")
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--old", action="store_true")
    arguments = parser.parse_args()
    import shiftaddaug

    assert Path(str(shiftaddaug.__file__)).is_relative_to(arguments.checkout.resolve()), shiftaddaug.__file__
    prepare()
    for job in json.loads(arguments.jobs.read_text()):
        case = Case(**job["case"] | {"overrides": tuple(job["case"]["overrides"])})
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            kept = Path(job["checkpoints"])
            if job["take_over"]:
                checkpoint = kept / "checkpoints" / "last.ckpt"
                record = run(case, Path(scratch) / "resumed", arguments.old, checkpoint=checkpoint)
            else:
                record = run_case(case, Path(scratch), kept, arguments.old)
        path = Path(job["record"])
        path.with_suffix(".half").write_text(json.dumps(record | {"seconds": time.perf_counter() - start}))
        path.with_suffix(".half").replace(path)
        print(f"{time.perf_counter() - start:6.2f} s {record['outcome']:8} {case.name}", flush=True)
        gc.collect()


if __name__ == "__main__":
    sys.exit(main())
