// Handing a mount over to a server that runs already. See hand-over.cc.

#pragma once

#include <string>
#include <sys/types.h>

enum class HandOver {
  /** There is none for us, or it sends us away: start a process. */
  none,
  /** The mount is live. */
  done,
  /** The server said no; `status` and `words` are for the caller. */
  failed,
};

struct Outcome {
  HandOver kind = HandOver::none;
  /** Whether there is a server at all. */
  bool isAnybodyThere = false;
  int status = 0;
  /** For stderr, each line with its end. */
  std::string words;
};

/** Where the server for callers like this process would be; empty when there can't be one. */
std::string serverSocket(const char *script);

/** A socket that listens for callers like this process, before there is anybody to answer. */
struct Door {
  int fd = -1;
  std::string path;
  ino_t inode = 0;
  /** Removes it, unless another one has taken its place. */
  void remove() const;
};

/** Makes the socket of a server to come; fd -1 when another one was quicker, or it can't be made. */
Door openDoor(const std::string &path);

/** Asks the server at `path` for the mount that `argv` (NULL at its end) describes. */
Outcome handOver(const std::string &path, char *const *argv);
