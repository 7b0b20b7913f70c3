#!/usr/bin/env python3
"""A small Llama-shaped decoder trained on the long package descriptions, and the rows of six writers' tasks.

    python train_decoder.py [--steps N] [--threads N] [--to DIR] [--index DIR]

Prints one folder, outside the tree (under DIR, ${XDG_CACHE_HOME:-~/.cache}/corad/decoders, by a digest of the settings and
of the text), trained once; a run that was cut off goes on from its last checkpoint. It holds:

    model/                            a Hugging Face folder in float32
    heldout.ndjson                    {"prompt", "completion"} of source packages that the base never saw
    tasks/NAME/train.ndjson, heldout.ndjson      the same, a section of the archive each
    manifest.json                     settings, counts, held-out perplexity of the decoder and of a unigram model

A text reads "Package: NAME" and, on the next line, its description; the prompt ends with the line break. Perplexities are
of the completions' tokens and the end token, of texts cut at the context of the training. The source package decides train or held-out,
for base and tasks alike. The section stands in no text: a task's adapter has to know it.
"""
import argparse, json, math, pathlib, time

import decoder_folder as folders
import package_index

CONTEXT = 128
CHECKPOINT_STEPS = 200
HELD_OUT_TEXTS = 1000
TASK_ROWS = {"train": 1000, "heldout": 200}
TASKS = ["games", "perl", "haskell", "java", "gnu-r", "golang"]  # sections of the archive
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 640,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 3072,
    "max_position_embeddings": 1024, "rope_theta": 10000.0, "rms_norm_eps": 1e-05, "hidden_act": "silu",
    "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, "torch_dtype": "float32",
    "eos_token_id": 0, "bos_token_id": 0,
}
SETTINGS = {
    "format": 1, "seed": 1, "batch": 16, "steps": 1600, "warmup": 60, "rate": 3e-3, "last_rate": 0.03, "decay": 0.1,
    "clip": 1.0, "betas": [0.9, 0.95],
}


def stream(rows, tokenizer, seed):
    """Every text between end tokens, in a seeded order, as [chunks, CONTEXT + 1]; a chunk's last token is the next one's
    first."""
    import torch
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    encoded = tokenizer.encode_batch([folders.prompt_of(rows[i]) + rows[i]["long"] for i in order])
    ids = [0]
    for text in encoded:
        ids += text.ids + [0]
    count = (len(ids) - 1) // CONTEXT
    return torch.tensor(ids[:count * CONTEXT + 1]).unfold(0, CONTEXT + 1, CONTEXT).contiguous()


def make_model(seed):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in CONFIG.items() if k != "torch_dtype"}))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            deep = name.endswith(("o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * CONFIG["num_hidden_layers"]) if deep else 0.02)
    return model.float()


def rate_at(step, settings):
    """Linear up, then half a cosine down to `last_rate` of the top."""
    if step < settings["warmup"]:
        return settings["rate"] * (step + 1) / settings["warmup"]
    share = (step - settings["warmup"]) / max(1, settings["steps"] - settings["warmup"])
    low = settings["last_rate"]
    return settings["rate"] * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * share)))


def train(model, chunks, settings, checkpoint):
    import torch
    matrices = [p for p in model.parameters() if p.dim() == 2]
    norms = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings["decay"]}, {"params": norms, "weight_decay": 0.0}],
        lr=settings["rate"], betas=settings["betas"], fused=True)
    first, batch = 0, settings["batch"]
    if checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        folders.say(f"goes on at step {first}")
    epoch_steps = len(chunks) // batch
    order, order_epoch = None, -1
    started = time.monotonic()
    model.train()
    for step in range(first, settings["steps"]):
        epoch, at = divmod(step, epoch_steps)
        if epoch != order_epoch:
            order_epoch = epoch
            order = torch.randperm(
                len(chunks), generator=torch.Generator().manual_seed(settings["seed"] * 1000 + epoch))
        ids = chunks[order[at * batch:(at + 1) * batch]]
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, settings)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
        optimizer.step()
        if (step + 1) % 50 == 0 or step + 1 == settings["steps"]:
            seconds = (time.monotonic() - started) / (step + 1 - first)
            folders.say(f"step {step + 1} of {settings['steps']}: loss {loss.item():.3f}, {seconds:.3f} s a step")
        if (step + 1) % CHECKPOINT_STEPS == 0:
            part = checkpoint.with_suffix(".part")
            torch.save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, part)
            part.replace(checkpoint)


