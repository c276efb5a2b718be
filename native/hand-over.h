// Handing a mount over to a server that runs already. See hand-over.cc.

#pragma once

#include <string>

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
  int status = 0;
  /** For stderr, each line with its end. */
  std::string words;
};

/** Where the server for callers like this process would be; empty when there can't be one. */
std::string serverSocket(const char *script);

/** Asks the server at `path` for the mount that `argv` (NULL at its end) describes. */
Outcome handOver(const std::string &path, char *const *argv);
