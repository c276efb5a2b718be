// Programs in containers: started with what only the new process itself can ask for between fork and exec
// (a controlling terminal, other ids), and waited for together with everything that a first process of a pid
// namespace inherits. Cold path.

#include "calls.h"
#include "sys.h"
#include <csignal>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <vector>

namespace {

/** Pointers to NUL-terminated strings that lie one after the other. */
std::vector<char *> pointers(std::string &text) {
  std::vector<char *> list;
  for (size_t at = 0; at < text.size(); at += strlen(&text[at]) + 1) list.push_back(&text[at]);
  list.push_back(nullptr);
  return list;
}

struct Program {
  /** -1 for our own standard streams. */
  int terminal;
  char **argv;
  char **env;
  const char *cwd;
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;
};

bool takeStreams(int terminal) {
  if (terminal >= 0 && ioctl(terminal, TIOCSCTTY, 0) < 0) return false;
  for (int fd : {0, 1, 2}) {
    // Node keeps what it inherited from its children.
    if (terminal < 0) fcntl(fd, F_SETFD, 0);
    else if (dup2(terminal, fd) < 0) return false;
  }
  return true;
}

/** In the child. Returns only when something failed. */
void become(const Program &program) {
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (setsid() < 0 || !takeStreams(program.terminal)) return;
  if (chdir(program.cwd) < 0) return;
  // EPERM: a user namespace of a single id has no say in groups.
  if (setgroups(program.groups.size(), program.groups.data()) < 0 && errno != EPERM) return;
  if (setgid(program.gid) < 0 || setuid(program.uid) < 0) return;
  environ = program.env;
  execvp(program.argv[0], program.argv);
}

int statusOf(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

int64_t spawnProgram(int32_t terminal, Bytes argv, Bytes env, Bytes cwd, int32_t uid, int32_t gid, Bytes groups) {
  std::string directory;
  if (argv.length == 0 || !cwd.toPath(directory) || groups.length % sizeof(gid_t) != 0) return -EINVAL;
  std::string words(reinterpret_cast<const char *>(argv.data), argv.length);
  std::string variables(reinterpret_cast<const char *>(env.data), env.length);
  std::vector<char *> wordList = pointers(words), variableList = pointers(variables);
  Program program{terminal, wordList.data(), variableList.data(), directory.c_str(),
                  static_cast<uid_t>(uid), static_cast<gid_t>(gid), {}};
  program.groups.resize(groups.length / sizeof(gid_t));
  if (groups.length > 0) memcpy(program.groups.data(), groups.data, groups.length);
  int report[2];
  if (pipe2(report, O_CLOEXEC) < 0) return -errno;
  pid_t pid = fork();
  if (pid == 0) {
    become(program);
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

int64_t execProgram(Bytes argv, Bytes env) {
  if (argv.length == 0) return -EINVAL;
  std::string words(reinterpret_cast<const char *>(argv.data), argv.length);
  std::string variables(reinterpret_cast<const char *>(env.data), env.length);
  std::vector<char *> wordList = pointers(words), variableList = pointers(variables);
  // Node keeps what it inherited from its children.
  for (int fd : {0, 1, 2}) fcntl(fd, F_SETFD, 0);
  execve(wordList[0], wordList.data(), variableList.data());
  return -errno;
}

int64_t reapChildren(int32_t pid) {
  int64_t result = -EAGAIN;
  for (;;) {
    int status = 0;
    int64_t ended = retry([&] { return waitpid(-1, &status, WNOHANG); });
    if (ended == pid) result = statusOf(status);
    // None has ended, or there are none.
    if (ended == 0) return result;
    if (ended < 0) return result == -EAGAIN ? ended : result;
  }
}
