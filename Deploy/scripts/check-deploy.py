#!/usr/bin/env python3
"""Does what the Dockerfile, the unit and the compose file say, without a container engine or a service manager.

    check-deploy.py --model DIR [--scratch-path DIR]

Each instruction of the Dockerfile is done here, or refused as one that this check does not know: the build by
build.sh, the packages of the second stage against what the binary really loads, the entry point and its arguments as
the numeric user, from an empty folder that it cannot write to, with an empty environment, and the health check while
the daemon is up and after it has ended. Needs root to become the numeric user; else the caller's own user runs it.
"""
import argparse, json, os, pathlib, re, shutil, signal, subprocess, sys, tempfile, time, urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]


def fail(sentence):
    sys.exit(f"check-deploy: {sentence}")


def require(condition, sentence):
    if not condition:
        fail(sentence)


def run(words, **options):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, **options)
    require(done.returncode == 0, f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(*words):
    """A build writes what it does as it does it."""
    require(subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL).returncode == 0, f"{words[0]} failed")


def instructions(path):
    """The Dockerfile's instructions, stage by stage: [[(word, rest), ...], ...]."""
    text = re.sub(r"(?m)^\s*#.*\n", "", path.read_text()).replace("\\\n", " ")
    stages = []
    for line in text.splitlines():
        if not line.strip():
            continue
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, " ".join(rest.split())))
    return stages


def one(stage, word):
    found = [rest for w, rest in stage if w == word]
    require(len(found) == 1, f"the Dockerfile has {len(found)} {word} in a stage, not one")
    return found[0]


def check_build(stage, place, scratch):
    """Every RUN of the first stage, with /opt/corad and /var/lib/corad under `place`."""
    known = {
        "Deploy/scripts/install-dependencies.sh --static": lambda: run(
            [ROOT / "Deploy/scripts/install-dependencies.sh", "--static"]),
        "Deploy/scripts/build.sh --static-swift-stdlib /opt/corad": lambda: build(
            ROOT / "Deploy/scripts/build.sh", "--static-swift-stdlib", "--scratch-path", scratch, place / "opt/corad"),
        "mkdir /var/lib/corad": lambda: (place / "var/lib/corad").mkdir(parents=True),
    }
    for word, rest in stage:
        if word == "RUN":
            require(rest in known, f"the Dockerfile runs what this check does not: {rest}")
            known.pop(rest)()
        else:
            require(word in ("FROM", "WORKDIR", "COPY"), f"the Dockerfile's {word} is not checked here")
    require(not known, f"the Dockerfile does not run {', '.join(known)}")
    made = sorted(p.name for p in (place / "opt/corad").iterdir())
    require(made == ["corad"], f"build.sh made {made}, and the image takes all of it")


