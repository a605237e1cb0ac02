"""The tiny model's graphs, exported once: that takes seconds."""

import pytest

from edgebehave_export.bundle import export_graphs
from edgebehave_export.quantization import quantize_graphs


@pytest.fixture(scope="session")
def tiny_model(tiny_checkpoint):
    return tiny_checkpoint.load_model()


@pytest.fixture(scope="session")
def fp32_graphs(tiny_model):
    """ModelProtos by file name."""
    return export_graphs(tiny_model)


@pytest.fixture(scope="session")
def web_graphs(tiny_model):
    """In standard operators."""
    return export_graphs(tiny_model, "web")


@pytest.fixture(scope="session")
def int8_graphs(fp32_graphs):
    return quantize_graphs(fp32_graphs)
