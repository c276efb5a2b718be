// With whose ids and which umask this thread makes files. See creds.cc.

#pragma once

#include "thread-state.h"

/** Reads the thread's ids and capabilities and gives it an umask of its own. Called by attach(). */
void initCreds();

/**
 * The time in which this thread lacks CAP_FSETID, so that what remembers its rights now, a backing file, has
 * the kernel clear set-id bits at a write later.
 */
class WithoutFsetid {
public:
  explicit WithoutFsetid(bool isWanted);
  ~WithoutFsetid();
  WithoutFsetid(const WithoutFsetid &) = delete;
  WithoutFsetid &operator=(const WithoutFsetid &) = delete;

private:
  bool wasTaken_ = false;
};

/**
 * The time of one making: on construction the thread has the wanted fs ids and umask, on
 * destruction its own ids again (the umask stays: only makings look at it).
 */
class Making {
public:
  Making(int dir, int32_t mode, int32_t uid, int32_t gid, int32_t umask);
  ~Making();
  Making(const Making &) = delete;
  Making &operator=(const Making &) = delete;
  /** The mode to give to the system call. */
  mode_t mode() const { return mode_; }
  /**
   * Does after the call what could not be arranged before it: owner and umask. `name` in `dir`,
   * or with name nullptr the open file `dir` itself. Returns 0 or -errno.
   */
  int64_t settle(int dir, const char *name, bool isSymlink = false);

private:
  void switchIds();
  void restoreIds();
  bool isForeign_ = false;  // ids are switched
  bool mustChown_ = false;  // ids could not be switched
  bool mustChmod_ = false;  // the process's umask takes bits that ours would leave
  uid_t uid_;
  gid_t gid_;
  mode_t mode_;
  int parent_;
};
