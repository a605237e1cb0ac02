"""The simulator's world: behaviors, their events, locations, triggers, cues and personas.

Tables only; `users.py` draws people from them and `process.py` runs the process.
The shares of the behaviors follow the distribution that the appendix of BehaviorLM
(arXiv 2505.17682) reports for phone logs; everything else is made up to be plausible.
All of it was frozen before any model was trained on it: see docs/simulator.md.
"""

# ruff: noqa: E501  tables are readable with one row per line

from dataclasses import dataclass, field
from typing import Literal

LOCATION_KINDS = ("home", "work", "transit", "restaurant", "shop", "park", "clinic", "station", "away")
"""Kinds of locations. `station` is where a trip to another city starts, `away` is that city."""

Clock = Literal["flat", "leisure", "evening", "night", "morning", "commute", "meal", "office", "day"]

# Local hour, width in hours, height of each bump on top of a floor of 0.15.
CLOCK_BUMPS: dict[Clock, tuple[tuple[float, float, float], ...]] = {
    "flat": ((12, 30, 1.0),),
    "leisure": ((12.5, 1.5, 0.7), (20.5, 3.0, 1.0), (8, 1.5, 0.4), (16, 3, 0.5)),
    "evening": ((20.5, 2.2, 1.2), (15, 3, 0.35)),
    "night": ((23, 1.8, 1.4), (21, 2, 0.5)),
    "morning": ((7.3, 1.2, 1.8), (22, 1.5, 0.15)),
    "commute": ((8.0, 0.9, 2.0), (18.0, 1.2, 1.7)),
    "meal": ((11.8, 0.7, 1.8), (18.3, 1.0, 1.5)),
    "office": ((10, 1.5, 1.2), (15, 2.0, 1.2)),
    "day": ((14, 4.0, 1.2),),
}


@dataclass(frozen=True)
class Behavior:
    """One behavior.

    name    as in the log.
    share   of the behaviors of a log as reported there, percent.
    taste   weight in a user's taste before personal variation; solved so that the shares of a log come out as
            docs/simulator.md says.
    events  its events, the most usual first.
    clock   when it is done.
    locations  multipliers where it is done more or less than elsewhere.
    """

    name: str
    share: float
    taste: float
    events: tuple[str, ...]
    clock: Clock
    locations: dict[str, float] = field(default_factory=dict)


