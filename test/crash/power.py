"""Makes changes in a mount until the file system below it loses power (FS_IOC_GOINGDOWN, the journal not written).

power.py MOUNT DISK SECONDS STEP: chmod of every file f* in MOUNT (a copy-up each); every STEPth (0: none) is
then written and fsynced, and its name told on stdout when that succeeded. Ends when DISK is down.
"""

import fcntl
import os
import struct
import sys
import threading
import time

FS_IOC_GOINGDOWN = 0x8004587D
WITHOUT_JOURNAL = 2


def cut(disk, seconds):
    time.sleep(seconds)
    fcntl.ioctl(os.open(disk, os.O_RDONLY), FS_IOC_GOINGDOWN, struct.pack("I", WITHOUT_JOURNAL))


def main():
    mount, disk, seconds, step = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    threading.Thread(target=cut, args=(disk, seconds), daemon=True).start()
    try:
        for i, name in enumerate(sorted(n for n in os.listdir(mount) if n.startswith("f"))):
            path = os.path.join(mount, name)
            os.chmod(path, 0o600)
            if step and i % step == 0:
                fd = os.open(path, os.O_RDWR)
                os.pwrite(fd, b"promised", 0)
                os.fsync(fd)
                os.close(fd)
                print(name, flush=True)
            time.sleep(0.004)
        time.sleep(60)
    except OSError as error:
        print("down", error.errno, file=sys.stderr)


main()
