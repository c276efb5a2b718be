// From JavaScript values to C++ parameters: wrap<f> is the N-API callback of a plain C++
// function f. A parameter's type says what is checked: an offset that leaves the arena gives
// -EFAULT, a value of another type -EINVAL, and f is not called.

#pragma once

#include "thread-state.h"
#include <cerrno>
#include <climits>
#include <cstring>
#include <node_api.h>
#include <string>
#include <tuple>
#include <utility>

/** A NUL-terminated string named by a `ref`; `isSelf` for ref 0, the fd itself. */
struct Path {
  const char *text;
  bool isSelf;
};

/** A place in the arena whose room is not known yet. */
struct At {
  uint32_t offset;
  /** The address, or nullptr when `size` bytes do not fit there. */
  uint8_t *take(uint64_t size) const {
    if (offset > tls.arenaSize || size > tls.arenaSize - offset) return nullptr;
    return tls.arena + offset;
  }
};

/** A place in the arena with room for a T. */
template <typename T> struct Out {
  T *at;
  T *operator->() const { return at; }
};

/** The bytes of a Uint8Array. */
struct Bytes {
  const uint8_t *data;
  size_t length;
  /** As a path; false when empty, too long, or with a NUL inside. */
  bool toPath(std::string &path) const {
    if (length == 0 || length >= PATH_MAX || memchr(data, 0, length)) return false;
    path.assign(reinterpret_cast<const char *>(data), length);
    return true;
  }
};

inline int readArg(napi_env env, napi_value value, int32_t &to) {
  return napi_get_value_int32(env, value, &to) == napi_ok ? 0 : -EINVAL;
}

inline int readArg(napi_env env, napi_value value, uint32_t &to) {
  return napi_get_value_uint32(env, value, &to) == napi_ok ? 0 : -EINVAL;
}

inline int readArg(napi_env env, napi_value value, int64_t &to) {
  return napi_get_value_int64(env, value, &to) == napi_ok ? 0 : -EINVAL;
}

// The kernel reads at most PATH_MAX bytes of a path, so only the arena's end needs the search.
inline int readArg(napi_env env, napi_value value, Path &to) {
  int32_t ref;
  if (napi_get_value_int32(env, value, &ref) != napi_ok) return -EINVAL;
  to.isSelf = ref == 0;
  if (ref == 0) {
    to.text = "";
    return 0;
  }
  uint64_t offset = ref > 0 ? static_cast<uint64_t>(ref) : static_cast<uint64_t>(-static_cast<int64_t>(ref)) * 8;
  const uint8_t *base = ref > 0 ? tls.arena : tls.names;
  size_t size = ref > 0 ? tls.arenaSize : tls.namesSize;
  if (offset >= size) return -EFAULT;
  if (size - offset < PATH_MAX && !memchr(base + offset, 0, size - offset)) return -EFAULT;
  to.text = reinterpret_cast<const char *>(base + offset);
  return 0;
}

inline int readArg(napi_env env, napi_value value, At &to) {
  return napi_get_value_uint32(env, value, &to.offset) == napi_ok ? 0 : -EINVAL;
}

template <typename T> inline int readArg(napi_env env, napi_value value, Out<T> &to) {
  At at;
  if (napi_get_value_uint32(env, value, &at.offset) != napi_ok) return -EINVAL;
  if (at.offset % 4 != 0) return -EFAULT;
  to.at = reinterpret_cast<T *>(at.take(sizeof(T)));
  return to.at ? 0 : -EFAULT;
}

inline int readArg(napi_env env, napi_value value, Bytes &to) {
  bool isArray = false;
  if (napi_is_typedarray(env, value, &isArray) != napi_ok || !isArray) return -EINVAL;
  napi_typedarray_type type;
  void *data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &to.length, &data, nullptr, nullptr) != napi_ok) return -EINVAL;
  to.data = static_cast<uint8_t *>(data);
  return type == napi_uint8_array ? 0 : -EINVAL;
}

inline int readArg(napi_env env, napi_value value, std::string &to) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return -EINVAL;
  to.resize(length + 1);
  if (napi_get_value_string_utf8(env, value, &to[0], length + 1, &length) != napi_ok) return -EINVAL;
  to.resize(length);
  return to.find('\0') == std::string::npos ? 0 : -EINVAL;
}

inline napi_value toNumber(napi_env env, int64_t number) {
  napi_value value = nullptr;
  if (number >= INT32_MIN && number <= INT32_MAX) napi_create_int32(env, static_cast<int32_t>(number), &value);
  else napi_create_double(env, static_cast<double>(number), &value);
  return value;
}

template <auto F> struct Wrapped;

template <typename R, typename... A, R (*F)(A...)> struct Wrapped<F> {
  template <size_t... I>
  static int64_t run(napi_env env, napi_value *argv, std::index_sequence<I...>) {
    std::tuple<A...> args{};
    int error = 0;
    (void)env, (void)argv;
    ((error = error ? error : readArg(env, argv[I], std::get<I>(args))), ...);
    return error ? error : F(std::get<I>(args)...);
  }

  static napi_value call(napi_env env, napi_callback_info info) {
    napi_value argv[sizeof...(A) + 1];
    size_t argc = sizeof...(A);
    if (napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr) != napi_ok) return toNumber(env, -EINVAL);
    return toNumber(env, run(env, argv, std::index_sequence_for<A...>{}));
  }
};

/** The N-API callback of `F`, a function of int32_t, uint32_t, int64_t, Path, At, Out, Bytes, std::string. */
template <auto F> constexpr napi_callback wrap = Wrapped<F>::call;
