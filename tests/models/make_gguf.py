#!/usr/bin/python3
"""Makes GGUF models with random weights and a real vocabulary, without a download.

    make_gguf.py OUT.gguf [--shape tiny|tiny-embedding|qwen2-1.5b] [--type q8_0|q4_0|q4_k] [--vocab FOLDER] [--seed N]

The file is a function of the arguments alone: the same bytes on every machine. Python's standard library is all it needs.

  tiny             a llama of 4 layers with Phi-3's vocabulary and a chat template, some 10 MB. Its greedy text wanders
                   through the vocabulary: control tokens, the end of the text among them, have zero rows in the output
                   matrix and are never the likeliest.
  tiny-embedding   a BERT of 2 layers with BGE's vocabulary and mean pooling, some 3 MB
  qwen2-1.5b       Qwen2-1.5B's shape (28 layers, 1536 wide, tied output), about 0.9 GB: for measuring speed and memory

The vocabularies are those that llama.cpp keeps for its own tests (models/ggml-vocab-*.gguf); './dev build' unpacks them
to build/llama/src/models. Format: docs/gguf.md of ggml (version 3); block layouts: ggml-common.h of ggml.
"""

import argparse
import dataclasses
import hashlib
import os
import pathlib
import random
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALIGNMENT = 32  # of tensor data, bytes
PIECE_BYTES = 1 << 20  # of random bytes made at a time

# ---- Values of GGUF's metadata ---------------------------------------------------------------------------------------

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, value):
    """One key with its value: a whole number, a fraction, a truth value or a string, by the Python type."""
    if isinstance(value, bool):
        return string(key) + struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return string(key) + struct.pack("<II", U32, value)
    if isinstance(value, float):
        return string(key) + struct.pack("<If", F32, value)
    return string(key) + struct.pack("<I", STRING) + string(value)


class Vocabulary:
    """The entries tokenizer.* of a GGUF file, to be copied as they are, and the type of each token."""

    TOKEN_NORMAL = 1

    def __init__(self, path):
        self.data = path.read_bytes()
        magic, version, _, count = struct.unpack_from("<4sIQQ", self.data)
        if magic != b"GGUF" or version != 3:
            sys.exit(f"error: {path} is not a GGUF file of version 3")
        self.entries, self.types = {}, []
        at = 24
        for _ in range(count):
            start = at
            key, at = self.text(at)
            (kind,) = struct.unpack_from("<I", self.data, at)
            values_at = at + 4
            at = self.skip(kind, values_at)
            if key.startswith("tokenizer.") and key != "tokenizer.chat_template":
                self.entries[key] = self.data[start:at]
            if key == "tokenizer.ggml.token_type":
                _, length = struct.unpack_from("<IQ", self.data, values_at)
                self.types = struct.unpack_from(f"<{length}i", self.data, values_at + 12)

    def text(self, at):
        (length,) = struct.unpack_from("<Q", self.data, at)
        return self.data[at + 8:at + 8 + length].decode(errors="replace"), at + 8 + length

    def skip(self, kind, at):
        """Where the value that begins at `at` ends."""
        if kind == STRING:
            return at + 8 + struct.unpack_from("<Q", self.data, at)[0]
        if kind == ARRAY:
            element, length = struct.unpack_from("<IQ", self.data, at)
            at += 12
            if element in SCALARS:
                return at + length * struct.calcsize(SCALARS[element])
            for _ in range(length):
                at = self.skip(element, at)
            return at
        return at + struct.calcsize(SCALARS[kind])


# ---- Blocks of weights -----------------------------------------------------------------------------------------------
# Each makes random weights with about the given standard deviation and a mean near zero. The quants are random bytes;
# the scales, at fixed places of each block, are the same in all of them.


def half(value):
    return struct.pack("<e", value)


