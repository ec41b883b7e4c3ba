// SPDX-License-Identifier: Apache-2.0
// Programs with large thread-local variables: glibc takes these from a thread's stack.
#include <ringfall/ringfall.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <thread>

#include "tests/engines.h"
#include "tests/test_files.h"

namespace {

using test_files::kMilliseconds;
using test_files::kPatience;

thread_local volatile char large[1 << 20];

TEST(ThreadLocal, VariablesLargerThanAWorkersStackLeaveTheWorkers) {
  large[0] = 1;
  rf_engine *engine = nullptr;
  ASSERT_EQ(0, engines::Engines::Get()->Find(RF_BACKEND_THREADS, &engine));
  int ends[2];
  ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
  rf_file *file = nullptr;
  ASSERT_EQ(0, rf_file_from_fd(engine, ends[0], true, &file));
  rf_queue *queue = nullptr;
  ASSERT_EQ(0, rf_queue_open(engine, nullptr, &queue));
  char byte = 0;
  rf_op op = rf_op_read(file, &byte, 1, 0, 1);
  std::promise<void> handed_over;
  std::thread writer([&, returned = handed_over.get_future()] {
    EXPECT_EQ(returned.wait_for(std::chrono::seconds(10)), std::future_status::ready)
        << "the thread that handed the read over did it";
    EXPECT_EQ(1, write(ends[1], "x", 1));
  });
  EXPECT_EQ(1, rf_submit(queue, &op, 1));
  EXPECT_EQ(0, rf_flush(queue));
  handed_over.set_value();
  rf_completion done;
  EXPECT_EQ(1, rf_wait(queue, &done, 1, 1, kPatience));
  EXPECT_EQ(0, done.status);
  writer.join();
  close(ends[1]);
  EXPECT_EQ(0, rf_queue_close(queue));
  EXPECT_EQ(0, rf_file_close(file));
}

} // namespace
