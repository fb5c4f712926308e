"""Trains, exports and evaluates Thaw's extractive question-answering model on a CPU.

Subcommands, in order of use:
  prepare   reads the data file, keeps a held-out part aside, writes work/*.jsonl
  train     fine-tunes the encoder; checkpoints, --resume
  export    writes the float graphs to work, the int8 model.onnx and config.json to the model folder
  evaluate  EM and F1 of the held-out part, agreement of int8 with float
  latency   milliseconds a request by tokens and threads
  vectors   writes testvectors.json and tokenizer_vectors.json beside the model
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import BertConfig

from qa_data import (
    is_short,
    read_records,
    split_records,
    synthetic_records,
    tokenise,
    windows,
    write_records,
)
from qa_model import Curriculum, collate, new_model, span_loss

SEQ_LEN_MAX = 384
STRIDE = 128


def prepare(args: argparse.Namespace) -> None:
    """Splits the data file into work/train.jsonl and work/held-out.jsonl."""
    records = read_records(args.data)
    train_part, held = split_records(records, args.seed, args.held_out)
    synthetic = synthetic_records(args.synthetic, args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    write_records(args.work / "train.jsonl", train_part)
    write_records(args.work / "synthetic.jsonl", synthetic)
    write_records(args.work / "held-out.jsonl", held)
    print(f"{len(records)} lines: {len(train_part)} train, {len(held)} held out, {len(synthetic)} synthetic")


def make_curriculum(args: argparse.Namespace, seed: int) -> Curriculum:
    tokenizer = Tokenizer.from_file(str(args.encoder / "tokenizer.json"))
    records = read_records(args.work / "train.jsonl")
    squad = [r for r in records if is_short(r) and r["source"].startswith("SQuAD")]
    other = [r for r in records if is_short(r) and not r["source"].startswith("SQuAD")]
    return Curriculum(
        tokenise([r for r in records if not is_short(r)], tokenizer),
        tokenise(squad, tokenizer),
        tokenise(other, tokenizer),
        tokenise(read_records(args.work / "synthetic.jsonl"), tokenizer),
        seq_len_max=SEQ_LEN_MAX,
        stride=STRIDE,
        crop_tokens=args.crop_tokens,
        other_share=args.other_share,
        batch=args.batch,
        seed=seed,
    )


def train(args: argparse.Namespace) -> None:
    """Fine-tunes with AdamW, linear warm-up and decay; the embeddings stay frozen.

    Progress runs from 0 to 1 with the steps done of --steps, or with the time used of --minutes
    where that is further, so that the decay always ends. Its first --phase-switch part shows
    sentences and crops, the rest whole paragraphs.
    """
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    torch.set_num_threads(args.threads)
    model = new_model(args.encoder)
    model.train()
    model.bert.embeddings.requires_grad_(False)
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    head = [p for n, p in named if n.startswith("qa_outputs")]
    plain = [p for n, p in named if p.ndim == 1 and not n.startswith("qa_outputs")]
    decayed = [p for n, p in named if p.ndim > 1 and not n.startswith("qa_outputs")]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "lr": args.lr, "weight_decay": 0.01},
            {"params": plain, "lr": args.lr, "weight_decay": 0.0},
            {"params": head, "lr": args.lr * 5, "weight_decay": 0.0},
        ],
        fused=True,
    )
    peaks = [group["lr"] for group in optimizer.param_groups]
    step, used_s, drawn, checkpoint = 0, 0.0, [0, 0], args.work / "checkpoint.pt"
    if args.resume and checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, used_s, drawn = state["step"], state["used_s"], state["drawn"]
    curriculum = make_curriculum(args, args.seed)
    for phase, count in enumerate(drawn):
        for _ in range(count):
            curriculum.next(phase)

    def save() -> None:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        state |= {"step": step, "drawn": drawn, "used_s": used_s + time.monotonic() - began}
        torch.save(state, checkpoint.with_suffix(".part"))
        checkpoint.with_suffix(".part").replace(checkpoint)

    began = saved = time.monotonic()
    tokens, smooth, progress = 0, None, step / args.steps
    bar = tqdm(total=args.steps, initial=step, mininterval=20)
    while progress < 1:
        elapsed_s = used_s + time.monotonic() - began
        progress = max(step / args.steps, elapsed_s / 60 / args.minutes)
        scale = min(progress / args.warm_up, max(0.0, 1 - progress) / (1 - args.warm_up))
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * min(1.0, scale)
        phase = int(progress >= args.phase_switch)
        drawn[phase] += 1
        batch = collate(curriculum.next(phase))
        spans = model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            token_type_ids=batch["token_type_ids"],
        )
        loss = span_loss(spans.start_logits, spans.end_logits, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        tokens += int(batch["attention_mask"].sum())
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        bar.update()
        rate = tokens / (time.monotonic() - began)
        bar.set_postfix_str(f"loss {smooth:.3f} progress {progress:.3f} {rate:.0f} tokens/s", False)
        if time.monotonic() - saved > args.checkpoint_s:
            save()
            saved = time.monotonic()
    save()
    bar.close()
    print(f"{step} steps, {tokens} tokens, {(used_s + time.monotonic() - began) / 60:.1f} minutes")


def export(args: argparse.Namespace) -> None:
    """Writes the float graphs to work and the int8 model and config.json to the model folder."""
    from qa_export import export_float, fuse, load_checkpoint, quantise, smooth

    model = load_checkpoint(args.encoder, args.work / "checkpoint.pt")
    export_float(model, args.work / "float.onnx")
    tokenizer = Tokenizer.from_file(str(args.encoder / "tokenizer.json"))
    records = random.Random(args.seed).sample(read_records(args.work / "train.jsonl"), args.calibration)
    smooth(model, [collate(windows(t, SEQ_LEN_MAX, STRIDE)) for t in tokenise(records, tokenizer)])
    export_float(model, args.work / "smooth.onnx")
    fuse(args.work / "smooth.onnx", args.work / "fused.onnx")
    quantise(args.work / "fused.onnx", args.model / "model.onnx")
    config = BertConfig.from_pretrained(args.encoder)
    config.architectures = ["BertForQuestionAnswering"]
    config.name_or_path = ""
    config.save_pretrained(args.model)


def evaluate(args: argparse.Namespace) -> None:
    """Prints EM and F1 of each part for the float and the int8 model, and how far they agree."""
    from qa_infer import OnnxForQuestionAnswering, answer_all, answerer, logit_difference, score, session

    held = read_records(args.work / "held-out.jsonl")
    random.Random(args.seed).shuffle(held)
    parts = {
        "paragraphs": [r for r in held if not is_short(r)][: args.limit],
        "sentences": [r for r in held if is_short(r)][: args.limit],
    }
    models = {"int8": args.model / "model.onnx"}
    if not args.int8_only:
        models = {"float": args.work / "float.onnx", **models}
    sessions = {name: session(path, args.threads) for name, path in models.items()}
    for part, records in parts.items():
        answers = {}
        for name, onnx in sessions.items():
            qa = answerer(OnnxForQuestionAnswering(onnx), args.model)
            answers[name] = answer_all(qa, records)
            em, mean = score(answers[name], records)
            print(f"{part:10} {name:5} {len(records)} questions EM {em:.2f} F1 {mean:.2f}")
            for source in sorted({r["source"] for r in records}):
                of = [i for i, r in enumerate(records) if r["source"] == source]
                em, mean = score([answers[name][i] for i in of], [records[i] for i in of])
                print(f"    {source}: {len(of)} questions EM {em:.2f} F1 {mean:.2f}")
        if len(sessions) == 2:
            pairs = list(zip(answers["float"], answers["int8"], strict=True))
            same = sum(a["answer"] == b["answer"] for a, b in pairs) / max(1, len(pairs))
            most, mean = logit_difference(qa, sessions["float"], sessions["int8"], records[:200])
            gap = f"logit difference max {most:.3f} mean {mean:.4f}"
            print(f"{part:10} same answer {100 * same:.2f} %, {gap}")


def latency(args: argparse.Namespace) -> None:
    """Prints the least and the median time of a request by length and threads."""
    from qa_infer import request_ms, session

    for path in (args.work / "float.onnx", args.work / "fused.onnx", args.model / "model.onnx"):
        for threads in (1, 2):
            onnx = session(path, threads)
            for tokens in (30, 200):
                least, median = request_ms(onnx, tokens)
                case = f"{path.name} {threads} threads {tokens} tokens"
                print(f"{case}: least {least:.1f} ms median {median:.1f} ms")


def vectors(args: argparse.Namespace) -> None:
    """Writes the test vectors for the C++ code."""
    from qa_vectors import rewrite_tokenisation, write_answers

    print(rewrite_tokenisation(args.model), "tokenizer vectors")
    print(write_answers(args.model, read_records(args.work / "held-out.jsonl"), args.seed), "answers")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--work", type=Path, default=Path("work"), help="folder of intermediate files")
    top.add_argument(
        "--model", type=Path, default=Path(__file__).parent, help="folder of model.onnx and tokenizer.json"
    )
    top.add_argument("--seed", type=int, default=20)
    top.add_argument("--threads", type=int, default=2, help="CPU threads")
    sub = top.add_subparsers(required=True, metavar="command")

    p = sub.add_parser("prepare", help="split the data file, make the synthetic lines")
    p.add_argument("data", type=Path, help="JSON lines, plain or .xz")
    p.add_argument("--held-out", type=float, default=0.06, help="share of contexts kept aside")
    p.add_argument("--synthetic", type=int, default=1200, help="synthetic lines to make")
    p.set_defaults(run=prepare)

    p = sub.add_parser("train", help="fine-tune the encoder")
    p.add_argument("encoder", type=Path, help="folder with config.json, model.safetensors, tokenizer.json")
    p.add_argument("--steps", type=int, default=3200)
    p.add_argument("--minutes", type=float, default=1e9, help="end the schedule by then at the latest")
    p.add_argument("--lr", type=float, default=1.5e-4, help="peak; the span head takes five times it")
    p.add_argument("--warm-up", type=float, default=0.04, help="share of progress")
    p.add_argument("--phase-switch", type=float, default=0.62, help="progress at which paragraphs begin")
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--crop-tokens", type=int, default=96)
    p.add_argument("--other-share", type=float, default=0.15, help="share of QAMR lines an epoch")
    p.add_argument("--checkpoint-s", type=float, default=180)
    p.add_argument("--resume", action="store_true")
    p.set_defaults(run=train)

    p = sub.add_parser("export", help="write the ONNX graphs")
    p.add_argument("encoder", type=Path, help="the encoder's folder, for config.json")
    p.add_argument("--calibration", type=int, default=64, help="training lines to find outliers with")
    p.set_defaults(run=export)

    p = sub.add_parser("evaluate", help="EM, F1 and agreement on the held-out part")
    p.add_argument("--limit", type=int, default=None, help="questions a part at most")
    p.add_argument("--int8-only", action="store_true")
    p.set_defaults(run=evaluate)

    sub.add_parser("latency", help="time the ONNX graphs").set_defaults(run=latency)
    sub.add_parser("vectors", help="write the test vectors").set_defaults(run=vectors)
    return top


def main() -> None:
    args = parser().parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
