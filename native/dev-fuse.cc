// The classic transport: requests are read from /dev/fuse on a worker's own event loop.
//
// uv_poll calls TypeScript when the device is readable, uv_async when a completion waits; then
// TypeScript asks for one request after the other. The transport works on a duplicate of the
// session's fd, so that nothing here depends on when the session closes its own. Both handles
// are closed at ENODEV, at devFuseStop() and when the environment goes: a loop that is left with
// an open handle would abort the process.

#include "abi.h"
#include "at-once.h"
#include "calls.h"
#include "place.h"
#include "sys.h"
#include "worker.h"
#include <cstdio>
#include <sys/uio.h>
#include <uv.h>

namespace {

/** Requests answered without TypeScript between two turns of the event loop. */
const uint32_t DRAIN_MAX = 256;

/** The kernel takes errors from -511 to 0 and would leave a request with any other unanswered. */
int sane(int64_t error) { return error < 0 && error > -512 ? static_cast<int>(error) : -EIO; }

bool hasNoReply(uint32_t opcode, uint64_t unique) {
  return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || unique == 0;
}

/** ENOENT: the request was interrupted, or its connection is gone. There is no one to tell. */
int64_t written(int64_t result) { return result >= 0 || result == -ENOENT ? 0 : result; }

} // namespace

class DevicePort : public ReplyPort {
public:
  explicit DevicePort(OwnedFd fd) : fd_(std::move(fd)) {}
  int fd() const { return fd_.get(); }

  int64_t send(uint64_t unique, uint64_t, int error, const void *body, size_t length) override {
    if (unique == 0) return 0; // that would be a notification
    if (error != 0) length = 0;
    fuse_out_header header{static_cast<uint32_t>(sizeof header + length), error ? sane(error) : 0, unique};
    struct iovec parts[2] = {{&header, sizeof header}, {const_cast<void *>(body), length}};
    return written(retry([&] { return writev(fd_.get(), parts, length ? 2 : 1); }));
  }

  int64_t answer(const Current &current, int64_t result) override {
    if (hasNoReply(current.opcode, current.unique)) return 0;
    if (result > static_cast<int64_t>(OUT_CAPACITY)) result = -EIO;
    size_t length = result > 0 ? static_cast<size_t>(result) : 0;
    fuse_out_header header{static_cast<uint32_t>(sizeof header + length), result < 0 ? sane(result) : 0,
                           current.unique};
    uint8_t *at = tls.arena + OUT - sizeof header;
    memcpy(at, &header, sizeof header);
    return written(retry([&] { return write(fd_.get(), at, header.len); }));
  }

  void describe(const Current &current) override {
    auto *control = reinterpret_cast<uint32_t *>(tls.arena + CTL);
    control[CTL_IN_LENGTH] = current.length;
    control[CTL_OUT] = OUT;
    control[CTL_OUT_CAPACITY] = OUT_CAPACITY;
    control[CTL_DATA] = IN + sizeof(fuse_in_header) + sizeof(fuse_write_in);
  }

private:
  OwnedFd fd_;
};

struct DevFuse : Waker {
  napi_env env;
  napi_ref callback = nullptr;
  napi_async_cleanup_hook_handle hook = nullptr;
  std::shared_ptr<DevicePort> port;
  std::shared_ptr<Worker> worker;
  uv_poll_t poll;
  uv_async_t async;
  uv_timer_t timer;
  uint32_t pauseMs = 0;
  int64_t first = 0; // what nextRequest() returned and TypeScript has not been told
  int openHandles = 0;
  bool isClosing = false;

  void wake() override { uv_async_send(&async); }
  void call();
  void report();
  int64_t nextRequest();
  void close();
};

/** One line for an exception that came out of the callback; it must not end the mount. */
void DevFuse::report() {
  bool isPending = false;
  napi_is_exception_pending(env, &isPending);
  if (!isPending) return;
  napi_value error, text;
  char words[512] = "unknown error";
  size_t length;
  if (napi_get_and_clear_last_exception(env, &error) == napi_ok && napi_coerce_to_string(env, error, &text) == napi_ok)
    napi_get_value_string_utf8(env, text, words, sizeof words, &length);
  else napi_get_and_clear_last_exception(env, &error);
  fprintf(stderr, "mica: request handler: %s\n", words);
  if (tls.current.isHere) reply(-EIO);
}

