"""What train_decoder.py and make_decoder.py share: text of the package index, tokenizers trained on it, and model folders
as Hugging Face lays them out, all outside the tree.
"""
import hashlib, json, os, pathlib, sys

import package_index

END, START_TURN, END_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = [END, START_TURN, END_TURN]  # ids 0, 1, 2
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def cache():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "corad"


def say(line):
    print(line, file=sys.stderr, flush=True)


def digest_of(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def index_rows(folder):
    """Rows of the package index with a long text, each text once, and the digest of their file; made where absent."""
    path = folder / "rows.ndjson"
    if not path.exists():
        package_index.build(folder.resolve(), (cache() / "apt-lists").resolve(), offline=False)
    data = path.read_bytes()
    rows, seen = [], set()
    for line in data.decode().splitlines():
        row = json.loads(line)
        if len(row["long"].split()) >= package_index.LONG_WORDS and row["long"] not in seen:
            seen.add(row["long"])
            rows.append(row)
    if len(rows) < 1000:
        sys.exit(f"{path} has {len(rows)} long texts: the package lists came without translations")
    return rows, hashlib.sha256(data).hexdigest()


def prompt_of(row):
    """Ends with a line break, which no merge of the pre-tokeniser crosses: prompt and completion tokenise apart."""
    return f"Package: {row['package']}\n"


def train_tokenizer(texts, vocabulary):
    """Byte-level BPE with GPT-2's expression, at most so many tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return tokenizer


def pad_vocabulary(tokenizer, size):
    """tokenizer.json with as many tokens as the model has rows: those past the trained ones are in no merge."""
    document = json.loads(tokenizer.to_str())
    vocabulary = document["model"]["vocab"]
    for index in range(len(vocabulary), size):
        vocabulary[f"<|unused_{index}|>"] = index
    return document


def write_json(path, value):
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def write_rows(path, rows):
    write_bytes(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())


def write_bytes(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    temporary.replace(path)


def write_model(folder, config, tokenizer, tensors):
    """The folder's files, config.json last: a folder that has it is whole.

    config: of config.json; tokenizer: the document of tokenizer.json; tensors: name to torch tensor, tied ones once.
    """
    from safetensors.torch import save_file
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": config["max_position_embeddings"],
        "eos_token": END, "pad_token": END, "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE})
    write_json(folder / "generation_config.json", {"eos_token_id": [0, 2], "pad_token_id": 0})
    part = folder / "model.safetensors.part"
    save_file(tensors, part, metadata={"format": "pt"})
    part.replace(folder / "model.safetensors")
    write_json(folder / "config.json", config)
