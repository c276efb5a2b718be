// Pseudo-terminals for containers: a pair, its size, and a program that has it as controlling terminal,
// which only the program's own process can ask for between fork and exec. Cold path.

#include "calls.h"
#include "sys.h"
#include <csignal>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <vector>

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

namespace {

/** Pointers to NUL-terminated strings that lie one after the other. */
std::vector<char *> pointers(std::string &text) {
  std::vector<char *> list;
  for (size_t at = 0; at < text.size(); at += strlen(&text[at]) + 1) list.push_back(&text[at]);
  list.push_back(nullptr);
  return list;
}

/** In the child. Returns only when something failed. */
void becomeProgram(int terminal, char **argv, char **env, const char *cwd, int32_t uid, int32_t gid) {
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (setsid() < 0 || ioctl(terminal, TIOCSCTTY, 0) < 0) return;
  for (int fd : {0, 1, 2})
    if (dup2(terminal, fd) < 0) return;
  if (setgroups(0, nullptr) < 0 && errno != EPERM) return;
  if (gid >= 0 && setgid(static_cast<gid_t>(gid)) < 0) return;
  if (uid >= 0 && setuid(static_cast<uid_t>(uid)) < 0) return;
  if (chdir(cwd) < 0) return;
  environ = env;
  execvp(argv[0], argv);
}

}  // namespace

int64_t spawnOnTerminal(int32_t terminal, Bytes argv, Bytes env, Bytes cwd, int32_t uid, int32_t gid) {
  std::string directory;
  if (argv.length == 0 || !cwd.toPath(directory)) return -EINVAL;
  std::string words(reinterpret_cast<const char *>(argv.data), argv.length);
  std::string variables(reinterpret_cast<const char *>(env.data), env.length);
  std::vector<char *> wordList = pointers(words), variableList = pointers(variables);
  int report[2];
  if (pipe2(report, O_CLOEXEC) < 0) return -errno;
  pid_t pid = fork();
  if (pid == 0) {
    becomeProgram(terminal, wordList.data(), variableList.data(), directory.c_str(), uid, gid);
    int reason = errno;
    (void)!write(report[1], &reason, sizeof reason);
    _exit(127);
  }
  int failure = pid < 0 ? errno : 0;
  close(report[1]);
  int reason = 0;
  if (pid > 0 && retry([&] { return read(report[0], &reason, sizeof reason); }) > 0) {
    failure = reason;
    retry([&] { return waitpid(pid, nullptr, 0); });
  }
  close(report[0]);
  return failure != 0 ? -failure : pid;
}

int64_t reapChild(int32_t pid) {
  int status = 0;
  int64_t result = retry([&] { return waitpid(pid, &status, WNOHANG); });
  if (result < 0) return result;
  if (result == 0) return -EAGAIN;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
