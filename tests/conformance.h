// SPDX-License-Identifier: Apache-2.0
// The fixture of the conformance suite: one body of tests, run on every backend, buffered and
// direct, on a disk and in memory.  The tests know no backend; whether one ought to work on this
// host is found out by raw system calls, and one that works but cannot be opened is a failure.
//
// The suite is spread over conformance_*_test.cc; each ends with RF_CONFORMANCE_EVERYWHERE().
#ifndef RINGFALL_TESTS_CONFORMANCE_H
#define RINGFALL_TESTS_CONFORMANCE_H

#include <fcntl.h>
#include <gtest/gtest.h>
#include <ringfall/ringfall.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/in_child.h"
#include "tests/raw_host.h"

namespace conformance {

enum class Mode { kBuffered, kDirect };
enum class Place { kDisk, kTmpfs };

struct Case {
  rf_backend_id backend;
  Mode mode;
  Place place;
};

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

constexpr int64_t kMilliseconds = 1000000;
constexpr int64_t kPatience = 120000 * kMilliseconds; // far more than anything here takes

inline std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (int id = 0; id < RF_BACKENDS; id++)
    for (Mode mode : {Mode::kBuffered, Mode::kDirect})
      for (Place place : {Place::kDisk, Place::kTmpfs})
        cases.push_back({static_cast<rf_backend_id>(id), mode, place});
  return cases;
}

inline std::string CaseName(const testing::TestParamInfo<Case> &info) {
  std::string name = rf_backend_name(info.param.backend);
  name += info.param.mode == Mode::kDirect ? "_Direct" : "_Buffered";
  return name + (info.param.place == Place::kDisk ? "_Disk" : "_Tmpfs");
}

// ---- the host, without the library -------------------------------------------------------------

inline bool IsTmpfs(const std::string &directory) {
  constexpr long kTmpfsMagic = 0x01021994;
  struct statfs info;
  return statfs(directory.c_str(), &info) == 0 && info.f_type == kTmpfsMagic;
}

// "" if there is none.
inline std::string FindDirectory(Place place) {
  if (place == Place::kTmpfs) return IsTmpfs("/dev/shm") ? "/dev/shm" : "";
  const char *wished = getenv("TEST_TMPDIR");
  for (const char *path : {wished, "/tmp", "/var/tmp", "."})
    if (path != nullptr && access(path, W_OK) == 0 && !IsTmpfs(path)) return path;
  return "";
}

// ---- small things ------------------------------------------------------------------------------

