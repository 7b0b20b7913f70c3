#!/usr/bin/env python3
"""Records what the `tokenizers` library makes of generated strings with each file of Tests/Goldens/tokenizers.

Usage: RECORD_GOLDENS=1 record_tokenizers.py [NAME...]          (fails after writing: look at the change, then commit)

The strings are those of record_tokens.py, over the file's own tokens. A line of NAME.txt holds three digests of a string:
its ids with special tokens, byte offsets, and the text that its ids become again. Then follow id lists drawn at random,
whose text is recorded with special tokens left out, and a few strings in full.
"""
import hashlib
import json
import os
import struct
import subprocess
import sys

from record_tokens import FIXED, MASK64, SEED, SplitMix64, encode, inputs
import tokenizers
from tokenizers import Tokenizer

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizers")
ID_LISTS = 400
EXTRA = ["It's WE'LL they'Re 'S 's 'ſ 'T", "x'd y'LL'm", "12345 6 789,000 ١٢٣ Ⅷ½", "a  b   c\t\td\n\n  e \r\n\r\n f  ", "   ", "\n", " \n ",
         "!!!\n\n??? ...", "_underscore__ a_b", "<|im_start|>user\nhi<|im_end|>\n", "<s>[INST] hi [/INST]</s>", "▁▁a▁ b", "<0x41><0x0A>",
         "\u00a0\u3000x", "e\u0301\u0323 \u1e69", "ﬁ ① ㌀ ｱ", "word words wordword <x> <x>"]


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & MASK64
    return f"{h:016x}"


def numbers(values):
    return fnv(struct.pack(f"<{len(values)}i", *values))


def readable(token):
    """A token as the text it mostly stands for, the same in TokenizerGoldens.swift."""
    return token.replace("Ġ", " ").replace("▁", " ")


def main():
    if os.environ.get("RECORD_GOLDENS") != "1":
        sys.exit("set RECORD_GOLDENS=1 to record")
    if subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout:
        sys.exit("the work tree is not clean")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    script = hashlib.sha256(open(__file__, "rb").read()).hexdigest()
    for file in sorted(os.listdir(FOLDER)):
        if not file.endswith(".json") or sys.argv[1:] and file[:-5] not in sys.argv[1:]:
            continue
        text = open(os.path.join(FOLDER, file), encoding="utf-8").read()
        tokenizer = Tokenizer.from_str(text)
        size = tokenizer.get_vocab_size(with_added_tokens=True)
        vocabulary = [readable(tokenizer.id_to_token(i)) for i in range(size)]
        strings = inputs(vocabulary) + [(s, None) for s in EXTRA]
        lines = [f"corad-tokenizer 1 tokenizers={tokenizers.__version__} script={script} commit={commit}",
                 f"file {hashlib.sha256(text.encode()).hexdigest()} tokens {size}", f"strings {len(strings)}"]
        for first, second in strings:
            ids, types, offsets = encode(tokenizer, first, second)
            decoded = tokenizer.decode(ids, skip_special_tokens=False)
            lines.append(" ".join((numbers(ids + types), numbers([x for pair in offsets for x in pair]), fnv(decoded.encode()))))
        random = SplitMix64(SEED)
        lines.append(f"lists {ID_LISTS}")
        for _ in range(ID_LISTS):
            ids = [random.below(size) for _ in range(1 + random.below(40))]
            lines.append(fnv(tokenizer.decode(ids, skip_special_tokens=True).encode()))
        for s in FIXED + EXTRA:
            ids, _, offsets = encode(tokenizer, s, None)
            decoded = tokenizer.decode(ids, skip_special_tokens=False)
            lines.append("fixed " + json.dumps({"text": s, "ids": ids, "offsets": offsets, "decoded": decoded}, ensure_ascii=True))
        with open(os.path.join(FOLDER, file[:-5] + ".txt"), "w") as f:
            f.write("\n".join(lines) + "\n")
        print(file, len(strings), "strings")
    print("look at the change and commit it")
    sys.exit(1)


if __name__ == "__main__":
    main()
