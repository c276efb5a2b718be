// Where a worker runs, beside the program that it answers.
//
// A caller sleeps until its answer is there. Which CPU it wakes on, the scheduler chooses in the moment
// of the answer: its old one, if that is idle, else another idle one. But the old one is where the
// worker runs that answers, so the caller is moved to a CPU that sleeps, again and again, and each
// request waits for a CPU to wake up (20 us and more). A CPU that only runs SCHED_IDLE threads counts as
// idle (kernel/sched/fair.c:sched_idle_cpu()): for a worker that steps back to that policy the caller
// stays where it is.
//
// Such a worker gets nothing while others want its CPU. So a guard looks at all that have stepped back,
// every few milliseconds: who could run and did not comes forward again, and may not step back for a
// while; who had nothing to do comes forward, too. When none is back, the guard sleeps.
//
// A transport tells of each request whose it is (Callers), which decides when a worker steps back, and where.

#include "place.h"
#include "calls.h"
#include "pool.h"
#include "sys.h"
#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <new>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <thread>
#include <time.h>
#include <vector>

#ifndef SCHED_IDLE
#define SCHED_IDLE 5
#endif

/** Between two looks of the guard. */
static const int64_t LOOK_NS = 5'000'000;
/** Looks at a thread that could run and did not. */
static const int HUNGRY_MAX = 2;
/** Looks at a thread that has nothing to do. */
static const int QUIET_MAX = 20;
/** A thread that was kept from running stays forward for so long: doubled each time, up to the most. */
static const int64_t PENANCE_NS = 100'000'000;
static const int64_t PENANCE_MAX_NS = 6'400'000'000;
/** Callers are judged by so many requests at a time. */
static const int WINDOW = 32;
/** A window that took longer is no rush: what waking a CPU costs does not matter there. */
static const int64_t RUSH_NS = 20'000'000;
/** Requests of a window that came from a caller who was moved, before a worker on a ring steps back. */
static const int MOVES_MIN = 8;
/** Requests of a window that came from one caller, before the worker on the device goes where it is. */
static const int OWN_MIN = 24;
/** A caller is followed until a window takes so long. */
static const int64_t PAUSE_NS = 500'000'000;
/** Windows between two looks at the CPU of a caller that is followed; fewer when one was much slower than others. */
static const int LOOK_WINDOWS = 8;
static const double MUCH_SLOWER = 1.5;
/** The quickest window is forgotten bit by bit. */
static const double PACE_GROWTH = 1.02;

/** One thread that steps back at times. Its policy is the guard's affair alone: see wish(). */
struct Place {
  pid_t thread;
  std::atomic<uint32_t> beats{0};
  std::atomic<bool> isWanted{false}; // the thread wants to be back
  std::atomic<bool> isBack{false};   // and is
  std::atomic<int64_t> notBefore{0}; // ns
  std::atomic<int> cpu{-1};          // where stepBack() pinned it to
  uint32_t seen = 0;
  int hungry = 0;
  int quiet = 0;
  int64_t penance = 0; // ns; the last one
};

/** The policy of the process when it loaded the addon. */
static int firstPolicy = -1;

namespace {

struct Guard {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Place *> places;
  bool isStarted = false;
};

Guard &guard() {
  static Guard *only = new Guard;
  return *only;
}

int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

int64_t setPolicy(pid_t thread, int policy) {
  sched_param none{};
  return retry([&] { return sched_setscheduler(thread, policy, &none); });
}

/** Reads a file of /proc and returns the text after the last ')': a name may hold anything. */
const char *fieldsOf(const char *path, char *text, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return nullptr;
  ssize_t length = read(fd, text, size - 1);
  close(fd);
  if (length <= 0) return nullptr;
  text[length] = 0;
  const char *end = strrchr(text, ')');
  return end && end[1] == ' ' ? end + 2 : nullptr;
}

/** Returns the state letter of a thread of this process; 0: it is gone. */
char stateOf(pid_t thread) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
  const char *fields = fieldsOf(path, text, sizeof text);
  return fields ? *fields : 0;
}

void forward(Place &place) {
  setPolicy(place.thread, SCHED_OTHER);
  if (place.cpu.exchange(-1) >= 0) unpinThread(place.thread);
  place.hungry = place.quiet = 0;
  place.isWanted.store(false, std::memory_order_relaxed);
  place.isBack.store(false, std::memory_order_release);
}