void DevFuse::call() {
  if (isClosing) return;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value function, global;
  if (napi_get_reference_value(env, callback, &function) == napi_ok && napi_get_global(env, &global) == napi_ok) {
    napi_make_callback(env, nullptr, global, function, 0, nullptr, nullptr);
    report();
  }
  napi_close_handle_scope(env, scope);
  // The callback may have stopped early: several wake-ups arrive as one.
  if (!isClosing && worker->hasWaiting()) wake();
}

static void afterClose(uv_handle_t *handle) {
  auto *device = static_cast<DevFuse *>(handle->data);
  if (--device->openHandles > 0) return;
  // Lets the environment go on with its end; removes the hook when there is no end yet.
  if (device->hook) napi_remove_async_cleanup_hook(device->hook);
  delete device;
}

void DevFuse::close() {
  if (isClosing) return;
  isClosing = true;
  worker->setWaker(nullptr);
  dropParkedOf(worker.get());
  worker->dropRequests();
  if (callback) napi_delete_reference(env, callback);
  if (tls.device == this) tls.device = nullptr;
  endAtOnce();
  endCallers();
  if (tls.current.isHere && tls.current.port == port.get()) reply(-EIO);
  uv_close(reinterpret_cast<uv_handle_t *>(&poll), afterClose);
  uv_close(reinterpret_cast<uv_handle_t *>(&async), afterClose);
  uv_close(reinterpret_cast<uv_handle_t *>(&timer), afterClose);
}

static void onReadable(uv_poll_t *handle, int status, int);

static void onPauseEnd(uv_timer_t *handle) {
  uv_poll_start(&static_cast<DevFuse *>(handle->data)->poll, UV_READABLE, onReadable);
}

// A broken device stops the poll handle; it goes on until TypeScript has read why.
static void onReadable(uv_poll_t *handle, int status, int) {
  auto *device = static_cast<DevFuse *>(handle->data);
  // Many a wake-up of a fresh mount needs no TypeScript.
  if (tls.atOnce && status >= 0) device->first = device->nextRequest();
  if (device->first != -EAGAIN) device->call();
  device->first = 0;
  if (device->isClosing) return;
  if (status < 0) uv_poll_start(handle, UV_READABLE, onReadable);
  else if (device->pauseMs > 0 && uv_timer_start(&device->timer, onPauseEnd, device->pauseMs, 0) == 0) uv_poll_stop(handle);
}

static void onCompletion(uv_async_t *handle) { static_cast<DevFuse *>(handle->data)->call(); }

static void onEnvironmentEnd(napi_async_cleanup_hook_handle, void *data) { static_cast<DevFuse *>(data)->close(); }

/** Opens all handles. Returns 0 or -errno; on failure the caller closes what is open. */
static int64_t openHandles(DevFuse *device, uv_loop_t *loop) {
  int result = uv_async_init(loop, &device->async, onCompletion);
  if (result != 0) return result;
  device->async.data = device;
  device->openHandles++;
  uv_timer_init(loop, &device->timer);
  device->timer.data = device;
  device->openHandles++;
  result = uv_poll_init(loop, &device->poll, device->port->fd());
  if (result != 0) return result;
  device->poll.data = device;
  device->openHandles++;
  return uv_poll_start(&device->poll, UV_READABLE, onReadable);
}

static void abandon(DevFuse *device) {
  device->isClosing = true;
  if (device->callback) napi_delete_reference(device->env, device->callback);
  int opened = device->openHandles;
  if (opened == 0) delete device;
  if (opened > 2) uv_close(reinterpret_cast<uv_handle_t *>(&device->poll), afterClose);
  if (opened > 0) uv_close(reinterpret_cast<uv_handle_t *>(&device->timer), afterClose);
  if (opened > 0) uv_close(reinterpret_cast<uv_handle_t *>(&device->async), afterClose);
}

static int64_t start(napi_env env, int fd, napi_value callback) {
  if (!tls.worker || tls.arenaSize < TRANSPORT_BYTES) return -EINVAL;
  if (tls.device) return -EBUSY;
  OwnedFd own = OwnedFd::duplicate(fd);
  if (!own.isOpen()) return -errno;
  int flags = fcntl(own.get(), F_GETFL);
  if (flags < 0 || fcntl(own.get(), F_SETFL, flags | O_NONBLOCK) < 0) return -errno;
  uv_loop_t *loop;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return -EINVAL;
  auto *device = new DevFuse;
  device->env = env;
  device->port = std::make_shared<DevicePort>(std::move(own));
  device->worker = *tls.worker;
  int64_t result = openHandles(device, loop);
  if (result == 0 && napi_create_reference(env, callback, 1, &device->callback) != napi_ok) result = -ENOMEM;
  if (result == 0 && napi_add_async_cleanup_hook(env, onEnvironmentEnd, device, &device->hook) != napi_ok)
    result = -ENOMEM;
  if (result < 0) {
    abandon(device);
    return result;
  }
  tls.device = device;
  device->worker->setWaker(device);
  return 0;
}

