package edgebehave

import java.io.ByteArrayOutputStream
import java.security.MessageDigest

private const val MAX_NAME_BYTES = 1024 // of UTF-8
private const val KEPT_CHARACTERS = 200 // of a longer name, before the hash of the whole

/** The name under which a string is kept. Throws IllegalArgumentException for "". */
internal fun checkedName(name: String, what: String): String {
    require(name.isNotEmpty()) { "$what must not be empty" }
    return boundedName(name)
}

/** A name as it is; of one of more than 1,024 bytes the first 200 characters, "~" and the SHA-256 of its UTF-8. */
fun boundedName(name: String): String {
    if (name.length <= MAX_NAME_BYTES / 4) return name // a character takes at most four bytes
    val encoded = utf8(name)
    if (encoded.size <= MAX_NAME_BYTES) return name
    return name.substring(0, name.offsetByCodePoints(0, KEPT_CHARACTERS)) + "~" + sha256(encoded)
}

internal fun sha256(content: ByteArray): String =
    MessageDigest.getInstance("SHA-256").digest(content).joinToString("") { "%02x".format(it) }

/** UTF-8; half of a surrogate pair takes three bytes, where Java would write a question mark. */
private fun utf8(text: String): ByteArray {
    val bytes = ByteArrayOutputStream(2 * text.length)
    var at = 0
    while (at < text.length) {
        val code = text.codePointAt(at)
        at += Character.charCount(code)
        if (code in 0xd800..0xdfff) {
            bytes.write(0xe0 or (code shr 12))
            bytes.write(0x80 or ((code shr 6) and 63))
            bytes.write(0x80 or (code and 63))
        } else {
            bytes.write(String(Character.toChars(code)).toByteArray(Charsets.UTF_8))
        }
    }
    return bytes.toByteArray()
}
