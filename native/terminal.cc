// Pseudo-terminals for containers: a pair, its size, and the outer one's raw mode. Cold path.

#include "calls.h"
#include "sys.h"
#include <sys/ioctl.h>
#include <termios.h>

int64_t terminalPeer(int32_t master) {
  int unlocked = 0;
  int64_t result = retry([&] { return ioctl(master, TIOCSPTLCK, &unlocked); });
  return result < 0 ? result : retry([&] { return ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC); });
}

int64_t setTerminalSize(int32_t fd, int32_t rows, int32_t columns) {
  struct winsize size = {};
  size.ws_row = static_cast<unsigned short>(rows);
  size.ws_col = static_cast<unsigned short>(columns);
  return retry([&] { return ioctl(fd, TIOCSWINSZ, &size); });
}

int64_t rawMode(int32_t fd, int32_t isRaw) {
  static struct termios before;
  static bool isKept = false;
  if (!isRaw) {
    if (!isKept) return 0;
    isKept = false;
    return retry([&] { return tcsetattr(fd, TCSADRAIN, &before); });
  }
  if (tcgetattr(fd, &before) < 0) return -errno;
  isKept = true;
  struct termios raw = before;
  cfmakeraw(&raw);
  return retry([&] { return tcsetattr(fd, TCSADRAIN, &raw); });
}
