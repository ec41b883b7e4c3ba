// SPDX-License-Identifier: Apache-2.0
// Data whose every byte tells where it belongs, memory for it, and files of it on a disk or in
// memory, written and read by plain system calls.
#ifndef RINGFALL_TESTS_TEST_FILES_H
#define RINGFALL_TESTS_TEST_FILES_H

#include <endian.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace test_files {

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kGigabytes = false; // the kernel's work, which a sanitizer does not see, only slows
#else
constexpr bool kGigabytes = true;
#endif

// ---- time --------------------------------------------------------------------------------------

constexpr int64_t kMilliseconds = 1000000;
constexpr int64_t kPatience = 120000 * kMilliseconds; // far more than anything here takes

class Stopwatch {
public:
  int64_t ns() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count();
  }

private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

// ---- bytes -------------------------------------------------------------------------------------
// In words and by memcpy and memcmp where there are many: a sanitizer has an eye on every access.

inline uint64_t PatternWord(uint64_t number, unsigned seed) {
  return (number + 1 + seed) * UINT64_C(0x9E3779B97F4A7C15);
}

// The byte that every test writes at this position: no two blocks are alike.
inline unsigned char PatternAt(uint64_t position, unsigned seed = 0) {
  return static_cast<unsigned char>(PatternWord(position / 8, seed) >> (8 * (position % 8)));
}

// Up to the next multiple of 1024, or to the end: how many bytes, in `piece`.
inline size_t PatternPiece(unsigned char piece[1024], size_t size, uint64_t position,
                           unsigned seed) {
  uint64_t words[128];
  size_t skip = position % 1024, count = std::min(size, 1024 - skip);
  for (size_t i = 0; i < 128; i++) words[i] = htole64(PatternWord(position / 1024 * 128 + i, seed));
  memcpy(piece, reinterpret_cast<unsigned char *>(words) + skip, count);
  return count;
}

inline void FillWithPattern(unsigned char *data, size_t size, uint64_t position,
                            unsigned seed = 0) {
  unsigned char piece[1024];
  for (size_t at = 0, count; at < size; at += count) {
    count = PatternPiece(piece, size - at, position + at, seed);
    memcpy(data + at, piece, count);
  }
}

// "" if the memory holds the pattern from this position on, else where it does not.
inline std::string DiffersFromPattern(const unsigned char *data, size_t size, uint64_t position,
                                      unsigned seed = 0) {
  unsigned char piece[1024];
  for (size_t at = 0, count; at < size; at += count) {
    count = PatternPiece(piece, size - at, position + at, seed);
    if (memcmp(data + at, piece, count) == 0) continue;
    size_t i = 0;
    while (data[at + i] == piece[i]) i++;
    return "byte " + std::to_string(position + at + i) + " is " + std::to_string(data[at + i]) +
           ", not " + std::to_string(piece[i]);
  }
  return "";
}

inline bool IsAll(const unsigned char *data, size_t size, unsigned char value) {
  return size == 0 || (data[0] == value && memcmp(data, data + 1, size - 1) == 0);
}

