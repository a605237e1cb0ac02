"""Simulate the years of devices, with everything that goes wrong on them, against a model in plain Python.

    python research/simulate_devices.py --device-years 2000
    python research/simulate_devices.py --seed 0 --device 417        # replays one device

A device has one or two users of 20 to 30 events a day, a `SqliteHistory`, and a predictor whose bundle is updated now
and then. On random days something happens to it: a process is killed at a random step of SQLite, power is lost with
half of a transaction on the disk and each sector old or new, the disk is full while it observes or forgets, its clock
jumps, a second process writes, it forks, a user forgets an event, a span or everything, or moves to another file
by export and import. After each of these, and once a week, the retained events and their number must be those of the
model, and every forgotten name must be absent from all bytes of the file and its journals. Once in two months the
predictions must be equal to the bit to those of a new predictor over the events of the model.

Everything follows from the seed and the number of the device. Linux and macOS.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import time
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgebehave import HistoryError, MemoryHistory, Predictor, SqliteHistory
from edgebehave.bundles.bundle import Bundle
from edgebehave.histories import recorder, retention
from edgebehave.histories.history import NamedEvents

TINY = Path(__file__).parents[1] / "tests" / "edgebehave" / "tiny_bundle"
START_S = 1_767_268_800
DAY_S = 86_400
MAX_EVENTS = 512
SECTOR = 512
Event = tuple[int, str, str | None, int]
"""time_s, event, location, utc_offset_min"""


def predictor_of(bundle: Bundle | None, history: Any) -> Predictor:
    """A predictor with a bundle, though it knows none of the names, or with habits."""
    return Predictor(bundle, history=history, model=None if bundle else "habits", foreign="bundle")


class Model:
    """What a history must hold, in plain Python."""

    def __init__(self, max_age_s: int | None) -> None:
        self.max_age_s = max_age_s
        self.events: dict[str, list[Event]] = {}
        self.num_events: dict[str, int] = {}

    def copy(self) -> "Model":
        other = Model(self.max_age_s)
        other.events = {user: list(events) for user, events in self.events.items()}
        other.num_events = dict(self.num_events)
        return other

    def observe(self, now: int, user: str, at: int, event: str, location: str | None, offset: int | None) -> None:
        events = self.events.get(user, [])
        if offset is None:
            offset = events[-1][3] if events else 0
        row = (at, event, location, offset)
        position = bisect_right(events, at, key=lambda known: known[0])
        before = position
        while before and events[before - 1][0] == at:
            before -= 1
            if events[before] == row:
                return
        events.insert(position, row)
        self.events[user] = events
        self.num_events[user] = self.num_events.get(user, 0) + 1
        del events[: max(0, len(events) - MAX_EVENTS)]
        self.age(user, now)

    def age(self, user: str, now: int) -> None:
        if self.max_age_s is not None:
            events, step = self.events[user], self.max_age_s // 32
            latest = min(events[-1][0], now)
            oldest = -((self.max_age_s - latest) // step) * step
            self.events[user] = [event for event in events if event[0] >= oldest]

    def forget(self, user: str, fits: Callable[[Event], bool]) -> None:
        kept = [event for event in self.events[user] if not fits(event)]
        self.num_events[user] -= len(self.events[user]) - len(kept)
        self.events[user] = kept
        if not kept:
            del self.events[user], self.num_events[user]


class DifferenceError(AssertionError):
    """A device is not what the model says."""


class Device:
    """One device: its file, its predictors, its clock, and the model of its history."""

    def __init__(self, folder: Path, seed: int, number: int, bundles: list[Bundle | None]) -> None:
        self.draw = random.Random(f"{seed} {number}")
        self.folder, self.bundles = folder, bundles
        self.path = folder / "history.db"
        self.now = START_S
        self.max_age = self.draw.choice([None, timedelta(days=15)])
        self.model = Model(None if self.max_age is None else int(self.max_age.total_seconds()))
        self.names = 0
        self.forgotten: list[bytes] = []
        self.counts: Counter[str] = Counter()
        self.bundle: Bundle | None = None
        self.users = [self.name("user") for _ in range(self.draw.choice([1, 1, 2]))]
        for module in (recorder, retention):
            module.time = SimpleNamespace(time=lambda: self.now)  # type: ignore[attr-defined]
        self.open()

    # -- the device as an app sees it ---------------------------------------------------------

    def open(self) -> None:
        self.history = SqliteHistory(self.path, max_age=self.max_age)
        self.predictor = predictor_of(self.bundle, self.history)

    def reopen(self) -> None:
        self.history.close()
        self.open()

    def name(self, kind: str) -> str:
        """A name that no other thing of this device has."""
        self.names += 1
        return f"{kind}-{self.names:06}-{self.draw.getrandbits(32):08x}"

    def day(self) -> list[tuple[str, int, str, str | None, int | None]]:
        """The events of a day, in the order in which the app tells them."""
        draw, rows = self.draw, []
        at = self.now - DAY_S
        for _ in range(draw.randint(20, 30)):
            at += draw.randint(1, DAY_S // 30)
            event = f"app.{draw.randint(0, 11)}"
            if draw.random() < 0.03:
                event = self.name("secret")
            location = draw.choice([None, "home", "work", f"place {draw.randint(0, 20)}"])
            late = draw.randint(0, 3 * DAY_S) if draw.random() < 0.04 else 0
            offset = draw.choice([None, None, 0, 60, -300])
            rows.append((draw.choice(self.users), at - late, event, location, offset))
            if draw.random() < 0.02:
                rows.append(rows[-1])  # told twice
        return rows

    def tell_model(self, model: Model, rows: list[tuple[str, int, str, str | None, int | None]]) -> None:
        for row in rows:
            model.observe(self.now, *row)

    def tell(self, predictor: Predictor, rows: list[tuple[str, int, str, str | None, int | None]]) -> None:
        users, at, events, locations, offsets = (list(column) for column in zip(*rows, strict=True))
        predictor.observe_many(users, events, at=at, location=locations, utc_offset_min=offsets)

    def live_a_day(self) -> None:
        self.now += DAY_S
        rows = self.day()
        self.counts["events"] += len(rows)
        if self.draw.random() < 0.05:
            for user, at, event, location, offset in rows:
                self.predictor.observe(user, event, at=at, location=location, utc_offset_min=offset)
        else:
            self.tell(self.predictor, rows)
        self.tell_model(self.model, rows)

    # -- what must hold -----------------------------------------------------------------------

    def equals(self, model: Model) -> bool:
        if sorted(self.history.users()) != sorted(model.events):
            return False
        for user, events in model.events.items():
            found = self.history.latest(user, 2**31)
            rows = [] if found is None else [(at, event, place, off) for event, place, at, off in found[1].rows()]
            if found is None or rows != events or found[0].num_events != model.num_events[user]:
                return False
        return True

    def check(self) -> None:
        self.counts["checks"] += 1
        if not self.equals(self.model):
            raise DifferenceError("the events are not those of the model")
        content = b"".join(file.read_bytes() for file in sorted(self.folder.glob("history.db*")))
        for name in self.forgotten:
            if name in content:
                raise DifferenceError(f"{name!r} was forgotten and is in the file")
        self.counts["names searched for"] += len(self.forgotten)
        self.forgotten = self.forgotten[-30:]

    def compare_predictions(self) -> None:
        for user, events in self.model.events.items():
            history = MemoryHistory()
            history.put(user, self.model.num_events[user], NamedEvents.of([(e, p, at, o) for at, e, p, o in events]))
            other = predictor_of(self.bundle, history)
            answers = []
            for predictor in (self.predictor, other):
                names, probs = predictor.probabilities(user, at=self.now)
                answers.append((names, probs.tobytes()))
            self.counts["predictions compared"] += 1
            if answers[0] != answers[1]:
                raise DifferenceError("predictions differ")

    # -- what happens to it -------------------------------------------------------------------

    def killed(self) -> None:
        """A process of its own takes the day's calls and ends at a random step of SQLite, inside a statement."""
        rows = self.day()
        calls = [rows[i : i + 3] for i in range(0, len(rows), 3)]
        last_step = int(self.draw.expovariate(1 / 40)) + 1
        acknowledged = self.in_child(calls, last_step)
        for call in calls[:acknowledged]:
            self.tell_model(self.model, call)
        if acknowledged < len(calls) and not self.equals(self.model):
            self.tell_model(self.model, calls[acknowledged])  # done, and killed before it could say so
            acknowledged += 1
        self.counts["events"] += sum(map(len, calls[:acknowledged]))

    def in_child(self, calls: list[list[Any]], last_step: int | None) -> int:
        """Tell events in a forked process, which ends by itself or at a step. Returns how many calls it acknowledged.

        The process ends without a word to SQLite, as by kill -9: its locks go, its files stay as they are.
        """
        reading, writing = os.pipe()
        self.history.close()
        process = os.fork()
        if process == 0:
            os.close(reading)
            status = 1
            try:
                history = SqliteHistory(self.path, max_age=self.max_age)
                steps = 0

                def step() -> int:
                    nonlocal steps
                    steps += 1
                    if steps == last_step:
                        os._exit(0)
                    return 0

                history._file._sql.set_progress_handler(step, 50)
                history._file._sql.set_trace_callback(lambda statement: (step(), None)[1])
                predictor = Predictor(history=history, model="habits")
                for call in calls:
                    self.tell(predictor, call)
                    os.write(writing, b".")
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        acknowledged = b""
        while received := os.read(reading, 65536):
            acknowledged += received
        os.close(reading)
        _, status = os.waitpid(process, 0)
        if status:
            raise DifferenceError("a process ended with an error: see what it printed")
        self.open()
        return len(acknowledged)

    def torn(self) -> None:
        """Power goes while a transaction is being written: some sectors are new, some old, and the journal is there."""
        before = self.path.read_bytes()
        journal = self.path.with_name("history.db-journal")
        rows = [(user, event, location, at, offset or 0) for user, at, event, location, offset in self.day()]
        self.history._file.execute("PRAGMA cache_size = 1")  # pages reach the file before the commit

        class PowerLossError(Exception):
            pass

        try:
            with self.history._file.writing():
                for row in rows:
                    self.history._append(*row)
                on_disk, hot = self.path.read_bytes(), journal.read_bytes()
                raise PowerLossError
        except PowerLossError:
            self.history.close()
        torn = bytearray(on_disk)
        for at in range(0, len(before), SECTOR):
            if self.draw.random() < 0.5:
                torn[at : at + SECTOR] = before[at : at + SECTOR]
        self.path.write_bytes(torn)
        journal.write_bytes(hot)
        self.counts["sectors torn"] += sum(
            before[at : at + SECTOR] != on_disk[at : at + SECTOR] for at in range(0, len(before), SECTOR)
        )
        self.open()

    def full_disk(self) -> None:
        """No page can be added: an event is recorded or refused, and nothing in between."""
        size = self.history._file.pragma("page_count")
        self.history._file.pragma(f"max_page_count = {size}")
        for row in self.day():
            try:
                self.tell(self.predictor, [row])
            except HistoryError as error:
                self.counts["events refused by a full disk"] += 1
                if "full" not in str(error):
                    raise
            else:
                self.tell_model(self.model, [row])
                self.counts["events"] += 1
        self.reopen()

    def full_disk_while_forgetting(self) -> None:
        """No file can grow over the size of this one: what is forgotten is erased at the next opening."""
        user, events = self.some_user()
        event = self.draw.choice(events)
        limit = self.path.stat().st_size
        self.history.close()
        process = os.fork()
        if process == 0:
            status = 1
            try:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                history = SqliteHistory(self.path, max_age=self.max_age)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                try:
                    Predictor(history=history, model="habits").forget_event(user, event[1])
                except HistoryError as error:
                    status = 3 if "it is forgotten, but traces are left" in str(error) else 4
                else:
                    status = 0
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if status not in (0, 3, 4):
            raise DifferenceError(f"forgetting on a full disk ended with {status}")
        self.open()
        if status == 4:  # not even the transaction had room: nothing is forgotten
            self.counts["forgets refused by a full disk"] += 1
            return
        self.counts["erased at the next opening"] += status == 3
        self.note_forgotten(event[1])
        self.model.forget(user, lambda known: known[1] == event[1])

    def clock(self) -> None:
        """The clock is wrong by up to two months for a day; an event dated in its future is refused."""
        jump = self.draw.choice([-1, 1]) * self.draw.randint(3600, 60 * DAY_S)
        self.now += jump
        self.live_a_day()
        try:
            self.predictor.observe(self.users[0], "future", at=self.now + DAY_S + 61)
        except ValueError:
            pass
        else:
            raise DifferenceError("an event of the future was taken")
        self.now -= jump

    def two_processes(self) -> None:
        """Two connections and two predictors tell and ask in turn."""
        with SqliteHistory(self.path, max_age=self.max_age) as history:
            other = Predictor(history=history, model="habits")
            for i, row in enumerate(self.day()):
                self.tell((self.predictor, other)[i % 2], [row])
                self.tell_model(self.model, [row])
                self.counts["events"] += 1
                if i % 10 == 0:
                    answers = [each.num_events(row[0]) for each in (self.predictor, other)]
                    assert answers[0] == answers[1], answers

    def fork(self) -> None:
        """A child of a fork opens the history anew and tells the day."""
        rows = self.day()
        if self.in_child([rows], None) != 1:
            raise DifferenceError("a child of a fork did not finish")
        self.tell_model(self.model, rows)
        self.counts["events"] += len(rows)

    def update_bundle(self) -> None:
        self.bundle = self.draw.choice(self.bundles)
        self.reopen()

    def some_user(self) -> tuple[str, list[Event]]:
        user = self.draw.choice(sorted(self.model.events))
        return user, self.model.events[user]

    def note_forgotten(self, name: str | None) -> None:
        if name is not None and name.startswith(("secret", "user")):
            self.forgotten.append(name.encode())

    def forget_event(self) -> None:
        user, events = self.some_user()
        secrets = [event for event in events if event[1].startswith("secret")] or events
        _, name, _, _ = self.draw.choice(secrets)
        self.predictor.forget_event(user, name)
        self.model.forget(user, lambda known: known[1] == name)
        if not any(event[1] == name for known in self.model.events.values() for event in known):
            self.note_forgotten(name)

    def forget_span(self) -> None:
        user, events = self.some_user()
        first = self.draw.choice(events)[0]
        last = first + self.draw.randint(0, 2 * DAY_S)
        gone = {event[1] for event in events if first <= event[0] <= last}
        self.predictor.forget_event(user, at=first, until=last)
        self.model.forget(user, lambda known: first <= known[0] <= last)
        left = {event[1] for known in self.model.events.values() for event in known}
        for name in sorted(gone - left):
            self.note_forgotten(name)

    def forget_user(self) -> None:
        user, events = self.some_user()
        assert self.predictor.forget(user)
        del self.model.events[user], self.model.num_events[user]
        for name in [user, *(event[1] for event in events)]:
            self.note_forgotten(name)
        self.users[self.users.index(user)] = self.name("user")

    def move(self) -> None:
        """All users move to a new file by export and import; one is called otherwise from now on."""
        texts = {user: self.predictor.export_user(user) for user in self.model.events}
        self.history.close()
        self.path.unlink()
        self.open()
        for user, text in texts.items():
            self.predictor.import_user(user, text)
            # As if its latest event came now: a history ages by its own rule when it is put.
            self.model.age(user, self.now)

    def live(self, num_days: int) -> None:
        """Raises DifferenceError, or whatever error the device ends with."""
        kinds: list[tuple[float, Callable[[], None]]] = [
            (6, self.killed),
            (6, self.torn),
            (3, self.full_disk),
            (2, self.full_disk_while_forgetting),
            (4, self.clock),
            (4, self.two_processes),
            (3, self.fork),
            (4, self.update_bundle),
            (10, self.forget_event),
            (4, self.forget_span),
            (2, self.forget_user),
            (2, self.move),
        ]
        weights = [weight for weight, _ in kinds]
        per_day = sum(weights) / 365
        for day in range(num_days):
            self.live_a_day()
            if self.draw.random() < per_day:
                ((_, happens),) = self.draw.choices(kinds, weights)
                self.counts[happens.__name__] += 1
                happens()
                self.check()
            elif day % 7 == 0:
                self.check()
            if day % 60 == 59 or day == num_days - 1:
                self.compare_predictions()
        self.check()
        self.history.check()
        self.history.close()


