package edgebehave

/** JSON as plain values: Map, List, String, Long, Double, Boolean, null. So the library needs no other one. */
internal class Json private constructor(private val text: String) {
    private var at = 0

    companion object {
        /** The value of a JSON text. Throws IllegalArgumentException if it is none. */
        fun parse(text: String): Any? {
            val reader = Json(text)
            val value = reader.value(0)
            reader.skipSpaces()
            require(reader.at == text.length) { "the data is not JSON: more text at ${reader.at}" }
            return value
        }

        /** A string in quotes, in ASCII. */
        fun quoted(text: String) = buildString {
            append('"')
            for (unit in text) {
                when {
                    unit == '"' || unit == '\\' -> append('\\').append(unit)
                    unit in SHORT -> append('\\').append(SHORT.getValue(unit))
                    unit < ' ' || unit > '\u007f' -> append("\\u%04x".format(unit.code))
                    else -> append(unit)
                }
            }
            append('"')
        }

        private val SHORT = mapOf('\b' to 'b', '\u000c' to 'f', '\n' to 'n', '\r' to 'r', '\t' to 't')
        private val LONG = SHORT.entries.associate { (unit, letter) -> letter to unit } +
            mapOf('"' to '"', '\\' to '\\', '/' to '/')
        private const val MAX_DEPTH = 64
        private val NUMBER = Regex("-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?")
    }

    private fun fail(): Nothing = throw IllegalArgumentException("the data is not JSON at character $at")

    private fun skipSpaces() {
        while (at < text.length && text[at] in " \t\r\n") at += 1
    }

    private fun take(expected: Char) {
        skipSpaces()
        if (at >= text.length || text[at] != expected) fail()
        at += 1
    }

    private fun next(): Char {
        skipSpaces()
        return if (at < text.length) text[at] else fail()
    }

    private fun value(depth: Int): Any? {
        if (depth > MAX_DEPTH) fail()
        return when (next()) {
            '{' -> {
                val fields = LinkedHashMap<String, Any?>()
                items('}') {
                    if (next() != '"') fail()
                    val name = string()
                    take(':')
                    fields[name] = value(depth + 1)
                }
                fields
            }
            '[' -> ArrayList<Any?>().also { list -> items(']') { list.add(value(depth + 1)) } }
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> number()
        }
    }

    private fun items(end: Char, item: () -> Unit) {
        at += 1
        if (next() == end) {
            at += 1
            return
        }
        while (true) {
            item()
            if (next() == end) break
            take(',')
        }
        at += 1
    }

    private fun word(word: String, value: Any?): Any? {
        if (!text.startsWith(word, at)) fail()
        at += word.length
        return value
    }

    private fun number(): Number {
        val found = NUMBER.matchAt(text, at) ?: fail()
        at += found.value.length
        return found.value.toLongOrNull() ?: found.value.toDouble()
    }

    private fun string() = buildString {
        at += 1
        while (true) {
            val unit = text.getOrNull(at) ?: fail()
            at += 1
            when {
                unit == '"' -> break
                unit < ' ' -> fail()
                unit != '\\' -> append(unit)
                else -> append(escaped())
            }
        }
    }

    private fun escaped(): Char {
        val letter = text.getOrNull(at) ?: fail()
        at += 1
        if (letter != 'u') return LONG[letter] ?: fail()
        val code = if (at + 4 <= text.length) text.substring(at, at + 4).toIntOrNull(16) else null
        at += 4
        return (code ?: fail()).toChar()
    }
}
