"""Lists a tree as JSON: what an image keeps of each path. usage: tree.py ROOT [BEFORE]

Times at or after BEFORE (seconds since 1970) become "new", as no two runs make the same ones.
"""
import hashlib
import json
import os
import stat
import sys

ROOT = os.fsencode(sys.argv[1])
BEFORE = float(sys.argv[2]) if len(sys.argv) > 2 else float('inf')
HIDDEN = ('trusted.overlay.', 'user.overlay.', 'user.umoci', 'user.containers.', 'user.fuseoverlayfs.')


def xattrs(path):
    names = sorted(n for n in os.listxattr(path, follow_symlinks=False) if not n.startswith(HIDDEN))
    return [f'{n}={os.getxattr(path, n, follow_symlinks=False).hex()}' for n in names]


def content(path):
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()[:16]


def describe(path, first):
    st = os.lstat(path)
    words = [f'{st.st_mode:o}', str(st.st_uid), str(st.st_gid)]
    words.append('new' if st.st_mtime >= BEFORE else f'{st.st_mtime_ns}')
    words += xattrs(path)
    if stat.S_ISREG(st.st_mode):
        words.append(content(path))
    elif stat.S_ISLNK(st.st_mode):
        words.append(os.fsdecode(os.readlink(path)))
    elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        words.append(f'{os.major(st.st_rdev)}:{os.minor(st.st_rdev)}')
    if not stat.S_ISDIR(st.st_mode) and st.st_nlink > 1:
        words.append(f'{st.st_nlink} names, the first {first.setdefault(st.st_ino, path[len(ROOT):].decode("latin1"))}')
    return ' '.join(words), stat.S_ISDIR(st.st_mode)


def walk(path, first, lines):
    line, is_dir = describe(path, first)
    lines[path[len(ROOT):].decode('latin1')] = line
    if is_dir:
        for name in sorted(os.listdir(path)):
            walk(path + b'/' + name, first, lines)


lines = {}
walk(ROOT, {}, lines)
json.dump(lines, sys.stdout)
