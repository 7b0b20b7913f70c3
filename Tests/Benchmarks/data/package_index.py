#!/usr/bin/env python3
"""Labelled text from Debian's package index, for the quick start, the tests and the benchmarks.

    python3 package_index.py [--to DIR] [--lists DIR] [--offline]

Writes, outside the tree (DIR defaults to ${XDG_CACHE_HOME:-~/.cache}/corad/package-index):

    rows.ndjson                       every description once: package, source, section, tags, text, long
    tasks/NAME/train.ndjson           {"text", "label"}, one line a row
    tasks/NAME/heldout.ndjson
    long/train.ndjson, heldout.ndjson the long texts of the task `sections-form`
    manifest.json                     purpose, counts, labels and SHA-256 of every file

The rule, fixed before any run: `tasks.json` beside this file names each task, its purpose (`table`, `subspace`,
`grid`) and its labels. A text belongs to one source package, the one with the smallest hash of those that use it
(so a repeated text stands on one side only); that hash also decides train or held-out, once for all tasks.
A text whose packages disagree on the label is left out of that task. Rows are taken label by label in the order
of their hash, each label its equal share, and what a rare label leaves free goes round to the others.
The same index gives the same bytes.
"""
import argparse, collections, hashlib, json, os, pathlib, re, subprocess, sys

TRAIN_ROWS, HELD_OUT_ROWS = 1500, 2000
HELD_OUT_PERCENT = 50  # of source packages
LONG_WORDS = 20  # a long text has at least so many words


def digest(*parts):
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


def is_held_out(source):
    return int(digest("split", source)[:8], 16) % 100 < HELD_OUT_PERCENT


def stanzas(text):
    """The paragraphs of a control file, as dictionaries; continuation lines keep their line breaks."""
    for block in text.split("\n\n"):
        fields, key = {}, None
        for line in block.split("\n"):
            if line[:1] in (" ", "\t") and key:
                fields[key] += "\n" + line[1:]
            elif ":" in line:
                key, _, value = line.partition(":")
                fields[key] = value.strip()
        if "Package" in fields:
            yield fields


def private_lists(folder, offline):
    """Fetches package and English translation lists into a folder of its own; the system's lists stay as they are."""
    options = ["-o", f"Dir::State::lists={folder}", "-o", "Acquire::Languages=en"]
    (folder / "partial").mkdir(parents=True, exist_ok=True)
    if not offline and not list(folder.glob("*Translation-en*")):
        # Hooks of the machine are for its own lists; the sandbox user may not write into a private folder.
        options += ["-o", "APT::Update::Post-Invoke-Success::=", "-o", "APT::Sandbox::User="]
        done = subprocess.run(["apt-get", "-qq", "update", *options], capture_output=True, text=True)
        if done.returncode:
            print(f"package_index: apt-get update: {done.stderr.strip()[-300:]}", file=sys.stderr)
    return options[:4]


def dump_available(options):
    command = ["apt-cache", "dumpavail", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, errors="replace").stdout


def long_texts(folder):
    """Long description by Description-md5."""
    found = {}
    for path in sorted(folder.glob("*Translation-en*")):
        command = ["/usr/lib/apt/apt-helper", "cat-file", str(path)]
        text = subprocess.run(command, capture_output=True, text=True, check=True, errors="replace").stdout
        for fields in stanzas(text):
            body = fields.get("Description-en", "").split("\n")[1:]
            words = " ".join(line.strip() for line in body if line.strip() != ".").split()
            found[fields.get("Description-md5", "")] = " ".join(words)
    return found


def read_rows(text, long):
    """One row a description, under the source package with the smallest hash."""
    by_text = collections.defaultdict(list)
    for fields in stanzas(text):
        summary = " ".join(fields.get("Description", "").split("\n")[0].split())
        if not summary or "transitional" in summary.lower() or "dummy" in summary.lower():
            continue
        package = fields["Package"]
        by_text[summary.lower()].append({
            "package": package,
            "source": fields.get("Source", package).split()[0],
            "section": fields.get("Section", "").split("/")[-1],
            "tags": sorted({t for t in re.split(r"[,\s]+", fields.get("Tag", "")) if "::" in t}),
            "text": summary,
            "long": long.get(fields.get("Description-md5", ""), ""),
        })
    rows = []
    for same in by_text.values():
        same.sort(key=lambda r: (digest("source", r["source"]), r["package"]))
        row = dict(same[0])
        row["all"] = same
        rows.append(row)
    return sorted(rows, key=lambda r: digest("row", r["text"]))