# fmt: off
BEHAVIORS = (
    Behavior("watching video clips", 43.6, 43.4, ("clips.watch", "clips.open", "clips.like", "clips.comment", "clips.share"), "leisure", {"home": 1.2, "transit": 1.3, "work": 0.8}),
    Behavior("online shopping", 11.2, 13, ("shop.browse", "shop.search", "shop.cart", "shop.checkout"), "leisure", {"transit": 0.7}),
    Behavior("editing video", 5.9, 4.42, ("clip_editor.cut", "clip_editor.import", "clip_editor.subtitle", "clip_editor.publish"), "evening", {"home": 1.5, "transit": 0.4}),
    Behavior("reading books", 5.5, 5.14, ("reader.page", "reader.open", "reader.highlight"), "night", {"home": 1.2, "transit": 1.5}),
    Behavior("gaming", 4.4, 4.34, ("game.play", "game.launch", "game.reward"), "evening", {"home": 1.4, "work": 0.4}),
    Behavior("watching video", 4.1, 3.55, ("tv.play", "tv.open", "tv.cast"), "evening", {"home": 2.0, "work": 0.2, "transit": 0.5}),
    Behavior("reading news", 3.6, 4.46, ("news.read", "news.open", "news.share"), "morning", {"transit": 1.3}),
    Behavior("taking photos", 3.5, 3.44, ("camera.photo", "camera.open", "camera.video"), "day", {"park": 4.0, "away": 5.0, "restaurant": 3.0, "work": 0.4}),
    Behavior("taking the subway", 3.2, 4.4, ("transit_card.tap_in", "transit_card.tap_out", "transit_card.open"), "commute", {"transit": 14.0, "home": 0.15, "work": 0.15, "away": 0.3}),
    Behavior("paying", 3.0, 2.78, ("wallet.pay", "wallet.scan", "wallet.transfer"), "meal", {"shop": 6.0, "restaurant": 7.0, "home": 0.3}),
    Behavior("listening to music", 2.4, 2.4, ("music.play", "music.open", "music.skip"), "commute", {"transit": 3.0, "park": 3.0}),
    Behavior("checking the weather", 1.7, 2.16, ("weather.open", "weather.hourly"), "morning", {"home": 1.3, "away": 1.5}),
    Behavior("studying", 1.4, 1.01, ("course.lesson", "course.quiz", "course.flashcards"), "evening", {"work": 1.5}),
    Behavior("ordering takeout", 1.3, 1.2, ("takeout.browse", "takeout.order"), "meal", {"restaurant": 0.1, "transit": 0.3}),
    Behavior("listening to podcasts", 1.2, 1.14, ("podcast.play", "podcast.open"), "commute", {"transit": 3.0, "park": 2.0}),
    Behavior("job hunting", 1.1, 0.881, ("jobs.browse", "jobs.apply", "jobs.chat"), "office", {}),
    # The tail: much of it is done by adopters, in the situations that TRIGGERS lists.
    Behavior("taking notes", 0.39, 0.153, ("notes.write", "notes.open"), "office", {"work": 2.0}),
    Behavior("hailing a ride", 0.35, 0.329, ("ride.request", "ride.open", "ride.rate"), "night", {"restaurant": 3.0, "station": 6.0}),
    Behavior("tracking a parcel", 0.31, 0.168, ("parcel.track", "parcel.collect"), "day", {}),
    Behavior("navigating", 0.28, 0.227, ("maps.route", "maps.search"), "day", {"away": 6.0, "transit": 2.0}),
    Behavior("working out", 0.25, 0.179, ("fitness.start", "fitness.finish", "fitness.plan"), "morning", {"park": 8.0}),
    Behavior("paying bills", 0.22, 0.21, ("bills.pay", "bills.open"), "evening", {}),
    Behavior("booking a train", 0.19, 0.133, ("train.search", "train.book"), "evening", {}),
    Behavior("joining a video meeting", 0.16, 0.0781, ("meeting.join", "meeting.schedule"), "office", {"work": 2.0}),
    Behavior("translating", 0.13, 0.103, ("translate.text", "translate.camera"), "day", {"away": 4.0}),
    Behavior("checking health data", 0.12, 0.189, ("health.open", "health.log"), "morning", {}),
    Behavior("banking", 0.10, 0.0886, ("bank.balance", "bank.transfer"), "office", {}),
    Behavior("splitting a bill", 0.085, 0.0834, ("wallet.split", "wallet.request"), "meal", {"restaurant": 8.0}),
    Behavior("scanning a document", 0.070, 0.0441, ("scanner.scan", "scanner.share"), "office", {"work": 2.0}),
    Behavior("booking a hotel", 0.060, 0.0512, ("hotel.search", "hotel.book"), "evening", {}),
    Behavior("booking a doctor", 0.055, 0.0472, ("doctor.book", "doctor.search"), "morning", {}),
    Behavior("booking a flight", 0.045, 0.0443, ("flight.search", "flight.book"), "evening", {}),
    Behavior("buying movie tickets", 0.040, 0.0269, ("cinema.book", "cinema.browse"), "day", {}),
    Behavior("filling a prescription", 0.035, 0.0138, ("pharmacy.order", "pharmacy.pickup"), "day", {}),
    Behavior("renting a bike", 0.030, 0.0215, ("bike.unlock", "bike.return"), "day", {"park": 2.0}),
    Behavior("house hunting", 0.025, 0.0228, ("homes.browse", "homes.visit"), "evening", {}),
    Behavior("renting a car", 0.016, 0.00953, ("car_rental.book", "car_rental.open"), "day", {}),
)
# fmt: on

FIRST_TAIL = next(i for i, b in enumerate(BEHAVIORS) if b.share < 1.0)


@dataclass(frozen=True)
class Cue:
    """An event without a behavior, and the behaviors that it makes more likely.

    event   its name.
    weight  probability that the next behavior is drawn from `hints` instead.
    hints   behavior -> probability, sums to 1; empty if it hints at nothing.
    rate    its relative frequency among the cues.
    """

    event: str
    rate: float
    weight: float = 0.0
    hints: dict[str, float] = field(default_factory=dict)