def simulate(seed: int, number: int, num_days: int, folder: Path, bundles: list[Bundle | None]) -> Counter[str]:
    """The life of one device. Raises DifferenceError with the command that replays it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        device = Device(folder, seed, number, bundles)
        device.live(num_days)
    except Exception as error:
        command = f"python research/simulate_devices.py --seed {seed} --device {number} --days {num_days}"
        raise DifferenceError(f"{error}; replay it with: {command}") from error
    return device.counts


def processor_s() -> float:
    """Processor time of this process and its children so far."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device-years", type=int, default=10)
    parser.add_argument("--core-minutes", type=float, default=60, help="processor time, after which no device begins")
    parser.add_argument("--days", type=int, default=365, help="of each device")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=int, help="this device alone")
    parser.add_argument("--folder", type=Path, help="for the files; default: a temporary one in memory")
    parser.add_argument("--out", type=Path, help="write the report here after each device")
    args = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # forks: the threads of ONNX Runtime are not used in the child
    bundles: list[Bundle | None] = [None, *(Bundle.open(TINY / name) for name in ("int8", "fp32"))]
    began, total = time.monotonic(), Counter[str]()
    report: dict[str, Any] = {}
    numbers = range(args.device_years) if args.device is None else [args.device]
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=args.folder or (shm if shm.is_dir() else None)) as folder:
        for number in numbers:
            if processor_s() > 60 * args.core_minutes:
                break
            total += simulate(args.seed, number, args.days, Path(folder) / "device", bundles)
            total["devices"] += 1
            report = {
                "device_years": round(total["devices"] * args.days / 365, 1),
                "events": total["events"],
                "events_lost": 0,  # a device that loses one ends the run, and so on
                "bits_different": 0,
                "forgotten_bytes_found": 0,
                **{name: total[name] for name in sorted(total)},
                "seconds": round(time.monotonic() - began, 1),
                "processor_seconds": round(processor_s(), 1),
                "seed": args.seed,
            }
            if args.out:
                args.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
