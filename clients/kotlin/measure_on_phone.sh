#!/usr/bin/env bash
# Latency of a bundle on an Android phone, without an app: src/test/kotlin/edgebehave/Latency.kt in the phone's own
# virtual machine. NOT RUN YET: no phone was at hand.
#
#     ./measure_on_phone.sh BUNDLE onnxruntime-android-1.24.1.aar [ROUNDS]
#
# BUNDLE is from `edgebehave export --target web`, or edgebehave/universal_bundle. The .aar is from Maven Central,
# com.microsoft.onnxruntime:onnxruntime-android. Needed on this computer: gradle, unzip, adb (a phone with USB debugging
# turned on shows up in `adb devices`), and in ANDROID_HOME the build tools, for d8.
# For steady numbers: charge the phone above 50 %, unplug nothing, let it cool, close apps, keep the screen on.
set -euo pipefail

if [ $# -lt 2 ]; then
  sed -n '5,5p' "$0" | cut -c3- >&2
  exit 2
fi
bundle=$(realpath "$1") aar=$(realpath "$2") rounds=${3:-500}
cd "$(dirname "$0")"
d8=$(ls "${ANDROID_HOME:?is not set}"/build-tools/*/d8 | sort -V | tail -1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

gradle --quiet testClasses
kotlin=$(gradle --quiet kotlinLibrary)
abi=$(adb shell getprop ro.product.cpu.abi | tr -d '\r')
unzip -q "$aar" classes.jar "jni/$abi/*" -d "$work"
(cd build/classes/kotlin/main && jar cf "$work/main.jar" .)
(cd build/classes/kotlin/test && jar cf "$work/test.jar" .)
"$d8" --min-api 24 --output "$work/latency.jar" "$work/main.jar" "$work/test.jar" "$work/classes.jar" "$kotlin"

there=/data/local/tmp/edgebehave
adb shell "rm -rf $there && mkdir -p $there/bundle"
adb push "$work/latency.jar" "$work/jni/$abi"/*.so "$there/" >/dev/null
adb push "$bundle"/. "$there/bundle" >/dev/null
adb shell getprop ro.product.model
adb shell getprop ro.build.version.release
adb shell "cd $there && CLASSPATH=$there/latency.jar LD_LIBRARY_PATH=$there \
  app_process -Djava.library.path=$there $there edgebehave.LatencyKt $there/bundle $rounds"
adb shell "rm -rf $there"
