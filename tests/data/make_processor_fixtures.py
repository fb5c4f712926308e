#!/usr/bin/env python3
"""Makes tests/data/image/processors.json: what Hugging Face's image processors make of a few pictures.

    pip install numpy pillow==12.1.0 transformers==4.57.6
    python tests/data/make_processor_fixtures.py

[{config, picture: {width, height, seed}, height, width, step, values: [[float], [float], [float]]}], of each plane at
every step-th place. A picture's bytes are those of picture(); the test makes them too.
"""

import json
import pathlib

import numpy as np
import transformers
from PIL import Image

OUT = pathlib.Path(__file__).parent / "image" / "processors.json"
VALUES_MAX = 150  # of a plane
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HALF = [0.5, 0.5, 0.5]

# (class, what differs from its defaults, width, height)
CASES = [
    ("ViTImageProcessor", {"size": {"height": 32, "width": 24}}, 61, 43),
    ("ViTImageProcessor", {"size": {"height": 20, "width": 20}, "resample": 3, "image_mean": MEAN, "image_std": STD}, 13, 50),
    ("ViTImageProcessor", {"size": {"height": 20, "width": 20}, "do_rescale": False, "do_normalize": False}, 40, 50),
    ("DeiTImageProcessor", {"size": {"height": 36, "width": 36}, "crop_size": {"height": 30, "width": 28}}, 61, 43),
    ("CLIPImageProcessor", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}, 43, 71),
    ("CLIPImageProcessor", {"size": {"shortest_edge": 17}, "crop_size": {"height": 40, "width": 21}}, 71, 43),
    ("BitImageProcessor", {"size": {"shortest_edge": 28}, "crop_size": {"height": 24, "width": 24}}, 90, 33),
    ("MobileNetV2ImageProcessor", {"size": {"shortest_edge": 33}, "crop_size": {"height": 29, "width": 29}}, 57, 80),
    ("MobileNetV1ImageProcessor", {"size": {"shortest_edge": 33}, "do_center_crop": False}, 57, 80),
    ("SiglipImageProcessor", {"size": {"height": 25, "width": 31}, "image_mean": HALF, "image_std": HALF}, 80, 57),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 28}, "crop_pct": 0.875}, 70, 55),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 390}}, 30, 40),
    ("EfficientNetImageProcessor", {"size": {"height": 31, "width": 31}}, 70, 55),
    ("EfficientNetImageProcessor", {"size": {"height": 31, "width": 31}, "rescale_factor": 1 / 127.5, "rescale_offset": True,
                                    "include_top": False, "resample": 1}, 70, 55),
]  # fmt: skip


def picture(width, height, seed):
    """Byte i is the top byte of the i-th state of a linear congruential generator (Numerical Recipes's constants)."""
    state, out = seed, bytearray()
    for _ in range(width * height * 3):
        state = (state * 1664525 + 1013904223) % 2**32
        out.append(state >> 24)
    return Image.frombytes("RGB", (width, height), bytes(out))


def main():
    cases = []
    for seed, (name, options, width, height) in enumerate(CASES, 1):
        processor = getattr(transformers, name)(**options)
        values = processor(picture(width, height, seed), return_tensors="np")["pixel_values"][0]
        step = -(-values[0].size // VALUES_MAX) | 1
        cases.append({
            "config": json.loads(processor.to_json_string()),
            "picture": {"width": width, "height": height, "seed": seed},
            "height": values.shape[1],
            "width": values.shape[2],
            "step": step,
            "values": [[round(float(value), 6) for value in plane.ravel()[::step]] for plane in values.astype(np.float64)],
        })  # fmt: skip
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(cases, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
