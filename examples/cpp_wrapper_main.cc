// SPDX-License-Identifier: Apache-2.0
// Shows cpp_wrapper.hpp: copies a file with several blocks in flight.  Each block goes round: it is
// read, then written to the same place of the copy, then read again, further on.
#include "cpp_wrapper.hpp"

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <vector>

namespace {

constexpr std::size_t kBlock = 65536;
constexpr unsigned kBlocks = 8;

// Half a copy is worse than none.
struct Unfinished {
  const char *path;
  bool finished = false;
  ~Unfinished() {
    if (!finished) unlink(path);
  }
};

uint64_t Copy(const char *from, const char *to) {
  ringfall::Engine engine;
  ringfall::File source(engine, from, O_RDONLY);
  ringfall::File target(engine, to, O_WRONLY | O_CREAT | O_EXCL);
  Unfinished copy = {to};
  ringfall::Arena arena(engine, kBlock * kBlocks);
  ringfall::Queue queue(engine); // goes first, also when an exception ends this: see the header

  rf_op ops[kBlocks];
  uint64_t next = 0, copied = 0;
  unsigned in_flight = 0;
  bool ended = false;
  const auto submit = [&](unsigned block, const rf_op &op) {
    ops[block] = op;
    in_flight += queue.Submit(op); // never full: it takes more ops than we have blocks
  };
  const auto read = [&](unsigned block) {
    submit(block, rf_op_read(source.get(), arena.data() + block * kBlock, kBlock, next, block));
    next += kBlock;
  };
  for (unsigned block = 0; block < kBlocks; block++) read(block);

  std::vector<rf_completion> done;
  while (in_flight > 0) {
    done.resize(kBlocks);
    queue.Wait(&done);
    for (const rf_completion &answer : done) {
      const auto block = static_cast<unsigned>(answer.user_data);
      const rf_op op = ops[block];
      const uint64_t bytes = ringfall::Check(op, answer); // throws what went wrong
      in_flight--;
      if (op.kind == RF_OP_READ) {
        if (bytes < kBlock) ended = true;
        if (bytes > 0) submit(block, rf_op_write(target.get(), op.buf, bytes, op.offset, block));
      } else {
        copied += bytes;
        if (!ended) read(block);
      }
    }
  }
  queue.Do(rf_op_fsync(target.get(), 0));
  copy.finished = true;
  return copied;
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: cpp_wrapper_main FROM NEW_FILE\n");
    return 2;
  }
  try {
    const uint64_t bytes = Copy(argv[1], argv[2]);
    std::printf("copied %llu bytes\n", static_cast<unsigned long long>(bytes));
    return std::fflush(stdout) == 0 ? 0 : 1;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "cpp_wrapper_main: %s\n", error.what());
    return 1;
  }
}
