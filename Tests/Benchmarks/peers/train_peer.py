"""PEFT on torch, training steps over given tokenised rows.

    python train_peer.py [--threads N] [--model DIR]

    {"command": "prepare", "method": "cora" | "lora", "rows": [{"ids": [101, …], "label": 0}, …], "labels": 8,
     "batch_size": 32, "rank": 8, "alpha": 16, "learning_rate": 1e-3, "seed": 0, "target": ["query", "value"]}
        -> {"tokens": real tokens of one pass, "batches": n, "trainable": parameters}
    {"command": "run", "steps": 20}
        -> {"seconds", "tokens", "padded_tokens", "tokens_per_second", "steps", "losses": [first, last]}
    {"command": "memory"} -> {"peak_rss_mb"}

`cora` freezes B (random orthonormal columns: the values cost nothing either way) and trains A from zero with the head;
`lora` trains both. Dropout 0, mean pooling over real tokens, one linear layer, AdamW: corad's own step. A batch is padded
to its longest row, as PEFT's users do; tokens count real ones only.
"""
from peer import batches, load_base, mean_pool, pad, serve
import resource, time
import torch
from peft import LoraConfig, get_peft_model


class Session:
    def __init__(self, request):
        torch.manual_seed(request.get("seed", 0))
        config = LoraConfig(
            r=request["rank"], lora_alpha=request.get("alpha", 2 * request["rank"]), lora_dropout=0.0,
            target_modules=request.get("target", ["query", "value"]))
        base = load_base(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        width = base.config.hidden_size
        self.model = get_peft_model(base, config)
        if request["method"] == "cora":
            for name, parameter in self.model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.orthogonal_(parameter)
                    parameter.requires_grad_(False)
                elif "lora_A" in name:
                    torch.nn.init.zeros_(parameter)
        elif request["method"] != "lora":
            raise ValueError(f"unknown method {request['method']}")
        self.head = torch.nn.Linear(width, request["labels"])
        self.model.train()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad] + list(self.head.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=request["learning_rate"], weight_decay=0.0)
        self.batches = [
            ([row["ids"] for row in rows], torch.tensor([row["label"] for row in rows]))
            for rows in batches(request["rows"], request["batch_size"])]
        self.next = 0

    def step(self):
        """One optimiser step; collating (padding) is part of it, as it is of a data loader."""
        rows, labels = self.batches[self.next % len(self.batches)]
        self.next += 1
        ids, mask = pad(rows)
        self.optimizer.zero_grad(set_to_none=True)
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        loss = torch.nn.functional.cross_entropy(self.head(mean_pool(hidden, mask)), labels)
        loss.backward()
        self.optimizer.step()
        return loss.item(), sum(map(len, rows)), ids.numel()


session = None


def prepare(request):
    global session
    session = Session(request)
    return {
        "tokens": sum(len(ids) for rows, _ in session.batches for ids in rows), "batches": len(session.batches),
        "trainable": sum(p.numel() for p in session.parameters)}


def run(request):
    losses, tokens, padded = [], 0, 0
    started = time.perf_counter()
    for _ in range(request["steps"]):
        loss, real, all_tokens = session.step()
        losses.append(loss)
        tokens += real
        padded += all_tokens
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds, "tokens": tokens, "padded_tokens": padded, "tokens_per_second": tokens / seconds,
        "steps": request["steps"], "losses": [losses[0], losses[-1]]}


def memory(_):
    return {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


serve({"prepare": prepare, "run": run, "memory": memory})
