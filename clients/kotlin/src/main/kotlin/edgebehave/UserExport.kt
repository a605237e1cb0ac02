package edgebehave

private const val FORMAT = "edgebehave user history"
private const val VERSION = 1L
private val FIELDS = setOf("event", "location", "time_s", "utc_offset_min")

/** A history as ASCII text, one event a line, byte for byte that of the SDK in Python. */
internal fun writeUser(history: History): String {
    val lines = history.events.joinToString(",\n") { (event, location, at, offset) ->
        val place = location?.let(Json::quoted) ?: "null"
        "{\"event\": ${Json.quoted(event)}, \"location\": $place, \"time_s\": $at, \"utc_offset_min\": $offset}"
    }
    val head = "\"format\": \"$FORMAT\", \"version\": $VERSION, \"num_events\": ${history.count}"
    return "{$head, \"events\": [\n$lines\n]}\n"
}

/** The history of such text. Throws IllegalArgumentException that says where it differs. */
internal fun readUser(text: String): History {
    val fields = Json.parse(text) as? Map<*, *>
    require(fields?.get("format") == FORMAT) { "the data is JSON, but not of the format \"$FORMAT\"" }
    require(fields["version"] == VERSION) {
        "the data is of version ${fields["version"]}, this edgebehave reads $VERSION"
    }
    val rows = fields["events"] as? List<*>
    require(!rows.isNullOrEmpty()) { "events must be a list of at least one event" }
    val count = fields["num_events"] as? Long
    require(count != null && count >= rows.size) {
        "num_events must be an integer, at least the ${rows.size} events there are, got $count"
    }
    val events = rows.mapIndexed { number, row ->
        try {
            event(row as? Map<*, *>)
        } catch (error: IllegalArgumentException) {
            throw IllegalArgumentException("event $number of the data: ${error.message}", error)
        }
    }
    require(events.zipWithNext().all { (one, next) -> one.at <= next.at }) { "events are not in the order of time" }
    return History(events, count)
}

private fun event(row: Map<*, *>?): Event {
    require(row?.keys == FIELDS) { "expected an object of ${FIELDS.joinToString()}" }
    val (event, location) = row["event"] as? String to row["location"]
    require(event != null && (location == null || location is String)) { "event and location must be strings" }
    val (at, offset) = row["time_s"] as? Long to row["utc_offset_min"] as? Long
    require(at != null && offset != null) { "time_s and utc_offset_min must be whole numbers" }
    val moment = Moment(at, Math.toIntExact(offset.coerceIn(-10_000, 10_000)))
    val place = location?.let { checkedName(it, "location") }
    return Event(checkedName(event, "event"), place, moment.at, moment.utcOffsetMin)
}