void look(Place &place) {
  uint32_t beats = place.beats.load(std::memory_order_relaxed);
  if (beats != place.seen) {
    place.seen = beats;
    place.hungry = place.quiet = 0;
    return;
  }
  if (stateOf(place.thread) != 'R') {
    if (++place.quiet >= QUIET_MAX) forward(place);
    return;
  }
  if (++place.hungry < HUNGRY_MAX) return;
  int64_t time = now();
  bool isAgain = time < place.notBefore.load() + 4 * place.penance;
  place.penance = isAgain ? std::min(2 * place.penance, PENANCE_MAX_NS) : PENANCE_NS;
  place.notBefore.store(time + place.penance);
  forward(place);
}

/** Does what the thread asked for. Only here a thread is put back, and never while it holds the mutex. */
void wish(Place &place) {
  bool isWanted = place.isWanted.load(std::memory_order_relaxed);
  if (isWanted == place.isBack.load(std::memory_order_relaxed)) return;
  if (!isWanted) return forward(place);
  if (setPolicy(place.thread, SCHED_IDLE) == 0) place.isBack.store(true, std::memory_order_release);
  else place.isWanted.store(false, std::memory_order_relaxed);
}

void *keepWatch(void *) {
  prctl(PR_SET_NAME, "mica-guard", 0, 0, 0);
  freeThread();
  Guard &all = guard();
  std::unique_lock<std::mutex> hold(all.mutex);
  auto needsUs = [](const Place *place) { return place->isWanted.load() || place->isBack.load(); };
  for (;;) {
    all.changed.wait(hold, [&] { return std::any_of(all.places.begin(), all.places.end(), needsUs); });
    for (Place *place : all.places) {
      if (place->isBack.load()) look(*place);
      wish(*place);
    }
    hold.unlock();
    timespec pause{0, LOOK_NS};
    nanosleep(&pause, nullptr);
    hold.lock();
  }
}

/** Needs: the guard's mutex. */
bool startGuard(Guard &all) {
  if (!all.isStarted) all.isStarted = startThread(keepWatch, nullptr);
  return all.isStarted;
}

/**
 * Tells whether threads may step back: the process was started with the usual policy, and may return
 * to it (CAP_SYS_NICE, or RLIMIT_NICE). Found out on a thread of its own, as there may be no way back.
 */
bool mayStepBack() {
  static const bool may = [] {
    bool isBack = false;
    std::thread trial([&] { isBack = setPolicy(0, SCHED_IDLE) == 0 && setPolicy(0, SCHED_OTHER) == 0; });
    trial.join();
    return isBack && firstPolicy == SCHED_OTHER;
  }();
  return may;
}

} // namespace

void rememberPolicy() {
  if (firstPolicy < 0) firstPolicy = sched_getscheduler(0);
}

int64_t freeThread() {
  // A thread has the policy of its maker, which may be back.
  if (firstPolicy == SCHED_OTHER && sched_getscheduler(0) == SCHED_IDLE) setPolicy(0, SCHED_OTHER);
  return unpinThread();
}

namespace {

/**
 * A worker on a ring is pinned to the CPU that its requests come from. When it sees one caller come in turns here
 * and on another ring, callers are being moved, and it steps back.
 */
class RingCallers : public Callers {
public:
  /** `last`: a word that all rings of the mount share; who came last, and where. `worker`: this ring's number. */
  RingCallers(int32_t *last, uint32_t worker) : last_(last), worker_(worker) {}

  bool note(uint32_t pid) override {
    if (pid == 0) return false;
    // Thread numbers have 22 bits at most (PID_MAX_LIMIT). A hint: races lose nothing but that.
    int32_t here = static_cast<int32_t>(pid << 8 | (worker_ & 0xff));
    int32_t before = __atomic_load_n(last_, __ATOMIC_RELAXED);
    if (before != here) {
      if (static_cast<uint32_t>(before ^ here) >> 8 == 0) moves_++;
      __atomic_store_n(last_, here, __ATOMIC_RELAXED);
    }
    if (taken_++ == 0) since_ = now();
    if (taken_ < WINDOW) return false;
    bool isMoved = moves_ >= MOVES_MIN && now() - since_ < RUSH_NS;
    taken_ = moves_ = 0;
    return isMoved && stepBack(-1) == 0;
  }

private:
  int32_t *last_;
  uint32_t worker_;
  int taken_ = 0;
  int moves_ = 0;
  int64_t since_ = 0; // ns
};

/** The one worker on the device gets the requests of all CPUs. When one caller sends most, it goes where that one is. */
class DeviceCallers : public Callers {
public:
  bool note(uint32_t pid) override {
    if (pid == 0) return false;
    if (pid == pid_) own_++;
    else if (own_ <= taken_ / 2) {
      pid_ = pid;
      own_ = 1;
    }
    if (taken_++ == 0) since_ = now();
    if (taken_ < WINDOW) return false;
    int64_t took = now() - since_;
    if (own_ >= OWN_MIN && took < (isFollowing_ ? PAUSE_NS : RUSH_NS)) follow(took);
    else if (isFollowing_) {
      isFollowing_ = false;
      stepForward();
    }
    taken_ = own_ = 0;
    return isFollowing_;
  }

private:
  void follow(int64_t took) {
    pace_ = std::min(pace_ * PACE_GROWTH, static_cast<double>(took));
    bool mayHaveMoved = static_cast<double>(took) > pace_ * MUCH_SLOWER;
    if (isFollowing_ && ++looks_ < LOOK_WINDOWS && !mayHaveMoved) return;
    looks_ = 0;
    int64_t cpu = cpuOf(static_cast<int32_t>(pid_));
    isFollowing_ = cpu >= 0 && stepBack(static_cast<int32_t>(cpu)) == 0;
  }

