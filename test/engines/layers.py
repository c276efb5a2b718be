"""Lists the layers of a docker archive as JSON, the base first. usage: layers.py ARCHIVE BEFORE"""
import hashlib
import json
import sys
import tarfile

BEFORE = float(sys.argv[2])


def is_content(key):
    """What the kernel's driver needs for itself comes into the layers of ordinary users."""
    return key.startswith('SCHILY.xattr.') and not key.startswith('SCHILY.xattr.user.overlay.')


def describe(layer, entry):
    words = [entry.type.decode(), f'{entry.mode:o}', str(entry.uid), str(entry.gid), str(entry.size)]
    words.append('new' if entry.mtime >= BEFORE else str(entry.mtime))
    # The kernel's driver leaves an earlier entry's link in its whiteouts.
    words.append('' if '/.wh.' in f'/{entry.name}' else entry.linkname)
    words += [f'{k}={v}' for k, v in sorted(entry.pax_headers.items()) if is_content(k)]
    if entry.isreg():
        words.append(hashlib.sha256(layer.extractfile(entry).read()).hexdigest()[:16])
    return ' '.join(words)


layers = []
with tarfile.open(sys.argv[1]) as archive:
    manifest = json.load(archive.extractfile('manifest.json'))
    for name in manifest[0]['Layers']:
        file = archive.extractfile(archive.getmember(name))
        with tarfile.open(fileobj=file, errors='surrogateescape') as layer:
            layers.append({entry.name.strip('/'): describe(layer, entry) for entry in layer})
json.dump(layers, sys.stdout)
