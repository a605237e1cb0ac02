"""Damage checkpoints, event stores and histories at rest, and count what is found.

    python research/damage_files.py --checkpoints 1000 --stores 400 --histories 600

Each trial copies whole files, damages the copy and reads everything in it. The kinds of damage: one to eight flipped
bits, a file cut short, a zeroed page of 4,096 bytes, and swapped files: two of the same folder, or one of another
checkpoint or store of the same shape. Of a history, which is one file, two pages are swapped, or a page is that of a
copy from before. A trial ends as `found` (a ValueError or HistoryError of one line), as `unchanged` (what was damaged
has no meaning, such as a blank in JSON or a free page), as `different` (other content, without a word), or as
`traceback` (any other error). The last two must not happen.
"""

import argparse
import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgebehave import DamagedHistoryError, HistoryError, SqliteHistory, rescue_history

PAGE = 4096
START_S = 1_767_268_800
Damage = Callable[[random.Random, Path, Path], str]
"""Damages a folder in place, given another whole one of the same shape; returns the name of the kind."""


def flip(draw: random.Random, file: Path) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(draw.choice([1, 1, 2, 8])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    file.write_bytes(data)


def cut(draw: random.Random, file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: draw.randrange(len(data))])


def zero(draw: random.Random, file: Path) -> None:
    data = bytearray(file.read_bytes())
    at = PAGE * draw.randrange((len(data) + PAGE - 1) // PAGE)
    data[at : at + PAGE] = bytes(len(data[at : at + PAGE]))
    file.write_bytes(data)


def damage_folder(draw: random.Random, folder: Path, other: Path) -> str:
    """One file of a folder."""
    files = sorted(file for file in folder.iterdir() if file.stat().st_size)
    file = draw.choice(files)
    kind = draw.choice(["flip", "cut", "zero", "swap", "foreign"])
    if kind == "swap":
        second = draw.choice([each for each in files if each != file])
        data = file.read_bytes()
        file.write_bytes(second.read_bytes())
        second.write_bytes(data)
    elif kind == "foreign":
        shutil.copy(other / file.name, file)
    else:
        {"flip": flip, "cut": cut, "zero": zero}[kind](draw, file)
    return kind


def damage_history(draw: random.Random, folder: Path, other: Path) -> str:
    """The file of a history; `other` holds an earlier version of it."""
    file = folder / "history.db"
    kind = draw.choice(["flip", "flip", "cut", "zero", "swap", "foreign"])
    data = bytearray(file.read_bytes())
    pages = len(data) // PAGE
    if kind == "swap":
        one, two = (PAGE * page for page in draw.sample(range(pages), 2))
        data[one : one + PAGE], data[two : two + PAGE] = data[two : two + PAGE], data[one : one + PAGE]
        file.write_bytes(data)
    elif kind == "foreign":
        before = (other / "history.db").read_bytes()
        at = PAGE * draw.randrange(min(pages, len(before) // PAGE))
        data[at : at + PAGE] = before[at : at + PAGE]
        file.write_bytes(data)
    else:
        {"flip": flip, "cut": cut, "zero": zero}[kind](draw, file)
    return kind


# -- what there is to read ---------------------------------------------------------------------


def make_checkpoint(folder: Path, seed: int) -> None:
    """A small finished checkpoint with random weights."""
    import torch

    from edgebehave.vocabulary import Vocabulary
    from edgebehave_train.files import content_digest, read_json, write_json, write_tensors
    from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig
    from edgebehave_train.training.checkpoint import TrainingRecord, write_description
    from edgebehave_train.training.recipes import tiny

    torch.manual_seed(seed)
    shape = ModelConfig(
        num_events=40, num_locations=20, num_behaviors=40, width=16, num_layers=1, num_heads=2, window=8
    )
    record = TrainingRecord(
        data_fingerprint=f"{seed:064x}",
        origin={},
        behavior_counts=[0, *range(39)],
        seed=seed,
        device="cpu",
        precision="float32",
        attention="blockwise",
        num_parameters=123,
        versions={"python": "3.12"},
        finished=True,
        best_epoch=2,
        validation_nll=[2.5, 2.25],
        validation_loss=[None, 2.75 + seed],
    )
    folder.mkdir(parents=True)
    write_tensors(folder / "model.safetensors", BehaviorModel(shape).state_dict())
    names = [f"event {i}" for i in range(39)], [f"place {i}" for i in range(19)]
    write_description(folder, tiny(seed=seed), shape, Vocabulary.identity(*names), record)
    metrics = {"validation": {"hr@1": 0.5 + seed}, "config_sha256": content_digest(read_json(folder / "config.json"))}
    write_json(folder / "metrics.json", metrics, seal=True)
    (folder / "README.md").unlink()  # for people; no verb reads it


def read_checkpoint(folder: Path) -> Any:
    from edgebehave_train.training.checkpoint import Checkpoint

    checkpoint = Checkpoint.open(folder)
    weights = {name: tensor.numpy().tobytes() for name, tensor in checkpoint.load_model().state_dict().items()}
    described = checkpoint.config, checkpoint.model_config, checkpoint.vocabulary, checkpoint.training
    return described, weights, checkpoint.read_metrics()


def make_store(folder: Path, seed: int) -> None:
    """A store of 30 users and 3,000 events."""
    from edgebehave_train.logs.ingest import IngestConfig, ingest

    draw = random.Random(seed)
    log = folder.with_name(f"log-{seed}.csv")
    folder.parent.mkdir(parents=True, exist_ok=True)
    lines = ["user,time,event,location"]
    for user in range(30):
        for i in range(100):
            at = START_S + 600 * i + draw.randrange(600)
            lines.append(f"user {user},{at},app {draw.randrange(20)},place {draw.randrange(9)}")
    log.write_text("\n".join(lines) + "\n")
    ingest(IngestConfig(log=[log], out=folder, user="user", time="time", event="event", location="location"))
    (folder / "rejected.jsonl").unlink(missing_ok=True)  # for people; no verb reads it


def read_store(folder: Path) -> Any:
    from edgebehave_train.logs.event_store import EventStore

    store = EventStore.open(folder)
    columns = {name: np.array(getattr(store, name)).tobytes() for name in store.columns}
    return columns, store.user_start.tolist(), store.users(), store.vocabulary, store.statistics


def make_history(folder: Path, seed: int) -> None:
    """Twenty users of 60 events in a file that has forgotten a few; with seed 1 an earlier state of the same file."""
    folder.mkdir(parents=True)
    draw = random.Random(0)
    with SqliteHistory(folder / "history.db", survives_power_loss=False) as history:
        for i in range(60 if seed == 0 else 40):
            for user in range(20):
                event = f"app.{draw.randrange(20)}.{draw.choice(['open', 'share', 'close'])}"
                place = draw.choice([None, "home", "work", "12.5"])
                history.append(f"user {user}", event, place, START_S + 600 * i + user, draw.choice([0, 60]))
        if seed == 0:
            history.forget("user 7")


def read_history(folder: Path) -> dict[str, Any]:
    """Of each user the mark and the events, or the error; and the list of users."""
    content: dict[str, Any] = {}
    with SqliteHistory(folder / "history.db", survives_power_loss=False, timeout_s=1) as history:
        for user in (*(f"user {i}" for i in range(20)), None):
            try:
                if user is None:
                    content[""] = history.users()
                else:
                    found = history.latest(user, 10**6)
                    content[user] = None if found is None else (*found[0], *found[1].rows())
                    if content[user] and history.last_offset_min(user) != content[user][-1][-1]:
                        content[user] = "another offset"
            except HistoryError as error:
                content[user or ""] = error
    return content


def judge_history(folder: Path, whole: dict[str, Any], counts: Counter[str]) -> str:
    """As `judge`, of each user alone; what is damaged must name its users, and rescue must keep the others."""
    found = read_history(folder)
    errors = {user: error for user, error in found.items() if isinstance(error, HistoryError)}
    if any(found[user] != whole[user] for user in found.keys() - errors.keys()):
        return "different"
    for user, error in errors.items():
        if "\n" in str(error):
            return "traceback"
        if user and isinstance(error, DamagedHistoryError):
            counts["users named"] += user in error.users
    counts["users read in damaged files"] += len(found.keys() - errors.keys() - {""})
    counts["users refused in damaged files"] += len(errors.keys() - {""})
    with SqliteHistory(folder / "history.db", survives_power_loss=False) as history:
        try:
            history.check()
            is_whole = True
        except HistoryError:
            is_whole = False
    if errors and is_whole:
        return "different"  # check must find what a user finds
    into = folder / "rescued.db"
    lost = rescue_history(folder / "history.db", into)
    kept = found.keys() - errors.keys() - {""}
    with SqliteHistory(into) as history:
        for user in history.users():
            mark, events = history.latest(user, 10**6) or (None, None)
            if mark is None or events is None or (mark.num_events, *events.rows()) != whole[user][1:]:
                return "different"
            counts["users rescued"] += 1
            kept.discard(user)
        counts["whole users not rescued"] += sum(whole[user] is not None for user in kept)
    counts["users lost in a rescue"] += len(lost)
    into.unlink()
    return "found" if errors or not is_whole else "unchanged"


def trials(
    num_trials: int, make: Callable[[Path, int], None], read: Callable[[Path], Any], damage: Damage, seed: int
) -> dict[str, int]:
    """Counts of how the trials ended, by kind of damage."""
    counts: Counter[str] = Counter()
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        one, other, copy = (Path(place) / name for name in ("one", "other", "copy"))
        make(one, 0)
        make(other, 1)
        whole = read(one)
        for number in range(num_trials):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(one, copy)
            kind = damage(draw, copy, other)
            try:
                if read is read_history:
                    end = judge_history(copy, whole, counts)
                else:
                    end = "unchanged" if read(copy) == whole else "different"
            except (ValueError, OSError, HistoryError) as error:
                end = "found" if "\n" not in str(error) else "traceback"
            except Exception as error:
                end = "traceback"
                print(f"trial {number}, {kind}: {type(error).__name__}: {error}")
            if end == "different":
                print(f"trial {number}, {kind}: a silent difference")
            counts[f"{kind}: {end}"] += 1
            counts[end] += 1
    return dict(sorted(counts.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoints", type=int, default=1000)
    parser.add_argument("--stores", type=int, default=400)
    parser.add_argument("--histories", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report = {
        "histories": trials(args.histories, make_history, read_history, damage_history, args.seed),
        "stores": trials(args.stores, make_store, read_store, damage_folder, args.seed),
        "checkpoints": trials(args.checkpoints, make_checkpoint, read_checkpoint, damage_folder, args.seed),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