  uint32_t pid_ = 0;
  int own_ = 0;
  int taken_ = 0;
  int64_t since_ = 0; // ns
  bool isFollowing_ = false;
  int looks_ = 0;
  double pace_ = INFINITY; // ns of the quickest window
};

int64_t watch(Callers *callers) {
  endCallers();
  tls.callers = callers;
  return callers ? 0 : -ENOMEM;
}

} // namespace

int64_t watchRingCallers(Bytes last, uint32_t worker) {
  if (last.length < 4) return -EINVAL;
  return watch(new (std::nothrow) RingCallers(reinterpret_cast<int32_t *>(const_cast<uint8_t *>(last.data)), worker));
}

int64_t watchDeviceCallers() { return watch(new (std::nothrow) DeviceCallers); }

int64_t noteCaller(uint32_t pid) { return tls.callers && tls.callers->note(pid) ? 1 : 0; }

void endCallers() {
  delete tls.callers;
  tls.callers = nullptr;
}

void beat(Place *place) {
  place->beats.store(place->beats.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

int64_t stepBack(int32_t cpu) {
  if (cpu >= CPU_SETSIZE) return -EINVAL;
  Place *place = tls.place;
  if (place && place->isWanted.load(std::memory_order_relaxed) && place->cpu == cpu) return 0;
  if (!mayStepBack()) return -EPERM;
  if (place && now() < place->notBefore.load(std::memory_order_relaxed)) return -EAGAIN;
  if (cpu >= 0) {
    int64_t pinned = pinToCpu(cpu);
    if (pinned < 0) return pinned;
  }
  if (place) {
    place->cpu = cpu;
    place->isWanted.store(true);
    // The guard is awake as long as anybody is back. Who is back never takes the mutex.
    if (place->isBack.load()) return 0;
  }
  Guard &all = guard();
  std::lock_guard<std::mutex> hold(all.mutex);
  if (!startGuard(all)) return -EAGAIN;
  if (!place) {
    place = tls.place = new Place;
    place->thread = static_cast<pid_t>(syscall(SYS_gettid));
    all.places.push_back(place);
  }
  place->cpu = cpu;
  place->isWanted.store(true);
  all.changed.notify_one();
  return 0;
}

int64_t stepForward() {
  Place *place = tls.place;
  if (!place || !place->isWanted.load(std::memory_order_relaxed)) return 0;
  // The guard sees it at its next look.
  place->isWanted.store(false);
  if (place->cpu.exchange(-1) >= 0) unpinThread();
  return 0;
}

void leavePlace() {
  endCallers();
  Place *place = tls.place;
  if (!place) return;
  stepForward();
  setPolicy(0, SCHED_OTHER);
  Guard &all = guard();
  std::lock_guard<std::mutex> hold(all.mutex);
  all.places.erase(std::find(all.places.begin(), all.places.end(), place));
  tls.place = nullptr;
  delete place;
}

int64_t cpuOf(int32_t thread) {
  const int PROCESSOR = 39; // as proc(5) counts; the text begins with field 3
  char path[32], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", thread);
  const char *fields = fieldsOf(path, text, sizeof text);
  if (!fields) return -ESRCH;
  for (int field = 3; field < PROCESSOR; field++) {
    fields = strchr(fields, ' ');
    if (!fields) return -ESRCH;
    fields++;
  }
  return atoi(fields);
}
