"""Layers, changes and an engine's comparison for pristine.test.ts.

build FOLDER              makes the lowers `one` (the bottom), `two` and `three` in it
change ROOT SEED COUNT    makes so many random changes in a tree
compare UNION PRISTINE UPPER
                          walks both trees as container engines do, which pass over what has the same device and
                          inode; prints as JSON what that would get wrong, and how much was passed over
"""
import json
import os
import random
import shutil
import stat
import sys

TIME = (10**9, 10**9)


def put(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as file:
        file.write(text)
    os.chmod(path, mode)
    os.utime(path, TIME)


def build(folder):
    one, two, three = (os.path.join(folder, name) for name in ('one', 'two', 'three'))
    for d in range(6):
        for f in range(5):
            put(f'{one}/d{d}/s{f % 2}/f{f}', f'one {d} {f}', 0o600 + f)
            put(f'{one}/d{d}/f{f}', f'one {d} {f}')
        os.link(f'{one}/d{d}/f0', f'{one}/d{d}/linked')
        os.symlink('f1', f'{one}/d{d}/link')
        os.mkfifo(f'{one}/d{d}/fifo')
    os.link(f'{one}/d0/f1', f'{one}/d5/far')
    os.setxattr(f'{one}/d1/f2', 'user.name', b'value')
    for d in (1, 2, 6):
        put(f'{two}/d{d}/f1', f'two {d}')
        put(f'{two}/d{d}/s1/more', f'two {d}')
        put(f'{two}/d{d}/.wh.f3', '')
    put(f'{two}/d3/.wh..wh..opq', '')
    put(f'{two}/d3/only', 'two')
    put(f'{three}/d1/s1/top', 'three')
    put(f'{three}/d4/f4', 'three')
    os.mknod(f'{three}/d4/f2', stat.S_IFCHR, os.makedev(0, 0))
    os.makedirs(f'{three}/d5/s0')
    os.setxattr(f'{three}/d5/s0', 'trusted.overlay.opaque', b'y')
    os.mkdir(os.path.join(folder, 'empty'))


def paths(root):
    files, dirs = [], []
    for at, names, others in os.walk(root):
        dirs += [os.path.join(at, name) for name in names if not os.path.islink(os.path.join(at, name))]
        files += [os.path.join(at, name) for name in others]
    return files, dirs


def change(root, seed, count):
    rng = random.Random(seed)

    def append(file, _):
        with open(file, 'a') as out:
            out.write('more')

    def rewrite(file, _):
        os.utime(file, TIME)
        with open(file, 'r+') as out:
            out.write('x')
        os.utime(file, TIME)

    def remake(_, folder):
        shutil.rmtree(folder)
        os.mkdir(folder)
        put(f'{folder}/f1', 'again')

    def replace(file, _):
        os.unlink(file)
        os.mkdir(file)
        put(f'{file}/in', 'x')

    def move(_, folder):
        new = f'{os.path.dirname(folder)}/m{rng.randrange(10**6)}'
        os.rename(folder, new)
        if rng.random() < 0.4:
            os.rename(new, folder)
        elif rng.random() < 0.4:
            os.mkdir(folder)

    def put_new(_, folder):
        put(f'{folder}/n{rng.randrange(100)}', 'new')

    steps = [
        append,
        rewrite,
        lambda file, _: os.chmod(file, 0o640),
        lambda file, _: os.setxattr(file, 'user.new', b'x'),
        lambda file, _: os.unlink(file),
        lambda file, _: os.rename(file, file + '~'),
        lambda file, folder: os.link(file, f'{folder}/l{rng.randrange(100)}'),
        lambda _, folder: os.chmod(folder, 0o700),
        lambda _, folder: shutil.rmtree(folder),
        remake,
        replace,
        move,
        put_new,
    ]
    for _ in range(count):
        files, dirs = paths(root)
        files = [file for file in files if stat.S_ISREG(os.lstat(file).st_mode)]
        if not files or not dirs:
            return
        try:
            rng.choice(steps)(rng.choice(files), rng.choice(dirs))
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            pass


def describe(path):
    st = os.lstat(path)
    times = st.st_mtime_ns
    xattrs = sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in os.listxattr(path, follow_symlinks=False))
    content = None
    if stat.S_ISREG(st.st_mode):
        with open(path, 'rb') as file:
            content = file.read()
    elif stat.S_ISLNK(st.st_mode):
        content = os.readlink(path)
    return st.st_mode, st.st_uid, st.st_gid, st.st_rdev, times, xattrs, content


def is_same(one, other):
    """Whether two trees are the same in all that an engine looks at."""
    if describe(one) != describe(other):
        return False
    if not stat.S_ISDIR(os.lstat(one).st_mode):
        return True
    names = sorted(os.listdir(one))
    return names == sorted(os.listdir(other)) and all(is_same(f'{one}/{name}', f'{other}/{name}') for name in names)


def is_merged(upper):
    """Whether the lowers show through a directory of the upper."""
    marks = [name for name in os.listxattr(upper) if name in ('trusted.overlay.opaque', 'trusted.overlay.redirect')]
    return marks == []


class Comparison:
    def __init__(self, union, pristine, upper):
        self.result = {'passed': 0, 'wrong': [], 'needless': [], 'inodes': []}
        self.device = os.lstat(union).st_dev
        self.isOneDevice = os.lstat(pristine).st_dev == self.device
        self.walk(union, pristine, upper)
        self.result['isOneDevice'] = self.isOneDevice

    def walk(self, union, pristine, upper):
        ours, theirs = ({entry.name: entry for entry in os.scandir(path)} for path in (union, pristine))
        for name, entry in theirs.items():
            here, there = f'{union}/{name}', f'{pristine}/{name}'
            if os.lstat(there).st_ino != entry.inode():
                self.result['inodes'].append(there)
            if name not in ours:
                continue
            isTouched = upper is not None and os.path.lexists(f'{upper}/{name}')
            if self.isOneDevice and ours[name].inode() == entry.inode():
                self.result['passed'] += 1
                if isTouched or not is_same(here, there):
                    self.result['wrong'].append(here)
                continue
            if upper is not None and not isTouched:
                self.result['needless'].append(here)
            isDir = all(each.is_dir(follow_symlinks=False) for each in (ours[name], entry))
            if isDir:
                below = f'{upper}/{name}' if isTouched and is_merged(f'{upper}/{name}') else None
                self.walk(here, there, below)


verb, *arguments = sys.argv[1:]
if verb == 'build':
    build(*arguments)
elif verb == 'change':
    change(arguments[0], int(arguments[1]), int(arguments[2]))
else:
    print(json.dumps(Comparison(*arguments).result))
