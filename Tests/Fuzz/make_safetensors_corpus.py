"""Writes the corpus: small good files, and one of each kind of fault. The files are committed; this says what they are."""
import json, pathlib, struct

OUT = pathlib.Path(__file__).parent / "Corpus/SafetensorsFuzz"


def tensor(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def write(name, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    (OUT / name).write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


OUT.mkdir(exist_ok=True)
write("empty", {})
write("metadata", {"__metadata__": {"format": "pt", "é\n": "\"\\"}})
write("scalar", {"a": tensor("F32", [], 0, 4)}, bytes(4))
write("all-types", {t: tensor(t, [1], s, e) for t, s, e in [
    ("F64", 0, 8), ("F32", 8, 12), ("F16", 12, 14), ("BF16", 14, 16), ("I64", 16, 24), ("I32", 24, 28),
    ("I16", 28, 30), ("I8", 30, 31), ("U64", 31, 39), ("U32", 39, 43), ("U16", 43, 45), ("U8", 45, 46),
    ("BOOL", 46, 47)]}, bytes(47))
write("two", {"b": tensor("F32", [2], 8, 16), "a": tensor("F32", [1, 2], 0, 8)}, bytes(16))
write("nothing-in-it", {"a": tensor("F32", [0, 3], 0, 0)})
write("escapes", rb'{"\u00e9\ud83d\ude00\/":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}   ', b"x")
write("spaces", b'{ "a" :\n{"dtype" : "F16" ,\t"shape":[ 2 ] ,"data_offsets":[0 , 4]} }', bytes(4))
write("overlap", {"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 4, 12)}, bytes(12))
write("hole", {"a": tensor("F32", [1], 4, 8)}, bytes(8))
write("overflow", {"a": tensor("F32", [1 << 32, 1 << 32], 0, 0)})
write("past-63-bits", {"a": tensor("F32", [1 << 63], 0, 0)})
write("header-past-file", {}, length=1 << 62)
write("duplicate", b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}')
write("lone-surrogate", rb'{"\ud800":{}}')
write("deep", b'{"a":' + b"[" * 64)
