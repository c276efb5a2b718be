#!/usr/bin/env python3
"""Writes to a union mount while its server is killed, and says afterwards whether it kept its word.

    load.py build  LOWERS...            makes two lower layers; models go to --models DIR
    load.py run    MOUNT PROCESS SEED   works until the mount dies; each call is journaled
    load.py verify MOUNT PROCESS...     replays the journals and compares the tree

Journal, one JSON line each: ["begin", op, ...] before a call, ["end", errno] after it. What ended with
0 must be there, what ended with an error must have changed nothing, the one call that never ended may
or may not have happened: wholly, except that a write may have got only part of its bytes down.
"""
import argparse
import copy
import errno
import json
import os
import random
import stat
import sys

PROCESSES = 3
NAMES = ["a", "b", "c", "d", "e", "long-" + "n" * 200]


def content(seed, length):
    return random.Random(seed).randbytes(length)


# ---- The model: path -> object. Hard links are entries that share an object's number.


class Model:
    def __init__(self, entries=None, objects=None):
        self.entries = entries or {}
        self.objects = objects or {}

    @staticmethod
    def load(path):
        with open(path) as f:
            raw = json.load(f)
        objects = {int(n): o for n, o in raw["objects"].items()}
        for obj in objects.values():
            if "data" in obj:
                obj["data"] = bytes.fromhex(obj["data"])
        return Model(raw["entries"], objects)

    def save(self, path):
        live = set(self.entries.values())
        objects = {n: o for n, o in self.objects.items() if n in live}
        with open(path, "w") as f:
            json.dump({"entries": self.entries, "objects": objects}, f, default=bytes.hex)

    def add(self, path, **attributes):
        number = max(self.objects, default=0) + 1
        self.objects[number] = attributes
        self.entries[path] = number

    def at(self, path):
        number = self.entries.get(path)
        return None if number is None else self.objects[number]

    def kind(self, path):
        found = self.at(path)
        return found and found["kind"]

    def below(self, path):
        return [p for p in self.entries if p.startswith(path + "/")]

    def links(self, path):
        return list(self.entries.values()).count(self.entries[path])


# ---- What each call does to the model. The generator only makes calls that must succeed.


def apply(model, op):
    verb, path, *rest = op
    if verb == "create":
        model.add(path, kind="file", mode=rest[0], data=content(rest[1], rest[2]), xattr=None, mtime=None)
    elif verb == "mkdir":
        model.add(path, kind="dir", mode=rest[0], xattr=None)
    elif verb == "symlink":
        model.add(path, kind="symlink", target=rest[0])
    elif verb in ("unlink", "rmdir"):
        del model.entries[path]
    elif verb == "link":
        model.entries[rest[0]] = model.entries[path]
    elif verb == "rename":
        rename(model, path, rest[0])
    elif verb == "exchange":
        exchange(model, path, rest[0])
    elif verb == "chmod":
        model.at(path)["mode"] = rest[0]
    elif verb == "setxattr":
        model.at(path)["xattr"] = rest[0]
    else:
        change_data(model.at(path), verb, rest)


def change_data(obj, verb, rest):
    data = obj["data"]
    if verb == "truncate":
        data = data[: rest[0]] + b"\0" * (rest[0] - len(data))
    else:
        offset = len(data) if verb == "append" else rest[0]
        fresh = content(*rest[-2:])
        data = data[:offset] + b"\0" * (offset - len(data)) + fresh + data[offset + len(fresh) :]
    obj["data"] = data
    obj["mtime"] = None


def rename(model, source, target):
    if model.entries[source] == model.entries.get(target):
        return
    for path in [source, *model.below(source)]:
        model.entries[target + path[len(source) :]] = model.entries.pop(path)


def exchange(model, one, other):
    moved = {}
    for source, target in ((one, other), (other, one)):
        for path in [source, *model.below(source)]:
            moved[target + path[len(source) :]] = model.entries.pop(path)
    model.entries.update(moved)


# ---- Choosing calls.


