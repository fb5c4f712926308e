#!/usr/bin/env python3
"""Makes the model folders under tests/data/onnx/: tiny random models with what Hugging Face's own tokenizers and
question-answering pipeline make of them.

    pip install torch transformers==4.57.6 tokenizers==0.22.2 onnx onnxscript
    python tests/data/make_onnx_fixtures.py

Each folder holds model.onnx, config.json, the tokenizer's files, and expected.json:
    tokens   [{text, ids, offsets, words}]   one text, without special tokens; offsets in code points
    answers  [{question, context, options, answers: [{score, start, end, answer}]}]
tokenizers/*.json hold {tokenizer: <tokenizer.json>, tokens: [...]} for tokenizers without a model.
"""

import json
import pathlib
import shutil

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent / "onnx"

PROSE = """
The river rises in the hills above the old town and runs north for ninety miles before it meets the sea. In 1871 a
stone bridge with five arches was built by Eleanor Whitcombe, an engineer who had learned her trade on the railways.
My car used to be blue but I painted it red last summer, and now the neighbours' children call it the tomato. What is
the color of my car now? Nobody who asks twice gets the same answer. The harbour master keeps a ledger: ships, cargo,
tides, names. On Tuesday the 14th of March the ledger says "fog until noon; two boats late". Bread costs $3.50 here, and
coffee costs 2,75 EUR on the other side of the border. Who painted the lighthouse white? Sven Östergård did, in 1902,
with a crew of seven. When was the bridge built? How long is the river? Why were the boats late? Because of the fog.
"""

ODD_TEXTS = [
    "", " ", "   \t\n ", "hello", "Hello, World!", "  leading and trailing  ", "don't can't it's we'll they've I'm he'd",
    "Crème brûlée à la carte", "Cre\u0300me bru\u0302le\u0301e", "\u1EA1\u0301 \u00E1\u0323 \u1E69 s\u0323\u0307",
    "ÀÉÎÕÜ ẞ ß ŒUVRE", "İstanbul'da ılık", "ΌΣΟΣ ΣΑΣ", "日本語の文章です。東京", "中文和English混在", "한국어 텍스트", "\u1112\u1161\u11ab",
    "नमस्ते दुनिया", "مرحبا بالعالم", "🚗🔴 my car 👩‍👩‍👧‍👦!", "a\u200bb\u200dc\ufeffd", "nul\u0000here", "tab\there\nnewline\r\nend",
    "non\u00a0breaking\u2003em\u3000wide", "ﬁne ﬂow Ⅷ ½ ① ｆｕｌｌ", "x" * 99, "y" * 100, "z" * 101, "$3.50 + €2,75 = ~£5^2",
    "(nested [brackets] {braces}) <tags>", "under_score snake_case", "http://example.org/a?b=c&d=%20", "…—–‘’“”«»",
    "[CLS] [SEP] [MASK] [PAD] [UNK]", "<s> </s> <mask> <pad> a<mask>b  <mask>  c", "The [MASK] of   my car", "\ufffd\ufffe\ue000x\u0378",
    "1234567890 12,345.67 ٣٤٥ Ⅻ", "ab\u0301\u0302\u0303c", "\u0301start", "a\n\n\nb   c \n d", "'s 't 're 'x ''s", "   'll  've",
    "Ünïcödé ÄÖÜ äöü Å Å", "\u00ad soft\u00adhyphen", "ǅ ǈ Ω Ω K", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐐀𐐨", "\u2028line\u2029para\u0085next", "newtoken renewtoken NEWTOKEN new token",
]


def encode(tokenizer, text):
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return {"text": text, "ids": encoding.ids, "offsets": [list(o) for o in encoding.offsets], "words": encoding.word_ids}


def token_cases(tokenizer):
    return [encode(tokenizer, text) for text in ODD_TEXTS + [PROSE] + PROSE.strip().split("\n")]


def answer_cases(pipe):
    line = PROSE.replace("\n", " ").strip()
    long = " ".join(f"{line} Note {i}: the keeper of gate {i} was called {name}." for i, name in enumerate(
        ["Ada", "Björn", "Chidi", "Dilnoza", "Émile", "Fatima"]))
    asked = [
        ("What is the color of my car now?", "My car used to be blue but I painted red", {}),
        ("What is the color of my car now?", "My car used to be blue but I painted red", {"top_k": 5}),
        ("Who painted the lighthouse?", line, {"top_k": 7}),
        ("Who painted the lighthouse?", line, {"max_answer_len": 3, "top_k": 4}),
        ("Who painted the lighthouse?", line, {"max_answer_len": 1, "top_k": 2}),
        ("When was the bridge built?", long, {"top_k": 3}),
        ("When was the bridge built?", long, {"top_k": 10, "max_seq_len": 64, "doc_stride": 16}),
        ("When was the bridge built?", long, {"top_k": 6, "max_seq_len": 50, "doc_stride": 30}),
        ("How long is the river?", line, {"handle_impossible_answer": True, "top_k": 3}),
        ("How long is the river?", long, {"handle_impossible_answer": True, "max_seq_len": 48, "doc_stride": 8, "top_k": 8}),
        ("Where?", "日本語の文章です。東京 Crème brûlée — 🚗🔴 İstanbul'da, e\u0301te\u0301.", {"top_k": 6}),
        ("Where?", "  \n Crème\tbrûlée   ok  ", {"top_k": 2}),
        ("Yes?", "Yes. yes! YES? It is yes, I said: yes.", {"top_k": 3}),
        ("Σ?", "ΌΣΟΣ όσος ΣΑΣ σας Ünï ünï ÜNÏ", {"top_k": 4}),
    ]
    cases = []
    for question, context, options in asked:
        got = pipe(question=question, context=context, **options)
        got = got if isinstance(got, list) else [got]
        # A score of zero means an order that is not defined.
        got = [a for a in got if a["score"] > 0 or a["answer"] == ""]
        cases.append({"question": question, "context": context, "options": options, "answers": got})
    return cases


