// SPDX-License-Identifier: Apache-2.0
// Runs a part of a test in a forked child, where filters, limits, other users and mounts do no harm
// to the tests that follow.
//
//     TEST(Suite, DoesThisWhenThat) {
//       RF_IN_CHILD({
//         if (geteuid() != 0) in_child::Skip("root, to mount a file system");
//         EXPECT_EQ(...);
//       });
//     }
//
// Everything that the child prints becomes part of the parent's failure.  A child that ends in any
// other way than by reaching the closing brace (a signal, exit, a time-out) is a failure, too.
#ifndef RINGFALL_TESTS_IN_CHILD_H
#define RINGFALL_TESTS_IN_CHILD_H

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>

namespace in_child {

constexpr int kDone = 42;    // the end was reached, and nothing failed
constexpr int kFailed = 43;  // the end was reached, and something failed
constexpr int kSkipped = 44; // something was missing that the test needs
constexpr unsigned kSeconds = 60;

struct Outcome {
  int status = 0; // as of waitpid
  std::string output;

  bool ended_with(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
  bool killed_by(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }
  std::string how() const {
    return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                               : "exit " + std::to_string(WEXITSTATUS(status));
  }
};

// To be called in the child: ends it, and names what is missing.
[[noreturn]] inline void Skip(const std::string &missing) {
  fflush(stdout);
  (void)!write(STDOUT_FILENO, missing.data(), missing.size());
  _exit(kSkipped);
}

template <typename Body> [[noreturn]] inline void RunBody(int output, Body &&body) {
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  close(output);
  signal(SIGALRM, SIG_DFL);
  alarm(kSeconds); // ends a child that hangs
  body();
  fflush(nullptr);
  _exit(testing::Test::HasFailure() ? kFailed : kDone);
}

// Forks, runs body() in the child and waits for its end.  Asserts nothing itself.
template <typename Body> inline Outcome Run(Body &&body) {
  Outcome outcome;
  int ends[2];
  fflush(nullptr);
  if (pipe(ends) != 0) return {kFailed << 8, "pipe failed"};
  pid_t pid = fork();
  if (pid < 0) return {kFailed << 8, "fork failed"};
  if (pid == 0) {
    close(ends[0]);
    RunBody(ends[1], body);
  }
  close(ends[1]);
  char room[4096];
  for (ssize_t got; (got = read(ends[0], room, sizeof(room))) > 0;)
    outcome.output.append(room, static_cast<size_t>(got));
  close(ends[0]);
  waitpid(pid, &outcome.status, 0);
  return outcome;
}

} // namespace in_child

// One statement of a TEST: skips or fails it as its child did.
#define RF_IN_CHILD(...)                                                                           \
  do {                                                                                             \
    ASSERT_FALSE(testing::Test::HasFailure()) << "before the child started";                       \
    in_child::Outcome rf_outcome = in_child::Run([&]() -> void __VA_ARGS__);                       \
    if (rf_outcome.ended_with(in_child::kSkipped)) GTEST_SKIP() << "needs " << rf_outcome.output;  \
    ASSERT_TRUE(rf_outcome.ended_with(in_child::kDone))                                            \
        << "the child ended by " << rf_outcome.how() << "\n"                                       \
        << rf_outcome.output;                                                                      \
  } while (false)

#endif