class Chooser:
    def __init__(self, model, rng, process):
        self.model = model
        self.rng = rng
        self.process = process

    def some(self, *kinds):
        for _ in range(40):
            path = self.rng.choice(self.paths)
            if self.model.kind(path) in kinds:
                return path
        return None

    def fresh(self):
        for _ in range(20):
            path = os.path.join(self.some("dir") or f"home{self.process}", self.rng.choice(NAMES))
            if self.rng.randrange(10) == 0:
                path = f"shared/{self.process}-{self.rng.choice(NAMES)}"
            if path not in self.model.entries and path.count("/") < 6:
                return path
        return None

    def data(self):
        return [self.rng.randrange(1 << 30), self.rng.choice([1, 100, 4096, 5000, 70000])]

    def movable(self):
        path = self.rng.choice(self.paths)
        return path if "/" in path else None

    def next(self):
        self.paths = list(self.model.entries)
        crowded = len(self.paths) > 100
        verb = self.rng.choices(
            ["create", "write", "append", "truncate", "mkdir", "unlink", "rmdir", "link", "symlink", "rename"]
            + ["replace", "exchange", "chmod", "setxattr", "kept"],
            [14, 12, 4, 4, 6, 30 if crowded else 10, 20 if crowded else 4, 5, 3, 10, 6, 3, 6, 5, 6],
        )[0]
        made = getattr(self, "make_" + verb)()
        return None if made is None or None in made else made

    def make_create(self):
        return ["create", self.fresh(), self.rng.choice([0o644, 0o600, 0o755]), *self.data()]

    def make_write(self):
        return ["write", self.some("file"), self.rng.choice([0, 1, 4096, 100000]), *self.data()]

    def make_kept(self):
        return ["kept", self.some("file"), self.rng.choice([0, 50, 4096]), *self.data()]

    def make_append(self):
        return ["append", self.some("file"), *self.data()]

    def make_truncate(self):
        return ["truncate", self.some("file"), self.rng.choice([0, 10, 4096, 50000])]

    def make_mkdir(self):
        return ["mkdir", self.fresh(), self.rng.choice([0o755, 0o700])]

    def make_unlink(self):
        return ["unlink", self.some("file", "symlink")]

    def make_rmdir(self):
        path = self.some("dir")
        return ["rmdir", path] if path and "/" in path and not self.model.below(path) else None

    def make_link(self):
        return ["link", self.some("file"), self.fresh()]

    def make_symlink(self):
        return ["symlink", self.fresh(), "target-%d" % self.rng.randrange(1000)]

    def make_rename(self):
        source, target = self.movable(), self.fresh()
        if source and target and (target + "/").startswith(source + "/"):
            return None
        return ["rename", source, target]

    def make_replace(self):
        return ["rename", self.some("file", "symlink"), self.some("file", "symlink")]

    def make_exchange(self):
        one, other = self.movable(), self.movable()
        if not one or not other or (one + "/").startswith(other + "/") or (other + "/").startswith(one + "/"):
            return None
        return ["exchange", one, other]

    def make_chmod(self):
        return ["chmod", self.some("file", "dir"), self.rng.choice([0o700, 0o755, 0o711])]

    def make_setxattr(self):
        return ["setxattr", self.some("file", "dir"), "v%d" % self.rng.randrange(1000)]


# ---- Doing them.


class Kept:
    """Files that stay open for writing while their names change."""

    def __init__(self):
        self.fds = {}

    def fd(self, number, path):
        if number not in self.fds:
            if len(self.fds) > 4:
                os.close(self.fds.pop(next(iter(self.fds))))
            self.fds[number] = os.open(path, os.O_RDWR)
        return self.fds[number]


def write_all(fd, data):
    if os.write(fd, data) != len(data):
        raise OSError(errno.EIO, "short write")


def create(path, mode, seed, length):
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        write_all(fd, content(seed, length))
    finally:
        os.close(fd)


def write_at(path, flags, offset, data):
    fd = os.open(path, os.O_WRONLY | flags)
    try:
        if offset is not None:
            os.lseek(fd, offset, os.SEEK_SET)
        write_all(fd, data)
    finally:
        os.close(fd)


def exchange_names(one, other):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def perform(op, model, kept):
    verb, path, *rest = op
    if verb == "create":
        create(path, *rest)
    elif verb == "write":
        write_at(path, 0, rest[0], content(*rest[1:]))
    elif verb == "append":
        write_at(path, os.O_APPEND, None, content(*rest))
    elif verb == "kept":
        fd = kept.fd(model.entries[path], path)
        os.pwrite(fd, content(*rest[1:]), rest[0])
    elif verb == "symlink":
        os.symlink(rest[0], path)
    elif verb == "setxattr":
        os.setxattr(path, "user.crash", rest[0].encode())
    elif verb == "exchange":
        exchange_names(path, *rest)
    else:
        getattr(os, verb)(path, *rest)


class Journal:
    def __init__(self, path):
        self.fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND, 0o600)

    def line(self, *words):
        os.write(self.fd, (json.dumps(words) + "\n").encode())


