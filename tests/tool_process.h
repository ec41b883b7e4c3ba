// SPDX-License-Identifier: Apache-2.0
// Runs the program `ringfall` as its users do, for tool_test.cc and tune_test.cc: as a process,
// with its output caught, and where wanted in a world that refuses some system calls.
#ifndef RINGFALL_TESTS_TOOL_PROCESS_H
#define RINGFALL_TESTS_TOOL_PROCESS_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace tool_test {

inline std::string ToolPath() {
  if (const char *path = getenv("RINGFALL_TOOL")) return path;
  const char *sources = getenv("TEST_SRCDIR");
  const char *workspace = getenv("TEST_WORKSPACE");
  if (sources != nullptr && workspace != nullptr)
    return std::string(sources) + "/" + workspace + "/tools/ringfall";
  return "tools/ringfall";
}

// A directory that goes away with everything in it.
class Directory {
public:
  // In the test's own directory, unless another one is named.
  explicit Directory(const char *base = getenv("TEST_TMPDIR")) {
    path_ = std::string(base != nullptr ? base : "/tmp") + "/tool_test_XXXXXX";
    if (mkdtemp(&path_[0]) == nullptr) path_.clear();
  }
  ~Directory() {
    for (const std::string &name : Names())
      if (unlink((*this / name).c_str()) != 0) rmdir((*this / name).c_str());
    rmdir(path_.c_str());
  }
  Directory(const Directory &) = delete;
  Directory &operator=(const Directory &) = delete;

  const std::string &path() const { return path_; }
  std::string operator/(const std::string &name) const { return path_ + "/" + name; }

  std::set<std::string> Names() const { return Names(path_); }
  static std::set<std::string> Names(const std::string &path) {
    std::set<std::string> names;
    DIR *directory = opendir(path.c_str());
    while (directory != nullptr) {
      const dirent *entry = readdir(directory);
      if (entry == nullptr) break;
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.insert(name);
    }
    if (directory != nullptr) closedir(directory);
    return names;
  }

private:
  std::string path_;
};

inline bool WriteFile(const std::string &path, const std::string &content, off_t offset = 0) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t count =
        pwrite(fd, content.data() + done, content.size() - done, offset + static_cast<off_t>(done));
    if (count <= 0) break;
    done += static_cast<size_t>(count);
  }
  return close(fd) == 0 && done == content.size();
}

// At most 64 MiB of it: a test that fails must not take all memory with what it found.
inline std::string ReadFile(const std::string &path) {
  constexpr size_t kMost = size_t{64} << 20;
  std::string content;
  FILE *file = fopen(path.c_str(), "rbe");
  if (file == nullptr) return "cannot open " + path;
  char buffer[65536];
  size_t count;
  while (content.size() < kMost && (count = fread(buffer, 1, sizeof(buffer), file)) > 0)
    content.append(buffer, count);
  fclose(file);
  return content;
}

