// SPDX-License-Identifier: Apache-2.0
// Programs of ops, made of any bytes, and a simple model of the file that says what must come out.
//
// A program is a head of kHead bytes (depth, batch, plan of faults, direct I/O) and steps of kStep
// bytes each: an op, a cancellation, a flush, a wait, a reap.  Every string of bytes is a program,
// so that a fuzzer can write them, and every string without some of its steps, so that a failing
// one can be shrunk.
//
// The model is a string.  An op changes it by what its completion says (bytes and status), when
// that is reaped.  Ops that touch the same bytes are never in flight together, unless they are
// links of one chain, which has an order; where a program would have it otherwise, everything is
// waited for first.  Checked are: exactly one completion for each op; the order of chains; bytes
// and status against what is allowed for that op; what reads bring; and in the end the whole file.
#ifndef RINGFALL_TESTS_MODEL_INTERPRETER_H
#define RINGFALL_TESTS_MODEL_INTERPRETER_H

#include <ringfall/fault_injection.h>
#include <ringfall/ringfall.h>

#include <cstdint>
#include <string>

namespace model {

constexpr size_t kHead = 4;
constexpr size_t kStep = 10;

// One backend with an injector over it, used by program after program.
class Host {
public:
  Host() = default;
  Host(const Host &) = delete;
  Host &operator=(const Host &) = delete;
  ~Host();

  // 0 or -errno: -ENOTSUP where the backend does not work.  Without `wrapped` there is no injector,
  // and plans do nothing.  The file, which has no name, is made in `directory`.
  int Open(rf_backend_id id, bool wrapped, const std::string &directory);

  // "", or what was wrong.
  std::string Run(const std::string &program);

private:
  friend class Run;
  rf_backend_id id_ = RF_BACKEND_THREADS;
  rf_fault_injector *injector_ = nullptr;
  rf_engine *engine_ = nullptr;
  rf_file *files_[2] = {nullptr, nullptr}; // buffered; direct, if the file system can
  int fds_[2] = {-1, -1};
  bool holes_ = false; // fallocate and discard work on this file system
  bool lost_ = false;  // a completion never came: nothing can be closed
};

// Bytes of a program, out of a seed.
std::string Generate(uint64_t seed);

// Without the steps that it does not need to fail.  fails() runs a program.
template <typename Fails> std::string Shrink(std::string program, Fails fails) {
  for (size_t chunk = (program.size() / kStep + 1) / 2; chunk > 0; chunk /= 2) {
    for (size_t at = kHead; at + kStep <= program.size();) {
      std::string less = program;
      less.erase(at, chunk * kStep);
      if (fails(less))
        program = less;
      else
        at += chunk * kStep;
    }
  }
  return program;
}

// In words.
std::string Describe(const std::string &program);

} // namespace model

#endif