def label_of(row, task):
    """The row's label in a task, or None when the task does not say."""
    if "sections" in task:
        for label, sections in task["sections"].items():
            if row["section"] in sections:
                return label
        return None
    if "facet" in task:
        values = [t.split("::", 1)[1] for t in row["tags"] if t.startswith(task["facet"] + "::")]
        return values[0] if len(values) == 1 and values[0] in task["values"] else None
    if not row["tags"]:
        return None  # not tagged at all: unknown, not negative
    return task["labels"][0] if task["tag"] in row["tags"] else task["labels"][1]


def agreed_label(row, task):
    labels = {label_of(r, task) for r in row["all"]}
    return labels.pop() if len(labels) == 1 else None


def choose(candidates, count):
    """Equal shares by label, in the given order; the result is in hash order again."""
    queues = collections.defaultdict(collections.deque)
    for row in candidates:
        queues[row["label"]].append(row)
    taken = []
    while len(taken) < count and any(queues.values()):
        for label in sorted(queues):
            if queues[label] and len(taken) < count:
                taken.append(queues[label].popleft())
    return sorted(taken, key=lambda r: digest("order", r["text"]))


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()
    temporary = path.with_suffix(".part")
    temporary.write_bytes(data)
    temporary.replace(path)
    return {"rows": len(rows), "sha256": hashlib.sha256(data).hexdigest()}


def build(to, lists, offline):
    options = private_lists(lists, offline)
    text = dump_available(options)
    if text.count("\nPackage: ") < 1000:  # no private lists: the system's own carry the one-line texts
        text = dump_available([])
    rows = read_rows(text, long_texts(lists))
    if not rows:
        sys.exit("package_index: no package list on this machine; run `apt-get update` first")
    tasks = json.loads((pathlib.Path(__file__).parent / "tasks.json").read_text())
    manifest = {"format": 1, "index_sha256": hashlib.sha256(text.encode()).hexdigest(), "tasks": {}}
    manifest["rows"] = write(to / "rows.ndjson", [{k: r[k] for k in r if k != "all"} for r in rows])
    for name, task in tasks.items():
        entry = {"purpose": task["purpose"]}
        labelled = [(r, agreed_label(r, task)) for r in rows]
        for side, held, count in (("train", False, TRAIN_ROWS), ("heldout", True, HELD_OUT_ROWS)):
            candidates = [{"text": r["text"], "label": l} for r, l in labelled if l and is_held_out(r["source"]) == held]
            chosen = choose(candidates, count)
            entry[side] = write(to / "tasks" / name / f"{side}.ndjson", chosen)
            entry[side]["labels"] = dict(sorted(collections.Counter(r["label"] for r in chosen).items()))
        manifest["tasks"][name] = entry
    manifest["long"] = {}
    for side, held, count in (("train", False, TRAIN_ROWS), ("heldout", True, HELD_OUT_ROWS)):
        candidates = [{"text": r["long"], "label": l} for r in rows
                      for l in [agreed_label(r, tasks["sections-form"])]
                      if l and len(r["long"].split()) >= LONG_WORDS and is_held_out(r["source"]) == held]
        unique = list({r["text"]: r for r in candidates}.values())
        manifest["long"][side] = write(to / "long" / f"{side}.ndjson", choose(unique, count))
    (to / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest


def main():
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "corad"
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--to", type=pathlib.Path, default=cache / "package-index")
    parser.add_argument("--lists", type=pathlib.Path, default=cache / "apt-lists")
    parser.add_argument("--offline", action="store_true", help="use only lists that are here already")
    arguments = parser.parse_args()
    manifest = build(arguments.to.resolve(), arguments.lists.resolve(), arguments.offline)
    for name, task in manifest["tasks"].items():
        print(f"{task['purpose']:9} {name:24} train {task['train']['rows']:5}  held-out {task['heldout']['rows']:5}  "
              f"{len(task['train']['labels'])} labels")
    print(f"{'long':9} {'sections-form':24} train {manifest['long']['train']['rows']:5}  "
          f"held-out {manifest['long']['heldout']['rows']:5}")
    print(arguments.to.resolve())


if __name__ == "__main__":
    main()
