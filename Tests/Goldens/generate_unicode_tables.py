#!/usr/bin/env python3
"""Writes Sources/Tokenizers/UnicodeTables+Data.swift from what the `tokenizers` library does to every scalar.

Its Unicode tables are older than Swift's and than Python's and differ between its own steps, so each property is asked
of the step that uses it. Usage: generate_unicode_tables.py OUT.swift
"""
import base64
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

REMOVED, SPACE, CHINESE, MARK, PUNCTUATION, WHITESPACE, WORD, REGEX_SPACE = (1 << i for i in range(8))
# Bits 8 and 9 are worked out from the mappings.
LETTER, NUMBER, PATTERN_SPACE, DIGIT, COMBINING = (1 << i for i in range(10, 15))
SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def bert(**flags):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**off, **flags}).normalize_str


def added(content, **flags):
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.add_tokens([AddedToken(content, normalized=False, **flags)])
    return tokenizer


def varint(out, value):
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def runs(out, values):
    """Pairs of run length and value over all code points; ends with a run of length 0."""
    start = 0
    for i in range(1, len(values) + 1):
        if i == len(values) or values[i] != values[start]:
            varint(out, i - start)
            varint(out, values[start])
            start = i
    varint(out, 0)


def mapping(out, table):
    """Count; then per entry the step from the last key, the number of scalars, and each as a zigzag step from the key."""
    varint(out, len(table))
    last = 0
    for key in sorted(table):
        varint(out, key - last)
        varint(out, len(table[key]))
        for scalar in table[key]:
            step = ord(scalar) - key
            varint(out, step * 2 if step >= 0 else -step * 2 - 1)
        last = key


def hangul(c):
    """[Unicode] section 3.12, arithmetic decomposition."""
    index = c - 0xAC00
    tail = index % 28
    parts = chr(0x1100 + index // 588) + chr(0x1161 + index % 588 // 28)
    return parts + chr(0x11A7 + tail) if tail else parts


def flags_of_all():
    clean, chinese, strip = bert(clean_text=True), bert(handle_chinese_chars=True), bert(strip_accents=True)
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    word, space = added("Q", single_word=True), added("Z", lstrip=True)
    values = [0] * 0x110000
    for c in SCALARS:
        s, flags = chr(c), 0
        cleaned = clean(s)
        flags |= REMOVED if cleaned == "" else 0
        flags |= SPACE if cleaned == " " else 0
        flags |= CHINESE if chinese(s) != s else 0
        flags |= MARK if strip(s) == "" else 0
        pieces = split("a" + s + "a")
        flags |= {1: 0, 2: WHITESPACE, 3: PUNCTUATION}[len(pieces)]
        flags |= WORD if 1 not in word.encode(s + "Q").ids else 0
        flags |= REGEX_SPACE if space.encode(s + "Z").offsets[-1][0] == 0 else 0
        values[c] = flags
    everything = "".join(map(chr, SCALARS))
    replaced = lambda pattern: normalizers.Replace(Regex(pattern), "").normalize_str(everything)
    for flag, kept in ((LETTER, replaced(r"\p{L}")), (NUMBER, replaced(r"\p{N}")), (PATTERN_SPACE, replaced(r"\s")),
                       (COMBINING, normalizers.StripAccents().normalize_str(everything))):
        kept = set(kept)
        for c in SCALARS:
            values[c] |= flag if chr(c) not in kept else 0
    digits = pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str
    for c in SCALARS:
        values[c] |= DIGIT if len(digits("a" + chr(c) + "a")) == 3 else 0
    return values


def decompositions():
    nfd = normalizers.NFD().normalize_str
    table = {}
    for c in SCALARS:
        s = nfd(chr(c))
        if 0xAC00 <= c < 0xD7A4:
            assert s == hangul(c)
        elif s != chr(c):
            table[c] = s
    return table


def compatibility(canonical):
    """Full compatibility decompositions where they are not the canonical ones."""
    nfkd = normalizers.NFKD().normalize_str
    return {c: nfkd(chr(c)) for c in SCALARS
            if not 0xAC00 <= c < 0xD7A4 and nfkd(chr(c)) != canonical.get(c, chr(c))}


def compositions(canonical):
    """What two scalars each composed scalar is made of."""
    nfc = normalizers.NFC().normalize_str
    pairs = {}
    for c, parts in canonical.items():
        if nfc(parts) == chr(c) and len(parts) > 1:
            first = nfc(parts[:-1])
            assert len(first) == 1 and nfc(first + parts[-1]) == chr(c), hex(c)
            pairs[c] = first + parts[-1]
    return pairs


def combining_classes(table):
    """Classes by how each scalar changes places with a reference mark of every class."""
    nfd = normalizers.NFD().normalize_str
    low, high = "\u0334", "\u0345"  # classes 1 and 240, the outermost
    moves = lambda s: nfd("a" + high + s) != "a" + high + s or nfd("a" + s + low) != "a" + s + low
    references = {}
    for c in SCALARS:
        k = unicodedata.combining(chr(c))
        # A mark newer than the library is a starter to it.
        if k and c not in table and k not in references and moves(chr(c)):
            references[k] = chr(c)
    values = [0] * 0x110000
    for c in SCALARS:
        s = chr(c)
        if c in table or 0xAC00 <= c < 0xD7A4:
            continue
        if not moves(s):
            continue
        fits = [k for k, r in references.items()
                if nfd("a" + r + s) == "a" + r + s and nfd("a" + s + r) == "a" + s + r]
        assert len(fits) == 1, (hex(c), fits)
        values[c] = fits[0]
    return values


def main():
    flags, table = flags_of_all(), decompositions()
    classes = combining_classes(table)
    lower, strip = bert(lowercase=True), bert(strip_accents=True)
    lowered = {c: lower(chr(c)) for c in SCALARS if lower(chr(c)) != chr(c)}
    # What the accent step leaves of a scalar is its decomposition without marks.
    for c in SCALARS:
        parts = hangul(c) if 0xAC00 <= c < 0xD7A4 else table.get(c, chr(c))
        assert strip(chr(c)) == "".join(p for p in parts if not flags[ord(p)] & MARK), hex(c)
    out = bytearray()
    runs(out, flags)
    runs(out, classes)
    mapping(out, table)
    mapping(out, lowered)
    mapping(out, compatibility(table))
    mapping(out, compositions(table))
    text = base64.b64encode(bytes(out)).decode()
    with open(sys.argv[1], "w") as f:
        f.write(f"// Generated by Tests/Goldens/generate_unicode_tables.py from tokenizers {tokenizers.__version__}.\n\n")
        f.write("extension UnicodeTables {\n")
        f.write("  /// Base64 of: flag runs, combining class runs, decompositions, lower case, compatibility\n")
        f.write("  /// decompositions, compositions; see the script for each form.\n")
        f.write('  static let data: StaticString = """\n')
        for i in range(0, len(text), 100):
            f.write("    " + text[i:i + 100] + ("\\\n" if i + 100 < len(text) else "\n"))
        f.write('    """\n}\n')
    print(len(out), "bytes of tables;", sum(1 for c in classes if c), "marks with a class;",
          len(table), "decompositions;", len(lowered), "lower case mappings")


main()
