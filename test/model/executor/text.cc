// Escaped names, file content by seed, errno names.
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include "model.h"

uint64_t Random::next() {
  uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

static bool plain(unsigned char c) {
  return c > ' ' && c < 0x7f && c != '%';
}

std::string escape(const Bytes& raw) {
  std::string out;
  for (unsigned char c : raw) out += plain(c) ? std::string(1, c) : format("%%%02x", c);
  return out.empty() ? "%" : out;
}

Bytes unescape(const std::string& text) {
  Bytes out;
  if (text == "%") return out;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != '%' || i + 2 >= text.size()) {
      out += text[i];
      continue;
    }
    out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
    i += 2;
  }
  return out;
}

Args split(const std::string& line) {
  Args out;
  size_t at = 0;
  while (at < line.size()) {
    size_t end = line.find(' ', at);
    if (end == std::string::npos) end = line.size();
    if (end > at) out.push_back(unescape(line.substr(at, end - at)));
    at = end + 1;
  }
  return out;
}

Bytes pattern(long seed, size_t length) {
  Bytes out(length, '\0');
  Random random(static_cast<uint64_t>(seed));
  for (size_t i = 0; i < length; i += 8) {
    uint64_t word = random.next() | 0x0101010101010101ull;
    memcpy(&out[i], &word, length - i < 8 ? length - i : 8);
  }
  return out;
}

std::string errnoName(int err) {
  const char* name = err ? strerrorname_np(err) : "ok";
  return name ? name : format("errno %d", err);
}

std::string format(const char* form, ...) {
  va_list list;
  va_start(list, form);
  char* text = nullptr;
  int length = vasprintf(&text, form, list);
  va_end(list);
  std::string out(text, length < 0 ? 0 : length);
  free(text);
  return out;
}
