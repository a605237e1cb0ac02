"""Kinds of the simulator's behaviors, similar behaviors, and words for events and locations.

These tables are made for the world's text. Locations, hours and triggers of the behaviors come from
`simulator/world.py`. Every behavior of the tail shares its kind with an anchor and is similar to an
anchor. Frozen with the text: see docs/world_text.md.
"""

# ruff: noqa: E501  one row per line is what makes a table readable

from edgebehave_train.simulator.world import BEHAVIORS, FIRST_TAIL

KINDS: dict[str, tuple[str, ...]] = {
    "getting around": ("taking the subway", "hailing a ride", "navigating", "renting a bike", "renting a car"),
    "planning a trip": ("checking the weather", "booking a train", "booking a hotel", "booking a flight", "translating"),
    "handling money": ("paying", "paying bills", "banking", "splitting a bill"),
    "shopping": ("online shopping", "ordering takeout", "tracking a parcel", "filling a prescription"),
    "watching": ("watching video clips", "watching video", "buying movie tickets"),
    "playing and listening": ("gaming", "listening to music", "listening to podcasts", "working out"),
    "making pictures": ("editing video", "taking photos", "scanning a document"),
    "learning": ("reading books", "reading news", "studying", "taking notes"),
    "looking for work or a home": ("job hunting", "joining a video meeting", "house hunting"),
    "caring for the body": ("checking the weather", "checking health data", "booking a doctor", "working out"),
}  # fmt: skip
"""Kind -> its behaviors, anchors first. Checking the weather belongs to two kinds."""

AKIN: dict[str, tuple[tuple[str, str], ...]] = {
    "taking notes": (("studying", "both keep what was learned"), ("reading books", "both are done over a text")),
    "hailing a ride": (("taking the subway", "both bring people across the city"), ("paying", "both follow a meal in a restaurant")),
    "tracking a parcel": (("online shopping", "a parcel comes from the shop"), ("ordering takeout", "both wait for a delivery")),
    "navigating": (("taking the subway", "both are about the way to a place"), ("taking photos", "both are done far from home")),
    "working out": (("listening to music", "both belong to a run in the park"), ("checking the weather", "both begin the morning")),
    "paying bills": (("paying", "both send money away"), ("online shopping", "both end at a checkout")),
    "booking a train": (("taking the subway", "both go by rail"), ("checking the weather", "both come before a trip")),
    "joining a video meeting": (("job hunting", "an interview is a meeting"), ("studying", "both are done in office hours")),
    "translating": (("studying", "both practice a language"), ("taking photos", "both are done far from home")),
    "checking health data": (("checking the weather", "both are a look at the state of things in the morning"), ("listening to music", "both go with exercise")),
    "banking": (("paying", "both are about the balance of an account"), ("job hunting", "both are done in office hours")),
    "splitting a bill": (("paying", "both settle a meal in a restaurant"), ("ordering takeout", "both belong to a meal")),
    "scanning a document": (("taking photos", "both take a picture of something"), ("job hunting", "an application needs papers")),
    "booking a hotel": (("online shopping", "both compare offers"), ("checking the weather", "both come before a trip")),
    "booking a doctor": (("checking the weather", "both are done in the morning"), ("job hunting", "both arrange an appointment")),
    "booking a flight": (("online shopping", "both compare offers"), ("checking the weather", "both come before a trip")),
    "buying movie tickets": (("watching video", "both are about a film"), ("online shopping", "both buy something")),
    "filling a prescription": (("online shopping", "both order something"), ("ordering takeout", "both are picked up or brought")),
    "renting a bike": (("taking the subway", "both bring people across the city"), ("listening to music", "both are done in the park")),
    "house hunting": (("job hunting", "both search through offers"), ("online shopping", "both search through offers")),
    "renting a car": (("taking the subway", "both bring people to a place"), ("taking photos", "both are done far from home")),
}  # fmt: skip
"""Behavior of the tail -> anchors that it is akin to, and the common feature."""

CUE_WORDS: dict[str, str] = {
    "screen.on": "the screen lights up",
    "charger.connected": "the charger is plugged in",
    "notification.message": "a message arrives",
    "notification.clips": "the clips app sends a notification",
    "headphones.connected": "the headphones are plugged in",
    "notification.shop": "the shop sends a notification",
    "car.bluetooth": "the phone connects to the car",
}
"""Event without a behavior -> a clause that says it."""

AT_LOCATION: dict[str, str] = {
    "home": "at home",
    "work": "at work",
    "transit": "in transit",
    "restaurant": "in a restaurant",
    "shop": "in a shop",
    "park": "in the park",
    "clinic": "at the clinic",
    "station": "at the station",
    "away": "away in another city",
}
"""Kind of location -> an adverbial that says it."""

NAMES = tuple(b.name for b in BEHAVIORS)
ANCHORS = NAMES[:FIRST_TAIL]


def action(event: str) -> str:
    """An event in words: `clip_editor.publish` is "publish in the clip editor"."""
    app, _, what = event.replace("_", " ").partition(".")
    return f"{what} in the {app}"