def held_out_perplexity(model, rows, tokenizer, counts):
    """Of the decoder and of the unigram model with one added to every count, over the same tokens."""
    import torch
    log_unigram = torch.log((counts + 1) / (counts + 1).sum())
    decoder = unigram = 0.0
    tokens = 0
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), 32):
            batch = []
            for row in rows[start:start + 32]:
                prompt = tokenizer.encode(folders.prompt_of(row)).ids
                ids = ([0] + prompt + tokenizer.encode(row["long"]).ids + [0])[:CONTEXT + 1]
                batch.append((ids, min(len(prompt) + 1, len(ids))))
            longest = max(len(ids) for ids, _ in batch)
            padded = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
            logs = model(input_ids=padded[:, :-1], use_cache=False).logits.log_softmax(-1)
            for i, (ids, first) in enumerate(batch):
                targets = padded[i, first:len(ids)]
                decoder -= logs[i, first - 1:len(ids) - 1].gather(1, targets[:, None]).double().sum().item()
                unigram -= log_unigram[targets].sum().item()
                tokens += len(targets)
    return math.exp(decoder / tokens), math.exp(unigram / tokens), tokens


def pair(row):
    return {"prompt": folders.prompt_of(row), "completion": row["long"]}


def write_texts(folder, rows, tokenizer):
    """Held-out texts and the tasks' rows that fit the context whole. Returns the counts."""
    held = {side: [r for r in rows if package_index.is_held_out(r["source"]) == (side == "heldout")]
            for side in TASK_ROWS}
    folders.write_rows(folder / "heldout.ndjson", [pair(r) for r in held["heldout"][:HELD_OUT_TEXTS]])
    counts = {}
    for task in TASKS:
        for side, limit in TASK_ROWS.items():
            own = [r for r in held[side] if r["section"] == task]
            fitting = [r for r, e in zip(own, tokenizer.encode_batch([folders.prompt_of(r) + r["long"] for r in own]))
                       if len(e.ids) < CONTEXT]
            folders.write_rows(folder / "tasks" / task / f"{side}.ndjson", [pair(r) for r in fitting[:limit]])
            counts.setdefault(task, {})[side] = min(len(fitting), limit)
    return counts


def build(folder, rows, settings):
    import torch
    started = time.monotonic()
    train_rows = [r for r in rows if not package_index.is_held_out(r["source"])]
    held_rows = [r for r in rows if package_index.is_held_out(r["source"])][:HELD_OUT_TEXTS]
    tokenizer = folders.train_tokenizer(
        (folders.prompt_of(r) + r["long"] for r in train_rows), CONFIG["vocab_size"])
    counts = write_texts(folder, rows, tokenizer)
    for task, sides in counts.items():
        folders.say(f"{task}: {sides['train']} rows, {sides['heldout']} held out")
    chunks = stream(train_rows, tokenizer, settings["seed"])
    folders.say(f"{len(train_rows)} texts, {chunks.shape[0] * CONTEXT} tokens; read in {time.monotonic() - started:.0f} s")
    model = make_model(settings["seed"])
    parameters = sum(p.numel() for p in model.parameters())
    checkpoint = folder / "checkpoint.pt"
    train(model, chunks, settings, checkpoint)
    unigram_counts = torch.bincount(chunks[:, 1:].flatten(), minlength=CONFIG["vocab_size"]).double()
    perplexity, unigram, tokens = held_out_perplexity(model, held_rows, tokenizer, unigram_counts)
    tensors = {n: p.detach().contiguous() for n, p in model.named_parameters() if n != "lm_head.weight"}
    folders.write_model(folder / "model", CONFIG, json.loads(tokenizer.to_str()), tensors)
    folders.write_json(folder / "manifest.json", {
        "settings": settings, "parameters": parameters, "train_texts": len(train_rows),
        "train_tokens": chunks.shape[0] * CONTEXT, "tasks": counts, "held_out_texts": len(held_rows),
        "held_out_tokens": tokens, "held_out_perplexity": perplexity, "unigram_perplexity": unigram,
        "seconds": time.monotonic() - started})
    checkpoint.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=SETTINGS["steps"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--to", type=pathlib.Path, default=folders.cache() / "decoders")
    parser.add_argument("--index", type=pathlib.Path, default=folders.cache() / "package-index")
    arguments = parser.parse_args()
    settings = {**SETTINGS, "steps": arguments.steps}
    rows, index = folders.index_rows(arguments.index)
    digest = folders.digest_of({
        "settings": settings, "config": CONFIG, "context": CONTEXT, "tasks": TASKS, "rows": TASK_ROWS, "index": index})
    folder = arguments.to / f"package-writer-{digest[:8]}"
    if not (folder / "manifest.json").exists():
        import torch
        torch.set_num_threads(arguments.threads)
        folder.mkdir(parents=True, exist_ok=True)
        build(folder, rows, settings)
    manifest = json.loads((folder / "manifest.json").read_text())
    folders.say(
        f"held-out perplexity {manifest['held_out_perplexity']:.1f}, unigram {manifest['unigram_perplexity']:.1f} over "
        f"{manifest['held_out_tokens']} tokens; {manifest['parameters']} parameters, {manifest['seconds']:.0f} s")
    print(folder.resolve())


if __name__ == "__main__":
    main()
