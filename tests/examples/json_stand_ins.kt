// Declarations of what examples/kotlin takes from org.json, which is a part of Android.

@file:Suppress("UNUSED_PARAMETER", "unused")

package org.json

class JSONArray {
    fun length(): Int = TODO()
    operator fun get(index: Int): Any = TODO()
}

class JSONObject(text: String) {
    fun optInt(name: String): Int = TODO()
    fun optInt(name: String, otherwise: Int): Int = TODO()
    fun optString(name: String): String = TODO()
    fun getString(name: String): String = TODO()
    fun getInt(name: String): Int = TODO()
    fun getBoolean(name: String): Boolean = TODO()
    fun getJSONObject(name: String): JSONObject = TODO()
    fun getJSONArray(name: String): JSONArray = TODO()
}