napi_value devFuseStart(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2];
  int32_t fd;
  napi_valuetype type;
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  if (napi_get_value_int32(env, argv[0], &fd) != napi_ok || napi_typeof(env, argv[1], &type) != napi_ok ||
      type != napi_function)
    return toNumber(env, -EINVAL);
  return toNumber(env, start(env, fd, argv[1]));
}

int64_t devFuseStop() {
  if (tls.device) tls.device->close();
  return 0;
}

int64_t devFusePause(uint32_t ms) {
  if (!tls.device) return -ENODEV;
  tls.device->pauseMs = ms;
  return 0;
}

/** Makes a request of `length` bytes at IN the current one. False when it is none. */
static bool accept(DevFuse *device, size_t length) {
  fuse_in_header header{};
  memcpy(&header, tls.arena + IN, length < sizeof header ? length : sizeof header);
  if (length < sizeof header || header.len != length) {
    if (length >= 16 && !hasNoReply(header.opcode, header.unique)) device->port->send(header.unique, 0, -EIO, nullptr, 0);
    return false;
  }
  // Nothing of an earlier, longer request may look like the end of this one.
  memset(tls.arena + IN + length, 0, 8);
  tls.current = Current{true, header.opcode, static_cast<uint32_t>(length), header.unique, 0, device->port.get()};
  device->port->describe(tls.current);
  if (tls.callers) tls.callers->note(header.pid);
  return true;
}

/** Answers the current request by `result` of TypeScript. */
static void finish(DevFuse *device, int32_t result) {
  int64_t answered = reply(result);
  // A body that the kernel refuses would leave its caller waiting.
  if (answered < 0 && device) device->port->send(tls.current.unique, 0, -EIO, nullptr, 0);
}

/** Answers the current request if it needs no TypeScript. Returns whether it did. */
static bool isAnswered(DevFuse *device) {
  if (!tls.atOnce) return false;
  fuse_in_header header;
  memcpy(&header, tls.arena + IN, sizeof header);
  const uint8_t *body = tls.arena + IN + sizeof header;
  RequestArgs args = argsOf(header.opcode, body, header.len - static_cast<uint32_t>(sizeof header));
  int64_t result = answerAtOnce(header, args, tls.arena + OUT);
  if (result == NOT_AT_ONCE) return false;
  finish(device, static_cast<int32_t>(result));
  return true;
}

/** Takes a request that TypeScript is to answer. Returns its length, or -errno; -EAGAIN also when others want a turn. */
int64_t DevFuse::nextRequest() {
  for (uint32_t taken = 0; taken < DRAIN_MAX;) {
    if (tls.place) beat(tls.place);
    int64_t length = retry([&] { return read(port->fd(), tls.arena + IN, IN_CAPACITY); });
    if (length == -ENOENT) continue; // it was interrupted on its way to us
    if (length == -ENODEV || length == -ECONNABORTED) return -ENODEV;
    if (length < 0) return length;
    if (length == 0) return -EIO;
    if (!accept(this, static_cast<size_t>(length))) continue;
    if (!isAnswered(this)) return length;
    taken++;
  }
  return -EAGAIN;
}

int64_t devFuseNext() {
  DevFuse *device = tls.device;
  if (!device) return -ENODEV;
  int64_t length = device->first;
  device->first = 0;
  if (length == 0) {
    if (tls.current.isHere) return -EBUSY;
    length = device->nextRequest();
  }
  if (length == -ENODEV) device->close();
  return length;
}

int64_t reply(int32_t result) {
  if (!tls.current.isHere) return 0;
  tls.current.isHere = false;
  if (result == PARKED) return 0;
  if (result == NO_REPLY) return tls.current.port->dismiss(tls.current);
  return tls.current.port->answer(tls.current, result);
}

int64_t devFuseReplyAndNext(int32_t result) {
  finish(tls.device, result);
  return devFuseNext();
}
