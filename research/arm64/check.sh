#!/usr/bin/env bash
# Check golden vectors on arm64, on a Debian or Ubuntu machine with another processor.
#
#     research/arm64/check.sh BUNDLE GOLDEN [FOLDER [HISTORIES]]
#
# BUNDLE may be for any target: its golden vectors are what it answers here. HISTORIES checks only
# so many of them, which at preset edge take minutes a hundred.
#
# Unpacks an arm64 Python with numpy and onnxruntime into FOLDER (default: runs/arm64, 250 MB, kept
# for the next time) and runs examples/python_app/check_golden.py there under user-mode qemu. Nothing
# is installed and root is not needed. Wants apt, dpkg-deb, pip, and qemu 8 or newer: qemu 7.2 of
# Debian 12 stops at an instruction that onnxruntime uses, so qemu comes from its backports.
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2; fi
bundle=$(realpath "$1") golden=$(realpath "$2")
root=$(realpath "$(dirname "$0")/../..")
folder=${3:-$root/runs/arm64}
mkdir -p "$folder"
folder=$(realpath "$folder")
release=$(. /etc/os-release && echo "$VERSION_CODENAME")

# apt with lists of its own, from the archive that this machine uses.
debs() {  # debs ARCHITECTURE SUITE PACKAGE...: downloads packages into $folder/debs
  local architecture=$1 suite=$2; shift 2
  local lists="$folder/apt/$architecture-$suite"
  mkdir -p "$lists/partial" "$folder/debs"
  local archive
  archive=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -1)
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $suite main" \
    > "$lists.list"
  local options=(
    -o "Dir::Etc::sourcelist=$lists.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$lists"
    -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture"
    -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" -o APT::Sandbox::User=""
  )
  apt-get "${options[@]}" -qq update
  (cd "$folder/debs" && apt-get "${options[@]}" -qq download "$@")
}

if [ ! -e "$folder/ready" ]; then
  rm -rf "$folder/debs" "$folder/machine" "$folder/packages"
  case $release in
    bookworm) suite=bookworm-backports ;;
    *) suite=$release ;;
  esac
  python=$(apt-cache depends python3 | sed -n 's/.*Depends: \(python3\.[0-9]*\)$/\1/p' | head -1)
  debs "$(dpkg --print-architecture)" "$suite" qemu-user
  for deb in "$folder"/debs/*.deb; do dpkg-deb -x "$deb" "$folder/qemu"; done
  rm -rf "$folder/debs"
  debs arm64 "$release" libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 \
    liblzma5 libsqlite3-0 libuuid1 "lib$python-minimal" "lib$python-stdlib" "$python-minimal"
  for deb in "$folder"/debs/*.deb; do dpkg-deb -x "$deb" "$folder/machine"; done
  python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" \
    --only-binary=:all: --implementation cp --python-version "${python#python}" \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux2014_aarch64 numpy onnxruntime
  echo "$python" > "$folder/ready"
fi

python=$(cat "$folder/ready")
qemu=$(find "$folder/qemu/usr/bin" -name qemu-aarch64 -o -name qemu-aarch64-static | head -1)
env PYTHONHOME="$folder/machine/usr" PYTHONPATH="$root:$folder/packages" PYTHONDONTWRITEBYTECODE=1 \
  "$qemu" -L "$folder/machine" "$folder/machine/usr/bin/$python" \
  "$root/examples/python_app/check_golden.py" "$bundle" "$golden" --at-least 0.99 \
  ${4:+--first "$4"}
