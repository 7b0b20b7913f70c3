#!/usr/bin/env python3
"""Records what the `tokenizers` library makes of generated strings, for TokenizersTests.

Usage: RECORD_GOLDENS=1 record_tokens.py TOKENIZER_JSON OUT.txt      (fails after writing: look at the change, then commit)

The strings are not stored: Tests/TokenizersTests/TokenStrings.swift makes the same ones. A line holds digests of a string
uncut, cut at 128 and cut at 256: FNV-1a 64 over ids, segments and byte offsets as little-endian 32-bit numbers.
"""
import hashlib
import json
import os
import struct
import subprocess
import sys

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers
from tokenizers import Tokenizer

SEED, SINGLES, PAIRS, VARIANT_STRINGS = 20260, 2400, 400, 400
MASK64 = (1 << 64) - 1


class SplitMix64:
    """[Steele14] figure 17."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK64
        z = self.state
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK64
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK64
        return (z ^ z >> 31) % n


RANGES = [(0x20, 0x7F), (0xA0, 0x250), (0x250, 0x370), (0x370, 0x400), (0x400, 0x530), (0x531, 0x590), (0x590, 0x600),
          (0x600, 0x700), (0x700, 0x800), (0x900, 0x980), (0x980, 0xA00), (0xA80, 0xC00), (0xC00, 0xE00), (0xE00, 0xF00),
          (0xF00, 0x1000), (0x1000, 0x1100), (0x1100, 0x1200), (0x1200, 0x13A0), (0x13A0, 0x1680), (0x1780, 0x1800),
          (0x1E00, 0x2000), (0x2000, 0x2400), (0x3040, 0x3100), (0x3100, 0x3400), (0x4E00, 0x5000), (0x9F00, 0xA4D0),
          (0xAC00, 0xD7A4), (0xF900, 0xFB00), (0xFB00, 0xFE00), (0xFE00, 0x10000), (0x10000, 0x10400), (0x10400, 0x10500),
          (0x11000, 0x11300), (0x1D100, 0x1D800), (0x1E900, 0x1E960), (0x1F300, 0x1F700), (0x20000, 0x20100),
          (0x2F800, 0x2FA20)]
EMOJI = ["\U0001F600", "\U0001F468\u200D\U0001F469\u200D\U0001F467", "\U0001F44D\U0001F3FD", "\u2764\uFE0F", "\u2764",
         "\U0001F1EB\U0001F1F7", "1\uFE0F\u20E3", "\U0001F3F4\U000E0067\U000E0062\U000E0065\U000E006E\U000E0067\U000E007F",
         "\u263A", "ok", " ", "!", "\u00A9", "\U0001F9D1\U0001F3FF\u200D\U0001F4BB"]
CONTROLS = [0, 1, 7, 8, 9, 10, 11, 12, 13, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F, 0x20, 0x7F, 0x80, 0x85, 0x9F, 0xA0, 0xAD, 0x34F, 0x61C,
            0x180E, 0x2000, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2028, 0x2029, 0x202A, 0x202E, 0x202F, 0x205F, 0x2060, 0x2066,
            0x3000, 0xE000, 0xFE0F, 0xFEFF, 0xFFF9, 0xFFFD, 0xFFFE, 0xFFFF, 0xE0001, 0xE0020, 0xF0000, 0x10FFFF]
MARKS = [0x300, 0x301, 0x302, 0x303, 0x308, 0x30A, 0x315, 0x31B, 0x321, 0x323, 0x327, 0x328, 0x32D, 0x334, 0x338, 0x340, 0x343, 0x344,
         0x345, 0x35C, 0x35D, 0x591, 0x5B0, 0x5BC, 0x64B, 0x651, 0x670, 0x93C, 0x94D, 0xE38, 0xE48, 0xF71, 0xF72, 0xF73, 0xF74, 0x1B44,
         0x302A, 0x302E, 0x302F, 0x3099, 0x309A, 0xA953, 0xA9C0, 0x1D165, 0x1D166, 0x1D16D, 0x1D17B, 0x11235, 0x16FF0, 0x10A0D]
BASES = [0x61, 0x65, 0x6F, 0x75, 0x41, 0x45, 0x49, 0x130, 0x131, 0xE9, 0xC5, 0x1E9B, 0x1EA5, 0x1F82, 0x3A3, 0x3C2, 0x439, 0x3B9, 0x5D0,
         0x627, 0x915, 0x958, 0xE01, 0xF40, 0x304B, 0x30AC, 0xAC01, 0xD55C, 0x212B, 0x1D15E, 0x2F800, 0x4E2D, 0x20]
ADDED = ["[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[mask]", "[MASK", "MASK]", "[[MASK]]", " ", "  ", "a", "word", "_", "\u00E9", ".",
         "\u00A0", "\t", "Word", "WORD", "caf\u00E9", "cafe", "CAFE\u0301", "<x>", "<xy>", "<X>", "1", "\u200D", "\u3000", "\u0301"]
LETTERS = ["abcdefghijklmnopqrstuvwxyz", "ABCXYZ", "\u00E9\u00E8", "\u4E2D\u6587", "\u0441\u043B\u043E", "ing", "e\u0301", "\U00010400"]
SEPARATORS = [" ", " ", " ", " ", ", ", ". ", "-", "", "\n", "'", " (", ") ", "/", "\t", "\u2014", "\u2019s "]
PUNCTUATION = " \t\n.,;:!?'\"()[]{}<>@#$%^&*-_=+|\\/~`\u00A1\u00BF\u00AB\u00BB\u2013\u2014\u2018\u2019\u201C\u201D\u2026\u20AC\u3001\u3002\uFF01"


def string(random, kind, vocabulary):
    out = []
    if kind == 0:
        for _ in range(1 + random.below(1 + random.below(300))):
            token = vocabulary[random.below(len(vocabulary))]
            token = token[2:] if token.startswith("##") else token
            if random.below(4) == 0 and "a" <= token[0] <= "z":
                token = token[0].upper() + token[1:]
            out.append(token + SEPARATORS[random.below(len(SEPARATORS))])
    elif kind == 1:
        low, high = RANGES[random.below(len(RANGES))]
        for _ in range(1 + random.below(80)):
            out.append(" " if random.below(6) == 0 else chr(low + random.below(high - low)))
    elif kind == 2:
        out = [EMOJI[random.below(len(EMOJI))] for _ in range(1 + random.below(30))]
    elif kind == 3:
        for _ in range(1 + random.below(60)):
            out.append(chr(97 + random.below(26)) if random.below(2) == 0 else chr(CONTROLS[random.below(len(CONTROLS))]))
    elif kind == 4:
        for _ in range(1 + random.below(3)):
            letters = LETTERS[random.below(len(LETTERS))]
            out += [letters[random.below(len(letters))] for _ in range(90 + random.below(25))] + [" "]
    elif kind == 5:
        for _ in range(1 + random.below(30)):
            out.append(chr(BASES[random.below(len(BASES))]))
            out += [chr(MARKS[random.below(len(MARKS))]) for _ in range(random.below(5))]
    elif kind == 6:
        out = [ADDED[random.below(len(ADDED))] for _ in range(1 + random.below(30))]
    elif kind == 7:
        for _ in range(1 + random.below(60)):
            scalar = random.below(0x323B0 - 0x800)
            out.append(chr(scalar if scalar < 0xD800 else scalar + 0x800))
    elif kind == 8:
        for _ in range(3):
            out.append(string(random, random.below(8), vocabulary))
    else:
        for _ in range(random.below(200)):
            out.append(chr(97 + random.below(26)) if random.below(3) == 0 else PUNCTUATION[random.below(len(PUNCTUATION))])
    return "".join(out)


def scalar_strings():
    """Every scalar of the planes in use, between two letters, 128 a string; the private planes by samples."""
    scalars = [c for c in range(0x323B0) if not 0xD800 <= c < 0xE000]
    scalars += list(range(0xE0000, 0xE1000)) + list(range(0xF0000, 0x110000, 997))
    for i in range(0, len(scalars), 128):
        yield "".join("a" + chr(c) + "b " for c in scalars[i:i + 128])


def inputs(vocabulary):
    """(first, second or None): the scalar strings, then singles, then pairs."""
    result = [(s, None) for s in scalar_strings()]
    random = SplitMix64(SEED)
    result += [(string(random, i % 10, vocabulary), None) for i in range(SINGLES)]
    for i in range(PAIRS):
        first = string(random, i % 10, vocabulary)
        result.append((first, string(random, random.below(10), vocabulary)))
    return result


FIXED = ["", " ", "\n\t ", "Hello, world!", "unaffable", "The quick brown fox jumps over the lazy dog.", "don't", "U.S.A.", "$12.50",
         "na\u00EFve caf\u00E9", "\u0130stanbul", "\u03A3\u0391\u03A3", "stra\u00DFe", "\u4E2D\u6587 text", "\uD55C\uAD6D\uC5B4", "a" * 100,
         "a" * 101, "[MASK]", "x[MASK]y", "[MASK][MASK]", "[ MASK ]", "\u0000a\u0001b\uFFFDc", "a\u200Db", "\uFEFFbom", "A\u0323\u0307",
         "\u1E9B\u0323", "\U0001F468\u200D\U0001F469\u200D\U0001F467", "\u0301", "\u3000\u00A0", "##ing", "https://example.com/a?b=c#d"]


def renamed(tokens):
    """Vocabulary edits that give cased and accented text pieces of its own."""
    return [[f'"[unused{i}]":', json.dumps(t, ensure_ascii=True) + ":"] for i, t in enumerate(tokens)]


CASED = renamed(["A", "##A", "##B", "B", "C", "##C", "E", "##E", "##X", "X", "\u00C9", "##\u00C9", "caf\u00E9", "Word", "##\u0301", "\u0301",
                 "WORD", "cafe\u0301", "a\u0301", "\u0130", "##\u4E2D\u6587", "\u4E2D\u6587", "\u0001", "##\u0001", "##\u200D"])
FLAGS = '"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true}'


def flags(clean, chinese, accents, lower):
    return [[FLAGS, '"normalizer":' + json.dumps({
        "type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": accents,
        "lowercase": lower})]]


def added(vocab, *tokens):
    """Added tokens after the last; one the vocabulary has keeps its id there."""
    new = iter(range(len(vocab), len(vocab) + len(tokens)))
    items = [{"id": vocab[c] if c in vocab else next(new), "special": False, "content": c, "single_word": s,
              "lstrip": l, "rstrip": r, "normalized": n} for c, s, l, r, n in tokens]
    last = '{"id":103,"special":true,"content":"[MASK]","single_word":false,"lstrip":false,"rstrip":false,"normalized":false}'
    return [[last, last.replace('"lstrip":false', '"lstrip":true') + "," + json.dumps(items)[1:-1]]]


def variants(vocab):
    return {
        "cased": CASED + flags(True, True, None, False),
        "cased, accents stripped": CASED + flags(True, True, True, False),
        "lower case, accents kept": CASED + flags(True, True, False, True),
        "not cleaned": CASED + flags(False, True, None, True),
        "Chinese not separated": CASED + flags(True, False, None, True),
        "nothing normalised": CASED + [[FLAGS, '"normalizer":null']],
        "added tokens in the text as it is": added(
            vocab, ("word", True, False, False, False), ("<x>", False, True, False, False), ("<xy>", False, False, True, False),
            ("caf\u00E9", False, True, True, False), ("_", True, True, True, False)),
        "added tokens in the normalised text": added(
            vocab, ("Word", True, False, False, True), ("<x>", False, True, False, True), ("<X>y", False, False, True, True),
            ("Caf\u00E9", False, True, True, True), ("1", True, False, True, True)),
        "short words": [['"max_input_chars_per_word":100', '"max_input_chars_per_word":5']],
        "BertProcessing": [['"post_processor":{"type":"TemplateProcessing"',
                            '"post_processor":{"type":"BertProcessing","sep":["[SEP]",102],"cls":["[CLS]",101]},'
                            '"was":{"type":"TemplateProcessing"']],
        "no post-processor": [['"post_processor":{"type":"TemplateProcessing"',
                               '"post_processor":null,"was":{"type":"TemplateProcessing"']],
    }


def load(text, edits):
    for old, new in edits:
        assert text.count(old) == 1, (old, text.count(old))
        text = text.replace(old, new)
    value = json.loads(text)
    value.pop("was", None)
    tokenizer = Tokenizer.from_str(json.dumps(value))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def encode(tokenizer, first, second):
    e = tokenizer.encode(first, second)
    starts = []
    for text in (first, second or ""):
        position, table = 0, []
        for character in text:
            table.append(position)
            position += len(character.encode())
        starts.append(table + [position])
    offsets = []
    for (a, b), sequence in zip(e.offsets, e.sequence_ids):
        table = starts[sequence or 0]
        # Marks put in canonical order may end before they start.
        offsets.append((table[a], max(table[a], table[b])) if sequence is not None else (0, 0))
    return e.ids, e.type_ids, offsets


def digest(encoding):
    ids, types, offsets = encoding
    h = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids) * 4}i", *ids, *types, *(x for pair in offsets for x in pair)):
        h = ((h ^ byte) * 0x100000001B3) & MASK64
    return f"{h:016x}"


def main():
    if os.environ.get("RECORD_GOLDENS") != "1":
        sys.exit("set RECORD_GOLDENS=1 to record")
    if subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout:
        sys.exit("the work tree is not clean")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    text = open(sys.argv[1], encoding="utf-8").read()
    vocab = json.loads(text)["model"]["vocab"]
    vocabulary = [token for token, _ in sorted(vocab.items(), key=lambda item: item[1])]
    script = hashlib.sha256(open(__file__, "rb").read()).hexdigest()
    lines = [f"corad-tokens 1 tokenizers={tokenizers.__version__} script={script} commit={commit}",
             f"file {hashlib.sha256(text.encode()).hexdigest()}"]
    strings = inputs(vocabulary)
    lines.append(f"strings {len(strings)}")
    base = load(text, [])
    full = [encode(base, *s) for s in strings]
    base.enable_truncation(128)
    cut128 = [encode(base, *s) for s in strings]
    base.enable_truncation(256)
    cut256 = [encode(base, *s) for s in strings]
    lines += [" ".join(map(digest, row)) for row in zip(full, cut128, cut256)]
    base = load(text, [])
    for s in FIXED:
        ids, _, offsets = encode(base, s, None)
        lines.append("fixed " + json.dumps({"text": s, "ids": ids, "offsets": offsets}, ensure_ascii=True))
    generated = strings[-(SINGLES + PAIRS):]
    sample = generated[:VARIANT_STRINGS] + generated[-VARIANT_STRINGS // 8:]
    for name, edits in variants(vocab).items():
        tokenizer = load(text, edits)
        lines.append("variant " + json.dumps({"name": name, "edits": edits}, ensure_ascii=True))
        lines += [digest(encode(tokenizer, *s)) for s in sample]
    with open(sys.argv[2], "w") as f:
        f.write("\n".join(lines) + "\n")
    print(f"{len(strings)} strings, {len(variants(vocab))} variants; look at the change and commit it")
    sys.exit(1)


if __name__ == "__main__":
    main()