def put(data, block, at, value):
    """Writes the bytes of value at the place `at` of every block."""
    for offset, byte in enumerate(value):
        data[at + offset::block] = bytes([byte]) * (len(data) // block)


WITHOUT_MINUS_8 = bytes((byte >> 4 or 8) << 4 | (byte & 15 or 8) for byte in range(256))


def fill_q8_0(data, deviation):
    put(data, 34, 0, half(deviation / 73.9))  # of uniform int8


def fill_q4_0(data, deviation):
    # Quants of 4 bits, less 8. A mean of -0.5 would be the strongest direction of every matrix, and the text one token.
    data[:] = data.translate(WITHOUT_MINUS_8)
    put(data, 18, 0, half(deviation / 4.18))


def fill_q4_k(data, deviation):
    # d * scale * quant - dmin * minimum, scales and minima of 6 random bits: dmin = 7.5 d centres it.
    d = deviation / 240
    put(data, 144, 0, half(d) + half(7.5 * d))


def fill_q6_k(data, deviation):
    # d * scale * (quant - 32): scales of one size, so that no block is zero
    put(data, 210, 192, bytes([64]) * 16)
    put(data, 210, 208, half(deviation / 64 / 18.5))


@dataclasses.dataclass(frozen=True)
class Type:
    number: int  # enum ggml_type
    weights: int  # in a block
    size: int  # of a block, bytes
    fill: object


FLOAT32 = Type(0, 1, 4, None)
Q4_0 = Type(2, 32, 18, fill_q4_0)
Q8_0 = Type(8, 32, 34, fill_q8_0)
Q4_K = Type(12, 256, 144, fill_q4_k)
Q6_K = Type(14, 256, 210, fill_q6_k)
TYPES = {"q4_0": Q4_0, "q8_0": Q8_0, "q4_k": Q4_K}
FILE_TYPES = {"q4_0": 2, "q8_0": 7, "q4_k": 15}  # enum llama_ftype


@dataclasses.dataclass
class Tensor:
    name: str
    shape: tuple  # fastest dimension first, as GGUF writes them
    type: Type
    deviation: float = 0.0
    constant: float = 0.0  # of a float32 tensor
    zero_rows: tuple = ()

    @property
    def bytes(self):
        weights = 1
        for length in self.shape:
            weights *= length
        assert self.shape[0] % self.type.weights == 0, self.name
        return weights // self.type.weights * self.type.size

    def pieces(self, seed):
        """The data, in pieces of whole rows."""
        if self.type is FLOAT32:
            yield struct.pack("<f", self.constant) * (self.bytes // 4)
            return
        source = random.Random(f"{seed} {self.name}")
        row_bytes = self.shape[0] // self.type.weights * self.type.size
        rows_left, first = self.bytes // row_bytes, 0
        zero = sorted(self.zero_rows)
        while rows_left:
            rows = min(rows_left, max(1, PIECE_BYTES // row_bytes))
            data = bytearray(source.randbytes(rows * row_bytes))
            self.type.fill(data, self.deviation)
            while zero and zero[0] < first + rows:
                at = (zero.pop(0) - first) * row_bytes
                data[at:at + row_bytes] = bytes(row_bytes)
            yield data
            first += rows
            rows_left -= rows


def matrix(name, columns, rows, kind, gain=1.0, **more):
    """Keeps the size of what it multiplies, times the gain."""
    return Tensor(name, (columns, rows), kind, deviation=gain / columns**0.5, **more)


def ones(name, length):
    return Tensor(name, (length,), FLOAT32, constant=1.0)


def zeros(name, length):
    return Tensor(name, (length,), FLOAT32)


# ---- Shapes ----------------------------------------------------------------------------------------------------------

PHI3_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def decoder(architecture, vocabulary, kind, *, context, layers, width, inner, heads, kv_heads, rope_base, tied, biases):
    """A llama or a Qwen2: metadata and tensors."""
    metadata = {
        "context_length": context, "block_count": layers, "embedding_length": width, "feed_forward_length": inner,
        "attention.head_count": heads, "attention.head_count_kv": kv_heads, "rope.freq_base": rope_base,
        "attention.layer_norm_rms_epsilon": 1e-6, "vocab_size": len(vocabulary.types),
    }
    key_width = width // heads * kv_heads
    # With one matrix for both ends a token would follow itself if what the layers add were small beside it.
    gain = 2.0
    special = tuple(i for i, what in enumerate(vocabulary.types) if what != Vocabulary.TOKEN_NORMAL)
    outer = Q6_K if width % 256 == 0 else Q8_0
    tensors = [Tensor("token_embd.weight", (width, len(vocabulary.types)), outer, deviation=0.02,
                      zero_rows=special if tied else ())]
    for layer in range(layers):
        block = f"blk.{layer}."
        tensors += [
            ones(block + "attn_norm.weight", width),
            matrix(block + "attn_q.weight", width, width, kind),
            matrix(block + "attn_k.weight", width, key_width, kind),
            matrix(block + "attn_v.weight", width, key_width, kind),
            matrix(block + "attn_output.weight", width, width, kind, gain),
            ones(block + "ffn_norm.weight", width),
            matrix(block + "ffn_gate.weight", width, inner, kind),
            matrix(block + "ffn_up.weight", width, inner, kind),
            matrix(block + "ffn_down.weight", inner, width, kind, gain),
        ]
        if biases:
            tensors += [zeros(block + "attn_q.bias", width), zeros(block + "attn_k.bias", key_width),
                        zeros(block + "attn_v.bias", key_width)]
    tensors.append(ones("output_norm.weight", width))
    if not tied:
        tensors.append(matrix("output.weight", width, len(vocabulary.types), outer, 4.0, zero_rows=special))
    return {f"{architecture}.{key}": value for key, value in metadata.items()}, tensors


def tiny(vocabulary, kind):
    metadata, tensors = decoder("llama", vocabulary, kind, context=2048, layers=4, width=128, inner=384, heads=4,
                                kv_heads=2, rope_base=10000.0, tied=False, biases=False)
    # A space put behind each special token would not fit the grammar that a JSON schema becomes.
    metadata |= {"llama.rope.dimension_count": 32, "tokenizer.chat_template": PHI3_TEMPLATE,
                 "tokenizer.ggml.add_space_prefix": False}
    return "llama", metadata, tensors


def qwen2(vocabulary, kind):
    metadata, tensors = decoder("qwen2", vocabulary, kind, context=32768, layers=28, width=1536, inner=8960, heads=12,
                                kv_heads=2, rope_base=1000000.0, tied=True, biases=True)
    metadata |= {"tokenizer.chat_template": CHATML_TEMPLATE}
    return "qwen2", metadata, tensors


def tiny_embedding(vocabulary, kind, width=64, inner=256, layers=2, context=512):
    metadata = {
        "bert.context_length": context, "bert.block_count": layers, "bert.embedding_length": width,
        "bert.feed_forward_length": inner, "bert.attention.head_count": 4, "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False, "bert.pooling_type": 1,  # the mean
        "bert.vocab_size": len(vocabulary.types), "tokenizer.ggml.token_type_count": 2,
    }
    tensors = [
        matrix("token_embd.weight", width, len(vocabulary.types), kind, 4.0),
        matrix("position_embd.weight", width, context, kind),
        Tensor("token_types.weight", (width, 2), FLOAT32),
        ones("token_embd_norm.weight", width), zeros("token_embd_norm.bias", width),
    ]
    for layer in range(layers):
        block = f"blk.{layer}."
        for name, columns, rows in (("attn_q", width, width), ("attn_k", width, width), ("attn_v", width, width),
                                    ("attn_output", width, width), ("ffn_up", width, inner), ("ffn_down", inner, width)):
            tensors += [matrix(f"{block}{name}.weight", columns, rows, kind), zeros(f"{block}{name}.bias", rows)]
        for name in ("attn_output_norm", "layer_output_norm"):
            tensors += [ones(f"{block}{name}.weight", width), zeros(f"{block}{name}.bias", width)]
    return "bert", metadata, tensors


SHAPES = {  # how it is made, its vocabulary, its ordinary type
    "tiny": (tiny, "ggml-vocab-phi-3.gguf", "q8_0"),
    "tiny-embedding": (tiny_embedding, "ggml-vocab-bert-bge.gguf", "q8_0"),
    "qwen2-1.5b": (qwen2, "ggml-vocab-qwen2.gguf", "q4_0"),
}


# ---- The file --------------------------------------------------------------------------------------------------------


def padding(length):
    return bytes(-length % ALIGNMENT)


def write(out, shape, type_name=None, vocabularies=ROOT / "build/llama/src/models", seed=1):
    """Writes the model under a temporary name, then renames it; its size in bytes."""
    build, vocabulary_name, usual_type = SHAPES[shape]
    type_name = type_name or usual_type
    path = pathlib.Path(vocabularies) / vocabulary_name
    if not path.exists():
        sys.exit(f"error: there is no {path}: './dev build' unpacks llama.cpp's source there, or name a folder by --vocab")
    vocabulary = Vocabulary(path)
    architecture, metadata, tensors = build(vocabulary, TYPES[type_name])
    entries = {key: entry(key, value) for key, value in (
        {"general.architecture": architecture, "general.name": f"random {shape} {seed}", "general.alignment": ALIGNMENT,
         "general.quantization_version": 2, "general.file_type": FILE_TYPES[type_name]} | metadata).items()}
    entries = entries | {key: value for key, value in vocabulary.entries.items() if key not in entries}

    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries)) + b"".join(entries.values())
    offset = 0
    for tensor in tensors:
        head += string(tensor.name) + struct.pack(f"<I{len(tensor.shape)}QIQ", len(tensor.shape), *tensor.shape,
                                                  tensor.type.number, offset)
        offset += tensor.bytes + len(padding(tensor.bytes))

    out = pathlib.Path(out)
    partial = out.with_name(out.name + f".{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(head + padding(len(head)))
            for tensor in tensors:
                for piece in tensor.pieces(seed):
                    file.write(piece)
                file.write(padding(tensor.bytes))
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return out.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("out", metavar="OUT.gguf")
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--type", choices=TYPES, help="of the layers' weights (default: q8_0; q4_0 for qwen2-1.5b)")
    parser.add_argument("--vocab", default=ROOT / "build/llama/src/models", metavar="FOLDER",
                        help="with llama.cpp's ggml-vocab-*.gguf (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.type == "q4_k" and options.shape != "qwen2-1.5b":
        parser.error("q4_k wants rows of a multiple of 256: only qwen2-1.5b has them")
    size = write(options.out, options.shape, options.type, options.vocab, options.seed)
    with open(options.out, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    print(f"{options.out}: {size:,} bytes, SHA-256 {digest}")


if __name__ == "__main__":
    main()
