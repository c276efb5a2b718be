// mica-launch NODE SCRIPT ARGS...: starts the daemon in a session of its own and comes back as
// soon as the mount is live, without a Node process waiting in between. A mount of an engine
// (--overlay) goes to a server where there is one (hand-over.cc); where there is none, its
// daemon becomes one: MICA_SERVER names the listening socket's fd, MICA_SERVER_SOCKET its path, MICA_CALLER
// the process that wants the first mount.
//
// The daemon gets the write end of a pipe as fd number MICA_STATUS_FD and writes one line to it:
// "ok", or "error STATUS WORDS". It keeps our stdout and stderr until it says "ok" (it replaces
// them itself, before). An end of the pipe without a line means that it ended early.

#include "hand-over.h"
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t daemonPid = 0;
static volatile sig_atomic_t caught = 0;
/** Who called us. */
static pid_t caller = 0;

// The daemon does not hear the terminal: an interrupted start must not leave a mount behind.
static void onSignal(int number) {
  caught = number;
  if (daemonPid > 0) kill(daemonPid, SIGTERM);
}

static void writeStatus(int fd, const std::string &line) {
  (void)!write(fd, line.data(), line.size());
}

/**
 * Makes room for fds while this process has one thread: the kernel makes a process of several threads
 * wait for all CPUs each time its table grows.
 */
static void makeRoomForFds() {
  const rlim_t WANTED = 4096;
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  rlimit wide = limit;
  if (wide.rlim_cur < WANTED) wide.rlim_cur = wide.rlim_max < WANTED ? wide.rlim_max : WANTED;
  setrlimit(RLIMIT_NOFILE, &wide);
  int high = fcntl(0, F_DUPFD_CLOEXEC, static_cast<int>(wide.rlim_cur < WANTED ? wide.rlim_cur : WANTED) - 1);
  if (high >= 0) close(high);
  setrlimit(RLIMIT_NOFILE, &limit);
}

static void setNumber(const char *name, long number) { setenv(name, std::to_string(number).c_str(), 1); }

[[noreturn]] static void runDaemon(char **argv, int status, const Door &door) {
  setsid();
  int null = open("/dev/null", O_RDWR);
  if (null >= 0) {
    dup2(null, 0);
    if (null > 2) close(null);
  }
  for (int number : {SIGINT, SIGTERM, SIGHUP}) signal(number, SIG_DFL);
  makeRoomForFds();
  setNumber("MICA_STATUS_FD", status);
  if (door.fd >= 0) {
    setNumber("MICA_SERVER", fcntl(door.fd, F_DUPFD, 3));
    setenv("MICA_SERVER_SOCKET", door.path.c_str(), 1);
    setNumber("MICA_CALLER", caller);
  }
  execvp(argv[0], argv);
  writeStatus(status, std::string("error 127 mica: cannot run ") + argv[0] + ": " + strerror(errno) + "\n");
  _exit(127);
}

/** Everything up to the first newline or the end. */
static std::string readLine(int fd) {
  std::string line;
  char part[4096];
  for (;;) {
    ssize_t count = read(fd, part, sizeof part);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return line;
    line.append(part, static_cast<size_t>(count));
    size_t end = line.find('\n');
    if (end != std::string::npos) return line.substr(0, end + 1);
  }
}

static int endedEarly(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (caught) return 128 + caught;
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) return WEXITSTATUS(status);
  if (WIFSIGNALED(status)) {
    fprintf(stderr, "mica: the daemon was ended by signal %d\n", WTERMSIG(status));
    return 128 + WTERMSIG(status);
  }
  fprintf(stderr, "mica: the daemon ended before the mount was live\n");
  return 1;
}

int main(int argc, char **argv) {
  caller = getppid();
  if (argc < 3) {
    fprintf(stderr, "usage: mica-launch NODE SCRIPT [ARGUMENT...]\n");
    return 2;
  }
  std::string server = argc > 3 && strcmp(argv[3], "--overlay") == 0 ? serverSocket(argv[2]) : "";
  Door door;
  // A second time where another launcher is quicker to make a server.
  for (int attempt = 0; attempt < 2 && !server.empty() && door.fd < 0; attempt++) {
    Outcome outcome = handOver(server, argv + 4);
    fputs(outcome.words.c_str(), stderr);
    if (outcome.kind != HandOver::none) return outcome.status;
    if (outcome.isAnybodyThere) break;
    door = openDoor(server);
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    perror("mica: pipe");
    return 1;
  }
  struct sigaction action {};
  action.sa_handler = onSignal;
  for (int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
  pid_t pid = fork();
  if (pid < 0) {
    perror("mica: fork");
    return 1;
  }
  if (pid == 0) {
    // Stdin, stdout or stderr may be closed: a pipe end among them must not be overwritten.
    int status = fcntl(ends[1], F_DUPFD, 3);
    if (status < 0) _exit(127);
    close(ends[1]);
    runDaemon(argv + 1, status, door);
  }
  daemonPid = pid;
  if (caught) kill(pid, SIGTERM);
  close(ends[1]);

  std::string line = readLine(ends[0]);
  if (line == "ok\n") return 0;
  if (door.fd >= 0) door.remove();
  int code = 0, used = 0;
  if (sscanf(line.c_str(), "error %d %n", &code, &used) == 1 && used > 0) {
    fputs(line.c_str() + used, stderr);
    return code > 0 && code < 256 ? code : 1;
  }
  return endedEarly(pid);
}
