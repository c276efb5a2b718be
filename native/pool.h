// Threads for slow work. A job owns everything it touches (duplicated fds, its reply's port), so
// it may end after the worker that began it.

#pragma once

#include <memory>
#include <sys/types.h>
#include <utility>

class Job {
public:
  virtual ~Job() = default;
  virtual void run() = 0;
};

class Pool {
public:
  /** Threads are made when work waits for one, up to `limit`. */
  explicit Pool(int limit, const char *name);
  /** Runs the job on one of the threads, or at once when there is none to be had. */
  void submit(std::unique_ptr<Job> job);

  template <typename F> void submit(F work) {
    struct Lambda : Job {
      explicit Lambda(F &&work) : work(std::move(work)) {}
      void run() override { work(); }
      F work;
    };
    submit(std::unique_ptr<Job>(new Lambda(std::move(work))));
  }

private:
  static void *main(void *pool);
  void loop();
  struct State;
  State *state_;
};

/** Disk work: reads, fsync, copies, removals. */
Pool &slowPool();
/** Remembers on which CPUs this process may run, before any worker is pinned. */
void rememberCpus();
/** Lets a thread of this process (0: the calling one) run on all of them. */
int64_t unpinThread(pid_t thread = 0);
/** Starts a detached thread that takes no signals. Its policy and CPUs are those of the calling thread. */
bool startThread(void *(*main)(void *), void *argument);