// The byte that every test writes at this position: no two blocks are alike.
inline unsigned char PatternAt(uint64_t position, unsigned seed = 0) {
  uint64_t word = (position / 8 + 1 + seed) * UINT64_C(0x9E3779B97F4A7C15);
  return static_cast<unsigned char>(word >> (8 * (position % 8)));
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
    for (size_t i = 0; i < size; i++) buffer[i] = PatternAt(position + i, seed);
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

// "" if the memory holds the pattern from this position on, else where it does not.
inline std::string DiffersFromPattern(const unsigned char *data, size_t size, uint64_t position,
                                      unsigned seed = 0) {
  for (size_t i = 0; i < size; i++)
    if (data[i] != PatternAt(position + i, seed))
      return "byte " + std::to_string(position + i) + " is " + std::to_string(data[i]) + ", not " +
             std::to_string(PatternAt(position + i, seed));
  return "";
}

inline bool IsAll(const unsigned char *data, size_t size, unsigned char value) {
  return std::all_of(data, data + size, [=](unsigned char byte) { return byte == value; });
}

class Stopwatch {
public:
  int64_t ns() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count();
  }

private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

inline uint64_t FellBack(const rf_counters &counters, rf_op_kind kind) {
  uint64_t sum = 0;
  for (uint64_t count : counters.fell_back[kind]) sum += count;
  return sum;
}

inline rf_op Flagged(rf_op op, unsigned flags) {
  op.flags = static_cast<uint8_t>(op.flags | flags);
  return op;
}

inline rf_op WithDeadline(rf_op op, int64_t ns) {
  op.deadline_ns = static_cast<uint64_t>(ns);
  return op;
}

inline int OpenEngine(rf_backend_id backend, rf_engine **engine) {
  rf_engine_options options;
  rf_engine_options_init(&options);
  options.choice = RF_CHOICE_REQUIRE;
  options.backend = backend;
  options.ignore_environment = true;
  return rf_engine_open(engine, &options);
}

// One engine a backend for the whole program: opening one takes as long as many tests.
class Engines : public testing::Environment {
public:
  static Engines *Get() {
    static auto *engines = static_cast<Engines *>(testing::AddGlobalTestEnvironment(new Engines));
    return engines;
  }
  int Find(rf_backend_id backend, rf_engine **engine) {
    auto found = open_.find(backend);
    if (found == open_.end()) {
      int status = OpenEngine(backend, engine);
      if (status == 0) open_[backend] = *engine;
      return status;
    }
    *engine = found->second;
    return 0;
  }
  void TearDown() override {
    for (auto &[backend, engine] : open_)
      EXPECT_EQ(0, rf_engine_close(engine)) << rf_backend_name(backend) << ": something is open";
  }

private:
  std::map<rf_backend_id, rf_engine *> open_;
};
inline Engines *const engines_registered = Engines::Get();

// ---- the fixture -------------------------------------------------------------------------------

class Conformance : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    rf_backend_id backend = GetParam().backend;
    directory_ = FindDirectory(GetParam().place);
    if (directory_.empty())
      GTEST_SKIP() << "needs "
                   << (place() == Place::kTmpfs ? "a tmpfs at /dev/shm" : "a directory on a disk");
    int status = Engines::Get()->Find(backend, &engine_);
    if (!raw_host::Works(backend)) {
      EXPECT_EQ(-ENOTSUP, status);
      GTEST_SKIP() << "needs " << rf_backend_name(backend) << ", which this kernel refuses";
    }
    ASSERT_EQ(0, status) << rf_backend_name(backend) << " works on this host, by raw system calls";
    if (direct() && !DirectIsPossible()) GTEST_SKIP() << "needs O_DIRECT on " << directory_;
  }

  void TearDown() override {
    CloseAll();
    for (const std::string &path : paths_) unlink(path.c_str());
  }

  void CloseAll() {
    for (rf_queue *queue : queues_) EXPECT_EQ(0, rf_queue_close(queue));
    for (rf_file *file : files_) EXPECT_EQ(0, rf_file_close(file));
    for (int fd : fds_) close(fd);
    queues_.clear();
    files_.clear();
    fds_.clear();
  }

  // In a forked child: an engine of its own in place of the one that died with the fork.
  void StartAnewInChild() {
    queues_.clear();
    files_.clear();
    ASSERT_EQ(0, OpenEngine(GetParam().backend, &engine_));
  }

  bool direct() const { return GetParam().mode == Mode::kDirect; }
  Place place() const { return GetParam().place; }
  rf_engine *engine() const { return engine_; }
  const std::string &directory() const { return directory_; }

  // A name that nothing has yet, removed at the end.
  std::string NewPath() {
    static int serial = 0;
    std::string path = directory_ + "/ringfall_conformance_" + std::to_string(getpid()) + "_" +
                       std::to_string(serial++);
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

  // Opens it as the case says: with O_DIRECT or without.
  rf_file *Open(const std::string &path, int flags = O_RDWR | O_CREAT) {
    rf_file *file = nullptr;
    EXPECT_EQ(0,
              rf_file_open(engine_, path.c_str(), flags | (direct() ? O_DIRECT : 0), 0600, &file))
        << path;
    if (file == nullptr) throw std::runtime_error("no file to go on with"); // ends the test
    files_.push_back(file);
    return file;
  }

  rf_file *Adopt(int fd) { // the descriptor stays the test's
    rf_file *file = nullptr;
    EXPECT_EQ(0, rf_file_from_fd(engine_, fd, false, &file));
    if (file == nullptr) throw std::runtime_error("no file to go on with"); // ends the test
    files_.push_back(file);
    return file;
  }

  void Forget(rf_file *file) { files_.erase(std::find(files_.begin(), files_.end(), file)); }
  void Forget(rf_queue *queue) { queues_.erase(std::find(queues_.begin(), queues_.end(), queue)); }

  // A file whose descriptor was closed behind its back.
  rf_file *OpenBroken() {
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 900); // a number that nothing else will take
    close(fd);
    EXPECT_GE(high, 900);
    rf_file *file = Adopt(high);
    close(high);
    return file;
  }

  rf_queue *OpenQueue(unsigned depth = 64, bool latency = false, unsigned batch = 32) {
    rf_queue_options options;
    rf_queue_options_init(&options);
    options.depth = depth;
    options.latency = latency;
    options.batch = batch;
    rf_queue *queue = nullptr;
    EXPECT_EQ(0, rf_queue_open(engine_, &options, &queue)) << "depth " << depth;
    if (queue == nullptr) throw std::runtime_error("no queue to go on with"); // ends the test
    queues_.push_back(queue);
    return queue;
  }

  // An op that blocks: a read from a pipe in which there is nothing.
  struct Pipe {
    rf_file *file = nullptr; // the end to read from
    int write_end = -1;
    char byte[8] = {};

    rf_op Read(uint64_t user_data, uint64_t len = 1) {
      return rf_op_read(file, byte, len, 0, user_data);
    }
    void Write(size_t bytes = 1) {
      EXPECT_EQ(static_cast<ssize_t>(bytes), write(write_end, "abcdefgh", bytes));
    }
  };
  std::unique_ptr<Pipe> NewPipe() {
    int ends[2];
    EXPECT_EQ(0, pipe2(ends, O_CLOEXEC));
    fds_.insert(fds_.end(), {ends[0], ends[1]});
    auto made = std::make_unique<Pipe>();
    made->file = Adopt(ends[0]);
    made->write_end = ends[1];
    return made;
  }

  // Submits them all and waits for them all; each user_data has to come back exactly once.
  std::map<uint64_t, rf_completion> RunAll(rf_queue *queue, const std::vector<rf_op> &ops) {
    std::map<uint64_t, rf_completion> answers;
    std::vector<rf_completion> room(64);
    size_t sent = 0;
    while (answers.size() < ops.size()) {
      unsigned accepted = 0;
      int got =
          rf_submit_and_wait(queue, ops.data() + sent, static_cast<unsigned>(ops.size() - sent),
                             &accepted, room.data(), 1, 64, kPatience);
      sent += accepted;
      EXPECT_GT(got, 0) << "after " << answers.size() << " of " << ops.size();
      if (got <= 0) break;
      for (int i = 0; i < got; i++)
        EXPECT_TRUE(answers.emplace(room[i].user_data, room[i]).second)
            << "a second completion for " << room[i].user_data;
    }
    return answers;
  }

  rf_completion Run(rf_queue *queue, const rf_op &op) {
    rf_completion answer = {};
    answer.status = -ENOMSG;
    EXPECT_EQ(1, rf_submit_and_wait(queue, &op, 1, nullptr, &answer, 1, 1, kPatience));
    EXPECT_EQ(op.user_data, answer.user_data);
    EXPECT_EQ(op.kind, answer.kind);
    return answer;
  }

  std::map<uint64_t, rf_completion> WaitAll(rf_queue *queue, unsigned count) {
    std::map<uint64_t, rf_completion> answers;
    while (answers.size() < count) {
      rf_completion one;
      int got = rf_wait(queue, &one, 1, 1, kPatience);
      EXPECT_EQ(1, got) << "after " << answers.size() << " of " << count;
      if (got != 1) break;
      EXPECT_TRUE(answers.emplace(one.user_data, one).second);
    }
    return answers;
  }

  // What is in the file, by plain system calls.
  static std::vector<unsigned char> ReadBack(const std::string &path, size_t size,
                                             uint64_t offset = 0) {
    std::vector<unsigned char> content(size);
    int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_GE(fd, 0) << strerror(errno);
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

  static uint64_t SizeOf(const std::string &path) {
    struct stat info = {};
    EXPECT_EQ(0, stat(path.c_str(), &info)) << strerror(errno);
    return static_cast<uint64_t>(info.st_size);
  }

  // The least unit that direct I/O takes; 1 without it.
  static size_t Unit(const rf_file *file) {
    const rf_file_info *info = rf_file_get_info(file);
    return info->direct ? std::max<size_t>(1, info->offset_align) : 1;
  }

private:
  bool DirectIsPossible() {
    std::string path = NewPath();
    int fd = open(path.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    return fd >= 0;
  }

  rf_engine *engine_ = nullptr;
  std::string directory_;
  std::vector<rf_queue *> queues_;
  std::vector<rf_file *> files_;
  std::vector<int> fds_;
  std::vector<std::string> paths_;
};

} // namespace conformance

#define RF_CONFORMANCE_EVERYWHERE()                                                                \
  INSTANTIATE_TEST_SUITE_P(Everywhere, Conformance, testing::ValuesIn(AllCases()), CaseName)

#endif