// Bytes without a pattern that a misplaced block could match.
inline std::string RandomBytes(size_t size, unsigned long long seed = 1) {
  std::string bytes(size, '\0');
  unsigned long long state = seed;
  for (char &byte : bytes) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

inline size_t Lines(const std::string &text) {
  size_t lines = 0;
  for (const char c : text) lines += c == '\n';
  return lines;
}

// The world the process runs in.
struct World {
  std::vector<std::pair<std::string, std::string>> environment; // added
  std::vector<int> denied;                                      // system calls: EPERM
  bool kills = false;                                           // those end the process instead
  bool no_tmpfile = false;                                      // O_TMPFILE: EOPNOTSUPP
  rlim_t file_size = RLIM_INFINITY;                             // RLIMIT_FSIZE
  rlim_t descriptors = RLIM_INFINITY;                           // RLIMIT_NOFILE
  std::string output;                                           // stdout goes to this file
  int error_fd = -1;                                            // stderr goes there
  int input_fd = -1;                                            // stdin comes from there
  std::vector<int> closed;                                      // of stdin, stdout and stderr
};

struct Result {
  int exit_code = -1; // -1: ended by a signal, or never started
  int signal = 0;
  std::string out;
  std::string err;
};

class Process {
public:
  Process(const std::vector<std::string> &arguments, const World &world = World(),
          const std::string &program = ToolPath()) {
    out_ = MakeFile();
    err_ = MakeFile();
    pid_ = fork();
    if (pid_ == 0) Run(program, arguments, world);
  }
  ~Process() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(out_);
    close(err_);
  }
  Process(const Process &) = delete;
  Process &operator=(const Process &) = delete;

  pid_t pid() const { return pid_; }
  std::string Output() const { return Content(out_); }
  void Signal(int number) const { kill(pid_, number); }

  bool Ended() {
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
           info.si_pid != 0;
  }

  // Asks again and again, a millisecond apart, until it holds.  False if the process ended before.
  template <typename Condition> bool Until(Condition condition) {
    while (!condition()) {
      if (Ended()) return condition();
      poll(nullptr, 0, 1);
    }
    return true;
  }

  // True once it has a file open whose name (as in /proc) has this in it.
  bool HasOpen(const std::string &part) const {
    const std::string fds = "/proc/" + std::to_string(pid_) + "/fd";
    for (const std::string &fd : Directory::Names(fds)) {
      char target[4096];
      const ssize_t length = readlink((fds + "/" + fd).c_str(), target, sizeof(target));
      if (length > 0 &&
          std::string(target, static_cast<size_t>(length)).find(part) != std::string::npos)
        return true;
    }
    return false;
  }

  Result Wait() {
    Result result;
    int status = 0;
    if (pid_ > 0 && waitpid(pid_, &status, 0) == pid_) {
      if (WIFEXITED(status))
        result.exit_code = WEXITSTATUS(status);
      else
        result.signal = WTERMSIG(status);
    }
    pid_ = -1;
    result.out = Content(out_);
    result.err = Content(err_);
    return result;
  }

private:
  static int MakeFile() { return static_cast<int>(memfd_create("output", MFD_CLOEXEC)); }

  static std::string Content(int fd) {
    std::string content;
    char buffer[65536];
    ssize_t count;
    while ((count = pread(fd, buffer, sizeof(buffer), static_cast<off_t>(content.size()))) > 0)
      content.append(buffer, static_cast<size_t>(count));
    return content;
  }

  // A filter that answers EPERM to the denied calls (or kills), and EOPNOTSUPP to openat with
  // O_TMPFILE.
  static bool Restrict(const World &world) {
    if (world.denied.empty() && !world.no_tmpfile) return true;
    const unsigned tmpfile_bit = O_TMPFILE & ~static_cast<unsigned>(O_DIRECTORY);
    std::vector<sock_filter> filter;
    const auto load = [&](size_t offset) {
      filter.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset)));
    };
    const auto give = [&](unsigned answer) { filter.push_back(BPF_STMT(BPF_RET | BPF_K, answer)); };
    load(offsetof(seccomp_data, nr));
    for (const int call : world.denied) {
      filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1));
      give(world.kills ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | EPERM);
    }
    if (world.no_tmpfile) {
      filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_openat, 0, 3));
      load(offsetof(seccomp_data, args[2]));
      filter.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, tmpfile_bit, 0, 1));
      give(SECCOMP_RET_ERRNO | EOPNOTSUPP);
    }
    give(SECCOMP_RET_ALLOW);
    sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
  }

  [[noreturn]] void Run(const std::string &program, const std::vector<std::string> &arguments,
                        const World &world) const {
    const int null = open("/dev/null", O_RDONLY);
    int out = out_;
    if (!world.output.empty()) out = open(world.output.c_str(), O_WRONLY);
    dup2(world.input_fd >= 0 ? world.input_fd : null, 0);
    dup2(out, 1);
    dup2(world.error_fd >= 0 ? world.error_fd : err_, 2);
    for (const int fd : world.closed) close(fd);
    unsetenv("RINGFALL_BACKEND");
    for (const auto &variable : world.environment)
      setenv(variable.first.c_str(), variable.second.c_str(), 1);
    if (world.file_size != RLIM_INFINITY) {
      const rlimit limit = {world.file_size, world.file_size};
      setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (world.descriptors != RLIM_INFINITY) {
      const rlimit limit = {world.descriptors, world.descriptors};
      setrlimit(RLIMIT_NOFILE, &limit);
    }
    std::vector<char *> argv;
    argv.push_back(const_cast<char *>(program.c_str()));
    for (const std::string &argument : arguments)
      argv.push_back(const_cast<char *>(argument.c_str()));
    argv.push_back(nullptr);
    if (Restrict(world)) execvp(program.c_str(), argv.data());
    _exit(127);
  }

  int out_;
  int err_;
  pid_t pid_;
};

inline Result RunTool(const std::vector<std::string> &arguments, const World &world = World()) {
  return Process(arguments, world).Wait();
}

// The io_uring and libaio backends cannot be opened in it.
inline World WorldWithThreadsOnly() {
  World world;
  world.denied = {__NR_io_uring_setup, __NR_io_setup};
  return world;
}

// One line on stderr, nothing on stdout, this exit code.
inline testing::AssertionResult Fails(const char *, const char *, const Result &result, int code) {
  if (result.exit_code == code && Lines(result.err) == 1 && result.out.empty())
    return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << "exit code " << result.exit_code << " instead of " << code << ", signal "
         << result.signal << "\nstdout: " << result.out << "\nstderr: " << result.err;
}
#define EXPECT_FAILS(result, code) EXPECT_PRED_FORMAT2(tool_test::Fails, result, code)

// Where a person would see the progress.
class Terminal {
public:
  Terminal() {
    master_ = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master_ < 0 || grantpt(master_) != 0 || unlockpt(master_) != 0) return;
    const char *name = ptsname(master_);
    slave_ = name != nullptr ? open(name, O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
  }
  ~Terminal() {
    close(master_);
    close(slave_);
  }
  bool usable() const { return slave_ >= 0; }
  int slave() const { return slave_; }

  std::string Shown() const {
    std::string shown;
    char buffer[4096];
    pollfd ready = {master_, POLLIN, 0};
    while (poll(&ready, 1, 0) > 0 && (ready.revents & POLLIN) != 0) {
      const ssize_t count = read(master_, buffer, sizeof(buffer));
      if (count <= 0) break;
      shown.append(buffer, static_cast<size_t>(count));
    }
    return shown;
  }

private:
  int master_ = -1;
  int slave_ = -1;
};

} // namespace tool_test

#endif
