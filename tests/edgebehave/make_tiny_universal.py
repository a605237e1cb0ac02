"""Make the universal bundle that the tests of the runtime run on, so that those need no torch.

    python tests/edgebehave/make_tiny_universal.py

Random weights and the smallest widths: its predictions mean nothing, its form is that of the real one. Needs the
extras `train` and `export`; the parity gate runs.
"""

import dataclasses
import tempfile
from pathlib import Path

import torch

from edgebehave_export.universal import export_universal
from edgebehave_train.files import write_json, write_tensors
from edgebehave_train.universal.pretraining import CONFIG_FILE, FORMAT_VERSION, WEIGHTS_FILE, UniversalTrainConfig
from edgebehave_train.universal.universal_model import UniversalConfig, UniversalModel

TINY_UNIVERSAL = Path(__file__).parent / "tiny_universal"


def write_random_run(folder: Path) -> UniversalModel:
    """A run of the universal model that was never trained, with weights that let every input matter."""
    torch.manual_seed(0)
    shape = UniversalConfig(learned_kernels=1, cue_width=4, context_width=4, score_width=4)
    config = dataclasses.asdict(UniversalTrainConfig(shape=shape, steps=1))
    model = UniversalModel(shape)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.2 * torch.randn(weights.shape)
    folder.mkdir(parents=True)
    write_json(folder / CONFIG_FILE, {"format_version": FORMAT_VERSION, "train": config})
    write_tensors(folder / WEIGHTS_FILE, model.state_dict())
    return model.eval()


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_random_run(Path(folder) / "run")
        export_universal(Path(folder) / "run", TINY_UNIVERSAL, overwrite=True, on_line=print)


if __name__ == "__main__":
    main()