def check_image(stage, place):
    """COPY and packages of the second stage."""
    for word, rest in stage:
        if word == "COPY":
            words = [w for w in rest.split() if not w.startswith("--")]
            source, target = words
            inside = place / target.lstrip("/")
            if "--from=build" in rest:
                require((place / source.lstrip("/")).exists(), f"the build leaves no {source}")
            else:
                inside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, inside)
        elif word == "RUN":
            packages = re.search(r"install --no-install-recommends ([^&]*)", rest)
            require(packages, f"the Dockerfile runs what this check does not: {rest}")
            check_libraries(packages[1].split(), place / "opt/corad/corad", one(stage, "FROM"))
        else:
            known = ("FROM", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD")
            require(word in known, f"the Dockerfile's {word} is not checked here")


def check_libraries(packages, binary, image):
    """Every library that the binary loads comes with the packages of the image."""
    loaded = re.findall(r"=> (/\S+)", run(["ldd", binary]))
    require(loaded, "ldd names no library")
    release = dict(re.findall(r'(?m)^(\w+)="?([^"\n]*)', pathlib.Path("/etc/os-release").read_text()))
    if release.get("VERSION_CODENAME") != "bookworm":
        require("bookworm" in image, "the image is no Debian 12")
        names = {pathlib.Path(p).name.split(".so")[0] for p in loaded}
        print(f"not Debian 12: packages of {len(names)} libraries not compared")
        return
    tree = run(["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
                "--no-breaks", "--no-replaces", "--no-enhances", *packages, "apt", "libc6"])
    have = set(re.findall(r"(?m)^(\S+)$", tree))
    for path in loaded:
        found = subprocess.run(["dpkg-query", "-S", os.path.realpath(path)], capture_output=True, text=True)
        if found.returncode:  # /lib is a link to /usr/lib
            found = subprocess.run(["dpkg-query", "-S", f"*/{os.path.basename(os.path.realpath(path))}"],
                                   capture_output=True, text=True)
        owners = {line.split(":")[0] for line in found.stdout.splitlines()}
        # Its BLAS is chosen by alternatives: any build of OpenBLAS has the same name to load.
        if any(o.startswith("libopenblas0") for o in owners):
            owners |= {"libopenblas0-pthread"}
        require(owners & have, f"{path} of {sorted(owners)} is in no package of the image")


def as_user(user):
    """The words that run a command as the image's user."""
    uid, gid = user.split(":")
    require(uid.isdigit() and gid.isdigit() and uid != "0", f"USER {user} is no numeric user other than root")
    if os.geteuid() != 0:
        print("not root: run as the caller's own user")
        return []
    return ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--no-new-privs", "--bounding-set", "-all"]


def check_run(stage, place, model):
    """Entry point, arguments and health check of the image."""
    user = one(stage, "USER")
    prefix = as_user(user)
    require(one(stage, "STOPSIGNAL") == "SIGTERM", "the image is not stopped by SIGTERM")
    data = place / "var/lib/corad"
    if prefix:
        os.chown(data, *map(int, user.split(":")))
    data.chmod(0o700)
    shutil.copytree(model, place / "models/base", copy_function=os.link if same_device(model, place) else shutil.copy)
    empty = place / "empty"
    empty.mkdir(mode=0o555)

    def inside(words):
        changed = [re.sub(r"^/(opt|etc|models|var)/", rf"{place}/\1/", w) for w in words]
        return ["127.0.0.1:0" if w == "0.0.0.0:8080" else w for w in changed]

    command = prefix + inside(json.loads(one(stage, "ENTRYPOINT")) + json.loads(one(stage, "CMD")))
    require(one(stage, "EXPOSE") == "8080" and "0.0.0.0:8080" in json.loads(one(stage, "CMD")), "another port is exposed")
    log = open(place / "log", "w+")
    daemon = subprocess.Popen(command, cwd=empty, env={"PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = daemon.stdout.readline()
        if not line.startswith("listening on "):
            log.seek(0)
            fail(f"the daemon does not listen: {line}{log.read()}")
        url = line.split()[-1]
        if prefix:
            status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
            require(re.search(rf"(?m)^Uid:\s+{user.split(':')[0]}\s", status), "the daemon is another user")
            require(re.search(r"(?m)^CapBnd:\s+0+$", status), "the daemon has capabilities")
        health = one(stage, "HEALTHCHECK")
        probe = prefix + [w if w != "http://127.0.0.1:8080" else url for w in inside(json.loads(health[health.index("CMD ") + 4:]))]
        require(url in probe, f"the health check asks somewhere else: {health}")
        run(probe, cwd=empty, env={})
        with urllib.request.urlopen(urllib.request.Request(
                url + "/adapters/base/infer", b'{"inputs": ["a text"]}', {"Content-Type": "application/json"})) as answer:
            require(len(json.load(answer)["embeddings"][0]) > 0, "no embedding")
        daemon.send_signal(signal.SIGTERM)
        require(daemon.wait(60) == 0, f"the daemon ended with {daemon.returncode}")
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait()
    down = subprocess.run(probe, cwd=empty, capture_output=True)
    require(down.returncode == 1, f"the health check of a daemon that is down exits with {down.returncode}")
    require(not any(empty.iterdir()), "the daemon wrote where it was started")
    require((data / "corad.sqlite").exists(), "the daemon made no store in its volume")
    run(prefix + [place / "opt/corad/corad", "doctor", "--store", data / "corad.sqlite", "--model", place / "models/base"],
        cwd=empty, env={})


def same_device(a, b):
    return os.stat(a).st_dev == os.stat(b).st_dev and os.geteuid() == 0


def check_graces(place):
    """Who stops the daemon waits longer than its drain may take."""
    drain = json.loads((ROOT / "Deploy/config/corad.json").read_text())["drain_timeout_ms"] / 1000
    unit = (ROOT / "Deploy/systemd/corad.service").read_text()
    compose = (ROOT / "Deploy/container/compose.yaml").read_text()
    for name, text, pattern in (("the unit", unit, r"(?m)^TimeoutStopSec=(\d+)$"),
                                ("compose.yaml", compose, r"(?m)^\s*stop_grace_period: (\d+)s$")):
        found = re.search(pattern, text)
        require(found and int(found[1]) >= drain + 10, f"{name} does not wait for a drain of {drain:.0f} s and its end")


def check_unit(place):
    """The unit by systemd's own judgement, with the binary that was built here."""
    if not shutil.which("systemd-analyze"):
        print("no systemd-analyze: the unit is not verified")
        return
    unit = (ROOT / "Deploy/systemd/corad.service").read_text()
    require(unit.count("/usr/local/bin/corad") == 1, "the unit starts another binary")
    copy = place / "corad.service"
    copy.write_text(unit.replace("/usr/local/bin/corad", str(place / "opt/corad/corad")))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True)
    complaints = [l for l in (done.stdout + done.stderr).splitlines() if "corad.service" in l]
    require(not complaints, "systemd-analyze verify:\n" + "\n".join(complaints))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--scratch-path", type=pathlib.Path, default=ROOT / ".build-deploy")
    arguments = parser.parse_args()
    stages = instructions(ROOT / "Dockerfile")
    require(len(stages) == 2, f"the Dockerfile has {len(stages)} stages, not two")
    place = pathlib.Path(tempfile.mkdtemp(prefix="corad-deploy-"))
    place.chmod(0o755)
    try:
        check_graces(place)
        check_build(stages[0], place, arguments.scratch_path.resolve())
        check_unit(place)
        check_image(stages[1], place)
        check_run(stages[1], place, arguments.model.resolve())
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"the Dockerfile's {sum(map(len, stages))} instructions, the unit and the graces hold")


if __name__ == "__main__":
    main()