// Memory at the start of a page, of whole pages, and a page that faults behind them.
class Buffer {
public:
  explicit Buffer(size_t size, int fill = 0xEE) : size_(size) {
    mapped_ = (size + kPage - 1) / kPage * kPage;
    void *at =
        mmap(nullptr, mapped_ + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) abort();
    data_ = static_cast<unsigned char *>(at);
    if (mprotect(data_ + mapped_, kPage, PROT_NONE) != 0) abort();
    memset(data_, fill, mapped_);
  }
  Buffer(Buffer &&other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(other.size_), mapped_(other.mapped_) {}
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() {
    if (data_ != nullptr) munmap(data_, mapped_ + kPage);
  }

  static Buffer Pattern(size_t size, uint64_t position = 0, unsigned seed = 0) {
    Buffer buffer(size);
    FillWithPattern(buffer.data(), size, position, seed);
    return buffer;
  }

  unsigned char *data() { return data_; }
  const unsigned char *data() const { return data_; }
  unsigned char &operator[](size_t i) { return data_[i]; }
  size_t size() const { return size_; }

private:
  static constexpr size_t kPage = 65536; // as large as pages get
  unsigned char *data_ = nullptr;
  size_t size_, mapped_;
};

// ---- where -------------------------------------------------------------------------------------

enum class Place { kDisk, kTmpfs };

// What is missing if there is none.
inline const char *NameOf(Place place) {
  return place == Place::kTmpfs ? "a tmpfs at /dev/shm" : "a directory on a disk";
}

inline bool IsTmpfs(const std::string &directory) {
  constexpr long kTmpfsMagic = 0x01021994;
  struct statfs info;
  return statfs(directory.c_str(), &info) == 0 && info.f_type == kTmpfsMagic;
}

// "" if there is none.
inline std::string DirectoryAt(Place place) {
  if (place == Place::kTmpfs) return IsTmpfs("/dev/shm") ? "/dev/shm" : "";
  const char *wished = getenv("TEST_TMPDIR");
  for (const char *path : {wished, "/tmp", "/var/tmp", "."})
    if (path != nullptr && access(path, W_OK) == 0 && !IsTmpfs(path)) return path;
  return "";
}

// ---- files -------------------------------------------------------------------------------------

// Names and descriptors that are given back at the end of a test: a base of fixtures.
class Files {
protected:
  // False if there is no such directory: see NameOf().
  bool FindDirectory(Place place) {
    directory_ = DirectoryAt(place);
    return !directory_.empty();
  }

  void CloseFds() {
    for (int fd : fds_) close(fd);
    fds_.clear();
  }

  void RemoveAll() {
    CloseFds();
    for (const std::string &path : paths_) unlink(path.c_str());
  }

  const std::string &directory() const { return directory_; }
  void CloseLater(int fd) { fds_.push_back(fd); }

  // A name that nothing has yet, removed at the end.
  std::string NewPath() {
    static int serial = 0;
    std::string path =
        directory_ + "/ringfall_test_" + std::to_string(getpid()) + "_" + std::to_string(serial++);
    paths_.push_back(path);
    return path;
  }

  // A file of that many bytes of pattern, and its name.
  std::string NewFile(size_t size, unsigned seed = 0) {
    std::string path = NewPath();
    Buffer content = Buffer::Pattern(size, 0, seed);
    int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    EXPECT_GE(fd, 0) << strerror(errno);
    EXPECT_EQ(static_cast<ssize_t>(size), size == 0 ? 0 : write(fd, content.data(), size));
    close(fd);
    return path;
  }

  int OpenFd(const std::string &path, int flags) {
    int fd = open(path.c_str(), flags | O_CLOEXEC, 0600);
    EXPECT_GE(fd, 0) << path << ": " << strerror(errno);
    CloseLater(fd);
    return fd;
  }

  // O_DIRECT where files in the directory can be opened with it, else 0: Linux 6.6 brought it to
  // tmpfs.
  int DirectFlag() {
    int fd = open(NewPath().c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    return fd >= 0 ? O_DIRECT : 0;
  }

  // What is in the file.
  static std::vector<unsigned char> ReadBack(const std::string &path, size_t size,
                                             uint64_t offset = 0) {
    std::vector<unsigned char> content(size);
    int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_GE(fd, 0) << path << ": " << strerror(errno);
    size_t got = 0;
    for (ssize_t n = 1; n > 0 && got < size; got += static_cast<size_t>(n)) {
      n = pread(fd, content.data() + got, size - got, static_cast<off_t>(offset + got));
      EXPECT_GE(n, 0) << strerror(errno);
      if (n < 0) break;
    }
    close(fd);
    content.resize(got);
    return content;
  }

  static std::vector<unsigned char> Content(const std::string &path) {
    return ReadBack(path, SizeOf(path));
  }

  static uint64_t SizeOf(const std::string &path) {
    struct stat info = {};
    EXPECT_EQ(0, stat(path.c_str(), &info)) << path << ": " << strerror(errno);
    return static_cast<uint64_t>(info.st_size);
  }

private:
  std::string directory_;
  std::vector<int> fds_;
  std::vector<std::string> paths_;
};

} // namespace test_files

#endif
