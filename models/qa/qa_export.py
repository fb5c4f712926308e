"""Export to ONNX: float graph, fused graph, int8 graph.

The int8 weights use seven bits (reduce_range): on x86 without VNNI the 8-bit products are summed
in saturating 16-bit lanes (vpmaddubsw), which full-range weights overflow.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from transformers import BertConfig, BertForQuestionAnswering

from qa_model import Batch

OPSET = 17
HEADS, HIDDEN = 12, 384


class _Smoothed(torch.nn.Module):
    """A linear layer whose input channels are brought to like ranges first; same result."""

    def __init__(self, linear: torch.nn.Linear, scales: torch.Tensor) -> None:
        super().__init__()
        self._inverse = torch.nn.Parameter(1 / scales, requires_grad=False)
        self._linear = linear
        self._linear.weight.data *= scales

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._linear(hidden * self._inverse)


def smooth(model: BertForQuestionAnswering, batches: list[Batch], outliers: int = 4) -> None:
    """Moves the outliers of the feed-forward layers' inputs into the weights, in place.

    Dynamic quantisation has one scale for a whole activation tensor. Here a handful of channels,
    mostly of the [CLS] token, reach five times what the others do and cost them their precision.
    These `outliers` largest channels are divided down to the next channel's peak and their weights
    multiplied up: SmoothQuant (Xiao et al., 2023) for the outliers alone.
    """
    largest: dict[str, torch.Tensor] = {}
    hooks = []
    names = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    names = [n for n in names if n.endswith(("intermediate.dense", "output.dense"))]
    names = [n for n in names if "attention" not in n]
    for name in names:

        def watch(_module: torch.nn.Module, inputs: tuple[torch.Tensor], name: str = name) -> None:
            peak = inputs[0].abs().flatten(0, -2).amax(0)
            largest[name] = torch.maximum(largest.get(name, peak), peak)

        hooks.append(model.get_submodule(name).register_forward_pre_hook(watch))
    with torch.inference_mode():
        for b in batches:
            model(b["input_ids"], b["attention_mask"], b["token_type_ids"])
    for hook in hooks:
        hook.remove()
    for name in names:
        parent, child = name.rsplit(".", 1)
        linear = model.get_submodule(name)
        peak = largest[name].clone()
        scales = (peak / peak.topk(outliers + 1).values[-1]).clamp(min=1)
        setattr(model.get_submodule(parent), child, _Smoothed(linear, scales))


class _Logits(torch.nn.Module):
    """The model with positional tensors in the exporter's order and a tuple as result."""

    def __init__(self, model: BertForQuestionAnswering) -> None:
        super().__init__()
        self._model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        spans = self._model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return spans.start_logits, spans.end_logits


def load_checkpoint(encoder: Path, checkpoint: Path) -> BertForQuestionAnswering:
    config = BertConfig.from_pretrained(encoder)
    model = BertForQuestionAnswering._from_config(config, attn_implementation="eager")
    model.load_state_dict(torch.load(checkpoint, map_location="cpu")["model"])
    return model.eval()


def export_float(model: BertForQuestionAnswering, path: Path) -> None:
    """Writes the float graph with dynamic batch and sequence axes."""
    ids = torch.ones(2, 16, dtype=torch.int64)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    outputs = ["start_logits", "end_logits"]
    axes = {name: {0: "batch", 1: "sequence"} for name in names + outputs}
    torch.onnx.export(
        _Logits(model),
        (ids, ids, torch.zeros_like(ids)),
        str(path),
        input_names=names,
        output_names=outputs,
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )


def fuse(source: Path, target: Path) -> None:
    """Fuses attention, layer normalisation and GELU into operators that ONNX Runtime has for CPUs."""
    options = FusionOptions("bert")
    options.enable_bias_skip_layer_norm = True
    options.enable_gelu_approximation = False
    fused = optimize_model(
        str(source),
        model_type="bert",
        num_heads=HEADS,
        hidden_size=HIDDEN,
        optimization_options=options,
        opt_level=0,
        use_gpu=False,
    )
    print("fused operators:", {k: v for k, v in fused.get_fused_operator_statistics().items() if v})
    fused.save_model_to_file(str(target))


def quantise(source: Path, target: Path) -> None:
    """Dynamic int8 quantisation of the matrix products and of the embedding tables."""
    quantize_dynamic(
        str(source),
        str(target),
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        # Shape inference stops at the fused operators; all their results are float32.
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
    )
