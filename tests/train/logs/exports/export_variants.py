"""All exports that are written for the tests, by what their reader knows about the zone; the events that they give."""

from computer_exports import (
    aw_all_buckets,
    aw_csv,
    aw_events_of_the_api,
    aw_one_bucket_of_a_phone,
    chrome_beside_its_journal,
    chrome_with_transitions,
    firefox,
    firefox_of_today,
    home_assistant,
    home_assistant_csv,
    home_assistant_of_old,
    safari,
    safari_in_short,
    takeout_activity,
    takeout_activity_html,
    takeout_chrome,
    takeout_chrome_of_today,
)
from export_events import EVENTS
from phone_exports import (
    knowledgec,
    knowledgec_csv,
    knowledgec_of_a_mac,
    lastfm_backup,
    lastfm_plain,
    lastfm_uts,
    phone_log,
    phone_log_of_america,
    phone_log_of_germany,
    swarm_api,
    swarm_export,
    usage_dump_of_old,
    usage_dump_of_today,
    usage_events_csv,
    usage_events_json,
)

from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, ingest

UTC_EXPORTS = {
    aw_all_buckets: "an ActivityWatch export", aw_one_bucket_of_a_phone: "an ActivityWatch export",
    aw_events_of_the_api: "an ActivityWatch export", aw_csv: "an ActivityWatch export",
    takeout_activity: "My Activity", takeout_activity_html: "My Activity",
    takeout_chrome: "Chrome's history of Google Takeout", takeout_chrome_of_today: "Chrome's history of Google Takeout",
    chrome_with_transitions: "a history of Chrome", chrome_beside_its_journal: "a history of Chrome",
    firefox: "a history of Firefox", firefox_of_today: "a history of Firefox",
    safari: "a history of Safari", safari_in_short: "a history of Safari",
    home_assistant: "Home Assistant", home_assistant_of_old: "Home Assistant", home_assistant_csv: "Home Assistant",
    lastfm_plain: "Last.fm", lastfm_uts: "Last.fm", lastfm_backup: "Last.fm",
    usage_events_csv: "usage events", usage_events_json: "usage events",
}  # fmt: skip
OWN_ZONE = {
    knowledgec: "knowledgeC", knowledgec_of_a_mac: "knowledgeC", knowledgec_csv: "knowledgeC",
    swarm_export: "Swarm", swarm_api: "Swarm",
}  # fmt: skip
LOCAL = {
    usage_dump_of_today: "usage events", usage_dump_of_old: "usage events",
    phone_log: "a phone log", phone_log_of_america: "a phone log", phone_log_of_germany: "a phone log",
}  # fmt: skip


def store_of(path, out, **options):
    lines = []
    ingest(IngestConfig(log=path, out=out, threads=1, memory_limit="300MB", **options), lines.append)
    store = EventStore.open(out)
    return store, [(e.event, e.time_s, e.utc_offset_min, e.location) for e in store.named_events(0)], lines


def expected_events(variant, offset_min):
    """The events that the hand-made CSV has."""
    is_home = "home_assistant" in variant.__name__
    minutes = variant in (lastfm_plain, phone_log_of_germany)
    return [
        (f"light.{name} on" if is_home else name, t - t % 60 if minutes else t, offset_min(t), None)
        for t, name in EVENTS
    ]