# ECANCELED: the kernel ends so what a ring that has gone had taken.
GONE = {errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV, errno.ECANCELED}



def run(mount, models, process, seed):
    model = Model.load(f"{models}/{process}.model")
    journal = Journal(f"{models}/{process}.journal")
    chooser = Chooser(model, random.Random(seed), process)
    kept = Kept()
    os.umask(0)
    os.chdir(mount)
    print("ready", flush=True)
    calls = 0
    while True:
        op = chooser.next()
        if op is None:
            continue
        journal.line("begin", *op)
        try:
            perform(op, model, kept)
        except OSError as e:
            if e.errno in GONE:
                return calls
            journal.line("end", e.errno)
            print(f"{op}: {os.strerror(e.errno)}, but it must succeed", file=sys.stderr)
            sys.exit(1)
        apply(model, op)
        journal.line("end", 0)
        calls += 1


# ---- Comparing.


def look(path):
    s = os.lstat(path)
    if stat.S_ISLNK(s.st_mode):
        return {"kind": "symlink", "target": os.readlink(path)}
    try:
        xattr = os.getxattr(path, "user.crash").decode()
    except OSError as e:
        if e.errno != errno.ENODATA:
            raise
        xattr = None
    found = {"kind": "dir", "mode": stat.S_IMODE(s.st_mode), "xattr": xattr}
    if not stat.S_ISDIR(s.st_mode):
        with open(path, "rb") as f:
            found.update(kind="file", data=f.read(), mtime=s.st_mtime_ns, nlink=s.st_nlink)
    return found


def scan(mount, process):
    """All objects of one process: its home, and its own names in the shared directory."""
    found = {}
    top = [f"home{process}"]
    top += [f"shared/{name}" for name in os.listdir(f"{mount}/shared") if name.startswith(f"{process}-")]
    while top:
        path = top.pop()
        try:
            found[path] = look(f"{mount}/{path}")
        except OSError as e:
            found[path] = {"kind": errno.errorcode[e.errno]}
        if found[path]["kind"] == "dir":
            top += [f"{path}/{name}" for name in os.listdir(f"{mount}/{path}")]
    return found


def differences(model, found, torn=None):
    """Texts. `torn`: a write that never ended; each of its bytes may be the old or the new one."""
    out = [f"{path} is lost" for path in model.entries if path not in found]
    out += [f"{path} should not be there" for path in found if path not in model.entries]
    for path in set(found) & set(model.entries):
        want, got = model.at(path), found[path]
        is_torn = torn is not None and model.entries[path] == model.entries.get(torn[1])
        for key, value in want.items():
            if value == got.get(key) or (key == "mtime" and (value is None or is_torn)):
                continue
            if key == "data" and is_torn and is_mixture(model, torn, got["data"]):
                continue
            out.append(f"{path}: {key} should be {str(value)[:60]}, is {str(got.get(key))[:60]}")
        if want["kind"] == "file" and got.get("nlink") != model.links(path):
            out.append(f"{path}: nlink should be {model.links(path)}, is {got.get('nlink')}")
    return out


def is_mixture(before, op, data):
    after = copy.deepcopy(before)
    apply(after, op)
    old, new, got = before.at(op[1])["data"], after.at(op[1])["data"], data
    if not min(len(old), len(new)) <= len(got) <= max(len(old), len(new)):
        return False
    return all(b == (old[i] if i < len(old) else b) or b == (new[i] if i < len(new) else b) for i, b in enumerate(got))


def replay(models, process):
    """The model after all that ended, and the call that did not."""
    model = Model.load(f"{models}/{process}.model")
    pending, calls = None, 0
    with open(f"{models}/{process}.journal") as f:
        for line in f:
            words = json.loads(line)
            if words[0] == "begin":
                pending = words[1:]
            else:
                if words[1] == 0:
                    apply(model, pending)
                pending = None
                calls += 1
    return model, pending, calls


def candidates(model, pending):
    """The states that may be there: before the pending call, after it, or in its midst."""
    yield model, None
    if pending is None:
        return
    after = copy.deepcopy(model)
    apply(after, pending)
    yield after, None
    if pending[0] in ("write", "kept", "append", "truncate"):
        yield model, pending
    if pending[0] == "create":  # made, and not all of its bytes written
        empty = copy.deepcopy(model)
        apply(empty, [*pending[:4], 0])
        yield empty, ["write", pending[1], 0, *pending[3:]]


