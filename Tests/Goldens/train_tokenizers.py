#!/usr/bin/env python3
"""Trains the tokenizer files that record_tokenizers.py records, one a kind and pre-tokenizer, small enough to commit.

Usage: train_tokenizers.py ROWS.ndjson CHARSMAP OUT_FOLDER

The text is package descriptions (Tests/Benchmarks/data/package_index.py writes them). CHARSMAP is SentencePiece's
compiled nmt_nfkc map, as a model trained with that library holds it (normalizer_spec.precompiled_charsmap); a file
that is not there leaves that kind out. Training is the `tokenizers` library's own.
"""
import base64
import json
import os
import sys

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCABULARY, BYTES_OF_TEXT = 2000, 3_000_000
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL
# A few words of other scripts, so that not every one falls apart to bytes.
OTHERS = ["Привет мир, это описание пакета", "日本語の説明です", "软件包说明", "한국어 설명", "وصف الحزمة", "naïve café résumé Ærøskøbing",
          "Größe und Maße", "ελληνικά κείμενα", "हिन्दी विवरण", "emoji 😀 👍🏽 ❤️"] * 40


def texts(path):
    size, result = 0, []
    for line in open(path, encoding="utf-8"):
        row = json.loads(line)
        text = row["text"] + "\n" + row["long"]
        size += len(text)
        result.append(text)
        if size > BYTES_OF_TEXT:
            break
    return result + OTHERS


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def byte_level(pre_tokenizer, special, normalizer=None, post=None, unk=None, prefix_space=False, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = post or processors.ByteLevel(trim_offsets=True, add_prefix_space=prefix_space)
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    return tokenizer, trainer


def sentence_piece(byte_fallback=True):
    tokenizer = Tokenizer(models.BPE(byte_fallback=byte_fallback, fuse_unk=True, unk_token="<unk>"))
    # Words of one line; the file's own steps follow after training.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False, limit_alphabet=300)
    return tokenizer, trainer


def unigram(normalizer, special, metaspace="always"):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=metaspace)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=metaspace)
    trainer = trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>", show_progress=False)
    return tokenizer, trainer


def template(single, pair, **special):
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def edited(tokenizer, edit):
    """The file as JSON, with steps that the library has no setter for, or that training must not see."""
    value = json.loads(tokenizer.to_str())
    value["truncation"] = value["padding"] = None
    edit(value)
    Tokenizer.from_str(json.dumps(value))
    return value


def added(value, *tokens):
    next_id = max(max(t["id"] for t in value["added_tokens"]) if value["added_tokens"] else 0,
                  max(value["model"]["vocab"].values()) if isinstance(value["model"]["vocab"], dict)
                  else len(value["model"]["vocab"]) - 1) + 1
    for content, special, flags in tokens:
        known = value["model"]["vocab"].get(content) if isinstance(value["model"]["vocab"], dict) else None
        value["added_tokens"].append({"id": next_id if known is None else known, "content": content, "single_word": "w" in flags, "lstrip": "l" in flags,
                                      "rstrip": "r" in flags, "normalized": "n" in flags, "special": special})
        next_id += known is None


def gpt2(value):
    added(value, ("word", False, "wn"), ("<x>", False, "ln"))


def llama3(value):
    value["model"]["ignore_merges"] = True
    ids = {t["content"]: t["id"] for t in value["added_tokens"]}
    value["post_processor"] = {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "TemplateProcessing",
         "single": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
         "pair": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                  {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {"<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [ids["<|begin_of_text|>"]],
                                                  "tokens": ["<|begin_of_text|>"]}}}]}


def qwen(value):
    value["model"]["merges"] = [" ".join(pair) for pair in value["model"]["merges"]]
    value["pre_tokenizer"]["pretokenizers"][1]["trim_offsets"] = False
    value["post_processor"]["trim_offsets"] = False
    added(value, ("<tool_call>", False, ""), ("</tool_call>", False, ""))


def merged_with_bytes(value):
    value["added_tokens"] = [t for t in value["added_tokens"] if not t["content"].startswith("<0x")]
    value["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    value["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}


def llama2(value):
    merged_with_bytes(value)
    value["pre_tokenizer"] = None
    value["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}


def mistral(value):
    merged_with_bytes(value)
    value["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    value["model"]["merges"] = [" ".join(pair) for pair in value["model"]["merges"]]
    added(value, ("[INST]", True, ""), ("[/INST]", True, ""))


def gemma(value):
    merged_with_bytes(value)
    value["model"]["byte_fallback"] = False
    value["model"]["fuse_unk"] = False
    value["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    value["pre_tokenizer"] = {"type": "Split", "pattern": {"String": "▁"}, "behavior": "MergedWithNext", "invert": False}
    value["decoder"]["decoders"].pop()


def unigram_template(value):
    value["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}},
                 {"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}}


def unigram_bytes(value):
    known = {token for token, _ in value["model"]["vocab"]}
    low = min(score for _, score in value["model"]["vocab"])
    value["model"]["vocab"] += [[f"<0x{i:02X}>", low] for i in range(256) if f"<0x{i:02X}>" not in known]
    value["model"]["byte_fallback"] = True
    value["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, value["decoder"]]}


def charsmap(path):
    def edit(value):
        unigram_template(value)
        value["normalizer"] = {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(open(path, "rb").read()).decode()},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}
        value["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, value["pre_tokenizer"]]}
    return edit


def main():
    rows, map_path, out = sys.argv[1:]
    text = texts(rows)
    sequence, n = pre_tokenizers.Sequence, normalizers
    plain = dict(add_prefix_space=False, use_regex=False)
    end = ["<|endoftext|>"]
    kinds = {
        "gpt2": (byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), end, prefix_space=True), gpt2),
        "llama3": (byte_level(sequence([split(LLAMA3), pre_tokenizers.ByteLevel(**plain)]),
                              ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]), llama3),
        "qwen": (byte_level(sequence([split(QWEN), pre_tokenizers.ByteLevel(**plain)]),
                            ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], normalizer=n.NFC()), qwen),
        "smollm": (byte_level(sequence([pre_tokenizers.Digits(individual_digits=True),
                                        pre_tokenizers.ByteLevel(add_prefix_space=False)]),
                              ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]), lambda value: None),
        "llama2": (sentence_piece(), llama2),
        "mistral": (sentence_piece(), mistral),
        "gemma": (sentence_piece(), gemma),
        "unigram": (unigram(n.Sequence([n.Nmt(), n.NFKC(), n.Replace(Regex(" {2,}"), " ")]), ["<unk>", "</s>"]),
                    unigram_template),
        "unigram-bytes": (unigram(n.Sequence([n.NFKD(), n.StripAccents(), n.Lowercase(), n.Strip()]), ["<unk>"], "first"),
                          unigram_bytes),
    }
    if os.path.exists(map_path):
        kinds["unigram-charsmap"] = (unigram(n.NFKC(), ["<unk>", "</s>"]), charsmap(map_path))
    for name, ((tokenizer, trainer), edit) in kinds.items():
        tokenizer.train_from_iterator(text, trainer)
        data = json.dumps(edited(tokenizer, edit), ensure_ascii=False, separators=(",", ":"))
        assert len(data.encode()) < 1_000_000, name
        with open(os.path.join(out, name + ".json"), "w", encoding="utf-8") as f:
            f.write(data + "\n")
        print(name, len(data.encode()), "bytes")


if __name__ == "__main__":
    main()