# fmt: off
CUES = (
    Cue("screen.on", 4.0),
    Cue("charger.connected", 1.0),
    Cue("notification.message", 2.0),
    Cue("notification.clips", 1.0, 0.3, {"watching video clips": 1.0}),
    Cue("headphones.connected", 1.0, 0.5, {"listening to music": 0.55, "listening to podcasts": 0.3, "watching video": 0.15}),
    Cue("notification.shop", 0.8, 0.35, {"online shopping": 0.85, "tracking a parcel": 0.15}),
    Cue("car.bluetooth", 0.4, 0.4, {"listening to music": 0.6, "listening to podcasts": 0.3, "navigating": 0.1}),
)
# fmt: on


@dataclass(frozen=True)
class Trigger:
    """A situation in which some users tend to do one thing.

    behavior      what it leads to.
    weight        its probability in that situation, for a user who has adopted it.
    adopters      share of the users who have.
    after         the last behavior's event is one of these (any, if empty).
    location      the user is there now (anywhere, if None).
    arrived_from  and was there at the last behavior (anywhere, if None).
    within_min    minutes since the last behavior, at most.
    """

    behavior: str
    weight: float
    adopters: float
    after: tuple[str, ...] = ()
    location: str | None = None
    arrived_from: str | None = None
    within_min: float = 1e9


# fmt: off
TRIGGERS = (
    Trigger("paying", 0.30, 0.9, after=("shop.checkout", "takeout.order"), within_min=60),
    Trigger("editing video", 0.40, 0.5, after=("camera.video",), within_min=240),
    Trigger("watching video clips", 0.50, 0.8, after=("clip_editor.publish",), within_min=120),
    Trigger("listening to music", 0.45, 0.3, after=("transit_card.tap_in",), within_min=60),
    Trigger("listening to podcasts", 0.45, 0.2, after=("transit_card.tap_in",), within_min=60),
    Trigger("taking notes", 0.35, 0.3, after=("course.lesson", "meeting.join", "reader.highlight"), within_min=180),
    Trigger("hailing a ride", 0.35, 0.25, location="transit", arrived_from="restaurant"),
    Trigger("hailing a ride", 0.35, 0.30, location="away", arrived_from="station"),
    Trigger("tracking a parcel", 0.45, 0.22, after=("shop.checkout",), within_min=2000),
    Trigger("navigating", 0.30, 0.35, location="away"),
    Trigger("working out", 0.50, 0.08, location="park"),
    Trigger("paying bills", 0.40, 0.30, after=("wallet.transfer",), within_min=600),
    Trigger("booking a train", 0.35, 0.40, after=("hotel.book", "weather.hourly"), within_min=600),
    Trigger("joining a video meeting", 0.40, 0.30, after=("jobs.chat",), within_min=2000),
    Trigger("translating", 0.20, 0.30, location="away"),
    Trigger("checking health data", 0.40, 0.30, after=("fitness.finish",), within_min=600),
    Trigger("banking", 0.40, 0.40, after=("bills.pay",), within_min=600),
    Trigger("splitting a bill", 0.35, 0.15, after=("wallet.pay",), location="restaurant", within_min=240),
    Trigger("scanning a document", 0.30, 0.20, after=("jobs.apply",), within_min=600),
    Trigger("booking a hotel", 0.35, 0.40, after=("train.book", "flight.book"), within_min=2000),
    Trigger("booking a doctor", 0.40, 0.30, location="clinic"),
    Trigger("booking a flight", 0.35, 0.20, after=("hotel.search",), within_min=2000),
    Trigger("buying movie tickets", 0.30, 0.10, after=("tv.cast",), within_min=600),
    Trigger("filling a prescription", 0.40, 0.50, after=("doctor.book", "doctor.search"), within_min=4000),
    Trigger("filling a prescription", 0.30, 0.20, arrived_from="clinic"),
    Trigger("renting a bike", 0.40, 0.20, location="park", arrived_from="transit"),
    Trigger("house hunting", 0.30, 0.05, after=("bank.balance", "jobs.apply"), within_min=2000),
    Trigger("renting a car", 0.45, 0.20, location="away", arrived_from="station"),
)
# fmt: on


