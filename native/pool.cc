// The thread pools. Threads are detached and never end; the pools are never freed, so that a
// process may exit while they work.

#include "pool.h"
#include "place.h"
#include "sys.h"
#include <condition_variable>
#include <deque>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

static cpu_set_t allowedCpus;
static bool hasAllowedCpus = false;

void rememberCpus() {
  if (!hasAllowedCpus) hasAllowedCpus = sched_getaffinity(0, sizeof allowedCpus, &allowedCpus) == 0;
}

int64_t unpinThread(pid_t thread) {
  if (!hasAllowedCpus) return 0;
  return retry([&] { return sched_setaffinity(thread, sizeof allowedCpus, &allowedCpus); });
}

bool startThread(void *(*main)(void *), void *argument) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 512 * 1024);
  // Signals are for the main thread; a new thread inherits the mask of its maker.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  bool isStarted = pthread_create(&thread, &attributes, main, argument) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return isStarted;
}

struct Pool::State {
  std::mutex mutex;
  std::condition_variable hasWork;
  std::deque<std::unique_ptr<Job>> queue;
  int threads = 0;
  int idle = 0;
  int limit;
  const char *name;
};

Pool::Pool(int limit, const char *name) : state_(new State) {
  state_->limit = limit;
  state_->name = name;
}

void Pool::submit(std::unique_ptr<Job> job) {
  State &state = *state_;
  std::unique_lock<std::mutex> hold(state.mutex);
  if (static_cast<int>(state.queue.size()) >= state.idle && state.threads < state.limit) {
    if (startThread(Pool::main, this)) state.threads++;
    if (state.threads == 0) {
      hold.unlock();
      job->run();
      return;
    }
  }
  state.queue.push_back(std::move(job));
  state.hasWork.notify_one();
}

void *Pool::main(void *pool) {
  static_cast<Pool *>(pool)->loop();
  return nullptr;
}

void Pool::loop() {
  State &state = *state_;
  prctl(PR_SET_NAME, state.name, 0, 0, 0);
  freeThread();
  std::unique_lock<std::mutex> hold(state.mutex);
  for (;;) {
    state.idle++;
    state.hasWork.wait(hold, [&] { return !state.queue.empty(); });
    state.idle--;
    std::unique_ptr<Job> job = std::move(state.queue.front());
    state.queue.pop_front();
    hold.unlock();
    job->run();
    job.reset();
    hold.lock();
  }
}

Pool &slowPool() {
  static Pool *only = new Pool(4, "mica-pool");
  return *only;
}
