"""observe.onnx in the fused operators of ONNX Runtime: half the nodes of the portable form.

One event of one user per run, the cache in place:

    GroupQueryAttention      rotates, writes the new key and value, attends over the cache
    SkipLayerNormalization   residual sum, bias of the layer before, and the norm after it
    BiasGelu                 the activation of the MLP with its bias

The cache of a layer is a ring in two tensors, key_l and value_l, (1, H, I, E) each. The operator
writes the event at slot c = num_cached <= I - 1, in the memory that the client bound as both input and
output, and attends over slots 0..c: the event and those before it. Once c = I - 1, that slot is
the only free one, and the client copies it to slot i % (I - 1), the slot of the oldest event, where i is
the number of events that the cache has taken. Keys are stored rotated: apart from rounding, the order of
the slots does not matter.
"""

# D width, H heads, E head width, L layers, I window, P rotary period

import numpy as np
from onnx import ModelProto, TensorProto
from onnx.helper import make_tensor_value_info
from torch import nn

from edgebehave.bundles.model_shape import CACHE_PARTS
from edgebehave_export.graphs.clock import half_hour, weekdays_and_slots
from edgebehave_export.graphs.graph_builder import GraphBuilder
from edgebehave_export.graphs.web_observe import require_exportable
from edgebehave_train.model.behavior_model import ROTARY_PERIOD, BehaviorModel, Block


def native_observe(model: BehaviorModel) -> ModelProto:
    """observe.onnx of a model for ONNX Runtime on a phone or a computer, fp32.

    Inputs   event, location, time_s, utc_offset_min (1,) int64; position () int64, how many events
             of the user came before; num_cached () int64, how many of them are in the cache, at
             most I - 1; key_l, value_l (1, H, I, E) float32 of each layer.
    Outputs  hidden (1, D) float32; new_key_l, new_value_l, to be bound to the memory of the inputs.
    Raises ValueError as `require_exportable`, and for a head width that 16 does not divide.
    """
    config = model.config
    require_exportable(config)
    if config.head_width % 16:
        raise ValueError(
            f"the fused attention needs a head width that 16 divides, got {config.head_width}: "
            "export for the target web, or train with another num_heads"
        )
    graph = _Graph(model)
    x = _embedding(graph, model)
    ring = _ring(graph, model)
    blocks = [block for block in model.blocks if isinstance(block, Block)]
    last_norm = model.norm
    assert isinstance(last_norm, nn.LayerNorm)  # beside blocks of this kind
    normed = graph.norm(x, blocks[0].attention_norm)
    for layer, block in enumerate(blocks):
        following = blocks[layer + 1].attention_norm if layer + 1 < len(blocks) else last_norm
        attended = _attention(graph, block, normed, ring, layer)
        x, normed = graph.residual_norm(x, attended, block.attention_out, block.mlp_norm)
        widened = graph.MatMul(normed, graph.transposed(block.mlp_in.weight))
        active = graph.fused("BiasGelu", widened, graph.tensor(block.mlp_in.bias))
        x, normed = graph.residual_norm(x, active, block.mlp_out, following)
    graph.Reshape(normed, [1, -1], name="hidden")
    ids = ("event", "location", "time_s", "utc_offset_min")
    cache_shape = (1, config.num_heads, config.window, config.head_width)
    caches = cache_names(config.num_layers)
    return graph.finished(
        inputs=[
            *(make_tensor_value_info(name, TensorProto.INT64, [1]) for name in ids),
            make_tensor_value_info("position", TensorProto.INT64, []),
            make_tensor_value_info("num_cached", TensorProto.INT64, []),
            *(make_tensor_value_info(name, TensorProto.FLOAT, cache_shape) for name in caches),
        ],
        outputs=[
            make_tensor_value_info("hidden", TensorProto.FLOAT, [1, config.width]),
            *(make_tensor_value_info(f"new_{name}", TensorProto.FLOAT, cache_shape) for name in caches),
        ],
    )


def cache_names(num_layers: int) -> list[str]:
    """key_0, value_0, key_1, ..."""
    return [f"{part}_{layer}" for layer in range(num_layers) for part in CACHE_PARTS]


class _Graph(GraphBuilder):
    """A builder with the operators of the layers of a network."""

    def norm(self, x: str, norm: nn.LayerNorm) -> str:
        scale, shift = self.tensor(norm.weight), self.tensor(norm.bias)
        return self.LayerNormalization(x, scale, shift, axis=-1, epsilon=norm.eps)

    def residual_norm(self, x: str, update: str, layer: nn.Linear, norm: nn.LayerNorm) -> tuple[str, str]:
        """s = x + layer(update), and norm(s)."""
        name = f"SkipLayerNormalization_{len(self.nodes)}"
        total = f"{name}_sum"
        product = self.MatMul(update, self.transposed(layer.weight))
        constants = [self.tensor(values) for values in (norm.weight, norm.bias, layer.bias)]
        outputs = [name, "", "", total]
        self.fused("SkipLayerNormalization", product, x, *constants, name=name, outputs=outputs, epsilon=norm.eps)
        return total, name


def _embedding(graph: _Graph, model: BehaviorModel) -> str:
    """[event ; location ; weekday ; slot] of the event, (1, 1, D)."""
    # One row per half hour of the week, computed when the graph is loaded.
    weekdays, slots = weekdays_and_slots(graph, with_none=False)
    times = graph.Concat(graph.lookup(model.weekday, weekdays), graph.lookup(model.slot, slots), axis=-1)
    parts = [
        graph.lookup_known(model.event, "event"),
        graph.lookup_known(model.location, "location"),
        graph.Gather(times, half_hour(graph, "time_s", "utc_offset_min"), axis=0),
    ]
    return graph.Reshape(graph.Concat(*parts, axis=-1), [1, 1, -1])


def _ring(graph: _Graph, model: BehaviorModel) -> list[str]:
    """Inputs of every attention: slot of the event, slots in use, rotary tables, position."""
    slot = graph.Cast("num_cached", to=TensorProto.INT32)
    in_use = graph.Add(slot, graph.constant(np.array(1, np.int32)))
    at = graph.Mod("position", ROTARY_PERIOD)
    return [
        *(graph.Reshape(slot, [1]), in_use),
        *(graph.tensor(model.rotary_cos), graph.tensor(model.rotary_sin)),
        graph.Reshape(at, [1, 1]),
    ]


def _attention(graph: _Graph, block: Block, normed: str, ring: list[str], layer: int) -> str:
    bias = graph.tensor(block.qkv.bias)
    qkv = graph.Add(graph.MatMul(normed, graph.transposed(block.qkv.weight)), bias)
    key, value, name = f"key_{layer}", f"value_{layer}", f"attention_{layer}"
    return graph.fused(
        "GroupQueryAttention",
        *(qkv, "", "", key, value, *ring),
        name=name,
        outputs=[name, f"new_{key}", f"new_{value}"],
        num_heads=block.num_heads,
        kv_num_heads=block.num_heads,
        do_rotary=1,
        rotary_interleaved=0,
        scale=block.head_width**-0.5,
    )
