plugins {
    kotlin("jvm") version "2.2.20"
    `java-library`
    `maven-publish`
}

group = "io.github.edgebehave"
version = "0.1.0"

repositories { mavenCentral() }

val onnxruntime = "1.24.1"

dependencies {
    // The app adds the one that fits it, com.microsoft.onnxruntime:onnxruntime-android or :onnxruntime.
    compileOnly("com.microsoft.onnxruntime:onnxruntime:$onnxruntime")
    testImplementation("com.microsoft.onnxruntime:onnxruntime:$onnxruntime")
}

// Class files that Android's tools read.
java {
    sourceCompatibility = JavaVersion.VERSION_11
    targetCompatibility = JavaVersion.VERSION_11
    withSourcesJar()
}

kotlin {
    compilerOptions {
        allWarningsAsErrors = true
        jvmTarget = org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_11
    }
}

// src/test/kotlin holds programs: tests/clients/test_kotlin.py of the repository gives them what they compare.
tasks.test { enabled = false }

// gradle replay --args="SCENARIOS.jsonl RUNS.bin"
tasks.register<JavaExec>("replay") {
    classpath = sourceSets["test"].runtimeClasspath
    mainClass = "edgebehave.ReplayKt"
}

publishing { publications { create<MavenPublication>("library") { from(components["java"]) } } }

// For measure_on_phone.sh: where the standard library of Kotlin lies.
tasks.register("kotlinLibrary") {
    val library = configurations.runtimeClasspath.get().filter { it.name.startsWith("kotlin-stdlib-") }
    doLast { println(library.singleFile) }
}
