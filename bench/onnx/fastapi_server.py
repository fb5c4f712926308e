"""The same model behind FastAPI, as one would write it: Hugging Face's tokenizers, Python's ONNX Runtime, uvicorn.
Run by run.py: MODEL (folder) and THREADS come from the environment."""

import os
import pathlib

import numpy
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer

folder = pathlib.Path(os.environ["MODEL"])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(os.environ.get("THREADS", "1"))
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
inputs = [tensor.name for tensor in session.get_inputs()]
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.no_padding()
tokenizer.enable_truncation(384, strategy="only_second")
app = FastAPI()


class Ask(BaseModel):
    question: str
    context: str


def softmax(logits):
    weights = numpy.exp(logits - logits.max())
    return weights / weights.sum()


@app.post("/question")
def question(ask: Ask):
    encoding = tokenizer.encode(ask.question, ask.context)
    tensors = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
    start, end = session.run(["start_logits", "end_logits"],
                             {name: numpy.array([tensors[name]], dtype=numpy.int64) for name in inputs})
    masked = numpy.array([sequence != 1 for sequence in encoding.sequence_ids])
    start, end = (softmax(numpy.where(masked, -10000.0, logits[0])) for logits in (start, end))
    scores = numpy.tril(numpy.triu(numpy.outer(start, end)), 14)
    first, last = numpy.unravel_index(scores.argmax(), scores.shape)
    begin, stop = encoding.offsets[first][0], encoding.offsets[last][1]
    return {"score": float(scores[first, last]), "start": begin, "end": stop, "answer": ask.context[begin:stop]}
