// SPDX-License-Identifier: Apache-2.0
// The handles of examples/cpp_wrapper.hpp: who owns what, and what errors say.
#include "examples/cpp_wrapper.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/test_files.h"

namespace {

using ringfall::Arena;
using ringfall::Engine;
using ringfall::Error;
using ringfall::File;
using ringfall::Queue;

template <typename T> constexpr bool MovesOnly() {
  return std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
         !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
}
static_assert(MovesOnly<Engine>() && MovesOnly<File>() && MovesOnly<Arena>() && MovesOnly<Queue>());
static_assert(std::is_nothrow_copy_constructible_v<Error>);

class Wrapper : public testing::Test, protected test_files::Files {
protected:
  void SetUp() override {
    ASSERT_TRUE(FindDirectory(test_files::Place::kDisk));
    path = NewPath();
  }
  void TearDown() override { RemoveAll(); }
  std::string path;
};

// The error that this throws.
template <typename Body> Error ErrorOf(Body body) {
  try {
    body();
  } catch (const Error &error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(0, "");
}

TEST_F(Wrapper, WritesReadsAndClosesEverything) {
  Engine engine;
  EXPECT_NE(engine.Explanation(), "");
  {
    File file(engine, path, O_RDWR | O_CREAT);
    Arena arena(engine, 8192);
    Queue queue(engine);
    memset(arena.data(), 'x', 4096);
    EXPECT_EQ(queue.Do(rf_op_write(file.get(), arena.data(), 4096, 0, 1)), 4096u);
    EXPECT_EQ(queue.Do(rf_op_read(file.get(), arena.data() + 4096, 4096, 0, 2)), 4096u);
    EXPECT_EQ(memcmp(arena.data(), arena.data() + 4096, 4096), 0);
    EXPECT_TRUE(file.Info().regular);
    EXPECT_EQ(rf_engine_close(engine.get()), -EBUSY) << "three things of it are open";
  }
  // Nothing of it is: it can be closed, by hand for once.
  Engine moved = std::move(engine);
  EXPECT_EQ(engine.get(), nullptr);
  EXPECT_NE(moved.get(), nullptr);
}

TEST_F(Wrapper, MovesAndReplacesHandles) {
  Engine engine;
  File first(engine, path, O_RDWR | O_CREAT), second(engine, path, O_RDWR);
  const int fd = rf_file_fd(first.get());
  first = std::move(second); // closes the first
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
  EXPECT_EQ(second.get(), nullptr);
  std::vector<Queue> queues;
  for (int i = 0; i < 3; i++) queues.emplace_back(engine);
  for (Queue &queue : queues) EXPECT_EQ(queue.Do(rf_op_nop(1)), 0u);
}

TEST_F(Wrapper, ThrowsTheErrnoAndRingfallsOwnWords) {
  Engine engine;
  const Error missing = ErrorOf([&] { File(engine, path, O_RDONLY); });
  EXPECT_EQ(missing.code(), std::errc::no_such_file_or_directory);
  EXPECT_EQ(missing.what(), path + ": ENOENT (No such file or directory)");

  File file(engine, path, O_RDONLY | O_CREAT);
  Queue queue(engine);
  const Error bad = ErrorOf([&] { queue.Do(rf_op_write(file.get(), "xy", 2, 0, 1)); });
  EXPECT_EQ(bad.code(), std::errc::bad_file_descriptor);
  EXPECT_EQ(std::string(bad.what()).find("write of 2 bytes at offset 0 of " + path), 0u)
      << bad.what();
  EXPECT_EQ(queue.Do(rf_op_nop(2)), 0u) << "the queue goes on";

  rf_queue_options options;
  rf_queue_options_init(&options);
  options.depth = 0;
  EXPECT_EQ(ErrorOf([&] { Queue(engine, &options); }).code(), std::errc::invalid_argument);
  EXPECT_EQ(ErrorOf([&] { Arena(engine, 0); }).code(), std::errc::invalid_argument);
}

TEST_F(Wrapper, SaysThatAQueueIsFullWithoutAnException) {
  Engine engine;
  rf_queue_options options;
  rf_queue_options_init(&options);
  options.depth = 2;
  Queue queue(engine, &options);
  EXPECT_TRUE(queue.Submit(rf_op_nop(1)));
  EXPECT_TRUE(queue.Submit(rf_op_nop(2)));
  EXPECT_FALSE(queue.Submit(rf_op_nop(3)));
  std::vector<rf_completion> done(8);
  queue.Wait(&done, 2);
  EXPECT_EQ(done.size(), 2u);
  done.resize(8);
  queue.Wait(&done, 0, 0);
  EXPECT_EQ(done.size(), 0u);
}

// An exception in the middle, with a read in flight that would never end: the queue goes first.
TEST_F(Wrapper, LeavesNothingInFlightWhenAnExceptionIsThrown) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  CloseLater(ends[0]);
  CloseLater(ends[1]);
  Engine engine;
  const Error error = ErrorOf([&] {
    File file(engine, "/proc/self/fd/" + std::to_string(ends[0]), O_RDONLY);
    Arena arena(engine, 4096);
    Queue queue(engine);
    queue.Submit(rf_op_read(file.get(), arena.data(), 4096, 0, 1));
    ringfall::Check(rf_flush(queue.get()), RF_FROM_QUEUE, "flush");
    File none(engine, path + "/nothing", O_RDONLY);
  });
  EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
  // The assertion in Closer would have ended the program if something were open.
}

} // namespace
