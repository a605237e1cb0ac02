#!/usr/bin/env bash
# A real language model on a simulated log, as a user would: tune on 50 samples, measure, export, predict.
# `make test-language-model` installs the model's package and runs this; `edgebehave` must be on the PATH.
set -euo pipefail
out=${1:-$(mktemp -d)}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
started=$SECONDS
step() {
  echo "[$((SECONDS - started)) s] edgebehave $*" >&2
  edgebehave "$@"
}
step simulate "$out/log.csv.gz"
step ingest "$out/log.csv.gz" -o "$out/store" --location location --utc-offset utc_offset_min --behavior behavior
step llm tune "$out/store" --base smollm2 -o "$out/llm" --stages anchor --samples 50 --epochs 1 --set max_validation=20
step llm evaluate "$out/store" "$out/llm" --samples 20 --no-habits --resamples 100
step llm predict "$out/llm" --store "$out/store" --user user_00159 -k 3 --json | tee "$out/predicted.json"
step llm export "$out/llm" -o "$out/onnx" --store "$out/store" --prompts 20
python - "$out" <<'END'
import json, sys
from pathlib import Path

out = Path(sys.argv[1])
predicted = json.loads((out / "predicted.json").read_text())
assert len(predicted) == 3 and predicted[0]["probability"] >= predicted[1]["probability"] > 0, predicted
graphs = json.loads((out / "onnx" / "export.json").read_text())["graphs"]
assert graphs["fp32"]["top1_agreement"] >= 0.995, graphs
assert graphs["int8"]["top1_agreement"] >= 0.9, graphs  # of 20 prompts; more are in docs/experiments.md
print({name: graph["top1_agreement"] for name, graph in graphs.items()})
END
echo "[$((SECONDS - started)) s] done"
[ -n "${1:-}" ] || rm -rf "$out"