@dataclass(frozen=True)
class Shift:
    """Hours of one kind of working day, local, in hours; may run past midnight (24 = 0:00)."""

    wake: float
    start: float
    stop: float
    sleep: float


@dataclass(frozen=True)
class Persona:
    """A way of life: working hours, sleep, and preferred behaviors.

    share     of the population.
    early     working hours of the even weeks, and `late` of the odd ones; None: no work.
    wake_off  hours of waking and going to sleep on a free day.
    days_off  weekdays without work, Monday = 0; None: two days in a row, drawn per user.
    trips     weight of the station where a free morning may lead, next to home's 1, before personal variation.
    likes     behavior -> factor on the taste for it.
    """

    name: str
    share: float
    early: Shift | None
    late: Shift | None
    wake_off: tuple[float, float]
    days_off: tuple[int, ...] | None
    trips: float
    likes: dict[str, float]


_OFFICE = Shift(6.8, 9.0, 17.8, 23.3)
_CLASSES = Shift(7.5, 9.0, 15.5, 24.3)
_CLASSES_LATE = Shift(8.5, 10.5, 17.0, 24.8)
_FREE = Shift(8.0, 10.0, 18.5, 24.5)

# fmt: off
PERSONAS = (
    Persona("office worker", 0.34, _OFFICE, _OFFICE, (8.5, 24.0), (5, 6), 0.05, {"reading news": 1.6, "joining a video meeting": 2.0, "taking the subway": 1.5, "studying": 0.4, "gaming": 0.7, "job hunting": 0.4}),
    Persona("student", 0.22, _CLASSES, _CLASSES_LATE, (9.8, 25.5), (5, 6), 0.03, {"studying": 3.5, "gaming": 1.8, "ordering takeout": 1.6, "taking notes": 3.0, "reading news": 0.4, "online shopping": 0.7, "paying bills": 0.2}),
    Persona("shift worker", 0.16, Shift(4.6, 6.0, 14.0, 22.0), Shift(10.0, 14.0, 22.0, 25.5), (9.0, 24.5), None, 0.03, {"watching video clips": 1.2, "ordering takeout": 1.3, "studying": 0.3}),
    Persona("job seeker", 0.08, None, None, (8.5, 24.5), (5, 6), 0.02, {"job hunting": 9.0, "studying": 1.5, "taking the subway": 0.7}),
    Persona("creator", 0.08, _FREE, _FREE, (9.0, 25.5), None, 0.06, {"editing video": 4.0, "taking photos": 2.2, "watching video": 0.7}),
    Persona("parent at home", 0.07, None, None, (6.8, 22.8), (5, 6), 0.02, {"online shopping": 1.9, "taking photos": 1.3, "taking the subway": 0.3, "gaming": 0.5}),
    Persona("retiree", 0.05, None, None, (6.3, 22.3), (5, 6), 0.04, {"reading news": 2.5, "reading books": 1.8, "gaming": 0.4, "job hunting": 0.02, "booking a doctor": 3.0, "taking the subway": 0.4}),
)
# fmt: on


@dataclass(frozen=True)
class Zone:
    """Local time of a city in 2026.

    offset_min      minutes to add to UTC in winter.
    summer          UTC seconds of the first and last moment of summer time; None: there is none.
    """

    name: str
    share: float
    offset_min: int
    summer: tuple[int, int] | None


_EUROPE = (1774746000, 1792890000)  # 2026-03-29 and 2026-10-25, 01:00 UTC
ZONES = (
    Zone("Berlin", 0.35, 60, _EUROPE),
    Zone("London", 0.20, 0, _EUROPE),
    Zone("New York", 0.20, -300, (1772953200, 1793512800)),  # 2026-03-08 07:00, 2026-11-01 06:00
    Zone("Shanghai", 0.15, 480, None),
    Zone("Kolkata", 0.10, 330, None),
)

START_S = 1771804800
"""Local midnight of the first day, as if it were UTC: Monday 2026-02-23, two weeks before New York and five before
Europe changes to summer time."""