def verify(mount, models, process):
    model, pending, calls = replay(models, process)
    found = scan(mount, process)
    first = None
    for candidate, torn in candidates(model, pending):
        wrong = differences(candidate, found, torn)
        if not wrong:
            adopt(candidate, found, f"{models}/{process}.model")
            print(f"process {process}: {calls} calls kept")
            return True
        first = first or wrong
    print(f"process {process}, pending {json.dumps(pending)}:", *first[:8], sep="\n  ", file=sys.stderr)
    print("  its journal:", *history(models, process, first[0].split()[0].rstrip(":")), sep="\n  ", file=sys.stderr)
    return False


def history(models, process, path):
    """The last calls that had to do with a path or a directory above it."""
    above = [path[:i] for i in range(len(path)) if path[i] == "/" and i > 7] + [path]
    with open(f"{models}/{process}.journal") as f:
        lines = [json.loads(line) for line in f]
    return [json.dumps(words) for words in lines if words[0] == "begin" and set(above) & set(map(str, words[2:4]))][-12:]


def adopt(model, found, path):
    for name, number in model.entries.items():
        if found[name]["kind"] == "file":
            model.objects[number]["data"] = found[name]["data"]
    model.save(path)


# ---- The layers, and the models that they start with.


def build(lowers, models):
    os.umask(0)
    top, bottom = lowers
    for layer in lowers:
        os.makedirs(f"{layer}/shared", exist_ok=True)
    for process in range(PROCESSES):
        model = Model()
        build_home(model, top, bottom, process)
        for i in range(6):
            name = f"shared/{process}-{i}"
            make_file(model, top if i % 2 else bottom, name, 0o644, i, 100)
        model.save(f"{models}/{process}.model")


def make_directory(model, layer, path, mode):
    os.makedirs(f"{layer}/{path}", exist_ok=True)
    os.chmod(f"{layer}/{path}", mode)
    if path not in model.entries:
        model.add(path, kind="dir", mode=mode, xattr=None)


def make_file(model, layer, path, mode, seed, length):
    real = f"{layer}/{path}"
    create(real, mode, seed, length)
    os.setxattr(real, "user.crash", b"lower")
    mtime = 1_000_000_000_123_456_789 + seed
    os.utime(real, ns=(mtime, mtime))
    model.add(path, kind="file", mode=mode, data=content(seed, length), xattr="lower", mtime=mtime)


def build_home(model, top, bottom, process):
    home = f"home{process}"
    for layer in (top, bottom):
        make_directory(model, layer, home, 0o755)
        make_directory(model, layer, f"{home}/merged", 0o711)
    make_directory(model, bottom, f"{home}/low", 0o700)
    make_directory(model, bottom, f"{home}/low/deep", 0o755)
    for i, length in enumerate([10, 5000, 70000, 300000]):
        make_file(model, bottom, f"{home}/low/f{i}", 0o644, 10 + i, length)
        make_file(model, top, f"{home}/merged/t{i}", 0o600, 20 + i, length)
        make_file(model, bottom, f"{home}/merged/b{i}", 0o644, 30 + i, length)
        make_file(model, bottom, f"{home}/low/deep/d{i}", 0o755, 40 + i, length)
    # Hidden by a whiteout, and by an opaque directory: neither may ever come back.
    create(f"{bottom}/{home}/hidden", 0o644, 1, 10)
    os.mknod(f"{top}/{home}/hidden", stat.S_IFCHR, os.makedev(0, 0))
    make_directory(model, top, f"{home}/opaque", 0o755)
    os.makedirs(f"{bottom}/{home}/opaque/below")
    os.setxattr(f"{top}/{home}/opaque", "trusted.overlay.opaque", b"y")
    os.link(f"{bottom}/{home}/low/f0", f"{bottom}/{home}/low/linked")
    model.entries[f"{home}/low/linked"] = model.entries[f"{home}/low/f0"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["build", "run", "verify"])
    parser.add_argument("--models", required=True)
    parser.add_argument("rest", nargs="*")
    options = parser.parse_intermixed_args()
    if options.verb == "build":
        build(options.rest, options.models)
    elif options.verb == "run":
        mount, process, seed = options.rest
        run(mount, options.models, int(process), int(seed))
    else:
        mount, *processes = options.rest
        results = [verify(mount, options.models, int(process)) for process in processes]
        names = sorted(name for name in os.listdir(mount))
        wanted = sorted([*(f"home{p}" for p in range(PROCESSES)), "shared"])
        if names != wanted:
            print(f"the root should hold {wanted}, holds {names}", file=sys.stderr)
        sys.exit(0 if all(results) and names == wanted else 1)


main()