def export(model, folder, inputs):
    model.eval()
    example = tuple(torch.ones(2, 9, dtype=torch.int64) for _ in inputs)
    axes = {name: {0: "batch", 1: "sequence"} for name in [*inputs, "start_logits", "end_logits"]}

    # Exporting puts a module back into the mode it was in, so that the wrapper must be in eval mode too.
    class ByName(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *tensors):
            out = self.model(**dict(zip(inputs, tensors)))
            return out.start_logits, out.end_logits

    torch.onnx.export(ByName().eval(), example, str(folder / "model.onnx"), input_names=list(inputs),
                      output_names=["start_logits", "end_logits"], dynamic_axes=axes, opset_version=17, dynamo=False)


def finish(folder, model, fast, inputs):
    with torch.no_grad():
        # Random heads give nearly flat answers; sharpen them so that no two candidates tie.
        model.qa_outputs.weight.mul_(12)
    export(model, folder, inputs)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    pipe = transformers.pipeline("question-answering", model=model, tokenizer=fast)
    expected = {"tokens": token_cases(fast.backend_tokenizer), "answers": answer_cases(pipe)}
    write(folder / "expected.json", expected)


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def fresh(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def train_wordpiece(lowercase):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=420, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
                                        initial_alphabet=list("abcdefghijklmnopqrstuvwxyzéèöΣσς東京🚗"))
    tokenizer.train_from_iterator([PROSE] * 3, trainer)
    return tokenizer


def bert():
    folder = fresh("bert")
    tokenizer = train_wordpiece(lowercase=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    fast = transformers.BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=128)
    fast.save_pretrained(folder)
    (folder / "vocab.txt").unlink(missing_ok=True)
    config = transformers.BertConfig(vocab_size=len(fast), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                                     intermediate_size=48, max_position_embeddings=128, initializer_range=0.4)
    finish(folder, transformers.BertForQuestionAnswering(config), fast, ["input_ids", "attention_mask", "token_type_ids"])


def distilbert():
    folder = fresh("distilbert")
    tokenizer = train_wordpiece(lowercase=False)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("".join(token + "\n" for token, _ in vocabulary))
    fast = transformers.DistilBertTokenizerFast(vocab_file=str(folder / "vocab.txt"), do_lower_case=False, model_max_length=128)
    write(folder / "tokenizer_config.json", {"do_lower_case": False, "model_max_length": 128,
                                             "tokenizer_class": "DistilBertTokenizer"})
    config = transformers.DistilBertConfig(vocab_size=len(fast), dim=32, n_layers=2, n_heads=2, hidden_dim=48,
                                           max_position_embeddings=128, initializer_range=0.4)
    finish(folder, transformers.DistilBertForQuestionAnswering(config), fast, ["input_ids", "attention_mask"])


def train_byte_pairs():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=520, special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([PROSE] * 3, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    return tokenizer


def roberta():
    folder = fresh("roberta")
    tokenizer = train_byte_pairs()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    fast = transformers.RobertaTokenizerFast(tokenizer_object=tokenizer, model_max_length=128)
    fast.save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink(missing_ok=True)
    config = transformers.RobertaConfig(vocab_size=len(fast), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                                        intermediate_size=48, max_position_embeddings=130, type_vocab_size=1,
                                        bos_token_id=0, pad_token_id=1, eos_token_id=2, initializer_range=0.4)
    finish(folder, transformers.RobertaForQuestionAnswering(config), fast, ["input_ids", "attention_mask"])


def lone_tokenizers():
    folder = fresh("tokenizers")

    def save(name, tokenizer):
        write(folder / f"{name}.json", {"tokenizer": json.loads(tokenizer.to_str()), "tokens": token_cases(tokenizer)})

    tokenizer = train_byte_pairs()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=True)
    save("byte_level_prefix_space", tokenizer)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        tokenizer = train_byte_pairs()
        tokenizer.normalizer = normalizers.Sequence([getattr(normalizers, form)(), normalizers.Lowercase()])
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        tokenizer.add_tokens([AddedToken("NewToken", normalized=True), AddedToken("  ", normalized=False)])
        save(f"byte_level_{form.lower()}", tokenizer)
    tokenizer = train_wordpiece(lowercase=False)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(),
                                                 normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(),
                                                       pre_tokenizers.Digits(individual_digits=True)])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_tokens([AddedToken("newtoken", single_word=True, rstrip=True), AddedToken("car", lstrip=True)])
    save("wordpiece_sequence", tokenizer)
    tokenizer = train_wordpiece(lowercase=False)
    tokenizer.normalizer = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits()])
    save("wordpiece_whitespace", tokenizer)


def main():
    torch.manual_seed(7)
    torch.set_num_threads(1)
    bert()
    distilbert()
    roberta()
    lone_tokenizers()


if __name__ == "__main__":
    main()
